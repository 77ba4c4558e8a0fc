"""The two files a user writes, as frozen models: ``lab.yaml`` (LabConfig) and ``campaign.yaml`` (CampaignConfig).

Reading files and turning validation errors into `ConfigError` is done in `lab.files`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lab.core.channels import TABLES, Channel, narrow
from lab.core.errors import LimitError
from lab.core.space import ChoiceParameter, LinearConstraint, Parameter, RangeParameter, Space

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=40)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Limits = tuple[float, float]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


# ---------------------------------------------------------------------------------------------------- lab.yaml


class Syringe(_Model):
    """One pump of the bank and what is loaded in it."""

    address: Annotated[int, Field(ge=0, le=99)]
    liquid: Name
    diameter_mm: Annotated[float, Field(ge=0.1, le=50)] = 26.7
    rate_ml_min: Positive = 5.0
    volume_ml: Positive = 60.0


class _Instrument(_Model):
    endpoint: str = "sim"
    limits: dict[str, Limits] = Field(default_factory=dict)

    @field_validator("endpoint")
    @classmethod
    def _known_scheme(cls, value: str) -> str:
        if value == "sim" or value.startswith(("serial://", "tcp://", "http://")):
            return value
        raise ValueError(f"given {value!r}; allowed: sim, serial:///dev/ttyUSB0?baud=9600, tcp://host:10000?monitor=10001 "
                         "or http://host:80?stream=9999")


class PumpBank(_Instrument):
    """New Era NE-1000 syringe pumps on one serial line."""

    kind: Literal["pump"]
    syringes: Annotated[tuple[Syringe, ...], Field(min_length=1)]
    is_safe_mode: bool = True

    @model_validator(mode="after")
    def _distinct(self) -> PumpBank:
        given_twice = {"address": [str(s.address) for s in self.syringes], "liquid": [s.liquid for s in self.syringes]}
        for label, given in given_twice.items():
            twice = sorted({g for g in given if given.count(g) > 1})
            if twice:
                raise ValueError(f"syringes: {label} {', '.join(twice)} given twice; allowed: each {label} once")
        return self


class Hotplate(_Instrument):
    """IKA hotplate-stirrer."""

    kind: Literal["hotplate"]


class ArmPlace(_Model):
    """Where the gripper closes on a sample: tool pose x,y,z (mm), alpha,beta,gamma (deg) in the arm's frame."""

    pose: tuple[float, float, float, float, float, float]
    approach_mm: Annotated[float, Field(ge=0, le=200)] = 40.0


class ArmConfig(_Instrument):
    """Mecademic Meca500: ``tcp://host:10000?monitor=10001``."""

    kind: Literal["arm"]
    park_joints: tuple[float, float, float, float, float, float] = (0.0, -20.0, 20.0, 0.0, 30.0, 0.0)


class Geometry(_Model):
    """The powder set-up: what pyFAI must know."""

    distance_mm: Positive = 150.0
    pixel_um: Positive = 172.0
    wavelength_angstrom: Positive = 1.0
    shape: tuple[Annotated[int, Field(ge=32, le=8192)], Annotated[int, Field(ge=32, le=8192)]] = (512, 512)
    beam_center_px: tuple[float, float] = (255.5, 255.5)
    """Row, column of the direct beam (pixel centres at whole numbers)."""


class DetectorConfig(_Instrument):
    """Dectris SIMPLON 1.8: ``http://host:80?stream=9999``."""

    kind: Literal["detector"]
    geometry: Geometry = Geometry()


InstrumentConfig = Annotated[PumpBank | Hotplate | ArmConfig | DetectorConfig, Field(discriminator="kind")]


INSTRUMENT_OF_ROLE = {"synthesiser": "pump", "annealer": "hotplate", "detector": "detector"}
"""The kind of instrument at a station, by the station's role. A rack has none."""


class Station(_Model):
    """A place, or a row of numbered ones, where samples may stand.

    `origin` is the first place; further ones of a rack follow `step_mm` apart, `columns` to a row.
    Place names: the station's name when there is one slot, else ``name.1 .. name.N``.
    """

    role: Literal["synthesiser", "annealer", "detector", "rack"]
    instrument: str = ""
    """The instrument at it; may be left out where the laboratory has one of the kind its role needs (`INSTRUMENT_OF_ROLE`)."""
    origin: ArmPlace
    slots: Annotated[int, Field(ge=1, le=400)] = 1
    columns: Annotated[int, Field(ge=1)] = 1
    step_mm: tuple[float, float] = (0.0, 0.0)


class PhysicalWorld(_Model):
    """The default hidden world: halide-perovskite phases as a powder pattern."""

    kind: Literal["physical"] = "physical"
    seed: int = 0


