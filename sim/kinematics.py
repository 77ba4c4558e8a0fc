"""Kinematics of the Meca500 R3: joint angles to flange pose, and back in closed form.

The arm is a shoulder-elbow chain with a spherical wrist, so the wrist centre decides joints 1 to 3 and the
orientation joints 4 to 6; eight postures (front or back, elbow up or down, wrist flipped or not) at most.

Angles in degrees, lengths in millimetres, poses as the programming manual writes them: x, y, z and *mobile* XYZ
Euler angles, ``R = Rx(alpha) Ry(beta) Rz(gamma)`` (MC-PM-MECA500, "Basic theory and definitions"). Dimensions and
joint limits are from the user manual MC-UM-MECA500, "Technical specifications".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import acos, atan2, cos, degrees, dist, hypot, radians, sin

import numpy as np
from numpy.typing import NDArray

from lab.core.errors import LabError

Matrix = NDArray[np.float64]
Six = tuple[float, float, float, float, float, float]

BASE_MM = 135.0
"""Height of joint 2 over the base."""
UPPER_ARM_MM = 135.0
ELBOW_OFFSET_MM = 38.0
"""How far the forearm's axis stands off joint 3, upwards at zero joints."""
FOREARM_MM = 120.0
FLANGE_MM = 70.0
"""From the wrist centre to the flange."""

JOINT_LIMITS_DEG: tuple[tuple[float, float], ...] = (
    (-175.0, 175.0), (-70.0, 90.0), (-135.0, 70.0), (-170.0, 170.0), (-115.0, 115.0), (-36000.0, 36000.0))

_SINGULAR = 1e-9
_SLACK_DEG = 1e-6
_ELBOW_MM = hypot(FOREARM_MM, ELBOW_OFFSET_MM)
_ELBOW_RAD = atan2(ELBOW_OFFSET_MM, FOREARM_MM)
# At zero joints the flange's z axis is horizontal (pose 190, 0, 308, 0, 90, 0).
_TOOL: Matrix = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])


class Unreachable(LabError):
    """No joint set within the joint limits gives this pose."""


def rotation(axis: str, angle_deg: float) -> Matrix:
    """Rotation about the axis ``x``, ``y`` or ``z``.

    Returns
    -------
    ndarray, shape (3, 3)
    """
    c, s = cos(radians(angle_deg)), sin(radians(angle_deg))
    if axis == "x":
        return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])
    if axis == "y":
        return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def frame_of(pose: Sequence[float]) -> Matrix:
    """The homogeneous frame of a pose x, y, z (mm), alpha, beta, gamma (deg).

    Returns
    -------
    ndarray, shape (4, 4)
    """
    frame: Matrix = np.eye(4)
    frame[:3, :3] = rotation("x", pose[3]) @ rotation("y", pose[4]) @ rotation("z", pose[5])
    frame[:3, 3] = pose[:3]
    return frame


def pose_of(frame: Matrix) -> Six:
    """The pose of a homogeneous frame; at ``beta = +-90`` alpha is 0, as the robot reports it.

    Parameters
    ----------
    frame : ndarray, shape (4, 4)
    """
    r = frame[:3, :3]
    x, y, z = (float(v) for v in frame[:3, 3])
    cos_beta = hypot(r[0, 0], r[0, 1])
    beta = degrees(atan2(r[0, 2], cos_beta))
    if cos_beta < _SINGULAR:
        return x, y, z, 0.0, beta, degrees(atan2(r[1, 0], r[1, 1]))
    return x, y, z, degrees(atan2(-r[1, 2], r[2, 2])), beta, degrees(atan2(-r[0, 1], r[0, 0]))


def inverted(frame: Matrix) -> Matrix:
    """The inverse of a homogeneous frame, shape (4, 4)."""
    back: Matrix = np.eye(4)
    back[:3, :3] = frame[:3, :3].T
    back[:3, 3] = -frame[:3, :3].T @ frame[:3, 3]
    return back


def forward(joints: Sequence[float]) -> Matrix:
    """The flange's frame in the base frame.

    Parameters
    ----------
    joints : sequence of 6 floats, deg

    Returns
    -------
    ndarray, shape (4, 4), mm
    """
    shoulder = rotation("z", joints[0])
    pitch = rotation("y", joints[1] + joints[2])
    upper = rotation("y", joints[1]) @ np.array([0.0, 0.0, UPPER_ARM_MM])
    wrist = shoulder @ (upper + pitch @ np.array([FOREARM_MM, 0.0, ELBOW_OFFSET_MM]))
    hand = shoulder @ pitch @ rotation("x", joints[3]) @ rotation("y", joints[4]) @ rotation("x", joints[5])
    frame: Matrix = np.eye(4)
    frame[:3, :3] = hand @ _TOOL
    frame[:3, 3] = wrist + hand[:, 0] * FLANGE_MM + np.array([0.0, 0.0, BASE_MM])
    return frame


