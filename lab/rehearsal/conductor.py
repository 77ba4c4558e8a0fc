"""The campaign of a rehearsal: it asks no optimiser and writes nothing, and remembers what was done when.

Points come from the quasi-random sequence with which the campaign's own optimiser begins; outcomes do not matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from lab.core.clock import Clock
from lab.core.errors import LabError
from lab.core.recovery import Choice, Policy
from lab.core.space import Value
from lab.rehearsal.devices import DryInstrument
from lab.rehearsal.pace import Pace
from plans.conductor import Question, Unfinished
from plans.forecast import Route
from plans.recipes import Carried, Order, Recipe
from plans.statuses import Happening

DURATIONS_KEPT = 200
"""The dispatcher learns from so many, as in a campaign."""


@dataclass(frozen=True)
class Bar:
    """A station was busy with a sample: one step, laboratory seconds since the begin."""

    sample: int
    station: str
    step: str
    begin_s: float
    end_s: float


@dataclass(frozen=True)
class Gap:
    """From the end of one step to the begin of the next, where that is limited."""

    sample: int
    step: str
    took_s: float
    allowed_s: float


@dataclass
class Shown:
    """What one rehearsal has shown."""

    bars: list[Bar] = field(default_factory=list)
    cooling: list[Bar] = field(default_factory=list)
    """Plates that stand empty and are too hot to be loaded; of no sample (-1)."""
    orders: list[Order] = field(default_factory=list)
    begun_s: list[float] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    n_done: int = 0
    failures: list[tuple[int, LabError]] = field(default_factory=list)
    stopped: str = ""


class DryJournal:
    """Keeps the steps and the place of one sample (`lab.core.journal.Journal`)."""

    def __init__(self, conductor: DryConductor, order: Order, number: int) -> None:
        self._conductor, self._order, self._number = conductor, order, number
        self.place = order.place
        self._moves: list[str] = []
        self._steps: list[tuple[str, str, float]] = []
        self._ended_s: float | None = None

    def move_announced(self, origin: str, target: str) -> int:
        self._moves.append(target)
        return len(self._moves) - 1

    def move_done(self, move: int) -> None:
        self.place = self._moves[move]

    def move_failed(self, move: int, place: str, cause: str) -> None:
        self.place = place

    def dose_announced(self, key: str, volumes_ml: Mapping[str, float]) -> None: ...

    def dose_done(self, key: str, dispensed_ml: Mapping[str, float]) -> None: ...

    def dose_failed(self, key: str, dispensed_ml: Mapping[str, float], cause: str) -> None: ...

    def executed(self, values: Mapping[str, Value]) -> None: ...

    def run_opened(self, uid: str) -> None: ...

    def step_began(self, station: str, what: str, name: str = "") -> int:
        now_s = self._conductor.clock.now()
        self._steps.append((station, name, now_s))
        self._conductor.step_began(self._order, station, name, self._ended_s)
        return len(self._steps) - 1

    def step_ended(self, step: int, cause: str = "") -> None:
        station, name, began_s = self._steps[step]
        now_s = self._conductor.clock.now()
        self._conductor.shown.bars.append(Bar(self._number, station, name, began_s, now_s))
        if name in self._conductor.steps and not cause:
            self._ended_s = now_s
        if name and not cause:
            self._conductor.step_ended(name, now_s - began_s)


class Answered(Happening):
    """A question of a rehearsal, answered at once with what is done when nobody answers."""

    def __init__(self, choice: Choice) -> None:
        super().__init__()
        self.choice: Choice | None = choice
        self.happen()

    @property
    def status(self) -> Happening:
        return self

    def withdraw(self, instead: Choice) -> None:
        self.choice = instead


class Thought(Happening):
    """The next order; known at once."""

    def __init__(self, order: Order | None) -> None:
        super().__init__()
        self.order = order
        self.happen()


class DryConductor:
    """Implements `plans.conductor.Conductor`.

    Parameters
    ----------
    orders : sequence of Order
        All that shall be made, in order.
    recipe : Recipe
    policy : Policy
    pace : Pace
    rack : sequence of str
        Places; when they run out, somebody refills the rack at once.
    instruments : mapping of station to DryInstrument
    clock : Clock
    load_below_c : float
    hours : float or None
        No sample is begun later than this, laboratory hours.
    """

    id, priority, share = "rehearsal", 0, 1.0
    ahead_s = 0.0

    def __init__(self, orders: Sequence[Order], recipe: Recipe, policy: Policy, pace: Pace, rack: Sequence[str],
                 instruments: Mapping[str, DryInstrument], clock: Clock, load_below_c: float, hours: float | None) -> None:
        self.recipe, self.policy, self.clock = recipe, policy, clock
        self.steps = {step.name: step for step in recipe.steps}
        self.shown = Shown()
        self.unfinished: Sequence[Unfinished] = ()
        self.n_begun = 0
        self._waiting, self._pace, self._rack, self._instruments = list(reversed(orders)), pace, tuple(rack), instruments
        self._load_below_c, self._hours = load_below_c, hours
        self._journals: dict[str, DryJournal] = {}
        self._n_former: dict[int, int] = {}
        self._is_thought = False
        self._durations = {name: list(values) for name, values in pace.recorded.items()}

    # ------------------------------------------------------------------------------------------- what journals tell

    def step_began(self, order: Order, station: str, name: str, ended_s: float | None) -> None:
        """A step: its instruments take their time from now on."""
        step = self.steps.get(name)
        if step is None:
            return
        self._instruments[station].work.begin(self._pace.instruments_s(order, name))
        if step.max_gap and ended_s is not None:
            self.shown.gaps.append(Gap(order.trial, name, self.clock.now() - ended_s, float(order.settings[step.max_gap])))

    def step_ended(self, name: str, took_s: float) -> None:
        """Its duration is on record."""
        self._durations.setdefault(name, []).append(took_s)

    # ------------------------------------------------------------------------------------------- the dispatcher

    def may_begin(self) -> bool:
        is_late = self._hours is not None and self.clock.now() >= self._hours * 3600
        return (self._is_thought or bool(self._waiting)) and not is_late and not self.shown.stopped

    def next_order(self) -> Thought:
        order = self._waiting.pop() if self._waiting else None
        self._is_thought = order is not None
        return Thought(order)

    def begin(self, order: Order) -> tuple[Order, DryJournal] | None:
        number = len(self.shown.orders)
        slot = self._rack[number % len(self._rack)]
        begun = replace(order, sample=f"s{number + 1}", place=slot, key=f"s{number + 1}", n_former=self._n_former.get(order.trial, 0))
        self._n_former[order.trial] = begun.n_former + 1
        journal = self._journals[begun.sample] = DryJournal(self, begun, number)
        self.shown.orders.append(begun)
        self.shown.begun_s.append(self.clock.now())
        self.n_begun, self._is_thought = self.n_begun + 1, False
        return begun, journal

    def route(self, order: Order | None) -> Route:
        return self._pace.expectation.route(order)

    def load_below_c(self) -> float:
        return self._load_below_c

    # ------------------------------------------------------------------------------------------- a sample's life

    def carried(self, order: Order, carried: Carried) -> None: ...

    def measured(self, order: Order) -> Happening:
        self.shown.n_done += 1
        self._pace.expectation.learn({name: values[-DURATIONS_KEPT:] for name, values in self._durations.items()})
        done = Happening()
        done.happen()
        return done

    def failed(self, order: Order, error: LabError) -> None:
        self.shown.failures.append((order.trial, error))

    def remake(self, order: Order, error: LabError) -> None:
        self.shown.failures.append((order.trial, error))
        self._waiting.append(replace(order, sample="", place="", key=""))

    def stop(self, cause: str) -> None:
        self.shown.stopped = cause

    def ask(self, order: Order, step: str, error: LabError, choices: Mapping[Choice, str], otherwise: Choice) -> Question:
        return Answered(otherwise)

    def trouble(self, what: str) -> None: ...

    def whereabouts(self, order: Order) -> str:
        return self._journals[order.sample].place