class WorldInput(_Model):
    """How one column of a table world follows from what was really done to the sample."""

    column: str
    quantity: str
    """``fraction:LIQUID``, ``volume:LIQUID`` (mL), ``temperature`` (degC), ``time`` (s at temperature), ``stir`` (rpm)
    or ``liquid`` (name of the carrier that was dosed)."""
    scale: float = 1.0
    """Column value = quantity x scale (100 for per cent)."""


class TableWorld(_Model):
    """A CSV of real measurements as the hidden response."""

    kind: Literal["table"]
    file: str
    inputs: tuple[WorldInput, ...]
    output: str
    full_scale: Limits
    """Value of the output at no light, and at `counts_full` of the detector."""
    seed: int = 0


World = Annotated[PhysicalWorld | TableWorld, Field(discriminator="kind")]


class LabConfig(_Model):
    """The laboratory: ``lab.yaml``."""

    name: Name
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_:-]{0,20}$")] = "LAB:"
    speed: Positive = 1.0
    world: World = PhysicalWorld()
    instruments: Annotated[dict[Name, InstrumentConfig], Field(min_length=1)]
    stations: dict[Name, Station] = Field(default_factory=dict)
    catalogue: bool = True
    """Whether runs are filed into the embedded Tiled catalogue."""

    @model_validator(mode="after")
    def _limits_are_inside_the_tables(self) -> LabConfig:
        for name, instrument in self.instruments.items():
            try:
                narrow(TABLES[instrument.kind], instrument.limits, f"instruments.{name}.limits")
            except LimitError as error:
                raise ValueError(str(error)) from error
        return self

    @model_validator(mode="after")
    def _stations_have_instruments_of_their_own(self) -> LabConfig:
        stands_at: dict[str, str] = {}
        for name, station in self.stations.items():
            self._check_instrument(name, station)
            instrument = self.instrument_at(name)
            if instrument and instrument in stands_at:
                raise ValueError(f"stations.{name}.instrument: given {instrument}, which stands at {stands_at[instrument]}; "
                                 "allowed: one station to an instrument")
            stands_at[instrument] = name
            if station.role == "synthesiser" and name in self.instruments:
                raise ValueError(f"stations.{name}: given the name of an instrument; allowed: another name, since its device takes it")
        return self

    def _check_instrument(self, name: str, station: Station) -> None:
        kind, given = INSTRUMENT_OF_ROLE.get(station.role), station.instrument
        field = f"stations.{name}.instrument"
        if kind is None:
            if given:
                raise ValueError(f"{field}: given {given!r}; allowed: nothing, since a {station.role} has no instrument")
            return
        fitting = [n for n, instrument in self.instruments.items() if instrument.kind == kind]
        allowed = f"{', '.join(fitting) or 'nothing, since there is no instrument'} of kind {kind}"
        if given and given not in self.instruments:
            raise ValueError(f"{field}: given {given!r}, which is no instrument; allowed: {allowed}")
        if given and given not in fitting:
            raise ValueError(f"{field}: given {given!r} of kind {self.instruments[given].kind}; allowed: {allowed}")
        if not given and len(fitting) > 1:
            raise ValueError(f"{field}: given nothing; allowed: one of {allowed}")

    def instrument_at(self, station: str) -> str:
        """Name of the instrument at a station; empty for a rack, and where the laboratory has none of the kind."""
        one = self.stations[station]
        if one.instrument:
            return one.instrument
        kind = INSTRUMENT_OF_ROLE.get(one.role)
        return next((name for name, instrument in self.instruments.items() if instrument.kind == kind), "")

    def stations_of(self, role: str) -> tuple[str, ...]:
        """Names of the stations of a role, in the order of the file."""
        return tuple(name for name, station in self.stations.items() if station.role == role)

    def channels(self, name: str) -> tuple[Channel, ...]:
        """Channel table of the instrument `name`, this laboratory's limits in it."""
        instrument = self.instruments[name]
        return narrow(TABLES[instrument.kind], instrument.limits, f"instruments.{name}.limits")

    @property
    def places(self) -> dict[str, ArmPlace]:
        """Every place where a sample may stand, by name."""
        return {place: pose for name, station in self.stations.items() for place, pose in places_of(name, station).items()}

    @property
    def is_simulated(self) -> bool:
        return any(i.endpoint == "sim" for i in self.instruments.values())


def places_of(name: str, station: Station) -> dict[str, ArmPlace]:
    """Names and poses of a station's slots."""
    if station.slots == 1:
        return {name: station.origin}
    x, y, z, alpha, beta, gamma = station.origin.pose
    found = {}
    for slot in range(station.slots):
        row, column = divmod(slot, station.columns)
        pose = (x + column * station.step_mm[0], y + row * station.step_mm[1], z, alpha, beta, gamma)
        found[f"{name}.{slot + 1}"] = ArmPlace(pose=pose, approach_mm=station.origin.approach_mm)
    return found


# ----------------------------------------------------------------------------------------------- campaign.yaml


