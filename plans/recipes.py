"""Recipes: what is done to a sample, station by station. `RECIPES` names those that a campaign file may ask for.

A recipe is a sequence of steps; how a sample gets from one to the next, what is done when one fails, and which samples overlap
is the same for all recipes (`plans.life`, `plans.closed_loop`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bluesky.utils import Msg

from lab.core.capabilities import Dose, Heater
from lab.core.errors import CommandError, LabError
from lab.core.journal import Journal
from lab.core.space import Value
from plans.cell import Station, WorkCell
from plans.stubs import Plan, act, cause_of, hold, move

MIN_DOSE_ML = 0.001
"""Smaller doses are left out; the executed fraction is then 0."""

HOLD_BAND_C = 10.0
"""A plate that is further from its temperature during the anneal, K, does not hold it."""

ROUNDING_S = 1e-6
"""Less is left of a time only by rounding; on a virtual clock, which never overshoots, it might be left for ever."""


@dataclass(frozen=True)
class Setting:
    """One thing a recipe can be told, as a parameter or as a fixed setting of the campaign.

    Parameters
    ----------
    unit : str
    default : float, int, str or None
        None: the campaign must give it.
    low, high : float
        What the recipe itself can do; an instrument's own limits come on top.
    channel : tuple of str or None
        Kind of instrument and channel (`lab.core.channels`) whose limits bind it.
    is_choice : bool
        Takes the name of a liquid instead of a number.
    """

    unit: str
    default: Value | None
    doc: str
    low: float = 0.0
    high: float = float("inf")
    channel: tuple[str, str] | None = None
    is_choice: bool = False


@dataclass(frozen=True)
class Order:
    """One sample to be made.

    Parameters
    ----------
    trial : int
    sample : str
        Sample id in the ledger.
    place : str
        Where the empty substrate stands; the finished sample goes back there.
    key : str
        Prefix of the idempotency keys of this sample's doses.
    shares : mapping of liquid to number
        In any unit: what counts is each one's share of their sum.
    volumes_ml : mapping of liquid to mL
        Doses given as volumes.
    settings : mapping
        Every `Setting` of the recipe, by name.
    metadata : mapping
        Goes into the start document.
    n_former : int
        How many samples of the same trial have been made and put away before this one.
    """

    trial: int
    sample: str
    place: str
    key: str
    shares: Mapping[str, float]
    volumes_ml: Mapping[str, float]
    settings: Mapping[str, Value]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    n_former: int = 0


@dataclass(frozen=True)
class Carried:
    """What a step reports as really done, in the terms of the order; what it does not name was not its business."""

    shares: Mapping[str, float] = field(default_factory=dict)
    volumes_ml: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Value] = field(default_factory=dict)


Report = Callable[[Carried], None]


@dataclass
class Task:
    """One step of one sample, as its plan sees it.

    Parameters
    ----------
    cell : WorkCell
    station : Station
        Where the sample stands; of the step's role.
    order : Order
    journal : Journal
        Told before and after each dose.
    report : callable
        Called with what was really carried out, once it is known.
    is_spoilt : bool
        The step says so once it has begun to change the sample: from then on it cannot be done again with this one.
    """

    cell: WorkCell
    station: Station
    order: Order
    journal: Journal
    report: Report
    is_spoilt: bool = False

    def setting(self, name: str) -> float:
        """A number of the order's settings."""
        return float(self.order.settings[name])


def _nothing_s(order: Order) -> float:
    return 0.0


@dataclass(frozen=True)
class Step:
    """One thing that is done to a sample at one station.

    Parameters
    ----------
    name : str
    role : str
        Of the station.
    plan : callable
        Task -> plan, carried out while the sample stands at the station.
    describe : callable
        Order -> what it does, in words for people.
    expected_s : callable
        Order -> laboratory seconds that it will take, as long as no record knows better.
    prepare : callable or None
        Task -> plan, carried out when the station has been granted, before the sample comes.
    prepare_s : float
        Laboratory seconds that this takes from the moment the sample before has left.
    max_gap : str
        Name of the setting that limits the laboratory seconds between the end of the step before and the beginning of this one.
    is_repeatable : bool
        It does not change the sample, and may be begun again after a crash.
    is_last_reading : bool
        After it the sample can be evaluated.
    held_s : callable
        Order -> how much of it the plan waits by itself, whatever the instruments do, laboratory seconds.
    """

    name: str
    role: str
    plan: Callable[[Task], Plan]
    describe: Callable[[Order], str]
    expected_s: Callable[[Order], float]
    prepare: Callable[[Task], Plan] | None = None
    prepare_s: float = 0.0
    max_gap: str = ""
    is_repeatable: bool = False
    is_last_reading: bool = False
    held_s: Callable[[Order], float] = _nothing_s


