"""The RunEngine of a laboratory that is up: each plan is an item of the ledger, begun once, and its end is on record.

The RE Manager hands an item over with its number in the ledger. It begins only if it waits there, as it was checked: what the manager has
put back at the front of its queue by itself, after a failure or a crash, is refused. While it runs, pauses included, the worker holds
the lease of the laboratory.

Plans that a person types in the worker's kernel run as long as an attached console holds the lease.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted, TransitionError

from lab.core.errors import LeaseError, LedgerError
from lab.home import Home
from lab.lease import Lease, holder
from lab.records.ledger import Ledger
from lab.records.process import this_process
from lab.records.queue_rows import ItemEnd
from lab.remote.worker.queued_plan import QueuedPlan
from plans.stubs import cause_of

log = logging.getLogger(__name__)

PATIENCE_S = 2.0
"""Wall seconds to wait for a console that is about to leave."""


@dataclass
class UnderWay:
    """The item that runs or is paused.

    Parameters
    ----------
    item : str
        Its id in the ledger.
    lease : Lease
    ending : tuple of ItemEnd and str, or None
        State and cause, once somebody has asked for its end, or it has come to one.
    runs : list of str
        Uids of the runs that it has opened.
    """

    item: str
    lease: Lease
    ending: tuple[ItemEnd, str] | None = None
    runs: list[str] = field(default_factory=list)


class RecordedRunEngine(RunEngine):
    """Runs items of the queue, each once.

    Parameters
    ----------
    ledger : Ledger
    home : Home
        Whose lease is taken.
    """

    def __init__(self, ledger: Ledger, home: Home, **more: Any) -> None:
        super().__init__(**more)
        self._ledger, self._home = ledger, home
        self._under_way: UnderWay | None = None
        self._ends = threading.RLock()
        self.subscribe(self._opened, "start")

    @property
    def item(self) -> str | None:
        """The item that runs or is paused; None where there is none, or a person runs a plan by hand."""
        return self._under_way.item if self._under_way is not None else None

    def __call__(self, plan: Any, subs: Any = None, /, **metadata: Any) -> Any:
        """Run a plan: as an item where `metadata` names one (``item``, with ``user``), else by hand.

        Raises
        ------
        LedgerError
            When the item does not wait in the ledger, or is another one than was checked.
        LeaseError
            When somebody else controls the laboratory; by hand: when no console does.
        """
        metadata.pop("digest", None)  # the ledger has the one that counts
        self._settle()
        if "item" not in metadata:
            return self._by_hand(plan, subs, metadata)
        item, user = str(metadata["item"]), str(metadata.get("user", ""))
        if not isinstance(plan, QueuedPlan):
            raise LedgerError(f"item {item}: given a {type(plan).__name__}; allowed: a plan of the laboratory's registry")
        if self.state != "idle":
            raise LedgerError(f"item {item}: cannot begin: the RunEngine is {self.state}")
        lease = Lease.take(self._home, user, f"item {item} of {user}: {plan.name}", PATIENCE_S)
        try:
            self._ledger.claim_item(item, plan.digest, this_process())
        except BaseException:
            lease.release()
            raise
        self._under_way = UnderWay(item, lease)
        return self._carry(partial(super().__call__, plan.plan, subs, **metadata))

    def resume(self) -> Any:
        """Go on after a pause; see `bluesky.RunEngine.resume`."""
        return self._carry(super().resume)

    def abort(self, reason: str = "") -> Any:
        """End the plan as aborted; see `bluesky.RunEngine.abort`."""
        return self._told("aborted", reason, partial(super().abort, reason))

    def stop(self) -> Any:
        """End the plan as stopped: what it has measured is as it should be; see `bluesky.RunEngine.stop`."""
        return self._told("stopped", "", super().stop)

    def halt(self) -> Any:
        """End the plan without its clean-up; see `bluesky.RunEngine.halt`."""
        return self._told("aborted", "halted: nothing was cleaned up after it", super().halt)

    # ------------------------------------------------------------------------------------------------ parts

    def _by_hand(self, plan: Any, subs: Any, metadata: dict[str, Any]) -> Any:
        found = holder(self._home)
        if found is None or found.process == this_process():
            why = "nobody controls the laboratory from a console" if found is None else f"the laboratory is controlled by {found.words}"
            raise LeaseError(f"a plan by hand: {why}; lab console takes control when it is free, lab queue add puts a plan into the queue")
        return self._carry(partial(super().__call__, plan, subs, **{"user": found.who, **metadata}))

    def _carry(self, go: Callable[[], Any]) -> Any:
        """Run until the plan is paused or over; of an item, say how it ended."""
        try:
            result = go()
        except RunEngineInterrupted:
            if self.state != "paused":
                self._end("aborted", "it was paused where it cannot go on from")
            raise
        except BaseException as error:  # on record, and on its way to whoever called
            self._end("failed", str(cause_of(error)))
            raise
        self._end("completed", "")
        return result

    def _told(self, state: ItemEnd, cause: str, do: Callable[[], Any]) -> Any:
        """End what runs, in whichever thread; what was paused ends here, the rest in the thread that runs it."""
        under_way, was_paused = self._under_way, self.state == "paused"
        is_first = under_way is not None and under_way.ending is None
        if under_way is not None and is_first:
            under_way.ending = state, cause
        try:
            result = do()
        except TransitionError:
            if under_way is not None and is_first:  # there was nothing to be ended yet
                under_way.ending = None
            raise
        except BaseException as error:  # the clean-up failed: on record, and on its way to whoever called
            if was_paused:
                self._end("failed", str(cause_of(error)))
            raise
        if was_paused:
            self._end(state, cause)
        return result

    def _end(self, state: ItemEnd, cause: str) -> None:
        """Write down how the item ended. What somebody had asked for is its state; `cause` is added where that failed."""
        with self._ends:
            under_way = self._under_way
            if under_way is None:
                return
            if under_way.ending is None:
                under_way.ending = state, cause
            elif state == "failed":
                under_way.ending = under_way.ending[0], "; ".join(text for text in (under_way.ending[1], cause) if text)
            under_way.lease.release()
            try:
                self._settle()
            except LedgerError:  # the next item does not begin before it is written; and what ended it must be raised
                log.exception("item %s: its end (%s) is not on record yet", under_way.item, under_way.ending)

    def _settle(self) -> None:
        """Write the end of an item that has come to one.

        Raises
        ------
        LedgerError
            When the ledger cannot be written.
        """
        with self._ends:
            under_way = self._under_way
            if under_way is not None and under_way.ending is not None and self.state in ("idle", "panicked"):
                self._ledger.end_item(under_way.item, *under_way.ending, tuple(under_way.runs))
                self._under_way = None

    def _opened(self, name: str, doc: dict[str, Any]) -> None:
        if self._under_way is not None:
            self._under_way.runs.append(str(doc["uid"]))
            try:
                self._ledger.add_item_run(self._under_way.item, str(doc["uid"]))
            except LedgerError:  # it is written again when the item ends; a callback that raises would end the plan
                log.exception("item %s: its run %s is not on record yet", self._under_way.item, doc["uid"])
