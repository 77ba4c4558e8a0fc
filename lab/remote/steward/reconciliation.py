"""What has to change in the RE Manager's queue so that it says what the ledger says. Nothing is done here.

The RE Manager puts back at the front, with a new uid, what has failed, was aborted, or whose worker was destroyed; it loses what it was
about to hand to a worker when the machine died. The ledger knows which items have begun: those are taken out. It knows which are
queued: those are put back at their place, once each, as they were checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lab.records.queue_rows import ItemRow
from lab.remote.steward.re_manager import Entry, View


@dataclass(frozen=True)
class Remove:
    """Take an entry out."""

    entry: Entry
    why: str


@dataclass(frozen=True)
class Put:
    """Put an item in, before the entry of another item (empty: behind all)."""

    item: str
    before: str


@dataclass(frozen=True)
class Keep:
    """Remember an entry's new uid."""

    item: str
    uid: str


@dataclass(frozen=True)
class Follow:
    """An instruction is not in the queue any more: it was followed."""

    item: str


Step = Remove | Put | Keep | Follow


def steps(view: View, queued: Sequence[ItemRow], others: Mapping[str, ItemRow]) -> list[Step]:
    """What has to be done, in this order.

    Parameters
    ----------
    view : View
        The RE Manager's queue, read before the ledger.
    queued : sequence of ItemRow
        What is queued according to the ledger, in its order.
    others : mapping of str to ItemRow
        The other items that the queue names, by id.
    """
    known = {item.id: item for item in queued}
    found: list[Step] = []
    kept: list[str] = []
    running = view.running.item if view.running is not None else ""
    for entry in view.entries:
        item = known.get(entry.item)
        why = _why_not(entry, item, others.get(entry.item), entry.item in kept or entry.item == running)
        if why:
            found.append(Remove(entry, why))
            continue
        kept.append(entry.item)
        if item is not None and item.uid != entry.uid:
            found.append(Keep(entry.item, entry.uid))
    if view.running is not None and running in known and known[running].uid != view.running.uid:
        found.append(Keep(running, view.running.uid))
    return found + _missing(queued, kept, running)


def _why_not(entry: Entry, item: ItemRow | None, other: ItemRow | None, is_there: bool) -> str:
    """Why an entry has no place in the queue; empty: it has."""
    if item is None:
        return f"it is {other.state}" if other is not None else "it is on nobody's record"
    if is_there:
        return "it is there already"
    if (entry.digest, entry.name) != (item.digest, item.name):
        return "it is not what was checked"
    return ""


def _missing(queued: Sequence[ItemRow], kept: Sequence[str], running: str) -> list[Step]:
    """Items that are not in the queue, each before the next one that is."""
    found: list[Step] = []
    before = ""
    for item in reversed(queued):
        if item.id in kept:
            before = item.id
        elif item.kind == "instruction" and item.uid:
            found.append(Follow(item.id))
        elif item.id != running:
            found.append(Put(item.id, before))
            before = item.id
    return found
