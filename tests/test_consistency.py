"""What a campaign's file may say of the laboratory: wrong ones are refused in words."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from lab.core.question import CampaignConfig

PARAMETERS = [{"name": "a", "type": "range", "bounds": [0, 1]}, {"name": "time", "type": "choice", "values": [1, 10, 60], "is_ordered": True},
              {"name": "ink", "type": "choice", "values": ["u", "v"]}]
POINT = {"a": 0.5, "time": 60, "ink": "u"}
OBJECTIVE = {"name": "y", "goal": "maximize"}
POOL = {"candidates": {"columns": ["a", "time", "ink"], "rows": [[0.1, 1, "u"], [0.2, 1, "v"]]}}


def campaign(**more: Any) -> CampaignConfig:
    return CampaignConfig.model_validate({"name": "test", "recipe": "none", "parameters": PARAMETERS, "objectives": [OBJECTIVE], "budget": {"trials": 9},
                                          "optimizer": {"engine": "botorch"}} | more)


@pytest.mark.parametrize(("more", "words"), [
    ({"durations": {"sample_s": 60, "change_s": {"oven": 3}}}, r"durations.change_s: given oven; allowed: a, time, ink"),
    ({"drift": {"reference": {"a": 0.5}}}, r"drift.reference: given a = 0.5: time: is missing; allowed: a value for each parameter"),
    ({"drift": {"reference": POINT}, "candidates": {"columns": ["a", "time", "ink"], "rows": [[0.1, 1, "u"], [0.2, 1, "v"]]}},
     r"drift.reference: given a = 0.5, time = 60, ink = u; allowed: one of the candidates"),
    ({"safety": {"constraints": ["pressure <= 5"]}}, r"optimizer.points: given none with safety; allowed: at least one point that is known to be safe"),
    ({"safety": {"constraints": ["pressure == 5"]}, "optimizer": {"engine": "botorch", "points": [POINT]}},
     r"safety.constraints.0: given 'pressure == 5'; allowed: one outcome and a bound"),
    ({"safety": {"constraints": ["5"]}, "optimizer": {"engine": "botorch", "points": [POINT]}}, r"safety.constraints.0: given '5'"),
    ({"safety": {"constraints": ["pressure <= 5"]}, "optimizer": {"engine": "remote"}}, r"safety: given with engine remote"),
    ({"fidelity": {"parameter": "b", "target": 1, "cost": "1"}}, r"fidelity.parameter: given b; allowed: a parameter that is not fixed: a, time, ink"),
    ({"fidelity": {"parameter": "time", "target": 2, "cost": "time"}}, r"fidelity.target: time: given 2; allowed: 1, 10, 60"),
    ({"fidelity": {"parameter": "time", "target": 60, "cost": "ink"}}, r"fidelity.cost: given 'ink': ink is not known; allowed: numbers, a, time"),
    ({"fidelity": {"parameter": "time", "target": 60, "cost": "time - 10"}}, r"fidelity.cost: given 'time - 10', which is -9 s at time = 1; allowed: more than 0"),
    ({"fidelity": {"parameter": "time", "target": 60, "cost": "time"}, "candidates": {"columns": ["a", "time", "ink"], "rows": [[0.1, 1, "u"]]}},
     r"fidelity: given with candidates; allowed: one of the two"),
    ({"drift": {"reference": {**POINT, "a": 0.4}}, "safety": {"constraints": ["pressure <= 5"]}, "optimizer": {"engine": "botorch", "points": [POINT]}},
     r"drift.reference: given a = 0.4, time = 60, ink = u with safety; allowed: one of optimizer.points"),
    ({"stop": {"improvement": 0.1}, "optimizer": {"engine": "sobol"}}, r"stop: given with engine sobol; allowed: with botorch"),
    ({"optimizer": {"top": 0.05}}, r"optimizer.top: given 0.05 without candidates; allowed: with candidates"),
    ({"optimizer": {"top": 0.05}, **POOL, "objectives": [{"name": "y", "goal": "target", "target": 3}]},
     r"optimizer.top: given 0.05 with a target; allowed: with one objective to maximize or minimize"),
    ({"optimizer": {"top": 0.05}, **POOL, "objectives": [OBJECTIVE, {"name": "z", "goal": "minimize"}]}, r"optimizer.top: given 0.05 with several objectives"),
    ({"optimizer": {"top": 1.0}, **POOL}, r"less than 1"),
    ({"stop": {}}, r"stop: given no rule; allowed: at least one of improvement, improvement_per_hour, confidence"),
    ({"stop": {"confidence": {"within": 0.1}}, "objectives": [OBJECTIVE, {"name": "z", "goal": "minimize"}]},
     r"stop.confidence: given with 2 objectives; allowed: with one"),
])
def test_what_does_not_fit_the_campaign_is_refused_with_what_is_allowed(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        campaign(**more)


def test_a_campaign_may_combine_all_of_them() -> None:
    found = campaign(durations={"sample_s": 60, "change_s": {"a": 3, "ink": 600}}, drift={"reference": POINT}, stop={"improvement_per_hour": 0.1},
                     safety={"constraints": ["pressure <= 5", "heat >= 1"]}, fidelity={"parameter": "time", "target": 60, "cost": "120 + 10*time"},
                     optimizer={"engine": "botorch", "points": [POINT]})
    assert [str(limit) for limit in found.safe_limits] == ["pressure <= 5", "heat >= 1"]


def test_prior_data_of_the_same_question_stands_in_for_points_that_are_known_to_be_safe() -> None:
    prior = {"name": "last week", "is_same": True, "columns": ["a", "time", "ink", "pressure"], "rows": [[0.5, 60, "u", 1.0]]}
    found = campaign(safety={"constraints": ["pressure <= 5"]}, prior=[prior])
    assert found.safety is not None


@pytest.mark.parametrize(("choice", "trials", "n"), [
    ({"values": list("abcdefghijkl")}, 60, 12), ({"values": list("abcdefghijkl")}, 40, 10), ({"values": list("abcdefghijkl")}, 9, 6), ({"values": ["a", "b"]}, 60, 6),
    ({"values": list(range(12)), "is_ordered": True}, 60, 6)])
def test_so_many_initial_points_that_every_value_of_an_unordered_choice_can_have_its_turn(choice: dict[str, Any], trials: int, n: int) -> None:
    known = {"parameters": [{"name": "a", "type": "range", "bounds": [0, 1]}, {"name": "ligand", "type": "choice", **choice}], "budget": {"trials": trials}}
    assert campaign(**known).n_initial == n
    assert campaign(**known, optimizer={"initial": 3}).n_initial == 3
