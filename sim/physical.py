"""The default hidden response: what becomes of a mixed-cation lead-iodide film, and the powder pattern it gives.

The film is made of equimolar inks named ``cs``, ``fa`` and ``ma`` (in any case); every other liquid is solvent. Composition and thermal
history decide which share of the lead ends in which phase. The rate laws are Arrhenius laws whose constants are chosen so that the
trends of the literature come out, with the usual ten minutes of annealing:

- solvent leaves and the precursor converts within minutes at 100 degC, hardly at 60 degC;
- delta-FAPbI3 turns into the perovskite near 150 degC (Stoumpos 2013, doi:10.1021/ic401215x), with some Cs or MA in it near 130 degC, and
  FA-rich films keep it on cooling only with some Cs, less well with MA (Saliba 2016, doi:10.1039/C5EE03874J; Li 2016, doi:10.1021/acs.chemmater.5b04107);
- MA leaves as the films are heated above about 120 degC, and PbI2 remains (Conings 2015, doi:10.1002/aenm.201500477); some is
  lost in handling even without heat;
- beyond about a third of Cs, delta-CsPbI3 separates; pure CsPbI3 needs more than 300 degC to be black (Sutton 2018,
  doi:10.1021/acsenergylett.8b00672).

The numbers are a model of a laboratory exercise, not of a material. The best films, about Cs 0.19, FA 0.79, MA 0.02 at 130 degC,
hold about 0.97 of perovskite.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lab.core.config import Geometry
from lab.core.phases import SECONDARY, perovskite_lines, vegard_angstrom
from sim.film import Film, ThermalHistory
from sim.powder import Peak, RingMap

BOLTZMANN_EV_K = 8.617333262e-5
"""CODATA 2018."""

KELVIN = 273.15

CATIONS = ("cs", "fa", "ma")

LINE_AREA = 40.0
"""Area of the leading line of a thick film that is all of one phase, counts per pixel and second times degrees."""
HALF_FILM_ML = 0.15
"""Ink that gives half of a thick film's signal."""
INSTRUMENT_FWHM_DEG = 0.10
FLAT_RATE = 2.0
"""Scattering of the air and the substrate, counts per pixel and second, everywhere."""
AIR_RATE, AIR_DEG = 6.0, 4.0
"""Scattering of the air near the beam, counts per pixel and second, and how far it reaches."""
HALO_DEG, HALO_SIGMA_DEG = 8.7, 2.6
"""Two-theta at 1.0 angstrom, and width, of the halo of unconverted precursor (the Pb-I distances around 6.6 angstrom)."""


@dataclass(frozen=True)
class Arrhenius:
    """A rate that depends on temperature: `rate_per_s` at `at_c` degC, activation energy in eV."""

    rate_per_s: float
    at_c: float
    energy_ev: float

    def __call__(self, temperature_c: np.ndarray) -> np.ndarray:
        """Rates in 1/s at temperatures in degC, shape (n,)."""
        inverse = 1.0 / (self.at_c + KELVIN) - 1.0 / (temperature_c + KELVIN)
        return np.asarray(self.rate_per_s * np.exp(self.energy_ev / BOLTZMANN_EV_K * inverse))


CONVERSION = Arrhenius(1 / 50, 100.0, 0.65)
"""Solvent leaves, precursor crystallises."""
FA_TRANSITION = Arrhenius(1 / 70, 132.0, 1.4)
"""delta-FAPbI3 to perovskite."""
MA_LOSS = Arrhenius(1 / 4500, 120.0, 1.2)
"""Loss of methylammonium iodide."""
FA_LOSS = Arrhenius(1 / 4000, 170.0, 1.6)
"""Decomposition of formamidinium."""
GROWTH = Arrhenius(1 / 500, 140.0, 0.7)
"""Ripening of the crystallites."""

DRIED_PBI2 = 0.4
"""Share of the unconverted precursor that has dried to crystalline PbI2; the rest is amorphous, and no line tells of it."""


@dataclass(frozen=True)
class Phases:
    """Share of the lead in each phase (they sum to 1), the perovskite's lattice parameter, and the crystallites' size."""

    perovskite: float
    pbi2: float
    delta_fa: float
    delta_cs: float
    amorphous: float
    a_angstrom: float
    size_nm: float


