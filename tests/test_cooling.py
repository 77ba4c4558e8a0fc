"""A plate tells by its own fall when it can be loaded."""

from __future__ import annotations

import math

import pytest

from lab.core.clock import ManualClock
from lab.core.errors import InstrumentError
from plans.cooling import AIR_C, FIRST_GUESS_S, Cooling


class Plate:
    def __init__(self, clock: ManualClock, constant_s: float) -> None:
        self.clock, self.constant_s, self.hot_c = clock, constant_s, 140.0
        self.is_gone = False

    def temperature_c(self) -> float:
        if self.is_gone:
            raise InstrumentError("hotplate: gone")
        return AIR_C + (self.hot_c - AIR_C) * math.exp(-self.clock.now() / self.constant_s)


def test_the_wait_is_a_guess_at_first_and_exact_once_the_plate_has_fallen_a_little() -> None:
    clock = ManualClock()
    plate = Plate(clock, constant_s=250.0)
    cooling = Cooling(plate, clock)
    assert cooling.wait_s(60) == pytest.approx(FIRST_GUESS_S * math.log((140 - AIR_C) / (60 - AIR_C)))
    clock.advance(30)
    left_s = 250 * math.log((140 - AIR_C) / (60 - AIR_C)) - 30
    assert cooling.wait_s(60) == pytest.approx(left_s)
    clock.advance(left_s)
    assert cooling.wait_s(60) == pytest.approx(0.0, abs=1e-9)


def test_what_was_learned_holds_for_the_next_time_and_a_heated_plate_teaches_nothing() -> None:
    clock = ManualClock()
    plate = Plate(clock, constant_s=250.0)
    cooling = Cooling(plate, clock)
    cooling.wait_s(60)
    clock.advance(100)
    cooling.wait_s(60)
    cooling.forget()
    plate.hot_c = 400.0
    cooling.wait_s(60)
    assert cooling.constant_s == pytest.approx(250.0)
    assert cooling.fall_s(100.0, 60.0) == pytest.approx(250 * math.log(77 / 37))


def test_a_plate_that_cannot_be_read_is_never_ready() -> None:
    clock = ManualClock()
    plate = Plate(clock, constant_s=250.0)
    plate.is_gone = True
    assert Cooling(plate, clock).wait_s(60) == math.inf
