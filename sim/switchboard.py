"""One loop that waits for the bytes of all simulated instruments and steps them.

It is driven by select, so an exchange costs tens of microseconds, not a polling interval.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from lab.core.errors import ServiceError
from sim.firmware import STEP_S

T = TypeVar("T")

_CALL_DEADLINE_S = 10.0


class Switchboard:
    """The loop. `run` serves in the calling thread until `quit`; `start` does so in a thread of its own.

    What is registered is called in the loop's thread only, so firmware needs no locks. An exception from one of the
    callbacks ends the loop and is raised from `run` (or from `stop`): a simulator with a fault of its own must not
    go on as if nothing had happened.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._steps: list[Callable[[], None]] = []
        self._calls: deque[Callable[[], None]] = deque()
        self._thread: threading.Thread | None = None
        self._owner: int | None = None
        self._is_quitting = False
        self._failure: BaseException | None = None
        self._wake_read, self._wake_write = os.pipe()
        for end in (self._wake_read, self._wake_write):
            os.set_blocking(end, False)
        self.watch(self._wake_read, self._woken)

    # ------------------------------------------------------------------------------ called in the loop's thread

    def watch(self, fd: int, on_readable: Callable[[], None], on_writable: Callable[[], None] | None = None) -> None:
        """Call `on_readable` when `fd` has bytes (or a client, or has been closed), `on_writable` when it takes some."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if on_writable is not None else 0)
        if fd in self._selector.get_map():
            self._selector.modify(fd, events, (on_readable, on_writable))
        else:
            self._selector.register(fd, events, (on_readable, on_writable))

    def unwatch(self, fd: int) -> None:
        """Forget `fd`; to be called before it is closed."""
        self._selector.unregister(fd)

    def add_step(self, step: Callable[[], None]) -> None:
        """Call `step` about every `STEP_S` wall seconds."""
        self._steps.append(step)

    def remove_step(self, step: Callable[[], None]) -> None:
        self._steps.remove(step)

    def step(self) -> None:
        """Carry out all steps, now."""
        for step in tuple(self._steps):
            step()

    # --------------------------------------------------------------------------------- called from any thread

    def call(self, action: Callable[[], T]) -> T:
        """Do `action` in the loop's thread and return what it returns (at once, when the loop is not running).

        Raises
        ------
        ServiceError
            When the loop does not get to it in 10 s.
        """
        if self._owner is None or self._owner == threading.get_ident():
            return action()
        future: Future[T] = Future()

        def carry_out() -> None:
            try:
                future.set_result(action())
            except BaseException as error:  # noqa: BLE001 - handed over whole to the thread that asked
                future.set_exception(error)

        self._calls.append(carry_out)
        self._wake()
        try:
            return future.result(timeout=_CALL_DEADLINE_S)
        except TimeoutError as error:
            raise ServiceError(f"simulator: the loop has not answered for {_CALL_DEADLINE_S:g} s") from error

    def quit(self) -> None:
        """Let `run` return. Safe in a signal handler."""
        self._is_quitting = True
        self._wake()

    # ------------------------------------------------------------------------------------------------ life

    def run(self) -> None:
        """Serve until `quit`."""
        self._owner = threading.get_ident()
        next_step_s = time.monotonic()
        try:
            while not self._is_quitting:
                for key, events in self._selector.select(max(0.0, next_step_s - time.monotonic())):
                    on_readable, on_writable = key.data
                    if events & selectors.EVENT_WRITE and on_writable is not None:
                        on_writable()
                    # an earlier callback of this round may have closed it
                    if events & selectors.EVENT_READ and self._selector.get_map().get(key.fd) is not None:
                        on_readable()
                while self._calls:
                    self._calls.popleft()()
                if time.monotonic() >= next_step_s:
                    self.step()
                    next_step_s = time.monotonic() + STEP_S
        finally:
            self._owner = None
            while self._calls:
                self._calls.popleft()()

    def start(self) -> None:
        """Serve in a thread."""
        is_running = threading.Event()
        self._calls.append(is_running.set)

        def serve() -> None:
            try:
                self.run()
            except BaseException as error:  # noqa: BLE001 - kept for `stop`, which raises it
                self._failure = error

        self._thread = threading.Thread(target=serve, name="simulated-instruments", daemon=True)
        self._thread.start()
        if not is_running.wait(_CALL_DEADLINE_S):
            raise ServiceError("simulator: the loop did not start")

    def join(self, timeout_s: float) -> None:
        """Wait until the thread has ended by itself, at most `timeout_s`."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def stop(self) -> None:
        """End the thread and close what the loop itself has opened. Raises what ended the loop early, if anything did."""
        self.quit()
        if self._thread is not None:
            self._thread.join(_CALL_DEADLINE_S)
            self._thread = None
        if self._wake_read != -1:
            self._selector.close()
            os.close(self._wake_read)
            os.close(self._wake_write)
            self._wake_read = self._wake_write = -1
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise ServiceError("simulator: the loop ended by an error of its own") from failure

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # a full pipe wakes it as well
            os.write(self._wake_write, b"\0")

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_read, 512):
                pass