def cation_fractions(film: Film) -> tuple[dict[str, float], float]:
    """Fraction of each cation in what was dosed, and the volume of ink, mL; no fractions when there is no ink."""
    volumes = {name: 0.0 for name in CATIONS}
    for liquid, volume_ml in film.volumes_ml.items():
        if liquid.lower() in volumes:
            volumes[liquid.lower()] += volume_ml
    total_ml = sum(volumes.values())
    if total_ml <= 0.0:
        return {}, 0.0
    return {name: volume / total_ml for name, volume in volumes.items()}, total_ml


def phases(fractions: dict[str, float], history: ThermalHistory) -> Phases:
    """What becomes of a film.

    Parameters
    ----------
    fractions : dict
        Of ``cs``, ``fa`` and ``ma``, summing to 1.
    history : ThermalHistory
        Since it was dosed.
    """
    cs, fa, ma = (fractions[name] for name in CATIONS)
    unconverted = math.exp(-history.integral(CONVERSION))
    amorphous = (1.0 - DRIED_PBI2) * unconverted

    fa_rich = fa * _sigmoid((fa - 0.6) / 0.08)
    kept_on_cooling = _sigmoid((cs + 0.5 * ma - 0.09) / 0.025)
    transformed = -math.expm1(-history.integral(FA_TRANSITION))
    lost = {
        "delta_fa": fa_rich * (1.0 - transformed * kept_on_cooling),
        "delta_cs": cs * _sigmoid((cs - 0.33) / 0.06),
        "pbi2": min(1.0, 0.45 * ma**1.5 - ma**1.5 * math.expm1(-history.integral(MA_LOSS))
                    - fa * math.expm1(-history.integral(FA_LOSS))),
    }
    # Each way of losing perovskite acts on what the others have left; what is lost is shared out in proportion to its hazard.
    hazards = {name: -math.log1p(-min(share, 0.999)) for name, share in lost.items()}
    hazard = sum(hazards.values())
    perovskite = math.exp(-hazard)
    share = (1.0 - unconverted) * (1.0 - perovskite) / hazard if hazard > 0.0 else 0.0
    others = {name: value * share for name, value in hazards.items()}
    others["pbi2"] += DRIED_PBI2 * unconverted
    return Phases(perovskite=(1.0 - unconverted) * perovskite, amorphous=amorphous, a_angstrom=vegard_angstrom(fractions),
                  size_nm=18.0 + 50.0 * -math.expm1(-history.integral(GROWTH)), **others)


class PhysicalResponse:
    """The detector's mean count rate for a film of the physical world.

    Parameters
    ----------
    geometry : Geometry
    """

    def __init__(self, geometry: Geometry) -> None:
        self._rings = RingMap(geometry)
        x = self._rings.table_deg
        self._empty_profile = FLAT_RATE + AIR_RATE * np.exp(-x / AIR_DEG)
        halo_deg = 2.0 * math.degrees(math.asin(min(1.0, geometry.wavelength_angstrom * math.sin(math.radians(HALO_DEG / 2.0)))))
        self._halo = np.exp(-0.5 * ((x - halo_deg) / HALO_SIGMA_DEG) ** 2) / (HALO_SIGMA_DEG * math.sqrt(2.0 * math.pi))
        self._wavelength = geometry.wavelength_angstrom

    def rate(self, film: Film | None) -> np.ndarray:
        """Mean counts per pixel and second: ndarray, float64, the geometry's shape. An empty stage gives background only."""
        return self._rings.frame(self.profile(film))

    def profile(self, film: Film | None) -> np.ndarray:
        """The same along two-theta: ndarray, shape (n,), on the ring map's table."""
        if film is None:
            return self._empty_profile
        fractions, ink_ml = cation_fractions(film)
        if not fractions:
            return self._empty_profile
        found = phases(fractions, film.history)
        area = LINE_AREA * ink_ml / (ink_ml + HALF_FILM_ML)
        lines = self._rings.profile(self._peaks(found, area), INSTRUMENT_FWHM_DEG)
        return np.asarray(self._empty_profile + lines + area * found.amorphous * self._halo)

    def _peaks(self, found: Phases, area: float) -> Iterator[Peak]:
        for line in perovskite_lines(found.a_angstrom):
            yield Peak(line.two_theta_deg(self._wavelength), area * found.perovskite * line.intensity, found.size_nm)
        for name, lines in SECONDARY.items():
            for line in lines:
                yield Peak(line.two_theta_deg(self._wavelength), area * getattr(found, name) * line.intensity, found.size_nm)


def _sigmoid(x: float) -> float:
    return 0.5 * (1.0 + math.tanh(0.5 * x))
