"""Arithmetic that a file may hold: read into a tree of known operations, never run as code.

What there is: numbers, names, ``+ - * / **``, signs, parentheses, and the functions of `FUNCTIONS`. Text, tree and depth
are bounded, and all numbers are floats, so that nothing takes long: ``9**9**9`` is too large a number, and said to be.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Literal

import numpy as np

Array = np.ndarray
Number = float | Array
Operator = Literal["<=", ">=", "=="]
Partials = Callable[[Sequence[Array], Array], Sequence[Array]]
"""Derivatives of an operation by each of its arguments, from the arguments and the result."""

LONGEST, LARGEST, DEEPEST = 2000, 500, 100
"""Of an expression: characters, operations and operands, operations within each other."""


@dataclass(frozen=True)
class _Operation:
    n_least: int
    n_most: int
    value: Callable[..., Array]
    partials: Partials


def _first_of(value: Callable[[Array, Array], Array]) -> _Operation:
    """The largest or smallest of several: the first of equal ones has the derivative."""
    def chosen(parts: Sequence[Array], result: Array) -> Sequence[Array]:
        found, is_free = [], np.ones(np.shape(result), dtype=bool)
        for part in parts:
            is_it = is_free & (part == result)
            found.append(np.where(is_it, 1.0, 0.0))
            is_free = is_free & ~is_it
        return found
    return _Operation(2, 20, lambda *parts: reduce(value, parts), chosen)


def _by_base(base: Array, exponent: Array) -> Array:
    return np.where(exponent == 0.0, 0.0, exponent * np.power(base, exponent - 1.0))


def _by_exponent(base: Array, power: Array) -> Array:
    return np.where(base > 0.0, power * np.log(np.where(base > 0.0, base, 1.0)), 0.0)


_OPERATIONS: Mapping[str, _Operation] = {
    "+": _Operation(2, 2, np.add, lambda p, r: (np.ones_like(r), np.ones_like(r))),
    "-": _Operation(2, 2, np.subtract, lambda p, r: (np.ones_like(r), -np.ones_like(r))),
    "*": _Operation(2, 2, np.multiply, lambda p, r: (p[1], p[0])),
    "/": _Operation(2, 2, np.divide, lambda p, r: (1.0 / p[1], -r / p[1])),
    "**": _Operation(2, 2, np.power, lambda p, r: (_by_base(p[0], p[1]), _by_exponent(p[0], r))),
    "minus": _Operation(1, 1, np.negative, lambda p, r: (-np.ones_like(r),)),
    "sqrt": _Operation(1, 1, np.sqrt, lambda p, r: (0.5 / r,)),
    "exp": _Operation(1, 1, np.exp, lambda p, r: (r,)),
    "log": _Operation(1, 1, np.log, lambda p, r: (1.0 / p[0],)),
    "log10": _Operation(1, 1, np.log10, lambda p, r: (1.0 / (p[0] * np.log(10.0)),)),
    "abs": _Operation(1, 1, np.abs, lambda p, r: (np.sign(p[0]),)),
    "sin": _Operation(1, 1, np.sin, lambda p, r: (np.cos(p[0]),)),
    "cos": _Operation(1, 1, np.cos, lambda p, r: (-np.sin(p[0]),)),
    "tan": _Operation(1, 1, np.tan, lambda p, r: (1.0 + r * r,)),
    "min": _first_of(np.minimum),
    "max": _first_of(np.maximum),
}

FUNCTIONS = tuple(name for name in _OPERATIONS if name.isidentifier() and name != "minus")
"""Functions that an expression may call, angles in radians, ``log`` to the base e."""

_SYMBOLS: Mapping[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}
_COMPARED: Mapping[type[ast.cmpop], Operator] = {ast.LtE: "<=", ast.GtE: ">=", ast.Eq: "=="}


@dataclass(frozen=True)
class _Node:
    """A number, a name, or an operation on other nodes."""

    operation: str = ""
    parts: tuple[_Node, ...] = ()
    name: str = ""
    number: float = 0.0

    def value(self, values: Mapping[str, Array]) -> Array:
        if self.parts:
            return _OPERATIONS[self.operation].value(*(part.value(values) for part in self.parts))
        return values[self.name] if self.name else np.asarray(self.number)

    def slope(self, values: Mapping[str, Array]) -> tuple[Array, dict[str, Array]]:
        """Value and derivatives by those names that it depends on (forward mode)."""
        if not self.parts:
            return self.value(values), {self.name: np.asarray(1.0)} if self.name else {}
        inner = [part.slope(values) for part in self.parts]
        arguments = [value for value, _ in inner]
        result = _OPERATIONS[self.operation].value(*arguments)
        total: dict[str, Array] = {}
        for partial, (_, slopes) in zip(_OPERATIONS[self.operation].partials(arguments, result), inner, strict=True):
            for name, slope in slopes.items():
                total[name] = total.get(name, np.asarray(0.0)) + partial * slope
        return result, total

    def linear(self) -> tuple[dict[str, float], float] | None:
        """Coefficients and constant; None when it is not linear in its names."""
        if not self.parts:
            return ({self.name: 1.0}, 0.0) if self.name else ({}, self.number)
        found = [part.linear() for part in self.parts]
        if any(one is None for one in found) or self.operation not in ("minus", "+", "-", "*", "/"):
            return None
        (a, a0), (b, b0) = (one for one in (found[0], found[-1]) if one is not None)
        if self.operation == "minus":
            return {name: -c for name, c in a.items()}, -a0
        if self.operation in "+-":
            sign = 1.0 if self.operation == "+" else -1.0
            return {name: a.get(name, 0.0) + sign * b.get(name, 0.0) for name in [*a, *b]}, a0 + sign * b0
        if self.operation == "*" and not (a and b):
            factor, terms, constant = (b0, a, a0) if not b else (a0, b, b0)
            return {name: factor * c for name, c in terms.items()}, factor * constant
        return None if b or b0 == 0.0 else ({name: c / b0 for name, c in a.items()}, a0 / b0)

    def names(self) -> tuple[str, ...]:
        own = (self.name,) if self.name else ()
        return tuple(dict.fromkeys([*own, *(name for part in self.parts for name in part.names())]))


@dataclass(frozen=True)
class Expression:
    """A function of named numbers; made by `parse` or `parse_comparison`.

    Parameters
    ----------
    text : str
        As it was written.
    """

    text: str
    _tree: _Node

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names it depends on, in the order in which they stand."""
        return self._tree.names()

    def __call__(self, values: Mapping[str, Number]) -> Number:
        """Its value: a float of floats, an array of arrays (and floats) of equal shape.

        Parameters
        ----------
        values : mapping of name to float or ndarray, shape (n,)
            At least those of `names`.

        Raises
        ------
        ValueError
            Where it is no finite number (a logarithm of 0, an overflow), naming the first such place.
        """
        found = self.where_defined(values)
        if np.isnan(found).any():
            first = int(np.argmax(np.isnan(np.atleast_1d(found))))
            where = ", ".join(f"{name} = {np.broadcast_to(values[name], np.shape(np.atleast_1d(found)))[first]:g}" for name in self.names)
            raise ValueError(f"given {self.text!r}: it is no finite number at {where or 'all'}; allowed: an expression that is one everywhere")
        return found

    def where_defined(self, values: Mapping[str, Number]) -> Number:
        """As a call, but not-a-number where it is no finite number."""
        with np.errstate(all="ignore"):
            found = self._tree.value({name: np.asarray(values[name], dtype=float) for name in self.names})
        return _finite(found, _shape(values))

    def linear(self) -> tuple[dict[str, float], float] | None:
        """Coefficients by name, and the constant, of a linear expression (as it is written: ``a*a / a`` is none); None of any other."""
        return self._tree.linear()

    def gradient(self, values: Mapping[str, Number]) -> tuple[Number, dict[str, Number]]:
        """Its value, and its derivative by each of `names`; not-a-number where one is no finite number.

        At a kink (``abs(x)`` at 0, ``max(a, b)`` at a = b) it is that of one side, or 0.
        """
        with np.errstate(all="ignore"):
            value, slopes = self._tree.slope({name: np.asarray(values[name], dtype=float) for name in self.names})
        shape = _shape(values)
        return _finite(value, shape), {name: _finite(slopes[name], shape) for name in self.names}


