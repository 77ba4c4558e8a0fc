"""A campaign's space as Ax takes it: its parameters, and inequalities in words.

Ax has no linear equalities. What its users write instead: the last parameter of one is left out and follows from the
others, and its bounds become inequalities of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ax import ChoiceParameterConfig, RangeParameterConfig

from benchmarks.optimizer.problem import Chosen, Problem
from lab.core.space import ChoiceParameter, LinearConstraint, RangeParameter, Value


class AxSpace:
    """Parameters, constraints, and the way there and back.

    Parameters
    ----------
    problem : Problem
    """

    def __init__(self, problem: Problem) -> None:
        self._parameters = problem.parameters
        self._ranges = {p.name: p for p in problem.ranges}
        self._following = {c.names[-1]: c for c in problem.constraints if c.operator == "=="}
        self.parameters = [_config(p) for p in problem.parameters if p.name not in self._following]
        self.constraints = [text for c in problem.constraints for text in self._inequalities(c)]

    def to_ax(self, values: Mapping[str, Value]) -> dict[str, Any]:
        """A point of the campaign, without what follows."""
        return {p.name: _typed(p, values[p.name]) for p in self._parameters if p.name not in self._following}

    def from_ax(self, values: Mapping[str, Any]) -> dict[str, Value]:
        """A point of the campaign, complete."""
        found = dict(values)
        for name, constraint in self._following.items():
            *others, (_, last) = constraint.coefficients
            p = self._ranges[name]
            # Ax keeps its inequalities to 1e-8; the bounds are kept exactly, the sum to as much.
            found[name] = min(p.high, max(p.low, (constraint.bound - sum(c * found[n] for n, c in others)) / last))
        return {p.name: found[p.name] for p in self._parameters}

    def _inequalities(self, constraint: LinearConstraint) -> list[str]:
        """In words; those that the bounds imply are left out."""
        if constraint.operator != "==":
            return [str(constraint)]
        *others, (name, last) = constraint.coefficients
        p = self._ranges[name]
        least, most = sorted((constraint.bound - last * p.low, constraint.bound - last * p.high))
        lowest = sum(min(c * self._ranges[n].low, c * self._ranges[n].high) for n, c in others)
        highest = sum(max(c * self._ranges[n].low, c * self._ranges[n].high) for n, c in others)
        terms = " + ".join(f"{c!r} * {n}" for n, c in others)
        return [f"{terms} >= {least!r}"] * (lowest < least) + [f"{terms} <= {most!r}"] * (highest > most)


def _config(parameter: Chosen) -> RangeParameterConfig | ChoiceParameterConfig:
    if isinstance(parameter, ChoiceParameter):
        kind: Any = "str" if isinstance(parameter.values[0], str) else "float"
        return ChoiceParameterConfig(parameter.name, [_typed(parameter, v) for v in parameter.values], kind, is_ordered=parameter.is_ordered)
    return RangeParameterConfig(parameter.name, (parameter.low, parameter.high), "int" if parameter.is_integer else "float",
                                scaling="log" if parameter.is_log else "linear")


def _typed(parameter: Chosen, value: Value) -> Any:
    """As Ax's parameter types want it."""
    if isinstance(value, str):
        return value
    if isinstance(parameter, RangeParameter) and parameter.is_integer:
        return int(value)
    return float(value)
