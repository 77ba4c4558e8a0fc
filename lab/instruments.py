"""From a laboratory's file to its Ophyd devices, and to the work cell that plans get. Imports Ophyd: see `lab.session`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from devices import timekeeping
from devices.arm import Arm
from devices.detector import Detector
from devices.hotplate import Hotplate
from devices.plc import Plc
from devices.pump import PumpBank
from devices.synthesiser import Synthesiser
from lab.core.clock import Clock
from lab.core.config import INSTRUMENT_OF_ROLE, DetectorConfig, LabConfig, places_of
from lab.core.errors import ConfigError
from plans.cell import Station, WorkCell

CONNECT_S = 10.0
"""Wall seconds for the Channel Access connections of one device."""

DEVICES: dict[str, Callable[..., Any]] = {"pump": PumpBank, "hotplate": Hotplate, "arm": Arm, "detector": Detector, "plc": Plc}
"""The device of each kind of instrument: made with its PV prefix, and ``name``, ``config`` and ``speed`` by keyword."""


def make_devices(lab: LabConfig, clock: Clock) -> dict[str, Any]:
    """The devices by name, connected to their bridges; and one for each synthesiser, by its station's name.

    Raises
    ------
    TimeoutError
        When a bridge does not answer within `CONNECT_S`.
    """
    timekeeping.use(clock)
    devices: dict[str, Any] = {name: _make(lab, name, clock.speed) for name in lab.instruments}
    for device in devices.values():
        device.wait_for_connection(timeout=CONNECT_S)
    for station in lab.stations_of("synthesiser"):
        pumps = devices.get(lab.instrument_at(station))
        if isinstance(pumps, PumpBank):
            devices[station] = Synthesiser(name=station, pumps=pumps)
    return devices


def _make(lab: LabConfig, name: str, speed: float) -> Any:
    config = lab.instruments[name]
    more = {"places": lab.places} if config.kind == "arm" else {}
    return DEVICES[config.kind](f"{lab.prefix}{name}:", name=name, config=config, speed=speed, **more)


def work_cell(lab: LabConfig, devices: dict[str, Any], clock: Clock, frames: Path) -> WorkCell:
    """What a plan works with.

    Raises
    ------
    ConfigError
        When the laboratory lacks an instrument or a station that a work cell needs.
    """
    arms = [device for device in devices.values() if isinstance(device, Arm)]
    if len(arms) != 1:
        raise ConfigError(f"lab {lab.name}", "instruments", f"{len(arms)} of kind arm", "one instrument of kind arm")
    rack = tuple(place for name in lab.stations_of("rack") for place in places_of(name, lab.stations[name]))
    stations = tuple(_station(lab, devices, name) for name, station in lab.stations.items() if station.role != "rack")
    for role in INSTRUMENT_OF_ROLE:
        if not any(station.role == role for station in stations):
            raise ConfigError(f"lab {lab.name}", "stations", f"none of role {role}", f"at least one station of role {role}")
    return WorkCell(arms[0], stations, rack, clock, frames)


def _station(lab: LabConfig, devices: dict[str, Any], name: str) -> Station:
    """A station with its device: the synthesiser made for it, or its instrument's own."""
    station = lab.stations[name]
    device = devices.get(name if station.role == "synthesiser" else lab.instrument_at(name))
    if device is None or station.slots > 1:
        raise ConfigError(f"lab {lab.name}", f"stations.{name}", f"{station.slots} slots, and {lab.instrument_at(name) or 'no instrument'}",
                          f"one slot, and an instrument of kind {INSTRUMENT_OF_ROLE[station.role]}")
    return Station(name, station.role, device)


def put_frames(devices: dict[str, Any], folder: Path) -> None:
    """Where detectors put frames for which a plan names no file: those that a person takes at the console."""
    for device in devices.values():
        if isinstance(device, Detector):
            device.folder = folder


def geometry_of(lab: LabConfig) -> Any:
    """Geometry of the laboratory's first detector."""
    return next(config.geometry for config in lab.instruments.values() if isinstance(config, DetectorConfig))
