"""What several objectives dominate together: exact volumes, and boxes that do not overlap."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from lab.core import front
from lab.core.front import boxes, by_gain, compromise, hypervolume, inferred_reference, is_in_front


def included_and_excluded(points: np.ndarray, reference: np.ndarray) -> float:
    """The volume of a union of boxes, by inclusion and exclusion."""
    total = 0.0
    for size in range(1, len(points) + 1):
        for some in combinations(range(len(points)), size):
            total += (-1) ** (size + 1) * float(np.maximum(points[list(some)].min(axis=0) - reference, 0.0).prod())
    return total


def random_points(m: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Half of the time on a coarse grid, where many coordinates are alike, and some are below the reference."""
    rng = np.random.default_rng([m, seed])
    points = rng.random((7, m)) if seed % 2 else rng.integers(0, 4, (7, m)) / 3
    return points, np.full(m, -0.1 if seed % 3 else 0.3)


@pytest.mark.parametrize("m", [2, 3, 4])
def test_the_hypervolume_is_that_of_the_union(m: int) -> None:
    for seed in range(12):
        points, reference = random_points(m, seed)
        assert hypervolume(points, reference) == pytest.approx(included_and_excluded(points, reference), abs=1e-12)


@pytest.mark.parametrize("m", [2, 3, 4])
def test_boxes_do_not_overlap_and_make_up_all_that_is_not_dominated(m: int) -> None:
    for seed in range(12):
        points, reference = random_points(m, seed)
        lower, upper, n_left_out = boxes(points, reference)
        top = np.full(m, 2.0)
        volume = np.maximum(np.minimum(upper, top) - lower, 0.0).prod(axis=1).sum()
        assert volume == pytest.approx(np.prod(top - reference) - included_and_excluded(points, reference), abs=1e-12)
        inside = np.random.default_rng(seed).uniform(reference, top, (300, m))
        n_boxes = ((inside[:, None, :] > lower) & (inside[:, None, :] < upper)).all(axis=2).sum(axis=1)
        is_dominated = (inside[:, None, :] <= points).all(axis=2).any(axis=1)
        assert (n_boxes == ~is_dominated).all()
        assert n_left_out == 0


def test_no_points_leave_everything_undominated() -> None:
    lower, upper, _ = boxes(np.zeros((0, 3)), np.array([1.0, 2.0, 3.0]))
    assert lower.tolist() == [[1.0, 2.0, 3.0]]
    assert np.isinf(upper).all()


def test_of_a_large_front_the_points_that_add_most_are_kept_and_the_others_counted() -> None:
    rng = np.random.default_rng(3)
    points = np.abs(rng.standard_normal((90, 4)))
    points /= np.linalg.norm(points, axis=1)[:, None]
    lower, upper, n_left_out = boxes(points, np.zeros(4))
    assert len(lower) <= front.MOST_BOXES
    assert 0 < n_left_out < 90
    top = np.full(4, 1.0)
    kept = 1.0 - np.maximum(np.minimum(upper, top) - lower, 0.0).prod(axis=1).sum()
    assert 0.8 * hypervolume(points, np.zeros(4)) < kept <= hypervolume(points, np.zeros(4))


def test_points_are_in_the_front_unless_another_is_as_good_everywhere_and_better_somewhere() -> None:
    points = np.array([[1.0, 0.0], [0.5, 0.5], [0.5, 0.4], [0.0, 1.0], [0.5, 0.5], [0.0, 0.9]])
    assert is_in_front(points).tolist() == [True, True, False, True, True, False]


def test_the_point_that_dominates_most_comes_first_and_the_one_that_adds_most_next() -> None:
    points = np.array([[0.9, 0.2], [0.6, 0.6], [0.55, 0.62], [0.1, 0.95], [0.5, 0.5]])
    assert by_gain(points, np.zeros(2), 3) == [1, 0, 3]
    assert by_gain(points, np.ones(2), 3) == []


def test_the_inferred_reference_is_beyond_the_front_by_a_tenth_of_its_extent() -> None:
    points = np.array([[0.0, 10.0], [1.0, 0.0], [-5.0, -5.0]])
    assert inferred_reference(points) == pytest.approx([-0.1, -1.0])


def test_a_front_of_one_point_takes_the_extent_of_all_points() -> None:
    assert inferred_reference(np.array([[1.0, 1.0], [0.0, -1.0]])) == pytest.approx([0.9, 0.8])


def test_a_compromise_is_better_the_more_it_dominates_and_the_less_it_falls_short() -> None:
    points = np.array([[0.5, 0.5], [0.9, 0.1], [1.0, -0.1], [1.0, -0.5]])
    assert np.argsort(-compromise(points, np.zeros(2))).tolist() == [0, 1, 2, 3]