def _shape(values: Mapping[str, Number]) -> tuple[int, ...]:
    """That of the first array among them; floats have none."""
    return next((value.shape for value in values.values() if isinstance(value, np.ndarray) and value.ndim), ())


def _finite(found: Array, shape: tuple[int, ...]) -> Number:
    """A float, or an array of `shape`, not-a-number where it is not finite."""
    if not shape:
        return float(found) if math.isfinite(found) else math.nan
    return np.where(np.isfinite(found), found, np.nan) if np.shape(found) == shape else np.full(shape, found if np.isfinite(found) else np.nan)


def parse(text: str, names: Sequence[str]) -> Expression:
    """Read an expression such as ``120 + count_time_s`` or ``exp(-t / 60)``.

    Parameters
    ----------
    text : str
    names : sequence of str
        Those that may stand in it.

    Raises
    ------
    ValueError
        For anything else than arithmetic of numbers and `names`, and for numbers that are too large. In words:
        ``given ...; allowed: ...``.
    """
    return Expression(text.strip(), _checked(_tree(text), text, names))


def parse_comparison(text: str, names: Sequence[str]) -> tuple[Expression, Operator, Expression]:
    """Read two expressions and what stands between them: ``<=``, ``>=`` or ``==``; as `parse`."""
    tree = _tree(text)
    if not (isinstance(tree, ast.Compare) and len(tree.ops) == 1 and type(tree.ops[0]) in _COMPARED):
        raise ValueError(f"given {text!r}; allowed: one comparison with <=, >= or ==")
    left, right = (Expression(ast.get_source_segment(text.strip(), side) or text, _checked(side, text, names))
                   for side in (tree.left, tree.comparators[0]))
    return left, _COMPARED[type(tree.ops[0])], right


