"""From fitted lines to what a film is made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from lab.core.errors import SampleError
from lab.core.trial import Measured
from lab.records.line_fit import PHASES, SEEN, Fitted, fit, total_width
from lab.records.powder import PEROVSKITE, SCHERRER_K, Pattern, angle_deg


def film(pattern: Pattern, wavelength_angstrom: float, exposure_s: float) -> tuple[dict[str, Measured], dict[str, float]]:
    """Outcomes and details of a film's pattern.

    Parameters
    ----------
    pattern : Pattern
    wavelength_angstrom : float
    exposure_s : float
        Of all frames together, laboratory seconds.

    Returns
    -------
    dict of outcome to Measured
        ``perovskite_fraction``: area of the perovskite's (100) line over the areas of the four phases' leading lines. It is not cut
        to 0..1: within its error it may lie beside, and cutting would bias it. ``total_intensity`` always; ``lattice_parameter``,
        ``peak_width`` and ``crystallite_size`` only when the line is seen.
    dict of detail to number

    Raises
    ------
    SampleError
        When there are no peaks.
    """
    fitted = fit(pattern, wavelength_angstrom)
    areas = {phase: fitted.values[f"area_{phase}"] for phase in PHASES}
    total: Any = sum(areas.values())
    if not total.n > SEEN * total.s * fitted.inflation:
        raise SampleError(f"no peaks: the lines of the four phases sum to {total.n:.3g} +- {total.s * fitted.inflation:.3g} counts per pixel "
                          f"x deg over a background of {fitted.background:.3g} counts per pixel")
    found = {"perovskite_fraction": _measured(areas[PEROVSKITE] / total, fitted),
             "total_intensity": _measured(total / exposure_s, fitted)}
    if fitted.is_seen[PEROVSKITE]:
        found.update(_perovskite(fitted, wavelength_angstrom))
    details = {"redchi": fitted.redchi, "background": fitted.background / exposure_s}
    for phase in PHASES:
        if phase != PEROVSKITE:
            share = _measured(areas[phase] / total, fitted)
            details[f"{phase}_fraction"], details[f"{phase}_fraction_sem"] = share.mean, share.sem if share.sem is not None else np.nan
        if fitted.is_seen[phase]:
            details[f"{phase}_spacing"] = _number(fitted.values[f"d_{phase}"])
    return found, details


def _perovskite(fitted: Fitted, wavelength_angstrom: float) -> dict[str, Measured]:
    """What the (100) line says of the perovskite: cell, width, size."""
    spacing: Any = fitted.values[f"d_{PEROVSKITE}"]
    gauss: Any = fitted.values["gauss"]
    lorentz: Any = fitted.values[f"lorentz_{PEROVSKITE}"]
    found = {"peak_width": _measured(total_width(gauss, lorentz), fitted)}
    if hasattr(spacing, "s"):
        found["lattice_parameter"] = _measured(spacing, fitted)
    if hasattr(lorentz, "s"):  # else the line is as sharp as the instrument, and the crystallites larger than can be told
        theta = np.radians(angle_deg(_number(spacing), wavelength_angstrom)) / 2.0
        size_nm = SCHERRER_K * wavelength_angstrom / 10.0 / (lorentz * (np.pi / 180.0) * float(np.cos(theta)))
        found["crystallite_size"] = _measured(size_nm, fitted)
    return found


def _measured(value: Any, fitted: Fitted) -> Measured:
    """A number with its error, grown where the model does not hold; without error when it was held."""
    sem = getattr(value, "s", None)
    return Measured(_number(value), None if sem is None else float(sem) * fitted.inflation)


def _number(value: Any) -> float:
    return float(getattr(value, "n", value))
