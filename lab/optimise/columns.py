"""What a model sees of a point: a column for each number, and one or more for each choice.

A range, and a fixed number that was a range before (`FixedParameter.scaled_by`), has one column in 0..1, logarithmic where the campaign says so. An
ordered choice has one: of numbers, where they lie (`lab.optimise.descriptors.spacing`), else the place in the list. A choice with
descriptors or structures has a column for each (`similarity`), any other choice one per value, 1 where it is chosen.
"""

from __future__ import annotations

import numpy as np

from lab.core.space import ChoiceParameter, FixedParameter, RangeParameter, Space
from lab.optimise.descriptors import similarity, spacing
from lab.optimise.polytope import Array


class Columns:
    """Model coordinates of a `Space`.

    Parameters
    ----------
    space : Space

    Raises
    ------
    ConfigError
        For structures of a choice that cannot be read.
    """

    def __init__(self, space: Space) -> None:
        self._ranges = space.ranges
        self.kept: tuple[FixedParameter, ...] = tuple(p for p in space.fixed if p.scaled_by is not None and not p.is_text)
        """What is fixed and has a column."""
        self._choices = tuple(p for p in space.parameters if isinstance(p, ChoiceParameter))
        self._low, self._high = _scales([*self._ranges, *self.kept])
        logs = [p.is_log for p in self._ranges] + [False] * len(self.kept)
        self._is_log = np.array(logs, dtype=bool)
        self.tables: list[Array] = []
        """Of each choice, the columns of its values: shape (values, k)."""
        names = [p.name for p in self._ranges] + [p.name for p in self.kept]
        groups = list(range(len(names)))
        for choice in self._choices:
            table, own = _table(choice)
            self.tables.append(table)
            groups += (own + (max(groups, default=-1) + 1)).tolist()
            names += [choice.name] * table.shape[1]
        self.numbers: tuple[str, ...] = tuple(names[:len(self._ranges) + len(self.kept)])
        """The parameters that have one column, the first ones: ranges, and what is `kept`."""
        self.names: tuple[str, ...] = tuple(names)
        """Of each column, the parameter that it belongs to."""
        self.groups: Array = np.array(groups, dtype=int)
        """Of each column, the length scale that it has: those of a choice share one, but each descriptor has its own."""

    def __len__(self) -> int:
        return len(self.names)

    def of(self, natural: Array, kept: Array, places: Array) -> Array:
        """Model coordinates, shape (n, columns).

        Parameters
        ----------
        natural, kept : ndarray, shapes (n, d) and (n, k)
            Range parameters, and what is `kept`, in their units.
        places : ndarray of int, shape (n, c)
            Place of each choice in its list; what is not offered any more comes after it (`ChoiceParameter.known`).
        """
        numbers = np.hstack([natural, kept])
        columns = [np.where(self._is_log, self.log(numbers), (numbers - self._low) / (self._high - self._low))]
        columns += [table[places[:, k]] for k, table in enumerate(self.tables)]
        return np.hstack(columns)

    def log(self, numbers: Array) -> Array:
        """Logarithmic scale; values at or below 0 (a read-back may be) count as a thousandth of the lower bound."""
        low, high = np.where(self._is_log, self._low, 1.0), np.where(self._is_log, self._high, 2.0)
        return np.log(np.maximum(numbers, 1e-3 * low) / low) / np.log(high / low)

    def back(self, x: Array) -> tuple[Array, Array]:
        """The inverse of `of`: numbers in their units, shape (n, d + k), and the places of the values that are nearest, shape (n, c)."""
        n = len(self.numbers)
        low, high = np.where(self._is_log, self._low, 1.0), np.where(self._is_log, self._high, 2.0)
        numbers = np.where(self._is_log, low * (high / low) ** x[:, :n], self._low + x[:, :n] * (self._high - self._low))
        places, start = [], n
        for table in self.tables:
            mine = x[:, start:start + table.shape[1]]
            places.append(((mine[:, None, :] - table[None, :, :]) ** 2).sum(axis=2).argmin(axis=1))
            start += table.shape[1]
        return numbers, np.array(places, dtype=int).reshape(len(self.tables), len(x)).T

    def slope(self, natural: Array) -> Array:
        """Derivative of each range parameter's column by its natural value, shape (d,), at one point."""
        n = len(self._ranges)
        low, high, is_log = self._low[:n], self._high[:n], self._is_log[:n]
        scale = np.where(is_log, natural * np.log(np.where(is_log, high / np.where(is_log, low, 1.0), 2.0)), high - low)
        return np.asarray(1.0 / scale)


def _scales(parameters: list[RangeParameter | FixedParameter]) -> tuple[Array, Array]:
    """Ends of the scales, shapes (d,)."""
    ends = []
    for p in parameters:
        if p.scaled_by is not None:
            ends.append(p.scaled_by)
        elif isinstance(p, RangeParameter):
            ends.append((p.low, p.high))
    table = np.array(ends, dtype=float).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _table(choice: ChoiceParameter) -> tuple[Array, Array]:
    """Columns of each value in the order of `known`, shape (values, k), and their length scales from 0 on, shape (k,)."""
    table, groups = _table_of_list(choice)
    return table[[choice.listed.index(value) for value in choice.known]], groups


def _table_of_list(choice: ChoiceParameter) -> tuple[Array, Array]:
    if choice.descriptors or choice.smiles:
        return similarity(choice)
    n = len(choice.listed)
    if not choice.is_ordered:
        return np.eye(n), np.zeros(n, dtype=int)
    numbers = choice.numbers if choice.numbers else tuple(float(k) for k in range(n))
    return spacing(numbers)[:, None], np.zeros(1, dtype=int)
