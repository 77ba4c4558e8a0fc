"""From a laboratory's file to its Ophyd devices, and to the work cell that plans get. Imports Ophyd: see `lab.session`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from devices.arm import Arm
from devices.detector import Detector
from devices.hotplate import Hotplate
from devices.pump import PumpBank
from devices.synthesiser import Synthesiser
from lab.core.clock import Clock
from lab.core.config import DetectorConfig, LabConfig
from lab.core.errors import ConfigError
from plans.cell import WorkCell

CONNECT_S = 10.0
"""Wall seconds for the Channel Access connections of one device."""

DEVICES: dict[str, Callable[..., Any]] = {"pump": PumpBank, "hotplate": Hotplate, "arm": Arm, "detector": Detector}
"""The device of each kind of instrument: made with its PV prefix, and ``name``, ``config`` and ``speed`` by keyword."""


def make_devices(lab: LabConfig, speed: float) -> dict[str, Any]:
    """The devices by name, connected to their bridges; with one pump bank and one hotplate, also ``synthesiser``.

    Raises
    ------
    TimeoutError
        When a bridge does not answer within `CONNECT_S`.
    """
    devices: dict[str, Any] = {name: _make(lab, name, speed) for name in lab.instruments}
    for device in devices.values():
        device.wait_for_connection(timeout=CONNECT_S)
    pumps, plate = _only(devices, PumpBank), _only(devices, Hotplate)
    if pumps is not None and plate is not None:
        devices["synthesiser"] = Synthesiser(name="synthesiser", pumps=pumps, hotplate=plate)
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
    arm, synthesiser, detector = (_only(devices, kind) for kind in (Arm, Synthesiser, Detector))
    if arm is None or synthesiser is None or detector is None:
        raise ConfigError(f"lab {lab.name}", "instruments", ", ".join(devices), "one pump bank, one hotplate, one arm, one detector")

    def places(role: str) -> tuple[str, ...]:
        return tuple(place for place in lab.places if lab.stations[place.partition(".")[0]].role == role)

    (at_synthesiser, *more), (at_detector, *yet_more) = places("synthesiser") or ("",), places("detector") or ("",)
    if not at_synthesiser or not at_detector or more or yet_more:
        raise ConfigError(f"lab {lab.name}", "stations", ", ".join(lab.places), "one place of role synthesiser, one of role detector")
    return WorkCell(arm, synthesiser, detector, at_synthesiser, at_detector, places("rack"), clock, frames)


def _only(devices: dict[str, Any], kind: type) -> Any:
    """The laboratory's only device of a kind, or None."""
    found = [device for device in devices.values() if isinstance(device, kind)]
    return found[0] if len(found) == 1 else None


def put_frames(devices: dict[str, Any], folder: Path) -> None:
    """Where detectors put frames for which a plan names no file: those that a person takes at the console."""
    for device in devices.values():
        if isinstance(device, Detector):
            device.folder = folder


def geometry_of(lab: LabConfig) -> Any:
    """Geometry of the laboratory's first detector."""
    return next(config.geometry for config in lab.instruments.values() if isinstance(config, DetectorConfig))
