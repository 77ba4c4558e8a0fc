"""A pool: the only points that can be tried are the rows of a table.

A row is suggested exactly as it stands in the table, and once. What is left of the table after the constraints is looked at as a whole before
every sample, so that there is nothing to search: the best row is the best row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from scipy.spatial.distance import cdist

from lab.core.errors import OptimizerError
from lab.core.question import Table
from lab.core.space import Value
from lab.core.trial import Trial
from lab.optimise.domain import Domain
from lab.optimise.gaussian import ModelFailed
from lab.optimise.polytope import Array
from lab.optimise.terms import Acquisition

ROWS_AT_ONCE = 4096
"""Rows per call of the acquisition function: bounds its memory."""

N_BEST = 4
"""How many of the best rows are told."""

N_LEARNED_FROM, N_ROUNDS = 4000, 20
"""Of the search for rows that stand for the others: most rows that it looks at, and its rounds."""


class Pool:
    """Rows that can be tried.

    Parameters
    ----------
    domain : Domain
    table : Table
        Checked (`lab.core.table.check_candidates`).

    Raises
    ------
    ValueError
        When no row keeps all constraints.
    """

    def __init__(self, domain: Domain, table: Table) -> None:
        self._columns = table.columns
        fixed = {p.name: p.value for p in domain.space.fixed}
        rows: list[dict[str, Value]] = [fixed | dict(record) for record in table.records()]
        if domain.space.all_constraints:
            rows = [row for row in rows if all(c.is_met(row) for c in domain.space.all_constraints)]
        if not rows:
            raise ValueError(f"candidates: given {len(table.rows)} rows, none of which keeps {'; '.join(map(str, domain.space.all_constraints))}; "
                             f"allowed: at least one that does")
        self.rows: tuple[Mapping[str, Value], ...] = tuple({name: row[name] for name in domain.space.names} for row in rows)
        """Those that keep all constraints, in the order of the table, every value as it stands there."""
        self.x: Array = domain.encode_rows(self.rows)
        """Their model coordinates, shape (n, columns)."""
        self.remark: str = "" if len(rows) == len(table.rows) else f"constraints leave {len(rows)} of {len(table.rows)} candidates"
        """What a person should know; mostly empty."""
        self._row_of = {self._key(row): k for k, row in enumerate(self.rows)}
        self._medoids = lru_cache(maxsize=4)(self._find_medoids)

    def __len__(self) -> int:
        return len(self.rows)

    def untried(self, trials: Sequence[Trial]) -> Array:
        """Rows that no trial in any state has planned, in order: int, shape (k,).

        Raises
        ------
        OptimizerError
            When there is none.
        """
        is_open = np.ones(len(self), dtype=bool)
        for trial in trials:
            row = self._row_of.get(self._key(trial.planned))
            if row is not None:
                is_open[row] = False
        if not is_open.any():
            raise OptimizerError(f"all {len(self)} candidates have been tried, failed or are under way; add candidates, or end the campaign")
        return np.flatnonzero(is_open)

    def spread(self, untried: Array, n: int, n_initial: int, seed: int) -> Array:
        """`n` of the `untried` rows, or all of them if there are fewer, before there is a model: int, shape (n,).

        First those that stand for all others (medoids of as many clusters as there are initial trials), then whichever is farthest from all
        that were taken before.

        Parameters
        ----------
        untried : ndarray of int, shape (k,)
        n_initial : int
            ``optimizer.initial``.
        seed : int
        """
        is_open = np.zeros(len(self), dtype=bool)
        is_open[untried] = True
        chosen = [row for row in self._medoids(n_initial, seed) if is_open[row]][:n]
        is_open[chosen] = False
        taken = self.x[~is_open]
        near = np.full(len(self), np.inf)
        for part in np.array_split(taken, max(1, len(taken) // 64)):
            if len(part):
                near = np.minimum(near, cdist(self.x, part).min(axis=1))
        while len(chosen) < min(n, len(untried)):
            row = int(np.argmax(np.where(is_open, near, -1.0)))
            chosen.append(row)
            is_open[row] = False
            near = np.minimum(near, np.linalg.norm(self.x - self.x[row], axis=1))
        return np.array(chosen, dtype=int)

    def _key(self, values: Mapping[str, Value]) -> tuple[Value | None, ...]:
        return tuple(values.get(name) for name in self._columns)

    def _find_medoids(self, n: int, seed: int) -> tuple[int, ...]:
        """Rows nearest to the centres of `n` clusters (Lloyd 1982, doi:10.1109/TIT.1982.1056489; begun as by Arthur and Vassilvitskii 2007)."""
        rng = np.random.default_rng(seed)
        some = np.sort(rng.permutation(len(self))[:N_LEARNED_FROM])
        x = self.x[some]
        centres = x[[int(rng.integers(len(x)))]]
        while len(centres) < min(n, len(x)):
            near = cdist(x, centres).min(axis=1) ** 2
            if not near.sum() > 0.0:
                break
            centres = np.vstack([centres, x[rng.choice(len(x), p=near / near.sum())]])
        for _ in range(N_ROUNDS):
            owner = cdist(x, centres).argmin(axis=1)
            moved = np.array([x[owner == k].mean(axis=0) if (owner == k).any() else centre for k, centre in enumerate(centres)])
            if np.array_equal(moved, centres):
                break
            centres = moved
        return tuple(dict.fromkeys(int(some[k]) for k in cdist(centres, x).argmin(axis=1)))


def seek_in_pool(pool: Pool, acquisition: Acquisition, untried: Array) -> tuple[Array, Array]:
    """The best of the `untried` rows.

    Parameters
    ----------
    untried : ndarray of int, shape (k,)
        At least one (`Pool.untried`).

    Returns
    -------
    rows : ndarray of int, shape (n,)
        At least one, at most `N_BEST`, the best first.
    values : ndarray, shape (n,)
        Of the acquisition function.

    Raises
    ------
    ModelFailed
        When none has a finite value.
    """
    parts = np.split(untried, range(ROWS_AT_ONCE, len(untried), ROWS_AT_ONCE))
    values = np.concatenate([acquisition.values(pool.x[part]) for part in parts])
    best = np.argsort(-values, kind="stable")[:N_BEST]
    best = best[np.isfinite(values[best])]
    if not len(best):
        raise ModelFailed("no candidate has a value")
    return untried[best], values[best]
