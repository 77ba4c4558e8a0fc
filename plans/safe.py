"""Leaving the instruments safe, and getting them ready again after a failure."""

from __future__ import annotations

import time
from typing import Any

from bluesky.utils import FailedStatus, Msg

from lab.core.capabilities import Instrument, Park
from lab.core.errors import LabError
from plans.cell import WorkCell
from plans.stubs import Plan, act_alone, cause_of


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
        result[instrument.name] = yield from _attempt(act_alone(f"make {instrument.name} safe", instrument.make_safe))
    if result.get(cell.arm.name) == "safe":
        parked = yield from _attempt(_park(cell))
        result[cell.arm.name] = "safe, parked" if parked == "safe" else f"safe, not parked: {parked}"
    return result


def recover(cell: WorkCell, patience_s: float = 0.0) -> Plan:
    """Clear errors and get every instrument ready.

    Parameters
    ----------
    cell : WorkCell
    patience_s : float
        Wall seconds during which instruments that are not ready (unplugged, say) are tried again, once a second.

    Returns
    -------
    dict of str to str
        What is still wrong, by instrument; empty when all are ready.
    """
    deadline = time.monotonic() + patience_s
    waiting: dict[str, Instrument] = {instrument.name: instrument for instrument in cell.instruments}
    while True:
        wrong: dict[str, str] = {}
        for name, instrument in waiting.items():
            said = yield from _attempt(act_alone(f"recover {name}", instrument.recover))
            if said != "safe":
                wrong[name] = said
        if not wrong or time.monotonic() > deadline:
            return wrong
        waiting = {name: waiting[name] for name in wrong}
        yield Msg("sleep", None, 1.0)


def _park(cell: WorkCell) -> Plan:
    yield from act_alone("ready the arm", cell.arm.recover)
    yield from act_alone("park the arm", lambda: cell.arm.set(Park()))


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
