"""When a campaign has found what it looks for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lab.core.question import CampaignConfig
from lab.core.trial import Measured, Outcome, Trial, TrialState
from lab.optimise.aim import aim_of
from lab.optimise.domain import Domain
from lab.optimise.stopping import confidence, verdict
from lab.optimise.study import study_of


def campaign(stop: dict[str, Any] | None, **more: Any) -> CampaignConfig:
    return CampaignConfig.model_validate({
        "name": "test", "recipe": "none", "parameters": [{"name": "a", "type": "range", "bounds": [0, 1]}],
        "objectives": [{"name": "y", "goal": "maximize"}], "budget": {"trials": 100}, "optimizer": {"engine": "botorch"}, "stop": stop, **more})


def thinking(*thoughts: dict[str, Any], hours: float = 1.0) -> list[Trial]:
    return [Trial(k, TrialState.COMPLETED, {"a": 0.1}, outcome=Outcome({"y": Measured(0.0)}), thought=thought,
                  began_lab_s=k * 3600.0 * hours, ended_lab_s=(k + 1) * 3600.0 * hours) for k, thought in enumerate(thoughts)]


def hoping(*improvements: float | None) -> list[dict[str, Any]]:
    return [{"kernels": {}, "improvement": improvement} for improvement in improvements]


def test_a_campaign_ends_when_little_improvement_was_expected_often_enough_in_a_row() -> None:
    config = campaign({"improvement": 0.1, "times": 3})
    said = verdict(config, thinking(*hoping(0.5, 0.09, 0.08, 0.03)))
    assert said == "expected improvement of y below 0.1 (3 suggestions in a row, the last one: 0.03)"
    assert verdict(config, thinking(*hoping(0.5, 0.09, 0.2, 0.08, 0.03))) == ""
    assert verdict(config, thinking(*hoping(0.01, 0.01))) == ""


def test_a_suggestion_of_which_no_improvement_is_known_breaks_the_row() -> None:
    assert verdict(campaign({"improvement": 0.1, "times": 2}), thinking(*hoping(0.01, None, 0.01))) == ""


def test_references_and_points_that_people_gave_are_passed_over() -> None:
    config = campaign({"improvement": 0.1, "times": 2})
    assert verdict(config, thinking(*hoping(0.01), {}, {"remarks": []}, *hoping(0.01))) != ""


def test_a_suggestion_that_was_given_up_does_not_count() -> None:
    config = campaign({"improvement": 0.1, "times": 2})
    kept = thinking(*hoping(0.01, 0.5))
    vetoed = Trial(2, TrialState.ABANDONED, {"a": 0.2}, thought=hoping(0.01)[0])
    assert verdict(config, [*kept, vetoed]) == ""


def test_improvement_per_hour_counts_what_the_suggestion_was_to_take_or_else_what_samples_took() -> None:
    config = campaign({"improvement_per_hour": 0.1, "times": 1})
    assert verdict(config, thinking(*hoping(0.15), hours=2.0)) == "expected improvement of y in an hour below 0.1 (1 suggestion in a row, the last one: 0.075)"
    assert verdict(config, thinking(*hoping(0.15), hours=1.0)) == ""
    assert verdict(config, thinking({"kernels": {}, "improvement": 0.15, "seconds": 7200}, hours=1.0)) != ""
    unknown = [Trial(0, TrialState.COMPLETED, {"a": 0.1}, thought=hoping(0.0)[0])]
    assert verdict(config, unknown) == ""


def test_confidence_counts_only_for_the_tolerance_it_was_asked_for() -> None:
    config = campaign({"confidence": {"probability": 0.9, "within": 0.02}, "times": 2})
    sure = [{"kernels": {}, "confidence": {"within": 0.02, "probability": 0.97}}] * 2
    assert "at most 0.02 from the best y with a probability of at least 0.9 (2 suggestions in a row, the last one: 0.97)" in verdict(config, thinking(*sure))
    other = [{"kernels": {}, "confidence": {"within": 0.5, "probability": 0.97}}] * 2
    assert verdict(config, thinking(*other)) == ""


def test_without_rules_nothing_ends() -> None:
    assert verdict(campaign(None), thinking(*hoping(0.0, 0.0, 0.0))) == ""


def asked(values: list[float], within: float, goal: dict[str, Any], limits: tuple[str, ...] = ()) -> dict[str, float] | None:
    """What the model says of these points, for y = -(a - 0.4)^2 with a scatter of 0.001."""
    config = campaign({"confidence": {"within": within}}, objectives=[{"name": "y", **goal}], outcome_constraints=list(limits))
    domain = Domain(config.space)
    trials = [Trial(k, TrialState.COMPLETED, {"a": a}, outcome=Outcome({"y": Measured(-(a - 0.4) ** 2, 0.001)})) for k, a in enumerate(values)]
    models = study_of(config, domain, trials).models()
    return confidence(config, models, aim_of(config, models), np.linspace(0, 1, 101)[:, None], np.random.default_rng(0))


def sure(values: list[float], within: float, goal: dict[str, Any], limits: tuple[str, ...] = ()) -> float:
    """The probability that the best of these points is at most so far from the best there is."""
    found = asked(values, within, goal, limits)
    assert found is not None
    assert found["within"] == within
    return found["probability"]


def test_confidence_grows_with_what_is_measured_around_the_best_point() -> None:
    far, near = [0.9 + 0.01 * k for k in range(10)], [0.0, 0.2, 0.3, 0.35, 0.4, 0.45, 0.5, 0.7, 0.85, 1.0]
    assert sure(far, 0.01, {"goal": "maximize"}) < 0.5
    assert sure(near, 0.01, {"goal": "maximize"}) > 0.95
    assert sure(near, 0.01, {"goal": "maximize"}) >= sure(near, 1e-5, {"goal": "maximize"})


@pytest.mark.parametrize(("goal", "low"), [({"goal": "minimize"}, 0.95), ({"goal": "target", "target": -0.04}, 0.95)])
def test_confidence_is_of_whatever_the_goal_is(goal: dict[str, Any], low: float) -> None:
    assert sure([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0], 0.02, goal) > low


def scattered(repeats: int, sem: float | None = None) -> float:
    """How sure the model is of y = -(a - 0.4)^2, with a scatter of 0.03, of 16 places and so many repeated samples, within 0.05."""
    config = campaign({"confidence": {"within": 0.05}}, objectives=[{"name": "y", "goal": "maximize"}])
    rng = np.random.default_rng(2)
    places = [k / 15 for k in range(16)] + [k / 15 for k in range(repeats)]
    trials = [Trial(k, TrialState.COMPLETED, {"a": a}, outcome=Outcome({"y": Measured(-(a - 0.4) ** 2 + 0.03 * rng.standard_normal(), sem)})) for k, a in enumerate(places)]
    models = study_of(config, Domain(config.space), trials).models()
    found = confidence(config, models, aim_of(config, models), np.linspace(0, 1, 101)[:, None], np.random.default_rng(0))
    assert found is not None
    return found["probability"]


def test_scatter_that_nothing_bears_out_may_be_structure() -> None:
    assert scattered(0) < 0.5
    assert scattered(8) > 0.9, "repeated samples show that it is scatter"
    assert scattered(0, sem=0.03) > 0.9, "so do standard errors"


def test_a_model_of_few_outcomes_is_not_asked_how_sure_it_is() -> None:
    assert asked([0.1 * k for k in range(9)], 1.0, {"goal": "maximize"}) is None
    assert asked([0.1 * k for k in range(10)], 1.0, {"goal": "maximize"}) is not None


def test_where_no_measured_point_may_be_recommended_there_is_no_confidence() -> None:
    assert sure([0.1 * k for k in range(10)], 1.0, {"goal": "maximize"}, limits=("y >= 3",)) == 0.0
