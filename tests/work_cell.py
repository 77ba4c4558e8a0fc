"""A work cell for tests of plans: instruments that do what a test tells them, at the pace of a virtual clock, and campaigns that
keep their books in memory."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bluesky import RunEngine

from lab.core.capabilities import ArmMove, Dose, Health, Pick, Place
from lab.core.clock import EventClock
from lab.core.errors import CommandError, EmptyPlace, LabError, LedgerError, LinkDown
from lab.core.recovery import Choice, Policy, Recovery, Rule
from lab.core.sample import GRIPPER, UNKNOWN
from lab.interrupts import Attentive
from plans.cell import Station, WorkCell
from plans.closed_loop import closed_loop
from plans.conductor import Unfinished
from plans.cooling import AIR_C
from plans.expectation import Expectation
from plans.forecast import Route
from plans.recipes import RECIPES, Carried, Order, Recipe
from plans.statuses import Happening

RACK = tuple(f"rack.{n}" for n in range(1, 25))

SLOT = "slot"
"""The place of a resumed sample that stands in its own slot."""

READY = Health(True, "test", "ready", "", 0.1)
UNPLUGGED = Health(False, "test", "not connected", "unplugged", float("nan"))

LASTS_S = {"pick": 10.0, "place": 10.0, "park": 5.0, "dose": 14.0, "heat": 30.0, "trigger": 7.0}
"""How long instruments take, laboratory seconds; what is not named is done at once, what lasts infinitely goes on until it is stopped."""


class Operation(Happening):
    """A Status that may fail."""

    _error: BaseException | None = None

    @property
    def success(self) -> bool:
        return self.done and self._error is None

    def exception(self, timeout: float | None = 0.0) -> BaseException | None:
        super().exception(timeout)
        return self._error

    def fail(self, error: BaseException) -> None:
        if not self.done:
            self._error = error
            self.happen()


class Log(list[str]):
    """What happened, in order, and when."""

    def __init__(self, clock: EventClock) -> None:
        super().__init__()
        self.clock = clock
        self.times: list[float] = []
        self._n_calls = 0
        self._interruption: tuple[int, Callable[[], None]] = (0, lambda: None)

    def append(self, line: str) -> None:
        super().append(line)
        self.times.append(self.clock.now())

    def interrupt_at(self, call: int, interrupt: Callable[[], None]) -> None:
        """The call of an instrument with this number interrupts, and never ends by itself."""
        self._interruption = call, interrupt

    def is_interrupted(self) -> bool:
        """Whether it happens in the call that begins now."""
        self._n_calls += 1
        number, interrupt = self._interruption
        if self._n_calls == number:
            interrupt()
        return self._n_calls == number

    def time(self, line: str) -> float:
        """When `line` was written first."""
        return self.times[self.index(line)]


class Instrument:
    """Says what it is asked; fails the call whose first word stands in `fails`, as often as told; lasts as `LASTS_S` says."""

    parent = None

    def __init__(self, name: str, log: Log) -> None:
        self.name, self.log = name, log
        self.fails: dict[str, list[Exception]] = {}
        self.lasts_s = dict(LASTS_S)
        self.before: dict[str, Callable[[], None]] = {}
        """Called once, when the call of that name begins."""
        self._give_up: Callable[[], None] = lambda: None

    def do(self, what: str, then: Callable[[], None] = lambda: None) -> Operation:
        """Carry out `what`; at its end, if it does not fail, `then`."""
        self.log.append(f"{self.name} {what}")
        status, word = Operation(), what.split()[0]
        if word in self.before:
            self.before.pop(word)()
        waiting = self.fails.get(word)
        error = waiting.pop(0) if waiting else None

        def end() -> None:
            if error is not None:
                status.fail(error)
            else:
                then()
                status.happen()

        lasts_s = math.inf if self.log.is_interrupted() else self.lasts_s.get(word, 0.0)
        if lasts_s > 0.0:
            cancel = self.log.clock.after(lasts_s, end) if lasts_s < math.inf else None

            def give_up() -> None:
                if cancel is not None:
                    cancel()
                status.fail(CommandError(f"{self.name}: {what}: it was stopped"))

            self._give_up = give_up
        else:
            end()
        return status

    def health(self) -> Health:
        return READY

    def recover(self) -> Operation:
        return self.do("recover")

    def make_safe(self) -> Operation:
        self._give_up()
        return self.do("safe")

    def stop(self, *, success: bool = False) -> None:
        self._give_up()
        self.log.append(f"{self.name} stop")

    def read(self) -> dict[str, Any]:
        return {self.name: {"value": 1.0, "timestamp": 0.0}}

    def describe(self) -> dict[str, Any]:
        return {self.name: {"source": "test", "dtype": "number", "shape": []}}

    def read_configuration(self) -> dict[str, Any]:
        return {}

    describe_configuration = read_configuration


class Arm(Instrument):
    """Takes what stands somewhere and nothing else; `collisions` says where it would have put one sample into another."""

    def __init__(self, name: str, log: Log) -> None:
        super().__init__(name, log)
        self.has_sample = False
        self.standing = set(RACK)
        self.collisions: list[str] = []

    def set(self, move: ArmMove) -> Operation:
        if isinstance(move, Pick) and move.place not in self.standing:
            self.fails.setdefault("pick", []).insert(0, EmptyPlace(f"arm: no sample at {move.place}: the gripper closed on nothing"))

        def end() -> None:
            if isinstance(move, Pick):
                self.standing.discard(move.place)
                self.has_sample = True
            elif isinstance(move, Place):
                if move.place in self.standing or not self.has_sample:
                    self.collisions.append(move.place)
                self.standing.add(move.place)
                self.has_sample = False

        return self.do(f"{type(move).__name__.lower()} {getattr(move, 'place', '')}".strip(), end)

    def is_holding(self) -> bool:
        return self.has_sample


class Stirrer(Instrument):
    def set(self, rpm: float) -> Operation:
        return self.do(f"set {rpm:g}")


class Heater(Instrument):
    """Switched off, it falls towards the room with its time constant; as that is 0 at first, at once."""

    def __init__(self, name: str, log: Log) -> None:
        super().__init__(name, log)
        self.stirrer = Stirrer(f"{name} stirrer", log)
        self.off_by_c = 0.0
        self.constant_s = 0.0
        self._was_c, self._off_s = AIR_C, 0.0
        self._is_on = False

    def warm(self, plate_c: float, constant_s: float) -> None:
        """It is off, and this warm now."""
        self._was_c, self._off_s, self.constant_s = plate_c, self.log.clock.now(), constant_s

    def set(self, temperature_c: float) -> Operation:
        def end() -> None:
            self._is_on, self._was_c = True, temperature_c - self.off_by_c

        return self.do(f"heat {temperature_c:g}", end)

    def off(self) -> Operation:
        def end() -> None:
            self._was_c, self._off_s, self._is_on = self.temperature_c(), self.log.clock.now(), False

        return self.do("off", end)

    def temperature_c(self) -> float:
        if self._is_on:
            return self._was_c
        if self.constant_s == 0.0:
            return AIR_C
        return AIR_C + (self._was_c - AIR_C) * math.exp(-(self.log.clock.now() - self._off_s) / self.constant_s)

    def cool_below(self, temperature_c: float) -> Operation:
        fall_s = self.constant_s * math.log((self.temperature_c() - AIR_C) / (temperature_c - AIR_C))
        self.lasts_s["cool"] = fall_s + 1e-6
        return self.do(f"cool {temperature_c:g}")


class Synthesiser(Instrument):
    """Dispenses 2 % too little of every liquid."""

    liquids = ("cs", "fa")

    def __init__(self, name: str, log: Log) -> None:
        super().__init__(name, log)
        self.counted: dict[str, float] = {}

    def set(self, dose: Dose) -> Operation:
        self.counted = {n: round(v * 0.5, 4) for n, v in dose.volumes_ml.items()}
        return self.do("dose " + " ".join(f"{n}={v:.3f}" for n, v in dose.volumes_ml.items()),
                       lambda: setattr(self, "counted", {n: round(v * 0.98, 4) for n, v in dose.volumes_ml.items()}))

    def dispensed_ml(self) -> dict[str, float]:
        return self.counted


class Detector(Instrument):
    def set_exposure(self, count_time_s: float, n_images: int) -> Operation:
        return self.do(f"exposure {count_time_s:g} {n_images}")

    def set_file(self, path: str) -> None:
        self.log.append(f"{self.name} file {Path(path).name}")

    def stage(self) -> list[Any]:
        self.log.append(f"{self.name} stage")
        return [self]

    def unstage(self) -> list[Any]:
        self.log.append(f"{self.name} unstage")
        return [self]

    def trigger(self) -> Operation:
        return self.do("trigger")


@dataclass
class Interval:
    """A step of one sample."""

    sample: str
    station: str
    what: str
    name: str
    began_s: float
    ended_s: float = math.inf
    cause: str = ""


class Books:
    """Where all samples of a laboratory are. As the ledger, it lets none go where another one is."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.places: dict[str, str] = {}
        self.coming: dict[str, str] = {}
        self.steps: list[Interval] = []
        self.used: list[str] = []

    def at(self, station: str) -> list[Interval]:
        """What was done at a station."""
        return [one for one in self.steps if one.station == station]


