"""Conditions over channels: ``plc.coolant > 0.5 and hotplate_a.TEMPERATURE_RBV < 200``.

::

    condition  :  every { "or" every }
    every      :  part { "and" part }
    part       :  "(" condition ")"  |  operand operator operand { operator operand }
    operator   :  <  <=  >  >=  ==  !=
    operand    :  number  |  'state'  |  INSTRUMENT.CHANNEL  |  INSTRUMENT.ADDRESS.CHANNEL

``0 < plc.flow < 3`` means what it means in a paper. A ``'state'`` is a word of an enum channel. Text is read by this grammar only,
and never handed to Python.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lab.core.channels import Channel

_COMPARE: Mapping[str, Callable[[float, float], bool]] = MappingProxyType({
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne})

_TOKEN = re.compile(r"""\s*(?:
    (?P<reference>[A-Za-z]\w*(?:\.\d+)?\.[A-Za-z]\w*)
  | (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)
  | (?P<state>'[^']*'|"[^"]*")
  | (?P<operator><=|>=|==|!=|<|>)
  | (?P<word>(?:and|or)\b|[()])
)""", re.VERBOSE)

_LONGEST, _DEEPEST = 400, 20
"""Characters of a condition, and parentheses in parentheses."""

_NUMERIC = ("float", "int", "bool", "enum")


@dataclass(frozen=True)
class Reference:
    """A channel as conditions name it.

    Parameters
    ----------
    instrument, channel : str
    address : str
        Of an instrument with addressed rows (a pump bank); else empty.
    """

    instrument: str
    channel: str
    address: str = ""

    @property
    def key(self) -> str:
        """The channel's key under the instrument's PV prefix: ``NAME`` or ``ADDRESS:NAME``."""
        return f"{self.address}:{self.channel}" if self.address else self.channel

    def __str__(self) -> str:
        return ".".join(part for part in (self.instrument, self.address, self.channel) if part)


Operand = Reference | float

RowOf = Callable[[Reference], Channel]
"""The channel table's row of a reference; raises ValueError in words for one that does not exist."""


@dataclass(frozen=True)
class Comparison:
    """``left operator right``."""

    left: Operand
    operator: str
    right: Operand

    def holds(self, values: Mapping[Reference, float]) -> bool:
        return _COMPARE[self.operator](_value(self.left, values), _value(self.right, values))

    def references(self) -> Iterator[Reference]:
        for operand in (self.left, self.right):
            if isinstance(operand, Reference):
                yield operand


@dataclass(frozen=True)
class Junction:
    """Several parts, of which all (`is_and`) or at least one must hold."""

    is_and: bool
    parts: tuple[Node, ...]

    def holds(self, values: Mapping[Reference, float]) -> bool:
        found = (part.holds(values) for part in self.parts)
        return all(found) if self.is_and else any(found)

    def references(self) -> Iterator[Reference]:
        for part in self.parts:
            yield from part.references()


Node = Comparison | Junction


@dataclass(frozen=True)
class Condition:
    """A condition that has been read and checked.

    Parameters
    ----------
    text : str
        As it was written.
    root : Comparison or Junction
    rows : mapping of Reference to Channel
        The channels it is about, in the order in which they are named.
    """

    text: str
    root: Node
    rows: Mapping[Reference, Channel]

    @property
    def references(self) -> tuple[Reference, ...]:
        return tuple(self.rows)

    def holds(self, values: Mapping[Reference, float]) -> bool:
        """Whether it holds; `values` has one for each of `references` (of an enum the number of its state).

        Raises
        ------
        KeyError
            When one is missing: a condition has no default.
        """
        return self.root.holds({reference: values[reference] for reference in self.rows})

    def in_words(self, values: Mapping[Reference, float]) -> str:
        """The readings for people: ``plc.coolant = 0.31 L/min, arm.STATE = ready``."""
        return ", ".join(f"{reference} = {_said(row, values[reference])}" for reference, row in self.rows.items() if reference in values)


