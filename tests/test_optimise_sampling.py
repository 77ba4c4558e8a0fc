"""Evenly spread points: inside every constraint, to the last digit, whatever the space."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.core.errors import OptimizerError
from lab.core.space import (
    ChoiceParameter,
    ExpressionConstraint,
    FixedParameter,
    LinearConstraint,
    Parameter,
    RangeParameter,
    Space,
    Value,
    constrainable,
    parse_constraint,
)
from lab.optimise.domain import Domain, Points
from lab.optimise.feasible import check_feasible
from lab.optimise.sampling import Stream, every_point


def space_of(*parameters: Parameter, constraints: tuple[str, ...] = ()) -> Space:
    read = [parse_constraint(text, constrainable(parameters)) for text in constraints]
    return Space(tuple(parameters), tuple(c for c in read if isinstance(c, LinearConstraint)), tuple(c for c in read if isinstance(c, ExpressionConstraint)))


def draw(space: Space, n: int = 64, seed: int = 0) -> list[dict[str, Value]]:
    domain = Domain(space)
    return domain.values(Stream(domain, seed).points(0, n))


FRACTIONS = tuple(RangeParameter(name, 0, 1) for name in ("cs", "fa", "ma"))
PERCENT = tuple(RangeParameter(name, low, high) for name, low, high in
                [("p", 15, 96), ("a", 0, 60), ("b", 0, 70), ("c", 0, 75), ("d", 0, 75)])
SPACES = {
    "fractions": space_of(*FRACTIONS, constraints=("cs + fa + ma == 1",)),
    "fractions in per cent with bounds of their own": space_of(*PERCENT, constraints=("p + a + b + c + d == 100",)),
    "fractions and an inequality": space_of(*FRACTIONS, constraints=("cs + fa + ma == 1", "cs <= 0.3*fa")),
    "two sums": space_of(*FRACTIONS, *(RangeParameter(n, 0, 5) for n in "xyz"), constraints=("cs + fa + ma == 1", "x + y + z == 5")),
    "overlapping sums": space_of(*(RangeParameter(n, 0, 1) for n in "abcd"), constraints=("a + b + c == 1", "c + d == 0.7")),
    "weights": space_of(RangeParameter("a", 0, 10), RangeParameter("b", 1, 3), constraints=("2*a + 3*b == 12",)),
    "inequality": space_of(RangeParameter("a", 0, 1), RangeParameter("b", 0, 1), constraints=("a + b <= 0.5", "a >= 2*b")),
    "a thin slice": space_of(*(RangeParameter(n, 0, 1) for n in "abcdef"), constraints=("a + b + c + d + e + f <= 0.05",)),
    "a thin slice and whole numbers beside it": space_of(*(RangeParameter(n, 0, 1) for n in "abcdef"), RangeParameter("n", 1, 9, is_integer=True),
                                                          constraints=("a + b + c + d + e + f <= 0.05",)),
    "large coefficients": space_of(RangeParameter("a", 0, 1), RangeParameter("b", 0, 1), constraints=("20000*a + 20000*b <= 1",)),
    "two inequalities that make an equality": space_of(*FRACTIONS, constraints=("cs + fa + ma <= 1", "cs + fa + ma >= 1")),
    "a sum that its lower bounds already reach": space_of(RangeParameter("a", 0.5, 1), RangeParameter("b", 0.5, 1),
                                                           RangeParameter("c", 0, 1), constraints=("a + b == 1",)),
    "redundant constraints": space_of(*FRACTIONS, constraints=("cs + fa + ma == 1", "2*cs + 2*fa + 2*ma == 2", "cs <= 5")),
    "whole numbers in a sum": space_of(*(RangeParameter(n, 0, 10, is_integer=True) for n in "abc"), constraints=("a + b + c == 10",)),
    "whole and broken numbers in a sum": space_of(RangeParameter("a", 0, 10, is_integer=True), RangeParameter("b", 0, 1),
                                                  RangeParameter("c", 0, 9.5), constraints=("a + b + c == 10",)),
    "rare whole numbers": space_of(*(RangeParameter(n, 0, 1000, is_integer=True) for n in "abc"), constraints=("7*a + 11*b + 13*c == 1001",)),
    "logarithmic with a constraint": space_of(RangeParameter("a", 1e-3, 1, is_log=True), RangeParameter("b", 0, 1), constraints=("a + b == 0.8",)),
    "everything": space_of(*FRACTIONS, RangeParameter("t", 60, 180), RangeParameter("n", 1, 9, is_integer=True),
                           RangeParameter("k", 1e-4, 1e2, is_log=True), RangeParameter("m", 1, 1000, is_integer=True, is_log=True),
                           ChoiceParameter("s", ("DMF", "DMSO")), ChoiceParameter("o", (1, 2, 4), is_ordered=True),
                           constraints=("cs + fa + ma == 1", "t + 10*n <= 200")),
    "a disc": space_of(RangeParameter("x", -1, 1), RangeParameter("y", -1, 1), constraints=("x**2 + y**2 <= 1",)),
    "a thin ring": space_of(RangeParameter("x", -1, 1), RangeParameter("y", -1, 1), constraints=("x**2 + y**2 <= 1", "x**2 + y**2 >= 0.999")),
    "where a logarithm is one": space_of(RangeParameter("x", -1, 1), constraints=("log(x) <= -1",)),
    "a corner of a simplex": space_of(*FRACTIONS, constraints=("cs + fa + ma == 1", "cs * fa >= 0.2499")),
    "a product of whole numbers": space_of(*(RangeParameter(n, 1, 100, is_integer=True) for n in "ab"), constraints=("a * b <= 60", "a * b >= 60")),
    "rare whole and broken numbers": space_of(RangeParameter("n", 0, 500, is_integer=True), RangeParameter("x", 0, 1),
                                              ChoiceParameter("s", ("DMF", "DMSO")), constraints=("(n - 250)**2 + (100*x - 50)**2 <= 9",)),
    "a product over decades": space_of(RangeParameter("k", 1e-6, 1, is_log=True), RangeParameter("t", 1, 100), constraints=("k * t <= 1e-4",)),
    "fixed numbers in constraints": space_of(FixedParameter("t", 3), FixedParameter("s", "DMF"), *FRACTIONS,
                                             constraints=("cs + fa + t == 4", "ma * t <= 1", "t <= 3")),
    "only choices": space_of(ChoiceParameter("s", ("DMF", "DMSO")), ChoiceParameter("o", (1, 2, 4), is_ordered=True)),
}


@pytest.mark.parametrize("name", SPACES)
def test_every_point_keeps_all_bounds_and_constraints_exactly(name: str) -> None:
    space = SPACES[name]
    check_feasible(space)
    for values in draw(space, 128):
        assert space.problems(values) == []
        for p in space.ranges:
            assert p.low <= values[p.name] <= p.high
            assert isinstance(values[p.name], int if p.is_integer else float)


@pytest.mark.parametrize("name", SPACES)
def test_the_same_seed_gives_the_same_points_however_they_are_asked_for(name: str) -> None:
    domain = Domain(SPACES[name])
    whole, pieces = Stream(domain, 3), Stream(Domain(SPACES[name]), 3)
    pieces.points(40, 50)
    assert domain.values(whole.points(0, 50))[10:20] == domain.values(pieces.points(10, 20))


def test_another_seed_gives_other_points() -> None:
    assert draw(SPACES["fractions"], seed=0) != draw(SPACES["fractions"], seed=1)


def test_fractions_are_uniform_on_the_simplex() -> None:
    # Each fraction of three has mean 1/3 and P(x > t) = (1 - t)^2.
    points = np.array([[v[n] for n in ("cs", "fa", "ma")] for v in draw(SPACES["fractions"], 4096)])
    assert points.mean(axis=0) == pytest.approx([1 / 3] * 3, abs=0.005)
    assert (points > 0.5).mean(axis=0) == pytest.approx([0.25] * 3, abs=0.01)


def test_what_is_next_to_a_bound_is_on_it_and_the_sum_is_kept() -> None:
    domain = Domain(SPACES["fractions"])
    free = domain.unit(np.array([[2e-16, 0.25, 0.75], [3e-9, 1.0 - 3e-9, 0.0], [2e-8, 0.5, 0.5 - 2e-8]]))[:, domain.polytope.free]
    clean, whole, apart = domain.values(Points(free, np.zeros((3, 0), dtype=int)))
    assert clean == {"cs": 0.0, "fa": 0.25, "ma": 0.75} and whole == {"cs": 0.0, "fa": 1.0, "ma": 0.0}
    assert apart["cs"] == pytest.approx(2e-8, rel=1e-6)


def test_what_constraints_keep_off_a_bound_stays_where_it_is() -> None:
    domain = Domain(space_of(RangeParameter("a", 0, 1), RangeParameter("b", 0, 1), constraints=("a >= 0.000000005",)))
    point, = domain.values(Points(np.array([[6e-9, 0.3]]), np.zeros((1, 0), dtype=int)))
    assert point == {"a": pytest.approx(6e-9), "b": 0.3}


def test_a_walk_through_a_thin_slice_is_uniform() -> None:
    # Six numbers under a sum of 0.05: the mean of each is 0.05 / 7.
    points = np.array([list(v.values()) for v in draw(SPACES["a thin slice"], 4096)])
    assert points.mean(axis=0) == pytest.approx([0.05 / 7] * 6, rel=0.1)


def test_whole_numbers_and_choices_get_equal_shares() -> None:
    space = space_of(RangeParameter("n", 1, 4, is_integer=True), ChoiceParameter("s", ("a", "b")))
    drawn = draw(space, 256)
    counts = {(n, s): sum(v["n"] == n and v["s"] == s for v in drawn) for n in range(1, 5) for s in "ab"}
    assert all(abs(count - 32) <= 4 for count in counts.values())


def test_a_logarithmic_parameter_is_spread_over_its_decades() -> None:
    drawn = draw(space_of(RangeParameter("k", 1e-4, 1, is_log=True)), 256)
    decades = np.floor([np.log10(v["k"]) for v in drawn])
    assert [int((decades == d).sum()) for d in (-4, -3, -2, -1)] == pytest.approx([64] * 4, abs=2)


def test_early_points_fill_the_space_better_than_chance() -> None:
    # Largest gap of 16 points on [0, 1]: at most 2/16 for Sobol points, 0.21 on average for random ones.
    drawn = sorted(v["x"] for v in draw(space_of(RangeParameter("x", 0, 1)), 16))
    assert np.diff([0.0, *drawn, 1.0]).max() <= 0.125


def test_all_points_of_a_small_space_are_listed() -> None:
    domain = Domain(SPACES["whole numbers in a sum"])
    everything = every_point(domain)
    assert everything is not None
    listed = domain.values(everything)
    assert len(listed) == 66
    assert all(domain.space.problems(v) == [] for v in listed)


def test_points_of_a_large_space_are_not_listed() -> None:
    assert every_point(Domain(SPACES["fractions"])) is None


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_random_spaces_with_a_known_point_give_only_allowed_points(data: st.DataObject) -> None:
    n = data.draw(st.integers(2, 5))
    names = "abcde"[:n]
    lows = data.draw(st.lists(st.floats(-50, 50), min_size=n, max_size=n))
    widths = data.draw(st.lists(st.floats(0.1, 100), min_size=n, max_size=n))
    known = [low + width * data.draw(st.floats(0, 1)) for low, width in zip(lows, widths, strict=True)]
    parameters = tuple(RangeParameter(name, low, low + width) for name, low, width in zip(names, lows, widths, strict=True))
    constraints = []
    for operator in data.draw(st.lists(st.sampled_from(["<=", ">=", "=="]), min_size=1, max_size=3)):
        weights = data.draw(st.lists(st.sampled_from([-2.0, -1.0, 0.5, 1.0, 1.0, 1.0, 3.0]), min_size=n, max_size=n))
        bound = sum(w * k for w, k in zip(weights, known, strict=True))
        constraints.append(LinearConstraint(tuple(zip(names, weights, strict=True)), operator, bound))
    space = Space(parameters, tuple(constraints))
    check_feasible(space)
    for values in draw(space, 16):
        assert space.problems(values) == []


@pytest.mark.parametrize("low", [0.0, 5.0, -50.0])
def test_an_equality_that_leaves_less_than_rounding_sees_is_kept(low: float) -> None:
    names = "abcde"
    space = Space(tuple(RangeParameter(name, low, low + 100.0) for name in names),
                  (LinearConstraint(tuple((name, -2.0) for name in names), "==", -10.0 * low - 2e-7),))
    for values in draw(space, 16):
        assert space.problems(values) == []


def test_constraints_that_cannot_be_met_are_named_and_the_innocent_are_not() -> None:
    space = space_of(*FRACTIONS, constraints=("cs + fa + ma == 1", "cs <= 0.9", "fa + ma >= 0.5", "cs >= 0.8"))
    with pytest.raises(ValueError, match=r"fa \+ ma >= 0.5") as caught:
        check_feasible(space)
    assert "cs >= 0.8" in str(caught.value)
    assert "cs <= 0.9" not in str(caught.value)


def test_a_sum_out_of_reach_of_the_bounds_is_refused() -> None:
    with pytest.raises(ValueError, match=r"cs \+ fa \+ ma == 4: cannot be met within cs 0..1, fa 0..1, ma 0..1"):
        check_feasible(space_of(*FRACTIONS, constraints=("cs + fa + ma == 4",)))


def test_an_equation_that_no_whole_numbers_solve_is_refused() -> None:
    whole = [RangeParameter(n, 0, 10, is_integer=True) for n in "ab"]
    with pytest.raises(ValueError, match=r"2\*a \+ 4\*b == 7: cannot be met within a 0..10 \(whole\)"):
        check_feasible(space_of(*whole, constraints=("2*a + 4*b == 7",)))


@pytest.mark.parametrize("parameters, constraints", [
    ([RangeParameter("a", 0, 1), RangeParameter("b", 0, 1)], ("a * b >= 2",)),
    ([RangeParameter("a", 0, 1), RangeParameter("b", 0, 1)], ("log(a - 2) <= b",)),
    ([RangeParameter("a", 2, 100, is_integer=True), RangeParameter("b", 2, 100, is_integer=True)], ("a * b <= 61", "a * b >= 61")),
    ([RangeParameter("a", 0, 1), FixedParameter("b", 3)], ("a * b >= 3.1",)),
])
def test_constraints_of_any_shape_that_leave_nothing_are_refused(parameters: list[Parameter], constraints: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="no point was found that keeps them all within a .*; allowed: constraints that leave at least one point"):
        check_feasible(space_of(*parameters, constraints=constraints))


def test_what_is_fixed_is_named_where_constraints_cannot_be_met() -> None:
    with pytest.raises(ValueError, match=r"cs \+ t == 2: cannot be met within cs 0..1, t fixed to 3"):
        check_feasible(space_of(FRACTIONS[0], FixedParameter("t", 3), constraints=("cs + t == 2",)))


def test_a_walk_among_what_is_allowed_is_uniform() -> None:
    # A disc of a hundredth of the square, in which the mean square of a coordinate is a quarter of that of the radius.
    drawn = draw(space_of(RangeParameter("x", -20, 20), RangeParameter("y", -20, 20), constraints=("x**2 + y**2 <= 1",)), 2048)
    x = np.array([list(v.values()) for v in drawn])
    assert x.mean(axis=0) == pytest.approx([0.0, 0.0], abs=0.05)
    assert (x ** 2).mean(axis=0) == pytest.approx([0.25, 0.25], abs=0.02)


def test_all_points_of_a_small_space_that_keep_a_product_are_listed() -> None:
    everything = every_point(Domain(SPACES["a product of whole numbers"]))
    assert everything is not None
    assert len(everything) == 12


def test_a_space_in_which_all_is_fixed_has_one_point() -> None:
    assert draw(space_of(FixedParameter("t", 3), FixedParameter("s", "DMF")), 1) == [{"t": 3, "s": "DMF"}]


def test_a_domain_without_a_point_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be met together"):
        Domain(space_of(*FRACTIONS, constraints=("cs + fa + ma == 1", "cs + fa + ma == 2")))


def test_a_space_of_one_point_gives_that_point() -> None:
    assert draw(space_of(RangeParameter("a", 0, 1), RangeParameter("b", 0, 1), constraints=("a + b == 2",)), 1) == [{"a": 1.0, "b": 1.0}]


def test_a_stream_that_finds_nothing_says_so() -> None:
    space = space_of(*(RangeParameter(n, 0, 10, is_integer=True) for n in "ab"), constraints=("2*a + 4*b == 7",))
    with pytest.raises(OptimizerError, match="whole numbers"):
        Stream(Domain(space), 0).points(0, 1)