class Journal:
    """One sample's part of the books."""

    def __init__(self, books: Books, sample: str, place: str) -> None:
        self.books, self.log, self.sample = books, books.log, sample
        books.places[sample] = place
        self.values: dict[str, Any] = {}
        self.doses: list[str] = []

    @property
    def place(self) -> str:
        return self.books.places[self.sample]

    def move_announced(self, origin: str, target: str) -> int:
        others = [sample for sample, place in [*self.books.places.items(), *self.books.coming.items()] if place == target and sample != self.sample]
        if others:
            raise LedgerError(f"{self.sample}: cannot go to {target}: {others[0]} is there or on its way there")
        if self.place != origin:
            raise LedgerError(f"{self.sample}: cannot leave {origin}: it is at {self.place}")
        self.log.append(f"{self.sample} announced {origin} -> {target}")
        self.books.coming[self.sample] = target
        return 1

    def move_done(self, move: int) -> None:
        self.books.places[self.sample] = self.books.coming.pop(self.sample)
        self.log.append(f"{self.sample} at {self.place}")

    def move_failed(self, move: int, place: str, cause: str) -> None:
        self.books.coming.pop(self.sample)
        self.books.places[self.sample] = place
        self.log.append(f"{self.sample} move failed, at {place}: {cause}")

    def dose_announced(self, key: str, volumes_ml: Mapping[str, float]) -> None:
        if key in self.doses:
            raise LedgerError(f"{self.sample}: dose {key}: a dose is never repeated")
        self.doses.append(key)
        self.log.append(f"announced dose {key}")

    def dose_done(self, key: str, dispensed_ml: Mapping[str, float]) -> None:
        self.log.append(f"dose done {dict(dispensed_ml)}")

    def dose_failed(self, key: str, dispensed_ml: Mapping[str, float], cause: str) -> None:
        self.log.append(f"dose failed {dict(dispensed_ml)}: {cause}")

    def step_began(self, station: str, what: str, name: str = "") -> int:
        self.books.steps.append(Interval(self.sample, station, what, name, self.log.clock.now()))
        return len(self.books.steps) - 1

    def step_ended(self, step: int, cause: str = "") -> None:
        self.books.steps[step].ended_s, self.books.steps[step].cause = self.log.clock.now(), cause

    def executed(self, values: Mapping[str, Any]) -> None:
        self.values.update(values)

    def run_opened(self, uid: str) -> None:
        self.log.append(f"{self.sample} run opened")


