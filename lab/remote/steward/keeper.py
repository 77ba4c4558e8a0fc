"""The keeper of the queue: what is on record is put into the RE Manager's queue, and nothing else stays there.

The ledger comes first, in everything. Whatever ends this process in between, the next one finds the ledger, and makes the queue say the
same (`lab.remote.steward.reconciliation`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lab.core.errors import LedgerError
from lab.records.ledger import Ledger
from lab.records.queue_rows import Errand, ItemRow, NewItem
from lab.remote.steward.re_manager import ManagerGone, ManagerRefused, REManager, View
from lab.remote.steward.reconciliation import Follow, Keep, Put, Remove, Step, steps

log = logging.getLogger(__name__)

LEASE_WORDS = "the laboratory is controlled by"
"""Of `lab.lease`: an item that met these did not begin, and waits."""

UNKNOWN_PLAN_WORDS = "not in the list of allowed plans"
UNKNOWN_PLAN_S = 3.0
"""Of the RE Manager: it reads the worker's plans a moment after the worker is there; what was checked here is given that moment."""

DESTROYED_WORDS = "environment was destroyed"
"""Of the RE Manager, for what was on its way to a worker that was destroyed."""


class Keeper:
    """The only one that changes what is queued.

    Parameters
    ----------
    ledger : Ledger
    manager : REManager
    notice : callable
        (kind, text, item id) -> None; puts on record what happened.
    """

    def __init__(self, ledger: Ledger, manager: REManager, notice: Callable[[str, str, str], None]) -> None:
        self.ledger, self.manager, self._notice = ledger, manager, notice
        self.lock = threading.RLock()
        """Held by whoever changes the queue, from the first look at it to the last word."""

    def add(self, items: Sequence[NewItem], *, before: str = "", errand: Errand | None = None) -> list[ItemRow]:
        """Record items and put those into the queue that do not wait for anybody's word.

        Parameters
        ----------
        before : str
            Id of the queued item before which they go; empty: behind all.

        Raises
        ------
        ManagerGone, ManagerRefused
            All of them were taken back then, and that is on record, too.
        """
        with self.lock:
            rows = self.ledger.add_items(items, before=before, errand=errand)
            return self.put(rows, before)

    def put(self, rows: Sequence[ItemRow], before: str = "") -> list[ItemRow]:
        """Put items of the ledger into the RE Manager's queue; those that are queued. Takes back what cannot be put there."""
        queued = [row for row in rows if row.state == "queued"]
        if queued:
            try:
                self._put(queued, before)
            except (ManagerGone, ManagerRefused) as error:
                taken_back = [self._is_taken_back(row, f"it could not be queued: {error}") for row in queued]
                if all(taken_back):
                    raise
        return [self.ledger.item(row.id) for row in rows]

    def view(self) -> View:
        """The RE Manager's queue as it should be, and is."""
        with self.lock:
            self.reconcile()
            return self.manager.view()

    def reconcile(self) -> list[Step]:
        """Make the RE Manager's queue say what the ledger says; returns what had to be done.

        Raises
        ------
        ManagerGone, ManagerRefused
            When it cannot be changed now.
        """
        with self.lock:
            view = self.manager.view()  # before the ledger: what has ended meanwhile is on record first
            self._turn_away(view)
            queued = self.ledger.items(("queued",))
            ids = {row.id for row in queued}
            others = {entry.item: row for entry in view.entries if entry.item not in ids and (row := self._find(entry.item)) is not None}
            found = steps(view, queued, others)
            for step in found:
                self._do(step)
            self.ledger.order_items([entry.item for entry in view.entries])
            return found

    # ------------------------------------------------------------------------------------------------ parts

    def _put(self, rows: Sequence[ItemRow], before: str) -> None:
        """Neighbours of one owner go together; the RE Manager takes a user for each message."""
        groups: list[list[ItemRow]] = []
        for row in rows:
            if groups and (groups[-1][0].user, groups[-1][0].role) == (row.user, row.role):
                groups[-1].append(row)
            else:
                groups.append([row])
        before_uid = self.ledger.item(before).uid if before else ""
        for group in groups:
            uids = self._put_group(group, before_uid)
            for row, uid in zip(group, uids, strict=True):
                self.ledger.set_item_uid(row.id, uid)

    def _put_group(self, rows: Sequence[ItemRow], before_uid: str) -> list[str]:
        ends = time.monotonic() + UNKNOWN_PLAN_S
        while True:
            try:
                return self.manager.put([as_raw(row) for row in rows], rows[0].user, rows[0].role, before_uid)
            except ManagerRefused as error:
                if not error.is_invalid or UNKNOWN_PLAN_WORDS not in str(error) or time.monotonic() > ends:
                    raise
            time.sleep(0.2)

    def _is_taken_back(self, row: ItemRow, cause: str) -> bool:
        """False when it has begun: the RE Manager had it, and only its answer was lost."""
        try:
            self.ledger.remove_item(row.id, cause)
        except LedgerError as error:
            log.warning("%s: %s", row.words, error)
            return False
        return True

    def _find(self, item: str) -> ItemRow | None:
        if not item:
            return None
        try:
            return self.ledger.item(item)
        except LedgerError:
            return None

    def _do(self, step: Step) -> None:
        match step:
            case Remove(entry, why):
                self.manager.do("queue_item_remove", {"uid": entry.uid})
                log.info("taken out of the queue: %s %s of %s: %s", entry.name, entry.item, entry.raw.get("user"), why)
                if not entry.item:
                    self._notice("queue", f"an entry ({entry.name}) was taken out of the queue: {why}", "")
            case Put(item, before):
                self._put_again(self.ledger.item(item), before)
            case Keep(item, uid):
                self.ledger.set_item_uid(item, uid)
            case Follow(item):
                self.ledger.finish_instruction(item)

    def _put_again(self, row: ItemRow, before: str) -> None:
        try:
            self._put([row], before if not before or self.ledger.item(before).state == "queued" else "")
        except ManagerRefused as error:
            if not error.is_invalid or not self.manager.status().get("worker_environment_exists"):
                raise  # until it can be put there: the queue is locked, Redis is away, the worker's plans are not known yet
            self.ledger.turn_item_away(row.id, f"it cannot be run any more: {error}")
            self._notice("item", f"{row.words} was not in the queue any more, and cannot be run: {error}", row.id)
        else:
            self._notice("queue", f"{row.words} was not in the queue any more; it is again, at its place", row.id)

    def _turn_away(self, view: View) -> None:
        """Items that the worker would not begin: they are queued on record, and came back, or did not."""
        there = {entry.item: entry.uid for entry in view.entries}
        if view.running is not None:
            there[view.running.item] = view.running.uid
        left = [row for row in self.ledger.items(("queued",)) if row.uid and row.kind == "plan" and there.get(row.id) != row.uid]
        if not left:
            return
        tried = {str(entry.get("item_uid")): entry.get("result") or {} for entry in self.manager.history()}
        for row in left:
            result = tried.get(row.uid)
            if result is None or result.get("exit_status") != "failed":
                continue
            said = str(result.get("msg", "")).strip()
            if LEASE_WORDS not in said and DESTROYED_WORDS not in said:
                self.ledger.turn_item_away(row.id, f"it did not begin: {said}")
                self._notice("item", f"{row.words} did not begin: {said}", row.id)


def as_raw(row: ItemRow) -> dict[str, Any]:
    """An item as the RE Manager's messages have it."""
    meta: Mapping[str, Any] = {**row.meta, "item": row.id, "user": row.user, "digest": row.digest}
    raw: dict[str, Any] = {"item_type": row.kind, "name": row.name, "meta": dict(meta)}
    return raw | ({"args": [], "kwargs": dict(row.parameters)} if row.kind == "plan" else {})
