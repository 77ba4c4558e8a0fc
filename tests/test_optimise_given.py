"""The engine that tries what it was given."""

from __future__ import annotations

from typing import Any

import pytest

from lab.core.errors import ConfigError, OptimizerError
from lab.core.question import CampaignConfig
from lab.core.trial import Trial, TrialState
from lab.files import parse
from lab.optimise import make_optimizer

POINTS = [{"cs": 0.2, "fa": 0.8}, {"cs": 0.5, "fa": 0.5}, {"cs": 0.2, "fa": 0.8}]


def config(**optimizer: Any) -> CampaignConfig:
    return parse(CampaignConfig, {
        "name": "film", "recipe": "thin_film", "constraints": ["cs + fa == 1"], "objectives": [{"name": "purity", "goal": "maximize"}],
        "parameters": [{"name": name, "type": "range", "bounds": [0, 1]} for name in ("cs", "fa")], "budget": {"trials": 3},
        "optimizer": {"engine": "given", "points": POINTS} | optimizer}, "campaign.yaml")


def test_the_points_are_suggested_in_their_order_whatever_became_of_those_before() -> None:
    engine = make_optimizer(config())
    failed = Trial(0, TrialState.FAILED, POINTS[0])
    assert [one.values for one in engine.suggest([failed], 2)] == POINTS[1:]
    assert engine.suggest([])[0].origin == "given"


def test_nothing_is_suggested_after_the_last_point() -> None:
    tried = [Trial(n, TrialState.COMPLETED, point) for n, point in enumerate(POINTS)]
    with pytest.raises(OptimizerError, match="all 3 points of optimizer.points have been tried"):
        make_optimizer(config()).suggest(tried)


@pytest.mark.parametrize(("optimizer", "words"), [
    ({"points": [{"cs": 0.2, "fa": 0.9}]}, r"optimizer.points.0: given cs \+ fa == 1 is not met"),
    ({"points": [{"cs": 0.2}]}, "optimizer.points.0: given fa: is missing"),
    ({"points": [{"cs": "1; import os", "fa": 0.8}]}, "optimizer.points.0: given '1; import os'; allowed: a number in 0..1 for cs"),
    ({"points": []}, "optimizer.points: given nothing with engine given"),
    ({"engine": "sobol"}, "optimizer.points: given 3 with engine sobol"),
])
def test_points_that_are_not_of_the_space_are_refused(optimizer: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config(**optimizer)


def test_points_of_others_take_none_of_the_list_and_a_point_that_stands_twice_is_tried_twice() -> None:
    engine = make_optimizer(config())
    others = Trial(0, TrialState.COMPLETED, {"cs": 0.9, "fa": 0.1})
    assert [one.values for one in engine.suggest([others, Trial(1, TrialState.FAILED, POINTS[0])], 2)] == POINTS[1:]
