"""The closed loop as a plan: ask, make, measure, tell, until the budget is spent.

The optimiser and the evaluation run in a thread behind a Status, so the RunEngine never waits for them without being
able to pause. A sample that fails costs itself, never the campaign; nothing begins while an earlier one may be in the way.
"""

from __future__ import annotations

from typing import Any, Protocol

from bluesky.utils import FailedStatus, Msg

from lab.core.capabilities import Status
from lab.core.errors import CommandError, EmptyPlace, LabError, LedgerError, NotBegun
from lab.core.journal import Journal
from plans.cell import WorkCell
from plans.recipes import Carried, Order, Recipe
from plans.safe import make_safe, recover
from plans.strays import Stray, put_away
from plans.stubs import Plan, cause_of, start

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

    Raises
    ------
    CommandError
        When the gripper holds a sample before the first one is made: nobody knows whose it is.
    LedgerError
        When the records cannot be written: nothing is done that could not be told afterwards.
    """
    yield Msg("rewindable", None, False)
    strays: list[Stray] = []
    try:
        problems = yield from recover(cell, PATIENCE_S)
        _tell(conductor, "not ready at the start", problems)
        _check_gripper(cell)
        while True:
            yield from _await(conductor.next_order)
            if conductor.order is None:
                return
            order, journal = conductor.order
            yield from _one_sample(cell, recipe, conductor, order, journal, strays)
    finally:
        result = yield from make_safe(cell)
        _tell(conductor, "not safe", {name: said for name, said in result.items() if not said.startswith("safe")})


def _check_gripper(cell: WorkCell) -> None:
    try:
        is_holding = cell.arm.is_holding()
    except LabError:
        return  # `recover` has said what is wrong with the arm; the first sample will fail of it
    if is_holding:
        raise CommandError(f"{cell.arm.name}: the gripper holds a sample that is none of this campaign; take it out, then start again")


def _one_sample(cell: WorkCell, recipe: Recipe, conductor: Conductor, order: Order, journal: Journal, strays: list[Stray]) -> Plan:
    """Make and measure one sample; a failure is recorded, the instruments are readied, the sample put away."""

    def evaluate() -> Plan:
        yield from start("evaluate", lambda: conductor.measured(order), THINKING)

    try:
        yield from _await_instruments(cell)
        yield from _clear(cell, conductor, strays)
        yield from recipe.plan(cell, order, journal, lambda carried: conductor.carried(order, carried), evaluate)
        yield Msg("wait", None, group=THINKING)
    except (FailedStatus, LabError) as error:
        yield Msg("wait", None, group=THINKING)
        conductor.failed(order, cause_of(error))
        if isinstance(error, LedgerError):
            raise
        if isinstance(error, NotBegun):
            return
        problems = yield from recover(cell, PATIENCE_S)
        _tell(conductor, "not ready after a failure", problems)
        if isinstance(cause_of(error), EmptyPlace):
            conductor.trouble(f"sample {order.sample}: nobody knows where it is: {cause_of(error)}")
        else:
            strays.append(Stray(order, journal))
        for sample, cause in (yield from put_away(cell, strays, conductor.whereabouts)).items():
            conductor.trouble(f"sample {sample}: not put away: {cause}")


def _await_instruments(cell: WorkCell) -> Plan:
    """Wait for instruments that have gone while nobody asked them: an unplugged one must not cost a sample.

    Raises
    ------
    NotBegun
        When one is not ready within `PATIENCE_S`.
    """
    if all(health.is_connected and not health.cause for health in (one.health() for one in cell.instruments)):
        return
    problems = yield from recover(cell, PATIENCE_S)
    if problems:
        raise NotBegun("not begun: " + "; ".join(f"{name} is not ready: {said}" for name, said in problems.items()))


def _clear(cell: WorkCell, conductor: Conductor, strays: list[Stray]) -> Plan:
    """Try again to put away what is in the way.

    Raises
    ------
    NotBegun
        When it still is: the next sample must not be begun, since the arm would carry it into the one that is there.
    """
    causes = yield from put_away(cell, strays, conductor.whereabouts)
    if strays:
        sample = strays[0].order.sample
        raise NotBegun(f"not begun: sample {sample} may be in the way: {causes[sample]}")


def _await(action: Any) -> Plan:
    yield from start("think", action, THINKING)
    yield Msg("wait", None, group=THINKING)


def _tell(conductor: Conductor, what: str, problems: dict[str, str]) -> None:
    for name, said in problems.items():
        conductor.trouble(f"{name}: {what}: {said}")
