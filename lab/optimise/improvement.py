"""What a sample is worth, by mean and variance of its outcome, on a logarithmic scale.

The expected improvement is 0 to rounding almost everywhere, and its logarithm is not: there is always somewhere to climb
(Ament, Daulton, Eriksson, Balandat and Bakshy 2023, arXiv:2310.20708).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import erfcx, log_ndtr

from lab.optimise.gaussian import Posterior
from lab.optimise.polytope import Array

LOG_ROOT_2_PI = 0.5 * float(np.log(2.0 * np.pi))


class Worth(Protocol):
    """A function of means and variances, all arrays of shape (n,)."""

    def __call__(self, mean: Array, variance: Array) -> tuple[Array, Array, Array]:
        """Value, its derivative by the mean, and by the variance."""
        ...


@dataclass(frozen=True)
class Improvement:
    """Logarithm of the expected improvement over `best`."""

    best: float

    def __call__(self, mean: Array, variance: Array) -> tuple[Array, Array, Array]:
        """Value and derivatives; see `Worth`. Ament et al. 2023, eqs. 8 and 9."""
        deviation = np.sqrt(variance)
        z = (mean - self.best) / deviation
        value, slope, rest = log_h(z)
        return np.log(deviation) + value, slope / deviation, rest / (2.0 * variance)


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
        """Value and derivatives; see `Worth`."""
        total = variance + self.noise
        deviation = np.sqrt(total)
        z = self.sign * (mean - self.bound) / deviation
        value = log_ndtr(z)
        slope = np.exp(-0.5 * z * z - LOG_ROOT_2_PI - value)
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


@dataclass(frozen=True)
class Acquisition:
    """A sum of worths, each of an outcome of its own: the logarithm of a product of probabilities and expectations.

    Parameters
    ----------
    terms : sequence of (Posterior, Worth)
    """

    terms: Sequence[tuple[Posterior, Worth]]

    def values(self, x: Array) -> Array:
        """Values, shape (n,), at model coordinates `x`, shape (n, columns)."""
        total = np.zeros(len(x))
        for posterior, worth in self.terms:
            total += worth(*posterior.predict(x))[0]
        return np.where(np.isnan(total), -np.inf, total)

    def slope(self, x: Array) -> tuple[float, Array]:
        """Value and gradient, shape (columns,), at one point of shape (columns,)."""
        total, gradient = 0.0, np.zeros(len(x))
        for posterior, worth in self.terms:
            mean, variance, by_mean, by_variance = posterior.slopes(x)
            value, d_mean, d_variance = worth(np.array([mean]), np.array([variance]))
            total += float(value[0])
            gradient += d_mean[0] * by_mean + d_variance[0] * by_variance
        return total, gradient
