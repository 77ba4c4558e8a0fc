"""BoFire: SoboStrategy for one objective, MoboStrategy for several, at their defaults, after random points (RandomStrategy).

- It begins with as many random points as a campaign of Labwright does.
- A failed sample is told as an experiment that is not valid, and stays a pending candidate, the one way to keep it from being asked for at once;
  trials under way are pending candidates, too.
- It is told no standard errors (its surrogates take none) and knows no pools.
- It has no logarithmic scale: such a parameter is given as its decimal logarithm.
- A limit is an output with a sigmoid objective, as BoFire has it for constraints.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import bofire.strategies.api as strategies
import pandas as pd
from bofire.data_models.constraints.api import LinearEqualityConstraint, LinearInequalityConstraint
from bofire.data_models.domain.api import Domain
from bofire.data_models.features.api import CategoricalInput, ContinuousInput, ContinuousOutput, DiscreteInput
from bofire.data_models.objectives.api import (
    MaximizeObjective,
    MaximizeSigmoidObjective,
    MinimizeObjective,
    MinimizeSigmoidObjective,
)
from bofire.data_models.strategies.api import MoboStrategy, RandomStrategy, SoboStrategy

from benchmarks.optimizer.linear import bounds, given, taken
from benchmarks.optimizer.problem import Chosen, Problem
from benchmarks.optimizer.told import Told
from lab.core.question import FEWEST_INITIAL
from lab.core.space import ChoiceParameter, LinearConstraint
from lab.core.trial import Suggestion, Trial

FEWEST = 2
"""Outcomes that its strategies need."""

STEEPNESS = 1000.0
"""Of the sigmoid at a limit, per unit of the outcome: all but a step."""


class Bofire:
    """See `benchmarks.optimizer.engines.Engine`."""

    has_pools = False

    def __init__(self, problem: Problem, seed: int) -> None:
        warnings.filterwarnings("ignore", module="bofire")
        self._parameters, self._told = problem.parameters, Told()
        domain = _domain(problem)
        self._outputs = domain.outputs.get_keys()
        self._n_first = 0 if problem.starts(seed) else FEWEST_INITIAL
        self._first = strategies.map(RandomStrategy(domain=domain, seed=seed)).ask(4 * FEWEST_INITIAL)
        self._strategy = strategies.map(MoboStrategy(domain=domain, seed=seed, ref_point=dict(problem.reference)) if problem.also
                                        else SoboStrategy(domain=domain, seed=seed))

    def suggest(self, trials: Sequence[Trial]) -> Suggestion:
        """See `benchmarks.optimizer.engines.Engine`."""
        if len(trials) < self._n_first or sum(trial.outcome is not None for trial in trials) < FEWEST:
            return Suggestion(taken(self._parameters, self._first.iloc[len(trials)].to_dict()), "bofire (random)")
        told = [self._experiment(trial) for trial in self._told.news(trials)]
        if told:
            self._strategy.tell(pd.DataFrame(told))
        pending = [given(self._parameters, trial.point) for trial in trials if trial.outcome is None]
        if pending:
            self._strategy.set_candidates(pd.DataFrame(pending))
        else:
            self._strategy.reset_candidates()
        return Suggestion(taken(self._parameters, self._strategy.ask(1).iloc[0].to_dict()), "bofire")

    def _experiment(self, trial: Trial) -> dict[str, Any]:
        row: dict[str, Any] = dict(given(self._parameters, trial.point))
        for name in self._outputs:
            row[name] = 0.0 if trial.outcome is None else trial.outcome.measured[name].mean
            row[f"valid_{name}"] = trial.outcome is not None
        return row


def _domain(problem: Problem) -> Domain:
    outputs = [ContinuousOutput(key=name, objective=MaximizeObjective(w=1.0) if goal == "maximize" else MinimizeObjective(w=1.0))
               for name, goal in problem.goals.items()]
    limit = problem.outcome_limit
    if limit is not None:
        kind = MinimizeSigmoidObjective if limit.operator == "<=" else MaximizeSigmoidObjective
        outputs.append(ContinuousOutput(key=limit.names[0], objective=kind(w=1.0, steepness=STEEPNESS, tp=limit.bound)))
    return Domain.from_lists(inputs=[_input(p) for p in problem.parameters], outputs=outputs,
                             constraints=[_constraint(c) for c in problem.constraints])


def _input(parameter: Chosen) -> ContinuousInput | DiscreteInput | CategoricalInput:
    if isinstance(parameter, ChoiceParameter):
        if isinstance(parameter.values[0], str):
            return CategoricalInput(key=parameter.name, categories=list(parameter.values))
        return DiscreteInput(key=parameter.name, values=[float(v) for v in parameter.values])
    if parameter.is_integer:
        return DiscreteInput(key=parameter.name, values=[float(v) for v in range(int(parameter.low), int(parameter.high) + 1)])
    return ContinuousInput(key=parameter.name, bounds=bounds(parameter))


def _constraint(constraint: LinearConstraint) -> LinearEqualityConstraint | LinearInequalityConstraint:
    names, coefficients = list(constraint.names), [c for _, c in constraint.coefficients]
    if constraint.operator == "==":
        return LinearEqualityConstraint(features=names, coefficients=coefficients, rhs=constraint.bound)
    sign = 1.0 if constraint.operator == "<=" else -1.0
    return LinearInequalityConstraint(features=names, coefficients=[sign * c for c in coefficients], rhs=sign * constraint.bound)
