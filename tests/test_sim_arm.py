"""The simulated Meca500: transcripts after the programming manual (MC-PM-MECA500, firmware 9.x), motion, faults."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.core.clock import ManualClock
from sim.arm import Meca500
from sim.arm_gripper import STROKE_MM
from sim.arm_monitoring import DEFAULT_INTERVAL_S
from sim.arm_protocol import LONGEST_COMMAND
from sim.arm_robot import ACTIVATION_S, HOMING_S, QUEUE_LENGTH
from sim.kinematics import Six

BANNER = "[3000][Connected to Meca500 R3 v9.1.147]"
READY, MOVING = "[2007][1,1,0,0,0,1,1]", "[2007][1,1,0,0,0,0,0]"


class FakeWorld:
    """One part, standing at a height."""

    def __init__(self) -> None:
        self.has_part = True
        self.is_held = False
        self.closed_at: list[Six] = []
        self.opened_at: list[Six] = []

    def close_gripper(self, pose: Six) -> bool:
        self.closed_at.append(pose)
        self.is_held = self.has_part
        return self.is_held

    def open_gripper(self, pose: Six) -> None:
        self.opened_at.append(pose)
        self.is_held = False

    def is_holding(self) -> bool:
        return self.is_held


class Bench:
    """The firmware, its clocks and one control connection."""

    def __init__(self, *, is_ready: bool = True) -> None:
        self.physics, self.wall, self.world = ManualClock(), ManualClock(), FakeWorld()
        self.firmware = Meca500(self.physics, self.wall, self.world)
        self.heard: dict[int, bytes] = {}
        self._take(self.firmware.opened("control", 1))
        if is_ready:
            self.send("ActivateRobot\0Home\0")
            self.pass_time(ACTIVATION_S)
            self.pass_time(HOMING_S)
            self.read()

    def _take(self, outgoing: object) -> None:
        for item in outgoing:  # type: ignore[attr-defined]
            self.heard[item.connection] = self.heard.get(item.connection, b"") + item.data

    def send(self, text: str) -> None:
        self._take(self.firmware.feed(1, text.encode("latin-1")))

    def read(self, connection: int = 1) -> list[str]:
        """Messages since the last read."""
        data = self.heard.pop(connection, b"")
        assert not data or data.endswith(b"\0")
        return [message.decode() for message in data.split(b"\0")[:-1]]

    def ask(self, text: str) -> list[str]:
        self.send(text + "\0")
        return self.read()

    def pass_time(self, lab_s: float, wall_s: float = 0.0) -> None:
        self.physics.advance(lab_s)
        self.wall.advance(wall_s)
        self._take(self.firmware.step())

    def joints(self) -> list[float]:
        (message,) = self.ask("GetJoints")
        return [float(value) for value in message.removeprefix("[2026][").rstrip("]").split(",")]

    def pose(self) -> list[float]:
        (message,) = self.ask("GetPose")
        return [float(value) for value in message.removeprefix("[2027][").rstrip("]").split(",")]


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def off() -> Bench:
    return Bench(is_ready=False)


# --------------------------------------------------------------------------------------------------- the protocol


def test_a_client_is_greeted_with_model_and_firmware(off: Bench) -> None:
    assert off.read() == [BANNER]


def test_a_second_client_is_turned_away(off: Bench) -> None:
    (refused,) = off.firmware.opened("control", 2)
    assert refused.data == b"[3001][Another user is already connected, closing connection.]\0"
    assert refused.is_last


def test_the_next_client_is_taken_when_the_first_has_gone(off: Bench) -> None:
    off.firmware.closed(1)
    (greeting,) = off.firmware.opened("control", 2)
    assert greeting.data == BANNER.encode() + b"\0"


def test_the_handshake_of_the_manual(off: Bench) -> None:
    off.read()
    said = off.ask("GetRobotSerial\0GetFwVersionFull\0GetFwVersion\0GetProductType\0GetRobotName\0GetRealTimeMonitoring\0"
                   "GetMonitoringInterval\0GetStatusRobot")
    assert [message[:6] for message in said] == ["[2083]", "[2082]", "[2081]", "[2084]", "[2095]", "[2117]", "[2116]", "[2007]"]
    assert said[3] == "[2084][Meca500]"
    assert said[5:] == ["[2117][]", "[2116][0.01667]", "[2007][0,0,0,0,0,1,1]"]


def test_commands_end_with_nul_or_line_feed_and_ignore_case_and_blanks(off: Bench) -> None:
    off.read()
    off.send("GETSTATUSROBOT\0 getstatusrobot()\r\nGetStatusRobot ( )\n\0\n")
    assert off.read() == ["[2007][0,0,0,0,0,1,1]"] * 3


def test_activation_and_homing_take_their_time(off: Bench) -> None:
    off.read()
    off.send("ActivateRobot\0")
    assert off.read() == []
    off.pass_time(ACTIVATION_S)
    assert off.read() == ["[2000][Motors activated.]"]
    off.send("Home\0")
    off.pass_time(HOMING_S - 0.1)
    assert off.read() == []
    off.pass_time(0.1)
    assert off.read() == ["[2002][Homing done.]"]
    assert off.ask("GetStatusRobot") == [READY]


def test_commands_wait_for_activation_and_homing_but_requests_are_answered(off: Bench) -> None:
    off.read()
    off.send("ActivateRobot\0Home\0MoveJoints(10,0,0,0,0,0)\0GetJoints\0")
    assert off.read() == ["[2026][0.00000,0.00000,0.00000,0.00000,0.00000,0.00000]"]
    off.pass_time(ACTIVATION_S)
    off.pass_time(HOMING_S)
    off.pass_time(10)
    assert off.read() == ["[2000][Motors activated.]", "[2002][Homing done.]", "[3012][End of block.]"]


def test_activating_or_homing_again_is_answered_at_once(bench: Bench) -> None:
    assert bench.ask("ActivateRobot\0Home") == ["[2000][Motors activated.]", "[2002][Homing done.]"]


def test_motion_is_refused_before_activation_and_before_homing(off: Bench) -> None:
    off.read()
    assert off.ask("MoveJoints(0,0,0,0,0,0)") == ["[1005][The robot is not activated.]"]
    assert off.ask("Home") == ["[1005][The robot is not activated.]"]
    off.send("ActivateRobot\0")
    off.pass_time(ACTIVATION_S)
    off.read()
    assert off.ask("GripperOpen") == ["[1006][The robot is not homed.]"]
    assert off.ask("GetStatusRobot") == ["[2007][1,0,0,0,0,1,1]"]


def test_deactivation_loses_homing_and_settings(bench: Bench) -> None:
    bench.send("SetJointVel(80)\0")
    bench.read()
    assert bench.ask("DeactivateRobot\0GetStatusRobot\0GetJointVel") == \
        ["[2004][Motors deactivated.]", "[2007][0,0,0,0,0,1,1]", "[2152][25.00000]"]


@pytest.mark.parametrize(("command", "answer"), [
    ("Dance", "[1001][Empty command or command unrecognized. - Command: 'Dance']"),
    ("?!", "[1001][Empty command or command unrecognized. - Command: '?!']"),
    ("MoveJoints(1,2,3", "[1002][Syntax error, symbol missing. - Command: 'MoveJoints(1,2,3']"),
    ("MoveJoints(1,,3,4,5,6)", "[1002][Syntax error, symbol missing. - Command: 'MoveJoints(1,,3,4,5,6)']"),
    ("MoveJoints(1 2,3,4,5,6)", "[1002][Syntax error, symbol missing. - Command: 'MoveJoints(1 2,3,4,5,6)']"),
    ("MoveJoints(1,2,3,4,5)", "[1003][Argument error. - Command: 'MoveJoints(1,2,3,4,5)']"),
    ("MoveJoints(1,2,3,4,5,nan)", "[1003][Argument error. - Command: 'MoveJoints(1,2,3,4,5,nan)']"),
    ("MoveJoints(1,2,3,4,5,six)", "[1003][Argument error. - Command: 'MoveJoints(1,2,3,4,5,six)']"),
    ("SetJointVel(101)", "[1003][Argument error. - Command: 'SetJointVel(101)']"),
    ("SetCheckpoint(0)", "[1003][Argument error. - Command: 'SetCheckpoint(0)']"),
    ("SetCheckpoint(1.5)", "[1003][Argument error. - Command: 'SetCheckpoint(1.5)']"),
    ("SetConf(1,0,1)", "[1003][Argument error. - Command: 'SetConf(1,0,1)']"),
    ("GripperOpen(1)", "[1003][Argument error. - Command: 'GripperOpen(1)']"),
    ("GetJoints(1)", "[1003][Argument error. - Command: 'GetJoints(1)']"),
    ("GetJointLimits(7)", "[1003][Argument error. - Command: 'GetJointLimits(7)']"),
    ("SetMonitoringInterval(0)", "[1003][Argument error. - Command: 'SetMonitoringInterval(0)']"),
    ("SetRealTimeMonitoring(9999)", "[1003][Argument error. - Command: 'SetRealTimeMonitoring(9999)']"),
])
def test_what_cannot_be_understood_is_an_error(bench: Bench, command: str, answer: str) -> None:
    assert bench.ask(command) == [answer]
    assert bench.ask("GetStatusRobot") == ["[2007][1,1,0,1,1,1,1]"]


def test_an_endless_command_is_refused_once_and_what_follows_is_obeyed(off: Bench) -> None:
    off.read()
    off.send("x" * (LONGEST_COMMAND + 1))
    off.send("y" * 100)
    off.send("\0GetStatusRobot\0")
    assert off.read() == ["[3003][Command has reached the maximum length.]", "[2007][0,0,0,0,0,1,1]"]


def test_eob_and_eom_messages_are_switched_on_and_off(bench: Bench) -> None:
    assert bench.ask("SetEob(0)\0SetEom(1)\0SetEob(1)\0SetEom(0)") == [
        "[2055][End of block is disabled.]", "[2052][End of movement is enabled.]",
        "[2054][End of block is enabled.]", "[2053][End of movement is disabled.]"]


def test_the_command_queue_is_synchronised_by_number(bench: Bench) -> None:
    assert bench.ask("SyncCmdQueue(123)") == ["[2097][123]"]


def test_the_joint_limits_are_those_of_the_manual(bench: Bench) -> None:
    assert bench.ask("GetJointLimits(3)\0GetModelJointLimits(6)") == \
        ["[2090][3,-135.00000,70.00000]", "[2113][6,-36000.00000,36000.00000]"]


def test_a_trace_may_hold_any_text(bench: Bench) -> None:
    assert bench.ask('LogTrace("Moving, (slowly)")') == []
    assert bench.ask("GetStatusRobot") == [READY]


# -------------------------------------------------------------------------------------------------------- motion


def test_a_joint_move_takes_as_long_as_its_slowest_joint(bench: Bench) -> None:
    bench.send("SetJointVel(100)\0MoveJoints(150,0,0,0,50,0)\0")
    bench.read()
    assert bench.ask("GetStatusRobot") == [MOVING]
    bench.pass_time(1.0 + 0.25 - 0.01)  # 150 degrees at 150 deg/s, and one ramp
    assert bench.ask("GetStatusRobot") == [MOVING]
    bench.pass_time(0.02)
    assert bench.read() == ["[3012][End of block.]"]
    assert bench.joints() == [150, 0, 0, 0, 50, 0]


def test_joints_move_together_and_half_way_in_half_the_time(bench: Bench) -> None:
    bench.send("SetJointVel(100)\0MoveJoints(150,0,0,0,50,0)\0")
    bench.pass_time(0.625)
    bench.read()
    assert bench.joints() == pytest.approx([75, 0, 0, 0, 25, 0])
    (velocities,) = bench.ask("GetRtJointVel")
    assert float(velocities.split(",")[1]) == pytest.approx(150.0)


def test_the_square_of_the_manual_is_drawn_and_its_corners_are_reported(bench: Bench) -> None:
    bench.send("MovePose(140,-100,250,0,90,0)\0SetCheckpoint(1)\0MoveLin(140,100,250,0,90,0)\0SetCheckpoint(2)\0"
               "MoveLin(270,100,250,0,90,0)\0SetCheckpoint(3)\0MoveLin(270,-100,250,0,90,0)\0SetCheckpoint(4)\0"
               "MoveLin(140,-100,250,0,90,0)\0MoveJoints(0,0,0,0,0,0)\0SetCheckpoint(5)\0")
    corners = []
    for _ in range(2000):
        bench.pass_time(0.01)
        for message in bench.read():
            corners.append((message, [round(v) for v in bench.pose()[:2]]))
    assert [message for message, _ in corners] == [f"[3030][{n}]" for n in range(1, 6)] + ["[3012][End of block.]"]
    assert [place for _, place in corners[:4]] == [[140, -100], [140, 100], [270, 100], [270, -100]]


def test_a_line_is_straight_and_keeps_its_speed(bench: Bench) -> None:
    bench.send("MoveJoints(0,0,0,0,90,0)\0SetCartLinVel(100)\0")
    bench.pass_time(10)
    bench.read()
    start = bench.pose()
    bench.send(f"MoveLin({start[0] + 30},60,{start[2]},180,0,180)\0")
    bench.pass_time(0.4)
    first = bench.pose()
    bench.pass_time(0.1)
    second = bench.pose()
    for pose in (first, second):
        assert (pose[0] - start[0]) / 30 == pytest.approx(pose[1] / 60, abs=1e-3)
        assert pose[2] == pytest.approx(start[2], abs=0.01)
    assert ((second[0] - first[0]) ** 2 + (second[1] - first[1]) ** 2) ** 0.5 == pytest.approx(10.0, abs=0.01)


def test_relative_moves_go_from_where_the_arm_is(bench: Bench) -> None:
    bench.send("MoveJoints(0,0,0,0,90,0)\0MoveJointsRel(0,0,0,0,0,90)\0")
    bench.pass_time(20)
    bench.read()
    assert bench.joints()[5] == 90
    x, y, z = bench.pose()[:3]
    bench.send("MoveLinRelTrf(0,0,20,0,0,0)\0")  # the tool's z axis points down
    bench.pass_time(5)
    bench.read()
    assert bench.pose()[:3] == pytest.approx([x, y, z - 20], abs=1e-3)
    bench.send("MoveLinRelWrf(0,15,20,0,0,0)\0")
    bench.pass_time(5)
    bench.read()
    assert bench.pose()[:3] == pytest.approx([x, y + 15, z], abs=1e-3)


def test_tool_and_world_frames_apply_to_what_follows_them(bench: Bench) -> None:
    bench.send("SetTrf(0,0,50,0,0,0)\0SetWrf(100,0,0,0,0,0)\0")
    bench.read()
    assert bench.pose() == pytest.approx([190 + 50 - 100, 0, 308, 0, 90, 0])
    assert bench.ask("GetTrf\0GetWrf") == ["[2014][0.00000,0.00000,50.00000,0.00000,0.00000,0.00000]",
                                           "[2013][100.00000,0.00000,0.00000,0.00000,0.00000,0.00000]"]
    bench.send("MovePose(130,10,300,0,90,0)\0")
    bench.pass_time(10)
    bench.read()
    assert bench.pose() == pytest.approx([130, 10, 300, 0, 90, 0], abs=1e-4)


def test_a_posture_that_is_asked_for_is_taken(bench: Bench) -> None:
    bench.send("SetConf(1,1,-1)\0MovePose(190,0,250,0,90,0)\0")
    bench.pass_time(60)
    bench.read()
    assert bench.ask("GetConf\0GetAutoConf") == ["[2029][1,1,-1]", "[2028][0]"]
    (conf,) = bench.ask("GetRtConf")
    assert conf.endswith(",1,1,-1]")


def test_a_delay_holds_up_what_follows_in_laboratory_time(bench: Bench) -> None:
    bench.send("Delay(2.5)\0SetCheckpoint(9)\0")
    assert bench.ask("GetStatusRobot") == ["[2007][1,1,0,0,0,0,1]"]
    bench.pass_time(2.4)
    assert bench.read() == []
    bench.pass_time(0.2)
    assert bench.read() == ["[3030][9]", "[3012][End of block.]"]


def test_end_of_movement_comes_before_end_of_block(bench: Bench) -> None:
    bench.send("SetEom(1)\0MoveJoints(1,0,0,0,0,0)\0Delay(1)\0")
    bench.read()
    bench.pass_time(0.9)
    assert bench.read() == ["[3004][End of movement.]"]
    bench.pass_time(1)
    assert bench.read() == ["[3012][End of block.]"]


def test_when_motions_end_does_not_depend_on_how_often_time_is_looked_at() -> None:
    moves = "MoveJoints(20,0,0,0,30,0)\0MoveLinRelWrf(0,0,10,0,0,0)\0MoveJoints(0,10,0,0,30,0)\0SetCheckpoint(3)\0"
    whole, pieces = Bench(), Bench()
    whole.send(moves)
    pieces.send(moves)
    for _ in range(230):
        pieces.pass_time(0.005)
    whole.pass_time(230 * 0.005)
    assert whole.joints() == pytest.approx(pieces.joints(), abs=1e-4)


def test_a_pause_stops_the_arm_and_resuming_finishes_the_move(bench: Bench) -> None:
    bench.send("MoveJoints(90,0,0,0,0,0)\0")
    bench.pass_time(1)
    assert bench.ask("PauseMotion") == ["[2042][Motion paused.]"]
    stopped = bench.joints()
    assert 0 < stopped[0] < 90
    bench.pass_time(10)
    assert bench.joints() == stopped
    assert bench.ask("GetStatusRobot") == ["[2007][1,1,0,0,1,0,1]"]
    assert bench.ask("ResumeMotion") == ["[2043][Motion resumed.]"]
    bench.pass_time(10)
    assert bench.read() == ["[3012][End of block.]"]
    assert bench.joints()[0] == 90


def test_clearing_forgets_the_queue_and_stays_paused(bench: Bench) -> None:
    bench.send("MoveJoints(90,0,0,0,0,0)\0SetCheckpoint(1)\0")
    bench.pass_time(1)
    assert bench.ask("ClearMotion") == ["[3012][End of block.]", "[2044][The motion was cleared.]"]
    stopped = bench.joints()
    bench.send("MoveJoints(0,0,0,0,0,0)\0")
    bench.pass_time(10)
    assert bench.joints() == stopped
    bench.send("ResumeMotion\0")
    bench.pass_time(10)
    assert bench.read() == ["[2043][Motion resumed.]", "[3012][End of block.]"]
    assert bench.joints()[0] == 0


def test_a_full_queue_refuses_but_is_no_error(bench: Bench) -> None:
    bench.send("PauseMotion\0" + "Delay(1)\0" * QUEUE_LENGTH)
    bench.read()
    assert bench.ask("Delay(1)") == ["[1000][Command buffer is full.]"]
    assert bench.ask("GetCmdPendingCount") == [f"[2080][{QUEUE_LENGTH}]"]
    assert bench.ask("GetStatusRobot") == ["[2007][1,1,0,0,1,0,1]"]


# -------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(("command", "answer"), [
    ("MoveJoints(0,100,0,0,0,0)", "[1007][Joint over limit (100.0 is not in range [-70,90] for joint 2). - Command: '{}']"),
    ("MoveJointsRel(0,0,-136,0,0,0)", "[1007][Joint over limit (-136.0 is not in range [-135,70] for joint 3). - Command: '{}']"),
    ("MovePose(500,0,300,0,90,0)", "[1016][Destination pose out of reach for any configuration. - Command: '{}']"),
    ("MoveLin(500,0,300,0,90,0)", "[1016][Destination pose out of reach for any configuration. - Command: '{}']"),
    ("MoveLin(1e6,-1e6,1e6,1,2,3)", "[1016][Destination pose out of reach for any configuration. - Command: '{}']"),
])
def test_a_move_that_cannot_be_made_is_an_error(bench: Bench, command: str, answer: str) -> None:
    assert bench.ask(command) == [answer.format(command)]
    assert bench.ask("GetStatusRobot") == ["[2007][1,1,0,1,1,1,1]"]


@pytest.mark.parametrize(("joints", "target", "answer"), [
    ("-28,-23,-45,-52,-36,35", "-177,74,330,-26,10,-37", "[1012][Linear move not possible due to a singularity along the path"),
    ("29,10,18,-54,60,-18", "41,-96,147,143,31,116", "[1016][The requested linear move is not possible due to a pose out of reach"),
    ("37,20,40,35,-7,-2", "278,-5,127,-160,30,172", "[1010][Linear move is blocked because a joint would rotate by more than"),
])
def test_a_line_that_cannot_be_followed_is_refused_before_it_begins(bench: Bench, joints: str, target: str, answer: str) -> None:
    bench.send(f"MoveJoints({joints})\0")
    bench.pass_time(20)
    bench.read()
    start = bench.joints()
    (said,) = bench.ask(f"MoveLin({target})")
    assert said.startswith(answer)
    assert said.endswith(f" - Command: 'MoveLin({target})']")
    bench.pass_time(20)
    assert bench.joints() == start


def test_an_error_forgets_the_queue_and_refuses_motion_until_it_is_reset(bench: Bench) -> None:
    bench.send("MoveJoints(10,0,0,0,0,0)\0MovePose(500,0,300,0,90,0)\0MoveJoints(20,0,0,0,0,0)\0SetCheckpoint(1)\0")
    assert bench.read() == []
    bench.pass_time(10)
    assert bench.read() == ["[1016][Destination pose out of reach for any configuration. - Command: 'MovePose(500,0,300,0,90,0)']"]
    assert bench.ask("MoveJoints(0,0,0,0,0,0)\0ClearMotion\0ResumeMotion\0ActivateRobot") == ["[1011][The robot is in error.]"] * 4
    assert bench.joints()[0] == 10
    assert bench.ask("ResetError\0GetStatusRobot") == ["[2005][The error was reset.]", "[2007][1,1,0,0,1,1,1]"]
    assert bench.ask("ResetError") == ["[2006][There was no error to reset.]"]
    bench.send("ResumeMotion\0MoveJoints(0,0,0,0,0,0)\0")
    bench.pass_time(10)
    assert bench.read() == ["[2043][Motion resumed.]", "[3012][End of block.]"]


@pytest.mark.parametrize(("words", "code"), [("collision", 3005), ("torque", 3029), ("gripper", 3025)])
def test_a_failure_on_demand_stops_the_arm_in_its_own_words(bench: Bench, words: str, code: int) -> None:
    bench.send("MoveJoints(90,0,0,0,0,0)\0SetCheckpoint(1)\0")
    bench.pass_time(1)
    bench.firmware.fail(words)
    bench.pass_time(0)
    (said,) = bench.read()
    assert said.startswith(f"[{code}][")
    stopped = bench.joints()
    bench.pass_time(10)
    assert bench.joints() == stopped
    assert bench.ask("ResetError\0ResumeMotion") == ["[2005][The error was reset.]", "[2043][Motion resumed.]"]


def test_an_error_of_the_drives_needs_the_power_switch(bench: Bench) -> None:
    bench.firmware.fail("drives")
    assert bench.ask("ResetError") == ["[3006][Error of communication with drives.]",
                                       "[1025][Impossible to reset the error. Please, power-cycle the robot.]"]
    bench.firmware.closed(1)
    bench.firmware.power_cycle()
    bench._take(bench.firmware.opened("control", 1))
    assert bench.ask("GetStatusRobot") == [BANNER, "[2007][0,0,0,0,0,1,1]"]


def test_an_emergency_stop_cuts_the_motors_until_it_is_reset(bench: Bench) -> None:
    bench.send("MoveJoints(90,0,0,0,0,0)\0")
    bench.pass_time(1)
    bench.firmware.fail("e_stop")
    assert bench.ask("GetStatusRobot") == ["[3070][1]", "[2007][0,0,0,0,0,1,1]"]
    assert bench.ask("ActivateRobot") == ["[1013][Activation failed.]"]
    bench.firmware.fail("e_stop_reset")
    bench.send("ActivateRobot\0")
    bench.pass_time(ACTIVATION_S)
    assert bench.read() == ["[3070][0]", "[2000][Motors activated.]"]


@pytest.mark.parametrize("acknowledge", ["ResetPStop2", "ResumeMotion"])
def test_a_protective_stop_pauses_until_it_is_acknowledged(bench: Bench, acknowledge: str) -> None:
    bench.send("MoveJoints(90,0,0,0,0,0)\0")
    bench.pass_time(1)
    bench.firmware.fail("p_stop")
    assert bench.ask("GetStatusRobot") == ["[3032][1]", "[2007][1,1,0,0,1,1,1]"]
    assert bench.ask(acknowledge)[0] == "[3032][0]"


def test_a_lost_control_connection_stops_a_moving_arm(bench: Bench) -> None:
    bench._take(bench.firmware.opened("monitor", 7))
    bench.send("MoveJoints(90,0,0,0,0,0)\0")
    bench.pass_time(1)
    bench.read(7)
    bench.firmware.closed(1)
    bench.pass_time(10)
    assert bench.read(7) == ["[2007][1,1,0,0,1,0,1]", "[3086][1]", "[2007][1,1,0,0,1,1,1]"]
    bench._take(bench.firmware.opened("control", 1))
    assert bench.read() == [BANNER, "[3086][2]"]
    assert 0 < bench.joints()[0] < 90
    assert bench.ask("ResumeMotion") == ["[3086][0]", "[2043][Motion resumed.]"]


def test_a_lost_control_connection_does_not_matter_to_an_arm_at_rest(bench: Bench) -> None:
    bench.firmware.closed(1)
    bench._take(bench.firmware.opened("control", 1))
    assert bench.ask("GetStatusRobot") == [BANNER, READY]


def test_what_a_lost_client_had_half_said_is_forgotten(bench: Bench) -> None:
    bench.send("MoveJoints(10,0,0,")
    bench.firmware.closed(1)
    bench._take(bench.firmware.opened("control", 1))
    assert bench.ask("GetStatusRobot") == [BANNER, READY]


def test_power_off_keeps_joints_and_grip_and_loses_the_rest(bench: Bench) -> None:
    bench.send("MoveJoints(10,0,0,0,0,0)\0GripperClose\0")
    bench.pass_time(10)
    bench.firmware.closed(1)
    bench.firmware.power_cycle()
    bench._take(bench.firmware.opened("control", 1))
    bench.read()
    assert bench.ask("GetStatusRobot\0GetStatusGripper") == ["[2007][0,0,0,0,0,1,1]", "[2079][1,0,1,0,0,0]"]
    assert bench.joints()[0] == 10


# -------------------------------------------------------------------------------------------------------- gripper


def _flags(message: str) -> str:
    """Without the time stamp."""
    return re.sub(r"\[\d+,", "[", message, count=1)


def test_the_gripper_closes_on_a_part_and_lets_it_go(bench: Bench) -> None:
    assert _flags(bench.ask("GetRtGripperState")[0]) == "[2320][0,1,0,1]"
    bench.send("GripperClose\0")
    bench.read()
    assert _flags(bench.ask("GetRtGripperState")[0]) == "[2320][0,0,0,1]"
    bench.pass_time(2)
    assert _flags(bench.ask("GetRtGripperState")[0]) == "[2320][1,0,0,0]"
    assert bench.ask("GetStatusGripper") == ["[2079][1,1,1,0,0,0]"]
    assert bench.world.closed_at == [pytest.approx((190, 0, 308, 0, 90, 0))]
    bench.send("GripperOpen\0")
    bench.pass_time(2)
    bench.read()
    assert _flags(bench.ask("GetRtGripperState")[0]) == "[2320][0,1,0,1]"
    assert len(bench.world.opened_at) == 1


def test_the_gripper_closes_on_nothing_all_the_way(bench: Bench) -> None:
    bench.world.has_part = False
    bench.send("GripperClose\0")
    bench.pass_time(2)
    bench.read()
    assert _flags(bench.ask("GetRtGripperState")[0]) == "[2320][0,1,1,0]"
    bench.send("GripperOpen\0")
    bench.pass_time(2)
    assert bench.world.opened_at == []


def test_the_fingers_move_at_their_set_speed_to_their_set_opening(bench: Bench) -> None:
    bench.send("SetGripperVel(10)\0MoveGripper(38)\0")
    bench.pass_time(0.5)
    bench.read()
    assert _flags(bench.ask("GetRtGripperPos")[0]) == f"[2322][{STROKE_MM - 5:.5f}]"
    bench.pass_time(5)
    assert _flags(bench.ask("GetRtGripperPos")[0]) == "[2322][38.00000]"
    assert bench.world.closed_at == []


def test_the_queue_does_not_wait_for_the_gripper(bench: Bench) -> None:
    # MC-PM-MECA500, MoveGripper: a motion after it begins at once; a Delay is needed in between.
    bench.send("GripperClose\0SetCheckpoint(1)\0")
    assert bench.read() == ["[3012][End of block.]", "[3030][1]", "[3012][End of block.]"]
    assert bench.world.closed_at == []


def test_the_gripper_waits_for_the_motion_before_it(bench: Bench) -> None:
    bench.send("MoveJoints(0,0,0,0,90,0)\0GripperClose\0Delay(2)\0MoveJoints(90,0,0,0,90,0)\0")
    bench.pass_time(60)
    assert bench.world.closed_at == [pytest.approx((120, 0, 238, -180, 0, -180), abs=1e-6)]


# ------------------------------------------------------------------------------------------------------ monitoring


def test_who_monitors_is_told_everything_at_first_and_then_the_changes(bench: Bench) -> None:
    bench._take(bench.firmware.opened("monitor", 7))
    told = bench.read(7)
    assert told[:3] == [BANNER, READY, "[2079][1,1,0,1,0,0]"]
    assert [_flags(message) for message in told[3:]] == ["[2300][0,11,1,0,0]", "[2320][0,1,0,1]"]
    bench.send("MoveJoints(10,0,0,0,0,0)\0")
    bench.pass_time(5)
    assert [message for message in bench.read(7) if message.startswith("[2007]")] == \
        ["[2007][1,1,0,0,0,0,1]", MOVING, READY]


def test_joints_and_pose_are_told_once_per_interval_of_the_wall_clock(bench: Bench) -> None:
    bench._take(bench.firmware.opened("monitor", 7))
    bench.read(7)
    bench.pass_time(100, wall_s=0.0)
    assert bench.read(7) == []
    for _ in range(4):
        bench.pass_time(0, wall_s=DEFAULT_INTERVAL_S / 2)
    codes = [message[:6] for message in bench.read(7)]
    assert codes == ["[2026]", "[2027]", "[2230]"] * 2


def test_a_late_cycle_is_not_made_up_for(bench: Bench) -> None:
    bench._take(bench.firmware.opened("monitor", 7))
    bench.read(7)
    bench.pass_time(0, wall_s=10)
    assert len(bench.read(7)) == 3


def test_more_is_monitored_on_demand(bench: Bench) -> None:
    bench._take(bench.firmware.opened("monitor", 7))
    bench.read(7)
    assert bench.ask("SetRealTimeMonitoring(2211, jointpos)\0SetMonitoringInterval(0.5)\0GetMonitoringInterval") == \
        ["[2117][2210,2211]", "[2116][0.50000]"]
    bench.pass_time(0, wall_s=0.5)
    assert [message[:6] for message in bench.read(7)] == ["[2026]", "[2027]", "[2210]", "[2211]", "[2230]"]
    assert bench.ask("SetRealTimeMonitoring(0)") == ["[2117][]"]
    assert len(bench.ask("SetRealTimeMonitoring(all)")[0].split(",")) > 10


def test_the_control_port_carries_the_monitoring_on_demand(bench: Bench) -> None:
    said = bench.ask("SetCtrlPortMonitoring(1)")
    assert [message[:6] for message in said] == ["[2096]", "[2007]", "[2079]", "[2300]", "[2320]"]
    bench.pass_time(0, wall_s=1)
    assert [message[:6] for message in bench.read()] == ["[2026]", "[2027]", "[2230]"]
    assert bench.ask("SetCtrlPortMonitoring(0)") == ["[2096][0]"]
    bench.pass_time(0, wall_s=1)
    assert bench.read() == []


def test_who_monitors_cannot_command(bench: Bench) -> None:
    bench._take(bench.firmware.opened("monitor", 7))
    bench.read(7)
    assert bench.firmware.feed(7, b"MoveJoints(10,0,0,0,0,0)\0GetJoints\0") == ()
    assert bench.ask("GetStatusRobot") == [READY]


@pytest.mark.parametrize("name", ["GetRtTargetJointPos", "GetRtTargetCartPos", "GetRtTargetJointVel", "GetRtTargetConf",
                                  "GetRtTargetConfTurn", "GetRtJointPos", "GetRtCartPos", "GetRtJointVel", "GetRtConf",
                                  "GetRtConfTurn", "GetRtWrf", "GetRtTrf", "GetRtExtToolStatus", "GetRtGripperState",
                                  "GetRtGripperForce", "GetRtGripperPos"])
def test_real_time_requests_are_answered_with_a_time_stamp_in_microseconds(bench: Bench, name: str) -> None:
    bench.pass_time(0, wall_s=1.5)
    bench.read()
    (said,) = bench.ask(name)
    assert re.match(r"\[2[23]\d\d\]\[1500000,", said)


# ------------------------------------------------------------------------------------------------- any bytes at all


def _said(pieces: list[bytes]) -> bytes:
    bench = Bench()
    for piece in pieces:
        bench._take(bench.firmware.feed(1, piece))
    return bench.heard.get(1, b"")


TRANSCRIPT = (b"GetStatusRobot\0MoveJoints(10,0,0,0,0,0)\nSetCheckpoint(5)\0Nonsense(\0ResetError\0ResetError\0GetJoints()\r\n"
              b"ResumeMotion\0Delay(0)\0GripperClose\0GetRtGripperState\0LogTrace(a, b)\0MovePose(9,9,9,9,9,9)\0GetPose\0")


@given(st.lists(st.integers(0, len(TRANSCRIPT)), max_size=12))
def test_replies_do_not_depend_on_how_the_bytes_are_split(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(TRANSCRIPT)]
    pieces = [TRANSCRIPT[a:b] for a, b in zip(edges, edges[1:], strict=False)]
    assert _said(pieces) == _said([TRANSCRIPT])


@given(st.binary(max_size=300))
def test_garbage_is_answered_never_raised(data: bytes) -> None:
    said = _said([data, b"\0ResetError\0GetStatusRobot\0"])
    assert said.endswith(b"]\0")
    assert all(re.fullmatch(rb"\[\d{4}\]\[.*\]", message, re.DOTALL) for message in said.split(b"\0")[:-1])


_NAMES = ["MoveJoints", "MovePose", "MoveLin", "MoveLinRelTrf", "MoveLinRelWrf", "SetTrf", "SetWrf", "Delay", "SetConf",
          "SetConfTurn", "MoveGripper", "SetJointVel", "GripperClose", "ClearMotion", "PauseMotion", "ResumeMotion", "ResetError",
          "DeactivateRobot", "ActivateRobot", "Home", "GetPose", "SetRealTimeMonitoring", "SetAutoConf"]
_commands = st.builds(lambda name, values: f"{name}({','.join(map(str, values))})\0".encode(), st.sampled_from(_NAMES),
                      st.lists(st.one_of(st.floats(-300, 300), st.floats(), st.integers(-1, 2)), max_size=6))


@given(st.lists(st.tuples(_commands, st.floats(0, 20)), max_size=12))
def test_commands_with_any_arguments_in_any_order_never_raise(script: list[tuple[bytes, float]]) -> None:
    bench = Bench()
    for command, lab_s in script:
        bench._take(bench.firmware.feed(1, command))
        bench.pass_time(lab_s, wall_s=lab_s)
    bench.read()
    assert len(bench.ask("GetJoints")) == 1


def test_the_robot_says_when_what_it_is_at_ends(off: Bench) -> None:
    assert off.firmware.due_s() == math.inf
    off.send("ActivateRobot\0")
    assert off.firmware.due_s() == ACTIVATION_S
    off.pass_time(ACTIVATION_S)
    off.send("Home\0")
    off.pass_time(HOMING_S)
    off.send("MoveJoints(10,0,0,0,0,0)\0SetCheckpoint(7)\0")
    off.read()
    due_s = off.firmware.due_s()
    off.pass_time(0.999 * due_s)
    assert "[3030][7]" not in off.read()
    off.pass_time(0.0011 * due_s)
    assert "[3030][7]" in off.read() and off.firmware.due_s() == math.inf


def test_a_way_that_is_gone_again_takes_as_long_and_ends_where_it_was_sent(bench: Bench) -> None:
    def go(command: str) -> float:
        bench.send(command + "\0")
        due_s = bench.firmware.due_s()
        bench.pass_time(due_s + 1e-6 if due_s < math.inf else 0.0)
        bench.read()
        return due_s

    go("MovePose(190,0,160,180,0,180)")
    above = bench.joints()
    first = [go("MoveLin(190,0,80,180,0,180)"), go("MoveLin(190,0,160,180,0,180)")]
    go("MovePose(190,0,160,180,0,180)")
    assert bench.joints() == above
    assert [go("MoveLin(190,0,80,180,0,180)"), go("MoveLin(190,0,160,180,0,180)")] == first
