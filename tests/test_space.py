"""What a campaign file says of its space: fixed parameters, constraints of any shape, choices that are alike."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from lab.core.question import CampaignConfig, FixedSpec, RangeSpec
from lab.core.space import (
    ChoiceParameter,
    ExpressionConstraint,
    FixedParameter,
    LinearConstraint,
    RangeParameter,
    Space,
    parse_constraint,
)

RANGES = [{"name": "a", "type": "range", "bounds": [0, 2]}, {"name": "b", "type": "range", "bounds": [0, 4]}]
SOLVENT = {"name": "s", "type": "choice", "values": ["DMF", "DMSO", "GBL"]}


def campaign(parameters: list[dict[str, Any]], *constraints: str, **more: Any) -> CampaignConfig:
    return CampaignConfig.model_validate({
        "name": "films", "recipe": "thin_film", "parameters": parameters, "constraints": constraints, "objectives": [{"name": "gap", "goal": "minimize"}],
        "budget": {"trials": 5}, "optimizer": {"engine": "botorch"}} | more)


def test_a_constraint_that_is_linear_is_read_as_such_and_any_other_as_an_expression() -> None:
    space = campaign(RANGES, "a + 2*b <= 3", "a * b <= 3", "sqrt(a**2 + b**2) >= 1").space
    assert [str(c) for c in space.constraints] == ["a + 2*b <= 3"]
    assert [str(c) for c in space.nonlinear] == ["a * b <= 3", "sqrt(a**2 + b**2) >= 1"]


def test_what_breaks_a_constraint_that_is_not_linear_is_said_with_its_left_side() -> None:
    space = campaign(RANGES, "a * b <= 3").space
    assert space.problems({"a": 1.5, "b": 2.0}) == []
    assert space.problems({"a": 1.5, "b": 3.0}) == ["a * b <= 3 is not met: the left side is 4.5"]


def test_a_constraint_is_not_met_where_it_is_no_number() -> None:
    assert campaign(RANGES, "log(a) <= 3").space.problems({"a": 0.0, "b": 1.0}) == ["log(a) <= 3 is not met: the left side is nan"]


def test_the_excess_and_its_slope_are_those_of_the_difference_of_both_sides() -> None:
    c = parse_constraint("a * b >= a + 1", ["a", "b"])
    assert isinstance(c, ExpressionConstraint)
    assert c.excess({"a": 2.0, "b": 1.0}) == pytest.approx(1.0)
    assert c.slope({"a": 2.0, "b": 1.0}) == pytest.approx({"a": 0.0, "b": -2.0})


@pytest.mark.parametrize("text, message", [
    ("a * b == 1", "allowed: an equality of linear expressions"),
    ("a * q <= 1", "q is not known; allowed: numbers, a, b"),
    ("s <= 1", "s is not known"),
    ("2 * 3 <= 1", "allowed: a constraint on at least one of a, b"),
    ("a - a <= 1", "allowed: a constraint on at least one of a, b"),
    ("1e308*a + 1e308*a <= 1", "allowed: finite numbers"),
    ("a ** 9 ** 9 ** 9 <= 1", "no finite number"),
])
def test_what_is_no_constraint_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValidationError, match="constraints.0: .*") as caught:
        campaign([*RANGES, SOLVENT], text)
    assert message in str(caught.value)


def test_the_engine_ax_refuses_what_is_not_linear() -> None:
    with pytest.raises(ValidationError, match="given ax with constraints that are not linear; allowed: botorch"):
        campaign(RANGES, "a * b <= 3", optimizer={"engine": "ax"})


def test_a_fixed_parameter_has_one_value_and_may_stand_in_a_constraint() -> None:
    space = campaign([*RANGES, {"name": "t", "type": "fixed", "value": 3, "unit": "min"}, {"name": "s", "type": "fixed", "value": "DMF"}],
                     "a + t <= 4", "a * t <= 3").space
    assert space.problems({"a": 1.0, "b": 0.0, "t": 3, "s": "DMF"}) == []
    assert space.problems({"a": 1.0, "b": 0.0, "t": 4, "s": "water"}) == ["t: given 4; allowed: 3 min, it is fixed", "s: given 'water'; allowed: DMF, it is fixed"]
    assert space.with_fixed(space.constraints[0]) == LinearConstraint((("a", 1.0),), "<=", 1.0)


def test_a_text_that_is_fixed_stands_in_no_constraint() -> None:
    with pytest.raises(ValidationError, match="s is not known"):
        campaign([*RANGES, {"name": "s", "type": "fixed", "value": "DMF"}], "s <= 1")


def test_a_constraint_that_what_is_fixed_breaks_is_refused() -> None:
    space = Space((FixedParameter("t", 3), RangeParameter("a", 0, 1)), (LinearConstraint((("t", 1.0),), "<=", 2.0),))
    with pytest.raises(ValueError, match="it is not met by what is fixed"):
        space.with_fixed(space.constraints[0])


def test_a_narrowed_range_keeps_the_scale_of_its_first_bounds() -> None:
    first = RangeSpec(name="t", type="integer", bounds=(0, 100), unit="degC", sets="anneal_temperature")
    once = first.narrowed(20, 60)
    assert isinstance(once, RangeSpec)
    assert once.narrowed(40, 40) == FixedSpec(name="t", type="fixed", value=40, unit="degC", sets="anneal_temperature", scaled_by=(0, 100))
    assert once.parameter() == RangeParameter("t", 20, 60, is_integer=True, unit="degC", scaled_by=(0, 100))


@pytest.mark.parametrize("given, message", [
    ({"descriptors": {"DMF": [1], "DMSO": [2]}}, "descriptors: given DMF, DMSO; allowed: one entry for each of DMF, DMSO, GBL"),
    ({"descriptors": {"DMF": [1], "DMSO": [2], "GBL": [3, 4]}}, "descriptors: given lists of 1, 2 numbers; allowed: as many numbers for each value"),
    ({"descriptors": {"DMF": [], "DMSO": [], "GBL": []}}, "at least one"),
    ({"descriptors": {"DMF": [1], "DMSO": [1], "GBL": [1]}}, "the same numbers for all values"),
    ({"descriptors": {"DMF": [1], "DMSO": [float("nan")], "GBL": [1]}}, "finite number"),
    ({"smiles": {"DMF": "CN(C)C=O", "water": "O"}}, "smiles: given DMF, water; allowed: one entry for each of DMF, DMSO, GBL"),
    ({"descriptors": {"DMF": [1], "DMSO": [2], "GBL": [3]}, "is_ordered": True}, "is_ordered: given true with descriptors"),
])
def test_descriptors_that_do_not_fit_the_values_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        campaign([SOLVENT | given])
    assert message in str(caught.value)


def test_descriptors_go_with_their_values_whatever_the_order_they_are_given_in() -> None:
    found = campaign([{"name": "n", "type": "choice", "values": [10, 2], "descriptors": {"2": [0.5], "10": [7]}}]).space["n"]
    assert isinstance(found, ChoiceParameter)
    assert found.descriptors == ((7.0,), (0.5,))
