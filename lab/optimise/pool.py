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

N_LEARNED_FROM = 2000
"""Rows, drawn by chance, that stand for all where it is asked how near others are."""

NEAR = 0.1
"""Rows are near when their squared distance is this much of the mean one."""


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
        self._crowd = lru_cache(maxsize=4)(self._find_crowd)

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

    def spread(self, untried: Array, n: int, seed: int) -> Array:
        """`n` of the `untried` rows, or all of them if there are fewer, before there is a model: int, shape (n,).

        Each is the row that, with those that were taken before it, stands best for the whole pool (kernel herding: Chen, Welling and Smola
        2010, arXiv:1203.3472): near to many rows, and far from those that were taken. So every value of a choice has its turn. The first, and
        which of several that are alike, is left to chance.

        Parameters
        ----------
        untried : ndarray of int, shape (k,)
        seed : int
        """
        is_open = np.zeros(len(self), dtype=bool)
        is_open[untried] = True
        crowd, nearness = self._crowd(seed)
        lot = np.random.default_rng(seed).permutation(len(self))
        taken = np.flatnonzero(~is_open)
        near = np.zeros(len(self))
        for part in np.array_split(taken, max(1, len(taken) // 64)):
            near += np.exp(-nearness * cdist(self.x, self.x[part], "sqeuclidean")).sum(axis=1)
        chosen: list[int] = []
        for n_taken in range(len(taken), len(taken) + min(n, len(untried))):
            worth = np.where(is_open, (crowd - near / (n_taken + 1)).round(9) if n_taken else 0.0, -np.inf)
            row = int(lot[np.argmax(worth[lot])])
            chosen.append(row)
            is_open[row] = False
            near += np.exp(-nearness * ((self.x - self.x[row]) ** 2).sum(axis=1))
        return np.array(chosen, dtype=int)

    def _key(self, values: Mapping[str, Value]) -> tuple[Value | None, ...]:
        return tuple(values.get(name) for name in self._columns)

    def _find_crowd(self, seed: int) -> tuple[Array, float]:
        """How near each row is to all rows on average, shape (n,), and how fast nearness falls with the squared distance."""
        some = self.x[np.sort(np.random.default_rng(seed).permutation(len(self))[:N_LEARNED_FROM])]
        parts = np.array_split(np.arange(len(self)), max(1, len(self) // ROWS_AT_ONCE))
        mean = float(np.mean([cdist(self.x[part], some, "sqeuclidean").mean() for part in parts]))
        nearness = 1.0 / (NEAR * mean) if mean > 0.0 else 0.0
        return np.concatenate([np.exp(-nearness * cdist(self.x[part], some, "sqeuclidean")).mean(axis=1) for part in parts]), nearness


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
