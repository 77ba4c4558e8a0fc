"""What samples cost in laboratory time: learned, part of the choice, and the order of a plate."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from lab.core.question import CampaignConfig
from lab.core.space import Value
from lab.core.trial import Measured, Outcome, Trial, TrialState
from lab.optimise import make_optimizer
from lab.optimise.circumstances import circumstances_of
from lab.optimise.costs import EXACT, Durations, durations_of, order, per_hour
from lab.optimise.domain import Domain

PARAMETERS = [{"name": "temperature", "type": "range", "bounds": [60, 180]}, {"name": "flow", "type": "range", "bounds": [0.1, 10], "scale": "log"},
              {"name": "solvent", "type": "choice", "values": ["DMF", "DMSO", "NMP"]}]
TRUE = {"temperature": 30.0, "flow": 0.0, "solvent": 400.0}


def campaign(**more: Any) -> CampaignConfig:
    return CampaignConfig.model_validate({
        "name": "test", "recipe": "none", "parameters": PARAMETERS, "objectives": [{"name": "y", "goal": "maximize"}], "budget": {"trials": 100},
        "optimizer": {"engine": "botorch", "initial": 4}, "durations": {"sample_s": 600, "change_s": dict.fromkeys(TRUE, 10.0)}, **more})


def points(n: int, seed: int = 0) -> list[dict[str, Value]]:
    rng = np.random.default_rng(seed)
    return [{"temperature": float(rng.uniform(60, 180)), "flow": float(rng.uniform(0.1, 10)), "solvent": str(rng.choice(["DMF", "DMSO", "NMP"]))}
            for _ in range(n)]


def measured(values: list[dict[str, Value]], truth: Durations, late: Mapping[int, float]) -> list[Trial]:
    """A campaign whose samples follow each other; some take so many seconds longer."""
    trials, now, before = [], 0.0, None
    for index, point in enumerate(values):
        began, now = now, now + truth.seconds(before, point) + late.get(index, 0.0)
        trials.append(Trial(index, TrialState.COMPLETED, point, outcome=Outcome({"y": Measured(-(float(point["flow"]) / 10 - 0.3) ** 2, 0.001)}),
                            began_lab_s=began, ended_lab_s=now))
        before = point
    return trials


def test_what_changes_cost_is_learned_from_the_trials_own_times() -> None:
    config = campaign()
    domain = Domain(config.space)
    truth = Durations(config.space, 900.0, TRUE)
    found = durations_of(config, domain, measured(points(25), truth, {7: 20000.0, 15: 9000.0}))
    assert found is not None
    assert found.sample_s == pytest.approx(900, rel=0.15)
    assert found.change_s["temperature"] == pytest.approx(30, rel=0.1)
    assert found.change_s["solvent"] == pytest.approx(400, rel=0.35)
    assert found.change_s["flow"] == pytest.approx(0, abs=15)


def test_a_few_trials_correct_the_file_and_none_leave_it_as_it_is() -> None:
    config = campaign(durations={"sample_s": 600, "change_s": {"temperature": 60}})
    domain = Domain(config.space)
    truth = Durations(config.space, 600.0, {"temperature": 20.0})
    values = points(5)
    before, after = durations_of(config, domain, []), durations_of(config, domain, measured(values, truth, {}))
    assert before is not None
    assert after is not None
    assert dict(before.change_s) == {"temperature": 60.0}
    assert after.seconds(values[0], values[1]) == pytest.approx(truth.seconds(values[0], values[1]), rel=0.2)


def test_times_are_not_learned_from_where_the_file_says_so() -> None:
    config = campaign(durations={"sample_s": 600, "change_s": {"temperature": 60}, "learn": False})
    found = durations_of(config, Domain(config.space), measured(points(5), Durations(config.space, 5000.0, TRUE), {}))
    assert found is not None
    assert (found.sample_s, dict(found.change_s)) == (600.0, {"temperature": 60.0})


def test_a_change_that_the_file_names_with_no_seconds_is_learned() -> None:
    config = campaign(durations={"sample_s": 600, "change_s": {"temperature": 0}})
    found = durations_of(config, Domain(config.space), measured(points(15), Durations(config.space, 600.0, {"temperature": 20.0}), {}))
    assert found is not None
    assert found.change_s["temperature"] == pytest.approx(20, rel=0.1)


def test_the_term_is_minus_the_logarithm_of_the_seconds_and_has_their_gradient() -> None:
    config = campaign()
    domain = Domain(config.space)
    costs = Durations(config.space, 900.0, {"temperature": 30.0, "flow": 50.0, "solvent": 400.0})
    before, *others = points(6, seed=3)
    term = per_hour(costs, domain, before)
    x = np.array([domain.encode_values(values) for values in others])
    assert term.values(x) == pytest.approx([-np.log(costs.seconds(before, values)) for values in others], abs=0.03)
    for row in x:
        value, gradient = term.slope(row)
        assert value == pytest.approx(term.values(row[None, :])[0])
        for column in (0, 1):
            step = np.eye(len(row))[column] * 1e-6
            assert gradient[column] == pytest.approx((term.slope(row + step)[0] - term.slope(row - step)[0]) / 2e-6, rel=1e-4, abs=1e-6)


def test_the_term_after_a_value_that_is_no_longer_allowed_still_knows_the_other_changes() -> None:
    config = campaign()
    domain = Domain(config.space)
    before = {**points(1)[0], "solvent": "water"}
    stay, go = ({**before, "solvent": "DMF", "temperature": t} for t in (before["temperature"], 180.0))
    values = per_hour(Durations(config.space, 900.0, TRUE), domain, before).values(np.array([domain.encode_values(v) for v in (stay, go)]))
    assert values[0] == pytest.approx(-np.log(1300.0))
    assert values[1] < values[0]


def test_an_expensive_change_that_promises_nothing_is_not_made() -> None:
    dear, free = campaign(durations={"sample_s": 600, "change_s": {"temperature": 600}, "learn": False}), campaign(durations=None)
    trials = measured(points(8), Durations(dear.space, 600.0, {}), {})
    last = float(trials[-1].planned["temperature"])
    near, far = (abs(float(make_optimizer(config).suggest(trials)[0].values["temperature"]) - last) for config in (dear, free))
    assert near < 1.0
    assert far > 5.0


def test_what_a_sample_will_take_is_written_with_its_suggestion() -> None:
    config = campaign()
    trials = measured(points(8), Durations(config.space, 900.0, TRUE), {})
    suggestion = make_optimizer(config).suggest(trials)[0]
    found = durations_of(config, Domain(config.space), trials)
    assert found is not None
    assert suggestion.thought["seconds"] == found.seconds(trials[-1].point, suggestion.values)


def test_initial_points_are_the_same_ones_in_an_order_that_heats_less() -> None:
    plain, costly = campaign(durations=None, optimizer={"engine": "botorch", "initial": 8}), campaign(optimizer={"engine": "botorch", "initial": 8})
    trials: list[Trial] = []
    for index in range(8):
        values = make_optimizer(costly).suggest(trials)[0].values
        trials.append(Trial(index, TrialState.COMPLETED, values, outcome=Outcome({"y": Measured(0.0, 0.1)})))
    spread = [s.values for s in make_optimizer(plain).suggest([], 8)]
    assert sorted(map(str, (t.planned for t in trials))) == sorted(map(str, spread))

    def heating(points: list[Mapping[str, Value]]) -> float:
        return sum(abs(float(b["temperature"]) - float(a["temperature"])) for a, b in zip(points, points[1:], strict=False))

    assert heating([t.planned for t in trials]) < 0.7 * heating(spread)


@pytest.mark.parametrize("n", [1, 2, 5, 6])
def test_the_order_of_a_plate_is_the_shortest_of_all(n: int) -> None:
    config = campaign()
    costs = Durations(config.space, 900.0, {"temperature": 30.0, "solvent": 1500.0})
    before, *plate = points(n + 1, seed=n)

    def total(places: tuple[int, ...]) -> float:
        way = [before, *(plate[k] for k in places)]
        return sum(costs.change(a, b) for a, b in zip(way, way[1:], strict=False))

    found = order(costs, plate, before)
    assert sorted(found) == list(range(n))
    assert total(tuple(found)) == pytest.approx(min(total(other) for other in permutations(range(n))))


def test_the_order_of_many_samples_is_one_way_up_or_down_of_a_single_slow_parameter() -> None:
    config = campaign()
    costs = Durations(config.space, 900.0, {"temperature": 30.0})
    plate = points(3 * EXACT)
    coldest = {**plate[0], "temperature": 60.0}
    heated = [float(plate[k]["temperature"]) for k in order(costs, plate, coldest)]
    assert heated == sorted(heated)


def test_a_plate_is_suggested_in_the_order_that_takes_the_least_time() -> None:
    config = campaign()
    trials = measured(points(8), Durations(config.space, 600.0, {"temperature": 10.0}), {})
    plate = make_optimizer(config).suggest(trials, 5)
    around = circumstances_of(config, Domain(config.space), trials)
    assert len({str(s.values) for s in plate}) == 5
    assert around.durations is not None
    way = [trials[-1].point, *(s.values for s in plate)]
    best = [trials[-1].point, *(plate[k].values for k in order(around.durations, way[1:], way[0]))]
    taken, least = (sum(around.durations.change(a, b) for a, b in zip(one, one[1:], strict=False)) for one in (way, best))
    assert taken == pytest.approx(least)
