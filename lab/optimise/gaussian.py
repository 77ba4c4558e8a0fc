"""Gaussian processes: what is expected where, and how surely.

Matern-5/2 or Gaussian kernel with a length scale of its own for each group of columns (Rasmussen and Williams 2006, Gaussian Processes for
Machine Learning, eqs. 2.25, 2.26, 4.9, 4.17), a mean of 0 or a trend, noise that is told or learned. The most probable parameters of the kernel are found in `lab.optimise.likelihood`.

numpy and scipy: at the sizes of a campaign, torch's cost per operation is larger than the arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
from scipy.linalg import lapack

from lab.optimise.polytope import Array

ROOT_5 = float(np.sqrt(5.0))

JITTERS = (1e-10, 1e-8, 1e-6, 1e-4)
"""Added in turn to the diagonal of a covariance matrix that cannot be factored, relative to its mean."""

LEAST_VARIANCE = 1e-14
"""Below this, a variance is rounding."""


class ModelFailed(Exception):
    """No model can be had of the data; never leaves this package."""


class Basis(Protocol):
    """Functions of the point that an outcome may follow."""

    def values(self, x: Array) -> Array:
        """Shape (n, k), at model coordinates `x`, shape (n, d)."""
        ...

    def slopes(self, x: Array) -> tuple[Array, Array]:
        """At one point, shape (d,): values, shape (k,), and gradients, shape (k, d)."""
        ...


@dataclass(frozen=True)
class Trend:
    """What is expected before anything is measured: functions of the point, each so many times.

    How many times is known to be `weight`, with the standard deviation `deviation`; the data then tell it more surely (Rasmussen and
    Williams 2006, section 2.7). Both have the shape (k,).
    """

    basis: Basis
    weight: Array
    deviation: Array

    def at(self, x: Array) -> tuple[Array, Array]:
        """At `x`, shape (n, d): what is expected, shape (n,), and the functions in units of their deviations, shape (n, k)."""
        values = self.basis.values(x)
        return values @ self.weight, values * self.deviation


@dataclass(frozen=True)
class Data:
    """What a Gaussian process is conditioned on.

    Parameters
    ----------
    X : ndarray, shape (n, d)
        Model coordinates.
    y : ndarray, shape (n,)
        Outcomes, with mean near 0 and standard deviation near 1.
    told : ndarray, shape (n,)
        Variance of the noise of each outcome that is known, in the unit of `y` squared.
    groups : ndarray of int, shape (d,)
        Which length scale each column has, 0..g-1.
    share : ndarray, shape (n,), or None
        How many times the learned variance each outcome has besides: 0 where its own was told, 1/k for the mean of k. None: once, all.
    within : tuple of two floats
        Degrees of freedom and sum of squares of what was averaged, about its means: they tell of the learned variance alone.
    trend : Trend or None
        What is expected before anything is measured, besides 0.
    stretch : ndarray, shape (n,), or None
        By how much larger the logarithm of the density of each outcome is than that of its `y` (`lab.optimise.scaling.Scale.stretch`). None: it is not compared.
    """

    X: Array
    y: Array
    told: Array
    groups: Array
    share: Array | None = None
    within: tuple[float, float] = (0.0, 0.0)
    trend: Trend | None = None
    stretch: Array | None = None

    @property
    def n_scales(self) -> int:
        return int(self.groups.max()) + 1

    @property
    def shares(self) -> Array:
        """`share`, written out."""
        return np.ones(len(self.y)) if self.share is None else self.share

    def only(self, which: Array) -> Data:
        """Some of the observations."""
        return replace(self, X=self.X[which], y=self.y[which], told=self.told[which], share=None if self.share is None else self.share[which],
                       stretch=None if self.stretch is None else self.stretch[which])

    def before(self) -> tuple[Array, Array]:
        """What was expected of the observations before they were made, shape (n,), and what of their covariance the trend makes, shape (n, n)."""
        if self.trend is None:
            return np.zeros(len(self.y)), np.zeros((len(self.y),) * 2)
        mean, spread = self.trend.at(self.X)
        return mean, spread @ spread.T


@dataclass(frozen=True)
class Kernel:
    """Parameters of a Gaussian process.

    Parameters
    ----------
    scales : ndarray, shape (g,)
        Length scales, in model coordinates.
    amplitude : float
        Variance of the process, in the unit of the outcomes squared.
    noise : float
        Variance of the part of the noise that is learned.
    is_smooth : bool
        Whether its functions are as smooth as can be (Gaussian kernel), not only twice differentiable (Matern-5/2).
    """

    scales: Array
    amplitude: float
    noise: float
    is_smooth: bool = False

    def covariance(self, z: Array, others: Array) -> tuple[Array, Array]:
        """Covariance, and minus its derivative by half the squared distance, both shape (n, m).

        Parameters
        ----------
        z, others : ndarray, shapes (n, d) and (m, d)
            In units of the length scales.
        """
        squared = (z * z).sum(axis=1)[:, None] + (others * others).sum(axis=1)[None, :] - 2.0 * z @ others.T
        np.maximum(squared, 0.0, out=squared)
        near, slope = correlation(squared, self.is_smooth)
        return self.amplitude * near, self.amplitude * slope


def correlation(squared: Array, is_smooth: bool) -> tuple[Array, Array]:
    """Correlation at squared distances, and minus its derivative by half of them: Gaussian, or Matern-5/2."""
    if is_smooth:
        near = np.exp(-0.5 * squared)
        return near, near
    r = ROOT_5 * np.sqrt(squared)
    decay = np.exp(-r)
    slope = (5.0 / 3.0) * (1.0 + r) * decay
    return slope * 0.6 + (5.0 / 3.0) * squared * decay, slope


def factor(K: Array) -> tuple[Array, float]:
    """Lower Cholesky factor of a covariance matrix, shape (n, n), and what had to be added to its diagonal for it.

    Raises
    ------
    ModelFailed
        When the largest jitter does not help, or the matrix is not finite.
    """
    diagonal = np.diag(K)
    size = float(diagonal.mean())
    if not np.isfinite(size):
        raise ModelFailed("the covariance matrix is not finite")
    for jitter in (0.0, *JITTERS):
        L, info = lapack.dpotrf(K + jitter * size * np.eye(len(K)) if jitter else K, lower=1, clean=1)
        if info == 0:
            return L, jitter * size
    raise ModelFailed(f"the covariance matrix of {len(K)} points is not positive definite, even with {JITTERS[-1]:g} of itself added")


@dataclass(frozen=True)
class Posterior:
    """A Gaussian process, given data: means and variances of the noise-free outcome.

    Made by `condition`.

    Parameters
    ----------
    jitter : float
        Variance that was added to every observation to make the arithmetic possible; mostly 0.
    """

    data: Data
    kernel: Kernel
    jitter: float
    _z: Array
    _factor: Array
    _weights: Array

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Mean and variance, shapes (n,) and (n,), at model coordinates `x`, shape (n, d)."""
        mean, variance, k = self._before(x)
        v = lapack.dtrtrs(self._factor, k.T, lower=1)[0]
        return mean + k @ self._weights, np.maximum(variance - np.einsum("ij,ij->j", v, v), self.least)

    def means(self, x: Array) -> Array:
        """The mean alone, shape (n,), at `x`, shape (n, d): for very many points."""
        mean, _, k = self._before(x)
        return mean + k @ self._weights

    def joint(self, x: Array) -> tuple[Array, Array]:
        """Mean and covariance matrix, shapes (n,) and (n, n), at `x`, shape (n, d)."""
        mean, _, k = self._before(x)
        v = lapack.dtrtrs(self._factor, k.T, lower=1)[0]
        own = self.kernel.covariance(x / self._widths, x / self._widths)[0]
        if self.data.trend is not None:
            spread = self.data.trend.at(x)[1]
            own = own + spread @ spread.T
        return mean + k @ self._weights, own - v.T @ v

    def left_out(self) -> tuple[Array, Array]:
        """What all others foretell of each observation: mean, and variance with its noise, shapes (n,).

        Rasmussen and Williams 2006, eqs. 5.10 to 5.12: as if each were left out in turn, the kernel's parameters kept.
        """
        n = len(self.data.y)
        root = lapack.dtrtrs(self._factor, np.eye(n), lower=1)[0]
        precision = np.einsum("ij,ij->j", root, root)
        return self.data.y - self._weights / precision, 1.0 / precision

    def slopes(self, x: Array) -> tuple[float, float, Array, Array]:
        """Mean and variance at one point, shape (d,), and their gradients, each shape (d,)."""
        z = x / self._widths
        k, slope = self.kernel.covariance(z[None, :], self._z)
        away = -(z - self._z) * slope[0][:, None] / self._widths
        mean, variance, by_mean, by_variance = 0.0, self.kernel.amplitude, np.zeros(len(x)), np.zeros(len(x))
        if self.data.trend is not None:
            functions, by_functions = self.data.trend.basis.slopes(x)
            squared = self.data.trend.deviation ** 2
            k = k + (functions * squared) @ self._functions.T
            away = away + (self._functions * squared) @ by_functions
            mean, by_mean = float(functions @ self.data.trend.weight), self.data.trend.weight @ by_functions
            variance, by_variance = variance + float(functions ** 2 @ squared), 2.0 * (functions * squared) @ by_functions
        v = lapack.dpotrs(self._factor, k[0], lower=1)[0]
        mean, variance = mean + float(k[0] @ self._weights), float(variance - k[0] @ v)
        by_variance = by_variance - 2.0 * v @ away if variance > self.least else np.zeros(len(x))
        return mean, max(variance, self.least), by_mean + self._weights @ away, by_variance

    def between(self, x: Array, others: Array) -> Array:
        """Covariance of the process at `x`, shape (n, d), and at `others`, shape (m, d), before anything was measured: shape (n, m)."""
        k = self.kernel.covariance(x / self._widths, others / self._widths)[0]
        if self.data.trend is None:
            return k
        return np.asarray(k + self.data.trend.at(x)[1] @ self.data.trend.at(others)[1].T)

    def between_slopes(self, x: Array, others: Array) -> tuple[Array, Array]:
        """The same for one point, shape (d,): shape (m,), and its gradient, shape (m, d)."""
        z, far = x / self._widths, others / self._widths
        k, slope = self.kernel.covariance(z[None, :], far)
        value, gradient = k[0], -(z - far) * slope[0][:, None] / self._widths
        if self.data.trend is not None:
            functions, by_functions = self.data.trend.basis.slopes(x)
            theirs = self.data.trend.basis.values(others) * self.data.trend.deviation ** 2
            value, gradient = value + theirs @ functions, gradient + theirs @ by_functions
        return value, gradient

    def solve(self, right: Array) -> Array:
        """The inverse of the observations' covariance matrix, noise included, times `right`, shape (n, m)."""
        return np.asarray(lapack.dpotrs(self._factor, right, lower=1)[0])

    def expecting(self, x: Array) -> Posterior:
        """The same, when the outcomes at `x`, shape (k, d), turn out as expected: means stay, variances shrink.

        Ginsbourger, Le Riche and Carraro 2010, doi:10.1007/978-3-642-10701-6_6 (the kriging believer). An observation that is what
        was expected has no weight, and the factor grows by a row.
        """
        if not len(x):
            return self
        data, n = self.data, len(self.data.y)
        is_told = data.shares == 0.0
        told = np.full(len(x), float(np.median(data.told[is_told])) if 2 * is_told.sum() > n else 0.0)
        share = np.full(len(x), 0.0 if 2 * is_told.sum() > n else 1.0)
        mean, joint = self.joint(x)
        joint[np.diag_indices(len(x))] += told + share * self.kernel.noise + max(self.jitter, self.least)
        below = lapack.dtrtrs(self._factor, self._before(x)[2].T, lower=1)[0]
        grown = np.zeros((n + len(x),) * 2, order="F")
        grown[:n, :n], grown[n:, :n] = self._factor, below.T
        grown[n:, n:], jitter = factor(joint)
        more = replace(data, X=np.vstack([data.X, x]), y=np.concatenate([data.y, mean]), told=np.concatenate([data.told, told]),
                       share=np.concatenate([data.shares, share]))
        return Posterior(more, self.kernel, max(self.jitter, jitter), np.vstack([self._z, x / self._widths]), grown,
                         np.concatenate([self._weights, np.zeros(len(x))]))

    def _before(self, x: Array) -> tuple[Array, Array, Array]:
        """What was expected at `x`, shape (n, d), before anything was measured, its variance, and its covariance with what was, shape (n, m)."""
        k, _ = self.kernel.covariance(x / self._widths, self._z)
        mean, variance = np.zeros(len(x)), np.full(len(x), self.kernel.amplitude)
        if self.data.trend is not None:
            mean, spread = self.data.trend.at(x)
            k = k + spread @ (self._functions * self.data.trend.deviation).T
            variance = variance + (spread ** 2).sum(axis=1)
        return mean, variance, k

    @cached_property
    def _functions(self) -> Array:
        """The trend's functions at the observations, shape (n, k)."""
        return np.zeros((len(self.data.y), 0)) if self.data.trend is None else self.data.trend.basis.values(self.data.X)

    def at(self, tail: Array) -> Posterior | Pinned:
        """The same as a function of the first columns alone, the others held at `tail`, shape (e,)."""
        return Pinned(self, tail) if len(tail) else self

    @property
    def _widths(self) -> Array:
        return self.kernel.scales[self.data.groups]

    @property
    def least(self) -> float:
        """Below this, a variance is rounding."""
        return max(LEAST_VARIANCE, 1e-12 * self.kernel.amplitude)


