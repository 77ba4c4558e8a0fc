"""The laboratory's clock, as the devices of this process know it.

A process has one session (docs/decisions/0001-one-session-to-a-process.md) and so one clock, which the session puts here before it makes
devices. They need it for one thing: to say when something is under way here or at a bridge, so that virtual time stands still
meanwhile. On any other clock that means nothing.
"""

from __future__ import annotations

import math

from lab.core.clock import Clock, WallClock

_clock: Clock = WallClock()


def use(clock: Clock) -> None:
    """Keep this time from now on."""
    global _clock
    _clock = clock


def clock() -> Clock:
    """The laboratory's clock."""
    return _clock


def is_virtual() -> bool:
    """Whether time leaps: then a reading is fetched when it is wanted, since a monitored one may be older than the last leap."""
    return math.isinf(_clock.speed)
