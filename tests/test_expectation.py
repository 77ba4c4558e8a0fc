"""How long an order is expected to take, from the recipe's own estimate and from what was recorded of others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plans.expectation import Expectation
from plans.forecast import Route
from plans.recipes import THIN_FILM, Order

ANNEAL = 1


def order(anneal_time_s: float = 600.0, **more: float) -> Order:
    settings = {name: setting.default for name, setting in THIN_FILM.settings.items()}
    settings.update(anneal_temperature=120.0, anneal_time_s=anneal_time_s, **more)
    return Order(0, "", "", "", {"cs": 0.25, "fa": 0.75}, {}, settings)  # type: ignore[arg-type]


def anneal_s(route: Route) -> float:
    return route.steps[ANNEAL].mean_s


def test_without_records_the_recipes_own_estimate_is_expected() -> None:
    expectation = Expectation(THIN_FILM, order(), {})
    assert [step.mean_s for step in expectation.route(None).steps] == pytest.approx([14.0, 660.0, 7.2])
    assert expectation.route(None).transfer_s == THIN_FILM.transfer_s


def test_an_order_that_is_annealed_longer_is_expected_to_take_so_much_longer() -> None:
    expectation = Expectation(THIN_FILM, order(), {})
    assert anneal_s(expectation.route(order(1800.0))) == pytest.approx(1860.0)


def test_recorded_durations_correct_the_estimate_of_orders_of_any_length() -> None:
    expectation = Expectation(THIN_FILM, order(), {"anneal": (760.0,) * 100})
    typical_s = anneal_s(expectation.route(None))
    assert 740.0 < typical_s < 765.0
    assert anneal_s(expectation.route(order(1600.0))) - typical_s == pytest.approx(1000.0, abs=30.0)


def test_what_is_learned_holds_from_then_on() -> None:
    expectation = Expectation(THIN_FILM, order(), {})
    known = order()
    before_s = anneal_s(expectation.route(known))
    expectation.learn({"anneal": (900.0,) * 50})
    assert anneal_s(expectation.route(known)) > before_s + 150.0


def test_an_order_that_is_much_shorter_than_the_others_still_takes_some_time() -> None:
    expectation = Expectation(THIN_FILM, order(3000.0), {"anneal": (500.0,) * 100})
    assert anneal_s(expectation.route(order(10.0))) > 50.0


def test_the_time_limit_is_that_of_the_order_itself() -> None:
    expectation = Expectation(THIN_FILM, order(), {})
    assert [step.max_gap_s for step in expectation.route(order(max_gap_s=35.0)).steps] == [None, 35.0, None]


def test_how_long_plates_took_to_cool_is_not_learned_since_each_is_watched_itself() -> None:
    expectation = Expectation(THIN_FILM, order(), {"prepare anneal": (5.0,) * 100})
    assert expectation.route(None).steps[ANNEAL].prepare_s == THIN_FILM.steps[ANNEAL].prepare_s


def test_orders_are_told_apart_by_what_they_are_not_by_when_they_are_asked_for() -> None:
    expectation = Expectation(THIN_FILM, order(), {})
    long, short = order(1200.0), order(300.0)
    first = expectation.route(long)
    expectation.route(short)
    assert anneal_s(expectation.route(long)) == pytest.approx(anneal_s(first))
    assert anneal_s(expectation.route(replace(short))) == pytest.approx(360.0)


def test_the_typical_order_itself_may_be_asked_for() -> None:
    typical = order()
    assert anneal_s(Expectation(THIN_FILM, typical, {}).route(typical)) == pytest.approx(660.0)
