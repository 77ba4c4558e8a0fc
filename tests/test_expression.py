"""Arithmetic in files: what it computes, and what it refuses to be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.core.expression import parse, parse_comparison


@pytest.mark.parametrize("text, expected", [
    ("1 + 2 * 3", 7.0), ("-a ** 2", -9.0), ("(a + b) / 2", 2.5), ("2 ** -1", 0.5), ("sqrt(a ** 2 + 16)", 5.0), ("exp(0) + log(1)", 1.0),
    ("log10(1000)", 3.0), ("abs(-b)", 2.0), ("min(a, b, 1)", 1.0), ("max(a, b)", 3.0), ("sin(0) + cos(0) + tan(0)", 1.0), ("+a - -b", 5.0),
])
def test_an_expression_has_the_value_that_arithmetic_gives_it(text: str, expected: float) -> None:
    assert parse(text, ["a", "b"])({"a": 3.0, "b": 2.0}) == pytest.approx(expected)


def test_floats_give_a_float_and_arrays_an_array() -> None:
    half = parse("t * exp(-t / 60)", ["t"])
    assert isinstance(half({"t": 60.0}), float)
    assert half({"t": np.array([0.0, 60.0])}) == pytest.approx([0.0, 60.0 / math.e])


def test_a_constant_is_as_long_as_the_values_it_is_asked_for() -> None:
    assert parse("2 * 3", ["t"])({"t": np.zeros(3)}) == pytest.approx([6.0, 6.0, 6.0])


def test_it_knows_the_names_it_depends_on_in_their_order() -> None:
    assert parse("b * a + b - max(c, 1)", ["a", "b", "c", "d"]).names == ("b", "a", "c")


def test_a_parameter_may_be_named_as_a_function() -> None:
    assert parse("exp(exp)", ["exp"])({"exp": 0.0}) == 1.0


@given(st.floats(0.1, 3), st.floats(0.1, 3), st.sampled_from([
    "a * b", "a / b - b / a", "a ** b", "b ** 3 - 2 ** a", "sqrt(a ** 2 + b ** 2)", "a * exp(-b / 2) + log(a)", "log10(a) * abs(b - 5)",
    "min(a, 2 * b + 9) + max(a - 9, b)", "sin(a) * cos(b) + tan(a / 9)", "-a", "(a + b) ** 0 + a",
]))
@settings(max_examples=60, deadline=None)
def test_a_gradient_is_that_of_small_differences(a: float, b: float, text: str) -> None:
    expression, step = parse(text, ["a", "b"]), 1e-6
    value, slopes = expression.gradient({"a": a, "b": b})
    assert value == pytest.approx(expression({"a": a, "b": b}))
    for name in expression.names:
        up, down = ({"a": a, "b": b} for _ in range(2))
        up[name] += step
        down[name] -= step
        assert slopes[name] == pytest.approx((expression(up) - expression(down)) / (2 * step), rel=1e-5, abs=1e-6)


def test_where_it_is_no_number_the_place_is_named() -> None:
    with pytest.raises(ValueError, match=r"'log\(a\)': it is no finite number at a = 0"):
        parse("log(a)", ["a"])({"a": np.array([1.0, 0.0])})


def test_overflow_is_an_error_in_words() -> None:
    with pytest.raises(ValueError, match="no finite number at a = 1000"):
        parse("exp(a)", ["a"])({"a": 1000.0})


def test_where_it_is_no_number_it_can_be_not_a_number() -> None:
    assert np.isnan(parse("sqrt(a)", ["a"]).where_defined({"a": np.array([-1.0, 4.0])})).tolist() == [True, False]


@pytest.mark.parametrize("text, match", [
    ("9**9**9**9", "no finite number"), ("1 / 0", "no finite number"), ("9" * 400, "too large"), ("1e999", "too large"),
    ("log(-1) + a", "no finite number"),
])
def test_numbers_that_are_none_are_refused_when_they_are_read(text: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        parse(text, ["a"])


@pytest.mark.parametrize("text", [
    "__import__('os')", "a.real", "a[0]", "lambda: a", "(a := 3)", "[a for a in b]", "'a' * 3", "True + a", "3j", "open(a)", "exp(x=a)", "exp(*a)",
    "a if b else a", "a and b", "a // b", "a % b", "a @ b", "a < b", "not a", "~a", "f'{a}'", "exp.real", "exp", "...", "None", "minus(a)",
])
def test_what_is_no_arithmetic_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="given .*; allowed: "):
        parse(text, ["a", "b"])


@pytest.mark.parametrize("text", ["", "a +", "a b", "((((", "\0", "-" * 1900 + "a", "(" * 150 + "a" + ")" * 150 + "+", "a\nb"])
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="; allowed: "):
        parse(text, ["a"])


def test_too_much_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 2000"):
        parse("a" + "+a" * 3000, ["a"])
    with pytest.raises(ValueError, match="at most 500 operations"):
        parse("a" + "+a" * 900, ["a"])
    with pytest.raises(ValueError, match="at most 100 operations within each other"):
        parse("a" + "+a" * 120, ["a"])


def test_an_unknown_name_is_named_with_those_that_are_known() -> None:
    with pytest.raises(ValueError, match="c is not known; allowed: numbers, a, b, sqrt"):
        parse("a + c", ["a", "b"])


def test_a_function_of_too_few_or_many_is_refused() -> None:
    with pytest.raises(ValueError, match="sqrt of 2; allowed: 1 in sqrt"):
        parse("sqrt(a, a)", ["a"])
    with pytest.raises(ValueError, match="max of 1; allowed: 2 or more in max"):
        parse("max(a)", ["a"])


def test_a_comparison_has_two_sides() -> None:
    left, operator, right = parse_comparison("a * b <= 3 - a", ["a", "b"])
    assert (operator, left({"a": 2.0, "b": 3.0}), right({"a": 2.0, "b": 3.0})) == ("<=", 6.0, 1.0)


@pytest.mark.parametrize("text", ["a", "a < b", "a <= b <= 3", "a != b"])
def test_what_compares_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="one comparison with <=, >= or =="):
        parse_comparison(text, ["a", "b"])
