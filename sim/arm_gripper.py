"""The electric gripper at the flange (MEGP 25LS), and what it needs of the shared world.

The fingers move on their own while the arm goes on with its queue: a program that must not lift before the grip is firm
sends a Delay or waits for the gripper's state (MC-PM-MECA500, MoveGripper).
"""

from __future__ import annotations

from math import inf
from typing import Protocol

from sim.kinematics import Six

STROKE_MM = 48.0
"""Opening between the fingers when fully open: user manual of the MEGP 25 grippers, long stroke."""
MAX_MM_S = 100.0
"""Speed of the fingers at SetGripperVel(100)."""
PART_MM = 15.0
"""Width of a sample between the fingers."""
TOOL_TYPE = 11
"""MEGP 25LS, in GetRtExtToolStatus."""

_EPSILON_MM = 1e-9


class ArmWorld(Protocol):
    """The world as the arm touches it. Poses are the flange's in the base frame: x, y, z mm, alpha, beta, gamma deg."""

    def close_gripper(self, pose: Six) -> bool:
        """The fingers close on whatever stands at `pose`; returns whether they hold something now."""
        ...

    def open_gripper(self, pose: Six) -> None:
        """The fingers open at `pose`: what they held stands there, or falls."""
        ...

    def is_holding(self) -> bool:
        """Whether something is between the fingers."""
        ...


class Gripper:
    """Two fingers that move at a speed and stop at a part.

    Parameters
    ----------
    world : ArmWorld
    """

    def __init__(self, world: ArmWorld) -> None:
        self._world = world
        self.is_homed = False
        self.is_holding = world.is_holding()
        self.opening_mm = PART_MM if self.is_holding else STROKE_MM
        self._target_mm = self.opening_mm
        self._speed_mm_s = MAX_MM_S

    @property
    def is_reached(self) -> bool:
        """Whether the opening that was asked for is reached; never while a part keeps the fingers from it."""
        return abs(self.opening_mm - self._target_mm) < _EPSILON_MM

    @property
    def is_open(self) -> bool:
        return self.opening_mm > STROKE_MM - _EPSILON_MM

    @property
    def is_closed(self) -> bool:
        return self.opening_mm < _EPSILON_MM

    @property
    def is_at_limit(self) -> bool:
        return self.is_open or self.is_closed

    def home(self) -> None:
        """Find the range of the fingers: they end open, unless they hold a part."""
        self.is_homed = True
        if not self.is_holding:
            self.opening_mm = self._target_mm = STROKE_MM

    def move(self, target_mm: float, vel_percent: float, pose: Six) -> None:
        """Begin to move the fingers to an opening; a part that they held is let go at once when they open."""
        self._target_mm = target_mm
        self._speed_mm_s = MAX_MM_S * vel_percent / 100.0
        if self.is_holding and target_mm > PART_MM:
            self._world.open_gripper(pose)
            self.is_holding = False

    def stop(self) -> None:
        """Stay where the fingers are: power off, or an error."""
        if not self.is_holding:
            self._target_mm = self.opening_mm

    def due_s(self) -> float:
        """Seconds until the fingers meet a part's width or their target; infinite when they stand still."""
        if self.is_holding or self.is_reached:
            return inf
        return abs(self._stop_mm() - self.opening_mm) / self._speed_mm_s

    def advance(self, dt_s: float, pose: Six) -> None:
        """Move for `dt_s`, at most `due_s`; close on what stands at `pose` when a part's width is met."""
        if self.is_holding or self.is_reached:
            return
        stop_mm = self._stop_mm()
        way_mm = self._speed_mm_s * dt_s
        if way_mm < abs(stop_mm - self.opening_mm) - _EPSILON_MM:
            self.opening_mm += way_mm if stop_mm > self.opening_mm else -way_mm
            return
        meets_part = self.opening_mm > PART_MM >= stop_mm and stop_mm == PART_MM
        self.opening_mm = stop_mm
        if meets_part:
            self.is_holding = self._world.close_gripper(pose)

    def _stop_mm(self) -> float:
        """Where the present movement ends, or may meet a part."""
        if self.opening_mm > PART_MM >= self._target_mm:
            return PART_MM
        return self._target_mm
