"""``campaign.yaml``: the question that a campaign asks, as frozen models.

Reading files and turning validation errors into `ConfigError` is done in `lab.files`; it also reads the tables that a
campaign names into it, so that the ledger holds everything that suggestions are made from.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lab.core.config import Limits, Name, Positive
from lab.core.consistency import check_consistency, one_outcome
from lab.core.expected import check_expected
from lab.core.recovery import Recovery
from lab.core.space import (
    ChoiceParameter,
    ExpressionConstraint,
    FixedParameter,
    LinearConstraint,
    Parameter,
    RangeParameter,
    Space,
    constrainable,
    parse_constraint,
)
from lab.core.table import check_candidates

Scalar = float | int | str
Number = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, lt=1)]
Text = Annotated[str, Field(min_length=1, max_length=2000)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


# ------------------------------------------------------------------------------------------------------ parameters


class RangeSpec(_Model):
    """``{name: cs, type: range, bounds: [0, 1]}``; ``type: integer`` for whole numbers, ``scale: log``."""

    name: Name
    type: Literal["range", "integer"]
    bounds: Limits
    scale: Literal["linear", "log"] = "linear"
    unit: str = ""
    sets: str = ""
    """What the recipe sets by it, where that is not its own name."""
    scaled_by: Limits | None = None
    """The bounds by which the model scales it, where they are not these: those before they were narrowed, so that what was measured keeps its place."""

    @model_validator(mode="after")
    def _is_sound(self) -> RangeSpec:
        _ = self.parameter()
        return self

    extremes_field: ClassVar[str] = "bounds"

    @property
    def extremes(self) -> tuple[Scalar, ...]:
        """Values between which all others are, or all there are; they stand in `extremes_field`."""
        return self.bounds

    def parameter(self) -> RangeParameter:
        return RangeParameter(self.name, *self.bounds, is_integer=self.type == "integer", is_log=self.scale == "log", unit=self.unit,
                              scaled_by=self.scaled_by)

    def narrowed(self, low: float, high: float) -> RangeSpec | FixedSpec:
        """The same within other bounds; with one value left, that value. The model goes on to scale it by the first bounds.

        Raises
        ------
        ValueError
            For bounds that are none, or the wrong way round.
        """
        scaled_by = self.bounds if self.scaled_by is None else self.scaled_by
        if low == high:
            value = int(low) if self.type == "integer" and float(low).is_integer() else low
            return FixedSpec(name=self.name, type="fixed", value=value, unit=self.unit, sets=self.sets, scaled_by=scaled_by)
        return RangeSpec(name=self.name, type=self.type, bounds=(low, high), scale=self.scale, unit=self.unit, sets=self.sets, scaled_by=scaled_by)


class FixedSpec(_Model):
    """``{name: anneal_time_s, type: fixed, value: 600}``: the same in every suggestion."""

    name: Name
    type: Literal["fixed"]
    value: Scalar
    unit: str = ""
    sets: str = ""
    scaled_by: Limits | None = None
    """As of a range, of which this value is left; the model keeps what was measured at others apart."""

    @model_validator(mode="after")
    def _is_sound(self) -> FixedSpec:
        _ = self.parameter()
        return self

    extremes_field: ClassVar[str] = "value"

    @property
    def extremes(self) -> tuple[Scalar, ...]:
        """The one value."""
        return (self.value,)

    def parameter(self) -> FixedParameter:
        return FixedParameter(self.name, self.value, self.unit, self.scaled_by)


class ChoiceSpec(_Model):
    """``{name: solvent, type: choice, values: [DMF, DMSO]}``."""

    name: Name
    type: Literal["choice"]
    values: tuple[Scalar, ...]
    is_ordered: bool = False
    unit: str = ""
    sets: str = ""
    descriptors: dict[str, tuple[Number, ...]] = Field(default_factory=dict)
    """Numbers that say how alike the values are, one list of equal length for each value (by its text): a solvent's boiling point and polarity."""
    smiles: dict[str, Text] = Field(default_factory=dict)
    """Structures from which fingerprints are made for descriptors (the extra ``chem``)."""
    scaled_by: tuple[Scalar, ...] | None = None
    """All values that it has had, where some are not offered any more: what was measured of them keeps its place in the model."""

    @model_validator(mode="after")
    def _is_sound(self) -> ChoiceSpec:
        texts = [str(value) for value in self._listed]
        for field, given in (("descriptors", self.descriptors), ("smiles", self.smiles)):
            if given and set(given) != set(texts):
                raise ValueError(f"{field}: given {', '.join(given)}; allowed: one entry for each of {', '.join(texts)}")
        if self.descriptors:
            lengths = {len(numbers) for numbers in self.descriptors.values()}
            if len(lengths) > 1 or 0 in lengths:
                raise ValueError(f"descriptors: given lists of {', '.join(map(str, sorted(lengths)))} numbers; allowed: as many numbers for each value, at least one")
            if len(set(self.descriptors.values())) == 1:
                raise ValueError("descriptors: given the same numbers for all values; allowed: numbers that differ")
        _ = self.parameter()
        return self

    extremes_field: ClassVar[str] = "values"

    @property
    def extremes(self) -> tuple[Scalar, ...]:
        """All its values."""
        return self.values

    @property
    def _listed(self) -> tuple[Scalar, ...]:
        return self.values if self.scaled_by is None else self.scaled_by

    def parameter(self) -> ChoiceParameter:
        texts = [str(value) for value in self._listed]
        return ChoiceParameter(self.name, self.values, self.is_ordered, tuple(self.descriptors[text] for text in texts if self.descriptors),
                               tuple(self.smiles[text] for text in texts if self.smiles), self.scaled_by)

    def narrowed(self, values: tuple[Scalar, ...]) -> ChoiceSpec:
        """The same with other values; the model goes on to know all that it has had.

        Raises
        ------
        ValueError
            For no value at all, or the same twice; for new ones without the descriptors that the others have.
        """
        listed = (*self._listed, *(value for value in values if value not in self._listed))
        return ChoiceSpec.model_validate({**self.model_dump(), "values": values, "scaled_by": listed})


