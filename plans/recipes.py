"""Recipes: one sample's life, as a plan. `RECIPES` names those that a campaign file may ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bluesky.utils import FailedStatus, Msg

from lab.core.capabilities import Detector, Dose, Heater, Synthesiser
from lab.core.clock import Clock
from lab.core.errors import CommandError, LabError
from lab.core.journal import Journal
from lab.core.space import Value
from plans.cell import Station, WorkCell
from plans.stubs import Plan, act, cause_of, hold, move, step, transfer

MIN_DOSE_ML = 0.001
"""Smaller doses are left out; the executed fraction is then 0."""


HOLD_BAND_C = 10.0
"""A plate that is further from its temperature during the anneal, K, does not hold it."""


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
    """

    trial: int
    sample: str
    place: str
    key: str
    shares: Mapping[str, float]
    volumes_ml: Mapping[str, float]
    settings: Mapping[str, Value]
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Carried:
    """What a recipe reports as really done, in the terms of the order."""

    shares: Mapping[str, float]
    volumes_ml: Mapping[str, float]
    settings: Mapping[str, Value]


Report = Callable[[Carried], None]


@dataclass(frozen=True)
class Recipe:
    """A plan for one sample, and what it may be told."""

    name: str
    plan: Callable[[WorkCell, Order, Journal, Report, Callable[[], Plan]], Plan]
    settings: Mapping[str, Setting]


def thin_film(cell: WorkCell, order: Order, journal: Journal, report: Report, measured: Callable[[], Plan]) -> Plan:
    """Dose a precursor mixture onto a substrate, anneal it, take its powder pattern, put it back.

    The whole sample is one run with the streams ``dosing``, ``annealing`` and ``primary`` (the frames).

    Parameters
    ----------
    cell : WorkCell
    order : Order
    journal : Journal
        Told before and after each move and dose.
    report : callable
        Called with what was really carried out, once it is known.
    measured : callable
        A plan that is run after the last reading, before the sample goes back: starts the evaluation.
    """
    settings = order.settings
    synthesiser, annealer, detector = (cell.of(role)[0] for role in ("synthesiser", "annealer", "detector"))
    uid = yield Msg("open_run", None, **order.metadata)
    journal.run_opened(uid)
    exit_status, reason = "fail", ""
    try:
        yield from _cool(annealer, journal, float(settings["load_below_c"]))
        yield from transfer(cell, journal, order.place, synthesiser.name)
        shares, volumes = yield from _dose(synthesiser, order, journal)
        yield from transfer(cell, journal, synthesiser.name, annealer.name)
        temperature, seconds = yield from _anneal(annealer, cell.clock, order, journal)
        done = {**settings, "anneal_temperature": temperature, "anneal_time_s": seconds}
        report(Carried(shares, volumes, done))
        yield from transfer(cell, journal, annealer.name, detector.name)
        yield from _expose(detector, cell.frames, order, journal)
        yield from measured()
        yield from transfer(cell, journal, detector.name, order.place)
        exit_status = "success"
    except (FailedStatus, LabError) as error:
        reason = str(cause_of(error))
        raise
    finally:
        yield Msg("close_run", None, exit_status=exit_status, reason=reason)


def _cool(annealer: Station, journal: Journal, below_c: float) -> Plan:
    """Wait until the plate is cool enough to load a film: a warm one would anneal it at no temperature that was asked for."""
    heater: Heater = annealer.device
    if heater.temperature_c() > below_c:
        with step(journal, annealer.name, f"cool below {below_c:g} degC"):
            yield from act("cool the plate", lambda: heater.cool_below(below_c))


def _dose(station: Station, order: Order, journal: Journal) -> Plan:
    """Dispense all liquids of the order; returns the executed shares and volumes, in the order's own units."""
    synthesiser: Synthesiser = station.device
    total_share = sum(order.shares.values())
    total_ml = float(order.settings["total_volume_ml"])
    wanted = {liquid: total_ml * share / total_share for liquid, share in order.shares.items()} if order.shares else {}
    for liquid, volume in order.volumes_ml.items():
        wanted[liquid] = wanted.get(liquid, 0.0) + volume
    wanted = {liquid: volume for liquid, volume in wanted.items() if volume >= MIN_DOSE_ML}
    dose = Dose(wanted, key=f"{order.key}:dose")
    with step(journal, station.name, "dose " + ", ".join(f"{v:.3f} mL {n}" for n, v in wanted.items())):
        journal.dose_announced(dose.key, wanted)
        try:
            yield from move(synthesiser, dose)
        except GeneratorExit:
            raise
        except BaseException as error:
            journal.dose_failed(dose.key, _counted(synthesiser), str(cause_of(error)))
            raise
        counted = synthesiser.dispensed_ml()
        journal.dose_done(dose.key, counted)
        yield from _read([synthesiser], "dosing")
    return _executed_shares(order, counted), {n: counted.get(n, 0.0) for n in order.volumes_ml}


