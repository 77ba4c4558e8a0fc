"""The steward: the only one that changes the queue. It checks what is asked for, writes it down, passes it on, and answers what became of it.

Run as ``python -m lab.remote.steward --home LAB_HOME``. It listens on a socket in a folder of the owner's, for the gateway alone, which
vouches for who asks: ``[identity, number, b"", JSON]`` with ``{"who": {"name", "role", "key"}, "method", "params"}``, answered in the
same frames. A thread of its own watches worker and RE Manager (`lab.remote.steward.recovery`), whatever takes long meanwhile.

A write to which the client gave a name (``request`` in its parameters) is done once: asked for again, it is answered what became of it.
"""

from __future__ import annotations

import contextvars
import functools
import json
import logging
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any, Protocol

import zmq

from lab.core.clock import Clock, WallClock
from lab.core.config import LabConfig
from lab.core.digest import digest_of
from lab.core.errors import ConfigError, LabError
from lab.core.remote import ROLES
from lab.home import Home
from lab.layout import Layout
from lab.records.ledger import Ledger
from lab.records.queue_rows import Errand
from lab.records.store import iso, utc_now
from lab.remote.access.roles import METHODS
from lab.remote.access.who import Who
from lab.remote.registry.plan_checks import Checked
from lab.remote.registry.refusals import problems_of, refuse
from lab.remote.steward.keeper import Keeper
from lab.remote.steward.re_manager import REManager
from lab.remote.steward.recovery import Watch
from lab.remote.steward.turns import Turns
from lab.up.service import configuration, layout_of_command, log_to_stderr, say_ready

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.25
"""Between two looks at worker, manager and queue."""

N_AT_ONCE = 8
"""Requests that are worked on side by side: of those that may take long, of other writes, and of other reads."""

MOST_OF_ONE, MOST_SLOW_OF_ONE = 4, 1
"""Of these, how many of one key: the campaigns of one are rehearsed one after the other, and those of others between them."""

SLOW = frozenset({"queue_item_add", "queue_item_add_batch", "queue_item_update", "queue_item_execute", "lab_campaign_submit", "lab_data"})
"""They rehearse, or read much: however many are sent, they keep nobody from stopping the queue."""

ERRANDS_KEPT, FORGET_EVERY = 5000, 500
"""Writes of one name whose answers are kept, the newest; and after how many the older ones are forgotten."""

LONGEST_REQUEST = 120
"""Characters of the name that a client gives to a write."""

_errand: contextvars.ContextVar[Errand | None] = contextvars.ContextVar("errand", default=None)


class Checker(Protocol):
    """Decides what may be queued (`lab.remote.registry.plan_checks.Plans`)."""

    def check(self, name: Any, parameters: Any, who: Who) -> Checked: ...

    def bind(self, name: Any, args: Any, kwargs: Any, role: Any) -> dict[str, Any]: ...


