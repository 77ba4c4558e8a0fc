"""How much is expected of an outcome between two levels of merit, on a logarithmic scale.

An outcome's merit is the outcome, its negative, or minus its distance from a target: up is better. Of an improvement that is
counted from `low` on and no further than to `high`, ``E[(min(merit, high) - low)+]`` is known in closed form for a normal
distribution, as differences of ``h(z) = phi(z) + z Phi(z)``. Where these cancel, on intervals that are narrow beside
the deviation, it is the integral of a positive and smooth function, which eight nodes give to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import log_ndtr

from lab.optimise.improvement import LOG_ROOT_2_PI, log_h
from lab.optimise.polytope import Array

Found = tuple[Array, Array, Array]
"""A logarithm, its derivative by the mean, and by the variance."""

NODES, WEIGHTS = (0.5 * (1.0 + np.polynomial.legendre.leggauss(8)[0]), 0.5 * np.polynomial.legendre.leggauss(8)[1])
"""Of the integral from 0 to 1."""


class Merit(Protocol):
    """An outcome with up for better."""

    def of(self, y: Array) -> Array:
        """Merit of outcomes, of any shape."""
        ...

    def log_gain(self, mean: Array, variance: Array, low: Array, high: Array) -> Found:
        """Logarithm of ``E[(min(merit, high) - low)+]`` of a normal distribution, and its derivatives.

        Parameters
        ----------
        mean, variance, low, high : ndarray, shapes that broadcast together
            ``low < high``; `high` may be infinite.
        """
        ...


@dataclass(frozen=True)
class Up:
    """More is better; with ``sign = -1`` less is."""

    sign: float = 1.0

    def of(self, y: Array) -> Array:
        """See `Merit`."""
        return self.sign * y

    def log_gain(self, mean: Array, variance: Array, low: Array, high: Array) -> Found:
        """See `Merit`."""
        deviation = np.sqrt(variance)
        value, by_mean, by_deviation = _each(_slab, self.sign * mean, deviation, low, high)
        return value, self.sign * by_mean, by_deviation / (2.0 * deviation)


@dataclass(frozen=True)
class Near:
    """The nearer to the target the better: minus the distance."""

    target: float

    def of(self, y: Array) -> Array:
        """See `Merit`."""
        return -np.abs(y - self.target)

    def log_gain(self, mean: Array, variance: Array, low: Array, high: Array) -> Found:
        """See `Merit`; a merit above 0 there is not."""
        deviation, off = np.sqrt(variance), mean - self.target
        value, by_mean, by_deviation = _each(_hat, -np.abs(off), deviation, low, np.minimum(high, 0.0))
        return value, -np.sign(off) * by_mean, by_deviation / (2.0 * deviation)


@dataclass(frozen=True)
class Gain:
    """Logarithm of the expected improvement of one outcome's merit over `best`; a `lab.optimise.terms.Worth`."""

    merit: Merit
    best: float

    def __call__(self, mean: Array, variance: Array) -> Found:
        """See `lab.optimise.terms.Worth`."""
        return self.merit.log_gain(mean, variance, np.array(self.best), np.array(np.inf))


def _each(function: _Function, *arguments: Array) -> Found:
    """A function of vectors, for arrays that broadcast."""
    arrays = np.broadcast_arrays(*arguments)
    value, by_mean, by_deviation = function(*(np.asarray(a, dtype=float).ravel() for a in arrays))
    shape = arrays[0].shape
    return value.reshape(shape), by_mean.reshape(shape), by_deviation.reshape(shape)


class _Function(Protocol):
    def __call__(self, mean: Array, deviation: Array, low: Array, high: Array) -> Found: ...


# The functions below take vectors of one length, and give derivatives by mean and deviation.


def _split(is_narrow: Array, narrow: _Function, wide: _Function, *arguments: Array) -> Found:
    """Each element by its own way."""
    found = np.empty((3, len(is_narrow)))
    for which, function in ((is_narrow, narrow), (~is_narrow, wide)):
        if which.any():
            found[:, which] = function(*(a[which] for a in arguments))
    return found[0], found[1], found[2]


