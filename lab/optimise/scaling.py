"""Outcomes as a model takes them: themselves or their logarithms, the worst ones drawn in, mean near 0, standard deviation near 1."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lab.core.question import Objective
from lab.optimise.polytope import Array

FEWEST = 5
"""Outcomes of which it can be said that one lies apart."""

LARGEST_EXPONENT = 700.0
"""Of e, in double precision: what is larger counts as this."""


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

    def slopes(self, values: Array) -> Array:
        """By how much what is drawn in grows with `values`, shape (n,): 1 before the fence."""
        with np.errstate(over="ignore", invalid="ignore"):
            beyond = np.maximum(self.side * (values - self.edge) / self.reach, 0.0)
            return np.asarray((1.0 + beyond) ** -2.0)


@dataclass(frozen=True)
class Scale:
    """Between an outcome in its unit and the unit of its model.

    Parameters
    ----------
    centre, width : float
        ``outcome = centre + width * y``, but for the worst ones.
    fences : tuple of Fence
    is_log : bool
        Whether all of that is of the outcome's natural logarithm.
    """

    centre: float = 0.0
    width: float = 1.0
    fences: tuple[Fence, ...] = ()
    is_log: bool = False

    def to_unit(self, values: Array) -> Array:
        """Values of the outcome, shape (n,), in the unit of the model; on a logarithmic scale, what is not above 0 is infinitely far below."""
        return (self._drawn_in(self._written(values)) - self.centre) / self.width

    def is_drawn_in(self, values: Array) -> Array:
        """Which values of the outcome count as less bad than they are; bool, shape (n,)."""
        written = self._written(values)
        return np.asarray(self._drawn_in(written) != written)

    def _written(self, values: Array) -> Array:
        if not self.is_log:
            return values
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(np.maximum(values, 0.0)))

    def _drawn_in(self, written: Array) -> Array:
        for fence in self.fences:
            written = fence(written)
        return written

    def stretch(self, values: Array) -> Array:
        """The natural logarithm of how fast `to_unit` grows at `values`, shape (n,): densities of outcomes on different scales compare by it."""
        written = self._written(values)
        found = -np.log(self.width) - (written if self.is_log else np.zeros(len(values)))
        for fence in self.fences:
            found = found + np.log(fence.slopes(written))
            written = fence(written)
        return found

    def from_unit(self, y: Array) -> Array:
        """Values of the outcome, of any shape, of values in the unit of the model; the worst ones stay drawn in."""
        found = self.centre + self.width * y
        return np.exp(np.minimum(found, LARGEST_EXPONENT)) if self.is_log else found

    def rate(self, y: Array) -> Array:
        """By how much the outcome grows with `y`, of any shape: to first order, deviations in the unit of the model times this are the outcome's."""
        return self.width * self.from_unit(y) if self.is_log else np.full(np.shape(y), self.width)

    def natural(self, mean: Array, deviation: Array) -> tuple[Array, Array]:
        """Means and standard deviations in the unit of the model, in the outcome's; on a logarithmic scale the median, and half of what holds 68 % about it."""
        return self.from_unit(mean), 0.5 * (self.from_unit(mean + deviation) - self.from_unit(mean - deviation))

    def merit(self, y: Array, objective: Objective | None) -> Array:
        """How good outcomes are, shape (n,), in the unit of the model; of what is no objective, up is better."""
        if objective is None or objective.goal == "maximize":
            return y
        if objective.target is not None:
            return -np.abs(y - self.to_unit(np.array([objective.target])))
        return -y


def scale_of(raw: Array, objective: Objective | None, is_log: bool = False) -> Scale:
    """The scale on which outcomes, shape (n,), have mean 0 and standard deviation 1 (all alike: width 1).

    Parameters
    ----------
    objective : Objective or None
        Which outcomes are bad; None: none are.
    is_log : bool
        Whether the logarithms are to have them; the outcomes are above 0 then.
    """
    if is_log:
        return replace(scale_of(np.log(raw), objective), is_log=True)
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
