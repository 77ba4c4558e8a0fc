"""How long steps are expected to take, and whose sample is next."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.core.errors import ScheduleError
from plans.dispatch import Learning, Route, StepForecast, next_campaign
from plans.forecast import remaining_s

ANNEAL = StepForecast("anneal", "annealer", 700.0, 0.1, 250.0, 30.0)
PRIOR = Route((ANNEAL,), 20.0)


# -- forecasts -------------------------------------------------------------------------------------------------------------


def test_without_recordings_the_recipes_estimate_stands():
    assert Learning(PRIOR).route({}) == PRIOR


def test_many_recordings_replace_the_estimate():
    rng = np.random.default_rng(1)
    route = Learning(PRIOR).route({"anneal": tuple(rng.normal(900, 90, 200)), "transfer": (31.0,) * 100, "prepare anneal": (100.0,) * 100})
    step = route.steps[0]
    assert step.mean_s == pytest.approx(900, rel=0.06) and step.spread == pytest.approx(0.1, abs=0.03)
    assert route.transfer_s == pytest.approx(30, abs=1.5) and step.prepare_s == pytest.approx(120, abs=10)
    assert (step.name, step.role, step.max_gap_s) == ("anneal", "annealer", 30.0)


def test_one_recording_moves_the_estimate_by_a_fifth_of_the_way():
    moved_s = Learning(PRIOR).route({"anneal": (800.0,)}).steps[0].mean_s
    assert 700 + 5 < moved_s < 700 + 30


def test_one_wild_recording_among_many_moves_little():
    usual = [700.0 + 10 * math.sin(i) for i in range(30)]
    calm, wild = (Learning(PRIOR).route({"anneal": values}).steps[0] for values in (usual, [*usual, 40000.0]))
    assert wild.mean_s == pytest.approx(calm.mean_s, rel=0.02) and wild.spread < 0.1


def test_a_change_is_half_way_in_after_twenty_recordings_and_nearly_all_in_after_fifty():
    def learned_s(n: int) -> float:
        return Learning(PRIOR).route({"anneal": (700.0,) * 100 + (1000.0,) * n}).steps[0].mean_s

    assert learned_s(3) < 760 and learned_s(50) > 920


def test_recordings_that_make_no_sense_are_left_out():
    assert Learning(PRIOR).route({"anneal": (math.nan, 0.0, -5.0)}) == PRIOR


@given(elapsed_s=st.floats(0, 3000), spread=st.sampled_from([0.0, 0.1, 0.5]))
def test_what_remains_is_never_negative_and_always_finite(elapsed_s, spread):
    step = StepForecast("x", "y", 300.0, spread)
    left_s = remaining_s(step.mean_s, step.sigma, elapsed_s, np.linspace(-2.4, 2.4, 9))
    assert (left_s >= 0.0).all() and np.isfinite(left_s).all()
    assert 0.0 <= step.ends_within(elapsed_s, 50.0) <= 1.0


def test_what_remains_agrees_with_the_chance_to_end():
    step, z = StepForecast("x", "y", 300.0, 0.3), np.linspace(-2.5, 2.5, 1001)
    weights = np.exp(-(z**2) / 2)
    left_s = remaining_s(step.mean_s, step.sigma, 280.0, z)
    assert weights[left_s <= 60.0].sum() / weights.sum() == pytest.approx(step.ends_within(280.0, 60.0), abs=0.02)


def test_half_of_the_steps_end_before_the_median():
    step = StepForecast("x", "y", 300.0, 0.3)
    assert step.ends_within(0.0, step.quantile_s(0.5)) == pytest.approx(0.5)


@pytest.mark.parametrize(("field", "value"), [("mean_s", -1.0), ("spread", math.nan), ("max_gap_s", -3.0)])
def test_a_forecast_with_a_senseless_number_is_refused(field, value):
    with pytest.raises(ScheduleError, match=f"step x: {field} is .*; allowed: a finite number, at least 0"):
        StepForecast("x", "y", **{"mean_s": 1.0, field: value})


def test_a_route_without_steps_is_refused():
    with pytest.raises(ScheduleError, match="a route needs at least one step"):
        Route((), 10.0)


# -- shares ----------------------------------------------------------------------------------------------------------------


@given(weights=st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.floats(0.1, 10.0), min_size=1, max_size=5), n=st.integers(1, 300))
def test_shares_converge_and_nobody_is_ever_a_whole_sample_behind(weights, n):
    started = dict.fromkeys(weights, 0)
    for _ in range(n):
        started[next_campaign(weights, started)] += 1
    whole = sum(weights.values())
    for name, weight in weights.items():
        assert n * weight / whole - 1.0 - 1e-6 < started[name] < n * weight / whole + len(weights)


def test_a_higher_priority_goes_first_whatever_it_has_had():
    assert next_campaign({"a": 2, "b": 1}, {"a": 0, "b": 9}, {"b": 1}) == "b"


def test_equal_claims_are_decided_by_name():
    assert next_campaign({"b": 1, "a": 1}, {}) == "a"


@pytest.mark.parametrize("share", [0.0, -1.0, math.inf])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ScheduleError, match="campaign a: share is .*; allowed: a finite number above 0"):
        next_campaign({"a": share}, {})


def test_no_campaign_is_no_answer():
    with pytest.raises(ScheduleError, match="no campaign has a sample to start"):
        next_campaign({}, {})