def _slab(mean: Array, deviation: Array, low: Array, high: Array) -> Found:
    """Logarithm of ``E[(min(Y, high) - low)+]``."""
    z, width = (mean - low) / deviation, (high - low) / deviation
    # Below 0 the integrand falls as exp(-z**2 / 2): what is narrow there is so by its slope.
    return _split(width * np.maximum(1.0, -z) < 1.0, _narrow_slab, _wide_slab, mean, deviation, low, high)


def _wide_slab(mean: Array, deviation: Array, low: Array, high: Array) -> Found:
    whole, slope, rest = log_h((mean - low) / deviation)
    is_bounded = np.isfinite(high)
    if not is_bounded.any():
        return np.log(deviation) + whole, slope / deviation, rest / deviation
    beyond, beyond_slope, beyond_rest = log_h(np.where(is_bounded, mean - np.where(is_bounded, high, 0.0), mean - low) / deviation)
    share = np.where(is_bounded, np.exp(beyond - whole), 0.0)
    left = 1.0 - share
    return (np.log(deviation) + whole + np.log(left), (slope - share * beyond_slope) / left / deviation,
            (rest - share * beyond_rest) / left / deviation)


def _narrow_slab(mean: Array, deviation: Array, low: Array, high: Array) -> Found:
    """``integral of Phi((mean - a) / deviation) da`` from low to high."""
    z = ((mean - low) / deviation)[:, None] - ((high - low) / deviation)[:, None] * NODES
    logs = log_ndtr(z)
    largest = logs.max(axis=1, keepdims=True)
    whole = np.exp(logs - largest) @ WEIGHTS
    density = np.exp(-0.5 * z * z - LOG_ROOT_2_PI - largest)
    return (largest[:, 0] + np.log(whole) + np.log(high - low), (density @ WEIGHTS) / whole / deviation,
            -((z * density) @ WEIGHTS) / whole / deviation)


def _hat(mean: Array, deviation: Array, low: Array, high: Array) -> Found:
    """The same of minus the absolute value, for means at most 0: a hat with a flat top, from `low` to ``-low``."""
    is_there = low < high
    outer = np.where(is_there, -low, 1.0)
    inner = np.where(is_there, -high, 0.0)
    is_narrow = outer / deviation * np.maximum(1.0, -mean / deviation) < 1.0
    value, by_mean, by_deviation = _split(is_narrow, _narrow_hat, _wide_hat, mean, deviation, -outer, -inner)
    return np.where(is_there, value, -np.inf), np.where(is_there, by_mean, 0.0), np.where(is_there, by_deviation, 0.0)


def _wide_hat(mean: Array, deviation: Array, low: Array, high: Array) -> Found:
    """The way up on this side, less the way down on the other."""
    near, near_mean, near_deviation = _slab(mean, deviation, low, high)
    far, far_mean, far_deviation = _slab(mean, deviation, -high, -low)
    share = np.exp(far - near)
    left = 1.0 - share
    return near + np.log(left), (near_mean - share * far_mean) / left, (near_deviation - share * far_deviation) / left


def _narrow_hat(mean: Array, deviation: Array, low: Array, high: Array) -> Found:
    """The integral of the hat by the density; the deviation's derivative is the deviation times the second one by the mean."""
    z, outer, inner = (mean / deviation)[:, None], (-low / deviation)[:, None], (-high / deviation)[:, None]
    v = np.hstack([inner * NODES, inner + (outer - inner) * NODES])
    weights = np.hstack([inner * (outer - inner) * WEIGHTS, (outer - inner) ** 2 * (1.0 - NODES) * WEIGHTS])
    whole, first, second = np.zeros(len(mean)), np.zeros(len(mean)), np.zeros(len(mean))
    for side in (1.0, -1.0):
        x = z - side * v
        part = weights * np.exp(v * (side * z - 0.5 * v))  # the density, relative to that of z
        whole += part.sum(axis=1)
        first -= (x * part).sum(axis=1)
        second += ((x * x - 1.0) * part).sum(axis=1)
    log_density = -0.5 * z[:, 0] ** 2 - LOG_ROOT_2_PI
    return np.log(deviation) + log_density + np.log(whole), first / whole / deviation, second / whole / deviation
