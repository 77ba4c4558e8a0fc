"""Watching the worker and the RE Manager: what has died is noticed, said, and brought back; what ran then is never begun again unasked.

Each look takes little, and never waits for something to come back: what is not there yet is looked at again at the next one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from lab.core.clock import Clock
from lab.core.errors import LabError, LeaseError, LedgerError
from lab.core.remote import RemoteConfig
from lab.home import Home
from lab.layout import Layout
from lab.lease import Holder, holder
from lab.records.ledger import Ledger
from lab.records.process import Process
from lab.records.queue_rows import ItemRow
from lab.remote.steward.going import Cause, Going, standstill
from lab.remote.steward.keeper import Keeper
from lab.remote.steward.re_manager import ManagerGone, REManager
from lab.remote.steward.retrying import retry_of
from lab.up import redis

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""Wall seconds for the RE Manager to answer a look."""

SILENT_S = 3.0
"""Of silence, before it is said."""

OPENING_S = 120.0
"""For an environment to open: the worker imports, connects to every instrument, and prepares them."""

AGAIN_S = (2.0, 15.0, 60.0)
"""Before an environment that did not open is opened again."""

STUCK_S = 3.0
"""For the RE Manager to take note of the end of an item that is on record."""


class Watch:
    """Looks after worker, RE Manager and queue.

    Parameters
    ----------
    layout : Layout
    config : RemoteConfig
    ledger : Ledger
    manager : REManager
    keeper : Keeper
    clock : Clock
        Wall seconds.
    wall : callable
        Now, ISO 8601.
    notice : callable
        (kind, text, item id) -> None.
    """

    def __init__(self, layout: Layout, config: RemoteConfig, ledger: Ledger, manager: REManager, keeper: Keeper, clock: Clock,
                 wall: Callable[[], str], notice: Callable[[str, str, str], None]) -> None:
        self._layout, self._config, self._home = layout, config, Home(layout.folder.parent)
        self._ledger, self._manager, self._keeper = ledger, manager, keeper
        self._clock, self._wall, self._notice = clock, wall, notice
        found = Going.load(layout)
        self.going = Going(True, wall()) if found is None else found
        self.status: dict[str, Any] | None = None
        """The RE Manager's, at the last look; None while it does not answer."""
        self._answered_s = clock.now()
        self._is_silent = False
        self._buried: Process | None = None
        self._opening_s: float | None = None
        self._n_failed, self._open_at_s = 0, clock.now()
        self._seen: tuple[Any, ...] = ()
        self._stuck: tuple[str, float] = ("", 0.0)
        self._said = ""

    def look(self) -> None:
        """One look at everything."""
        lost = self._ledger.settle_lost_items()
        if lost:
            self._interrupted(lost)
        try:
            self.status = status = self._manager.status(LOOK_S)
        except ManagerGone:
            self.status = None
            self._silence()
            return
        self._hear()
        try:
            self._look_at_worker(status)
            self._look_at_queue(status)
            self._free_if_stuck(status)
        except ManagerGone as error:  # it fell silent in the middle of a look, and this one has waited for it
            self.status = None
            self._silence()
            self._say_once(str(error))
        except LabError as error:
            self._say_once(str(error))

    def change(self, going: Going) -> None:
        """What the queue is meant to do, from now on."""
        with self._keeper.lock:
            going.save(self._layout)
            self.going = going

    def start(self) -> None:
        """The queue is to run by itself again."""
        self.change(self.going.started(self._wall()))

    def stop(self, cause: Cause, why: str) -> None:
        """The queue stands until somebody starts it."""
        self.change(self.going.stopped(cause, why, self._wall()))
        self._notice("queue", f"the queue stands: {why}", "")

    def undecided(self) -> list[ItemRow]:
        """Interrupted items of which nobody has said what becomes of them."""
        return [item for item in self._ledger.items(("interrupted",)) if not item.decided]

    def go_on_if_decided(self) -> None:
        """After a decision: the queue goes on when it stood for items that were interrupted, and this was the last of them."""
        if self.going.cause == "interrupted" and not self.undecided():
            self.start()
            self._notice("queue", "the queue goes on: all interrupted items have been decided upon", "")

    @property
    def worker(self) -> Process | None:
        """The worker's process, as it said itself when its session was open; None where none has been yet."""
        try:
            found = json.loads(self._layout.worker_file.read_text())
            return Process(str(found["host"]), int(found["pid"]), str(found["process_started"]))
        except (OSError, ValueError, KeyError):
            return None

    # ------------------------------------------------------------------------------------------------ items

    def _interrupted(self, lost: list[ItemRow]) -> None:
        asked = []
        for item in lost:
            if self._config.interrupted == "retry" and not item.parent and self._is_made_again(item):
                continue
            asked.append(item)
            self._notice("item", f"{item.words} was interrupted: {item.cause}; lab queue retry {item.id}, or lab queue dismiss {item.id}", item.id)
        if asked:
            self.stop("interrupted", f"{asked[-1].words} was interrupted; lab queue retry {asked[-1].id} makes it again, "
                                     f"lab queue dismiss {asked[-1].id} leaves it; then the queue goes on")

    def _is_made_again(self, item: ItemRow) -> bool:
        """By the policy, once; false where it cannot be."""
        try:
            with self._keeper.lock:
                queued = self._ledger.items(("queued",))
                new = self._ledger.add_item(retry_of(self._ledger, item, "policy"), before=queued[0].id if queued else "")
        except LedgerError as error:
            self._notice("item", f"{item.words} was interrupted, and cannot be made again: {error}", item.id)
            return False
        self._notice("item", f"{item.words} was interrupted: {item.cause}; it is made again as {new.id} (lab.yaml: remote.interrupted: retry)", item.id)
        return True

    # ------------------------------------------------------------------------------------------------ manager

    def _silence(self) -> None:
        if not self._is_silent and self._clock.now() - self._answered_s > SILENT_S:
            self._say_silent()

    def _say_silent(self) -> None:
        self._is_silent = True
        self._notice("manager", f"the RE Manager has not answered for {SILENT_S:g} s; it is started again by itself", "")

    def _hear(self) -> None:
        self._answered_s = self._clock.now()
        if self._manager.longest_wait_s() > SILENT_S and not self._is_silent:  # it was away in the middle of a look, which has waited for it
            self._say_silent()
        if self._is_silent:
            self._is_silent = False
            self._notice("manager", "the RE Manager answers again", "")
        self._said = "" if self._said.startswith("the RE Manager has not") else self._said

    def _free_if_stuck(self, status: dict[str, Any]) -> None:
        """The end of a plan that fell into a time without Redis is lost to the RE Manager: it waits for it for ever."""
        uid = str(status.get("running_item_uid") or "")
        is_waiting = status.get("manager_state") in ("executing_queue", "starting_queue") and status.get("re_state") == "idle"
        if not uid or not is_waiting or not self._has_ended(uid):
            self._stuck = "", 0.0
            return
        if self._stuck[0] != uid:
            self._stuck = uid, self._clock.now()
        elif self._clock.now() - self._stuck[1] > STUCK_S and redis.answers(self._layout):  # a manager that starts without Redis ends at once
            self._stuck = "", 0.0
            self._notice("manager", "the RE Manager waits for the end of an item that has ended; it is started again (its worker goes on)", "")
            try:
                self._manager.ask("manager_kill", deadline_s=0.2)
            except ManagerGone:
                return  # as it should: it stands still until its watchdog starts it again

    def _has_ended(self, uid: str) -> bool:
        try:
            return self._ledger.item(uid).state not in ("queued", "running")
        except LedgerError:
            return False

    # ------------------------------------------------------------------------------------------------ worker

    def _look_at_worker(self, status: dict[str, Any]) -> None:
        state, worker = status.get("manager_state"), self.worker
        if status.get("worker_environment_exists"):
            if self._opening_s is not None and state != "creating_environment":
                self._opening_s, self._n_failed = None, 0
                self._notice("worker", "the worker is ready", "")
            if worker is not None and worker != self._buried and worker.is_gone():
                self._bury(worker)
        elif state == "creating_environment":
            self._opening_s = self._clock.now() if self._opening_s is None else self._opening_s
            if self._clock.now() - self._opening_s > OPENING_S:
                self._notice("worker", f"the worker has not come up within {OPENING_S:g} s; it is ended", "")
                self._manager.do("environment_destroy")
        elif state == "idle":
            self._open()

    def _bury(self, worker: Process) -> None:
        status = self._manager.status(LOOK_S)  # it may have ended in order between two looks
        if not status.get("worker_environment_exists") or status.get("manager_state") in ("closing_environment", "destroying_environment"):
            return
        self._interrupted_now()
        self._manager.ask("queue_autostart", {"enable": False})
        self._manager.do("environment_destroy")
        self._buried = worker
        self._notice("worker", f"the worker (process {worker.pid}) died; a new one is started", "")

    def _interrupted_now(self) -> None:
        """Before anybody else is told: the item may have begun since the ledger was looked at."""
        lost = self._ledger.settle_lost_items()
        if lost:
            self._interrupted(lost)

    def _open(self) -> None:
        now = self._clock.now()
        if self._opening_s is not None:
            self._opening_s = None
            wait_s = AGAIN_S[min(self._n_failed, len(AGAIN_S) - 1)]
            self._n_failed, self._open_at_s = self._n_failed + 1, now + wait_s
            self._notice("worker", f"the worker did not come up (log: {self._layout.log_of('queue')}); again in {wait_s:g} s", "")
        if self.going.is_environment_wanted and now >= self._open_at_s:
            self._keeper.reconcile()
            self._manager.do("environment_open")
            self._opening_s = now

    # ------------------------------------------------------------------------------------------------ queue

    def _look_at_queue(self, status: dict[str, Any]) -> None:
        if status.get("manager_state") not in ("idle", "executing_queue", "paused", "creating_environment"):
            return
        seen = status.get("plan_queue_uid"), status.get("plan_history_uid"), status.get("manager_state")
        if seen != self._seen:
            self._keeper.reconcile()
            self._seen = seen
        if self._config.autostart:
            self._keep_going(status)

    def _keep_going(self, status: dict[str, Any]) -> None:
        is_on = bool(status.get("queue_autostart_enabled"))
        if not self.going.is_on or self.held_by() is not None:
            if is_on:
                self._manager.do("queue_autostart", {"enable": False})
            return
        if is_on or status.get("manager_state") != "idle" or not status.get("worker_environment_exists"):
            return
        with self._keeper.lock:
            why = self._why_it_stopped()
            if why is not None:
                self.stop("failed", why)
                return
            self._keeper.reconcile()
            self._manager.do("queue_autostart", {"enable": True})

    def held_by(self) -> Holder | None:
        """Who else controls the laboratory: what would begin now would be refused, so nothing does."""
        found = holder(self._home)
        return found if found is not None and found.process != self.worker else None

    def standstill(self) -> str:
        """Why nothing begins, although it is queued; empty: nothing keeps it."""
        try:
            return standstill(self.going, holder(self._home), self.worker)
        except LeaseError as error:
            return str(error)

    def _why_it_stopped(self) -> str | None:
        """Which item ended badly since the queue was started; None: the RE Manager has forgotten that it runs by itself."""
        since = self.going.since_wall
        bad = [item for item in self._ledger.items(("failed", "aborted", "stopped"))
               if item.began_wall is not None and item.ended_wall is not None and item.ended_wall > since]
        stops = [item for item in self._ledger.items(("completed",))
                 if item.kind == "instruction" and item.ended_wall is not None and item.ended_wall > since]
        if not bad and not stops:
            return None
        item = max(bad + stops, key=lambda found: found.ended_wall or "")
        what = f"{item.words} says so" if item.kind == "instruction" else f"{item.words} was {item.state}" if item.state != "failed" else f"{item.words} failed"
        return f"{what}{f': {item.cause}' if item.cause else ''}; lab queue start goes on with the others"

    def _say_once(self, text: str) -> None:
        if text != self._said:
            self._said = text
            log.warning("%s", text)
