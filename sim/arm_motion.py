"""How the simulated Meca500 moves: what it was told about speeds and frames, and motions as functions of time.

Every motion begins and ends at rest with a trapezoidal velocity profile; blending (SetBlending) is accepted and neglected,
so a path runs through its corners instead of rounding them. Joint velocities are the user manual's maxima for the R3.
The accelerations at 100 % are not published; those here let a joint reach full speed in a quarter of a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import ceil, sqrt
from typing import Protocol

import numpy as np

from sim.arm_protocol import Refusal, refusal
from sim.kinematics import (
    JOINT_LIMITS_DEG,
    Matrix,
    Six,
    Unreachable,
    between,
    distance,
    forward,
    inverse_frame,
    inverted,
    is_within_limits,
    turn_between,
)

MAX_JOINT_DEG_S: tuple[float, ...] = (150.0, 150.0, 180.0, 300.0, 300.0, 500.0)
"""At SetJointVel(100): MC-UM-MECA500, technical specifications, R3."""
FULL_SPEED_S = 0.25
"""Until a joint has its full speed, at SetJointAcc(100)."""
CART_ACC_MM_S2 = 2000.0
CART_ACC_DEG_S2 = 1500.0
"""At SetCartAcc(100)."""

_KNOT_MM = _KNOT_DEG = 1.0
_MOST_KNOTS = 2000
"""Only a tool frame metres away from the flange could ask for more."""
_JUMP_DEG = 20.0
"""Joints that turn more than this between two knots of a line have passed (or nearly) a singularity."""


@dataclass
class Settings:
    """What motion commands are carried out with, until the robot is deactivated; defaults of the manual, section 2.1."""

    joint_vel: float = 25.0
    joint_acc: float = 100.0
    cart_lin_vel: float = 150.0
    cart_ang_vel: float = 45.0
    cart_acc: float = 50.0
    blending: float = 100.0
    gripper_force: float = 40.0
    gripper_vel: float = 40.0
    posture: tuple[int, int, int] | None = None
    """Shoulder, elbow, wrist of SetConf; None: the robot chooses (SetAutoConf)."""
    turn: int | None = None
    trf: Matrix = field(default_factory=lambda: np.eye(4))
    """Tool frame in the flange's frame."""
    wrf: Matrix = field(default_factory=lambda: np.eye(4))
    """World frame in the base frame."""

    def tool(self, joints: Sequence[float]) -> Matrix:
        """Frame of the tool in the world frame."""
        return inverted(self.wrf) @ forward(joints) @ self.trf

    def flange(self, tool: Matrix) -> Matrix:
        """Frame of the flange in the base frame, for a frame of the tool in the world frame."""
        return self.wrf @ tool @ inverted(self.trf)


class Motion(Protocol):
    """Something that takes time and says where the joints are meanwhile."""

    @property
    def duration_s(self) -> float: ...

    @property
    def is_moving(self) -> bool: ...

    def joints(self, elapsed_s: float) -> Six: ...


@dataclass(frozen=True)
class Hold:
    """Standing still for a while: Delay."""

    at: Six
    duration_s: float
    is_moving: bool = False

    def joints(self, elapsed_s: float) -> Six:
        return self.at


@dataclass(frozen=True)
class Trapezoid:
    """From rest to rest: even acceleration, a constant speed, even deceleration."""

    duration_s: float
    ramp_s: float

    @classmethod
    def of(cls, way: float, speed: float, acceleration: float) -> Trapezoid:
        """The shortest one over `way` within `speed` and `acceleration` (all in one unit, positive)."""
        if way <= 0.0:
            return cls(0.0, 0.0)
        if way * acceleration >= speed * speed:
            return cls(way / speed + speed / acceleration, speed / acceleration)
        ramp_s = sqrt(way / acceleration)
        return cls(2.0 * ramp_s, ramp_s)

    def fraction(self, elapsed_s: float) -> float:
        """How much of the way is done, 0..1."""
        if elapsed_s >= self.duration_s:
            return 1.0
        if elapsed_s <= 0.0:
            return 0.0
        top = 1.0 / (self.duration_s - self.ramp_s)
        if elapsed_s < self.ramp_s:
            return 0.5 * top * elapsed_s * elapsed_s / self.ramp_s
        left_s = self.duration_s - elapsed_s
        if left_s < self.ramp_s:
            return 1.0 - 0.5 * top * left_s * left_s / self.ramp_s
        return top * (elapsed_s - 0.5 * self.ramp_s)


@dataclass(frozen=True)
class JointMove:
    """All joints together, straight in joint space: MoveJoints, MovePose."""

    start: Six
    end: Six
    profile: Trapezoid
    is_moving: bool = True

    @classmethod
    def plan(cls, start: Six, end: Six, settings: Settings) -> JointMove:
        """The slowest joint sets the profile, the others keep step."""
        profiles = []
        for a, b, full in zip(start, end, MAX_JOINT_DEG_S, strict=True):
            profiles.append(Trapezoid.of(abs(b - a), full * settings.joint_vel / 100.0,
                                         full / FULL_SPEED_S * settings.joint_acc / 100.0))
        return cls(start, end, max(profiles, key=lambda profile: profile.duration_s))

    @property
    def duration_s(self) -> float:
        return self.profile.duration_s

    def joints(self, elapsed_s: float) -> Six:
        return _mixed(self.start, self.end, self.profile.fraction(elapsed_s))


