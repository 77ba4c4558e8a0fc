"""The parameters that a plan takes: what each accepts, in which unit and within which limits, and how clients are told.

One description serves the check of what comes in (`Parameter.problems`), the signature of the worker's function, and the schema that
clients read (`lab.remote.registry.plan_schema`). Checks are strict: a text is no number, nor is true; names are looked up in a list, never
resolved. What comes in has passed `lab.remote.registry.plain`.
"""

from __future__ import annotations

import difflib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lab.remote.registry.refusals import Problem, shown


class _Required:
    """Stands for the default of a parameter that has none."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED = _Required()

INFINITE = float("inf")

EXACT = 1e-12
"""Sums that are nearer to their total, relative to it, differ by rounding alone."""

MOST_ALLOWED = 60
"""Names that a refusal lists."""


@dataclass(frozen=True)
class Parameter(ABC):
    """What all parameters have.

    Parameters
    ----------
    name : str
    doc : str
        What it is, for people.
    default : object
        `REQUIRED`, or the value when it is not given.
    unit : str
    """

    name: str
    doc: str
    default: Any = REQUIRED
    unit: str = ""

    kind = "value"

    @property
    def is_required(self) -> bool:
        return self.default is REQUIRED

    @property
    @abstractmethod
    def annotation(self) -> Any:
        """Of the worker's function: plain types only, so that the RE Manager resolves no name in them."""

    @abstractmethod
    def problems(self, given: Any) -> list[Problem]:
        """What is wrong with a value; empty when it is allowed."""

    def normal(self, given: Any) -> Any:
        """An allowed value, written in one way: 1 and 1.0 are the same number."""
        return given

    def narrowed(self, limits: Mapping[str, tuple[float, float]]) -> Parameter:
        """With the limits of a role, by parameter name (or ``name.key``); they can only narrow."""
        return self

    def within(self, devices: Sequence[str]) -> Parameter:
        """With only these devices, for parameters that take any."""
        return self