@dataclass(frozen=True)
class Recipe:
    """What is done to a sample, and what may be told about it.

    Parameters
    ----------
    name : str
    steps : tuple of Step
    settings : mapping of str to Setting
    transfer_s : float
        Laboratory seconds that the arm needs from place to place, as long as no record knows better.
    """

    name: str
    steps: tuple[Step, ...]
    settings: Mapping[str, Setting]
    transfer_s: float = 20.0


# ------------------------------------------------------------------------------------------------- casting


def doses_of(order: Order) -> dict[str, float]:
    """Volume of each liquid that the order needs, mL."""
    total_share, total_ml = sum(order.shares.values()), float(order.settings["total_volume_ml"])
    wanted = {liquid: total_ml * share / total_share for liquid, share in order.shares.items()} if order.shares else {}
    for liquid, volume in order.volumes_ml.items():
        wanted[liquid] = wanted.get(liquid, 0.0) + volume
    return {liquid: volume for liquid, volume in wanted.items() if volume >= MIN_DOSE_ML}


def _cast(task: Task) -> Plan:
    """Dispense all liquids of the order onto the substrate."""
    synthesiser, order, journal = task.station.device, task.order, task.journal
    wanted = doses_of(order)
    dose = Dose(wanted, key=f"{order.key}:dose")
    journal.dose_announced(dose.key, wanted)
    task.is_spoilt = True
    try:
        yield from move(synthesiser, dose)
    except GeneratorExit:
        raise
    except BaseException as error:
        journal.dose_failed(dose.key, _counted(synthesiser), str(cause_of(error)))
        raise
    counted = synthesiser.dispensed_ml()
    journal.dose_done(dose.key, counted)
    task.report(Carried(shares=_executed_shares(order, counted), volumes_ml={n: counted.get(n, 0.0) for n in order.volumes_ml}))
    yield from _read([synthesiser], "dosing")


def _counted(synthesiser: Any) -> dict[str, float]:
    """What the pumps counted of a failed dose; nothing where they cannot be asked."""
    try:
        counted: dict[str, float] = synthesiser.dispensed_ml()
    except LabError:
        return {}
    return counted


def _executed_shares(order: Order, counted_ml: Mapping[str, float]) -> dict[str, float]:
    """Shares as dispensed, scaled so that they sum to what the order's shares sum to."""
    dispensed = {liquid: counted_ml.get(liquid, 0.0) for liquid in order.shares}
    total_ml = sum(dispensed.values())
    if total_ml <= 0.0:
        return {}
    whole = sum(order.shares.values())
    return {liquid: whole * volume / total_ml for liquid, volume in dispensed.items()}


# ----------------------------------------------------------------------------------------------- annealing


def _cool(task: Task) -> Plan:
    """Wait until the plate is cool enough to load a sample: a warm one would already anneal it."""
    heater: Heater = task.station.device
    below_c = task.setting("load_below_c")
    if heater.temperature_c() > below_c:
        yield from act("cool the plate", lambda: heater.cool_below(below_c))


def _anneal(task: Task) -> Plan:
    """Heat, hold, switch off; reports the mean plate temperature (degC) and the time (s) of the hold."""
    target_c, seconds = task.setting("anneal_temperature"), task.setting("anneal_time_s")
    heater: Heater = task.station.device
    clock = task.cell.clock
    readings: list[float] = []
    task.is_spoilt = True
    try:
        yield from move(heater.stirrer, task.setting("stir_rpm"))
        yield from move(heater, target_c)
        began = clock.now()
        while (left := seconds - (clock.now() - began)) > ROUNDING_S:
            readings.append(_held_c(heater, target_c))
            yield from hold(clock, min(left, max(30.0, seconds / 10)))
        readings.append(_held_c(heater, target_c))
        held_s = clock.now() - began
        yield from _read([heater], "annealing")
    finally:
        yield from act("switch the heater off", heater.off)
        yield from move(heater.stirrer, 0.0)
    task.report(Carried(settings={"anneal_temperature": sum(readings) / len(readings), "anneal_time_s": held_s}))


