"""Where in the queue something goes: positions as the RE Manager's clients give them, and whom nobody may pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lab.core.remote import is_at_least
from lab.remote.access.who import Who
from lab.remote.registry.refusals import refuse
from lab.remote.steward.re_manager import Entry, View


def place_of(view: View, params: Mapping[str, Any], who: Who, name: str = "pos") -> str:
    """Id of the item before which something goes; empty: behind all.

    Parameters
    ----------
    view : View
    params : mapping
        With at most one of `name` (``front``, ``back``, or a number, from behind when negative), ``before_uid``, ``after_uid``.
    who : Who
        A scientist passes nobody else's items.

    Raises
    ------
    PlanRefused
        In words.
    """
    given = {key: params[key] for key in (name, "before_uid", "after_uid") if params.get(key) is not None}
    if len(given) > 1:
        raise refuse("queue", " and ".join(given), list(given.values()), "one of them")
    entries = view.entries
    index = len(entries) if not given else _index(view, *next(iter(given.items())))
    passed = next((entry for entry in entries[index:] if entry.raw.get("user") != who.name), None)
    if passed is not None and not is_at_least(who.role, "operator"):
        raise refuse("queue", next(iter(given)), next(iter(given.values())),
                     f"a place behind {passed.item} of {passed.raw.get('user')}; operators may put items before those of others")
    return entries[index].item if index < len(entries) else ""


def _index(view: View, key: str, value: Any) -> int:
    n = len(view.entries)
    if key in ("before_uid", "after_uid"):
        if view.running is not None and value in (view.running.uid, view.running.item):
            if key == "before_uid":
                raise refuse("queue", key, value, "an item that does not run yet")
            return 0
        return position(view.entries, value, key) + (key == "after_uid")
    if value in ("front", "back"):
        return 0 if value == "front" else n
    if isinstance(value, bool) or not isinstance(value, int):
        raise refuse("queue", key, value, "front, back, or a whole number")
    return min(value, n) if value >= 0 else max(n + 1 + value, 0)


def position(entries: Sequence[Entry], uid: Any, key: str = "uid") -> int:
    """Where an entry stands, by its uid or its id in the ledger.

    Raises
    ------
    PlanRefused
        When it is not there.
    """
    for index, entry in enumerate(entries):
        if uid in (entry.uid, entry.item):
            return index
    raise refuse("queue", key, uid, "an item that is in the queue")


def chosen(view: View, params: Mapping[str, Any]) -> Entry:
    """The entry that a request speaks of: by ``uid``, or by ``pos``, the last one by default."""
    if params.get("uid") is not None:
        return view.entries[position(view.entries, params["uid"])]
    pos = params.get("pos")
    n = len(view.entries)
    index = 0 if pos == "front" else n - 1 if pos in ("back", None) else pos
    if isinstance(index, bool) or not isinstance(index, int) or not -n <= index < n:
        raise refuse("queue", "pos", pos, f"front, back, or a whole number from {-n} to {n - 1}" if n else "nothing: the queue is empty")
    return view.entries[index]
