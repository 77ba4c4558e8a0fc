"""What the Meca500 tells those who monitor it: changes at once, joints and pose once per interval of the wall clock.

MC-PM-MECA500, section 2.5.4, "Monitoring port messages".
"""

from __future__ import annotations

from lab.core.clock import Clock
from sim import arm_reports as reports
from sim.arm_protocol import encode, listed
from sim.arm_robot import Robot

DEFAULT_INTERVAL_S = 1.0 / 60.0
_STAMPED = frozenset({reports.TOOL_STATUS, reports.GRIPPER_STATE})


class Monitoring:
    """The robot's state as messages.

    Parameters
    ----------
    robot : Robot
    wall : Clock
        Of the time stamps and the interval.
    """

    def __init__(self, robot: Robot, wall: Clock) -> None:
        self._robot, self._wall = robot, wall
        self.power_on()

    def power_on(self) -> None:
        """Defaults again; time stamps count from now."""
        self._powered_s = self._wall.now()
        self.real_time: tuple[int, ...] = ()
        self.set_interval(DEFAULT_INTERVAL_S)
        self._told = self._events()

    @property
    def stamp_us(self) -> int:
        """Microseconds since the power came on."""
        return int((self._wall.now() - self._powered_s) * 1e6)

    @property
    def interval_s(self) -> float:
        return self._interval_s

    def set_interval(self, interval_s: float) -> None:
        """Begin a new cycle of this length."""
        self._interval_s = interval_s
        self._next_s = self._wall.now() + interval_s

    def everything(self) -> bytes:
        """What a new listener is told."""
        return b"".join(self._message(code, text) for code, text in self._events().items())

    def changes(self) -> bytes:
        """What has changed since the last call."""
        before, self._told = self._told, self._events()
        return b"".join(self._message(code, text) for code, text in self._told.items() if before[code] != text)

    def cycle(self) -> bytes:
        """The messages of a cycle when one is due, else nothing. A late cycle is not made up for."""
        now_s = self._wall.now()
        if now_s < self._next_s:
            return b""
        self._next_s += self._interval_s
        if self._next_s <= now_s:
            self._next_s = now_s + self._interval_s
        stamp_us = self.stamp_us
        told = [encode(2026, listed(self._robot.joints)), encode(2027, listed(self._robot.pose))]
        told += [encode(code, reports.real_time(code, self._robot, stamp_us)) for code in self.real_time]
        return b"".join([*told, encode(2230, str(stamp_us))])

    def _events(self) -> dict[int, str]:
        """What is told when it changes, by code."""
        robot = self._robot
        return {reports.STATUS: reports.status(robot), reports.GRIPPER_STATUS: reports.gripper_status(robot),
                reports.TOOL_STATUS: reports.tool_status(robot), reports.GRIPPER_STATE: reports.gripper_state(robot)}

    def _message(self, code: int, text: str) -> bytes:
        return encode(code, f"{self.stamp_us},{text}" if code in _STAMPED else text)