def solutions(frame: Matrix, near: Sequence[float]) -> Iterator[Six]:
    """Every joint set within the limits that gives this flange frame.

    Parameters
    ----------
    frame : ndarray, shape (4, 4), mm
    near : sequence of 6 floats, deg
        Decides what the pose leaves open: joint 1 when the wrist is over the base, joint 4 when the wrist is
        straight, and the turn of joint 6.
    """
    hand: Matrix = frame[:3, :3] @ _TOOL.T
    wrist = frame[:3, 3] - hand[:, 0] * FLANGE_MM
    height = float(wrist[2]) - BASE_MM
    reach = hypot(wrist[0], wrist[1])
    azimuth = degrees(atan2(wrist[1], wrist[0])) if reach > _SINGULAR else float(near[0])
    for side, elbow in product((1.0, -1.0), repeat=2):
        shoulder = _turned(azimuth if side > 0 else azimuth + 180.0, 0.0)
        arm = _planar(side * reach, height, elbow)
        if arm is None:
            continue
        inner = (rotation("z", shoulder) @ rotation("y", arm[0] + arm[1])).T @ hand
        for wrist_joints in _wrist(inner, near):
            joints = (shoulder, *arm, *wrist_joints)
            if is_within_limits(joints):
                yield joints


def inverse(pose: Sequence[float], near: Sequence[float]) -> Six:
    """The joint set of a flange pose that lies nearest to the joints `near`, in the Euclidean norm of joint space.

    (By the largest difference alone, an arm that has to turn far about joint 1 would rather reach over its shoulder, and
    then could not follow a straight line down.)

    Parameters
    ----------
    pose : sequence of 6 floats, mm and deg
    near : sequence of 6 floats, deg

    Raises
    ------
    Unreachable
        When no posture within the joint limits gives the pose.
    """
    return inverse_frame(frame_of(pose), near)


def inverse_frame(frame: Matrix, near: Sequence[float], wanted: tuple[int, int, int] | None = None, turn: int | None = None) -> Six:
    """`inverse` of a frame, shape (4, 4).

    Parameters
    ----------
    wanted : tuple of int, optional
        Only this posture (see `posture`) will do.
    turn : int, optional
        Only this turn of joint 6 will do: its angle is then in ``(-180, 180] + 360 turn``.

    Raises
    ------
    Unreachable
    """
    candidates = solutions(frame, near if turn is None else (*near[:5], 360.0 * turn))
    if wanted is not None:
        candidates = (joints for joints in candidates if _agree(posture(joints), wanted))
    found = min(candidates, key=lambda joints: dist(joints, near), default=None)
    if found is None:
        pose = ", ".join(f"{v:.3f}" for v in pose_of(frame))
        raise Unreachable(f"pose ({pose}) mm, deg: no posture within the joint limits reaches it")
    return found


def posture(joints: Sequence[float]) -> tuple[int, int, int]:
    """Shoulder, elbow and wrist configuration, each 1 or -1, and 0 at its singularity (MC-PM-MECA500, "Configurations").

    Shoulder: the wrist centre is before (1) or behind (-1) the axis of joint 1, as joint 1 has turned it. Elbow: on which
    side of the stretched arm joint 3 is. Wrist: the sign of joint 5.
    """
    pitch = radians(joints[1] + joints[2])
    reach = UPPER_ARM_MM * sin(radians(joints[1])) + FOREARM_MM * cos(pitch) + ELBOW_OFFSET_MM * sin(pitch)
    stretched = degrees(_ELBOW_RAD) - 90.0  # joint 3 when the wrist centre is in line with the upper arm
    return _sign(reach), _sign(joints[2] - stretched), _sign(joints[4])


def turn_of(joints: Sequence[float]) -> int:
    """Turn configuration of joint 6."""
    return round(joints[5] / 360.0)


def distance(joints: Sequence[float], others: Sequence[float]) -> float:
    """The largest difference between two joint sets, deg."""
    return max(abs(a - b) for a, b in zip(joints, others, strict=True))


def is_within_limits(joints: Sequence[float]) -> bool:
    """Whether each joint is within the limits of the Meca500 R3."""
    return all(low - _SLACK_DEG <= angle <= high + _SLACK_DEG
               for angle, (low, high) in zip(joints, JOINT_LIMITS_DEG, strict=True))


