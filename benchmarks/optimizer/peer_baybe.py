"""BayBE, a campaign with its default recommender.

- Its continuous parameters have no logarithmic scale: such a parameter is given as its decimal logarithm.
- It is told no standard errors and no failures. A failed point is given as a pending experiment, the one way to keep it from
  being suggested again at once.
- Numbers of an ordered choice are a discrete numerical parameter, those of an unordered one a category.
- A pool is its search space (SearchSpace.from_dataframe).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from baybe import Campaign
from baybe.constraints import ContinuousLinearConstraint
from baybe.parameters import CategoricalParameter, NumericalContinuousParameter, NumericalDiscreteParameter
from baybe.searchspace import SearchSpace
from baybe.targets import NumericalTarget

from benchmarks.optimizer.problems import OUTCOME, Problem, Values
from lab.core.space import ChoiceParameter, Parameter, RangeParameter, Space, Value
from lab.core.trial import Suggestion, Trial


class Baybe:
    """See `benchmarks.optimizer.engines.Engine`."""

    has_pools = True

    def __init__(self, problem: Problem, seed: int) -> None:
        # It draws from the generators of the process.
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        self._space = problem.campaign("sobol", seed).space
        self._pool = problem.pool
        self._campaign = Campaign(_search_space(problem, self._space), NumericalTarget(OUTCOME, minimize=problem.goal == "minimize"))

    def suggest(self, trials: Sequence[Trial]) -> Suggestion:
        """See `benchmarks.optimizer.engines.Engine`."""
        if trials and trials[-1].outcome is not None:
            told = {**self._to_baybe(trials[-1].point), OUTCOME: trials[-1].outcome.measured[OUTCOME].mean}
            self._campaign.add_measurements(pd.DataFrame([told]), numerical_measurements_must_be_within_tolerance=False)
        failed = pd.DataFrame([self._to_baybe(trial.point) for trial in trials if trial.outcome is None])
        found = self._campaign.recommend(1, pending_experiments=failed if len(failed) else None)
        return Suggestion(self._from_baybe(found.iloc[0].to_dict()), "baybe")

    def _to_baybe(self, values: Values) -> dict[str, Value]:
        return {p.name: math.log10(float(values[p.name])) if _is_log(p) else values[p.name] for p in self._space.parameters}

    def _from_baybe(self, row: dict[str, Any]) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for p in self._space.parameters:
            given = row[p.name]
            if isinstance(p, ChoiceParameter):
                found[p.name] = given if isinstance(given, str) else min(p.values, key=lambda v, given=given: abs(v - given))  # type: ignore[misc]
            elif p.is_integer:
                found[p.name] = round(given)
            else:
                found[p.name] = float(np.clip(10.0 ** given if p.is_log else given, p.low, p.high))
        if self._pool is None or self._pool.index(found) is not None:
            return found
        # Through float32 and back: the row that is meant is the one at no distance.
        return self._pool.rows[self._pool.nearest(found, ())[0]]


def _is_log(parameter: Parameter) -> bool:
    return isinstance(parameter, RangeParameter) and parameter.is_log


def _search_space(problem: Problem, space: Space) -> SearchSpace:
    if problem.pool is not None:
        table = pd.DataFrame(list(problem.pool.rows))
        columns = [CategoricalParameter(name, sorted(set(table[name]))) if isinstance(problem.pool.rows[0][name], str)
                   else NumericalDiscreteParameter(name, sorted(set(table[name]))) for name in table]
        return SearchSpace.from_dataframe(table, columns)
    constraints = [ContinuousLinearConstraint(parameters=list(c.names), operator="=" if c.operator == "==" else c.operator,
                                              coefficients=[k for _, k in c.coefficients], rhs=c.bound) for c in space.constraints]
    return SearchSpace.from_product([_parameter(p) for p in space.parameters], constraints)


def _parameter(parameter: Parameter) -> Any:
    if isinstance(parameter, ChoiceParameter):
        if parameter.is_ordered and not isinstance(parameter.values[0], str):
            return NumericalDiscreteParameter(parameter.name, parameter.values)
        return CategoricalParameter(parameter.name, parameter.values)
    if parameter.is_integer:
        return NumericalDiscreteParameter(parameter.name, range(int(parameter.low), int(parameter.high) + 1))
    low, high = (math.log10(parameter.low), math.log10(parameter.high)) if parameter.is_log else (parameter.low, parameter.high)
    return NumericalContinuousParameter(parameter.name, (low, high))
