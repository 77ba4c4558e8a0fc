"""Small plans that the recipes are made of. Raw messages where a hot path would pay for decorated stubs."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from bluesky.utils import FailedStatus, Msg, RunEngineControlException

from lab.core.capabilities import Pick, Place, Status
from lab.core.clock import Clock
from lab.core.errors import EmptyPlace, InstrumentError, LabError
from lab.core.journal import Journal
from lab.core.sample import GRIPPER, UNKNOWN
from plans.cell import WorkCell
from plans.statuses import Elapsed

Plan = Generator[Msg, Any, Any]


class Action:
    """Something with a Status that a plan can wait for: ``yield from act("recover arm", arm.recover)``.

    Parameters
    ----------
    name : str
    start : callable
    moves : object, optional
        The device that the action sets in motion; interlocks guard it as they guard a ``set`` (see `plans.guarded`).
    """

    def __init__(self, name: str, start: Callable[[], Status], moves: Any = None) -> None:
        self.name = name
        self.moves = moves
        self.parent = None
        self.status: Status | None = None
        self._start = start

    def trigger(self) -> Status:
        self.status = self._start()
        return self.status


def start(name: str, action: Callable[[], Status], group: str) -> Plan:
    """Start an action; its end is awaited with ``bps.wait(group)``."""
    return (yield Msg("trigger", Action(name, action), group=group))


def act(name: str, action: Callable[[], Status]) -> Plan:
    """Carry an action out and wait for it.

    Raises
    ------
    bluesky.utils.FailedStatus
        With the failed status, whose exception has the instrument's words (see `cause_of`).
    """
    group = f"act-{uuid4().hex[:8]}"
    yield from start(name, action, group)
    yield Msg("wait", None, group=group)


def act_alone(name: str, action: Callable[[], Status], moves: Any = None) -> Plan:
    """As `act`, deaf to what else fails meanwhile.

    The RunEngine throws a failed status at whatever message comes next. When motion is stopped to make things safe, the move that
    was under way fails: that is not the failure of the command that stopped it.
    """
    one = Action(name, action, moves)
    group = f"act-{uuid4().hex[:8]}"
    while True:
        try:
            if one.status is None:
                yield Msg("trigger", one, group=group)
            yield Msg("wait", None, group=group)
        except FailedStatus as error:
            if one.status is not None and (not error.args or error.args[0] is one.status):
                raise
        else:
            return


def move(device: Any, target: Any) -> Plan:
    """Set a device and wait, as ``bps.mv`` does for one device."""
    group = f"move-{uuid4().hex[:8]}"
    yield Msg("set", device, target, group=group)
    yield Msg("wait", None, group=group)


def hold(clock: Clock, lab_s: float) -> Plan:
    """Wait so many laboratory seconds, as a status among others: in virtual time there is nothing to sleep for."""
    elapsed = Elapsed(clock, max(0.0, lab_s))
    try:
        yield from act(f"hold {lab_s:g} s", lambda: elapsed)
    finally:
        elapsed.cancel()


def pause(wall_s: float) -> Plan:
    """Wait so many wall seconds: for people and for lines, to which laboratory time means nothing."""
    yield Msg("sleep", None, wall_s)


def cause_of(error: BaseException) -> LabError:
    """The LabError behind whatever a plan caught, in the instrument's own words where there are any.

    A `LabError` is returned as it is; a FailedStatus gives its status's exception; a time-out of a status and anything
    else becomes an `InstrumentError` that names its type.
    """
    if isinstance(error, LabError):
        return error
    if isinstance(error, FailedStatus):
        inner = error.__cause__
        if inner is None and error.args and hasattr(error.args[0], "exception"):
            inner = error.args[0].exception(timeout=0)
        if isinstance(inner, LabError):
            return inner
        if inner is not None:
            return InstrumentError(f"{type(inner).__name__}: {inner}")
    return InstrumentError(f"{type(error).__name__}: {error}")


def raise_end(error: BaseException) -> None:
    """Raise the abort or stop during which an error came up, if there was one.

    A clean-up that fails (the heater cannot be switched off, since its bridge is gone) takes the place of what it cleans up after; the
    sample is not lost of that, it is left for whoever resumes.

    Raises
    ------
    bluesky.utils.RunEngineControlException
    """
    before = error.__context__
    while before is not None:
        if isinstance(before, RunEngineControlException):
            raise before
        before = before.__context__


@contextmanager
def step(journal: Journal, station: str, what: str, name: str = "") -> Iterator[None]:
    """Book the station as busy while the block runs, and its end with the cause if it fails; `name` is the step of the recipe."""
    number = journal.step_began(station, what, name)
    try:
        yield
    except GeneratorExit:
        raise
    except BaseException as error:
        journal.step_ended(number, cause=str(cause_of(error)))
        raise
    journal.step_ended(number)


def transfer(cell: WorkCell, journal: Journal, origin: str, target: str) -> Plan:
    """Move the sample from one place to another; the ledger knows before and after each half.

    A sample that is already in the gripper (`GRIPPER` as origin) is only put down.
    When a half fails, the ledger holds the truth as far as the gripper can tell it: still at the origin, in the gripper,
    or unknown.
    """
    with step(journal, "arm", f"{origin} -> {target}", "transfer"):
        if origin != GRIPPER:
            yield from half_transfer(cell, journal, Pick(origin), origin, GRIPPER)
        yield from half_transfer(cell, journal, Place(target), GRIPPER, target)


def half_transfer(cell: WorkCell, journal: Journal, command: Pick | Place, origin: str, target: str) -> Plan:
    """One half of a transfer: into the gripper, or out of it. `origin` is where the ledger has the sample now."""
    number = journal.move_announced(origin, target)
    try:
        yield from move(cell.arm, command)
    except GeneratorExit:
        raise
    except RunEngineControlException as error:
        place = yield from _place_when_stopped(cell)
        journal.move_failed(number, place, f"interrupted: {error}" if str(error) else "interrupted")
        raise
    except BaseException as error:
        journal.move_failed(number, _place_after(cell, origin, target, error), str(cause_of(error)))
        raise
    journal.move_done(number)


def _place_when_stopped(cell: WorkCell) -> Plan:
    """Where a sample is whose transfer was interrupted: the arm is stopped first, since it might go on and make the answer wrong."""
    try:
        yield from act_alone("stop the arm", cell.arm.make_safe)
        return GRIPPER if cell.arm.is_holding() else UNKNOWN
    except (FailedStatus, LabError):
        return UNKNOWN


def _place_after(cell: WorkCell, origin: str, target: str, error: BaseException) -> str:
    """Where a sample is after a failed half transfer, by asking the gripper."""
    if isinstance(cause_of(error), EmptyPlace):
        return UNKNOWN
    try:
        is_holding = cell.arm.is_holding()
    except LabError:
        return UNKNOWN
    if is_holding:
        return GRIPPER
    return origin if target == GRIPPER else UNKNOWN
