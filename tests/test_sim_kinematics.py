"""Kinematics of the simulated Meca500: against poses the manual states, and against itself both ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from lab.core.config import ArmConfig, ArmPlace, LabConfig
from sim.arm_motion import Line, Settings
from sim.kinematics import (
    JOINT_LIMITS_DEG,
    Six,
    Unreachable,
    between,
    distance,
    forward,
    frame_of,
    inverse,
    inverse_frame,
    inverted,
    is_within_limits,
    margin,
    pose_of,
    posture,
    solutions,
    turn_between,
    turn_of,
)

ZERO = (0.0,) * 6
LAB = Path(__file__).parent.parent / "examples" / "lab.yaml"

angles = st.tuples(*(st.floats(low, high) for low, high in JOINT_LIMITS_DEG[:5]), st.floats(-720, 720))
euler = st.tuples(st.floats(-180, 180), st.floats(-89, 89), st.floats(-180, 180))


def test_zero_joints_give_the_pose_of_the_manual() -> None:
    assert pose_of(forward(ZERO)) == pytest.approx((190, 0, 308, 0, 90, 0), abs=1e-9)


def test_the_wrist_bent_by_90_degrees_points_the_flange_down() -> None:
    frame = forward((0, 0, 0, 0, 90, 0))
    assert frame[:3, 3] == pytest.approx((120, 0, 238))
    assert frame[:3, 2] == pytest.approx((0, 0, -1))


def test_joint_1_turns_the_arm_counter_clockwise_seen_from_above() -> None:
    assert forward((90, 0, 0, 0, 0, 0))[:3, 3] == pytest.approx((0, 190, 308))


def test_joint_2_leans_the_arm_forward() -> None:
    assert forward((0, 90, 0, 0, 0, 0))[:3, 3] == pytest.approx((135 + 38, 0, 135 - 190))


def test_the_arm_stretched_upwards_reaches_the_330_mm_of_its_links() -> None:
    elbow = -np.degrees(np.arctan2(120, 38))  # lays the forearm's offset and length along the upper arm
    top = forward((0, 0, elbow, 0, -90 - elbow, 0))[:3, 3]
    assert np.hypot(top[0], top[2] - 135) == pytest.approx(135 + np.hypot(120, 38) + 70)


@given(angles)
def test_the_joints_found_for_a_pose_give_that_pose(joints: Six) -> None:
    frame = forward(joints)
    assert forward(inverse_frame(frame, joints)) == pytest.approx(frame, abs=1e-6)


@given(angles)
def test_near_its_own_joints_a_pose_has_these_joints(joints: Six) -> None:
    _, _, wrist = posture(joints)
    assume(wrist != 0 and abs(joints[4]) > 0.1)
    assert distance(inverse(pose_of(forward(joints)), joints), joints) < 1e-3


@given(angles)
def test_every_posture_of_a_pose_is_within_limits_and_different_from_the_others(joints: Six) -> None:
    assume(abs(joints[4]) > 0.5)
    frame = forward(joints)
    found = list(solutions(frame, joints))
    assert 1 <= len(found) <= 8
    assert all(is_within_limits(one) and forward(one) == pytest.approx(frame, abs=1e-6) for one in found)
    assert len({posture(one) for one in found}) == len(found)


@given(angles)
def test_a_wanted_posture_is_kept(joints: Six) -> None:
    assume(abs(joints[4]) > 0.5)
    for one in solutions(forward(joints), joints):
        if 0 not in posture(one):
            assert posture(inverse_frame(forward(joints), ZERO, posture(one))) == posture(one)


def test_a_wanted_turn_of_joint_6_is_kept() -> None:
    found = inverse_frame(forward((10, 20, 10, 5, 40, 30)), ZERO, turn=2)
    assert turn_of(found) == 2
    assert found[5] == pytest.approx(750)


def test_joint_6_keeps_the_turn_it_has() -> None:
    assert inverse(pose_of(forward((10, 20, 10, 5, 40, 30))), (10, 20, 10, 5, 40, 400))[5] == pytest.approx(390)


@pytest.mark.parametrize("pose", [(400, 0, 300, 0, 90, 0), (0, 0, 60, 180, 0, 0), (190, 0, 308, 0, -90, 0)])
def test_a_pose_out_of_reach_is_an_error_that_names_it(pose: Six) -> None:
    with pytest.raises(Unreachable, match=f"pose \\({pose[0]}.000, 0.000"):
        inverse(pose, ZERO)


@given(st.tuples(*[st.floats(-500, 500)] * 3), euler)
def test_a_pose_is_the_pose_of_its_frame(place: tuple[float, float, float], angles_deg: tuple[float, float, float]) -> None:
    frame = frame_of((*place, *angles_deg))
    assert frame_of(pose_of(frame)) == pytest.approx(frame, abs=1e-9)
    assert inverted(frame) @ frame == pytest.approx(np.eye(4), abs=1e-9)


@pytest.mark.parametrize("beta", [90.0, -90.0])
def test_at_90_degrees_of_beta_alpha_is_reported_as_0(beta: float) -> None:
    frame = frame_of((1, 2, 3, 30, beta, 40))
    assert pose_of(frame)[3] == 0.0
    assert frame_of(pose_of(frame)) == pytest.approx(frame, abs=1e-9)


@given(euler, euler, st.floats(0, 1))
def test_between_two_frames_the_orientation_turns_about_one_axis(first: Six, second: Six, fraction: float) -> None:
    start, end = frame_of((0, 0, 0, *first)), frame_of((10, 20, 30, *second))
    _, whole = turn_between(start, end)
    assume(whole < 179.9)
    middle = between(start, end, fraction)
    assert middle[:3, 3] == pytest.approx(np.array([10, 20, 30]) * fraction)
    assert turn_between(start, middle)[1] == pytest.approx(whole * fraction, abs=1e-4)
    assert turn_between(middle, end)[1] == pytest.approx(whole * (1 - fraction), abs=1e-4)


def test_half_a_turn_ends_where_it_should() -> None:
    start, end = frame_of((0, 0, 0, 0, 0, 0)), frame_of((0, 0, 0, 180, 0, 0))
    assert turn_between(start, end)[1] == pytest.approx(180)
    assert between(start, end, 0.999999) == pytest.approx(end, abs=1e-4)


@pytest.fixture(scope="module")
def lab() -> LabConfig:
    return LabConfig.model_validate(yaml.safe_load(LAB.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def park(lab: LabConfig) -> Six:
    return next(i.park_joints for i in lab.instruments.values() if isinstance(i, ArmConfig))


def _above(place: ArmPlace) -> Six:
    x, y, z, *angles_deg = place.pose
    return (x, y, z + place.approach_mm, *angles_deg)


def test_the_arm_reaches_every_place_of_the_example_straight_down_from_its_approach(lab: LabConfig, park: Six) -> None:
    for place in lab.places.values():
        start = inverse(_above(place), park)
        line = Line.plan(start, frame_of(place.pose), Settings(), "")
        assert min(margin(joints) for joints in line.knots) > 10.0
        assert distance(line.knots[0], line.knots[-1]) < 30.0
        assert distance(start, park) < 120.0
        assert forward(line.knots[-1])[:3, 2] == pytest.approx((0, 0, -1))


def test_the_arm_comes_to_each_place_of_the_example_in_one_way_wherever_it_comes_from(lab: LabConfig, park: Six) -> None:
    from_park = {name: inverse(_above(place), park) for name, place in lab.places.items()}
    for start in from_park.values():
        for name, place in lab.places.items():
            assert distance(inverse(_above(place), start), from_park[name]) < 1e-6