class Steward:
    """What the handlers of requests work with.

    Parameters
    ----------
    layout : Layout
    lab : LabConfig
        As the laboratory came up.
    ledger : Ledger
    plans : Checker
    handlers : mapping of str to callable
        Method -> (steward, who, params) -> answer.
    clock : Clock
        Wall seconds.
    """

    def __init__(self, layout: Layout, lab: LabConfig, ledger: Ledger, plans: Checker, handlers: Mapping[str, Handler], clock: Clock) -> None:
        self.layout, self.lab, self.ledger, self.plans = layout, lab, ledger, plans
        self.home = Home(layout.folder.parent)
        self._handlers = dict(handlers)
        self.manager = REManager(layout.queue_control)
        self.keeper = Keeper(ledger, self.manager, self.notice)
        self.watch = Watch(layout, lab.remote, ledger, self.manager, self.keeper, clock, lambda: iso(utc_now()), self.notice)
        self._under_way: set[tuple[str, str]] = set()
        self._n_errands: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def errand(self) -> Errand | None:
        """The client's name for what is being done in this thread; items that are added know it (`Keeper.add`)."""
        return _errand.get()

    def notice(self, kind: str, text: str, item: str = "") -> None:
        """Say what happened, and put it on record."""
        log.info("%s: %s", kind, text)
        self.ledger.add_notice(kind, text, item)

    def answer(self, who: Who, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a request; refusals and failures are answers, too."""
        try:
            handler = self._handlers.get(method)
            if handler is None:
                raise refuse("steward", "method", method, "one of the laboratory's methods")
            rest = {key: value for key, value in params.items() if key != "request"}
            if "request" in params and method in METHODS and METHODS[method].is_write:
                return self._once(who, method, params["request"], rest, handler)
            return handler(self, who, dict(params) if method == "lab_request" else rest)
        except LabError as error:
            return refusal(error)
        except Exception as error:  # a mistake of ours must not end the one that everybody needs; its trace is in the log
            log.exception("%s of %s", method, who.name)
            return {"success": False, "msg": f"{method}: a mistake in the steward: {type(error).__name__}: {error} (log: {self.layout.log_of('steward')})"}

    def close(self) -> None:
        """Give the RE Manager's sockets back."""
        self.manager.close()

    # ------------------------------------------------------------------------------------------------ errands

    def _once(self, who: Who, method: str, name: Any, params: Mapping[str, Any], handler: Handler) -> dict[str, Any]:
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_REQUEST:
            raise refuse(method, "request", name, f"a text of at most {LONGEST_REQUEST} characters")
        errand = Errand(who.name, name, method, digest_of(method, params))
        with self._lock:
            if (who.name, name) in self._under_way:
                return {"success": False, "msg": f"request {name} is under way; lab_request tells what became of it"}
            self._under_way.add((who.name, name))
            self._n_errands[who.name] += 1
        token = _errand.set(errand)
        try:
            if self._n_errands[who.name] % FORGET_EVERY == 0:
                self.ledger.forget_errands(who.name, ERRANDS_KEPT)
            return self._do_or_tell(who, errand, params, handler)
        finally:
            _errand.reset(token)
            with self._lock:
                self._under_way.discard((who.name, name))

    def _do_or_tell(self, who: Who, errand: Errand, params: Mapping[str, Any], handler: Handler) -> dict[str, Any]:
        before = self.ledger.begin_errand(errand)
        if before is not None and before.answer is not None:
            return {**before.answer, "repeated": True}
        if before is not None and before.items:
            return self._told_of_items(before.items)
        if before is not None and errand.method not in DONE_ONCE_OR_NOT:
            return {"success": False, "msg": f"request {errand.name} ({errand.method}) was begun at {before.begun_wall}, and how it ended is not on record: "
                                             "the steward died meanwhile; look (lab queue list, lab status) before you ask for it again"}
        try:
            answer = handler(self, who, dict(params))
        except LabError as error:
            answer = refusal(error)
        self.ledger.end_errand(errand, answer)
        return answer

    def _told_of_items(self, ids: tuple[str, ...]) -> dict[str, Any]:
        """They were on record when the steward died; the queue has been made to say the same."""
        items = [self.ledger.item(identity) for identity in ids]
        found = [{"item": item.id, "state": item.state, "uid": item.uid, "cause": item.cause} for item in items]
        is_refused = all(item.state == "removed" for item in items)
        return {"success": not is_refused, "msg": items[0].cause if is_refused else "", "repeated": True, "lab": found[0], "labs": found,
                "item": {"item_uid": items[0].uid or items[0].id, "name": items[0].name}}


Handler = Callable[[Steward, Who, dict[str, Any]], dict[str, Any]]



def refusal(error: LabError) -> dict[str, Any]:
    """What went wrong, as an answer: with field, given and allowed where they are known."""
    if isinstance(error, ConfigError):
        return {"success": False, "msg": str(error), "problems": [problem.as_dict() for problem in problems_of(error)]}
    return {"success": False, "msg": str(error)}


DONE_ONCE_OR_NOT = ("queue_item_add", "queue_item_add_batch", "queue_item_execute", "lab_campaign_submit", "lab_retry")
"""Writes whose items are recorded in one transaction with the client's name for them: without items, nothing has been done."""


class Service:
    """The steward's socket and its threads.

    Parameters
    ----------
    steward : Steward
    """

    def __init__(self, steward: Steward) -> None:
        self._steward = steward
        self._answers: SimpleQueue[list[bytes]] = SimpleQueue()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._ends = threading.Event()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 500)
        self._socket.bind(steward.layout.steward)

    def stop(self) -> None:
        """End; may be called from a signal's handler, or another thread."""
        if not self._ends.is_set():
            self._ends.set()
            os.eventfd_write(self._wake, 1)

    def serve(self) -> None:
        """Answer, until it is stopped."""
        watching = threading.Thread(target=self._watch, name="watch")
        watching.start()
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._wake, zmq.POLLIN)
        try:
            with (ThreadPoolExecutor(N_AT_ONCE, "writes") as writes, ThreadPoolExecutor(N_AT_ONCE, "reads") as reads,
                  ThreadPoolExecutor(N_AT_ONCE, "slow") as slow):
                self._writes, self._reads, self._slow = Turns(writes, MOST_OF_ONE), Turns(reads, MOST_OF_ONE), Turns(slow, MOST_SLOW_OF_ONE)
                while not self._ends.is_set():
                    ready = dict(poller.poll())
                    if self._wake in ready:
                        self._send_answers()
                    if self._socket in ready:
                        self._receive()
            self._send_answers()
        finally:
            self._ends.set()
            watching.join()
            self._context.destroy(linger=500)
            os.close(self._wake)

    def _watch(self) -> None:
        while not self._ends.wait(LOOK_EVERY_S):
            try:
                self._steward.watch.look()
            except LabError as error:
                log.error("watch: %s", error)
            except Exception:  # the watch has to go on, whatever one look meets; the trace is in the log
                log.exception("watch")

    def _receive(self) -> None:
        while True:
            try:
                frames = self._socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            *envelope, payload = frames
            try:
                request = json.loads(payload)
                who = Who(**request["who"])
                method, params = str(request["method"]), dict(request["params"])
                if who.role not in ROLES:
                    raise ValueError(f"role {who.role}")
            except (ValueError, KeyError, TypeError) as error:
                log.error("a request that the gateway should not have passed on: %s: %s", type(error).__name__, error)
                continue
            self._turns(method).submit(who.key, functools.partial(self._work, envelope, who, method, params))

    def _turns(self, method: str) -> Turns:
        if method in SLOW:
            return self._slow
        return self._writes if method in METHODS and METHODS[method].is_write else self._reads

    def _work(self, envelope: list[bytes], who: Who, method: str, params: dict[str, Any]) -> None:
        answer = self._steward.answer(who, method, params)
        try:
            payload = json.dumps(answer).encode()
        except (TypeError, ValueError) as error:
            log.exception("%s of %s: an answer that cannot be written", method, who.name)
            payload = json.dumps({"success": False, "msg": f"{method}: a mistake in the steward: its answer cannot be written: {error}"}).encode()
        self._answers.put([*envelope, payload])
        os.eventfd_write(self._wake, 1)

    def _send_answers(self) -> None:
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            pass
        while True:
            try:
                self._socket.send_multipart(self._answers.get_nowait(), zmq.DONTWAIT)
            except Empty:
                return


def serve(layout: Layout, lab: LabConfig, ledger: Ledger, plans: Checker, handlers: Mapping[str, Handler], clock: Clock) -> None:
    """Serve a laboratory until SIGTERM; to be called in the main thread."""
    steward = Steward(layout, lab, ledger, plans, handlers, clock)
    try:
        service = Service(steward)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: service.stop())
        say_ready()
        service.serve()
    finally:
        steward.close()


def main() -> int:
    """Serve the laboratory of a LAB_HOME."""
    from lab.remote.steward.handlers import METHODS_HERE, plans_of

    layout = layout_of_command("lab.remote.steward")
    log_to_stderr()
    lab, clock, home = configuration(layout), WallClock(), Home(layout.folder.parent)
    with Ledger(home.ledger, clock) as ledger, plans_of(lab, home, ledger) as plans:
        serve(layout, lab, ledger, plans, METHODS_HERE, clock)
    return 0
