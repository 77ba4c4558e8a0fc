"""Finds the largest value of an acquisition function that has a gradient.

What is continuous is followed along the gradient, inside the box (L-BFGS-B) or inside all constraints (sequential quadratic
programming, Kraft 1988, DFVLR-FB 88-28). Whole numbers and choices are then changed (`lab.optimise.sweep`), what is continuous is followed
again, and so on until neither finds better. Where there is nothing continuous, or there are many combinations, climbers take random steps first
(`lab.optimise.climb`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import Bounds, minimize

from lab.optimise.climb import Effort, Score, climb
from lab.optimise.domain import Domain, Points
from lab.optimise.gaussian import ModelFailed
from lab.optimise.polytope import Array
from lab.optimise.sweep import FEW, changes, has_discrete, n_combinations
from lab.optimise.terms import Acquisition
from lab.optimise.tried import Tried

N_STARTS = 10
"""Places from which the gradient is followed."""

N_BEST, APART = 4, 0.05
"""How many of the best points are told, and how far they are apart at least (largest difference of any model coordinate)."""

N_STEPS = 25
"""Most steps along it, from each."""

MOST_STEPS = 48
"""Most random steps of a climber per round, where changes of whole numbers and choices are looked at afterwards anyway."""

N_TURNS, LEAST_GAIN = 4, 1e-3
"""Most turns of changing whole numbers and choices and following the gradient, and the gain (of a logarithm) that is worth another."""

N_HALVINGS = 30
"""Of the way back to what a constraint allows."""

ENUMERATED = 2048
"""Domains with no more points than this are looked at as a whole: these are the candidates then."""


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

    if domain.n_points <= ENUMERATED:
        found, values = candidates, score(domain.encode(candidates))
    else:
        found, values = climb(domain, score, candidates, incumbents, rng, _effort(domain))
        for _ in range(N_TURNS):
            better, better_values = _turn(domain, acquisition, score, found[:N_STARTS])
            is_better = bool(better_values.max(initial=-np.inf) > values.max(initial=-np.inf) + LEAST_GAIN)
            found, values = _best_first(Points.join(better, found), np.concatenate([better_values, values]))
            if not (is_better and has_discrete(domain)):
                break
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
    """Random steps only where there is much that has no gradient."""
    if n_combinations(domain) <= FEW and _continuous(domain).any():
        return Effort(n_climbers=N_STARTS, n_steps=24, n_rounds=0)
    if not _continuous(domain).any():
        return Effort.for_domain(domain)
    return Effort(n_climbers=N_STARTS, n_steps=min(MOST_STEPS, Effort.for_domain(domain).n_steps), n_rounds=10, last_step=5e-3)


def _turn(domain: Domain, acquisition: Acquisition, score: Score, starts: Points) -> tuple[Points, Array]:
    """Whole numbers and choices changed for the better, and what is continuous followed from there: points that are better than `starts`, and values."""
    if has_discrete(domain):
        starts = _changed(domain, score, starts)
    ends = _ascend(domain, acquisition, starts)
    found = Points.join(ends, starts)
    return _best_first(found, score(domain.encode(found)))


def _changed(domain: Domain, score: Score, points: Points) -> Points:
    """The best of all `changes` of all points: as many as there are points, with different whole numbers and choices where there are as many."""
    others, _ = changes(domain, points)
    everything = Points.join(points, others)
    values = score(domain.encode(everything))
    free = domain.polytope.free
    whole = everything.w[:, domain.is_integer[free]]
    chosen: dict[bytes, int] = {}
    for k in np.argsort(-values, kind="stable"):
        chosen.setdefault(np.concatenate([whole[k], everything.choices[k]]).tobytes(), int(k))
        if len(chosen) == len(points):
            break
    return everything[np.array(list(chosen.values()), dtype=int)]


def _best_first(points: Points, values: Array) -> tuple[Points, Array]:
    order = np.argsort(-values, kind="stable")
    return points[order], values[order]


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
    inside = _back(domain, starts.w, domain.polytope.pull_in(starts.w, ends))
    allowed = domain.is_allowed(inside)
    return Points(inside, starts.choices)[allowed]


def _back(domain: Domain, starts: Array, ends: Array) -> Array:
    """The ends, those that break a constraint which is not linear drawn back towards allowed `starts`, both shape (n, f)."""
    if not domain.space.nonlinear or domain.is_allowed(ends).all():
        return ends
    least, most = np.zeros(len(ends)), np.ones(len(ends))
    most[domain.is_allowed(ends)] = 0.0  # these need not be drawn back: what is halved below is how far the others must
    for _ in range(N_HALVINGS):
        middle = (least + most) / 2
        outside = ~domain.is_allowed(ends + middle[:, None] * (starts - ends))
        least, most = np.where(outside, middle, least), np.where(outside, most, middle)
    return ends + most[:, None] * (starts - ends)


def _climb_one(domain: Domain, acquisition: Acquisition, start: Points, moving: Array) -> Array:
    """Continuous free coordinates at the end of the way from one point."""
    polytope, n_ranges = domain.polytope, len(domain.ranges)
    basis = polytope.basis[:, moving]
    w = start.w.copy()

    def natural(v: Array) -> Array:
        w[0, moving] = v
        return domain.natural(polytope.expand(w))[0]

    def worth(v: Array) -> tuple[float, Array]:
        there = natural(v)
        value, gradient = acquisition.slope(domain.encode_many(there[None, :], start.choices)[0])
        return -value, -(gradient[:n_ranges] * domain.columns.slope(there) * domain.natural_slope(there)) @ basis

    limits = [*_linear(domain, start, moving), *_nonlinear(domain, natural, basis)]
    first = start.w[0, moving]
    bounds = Bounds(polytope.low[moving], polytope.high[moving])
    if not limits:
        found = minimize(worth, first, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": N_STEPS, "maxfun": 2 * N_STEPS, "ftol": 1e-7})
    else:
        found = minimize(worth, first, jac=True, method="SLSQP", bounds=bounds, constraints=limits, options={"maxiter": N_STEPS, "ftol": 1e-6})
    end = np.asarray(found.x, dtype=float)
    return end if np.isfinite(end).all() else first


def _linear(domain: Domain, start: Points, moving: Array) -> list[dict[str, Any]]:
    """The faces that what moves can meet, as scipy takes them."""
    polytope = domain.polytope
    rows = polytope.rows[:, moving]
    can_meet = np.abs(rows).max(axis=1, initial=0.0) > 0.0
    if not can_meet.any():
        return []
    rows = rows[can_meet]
    room = (polytope.limits - polytope.rows[:, ~moving] @ start.w[0, ~moving])[can_meet]
    return [{"type": "ineq", "fun": lambda v: room - rows @ v, "jac": lambda v: -rows}]


def _nonlinear(domain: Domain, natural: Callable[[Array], Array], basis: Array) -> list[dict[str, Any]]:
    """The constraints that are not linear, as scipy takes them; where one is no number, it counts as broken."""
    if not domain.space.nonlinear:
        return []

    def room(v: Array) -> Array:
        excess = domain.excess(natural(v)[None, :])[0] / domain.spread
        return -np.where(np.isnan(excess), 1.0, excess)

    def slopes(v: Array) -> Array:
        by_u = domain.excess_slope(natural(v)) / domain.spread[:, None]
        return -np.where(np.isnan(by_u), 0.0, by_u) @ basis

    return [{"type": "ineq", "fun": room, "jac": slopes}]
