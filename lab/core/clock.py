"""Clocks. Laboratory time is what the physics sees; wall time is what people and protocol watchdogs see.

A clock is *real* (`WallClock`, `ScaledClock`), turned by hand (`ManualClock`), or *virtual* (`EventClock`): then it stands still
while anybody computes and leaps to the next thing that was asked for with `after` once everybody waits. So that it can tell,
those who wait say so with `resting`, those who compute in a thread of their own with `working`. On other clocks both mean nothing.
"""

from __future__ import annotations

import heapq
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import count
from typing import Protocol

STANDSTILL_S = 300.0
"""How long virtual time may stand still while physics is waited for, wall seconds: somebody computes, or the machine is busy."""

Cancel = Callable[[], None]
"""Takes back what was asked for with `Clock.after`; does nothing once it has been called."""

IsOver = Callable[[], bool]


class Clock(Protocol):
    """Time in seconds, never going backwards."""

    @property
    def speed(self) -> float:
        """Laboratory seconds per wall second; infinite for virtual time."""
        ...

    def now(self) -> float:
        """Laboratory seconds since an arbitrary origin."""
        ...

    def wall_s(self, lab_s: float) -> float:
        """How long `lab_s` laboratory seconds take on the wall; 0 in virtual time."""
        ...

    def after(self, lab_s: float, call: Callable[[], object]) -> Cancel:
        """Have `call` called once `lab_s` laboratory seconds (>= 0) have passed, in any thread.

        Raises
        ------
        ValueError
            When `lab_s` is negative or not a number.
        """
        ...

    def resting(self, is_over: IsOver | None = None) -> AbstractContextManager[object]:
        """While the block runs, its thread waits for something that others, or the passing of time, will bring about.

        Parameters
        ----------
        is_over : callable, optional
            Tells whether that has happened, even if the waiting thread has not woken up yet. It is called from any thread and must
            not ask the clock. Without it, virtual time leaps once for each rest and trusts that the waiter wakes up.
        """
        ...

    def working(self) -> AbstractContextManager[object]:
        """While the block runs, virtual time stands still: a thread computes what others wait for.

        Whoever hands work to a thread enters the block, so that no time passes before the thread begins; the thread leaves it
        once it has handed over what it computed.
        """
        ...

    def asking(self) -> AbstractContextManager[object]:
        """While the block runs, another process carries something out; it tells by itself whether it waits for physics."""
        ...


class WallClock:
    """Laboratory time is wall time: real instruments, and protocol watchdogs everywhere."""

    speed = 1.0

    def now(self) -> float:
        return time.monotonic()

    def wall_s(self, lab_s: float) -> float:
        return lab_s

    def after(self, lab_s: float, call: Callable[[], object]) -> Cancel:
        return _after_wall(self.wall_s(not_negative(lab_s)), call)

    def resting(self, is_over: IsOver | None = None) -> AbstractContextManager[object]:
        return nullcontext()

    def working(self) -> AbstractContextManager[object]:
        return nullcontext()

    def asking(self) -> AbstractContextManager[object]:
        return nullcontext()


class ScaledClock(WallClock):
    """Physics runs `speed` times as fast as the wall.

    Parameters
    ----------
    speed : float
        Laboratory seconds per wall second, > 0 and finite.
    now_s : float
        Laboratory time at which it starts.

    Raises
    ------
    ValueError
        When `speed` is not positive and finite.
    """

    def __init__(self, speed: float, now_s: float = 0.0) -> None:
        if not 0 < speed < math.inf:
            raise ValueError(f"speed: {speed} is not greater than 0 and finite")
        self.speed = float(speed)
        self._origin_s = time.monotonic() - now_s / self.speed

    def now(self) -> float:
        return (time.monotonic() - self._origin_s) * self.speed

    def wall_s(self, lab_s: float) -> float:
        return lab_s / self.speed


class ManualClock:
    """Time stands still until a test (or a virtual laboratory) advances it; what was asked for meanwhile is called then."""

    speed = 1.0

    def __init__(self, now_s: float = 0.0) -> None:
        self._now_s = now_s
        self._agenda = Agenda()

    def now(self) -> float:
        return self._now_s

    def wall_s(self, lab_s: float) -> float:
        return lab_s

    def after(self, lab_s: float, call: Callable[[], object]) -> Cancel:
        return self._agenda.add(self._now_s + not_negative(lab_s), call)

    def resting(self, is_over: IsOver | None = None) -> AbstractContextManager[object]:
        return nullcontext()

    def working(self) -> AbstractContextManager[object]:
        return nullcontext()

    def asking(self) -> AbstractContextManager[object]:
        return nullcontext()

    def advance(self, lab_s: float) -> None:
        """Move on by `lab_s` seconds (>= 0), from one `after` to the next, each called at its own time."""
        if lab_s < 0:
            raise ValueError(f"advance: {lab_s} s would turn time back")
        self.advance_to(self._now_s + lab_s)

    def advance_to(self, until_s: float) -> None:
        """Move on to a time that is not past."""
        if until_s < self._now_s:
            raise ValueError(f"advance: to {until_s} s from {self._now_s} s would turn time back")
        while self._agenda.next_s <= until_s:
            self._now_s = max(self._now_s, self._agenda.next_s)
            self._agenda.call_until(self._now_s)
        self._now_s = until_s