@dataclass(frozen=True)
class Number(Parameter):
    """A number within limits, both included."""

    low: float = -INFINITE
    high: float = INFINITE
    source: str = ""
    """Where the limits come from, for the message."""

    kind = "number"

    @property
    def annotation(self) -> Any:
        return float

    @property
    def range_in_words(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        if math.isinf(self.low) and math.isinf(self.high):
            return f"a number{f' in{unit}' if unit else ''}"
        words = f"{self.low:g}..{self.high:g}{unit}" if math.isfinite(self.high) else f"{self.low:g}{unit} or more"
        return f"{words} ({self.source})" if self.source else words

    def problems(self, given: Any) -> list[Problem]:
        if isinstance(given, bool) or not isinstance(given, (int, float)):
            return [Problem(self.name, shown(given), f"a number: {self.range_in_words}")]
        if not (math.isfinite(given) and self.low <= given <= self.high):
            return [Problem(self.name, f"{shown(given)} {self.unit}".strip(), self.range_in_words)]
        return []

    def normal(self, given: Any) -> Any:
        return float(given)

    def narrowed(self, limits: Mapping[str, tuple[float, float]]) -> Parameter:
        if self.name not in limits:
            return self
        low, high = limits[self.name]
        return replace(self, low=max(self.low, low), high=min(self.high, high), source="limits of your role")


@dataclass(frozen=True)
class Whole(Number):
    """A whole number within limits; 5.0 is one, too."""

    kind = "whole number"

    @property
    def annotation(self) -> Any:
        return int

    def problems(self, given: Any) -> list[Problem]:
        found = super().problems(given)
        if not found and float(given) != int(given):
            found = [Problem(self.name, shown(given), f"a whole number: {self.range_in_words}")]
        return found

    def normal(self, given: Any) -> Any:
        return int(given)


@dataclass(frozen=True)
class Name(Parameter):
    """One of a list of names."""

    names: tuple[str, ...] = ()
    is_device: bool = False

    kind = "name"

    @property
    def annotation(self) -> Any:
        return str

    def problems(self, given: Any) -> list[Problem]:
        if isinstance(given, str) and given in self.names:
            return []
        return [Problem(self.name, shown(given), one_of(self.names, given))]

    def within(self, devices: Sequence[str]) -> Parameter:
        return replace(self, names=tuple(one for one in self.names if device_of(one) in devices)) if self.is_device else self


@dataclass(frozen=True)
class Names(Parameter):
    """One or several of a list of names, each once."""

    names: tuple[str, ...] = ()

    kind = "names"

    @property
    def annotation(self) -> Any:
        return list[str]

    def problems(self, given: Any) -> list[Problem]:
        if not isinstance(given, (list, tuple)) or not given:
            return [Problem(self.name, shown(given), f"a list with at least one of: {in_words(self.names)}")]
        found = [Problem(f"{self.name}.{number}", shown(one), one_of(self.names, one))
                 for number, one in enumerate(given) if not (isinstance(one, str) and one in self.names)]
        if not found and len(set(given)) < len(given):
            found = [Problem(self.name, shown(list(given)), "each name once")]
        return found

    def normal(self, given: Any) -> Any:
        return list(given)

    def within(self, devices: Sequence[str]) -> Parameter:
        return replace(self, names=tuple(one for one in self.names if device_of(one) in devices))


@dataclass(frozen=True)
class Amounts(Parameter):
    """Numbers by name: ``{"cs": 0.2, "fa": 0.8}``."""

    each: Mapping[str, Number] = field(default_factory=dict)
    """What may be named, and within which limits."""
    total: float | None = None
    """What they sum to; None: anything."""

    kind = "numbers by name"

    @property
    def annotation(self) -> Any:
        return dict[str, float]

    def problems(self, given: Any) -> list[Problem]:
        if not isinstance(given, dict):
            return [Problem(self.name, shown(given), f"numbers by name: {self._range_in_words}")]
        if not given:
            return [Problem(self.name, "{}", self._range_in_words)] if self.total is not None and self.is_required else []
        found = [problem for name, value in given.items() for problem in self._problems(name, value)]
        if not found and self.total is not None and abs(math.fsum(given.values()) - self.total) > 1e-6 * self.total:
            found = [Problem(self.name, f"numbers that sum to {math.fsum(given.values()):.9g}", f"numbers that sum to {self.total:g}")]
        return found

    @property
    def _range_in_words(self) -> str:
        return f"some of {in_words(tuple(self.each))}" + (f", summing to {self.total:g}" if self.total is not None else "")

    def _problems(self, name: str, value: Any) -> Iterable[Problem]:
        if name not in self.each:
            return [Problem(f"{self.name}.{shown(name)[1:-1]}", shown(value), one_of(tuple(self.each), name))]
        return [problem.under(self.name) for problem in self.each[name].problems(value)]

    def normal(self, given: Any) -> Any:
        """In the order of the laboratory; sums are made exact, as the constraint of the campaign has them."""
        numbers = {name: float(given[name]) for name in self.each if name in given}
        if self.total is None or not numbers:
            return numbers
        whole = math.fsum(numbers.values())
        if abs(whole - self.total) <= EXACT * self.total:
            return numbers
        return {name: value * self.total / whole for name, value in numbers.items()}

    def narrowed(self, limits: Mapping[str, tuple[float, float]]) -> Parameter:
        own = {key.removeprefix(f"{self.name}."): pair for key, pair in limits.items() if key.startswith(f"{self.name}.")}
        each: dict[str, Any] = {name: number.narrowed(own) for name, number in self.each.items()}
        return replace(self, each=each)


@dataclass(frozen=True)
class Id(Parameter):
    """The id of something on record."""

    kind = "id"

    @property
    def annotation(self) -> Any:
        return str

    def problems(self, given: Any) -> list[Problem]:
        if isinstance(given, str) and 0 < len(given) <= 120 and given.isascii() and all(one.isalnum() or one in "._-" for one in given):
            return []
        return [Problem(self.name, shown(given), "an id, as lab_campaigns tells it")]


@dataclass(frozen=True)
class Record(Parameter):
    """An object with fields of its own, checked by `check`: a campaign."""

    check: Callable[[Any], list[Problem]] = lambda given: []
    write: Callable[[Any], Any] = lambda given: given
    """Of an allowed one: every field, as the model has it."""

    kind = "object"

    @property
    def annotation(self) -> Any:
        return dict[str, Any]

    def problems(self, given: Any) -> list[Problem]:
        if not isinstance(given, dict) or not given:
            return [Problem(self.name, shown(given), "an object with the fields of a campaign.yaml")]
        return [problem.under(self.name) for problem in self.check(given)]

    def normal(self, given: Any) -> Any:
        return self.write(given)


def device_of(name: str) -> str:
    """The device that a positioner belongs to: ``hotplate_a.stirrer`` -> ``hotplate_a``."""
    return name.partition(".")[0]


def in_words(names: Sequence[str]) -> str:
    """A list of names for a message."""
    if not names:
        return "nothing: there is none that you may use"
    return ", ".join(names[:MOST_ALLOWED]) + (f" and {len(names) - MOST_ALLOWED} more" if len(names) > MOST_ALLOWED else "")


def one_of(names: Sequence[str], given: Any) -> str:
    """Names to choose from, with the one that was probably meant."""
    near = difflib.get_close_matches(given[:60], names, 1) if isinstance(given, str) else []
    return in_words(names) + (f" (did you mean {near[0]}?)" if near else "")