def _tree(text: str) -> ast.expr:
    if len(text) > LONGEST:
        raise ValueError(f"given {len(text)} characters; allowed: an expression of at most {LONGEST}")
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # what Python's parser says of text that is none, or too deep
        raise ValueError(f"given {text!r}; allowed: an expression such as 'a + 2*b' or 'exp(-t / 60)'") from error


def _checked(tree: ast.expr, text: str, names: Sequence[str]) -> _Node:
    if sum(1 for _ in ast.walk(tree)) > 3 * LARGEST:  # the walk counts operators and contexts, too
        raise ValueError(f"given {text!r}; allowed: an expression of at most {LARGEST} operations and operands")
    return _Reader(text, tuple(names)).read(tree, 0)


@dataclass(frozen=True)
class _Reader:
    """From Python's syntax tree to nodes; everything that is not known is refused."""

    text: str
    allowed: tuple[str, ...]

    def read(self, node: ast.expr, depth: int) -> _Node:
        if depth > DEEPEST:
            raise self._refusal(f"at most {DEEPEST} operations within each other")
        if isinstance(node, ast.Constant):
            return self._number(node.value)
        if isinstance(node, ast.Name):
            if node.id not in self.allowed:
                raise self._refusal(f"numbers, {', '.join((*self.allowed, *FUNCTIONS))}", f"{node.id} is not known")
            return _Node(name=node.id)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            inner = self.read(node.operand, depth + 1)
            return self._applied("minus", inner) if isinstance(node.op, ast.USub) else inner
        if isinstance(node, ast.BinOp) and type(node.op) in _SYMBOLS:
            return self._applied(_SYMBOLS[type(node.op)], self.read(node.left, depth + 1), self.read(node.right, depth + 1))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS and not node.keywords:
            return self._applied(node.func.id, *(self.read(one, depth + 1) for one in node.args))
        raise self._refusal(f"numbers, names, + - * / **, parentheses and {', '.join(FUNCTIONS)}", f"{_excerpt(node)} is not known")

    def _number(self, value: object) -> _Node:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._refusal("numbers and names", f"{value!r} is no number")
        try:
            number = float(value)
        except OverflowError as error:
            raise self._refusal("finite numbers", "a number is too large") from error
        if not np.isfinite(number):
            raise self._refusal("finite numbers", "a number is too large")
        return _Node(number=number)

    def _applied(self, operation: str, *parts: _Node) -> _Node:
        known = _OPERATIONS[operation]
        if not known.n_least <= len(parts) <= known.n_most:
            wanted = str(known.n_least) if known.n_least == known.n_most else f"{known.n_least} or more"
            raise self._refusal(f"{wanted} in {operation}", f"{operation} of {len(parts)}")
        node = _Node(operation, parts)
        if all(not part.parts and not part.name for part in parts):
            with np.errstate(all="ignore"):
                value = float(node.value({}))
            if not np.isfinite(value):
                raise self._refusal("finite numbers", f"{operation} of {', '.join(f'{part.number:g}' for part in parts)} is no finite number")
            return _Node(number=value)
        return node

    def _refusal(self, allowed: str, why: str = "") -> ValueError:
        return ValueError(f"given {self.text!r}{f': {why}' if why else ''}; allowed: {allowed}")


def _excerpt(node: ast.expr) -> str:
    text = ast.unparse(node)
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