@dataclass(frozen=True)
class Line:
    """The tool on a straight line: MoveLin. Joints are exact at the knots, which lie 1 mm or 1 degree apart at most."""

    knots: tuple[Six, ...]
    profile: Trapezoid
    is_moving: bool = True

    @classmethod
    def plan(cls, start: Six, target: Matrix, settings: Settings, command: str) -> Line:
        """To the tool frame `target` (in the world frame).

        Raises
        ------
        Refusal
            [1016] when a point of the line is out of reach, [1012] when it leads through a singularity, [1010] when a
            joint would turn by more than 180 degrees.
        """
        _reached(settings.flange(target), start, command)
        begin = settings.tool(start)
        way_mm = float(np.linalg.norm(target[:3, 3] - begin[:3, 3]))
        _, turn_deg = turn_between(begin, target)
        n = min(_MOST_KNOTS, max(1, ceil(way_mm / _KNOT_MM), ceil(turn_deg / _KNOT_DEG)))
        knots = _knots(start, target.tobytes(), settings.trf.tobytes(), settings.wrf.tobytes(), command, n)
        if distance(knots[0], knots[-1]) > 180.0:
            raise refusal(1010, command)
        profile = max(Trapezoid.of(way_mm, settings.cart_lin_vel, CART_ACC_MM_S2 * settings.cart_acc / 100.0),
                      Trapezoid.of(turn_deg, settings.cart_ang_vel, CART_ACC_DEG_S2 * settings.cart_acc / 100.0),
                      key=lambda candidate: candidate.duration_s)
        return cls(knots, _slowed(profile, knots))

    @property
    def duration_s(self) -> float:
        return self.profile.duration_s

    def joints(self, elapsed_s: float) -> Six:
        at = self.profile.fraction(elapsed_s) * (len(self.knots) - 1)
        before = min(int(at), len(self.knots) - 2)
        return _mixed(self.knots[before], self.knots[before + 1], at - before)


def joints_for(target: Matrix, near: Six, settings: Settings, command: str) -> Six:
    """Joints that bring the tool to the frame `target`, in the posture of `settings`, nearest to `near`.

    Raises
    ------
    Refusal
        [1016] when there are none.
    """
    return _reached(settings.flange(target), near, command, settings.posture, settings.turn)


def check_joints(joints: Sequence[float], command: str) -> Six:
    """The joints, when they are within the limits. Raises Refusal [1007] when one is not."""
    for number, (angle, (low, high)) in enumerate(zip(joints, JOINT_LIMITS_DEG, strict=True), start=1):
        if not low <= angle <= high:
            raise Refusal(1007, f"Joint over limit ({angle:.1f} is not in range [{low:g},{high:g}] for joint {number}). "
                                f"- Command: '{command}'")
    a, b, c, d, e, f = joints
    return a, b, c, d, e, f


def _reached(flange: Matrix, near: Six, command: str, posture: tuple[int, int, int] | None = None, turn: int | None = None) -> Six:
    try:
        return inverse_frame(flange, near, posture, turn)
    except Unreachable as error:
        raise refusal(1016, command) from error


@lru_cache(maxsize=512)
def _knots(start: Six, target: bytes, trf: bytes, wrf: bytes, command: str, n: int) -> tuple[Six, ...]:
    """Joints along a line. Frames come as the bytes of their arrays: an arm goes the same ways again and again, and each is solved once."""
    settings = Settings(trf=_frame(trf), wrf=_frame(wrf))
    begin, end = settings.tool(start), _frame(target)
    knots = [start]
    for k in range(1, n + 1):
        frame = settings.flange(between(begin, end, k / n))
        try:
            # Near the last knot, so the posture is kept: a line cannot change it.
            knots.append(inverse_frame(frame, knots[-1]))
        except Unreachable as error:
            raise Refusal(1016, "The requested linear move is not possible due to a pose out of reach along the path. "
                                f"- Command: '{command}'") from error
        if distance(knots[-2], knots[-1]) > _JUMP_DEG or not is_within_limits(knots[-1]):
            raise refusal(1012, command)
    return tuple(knots)


def _frame(raw: bytes) -> Matrix:
    return np.frombuffer(raw).reshape(4, 4)


def _slowed(profile: Trapezoid, knots: Sequence[Six]) -> Trapezoid:
    """The profile, stretched so that no joint exceeds its full speed between two knots."""
    if profile.duration_s == 0.0:
        return profile
    top = 1.0 / (profile.duration_s - profile.ramp_s) * (len(knots) - 1)  # knots per second at constant speed
    excess = max(abs(b - a) * top / full for one, other in zip(knots, knots[1:], strict=False)
                 for a, b, full in zip(one, other, MAX_JOINT_DEG_S, strict=True))
    return profile if excess <= 1.0 else Trapezoid(profile.duration_s * excess, profile.ramp_s * excess)


def _mixed(start: Six, end: Six, fraction: float) -> Six:
    if fraction == 1.0:
        return end  # exactly, so that the way from there is known again
    a, b, c, d, e, f = (p + (q - p) * fraction for p, q in zip(start, end, strict=True))
    return a, b, c, d, e, f