def margin(joints: Sequence[float]) -> float:
    """How far the joints are from the nearest limit, deg; negative beyond it."""
    return min(min(angle - low, high - angle) for angle, (low, high) in zip(joints, JOINT_LIMITS_DEG, strict=True))


def turn_between(start: Matrix, end: Matrix) -> tuple[Matrix, float]:
    """The rotation from one frame's orientation to another's: unit axis in the base frame, and angle 0..180 deg.

    Returns
    -------
    ndarray, shape (3,) ; float
    """
    r: Matrix = end[:3, :3] @ start[:3, :3].T
    lever = np.array([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]])
    length = float(np.linalg.norm(lever))
    angle = degrees(atan2(length, float(np.trace(r)) - 1.0))
    if length > 1e-7:
        return lever / length, angle
    # No turn at all, or half a turn: then r = 2 a a' - 1, and its largest column is along the axis.
    column = (r + np.eye(3))[:, int(np.argmax(np.diag(r)))]
    norm = float(np.linalg.norm(column))
    return column / norm, angle


def between(start: Matrix, end: Matrix, fraction: float) -> Matrix:
    """The frame at `fraction` 0..1 of the way: position on a straight line, orientation about one axis.

    Returns
    -------
    ndarray, shape (4, 4)
    """
    if fraction >= 1.0:
        return end
    axis, angle = turn_between(start, end)
    frame: Matrix = np.eye(4)
    frame[:3, :3] = _about(axis, angle * fraction) @ start[:3, :3]
    frame[:3, 3] = start[:3, 3] + (end[:3, 3] - start[:3, 3]) * fraction
    return frame


def _sign(value: float) -> int:
    return 0 if abs(value) < _SINGULAR else 1 if value > 0 else -1


def _agree(found: tuple[int, int, int], wanted: tuple[int, int, int]) -> bool:
    """Whether a posture is the wanted one; at a singularity (0) it is both."""
    return all(a in (0, b) for a, b in zip(found, wanted, strict=True))


def _about(axis: Matrix, angle_deg: float) -> Matrix:
    """Rotation about a unit axis (Rodrigues' formula)."""
    x, y, z = (float(v) for v in axis)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    turned: Matrix = np.eye(3) + sin(radians(angle_deg)) * cross + (1.0 - cos(radians(angle_deg))) * (cross @ cross)
    return turned


def _planar(reach: float, height: float, elbow: float) -> tuple[float, float] | None:
    """Joints 2 and 3 that put the wrist centre at `reach`, `height` from joint 2; None when too far or too near.

    `elbow` is +1 with the elbow up, -1 down.
    """
    far = hypot(reach, height)
    if far < _SINGULAR:
        return None
    cosine = (far * far + UPPER_ARM_MM**2 - _ELBOW_MM**2) / (2.0 * far * UPPER_ARM_MM)
    if abs(cosine) > 1.0 + _SINGULAR:
        return None
    # Angles from the vertical, leaning forward positive.
    lean = atan2(reach, height) - elbow * acos(max(-1.0, min(1.0, cosine)))
    forward_mm, up_mm = reach - UPPER_ARM_MM * sin(lean), height - UPPER_ARM_MM * cos(lean)
    pitch = _ELBOW_RAD - atan2(up_mm, forward_mm)
    return _turned(degrees(lean), 0.0), _turned(degrees(pitch - lean), 0.0)


def _wrist(inner: Matrix, near: Sequence[float]) -> Iterator[tuple[float, float, float]]:
    """Joints 4 to 6 with ``Rx(q4) Ry(q5) Rx(q6) = inner``."""
    sine = hypot(inner[1, 0], inner[2, 0])
    if sine < _SINGULAR:
        # Straight: only the sum of joints 4 and 6 is given. Joint 4 stays where it is.
        total = degrees(atan2(inner[2, 1], inner[1, 1]))
        if inner[0, 0] > 0:
            yield float(near[3]), 0.0, _turned(total - near[3], near[5])
        return
    for sign in (1.0, -1.0):
        roll = degrees(atan2(sign * inner[1, 0], -sign * inner[2, 0]))
        bend = degrees(atan2(sign * sine, inner[0, 0]))
        turn = degrees(atan2(sign * inner[0, 1], sign * inner[0, 2]))
        yield roll, bend, _turned(turn, near[5])


def _turned(angle: float, near: float) -> float:
    """`angle` plus so many whole turns that it is nearest to `near`, deg."""
    return angle - 360.0 * round((angle - near) / 360.0)
