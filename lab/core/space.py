"""The search space: parameters, and constraints between them, as value objects. No optimiser knows here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from lab.core.expression import Expression, Number, Operator, parse_comparison
from lab.core.parameters import SUM_TOLERANCE, ChoiceParameter, FixedParameter, Parameter, RangeParameter, Value

__all__ = ["SUM_TOLERANCE", "ChoiceParameter", "Constraint", "ExpressionConstraint", "FixedParameter", "LinearConstraint", "Parameter",
           "RangeParameter", "Space", "Value", "constrainable", "parse_constraint"]


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
        found = parse_constraint(text, names)
        if not isinstance(found, LinearConstraint):
            raise ValueError(f"given {text!r}; allowed: a linear expression such as 'a + 2*b <= 1'")
        return found


@dataclass(frozen=True)
class ExpressionConstraint:
    """``left operator right``, not linear, over numbers among the parameters: ``"a * b <= 3"``; made by `parse_constraint`."""

    text: str
    left: Expression
    operator: Literal["<=", ">="]
    right: Expression

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*self.left.names, *self.right.names]))

    def left_side(self, values: Mapping[str, Value]) -> float:
        """The left side, in the unit of the right one; not-a-number where it is no finite number."""
        return float(self.left.where_defined({name: float(values[name]) for name in self.names}))

    def is_met(self, values: Mapping[str, Value], tolerance: float = SUM_TOLERANCE) -> bool:
        """Whether `values` keep it, to `tolerance` relative to the right side (absolute below 1). It is not where it is no number."""
        numbers = {name: float(values[name]) for name in self.names}
        bound = float(self.right.where_defined(numbers))
        return bool(self.excess(numbers) <= tolerance * max(1.0, abs(bound)))

    def excess(self, values: Mapping[str, Number]) -> Number:
        """How far it is from being met: at most 0 where it is; a float of floats, an array of arrays; not-a-number where it is no finite number."""
        left, right = self.left.where_defined(values), self.right.where_defined(values)
        return left - right if self.operator == "<=" else right - left

    def slope(self, values: Mapping[str, Number]) -> dict[str, Number]:
        """Derivatives of `excess` by each of `names`."""
        sign = 1.0 if self.operator == "<=" else -1.0
        left, right = (side.gradient({name: values[name] for name in self.names})[1] for side in (self.left, self.right))
        return {name: sign * (left.get(name, 0.0) - right.get(name, 0.0)) for name in self.names}

    def __str__(self) -> str:
        return self.text


Constraint = LinearConstraint | ExpressionConstraint


def parse_constraint(text: str, names: Sequence[str]) -> Constraint:
    """Read a constraint on `names`: linear where it is written so, else an inequality of any expressions (`lab.core.expression`).

    Raises
    ------
    ValueError
        For anything that is none, an unknown name, numbers that are not finite, and an equality that is not linear.
    """
    left, operator, right = parse_comparison(text, names)
    left_sum, right_sum = left.linear(), right.linear()
    if left_sum is None or right_sum is None:
        if operator == "==":
            raise ValueError(f"given {text!r}; allowed: an equality of linear expressions such as 'a + 2*b == 1', or <= or >= of any")
        return ExpressionConstraint(text.strip(), left, operator, right)
    (a, a0), (b, b0) = left_sum, right_sum
    total = {name: a.get(name, 0.0) - b.get(name, 0.0) for name in [*a, *b]}
    total = {name: c for name, c in total.items() if c != 0.0}
    if not total:
        raise ValueError(f"given {text!r}; allowed: a constraint on at least one of {', '.join(names)}")
    if not np.isfinite([b0 - a0, *total.values()]).all():
        raise ValueError(f"given {text!r}; allowed: finite numbers")
    return LinearConstraint(tuple(total.items()), operator, b0 - a0)


@dataclass(frozen=True)
class Space:
    """Parameters and the constraints between them.

    Parameters
    ----------
    parameters : tuple of Parameter
    constraints : tuple of LinearConstraint
    nonlinear : tuple of ExpressionConstraint

    Raises
    ------
    ValueError
        For duplicate names, and constraints on names that are not range or fixed parameters.
    """

    parameters: tuple[Parameter, ...]
    constraints: tuple[LinearConstraint, ...] = ()
    nonlinear: tuple[ExpressionConstraint, ...] = ()
    _by_name: dict[str, Parameter] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = [p.name for p in self.parameters]
        if len(set(names)) != len(names):
            twice = sorted({n for n in names if names.count(n) > 1})
            raise ValueError(f"parameters: given {', '.join(twice)} twice; allowed: each name once")
        object.__setattr__(self, "_by_name", {p.name: p for p in self.parameters})
        known = constrainable(self.parameters)
        for constraint in self.all_constraints:
            for name in constraint.names:
                if name not in known:
                    raise ValueError(f"constraints: {constraint}: {name} is no range parameter")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(p.name for p in self.parameters)

    @property
    def ranges(self) -> tuple[RangeParameter, ...]:
        return tuple(p for p in self.parameters if isinstance(p, RangeParameter))

    @property
    def fixed(self) -> tuple[FixedParameter, ...]:
        return tuple(p for p in self.parameters if isinstance(p, FixedParameter))

    @property
    def all_constraints(self) -> tuple[Constraint, ...]:
        """The linear ones, then the others."""
        return (*self.constraints, *self.nonlinear)

    def __getitem__(self, name: str) -> Parameter:
        return self._by_name[name]

    def with_fixed(self, constraint: LinearConstraint) -> LinearConstraint:
        """The same on range parameters alone; without any where all that it holds is fixed.

        Raises
        ------
        ValueError
            When all that it holds is fixed, and it is not met.
        """
        fixed = {p.name: float(p.value) for p in self.fixed if not p.is_text}
        rest = tuple((name, c) for name, c in constraint.coefficients if name not in fixed)
        if not rest and not constraint.is_met(fixed):
            raise ValueError(f"constraints: given {constraint}: it is not met by what is fixed; allowed: constraints that leave at least one point")
        return LinearConstraint(rest, constraint.operator, constraint.bound - sum(c * fixed[name] for name, c in constraint.coefficients if name in fixed))

    def problems(self, values: Mapping[str, Value], tolerance: float = SUM_TOLERANCE) -> list[str]:
        """Everything that is wrong with `values`, one sentence each; empty when they are allowed."""
        found = [f"{name}: is missing" for name in self.names if name not in values]
        found += [f"{name}: is no parameter" for name in values if name not in self._by_name]
        if found:
            return found
        found = [text for p in self.parameters if (text := p.problem(values[p.name], tolerance))]
        if not found:
            found = [f"{c} is not met: the left side is {c.left_side(values):.12g}"
                     for c in self.all_constraints if not c.is_met(values, tolerance)]
        return found


def constrainable(parameters: Sequence[Parameter]) -> list[str]:
    """Names that a constraint may hold: those of ranges, and of what is fixed to a number."""
    return [p.name for p in parameters if isinstance(p, RangeParameter) or isinstance(p, FixedParameter) and not p.is_text]
