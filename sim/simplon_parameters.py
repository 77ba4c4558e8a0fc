"""The parameters of the SIMPLON 1.8 API: names, types, access, limits, units, and how those of the detector hang together.

After the SIMPLON API Reference, version 1.8, the tables of detector, stream, monitor, filewriter and system.
"""

from __future__ import annotations

from collections.abc import Callable

from lab.core.config import Geometry
from sim.register import Parameter, Register, Scalar, Table, ValueType

EV_ANGSTROM = 12398.419843
"""h c / e (CODATA 2018, exact): photon energy in eV times wavelength in angstrom."""

READOUT_S = 1e-7
"""Dead time between two frames: 100 ns (EIGER2 technical specification)."""




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


def power_on(geometry: Geometry) -> Register:
    """All tables after power on."""
    return Register({
        "detector/config": detector_config(geometry), "detector/status": detector_status(),
        "stream/config": stream_config(), "stream/status": stream_status(),
        "monitor/config": monitor_config(), "monitor/status": monitor_status(),
        "filewriter/config": filewriter_config(), "filewriter/status": filewriter_status(),
        "system/config": {}, "system/status": {},
    })


def settle(register: Register, key: str, before: dict[str, Scalar | list[str]], bit_depth: Callable[[float], int]) -> list[str]:
    """Bring in line what depends on the detector's parameter `key`, which has just been set.

    Parameters
    ----------
    before : dict
        ``detector/config`` before it was set.
    bit_depth : callable
        Bits of a pixel for a count time in s.

    Returns
    -------
    list of str
        Keys of all parameters that have changed, `key` among them in any case: the answer to a PUT.
    """
    config = "detector/config"

    def get(name: str) -> float:
        return register.number(config, name)

    if key == "count_time":
        register.put(config, "frame_time", max(get("frame_time"), get("count_time") + READOUT_S))
    elif key == "frame_time":
        register.put(config, "count_time", min(get("count_time"), get("frame_time") - READOUT_S))
    elif key == "wavelength":
        register.put(config, "photon_energy", EV_ANGSTROM / get("wavelength"))
    elif key == "photon_energy":
        register.put(config, "wavelength", EV_ANGSTROM / get("photon_energy"))
    if key in ("wavelength", "photon_energy"):
        register.put(config, "threshold_energy", get("photon_energy") / 2.0)
    register.put(config, "frame_count_time", get("count_time"))
    register.put(config, "bit_depth_image", bit_depth(get("count_time")))
    return sorted({key} | {name for name, value in register.values(config).items() if value != before[name]})
