"""Optuna, its Gaussian process sampler (optuna.samplers.GPSampler), the rest at its defaults.

- It knows no constraints between parameters, no standard errors and no pools; an outcome limit is given as its constraints_func.
- A failed trial is told as failed; the sampler looks at completed trials only.
- What was executed differently than suggested (a pool's nearest row) is told as a trial of its own, the suggested one as failed.
- Trials under way stay as they were asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna

from benchmarks.optimizer.problem import Chosen, Problem
from benchmarks.optimizer.told import Told, was_moved
from lab.core.space import ChoiceParameter
from lab.core.trial import Outcome, Suggestion, Trial


class Optuna:
    """See `benchmarks.optimizer.engines.Engine`."""

    has_pools = False

    def __init__(self, problem: Problem, seed: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._distributions = {p.name: _distribution(p) for p in problem.parameters}
        self._goals, self._limit, self._told = problem.goals, problem.outcome_limit, Told()
        limited = {} if self._limit is None else {"constraints_func": lambda frozen: frozen.user_attrs["excess"]}
        self._study = optuna.create_study(directions=list(self._goals.values()), sampler=optuna.samplers.GPSampler(seed=seed, **limited))
        self._asked: dict[int, Any] = {}

    def suggest(self, trials: Sequence[Trial]) -> Suggestion:
        """See `benchmarks.optimizer.engines.Engine`."""
        for trial in self._told.news(trials):
            self._tell(trial)
        asked = self._asked[len(trials)] = self._study.ask(self._distributions)
        return Suggestion(dict(asked.params), "optuna")

    def _tell(self, trial: Trial) -> None:
        asked = self._asked.get(trial.index)
        if asked is not None and (trial.outcome is None or was_moved(trial)):
            if self._limit is not None:
                asked.set_user_attr("excess", [0.0])
            self._study.tell(asked, state=optuna.trial.TrialState.FAIL)
            asked = None
        if trial.outcome is None:
            return
        values = [trial.outcome.measured[name].mean for name in self._goals]
        if asked is None:
            self._study.add_trial(optuna.trial.create_trial(params=dict(trial.point), distributions=self._distributions, values=values,
                                                            user_attrs={"excess": self._excess(trial.outcome)},
                                                            system_attrs={"constraints": self._excess(trial.outcome)}))
            return
        asked.set_user_attr("excess", self._excess(trial.outcome))
        self._study.tell(asked, values)

    def _excess(self, outcome: Outcome) -> list[float]:
        """How far the limited outcome is beyond its limit; 0 or less is allowed."""
        if self._limit is None:
            return []
        means = {name: m.mean for name, m in outcome.measured.items()}
        return [(self._limit.left_side(means) - self._limit.bound) * (1.0 if self._limit.operator == "<=" else -1.0)]


def _distribution(parameter: Chosen) -> Any:
    if isinstance(parameter, ChoiceParameter):
        return optuna.distributions.CategoricalDistribution(parameter.values)
    if parameter.is_integer:
        return optuna.distributions.IntDistribution(int(parameter.low), int(parameter.high), log=parameter.is_log)
    return optuna.distributions.FloatDistribution(parameter.low, parameter.high, log=parameter.is_log)
