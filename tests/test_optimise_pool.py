"""A pool: rows of a table, each suggested as it stands and once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from lab.core.errors import OptimizerError
from lab.core.question import Table
from lab.core.space import ChoiceParameter, FixedParameter, RangeParameter, Space, parse_constraint
from lab.core.trial import Trial, TrialState
from lab.optimise.domain import Domain
from lab.optimise.gaussian import ModelFailed
from lab.optimise.polytope import Array
from lab.optimise.pool import Pool, seek_in_pool
from lab.optimise.terms import Acquisition

PARAMETERS = (RangeParameter("a", 0, 10), RangeParameter("b", 0, 10), ChoiceParameter("s", ("DMF", "DMSO")))


def pool_of(rows: Sequence[tuple[float, float, str]], *constraints: str) -> Pool:
    linear = tuple(c for c in (parse_constraint(text, ["a", "b"]) for text in constraints))
    space = Space(PARAMETERS, tuple(c for c in linear if not hasattr(c, "text")), tuple(c for c in linear if hasattr(c, "text")))  # type: ignore[arg-type]
    return Pool(Domain(space), Table(columns=("a", "b", "s"), rows=tuple(rows)))


def grid(n: int) -> list[tuple[float, float, str]]:
    return [(10 * k / n, (7 * k) % n * 10 / n, ("DMF", "DMSO")[k % 2]) for k in range(n)]


def tried(pool: Pool, *rows: int) -> list[Trial]:
    return [Trial(k, TrialState.FAILED, dict(pool.rows[row])) for k, row in enumerate(rows)]


@dataclass(frozen=True)
class Towards:
    """A term that is largest at one place."""

    place: Array

    def values(self, x: Array) -> Array:
        return -((x - self.place) ** 2).sum(axis=1)

    def slope(self, x: Array) -> tuple[float, Array]:
        raise AssertionError("a pool is looked at, not climbed")


class Nowhere(Towards):
    def values(self, x: Array) -> Array:
        return np.full(len(x), -np.inf)


def test_values_are_those_of_the_table() -> None:
    pool = pool_of([(0.1, 3, "DMF"), (0.30000000000000004, 7, "DMSO")])
    assert [dict(row) for row in pool.rows] == [{"a": 0.1, "b": 3, "s": "DMF"}, {"a": 0.30000000000000004, "b": 7, "s": "DMSO"}]
    assert pool.x == pytest.approx(np.array([[0.01, 0.3, 1, 0], [0.03, 0.7, 0, 1]]))


def test_constraints_leave_out_rows_and_that_is_said() -> None:
    pool = pool_of([(1, 2, "DMF"), (9, 9, "DMF"), (1, 9, "DMSO")], "a + b <= 10", "a * b <= 8")
    assert [row["a"] for row in pool.rows] == [1]
    assert pool.remark == "constraints leave 1 of 3 candidates"
    assert pool_of([(1, 2, "DMF")]).remark == ""


def test_a_pool_of_which_constraints_leave_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"given 2 rows, none of which keeps a \+ b <= 1; allowed"):
        pool_of([(1, 2, "DMF"), (9, 9, "DMF")], "a + b <= 1")


def test_what_is_fixed_is_in_every_row() -> None:
    space = Space((*PARAMETERS, FixedParameter("t", 60)))
    assert dict(Pool(Domain(space), Table(columns=("a", "b", "s"), rows=((1, 2, "DMF"),))).rows[0]) == {"a": 1, "b": 2, "s": "DMF", "t": 60}


def test_rows_that_any_trial_has_planned_are_not_open() -> None:
    pool = pool_of(grid(6))
    assert pool.untried(tried(pool, 0, 4)).tolist() == [1, 2, 3, 5]


def test_a_trial_that_is_no_row_closes_none() -> None:
    pool = pool_of(grid(3))
    assert len(pool.untried([Trial(0, TrialState.COMPLETED, {"a": 0.1234, "b": 0, "s": "DMF"})])) == 3


def test_when_all_rows_are_tried_that_is_said() -> None:
    pool = pool_of(grid(3))
    with pytest.raises(OptimizerError, match="all 3 candidates have been tried, failed or are under way; add candidates"):
        pool.untried(tried(pool, 0, 1, 2))


def test_the_best_open_row_is_found_and_the_next_ones_are_told() -> None:
    pool = pool_of(grid(50))
    best, values = seek_in_pool(pool, Acquisition([Towards(pool.x[17])]), np.setdiff1d(np.arange(50), [17]))
    distance = ((pool.x - pool.x[17]) ** 2).sum(axis=1)
    distance[17] = np.inf
    assert best[0] == distance.argmin()
    assert (np.diff(values) <= 0).all()
    assert len(best) == 4


def test_a_pool_without_a_value_is_a_failed_model() -> None:
    pool = pool_of(grid(5))
    with pytest.raises(ModelFailed, match="no candidate has a value"):
        seek_in_pool(pool, Acquisition([Nowhere(pool.x[0])]), np.arange(5))


def test_first_rows_are_spread_over_the_pool_and_depend_on_the_seed_alone() -> None:
    # Four heaps, one row of each stands for it.
    heaps = [(x + dx, y + dy, "DMF") for x in (1, 8) for y in (1, 8) for dx in (0, 0.1, 0.2) for dy in (0, 0.1)]
    pool, again = pool_of(heaps), pool_of(heaps)
    first = pool.spread(np.arange(len(pool)), 4, seed=3)
    assert sorted({(round(float(pool.rows[k]["a"])), round(float(pool.rows[k]["b"]))) for k in first}) == [(1, 1), (1, 8), (8, 1), (8, 8)]
    assert again.spread(np.arange(len(pool)), 4, seed=3).tolist() == first.tolist()


def test_asking_one_by_one_gives_the_rows_of_asking_at_once() -> None:
    pool = pool_of(grid(40))
    at_once = pool.spread(np.arange(40), 6, seed=1).tolist()
    one_by_one: list[int] = []
    for _ in range(6):
        one_by_one.append(int(pool.spread(pool.untried(tried(pool, *one_by_one)), 1, seed=1)[0]))
    assert one_by_one == at_once


@pytest.mark.parametrize("seed", range(5))
def test_every_value_of_a_choice_has_its_turn(seed: int) -> None:
    """Of a full factorial table, no row is nearer to the rest than another: what has been taken decides."""
    bases, ligands = ("K", "Cs", "Na"), tuple("ABCDEF")
    space = Space((ChoiceParameter("base", bases), ChoiceParameter("ligand", ligands), RangeParameter("t", 90, 120)))
    rows = tuple((base, ligand, t) for base in bases for ligand in ligands for t in (90, 105, 120))
    pool = Pool(Domain(space), Table(columns=("base", "ligand", "t"), rows=rows))
    first = [pool.rows[k] for k in pool.spread(np.arange(len(pool)), 6, seed=seed)]
    assert {row["ligand"] for row in first} == set(ligands)
    assert {row["base"] for row in first} == set(bases)


def test_a_spread_over_rows_that_are_all_alike_takes_them_one_after_the_other() -> None:
    pool = pool_of([(1, 1, "DMF")] * 3)
    assert sorted(pool.spread(np.arange(3), 3, seed=0)) == [0, 1, 2]


def test_a_spread_over_more_rows_than_there_are_is_all_of_them() -> None:
    pool = pool_of(grid(5))
    assert sorted(pool.spread(np.arange(5), 9, seed=0)) == [0, 1, 2, 3, 4]
