"""When a hot plate can be loaded: Newton's law of cooling, with the time constant that the plate itself has shown.

T(t) = T_air + (T_0 - T_air) exp(-t / tau) (Incropera and DeWitt, Fundamentals of Heat and Mass Transfer, section 5.1, lumped capacitance).
"""

from __future__ import annotations

import math
from typing import Protocol

from lab.core.clock import Clock
from lab.core.errors import LabError

AIR_C = 23.0
"""Temperature of the room."""

FIRST_GUESS_S = 400.0
"""Time constant of a bench hotplate, as long as it has not been seen to cool."""

FALL_C = 5.0
"""A plate has to fall by so much before its readings tell a time constant."""


class Plate(Protocol):
    """What is asked of a heater (`lab.core.capabilities.Heater`)."""

    def temperature_c(self) -> float: ...


class Cooling:
    """One plate, looked at now and then.

    Parameters
    ----------
    plate : Plate
    clock : Clock
        Laboratory time.
    """

    def __init__(self, plate: Plate, clock: Clock) -> None:
        self._plate, self._clock = plate, clock
        self.constant_s = FIRST_GUESS_S
        self._from: tuple[float, float] | None = None

    def wait_s(self, below_c: float) -> float:
        """How long until the plate is below `below_c`, laboratory seconds; infinite when it cannot be read.

        To be asked while the heater is off: what is learned from two readings of a plate that is heated would be wrong.
        """
        try:
            now_c = self._plate.temperature_c()
        except LabError:
            return math.inf
        self._learn(self._clock.now(), now_c)
        return self.fall_s(now_c, below_c)

    def fall_s(self, from_c: float, below_c: float) -> float:
        """How long it takes from one temperature to another, laboratory seconds."""
        if from_c <= below_c:
            return 0.0
        return self.constant_s * math.log((from_c - AIR_C) / (below_c - AIR_C))

    def forget(self) -> None:
        """The plate is heated from now on: what it showed so far is no part of a fall."""
        self._from = None

    def _learn(self, now_s: float, now_c: float) -> None:
        if self._from is None or now_c > self._from[1]:
            self._from = (now_s, now_c)
            return
        then_s, then_c = self._from
        if then_c - now_c >= FALL_C and now_c > AIR_C + FALL_C:
            self.constant_s = (now_s - then_s) / math.log((then_c - AIR_C) / (now_c - AIR_C))