class Question(Happening):
    """One to the operator of a test, who answers with `answer`."""

    choice: Choice | None = None

    def __init__(self, step: str, error: LabError, choices: Mapping[Choice, str], otherwise: Choice) -> None:
        super().__init__()
        self.step, self.error, self.choices, self.otherwise = step, error, choices, otherwise
        self.withdrawn: Choice | None = None
        self.status = self

    def answer(self, choice: Choice) -> None:
        self.choice = choice
        self.happen()

    def withdraw(self, instead: Choice) -> None:
        self.withdrawn = instead


class Thought(Happening):
    order: Order | None = None


@dataclass
class Campaign:
    """Orders `n` samples, all alike, and writes down what it is told.

    Parameters
    ----------
    bench : Bench
    n : int
    settings : mapping
        Beside the recipe's own.
    rules : sequence of Rule
    """

    bench: Bench
    n: int = 1
    id: str = "s"
    priority: int = 0
    share: float = 1.0
    ahead_s: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    rules: Sequence[Rule] = ()
    patience_s: float = 0.0
    unfinished: Sequence[Unfinished] = ()
    recipe: Recipe = RECIPES["thin_film"]

    def __post_init__(self) -> None:
        self.policy = Policy((Recovery(rules=tuple(self.rules), patience_s=self.patience_s or 0.01),))
        self.journals: dict[str, Journal] = {}
        self.failures: list[LabError] = []
        self.failed_samples: list[str] = []
        self.measured_samples: list[str] = []
        self.troubles: list[str] = []
        self.remade: list[tuple[str, str]] = []
        self.stopped = ""
        self.carried_out: dict[str, dict[str, Any]] = {}
        self.reported: Carried | None = None
        self.questions: list[Question] = []
        self.on_ask: Callable[[Question], None] = lambda question: None
        self.lacks: Callable[[], bool] = lambda: False
        self.think: Callable[[Thought], None] = lambda thought: thought.happen()
        self.n_begun = 0
        self._n_thought = 0
        self._again: list[Order] = []
        self._waits = False
        self._expectation = Expectation(self.recipe, self.order(-1), {})

    def order(self, trial: int, sample: str = "", place: str = "") -> Order:
        settings = {name: s.default for name, s in self.recipe.settings.items()}
        settings.update(anneal_temperature=120.0, anneal_time_s=600.0, **self.settings)
        return Order(trial, sample, place, sample, {"cs": 0.25, "fa": 0.75}, {}, settings, {"sample": sample} if sample else {})  # type: ignore[arg-type]

    def resumed(self, sample: str, place: str, **more: Any) -> Unfinished:
        """A sample of an earlier session, whose slot is the next one."""
        slot = self._slot()
        self.journals[sample] = Journal(self.bench.books, sample, slot if place == SLOT else place)
        self.bench.arm.standing.discard(slot)
        if place == GRIPPER:
            self.bench.arm.has_sample = True
        elif place != UNKNOWN:
            self.bench.arm.standing.add(slot if place == SLOT else place)
        return Unfinished(replace(self.order(100 + len(self.journals)), sample=sample, place=slot, key=sample, metadata={"sample": sample}),
                          self.journals[sample], **more)

    # ---------------------------------------------------------------------------------------- what the dispatcher asks

    def may_begin(self) -> bool:
        return not self.stopped and (bool(self._again) or self._waits or self._n_thought < self.n)

    def next_order(self) -> Thought:
        thought = Thought()
        if self._again:
            thought.order = self._again.pop(0)
        else:
            thought.order = self.order(self._n_thought)
            self._n_thought += 1
        self._waits = True
        self.bench.log.append(f"{self.id} thinks")
        self.think(thought)
        return thought

    def begin(self, order: Order) -> tuple[Order, Journal] | None:
        if self.lacks():
            return None
        self._waits = False
        self.n_begun += 1
        slot = self._slot()
        sample = f"{self.id}{order.trial}" + (f".{order.n_former + 1}" if order.n_former else "")
        self.journals[sample] = Journal(self.bench.books, sample, slot)
        self.bench.log.append(f"{sample} begins")
        return replace(order, sample=sample, place=slot, key=sample, metadata={"sample": sample}), self.journals[sample]

    def route(self, order: Order | None) -> Route:
        return self._expectation.route(order)

    def load_below_c(self) -> float:
        return 60.0

    def _slot(self) -> str:
        slot = RACK[len(self.bench.books.used)]
        self.bench.books.used.append(slot)
        return slot

    # ------------------------------------------------------------------------------------------- what a life tells

    def carried(self, order: Order, carried: Carried) -> None:
        self.reported = carried
        known = self.carried_out.setdefault(order.sample, {})
        known.update({**carried.shares, **carried.volumes_ml, **carried.settings})

    def measured(self, order: Order) -> Happening:
        self.bench.log.append(f"{order.sample} measured")
        self.measured_samples.append(order.sample)
        done = Happening()
        done.happen()
        return done

    def failed(self, order: Order, error: LabError) -> None:
        self.failures.append(error)
        self.failed_samples.append(order.sample)

    def remake(self, order: Order, error: LabError) -> None:
        self.remade.append((order.sample, str(error)))
        self._again.append(replace(order, n_former=order.n_former + 1))

    def stop(self, cause: str) -> None:
        self.stopped = cause

    def ask(self, order: Order, step: str, error: LabError, choices: Mapping[Choice, str], otherwise: Choice) -> Question:
        question = Question(step, error, choices, otherwise)
        self.questions.append(question)
        self.bench.log.append(f"{order.sample} asks")
        self.on_ask(question)
        return question

    def trouble(self, what: str) -> None:
        self.troubles.append(what)

    def whereabouts(self, order: Order) -> str:
        return self.journals[order.sample].place

    @property
    def places(self) -> dict[str, str]:
        return {sample: journal.place for sample, journal in self.journals.items()}


