"""The search for the best point: what it finds is what looking everywhere finds, and keeps every constraint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from lab.core.question import CampaignConfig
from lab.core.space import (
    ChoiceParameter,
    ExpressionConstraint,
    FixedParameter,
    LinearConstraint,
    Parameter,
    RangeParameter,
    Space,
    Value,
    constrainable,
    parse_constraint,
)
from lab.core.trial import Measured, Outcome, Trial, TrialState
from lab.optimise import make_optimizer
from lab.optimise.ascent import seek
from lab.optimise.domain import Domain
from lab.optimise.gaussian import ModelFailed
from lab.optimise.polytope import Array
from lab.optimise.starts import candidates
from lab.optimise.terms import Acquisition
from lab.optimise.tried import Tried


def space_of(parameters: Sequence[Parameter], *texts: str) -> Space:
    constraints = [parse_constraint(text, constrainable(parameters)) for text in texts]
    return Space(tuple(parameters), tuple(c for c in constraints if isinstance(c, LinearConstraint)),
                 tuple(c for c in constraints if isinstance(c, ExpressionConstraint)))


@dataclass(frozen=True)
class Hills:
    """The logarithm of a sum of hills: a term with several maxima."""

    tops: Array
    heights: Array
    width: float = 0.2

    def values(self, x: Array) -> Array:
        return np.array([self.slope(one)[0] for one in x])

    def slope(self, x: Array) -> tuple[float, Array]:
        away = x - self.tops
        parts = self.heights * np.exp(-(away ** 2).sum(axis=1) / (2 * self.width ** 2)) + 1e-300
        return float(np.log(parts.sum())), -(parts[:, None] * away).sum(axis=0) / parts.sum() / self.width ** 2


def best(space: Space, *hills: tuple[Sequence[float], float], width: float = 0.2, tried: Array | None = None) -> dict[str, Value]:
    domain = Domain(space)
    term = Hills(np.array([top for top, _ in hills], dtype=float), np.array([height for _, height in hills]), width)
    record = Tried(np.zeros((0, domain.n_columns)), np.zeros((0, domain.n_columns)) if tried is None else tried)
    spread = candidates(domain, 0)
    points, values = seek(domain, Acquisition([term]), record, spread, spread[:0], np.random.default_rng(0))
    assert (np.diff(values) <= 0).all()
    found = domain.values(points)
    assert [space.problems(one) for one in found] == [[]] * len(found)
    return found[0]


NUMBERS = [RangeParameter(name, 0, 1) for name in "xyz"]


def test_a_maximum_inside_is_met() -> None:
    assert list(best(space_of(NUMBERS), ((0.3, 0.7, 0.2), 1.0)).values()) == pytest.approx([0.3, 0.7, 0.2], abs=1e-3)


def test_the_higher_of_two_hills_is_found() -> None:
    found = best(space_of(NUMBERS), ((0.2, 0.2, 0.2), 1.0), ((0.8, 0.8, 0.8), 1.2), width=0.15)
    assert list(found.values()) == pytest.approx([0.8, 0.8, 0.8], abs=1e-2)


def test_a_maximum_beyond_a_curved_border_is_approached_to_the_border() -> None:
    # Nearest point of the disc to (1, 1): on the diagonal.
    found = best(space_of(NUMBERS, "x**2 + y**2 <= 0.5"), ((1.0, 1.0, 0.5), 1.0))
    assert list(found.values()) == pytest.approx([0.5, 0.5, 0.5], abs=1e-3)


def test_several_constraints_of_both_kinds_are_kept_together() -> None:
    # On x + y == 1 with x * y <= 0.09: x <= 0.1 or x >= 0.9.
    found = best(space_of(NUMBERS, "x + y == 1", "x * y <= 0.09"), ((0.7, 0.3, 0.5), 1.0))
    assert list(found.values()) == pytest.approx([0.9, 0.1, 0.5], abs=1e-3)


def test_what_is_fixed_counts_in_a_constraint() -> None:
    found = best(space_of([*NUMBERS, FixedParameter("t", 4)], "x * t <= 2", "y + t <= 4.25"), ((1.0, 1.0, 0.5), 1.0))
    assert found == {"x": pytest.approx(0.5, abs=1e-3), "y": pytest.approx(0.25, abs=1e-3), "z": pytest.approx(0.5, abs=1e-3), "t": 4}


def test_a_choice_that_only_pays_with_other_numbers_is_found() -> None:
    # The wide hill is where most points lie; the high one is narrow, and under another choice.
    mixed = space_of([*NUMBERS[:2], RangeParameter("n", 1, 10, is_integer=True), ChoiceParameter("s", tuple("abcd"))])
    wide, narrow = (0.5, 0.5, 3 / 9, 1, 0, 0, 0), (0.15, 0.85, 8 / 9, 0, 0, 1, 0)
    found = best(mixed, (wide, 1.0), (narrow, 2.0))
    assert found == {"x": pytest.approx(0.15, abs=0.01), "y": pytest.approx(0.85, abs=0.01), "n": 9, "s": "c"}


def test_whole_numbers_and_choices_are_found_among_far_too_many_to_look_at() -> None:
    many = space_of([NUMBERS[0], RangeParameter("n", 0, 1000, is_integer=True), ChoiceParameter("s", tuple("abcdefgh")), ChoiceParameter("t", tuple("ABCDE"))])
    top = [0.4, 0.637, *np.eye(8)[5], *np.eye(5)[2]]
    assert best(many, (top, 1.0), width=0.6) == {"x": pytest.approx(0.4, abs=0.01), "n": 637, "s": "f", "t": "C"}


def test_what_is_continuous_gives_way_to_whole_numbers() -> None:
    # n = 8 pays best and leaves x at most 0.2, where few of the first points are.
    space = space_of([NUMBERS[0], RangeParameter("n", 0, 10, is_integer=True)], "10*x + n <= 10")
    assert best(space, ((0.2, 0.8), 5.0), ((0.9, 0.1), 1.0), width=0.1) == {"x": pytest.approx(0.2, abs=1e-3), "n": 8}


def test_a_small_domain_is_looked_at_as_a_whole() -> None:
    space = space_of([RangeParameter("n", 1, 40, is_integer=True), ChoiceParameter("s", tuple("abcd"))])
    narrow = Domain(space).encode_values({"n": 23, "s": "d"})
    assert best(space, (narrow, 1.0), width=0.01) == {"n": 23, "s": "d"}


def test_a_point_that_has_been_tried_is_not_found_again() -> None:
    space = space_of([RangeParameter("n", 1, 3, is_integer=True)])
    assert best(space, ([0.5], 1.0), tried=np.array([[0.5], [1.0]])) == {"n": 1}
    with pytest.raises(ModelFailed, match="no untried point"):
        best(space, ([0.5], 1.0), tried=np.array([[0.0], [0.5], [1.0]]))


def test_fifty_dimensions_are_searched_along_the_gradient() -> None:
    parameters = [RangeParameter(f"x{k}", 0, 1) for k in range(50)]
    found = best(space_of(parameters), (np.full(50, 0.3), 1.0), width=3.0)
    assert np.abs(np.array(list(found.values()), dtype=float) - 0.3).max() < 0.05


@pytest.mark.parametrize("engine", ["botorch", "sobol"])
def test_an_engine_keeps_all_that_a_space_can_say(engine: str) -> None:
    campaign = CampaignConfig.model_validate({
        "name": "all", "recipe": "thin_film", "budget": {"trials": 50}, "objectives": [{"name": "y", "goal": "maximize"}],
        "parameters": [{"name": "a", "type": "range", "bounds": [0, 2]}, {"name": "b", "type": "range", "bounds": [0, 2]},
                       {"name": "k", "type": "range", "bounds": [1e-4, 1], "scale": "log"},
                       {"name": "n", "type": "integer", "bounds": [1, 9]}, {"name": "t", "type": "fixed", "value": 3},
                       {"name": "l", "type": "fixed", "value": "DMF"}, {"name": "o", "type": "choice", "values": [0.1, 1, 10], "is_ordered": True},
                       {"name": "s", "type": "choice", "values": ["A", "B", "C"], "descriptors": {"A": [1], "B": [2], "C": [2]}}],
        "constraints": ["a + b + t == 5", "a * n <= 9", "log(k) + a <= 0"], "optimizer": {"engine": engine, "initial": 4}})
    optimizer, trials = make_optimizer(campaign), []
    for k in range(4):
        for suggestion in optimizer.suggest(trials, 3):
            assert campaign.space.problems(suggestion.values) == []
            y = None if k == 1 else float(suggestion.values["a"]) - abs(float(suggestion.values["n"]) - 4)
            trials.append(Trial(len(trials), TrialState.FAILED if y is None else TrialState.COMPLETED, suggestion.values, thought=suggestion.thought,
                                outcome=None if y is None else Outcome({"y": Measured(y, 0.1)})))
    assert len({tuple(t.planned.values()) for t in trials}) == 12
