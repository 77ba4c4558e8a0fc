"""When to look again at a temperature that is on its way, in virtual time: seldom while it is far off, often when it is near."""

from __future__ import annotations

SHORTEST_S, LONGEST_S = 1.0, 30.0
"""Between two looks, laboratory seconds: how late an arrival is noticed, and how long a plate that has stopped is not."""

SHARE = 0.5
"""Of the time that the rest of the way would take at the present pace: a plate slows down as it arrives."""


class Cadence:
    """A function of what was read, so that it is the same whenever the same happens.

    Parameters
    ----------
    goal_c : float
        Where the temperature is going, degC.
    """

    def __init__(self, goal_c: float) -> None:
        self._goal_c = goal_c
        self._last: tuple[float, float] | None = None

    def next_s(self, now_s: float, now_c: float) -> float:
        """Laboratory seconds until the next look, after a reading of `now_c` at `now_s`."""
        last, self._last = self._last, (now_s, now_c)
        if last is None or now_s <= last[0]:
            return SHORTEST_S
        pace_c_s = abs(now_c - last[1]) / (now_s - last[0])
        if pace_c_s == 0.0:
            return LONGEST_S
        return min(max(SHARE * abs(self._goal_c - now_c) / pace_c_s, SHORTEST_S), LONGEST_S)
