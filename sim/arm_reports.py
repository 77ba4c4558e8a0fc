"""What the Meca500 reports: responses to requests, and the messages of the monitoring port.

Codes and values are those of MC-PM-MECA500, sections 2.3 (data requests), 2.4 (real-time data requests), 2.5.2 and 2.5.4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sim.arm_gripper import TOOL_TYPE
from sim.arm_protocol import Command, listed, refusal
from sim.arm_robot import Robot
from sim.arm_steps import posture_at
from sim.kinematics import JOINT_LIMITS_DEG, pose_of, turn_of

FIRMWARE = "v9.1.147"
Values = Iterable[float | int | bool]

STATUS, GRIPPER_STATUS, TOOL_STATUS, GRIPPER_STATE = 2007, 2079, 2300, 2320


def status(robot: Robot) -> str:
    """as, hs, sm, es, pm, eob, eom (GetStatusRobot). There is no simulation mode in this simulation."""
    now = robot.status
    return listed((now.is_activated, now.is_homed, False, now.is_in_error, now.is_paused, now.is_block_ended, now.is_still))


def gripper_status(robot: Robot) -> str:
    """ge, hs, hp, lr, es, oh (GetStatusGripper)."""
    gripper = robot.gripper
    return listed((True, gripper.is_homed, gripper.is_holding, gripper.is_at_limit, False, False))


def tool_status(robot: Robot) -> str:
    """simType, phyType, hs, es, oh (GetRtExtToolStatus, after the time stamp)."""
    return listed((0, TOOL_TYPE, robot.gripper.is_homed, False, False))


def gripper_state(robot: Robot) -> str:
    """hp, dr, gc, go (GetRtGripperState, after the time stamp)."""
    gripper = robot.gripper
    return listed((gripper.is_holding, gripper.is_reached, gripper.is_closed, gripper.is_open))


def _force(robot: Robot) -> Values:
    return (robot.settings.gripper_force if robot.gripper.is_holding else 0.0,)


REAL_TIME: dict[int, tuple[str, Callable[[Robot], Values]]] = {
    2200: ("TargetJointPos", lambda robot: robot.joints),
    2201: ("TargetCartPos", lambda robot: robot.pose),
    2202: ("TargetJointVel", lambda robot: robot.joint_velocities),
    2208: ("TargetConf", lambda robot: posture_at(robot.joints)),
    2209: ("TargetConfTurn", lambda robot: (turn_of(robot.joints),)),
    2210: ("JointPos", lambda robot: robot.joints),
    2211: ("CartPos", lambda robot: robot.pose),
    2212: ("JointVel", lambda robot: robot.joint_velocities),
    2218: ("Conf", lambda robot: posture_at(robot.joints)),
    2219: ("ConfTurn", lambda robot: (turn_of(robot.joints),)),
    2227: ("Checkpoint", lambda robot: (robot.checkpoint,)),
    2228: ("Wrf", lambda robot: pose_of(robot.settings.wrf)),
    2229: ("Trf", lambda robot: pose_of(robot.settings.trf)),
    2321: ("GripperForce", _force),
    2322: ("GripperPos", lambda robot: (robot.gripper.opening_mm,)),
}
"""Messages that begin with a time stamp: by code, the name after ``GetRt`` and the values. Each can be asked for, and be
had in every cycle of the monitoring port (SetRealTimeMonitoring)."""

_REAL_TIME_REQUESTS = {f"getrt{name.lower()}": code for code, (name, _) in REAL_TIME.items()}
_REAL_TIME_NAMES = {name.lower(): code for code, (name, _) in REAL_TIME.items()}

_REQUESTS: dict[str, tuple[int, Callable[[Robot], str]]] = {
    "getrobotserial": (2083, lambda robot: "m500-00042"),
    "getfwversion": (2081, lambda robot: FIRMWARE),
    "getfwversionfull": (2082, lambda robot: f"{FIRMWARE}.10189-official"),
    "getproducttype": (2084, lambda robot: "Meca500"),
    "getrobotname": (2095, lambda robot: "m500"),
    "getexttoolfwversion": (2086, lambda robot: FIRMWARE),
    "getstatusrobot": (STATUS, status),
    "getstatusgripper": (GRIPPER_STATUS, gripper_status),
    "getjoints": (2026, lambda robot: listed(robot.joints)),
    "getpose": (2027, lambda robot: listed(robot.pose)),
    "getwrf": (2013, lambda robot: listed(pose_of(robot.settings.wrf))),
    "gettrf": (2014, lambda robot: listed(pose_of(robot.settings.trf))),
    "getautoconf": (2028, lambda robot: listed((robot.settings.posture is None,))),
    "getconf": (2029, lambda robot: listed(robot.settings.posture if robot.settings.posture is not None else posture_at(robot.joints))),
    "getautoconfturn": (2031, lambda robot: listed((robot.settings.turn is None,))),
    "getconfturn": (2036, lambda robot: listed((turn_of(robot.joints) if robot.settings.turn is None else robot.settings.turn,))),
    "getcmdpendingcount": (2080, lambda robot: str(robot.n_pending)),
    "getblending": (2150, lambda robot: listed((robot.settings.blending,))),
    "getjointvel": (2152, lambda robot: listed((robot.settings.joint_vel,))),
    "getjointacc": (2153, lambda robot: listed((robot.settings.joint_acc,))),
    "getcartlinvel": (2154, lambda robot: listed((robot.settings.cart_lin_vel,))),
    "getcartangvel": (2155, lambda robot: listed((robot.settings.cart_ang_vel,))),
    "getcartacc": (2156, lambda robot: listed((robot.settings.cart_acc,))),
    "getcheckpoint": (2157, lambda robot: str(robot.checkpoint)),
    "getgripperforce": (2158, lambda robot: listed((robot.settings.gripper_force,))),
    "getgrippervel": (2159, lambda robot: listed((robot.settings.gripper_vel,))),
}

_STAMPED: dict[str, tuple[int, Callable[[Robot], str]]] = {
    "getrtexttoolstatus": (TOOL_STATUS, tool_status), "getrtgripperstate": (GRIPPER_STATE, gripper_state)}

_LIMIT_REQUESTS = {"getjointlimits": 2090, "getmodeljointlimits": 2113}


def is_request(name: str) -> bool:
    """Whether a command only asks; such are answered in any state."""
    return name in _REQUESTS or name in _STAMPED or name in _REAL_TIME_REQUESTS or name in _LIMIT_REQUESTS


def answer(command: Command, robot: Robot, stamp_us: int) -> tuple[int, str]:
    """Code and text of the response to a request. Raises Refusal [1003] for arguments that do not belong there."""
    if command.name in _LIMIT_REQUESTS:
        joint = command.whole(1, len(JOINT_LIMITS_DEG))
        return _LIMIT_REQUESTS[command.name], listed((joint, *JOINT_LIMITS_DEG[joint - 1]))
    command.numbers(0)
    if command.name in _REAL_TIME_REQUESTS:
        code = _REAL_TIME_REQUESTS[command.name]
        return code, real_time(code, robot, stamp_us)
    if command.name in _STAMPED:
        code, text = _STAMPED[command.name]
        return code, f"{stamp_us},{text(robot)}"
    code, text = _REQUESTS[command.name]
    return code, text(robot)


def real_time(code: int, robot: Robot, stamp_us: int) -> str:
    """Text of a real-time message."""
    _, values = REAL_TIME[code]
    return listed((stamp_us, *values(robot)))


def real_time_codes(command: Command) -> tuple[int, ...]:
    """What SetRealTimeMonitoring asks for: codes or names, ``all``, or 0 for nothing.

    Raises
    ------
    Refusal
        [1003] for an unknown one.
    """
    asked = [argument.strip("'\"").lower() for argument in command.arguments]
    if asked == ["all"]:
        return tuple(REAL_TIME)
    if asked in ([], ["0"]):
        return ()
    codes = []
    for name in asked:
        code = _REAL_TIME_NAMES.get(name, int(name) if name.isdecimal() else 0)
        if code not in REAL_TIME:
            raise refusal(1003, command.text)
        codes.append(code)
    return tuple(sorted(set(codes)))
