"""The search space: parameters and linear constraints, as value objects. No optimiser knows here."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Value = float | int | str | bool
"""What one parameter of one suggestion holds."""

Operator = Literal["<=", ">=", "=="]

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
    """

    name: str
    low: float
    high: float
    is_integer: bool = False
    is_log: bool = False
    unit: str = ""

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"bounds: given [{self.low:g}, {self.high:g}]; allowed: two finite numbers, the lower one first")
        if self.is_log and self.low <= 0:
            raise ValueError(f"bounds: given [{self.low:g}, {self.high:g}]; allowed: above 0 on a log scale")
        if self.is_integer and not (float(self.low).is_integer() and float(self.high).is_integer()):
            raise ValueError(f"bounds: given [{self.low:g}, {self.high:g}]; allowed: whole numbers for an integer")

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
        Neighbours in the list are alike.
    """

    name: str
    values: tuple[Value, ...]
    is_ordered: bool = False

    def __post_init__(self) -> None:
        if len(set(self.values)) < 2 or len(set(self.values)) != len(self.values):
            raise ValueError(f"values: given {list(self.values)}; allowed: at least two, all different")

    @property
    def allowed(self) -> str:
        """What it may be, in words."""
        return ", ".join(map(str, self.values))

    def problem(self, value: Value, tolerance: float = SUM_TOLERANCE) -> str:
        """Why `value` is not allowed; empty when it is."""
        if value in self.values:
            return ""
        return f"{self.name}: given {value!r}; allowed: {', '.join(map(str, self.values))}"


Parameter = RangeParameter | ChoiceParameter


@dataclass(frozen=True)
class LinearConstraint:
    """``sum(coefficient * parameter) operator bound`` over range parameters.

    ``LinearConstraint.parse("cs + 2*fa <= 1.5")`` reads it from text.
    """

    coefficients: tuple[tuple[str, float], ...]
    operator: Operator
    bound: float

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.coefficients)

    @property
    def is_sum(self) -> bool:
        """An equality whose coefficients are all 1: fractions of a whole."""
        return self.operator == "==" and len(self.coefficients) > 1 and all(c == 1.0 for _, c in self.coefficients)

    def left_side(self, values: Mapping[str, Value]) -> float:
        """The left side, in the unit of the bound."""
        return float(sum(c * float(values[name]) for name, c in self.coefficients))

    def is_met(self, values: Mapping[str, Value], tolerance: float = SUM_TOLERANCE) -> bool:
        """Whether `values` keep it, to `tolerance` relative to the bound (absolute below 1)."""
        excess = self.left_side(values) - self.bound
        slack = tolerance * max(1.0, abs(self.bound))
        if self.operator == "==":
            return abs(excess) <= slack
        return excess <= slack if self.operator == "<=" else excess >= -slack

    def __str__(self) -> str:
        terms = " + ".join(name if c == 1.0 else f"{c:g}*{name}" for name, c in self.coefficients)
        return f"{terms} {self.operator} {self.bound:g}"

    @classmethod
    def parse(cls, text: str, names: Sequence[str]) -> LinearConstraint:
        """Read ``a + 2*b <= c - 1``; parameters may stand on both sides.

        Raises
        ------
        ValueError
            For anything that is not linear, an unknown name, or an operator other than ``<= >= ==``.
        """
        operators: dict[type[ast.cmpop], Operator] = {ast.LtE: "<=", ast.GtE: ">=", ast.Eq: "=="}
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # what Python's parser says of text that is none, or too deep
            raise ValueError(f"given {text!r}; allowed: a linear expression such as 'a + 2*b <= 1'") from error
        if not (isinstance(tree, ast.Compare) and len(tree.ops) == 1 and type(tree.ops[0]) in operators):
            raise ValueError(f"given {text!r}; allowed: one comparison with <=, >= or ==")
        try:
            left, left_constant = _linear(tree.left, text, names)
            right, right_constant = _linear(tree.comparators[0], text, names)
        except (OverflowError, RecursionError) as error:
            raise ValueError(f"given {text!r}; allowed: a linear expression of numbers such as 'a + 2*b <= 1'") from error
        total = {name: left.get(name, 0.0) - right.get(name, 0.0) for name in [*left, *right]}
        total = {name: c for name, c in total.items() if c != 0.0}
        if not total:
            raise ValueError(f"given {text!r}; allowed: a constraint on at least one of {', '.join(names)}")
        bound = right_constant - left_constant
        if not np.isfinite([bound, *total.values()]).all():
            raise ValueError(f"given {text!r}; allowed: finite numbers")
        return cls(tuple(total.items()), operators[type(tree.ops[0])], bound)


def _linear(node: ast.expr, text: str, names: Sequence[str]) -> tuple[dict[str, float], float]:
    """Coefficients and constant of a linear expression tree."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        return {}, float(node.value)
    if isinstance(node, ast.Name):
        if node.id not in names:
            raise ValueError(f"given {text!r}: {node.id} is no range parameter; allowed: {', '.join(names)}")
        return {node.id: 1.0}, 0.0
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        terms, constant = _linear(node.operand, text, names)
        sign = -1.0 if isinstance(node.op, ast.USub) else 1.0
        return {n: sign * c for n, c in terms.items()}, sign * constant
    if isinstance(node, ast.BinOp):
        a, a0 = _linear(node.left, text, names)
        b, b0 = _linear(node.right, text, names)
        if isinstance(node.op, (ast.Add, ast.Sub)):
            sign = 1.0 if isinstance(node.op, ast.Add) else -1.0
            return {n: a.get(n, 0.0) + sign * b.get(n, 0.0) for n in [*a, *b]}, a0 + sign * b0
        if isinstance(node.op, ast.Mult) and (not a or not b):
            factor, terms, constant = (a0, b, b0) if not a else (b0, a, a0)
            return {n: factor * c for n, c in terms.items()}, factor * constant
        if isinstance(node.op, ast.Div) and not b and b0 != 0.0:
            return {n: c / b0 for n, c in a.items()}, a0 / b0
    raise ValueError(f"given {text!r}; allowed: a linear expression such as 'a + 2*b <= 1'")


