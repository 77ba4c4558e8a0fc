"""When a sample may start, and who goes first."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.workcell import Truth, WorkCell
from lab.core.errors import ScheduleError
from plans.dispatch import Dispatcher, Progress, Route, StepForecast

UNITS = {"synthesiser": ("spin",), "annealer": ("plate_a", "plate_b"), "detector": ("stage",)}


def film(spread: float = 0.0, gap_s: float | None = 30.0, transfer_s: float = 20.0) -> Route:
    """The demo laboratory's route."""
    return Route((StepForecast("cast", "synthesiser", 75, spread), StepForecast("anneal", "annealer", 700, spread, 250, gap_s),
                  StepForecast("expose", "detector", 10, spread)), transfer_s)


def truths(route: Route, n: int, spread: float, seed: int) -> list[Truth]:
    rng, sigma = np.random.default_rng(seed), math.sqrt(math.log1p(spread**2))

    def one(mean_s: float) -> float:
        return mean_s * math.exp(sigma * rng.standard_normal() - sigma**2 / 2)

    return [Truth(tuple(one(step.mean_s) for step in route.steps), tuple(one(step.prepare_s) for step in route.steps)) for _ in range(n)]


def annealing(name: str, plate: str, since_s: float, spread: float = 0.0) -> Progress:
    return Progress(name, film(spread), 1, "working", since_s, plate)


# -- when a sample may start -----------------------------------------------------------------------------------------------


def test_a_sample_starts_at_once_in_an_empty_laboratory():
    assert Dispatcher(UNITS).start_in_s(film(0.3), [], 0.0, {}) == 0.0


def test_a_sample_with_a_limit_starts_just_before_a_plate_has_cooled():
    wait_s = Dispatcher(UNITS).start_in_s(film(), [], 0.0, {"plate_a": math.inf, "plate_b": 200.0})
    # cooled after 200 s +- 5 %; 20 s transfer and 75 s casting come before, and 10 s of the limit are left after the second transfer
    assert wait_s is not None and 200 - 20 - 75 - 10 <= wait_s <= 200 * 1.15 - 20 - 75 - 10
    assert Dispatcher(UNITS).start_in_s(film(), [], 0.0, {"plate_a": math.inf, "plate_b": 90.0}) == 0.0


def test_a_sample_waits_for_the_plate_that_an_annealing_one_will_leave():
    active = [annealing("a", "plate_a", 0.0), annealing("b", "plate_b", 300.0)]
    wait_s = Dispatcher(UNITS).start_in_s(film(), active, 400.0, {})
    # a is done at 700, gone at 720, its plate cool at 970; the limit leaves 10 s
    assert wait_s == pytest.approx(970 - 10 - 75 - 20 - 400)


def test_what_lasts_longer_than_forecast_puts_the_start_off():
    dispatcher, active = Dispatcher(UNITS), [annealing("a", "plate_a", 0.0), annealing("b", "plate_b", 300.0)]
    at_its_end_s = dispatcher.start_in_s(film(), active, 700.0, {})
    assert dispatcher.start_in_s(film(), active, 750.0, {}) == pytest.approx(at_its_end_s)
    cooling = {"plate_a": 250.0 - 145.0}
    assert dispatcher.start_in_s(film(), active[1:], 865.0, cooling) == pytest.approx(0.0, abs=15.0)


def test_what_ends_sooner_than_forecast_brings_the_start_forward():
    dispatcher, active = Dispatcher(UNITS), [annealing("a", "plate_a", 0.0), annealing("b", "plate_b", 300.0)]
    expected_s = 500.0 + dispatcher.start_in_s(film(), active, 500.0, {})
    gone_s = 500.0 + dispatcher.start_in_s(film(), active[1:], 500.0, {"plate_a": 250.0})
    assert gone_s < expected_s - 150.0


