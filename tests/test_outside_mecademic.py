"""The simulated Meca500, alone in its own process, driven by the vendor's Python driver (mecademicpy).

Where the driver and the programming manual disagree the manual decides; each such place is named in its test.
"""

from __future__ import annotations

import logging
import math
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from mecademicpy import robot as mdr

SPEED = 50.0
DEADLINE_S = 20.0
LAB_SIM = [sys.executable, "-m", "lab.cli", "sim", "arm", "--speed", str(SPEED)]

logging.getLogger("mecademicpy").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class Simulator:
    control: str
    monitor: str


def _lines(stream: object, found: queue.Queue[str]) -> None:
    for line in stream:  # type: ignore[attr-defined]
        found.put(line)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """An arm alone; it prints ``host:port`` first, and its whole endpoint on standard error."""
    process = subprocess.Popen(LAB_SIM, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    found: queue.Queue[str] = queue.Queue()
    reader = threading.Thread(target=_lines, args=(process.stderr, found), daemon=True)
    reader.start()
    try:
        monitor = None
        while monitor is None:
            monitor = re.search(r"monitor=(\d+)", found.get(timeout=DEADLINE_S))
        assert process.stdout is not None
        yield Simulator(process.stdout.readline().strip(), f"127.0.0.1:{monitor[1]}")
    finally:
        process.terminate()
        assert process.wait(DEADLINE_S) == 0
        reader.join(DEADLINE_S)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture
def robot(simulator: Simulator) -> Iterator[mdr.Robot]:
    """Connected, activated, homed, at zero joints."""
    robot = mdr.Robot()
    robot.Connect(simulator.control, disconnect_on_exception=False)
    try:
        robot.ResetError()
        robot.WaitErrorReset(DEADLINE_S)
        robot.ActivateRobot()
        robot.Home()
        robot.WaitHomed(DEADLINE_S)
        robot.ResumeMotion()
        robot.WaitMotionResumed(DEADLINE_S)
        robot.SetJointVel(50)
        robot.MoveJoints(0, 0, 0, 0, 0, 0)
        robot.GripperOpen()
        robot.Delay(1)
        robot.WaitIdle(DEADLINE_S)
        yield robot
    finally:
        robot.Disconnect()


def test_the_driver_recognises_the_robot(robot: mdr.Robot) -> None:
    info = robot.GetRobotInfo()
    assert (info.model, info.revision, info.num_joints) == ("Meca500", 3, 6)
    assert str(info.version).startswith("9.1.147")
    assert info.serial


def test_the_driver_sees_an_activated_and_homed_robot(robot: mdr.Robot) -> None:
    status = robot.GetStatusRobot(synchronous_update=True)
    assert status.activation_state
    assert status.homing_state
    assert not status.error_status
    assert not status.pause_motion_status


def test_joint_and_pose_moves_end_where_the_driver_sent_them(robot: mdr.Robot) -> None:
    robot.MoveJoints(10, -20, 20, 0, 30, 5)
    robot.WaitIdle(DEADLINE_S)
    assert robot.GetRtTargetJointPos(synchronous_update=True) == pytest.approx([10, -20, 20, 0, 30, 5])
    robot.MovePose(190, 0, 120, 180, 0, 180)
    robot.MoveLin(190, 0, 80, 180, 0, 180)
    robot.WaitIdle(DEADLINE_S)
    x, y, z, alpha, beta, gamma = robot.GetRtTargetCartPos(synchronous_update=True)
    assert (x, y, z) == pytest.approx((190, 0, 80), abs=1e-3)
    assert [math.cos(math.radians(angle)) for angle in (alpha, beta, gamma)] == pytest.approx([-1, 1, -1])


def test_the_driver_waits_for_a_checkpoint(robot: mdr.Robot) -> None:
    robot.MoveJoints(30, 0, 0, 0, 0, 0)
    checkpoint = robot.SetCheckpoint(17)
    robot.MoveJoints(0, 0, 0, 0, 0, 0)
    checkpoint.wait(timeout=DEADLINE_S)
    robot.WaitIdle(DEADLINE_S)


def test_the_driver_counts_with_checkpoints_above_those_of_the_manual(robot: mdr.Robot) -> None:
    # Manual: SetCheckpoint takes 1 to 8000. The driver itself uses 8001 to 8191, which robots take; the simulator does too.
    robot.SetCheckpoint(1)
    robot.WaitIdle(DEADLINE_S)  # sends SetCheckpoint(8001) or above
    assert not robot.GetStatusRobot(synchronous_update=True).error_status


def test_a_program_of_settings_and_frames_is_taken(robot: mdr.Robot) -> None:
    robot.SetTrf(0, 0, 20, 0, 0, 0)
    robot.SetWrf(0, 0, -10, 0, 0, 0)
    robot.SetCartLinVel(200)
    robot.SetCartAcc(100)
    robot.SetJointAcc(100)
    robot.SetBlending(50)
    robot.SetAutoConf(True)
    robot.MoveLinRelWrf(0, 0, -20, 0, 0, 0)
    robot.MoveLinRelTrf(0, 0, -10, 0, 0, 0)
    robot.MoveJointsRel(0, 0, 0, 0, 0, 90)
    robot.SetTrf(0, 0, 0, 0, 0, 0)
    robot.SetWrf(0, 0, 0, 0, 0, 0)
    robot.WaitIdle(DEADLINE_S)
    assert robot.GetRtTargetCartPos(synchronous_update=True)[:3] == pytest.approx([180, 0, 288], abs=1e-3)


def test_the_gripper_takes_a_sample_of_the_rack_and_puts_it_back(robot: mdr.Robot) -> None:
    robot.MovePose(60, -130, 100, 180, 0, 180)
    robot.MoveLin(60, -130, 60, 180, 0, 180)
    robot.WaitIdle(DEADLINE_S)
    robot.GripperClose()
    robot.WaitGripperMoveCompletion(DEADLINE_S)
    state = robot.GetRtGripperState(synchronous_update=True)
    assert state.holding_part
    assert not state.target_pos_reached
    robot.GripperOpen()
    robot.WaitGripperMoveCompletion(DEADLINE_S)
    state = robot.GetRtGripperState(synchronous_update=True)
    assert state.opened
    assert not state.holding_part


def test_the_gripper_closes_on_air_away_from_the_places(robot: mdr.Robot) -> None:
    robot.GripperClose()
    robot.WaitGripperMoveCompletion(DEADLINE_S)
    state = robot.GetRtGripperState(synchronous_update=True)
    assert state.closed
    assert not state.holding_part


def test_the_driver_recovers_from_a_joint_over_its_limit(robot: mdr.Robot) -> None:
    robot.MoveJoints(0, 100, 0, 0, 0, 0)
    with pytest.raises(mdr.InterruptException, match="robot is in error"):
        robot.WaitIdle(DEADLINE_S)
    robot.ResetError()
    robot.WaitErrorReset(DEADLINE_S)
    robot.ResumeMotion()
    robot.WaitMotionResumed(DEADLINE_S)
    robot.MoveJoints(0, 10, 0, 0, 0, 0)
    robot.WaitIdle(DEADLINE_S)
    assert robot.GetRtTargetJointPos(synchronous_update=True)[1] == pytest.approx(10)


def test_a_pose_out_of_reach_is_an_error_for_the_driver(robot: mdr.Robot) -> None:
    robot.MovePose(500, 0, 300, 0, 90, 0)
    with pytest.raises(mdr.InterruptException, match="robot is in error"):
        robot.WaitIdle(DEADLINE_S)


def test_motion_is_cleared_and_resumed_by_the_driver(robot: mdr.Robot) -> None:
    robot.SetJointVel(1)
    robot.MoveJoints(100, 0, 0, 0, 0, 0)
    robot.ClearMotion()
    robot.WaitMotionCleared(DEADLINE_S)
    assert robot.GetStatusRobot(synchronous_update=True).pause_motion_status
    assert robot.GetRtTargetJointPos(synchronous_update=True)[0] < 100
    robot.ResumeMotion()
    robot.WaitMotionResumed(DEADLINE_S)


def test_a_second_driver_is_turned_away(robot: mdr.Robot, simulator: Simulator) -> None:
    second = mdr.Robot()
    with pytest.raises(mdr.CommunicationError, match="already connected"):
        second.Connect(simulator.control, disconnect_on_exception=False)
    assert robot.IsConnected()


def test_a_driver_in_monitoring_mode_follows_the_arm(robot: mdr.Robot, simulator: Simulator) -> None:
    watcher = mdr.Robot()
    watcher.Connect(simulator.monitor, monitor_mode=True)
    try:
        robot.MoveJoints(25, 0, 0, 0, 0, 0)
        robot.WaitIdle(DEADLINE_S)
        for _ in range(3):
            watcher.WaitEndOfCycle(DEADLINE_S)
        assert watcher.GetJoints() == pytest.approx([25, 0, 0, 0, 0, 0])
        assert watcher.GetStatusRobot().homing_state
    finally:
        watcher.Disconnect()


def test_a_driver_that_leaves_a_moving_arm_finds_it_stopped(robot: mdr.Robot, simulator: Simulator) -> None:
    robot.SetJointVel(0.5)
    robot.MoveJoints(100, 0, 0, 0, 0, 0)
    robot.GetStatusRobot(synchronous_update=True)  # so the move has been taken
    robot.Disconnect()
    robot.Connect(simulator.control, disconnect_on_exception=False)
    assert robot.GetStatusRobot(synchronous_update=True).pause_motion_status
    assert robot.GetSafetyStatus(synchronous_update=True).connection_dropped_stop_state == 2
    robot.ResumeMotion()
    robot.WaitIdle(DEADLINE_S)
    assert robot.GetRtTargetJointPos(synchronous_update=True)[0] < 100
