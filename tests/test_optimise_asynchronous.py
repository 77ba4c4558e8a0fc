"""Plates, and samples that come back late, in any order, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.core.errors import OptimizerError
from lab.core.question import CampaignConfig
from lab.core.trial import Measured, Outcome, Trial, TrialState
from lab.optimise import make_optimizer

SQUARE = {"parameters": [{"name": n, "type": "range", "bounds": [0, 1]} for n in ("a", "b")]}
MIXTURE = {"parameters": [{"name": "a", "type": "range", "bounds": [0, 1]}, {"name": "b", "type": "integer", "bounds": [0, 3]},
                          {"name": "s", "type": "choice", "values": ["u", "v"]}], "constraints": ["a + 0.2*b <= 1.2"]}
POOL = {**SQUARE, "candidates": {"columns": ["a", "b"], "rows": [[k / 40, (7 * k % 40) / 40] for k in range(41)]}}
SPACES: Mapping[str, Mapping[str, Any]] = {"a square": SQUARE, "a mixture": MIXTURE, "a pool": POOL}


def campaign(space: Mapping[str, Any], **more: Any) -> CampaignConfig:
    return CampaignConfig.model_validate({
        "name": "test", "recipe": "none", "objectives": [{"name": "y", "goal": "maximize"}], "budget": {"trials": 100},
        "optimizer": {"engine": "botorch", "initial": 3}, **space, **more})


def done(trial: Trial) -> Trial:
    values = trial.planned
    y = -(float(values["a"]) - 0.4) ** 2 - 0.1 * float(values["b"]) ** 2
    return replace(trial, state=TrialState.COMPLETED, outcome=Outcome({"y": Measured(y, 0.01)}))


@settings(max_examples=6, deadline=None)
@given(kind=st.sampled_from(sorted(SPACES)), seed=st.integers(0, 10**6))
def test_whatever_becomes_of_samples_and_when_each_plate_is_whole_new_and_the_same_in_any_engine(kind: str, seed: int) -> None:
    config, rng = campaign(SPACES[kind]), np.random.default_rng(seed)
    trials: list[Trial] = []
    for _ in range(3):
        q = int(rng.integers(1, 5))
        plate = make_optimizer(config).suggest(trials, q)
        assert plate[0].values == make_optimizer(config).suggest(trials)[0].values
        assert len(plate) == q
        for suggestion in plate:
            assert config.space.problems(suggestion.values) == []
            assert all(dict(suggestion.values) != dict(t.planned) for t in trials)
            trials.append(Trial(len(trials), TrialState.SUGGESTED, suggestion.values, origin=suggestion.origin, thought=suggestion.thought))
        for k, trial in enumerate(trials):
            if trial.state in (TrialState.SUGGESTED, TrialState.RUNNING) and rng.random() < 0.5:
                fate = rng.choice(["done", "done", "failed", "abandoned", "running"])
                trials[k] = done(trial) if fate == "done" else replace(trial, state=TrialState(fate))


def test_samples_under_way_are_spread_over_the_region_of_interest() -> None:
    config = campaign(SQUARE)
    rng = np.random.default_rng(0)
    trials = [done(Trial(k, TrialState.COMPLETED, {"a": float(a), "b": float(b)})) for k, (a, b) in enumerate(rng.random((8, 2)))]
    points = np.array([[float(v) for v in s.values.values()] for s in make_optimizer(config).suggest(trials, 4)])
    apart = np.abs(points[:, None] - points[None]).max(axis=2)[np.triu_indices(4, 1)]
    assert apart.min() > 0.02


def test_an_outcome_that_comes_long_after_later_ones_is_used() -> None:
    config = campaign(SQUARE)
    plate = make_optimizer(config).suggest([], 6)
    trials = [Trial(k, TrialState.RUNNING, s.values) for k, s in enumerate(plate)]
    later = [trials[0], *map(done, trials[1:])]
    late = [done(trials[0]), *later[1:]]
    assert make_optimizer(config).suggest(later)[0].values != make_optimizer(config).suggest(late)[0].values


@pytest.mark.parametrize(("space", "words"), [
    ({"parameters": [{"name": "a", "type": "integer", "bounds": [0, 1]}, {"name": "b", "type": "integer", "bounds": [0, 2]}]}, r"all 6 points of the space"),
    ({**SQUARE, "candidates": {"columns": ["a", "b"], "rows": [[0.1 * k, 0.5] for k in range(6)]}}, r"all 6 candidates have been tried, failed or are under way")])
@pytest.mark.parametrize("n_done", [0, 4])
def test_a_plate_of_more_samples_than_are_left_is_refused_in_words(space: Mapping[str, Any], words: str, n_done: int) -> None:
    config = campaign(space)
    trials = [done(Trial(k, TrialState.SUGGESTED, s.values)) for k, s in enumerate(make_optimizer(config).suggest([], n_done))] if n_done else []
    assert len(make_optimizer(config).suggest(trials, 6 - n_done)) == 6 - n_done
    with pytest.raises(OptimizerError, match=words):
        make_optimizer(config).suggest(trials, 7 - n_done)