def test_a_step_far_over_its_time_is_expected_to_end_some_time():
    active = [annealing("a", "plate_a", 0.0, 0.1), annealing("b", "plate_b", 0.0, 0.1)]
    wait_s = Dispatcher(UNITS).start_in_s(film(0.1), active, 5000.0, {})
    assert wait_s is not None and 0.0 < wait_s < 5000.0


def test_nothing_starts_while_no_plate_is_in_order():
    assert Dispatcher(UNITS).start_in_s(film(), [], 0.0, {"plate_a": math.inf, "plate_b": math.inf}) is None


def test_nothing_starts_while_the_first_station_is_occupied():
    casting = Progress("a", film(), 0, "working", 0.0, "spin")
    assert Dispatcher(UNITS).start_in_s(film(), [casting], 30.0, {}) == pytest.approx(75 + 20 - 30)


def test_a_start_leaves_the_arm_to_a_sample_whose_limit_will_run():
    tight = Route((StepForecast("cast", "synthesiser", 75), StepForecast("anneal", "annealer", 700, 0, 0, 20)), 20)
    casting = Progress("a", tight, 0, "working", 0.0, "spin")
    units = {**UNITS, "synthesiser": ("spin", "blade")}
    assert Dispatcher(units).start_in_s(tight, [casting], 60.0, {}) == pytest.approx(15 + 20)  # would come back from the rack after 80 s
    assert Dispatcher(units).start_in_s(tight, [casting], 50.0, {}) == 0.0


def test_a_sample_that_would_only_wait_is_not_started():
    route = Route((StepForecast("mix", "synthesiser", 60), StepForecast("anneal", "annealer", 1000)), 10)
    active = [Progress("a", route, 1, "working", 0.0, "plate_a"), Progress("b", route, 1, "working", 0.0, "plate_b")]
    wait_s = Dispatcher(UNITS).start_in_s(route, active, 100.0, {})
    assert wait_s is not None and 1000 - 100 - 70 - 40 <= wait_s <= 1000 - 100 - 70


def test_samples_that_come_back_to_a_station_do_not_block_each_other():
    route = Route((StepForecast("a", "synthesiser", 60), StepForecast("b", "detector", 60), StepForecast("c", "synthesiser", 60)), 10)
    active = [Progress("x", route, 1, "working", 0.0, "stage")]
    assert Dispatcher(UNITS).start_in_s(route, active, 10.0, {}) is None  # it would stand at spin, and x could never leave the stage


# -- what can never be kept ------------------------------------------------------------------------------------------------


def test_a_limit_shorter_than_the_transfer_is_refused_with_the_difference():
    with pytest.raises(ScheduleError, match="step anneal: max_gap_s is 15 s, and the transfer alone takes 20 s: 5 s too long"):
        Dispatcher(UNITS).start_in_s(film(gap_s=15.0), [], 0.0, {})


def test_a_limit_that_a_sample_alone_would_miss_is_refused_with_how_much():
    route = Route((StepForecast("first", "synthesiser", 50), StepForecast("look", "detector", 10),
                   StepForecast("second", "synthesiser", 50, 0, 300, 60)), 20)
    # spin is empty from 90 s on and ready at 390 s; the sample is done at the stage at 100 s: 290 s and the transfer, for 60 s
    with pytest.raises(ScheduleError, match="step second: max_gap_s is 60 s, .* would miss it by 250 s"):
        Dispatcher(UNITS).check(route)


def test_a_route_without_a_fitting_station_is_refused():
    with pytest.raises(ScheduleError, match="step sinter: no station has the role oven; there are synthesiser, annealer, detector"):
        Dispatcher(UNITS).check(Route((StepForecast("sinter", "oven", 10),), 10))


def test_two_steps_at_the_only_station_of_a_role_are_refused():
    route = Route((StepForecast("cast", "synthesiser", 10), StepForecast("rinse", "synthesiser", 10)), 10)
    with pytest.raises(ScheduleError, match="step rinse: follows cast at another station .* make one step"):
        Dispatcher(UNITS).check(route)