ParameterSpec = Annotated[RangeSpec | ChoiceSpec | FixedSpec, Field(discriminator="type")]


class ContextSpec(_Model):
    """What is measured with each sample and not chosen: ``{name: humidity, bounds: [0, 100], unit: "%"}``.

    The evaluation gives it among an outcome's details, or a device as executed value, under its name.
    """

    name: Name
    bounds: Limits
    """The range in which it is expected, which sets its scale; it may leave it."""
    unit: str = ""
    now: Number | None = None
    """For which value the next sample is sought; None: the last one that was measured."""

    @model_validator(mode="after")
    def _is_sound(self) -> ContextSpec:
        RangeParameter(self.name, *self.bounds)
        return self

    def place(self, value: float) -> float:
        """Where a reading lies between the bounds, 0..1; outside them, below or above that."""
        low, high = self.bounds
        return (value - low) / (high - low)


# ------------------------------------------------------------------------------------------------------ objectives


class Objective(_Model):
    """What to make as large or as small as possible, or as near as possible to a target."""

    name: Name
    goal: Literal["maximize", "minimize", "target"]
    target: Number | None = None
    """Of the goal ``target``: what it shall be, such as an emission at 520 nm."""
    unit: str = ""
    noise: Literal["measured", "inferred"] = "measured"
    """``measured``: the model trusts each outcome's standard error, where there is one, and learns the scatter of the others. ``inferred``:
    it learns the scatter between samples, whatever they say."""
    reference: Number | None = None
    """Of several objectives: the worst value that is of interest; None: inferred from what has been measured. Of a target: the value on either side."""
    desirability: Limits | None = None
    """Of several objectives, ``combine: desirability``: the value that is worth nothing, and the one that cannot be bettered. Of a target: given by `tolerance`."""
    tolerance: Positive | None = None
    """Of a target with desirability: how far from it a sample is worth nothing."""
    weight: Positive = 1.0
    """Exponent of its desirability."""

    @model_validator(mode="after")
    def _is_sound(self) -> Objective:
        if (self.goal == "target") != (self.target is not None):
            raise ValueError(f"target: given {self.target}; allowed: a number with the goal target, and none with another")
        if self.desirability is not None:
            worst, best = self.desirability
            if self.goal == "target" or not (worst < best if self.goal == "maximize" else best < worst):
                allowed = "none with the goal target, which has a tolerance" if self.goal == "target" else f"[value worth nothing, best value] of what is to be {self.goal}d"
                raise ValueError(f"desirability: given {list(self.desirability)}; allowed: {allowed}")
            if not all(math.isfinite(end) for end in self.desirability):
                raise ValueError(f"desirability: given {list(self.desirability)}; allowed: finite numbers")
        if self.tolerance is not None and self.goal != "target":
            raise ValueError(f"tolerance: given {self.tolerance:g} with the goal {self.goal}; allowed: with the goal target")
        if self.target is not None and self.reference == self.target:
            raise ValueError(f"reference: given {self.reference:g}, the target itself; allowed: a value on either side of it")
        return self


