"""Leaving the instruments safe, and getting them ready again after a failure."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from bluesky.utils import FailedStatus

from lab.core.capabilities import Instrument, Park
from lab.core.errors import LabError
from plans.cell import WorkCell
from plans.stubs import Plan, act_alone, cause_of, pause

AGAIN_S = 1.0
"""Wall seconds between two attempts to ready an instrument."""


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
        result |= yield from attempted(instrument)
    if result.get(cell.arm.name) == "safe":
        parked = yield from _attempt(_park(cell))
        result[cell.arm.name] = "safe, parked" if parked == "safe" else f"safe, not parked: {parked}"
    return result


def attempted(instrument: Instrument) -> Plan:
    """Make one instrument safe; returns ``{name: "safe"}``, or why that could not be done."""
    said = yield from _attempt(act_alone(f"make {instrument.name} safe", instrument.make_safe))
    return {instrument.name: said}


def ready(instruments: Iterable[Any], patience_s: float, *, is_after_failure: bool = False) -> Plan:
    """Get instruments ready: those that say that something is wrong, or after a failure all of them.

    Parameters
    ----------
    instruments : iterable of Instrument
        Others (without health) are left alone.
    patience_s : float
        Wall seconds during which those that are not ready (unplugged, say) are tried again.
    is_after_failure : bool
        Clear errors and ready them even if they seem well.

    Returns
    -------
    dict of str to str
        What is still wrong, by instrument; empty when all are ready.
    """
    deadline = time.monotonic() + patience_s
    waiting = [one for one in instruments if isinstance(one, Instrument) and (is_after_failure or not _is_well(one))]
    while waiting:
        wrong: dict[str, str] = {}
        for instrument in waiting:
            said = yield from _attempt(act_alone(f"recover {instrument.name}", instrument.recover, moves=instrument))
            if said != "safe":
                wrong[instrument.name] = said
        if not wrong or time.monotonic() > deadline:
            return wrong
        waiting = [one for one in waiting if one.name in wrong]
        yield from pause(AGAIN_S)
    return {}


def _is_well(instrument: Instrument) -> bool:
    health = instrument.health()
    return health.is_connected and not health.cause


def _park(cell: WorkCell) -> Plan:
    yield from act_alone("ready the arm", cell.arm.recover, moves=cell.arm)
    yield from act_alone("park the arm", lambda: cell.arm.set(Park()), moves=cell.arm)


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
