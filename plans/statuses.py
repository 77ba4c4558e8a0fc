"""A status that a plan itself makes: time that passes."""

from __future__ import annotations

import threading
from collections.abc import Callable

from lab.core.capabilities import Status
from lab.core.clock import Clock


class Elapsed:
    """Done, with success, once `lab_s` laboratory seconds have passed.

    Parameters
    ----------
    clock : Clock
    lab_s : float
        Laboratory seconds, >= 0.
    """

    def __init__(self, clock: Clock, lab_s: float) -> None:
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._callbacks: list[Callable[[Status], None]] = []
        self.cancel = clock.after(lab_s, self._finish)
        """Nobody waits any more: it will never be done, and keeps no timer."""

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
            raise TimeoutError("time has not yet passed")
        return None

    def _finish(self) -> None:
        with self._lock:
            self._done.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)
