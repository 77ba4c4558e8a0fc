"""How the hotplate, its probe and the samples warm and cool.

A bench hotplate heats at a bounded rate, closes in on its setpoint exponentially, and can only cool by itself (Newton's
law of cooling). Everything that stands on the plate or in the air follows with a first-order lag.
"""

from __future__ import annotations

import math

AMBIENT_C = 23.0
HEATING_C_S = 1.5
"""Fastest heating of the plate."""
APPROACH_S = 8.0
"""Time constant of the last degrees to the setpoint."""
COOLING_S = 420.0
"""Time constant of the plate cooling in air."""
PROBE_LAG_S = 12.0
PROBE_CONTACT = 0.98
"""Share of the plate's excess temperature that reaches the external probe."""
SAMPLE_LAG_S = 5.0
"""A substrate on the plate."""
SAMPLE_AIR_LAG_S = 20.0
"""A substrate in the air, in the gripper or in the rack."""
STEP_S = 0.5
"""Longest step of the integration while anything changes."""
STEADY_C = 0.01
"""What differs less than this from where it is going has arrived."""


def relax(value: float, goal: float, lag_s: float, dt_s: float) -> float:
    """First-order approach of `value` to `goal`, exact for a constant goal."""
    return goal + (value - goal) * math.exp(-dt_s / lag_s)


class Plate:
    """A hotplate-stirrer: its plate, its external probe, degC, and its stirrer."""

    def __init__(self) -> None:
        self.plate_c = AMBIENT_C
        self.probe_c = AMBIENT_C
        self.target_c: float | None = None
        """Setpoint while the heater is on; None when it is off."""
        self.rpm = 0.0

    @property
    def goal_c(self) -> float:
        """Where the plate is going, degC."""
        return AMBIENT_C if self.target_c is None else max(self.target_c, AMBIENT_C)

    @property
    def _probe_goal_c(self) -> float:
        return AMBIENT_C + PROBE_CONTACT * (self.plate_c - AMBIENT_C)

    @property
    def is_steady(self) -> bool:
        """Nothing will change until somebody acts."""
        return abs(self.plate_c - self.goal_c) < STEADY_C and abs(self.probe_c - self._probe_goal_c) < STEADY_C

    def step(self, dt_s: float) -> None:
        """Move on by `dt_s` seconds (at most `STEP_S` unless `is_steady`)."""
        gap_c = self.goal_c - self.plate_c
        if gap_c > 0.0:
            self.plate_c += min(HEATING_C_S * dt_s, gap_c * -math.expm1(-dt_s / APPROACH_S))
        else:
            self.plate_c = max(self.goal_c, relax(self.plate_c, AMBIENT_C, COOLING_S, dt_s))
        self.probe_c = relax(self.probe_c, self._probe_goal_c, PROBE_LAG_S, dt_s)
