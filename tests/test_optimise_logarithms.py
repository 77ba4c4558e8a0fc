"""Outcomes that are products of conditions: models of their logarithms, where these explain them better."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from lab.core.question import CampaignConfig, Objective
from lab.core.trial import Measured, Outcome, Trial, TrialState
from lab.optimise import make_optimizer
from lab.optimise.domain import Domain
from lab.optimise.explain import explain
from lab.optimise.left_out import left_out
from lab.optimise.recommend import recommend
from lab.optimise.scaling import scale_of
from lab.optimise.study import Study, study_of


def campaign(**more: Any) -> CampaignConfig:
    return CampaignConfig.model_validate({
        "name": "test", "recipe": "none", "parameters": [{"name": n, "type": "range", "bounds": [0, 1]} for n in "ab"],
        "objectives": [{"name": "y", "goal": "maximize"}], "budget": {"trials": 100}, "optimizer": {"engine": "botorch", "initial": 4}, **more})


def peak(a: float, b: float) -> float:
    """Vanishes by degrees on all sides."""
    return float(np.exp(-40 * (a - 0.3) ** 2 - 30 * (b - 0.6) ** 2))


def ridge(a: float, b: float) -> float:
    """Far from nothing everywhere."""
    return 50.0 + float(np.sin(5 * a) + np.cos(4 * b))


def trials_of(function: Callable[[float, float], float], n: int = 20, sem: float | None = 0.0) -> list[Trial]:
    places = np.random.default_rng(5).random((n, 2))
    return [Trial(k, TrialState.COMPLETED, {"a": float(a), "b": float(b)}, outcome=Outcome({"y": Measured(function(float(a), float(b)), sem)}))
            for k, (a, b) in enumerate(places)]


def study(config: CampaignConfig, trials: Sequence[Trial]) -> Study:
    return study_of(config, Domain(config.space), trials)


# ----------------------------------------------------------------------------------------------------------- the scale


@pytest.mark.parametrize("is_log", [False, True])
def test_a_scale_goes_to_the_model_and_back(is_log: bool) -> None:
    raw = np.array([0.02, 0.3, 0.4, 0.5, 0.6, 0.7])
    scale = scale_of(raw, None, is_log)
    y = scale.to_unit(raw)
    assert y.mean() == pytest.approx(0.0, abs=1e-12) and y.std(ddof=1) == pytest.approx(1.0)
    assert scale.from_unit(y) == pytest.approx(raw)
    assert scale.rate(y) == pytest.approx((scale.from_unit(y + 1e-6) - scale.from_unit(y - 1e-6)) / 2e-6, rel=1e-6)


@pytest.mark.parametrize("is_log", [False, True])
def test_the_stretch_is_the_logarithm_of_the_derivative_also_beyond_the_fence(is_log: bool) -> None:
    raw = np.array([1e-4, 0.02, 3.0, 3.3, 4.1, 5.2, 6.0, 7.0])
    scale = scale_of(raw, Objective(name="y", goal="maximize"), is_log)
    assert scale.is_drawn_in(raw).any() == is_log  # 0.0001 lies apart on the logarithmic scale only
    step = 1e-6 * raw
    slopes = (scale.to_unit(raw + step) - scale.to_unit(raw - step)) / (2 * step)
    assert scale.stretch(raw) == pytest.approx(np.log(slopes), abs=1e-4)


def test_a_deviation_in_the_outcomes_unit_is_half_of_what_holds_two_thirds() -> None:
    scale = scale_of(np.array([0.1, 1.0, 10.0]), None, is_log=True)
    median, deviation = scale.natural(np.array([0.0]), np.array([1.0]))
    assert median == pytest.approx([1.0]) and deviation == pytest.approx([(10.0 - 0.1) / 2])


def test_what_is_not_above_nothing_is_infinitely_far_below_on_a_logarithmic_scale() -> None:
    scale = scale_of(np.array([0.1, 1.0, 10.0]), None, is_log=True)
    assert scale.to_unit(np.array([0.0, -3.0])).tolist() == [-np.inf, -np.inf]


# ----------------------------------------------------------------------------------------------------------- the choice


@pytest.mark.parametrize(("function", "is_log"), [(peak, True), (ridge, False)])
@pytest.mark.parametrize("unit", [1.0, 1e-6, 1e9])
def test_the_scale_on_which_the_outcomes_are_more_probable_is_taken_whatever_their_unit(function: Callable[[float, float], float], is_log: bool, unit: float) -> None:
    models = study(campaign(), trials_of(lambda a, b: unit * function(a, b))).models()
    assert models.remembered["y"].is_log == is_log and models.study["y"].scale.is_log == is_log
    mean, deviation = models.natural("y", np.array([[0.35, 0.55]]))
    assert mean[0] == pytest.approx(unit * function(0.35, 0.55), rel=0.1) and 0 < deviation[0] < 0.2 * mean[0]


@pytest.mark.parametrize("more", [
    {"objectives": [{"name": "y", "goal": "minimize"}]}, {"objectives": [{"name": "y", "goal": "target", "target": 0.5}]}, {"drift": {}},
    {"prior_mean": {"y": "0.5 * a"}}], ids=["smallest", "target", "drift", "prior mean"])
def test_logarithms_are_thought_of_where_much_is_sought_and_nothing_else_is_known(more: dict[str, Any]) -> None:
    assert study(campaign(), trials_of(peak))["y"].logarithms is not None
    assert study(campaign(**more), trials_of(peak))["y"].logarithms is None


def test_an_outcome_that_has_no_logarithm_ends_their_use_and_no_campaign() -> None:
    trials = trials_of(peak)
    before = study(campaign(), trials).models()
    assert before.remembered["y"].is_log
    nothing = Trial(20, TrialState.COMPLETED, {"a": 0.95, "b": 0.05}, outcome=Outcome({"y": Measured(0.0, 0.0)}))
    after = study(campaign(), [*trials, nothing]).models(before.kernels)
    assert not after.remembered["y"].is_log and after.remembered["y"].n_sought == 21


def test_the_choice_is_remembered_to_the_last_bit() -> None:
    config, trials = campaign(), trials_of(peak)
    first = study(config, trials[:18]).models()
    again = study(config, trials[:18]).models(json.loads(json.dumps(first.kernels)))
    assert again.kernels == first.kernels and again.study["y"].scale.is_log
    later = study(config, trials).models(json.loads(json.dumps(first.kernels)))
    assert later.remembered["y"].is_log and later.remembered["y"].n_sought == 18


def test_replicates_do_not_change_the_choice() -> None:
    trials = trials_of(peak, 14, sem=None)
    twice = [*trials, *(Trial(14 + k, t.state, t.planned, outcome=t.outcome) for k, t in enumerate(trials))]
    models = study(campaign(), twice).models()
    assert models.remembered["y"].is_log and len(models.outcomes["y"].data.y) == 14


# ----------------------------------------------------------------------------------------------------------- what is made of it


def test_a_suggestion_expects_outcomes_in_their_own_unit() -> None:
    config = campaign()
    suggestion, = make_optimizer(config).suggest(trials_of(peak))
    assert suggestion.thought["kernels"]["y"]["is_log"] is True
    expected, deviation = suggestion.thought["expected"]["y"]
    truth = peak(float(suggestion.values["a"]), float(suggestion.values["b"]))
    assert expected == pytest.approx(truth, rel=0.3) and truth > 0.8
    assert 0 < deviation < expected and 0 <= suggestion.thought["improvement"] < 0.5
    best = max(t.outcome.measured["y"].mean for t in trials_of(peak) if t.outcome is not None)
    assert suggestion.thought["aim"] == f"y above {best:.4g}"


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_outcomes_of_hundreds_of_orders_of_magnitude_are_sound() -> None:
    trials = trials_of(lambda a, b: 1e149 * 10.0 ** (-290.0 * a))
    suggestion, = make_optimizer(campaign()).suggest(trials)
    assert float(suggestion.values["a"]) < 0.1
    assert all(np.isfinite(suggestion.thought["expected"]["y"]))


def test_left_out_samples_are_as_many_deviations_away_as_in_the_model() -> None:
    models = study(campaign(), trials_of(peak)).models()
    posterior, scale = models.outcomes["y"], models.study["y"].scale
    found = left_out(posterior, scale)
    expected, variance = posterior.left_out()
    assert found.standardised == pytest.approx((posterior.data.y - expected) / np.sqrt(variance))
    assert found.expected == pytest.approx(scale.from_unit(expected)) and (found.deviation > 0).all()


def test_explanation_and_recommendation_are_in_the_outcomes_unit() -> None:
    config, trials = campaign(), trials_of(peak)
    told, = explain(config, trials).outcomes
    assert told.is_log and told.left_out.r2 > 0.8
    assert all(0.0 <= value <= 2.0 for curve in told.slices for value in curve.mean)
    best = recommend(config, trials).best
    assert best is not None and best.trial is not None
    outcome = trials[best.trial].outcome
    assert outcome is not None and best.outcomes["y"][0] == pytest.approx(outcome.measured["y"].mean, rel=0.01)
