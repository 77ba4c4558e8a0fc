"""Optuna, its Gaussian process sampler (optuna.samplers.GPSampler), the rest at its defaults.

- It knows no constraints between parameters, no standard errors and no pools.
- A failed trial is told as failed; the sampler looks at completed trials only.
- What was executed differently than suggested (a pool's nearest row) is told as a trial of its own, the suggested one as failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna

from benchmarks.optimizer.problems import OUTCOME, Problem
from lab.core.space import ChoiceParameter, Parameter
from lab.core.trial import Suggestion, Trial


class Optuna:
    """See `benchmarks.optimizer.engines.Engine`."""

    has_pools = False

    def __init__(self, problem: Problem, seed: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        space = problem.campaign("sobol", seed).space
        self._distributions = {p.name: _distribution(p) for p in space.parameters}
        self._study = optuna.create_study(direction=problem.goal, sampler=optuna.samplers.GPSampler(seed=seed))
        self._asked: Any = None

    def suggest(self, trials: Sequence[Trial]) -> Suggestion:
        """See `benchmarks.optimizer.engines.Engine`."""
        if trials:
            self._tell(trials[-1])
        self._asked = self._study.ask(self._distributions)
        return Suggestion(dict(self._asked.params), "optuna")

    def _tell(self, trial: Trial) -> None:
        if trial.outcome is None:
            self._study.tell(self._asked, state=optuna.trial.TrialState.FAIL)
            return
        value = trial.outcome.measured[OUTCOME].mean
        if dict(trial.point) == dict(trial.planned):
            self._study.tell(self._asked, value)
            return
        self._study.tell(self._asked, state=optuna.trial.TrialState.FAIL)
        self._study.add_trial(optuna.trial.create_trial(params=dict(trial.point), distributions=self._distributions, value=value))


def _distribution(parameter: Parameter) -> Any:
    if isinstance(parameter, ChoiceParameter):
        return optuna.distributions.CategoricalDistribution(parameter.values)
    if parameter.is_integer:
        return optuna.distributions.IntDistribution(int(parameter.low), int(parameter.high), log=parameter.is_log)
    return optuna.distributions.FloatDistribution(parameter.low, parameter.high, log=parameter.is_log)
