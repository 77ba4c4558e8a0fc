"""Gaussian processes: what is expected where, and how surely.

Zero mean, Matern-5/2 kernel with a length scale of its own for each group of columns (Rasmussen and Williams 2006,
Gaussian Processes for Machine Learning, eqs. 2.25, 2.26, 4.17), noise told per observation plus a part that is the same
for all. The most probable parameters of the kernel are found in `lab.optimise.likelihood`.

numpy and scipy: at the sizes of a campaign, torch's cost per operation is larger than the arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
        Variance of the noise of each outcome, in the unit of `y` squared; 0 where nothing was told.
    groups : ndarray of int, shape (d,)
        Which length scale each column has, 0..g-1.
    """

    X: Array
    y: Array
    told: Array
    groups: Array

    @property
    def n_scales(self) -> int:
        return int(self.groups.max()) + 1

    def only(self, which: Array) -> Data:
        """Some of the observations."""
        return replace(self, X=self.X[which], y=self.y[which], told=self.told[which])


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
    """

    scales: Array
    amplitude: float
    noise: float

    def covariance(self, z: Array, others: Array) -> tuple[Array, Array]:
        """Covariance, and minus its derivative by half the squared distance, both shape (n, m).

        Parameters
        ----------
        z, others : ndarray, shapes (n, d) and (m, d)
            In units of the length scales.
        """
        squared = (z * z).sum(axis=1)[:, None] + (others * others).sum(axis=1)[None, :] - 2.0 * z @ others.T
        np.maximum(squared, 0.0, out=squared)
        near, slope = matern(squared)
        return self.amplitude * near, self.amplitude * slope


def matern(squared: Array) -> tuple[Array, Array]:
    """Matern-5/2 correlation at squared distances, and minus its derivative by half of them."""
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
        k, _ = self.kernel.covariance(x / self._widths, self._z)
        v = lapack.dtrtrs(self._factor, k.T, lower=1)[0]
        return k @ self._weights, np.maximum(self.kernel.amplitude - np.einsum("ij,ij->j", v, v), self._least)

    def means(self, x: Array) -> Array:
        """The mean alone, shape (n,), at `x`, shape (n, d): for very many points."""
        return self.kernel.covariance(x / self._widths, self._z)[0] @ self._weights

    def joint(self, x: Array) -> tuple[Array, Array]:
        """Mean and covariance matrix, shapes (n,) and (n, n), at `x`, shape (n, d)."""
        z = x / self._widths
        k, _ = self.kernel.covariance(z, self._z)
        v = lapack.dtrtrs(self._factor, k.T, lower=1)[0]
        return k @ self._weights, self.kernel.covariance(z, z)[0] - v.T @ v

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
        v = lapack.dpotrs(self._factor, k[0], lower=1)[0]
        mean, variance = float(k[0] @ self._weights), float(self.kernel.amplitude - k[0] @ v)
        away = -(z - self._z) * slope[0][:, None] / self._widths
        by_variance = -2.0 * v @ away if variance > self._least else np.zeros(len(x))
        return mean, max(variance, self._least), self._weights @ away, by_variance

    def expecting(self, x: Array) -> Posterior:
        """The same, when the outcomes at `x`, shape (k, d), turn out as expected: means stay, variances shrink.

        Ginsbourger, Le Riche and Carraro 2010, doi:10.1007/978-3-642-10701-6_6 (the kriging believer).
        """
        if not len(x):
            return self
        data = self.data
        told = np.full(len(x), float(np.median(data.told)))
        return condition(replace(data, X=np.vstack([data.X, x]), y=np.concatenate([data.y, self.predict(x)[0]]),
                                 told=np.concatenate([data.told, told])), self.kernel)

    def at(self, tail: Array) -> Posterior | Pinned:
        """The same as a function of the first columns alone, the others held at `tail`, shape (e,)."""
        return Pinned(self, tail) if len(tail) else self

    @property
    def _widths(self) -> Array:
        return self.kernel.scales[self.data.groups]

    @property
    def _least(self) -> float:
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
    K[np.diag_indices(len(K))] = kernel.amplitude + kernel.noise + data.told
    L, jitter = factor(K)
    return Posterior(data, kernel, jitter, z, L, lapack.dpotrs(L, data.y, lower=1)[0])
