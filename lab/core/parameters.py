"""The parameters of a search space, as value objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Value = float | int | str | bool
"""What one parameter of one suggestion holds."""

SUM_TOLERANCE = 1e-9
"""Largest error of an equality constraint in a suggestion, relative to its bound."""


@dataclass(frozen=True)
class RangeParameter:
    """A number in ``low..high`` (both included).

    Parameters
    ----------
    name : str
    low, high : float
        Bounds, low < high; both > 0 when `is_log`.
    is_integer : bool
        Only whole numbers are suggested.
    is_log : bool
        Searched on a logarithmic scale.
    unit : str
    scaled_by : tuple of two floats, or None
        The range by which models scale it, where that is not ``low..high``: its bounds before they were narrowed, so that what was
        measured then keeps its place.
    """

    name: str
    low: float
    high: float
    is_integer: bool = False
    is_log: bool = False
    unit: str = ""
    scaled_by: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"bounds: given [{self.low:g}, {self.high:g}]; allowed: two finite numbers, the lower one first")
        if self.is_log and self.low <= 0:
            raise ValueError(f"bounds: given [{self.low:g}, {self.high:g}]; allowed: above 0 on a log scale")
        if self.is_integer and not (float(self.low).is_integer() and float(self.high).is_integer()):
            raise ValueError(f"bounds: given [{self.low:g}, {self.high:g}]; allowed: whole numbers for an integer")
        if self.scaled_by is not None:
            RangeParameter(self.name, *self.scaled_by, is_integer=self.is_integer, is_log=self.is_log)

    @property
    def allowed(self) -> str:
        """What it may be, in words."""
        return f"{'a whole number in ' if self.is_integer else ''}{self.low:g}..{self.high:g} {self.unit}".rstrip()

    def problem(self, value: Value, tolerance: float = SUM_TOLERANCE) -> str:
        """Why `value` is not allowed; empty when it is."""
        if isinstance(value, (str, bool)) or not np.isfinite(value):
            return f"{self.name}: given {value!r}; allowed: a number in {self.low:g}..{self.high:g} {self.unit}".rstrip()
        slack = tolerance * max(1.0, abs(self.low), abs(self.high))
        if not self.low - slack <= value <= self.high + slack:
            return " ".join(f"{self.name}: {value:g} {self.unit} is outside {self.low:g}..{self.high:g} {self.unit}".split())
        if self.is_integer and not float(value).is_integer():
            return f"{self.name}: given {value!r}; allowed: a whole number"
        return ""


@dataclass(frozen=True)
class ChoiceParameter:
    """One of a list.

    Parameters
    ----------
    name : str
    values : tuple
        At least two different values, all text or all numbers.
    is_ordered : bool
        Neighbours in the list are alike; of numbers, those that differ little.
    descriptors : tuple of tuples of float
        Of each value in its order, numbers that say how alike the values are; all of the same length, or none at all.
    smiles : tuple of str
        Of each value in its order, the structure from which such numbers are made; or none at all.
    scaled_by : tuple or None
        All values that it has had, where some are not offered any more: models know them all, and what was measured of them keeps its
        place. Then the lists above are of these, and one value may be left.
    """

    name: str
    values: tuple[Value, ...]
    is_ordered: bool = False
    descriptors: tuple[tuple[float, ...], ...] = ()
    smiles: tuple[str, ...] = ()
    scaled_by: tuple[Value, ...] | None = None

    def __post_init__(self) -> None:
        fewest = 2 if self.scaled_by is None else 1
        if len(set(self.values)) < fewest or len(set(self.values)) != len(self.values):
            raise ValueError(f"values: given {list(self.values)}; allowed: at least {'two' if fewest == 2 else 'one'}, all different")
        if not set(self.values) <= set(self.listed) or len(set(self.listed)) != len(self.listed) or len(self.listed) < 2:
            raise ValueError(f"scaled_by: given {list(self.listed)}; allowed: {list(self.values)} and what it was besides, all different")
        if (self.descriptors or self.smiles) and self.is_ordered:
            raise ValueError("is_ordered: given true with descriptors; allowed: one of the two, each says how alike the values are")

    @property
    def allowed(self) -> str:
        """What it may be, in words."""
        return ", ".join(map(str, self.values))

    @property
    def is_graded(self) -> bool:
        """Whether anything says how alike its values are."""
        return self.is_ordered or bool(self.descriptors) or bool(self.smiles)

    @property
    def listed(self) -> tuple[Value, ...]:
        """All values that models know, in the order of the list."""
        return self.values if self.scaled_by is None else self.scaled_by

    @property
    def known(self) -> tuple[Value, ...]:
        """The same, those that are offered first: the place of a value in `values` is its place here."""
        return (*self.values, *(value for value in self.listed if value not in self.values))

    @property
    def numbers(self) -> tuple[float, ...]:
        """The values of `listed`, where all are finite numbers; else none."""
        are_numbers = all(not isinstance(v, str | bool) and np.isfinite(v) for v in self.listed)
        return tuple(float(v) for v in self.listed) if are_numbers else ()

    def problem(self, value: Value, tolerance: float = SUM_TOLERANCE) -> str:
        """Why `value` is not allowed; empty when it is."""
        if value in self.values:
            return ""
        return f"{self.name}: given {value!r}; allowed: {', '.join(map(str, self.values))}"


@dataclass(frozen=True)
class FixedParameter:
    """One value in every suggestion.

    Parameters
    ----------
    name : str
    value : float, int or str
    unit : str
    scaled_by : tuple of two floats, or None
        As that of `RangeParameter`, of which this one is what is left.
    """

    name: str
    value: Value
    unit: str = ""
    scaled_by: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not self.is_text and not np.isfinite(float(self.value)):
            raise ValueError(f"value: given {self.value!r}; allowed: a finite number or a text")

    @property
    def is_text(self) -> bool:
        """Whether no constraint can hold it."""
        return isinstance(self.value, str)

    @property
    def allowed(self) -> str:
        """What it may be, in words."""
        return f"{self.value} {self.unit}".rstrip()

    def problem(self, value: Value, tolerance: float = SUM_TOLERANCE) -> str:
        """Why `value` is not allowed; empty when it is."""
        is_it = value == self.value
        if not (is_it or self.is_text or isinstance(value, str | bool)):
            is_it = abs(float(value) - float(self.value)) <= tolerance * max(1.0, abs(float(self.value)))
        return "" if is_it else f"{self.name}: given {value!r}; allowed: {self.allowed}, it is fixed"


Parameter = RangeParameter | ChoiceParameter | FixedParameter
