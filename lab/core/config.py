"""The two files a user writes, as frozen models: ``lab.yaml`` (LabConfig) and ``campaign.yaml`` (CampaignConfig).

Reading files and turning validation errors into `ConfigError` is done in `lab.files`.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from lab.core.channels import BRIDGE, TABLES, Channel, input_row, narrow
from lab.core.errors import LimitError
from lab.core.interlocks import Exclusion, Exclusions, InterlockConfig
from lab.core.recovery import Recovery
from lab.core.remote import RemoteConfig
from lab.core.trips import Trip, trip_of

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


ModbusAddress = Annotated[int, Field(ge=0, le=65535)]


class PlcInput(_Model):
    """One input, at one address (from 0, as on the wire): ``{discrete: 0}`` or ``{register: 3, scale: 0.01, unit: L/min}``."""

    model_config = ConfigDict(extra="forbid", frozen=True, serialize_by_alias=True)  # pydantic's models have a `register` of their own

    discrete: ModbusAddress | None = None
    coil: ModbusAddress | None = None
    register_: Annotated[ModbusAddress | None, Field(alias="register")] = None
    holding: ModbusAddress | None = None
    scale: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    """Value = what the register holds times `scale`."""
    is_signed: bool = False
    """Registers hold -32768..32767 rather than 0..65535."""
    unit: str = ""
    initial: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Of a simulated one: the value at its start; by default 1 for a switch and 0 for a register."""

    @model_validator(mode="after")
    def _is_one_thing(self) -> PlcInput:
        given = [kind for kind, address in self._addresses.items() if address is not None]
        if len(given) != 1:
            raise ValueError(f"given {' and '.join(given) or 'no address'}; allowed: one of {', '.join(self._addresses)}")
        if self.scale == 0:
            raise ValueError("scale: given 0; allowed: anything else")
        if self.is_switch and (self.scale != 1 or self.is_signed or self.unit):
            raise ValueError(f"given scale, is_signed or unit of a {self.table}; allowed: only of a register")
        low, high = (0, 1) if self.is_switch else (-32768, 32767) if self.is_signed else (0, 65535)
        if not low <= self.initial_raw <= high:
            raise ValueError(f"initial: given {self.initial}; allowed: what {low}..{high} times {self.scale:g} can say")
        return self

    @property
    def _addresses(self) -> dict[str, int | None]:
        return {"discrete": self.discrete, "coil": self.coil, "register": self.register_, "holding": self.holding}

    @property
    def table(self) -> str:
        """``discrete``, ``coil``, ``register`` or ``holding``."""
        return next(kind for kind, address in self._addresses.items() if address is not None)

    @property
    def address(self) -> int:
        return next(address for address in self._addresses.values() if address is not None)

    @property
    def is_switch(self) -> bool:
        """Whether it is one bit."""
        return self.table in ("discrete", "coil")

    @property
    def initial_raw(self) -> int:
        """`initial` as the controller's memory holds it, before the sign is put into its 16 bits."""
        if self.initial is None:
            return 1 if self.is_switch else 0
        return round(self.initial / self.scale)


class PlcConfig(_Instrument):
    """A programmable controller, Modbus TCP: ``tcp://10.0.0.7:502?unit=1``."""

    kind: Literal["plc"]
    inputs: Annotated[dict[Name, PlcInput], Field(min_length=1)]
    heartbeat: Name | None = None
    """An input that the controller's program keeps changing; when it stands still for `heartbeat_s`, no input is valid any more."""
    heartbeat_s: Positive = 2.0
    """Wall seconds."""

    @model_validator(mode="after")
    def _names_are_free(self) -> PlcConfig:
        taken = sorted(set(self.inputs) & {row.name for row in (*BRIDGE, *TABLES["plc"])})
        if taken:
            raise ValueError(f"inputs.{taken[0]}: given the name of a channel that every controller has; allowed: another name")
        if self.heartbeat is not None and self.heartbeat not in self.inputs:
            raise ValueError(f"heartbeat: given {self.heartbeat!r}; allowed: {', '.join(self.inputs)}")
        return self


InstrumentConfig = Annotated[PumpBank | Hotplate | ArmConfig | DetectorConfig | PlcConfig, Field(discriminator="kind")]


