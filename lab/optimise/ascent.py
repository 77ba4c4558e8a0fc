"""Finds the largest value of an acquisition function that has a gradient.

Whole numbers and choices are searched by `lab.optimise.climb`; what is continuous is then followed along the gradient,
inside the box (L-BFGS-B) or inside all constraints (sequential quadratic programming, Kraft 1988, DFVLR-FB 88-28).
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import Bounds, minimize

from lab.optimise.climb import Effort, climb
from lab.optimise.domain import Domain, Points
from lab.optimise.gaussian import ModelFailed
from lab.optimise.polytope import Array
from lab.optimise.terms import Acquisition
from lab.optimise.tried import Tried

N_STARTS = 4
"""Places from which the gradient is followed."""

N_BEST, APART = 4, 0.05
"""How many of the best points are told, and how far they are apart at least (largest difference of any model coordinate)."""

N_STEPS = 25
"""Most steps along it, from each."""


def seek(domain: Domain, acquisition: Acquisition, tried: Tried, candidates: Points, incumbents: Points, rng: np.random.Generator) -> tuple[Points, Array]:
    """The best untried points.

    Parameters
    ----------
    candidates : Points
        Spread over the domain.
    incumbents : Points
        Around which to look as well; may be empty.

    Returns
    -------
    Points, and ndarray of shape (n,)
        At least one, at most `N_BEST`, all sound, the best first and the others apart from it and from each other by `APART`; and their values.

    Raises
    ------
    ModelFailed
        When everything that was looked at has been tried.
    """
    def score(x: Array) -> Array:
        is_new = tried.is_new(x)
        values = np.full(len(x), -np.inf)
        values[is_new] = acquisition.values(x[is_new])
        return values

    starts, values = climb(domain, score, candidates, incumbents, rng, _effort(domain))
    ends = _ascend(domain, acquisition, starts)
    found = Points.join(ends, starts)
    values = np.concatenate([score(domain.encode(ends)), values])
    chosen: list[int] = []
    x = domain.encode(found)
    for k in np.argsort(-values, kind="stable"):
        is_apart = not chosen or np.abs(x[chosen] - x[k]).max(axis=1).min() > APART
        if np.isfinite(values[k]) and is_apart and domain.is_sound(found[k:k + 1]):
            chosen.append(int(k))
        if len(chosen) == N_BEST:
            break
    if not chosen:
        raise ModelFailed("no untried point was found")
    return found[np.array(chosen)], values[chosen]


def _effort(domain: Domain) -> Effort:
    """Random steps only where there is something that has no gradient."""
    if not (domain.choices or domain.is_integer.any()):
        return Effort(n_climbers=N_STARTS, n_steps=24, n_rounds=0)
    if not _continuous(domain).any():
        return Effort.for_domain(domain)
    return Effort(n_climbers=N_STARTS, n_steps=Effort.for_domain(domain).n_steps, n_rounds=10, last_step=5e-3)


def _continuous(domain: Domain) -> Array:
    """Which free coordinates have a gradient: none where whole numbers depend on them."""
    free = domain.polytope.free
    solved = np.setdiff1d(np.arange(len(domain.ranges)), free)
    return ~domain.is_integer[free] & ~domain.is_integer[solved].any()


def _ascend(domain: Domain, acquisition: Acquisition, starts: Points) -> Points:
    """The ends of the ways up from `starts`."""
    moving = _continuous(domain)
    if not moving.any():
        return starts
    ends = starts.w.copy()
    for k in range(len(starts)):
        ends[k, moving] = _climb_one(domain, acquisition, starts[k:k + 1], moving)
    inside = domain.polytope.pull_in(starts.w, ends)
    allowed = domain.is_allowed(inside)
    return Points(inside, starts.choices)[allowed]


def _climb_one(domain: Domain, acquisition: Acquisition, start: Points, moving: Array) -> Array:
    """Continuous free coordinates at the end of the way from one point."""
    polytope, n_ranges = domain.polytope, len(domain.ranges)
    basis = polytope.basis[:, moving]
    w = start.w.copy()

    def worth(v: Array) -> tuple[float, Array]:
        w[0, moving] = v
        x = domain.encode(Points(w, start.choices))[0]
        value, gradient = acquisition.slope(x)
        return -value, -(gradient[:n_ranges] * _stretch(domain, x[:n_ranges])) @ basis

    low, high = polytope.low[moving], polytope.high[moving]
    rows = polytope.rows[:, moving]
    rows_move = np.abs(rows).max(axis=1, initial=0.0) > 0.0
    first = start.w[0, moving]
    if not rows_move.any():
        found = minimize(worth, first, jac=True, method="L-BFGS-B", bounds=Bounds(low, high),
                         options={"maxiter": N_STEPS, "maxfun": 2 * N_STEPS, "ftol": 1e-7})
    else:
        room = (polytope.limits - polytope.rows[:, ~moving] @ start.w[0, ~moving])[rows_move]
        rows = rows[rows_move]
        found = minimize(worth, first, jac=True, method="SLSQP", bounds=Bounds(low, high),
                         constraints={"type": "ineq", "fun": lambda v: room - rows @ v, "jac": lambda v: -rows},
                         options={"maxiter": N_STEPS, "ftol": 1e-6})
    end = np.asarray(found.x, dtype=float)
    return end if np.isfinite(end).all() else first


def _stretch(domain: Domain, x: Array) -> Array:
    """Derivative of `x` by `u`, shape (d,): 1 but for a logarithmic parameter that stands in a constraint."""
    curved = domain.is_log & ~domain.is_log_in_u
    if not curved.any():
        return np.ones(len(x))
    low = np.where(curved, domain.low, 1.0)
    log_width = np.where(curved, np.log(np.where(curved, domain.high, 2.0) / low), 1.0)
    natural = low * np.exp(x * log_width)
    return np.where(curved, (domain.high - domain.low) / (natural * log_width), 1.0)
