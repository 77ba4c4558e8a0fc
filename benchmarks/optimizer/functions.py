"""The formulas. Each takes the coordinates of one point and returns the response; nothing is drawn, nothing is kept.

Optima were found from the published points by Nelder-Mead to 1e-12; tests/test_bench_optimizer.py repeats that from
many starts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

BRANIN_MINIMUM = 0.39788735772973816
"""At (-pi, 12.275), (pi, 2.275) and (3 pi, 2.475): there the square vanishes and the cosine is -1, so it is 10 / (8 pi)."""

HARTMANN3_MINIMUM = -3.862779787332663
"""At (0.114589, 0.555649, 0.852547)."""

HARTMANN6_MINIMUM = -3.3223680114155147
"""At (0.201690, 0.150011, 0.476874, 0.275332, 0.311652, 0.657301)."""


def branin(x: float, y: float) -> float:
    """Branin's function on -5..10 x 0..15, three equal minima.

    Dixon and Szego, The global optimization problem: an introduction, in Towards Global Optimisation 2, North-Holland 1978, pages 1-15.
    """
    return float((y - 5.1 / (4 * math.pi ** 2) * x ** 2 + 5 / math.pi * x - 6) ** 2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10)


_HEIGHT = np.array([1.0, 1.2, 3.0, 3.2])
_WIDTH_3 = np.array([[3.0, 10, 30], [0.1, 10, 35], [3.0, 10, 30], [0.1, 10, 35]])
_CENTRE_3 = 1e-4 * np.array([[3689, 1170, 2673], [4699, 4387, 7470], [1091, 8732, 5547], [381, 5743, 8828]])
_WIDTH_6 = np.array([[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]])
_CENTRE_6 = 1e-4 * np.array([[1312, 1696, 5569, 124, 8283, 5886], [2329, 4135, 8307, 3736, 1004, 9991],
                             [2348, 1451, 3522, 2883, 3047, 6650], [4047, 8828, 8732, 5743, 1091, 381]])


def hartmann(x: Sequence[float]) -> float:
    """Hartmann's function of 3 or 6 coordinates in the unit cube; minimised.

    Dixon and Szego 1978, as `branin`.
    """
    width, centre = (_WIDTH_3, _CENTRE_3) if len(x) == 3 else (_WIDTH_6, _CENTRE_6)
    return float(-_HEIGHT @ np.exp(-(width * (np.asarray(x) - centre) ** 2).sum(axis=1)))


def ackley(x: Sequence[float]) -> float:
    """Ackley's function in any dimension; minimum 0 at the origin, where every term is exact.

    Ackley, A Connectionist Machine for Genetic Hillclimbing, Kluwer 1987; doi 10.1007/978-1-4613-1997-9.
    """
    point = np.asarray(x)
    return float(20 - 20 * math.exp(-0.2 * math.sqrt((point ** 2).mean())) + math.e - math.exp(np.cos(2 * math.pi * point).mean()))


LIQUIDS = {"DMF": (0.60, 6.0, -0.3, 100.0), "DMSO": (1.00, 4.0, -1.0, 135.0), "NMP": (0.85, 7.0, -0.6, 120.0),
           "GBL": (0.40, 3.0, -1.4, 90.0), "ACN": (0.25, 9.0, 0.2, 80.0)}
"""For each solvent of `film`: the best film's quality, and the coats, log10 of the concentration and degC that make it."""


def film(solvent: str, coats: float, concentration: float, temperature: float) -> float:
    """A film's quality, at most 1, with DMSO, 4 coats, 0.1 mol/l and 135 degC. Made for this bench.

    ``g exp(-((coats - k) / 2.5)^2 / 2 - (log10 c - l)^2 - ((T - t) / 25)^2 / 2)`` with g, k, l and t of the solvent: what is best
    for one solvent is not so for another. The largest g is 1, and the exponent is 0 there.
    """
    quality, k, log_c, t = LIQUIDS[solvent]
    return quality * math.exp(-((coats - k) / 2.5) ** 2 / 2 - (math.log10(concentration) - log_c) ** 2 - ((temperature - t) / 25) ** 2 / 2)


_RECIPES = np.array([[0.55, 0.30, 0.15, 0.0, 0.0], [0.05, 0.10, 0.15, 0.30, 0.40]])
_QUALITIES = np.array([1.0, 0.8])

BLEND_MAXIMUM = 1.0009426966806936
"""Near the first recipe: SLSQP on the simplex from both recipes and 100 Dirichlet points, to 1e-16."""


def blend(fractions: Sequence[float]) -> float:
    """Quality of five inks that sum to one: two good recipes, the better one on a face of the simplex. Made for this bench.

    ``sum_k q_k exp(-|x - r_k|^2 / (2 * 0.2^2))`` with q = (1, 0.8), r_1 = (0.55, 0.30, 0.15, 0, 0), r_2 = (0.05, 0.10, 0.15, 0.30, 0.40).
    """
    return float(_QUALITIES @ np.exp(-((np.asarray(fractions) - _RECIPES) ** 2).sum(axis=1) / (2 * 0.2 ** 2)))


GOOD_REACH = 2 - math.sqrt(0.98)
"""For `no_sample`: the corner above the line u + v = c of the unit square has the area (2 - c)^2 / 2, here 0.49."""


def no_sample(x: float, y: float) -> bool:
    """Whether a point of Branin's box gives no sample: 49 % of it do not, the corner of large x and y. Made for this bench.

    In unit coordinates u + v > 2 - sqrt(0.98). Of the three minima one is out of reach (1.127), one is near the edge (0.942)
    and one is safe (0.695).
    """
    return (x + 5) / 15 + y / 15 > GOOD_REACH


BRANIN_CURRIN_REFERENCE = (18.0, 6.0)
BRANIN_CURRIN_HYPERVOLUME = 59.4063
"""Of the whole trade-off, both minimised, up to `BRANIN_CURRIN_REFERENCE`: Currin's least value for each of 12,000 limits of Branin's (SLSQP from a
grid's trade-off); between 59.4031 and 59.4096. BoTorch's test function, with the same reference point, states 59.3601, approximated by NSGA-II."""


def currin(u: float, v: float) -> float:
    """Currin's exponential function on the unit square; minimised beside Branin's.

    Belakaria, Deshwal and Doppa, Max-value entropy search for multi-objective Bayesian optimization, NeurIPS 2019.
    """
    damped = 1.0 if v == 0 else 1 - math.exp(-1 / (2 * v))
    return damped * (2300 * u ** 3 + 1900 * u ** 2 + 2092 * u + 60) / (100 * u ** 3 + 500 * u ** 2 + 4 * u + 20)


def pressure(x: float, y: float) -> float:
    """What a reactor bears up to 5, over Branin's box: a bowl with a ripple. Made for this bench.

    ``60 ((u - 0.35)^2 + (v - 0.3)^2) + 0.5 sin(4 pi u)`` in unit coordinates; a quarter of the box is at most 5, in one piece.
    Of Branin's minima (0.543, 0.152) is at 3.8, the others are at 20 and 23.
    """
    u, v = (x + 5) / 15, y / 15
    return 60 * ((u - 0.35) ** 2 + (v - 0.3) ** 2) + 0.5 * math.sin(4 * math.pi * u)
