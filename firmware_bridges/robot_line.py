"""The two connections to a Meca500: control (10000), one reader thread, who asks waits; monitoring (10001), listened to.

The robot answers out of step: replies to requests, errors of queued motions and checkpoints share one stream. So one thread
reads, and every message is offered to whoever asked and then to the listener (the motion that is pending). A request that can
be refused late is fenced with a GetStatusRobot: replies come in order, so what was refused is known when the fence answers.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Container

from firmware_bridges.link import Link
from firmware_bridges.meca500 import CONNECTED, Message, Parser
from firmware_bridges.waits import Arrival, Waits
from lab.core.errors import CommandError, LinkDown, LinkError, LinkTimeout

log = logging.getLogger(__name__)

REPLY_S = 2.0
"""Longest wait for the answer to a request that moves nothing, wall seconds."""

ANY_ERROR = range(1000, 2000)
"""Codes of errors due to a command."""

MALFORMED = frozenset({1001, 1002, 1003})
"""What a request that only asks can be refused for: unknown, syntax, argument."""

_SILENCE_S = 0.5
"""How often a reader that hears nothing looks whether it shall end."""


class _Waiter:
    """Somebody who asked: done when one message of each wanted set of codes has come, or a refusal."""

    def __init__(self, wanted: tuple[frozenset[int], ...], refusals: Container[int], is_fenced: bool) -> None:
        self._wanted = wanted
        self._got: dict[int, Message] = {}
        self._refusals = refusals
        self._is_fenced = is_fenced
        self.refusal: Message | None = None
        self.failure: LinkError | None = None
        self.done = Arrival()

    def offer(self, message: Message) -> bool:
        """Take the message if it is the one waited for."""
        for i, codes in enumerate(self._wanted):
            if message.code in codes and i not in self._got:
                self._got[i] = message
                if len(self._got) == len(self._wanted):
                    self.done.set()
                return True
        if message.code not in self._refusals or self.refusal is not None:
            return False
        self.refusal = message
        if not self._is_fenced:
            self.done.set()
        return True

    @property
    def replies(self) -> list[Message]:
        """In the order of what was wanted: another's question may have overtaken a part of ours."""
        return [self._got[i] for i in sorted(self._got)]