class Evaluation(_Model):
    """How a frame becomes an outcome: ``phases`` (powder pattern) or ``brightness`` (calibrated mean counts)."""

    kind: Literal["phases", "brightness"] = "phases"
    full_scale: Limits | None = None
    """Only for brightness: the objective's value at no light, and at full scale."""


class Safety(_Model):
    """Outcomes that no sample may have: ``{constraints: ["pressure <= 5"], probability: 0.95}``."""

    constraints: Annotated[tuple[str, ...], Field(min_length=1)]
    """As ``outcome_constraints``."""
    probability: Share = 0.95
    """Nothing is suggested that keeps them all with less than this, by the model."""


# --------------------------------------------------------------------------------------------------- what is known before


class Table(_Model):
    """Rows of a CSV file. A campaign's file names the ``file``, relative to itself; it is read into ``columns`` and ``rows``."""

    file: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Scalar, ...], ...] = ()

    @model_validator(mode="after")
    def _is_a_table(self) -> Table:
        ragged = next((k for k, row in enumerate(self.rows) if len(row) != len(self.columns)), None)
        if ragged is not None:
            raise ValueError(f"rows.{ragged}: given {len(self.rows[ragged])} values; allowed: {len(self.columns)}, one for each of {', '.join(self.columns)}")
        return self

    def records(self) -> list[dict[str, Scalar]]:
        """Each row by the names of its columns."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


class PriorData(Table):
    """Earlier measurements of the same or a similar question: a CSV file, or a campaign on record.

    Columns are named as parameters and outcomes; ``OUTCOME_sem`` is a standard error; others are not used.
    """

    name: Annotated[str, Field(min_length=1, max_length=80)]
    campaign: str = ""
    """A campaign of the same ledger: its completed trials are copied into ``columns`` and ``rows`` when this one is opened."""
    is_same: bool = False
    """Whether it is the same question on the same instruments: its rows count as this campaign's own. Else the model learns how alike the two are."""


class Fidelity(_Model):
    """A parameter that makes a sample cheap and rough, or dear and exact: ``{parameter: count_time_s, target: 60, cost: "120 + count_time_s"}``."""

    parameter: Name
    target: Scalar
    """Its value at which the objective counts."""
    cost: Text
    """Laboratory seconds of a sample, by its parameters."""


class Drift(_Model):
    """The laboratory changes with time: the model has a time axis, and a reference sample is repeated: ``{reference: {cs: 0.2, ...}, every: 5}``."""

    reference: dict[str, Scalar] = Field(default_factory=dict)
    """A point that is tried again and again; left out: none is."""
    every: Annotated[int, Field(ge=2)] = 5
    """One of so many samples is the reference."""


