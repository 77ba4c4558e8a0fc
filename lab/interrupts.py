"""What the signals that end a program do, depending on what is going on: Ctrl-C, SIGTERM, and SIGHUP of a terminal that is closed."""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

LOOK_S = 0.5
"""Wall seconds between two looks of a thread that waits for a plan."""

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def handled(handler: Callable[[str], None]) -> Iterator[None]:
    """Call `handler` with the name of each signal that would end the program. Outside the main thread nothing changes.

    The handler runs between two instructions of the main thread, which may hold any lock: what needs one goes into a thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def receive(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            _leave_terminal()
        handler(signal.Signals(number).name)

    before = {number: signal.signal(number, receive) for number in ENDING}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


@contextmanager
def raised() -> Iterator[None]:
    """All of them raise KeyboardInterrupt, as Ctrl-C does, so that what has been started is ended in order."""

    def interrupt(name: str) -> None:
        raise KeyboardInterrupt(name)

    with handled(interrupt):
        yield


@contextmanager
def answered(say: Callable[[str], None], text: str) -> Iterator[None]:
    """None of them interrupts: `text` is said instead."""
    with handled(lambda name: threading.Thread(target=say, args=(text,), daemon=True).start()):
        yield


class Attentive:
    """How a RunEngine's caller waits for its plan (``RunEngine(during_task=Attentive())``) where a signal is to end it at any moment.

    A signal that arrives in the instant in which a thread begins to wait does not wake it (Python runs handlers between two instructions of the main
    thread, and there is none until the wait is over): it would be heard when the plan has ended. So it looks up, now and then.
    """

    def block(self, blocking_event: threading.Event) -> None:
        """Wait for the event."""
        while not blocking_event.wait(LOOK_S):
            pass


def ignore() -> None:
    """Ctrl-C does nothing any more: everything is over but the end of the process."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _leave_terminal() -> None:
    """Let nothing fail because the terminal it would be written to is gone."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):
        if stat.S_ISCHR(os.fstat(descriptor).st_mode):
            os.dup2(nowhere, descriptor)
    os.close(nowhere)
