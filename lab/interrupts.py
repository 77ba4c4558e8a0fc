"""What the signals that end a program do, depending on what is going on: Ctrl-C, SIGTERM, and SIGHUP of a terminal that is closed."""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

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
