"""A search space as arrays: between a suggestion's values and the coordinates that samplers and models use.

Four kinds of coordinates:

natural
    As the campaign file has them, in their units.
``u``
    All range parameters, scaled to 0..1 so that constraints stay straight: linear, and logarithmic only for a
    logarithmic parameter that stands in no constraint.
``w``
    The coordinates of `u` that remain free when every equality is solved for (`lab.optimise.polytope`).
``x``
    What a model sees: every range parameter on its own scale in 0..1 (logarithmic where the campaign says so), an
    ordered choice as its place in the list, any other choice as one column per value (1 where it is chosen).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lab.core.space import ChoiceParameter, LinearConstraint, Space, Value
from lab.optimise.polytope import Array, Polytope, build

WHOLE = 1e-6
"""How far from a whole number a whole number may be found by arithmetic."""


@dataclass(frozen=True)
class Points:
    """Points of a domain.

    Parameters
    ----------
    w : ndarray, shape (n, f)
        Free range coordinates.
    choices : ndarray of int, shape (n, c)
        Place of each choice in its list.
    """

    w: Array
    choices: Array

    def __len__(self) -> int:
        return len(self.w)

    def __getitem__(self, which: Array | slice) -> Points:
        return Points(self.w[which], self.choices[which])

    @staticmethod
    def join(*parts: Points) -> Points:
        return Points(np.concatenate([p.w for p in parts]), np.concatenate([p.choices for p in parts]))


class Domain:
    """Arrays for a `Space`.

    Parameters
    ----------
    space : Space

    Raises
    ------
    ValueError
        When the constraints cannot be met together (whole numbers aside: see `lab.optimise.feasible`).
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.ranges = space.ranges
        self.choices = tuple(p for p in space.parameters if isinstance(p, ChoiceParameter))
        constrained = {name for c in space.constraints for name in c.names}
        self.low = np.array([p.low for p in self.ranges], dtype=float)
        self.high = np.array([p.high for p in self.ranges], dtype=float)
        self.is_integer = np.array([p.is_integer for p in self.ranges], dtype=bool)
        self.is_log = np.array([p.is_log for p in self.ranges], dtype=bool)
        self.is_log_in_u = self.is_log & np.array([p.name not in constrained for p in self.ranges], dtype=bool)
        self.polytope: Polytope = build(*self.rows(lambda c: c.operator != "=="), *self.rows(lambda c: c.operator == "=="),
                                        keep_free=self.is_integer)

    def rows(self, wanted: Callable[[LinearConstraint], bool]) -> tuple[Array, Array]:
        """The `wanted` constraints as ``rows @ u <= limits`` (or ``==``), rows of length 1: shapes (k, d) and (k,)."""
        rows, limits = [], []
        for constraint in filter(wanted, self.space.constraints):
            row, limit = np.zeros(len(self.ranges)), constraint.bound
            for i, p in enumerate(self.ranges):
                coefficient = dict(constraint.coefficients).get(p.name, 0.0)
                row[i] = coefficient * (p.high - p.low)
                limit -= coefficient * p.low
            length = float(np.linalg.norm(row)) * (-1.0 if constraint.operator == ">=" else 1.0)
            rows.append(row / length)
            limits.append(limit / length)
        return np.array(rows).reshape(len(rows), len(self.ranges)), np.array(limits)

    @cached_property
    def n_columns(self) -> int:
        """Number of columns of `x`."""
        return len(self.ranges) + sum(1 if c.is_ordered else len(c.values) for c in self.choices)

    @property
    def n_free(self) -> int:
        return len(self.polytope.free)

    @cached_property
    def n_points(self) -> float:
        """How many different points there are, constraints aside; infinite with a continuous free coordinate."""
        if not self.is_integer[self.polytope.free].all():
            return float("inf")
        counts = [*(self.high - self.low + 1)[self.polytope.free], *(len(c.values) for c in self.choices)]
        return float(np.prod(counts)) if counts else 1.0

    def natural(self, u: Array) -> Array:
        """Range parameters in their units, inside their bounds: shape (n, d) -> (n, d)."""
        ratio = np.where(self.is_log_in_u, self.high / np.where(self.is_log, self.low, 1.0), 1.0)
        linear = self.low + u * (self.high - self.low)
        nat = np.where(self.is_log_in_u, np.where(self.is_log, self.low, 1.0) * ratio ** u, linear)
        nat = np.where(self.is_integer, np.rint(nat), nat)
        return np.clip(nat, self.low, self.high)

    def unit(self, natural: Array) -> Array:
        """`u` of numbers in their units, not limited to 0..1: the inverse of `natural`."""
        linear = (natural - self.low) / (self.high - self.low)
        return np.where(self.is_log_in_u, self._log(natural), linear)

    def _log(self, natural: Array) -> Array:
        """Logarithmic scale; values at or below 0 (a read-back may be) count as a thousandth of the lower bound."""
        low, high = np.where(self.is_log, self.low, 1.0), np.where(self.is_log, self.high, 2.0)
        return np.log(np.maximum(natural, 1e-3 * low) / low) / np.log(high / low)

    def snap(self, w: Array) -> Array:
        """`w` with its whole numbers at the nearest whole numbers."""
        free = self.polytope.free
        if not self.is_integer[free].any():
            return w
        u = np.zeros((len(w), len(self.ranges)))
        u[:, free] = np.clip(w, 0.0, 1.0)
        return np.where(self.is_integer[free], self.unit(self.natural(u))[:, free], w)

    def is_allowed(self, w: Array) -> Array:
        """Which snapped `w` keep every constraint, and give whole numbers where they must: bool, shape (n,)."""
        allowed = self.polytope.contains(w)
        solved = self.is_integer.copy()
        solved[self.polytope.free] = False
        if solved.any():
            raw = (self.low + self.polytope.expand(w) * (self.high - self.low))[:, solved]
            allowed &= (np.abs(raw - np.rint(raw)) <= WHOLE).all(axis=1)
        return allowed

    def encode(self, points: Points) -> Array:
        """`x` of points, shape (n, columns)."""
        return self._columns(self.natural(self.polytope.expand(points.w)), points.choices)

    def encode_values(self, values: Mapping[str, Value]) -> Array:
        """`x` of one suggestion or of what was executed (which may lie slightly outside), shape (columns,).

        Raises
        ------
        ValueError
            For a choice that is not on its list, or something that is not a finite number.
        """
        numbers = []
        for p in self.ranges:
            value = values[p.name]
            if isinstance(value, (str, bool)) or not np.isfinite(value):
                raise ValueError(f"{p.name}: given {value!r}; allowed: a finite number")
            numbers.append(float(value))
        places = []
        for c in self.choices:
            if text := c.problem(values[c.name]):
                raise ValueError(text)
            places.append(c.values.index(values[c.name]))
        return self._columns(np.array([numbers]).reshape(1, -1), np.array([places], dtype=int).reshape(1, -1))[0]

    def points_of(self, suggestions: Sequence[Mapping[str, Value]]) -> Points:
        """Points of those `suggestions` that are allowed."""
        allowed = [v for v in suggestions if not self.space.problems(v)]
        natural = np.array([[float(v[p.name]) for p in self.ranges] for v in allowed]).reshape(len(allowed), len(self.ranges))
        places = [[c.values.index(v[c.name]) for c in self.choices] for v in allowed]
        w = self.unit(natural)[:, self.polytope.free]
        inside = self.is_allowed(w)
        return Points(w, np.array(places, dtype=int).reshape(len(allowed), len(self.choices)))[inside]

    def _columns(self, natural: Array, places: Array) -> Array:
        columns = [np.where(self.is_log, self._log(natural), (natural - self.low) / (self.high - self.low))]
        for i, c in enumerate(self.choices):
            one_per_value = np.eye(len(c.values))[places[:, i]]
            columns.append(places[:, i:i + 1] / (len(c.values) - 1) if c.is_ordered else one_per_value)
        return np.hstack(columns)

    def values(self, points: Points) -> list[dict[str, Value]]:
        """Points as suggestions carry them: inside every bound, equalities kept to rounding."""
        found = []
        for nat, places in zip(self.natural(self.polytope.expand(points.w)), points.choices, strict=True):
            nat = self._settle(nat)
            named: dict[str, Value] = {p.name: int(v) if p.is_integer else float(v) for p, v in zip(self.ranges, nat, strict=True)}
            named |= {c.name: c.values[k] for c, k in zip(self.choices, places, strict=True)}
            found.append({name: named[name] for name in self.space.names})
        return found

    def is_sound(self, points: Points) -> bool:
        """Whether all `points`, as suggestions carry them, have no `Space.problems`: rounding included."""
        return not any(self.space.problems(values) for values in self.values(points))

    @cached_property
    def _equalities(self) -> tuple[Array, Array]:
        equal = [c for c in self.space.constraints if c.operator == "=="]
        rows = np.array([[dict(c.coefficients).get(p.name, 0.0) for p in self.ranges] for c in equal])
        return rows.reshape(len(equal), len(self.ranges)), np.array([c.bound for c in equal])

    def _settle(self, natural: Array) -> Array:
        """Spread what rounding and clipping left of the equalities over the numbers that can still move."""
        rows, bounds = self._equalities
        for _ in range(5):
            rest = bounds - rows @ natural
            if not (np.abs(rest) > 1e-13 * np.maximum(1.0, np.abs(bounds))).any():
                break
            movable = ~self.is_integer & (natural > self.low) & (natural < self.high)
            step = np.linalg.lstsq(rows[:, movable], rest, rcond=None)[0]
            natural = natural.copy()
            natural[movable] += step
            natural = np.clip(natural, self.low, self.high)
        return natural
