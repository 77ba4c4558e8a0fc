"""How much a sample is expected to better the desirability of several objectives together.

An outcome's desirability rises from 0 at the worst value of interest to 1 at the one that cannot be bettered, and the whole is
the geometric mean, weighted (Derringer and Suich 1980, doi:10.1080/00224065.1980.11980968). Its expectation has no closed form: it is
taken over normal draws that are the same for all points and all calls, so it is a smooth function of the point.

Ramps and the improvement are rounded off by `BLUR`, on the scale of desirability, and fall on a logarithmic scale for ever:
there is somewhere to climb where all draws are worth nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import expit, logsumexp
from scipy.stats import norm, qmc

from lab.optimise.polytope import Array

N_DRAWS = 128
"""Draws of the outcomes at each point."""

BLUR = 0.01
"""Width over which the corners of ramps and of the improvement are rounded."""

AT_ONCE = 1024
"""Points of which all draws are worked out together: bounds the memory."""


@dataclass(frozen=True)
class Ramp:
    """The desirability of one outcome: a straight rise from 0 at `worst` to 1 at `best`, or a tent around a target.

    Parameters
    ----------
    best : float
        A target is its own best value.
    reach : float
        From the best value to the worst one: above 0 where less is better. Of a target: the tolerance.
    is_target : bool
    weight : float
        Exponent.
    """

    best: float
    reach: float
    is_target: bool = False
    weight: float = 1.0

    def height(self, y: Array) -> tuple[Array, Array]:
        """1 at the best value, 0 at the worst, and on beyond both (of a target: not beyond the best); and its derivative."""
        off = (y - self.best) / self.reach
        if not self.is_target:
            return 1.0 - off, np.full_like(off, -1.0 / self.reach)
        size = np.sqrt(off * off + BLUR * BLUR)  # the tip rounded off
        return 1.0 + BLUR - size, -off / size / self.reach

    def log(self, y: Array) -> tuple[Array, Array]:
        """Logarithm of the desirability, rounded off, and its derivative."""
        height, slope = self.height(y)
        above = (height - 1.0) / BLUR
        level, by_level = log_soft((height - BLUR * np.logaddexp(0.0, above)) / BLUR)
        return np.log(BLUR) + level, by_level / BLUR * expit(-above) * slope


@dataclass(frozen=True)
class DesirabilityGain:
    """Logarithm of the expected improvement of the composite desirability; a `lab.optimise.terms.JointWorth`.

    Parameters
    ----------
    ramps : sequence of m Ramp
    best : float or None
        The best composite, rounded off as here (`composite`); None while nothing is worth anything.
    draws : ndarray, shape (s, m)
        Standard normal.
    """

    ramps: Sequence[Ramp]
    best: float | None
    draws: Array

    def __call__(self, means: Array, variances: Array) -> tuple[Array, Array, Array]:
        """See `lab.optimise.terms.JointWorth`."""
        n = means.shape[1]
        parts = [self._some(means[:, k:k + AT_ONCE], np.sqrt(variances[:, k:k + AT_ONCE])) for k in range(0, max(n, 1), AT_ONCE)]
        return (np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts], axis=1),
                np.concatenate([part[2] for part in parts], axis=1))

    def _some(self, means: Array, deviations: Array) -> tuple[Array, Array, Array]:
        y = means[:, :, None] + deviations[:, :, None] * self.draws.T[:, None, :]
        composite, by_y = log_composite(self.ramps, y)
        gain, by_composite = (composite, np.ones_like(composite)) if self.best is None else _log_gain(composite, float(np.log(self.best)))
        value = logsumexp(gain, axis=1)
        share = np.exp(gain - value[:, None]) * by_composite * by_y
        return (value - np.log(len(self.draws)), share.sum(axis=2), (share * self.draws.T[:, None, :]).sum(axis=2) / (2.0 * deviations))


def log_composite(ramps: Sequence[Ramp], y: Array) -> tuple[Array, Array]:
    """Logarithm of the composite desirability of outcomes, shape (m, ...), and its derivatives by them, of that shape."""
    total = sum(ramp.weight for ramp in ramps)
    logs = [ramp.log(one) for ramp, one in zip(ramps, y, strict=True)]
    weights = [ramp.weight / total for ramp in ramps]
    return (np.asarray(sum(w * log for w, (log, _) in zip(weights, logs, strict=True))),
            np.array([w * slope for w, (_, slope) in zip(weights, logs, strict=True)]))


def _log_gain(composite: Array, best: float) -> tuple[Array, Array]:
    """Logarithm of ``(exp(composite) - exp(best))+``, rounded off, and its derivative.

    ``expm1(a)`` is ``a`` by a factor that is smooth everywhere: so only ``a+`` has a corner to round.
    """
    over = composite - best
    ramp, slope = log_soft(over / BLUR)
    is_small = np.abs(over) < 1e-5
    safe = np.where(is_small, 1.0, over)
    factor = np.where(is_small, 1.0 + 0.5 * over, np.expm1(safe) / safe)
    by_factor = np.where(is_small, 0.5 + over / 12.0, np.exp(safe) / np.where(is_small, 1.0, np.expm1(safe)) - 1.0 / safe)
    return best + np.log(BLUR) + ramp + np.log(factor), slope / BLUR + by_factor


def log_soft(x: Array) -> tuple[Array, Array]:
    """Logarithm of ``log(1 + exp(x))`` and its derivative: `x` and 1 far below 0."""
    low = x < -30.0
    soft = np.logaddexp(0.0, np.where(low, 0.0, x))
    return np.where(low, x, np.log(soft)), np.where(low, 1.0, expit(x) / soft)


@cache
def normal_draws(m: int, seed: int) -> Array:
    """`N_DRAWS` evenly spread standard normal draws of `m` outcomes, shape (N_DRAWS, m): scrambled Sobol points."""
    points = qmc.Sobol(m, scramble=True, rng=np.random.default_rng(seed)).random(N_DRAWS)
    return np.asarray(norm.ppf(np.clip(points, 1e-9, 1.0 - 1e-9)))