def test_a_limit_before_the_first_step_is_refused():
    with pytest.raises(ScheduleError, match="step cast: max_gap_s counts from the step before, and there is none"):
        Dispatcher(UNITS).check(Route((StepForecast("cast", "synthesiser", 10, max_gap_s=50),), 10))


def test_a_station_that_nobody_knows_is_named():
    with pytest.raises(ScheduleError, match="no station is named plate_z; there are spin, plate_a"):
        Dispatcher(UNITS).start_in_s(film(), [annealing("a", "plate_z", 0.0)], 0.0, {})


# -- who goes first --------------------------------------------------------------------------------------------------------


def test_the_sample_whose_limit_runs_is_served_first():
    cast, annealed = Progress("a", film(), 0, "waiting", 95.0, "spin"), Progress("b", film(), 1, "waiting", 50.0, "plate_a")
    active = [cast, annealed]
    assert Dispatcher(UNITS).rank(cast, active, 100.0) < Dispatcher(UNITS).rank(annealed, active, 100.0)


def test_of_two_limits_the_nearer_one_is_served_first():
    early, late = Progress("a", film(), 0, "waiting", 90.0, "spin"), Progress("b", film(), 0, "waiting", 95.0, "spin")
    assert Dispatcher(UNITS).rank(early, [early, late], 100.0) < Dispatcher(UNITS).rank(late, [early, late], 100.0)


def test_the_bottleneck_is_emptied_and_fed_before_others_move():
    route = film(gap_s=None)
    at_plate, cast = Progress("a", route, 1, "waiting", 0.0, "plate_a"), Progress("b", route, 0, "waiting", 0.0, "spin")
    exposed, new = Progress("c", route, 2, "waiting", 0.0, "stage"), Progress("d", route)
    active = [exposed, cast, at_plate, new]
    ranked = sorted(active, key=lambda progress: Dispatcher(UNITS).rank(progress, active, 10.0))
    assert [progress.name for progress in ranked] == ["a", "b", "c", "d"]


def test_a_transfer_waits_when_a_limit_would_run_out_meanwhile():
    casting, exposed = Progress("a", film(), 0, "working", 0.0, "spin"), Progress("b", film(), 2, "waiting", 0.0, "stage")
    dispatcher, active = Dispatcher(UNITS), [casting, exposed]
    assert dispatcher.move_in_s(exposed, active, 50.0) == 0.0
    assert dispatcher.move_in_s(exposed, active, 70.0) == pytest.approx(5.0)  # casting ends at 75 s, 10 s are left of the limit, a transfer takes 20 s


def test_the_last_station_is_left_to_a_sample_with_a_limit():
    other = Route((StepForecast("mix", "detector", 10), StepForecast("dry", "annealer", 500)), 20)
    casting, mixed = Progress("a", film(), 0, "working", 0.0, "spin"), Progress("b", other, 0, "waiting", 0.0, "stage")
    active = [casting, mixed, annealing("c", "plate_a", 0.0)]
    assert Dispatcher(UNITS).move_in_s(mixed, active, 10.0) == pytest.approx(65.0)
    assert Dispatcher(UNITS).move_in_s(mixed, active[:2], 10.0) == 0.0


def test_nobody_waits_for_a_limit_that_is_lost_without_a_station():
    casting, done = Progress("a", film(), 0, "working", 0.0, "spin"), Progress("b", film(), 1, "waiting", 0.0, "plate_a")
    assert Dispatcher(UNITS).move_in_s(done, [casting, done, annealing("c", "plate_b", 0.0)], 70.0) == 0.0


def test_limits_that_will_be_missed_are_told_with_how_much():
    active = [Progress("x", film(), 0, "working", 0.0, "spin"), annealing("a", "plate_a", 0.0), annealing("b", "plate_b", 0.0)]
    (risk,) = Dispatcher(UNITS).at_risk(active, 50.0)
    # a leaves at 700, gone at 720, cool at 970; x is at the plate at 990 s instead of 105 s
    assert (risk.name, risk.step, risk.chance) == ("x", "anneal", 1.0) and risk.late_s == pytest.approx(990 - 105)
    assert Dispatcher(UNITS).at_risk(active[:2], 50.0) == ()
    assert Dispatcher(UNITS).at_risk([], 50.0) == ()


