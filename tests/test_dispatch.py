"""When a sample may start, and who goes first."""

from __future__ import annotations

import math

import pytest

from lab.core.errors import ScheduleError
from plans.dispatch import Dispatcher, Progress, next_campaign
from plans.forecast import Route, StepForecast

UNITS = {"synthesiser": ("spin",), "annealer": ("plate_a", "plate_b"), "detector": ("stage",)}


def film(spread: float = 0.0, gap_s: float | None = 30.0, transfer_s: float = 20.0) -> Route:
    """The demo laboratory's route."""
    return Route((StepForecast("cast", "synthesiser", 75, spread), StepForecast("anneal", "annealer", 700, spread, 250, gap_s),
                  StepForecast("expose", "detector", 10, spread)), transfer_s)


def test_a_sample_starts_at_once_in_an_empty_laboratory():
    assert Dispatcher(UNITS).start_in_s(film(0.3), [], 0.0, {}) == 0.0


def test_a_sample_with_a_limit_starts_just_before_a_plate_has_cooled():
    plates = {"plate_a": math.inf, "plate_b": 200.0}
    wait_s = Dispatcher(UNITS).start_in_s(film(), [], 0.0, plates)
    # cooled after 200 s +- 5 %; 20 s transfer and 75 s casting before, 10 s left of the limit after the second transfer
    assert wait_s is not None and 200 - 20 - 75 - 10 <= wait_s <= 200 * 1.11 - 20 - 75 - 10
    assert Dispatcher(UNITS).start_in_s(film(), [], 0.0, {**plates, "plate_b": 90.0}) == 0.0


def test_nothing_starts_while_no_plate_is_in_order():
    plates = {"plate_a": math.inf, "plate_b": math.inf}
    assert Dispatcher(UNITS).start_in_s(film(), [], 0.0, plates) is None


def test_a_limit_shorter_than_the_transfer_is_refused_with_the_difference():
    with pytest.raises(ScheduleError, match="step anneal: max_gap_s is 15 s, and the transfer alone takes 20 s: 5 s too long"):
        Dispatcher(UNITS).start_in_s(film(gap_s=15.0), [], 0.0, {})


def test_the_sample_whose_limit_runs_is_served_first():
    casting = Progress("a", film(), 0, "waiting", 95.0, "spin")
    annealed = Progress("b", film(), 1, "waiting", 50.0, "plate_a")
    dispatcher = Dispatcher(UNITS)
    assert dispatcher.rank(casting, [casting, annealed], 100.0) < dispatcher.rank(annealed, [casting, annealed], 100.0)


def test_the_campaign_with_least_for_its_share_starts_next():
    assert next_campaign({"a": 2, "b": 1}, {"a": 2, "b": 0}) == "b"
    assert next_campaign({"a": 2, "b": 1}, {"a": 2, "b": 1}) == "a"
    assert next_campaign({"a": 2, "b": 1}, {"a": 0, "b": 9}, {"b": 1}) == "b"
