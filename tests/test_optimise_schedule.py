"""Reference samples of a laboratory that drifts."""

from __future__ import annotations

from typing import Any

from lab.core.question import CampaignConfig
from lab.core.trial import Measured, Outcome, Trial, TrialState
from lab.optimise import make_optimizer
from lab.optimise.schedule import REFERENCE

CENTRE = {"a": 0.5, "b": 0.5}


def campaign(**more: Any) -> CampaignConfig:
    return CampaignConfig.model_validate({
        "name": "test", "recipe": "none", "parameters": [{"name": n, "type": "range", "bounds": [0, 1]} for n in ("a", "b")],
        "objectives": [{"name": "y", "goal": "maximize"}], "budget": {"trials": 100}, "optimizer": {"engine": "botorch", "initial": 4},
        "drift": {"reference": CENTRE, "every": 3}, **more})


def made(config: CampaignConfig, n: int, fails: int | None = None) -> list[Trial]:
    """The first `n` trials; number `fails` gives no sample."""
    trials: list[Trial] = []
    for index in range(n):
        s = make_optimizer(config).suggest(trials)[0]
        outcome = None if index == fails else Outcome({"y": Measured(float(s.values["a"]), 0.1)})
        state = TrialState.FAILED if index == fails else TrialState.COMPLETED
        trials.append(Trial(index, state, s.values, outcome=outcome, origin=s.origin, began_lab_s=3600.0 * index, ended_lab_s=3600.0 * (index + 1)))
    return trials


def test_one_of_every_so_many_samples_is_the_reference_from_the_first_one_on() -> None:
    trials = made(campaign(), 10)
    assert [t.index for t in trials if t.origin == REFERENCE] == [0, 3, 6, 9]
    assert all(dict(t.planned) == CENTRE for t in trials if t.origin == REFERENCE)
    assert all(dict(t.planned) != CENTRE for t in trials if t.origin != REFERENCE)


def test_a_plate_holds_its_references_at_their_places() -> None:
    origins = [s.origin for s in make_optimizer(campaign(durations={"sample_s": 60, "change_s": {"a": 600}})).suggest([], 7)]
    assert [k for k, origin in enumerate(origins) if origin == REFERENCE] == [0, 3, 6]


def test_points_that_the_campaign_gives_come_before_the_reference() -> None:
    config = campaign(optimizer={"engine": "botorch", "initial": 4, "points": [{"a": 0.1, "b": 0.2}]})
    assert [s.origin for s in make_optimizer(config).suggest([], 3)] == ["given", REFERENCE, "sobol"]


def test_a_reference_that_gave_no_sample_is_not_repeated_and_that_is_said() -> None:
    trials = made(campaign(), 9, fails=3)
    assert [t.index for t in trials if t.origin == REFERENCE] == [0, 3]
    assert "no further reference: trial 3 failed there" in trials[-1].origin


def test_without_a_reference_point_nothing_is_repeated() -> None:
    assert all(t.origin != REFERENCE for t in made(campaign(drift={}), 7))