# -- whole runs on paper ---------------------------------------------------------------------------------------------------


def test_fixed_durations_keep_every_limit_and_the_plates_busy():
    route = film()
    outcome = WorkCell(Dispatcher(UNITS), route, truths(route, 20, 0.0, 0), UNITS).run()
    assert len(outcome.gaps_s) == 20 and outcome.missed(route) == []
    assert outcome.makespan_s <= 1.03 * 20 * (700 + 250 + 2 * 20) / 2


@pytest.mark.parametrize("seed", range(2))
def test_limits_are_kept_as_often_as_stated_when_durations_scatter(seed):
    route, dispatcher = film(0.3), Dispatcher(UNITS)
    outcome = WorkCell(dispatcher, route, truths(route, 40, 0.3, seed), UNITS).run()
    assert len(outcome.gaps_s) == 40 and len(outcome.missed(route)) <= (1 - dispatcher.keep) * 40 + 2


def test_durations_that_all_differ_from_the_forecast_are_taken_in():
    route = film(0.2)
    slow = [Truth(tuple(1.5 * s for s in truth.work_s), truth.prepare_s) for truth in truths(route, 20, 0.1, 1)]
    outcome = WorkCell(Dispatcher(UNITS), route, slow, UNITS).run()
    assert outcome.missed(route) == [] and outcome.makespan_s <= 1.15 * 20 * (1.5 * 700 + 250 + 2 * 20) / 2


ROUTES = st.builds(
    lambda works, prepares, gaps, transfer_s: Route(tuple(
        StepForecast(role, role, work_s, 0.3, prepare_s, None if number == 0 or gap is None else transfer_s + gap)
        for number, (role, work_s, prepare_s, gap) in enumerate(zip(UNITS, works, prepares, gaps, strict=True))), transfer_s),
    st.tuples(*[st.floats(1, 500)] * 3), st.tuples(*[st.sampled_from([0.0, 100.0])] * 3), st.tuples(*[st.sampled_from([None, 5.0, 40.0])] * 3),
    st.sampled_from([5.0, 20.0]),
)


@given(route=ROUTES, seed=st.integers(0, 1000))
def test_every_sample_starts_at_the_latest_when_the_others_have_left_and_the_stations_are_ready(route, seed):
    drawn = truths(route, 4, 0.3, seed)
    outcome = WorkCell(Dispatcher(UNITS), route, drawn, UNITS).run()
    assert len(outcome.starts_s) == 4
    for number in range(1, 4):
        empty_s = max(stay.end_s for stay in outcome.stays if stay.sample < number) + route.transfer_s
        prepared_s = empty_s + max(drawn[number].prepare_s)
        assert outcome.starts_s[number] <= prepared_s + 2.0


@given(route=ROUTES, seed=st.integers(0, 1000))
def test_no_station_and_no_arm_is_ever_given_twice(route, seed):
    outcome = WorkCell(Dispatcher(UNITS), route, truths(route, 4, 0.3, seed), UNITS).run()
    for name in ("spin", "plate_a", "plate_b", "stage"):
        stays = sorted((stay.begin_s, stay.end_s) for stay in outcome.stays if stay.unit == name)
        assert all(first[1] <= second[0] + 1e-6 for first, second in zip(stays, stays[1:], strict=False))


def test_the_same_state_gives_the_same_answer():
    active = [annealing("a", "plate_a", 0.0, 0.3), Progress("c", film(0.3), 0, "waiting", 30.0, "spin", "plate_b")]
    assert len({Dispatcher(UNITS).start_in_s(film(0.3), active, 50.0, {"stage": 10.0}) for _ in range(3)}) == 1