class Bench:
    """A synthesiser, two plates, a stage and an arm, in virtual time.

    Parameters
    ----------
    folder : Path
        Of the frames.
    """

    def __init__(self, folder: Path) -> None:
        self.clock = EventClock()
        self.log = Log(self.clock)
        self.books = Books(self.log)
        self.arm, self.synthesiser, self.detector = Arm("arm", self.log), Synthesiser("synthesiser", self.log), Detector("detector", self.log)
        self.heaters = Heater("heater_a", self.log), Heater("heater_b", self.log)
        self.heater = self.heaters[0]
        stations = (Station("spin", "synthesiser", self.synthesiser), Station("plate_a", "annealer", self.heaters[0]),
                    Station("plate_b", "annealer", self.heaters[1]), Station("stage", "detector", self.detector))
        self.cell = WorkCell(self.arm, stations, RACK, self.clock, folder)
        self.documents: list[tuple[str, dict[str, Any]]] = []
        self.RE = RunEngine({}, context_managers=[], during_task=Attentive())
        self.RE.subscribe(lambda name, doc: self.documents.append((name, doc)))

    def run(self, *campaigns: Campaign, at_once: int | None = None) -> None:
        """Run campaigns to their ends."""
        self.RE(closed_loop(self.cell, campaigns, patience_s=0.0, at_once=at_once))

    def abort(self) -> None:
        """Abort from another thread, as people do."""
        threading.Thread(target=self.RE.abort, args=("operator",)).start()

    def close(self) -> None:
        self.RE.loop.call_soon_threadsafe(self.RE.loop.stop)
        self.RE._th.join(5)


def drops(bench: Bench, lost_at: str, place: str) -> None:
    """The arm's line drops while it puts the first sample down at `lost_at`: that ends at `place`, and nobody feels the gripper for a moment.

    Parameters
    ----------
    place : str
        Where the sample really is then; anything that is no place: on the floor.
    """
    arm, carry_out, is_felt = bench.arm, bench.arm.set, bench.arm.is_holding

    def unplugged() -> bool:
        bench.arm.is_holding = is_felt  # type: ignore[method-assign]
        raise LinkDown("arm: no answer")

    def drop(move: ArmMove) -> Operation:
        if move == Place(lost_at):
            arm.set, arm.is_holding, arm.has_sample = carry_out, unplugged, False  # type: ignore[method-assign]
            arm.standing.add(place)
            arm.fails["place"] = [CommandError("arm: the line dropped during the motion")]
        return carry_out(move)

    arm.set = drop  # type: ignore[method-assign]


def overlapping(intervals: Sequence[Interval]) -> list[tuple[Interval, Interval]]:
    """Pairs of different samples that were at work at one time."""
    return [(a, b) for n, a in enumerate(intervals) for b in intervals[n + 1:]
            if a.sample != b.sample and a.began_s < b.ended_s and b.began_s < a.ended_s]
