"""The session's clock in virtual time over several processes: it reads the shared page, and says there when the session only waits."""

from __future__ import annotations

import logging
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lab.core.clock import Agenda, Cancel, IsOver, Rest, not_negative
from lab.core.page import TimePage

log = logging.getLogger(__name__)

LOOK_S = 0.0002
"""How often a process that waits looks whether time has leapt, wall seconds."""

HAND_OVER_S = 0.0005
"""After so long a thread that computes lets another one go on, wall seconds. Python's own 5 ms are longer than most exchanges take, and
in virtual time each is waited for: measured, a campaign takes a tenth less."""


def hand_over_soon() -> float:
    """Let the threads of this process take turns every `HAND_OVER_S`; returns how long their turns were."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(HAND_OVER_S)
    return before


class SharedClock:
    """Virtual time that somebody else keeps (see `lab.core.page`).

    Parameters
    ----------
    page : TimePage
        The session's side of it is written here, and nowhere else.

    Notes
    -----
    What is asked for with `after` is called in a thread of this clock. A rest without `is_over` is taken to be over as soon as
    anything has happened in the session.
    """

    speed = math.inf

    def __init__(self, page: TimePage) -> None:
        self._page = page
        self._agenda = Agenda()
        self._lock = threading.RLock()
        self._rests: list[Rest] = []
        self._n_working = self._n_asked = 0
        self._is_quiet = threading.Event()
        self._is_closed = False
        self._thread = threading.Thread(target=self._watch, name="virtual time", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; nothing is called any more."""
        self._is_closed = True
        self._is_quiet.set()
        self._thread.join()

    def now(self) -> float:
        return self._page.now_s

    def wall_s(self, lab_s: float) -> float:
        return 0.0

    def after(self, lab_s: float, call: Callable[[], object]) -> Cancel:
        taken_back = self._agenda.add(self._page.now_s + not_negative(lab_s), call)
        self._tell()

        def cancel() -> None:
            taken_back()
            self._tell()

        return cancel

    @contextmanager
    def resting(self, is_over: IsOver | None = None) -> Iterator[None]:
        rest = Rest(is_over)
        self._change(lambda: self._rests.append(rest))
        try:
            yield
        finally:
            self._change(lambda: self._rests.remove(rest))

    @contextmanager
    def working(self) -> Iterator[None]:
        self._work(1)
        try:
            yield
        finally:
            self._work(-1)

    @contextmanager
    def asking(self) -> Iterator[None]:
        self._ask(1)
        try:
            yield
        finally:
            self._ask(-1)

    def _work(self, change: int) -> None:
        with self._lock:
            self._n_working += change
            if change < 0:
                for rest in self._rests:
                    rest.is_told = True
            self._tell()

    def _ask(self, change: int) -> None:
        with self._lock:
            self._n_asked += change
            self._tell()

    def _change(self, change: Callable[[], None]) -> None:
        with self._lock:
            change()
            self._tell()

    def _tell(self) -> None:
        with self._lock:
            is_quiet = bool(self._rests) and self._n_working == 0 and not any(rest.is_waking() for rest in self._rests)
            if not self._is_closed:
                self._page.tell(is_quiet=is_quiet, n_asked=self._n_asked, n_working=self._n_working, next_s=self._agenda.next_s)
                (self._is_quiet.set if is_quiet else self._is_quiet.clear)()

    def _watch(self) -> None:
        """Call what is due. While the session does anything else than wait, time stands still and nothing becomes due."""
        while not self._is_closed:
            if self._agenda.next_s <= self._page.now_s:
                self._call_due()
            elif self._is_quiet.wait(0.1):
                time.sleep(LOOK_S)

    def _call_due(self) -> None:
        with self.working():
            try:
                self._agenda.call_until(self._page.now_s)
            except Exception:  # noqa: BLE001 - what one of them got wrong must not stop time for the others
                log.exception("a call at %.3f s of laboratory time failed", self._page.now_s)
