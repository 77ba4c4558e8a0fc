"""What campaigns seek: targets, trade-offs, desirabilities, with limits on outcomes; and which trial was the best."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from lab.core.best import best_trial, front_of
from lab.core.question import CampaignConfig
from lab.core.trial import Measured, Outcome, Trial, TrialState
from lab.optimise import make_optimizer
from lab.optimise.aim import Aim, aim_of
from lab.optimise.domain import Domain
from lab.optimise.front_in_doubt import FrontInDoubt
from lab.optimise.recommend import recommend
from lab.optimise.study import Models, study_of
from lab.optimise.terms import OfOutcomes

Y, Z = {"name": "y", "goal": "maximize"}, {"name": "z", "goal": "minimize"}
AT_520 = {"name": "emission", "goal": "target", "target": 520, "unit": "nm"}


def campaign(objectives: Sequence[Mapping[str, Any]], engine: str = "botorch", **more: Any) -> CampaignConfig:
    return CampaignConfig.model_validate({
        "name": "test", "recipe": "none", "parameters": [{"name": n, "type": "range", "bounds": [0, 1]} for n in ("a", "b")],
        "objectives": objectives, "budget": {"trials": 100}, "optimizer": {"engine": engine, "initial": 4}, **more})


def completed(index: int, a: float, b: float, sem: float | None = 1e-3, **outcomes: float) -> Trial:
    return Trial(index, TrialState.COMPLETED, {"a": a, "b": b}, outcome=Outcome({name: Measured(mean, sem) for name, mean in outcomes.items()}))


def two_goals(a: float, b: float) -> dict[str, float]:
    """More of `a` is better for `y` and worse for `z`; what `b` does is bad for both, away from a half."""
    return {"y": a - (b - 0.5) ** 2, "z": a ** 2 + (b - 0.5) ** 2}


def grid(outcomes: Any, n: int = 4) -> list[Trial]:
    places = [(a, b) for a in np.linspace(0, 1, n) for b in np.linspace(0, 1, n)]
    return [completed(k, float(a), float(b), **outcomes(float(a), float(b))) for k, (a, b) in enumerate(places)]


def asked(config: CampaignConfig, trials: Sequence[Trial]) -> tuple[Aim, Models]:
    models = study_of(config, Domain(config.space), trials).models()
    return aim_of(config, models), models


# ------------------------------------------------------------------------------------------------------ targets


def test_a_target_is_sought_on_both_sides_of_it() -> None:
    config = campaign([AT_520])
    trials = grid(lambda a, b: {"emission": 450.0 + 100.0 * a + 20.0 * b})
    for suggestion in make_optimizer(config).suggest(trials, 2):
        values = suggestion.values
        assert 450.0 + 100.0 * float(values["a"]) + 20.0 * float(values["b"]) == pytest.approx(520.0, abs=3.0)


def test_the_best_trial_of_a_target_is_the_nearest_to_it() -> None:
    trials = [completed(0, 0.1, 0.1, emission=600.0), completed(1, 0.2, 0.1, emission=515.0), completed(2, 0.3, 0.1, emission=524.0)]
    best = best_trial(campaign([AT_520]), trials)
    assert best is not None
    assert best.index == 2


def test_the_aim_says_how_near_the_target_is_expected_to_be_reached() -> None:
    trials = grid(lambda a, b: {"emission": 450.0 + 100.0 * a})
    aim, _ = asked(campaign([AT_520]), trials)
    assert aim.words.startswith("emission nearer to 520 than 3.3")


# ------------------------------------------------------------------------------------------------------ trade-offs


def test_a_trade_off_is_sought_where_neither_goal_is_lost_for_nothing() -> None:
    config = campaign([Y, Z])
    trials = grid(two_goals)
    for index in range(len(trials), len(trials) + 4):
        suggestion, = make_optimizer(config).suggest(trials)
        a, b = float(suggestion.values["a"]), float(suggestion.values["b"])
        trials.append(completed(index, a, b, **two_goals(a, b)))
    # The true front has b at a half; one end of it may be sought beyond what is known there.
    assert np.median([abs(float(t.planned["b"]) - 0.5) for t in trials[-4:]]) < 0.05


def test_the_reference_point_is_the_given_one_or_inferred_and_said() -> None:
    trials = grid(two_goals)
    aim, _ = asked(campaign([{**Y, "reference": 0.2}, Z]), trials)
    assert aim.words.startswith("a larger hypervolume beyond y 0.2 (given), z ")
    assert aim.words.endswith("(inferred)")


def test_nothing_below_the_reference_is_worth_a_sample() -> None:
    trials = grid(two_goals)
    free, models = asked(campaign([Y, Z]), trials)
    bound, _ = asked(campaign([{**Y, "reference": 0.7}, Z]), trials)
    x = np.array([[0.2, 0.45], [0.85, 0.45]])
    without, within = free.improvement(models, x), bound.improvement(models, x)
    assert without is not None
    assert within is not None
    assert within[0] < 1e-6 < without[0]
    assert within[1] > 1e-4


def test_the_improvement_of_a_trade_off_is_in_the_product_of_the_units() -> None:
    def scaled(a: float, b: float) -> dict[str, float]:
        return {"y": 1000.0 * two_goals(a, b)["y"], "z": 0.1 * two_goals(a, b)["z"]}

    x = np.array([[0.5, 0.5]])
    plain = [aim.improvement(models, x) for aim, models in [asked(campaign([Y, Z]), grid(outcomes)) for outcomes in (two_goals, scaled)]]
    assert plain[0] is not None
    assert plain[1] is not None
    assert plain[1][0] == pytest.approx(100.0 * plain[0][0], rel=0.05)


def test_a_suggestion_tells_what_was_sought_and_how_much_is_expected() -> None:
    suggestion, = make_optimizer(campaign([Y, Z])).suggest(grid(two_goals))
    assert suggestion.thought["aim"].startswith("a larger hypervolume beyond")
    assert suggestion.thought["improvement"] > 0
    assert set(suggestion.thought["expected"]) == {"y", "z"}


def test_the_best_of_a_trade_off_dominates_most_by_itself_and_the_front_is_all_that_is_not_beaten() -> None:
    config = campaign([{**Y, "reference": 0}, {**Z, "reference": 1}])
    trials = [completed(0, 0.1, 0, y=1.0, z=0.9), completed(1, 0.2, 0, y=0.6, z=0.4), completed(2, 0.3, 0, y=0.1, z=0.0),
              completed(3, 0.4, 0, y=0.5, z=0.5), completed(4, 0.5, 0, y=float("nan"), z=0.0)]
    best = best_trial(config, trials)
    assert best is not None
    assert best.index == 1
    assert [t.index for t in front_of(config, trials)] == [0, 1, 2]


def test_a_limit_on_an_objective_itself_is_kept() -> None:
    config = campaign([Y, Z], outcome_constraints=["z <= 0.5"])
    trials = grid(two_goals)
    for index in range(len(trials), len(trials) + 3):
        suggestion, = make_optimizer(config).suggest(trials)
        a, b = float(suggestion.values["a"]), float(suggestion.values["b"])
        assert two_goals(a, b)["z"] < 0.6
        trials.append(completed(index, a, b, **two_goals(a, b)))


def test_while_no_trial_keeps_a_limit_only_that_is_sought() -> None:
    config = campaign([Y, Z], outcome_constraints=["thickness >= 10"])
    trials = [completed(k, a, 0.5, y=1.0 - a, z=a, thickness=a) for k, a in enumerate((0.1, 0.2, 0.3, 0.4))]
    aim, models = asked(config, trials)
    assert aim.terms(models) == []
    assert aim.improvement(models, np.array([[0.5, 0.5]])) is None
    suggestion, = make_optimizer(config).suggest(trials)
    assert suggestion.values["a"] > 0.9
    assert best_trial(config, trials) is None


def test_four_objectives_give_a_sound_suggestion() -> None:
    objectives = [{"name": f"y{k}", "goal": "maximize"} for k in range(3)] + [{"name": "t", "goal": "target", "target": 0.5}]
    trials = grid(lambda a, b: {"y0": a, "y1": b, "y2": -a - b, "t": a * b})
    suggestion, = make_optimizer(campaign(objectives)).suggest(trials)
    assert suggestion.origin == "botorch"


def scattered() -> list[Trial]:
    rng = np.random.default_rng(0)
    return [completed(k, float(a), float(b), sem=0.1, y=float(a) + 0.1 * float(rng.normal()), z=float(b) + 0.1 * float(rng.normal()))
            for k, (a, b) in enumerate(rng.random((15, 2)))]


def test_where_measurements_scatter_the_front_itself_is_in_doubt() -> None:
    config = campaign([Y, {"name": "z", "goal": "target", "target": 0.5}])
    aim, models = asked(config, scattered())
    term, = aim.terms(models)
    assert isinstance(term, FrontInDoubt)
    for x in np.array([[0.3, 0.4], [0.9, 0.52], [0.01, 0.99]]):
        value, gradient = term.slope(x)
        assert value == pytest.approx(float(term.values(x[None, :])[0]))
        for k in range(2):
            step = np.eye(2)[k] * 1e-6
            assert gradient[k] == pytest.approx((term.slope(x + step)[0] - term.slope(x - step)[0]) / 2e-6, rel=1e-4, abs=1e-4)
    exact, models = asked(config, grid(two_goals))
    assert not isinstance(exact.terms(models)[0], FrontInDoubt)


def test_measuring_the_best_again_is_worth_less_where_the_best_is_in_doubt() -> None:
    aim, models = asked(campaign([Y, Z]), scattered())
    assert aim.joint_worth is not None
    x = np.array([[float(t.planned["a"]), float(t.planned["b"])] for t in scattered()])
    doubted = aim.terms(models)[0].values(x)
    plain = OfOutcomes([models.of("y"), models.of("z")], aim.joint_worth).values(x)
    best = int(np.argmax(plain))
    assert doubted[best] < plain[best] - 0.5


# ------------------------------------------------------------------------------------------------------ desirability

DESIRED = [{**Y, "desirability": [0, 1]}, {**Z, "desirability": [1, 0], "weight": 2}]


def test_the_best_of_a_desirability_is_the_largest_weighted_mean() -> None:
    config = campaign(DESIRED, combine="desirability")
    trials = [completed(0, 0, 0, y=0.9, z=0.9), completed(1, 0.1, 0, y=0.3, z=0.2), completed(2, 0.2, 0, y=0.1, z=0.1), completed(3, 0.3, 0, y=2.0, z=1.5)]
    best = best_trial(config, trials)
    assert best is not None
    assert best.index == 1  # (0.3 * 0.8 ** 2) ** (1/3) is the largest
    assert front_of(config, trials) == [best]


def test_a_desirability_is_sought_where_both_outcomes_are_desirable() -> None:
    config = campaign([{"name": "y", "goal": "target", "target": 0.3, "tolerance": 0.2}, {**Z, "desirability": [0.5, 0.0]}], combine="desirability")
    trials = grid(lambda a, b: {"y": a, "z": (b - 0.6) ** 2})
    suggestion, = make_optimizer(config).suggest(trials)
    assert suggestion.values["a"] == pytest.approx(0.3, abs=0.03)
    assert suggestion.values["b"] == pytest.approx(0.6, abs=0.1)
    assert suggestion.thought["aim"].startswith("a desirability above 0.9")


def test_where_nothing_is_desirable_yet_the_search_goes_towards_what_is() -> None:
    config = campaign([{**Y, "desirability": [2, 3]}, {**Z, "desirability": [1, 0]}], combine="desirability")
    trials = grid(lambda a, b: {"y": a + b, "z": 0.1 * a})
    aim, _ = asked(config, trials[:-1])
    assert aim.incumbent == 0.0
    suggestion, = make_optimizer(config).suggest(trials[:-1])
    assert float(suggestion.values["a"]) + float(suggestion.values["b"]) > 1.9


# ------------------------------------------------------------------------------------------------------ odd outcomes

ODD = {"alike": lambda k: 1.0, "huge": lambda k: (-1.0) ** k * 1e149 * (k + 1), "tiny": lambda k: 1e-300 * k, "all sorts": lambda k: [1e150, 0.0, -1e150, 1e-300][k % 4]}
SOUGHT: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "trade-offs": ([{**Y, "reference": 0.3}, {**Z, "reference": 1e9}], {}),
    "inferred": ([Y, {"name": "z", "goal": "target", "target": 0.5}], {}),
    "desirability": ([{"name": "y", "goal": "target", "target": 0.5, "tolerance": 1e-6}, DESIRED[1]], {"combine": "desirability"}),
}


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("sought", SOUGHT)
@pytest.mark.parametrize("odd", ODD)
def test_odd_outcomes_give_a_sound_suggestion_and_recommendation_whatever_is_sought(odd: str, sought: str) -> None:
    objectives, more = SOUGHT[sought]
    config = campaign(objectives, **more)
    trials = [completed(k, 0.1 + 0.13 * k, (0.37 * k) % 1.0, sem=None, y=ODD[odd](k), z=ODD["tiny"](k * k)) for k in range(6)]
    suggestion, = make_optimizer(config).suggest(trials)
    assert config.space.problems(suggestion.values) == []
    assert suggestion.origin.startswith("botorch")
    json.dumps([dict(suggestion.thought), recommend(config, trials).as_json()], allow_nan=False)


# ------------------------------------------------------------------------------------------------------ what a file may say


@pytest.mark.parametrize(("objectives", "more", "words"), [
    ([Y, Y], {}, r"objectives\.1\.name: given y twice; allowed: each outcome once"),
    ([{**Y, "desirability": [0, 1]}, Z], {"combine": "desirability"}, r"objectives\.1\.desirability: given none with combine: desirability; allowed: \[value"),
    ([AT_520, DESIRED[0]], {"combine": "desirability"}, r"objectives\.0\.tolerance: given none with combine: desirability; allowed: how far from 520"),
    ([DESIRED[0]], {"combine": "desirability"}, "combine: given desirability with one objective; allowed: with several"),
    ([{**Y, "desirability": [1, 0]}], {}, r"given \[1\.0, 0\.0\]; allowed: \[value worth nothing, best value\] of what is to be maximized"),
    ([{**AT_520, "desirability": [1, 0]}], {}, "allowed: none with the goal target, which has a tolerance"),
    ([{**Y, "desirability": [0, float("inf")]}], {}, "allowed: finite numbers"),
    ([{**Y, "tolerance": 1}], {}, "tolerance: given 1 with the goal maximize; allowed: with the goal target"),
    ([{**AT_520, "reference": 520}], {}, "reference: given 520, the target itself; allowed: a value on either side of it"),
    ([{"name": "y", "goal": "target"}], {}, "target: given None; allowed: a number with the goal target"),
    ([{"name": f"y{k}", "goal": "maximize"} for k in range(7)], {}, "objectives: given 7 with combine: pareto; allowed: up to 6, or combine: desirability"),
    ([Y, Z], {"outcome_constraints": ["y + z <= 1"]}, r"outcome_constraints\.0: "),
])
def test_what_cannot_be_sought_is_refused_in_words(objectives: list[dict[str, Any]], more: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        campaign(objectives, **more)


def test_an_engine_that_knows_one_goal_refuses_several() -> None:
    with pytest.raises(ValidationError, match="optimizer.engine: given ax with objectives; allowed: botorch"):
        campaign([Y, Z], engine="ax")


# ------------------------------------------------------------------------------------------------------ recommendations


def noisy(n: int) -> list[Trial]:
    """A hill with its top at (0.5, 0.5), and one lucky reading far from it."""
    rng = np.random.default_rng(0)
    trials = [completed(k, float(a), float(b), sem=0.1, y=1.0 - 3.0 * (a - 0.5) ** 2 - 3.0 * (b - 0.5) ** 2 + 0.02 * float(rng.standard_normal()))
              for k, (a, b) in enumerate(rng.random((n, 2)))]
    return [*trials, completed(n, 0.95, 0.95, sem=0.3, y=1.2)]


def test_the_recommended_point_is_the_best_expected_one_not_the_luckiest_reading() -> None:
    config = campaign([Y], engine="sobol")
    trials = noisy(16)
    best = best_trial(config, trials)
    assert best is not None
    assert best.index == 16
    found = recommend(config, trials)
    assert found.best is not None
    assert found.best.trial != 16
    assert max(abs(float(v) - 0.5) for v in found.values.values()) < 0.3
    mean, sem = found.best.outcomes["y"]
    assert mean == pytest.approx(1.0, abs=0.15)
    assert sem is not None
    assert 0 < sem < 0.1
    assert found.words.startswith(f"trial {found.best.trial + 1} is expected to give y ")


def test_the_candidate_is_the_best_expected_point_of_all() -> None:
    trials = grid(lambda a, b: {"y": -(a - 0.45) ** 2 - (b - 0.6) ** 2})
    found = recommend(campaign([Y], engine="sobol"), trials)
    assert found.candidate is not None
    assert found.candidate.trial is None
    assert found.candidate.values["a"] == pytest.approx(0.45, abs=0.02)
    assert found.candidate.values["b"] == pytest.approx(0.6, abs=0.02)
    assert found.lead is not None
    assert found.lead[0] == pytest.approx(1 / 30, abs=0.005)  # (1/3, 2/3) before (2/3, 2/3)


def test_a_point_that_was_executed_a_little_beside_itself_is_no_candidate() -> None:
    trials = [replace(t, executed={name: min(max(float(v), 0.002), 0.998) for name, v in t.planned.items()}) for t in grid(lambda a, b: {"y": a - b})]
    found = recommend(campaign([Y], engine="sobol"), trials)
    assert found.best is not None and trials[found.best.trial or 0].planned == {"a": 1.0, "b": 0.0}
    assert found.candidate is None and "not measured" not in found.words


def test_of_what_is_limited_the_likely_ones_are_recommended_and_else_the_likeliest() -> None:
    trials = grid(lambda a, b: {"y": a, "z": a + 0.01 * b})
    kept = recommend(campaign([Y], outcome_constraints=["z <= 0.5"]), trials)
    assert kept.best is not None
    assert kept.best.values["a"] == pytest.approx(1 / 3)
    assert kept.best.probability_feasible > 0.9
    assert kept.candidate is not None
    assert float(kept.candidate.values["a"]) == pytest.approx(0.5, abs=0.02)
    broken = recommend(campaign([Y], outcome_constraints=["z <= -1"]), trials)
    assert broken.best is not None
    assert broken.best.values["a"] == 0.0
    assert "no measured point is likely to keep the limits" in broken.words


def test_of_trade_offs_the_front_that_is_expected_is_recommended() -> None:
    found = recommend(campaign([Y, Z]), grid(two_goals))
    assert {round(float(one.values["a"]), 3) for one in found.front} == {0.0, 0.333, 0.667, 1.0}
    assert found.best in found.front
    assert found.candidate is None
    assert "of the measured points are expected to be beaten by no other one" in found.words


def test_what_was_measured_roughly_is_recommended_at_the_level_that_counts() -> None:
    config = campaign([Y], fidelity={"parameter": "b", "target": 1.0, "cost": "10 + 100 * b"})
    trials = [completed(k, a, b, y=-(a - 0.4) ** 2 - 0.1 * (1.0 - b)) for k, (a, b) in enumerate([(0.1, 0.2), (0.4, 0.2), (0.9, 0.2), (0.15, 1.0), (0.85, 1.0), (0.6, 0.6)])]
    best = best_trial(config, trials)
    assert best is not None
    assert best.index == 3
    found = recommend(config, trials)
    assert found.best is not None
    assert found.values == {"a": 0.4, "b": 1.0}
    assert found.best.trial is None
    assert found.words.startswith("a 0.4, b 1 is expected to give y ")


def test_few_trials_are_recommended_as_measured_or_not_at_all() -> None:
    config = campaign([Y])
    assert recommend(config, []).words == "nothing to recommend: no sample has an outcome yet"
    one = recommend(config, [completed(0, 0.1, 0.1, y=2.0)])
    assert one.best is not None
    assert one.best.trial == 0
    assert one.words == "trial 1 gave y 2 ± 0.001 (one outcome is too few for a model: as measured)"
    assert recommend(config, [completed(0, 0.1, 0.1, y=2.0), completed(1, 0.9, 0.1, y=1.0)]).values == {"a": 0.1, "b": 0.1}


def test_a_trial_without_its_outcome_is_no_error_but_said() -> None:
    trials = [completed(0, 0.1, 0.1, y=2.0), completed(1, 0.9, 0.1, z=1.0)]
    found = recommend(campaign([Y]), trials)
    assert found.values == {"a": 0.1, "b": 0.1}
    assert "trial 1: is completed and has no outcome y" in found.words


def test_a_recommendation_is_the_same_every_time_and_can_be_written_down() -> None:
    trials = noisy(8)
    first, second = recommend(campaign([Y]), trials), recommend(campaign([Y]), trials)
    assert first == second
    assert first.as_json()["best"]["trial"] == (first.best.trial or 0) + 1 if first.best is not None else False
    assert set(first.as_json()) == {"best", "front", "candidate", "lead", "words"}