class RangeSpec(_Model):
    """``{name: cs, type: range, bounds: [0, 1]}``; ``type: integer`` for whole numbers, ``scale: log``."""

    name: Name
    type: Literal["range", "integer"]
    bounds: Limits
    scale: Literal["linear", "log"] = "linear"
    unit: str = ""
    sets: str = ""
    """What the recipe sets by it, where that is not its own name."""

    @model_validator(mode="after")
    def _is_sound(self) -> RangeSpec:
        _ = self.parameter()
        return self

    def parameter(self) -> RangeParameter:
        return RangeParameter(self.name, *self.bounds, is_integer=self.type == "integer", is_log=self.scale == "log", unit=self.unit)


class ChoiceSpec(_Model):
    """``{name: solvent, type: choice, values: [DMF, DMSO]}``."""

    name: Name
    type: Literal["choice"]
    values: tuple[float | int | str, ...]
    is_ordered: bool = False
    unit: str = ""
    sets: str = ""

    @model_validator(mode="after")
    def _is_sound(self) -> ChoiceSpec:
        _ = self.parameter()
        return self

    def parameter(self) -> ChoiceParameter:
        return ChoiceParameter(self.name, self.values, self.is_ordered)


class Objective(_Model):
    """What to make as large or as small as possible."""

    name: Name
    goal: Literal["maximize", "minimize"]
    unit: str = ""
    noise: Literal["measured", "inferred"] = "measured"
    """``measured``: the model trusts each outcome's standard error. ``inferred``: it learns the scatter between samples."""


class Evaluation(_Model):
    """How a frame becomes an outcome: ``phases`` (powder pattern) or ``brightness`` (calibrated mean counts)."""

    kind: Literal["phases", "brightness"] = "phases"
    full_scale: Limits | None = None
    """Only for brightness: the objective's value at no light, and at full scale."""


class Budget(_Model):
    """When a campaign ends; whichever comes first."""

    trials: Annotated[int, Field(ge=1, le=100000)]
    failures: Annotated[int, Field(ge=1)] = 10
    hours: Positive | None = None
    """Laboratory hours."""


class OptimizerConfig(_Model):
    engine: Literal["ax", "sobol"] = "ax"
    initial: Annotated[int, Field(ge=1)] = 6
    seed: Annotated[int, Field(ge=0)] = 0


class CampaignConfig(_Model):
    """The question: ``campaign.yaml``."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
    lab: str = ""
    """The laboratory's file, relative to this one; ``--lab`` goes before it."""
    recipe: str
    settings: dict[str, float | int | str] = Field(default_factory=dict)
    """Recipe settings that stay the same in all trials (see the recipe's docstring)."""
    liquids: dict[Name, Annotated[int, Field(ge=0, le=99)]] = Field(default_factory=dict)
    """What is loaded in the pumps for this campaign: liquid -> pump address; replaces lab.yaml's."""
    parameters: Annotated[tuple[Annotated[RangeSpec | ChoiceSpec, Field(discriminator="type")], ...], Field(min_length=1)]
    constraints: tuple[str, ...] = ()
    objectives: Annotated[tuple[Objective, ...], Field(min_length=1, max_length=1)]
    outcome_constraints: tuple[str, ...] = ()
    evaluate: Evaluation = Evaluation()
    budget: Budget
    optimizer: OptimizerConfig = OptimizerConfig()

    @model_validator(mode="after")
    def _parses(self) -> CampaignConfig:
        _ = self.space, self.outcome_limits
        scale = self.evaluate.full_scale
        if self.evaluate.kind == "brightness" and (scale is None or not scale[0] < scale[1]):
            raise ValueError(f"evaluate.full_scale: given {scale}; allowed: [value at no light, value at full scale], the lower one first")
        return self

    @property
    def space(self) -> Space:
        parameters: tuple[Parameter, ...] = tuple(p.parameter() for p in self.parameters)
        ranges = [p.name for p in parameters if isinstance(p, RangeParameter)]
        constraints = []
        for number, text in enumerate(self.constraints):
            try:
                constraints.append(LinearConstraint.parse(text, ranges))
            except ValueError as error:
                raise ValueError(f"constraints.{number}: {error}") from error
        return Space(parameters, tuple(constraints))

    @property
    def objective(self) -> Objective:
        return self.objectives[0]

    @property
    def outcome_limits(self) -> tuple[LinearConstraint, ...]:
        """Outcome constraints, each on one outcome: ``film_thickness >= 200``."""
        limits = []
        for number, text in enumerate(self.outcome_constraints):
            name = text.replace("<", " ").replace(">", " ").replace("=", " ").split()[:1]
            limit = LinearConstraint.parse(text, name)
            if limit.operator == "==" or len(limit.coefficients) != 1:
                raise ValueError(f"outcome_constraints.{number}: given {text!r}; allowed: one outcome and a bound, such as 'thickness >= 200'")
            limits.append(limit)
        return tuple(limits)
