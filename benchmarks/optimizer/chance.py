"""The engine ``random``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.optimizer.problem import Chosen, Problem
from lab.core.space import ChoiceParameter, Value
from lab.core.trial import Suggestion, Trial


class Chance:
    """Uniform points; fractions that sum to a total uniformly on their simplex (Devroye 1986, V.2.1); untried rows of a pool."""

    has_pools = True

    def __init__(self, problem: Problem, seed: int) -> None:
        self._problem = problem
        self._chance = np.random.default_rng(seed)

    def suggest(self, trials: Sequence[Trial]) -> Suggestion:
        """See `benchmarks.optimizer.engines.Engine`."""
        pool = self._problem.pool
        if pool is not None:
            tried = {pool.index(trial.point) for trial in trials}
            return Suggestion(pool.rows[int(self._chance.choice([k for k in range(len(pool.rows)) if k not in tried]))], "random")
        values = {p.name: self._draw(p) for p in self._problem.parameters}
        for constraint in self._problem.constraints:
            shares = self._chance.dirichlet(np.ones(len(constraint.names)))
            values.update({name: float(share * constraint.bound) for name, share in zip(constraint.names, shares, strict=True)})
        return Suggestion(values, "random")

    def _draw(self, parameter: Chosen) -> Value:
        if isinstance(parameter, ChoiceParameter):
            return parameter.values[int(self._chance.integers(len(parameter.values)))]
        if parameter.is_integer:
            return int(self._chance.integers(int(parameter.low), int(parameter.high) + 1))
        if parameter.is_log:
            return float(np.exp(self._chance.uniform(np.log(parameter.low), np.log(parameter.high))))
        return float(self._chance.uniform(parameter.low, parameter.high))
