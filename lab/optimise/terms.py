"""What an acquisition function is made of: a sum of terms on a logarithmic scale, each a function of the point.

Points are the domain's model coordinates (`lab.optimise.domain.Domain.encode`); what else a model may depend on (what is measured and not
chosen, time) is pinned behind them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lab.optimise.polytope import Array


class Model(Protocol):
    """What is expected of one outcome, and how surely."""

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Means and variances, shapes (n,), at `x`, shape (n, d)."""
        ...

    def means(self, x: Array) -> Array:
        """The means alone, which cost less."""
        ...

    def slopes(self, x: Array) -> tuple[float, float, Array, Array]:
        """Mean and variance at one point, shape (d,), and their gradients, shapes (d,)."""
        ...


class JointModel(Model, Protocol):
    """A model that says as well how outcomes at several points hang together."""

    def joint(self, x: Array) -> tuple[Array, Array]:
        """Mean and covariance matrix, shapes (n,) and (n, n), at `x`, shape (n, d)."""
        ...


class Worth(Protocol):
    """A function of the means and variances of one outcome, all arrays of shape (n,)."""

    def __call__(self, mean: Array, variance: Array) -> tuple[Array, Array, Array]:
        """Value, its derivative by the mean, and by the variance."""
        ...


class JointWorth(Protocol):
    """A function of the means and variances of several outcomes, shapes (m, n)."""

    def __call__(self, means: Array, variances: Array) -> tuple[Array, Array, Array]:
        """Value, shape (n,), its derivatives by the means, and by the variances, shapes (m, n)."""
        ...


class Term(Protocol):
    """One term of an acquisition function."""

    def values(self, x: Array) -> Array:
        """Values, shape (n,), at `x`, shape (n, d); minus infinity where a point is out of the question."""
        ...

    def slope(self, x: Array) -> tuple[float, Array]:
        """Value and gradient, shape (d,), at one point, shape (d,)."""
        ...


@dataclass(frozen=True)
class OfOutcome:
    """A term that looks at one outcome."""

    model: Model
    worth: Worth

    def values(self, x: Array) -> Array:
        """See `Term`."""
        return self.worth(*self.model.predict(x))[0]

    def slope(self, x: Array) -> tuple[float, Array]:
        """See `Term`."""
        mean, variance, by_mean, by_variance = self.model.slopes(x)
        value, d_mean, d_variance = self.worth(np.array([mean]), np.array([variance]))
        return float(value[0]), d_mean[0] * by_mean + d_variance[0] * by_variance


@dataclass(frozen=True)
class OfOutcomes:
    """A term that looks at several outcomes at once."""

    models: Sequence[Model]
    worth: JointWorth

    def values(self, x: Array) -> Array:
        """See `Term`."""
        found = [model.predict(x) for model in self.models]
        return self.worth(np.array([mean for mean, _ in found]), np.array([variance for _, variance in found]))[0]

    def slope(self, x: Array) -> tuple[float, Array]:
        """See `Term`."""
        found = [model.slopes(x) for model in self.models]
        value, d_means, d_variances = self.worth(np.array([[one[0]] for one in found]), np.array([[one[1]] for one in found]))
        gradient = np.zeros(len(x))
        for one, d_mean, d_variance in zip(found, d_means[:, 0], d_variances[:, 0], strict=True):
            gradient += d_mean * one[2] + d_variance * one[3]
        return float(value[0]), gradient


@dataclass(frozen=True)
class Acquisition:
    """The sum of its terms: the logarithm of a product of probabilities and expectations."""

    terms: Sequence[Term]

    def values(self, x: Array) -> Array:
        """Values, shape (n,), at model coordinates `x`, shape (n, columns)."""
        total = np.zeros(len(x))
        for term in self.terms:
            total += term.values(x)
        return np.where(np.isnan(total), -np.inf, total)

    def slope(self, x: Array) -> tuple[float, Array]:
        """Value and gradient, shape (columns,), at one point of shape (columns,)."""
        total, gradient = 0.0, np.zeros(len(x))
        for term in self.terms:
            value, slope = term.slope(x)
            total += value
            gradient += slope
        return total, gradient
