"""Changes of whole numbers and choices: every one at once where there are few, else one at a time.

What is continuous stays where it is, or gives way where a constraint needs it to. The acquisition function is cheap for many points at once,
so that all changes of several points are looked at together.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from lab.optimise.domain import Domain, Points
from lab.optimise.polytope import Array

FEW = 200
"""Up to so many combinations of whole numbers and choices are all looked at."""

FEW_LEVELS = 16
"""Up to so many values of one whole number are all looked at; of more, those at distances of 1, 2, 4, ..."""


def has_discrete(domain: Domain) -> bool:
    """Whether there is anything that this module changes."""
    return bool(domain.choices) or bool(domain.is_integer[domain.polytope.free].any())


def n_combinations(domain: Domain) -> float:
    """How many combinations of free whole numbers and choices there are."""
    free = domain.polytope.free
    levels = (domain.high - domain.low + 1)[free][domain.is_integer[free]]
    return float(np.prod([*levels, *(len(c.values) for c in domain.choices)]))


def changes(domain: Domain, points: Points) -> tuple[Points, Array]:
    """Allowed points that differ from `points` in whole numbers and choices, and whose change each is: int, shape (n,)."""
    natural, choices, owner = _all(domain, points) if n_combinations(domain) <= FEW else _single(domain, points)
    free = domain.polytope.free
    w = points.w[owner]
    whole = domain.is_integer[free]
    if whole.any():
        u = np.zeros((len(w), len(domain.ranges)))
        u[:, free] = w
        there = domain.natural(u)
        there[:, free[whole]] = natural
        w = np.where(whole, domain.unit(there)[:, free], w)
        if not whole.all():
            w = domain.polytope.give_way(w, ~whole)
    allowed = domain.is_allowed(w)
    return Points(w[allowed], choices[allowed]), owner[allowed]


def _all(domain: Domain, points: Points) -> tuple[Array, Array, Array]:
    """Whole numbers in their units, choices and owners: every combination for each point."""
    free = domain.polytope.free
    levels = [np.arange(domain.low[i], domain.high[i] + 1) for i in free[domain.is_integer[free]]]
    combined = np.array(list(product(*levels, *(range(len(c.values)) for c in domain.choices))), dtype=float)
    owner = np.repeat(np.arange(len(points)), len(combined))
    table = np.tile(combined, (len(points), 1))
    return table[:, :len(levels)], table[:, len(levels):].astype(int), owner


def _single(domain: Domain, points: Points) -> tuple[Array, Array, Array]:
    """As `_all`, but one whole number or choice changed at a time."""
    free = domain.polytope.free
    places = free[domain.is_integer[free]]
    u = np.zeros((len(points), len(domain.ranges)))
    u[:, free] = points.w
    numbers = domain.natural(u)[:, places]
    found: list[tuple[Array, Array, Array]] = []
    every = np.arange(len(points))
    for k, i in enumerate(places):
        for kept, added in _steps(domain.low[i], domain.high[i]):
            changed = numbers.copy()
            changed[:, k] = kept * numbers[:, k] + added
            is_other = (changed[:, k] != numbers[:, k]) & (changed[:, k] >= domain.low[i]) & (changed[:, k] <= domain.high[i])
            found.append((changed[is_other], points.choices[is_other], every[is_other]))
    for k, choice in enumerate(domain.choices):
        for place in range(len(choice.values)):
            others = points.choices.copy()
            others[:, k] = place
            is_other = points.choices[:, k] != place
            found.append((numbers[is_other], others[is_other], every[is_other]))
    numbers, choices, owner = (np.concatenate(part) for part in zip(*found, strict=True))
    return numbers, choices, owner


def _steps(low: float, high: float) -> list[tuple[float, float]]:
    """What a whole number may be changed to: pairs of how much of it is kept (0 or 1) and what is added."""
    if high - low < FEW_LEVELS:
        return [(0.0, float(value)) for value in np.arange(low, high + 1)]
    sizes = 2.0 ** np.arange(int(np.log2(high - low)) + 1)
    return [(1.0, float(sign * size)) for size in sizes for sign in (-1, 1)]
