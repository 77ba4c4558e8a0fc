"""What has been tried, and how close to it nothing is suggested again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from lab.core.errors import OptimizerError
from lab.core.space import Value
from lab.core.trial import Trial, TrialState
from lab.optimise.domain import Domain
from lab.optimise.polytope import Array

KEEP_OUT = 1e-3
"""Nothing is suggested nearer than this to a point that failed, was given up or is under way (largest difference of
any coordinate, each scaled to 0..1)."""

SAME = 1e-6
"""Nearer than this to a completed point is a repetition. Closing in on an optimum stays possible."""


MANY = 1000
"""More points than this are kept in trees."""


@dataclass(frozen=True)
class Tried:
    """Points on record in model coordinates.

    Parameters
    ----------
    completed : ndarray, shape (n, columns)
    others : ndarray, shape (m, columns)
        Failed, abandoned, suggested and running ones, planned and executed.
    """

    completed: Array
    others: Array

    @classmethod
    def of(cls, domain: Domain, trials: Sequence[Trial]) -> Tried:
        """Read them from trials.

        Raises
        ------
        OptimizerError
            When a trial holds values that are not of this space.
        """
        done = [t for t in trials if t.state is TrialState.COMPLETED]
        others = [t for t in trials if t.state is not TrialState.COMPLETED]
        return cls(_planned_and_executed(domain, done), _planned_and_executed(domain, others))

    def is_new(self, x: Array) -> Array:
        """Which of `x`, shape (n, columns), may be suggested: bool, shape (n,)."""
        if self._trees is None:
            return (_distance(x, self.completed) > SAME) & (_distance(x, self.others) > KEEP_OUT)
        near = [tree.query(x, distance_upper_bound=np.nextafter(limit, 1.0), p=np.inf)[0] for tree, limit in zip(self._trees, (SAME, KEEP_OUT), strict=True)]
        return np.asarray(np.isinf(near[0]) & np.isinf(near[1]))

    @cached_property
    def _trees(self) -> tuple[KDTree, KDTree] | None:
        """Of many points, trees: whether one of them is as near as that is told without a look at all of them."""
        if len(self.completed) + len(self.others) <= MANY or not self.completed.shape[1]:
            return None
        return KDTree(self.completed, balanced_tree=False), KDTree(self.others, balanced_tree=False)  # balanced, equal columns would take long

    def also(self, x: Array) -> Tried:
        """The same, and `x`, shape (n, columns), under way."""
        return Tried(self.completed, np.vstack([self.others, x]))


def _distance(x: Array, others: Array) -> Array:
    """Largest difference of any coordinate to the nearest of `others`: shape (n,)."""
    if not len(others):
        return np.full(len(x), np.inf)
    if not len(x) or not x.shape[1]:  # nothing to tell points apart by: what is fixed has been tried
        return np.zeros(len(x))
    return np.asarray(cdist(x, others, "chebyshev").min(axis=1))


def encode_trials(domain: Domain, trials: Sequence[Trial], rows: Sequence[Mapping[str, Value]]) -> Array:
    """Model coordinates of the values in `rows`, one for each trial, shape (n, columns).

    Raises
    ------
    OptimizerError
        Naming the first trial whose values are not of this space.
    """
    try:
        return domain.encode_rows(rows)
    except (KeyError, ValueError):
        # Who it was is told one by one: only then does it matter.
        return np.array([encode_trial(domain, trial, values) for trial, values in zip(trials, rows, strict=True)]).reshape(-1, domain.n_columns)


def encode_trial(domain: Domain, trial: Trial, values: Mapping[str, Value]) -> Array:
    """Model coordinates of one trial's values, or an error that names the trial."""
    missing = [name for name in domain.space.names if name not in values]
    if missing:
        raise OptimizerError(f"trial {trial.index}: {', '.join(missing)}: is missing")
    try:
        return domain.encode_values(values)
    except ValueError as error:
        raise OptimizerError(f"trial {trial.index}: {error}") from error


def _planned_and_executed(domain: Domain, trials: Sequence[Trial]) -> Array:
    executed = [t for t in trials if t.executed and t.executed != t.planned]
    return encode_trials(domain, [*trials, *executed], [*(t.planned for t in trials), *(t.point for t in executed)])
