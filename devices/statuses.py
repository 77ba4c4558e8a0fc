"""Statuses that fail with the laboratory's own errors, and operations made of several of them.

Ophyd's statuses end a missed deadline with StatusTimeoutError and let a second report raise InvalidState. Here a missed
deadline is a LabError that says what was waited for, and only the first report counts: a STOP, a disconnection and a late
completion may all arrive for the same command.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack
from typing import Any

from ophyd.status import Status as OphydStatus
from ophyd.utils import StatusTimeoutError

from devices import timekeeping
from lab.core.capabilities import Status
from lab.core.errors import CommandError, InstrumentError, LabError, LinkTimeout


class OperationStatus(OphydStatus):
    """One operation of an instrument.

    Parameters
    ----------
    obj : object
        Whose operation it is.
    what : str
        What is waited for, for the message of a missed deadline: ``pump_cs: RATE = 2``.
    deadline_s : float
        Wall seconds after which it fails.
    missed : type of InstrumentError
        What it fails with then: LinkTimeout where an answer is waited for, CommandError where physics is.
    """

    def __init__(self, obj: Any, what: str, deadline_s: float, missed: type[InstrumentError] = LinkTimeout) -> None:
        self._what = what
        self._reporting = threading.Lock()
        self._is_reported = self._is_handed_on = False
        self._handing_on = ExitStack()
        self._deadline_s = deadline_s
        self._missed = missed
        self._exception: Exception | None = None
        self._watchers: list[Callable[..., None]] = []
        super().__init__(obj=obj, timeout=deadline_s)

    def watch(self, watcher: Callable[..., None]) -> None:
        """Have `watcher` told of progress, with the keywords of Bluesky's progress bars (name, initial, current, target, unit)."""
        self._watchers.append(watcher)

    def tell(self, *, name: str, initial: float, current: float, target: float, unit: str) -> None:
        """Tell the watchers how far it is."""
        for watcher in self._watchers:
            watcher(name=name, initial=initial, current=current, target=target, unit=unit, precision=1)

    def succeed(self) -> None:
        """The operation is done."""
        if self._is_first_report():
            self._begin_handing_on()
            self.set_finished()

    def fail(self, error: LabError) -> None:
        """The operation failed."""
        if self._is_first_report():
            self._begin_handing_on()
            self.set_exception(error)

    def _begin_handing_on(self) -> None:
        """Until everybody has been told of the end, in a thread of ophyd's, virtual time stands still."""
        with self._reporting:
            if not self._is_handed_on:
                self._handing_on.enter_context(timekeeping.clock().working())

    def _run_callbacks(self) -> None:
        try:
            super()._run_callbacks()
        finally:
            with self._reporting:
                self._is_handed_on = True
                self._handing_on.close()

    def _is_first_report(self) -> bool:
        with self._reporting:
            is_first, self._is_reported = not self._is_reported and not self.done, True
            return is_first

    def _settled(self) -> None:
        # Ophyd's hook between the end of waiting and the callbacks.
        if isinstance(self._exception, StatusTimeoutError):
            self._is_reported = True
            self._exception = self._missed(f"{self._what}: not done within {self._deadline_s:g} s")


Steps = Generator[Status, None, None]
"""Yields statuses; each must be done before it goes on. A failure is raised at the yield."""


def follow(status: OperationStatus, steps: Steps) -> OperationStatus:
    """Carry out `steps` one after another; `status` follows them.

    The steps run in whatever thread completed the one before, so they must not block.

    Parameters
    ----------
    status : OperationStatus
        Succeeds with the last step, fails with the first LabError that leaves the generator. Once it is done (deadline,
        stop), no further step begins.
    steps : generator of statuses
    """

    def advance(resume: Callable[[], Status]) -> None:
        try:
            step = resume()
        except StopIteration:
            status.succeed()
        except LabError as error:
            status.fail(error)
        else:
            step.add_callback(after)

    def after(step: Status) -> None:
        if status.done:
            steps.close()
            return
        error = step.exception(0)
        if error is None:
            advance(lambda: next(steps))
        else:
            failure = error if isinstance(error, LabError) else CommandError(str(error))
            advance(lambda: steps.throw(failure))

    advance(lambda: next(steps))
    return status


def all_of(obj: Any, what: str, statuses: Iterable[Status], deadline_s: float,
           on_failure: Callable[[], None] | None = None) -> OperationStatus:
    """Done when all are; fails with the first failure, but only when all are done, so that nothing is still going on.

    Parameters
    ----------
    obj, what, deadline_s
        As of `OperationStatus`.
    statuses : iterable of Status
    on_failure : callable, optional
        Called once, at the first failure: stop the others.
    """
    waiting = list(statuses)
    combined = OperationStatus(obj, what, deadline_s)
    lock = threading.Lock()
    failures: list[InstrumentError | LabError] = []
    n_open = len(waiting)
    if not waiting:
        combined.succeed()
        return combined

    def after(status: Status) -> None:
        nonlocal n_open
        error = status.exception(0)
        with lock:
            n_open -= 1
            is_last = n_open == 0
            if error is not None:
                failures.append(error if isinstance(error, LabError) else CommandError(str(error)))
            is_first_failure = error is not None and len(failures) == 1
        if is_first_failure and not is_last and on_failure is not None:
            on_failure()
        if is_last:
            if failures:
                combined.fail(failures[0])
            else:
                combined.succeed()

    for status in waiting:
        status.add_callback(after)
    return combined