class EventClock:
    """Virtual time within one process: a day of laboratory time passes as fast as its events can be worked off.

    Time leaps to the next `after` when somebody rests and nobody works: in the thread that begins to rest, or that ends its
    work (or asks for an `after`) while another rests. What is due at one time is called in the order in which it was asked
    for, and all of it before the next leap. An error that such a call raises leaves the block that made the leap.

    Parameters
    ----------
    now_s : float
        Where it starts.
    """

    speed = math.inf

    def __init__(self, now_s: float = 0.0) -> None:
        self._now_s = now_s
        self._agenda = Agenda()
        self._lock = threading.Lock()
        self._rests: list[Rest] = []
        self._n_working = 0
        self._is_leaping = False

    def now(self) -> float:
        return self._now_s

    def wall_s(self, lab_s: float) -> float:
        return 0.0

    def after(self, lab_s: float, call: Callable[[], object]) -> Cancel:
        cancel = self._agenda.add(self._now_s + not_negative(lab_s), call)
        self._leap()
        return cancel

    @contextmanager
    def resting(self, is_over: IsOver | None = None) -> Iterator[None]:
        rest = Rest(is_over)
        with self._lock:
            self._rests.append(rest)
        try:
            self._leap()
            yield
        finally:
            with self._lock:
                self._rests.remove(rest)

    @contextmanager
    def working(self) -> Iterator[None]:
        with self._lock:
            self._n_working += 1
        try:
            yield
        finally:
            with self._lock:
                self._n_working -= 1
            self._leap()

    def asking(self) -> AbstractContextManager[object]:
        return nullcontext()

    def _leap(self) -> None:
        """Leap, and leap again, as long as everybody only waits. What a call asks of this clock is left to the leap it is part of."""
        while self._may_leap():
            try:
                self._agenda.call_until(self._now_s)
            finally:
                self._is_leaping = False

    def _may_leap(self) -> bool:
        """Whether time leaps now; if so it has, all who rest are told, and nobody else leaps until `_is_leaping` is taken back."""
        with self._lock:
            if self._is_leaping or self._n_working or not self._rests or any(rest.is_waking() for rest in self._rests):
                return False
            next_s = self._agenda.next_s
            if next_s == math.inf:
                return False
            self._now_s = max(self._now_s, next_s)
            for rest in self._rests:
                rest.is_told = True
            self._is_leaping = True
            return True


class Agenda:
    """What is to be called when; at equal times in the order in which it was added. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = count()
        self._entries: list[tuple[float, int]] = []
        self._calls: dict[int, Callable[[], object]] = {}

    @property
    def next_s(self) -> float:
        """When the next call is due; infinity when there is none."""
        with self._lock:
            while self._entries and self._entries[0][1] not in self._calls:
                heapq.heappop(self._entries)
            return self._entries[0][0] if self._entries else math.inf

    def add(self, at_s: float, call: Callable[[], object]) -> Cancel:
        """Have `call` called at `at_s`."""
        with self._lock:
            number = next(self._numbers)
            self._calls[number] = call
            heapq.heappush(self._entries, (at_s, number))

        def cancel() -> None:
            with self._lock:
                self._calls.pop(number, None)

        return cancel

    def call_until(self, until_s: float) -> None:
        """Call all that is due at `until_s` or before, also what is added meanwhile."""
        while (call := self._take(until_s)) is not None:
            call()

    def _take(self, until_s: float) -> Callable[[], object] | None:
        with self._lock:
            while self._entries and self._entries[0][0] <= until_s:
                call = self._calls.pop(heapq.heappop(self._entries)[1], None)
                if call is not None:
                    return call
            return None


class Rest:
    """One block of ``resting`` on a virtual clock: whether its thread has what it waits for, as far as can be told."""

    def __init__(self, is_over: IsOver | None) -> None:
        self._is_over = is_over
        self.is_told = False

    def is_waking(self) -> bool:
        return self.is_told if self._is_over is None else self._is_over()


def deadline_s(lab_s: float, speed: float, slack_s: float) -> float:
    """Longest wait on the wall for what takes `lab_s` laboratory seconds.

    Parameters
    ----------
    lab_s : float
    speed : float
        Laboratory seconds per wall second. Infinite in virtual time: how long that stands still is nobody's fault.
    slack_s : float
        For the network and the machine, wall seconds.
    """
    return STANDSTILL_S + slack_s if math.isinf(speed) else lab_s / speed + slack_s


def _after_wall(wall_s: float, call: Callable[[], object]) -> Cancel:
    timer = threading.Timer(wall_s, call)
    timer.daemon = True
    timer.start()
    return timer.cancel


def not_negative(lab_s: float) -> float:
    """`lab_s`; raises ValueError when that is no time to wait."""
    if not lab_s >= 0:
        raise ValueError(f"after: {lab_s} s is not a time to wait")
    return lab_s