def table_of(instrument: InstrumentConfig) -> tuple[Channel, ...]:
    """Channel table of an instrument, with the rows that its own configuration adds; of a pump bank that of each address."""
    if isinstance(instrument, PlcConfig):
        return (*TABLES["plc"], *(input_row(name, one.unit, one.is_switch) for name, one in instrument.inputs.items()))
    return TABLES[instrument.kind]


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


def _speed(given: object) -> object:
    if given == "max":
        return given
    try:
        speed = float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        speed = math.nan
    if not 0 < speed < math.inf:
        raise ValueError(f"given {given}; allowed: a number greater than 0, or max")
    return speed


class LabConfig(_Model):
    """The laboratory: ``lab.yaml``."""

    name: Name
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_:-]{0,20}$")] = "LAB:"
    speed: Annotated[float | Literal["max"], BeforeValidator(_speed)] = 1.0
    """Laboratory seconds per wall second; ``max``: virtual time, as fast as the computer allows."""
    world: World = PhysicalWorld()
    instruments: Annotated[dict[Name, InstrumentConfig], Field(min_length=1)]
    stations: dict[Name, Station] = Field(default_factory=dict)
    interlocks: dict[Name, InterlockConfig] = Field(default_factory=dict)
    """What must hold while instruments work, and what must not move together (`lab.core.interlocks`)."""
    catalogue: bool = True
    """Whether runs are filed into the embedded Tiled catalogue."""
    recovery: Recovery = Recovery()
    """What is done when a step fails, where the campaign says nothing."""
    at_once: Annotated[int, Field(ge=1)] | None = None
    """Most samples in the machine at one time; None: as many as there is room for."""
    remote: RemoteConfig = RemoteConfig()
    """Who may do what from elsewhere, once the laboratory is up (`lab.core.remote`)."""

    @model_validator(mode="after")
    def _only_simulations_leap(self) -> LabConfig:
        real = [name for name, instrument in self.instruments.items() if instrument.endpoint != "sim"]
        if self.speed == "max" and real:
            raise ValueError(f"speed: given max; allowed: a number, since {', '.join(real)} cannot hurry")
        return self

    @model_validator(mode="after")
    def _limits_are_inside_the_tables(self) -> LabConfig:
        for name, instrument in self.instruments.items():
            try:
                narrow(table_of(instrument), instrument.limits, f"instruments.{name}.limits")
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
        return narrow(table_of(instrument), instrument.limits, f"instruments.{name}.limits")

    @model_validator(mode="after")
    def _interlocks_are_sound(self) -> LabConfig:
        _ = self.trips()
        for name, interlock in self.interlocks.items():
            for field, given, allowed in (("guards", interlock.guards, (*self.instruments,)),
                                          ("exclusive", interlock.exclusive, (*self.instruments, *self.stations))):
                unknown = [one for one in given if one not in allowed]
                if unknown:
                    raise ValueError(f"interlocks.{name}.{field}: given {unknown[0]!r}; allowed: {', '.join(allowed)}")
            taken = (*self.instruments, *self.stations, *INSTRUMENT_OF_ROLE, "rack")
            if interlock.exclusive and name in taken:
                raise ValueError(f"interlocks.{name}: given the name of an instrument, a station or a role; allowed: another name")
        return self

    def trips(self) -> tuple[Trip, ...]:
        """The interlocks that have a condition, in the order of the file, before the first look."""
        tables: dict[str, dict[str, tuple[Channel, ...]]] = {}
        for name, instrument in self.instruments.items():
            rows = table_of(instrument)
            if isinstance(instrument, PumpBank):
                tables[name] = {"": BRIDGE} | {str(syringe.address): rows for syringe in instrument.syringes}
            else:
                tables[name] = {"": (*BRIDGE, *rows)}
        return tuple(trip_of(name, interlock, tables) for name, interlock in self.interlocks.items() if interlock.require)

    @property
    def exclusions(self) -> Exclusions:
        """The interlocks that keep instruments from moving at the same time, as resources of lanes."""
        rows = [Exclusion(name, one.exclusive, one.reason) for name, one in self.interlocks.items() if one.exclusive]
        return Exclusions(rows, {station: self.instrument_at(station) for station in self.stations if self.instrument_at(station)})

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