@dataclass(frozen=True)
class Pinned:
    """A posterior whose last columns are held where they are: what is measured and not chosen, time, the campaign."""

    posterior: Posterior
    tail: Array

    def predict(self, x: Array) -> tuple[Array, Array]:
        """As `Posterior.predict`, at `x`, shape (n, d - e)."""
        return self.posterior.predict(self._whole(x))

    def means(self, x: Array) -> Array:
        """As `Posterior.means`, at `x`, shape (n, d - e)."""
        return self.posterior.means(self._whole(x))

    def joint(self, x: Array) -> tuple[Array, Array]:
        """As `Posterior.joint`, at `x`, shape (n, d - e)."""
        return self.posterior.joint(self._whole(x))

    def _whole(self, x: Array) -> Array:
        return np.hstack([x, np.tile(self.tail, (len(x), 1))])

    def slopes(self, x: Array) -> tuple[float, float, Array, Array]:
        """As `Posterior.slopes`, at `x`, shape (d - e,)."""
        mean, variance, by_mean, by_variance = self.posterior.slopes(np.concatenate([x, self.tail]))
        return mean, variance, by_mean[:len(x)], by_variance[:len(x)]


def condition(data: Data, kernel: Kernel) -> Posterior:
    """The process with parameters `kernel`, given `data`.

    Raises
    ------
    ModelFailed
        When its covariance matrix cannot be factored.
    """
    z = data.X / kernel.scales[data.groups]
    K, _ = kernel.covariance(z, z)
    K[np.diag_indices(len(K))] = kernel.amplitude + kernel.noise * data.shares + data.told
    mean, common = data.before()
    L, jitter = factor(K if data.trend is None else K + common)
    return Posterior(data, kernel, jitter, z, L, lapack.dpotrs(L, data.y - mean, lower=1)[0])