class RobotLine:
    """Both connections, open or closed together.

    Parameters
    ----------
    name : str
        The instrument's name; messages start with it.
    control, monitor : Link
    on_control, on_monitor : callable
        Called in a reader's thread with every message. `on_control` is called before whoever asked wakes up; it returns
        True when the message is dealt with and must not be taken for a refusal of a request.
    on_down : callable
        Called once when an open line is lost, with why.
    """

    def __init__(self, name: str, control: Link, monitor: Link, on_control: Callable[[Message], bool],
                 on_monitor: Callable[[Message], None], on_down: Callable[[LinkError], None]) -> None:
        self.name = name
        self._control, self._monitor = control, monitor
        self._on_control, self._on_monitor, self._on_down = on_control, on_monitor, on_down
        self._state = threading.Lock()
        self._waiters: list[_Waiter] = []
        self._threads: list[threading.Thread] = []
        self._down: LinkError | None = LinkDown(f"{name}: never connected")

    def open(self) -> Message:
        """Connect both ports and wait for the robot's greeting, which is returned.

        Raises
        ------
        LinkDown
            Nobody there, or the robot has another user ([3001]), in its words.
        LinkTimeout
            Connected, but no greeting.
        """
        self.close()
        self._control.connect()
        self._monitor.connect()
        greeting = _Waiter((frozenset(range(3000, 3004)),), ANY_ERROR, is_fenced=False)
        with self._state:
            self._down, self._waiters = None, [greeting]
        for link, handle in ((self._control, self._from_control), (self._monitor, self._on_monitor)):
            thread = threading.Thread(target=self._read, args=(link, handle), name=f"{self.name} {link.address}", daemon=True)
            self._threads.append(thread)
            thread.start()
        message = self._await(greeting, b"", REPLY_S)[0]
        if message.code != CONNECTED:
            raise LinkDown(f"{self.name}: the robot refused the connection: {message.words}")
        return message

    def close(self) -> None:
        """Close both connections and end the readers. May be called again."""
        self._lose(LinkDown(f"{self.name}: the line was closed"), is_news=False)
        threads, self._threads = self._threads, []
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(2 * _SILENCE_S)

    def ask(self, request: bytes, *wanted: frozenset[int], refusals: Container[int] = ANY_ERROR, is_fenced: bool = False,
            deadline_s: float | None = None, waits: Waits | None = None) -> list[Message]:
        """Send a request; returns its replies in the order of `wanted`. Several threads may wait at a time.

        Parameters
        ----------
        request : bytes
            One command or several.
        wanted : frozenset of int
            One message of each of these sets of codes answers it.
        refusals : container of int
            Error codes that can be meant for this request; others belong to somebody who waits longer.
        is_fenced : bool
            A refusal is raised only when everything wanted has come.
        deadline_s : float, optional
            Wall seconds; `REPLY_S` when left out.
        waits : Waits, optional
            Those of the bridge, when the answer comes only after physics.

        Raises
        ------
        CommandError
            The robot refused it; in its own words with the code.
        LinkDown, LinkTimeout
            The line broke; no answer in time.
        """
        waiter = _Waiter(wanted, refusals, is_fenced)
        with self._state:
            if self._down is not None:
                raise LinkDown(f"{self.name}: not connected: {self._down}", request)
            self._waiters.append(waiter)
        self._send(request, waiter)
        if waits is not None:
            waiter.done.expect(waits)
        replies = self._await(waiter, request, REPLY_S if deadline_s is None else deadline_s)
        if waiter.refusal is not None:
            raise CommandError(f"{self.name}: {waiter.refusal.words}")
        return replies

    def urge(self, request: bytes) -> None:
        """Send a request at once, though another may be waiting for its answer (STOP must not queue up)."""
        self._send(request)

    def _send(self, request: bytes, waiter: _Waiter | None = None) -> None:
        try:
            self._control.send(request)
        except LinkDown as error:
            self._lose(error)
            raise
        except LinkTimeout:
            self._forget(waiter)
            raise

    def _await(self, waiter: _Waiter, request: bytes, deadline_s: float) -> list[Message]:
        is_done = waiter.done.wait(deadline_s)
        self._forget(waiter)
        waiter.done.set()
        if waiter.failure is not None:
            raise waiter.failure
        if not is_done:
            got = "".join(m.words for m in waiter.replies)
            raise LinkTimeout(f"{self.name}: no answer within {deadline_s:.3g} s", request, got.encode())
        return waiter.replies

    def _forget(self, waiter: _Waiter | None) -> None:
        with self._state:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _from_control(self, message: Message) -> None:
        if self._on_control(message):
            return
        with self._state:
            # Newest first: one who asks briefly knows which codes are meant for it, one who waits long takes the rest.
            any(waiter.offer(message) for waiter in reversed(self._waiters))

    def _read(self, link: Link, handle: Callable[[Message], None]) -> None:
        parser = Parser()
        try:
            while self._down is None:
                try:
                    parser.feed(link.receive(bool, _SILENCE_S))
                except LinkTimeout:
                    continue
                while (message := parser.take()) is not None:
                    handle(message)
        except LinkError as error:
            self._lose(error)

    def _lose(self, error: LinkError, *, is_news: bool = True) -> None:
        """Close both connections; whoever waits fails with `error`."""
        with self._state:
            is_first, self._down = self._down is None, self._down or error
            for waiter in self._waiters:
                waiter.failure = waiter.failure or self._down
                waiter.done.set()
        self._control.close()
        self._monitor.close()
        if is_first:
            if is_news:
                log.warning("%s", error)
            self._on_down(error)
