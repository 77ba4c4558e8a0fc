"""The expected hypervolume improvement where measurements scatter: over the front that has been, which is itself in doubt.

As with one objective (`lab.optimise.doubt`), a front of expected values that counts as known would be measured again and again. So the
processes are drawn at the points that may be in the front, and the improvement is over the front of each draw, by what the processes would
be elsewhere if these were known (Daulton, Balandat and Bakshy 2021, arXiv:2105.08195). Given a draw it is exact.
Measured on Branin's and Currin's functions with deviations of 3 and 0.4, told or not, 40 trials, 8 runs: a median hypervolume regret of 2.6 (4.3 over the expected front).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri
from scipy.stats import qmc

from lab.core.front import Array, boxes, by_gain
from lab.optimise.doubt import KNOWN, Settled, settled
from lab.optimise.gains import Merit
from lab.optimise.gaussian import Pinned, Posterior

N_POINTS = 16
"""Points that may be in the front."""

N_DRAWS = (8, 4, 2)
"""Draws of two, three and more objectives: the boxes of each are many times as many."""

AT_ONCE = 512
"""Points of which all boxes of all draws are worked out together: bounds the memory."""


@dataclass(frozen=True)
class FrontInDoubt:
    """Logarithm of the expected hypervolume improvement over a front that is in doubt; a `lab.optimise.terms.Term`.

    Parameters
    ----------
    merits : sequence of m Merit
    processes : sequence of m Settled
        At the same points.
    lower, upper : ndarray, shape (k, m)
        What is not dominated, in boxes, of all draws one after the other.
    draws : ndarray, shape (k, m, b)
        Standard normal: that of each box.
    n_draws : int
    tail : ndarray, shape (e,)
        What is not chosen, appended to each point.
    """

    merits: Sequence[Merit]
    processes: Sequence[Settled]
    lower: Array
    upper: Array
    draws: Array
    n_draws: int
    tail: Array

    def values(self, x: Array) -> Array:
        """See `lab.optimise.terms.Term`."""
        parts = [self._some(x[k:k + AT_ONCE]) for k in range(0, len(x), AT_ONCE)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _some(self, x: Array) -> Array:
        full = np.hstack([x, np.tile(self.tail, (len(x), 1))])
        total = np.zeros((len(x), len(self.lower)))
        for j, (merit, process) in enumerate(zip(self.merits, self.processes, strict=True)):
            mean, variance, moves = process.predict(full)
            total += merit.log_gain(mean[:, None] + moves @ self.draws[:, j].T, variance[:, None], self.lower[:, j], self.upper[:, j])[0]
        return np.asarray(np.logaddexp.reduce(total, axis=1)) - np.log(self.n_draws)

    def slope(self, x: Array) -> tuple[float, Array]:
        """See `lab.optimise.terms.Term`."""
        full = np.concatenate([x, self.tail])
        known = [process.slopes(full) for process in self.processes]
        found = [merit.log_gain(mean + self.draws[:, j] @ moves, np.array(variance), self.lower[:, j], self.upper[:, j])
                 for j, (merit, (mean, variance, moves, _, _, _)) in enumerate(zip(self.merits, known, strict=True))]
        total = np.sum([value for value, _, _ in found], axis=0)
        value = float(np.logaddexp.reduce(total))
        share = np.exp(total - value)
        gradient = np.zeros(len(full))
        for j, ((_, d_mean, d_variance), (_, _, _, by_mean, by_variance, by_moves)) in enumerate(zip(found, known, strict=True)):
            by_each = share * d_mean
            gradient += by_each.sum() * by_mean + (by_each @ self.draws[:, j]) @ by_moves + float(share @ d_variance) * by_variance
        return value - float(np.log(self.n_draws)), gradient[:len(x)]


def front_in_doubt(models: Sequence[Posterior | Pinned], merits: Sequence[Merit], x: Array, reference: Array) -> FrontInDoubt | None:
    """The expected improvement over the front of `x`, shape (n, d); None where the processes are known there.

    Parameters
    ----------
    models, merits : sequences of m
    x : ndarray, shape (n, d)
    reference : ndarray, shape (m,)
        In the merits' unit.

    Raises
    ------
    ModelFailed
        When the covariance matrix of the points cannot be factored.
    """
    posteriors = [model.posterior if isinstance(model, Pinned) else model for model in models]
    tail = next((model.tail for model in models if isinstance(model, Pinned)), np.zeros(0))
    found = [model.predict(x) for model in models]
    expected = np.column_stack([merit.of(mean) for merit, (mean, _) in zip(merits, found, strict=True)])
    hoped = expected + np.sqrt(np.column_stack([variance for _, variance in found]))
    top = by_gain(hoped, reference, N_POINTS)
    doubt = np.array([variance[top].max(initial=0.0) / posterior.kernel.amplitude for posterior, (_, variance) in zip(posteriors, found, strict=True)])
    if not top or doubt.max() <= KNOWN ** 2:
        return None
    points = np.hstack([x[top], np.tile(tail, (len(top), 1))])
    processes = [settled(posterior, points) for posterior in posteriors]
    rest = np.delete(expected, top, axis=0)
    m, b = len(merits), len(top)
    n_draws = N_DRAWS[min(m, 4) - 2]
    draws = ndtri(qmc.Sobol(m * b, scramble=True, rng=np.random.default_rng(0)).random(n_draws)).reshape(n_draws, m, b)
    lower, upper, each = [], [], []
    for draw in draws:
        drawn = np.column_stack([merit.of(process.mean + process.factor @ one) for merit, process, one in zip(merits, processes, draw, strict=True)])
        low, high, _ = boxes(np.vstack([drawn, rest]), reference)
        lower.append(low)
        upper.append(high)
        each.append(np.tile(draw, (len(low), 1, 1)))
    return FrontInDoubt(merits, processes, np.concatenate(lower), np.concatenate(upper), np.concatenate(each), n_draws, tail)
