"""Labwright's own engine: what only it promises. What every engine promises is in test_optimise_suggestions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.core.errors import OptimizerError
from lab.core.question import CampaignConfig
from lab.core.space import Value
from lab.core.trial import Measured, Outcome, Trial, TrialState
from lab.optimise import make_optimizer, study
from lab.optimise.domain import Domain
from lab.optimise.hits import level
from lab.optimise.representative import representative
from lab.optimise.study import column_groups

ROOT = Path(__file__).parents[1]
SQUARE = {"parameters": [{"name": n, "type": "range", "bounds": [0, 1]} for n in ("a", "b")]}
KINDS: dict[str, Mapping[str, Any]] = {
    "a box": SQUARE,
    "a simplex": {"parameters": [{"name": n, "type": "range", "bounds": [0, 1]} for n in ("a", "b", "c")], "constraints": ["a + b + c == 1"]},
    "inequalities on logarithms": {"parameters": [{"name": "a", "type": "range", "bounds": [0.01, 10], "scale": "log"},
                                                  {"name": "b", "type": "range", "bounds": [0, 5]}], "constraints": ["a + b <= 7", "a >= 0.5*b"]},
    "whole numbers in a sum": {"parameters": [{"name": "a", "type": "integer", "bounds": [0, 9]}, {"name": "b", "type": "integer", "bounds": [0, 9]},
                                              {"name": "c", "type": "range", "bounds": [0, 9]}], "constraints": ["a + b + c == 9"]},
    "choices alone": {"parameters": [{"name": "a", "type": "choice", "values": list("uvwxyz")},
                                     {"name": "b", "type": "choice", "values": list(range(40)), "is_ordered": True}]},
    "a mixture": {"parameters": [{"name": "a", "type": "range", "bounds": [0, 1]}, {"name": "n", "type": "integer", "bounds": [1, 30]},
                                 {"name": "s", "type": "choice", "values": ["u", "v", "w"]}], "constraints": ["a + 0.02*n <= 1.2"]},
}


def campaign(space: Mapping[str, Any] = SQUARE, initial: int = 4, limits: Sequence[str] = (), seed: int = 0) -> CampaignConfig:
    return CampaignConfig.model_validate({
        "name": "test", "recipe": "none", "objectives": [{"name": "y", "goal": "maximize"}], "budget": {"trials": 100},
        "outcome_constraints": list(limits), "optimizer": {"engine": "botorch", "initial": initial, "seed": seed}, **space})


def spread(config: CampaignConfig, n: int) -> list[Mapping[str, Value]]:
    """The first `n` Sobol points."""
    sobol = config.model_copy(update={"optimizer": config.optimizer.model_copy(update={"engine": "sobol"})})
    return [s.values for s in make_optimizer(sobol).suggest([], n)]


def completed(index: int, values: Mapping[str, Value], mean: float, sem: float | None = 1e-3) -> Trial:
    return Trial(index, TrialState.COMPLETED, values, outcome=Outcome({"y": Measured(mean, sem)}))


def hill(values: Mapping[str, Value]) -> float:
    return -(float(values["a"]) - 0.3) ** 2 - (float(values["b"]) - 0.6) ** 2


outcomes = st.one_of(st.floats(-10, 10), st.floats(-1e150, 1e150), st.sampled_from([0.0, 1.0, 1e-300, -1e-300, 1e150, -1e150]))


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(sorted(KINDS)), data=st.data())
def test_odd_outcomes_in_any_space_give_a_sound_suggestion(kind: str, data: st.DataObject) -> None:
    config = campaign(KINDS[kind], initial=1)
    points = spread(config, 5)
    n = data.draw(st.integers(0, 7))
    trials = []
    for index in range(n):
        values = points[data.draw(st.integers(0, 4))]
        state = data.draw(st.sampled_from([TrialState.COMPLETED] * 3 + [TrialState.FAILED, TrialState.RUNNING, TrialState.ABANDONED]))
        sem = data.draw(st.one_of(st.none(), st.sampled_from([0.0, 0.1, 1e-200, 1e200])))
        trials.append(completed(index, values, data.draw(outcomes), sem) if state is TrialState.COMPLETED else Trial(index, state, values))
    first, second = make_optimizer(config).suggest(trials, 2)
    for suggestion in (first, second):
        assert config.space.problems(suggestion.values) == []
        assert all(dict(suggestion.values) != dict(t.planned) for t in trials)
        assert "failed:" not in suggestion.origin
    assert dict(first.values) != dict(second.values)


def test_a_region_that_gives_no_sample_is_learned_and_left() -> None:
    config = campaign(initial=4)
    optimizer = make_optimizer(config)
    trials: list[Trial] = []
    for index in range(20):
        values = optimizer.suggest(trials)[0].values
        failed = float(values["a"]) > 0.5
        trials.append(Trial(index, TrialState.FAILED, values) if failed else completed(index, values, float(values["a"]) - (float(values["b"]) - 0.6) ** 2))
    deep = [t.index for t in trials if float(t.planned["a"]) > 0.6]
    assert len(deep) <= 3
    assert max(deep, default=0) < 8
    best = max((t for t in trials if t.outcome is not None), key=lambda t: t.outcome.measured["y"].mean if t.outcome else 0.0)
    assert float(best.planned["a"]) > 0.4
    assert float(best.planned["b"]) == pytest.approx(0.6, abs=0.15)


def test_initial_points_after_a_failure_are_taken_where_success_is_likely() -> None:
    config = campaign(initial=6)
    points = spread(config, 40)
    good, bad = [p for p in points if float(p["a"]) < 0.5][:3], [p for p in points if float(p["a"]) >= 0.5][:3]
    trials = [completed(i, p, 0.0) for i, p in enumerate(good)] + [Trial(3 + i, TrialState.FAILED, p) for i, p in enumerate(bad)]
    for suggestion in make_optimizer(config).suggest(trials, 3):
        assert suggestion.origin == "sobol (where success is likely)"
        assert float(suggestion.values["a"]) < 0.5


def test_the_points_that_a_campaign_gives_are_tried_first() -> None:
    config = campaign(initial=2)
    points = ({"a": 0.25, "b": 0.5}, {"a": 0.75, "b": 0.5})
    config = config.model_copy(update={"optimizer": config.optimizer.model_copy(update={"points": points})})
    engine = make_optimizer(config)
    assert [(dict(s.values), s.origin) for s in engine.suggest([], 2)] == [(point, "given") for point in points]
    trials = [Trial(0, TrialState.FAILED, points[0]), completed(1, points[1], 1.0)]
    assert engine.suggest(trials)[0].origin == "sobol (where success is likely)"


def test_of_a_pool_rows_are_suggested_as_they_stand_and_each_once() -> None:
    rows = [[a / 5, b] for a in range(6) for b in ("u", "v")]
    config = campaign({"parameters": [{"name": "a", "type": "range", "bounds": [0, 1]}, {"name": "b", "type": "choice", "values": ["u", "v"]}],
                       "candidates": {"columns": ["a", "b"], "rows": rows}, "constraints": ["a <= 0.9"]}, initial=3)
    engine = make_optimizer(config)
    trials: list[Trial] = []
    for index in range(10):
        suggestion, = engine.suggest(trials)
        value = float(suggestion.values["a"]) - (suggestion.values["b"] == "u")
        trials.append(Trial(index, TrialState.FAILED, suggestion.values) if index == 4 else completed(index, suggestion.values, value))
    assert sorted([t.planned["a"], t.planned["b"]] for t in trials) == sorted(row for row in rows if float(row[0]) <= 0.9)
    with pytest.raises(OptimizerError, match="all 10 candidates have been tried"):
        engine.suggest(trials)


def test_the_best_of_a_pool_is_found_before_most_of_it_has_been_tried() -> None:
    rows = [[a / 20, b / 20] for a in range(21) for b in range(21)]
    config = campaign({**SQUARE, "candidates": {"columns": ["a", "b"], "rows": rows}}, initial=5)
    engine = make_optimizer(config)
    trials: list[Trial] = []
    for index in range(20):
        suggestion, = engine.suggest(trials)
        trials.append(completed(index, suggestion.values, hill(suggestion.values)))
    assert engine.suggest([])[0].origin == "spread"
    assert {"a": 0.3, "b": 0.6} in [dict(t.planned) for t in trials]


@pytest.mark.parametrize("goal", ["maximize", "minimize"])
def test_where_the_best_share_of_a_pool_is_wanted_more_of_it_is_found(goal: str) -> None:
    rows = [[a / 20, b / 20] for a in range(21) for b in range(21)]
    sign = 1.0 if goal == "maximize" else -1.0
    wanted = sorted(rows, key=lambda row: -hill({"a": row[0], "b": row[1]}))[:22]
    n_found = {}
    for top in (None, 0.05):
        config = campaign({**SQUARE, "candidates": {"columns": ["a", "b"], "rows": rows}, "objectives": [{"name": "y", "goal": goal}]}, initial=5)
        config = config.model_copy(update={"optimizer": config.optimizer.model_copy(update={"top": top})})
        engine = make_optimizer(config)
        trials: list[Trial] = []
        for index in range(25):
            suggestion, = engine.suggest(trials)
            trials.append(completed(index, suggestion.values, sign * hill(suggestion.values)))
        n_found[top] = sum([t.planned["a"], t.planned["b"]] in wanted for t in trials)
    assert n_found[0.05] > n_found[None] and n_found[0.05] >= 12
    assert suggestion.thought["aim"].startswith(f"one of the best 0.05 of the candidates: y {'above' if sign > 0 else 'below'} ")
    assert suggestion.thought["version"] == version("labwright")
    assert suggestion.thought["improvement"] < 0.1, "what stopping rules compare is still the improvement of the best"


def test_so_many_rows_are_expected_above_the_level_as_are_wanted() -> None:
    rng = np.random.default_rng(5)
    merits, variances = rng.normal(size=2000), rng.uniform(1e-14, 0.5, 2000)
    drawn = merits + np.sqrt(variances) * rng.normal(size=(200, 2000))
    assert (drawn > level(merits, variances, 0.05)).mean() == pytest.approx(0.05, abs=0.002)
    assert level(np.array([1.0, 2.0, 3.0, 4.0]), np.full(4, 1e-14), 0.5) == pytest.approx(2.5, abs=0.51)


def test_a_thousand_failures_and_no_outcome_still_give_a_suggestion() -> None:
    config = campaign()
    trials = [Trial(i, TrialState.FAILED, p) for i, p in enumerate(spread(config, 300))]
    suggestion, = make_optimizer(config).suggest(trials)
    assert config.space.problems(suggestion.values) == []


def test_of_more_trials_than_a_model_can_take_the_origin_says_how_many_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "MOST", 30)
    config = campaign()
    suggestion, = make_optimizer(config).suggest([completed(i, p, hill(p)) for i, p in enumerate(spread(config, 50))])
    assert suggestion.origin == "botorch (model of 30 of 50 trials)"
    assert hill(suggestion.values) > -0.01


def test_the_trials_that_a_model_takes_are_those_around_the_best_and_far_ones() -> None:
    x = np.linspace(0.0, 1.0, 101)[:, None]
    used = representative(x, -np.abs(x[:, 0] - 0.8), 10)
    assert used.tolist() == sorted(set(used.tolist()))
    assert {78, 79, 80, 81, 82} <= set(used.tolist())
    assert {0, 100} <= set(used.tolist())
    assert np.diff(used).max() <= 25
    assert representative(x, x[:, 0], 200).tolist() == list(range(101))


def test_the_columns_of_a_choice_share_their_length_scale() -> None:
    assert column_groups(Domain(campaign(KINDS["a mixture"]).space)).tolist() == [0, 1, 2, 2, 2]
    assert column_groups(Domain(campaign(KINDS["choices alone"]).space)).tolist() == [0] * 6 + [1]


def test_a_constraint_on_the_objective_itself_is_understood() -> None:
    config = campaign({"parameters": [{"name": "a", "type": "range", "bounds": [0, 1]}]}, limits=["y <= 0.5"])
    trials = [completed(i, {"a": a}, a) for i, a in enumerate([0.05, 0.2, 0.35, 0.75, 0.95])]
    suggestion, = make_optimizer(config).suggest(trials)
    assert 0.35 < float(suggestion.values["a"]) <= 0.55


def test_fifty_dimensions_are_no_trouble() -> None:
    config = campaign({"parameters": [{"name": f"x{i}", "type": "range", "bounds": [0, 1]} for i in range(50)]})
    trials = [completed(i, p, -sum((float(v) - 0.5) ** 2 for v in p.values())) for i, p in enumerate(spread(config, 20))]
    suggestion, = make_optimizer(config).suggest(trials)
    assert config.space.problems(suggestion.values) == []
    assert suggestion.origin == "botorch"


def test_neither_torch_nor_ax_is_imported_for_a_suggestion() -> None:
    code = ("import sys, json; from lab.core.question import CampaignConfig; from lab.core.trial import *; from lab.optimise import make_optimizer\n"
            "c = CampaignConfig.model_validate_json(sys.stdin.read())\n"
            "t = [Trial(i, TrialState.COMPLETED, {'a': i / 9, 'b': i * i % 7 / 7}, outcome=Outcome({'y': Measured(float(i), 0.1)})) for i in range(6)]\n"
            "print(make_optimizer(c).suggest(t)[0].origin, [m for m in ('torch', 'ax', 'botorch', 'pandas') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], input=campaign().model_dump_json(), capture_output=True, text=True, check=True, timeout=200,
                          cwd=ROOT)
    assert done.stdout.strip() == "botorch []"
