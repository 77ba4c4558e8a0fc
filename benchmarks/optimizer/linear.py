"""Points as peers without a logarithmic scale are given them: the decimal logarithm of what is searched on one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.optimizer.problem import Chosen
from lab.core.space import ChoiceParameter, RangeParameter, Value


def is_log(parameter: Chosen) -> bool:
    """Whether its logarithm is given."""
    return isinstance(parameter, RangeParameter) and parameter.is_log


def bounds(parameter: RangeParameter) -> tuple[float, float]:
    """As given to the peer."""
    return (math.log10(parameter.low), math.log10(parameter.high)) if parameter.is_log else (parameter.low, parameter.high)


def given(parameters: Sequence[Chosen], values: Mapping[str, Value]) -> dict[str, Value]:
    """A point of the campaign, as given to the peer."""
    return {p.name: math.log10(float(values[p.name])) if is_log(p) else values[p.name] for p in parameters}


def taken(parameters: Sequence[Chosen], row: Mapping[str, Any]) -> dict[str, Value]:
    """A peer's point, as the campaign has it: numbers of a choice are the nearest of its values, others lie within their bounds."""
    return {p.name: _taken(p, row[p.name]) for p in parameters}


def _taken(parameter: Chosen, value: Any) -> Value:
    if isinstance(parameter, ChoiceParameter):
        return str(value) if isinstance(parameter.values[0], str) else min(parameter.values, key=lambda v: abs(float(v) - float(value)))
    number = 10.0 ** float(value) if parameter.is_log else float(value)
    within = min(parameter.high, max(parameter.low, number))
    return round(within) if parameter.is_integer else within
