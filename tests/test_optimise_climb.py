"""The search for the largest value on a domain, with plain functions in place of a model."""

from __future__ import annotations

import numpy as np
import pytest

from lab.core.space import ChoiceParameter, LinearConstraint, RangeParameter, Space
from lab.optimise.climb import Effort, Score, climb
from lab.optimise.domain import Domain, Points
from lab.optimise.polytope import Array
from lab.optimise.sampling import Stream


def best_of(space: Space, score: Score, seed: int = 0) -> dict[str, object]:
    domain = Domain(space)
    candidates = Stream(domain, seed).points(0, 256)
    points, values = climb(domain, score, candidates, candidates[:0], np.random.default_rng(seed), Effort.for_domain(domain))
    assert (np.diff(values) <= 0).all()
    found = domain.values(points[:1])[0]
    assert space.problems(found) == []
    return dict(found)


def fractions(*constraints: str) -> Space:
    names = ["a", "b", "c"]
    return Space(tuple(RangeParameter(n, 0, 1) for n in names), tuple(LinearConstraint.parse(text, names) for text in constraints))


def towards(*target: float) -> Score:
    def score(x: Array) -> Array:
        return -((x - np.array(target)) ** 2).sum(axis=1)
    return score


def test_an_optimum_inside_the_simplex_is_found() -> None:
    best = best_of(fractions("a + b + c == 1"), towards(0.15, 0.75, 0.1))
    assert list(best.values()) == pytest.approx([0.15, 0.75, 0.1], abs=2e-3)


def test_an_optimum_on_an_edge_and_at_a_corner_of_the_simplex_is_reached_exactly() -> None:
    # The nearest points of the simplex to (0.6, 0.8, -0.4) and (2, 0, 0) are (0.4, 0.6, 0) and (1, 0, 0).
    edge = best_of(fractions("a + b + c == 1"), towards(0.6, 0.8, -0.4))
    assert list(edge.values()) == pytest.approx([0.4, 0.6, 0.0], abs=2e-3)
    corner = best_of(fractions("a + b + c == 1"), towards(2.0, 0.0, 0.0))
    assert list(corner.values()) == pytest.approx([1.0, 0.0, 0.0], abs=1e-6)


def test_an_optimum_at_an_inequality_is_reached() -> None:
    best = best_of(fractions("a + b <= 0.5", "c >= a"), towards(1.0, 0.0, 0.0))
    # Largest a with c >= a: the nearest point to (1, 0, 0) on a == c is (0.5, 0, 0.5).
    assert list(best.values()) == pytest.approx([0.5, 0.0, 0.5], abs=3e-3)


def test_whole_numbers_and_choices_are_found_among_many() -> None:
    space = Space((RangeParameter("n", 0, 200, is_integer=True), RangeParameter("m", 0, 200, is_integer=True),
                   ChoiceParameter("s", tuple("abcdefgh"))))
    target = np.concatenate([[137 / 200, 12 / 200], np.eye(8)[5]])
    assert best_of(space, towards(*target)) == {"n": 137, "m": 12, "s": "f"}


def test_forbidden_points_are_not_returned() -> None:
    def score(x: Array) -> Array:
        return np.where(np.abs(x[:, 0] - 0.3) < 0.1, -np.inf, -np.abs(x[:, 0] - 0.3))

    best = best_of(Space((RangeParameter("x", 0, 1),)), score)
    assert abs(abs(float(str(best["x"])) - 0.3) - 0.1) < 2e-3


def test_the_candidates_are_not_changed() -> None:
    domain = Domain(fractions("a + b + c == 1"))
    candidates = Stream(domain, 0).points(0, 64)
    before = Points(candidates.w.copy(), candidates.choices.copy())
    climb(domain, towards(0.1, 0.2, 0.7), candidates, candidates[:2], np.random.default_rng(0), Effort())
    assert (candidates.w == before.w).all()
    assert (candidates.choices == before.choices).all()
