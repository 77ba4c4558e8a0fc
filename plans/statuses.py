"""Statuses that plans and campaigns make themselves: something that happens, and time that passes."""

from __future__ import annotations

import threading
from collections.abc import Callable

from lab.core.capabilities import Status
from lab.core.clock import Clock


class Happening:
    """Done, with success, once `happen` has been called (again: nothing more); from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._callbacks: list[Callable[[Status], None]] = []

    @property
    def done(self) -> bool:
        return self._done.is_set()

    @property
    def success(self) -> bool:
        return self.done

    def add_callback(self, callback: Callable[[Status], None]) -> None:
        with self._lock:
            if not self.done:
                self._callbacks.append(callback)
                return
        callback(self)

    def exception(self, timeout: float | None = 0.0) -> BaseException | None:
        """None, once it is done.

        Raises
        ------
        TimeoutError
            When it is not done within `timeout` wall seconds.
        """
        if not self._done.wait(timeout):
            raise TimeoutError("it has not happened yet")
        return None

    def happen(self) -> None:
        """It has happened."""
        with self._lock:
            self._done.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)


class Elapsed(Happening):
    """Done once `lab_s` laboratory seconds have passed.

    Parameters
    ----------
    clock : Clock
    lab_s : float
        Laboratory seconds, >= 0.
    """

    def __init__(self, clock: Clock, lab_s: float) -> None:
        super().__init__()
        self.cancel = clock.after(lab_s, self.happen)
        """Nobody waits any more: it will never be done, and keeps no timer."""
