"""The closed loop as a plan: ask, make, measure, tell, until the budget is spent.

The optimiser and the evaluation run in a thread behind a Status, so the RunEngine never waits for them without being
able to pause. A sample that fails costs itself, never the campaign.
"""

from __future__ import annotations

from typing import Any, Protocol

from bluesky.utils import FailedStatus, Msg

from lab.core.capabilities import Status
from lab.core.errors import LabError
from lab.core.journal import Journal
from lab.core.sample import UNKNOWN
from plans.cell import WorkCell
from plans.recipes import Carried, Order, Recipe
from plans.safe import make_safe, recover
from plans.stubs import Plan, cause_of, start, transfer

THINKING = "thinking"
"""The group of the Status behind which evaluation and suggestion run."""

PATIENCE_S = 30.0
"""Wall seconds to wait after a failure for every instrument to be ready again, before the next sample is tried."""


class Conductor(Protocol):
    """The campaign, as the closed loop sees it (implemented by `lab.campaign`)."""

    def next_order(self) -> Status:
        """Start making the next order in a thread; when the status is done, `order` has it.

        The status always succeeds: what went wrong is in the ledger, and `order` is None when the campaign is over.
        (A failed status is thrown at whatever message comes next, which may be another station's.)
        """
        ...

    @property
    def order(self) -> tuple[Order, Journal] | None:
        """The next sample and its record; None when the campaign is at its end."""
        ...

    def carried(self, order: Order, carried: Carried) -> None:
        """What was really carried out for the order."""
        ...

    def measured(self, order: Order) -> Status:
        """All of the order's readings are taken: evaluate in a thread, then record the outcome or the failure.

        The status always succeeds, for the same reason.
        """
        ...

    def failed(self, order: Order, error: LabError) -> None:
        """The sample is lost (or, when its outcome already stands, could not be put back)."""
        ...

    def trouble(self, what: str) -> None:
        """Something a person should know, and the ledger keep."""
        ...

    def whereabouts(self, order: Order) -> str:
        """The place of the order's sample, by the ledger."""
        ...


def closed_loop(cell: WorkCell, recipe: Recipe, conductor: Conductor) -> Plan:
    """Run a campaign to its end.

    Parameters
    ----------
    cell : WorkCell
    recipe : Recipe
    conductor : Conductor

    Notes
    -----
    Nothing in here is replayed: the plan is not rewindable, since a dose that is repeated is a wrong sample.
    However it ends, the instruments are made safe, and `Conductor.trouble` says of each one where that failed.
    """
    yield Msg("rewindable", None, False)
    try:
        problems = yield from recover(cell, PATIENCE_S)
        _tell(conductor, "not ready at the start", problems)
        while True:
            yield from _await(conductor.next_order)
            if conductor.order is None:
                return
            order, journal = conductor.order
            yield from _one_sample(cell, recipe, conductor, order, journal)
    finally:
        result = yield from make_safe(cell)
        _tell(conductor, "not safe", {name: said for name, said in result.items() if not said.startswith("safe")})


def _one_sample(cell: WorkCell, recipe: Recipe, conductor: Conductor, order: Order, journal: Journal) -> Plan:
    """Make and measure one sample; a failure is recorded, the instruments are readied, the sample put away."""

    def evaluate() -> Plan:
        yield from start("evaluate", lambda: conductor.measured(order), THINKING)

    try:
        yield from recipe.plan(cell, order, journal, lambda carried: conductor.carried(order, carried), evaluate)
        yield Msg("wait", None, group=THINKING)
    except (FailedStatus, LabError) as error:
        yield Msg("wait", None, group=THINKING)
        conductor.failed(order, cause_of(error))
        problems = yield from recover(cell, PATIENCE_S)
        _tell(conductor, "not ready after a failure", problems)
        yield from _put_away(cell, conductor, order, journal)


def _put_away(cell: WorkCell, conductor: Conductor, order: Order, journal: Journal) -> Plan:
    """Take a failed sample back to its slot, so that the stations are free for the next one."""
    place = conductor.whereabouts(order)
    if place == order.place:
        return
    if place == UNKNOWN:
        conductor.trouble(f"sample {order.sample}: nobody knows where it is; look for it before the next one meets it")
        return
    try:
        yield from transfer(cell, journal, place, order.place)
    except (FailedStatus, LabError) as error:
        conductor.trouble(f"sample {order.sample}: could not be put away from {place}: {cause_of(error)}")


def _await(action: Any) -> Plan:
    yield from start("think", action, THINKING)
    yield Msg("wait", None, group=THINKING)


def _tell(conductor: Conductor, what: str, problems: dict[str, str]) -> None:
    for name, said in problems.items():
        conductor.trouble(f"{name}: {what}: {said}")
