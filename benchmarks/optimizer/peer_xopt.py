"""Xopt: its generator for one objective (expected improvement), for several (MOBO), or under drift (time-dependent expected improvement).

- It begins with random points, as its Xopt.random_evaluate() does; as many as a campaign of Labwright begins with.
- The five seconds of wall time that it gives to the search for a point are lifted: on a busy machine they would count against it.
- A failed sample is a row without its outcome, as Xopt itself files it when it is not strict; the model leaves it out.
- A told standard error is the column ``y_var``, an exact measurement has none.
- It knows no trials under way (its AsynchronousXopt asks as for one), no pools, no names and no sums.
- A limit is a constraint of its own, and the trust region its SafetyTurboController. Where changes are slow, its ``max_travel_distances``
  hold the parameter to a tenth of its range a step.
- Its time-dependent generator looks at the wall clock: it is given the laboratory's instead.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from xopt.generators.bayesian import ExpectedImprovementGenerator, MOBOGenerator, time_dependent
from xopt.generators.bayesian.expected_improvement import TDExpectedImprovementGenerator
from xopt.numerical_optimizer import LBFGSOptimizer
from xopt.vocs import VOCS, random_inputs

from benchmarks.optimizer.linear import bounds, given, taken
from benchmarks.optimizer.problem import OUTCOME, Problem, Values
from benchmarks.optimizer.told import Told
from lab.core.question import FEWEST_INITIAL
from lab.core.space import ChoiceParameter
from lab.core.trial import Suggestion, Trial

STEP = 0.1
"""Of a range, at most, where a change takes time."""

FEWEST = 2
"""Outcomes that a model needs."""


class LaboratoryClock:
    """Stands for the module ``time`` in Xopt's time-dependent generator; what it sleeps away passes at once.

    Attributes
    ----------
    now_s : float
        Laboratory seconds since the start.
    """

    def __init__(self) -> None:
        self.now_s = 0.0

    def time(self) -> float:
        """Laboratory seconds."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Let them pass."""
        self.now_s += seconds


class Xopt:
    """See `benchmarks.optimizer.engines.Engine` and `Recommending`."""

    has_pools = False

    def __init__(self, problem: Problem, seed: int) -> None:
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        self._parameters, self._goals, self._told, self._clock = problem.parameters, problem.goals, Told(), LaboratoryClock()
        self._vocs = _vocs(problem)
        self._first = [dict(zip(self._vocs.variable_names, row, strict=True)) for row in
                       pd.DataFrame(random_inputs(self._vocs, n=4 * FEWEST_INITIAL, seed=seed))[self._vocs.variable_names].to_numpy()]
        self._n_first = 0 if problem.starts(seed) else FEWEST_INITIAL
        self._is_drifting = "drift" in problem.settings
        if self._is_drifting:
            time_dependent.time = self._clock
        self._generator = _generator(problem, self._vocs)

    def suggest(self, trials: Sequence[Trial]) -> Suggestion:
        """See `benchmarks.optimizer.engines.Engine`."""
        self._tell(trials)
        n_done = sum(trial.outcome is not None for trial in trials)
        if len(trials) < self._n_first or n_done < FEWEST:
            return Suggestion(taken(self._parameters, self._first[len(trials)]), "xopt (random)")
        found, = self._generator.generate(1)
        return Suggestion(taken(self._parameters, found), "xopt")

    def recommend(self, trials: Sequence[Trial]) -> Values:
        """The measured point of the best expected outcome by its model, at the present time.

        Its own get_optimum() knows nothing of the time-dependent model's further column.
        """
        self._tell(trials)
        done = [trial for trial in trials if trial.outcome is not None]
        rows = [[float(given(self._parameters, trial.point)[name]) for name in self._vocs.variable_names] for trial in done]
        X = torch.tensor(rows, dtype=torch.double)
        if self._is_drifting:
            X = torch.cat([X, torch.full((len(X), 1), self._clock.now_s, dtype=torch.double)], dim=1)
        model = self._generator.train_model()
        with torch.no_grad():
            expected = model.posterior(X).mean[:, 0].numpy()
        return done[int(expected.argmax() if self._goals[OUTCOME] == "maximize" else expected.argmin())].point

    def _tell(self, trials: Sequence[Trial]) -> None:
        rows = []
        for trial in self._told.news(trials):
            row: dict[str, Any] = {**given(self._parameters, trial.point), "time": trial.ended_lab_s}
            for name in self._vocs.output_names:
                measured = None if trial.outcome is None else trial.outcome.measured[name]
                row[name] = np.nan if measured is None else measured.mean
                if measured is not None and measured.sem:
                    row[f"{name}_var"] = measured.sem ** 2
            rows.append(row)
            self._clock.now_s = max(self._clock.now_s, trial.ended_lab_s or 0.0)
        if rows:
            self._generator.add_data(pd.DataFrame(rows))


def _vocs(problem: Problem) -> VOCS:
    variables: dict[str, Any] = {}
    for p in problem.parameters:
        if isinstance(p, ChoiceParameter):
            variables[p.name] = {float(v) for v in p.values}
        elif p.is_integer:
            variables[p.name] = {float(v) for v in range(int(p.low), int(p.high) + 1)}
        else:
            variables[p.name] = list(bounds(p))
    limit = problem.outcome_limit
    constraints = {} if limit is None else {limit.names[0]: ["LESS_THAN" if limit.operator == "<=" else "GREATER_THAN", limit.bound]}
    return VOCS(variables=variables, objectives={name: goal.upper() for name, goal in problem.goals.items()}, constraints=constraints)


def _generator(problem: Problem, vocs: VOCS) -> Any:
    more: dict[str, Any] = {"vocs": vocs, "numerical_optimizer": LBFGSOptimizer(max_time=None)}
    if problem.also:
        return MOBOGenerator(reference_point=dict(problem.reference), **more)
    if "drift" in problem.settings:
        return TDExpectedImprovementGenerator(**more)
    if "safety" in problem.settings:
        more["turbo_controller"] = "safety"
    if "durations" in problem.settings:
        slow = problem.settings["durations"]["change_s"]
        more["max_travel_distances"] = [STEP if name in slow else 1.0 for name in vocs.variable_names]
    return ExpectedImprovementGenerator(**more)
