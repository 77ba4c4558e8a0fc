"""Reference patterns of the phases of a lead-iodide perovskite film: where their lines are and how strong.

What a laboratory looks up in a powder diffraction file. Lattice parameters at room temperature, in angstrom:

==================  =======================================  ==========================================================
alpha-(Cs,FA,MA)PbI3  cubic, Vegard's law between              FA 6.362: Weller 2015, doi:10.1021/acs.jpclett.5b01432;
                                                             MA 6.278, the pseudo-cubic cell of a = 8.849, c = 12.642:
                                                             Stoumpos 2013, doi:10.1021/ic401215x; Cs 6.201, the
                                                             pseudo-cubic cell of gamma-CsPbI3 8.6198 x 8.8518 x
                                                             12.5013: Sutton 2018, doi:10.1021/acsenergylett.8b00672
PbI2 (2H)             hexagonal a = 4.558, c = 6.986           Palosz 1990, doi:10.1088/0953-8984/2/24/001
delta-FAPbI3          hexagonal a = 8.6603, c = 7.9022         Stoumpos 2013
delta-CsPbI3          orthorhombic 10.434 x 4.791 x 17.761     Stoumpos 2013
==================  =======================================  ==========================================================

Relative intensities are round numbers for a thin film with its usual texture, not calculated structure factors. They stand on one
scale: the leading line of each phase has 1, so equal fractions of two phases give leading lines of equal area
(azimuthal mean of the counts, integrated over two-theta).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

VEGARD_ANGSTROM: Mapping[str, float] = {"cs": 6.201, "fa": 6.362, "ma": 6.278}
"""Cubic lattice parameter of the pure iodide of each cation, angstrom."""

Hkl = tuple[int, int, int]


@dataclass(frozen=True)
class Line:
    """One powder line: Miller indices, spacing in angstrom, intensity on the common scale."""

    hkl: Hkl
    d_angstrom: float
    intensity: float

    def two_theta_deg(self, wavelength_angstrom: float) -> float:
        """Bragg angle 2 theta, deg; nan when the wavelength is too long to see the line."""
        sine = wavelength_angstrom / (2.0 * self.d_angstrom)
        return math.degrees(2.0 * math.asin(sine)) if sine <= 1.0 else float("nan")


def vegard_angstrom(fractions: Mapping[str, float]) -> float:
    """Lattice parameter of the mixed-cation perovskite, angstrom, from cation fractions (normalised here).

    Raises
    ------
    ValueError
        When there is none of the cations.
    """
    total = sum(fractions.get(name, 0.0) for name in VEGARD_ANGSTROM)
    if not total > 0.0:
        raise ValueError(f"cations: given {dict(fractions)}; allowed: some of {', '.join(VEGARD_ANGSTROM)}")
    return sum(fractions.get(name, 0.0) * a for name, a in VEGARD_ANGSTROM.items()) / total


def _cubic(hkl: Hkl, a: float) -> float:
    return a / math.sqrt(sum(i * i for i in hkl))


def _hexagonal(hkl: Hkl, a: float, c: float) -> float:
    h, k, index = hkl
    return 1.0 / math.sqrt(4.0 / 3.0 * (h * h + h * k + k * k) / a**2 + (index / c) ** 2)


def _orthorhombic(hkl: Hkl, a: float, b: float, c: float) -> float:
    return 1.0 / math.sqrt(sum((i / edge) ** 2 for i, edge in zip(hkl, (a, b, c), strict=True)))


def perovskite_lines(a_angstrom: float) -> tuple[Line, ...]:
    """Lines of the cubic perovskite with lattice parameter `a_angstrom`, the leading one first."""
    strengths: tuple[tuple[Hkl, float], ...] = (((1, 0, 0), 1.0), ((1, 1, 0), 0.35), ((1, 1, 1), 0.2), ((2, 0, 0), 0.7), ((2, 1, 0), 0.45))
    return tuple(Line(hkl, _cubic(hkl, a_angstrom), strength) for hkl, strength in strengths)


PBI2: tuple[Line, ...] = tuple(
    Line(hkl, _hexagonal(hkl, 4.558, 6.986), strength)
    for hkl, strength in (((0, 0, 1), 1.0), ((1, 0, 1), 0.4), ((0, 0, 2), 0.15), ((1, 0, 2), 0.2)))

DELTA_FA: tuple[Line, ...] = tuple(
    Line(hkl, _hexagonal(hkl, 8.6603, 7.9022), strength)
    for hkl, strength in (((0, 1, 0), 1.0), ((0, 1, 1), 0.15), ((0, 2, 1), 0.4), ((1, 2, 0), 0.2)))

DELTA_CS: tuple[Line, ...] = tuple(
    Line(hkl, _orthorhombic(hkl, 10.434, 4.791, 17.761), strength)
    for hkl, strength in (((0, 0, 2), 1.0), ((1, 0, 2), 0.12), ((2, 0, 3), 0.35), ((2, 1, 2), 0.5)))

SECONDARY: Mapping[str, tuple[Line, ...]] = {"pbi2": PBI2, "delta_fa": DELTA_FA, "delta_cs": DELTA_CS}
"""What a film may hold beside the perovskite, by name; the leading line of each first."""
