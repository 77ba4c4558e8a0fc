"""The parameters of the SIMPLON 1.8 API: names, types, access, limits, units, and the values of a simulated EIGER2.

After the SIMPLON API Reference, version 1.8, the tables of detector, stream, monitor, filewriter and system.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from lab.core.config import Geometry

Scalar = float | int | str | bool
ValueType = Literal["bool", "float", "int", "uint", "string", "string[]"]

EV_ANGSTROM = 12398.419843
"""h c / e (CODATA 2018, exact): photon energy in eV times wavelength in angstrom."""

READOUT_S = 1e-7
"""Dead time between two frames: 100 ns (EIGER2 technical specification)."""


class ApiError(Exception):
    """A request that the API refuses; turned into a reply at once, so it never leaves the simulator.

    Parameters
    ----------
    status : int
        HTTP status: 404 for what does not exist, 400 for what is not allowed.
    """

    def __init__(self, status: int, text: str) -> None:
        self.status, self.text = status, text
        super().__init__(text)


@dataclass
class Parameter:
    """One key of a config or status table, and its present value."""

    value: Scalar | list[str]
    value_type: ValueType
    access: Literal["r", "rw"] = "rw"
    unit: str = ""
    low: float | None = None
    high: float | None = None
    allowed: tuple[str, ...] = ()

    def describe(self) -> dict[str, object]:
        """What GET answers."""
        found: dict[str, object] = {"value": self.value, "value_type": self.value_type, "access_mode": self.access}
        if self.unit:
            found["unit"] = self.unit
        if self.low is not None:
            found["min"] = self.low
        if self.high is not None:
            found["max"] = self.high
        if self.allowed:
            found["allowed_values"] = list(self.allowed)
        return found

    def take(self, key: str, value: object) -> None:
        """What PUT does.

        Raises
        ------
        ApiError
            400 for a parameter that is read only, a value of a wrong type, or one that is out of range.
        """
        if self.access == "r":
            raise ApiError(400, f"Parameter {key} is read only")
        checked = self._typed(key, value)
        if isinstance(checked, str):
            if self.allowed and checked not in self.allowed:
                raise ApiError(400, f"Value {checked!r} of {key} is not one of {', '.join(self.allowed)}")
        elif (self.low is not None and checked < self.low) or (self.high is not None and checked > self.high):
            raise ApiError(400, f"Value {checked} of {key} is out of range, min {self.low}, max {self.high}")
        self.value = checked

    def _typed(self, key: str, value: object) -> Scalar:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if self.value_type == "bool" and isinstance(value, bool):
            return value
        if self.value_type == "string" and isinstance(value, str):
            return value
        if self.value_type == "float" and is_number:
            return float(value)  # type: ignore[arg-type]
        if self.value_type in ("int", "uint") and is_number and float(value).is_integer():  # type: ignore[arg-type]
            return int(value)  # type: ignore[call-overload, no-any-return]
        raise ApiError(400, f"Value {value!r} of {key} is no {self.value_type}")


Table = dict[str, Parameter]


def _fixed(value: Scalar | list[str], value_type: ValueType, unit: str = "") -> Parameter:
    return Parameter(value, value_type, "r", unit)


def _number(value: float, unit: str, low: float | None = None, high: float | None = None) -> Parameter:
    return Parameter(float(value), "float", "rw", unit, low, high)


def _count(value: int, low: int, high: int) -> Parameter:
    return Parameter(value, "uint", "rw", "", low, high)


def _choice(value: str, *allowed: str) -> Parameter:
    return Parameter(value, "string", "rw", allowed=allowed)


def _text(value: str = "") -> Parameter:
    return Parameter(value, "string")


def _switch(value: bool) -> Parameter:
    return Parameter(value, "bool")


def detector_config(geometry: Geometry) -> Table:
    """``detector/config`` of a detector in this geometry."""
    energy_ev = EV_ANGSTROM / geometry.wavelength_angstrom
    rows, columns = geometry.shape
    table = {
        "auto_summation": _switch(True),
        "beam_center_x": _number(geometry.beam_center_px[1], "pixel"),
        "beam_center_y": _number(geometry.beam_center_px[0], "pixel"),
        "bit_depth_image": _fixed(16, "uint"),
        "bit_depth_readout": _fixed(16, "uint"),
        "compression": _choice("bslz4", "bslz4", "lz4", "none"),
        "count_time": _number(0.1, "s", 1e-5, 3600.0),
        "counting_mode": _choice("normal", "normal", "retrigger"),
        "countrate_correction_applied": _switch(True),
        "countrate_correction_count_cutoff": _fixed(2**32 - 1, "uint"),
        "data_collection_date": _fixed("", "string"),
        "description": _fixed("Dectris EIGER2 (simulated by Labwright)", "string"),
        "detector_distance": _number(geometry.distance_mm * 1e-3, "m", 0.0),
        "detector_number": _fixed("E-02-0000", "string"),
        "detector_readout_time": _fixed(READOUT_S, "float", "s"),
        "eiger_fw_version": _fixed("release-2022.1.2", "string"),
        "flatfield_correction_applied": _switch(False),
        "frame_count_time": _fixed(0.1, "float", "s"),
        "frame_time": _number(0.1 + READOUT_S, "s", 1e-5 + READOUT_S, 3600.0 + READOUT_S),
        "nimages": _count(1, 1, 1_000_000),
        "ntrigger": _count(1, 1, 1_000_000),
        "number_of_excluded_pixels": _fixed(0, "uint"),
        "photon_energy": _number(energy_ev, "eV", 1000.0, 200_000.0),
        "pixel_mask_applied": _switch(True),
        "roi_mode": _choice("disabled", "disabled"),
        "sensor_material": _fixed("Si", "string"),
        "sensor_thickness": _fixed(4.5e-4, "float", "m"),
        "software_version": _fixed("1.8.0", "string"),
        "threshold_energy": _number(energy_ev / 2.0, "eV", 500.0, 200_000.0),
        "trigger_mode": _choice("ints", "exte", "exts", "inte", "ints"),
        "trigger_start_delay": _number(0.0, "s", 0.0, 60.0),
        "virtual_pixel_correction_applied": _switch(True),
        "wavelength": _number(geometry.wavelength_angstrom, "angstrom", EV_ANGSTROM / 200_000.0, EV_ANGSTROM / 1000.0),
        "x_pixel_size": _fixed(geometry.pixel_um * 1e-6, "float", "m"),
        "x_pixels_in_detector": _fixed(columns, "uint"),
        "y_pixel_size": _fixed(geometry.pixel_um * 1e-6, "float", "m"),
        "y_pixels_in_detector": _fixed(rows, "uint"),
    }
    for axis in ("chi", "kappa", "omega", "phi", "two_theta"):
        table[f"{axis}_start"] = _number(0.0, "degree")
        table[f"{axis}_increment"] = _number(0.0, "degree")
    return dict(sorted(table.items()))


def detector_status() -> Table:
    """``detector/status`` after power on."""
    return {
        "error": _fixed([], "string[]"),
        "high_voltage/state": _fixed("READY", "string"),
        "humidity": _fixed(2.0, "float", "%"),
        "state": _fixed("na", "string"),
        "temperature": _fixed(24.0, "float", "degree C"),
        "time": _fixed("", "string"),
    }


def stream_config() -> Table:
    """``stream/config`` after power on."""
    return {"header_appendix": _text(), "header_detail": _choice("basic", "all", "basic", "none"), "image_appendix": _text(),
            "mode": _choice("disabled", "disabled", "enabled")}


def stream_status() -> Table:
    """``stream/status`` after power on."""
    return {"dropped": _fixed(0, "uint"), "error": _fixed([], "string[]"), "state": _fixed("disabled", "string")}


def monitor_config() -> Table:
    """``monitor/config`` after power on."""
    return {"buffer_size": _count(4, 1, 64), "discard_new": _switch(False), "mode": _choice("disabled", "disabled", "enabled")}


def monitor_status() -> Table:
    """``monitor/status`` after power on."""
    return {"buffer_free": _fixed(4, "uint"), "dropped": _fixed(0, "uint"), "error": _fixed([], "string[]"), "state": _fixed("normal", "string")}


def filewriter_config() -> Table:
    """``filewriter/config``: there, for clients that switch it off, but this simulation has no disk to write to."""
    return {"compression_enabled": _switch(True), "image_nr_start": _count(1, 0, 1_000_000), "mode": _choice("disabled", "disabled"),
            "name_pattern": _text("series_$id"), "nimages_per_file": _count(1000, 0, 1_000_000)}


def filewriter_status() -> Table:
    """``filewriter/status``."""
    return {"buffer_free": _fixed(0, "uint"), "error": _fixed([], "string[]"), "files": _fixed([], "string[]"), "state": _fixed("disabled", "string")}