def parse(text: str, row_of: RowOf) -> Condition:
    """Read a condition.

    Parameters
    ----------
    text : str
    row_of : callable
        Finds the channels.

    Raises
    ------
    ValueError
        ``given ...; allowed: ...`` for anything that is not in the grammar, an unknown channel, one that is no number, and a comparison
        that its channel cannot mean.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"given {len(text)} characters; allowed: at most {_LONGEST}")
    reader = _Reader(text, row_of)
    root = reader.condition(0)
    reader.expect_end()
    return Condition(text, root, MappingProxyType(reader.rows))


class _Reader:
    """Reads one condition by recursive descent."""

    def __init__(self, text: str, row_of: RowOf) -> None:
        self._text, self._row_of = text, row_of
        self._at = 0
        self.rows: dict[Reference, Channel] = {}

    def condition(self, depth: int) -> Node:
        return self._joined("or", lambda: self._joined("and", lambda: self._part(depth)))

    def expect_end(self) -> None:
        if self._text[self._at :].strip():
            raise self._wrong("and, or, or the end")

    def _joined(self, word: str, read: Callable[[], Node]) -> Node:
        parts = [read()]
        while self._take("word", word):
            parts.append(read())
        return parts[0] if len(parts) == 1 else Junction(word == "and", tuple(parts))

    def _part(self, depth: int) -> Node:
        if self._take("word", "("):
            if depth >= _DEEPEST:
                raise ValueError(f"given more than {_DEEPEST} parentheses in each other; allowed: fewer")
            inner = self.condition(depth + 1)
            if not self._take("word", ")"):
                raise self._wrong("a closing parenthesis")
            return inner
        return self._comparisons()

    def _comparisons(self) -> Node:
        operands, operators = [self._operand()], []
        while sign := self._take("operator"):
            operators.append(sign)
            operands.append(self._operand())
        if not operators:
            raise self._wrong("a comparison: < <= > >= == !=")
        found = [self._comparison(*each) for each in zip(operands, operators, operands[1:], strict=False)]
        return found[0] if len(found) == 1 else Junction(True, tuple(found))

    def _operand(self) -> Operand | str:
        if name := self._take("reference"):
            first, *address, last = name.split(".")
            reference = Reference(first, last, *address)
            self.rows[reference] = self._row(reference)
            return reference
        if number := self._take("number"):
            value = float(number)
            if not math.isfinite(value):
                raise ValueError(f"given {number}; allowed: a finite number")
            return value
        if state := self._take("state"):
            return state[1:-1]
        raise self._wrong("a number, a channel such as hotplate.TEMPERATURE_RBV, or a state in quotes")

    def _row(self, reference: Reference) -> Channel:
        row = self._row_of(reference)
        if row.type not in _NUMERIC or row.is_writable:
            what = "a command" if row.is_writable else f"a channel of type {row.type}"
            raise ValueError(f"given {reference}, {what}; allowed: a reading that is a number, a switch or a state")
        return row

    def _comparison(self, left: Operand | str, sign: str, right: Operand | str) -> Comparison:
        sides = (left, right)
        rows = [self.rows[side] for side in sides if isinstance(side, Reference)]
        if not rows:
            raise ValueError(f"given {_shown(left)} {sign} {_shown(right)}; allowed: at least one side is a channel")
        constants = [side for side in sides if not isinstance(side, Reference)]
        for row in rows:
            _check_meaning(row, sign, constants)
        if len(rows) == 2 and rows[0].unit != rows[1].unit:
            raise ValueError(f"given {left} in {rows[0].unit or 'no unit'} and {right} in {rows[1].unit or 'no unit'}; allowed: the same unit")
        number = {word: float(rows[0].choices.index(word)) for word in constants if isinstance(word, str)}
        return Comparison(number[left] if isinstance(left, str) else left, sign, number[right] if isinstance(right, str) else right)

    def _take(self, kind: str, text: str = "") -> str:
        """The next token when it is of this kind (and reads so), else nothing; it is used up."""
        match = _TOKEN.match(self._text, self._at)
        if match is None or match.lastgroup != kind or (text and match[kind] != text):
            return ""
        self._at = match.end()
        return match[kind]

    def _wrong(self, allowed: str) -> ValueError:
        rest = self._text[self._at :].strip()
        where = f"{rest!r} at character {len(self._text) - len(self._text[self._at :].lstrip()) + 1}" if rest else "nothing at the end"
        return ValueError(f"given {self._text!r} with {where}; allowed: {allowed}")


def _check_meaning(row: Channel, sign: str, constants: list[float | str]) -> None:
    """Refuse a comparison that can never mean anything: a switch that is greater than 0.5, a state that does not exist.

    Raises
    ------
    ValueError
    """
    if row.type in ("bool", "enum") and sign not in ("==", "!="):
        raise ValueError(f"given {row.name} {sign}, which is {'a switch' if row.type == 'bool' else 'a state'}; allowed: == or !=")
    for constant in constants:
        if row.type == "enum" and constant not in row.choices:
            raise ValueError(f"given {row.name} {sign} {_shown(constant)}; allowed: {', '.join(map(repr, row.choices))}")
        if row.type == "bool" and constant not in (0.0, 1.0):
            raise ValueError(f"given {row.name} {sign} {_shown(constant)}; allowed: 0 or 1")
        if row.type in ("float", "int") and isinstance(constant, str):
            raise ValueError(f"given {row.name} {sign} {constant!r}; allowed: a number")


def _value(operand: Operand, values: Mapping[Reference, float]) -> float:
    return values[operand] if isinstance(operand, Reference) else operand


def _shown(operand: Operand | str) -> str:
    return f"{operand:g}" if isinstance(operand, float) else repr(operand) if isinstance(operand, str) else str(operand)


def _said(row: Channel, value: float) -> str:
    if row.type == "enum" and 0 <= int(value) < len(row.choices):
        return row.choices[int(value)]
    return f"{value:g} {row.unit}".rstrip()
