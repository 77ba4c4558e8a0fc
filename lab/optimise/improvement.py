"""What a sample is worth, by mean and variance of its outcome, on a logarithmic scale.

The expected improvement is 0 to rounding almost everywhere, and its logarithm is not: there is always somewhere to climb
(Ament, Daulton, Eriksson, Balandat and Bakshy 2023, arXiv:2310.20708).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import erfcx, log_ndtr

from lab.optimise.polytope import Array

LOG_ROOT_2_PI = 0.5 * float(np.log(2.0 * np.pi))


@dataclass(frozen=True)
class Improvement:
    """Logarithm of the expected improvement over `best`: upwards, or downwards with ``sign = -1``."""

    best: float
    sign: float = 1.0

    def __call__(self, mean: Array, variance: Array) -> tuple[Array, Array, Array]:
        """Value and derivatives; see `lab.optimise.terms.Worth`. Ament et al. 2023, eqs. 8 and 9."""
        deviation = np.sqrt(variance)
        value, slope, rest = log_h(self.sign * (mean - self.best) / deviation)
        return np.log(deviation) + value, self.sign * slope / deviation, rest / (2.0 * variance)


@dataclass(frozen=True)
class Above:
    """Logarithm of the probability that an outcome is above `bound` (below it with ``sign = -1``).

    Parameters
    ----------
    noise : float
        Variance of what is added to the process before it is compared.
    caution : float
        Below the probability `enough`, the logarithm falls this much more steeply.
    enough : float
    """

    bound: float
    sign: float = 1.0
    noise: float = 0.0
    caution: float = 0.0
    enough: float = 0.5

    def __call__(self, mean: Array, variance: Array) -> tuple[Array, Array, Array]:
        """Value and derivatives; see `lab.optimise.terms.Worth`."""
        total = variance + self.noise
        deviation = np.sqrt(total)
        z = self.sign * (mean - self.bound) / deviation
        value = log_ndtr(z)
        slope = np.sqrt(2.0 / np.pi) / erfcx(-z / np.sqrt(2.0))  # density by distribution: neither is above 0 to rounding where the ratio is large
        lacking = np.minimum(value - np.log(self.enough), 0.0)
        steepness = 1.0 + self.caution * (lacking < 0.0)
        return (value + self.caution * lacking, steepness * self.sign * slope / deviation,
                steepness * -0.5 * slope * z / total)


def log_h(z: Array) -> tuple[Array, Array, Array]:
    """Logarithm of ``h = phi(z) + z Phi(z)``, and the ratios ``Phi/h`` (its derivative) and ``phi/h``; all shape (n,).

    Far below 0 the two terms cancel: ``h = phi (1 + z Phi/phi)``, with the ratio from the scaled complementary error
    function, and ``phi/h = z**2 + 3`` to rounding where even that cancels.
    """
    log_phi = -0.5 * z * z - LOG_ROOT_2_PI
    low = np.minimum(z, -1.0)
    mills = np.sqrt(np.pi / 2.0) * erfcx(-low / np.sqrt(2.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.where(low < -1e3, 1.0 / (low * low + 3.0), 1.0 + low * mills)
        high = np.maximum(z, -1.0)
        phi = np.exp(-0.5 * high * high - LOG_ROOT_2_PI)
        whole = np.exp(log_ndtr(high))
        h = phi + high * whole
        value = np.where(z < -1.0, log_phi + np.log(part), np.log(h))
        slope = np.where(z < -1.0, mills / part, whole / h)
        rest = np.where(z < -1.0, 1.0 / part, phi / h)
    return value, slope, rest
