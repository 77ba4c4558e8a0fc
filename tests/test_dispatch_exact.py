"""The yardstick of the dispatcher: the exact schedule of small cases that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.exact import exact, good_order, reordered, schedule_of
from benchmarks.schedule import FILM_UNITS, LINE_UNITS, bottleneck_s, draw, film, line, run
from benchmarks.workcell import Truth


def test_the_exact_schedule_of_a_line_is_the_way_in_the_bottleneck_and_the_way_out():
    truths = draw(line(0.0), 4, 0.0, np.random.default_rng(0))
    best = exact(line(0.0), truths, LINE_UNITS, 5.0)
    assert best.is_optimal and best.makespan_s == best.bound_s == (10 + 300) + 4 * (360 + 2 * 10) + (240 + 10)


def test_the_exact_schedule_keeps_limits_and_preparations():
    route, truths = film(0.0), draw(film(0.0), 4, 0.0, np.random.default_rng(0))
    best = exact(route, truths, FILM_UNITS, 5.0, schedule_of(run(route, FILM_UNITS, truths), route))
    leaves_s, unit = best.schedule.leaves_s, best.schedule.unit
    for cast, anneal, *_ in leaves_s:
        assert anneal + 20 <= cast + 20 + 75 + 30
    for plate in FILM_UNITS["annealer"]:
        stays = sorted((leaves_s[i][1], leaves_s[i][2] + 20) for i in range(4) if unit[i, 1] == plate)
        assert all(second[0] >= first[1] + 250 for first, second in zip(stays, stays[1:], strict=False))


def test_the_dispatcher_is_as_fast_as_the_exact_schedule_when_durations_are_known():
    for route, units in ((line(0.0), LINE_UNITS), (film(0.0), FILM_UNITS)):
        truths = draw(route, 6, 0.0, np.random.default_rng(0))
        outcome = run(route, units, truths)
        best = exact(route, truths, units, 2.0, schedule_of(outcome, route))
        assert bottleneck_s(route, units, truths) <= best.makespan_s <= outcome.makespan_s <= 1.02 * best.makespan_s


def test_a_good_order_is_at_least_as_fast_as_the_order_given():
    route, truths = line(0.3), draw(line(0.3), 8, 0.3, np.random.default_rng(3))
    order = good_order(route, truths)
    assert sorted(order) == list(range(8))
    hint = reordered(schedule_of(run(route, LINE_UNITS, [truths[i] for i in order]), route), order)
    in_order = exact(route, truths, LINE_UNITS, 2.0, hint, order)
    as_given = exact(route, truths, LINE_UNITS, 2.0, schedule_of(run(route, LINE_UNITS, truths), route), order=range(8))
    assert in_order.makespan_s <= as_given.makespan_s


def test_what_cannot_be_scheduled_is_told():
    truths = [Truth((300.0, 360.0, 240.0), (0.0, 0.0, 0.0))] * 2
    with pytest.raises(RuntimeError, match="no schedule with an effort of 2: INFEASIBLE"):
        exact(line(0.0), truths, LINE_UNITS, 2.0, order=(0, 1, 0))
