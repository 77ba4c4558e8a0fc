"""Points that stand for a whole search space: what explanations average over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lab.core.space import ChoiceParameter, RangeParameter, Value
from lab.optimise.domain import Domain, Points
from lab.optimise.polytope import Array
from lab.optimise.sampling import Stream


@dataclass(frozen=True)
class Cloud:
    """Allowed points, evenly spread, or all candidates of a pool.

    Parameters
    ----------
    values : sequence of mapping
        Points as suggestions carry them, n of them.
    x : ndarray, shape (n, columns)
        The same in model coordinates.
    """

    domain: Domain
    values: Sequence[Mapping[str, Value]]
    x: Array

    def __len__(self) -> int:
        return len(self.values)

    def some(self, n: int) -> Cloud:
        """At most `n` of them, evenly chosen."""
        if len(self) <= n:
            return self
        which = np.linspace(0, len(self) - 1, n).round().astype(int)
        return Cloud(self.domain, [self.values[k] for k in which], self.x[which])

    def places(self) -> Array:
        """Each parameter of each point on a scale of its own from 0 to 1, a choice by its number in the list: shape (n, parameters)."""
        return np.array([[place_of(self.domain, name, one[name]) for name in names_of(self.domain)] for one in self.values])


def names_of(domain: Domain) -> tuple[str, ...]:
    """Parameters that can differ, ranges first."""
    return (*(p.name for p in domain.ranges), *(c.name for c in domain.choices))


def is_choice(domain: Domain, name: str) -> bool:
    """Whether a parameter is one of a list without an order."""
    return any(c.name == name and not c.is_ordered for c in domain.choices)


def place_of(domain: Domain, name: str, value: Value) -> float:
    """Where a value of a parameter is between its bounds: 0..1, or its number in the list."""
    parameter = domain.space[name]
    if isinstance(parameter, ChoiceParameter):
        return float(parameter.known.index(value))
    if not isinstance(parameter, RangeParameter):
        return 0.0
    number = max(float(value), 1e-3 * parameter.low) if parameter.is_log else float(value)
    if parameter.is_log:
        return float(np.log(number / parameter.low) / np.log(parameter.high / parameter.low))
    return (number - parameter.low) / (parameter.high - parameter.low)


def spread(domain: Domain, n: int, seed: int = 0) -> Cloud:
    """`n` evenly spread allowed points; they depend on the domain and the seed alone.

    Raises
    ------
    OptimizerError
        When no allowed point turns up.
    """
    points: Points = Stream(domain, seed).points(0, n)
    return Cloud(domain, domain.values(points), domain.encode(points))


def of_values(domain: Domain, values: Sequence[Mapping[str, Value]]) -> Cloud:
    """These points."""
    return Cloud(domain, values, domain.encode_rows(values))
