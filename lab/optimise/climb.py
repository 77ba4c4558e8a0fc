"""Finds the largest value of an acquisition function on a domain, every step of the way inside the constraints.

Gradient methods need a polytope sampler and sequential quadratic programming for linear constraints (measured: 3 s per
suggestion), and do not know whole numbers or choices. The acquisition function is cheap for many points at once, so
many climbers take random steps together: a step that would leave the polytope slides along its faces, whole numbers
stay whole, and a choice is changed now and then. Each climber keeps its best point; steps shrink from a tenth
of the cube to a thousandth, and faster for a climber that no longer improves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lab.optimise.domain import Domain, Points
from lab.optimise.polytope import Array

Score = Callable[[Array], Array]
"""Values, shape (n,), of model coordinates, shape (n, columns). Minus infinity where nothing may be suggested."""


@dataclass(frozen=True)
class Effort:
    """How hard to look. Twelve times as many evaluations found nothing better in 24 ledgers of four spaces (largest loss
    of log EI below 1e-4; benchmarks/suggestion.py has the spaces).

    Parameters
    ----------
    n_climbers : int
    n_steps : int
        Steps that each climber tries per round.
    n_rounds : int
    first_step, last_step : float
        Length of a step, in unit-cube coordinates.
    """

    n_climbers: int = 6
    n_steps: int = 24
    n_rounds: int = 16
    first_step: float = 0.15
    last_step: float = 5e-4

    @classmethod
    def for_domain(cls, domain: Domain) -> Effort:
        """More steps where there are more directions to go."""
        return cls(n_steps=max(24, 6 * (domain.n_free + len(domain.choices))))


def climb(domain: Domain, score: Score, candidates: Points, incumbents: Points, rng: np.random.Generator,
          effort: Effort) -> tuple[Points, Array]:
    """Climb from the best of `candidates` and of points around `incumbents`.

    Returns
    -------
    points : Points
        One per climber, the best first.
    values : ndarray, shape (n,)
    """
    around = [_neighbours(domain, incumbents, step, rng, effort.n_steps)[0] for step in (0.1, 0.01)] if len(incumbents) else []
    candidates = Points.join(candidates, *around)
    values = score(domain.encode(candidates))
    starts = _spread(domain, candidates, values, effort.n_climbers)
    best, best_values = candidates[starts], values[starts]
    if domain.n_free == 0 and not domain.choices:
        return best, best_values
    steps = np.geomspace(effort.first_step, effort.last_step, effort.n_rounds)
    for step in steps:
        tries, owner = _neighbours(domain, best, step, rng, effort.n_steps)
        tried = score(domain.encode(tries))
        for k in range(len(best)):
            mine = np.flatnonzero(owner == k)
            if len(mine) and tried[mine].max() > best_values[k]:
                winner = mine[int(tried[mine].argmax())]
                best.w[k], best.choices[k], best_values[k] = tries.w[winner], tries.choices[winner], tried[winner]
    order = np.argsort(-best_values, kind="stable")
    return best[order], best_values[order]


def _spread(domain: Domain, candidates: Points, values: Array, n: int) -> Array:
    """Places of the best candidates that are not all in one corner."""
    x = domain.encode(candidates)
    chosen: list[int] = []
    for k in np.argsort(-values, kind="stable"):
        if not np.isfinite(values[k]) and chosen:
            break
        if all(np.abs(x[k] - x[c]).max() > 0.1 for c in chosen):
            chosen.append(int(k))
        if len(chosen) == n:
            break
    return np.array(chosen, dtype=int)


def _neighbours(domain: Domain, points: Points, step: float, rng: np.random.Generator, n: int) -> tuple[Points, Array]:
    """Allowed points around each of `points`, and whose neighbour each is."""
    owner = np.repeat(np.arange(len(points)), n)
    w, choices = points.w[owner], points.choices[owner].copy()
    # Half of the steps change few coordinates: along a face or an axis is where constrained optima lie.
    length = step * np.exp(rng.normal(0.0, 0.7, size=(len(owner), 1)))
    direction = rng.standard_normal(w.shape)
    sparse = rng.random(w.shape) < rng.choice([0.34, 1.0], size=(len(owner), 1))
    moved = domain.polytope.pull_in(w, w + length * direction * sparse)
    moved = domain.snap(moved + _whole_steps(domain, moved.shape, rng))
    for c, choice in enumerate(domain.choices):
        change = rng.random(len(owner)) < 0.15
        other = rng.integers(len(choice.values), size=len(owner))
        if choice.is_ordered:
            other = np.clip(choices[:, c] + rng.choice([-1, 1], size=len(owner)), 0, len(choice.values) - 1)
        choices[:, c] = np.where(change, other, choices[:, c])
    allowed = domain.is_allowed(moved)
    return Points(moved[allowed], choices[allowed]), owner[allowed]


def _whole_steps(domain: Domain, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Now and then one whole number up or down, however small the step is."""
    free = domain.polytope.free
    whole = domain.is_integer[free]
    one = np.where(whole, 1.0 / (domain.high - domain.low)[free], 0.0)
    return one * rng.choice([-1.0, 0.0, 1.0], p=[0.1, 0.8, 0.1], size=shape)