def _held_c(heater: Heater, target_c: float) -> float:
    """The temperature of a plate that shall hold one.

    Raises
    ------
    CommandError
        When it does not: it may have switched itself off, and the mean of such an anneal says nothing of the film.
    """
    now_c = heater.temperature_c()
    if abs(now_c - target_c) > HOLD_BAND_C:
        raise CommandError(f"{heater.name}: the plate is at {now_c:.4g} degC where it shall hold {target_c:.4g} degC; look at its display for an error")
    return now_c


# ----------------------------------------------------------------------------------------------- measuring


def _measure(task: Task) -> Plan:
    """One trigger of the detector into a file of this sample's own, as the ``primary`` stream."""
    detector = task.station.device
    count_time_s, n_images = task.setting("count_time_s"), int(task.setting("n_images"))
    yield from act("set the exposure", lambda: detector.set_exposure(count_time_s, n_images))
    detector.set_file(str(_unused(task)))
    yield Msg("stage", detector)
    try:
        yield Msg("trigger", detector, group="expose")
        yield Msg("wait", None, group="expose")
        yield from _read([detector], "primary")
    finally:
        yield Msg("unstage", detector)


def _unused(task: Task) -> Any:
    """A file of this sample's that does not exist: a measurement may be done again."""
    first = task.cell.frames / str(task.order.metadata.get("campaign", "")) / f"{task.order.sample}.h5"
    names = [first, *(first.with_stem(f"{task.order.sample}.{n}") for n in range(2, 100))]
    return next((name for name in names if not name.exists()), names[-1])


def _read(devices: list[Any], stream: str) -> Plan:
    yield Msg("create", None, name=stream)
    for device in devices:
        yield Msg("read", device)
    yield Msg("save")


# ------------------------------------------------------------------------------------------------- recipes


THIN_FILM = Recipe(
    "thin_film",
    (
        Step("cast", "synthesiser", _cast,
             lambda order: "cast " + ", ".join(f"{ml:.3f} mL {liquid}" for liquid, ml in doses_of(order).items()),
             lambda order: 5.0 + 12.0 * max(doses_of(order).values(), default=0.0)),
        Step("anneal", "annealer", _anneal,
             lambda order: f"anneal {float(order.settings['anneal_time_s']):.4g} s at {float(order.settings['anneal_temperature']):.4g} degC",
             lambda order: float(order.settings["anneal_time_s"]) + 60.0, _cool, prepare_s=400.0, max_gap="max_gap_s",
             held_s=lambda order: float(order.settings["anneal_time_s"])),
        Step("measure", "detector", _measure,
             lambda order: f"expose {int(order.settings['n_images'])} x {float(order.settings['count_time_s']):g} s",
             lambda order: 5.0 + 1.1 * int(order.settings["n_images"]) * float(order.settings["count_time_s"]), is_repeatable=True,
             is_last_reading=True),
    ),
    {
        "total_volume_ml": Setting("mL", 1.0, "volume of all liquids given as shares", low=0.01),
        "anneal_temperature": Setting("degC", None, "plate temperature of the anneal", channel=("hotplate", "TEMPERATURE")),
        "anneal_time_s": Setting("s", 600.0, "how long the anneal lasts once the plate is at temperature", high=36000.0),
        "max_gap_s": Setting("s", 60.0, "longest time from the end of casting to the beginning of the anneal", low=1.0),
        "stir_rpm": Setting("rpm", 300.0, "stirring while annealing", channel=("hotplate", "STIR_RPM")),
        "load_below_c": Setting("degC", 60.0, "the plate cools below this before a sample is loaded", low=30.0, high=310.0),
        "count_time_s": Setting("s", 2.0, "exposure of one frame", channel=("detector", "COUNT_TIME")),
        "n_images": Setting("frames", 1, "frames of one sample", low=1, channel=("detector", "N_IMAGES")),
        "carrier": Setting("", "", "a liquid dosed on top of the shares, by name", is_choice=True),
        "carrier_volume_ml": Setting("mL", 0.5, "how much of the carrier", low=MIN_DOSE_ML),
    },
)
"""Dose a precursor mixture onto a substrate, anneal it within `max_gap_s`, take its powder pattern."""

RECIPES: dict[str, Recipe] = {THIN_FILM.name: THIN_FILM}
