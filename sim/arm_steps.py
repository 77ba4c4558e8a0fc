"""What the commands of the motion queue mean: which motion, or which setting for those that follow."""

from __future__ import annotations

from dataclasses import dataclass

from sim.arm_motion import Hold, JointMove, Line, Motion, Settings, check_joints, joints_for
from sim.kinematics import Matrix, Six, frame_of, posture, turn_of

_FIELDS = {"setjointvel": "joint_vel", "setjointacc": "joint_acc", "setcartlinvel": "cart_lin_vel",
           "setcartangvel": "cart_ang_vel", "setcartacc": "cart_acc", "setblending": "blending",
           "setgripperforce": "gripper_force", "setgrippervel": "gripper_vel"}
"""Commands that set one number, and the field of `Settings` it is."""


@dataclass(frozen=True)
class Step:
    """One command of the motion queue, its arguments checked."""

    name: str
    values: tuple[float, ...]
    text: str


def motion_of(step: Step, joints: Six, settings: Settings) -> Motion | None:
    """The motion from `joints` that a command asks for; None for a command that takes no time.

    Raises
    ------
    Refusal
        [1007], [1010], [1012] or [1016] for a motion that cannot be made.
    """
    match step.name:
        case "movejoints":
            return JointMove.plan(joints, check_joints(step.values, step.text), settings)
        case "movejointsrel":
            target = [a + b for a, b in zip(joints, step.values, strict=True)]
            return JointMove.plan(joints, check_joints(target, step.text), settings)
        case "movepose":
            return JointMove.plan(joints, joints_for(frame_of(step.values), joints, settings, step.text), settings)
        case "movelin" | "movelinreltrf" | "movelinrelwrf":
            return Line.plan(joints, _line_target(step, settings.tool(joints)), settings, step.text)
        case "delay":
            return Hold(joints, step.values[0])
    return None


def set_value(step: Step, joints: Six, settings: Settings) -> None:
    """Carry out a command that sets something for the commands behind it."""
    values = step.values
    match step.name:
        case "settrf":
            settings.trf = frame_of(values)
        case "setwrf":
            settings.wrf = frame_of(values)
        case "setconf":
            settings.posture = (int(values[0]), int(values[1]), int(values[2]))
        case "setautoconf":
            settings.posture = None if values[0] else posture_at(joints)
        case "setconfturn":
            settings.turn = int(values[0])
        case "setautoconfturn":
            settings.turn = None if values[0] else turn_of(joints)
        case name:
            setattr(settings, _FIELDS[name], values[0])


def posture_at(joints: Six) -> tuple[int, int, int]:
    """Shoulder, elbow, wrist as the robot reports them: 1 or -1, 1 at a singularity."""
    shoulder, elbow, wrist = (sign if sign != 0 else 1 for sign in posture(joints))
    return shoulder, elbow, wrist


def _line_target(step: Step, here: Matrix) -> Matrix:
    """Where the tool, now at `here` in the world frame, shall go."""
    way = frame_of(step.values)
    if step.name == "movelin":
        return way
    if step.name == "movelinreltrf":
        return here @ way
    target = here.copy()
    target[:3, 3] += way[:3, 3]
    target[:3, :3] = way[:3, :3] @ here[:3, :3]
    return target
