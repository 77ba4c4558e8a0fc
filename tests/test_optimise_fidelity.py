"""Cheap and rough samples beside dear and exact ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from lab.core.errors import OptimizerError
from lab.core.question import CampaignConfig
from lab.core.space import Value
from lab.core.trial import Measured, Outcome, Trial, TrialState
from lab.optimise import make_optimizer
from lab.optimise.aim import aim_of
from lab.optimise.domain import Domain
from lab.optimise.fidelity import costs, levels, pinned
from lab.optimise.study import Models, study_of

TIME = {"name": "time", "type": "choice", "values": [1, 10], "is_ordered": True}
FIDELITY = {"parameter": "time", "target": 10, "cost": "60*time"}


def campaign(**more: Any) -> CampaignConfig:
    return CampaignConfig.model_validate({
        "name": "test", "recipe": "none", "parameters": [{"name": "a", "type": "range", "bounds": [0, 1]}, TIME],
        "objectives": [{"name": "y", "goal": "maximize"}], "budget": {"trials": 100}, "optimizer": {"engine": "botorch", "initial": 4},
        "fidelity": FIDELITY, **more})


def exact(a: float) -> float:
    return float(np.sin(9 * a) + a)


def both(rough: Callable[[float], float], n: int = 6) -> list[Trial]:
    """Samples at both levels at the same points."""
    trials: list[Trial] = []
    for a in np.linspace(0.02, 0.95, n).tolist():
        for time, value in ((1, rough(a)), (10, exact(a))):
            trials.append(Trial(len(trials), TrialState.COMPLETED, {"a": a, "time": time}, outcome=Outcome({"y": Measured(value, 0.0)})))
    return trials


def models(config: CampaignConfig, trials: list[Trial]) -> Models:
    return pinned(config, study_of(config, Domain(config.space), trials).models())


def test_the_cheap_level_is_taken_where_it_tells_of_the_target() -> None:
    trials = both(lambda a: exact(a) + 0.01 * a)
    suggestion = make_optimizer(campaign()).suggest(trials)[0]
    assert suggestion.values["time"] == 1
    assert suggestion.thought["seconds"] == 60.0


def test_the_target_is_taken_where_the_cheap_level_tells_nothing_of_it() -> None:
    trials = both(lambda a: -2.0 * exact(a), n=7)
    suggestion = make_optimizer(campaign()).suggest(trials)[0]
    assert suggestion.values["time"] == 10
    assert suggestion.thought["seconds"] == 600.0


def test_the_target_is_taken_where_it_costs_the_same() -> None:
    trials = both(lambda a: exact(a) + 0.01 * a)
    config = campaign(fidelity={**FIDELITY, "cost": "600"})
    assert make_optimizer(config).suggest(trials)[0].values["time"] == 10


def test_what_is_to_be_bettered_is_the_best_at_the_target() -> None:
    config = campaign()
    trials = both(lambda a: exact(a) + 50.0)
    found = models(config, trials)
    best = aim_of(config, found).incumbent
    assert best is not None
    assert found.study["y"].natural(best) < 5.0


def test_models_at_the_target_say_the_same_at_any_level_and_have_no_slope_there() -> None:
    found = models(campaign(), both(lambda a: exact(a) - a))
    one, other = (found.study.domain.encode_values({"a": 0.3, "time": time}) for time in (1, 10))
    assert found.of("y").predict(one[None, :])[0] == found.of("y").predict(other[None, :])[0] == pytest.approx(found.of("y").means(one[None, :]))
    *_, by_mean, by_variance = found.of("y").slopes(one)
    assert by_mean[0] != 0.0
    assert (by_mean[1], by_variance[1]) == (0.0, 0.0)


def test_a_plate_has_different_samples_and_each_at_one_of_the_levels() -> None:
    plate = make_optimizer(campaign()).suggest(both(lambda a: exact(a) + 0.01 * a), 6)
    assert len({str(s.values) for s in plate}) == 6
    assert {s.values["time"] for s in plate} <= {1, 10}


def test_levels_of_a_range_keep_the_constraints() -> None:
    parameters = [{"name": "a", "type": "range", "bounds": [0, 1]}, {"name": "time", "type": "range", "bounds": [1, 10]}]
    config = campaign(parameters=parameters, constraints=["time >= 4"])
    for suggestion in make_optimizer(config).suggest([t for t in both(exact) if t.planned["time"] == 10], 4):
        assert config.space.problems(suggestion.values) == []


@pytest.mark.parametrize(("parameter", "found"), [
    ({"type": "choice", "values": [1, 5, 10]}, [10, 1, 5]),
    ({"type": "integer", "bounds": [7, 10]}, [10, 7, 8, 9]),
    ({"type": "range", "bounds": [1, 128], "scale": "log"}, [10, 1, 2, 4, 8, 16, 32, 64, 128])])
def test_levels_are_all_values_or_evenly_spread_ones_and_the_target(parameter: Mapping[str, Any], found: list[Value]) -> None:
    config = campaign(parameters=[{"name": "a", "type": "range", "bounds": [0, 1]}, {"name": "time", **parameter}])
    assert levels(Domain(config.space), "time", 10) == pytest.approx(found)


def test_a_cost_that_is_not_above_zero_somewhere_is_said() -> None:
    config = campaign(fidelity={**FIDELITY, "cost": "time * abs(a - 0.5)"})
    with pytest.raises(OptimizerError, match=r"fidelity.cost: .* is no number above 0 at .*'a': 0.5"):
        costs(config, [{"a": 0.4, "time": 1}, {"a": 0.5, "time": 10}])
    assert costs(config, [{"a": 0.4, "time": 10}]).tolist() == pytest.approx([1.0])
