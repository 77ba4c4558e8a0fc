"""Which commands of a bridge wait for physics: told to whoever keeps virtual time, who lets it leap when all do.

A command waits for physics when a question that was asked after the last leap has been answered with "not yet". So it is not
enough to wait: each leap calls for a new look. In real time all of this does nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lab.core.page import TimePage
from lab.core.virtual import LOOK_S

STANDING_S = 0.1
"""Look again after so long even while time stands still, wall seconds: somebody may have stopped what is waited for."""

NEVER = -1
"""No epoch: physics has not been seen at it."""


class Wait:
    """One command that waits for physics.

    Its methods may be called from any thread; after `end` they do nothing.

    Parameters
    ----------
    waits : Waits
    is_told : bool
        The instrument tells of the end by itself, in order with its answers: one answer without it, to whatever was asked, says "not yet".
    """

    def __init__(self, waits: Waits, is_told: bool) -> None:
        self._waits, self.is_told = waits, is_told

    def not_yet(self, epoch: int) -> None:
        """What was asked when `Waits.epoch` was `epoch` has been answered: physics goes on."""
        self._waits.note(self, epoch)

    def end(self) -> None:
        """Physics is done, or no longer waited for."""
        self._waits.forget(self)


class Waits:
    """The waits of one bridge."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[Wait, int] = {}
        self._is_any = threading.Event()
        self._page: TimePage | None = None
        self._seat = 0

    @property
    def is_virtual(self) -> bool:
        """Whether time leaps."""
        return self._page is not None

    @property
    def epoch(self) -> int:
        """How often time has leapt: to be read before physics is asked how far it is."""
        return self._page.epoch if self._page is not None else 0

    def share(self, page: TimePage, seat: int, on_leap: Callable[[], None]) -> None:
        """Tell on a page from now on; `on_leap` is called soon after each leap while anybody waits."""
        self._page, self._seat = page, seat
        page.sit(seat, page.epoch, 0)
        threading.Thread(target=self._watch, args=(page, on_leap), name="leaps", daemon=True).start()

    def begin(self, is_told: bool = False) -> Wait:
        """A command begins to wait; physics must have begun before."""
        wait = Wait(self, is_told)
        with self._lock:
            self._seen[wait] = NEVER
            self._is_any.set()
        return wait

    @contextmanager
    def waiting(self) -> Iterator[Wait]:
        """`begin` and `end` around a block."""
        wait = self.begin()
        try:
            yield wait
        finally:
            wait.end()

    def told(self) -> tuple[Wait, ...]:
        """The waits now whose end the instrument tells of."""
        with self._lock:
            return tuple(wait for wait in self._seen if wait.is_told)

    def note(self, wait: Wait, epoch: int) -> None:
        """See `Wait.not_yet`."""
        with self._lock:
            if wait in self._seen:
                self._seen[wait] = epoch
                self._tell()

    def forget(self, wait: Wait) -> None:
        """See `Wait.end`."""
        with self._lock:
            if self._seen.pop(wait, None) is not None:
                if not self._seen:
                    self._is_any.clear()
                self._tell()

    def pause(self, wall_s: float, epoch: int) -> None:
        """Sleep so long before the next look at physics; in virtual time, as long as it stands still."""
        if not self.is_virtual:
            time.sleep(wall_s)
            return
        ends = time.monotonic() + STANDING_S
        while self.epoch == epoch and time.monotonic() < ends:
            time.sleep(LOOK_S)

    def _tell(self) -> None:
        if self._page is not None:
            epoch = self._page.epoch
            self._page.sit(self._seat, epoch, sum(seen == epoch for seen in self._seen.values()))

    def _watch(self, page: TimePage, on_leap: Callable[[], None]) -> None:
        seen = page.epoch
        while self._is_any.wait():
            epoch = page.epoch
            if epoch != seen:
                seen = epoch
                on_leap()
            else:
                time.sleep(LOOK_S)


class Arrival:
    """A thing of physics that one message of the instrument tells of: set in the thread that hears it, waited for in another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._event = threading.Event()
        self._wait: Wait | None = None

    def expect(self, waits: Waits) -> None:
        """The instrument is at it: from now on this is a wait for physics, unless it has come already."""
        with self._lock:
            if not self._event.is_set() and self._wait is None:
                self._wait = waits.begin(is_told=True)

    def set(self) -> None:
        """It has come, or will not come any more."""
        with self._lock:
            self._event.set()
            if self._wait is not None:
                self._wait.end()

    def wait(self, timeout_s: float) -> bool:
        """Whether it has come within so many wall seconds."""
        return self._event.wait(timeout_s)
