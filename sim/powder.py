"""Debye-Scherrer rings on a flat detector, from a list of lines.

The beam meets a flat detector at right angles; the pattern depends on two-theta alone. So the intensity is worked out
once along two-theta and then spread over the pixels. Polarisation, solid angle, absorption and the parallax
of the sensor are neglected: within 22 degrees of the beam they are slow functions that move no line.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lab.core.config import Geometry

TABLE_STEP_DEG = 0.005
"""Step of the two-theta table; a fraction of a pixel and of the narrowest line."""

SCHERRER_K = 0.9
"""Shape factor of Scherrer's equation for the full width at half maximum of round crystallites
(Langford and Wilson, J. Appl. Cryst. 11, 102, 1978, doi:10.1107/S0021889878012844)."""


@dataclass(frozen=True)
class Peak:
    """One powder line as the detector draws it.

    Parameters
    ----------
    two_theta_deg : float
    area : float
        Counts per pixel and second, integrated over two-theta in degrees.
    size_nm : float
        Mean size of the crystallites: Lorentzian broadening.
    """

    two_theta_deg: float
    area: float
    size_nm: float


def scherrer_fwhm_deg(two_theta_deg: float, size_nm: float, wavelength_angstrom: float) -> float:
    """Full width at half maximum in two-theta of a line of crystallites `size_nm` large, deg (Scherrer's equation)."""
    theta = math.radians(two_theta_deg) / 2.0
    return math.degrees(SCHERRER_K * wavelength_angstrom / (10.0 * size_nm * math.cos(theta)))


def pseudo_voigt(x: np.ndarray, center: float, gauss_fwhm: float, lorentz_fwhm: float) -> np.ndarray:
    """A Voigt profile of unit area, in the pseudo-Voigt approximation.

    Parameters
    ----------
    x : ndarray, shape (n,)
    center, gauss_fwhm, lorentz_fwhm : float
        In the unit of `x`.

    Notes
    -----
    Thompson, Cox and Hastings, J. Appl. Cryst. 20, 79 (1987), doi:10.1107/S0021889887087090, equations for the total
    width and the mixing parameter.
    """
    g, k = gauss_fwhm, lorentz_fwhm
    fwhm = (g**5 + 2.69269 * g**4 * k + 2.42843 * g**3 * k**2 + 4.47163 * g**2 * k**3 + 0.07842 * g * k**4 + k**5) ** 0.2
    q = k / fwhm
    eta = 1.36603 * q - 0.47719 * q**2 + 0.11116 * q**3
    u = ((x - center) / fwhm) ** 2
    gauss = math.sqrt(4.0 * math.log(2.0) / math.pi) / fwhm * np.exp(-4.0 * math.log(2.0) * u)
    lorentz = 2.0 / (math.pi * fwhm) / (1.0 + 4.0 * u)
    return np.asarray(eta * lorentz + (1.0 - eta) * gauss)


class RingMap:
    """The two-theta of every pixel, and how a profile along two-theta falls on the frame.

    Parameters
    ----------
    geometry : Geometry
    """

    def __init__(self, geometry: Geometry) -> None:
        row, column = np.indices(geometry.shape, dtype=float)
        radius_mm = np.hypot(row - geometry.beam_center_px[0], column - geometry.beam_center_px[1]) * geometry.pixel_um * 1e-3
        self.two_theta_deg: np.ndarray = np.degrees(np.arctan2(radius_mm, geometry.distance_mm))
        self.wavelength_angstrom = geometry.wavelength_angstrom
        self.table_deg: np.ndarray = np.arange(0.0, float(self.two_theta_deg.max()) + 2.0 * TABLE_STEP_DEG, TABLE_STEP_DEG)
        position = self.two_theta_deg / TABLE_STEP_DEG
        self._below = position.astype(np.int32)
        self._share = position - self._below

    def frame(self, profile: np.ndarray) -> np.ndarray:
        """Spread a profile over the pixels.

        Parameters
        ----------
        profile : ndarray, shape (n,), on `table_deg`

        Returns
        -------
        ndarray, float64, the geometry's shape
        """
        low = profile[self._below]
        return np.asarray(low + (profile[self._below + 1] - low) * self._share)

    def profile(self, peaks: Iterable[Peak], instrument_fwhm_deg: float) -> np.ndarray:
        """Sum of the lines along `table_deg`, counts per pixel and second: ndarray, shape (n,).

        Lines beyond the corner of the detector still lend it their flanks; lines that the wavelength does not reach
        (two-theta nan) are left out.
        """
        total = np.zeros_like(self.table_deg)
        for peak in peaks:
            if not math.isfinite(peak.two_theta_deg) or peak.area <= 0.0:
                continue
            width = scherrer_fwhm_deg(peak.two_theta_deg, peak.size_nm, self.wavelength_angstrom)
            total += peak.area * pseudo_voigt(self.table_deg, peak.two_theta_deg, instrument_fwhm_deg, width)
        return total
