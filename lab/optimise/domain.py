"""A search space as arrays: between a suggestion's values and the coordinates that samplers and models use.

Four kinds of coordinates:

natural
    As the campaign file has them, in their units.
``u``
    All range parameters, scaled to 0..1 so that linear constraints stay straight: linear, and logarithmic only for a
    logarithmic parameter that stands in no linear constraint.
``w``
    The coordinates of `u` that remain free when every equality is solved for (`lab.optimise.polytope`).
``x``
    What a model sees (`lab.optimise.columns`).

What is fixed has no coordinate: it moves the bounds of the constraints that it stands in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lab.core.space import ChoiceParameter, LinearConstraint, Space, Value
from lab.optimise.columns import Columns
from lab.optimise.polytope import Array, Polytope, build

WHOLE = 1e-6
"""How far from a whole number a whole number may be found by arithmetic."""

SLACK = 0.5e-9
"""How far a constraint that is not linear may be missed by rounding, in its own unit: half of what a suggestion may."""

NEAR = 1e-8
"""Of a range: a number this near to a bound is put on it, where constraints allow. No instrument can tell the two apart, and 0 reads better than 2e-16."""


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
        When the linear constraints cannot be met together (whole numbers aside: see `lab.optimise.feasible`).
    ConfigError
        For structures of a choice that cannot be read.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.ranges = space.ranges
        self.choices = tuple(p for p in space.parameters if isinstance(p, ChoiceParameter))
        self.constraints = tuple(c for c in map(space.with_fixed, space.constraints) if c.coefficients)
        """The linear ones that something can still break."""
        self.columns = Columns(space)
        self._kept = np.array([float(p.value) for p in self.columns.kept])
        constrained = {name for c in self.constraints for name in c.names}
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
        for constraint in filter(wanted, self.constraints):
            row, limit = np.zeros(len(self.ranges)), constraint.bound
            for i, p in enumerate(self.ranges):
                coefficient = dict(constraint.coefficients).get(p.name, 0.0)
                row[i] = coefficient * (p.high - p.low)
                limit -= coefficient * p.low
            length = float(np.linalg.norm(row)) * (-1.0 if constraint.operator == ">=" else 1.0)
            rows.append(row / length)
            limits.append(limit / length)
        return np.array(rows).reshape(len(rows), len(self.ranges)), np.array(limits)

    @property
    def n_columns(self) -> int:
        """Number of columns of `x`."""
        return len(self.columns)

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
        nat = self.unrounded(u)
        return np.clip(np.where(self.is_integer, np.rint(nat), nat), self.low, self.high)

    def unrounded(self, u: Array) -> Array:
        """As `natural`, but whole numbers need not be whole, and bounds are not kept."""
        linear = self.low + u * (self.high - self.low)
        if not self.is_log_in_u.any():
            return linear
        low = np.where(self.is_log, self.low, 1.0)
        return np.where(self.is_log_in_u, low * np.where(self.is_log_in_u, self.high / low, 1.0) ** u, linear)

    def unit(self, natural: Array) -> Array:
        """`u` of numbers in their units, not limited to 0..1: the inverse of `natural`."""
        linear = (natural - self.low) / (self.high - self.low)
        # Values at or below 0 (a read-back may be) count as a thousandth of the lower bound.
        low, high = np.where(self.is_log, self.low, 1.0), np.where(self.is_log, self.high, 2.0)
        return np.where(self.is_log_in_u, np.log(np.maximum(natural, 1e-3 * low) / low) / np.log(high / low), linear)

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
        allowed = self.keeps_linear(w)
        if self.space.nonlinear:
            with np.errstate(invalid="ignore"):
                allowed &= (self.excess(self.natural(self.polytope.expand(w))) <= SLACK).all(axis=1)
        return allowed

    def keeps_linear(self, w: Array) -> Array:
        """As `is_allowed`, but for constraints that are not linear."""
        allowed = self.polytope.contains(w)
        solved = self.is_integer.copy()
        solved[self.polytope.free] = False
        if solved.any():
            raw = (self.low + self.polytope.expand(w) * (self.high - self.low))[:, solved]
            allowed &= (np.abs(raw - np.rint(raw)) <= WHOLE).all(axis=1)
        return allowed

    @cached_property
    def spread(self) -> Array:
        """How far `excess` varies over the box, shape (k,): the unit in which constraints that are not linear compare with each other."""
        u = np.random.default_rng(0).random((256, len(self.ranges)))
        excess = self.excess(self.natural(u))
        found = np.array([np.std(one[np.isfinite(one)]) if np.isfinite(one).any() else 1.0 for one in excess.T])
        return np.where(np.isfinite(found) & (found > 0.0), found, 1.0)

    def excess(self, natural: Array) -> Array:
        """How far each constraint that is not linear is from being met: shape (n, k); not-a-number where it is no number.

        Parameters
        ----------
        natural : ndarray, shape (n, d)
        """
        named = self._named(natural)
        return np.array([c.excess(named) for c in self.space.nonlinear]).reshape(-1, len(natural)).T

    def excess_slope(self, natural: Array) -> Array:
        """Derivatives of `excess` by `u` at one point, shape (d,): shape (k, d)."""
        named = self._named(natural)
        by_natural = [[float(slopes.get(p.name, 0.0)) for p in self.ranges] for slopes in (c.slope(named) for c in self.space.nonlinear)]
        return np.array(by_natural).reshape(-1, len(self.ranges)) * self.natural_slope(natural)

    def natural_slope(self, natural: Array) -> Array:
        """Derivative of each range parameter by its `u` at one point, shape (d,)."""
        ratio = np.where(self.is_log_in_u, self.high / np.where(self.is_log, self.low, 1.0), 2.0)
        return np.where(self.is_log_in_u, natural * np.log(ratio), self.high - self.low)

    def _named(self, natural: Array) -> dict[str, float | Array]:
        """Numbers by the names that stand in constraints."""
        named: dict[str, float | Array] = {p.name: natural[..., k] for k, p in enumerate(self.ranges)}
        return named | {p.name: float(p.value) for p in self.space.fixed if not p.is_text}

    def encode(self, points: Points) -> Array:
        """`x` of points, shape (n, columns)."""
        return self.encode_many(self.natural(self.polytope.expand(points.w)), points.choices)

    def encode_many(self, natural: Array, choices: Array) -> Array:
        """`x`, shape (n, columns), of range parameters in their units, shape (n, d), and places of choices, shape (n, c)."""
        return self.columns.of(natural, np.tile(self._kept, (len(natural), 1)), choices)

    def encode_values(self, values: Mapping[str, Value]) -> Array:
        """`x` of one suggestion or of what was executed (which may lie slightly outside), shape (columns,).

        Raises
        ------
        ValueError
            For a choice that is not on its list, or something that is not a finite number.
        """
        return self.encode_rows([values])[0]

    def encode_rows(self, rows: Sequence[Mapping[str, Value]]) -> Array:
        """`x` of several, shape (n, columns): one pass over the arithmetic, which for one row is mostly overhead.

        Raises
        ------
        ValueError
            As `encode_values`.
        """
        n = len(rows)
        numbers, places = np.empty((n, len(self.columns.numbers))), np.empty((n, len(self.choices)), dtype=int)
        for i, name in enumerate(self.columns.numbers):
            column = [values[name] for values in rows]
            wrong = next((v for v in column if isinstance(v, (str, bool)) or not math.isfinite(v)), None)
            if wrong is not None:
                raise ValueError(f"{name}: given {wrong!r}; allowed: a finite number")
            numbers[:, i] = column
        for i, c in enumerate(self.choices):
            place = {value: k for k, value in enumerate(c.known)}
            for k, values in enumerate(rows):
                if values[c.name] not in place:
                    raise ValueError(c.problem(values[c.name]))
                places[k, i] = place[values[c.name]]
        return self.columns.of(numbers[:, :len(self.ranges)], numbers[:, len(self.ranges):], places)

    def decode(self, x: Array) -> list[dict[str, Value]]:
        """Parameter values of model coordinates, shape (n, columns), as they are: bounds and constraints may be missed. Whole numbers are whole."""
        numbers, places = self.columns.back(x)
        whole = {p.name for p in self.ranges if p.is_integer}
        fixed = {p.name: p.value for p in self.space.fixed}
        found = []
        for row, mine in zip(numbers.tolist(), places.tolist(), strict=True):
            named: dict[str, Value] = {**fixed, **{name: round(v) if name in whole else v for name, v in zip(self.columns.numbers, row, strict=True)}}
            named |= {c.name: c.known[k] for c, k in zip(self.choices, mine, strict=True)}
            found.append({name: named[name] for name in self.space.names})
        return found

    def points_of(self, suggestions: Sequence[Mapping[str, Value]]) -> Points:
        """Points of those `suggestions` that are allowed."""
        allowed = [v for v in suggestions if not self.space.problems(v)]
        natural = np.array([[float(v[p.name]) for p in self.ranges] for v in allowed]).reshape(len(allowed), len(self.ranges))
        places = [[c.values.index(v[c.name]) for c in self.choices] for v in allowed]
        w = self.unit(natural)[:, self.polytope.free]
        inside = self.is_allowed(w)
        return Points(w, np.array(places, dtype=int).reshape(len(allowed), len(self.choices)))[inside]

    def values(self, points: Points) -> list[dict[str, Value]]:
        """Points as suggestions carry them: inside every bound, on it where they are next to it, equalities kept to rounding."""
        found = []
        for u, places in zip(self.polytope.expand(points.w), points.choices, strict=True):
            values, at_bounds = self._row(u, places), np.where(u < NEAR, 0.0, np.where(u > 1.0 - NEAR, 1.0, u))
            if (at_bounds != np.clip(u, 0.0, 1.0)).any():
                tidy = self._row(at_bounds, places)
                values = values if self.space.problems(tidy) else tidy
            found.append(values)
        return found

    def _row(self, u: Array, places: Array) -> dict[str, Value]:
        settled = self._settle(self.natural(u))
        named: dict[str, Value] = {p.name: int(v) if p.is_integer else float(v) for p, v in zip(self.ranges, settled, strict=True)}
        named |= {c.name: c.values[k] for c, k in zip(self.choices, places, strict=True)} | {p.name: p.value for p in self.space.fixed}
        return {name: named[name] for name in self.space.names}

    def is_sound(self, points: Points) -> bool:
        """Whether all `points`, as suggestions carry them, have no `Space.problems`: rounding included."""
        return not any(self.space.problems(values) for values in self.values(points))

    @cached_property
    def _equalities(self) -> tuple[Array, Array]:
        equal = [c for c in self.constraints if c.operator == "=="]
        rows = np.array([[dict(c.coefficients).get(p.name, 0.0) for p in self.ranges] for c in equal])
        return rows.reshape(len(equal), len(self.ranges)), np.array([c.bound for c in equal])

    def _settle(self, natural: Array) -> Array:
        """Spread what rounding and clipping left of the equalities over the numbers that can still move."""
        rows, bounds = self._equalities
        for attempt in range(6):
            rest = bounds - rows @ natural
            if not (np.abs(rest) > 1e-13 * np.maximum(1.0, np.abs(bounds))).any():
                break
            # At a bound, half of all steps lead out again: these come last, where nothing else can move.
            movable = ~self.is_integer & ((natural > self.low) & (natural < self.high) | (attempt > 2))
            step = np.linalg.lstsq(rows[:, movable], rest, rcond=None)[0]
            natural = natural.copy()
            natural[movable] += step
            natural = np.clip(natural, self.low, self.high)
        return natural
