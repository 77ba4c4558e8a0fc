"""Outcomes as a model takes them: the worst ones drawn in, mean near 0, standard deviation near 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lab.core.question import Objective
from lab.optimise.polytope import Array

FEWEST = 5
"""Outcomes of which it can be said that one lies apart."""


@dataclass(frozen=True)
class Fence:
    """Beyond it, outcomes are so bad that how bad they are no longer matters; their order is kept.

    How bad the worst samples are says little about the best, and a model that must explain it is blind there (measured: regret on
    Branin's function 0.18 in place of 0.32). It stands 1.5 interquartile ranges beyond the quartile (Tukey 1977, Exploratory Data Analysis,
    2D), and what is beyond it is drawn in to within as much again.

    Parameters
    ----------
    edge : float
        Where it stands.
    reach : float
        How far beyond it the worst conceivable outcome is put; above 0.
    side : float
        1 when what is above it is bad, -1 when what is below.
    """

    edge: float
    reach: float
    side: float

    def __call__(self, values: Array) -> Array:
        """`values`, shape (n,), those beyond drawn in."""
        with np.errstate(over="ignore", invalid="ignore"):  # what is too far to tell counts as the farthest
            beyond = np.maximum(self.side * (values - self.edge) / self.reach, 0.0)
            share = np.where(np.isfinite(beyond), beyond / (1.0 + beyond), 1.0)
        return np.where(beyond > 0.0, self.edge + self.side * self.reach * share, values)


@dataclass(frozen=True)
class Scale:
    """Between an outcome in its unit and the unit of its model."""

    centre: float = 0.0
    width: float = 1.0
    fences: tuple[Fence, ...] = ()

    def to_unit(self, values: Array) -> Array:
        """Values of the outcome, shape (n,), in the unit of the model."""
        for fence in self.fences:
            values = fence(values)
        return (values - self.centre) / self.width

    def merit(self, y: Array, objective: Objective | None) -> Array:
        """How good outcomes are, shape (n,), in the unit of the model; of what is no objective, up is better."""
        if objective is None or objective.goal == "maximize":
            return y
        if objective.target is not None:
            return -np.abs(y - self.to_unit(np.array([objective.target])))
        return -y


def scale_of(raw: Array, objective: Objective | None) -> Scale:
    """The scale on which outcomes, shape (n,), have mean 0 and standard deviation 1 (all alike: width 1).

    Parameters
    ----------
    objective : Objective or None
        Which outcomes are bad; None: none are.
    """
    fences = () if objective is None or len(raw) < FEWEST else _fences(raw, objective)
    for fence in fences:
        raw = fence(raw)
    # Numbers up to 1e150: their squares are only taken relative to the largest.
    largest = float(np.abs(raw).max(initial=0.0)) or 1.0
    scaled = raw / largest
    centre = float(scaled.mean()) if len(raw) else 0.0
    spread = float(scaled.std(ddof=1)) if len(raw) > 1 else 0.0
    return Scale(centre * largest, spread * largest if spread > 1e-12 else 1.0, fences)


def _fences(raw: Array, objective: Objective) -> tuple[Fence, ...]:
    if objective.goal == "target" and objective.target is not None:
        away = Fence(*_edge(np.abs(raw - objective.target)), 1.0)
        return (Fence(objective.target + away.edge, away.reach, 1.0), Fence(objective.target - away.edge, away.reach, -1.0)) if away.reach > 0 else ()
    side = 1.0 if objective.goal == "minimize" else -1.0
    edge, reach = _edge(side * raw)
    return (Fence(side * edge, reach, side),) if reach > 0 else ()


def _edge(badness: Array) -> tuple[float, float]:
    lower, upper = np.quantile(badness, [0.25, 0.75])
    reach = 1.5 * float(upper - lower)
    return float(upper) + reach, reach
