"""Ax as it comes: its Client with a seed, everything else at its defaults. Labwright's own use of it is ``labwright-ax``.

- Told standard errors are given as ``(mean, sem)``, an exact measurement with a sem of 0: on Branin that was the better of the two
  ways (regret 1e-4 against 1e-3), so it is the one that Ax is measured by.
- A failed sample is abandoned, as Ax's documentation has it for points that are not to come again.
- It knows no pools: the nearest untried row is attached as a trial of its own, the suggested one abandoned.
- Of several objectives, the reference point is given as Ax takes it: one outcome constraint for each.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ax import Client

from benchmarks.optimizer.ax_space import AxSpace
from benchmarks.optimizer.problem import Problem, Values
from benchmarks.optimizer.told import Told, was_moved
from lab.core.trial import Outcome, Suggestion, Trial


class Ax:
    """See `benchmarks.optimizer.engines.Engine` and `Recommending`."""

    has_pools = False

    def __init__(self, problem: Problem, seed: int) -> None:
        logging.getLogger("ax").setLevel(logging.ERROR)
        self._space, self._told = AxSpace(problem), Told()
        self._numbers: dict[int, int] = {}
        self._client = Client(random_seed=seed)
        self._client.configure_experiment(parameters=self._space.parameters, parameter_constraints=self._space.constraints)
        self._client.configure_optimization(objective=objective(problem), outcome_constraints=limits(problem) or None)

    def suggest(self, trials: Sequence[Trial]) -> Suggestion:
        """See `benchmarks.optimizer.engines.Engine`."""
        for trial in self._told.news(trials):
            self._tell(trial)
        (number, found), = self._client.get_next_trials(1).items()
        self._numbers[len(trials)] = number
        return Suggestion(self._space.from_ax(found), "ax")

    def recommend(self, trials: Sequence[Trial]) -> Values:
        """What its Client calls the best parameterisation, by the model."""
        for trial in self._told.news(trials):
            self._tell(trial)
        return self._space.from_ax(self._client.get_best_parameterization()[0])

    def _tell(self, trial: Trial) -> None:
        number = self._numbers.get(trial.index)
        if number is not None and (trial.outcome is None or was_moved(trial)):
            self._client.mark_trial_abandoned(number)
            number = None
        if trial.outcome is not None:
            if number is None:
                number = self._client.attach_trial(self._space.to_ax(trial.point))
            self._client.complete_trial(number, raw_data=raw(trial.outcome))


def objective(problem: Problem) -> str:
    """As Ax takes it: names with commas, what is minimised with a minus sign."""
    return ", ".join(name if goal == "maximize" else f"-{name}" for name, goal in problem.goals.items())


def limits(problem: Problem) -> list[str]:
    """The reference point and the outcome limit, in words."""
    reference = [f"{name} {'>=' if goal == 'maximize' else '<='} {problem.reference[name]!r}" for name, goal in problem.goals.items()
                 if name in problem.reference]
    return reference + ([problem.limit] if problem.limit else [])


def raw(outcome: Outcome) -> dict[str, float | tuple[float, float]]:
    """Means, with their standard errors where those are told."""
    return {name: m.mean if m.sem is None else (m.mean, m.sem) for name, m in outcome.measured.items()}