class Durations(_Model):
    """What a sample costs in laboratory time; the campaign seeks the most improvement in an hour.

    ``{sample_s: 600, change_s: {anneal_temperature: 60}}``: the seconds of a sample, and for each unit by which a parameter (of a choice:
    for each change) differs from the sample before. They are where the campaign begins; what its trials have really taken replaces them by and by.
    """

    sample_s: Positive
    change_s: dict[Name, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(default_factory=dict)
    learn: bool = True
    """Whether the trials' own durations are learned from."""


# ------------------------------------------------------------------------------------------------------ when it ends


class Budget(_Model):
    """When a campaign ends; whichever comes first."""

    trials: Annotated[int, Field(ge=1, le=100000)]
    failures: Annotated[int, Field(ge=1)] = 10
    hours: Positive | None = None
    """Laboratory hours."""


class Confidence(_Model):
    """``{probability: 0.95, within: 0.02}``: the recommended point is, so surely, at most so far from the best there is (unit of the objective)."""

    probability: Share = 0.95
    within: Positive


class Stop(_Model):
    """When a campaign ends before its budget, whichever comes first; asked of the model before each suggestion."""

    improvement: Positive | None = None
    """The expected improvement of the next sample is below this (unit of the objective)."""
    improvement_per_hour: Positive | None = None
    """The same, per laboratory hour."""
    confidence: Confidence | None = None
    times: Annotated[int, Field(ge=1)] = 3
    """So many suggestions in a row."""


FEWEST_INITIAL = 6
"""Initial points, unless the file says."""


class OptimizerConfig(_Model):
    engine: Literal["botorch", "ax", "sobol", "given", "remote"] = "botorch"
    initial: Annotated[int, Field(ge=1)] | None = None
    """Evenly spread points before the model is asked; None: see `CampaignConfig.n_initial`."""
    seed: Annotated[int, Field(ge=0)] = 0
    points: tuple[dict[str, Scalar], ...] = ()
    """Tried before all others, in this order; of the engine ``given``: all there are."""
    top: Share | None = None
    """Of candidates: this share of them, the best, is wanted, as many as can be found; None: the best one."""
    deadline_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 3600.0
    """Of the engine ``remote``: how long nothing may be proposed while no sample is under way, wall seconds; then the campaign ends."""


class CampaignConfig(_Model):
    """The question: ``campaign.yaml``."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
    lab: str = ""
    """The laboratory's file, relative to this one; ``--lab`` goes before it."""
    owner: Annotated[str, Field(max_length=80)] = ""
    """Whose campaign it is."""
    priority: int = 0
    """Of campaigns that share a work cell, those of the highest priority begin their samples first."""
    share: Positive = 1.0
    """Of campaigns of equal priority, each begins samples in proportion to its share."""
    recovery: Recovery = Recovery()
    """What is done when a step fails; before the laboratory's own rules."""
    recipe: str
    settings: dict[str, Scalar] = Field(default_factory=dict)
    """Recipe settings that stay the same in all trials (see the recipe's docstring)."""
    liquids: dict[Name, Annotated[int, Field(ge=0, le=99)]] = Field(default_factory=dict)
    """What is loaded in the pumps for this campaign: liquid -> pump address; replaces lab.yaml's."""
    parameters: Annotated[tuple[ParameterSpec, ...], Field(min_length=1)]
    constraints: tuple[str, ...] = ()
    candidates: Table | None = None
    """The only points that can be tried, a column for each parameter: a library of ready substrates, a list of what can be bought."""
    context: tuple[ContextSpec, ...] = ()
    objectives: Annotated[tuple[Objective, ...], Field(min_length=1)]
    combine: Literal["pareto", "desirability"] = "pareto"
    """Of several objectives: the trade-offs between them (hypervolume), or the product of their desirabilities."""
    outcome_constraints: tuple[str, ...] = ()
    safety: Safety | None = None
    evaluate: Evaluation = Evaluation()
    prior: tuple[PriorData, ...] = ()
    prior_mean: dict[Name, Text] = Field(default_factory=dict)
    """By outcome, what is expected before anything is measured: an expression of the parameters, or ``module:function`` of a dict of them."""
    fidelity: Fidelity | None = None
    drift: Drift | None = None
    durations: Durations | None = None
    budget: Budget
    stop: Stop | None = None
    optimizer: OptimizerConfig = OptimizerConfig()

    @model_validator(mode="after")
    def _parses(self) -> CampaignConfig:
        _ = self.space, self.outcome_limits
        if self.candidates is not None:
            check_candidates(self.space, self.candidates.columns, self.candidates.rows)
        self._check_points()
        self._check_known()
        self._check_engine()
        check_consistency(self)
        scale = self.evaluate.full_scale
        if self.evaluate.kind == "brightness" and (scale is None or not scale[0] < scale[1]):
            raise ValueError(f"evaluate.full_scale: given {scale}; allowed: [value at no light, value at full scale], the lower one first")
        return self

    @property
    def space(self) -> Space:
        parameters: tuple[Parameter, ...] = tuple(p.parameter() for p in self.parameters)
        names = constrainable(parameters)
        constraints = []
        for number, text in enumerate(self.constraints):
            try:
                constraints.append(parse_constraint(text, names))
            except ValueError as error:
                raise ValueError(f"constraints.{number}: {error}") from error
        return Space(parameters, tuple(c for c in constraints if isinstance(c, LinearConstraint)),
                     tuple(c for c in constraints if isinstance(c, ExpressionConstraint)))

    def _check_engine(self) -> None:
        """Only the engine ``botorch`` knows everything that a campaign can say."""
        engine = self.optimizer.engine
        special = [name for name in ("candidates", "safety", "fidelity", "drift", "durations", "prior", "prior_mean", "context", "stop") if getattr(self, name)]
        if len(self.objectives) > 1 or self.objective.goal == "target":
            special.append("objectives")
        if self.space.nonlinear:
            special.append("constraints that are not linear")
        cannot = {"ax": special, "sobol": [name for name in special if name in ("candidates", "safety")]}.get(engine, [])
        if cannot:
            raise ValueError(f"optimizer.engine: given {engine} with {', '.join(cannot)}; allowed: botorch")

    def _check_known(self) -> None:
        """What is known before the first sample has to be of this question's parameters and outcomes."""
        outcomes = set(self.outcome_names)
        needed = [p.name for p in self.space.parameters if not isinstance(p, FixedParameter)]
        for name, text in self.prior_mean.items():
            if name not in outcomes:
                raise ValueError(f"prior_mean: given {name}; allowed: {', '.join(sorted(outcomes))}")
            check_expected(self.space, name, text)
        for number, table in enumerate(self.prior):
            missing = [name for name in needed if name not in table.columns]
            if table.columns and (missing or not outcomes & set(table.columns)):
                raise ValueError(f"prior.{number}.columns: given {', '.join(table.columns)}; allowed: {', '.join(needed)}, and {' or '.join(sorted(outcomes))}")

    def _check_points(self) -> None:
        points, engine = self.optimizer.points, self.optimizer.engine
        if engine == "given" and not points:
            raise ValueError("optimizer.points: given nothing with engine given; allowed: at least one")
        if points and engine not in ("given", "botorch"):
            raise ValueError(f"optimizer.points: given {len(points)} with engine {engine}; allowed: none, or engine given or botorch")
        for number, point in enumerate(points):
            problems = self.space.problems(point)
            if problems:
                field, _, given = problems[0].partition(": given ")
                given, _, allowed = given.partition("; allowed: ")
                raise ValueError(f"optimizer.points.{number}: given {given or problems[0]}; allowed: "
                                 f"{allowed or 'a value for each parameter, within its bounds and the constraints'}"
                                 + (f" for {field}" if allowed else ""))

    @property
    def n_initial(self) -> int:
        """Evenly spread points before the model is asked: unless the file says, enough that every value of an unordered choice can have its turn, at
        least `FEWEST_INITIAL`, and beyond these at most a quarter of the budget."""
        if self.optimizer.initial is not None:
            return self.optimizer.initial
        most = max((len(p.values) for p in self.space.parameters if isinstance(p, ChoiceParameter) and not p.is_graded), default=0)
        return max(FEWEST_INITIAL, min(most, self.budget.trials // 4))

    @property
    def objective(self) -> Objective:
        return self.objectives[0]

    @property
    def outcome_names(self) -> tuple[str, ...]:
        """All outcomes that it asks for, each once: its objectives, and what must be kept."""
        limited = (*self.outcome_constraints, *(self.safety.constraints if self.safety is not None else ()))
        names = [text.replace("<", " ").replace(">", " ").replace("=", " ").split()[0] for text in limited]
        return tuple(dict.fromkeys([*(one.name for one in self.objectives), *names]))

    @property
    def outcome_limits(self) -> tuple[LinearConstraint, ...]:
        """Outcome constraints, each on one outcome: ``film_thickness >= 200``."""
        return tuple(one_outcome(text, f"outcome_constraints.{number}") for number, text in enumerate(self.outcome_constraints))

    @property
    def safe_limits(self) -> tuple[LinearConstraint, ...]:
        """Safety constraints, each on one outcome; none where the campaign has none."""
        texts = () if self.safety is None else self.safety.constraints
        return tuple(one_outcome(text, f"safety.constraints.{number}") for number, text in enumerate(texts))
