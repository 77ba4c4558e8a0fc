"""The expected improvement where measurements scatter: over the best that has been, which is itself in doubt.

Taken as known, the best point so far would look worth measuring again and again: the process is uncertain there, and so could turn out
better than expected, better even than itself. But when it does, the best so far is better as well, and nothing has improved. So
the process is drawn at the best points, all together, and the improvement is over the best of each draw, by what the process would be elsewhere if
these were known (Letham, Karrer, Ottoni and Bakshy 2019, doi:10.1214/18-BA1110). The draws are fixed quasi-random ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack
from scipy.special import ndtri
from scipy.stats import qmc

from lab.optimise.gaussian import Pinned, Posterior, factor
from lab.optimise.improvement import Improvement, log_h
from lab.optimise.polytope import Array
from lab.optimise.terms import OfOutcome, Term

N_DRAWS, N_POINTS = 16, 12
"""Draws, and points that may be the best so far: those with the largest sum of mean and standard deviation."""

KNOWN = 0.02
"""Where the process is known to this at all of these points, relative to its own deviation, their means are taken as what they are."""


@dataclass(frozen=True)
class Settled:
    """A process as it would be if its values at some points were known: a function of these values, up to a variance that does not depend on them.

    Made by `settled`.
    """

    posterior: Posterior
    points: Array
    mean: Array
    factor: Array
    _weights: Array

    def predict(self, x: Array) -> tuple[Array, Array, Array]:
        """Mean, shape (n,), variance that remains, shape (n,), and by how much the mean moves with each draw, shape (n, b), at `x`, shape (n, d)."""
        mean, variance = self.posterior.predict(x)
        cross = self.posterior.between(x, self.points) - self.posterior.between(x, self.posterior.data.X) @ self._weights
        moves = lapack.dtrtrs(self.factor, cross.T, lower=1)[0].T
        return mean, np.maximum(variance - (moves * moves).sum(axis=1), self.posterior.least), moves

    def slopes(self, x: Array) -> tuple[float, float, Array, Array, Array, Array]:
        """The same at one point, shape (d,), and the gradients, shapes (d,), (d,) and (b, d)."""
        mean, variance, by_mean, by_variance = self.posterior.slopes(x)
        near, by_near = self.posterior.between_slopes(x, self.points)
        data, by_data = self.posterior.between_slopes(x, self.posterior.data.X)
        moves = lapack.dtrtrs(self.factor, near - data @ self._weights, lower=1)[0]
        by_moves = lapack.dtrtrs(self.factor, by_near - self._weights.T @ by_data, lower=1)[0]
        rest = variance - float(moves @ moves)
        by_rest = by_variance - 2.0 * moves @ by_moves if rest > self.posterior.least else np.zeros(len(x))
        return mean, max(rest, self.posterior.least), moves, by_mean, by_rest, by_moves


def settled(posterior: Posterior, points: Array) -> Settled:
    """The process if its values at `points`, shape (b, d), were known.

    Raises
    ------
    ModelFailed
        When their covariance matrix cannot be factored.
    """
    mean, covariance = posterior.joint(points)
    covariance[np.diag_indices(len(points))] += max(posterior.jitter, posterior.least)
    return Settled(posterior, points, mean, factor(covariance)[0], posterior.solve(posterior.between(posterior.data.X, points)))


@dataclass(frozen=True)
class ImprovementInDoubt:
    """Logarithm of the expected improvement over the best of some points, whose values are in doubt.

    Parameters
    ----------
    process : Settled
    draws : ndarray, shape (k, b)
        Standard normal.
    sign : float
        1 where up is better, -1 where down is.
    tail : ndarray, shape (e,)
        What is not chosen, appended to each point.
    """

    process: Settled
    draws: Array
    sign: float
    tail: Array

    @property
    def _best(self) -> Array:
        """Of each draw, up is better, shape (k,)."""
        return np.asarray((self.sign * (self.process.mean + self.draws @ self.process.factor.T)).max(axis=1))

    def values(self, x: Array) -> Array:
        """See `lab.optimise.terms.Term`."""
        full = np.hstack([x, np.tile(self.tail, (len(x), 1))])
        mean, variance, moves = self.process.predict(full)
        deviation = np.sqrt(variance)
        z = (self.sign * (mean[:, None] + moves @ self.draws.T) - self._best) / deviation[:, None]
        return np.asarray(np.log(deviation) + np.logaddexp.reduce(log_h(z)[0], axis=1) - np.log(len(self.draws)))

    def slope(self, x: Array) -> tuple[float, Array]:
        """See `lab.optimise.terms.Term`."""
        full = np.concatenate([x, self.tail])
        mean, variance, moves, by_mean, by_variance, by_moves = self.process.slopes(full)
        deviation = np.sqrt(variance)
        value, slope, rest = log_h((self.sign * (mean + self.draws @ moves) - self._best) / deviation)
        total = float(np.logaddexp.reduce(value))
        share = np.exp(value - total)
        by_each = self.sign * share * slope / deviation
        gradient = by_each.sum() * by_mean + (by_each @ self.draws) @ by_moves + float(share @ rest) / (2.0 * variance) * by_variance
        return float(np.log(deviation)) + total - float(np.log(len(self.draws))), gradient[:len(x)]


def improvement_over(model: Posterior | Pinned, x: Array, worth: Improvement) -> Term:
    """The expected improvement over the best of `x`, shape (n, d): over what is expected there, or, where that is in doubt, over what it may be."""
    posterior, tail = (model.posterior, model.tail) if isinstance(model, Pinned) else (model, np.zeros(0))
    mean, variance = model.predict(x)
    top = np.argsort(-(worth.sign * mean + np.sqrt(variance)), kind="stable")[:N_POINTS]
    if variance[top].max() <= KNOWN ** 2 * posterior.kernel.amplitude:
        return OfOutcome(model, worth)
    chosen = _different(x[top], posterior.kernel.scales[posterior.data.groups][:x.shape[1]])
    points = np.hstack([chosen, np.tile(tail, (len(chosen), 1))])
    draws = ndtri(qmc.Sobol(len(points), scramble=True, rng=np.random.default_rng(0)).random(N_DRAWS))
    return ImprovementInDoubt(settled(posterior, points), draws, worth.sign, tail)


def _different(x: Array, widths: Array) -> Array:
    """Those of `x`, shape (n, d), the first ones first, that are not the same point to a model: a hundredth of a length scale apart."""
    kept: list[int] = []
    for k, row in enumerate(x / widths):
        if not kept or float((((x[kept] / widths) - row) ** 2).sum(axis=1).min()) > 1e-4:
            kept.append(k)
    return x[kept]
