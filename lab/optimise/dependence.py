"""How the outcome depends on a parameter: curves and maps of what a model expects.

A parameter that stands in a sum or another equality cannot be changed alone: the others of the equality give way in proportion to what
they are (Cox 1971, doi:10.1093/biomet/58.1.155). What is then not allowed is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lab.core.space import RangeParameter, Value
from lab.optimise.cloud import Cloud
from lab.optimise.domain import Domain
from lab.optimise.polytope import Array
from lab.optimise.sensitivity import Process

N_STEPS = 21
"""Values of a number along a curve."""

N_AROUND = 64
"""Points that a curve is averaged over."""

N_SIDE = 21
"""Values of each of two parameters of a map."""

N_EDGE = 24
"""Steps along the edge of a triangle."""


class Expects(Protocol):
    """What is expected, and how surely."""

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Means and variances, shapes (n,), at `x`, shape (n, d)."""
        ...


@dataclass(frozen=True)
class Curve:
    """What is expected along a parameter, in the unit of the model.

    Parameters
    ----------
    values : tuple
        Of the parameter.
    mean, deviation : tuple of float
        Of the noise-free outcome; of an average, that of the average.
    """

    name: str
    values: tuple[Value, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


@dataclass(frozen=True)
class Map:
    """What is expected over two parameters, or three that share a sum, all others as at one point.

    Parameters
    ----------
    names : tuple of str
    at : tuple of tuple of Value
        The values of `names`, for each point that is allowed.
    mean, deviation : tuple of float
    others : mapping
        At which values the other parameters are held.
    """

    names: tuple[str, ...]
    at: tuple[tuple[Value, ...], ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    others: Mapping[str, Value]


def steps_of(domain: Domain, name: str, n: int = N_STEPS) -> tuple[Value, ...]:
    """Values along a parameter: evenly spread on its own scale, whole numbers once, all of a list."""
    for p in domain.ranges:
        if p.name == name:
            return _numbers(p, n)
    return next(c for c in domain.choices if c.name == name).values


def _numbers(p: RangeParameter, n: int) -> tuple[Value, ...]:
    numbers = np.geomspace(p.low, p.high, n) if p.is_log else np.linspace(p.low, p.high, n)
    if p.is_integer:
        return tuple(int(v) for v in np.unique(np.rint(numbers)))
    return tuple(float(v) for v in (p.low, *numbers[1:-1], p.high))


def moved(domain: Domain, point: Mapping[str, Value], to: Mapping[str, Value]) -> dict[str, Value] | None:
    """`point` with some parameters at other values, the others of each equality in proportion; None where that is not allowed."""
    found = {**point, **to}
    for equality in (c for c in domain.space.constraints if c.operator == "=="):
        if not set(equality.names) & set(to):
            continue
        free = {p.name for p in domain.ranges} - set(to)
        rest = equality.bound - sum(c * float(found[name]) for name, c in equality.coefficients if name not in free)
        others = {name: c * float(point[name]) for name, c in equality.coefficients if name in free}
        total = sum(others.values())
        for name, c in equality.coefficients:
            if name in others:
                # Of nothing, all get the same: the way out of a corner.
                found[name] = rest * (others[name] / total if abs(total) > 1e-12 else 1.0 / len(others)) / c
    for p in domain.ranges:
        found[p.name] = _settled(p, float(found[p.name]))
    return None if domain.space.problems(found) else found


def _settled(p: RangeParameter, value: float) -> Value:
    """Rounding put right: a bound that is missed by next to nothing."""
    slack = 1e-9 * max(1.0, abs(p.low), abs(p.high))
    value = p.low if p.low - slack <= value < p.low else p.high if p.high < value <= p.high + slack else value
    return int(value) if p.is_integer and value.is_integer() else value


def average(model: Process, cloud: Cloud, name: str) -> Curve:
    """The mean over points of `cloud`, each moved to the same value of a parameter, and how surely the model knows that mean.

    Friedman 2001, doi:10.1214/aos/1013203451 (partial dependence). The deviation is that of the average itself: where the model knows
    the average better than any point of it, the band is narrow.
    """
    domain, around = cloud.domain, cloud.some(N_AROUND).values
    values, means, deviations = [], [], []
    for value in steps_of(domain, name):
        there = [one for point in around if (one := moved(domain, point, {name: value})) is not None]
        if there:
            mean, covariance = model.joint(domain.encode_rows(there))
            values.append(value)
            means.append(float(mean.mean()))
            deviations.append(float(np.sqrt(max(float(covariance.mean()), 0.0))))
    return Curve(name, tuple(values), tuple(means), tuple(deviations))


def through(model: Expects, domain: Domain, point: Mapping[str, Value], name: str) -> Curve:
    """What is expected from `point` along a parameter, all else as it is there."""
    ways = [(value, one) for value in steps_of(domain, name) if (one := moved(domain, point, {name: value})) is not None]
    mean, deviation = _expected(model, domain, [one for _, one in ways])
    return Curve(name, tuple(value for value, _ in ways), mean, deviation)


def map_of(model: Expects, domain: Domain, point: Mapping[str, Value], names: tuple[str, str]) -> Map:
    """What is expected over two parameters, all others as at `point`."""
    return _mapped(model, domain, point, names, [{names[0]: one, names[1]: other} for one in steps_of(domain, names[0], N_SIDE)
                                                 for other in steps_of(domain, names[1], N_SIDE)])


def triangle_of(model: Expects, domain: Domain, point: Mapping[str, Value], names: tuple[str, str, str]) -> Map:
    """What is expected over three parameters that share what the others of their sum leave, as at `point`."""
    total = sum(float(point[name]) for name in names)
    shares = [(i / N_EDGE, j / N_EDGE, (N_EDGE - i - j) / N_EDGE) for i in range(N_EDGE + 1) for j in range(N_EDGE + 1 - i)]
    return _mapped(model, domain, point, names, [dict(zip(names, (total * s for s in one), strict=True)) for one in shares])


def sums_of(domain: Domain) -> list[tuple[str, ...]]:
    """Names of the fractions of each sum among the constraints."""
    return [c.names for c in domain.space.constraints if c.is_sum]


def _mapped(model: Expects, domain: Domain, point: Mapping[str, Value], names: tuple[str, ...], places: Sequence[Mapping[str, Value]]) -> Map:
    allowed = [one for to in places if (one := moved(domain, point, to)) is not None]
    mean, deviation = _expected(model, domain, allowed)
    held = {name: value for name, value in point.items() if name not in names and len({one[name] for one in allowed}) <= 1}
    return Map(names, tuple(tuple(one[name] for name in names) for one in allowed), mean, deviation, held)


def _expected(model: Expects, domain: Domain, points: Sequence[Mapping[str, Value]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if not points:
        return (), ()
    mean, variance = model.predict(domain.encode_rows(points))
    return tuple(mean.tolist()), tuple(np.sqrt(variance).tolist())

