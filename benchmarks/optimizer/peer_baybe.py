"""BayBE, a campaign with its default recommender.

- Its continuous parameters have no logarithmic scale: such a parameter is given as its decimal logarithm.
- It is told no standard errors, no outcome limits and no failures. A failed point is given as a pending experiment, the one way to keep
  it from being suggested again at once; trials under way are pending experiments, too.
- Several objectives are its ParetoObjective, which infers the reference point itself.
- Numbers of an ordered choice are a discrete numerical parameter, those of an unordered one a category.
- A pool is its search space (SearchSpace.from_dataframe).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from baybe import Campaign
from baybe.constraints import ContinuousLinearConstraint
from baybe.objectives import ParetoObjective
from baybe.parameters import CategoricalParameter, NumericalContinuousParameter, NumericalDiscreteParameter
from baybe.searchspace import SearchSpace
from baybe.targets import NumericalTarget

from benchmarks.optimizer.linear import bounds, given, taken
from benchmarks.optimizer.problem import Chosen, Problem
from benchmarks.optimizer.told import Told
from lab.core.space import ChoiceParameter, Value
from lab.core.trial import Suggestion, Trial


class Baybe:
    """See `benchmarks.optimizer.engines.Engine`."""

    has_pools = True

    def __init__(self, problem: Problem, seed: int) -> None:
        # It draws from the generators of the process.
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        self._parameters, self._pool, self._told = problem.parameters, problem.pool, Told()
        self._goals = list(problem.goals)
        targets = [NumericalTarget(name, minimize=goal == "minimize") for name, goal in problem.goals.items()]
        self._campaign = Campaign(_search_space(problem), targets[0] if len(targets) == 1 else ParetoObjective(targets))

    def suggest(self, trials: Sequence[Trial]) -> Suggestion:
        """See `benchmarks.optimizer.engines.Engine`."""
        told = [{**given(self._parameters, trial.point), **{name: trial.outcome.measured[name].mean for name in self._goals}}
                for trial in self._told.news(trials) if trial.outcome is not None]
        if told:
            self._campaign.add_measurements(pd.DataFrame(told), numerical_measurements_must_be_within_tolerance=False)
        pending = pd.DataFrame([given(self._parameters, trial.point) for trial in trials if trial.outcome is None])
        found = self._campaign.recommend(1, pending_experiments=pending if len(pending) else None)
        return Suggestion(self._from_baybe(found.iloc[0].to_dict()), "baybe")

    def _from_baybe(self, row: dict[str, Any]) -> dict[str, Value]:
        found = taken(self._parameters, row)
        if self._pool is None or self._pool.index(found) is not None:
            return found
        # Through float32 and back: the row that is meant is the one at no distance.
        return self._pool.rows[self._pool.nearest(found, ())[0]]


def _search_space(problem: Problem) -> SearchSpace:
    if problem.pool is not None:
        table = pd.DataFrame(list(problem.pool.rows))
        columns = [CategoricalParameter(name, sorted(set(table[name]))) if isinstance(problem.pool.rows[0][name], str)
                   else NumericalDiscreteParameter(name, sorted(set(table[name]))) for name in table]
        return SearchSpace.from_dataframe(table, columns)
    constraints = [ContinuousLinearConstraint(parameters=list(c.names), operator="=" if c.operator == "==" else c.operator,
                                              coefficients=[k for _, k in c.coefficients], rhs=c.bound) for c in problem.constraints]
    return SearchSpace.from_product([_parameter(p) for p in problem.parameters], constraints)


def _parameter(parameter: Chosen) -> Any:
    if isinstance(parameter, ChoiceParameter):
        if parameter.is_ordered and not isinstance(parameter.values[0], str):
            return NumericalDiscreteParameter(parameter.name, parameter.values)
        return CategoricalParameter(parameter.name, parameter.values)
    if parameter.is_integer:
        return NumericalDiscreteParameter(parameter.name, range(int(parameter.low), int(parameter.high) + 1))
    return NumericalContinuousParameter(parameter.name, bounds(parameter))