def _counted(synthesiser: Synthesiser) -> dict[str, float]:
    """What the pumps counted of a failed dose; nothing where they cannot be asked."""
    try:
        return synthesiser.dispensed_ml()
    except LabError:
        return {}


def _executed_shares(order: Order, counted_ml: Mapping[str, float]) -> dict[str, float]:
    """Shares as dispensed, scaled so that they sum to what the order's shares sum to."""
    dispensed = {liquid: counted_ml.get(liquid, 0.0) for liquid in order.shares}
    total_ml = sum(dispensed.values())
    if total_ml <= 0.0:
        return {}
    whole = sum(order.shares.values())
    return {liquid: whole * volume / total_ml for liquid, volume in dispensed.items()}


def _anneal(station: Station, clock: Clock, order: Order, journal: Journal) -> Plan:
    """Stir, heat, hold, switch off; returns the mean plate temperature (degC) and the time (s) of the hold."""
    target_c, seconds = float(order.settings["anneal_temperature"]), float(order.settings["anneal_time_s"])
    heater: Heater = station.device
    readings: list[float] = []
    with step(journal, station.name, f"anneal {seconds:.4g} s at {target_c:.4g} degC"):
        try:
            yield from move(heater.stirrer, float(order.settings["stir_rpm"]))
            yield from move(heater, target_c)
            began = clock.now()
            while (left := seconds - (clock.now() - began)) > 0:
                readings.append(_held_c(heater, target_c))
                yield from hold(clock, min(left, max(30.0, seconds / 10)))
            readings.append(_held_c(heater, target_c))
            held_s = clock.now() - began
            yield from _read([heater], "annealing")
        finally:
            yield from act("switch the heater off", heater.off)
            yield from move(heater.stirrer, 0.0)
    return sum(readings) / len(readings), held_s


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


def _expose(station: Station, frames: Path, order: Order, journal: Journal) -> Plan:
    """One trigger of the detector into a file of this sample's own, as the ``primary`` stream."""
    detector: Detector = station.device
    count_time_s, n_images = float(order.settings["count_time_s"]), int(order.settings["n_images"])
    with step(journal, station.name, f"expose {n_images} x {count_time_s:g} s"):
        yield from act("set the exposure", lambda: detector.set_exposure(count_time_s, n_images))
        detector.set_file(str(frames / f"{order.sample}.h5"))
        yield Msg("stage", detector)
        try:
            yield Msg("trigger", detector, group="expose")
            yield Msg("wait", None, group="expose")
            yield from _read([detector], "primary")
        finally:
            yield Msg("unstage", detector)


def _read(devices: list[Any], stream: str) -> Plan:
    yield Msg("create", None, name=stream)
    for device in devices:
        yield Msg("read", device)
    yield Msg("save")


RECIPES: dict[str, Recipe] = {
    "thin_film": Recipe(
        "thin_film",
        thin_film,
        {
            "total_volume_ml": Setting("mL", 1.0, "volume of all liquids given as shares", low=0.01),
            "anneal_temperature": Setting("degC", None, "plate temperature of the anneal", channel=("hotplate", "TEMPERATURE")),
            "anneal_time_s": Setting("s", 600.0, "how long the anneal lasts once the plate is at temperature", high=36000.0),
            "stir_rpm": Setting("rpm", 300.0, "stirring while annealing", channel=("hotplate", "STIR_RPM")),
            "load_below_c": Setting("degC", 60.0, "the plate cools below this before a film is loaded", low=30.0, high=310.0),
            "count_time_s": Setting("s", 2.0, "exposure of one frame", channel=("detector", "COUNT_TIME")),
            "n_images": Setting("frames", 1, "frames of one sample", low=1, channel=("detector", "N_IMAGES")),
            "carrier": Setting("", "", "a liquid dosed on top of the shares, by name", is_choice=True),
            "carrier_volume_ml": Setting("mL", 0.5, "how much of the carrier", low=MIN_DOSE_ML),
        },
    ),
}
