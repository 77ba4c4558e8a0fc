"""Powder pattern of a halide-perovskite film -> phase fractions, lattice parameter, crystallite size.

The frames are integrated over the azimuth (pyFAI), and the leading lines of four phases are fitted (lmfit) between
10.4 and 5.7 angstrom, where they stand side by side at low angles:

=================  ======  ===============  =====================================================================
phase              line    spacing (A)      source
=================  ======  ===============  =====================================================================
perovskite         (100)   6.20 .. 6.36     cubic; Weller 2015, doi:10.1021/acs.jpclett.5b01432 (FAPbI3); the mixed
                                            ones follow Vegard's law, so the spacing is free in the fit
PbI2               (001)   6.979            2H, c; JCPDS-ICDD 07-0235
delta-FAPbI3       (010)   7.500            a sqrt(3)/2, a = 8.660; Stoumpos 2013, doi:10.1021/ic401215x
delta-CsPbI3       (002)   8.888            c / 2, c = 17.776; Trots 2008, doi:10.1016/j.jpcs.2008.05.007
=================  ======  ===============  =====================================================================

delta-CsPbI3 has a further, weak line, (102) at 6.77 A, between those of PbI2 and the perovskite; it is fitted, not reported.

The numbers stand here, and not in a table shared with the simulated world, so that a mistake in one does not hide in the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock

import numpy as np
from pyFAI.containers import Integrate1dResult
from pyFAI.integrator.azimuthal import AzimuthalIntegrator

from lab.core.config import Geometry
from lab.core.errors import ConfigError, SampleError

PEROVSKITE = "perovskite"
SPACING_ANGSTROM = {PEROVSKITE: 6.28, "pbi2": 6.979, "delta_fa": 7.500, "delta_cs": 8.888}
"""Where the fit of each leading line begins."""
SATELLITE_ANGSTROM = 1.0 / math.hypot(1.0 / 10.458, 2.0 / 17.776)
"""(102) of delta-CsPbI3, a = 10.458: Trots 2008."""
SPACING_RANGE = {PEROVSKITE: (6.12, 6.42)}
SECONDARY_SLACK = 0.006
"""Relative freedom of a secondary phase's spacing: strain, and the film's height above the stage."""
WINDOW_ANGSTROM = (10.4, 5.7)
SCHERRER_K = 0.9
"""Scherrer 1918; Langford and Wilson 1978, doi:10.1107/S0021889878012844."""
_integrating = Lock()


@dataclass(frozen=True)
class Pattern:
    """Azimuthal mean of the counts along 2 theta.

    Parameters
    ----------
    two_theta_deg, counts : ndarray, shape (n,)
        `counts` per pixel, summed over the frames.
    n_pixels : ndarray, shape (n,)
        Pixels in each bin: the variance of `counts` is its expectation divided by this.
    """

    two_theta_deg: np.ndarray
    counts: np.ndarray
    n_pixels: np.ndarray


def angle_deg(spacing_angstrom: float, wavelength_angstrom: float) -> float:
    """Bragg's law: 2 theta in degrees."""
    return 2.0 * math.degrees(math.asin(wavelength_angstrom / (2.0 * spacing_angstrom)))


@lru_cache(maxsize=4)
def window_deg(geometry: Geometry) -> tuple[float, float]:
    """The range of 2 theta that is fitted.

    Raises
    ------
    ConfigError
        When the detector does not see it.
    """
    low, high = (angle_deg(d, geometry.wavelength_angstrom) if geometry.wavelength_angstrom < 2 * d else math.inf for d in WINDOW_ANGSTROM)
    rows, columns = geometry.shape
    row, column = geometry.beam_center_px
    reach_px = max(row, rows - 1 - row, column, columns - 1 - column)
    reach_deg = math.degrees(math.atan2(reach_px * geometry.pixel_um * 1e-3, geometry.distance_mm))
    if not high <= reach_deg:
        raise ConfigError("lab.yaml", "instruments.*.geometry", f"a detector that sees 2 theta up to {reach_deg:.2f} deg",
                          f"at least {high:.2f} deg, where the perovskite's (100) line ends; move it closer or shorten the wavelength")
    return low, high


@lru_cache(maxsize=4)
def _integrator(geometry: Geometry) -> AzimuthalIntegrator:
    pixel_m = geometry.pixel_um * 1e-6
    row, column = geometry.beam_center_px
    # pyFAI counts from the corner of the first pixel, Geometry from its centre.
    return AzimuthalIntegrator(dist=geometry.distance_mm * 1e-3, poni1=(row + 0.5) * pixel_m, poni2=(column + 0.5) * pixel_m,
                               pixel1=pixel_m, pixel2=pixel_m, wavelength=geometry.wavelength_angstrom * 1e-10)


def integrate(counts: np.ndarray, is_masked: np.ndarray, geometry: Geometry) -> Pattern:
    """Azimuthal integration of summed frames.

    Parameters
    ----------
    counts : ndarray, shape (rows, columns)
    is_masked : ndarray, shape (rows, columns), bool
    geometry : Geometry

    Raises
    ------
    SampleError
        When the frame has another shape than the geometry.
    """
    if counts.shape != geometry.shape:
        raise SampleError(f"frames of {counts.shape} pixels; lab.yaml's geometry says {geometry.shape}")
    low, high = window_deg(geometry)
    pixel_deg = math.degrees(geometry.pixel_um * 1e-3 / geometry.distance_mm)
    n_bins = max(60, math.ceil((high - low) / (0.5 * pixel_deg)))
    with _integrating:
        integrator = _integrator(geometry)
        mask = is_masked if is_masked.any() else None

        def mean(image: np.ndarray, error_model: str | None) -> Integrate1dResult:
            # Pixels are not split between bins: else neighbouring bins share counts, and the errors of the fit come out too small.
            return integrator.integrate1d(image, n_bins, unit="2th_deg", radial_range=(low, high), mask=mask, correctSolidAngle=False,
                                          error_model=error_model, method=("no", "csr", "cython"))

        result = mean(counts, "poisson")
        # Where the pixels of a bin really are: with few rings of pixels to a bin, that is not its middle.
        angles = mean(integrator.center_array(geometry.shape, unit="2th_deg"), None).intensity
    n_pixels = np.asarray(result.sum_normalization, float)
    is_filled = n_pixels > 0
    return Pattern(np.asarray(angles, float)[is_filled], np.asarray(result.intensity, float)[is_filled], n_pixels[is_filled])
