"""What has been tried is not suggested again, however much it is."""

from __future__ import annotations

import numpy as np
import pytest

from lab.optimise.tried import KEEP_OUT, MANY, SAME, Tried

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("n", [10, MANY + 1])
def test_points_are_new_beyond_the_distances_and_not_within(n: int) -> None:
    points = np.hstack([RNG.random((n, 3)), np.eye(4)[RNG.integers(4, size=n)]])
    tried = Tried(points[:-5], points[-5:])
    shift = np.array([1, -1, 0.5, 0, 0, 0, 0])
    assert not tried.is_new(points[:2] + 0.9 * SAME * shift).any()
    assert tried.is_new(points[:2] + 1.1 * SAME * shift).all()
    assert not tried.is_new(points[-5:] + 0.9 * KEEP_OUT * shift).any()
    assert tried.is_new(points[-5:] + 1.1 * KEEP_OUT * shift).all()


@pytest.mark.parametrize("n", [0, 10, MANY + 1])
def test_with_nothing_failed_or_under_way_all_else_is_new(n: int) -> None:
    tried = Tried(RNG.random((n, 3)), np.zeros((0, 3)))
    assert tried.is_new(RNG.random((4, 3))).all()
    assert tried.also(np.array([[0.5, 0.5, 0.5]])).is_new(np.array([[0.5, 0.5, 0.5], [0.4, 0.5, 0.5]])).tolist() == [False, True]


def test_where_all_is_fixed_one_sample_is_all() -> None:
    nothing = np.zeros((0, 0))
    assert Tried(nothing, nothing).is_new(np.zeros((1, 0))).all()
    assert not Tried(np.zeros((1, 0)), nothing).is_new(np.zeros((1, 0))).any()
