"""What plans ask of a campaign: protocols that `lab.campaign` implements, and the dry run (`lab.rehearsal`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lab.core.capabilities import Status
from lab.core.errors import LabError
from lab.core.journal import Journal
from lab.core.recovery import Choice, Policy
from plans.forecast import Route
from plans.recipes import Carried, Order, Recipe


class Question(Protocol):
    """A question to the operator."""

    @property
    def status(self) -> Status:
        """Done when it has been answered."""
        ...

    @property
    def choice(self) -> Choice | None:
        """The answer."""
        ...

    def withdraw(self, instead: Choice) -> None:
        """Nobody answered in time: `instead` is done."""
        ...


class Keeper(Protocol):
    """The campaign, as one sample's life sees it (implemented by `lab.campaign`)."""

    recipe: Recipe
    policy: Policy

    def carried(self, order: Order, carried: Carried) -> None:
        """What was really carried out for the order."""
        ...

    def measured(self, order: Order) -> Status:
        """All of the order's readings are taken: evaluate in a thread, then record the outcome or the failure.

        The status always succeeds.
        """
        ...

    def failed(self, order: Order, error: LabError) -> None:
        """The sample is lost (or, when its outcome already stands, could not be put back)."""
        ...

    def remake(self, order: Order, error: LabError) -> None:
        """The sample is lost; the same point shall be made again."""
        ...

    def stop(self, cause: str) -> None:
        """No further sample shall be begun."""
        ...

    def ask(self, order: Order, step: str, error: LabError, choices: Mapping[Choice, str], otherwise: Choice) -> Question:
        """Put a question to the operator."""
        ...

    def trouble(self, what: str) -> None:
        """Something a person should know, and the ledger keep."""
        ...

    def whereabouts(self, order: Order) -> str:
        """The place of the order's sample, by the ledger."""
        ...


class Thought(Status, Protocol):
    """Something that a thread works out; it always succeeds, and when it is done, `order` has the result."""

    order: Order | None


@dataclass(frozen=True)
class Unfinished:
    """A sample of an earlier session: it is brought to its slot, and goes on from step `first`.

    Parameters
    ----------
    order : Order
    journal : Journal
    first : int or None
        Index of the recipe's next step; None when the sample is only put away.
    ended_s : float or None
        Laboratory time at which the step before had ended.
    candidates : tuple of str
        Where it can be, if nobody knows; most likely places first.
    verdict : LabError or None
        Why the sample cannot be finished: its point is made again.
    """

    order: Order
    journal: Journal
    first: int | None = 0
    ended_s: float | None = None
    candidates: tuple[str, ...] = ()
    verdict: LabError | None = None


class Conductor(Keeper, Protocol):
    """One campaign, as the dispatcher sees it (implemented by `lab.campaign`)."""

    id: str
    priority: int
    share: float
    unfinished: Sequence[Unfinished]

    @property
    def n_begun(self) -> int:
        """Samples begun so far, for its share of the work cell."""
        ...

    @property
    def ahead_s(self) -> float:
        """How long a suggestion takes, laboratory seconds: so much earlier it is asked for."""
        ...

    def may_begin(self) -> bool:
        """Whether it wants a further sample now: its budget is not spent, and nobody stopped it."""
        ...

    def next_order(self) -> Thought:
        """Have the next sample worked out in a thread; None when there is none after all."""
        ...

    def begin(self, order: Order) -> tuple[Order, Journal] | None:
        """The order is begun: its sample is on record, at a slot of its own. None when something lacks; it has said what.

        Raises
        ------
        Outdated
            When the order has been taken back; another one is to be asked for.
        """
        ...

    def route(self, order: Order | None) -> Route:
        """What the dispatcher expects of an order; None: of the next one, whatever it will be."""
        ...

    def load_below_c(self) -> float:
        """An annealer above this temperature, degC, is not loaded."""
        ...
