"""Samples that a failure left somewhere on their way: taken back to their slots before the next one could meet them.

The ledger says where they are, or that nobody knows. In that case the gripper looks: it closes at each place where the sample
can be, and what it closes on is the sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bluesky.utils import FailedStatus

from lab.core.capabilities import Pick, Place
from lab.core.errors import EmptyPlace, LabError
from lab.core.journal import Journal
from lab.core.sample import GRIPPER, UNKNOWN
from plans.cell import WorkCell
from plans.recipes import Order
from plans.stubs import Plan, cause_of, half_transfer, step, transfer


@dataclass(frozen=True)
class Stray:
    """A failed sample that may not be in its slot."""

    order: Order
    journal: Journal


Whereabouts = Callable[[Order], str]
"""The place of the order's sample, by the ledger."""


def put_away(cell: WorkCell, strays: list[Stray], whereabouts: Whereabouts) -> Plan:
    """Take strays back to their slots. Those that no longer can be met at a station leave the list.

    Parameters
    ----------
    cell : WorkCell
    strays : list of Stray
        Changed in place: what remains blocks a station, or may.
    whereabouts : callable

    Returns
    -------
    dict of str to str
        Per sample why it is not in its slot. One that is not in `strays` any longer has been looked for in vain: it stands at no
        place of the work cell.
    """
    causes: dict[str, str] = {}
    # What is in the gripper, or may be, comes first: it has to be empty for the others.
    for stray in sorted(strays, key=lambda one: (GRIPPER, UNKNOWN).index(p) if (p := whereabouts(one.order)) in (GRIPPER, UNKNOWN) else 2):
        order, place = stray.order, whereabouts(stray.order)
        try:
            if place == UNKNOWN:
                others = {whereabouts(other.order) for other in strays if other is not stray}
                yield from _find(cell, stray, others)
            elif place != order.place:
                yield from transfer(cell, stray.journal, place, order.place)
        except (FailedStatus, LabError) as error:
            cause = cause_of(error)
            place = whereabouts(order)
            causes[order.sample] = f"nobody knows where it is: {cause}" if place == UNKNOWN else f"it is at {place}: {cause}"
            if not isinstance(cause, EmptyPlace):
                continue
        strays.remove(stray)
    return causes


def _find(cell: WorkCell, stray: Stray, others: set[str]) -> Plan:
    """Look for a sample where it can be, and take it to its slot.

    Raises
    ------
    EmptyPlace
        It is nowhere.
    """
    order, journal = stray.order, stray.journal
    if cell.arm.is_holding():
        with step(journal, "arm", f"{GRIPPER} -> {order.place}"):
            yield from half_transfer(cell, journal, Place(order.place), UNKNOWN, order.place)
        return
    candidates = [place for place in (*(station.name for station in cell.stations), order.place) if place not in others]
    for place in candidates:
        try:
            with step(journal, "arm", f"look for the sample at {place}"):
                yield from half_transfer(cell, journal, Pick(place), UNKNOWN, GRIPPER)
        except (FailedStatus, LabError) as error:
            if not isinstance(cause_of(error), EmptyPlace):
                raise
        else:
            yield from transfer(cell, journal, GRIPPER, order.place)
            return
    raise EmptyPlace(f"{cell.arm.name}: the gripper found no sample at {', '.join(candidates)}")
