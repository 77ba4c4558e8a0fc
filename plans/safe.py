"""Leaving the instruments safe, and getting them ready again after a failure."""

from __future__ import annotations

from typing import Any

from bluesky.utils import FailedStatus

from lab.core.capabilities import Instrument, Park
from lab.core.errors import LabError

from plans.cell import WorkCell
from plans.stubs import Plan, act, cause_of, move


def make_safe(cell: WorkCell) -> Plan:
    """Heater off, pumps stopped, shutter closed, arm parked.

    One instrument that does not answer never keeps the others from being made safe.

    Returns
    -------
    dict of str to str
        Per instrument ``"safe"``, or why it could not be made safe.
    """
    result: dict[str, str] = {}
    for instrument in cell.instruments:
        result[instrument.name] = yield from _attempt(act(f"make {instrument.name} safe", instrument.make_safe))
    if result.get(cell.arm.name) == "safe":
        parked = yield from _attempt(_park(cell))
        result[cell.arm.name] = "safe, parked" if parked == "safe" else f"safe, not parked: {parked}"
    return result


def recover(cell: WorkCell) -> Plan:
    """Clear errors and get every instrument ready; returns what is still wrong, by instrument (empty: all ready)."""
    wrong: dict[str, str] = {}
    for instrument in cell.instruments:
        outcome = yield from _attempt(act(f"recover {instrument.name}", instrument.recover))
        if outcome != "safe":
            wrong[instrument.name] = outcome
    return wrong


def _park(cell: WorkCell) -> Plan:
    yield from act("ready the arm", cell.arm.recover)
    yield from move(cell.arm, Park())


def _attempt(plan: Plan) -> Plan:
    """Run a plan; a failure of the instrument is returned in words instead of raised."""
    try:
        yield from plan
    except (FailedStatus, LabError) as error:
        return str(cause_of(error))
    return "safe"


def safe_now(instruments: tuple[Instrument, ...], deadline_s: float) -> dict[str, Any]:
    """The same without a RunEngine: for the end of a session whose RunEngine can no longer be asked.

    Parameters
    ----------
    instruments : tuple of Instrument
    deadline_s : float
        Wall seconds to wait for each.
    """
    result: dict[str, Any] = {}
    for instrument in instruments:
        try:
            error = instrument.make_safe().exception(timeout=deadline_s)
        except (LabError, TimeoutError) as failure:
            error = failure
        result[instrument.name] = "safe" if error is None else f"{error}"
    return result
