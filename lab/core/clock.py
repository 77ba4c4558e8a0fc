"""Clocks. Laboratory time is what the physics sees; wall time is what people and protocol watchdogs see."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Time in seconds, never going backwards."""

    @property
    def speed(self) -> float:
        """Laboratory seconds per wall second."""
        ...

    def now(self) -> float:
        """Laboratory seconds since an arbitrary origin."""
        ...

    def wall_s(self, lab_s: float) -> float:
        """How long `lab_s` laboratory seconds take on the wall."""
        ...


class WallClock:
    """Laboratory time is wall time: real instruments, and protocol watchdogs everywhere."""

    speed = 1.0

    def now(self) -> float:
        return time.monotonic()

    def wall_s(self, lab_s: float) -> float:
        return lab_s


class ScaledClock:
    """Physics runs `speed` times as fast as the wall.

    Parameters
    ----------
    speed : float
        Laboratory seconds per wall second, > 0.

    Raises
    ------
    ValueError
        When `speed` is not positive.
    """

    def __init__(self, speed: float) -> None:
        if not speed > 0:
            raise ValueError(f"speed: {speed} is not greater than 0")
        self.speed = float(speed)
        self._origin_s = time.monotonic()

    def now(self) -> float:
        return (time.monotonic() - self._origin_s) * self.speed

    def wall_s(self, lab_s: float) -> float:
        return lab_s / self.speed


class ManualClock:
    """Time stands still until a test (or a virtual laboratory) advances it."""

    speed = 1.0

    def __init__(self, now_s: float = 0.0) -> None:
        self._now_s = now_s

    def now(self) -> float:
        return self._now_s

    def wall_s(self, lab_s: float) -> float:
        return lab_s

    def advance(self, lab_s: float) -> None:
        """Move on by `lab_s` seconds (>= 0)."""
        if lab_s < 0:
            raise ValueError(f"advance: {lab_s} s would turn time back")
        self._now_s += lab_s