@dataclass(frozen=True)
class Space:
    """Parameters and the constraints between them.

    Raises
    ------
    ValueError
        For duplicate names, and constraints on names that are not range parameters.
    """

    parameters: tuple[Parameter, ...]
    constraints: tuple[LinearConstraint, ...] = ()
    _by_name: dict[str, Parameter] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = [p.name for p in self.parameters]
        if len(set(names)) != len(names):
            twice = sorted({n for n in names if names.count(n) > 1})
            raise ValueError(f"parameters: given {', '.join(twice)} twice; allowed: each name once")
        object.__setattr__(self, "_by_name", {p.name: p for p in self.parameters})
        for constraint in self.constraints:
            for name in constraint.names:
                if not isinstance(self._by_name.get(name), RangeParameter):
                    raise ValueError(f"constraints: {constraint}: {name} is no range parameter")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(p.name for p in self.parameters)

    @property
    def ranges(self) -> tuple[RangeParameter, ...]:
        return tuple(p for p in self.parameters if isinstance(p, RangeParameter))

    def __getitem__(self, name: str) -> Parameter:
        return self._by_name[name]

    def problems(self, values: Mapping[str, Value], tolerance: float = SUM_TOLERANCE) -> list[str]:
        """Everything that is wrong with `values`, one sentence each; empty when they are allowed."""
        found = [f"{name}: is missing" for name in self.names if name not in values]
        found += [f"{name}: is no parameter" for name in values if name not in self._by_name]
        if found:
            return found
        found = [text for p in self.parameters if (text := p.problem(values[p.name], tolerance))]
        if not found:
            found = [f"{c} is not met: the left side is {c.left_side(values):.12g}"
                     for c in self.constraints if not c.is_met(values, tolerance)]
        return found
