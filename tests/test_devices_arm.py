"""The arm as an Ophyd device, down to the simulated robot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from bluesky.utils import NoReplayAllowed

from devices.arm import Arm
from lab.core.capabilities import Arm as ArmCapability
from lab.core.capabilities import Instrument, Park, Pick, Place
from lab.core.config import ArmConfig, LabConfig
from lab.core.errors import CommandError, InstrumentError, LimitError, LinkDown

SPEED = 400.0
INSTRUMENTS: dict[str, Any] = {"arm": {"kind": "arm"}}
STATIONS: dict[str, Any] = {
    "stage": {"role": "detector", "origin": {"pose": [0, 190, 80, 180, 0, -90]}},
    "rack": {"role": "rack", "slots": 6, "columns": 6, "step_mm": [20, -20], "origin": {"pose": [60, -130, 60, 180, 0, 180]}},
    "moon": {"role": "rack", "origin": {"pose": [900, 0, 80, 180, 0, 180]}},
}


@pytest.fixture(scope="module")
def laboratory(bench: Any) -> Any:
    bench.simulate(INSTRUMENTS, SPEED, stations=STATIONS)
    bench.bridge("arm", "TDA:")
    return bench


@pytest.fixture(scope="module")
def device(laboratory: Any) -> Iterator[Arm]:
    lab = LabConfig.model_validate(laboratory.lab)
    made = Arm("TDA:arm:", name="arm", places=lab.places, config=ArmConfig(kind="arm"), speed=SPEED)
    made.wait_for_connection(timeout=200)
    yield made
    laboratory.stop()  # first: clearing a subscription while its events arrive can crash libca
    made.destroy()


@pytest.fixture()
def arm(laboratory: Any, device: Arm, until: Callable[..., None]) -> Iterator[Arm]:
    """Ready to move, holding nothing; what a test left in the gripper goes to a free slot afterwards."""
    until(lambda: device.health().is_connected)
    device.recover().wait(120)
    yield device
    laboratory.clear()
    until(lambda: device.health().is_connected)
    device.recover().wait(120)
    if device.is_holding():
        device.set(Place("rack.1")).wait(120)


def places(laboratory: Any) -> dict[str, Any]:
    """Where the world itself says the samples are."""
    found: dict[str, Any] = laboratory.sim.ask({"do": "account"})["places"]
    return found


def test_it_is_an_arm_and_an_instrument(arm: Arm, until: Callable[..., None]) -> None:
    assert isinstance(arm, ArmCapability) and isinstance(arm, Instrument)
    health = arm.health()
    assert health.identity.startswith("Mecademic Meca500") and (health.state, health.cause) == ("ready", "")
    until(lambda: arm.health().round_trip_ms > 0)  # told after the first poll


@pytest.mark.parametrize("move", [Park(), Pick("rack.2")])
def test_a_tool_that_a_failure_left_in_a_place_is_lifted_straight_up_first(arm: Arm, move: Any) -> None:
    stage = arm.places["stage"].pose
    arm.move_pose.set((*stage[:2], stage[2] + 10, *stage[3:])).wait(120)
    sent: list[tuple[str, Any]] = []
    for name in ("move_lin", "move_pose", "move_joints"):
        signal = getattr(arm, name)
        really = signal.set
        signal.set = lambda value, name=name, really=really, **more: sent.append((name, value)) or really(value, **more)
    try:
        arm.set(move).wait(120)
    finally:
        for name in ("move_lin", "move_pose", "move_joints"):
            del getattr(arm, name).set
    assert sent[0] == ("move_lin", (*stage[:2], stage[2] + arm.places["stage"].approach_mm, *stage[3:]))
    if move != Park():
        arm.set(Place("rack.2")).wait(120)


def test_a_sample_goes_from_place_to_place_and_the_world_agrees(laboratory: Any, arm: Arm) -> None:
    before = places(laboratory)
    arm.set(Pick("rack.2")).wait(120)
    assert arm.is_holding()
    arm.set(Place("stage")).wait(120)
    assert not arm.is_holding()
    arm.set(Park()).wait(120)
    assert arm.joints.get() == pytest.approx(ArmConfig(kind="arm").park_joints, abs=0.01)
    assert places(laboratory) != before
    arm.set(Pick("stage")).wait(120)
    arm.set(Place("rack.2")).wait(120)
    assert places(laboratory) == before


def test_readings_are_fresh_when_a_move_is_done(arm: Arm) -> None:
    arm.move_joints.set((10, 0, 0, 0, 0, 0)).wait(120)
    reading = arm.read()
    assert reading["arm_joints"]["value"] == pytest.approx((10, 0, 0, 0, 0, 0), abs=0.01)
    assert reading["arm_state"]["value"] == "ready"
    assert reading["arm_holding"]["value"] == 0


def test_picking_at_an_empty_place_fails_and_leaves_the_arm_above_it(arm: Arm) -> None:
    with pytest.raises(CommandError, match="arm: no sample at stage: the gripper closed on nothing"):
        arm.set(Pick("stage")).wait(120)
    assert arm.pose.get()[2] == pytest.approx(120, abs=0.5)
    assert not arm.is_holding()


def test_placing_with_an_empty_gripper_fails_before_anything_moves(arm: Arm) -> None:
    arm.set(Park()).wait(120)
    with pytest.raises(CommandError, match="arm: cannot place at stage: the gripper holds nothing"):
        arm.set(Place("stage")).wait(120)
    assert arm.joints.get() == pytest.approx(ArmConfig(kind="arm").park_joints, abs=0.01)


def test_picking_twice_fails_and_the_sample_stays_in_the_gripper(arm: Arm) -> None:
    arm.set(Pick("rack.1")).wait(120)
    with pytest.raises(CommandError, match="cannot pick at rack.2: the gripper holds a sample already"):
        arm.set(Pick("rack.2")).wait(120)
    assert arm.is_holding()


def test_an_unknown_place_is_refused(arm: Arm) -> None:
    with pytest.raises(LimitError, match=r"arm: given place 'rack\.99'; allowed: stage, rack\.1, .*lab.yaml: stations"):
        arm.set(Pick("rack.99")).wait(120)


def test_a_second_move_is_refused_while_one_is_under_way(arm: Arm) -> None:
    first = arm.set(Pick("rack.3"))
    with pytest.raises(CommandError, match="arm: park refused: a move is under way"):
        arm.set(Park()).wait(120)
    first.wait(120)
    arm.set(Place("rack.3")).wait(120)


def test_a_move_given_twice_is_refused_and_holds_up_no_stop(arm: Arm) -> None:
    arm.velocity.set(1.0).wait(120)
    try:
        first = arm.move_joints.set((170, 0, 0, 0, 0, 0))
        with pytest.raises(CommandError, match="arm_move_joints: refused: the last one is still going on"):
            arm.move_joints.set((0, 0, 0, 0, 0, 0)).wait(120)
        arm.halt.set().wait(120)
        with pytest.raises(CommandError, match="MoveJoints failed: stopped by STOP"):
            first.wait(120)
    finally:
        arm.recover().wait(120)
        arm.velocity.set(100.0).wait(120)


def test_a_place_out_of_reach_fails_in_the_robots_words_and_recovery_makes_it_ready(arm: Arm) -> None:
    with pytest.raises(CommandError, match=r"MovePose failed: \[1016\]"):
        arm.set(Pick("moon")).wait(120)
    assert arm.health().state == "error" and "[1016]" in arm.health().cause
    arm.recover().wait(120)
    assert arm.health().state == "ready"


def test_stop_ends_the_move_and_nothing_moves_after_it(arm: Arm) -> None:
    arm.velocity.set(1.0).wait(120)
    try:
        status = arm.set(Pick("rack.6"))
        arm.stop()
        with pytest.raises(CommandError, match="arm: the move failed: it was stopped"):
            status.wait(120)
        arm.halt.set().wait(120)
        at = arm.joints.get(use_monitor=False)
        arm.reset_errors.set().wait(120)  # two round trips later it still stands there
        assert arm.joints.get(use_monitor=False) == pytest.approx(at)
    finally:
        arm.recover().wait(120)
        arm.velocity.set(100.0).wait(120)


def test_making_safe_ends_the_move_and_recovery_makes_ready_again(arm: Arm) -> None:
    arm.velocity.set(1.0).wait(120)
    try:
        status = arm.set(Park())
        arm.make_safe().wait(120)
        with pytest.raises(CommandError, match="the arm was made safe"):
            status.wait(120)
        assert arm.health().state == "paused"
    finally:
        arm.recover().wait(120)
        arm.velocity.set(100.0).wait(120)
    arm.set(Park()).wait(120)


def test_bluesky_is_told_never_to_repeat_a_move(arm: Arm) -> None:
    with pytest.raises(NoReplayAllowed, match="moves are not repeated"):
        arm.pause()
    arm.resume()


def test_an_unplugged_arm_fails_the_move_says_why_and_comes_back(laboratory: Any, arm: Arm, until: Callable[..., None]) -> None:
    arm.velocity.set(1.0).wait(120)
    status = arm.move_joints.set((170, 0, 0, 0, 0, 0))
    until(lambda: arm.state.get(use_monitor=False) == "moving")
    laboratory.fault("arm", "unplug")
    with pytest.raises(LinkDown, match="MoveJoints failed: the line dropped during the motion, which is not sent again"):
        status.wait(120)
    until(lambda: not arm.health().is_connected)
    assert arm.health().cause
    with pytest.raises(InstrumentError, match="no valid reading"):
        arm.is_holding()
    with pytest.raises(LinkDown, match="not connected"):
        arm.recover().wait(120)
    laboratory.clear()
    until(lambda: arm.health().is_connected)
    arm.recover().wait(120)
    arm.velocity.set(100.0).wait(120)
    arm.set(Park()).wait(120)


def test_a_run_engine_moves_it(laboratory: Any, arm: Arm) -> None:
    from bluesky import RunEngine
    from bluesky.plan_stubs import mv

    engine = RunEngine(context_managers=[])
    engine(mv(arm, Pick("rack.4")))
    engine(mv(arm, Place("rack.4")))
    assert not arm.is_holding()
