"""Blop, its Agent, driven by suggest() and ingest() as its documentation has it for those who bring their own loop: no RunEngine, no devices.

The Agent asks Ax's Client with Ax's defaults, so it differs from the peer ``ax`` in one thing: what it is told of a failed sample is
register_failures(), which marks the trial failed, and Ax may suggest a failed point again. (Its plans do not even tell that: one failed
evaluation ends them.)
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ax import ChoiceParameterConfig, RangeParameterConfig
from blop.ax import Agent, ChoiceDOF, DOFConstraint, Objective, OutcomeConstraint, RangeDOF
from blop.protocols import ID_KEY

from benchmarks.optimizer.ax_space import AxSpace
from benchmarks.optimizer.peer_ax import limits, raw
from benchmarks.optimizer.problem import Problem
from benchmarks.optimizer.told import Told, was_moved
from lab.core.trial import Suggestion, Trial


class Blop:
    """See `benchmarks.optimizer.engines.Engine`."""

    has_pools = False

    def __init__(self, problem: Problem, seed: int) -> None:
        logging.getLogger("ax").setLevel(logging.ERROR)
        self._space, self._told = AxSpace(problem), Told()
        dofs = {parameter.name: _dof(parameter) for parameter in self._space.parameters}
        constraints = [DOFConstraint(text, **{name: dof for name, dof in dofs.items() if name in text.split()}) for text in self._space.constraints]
        objectives = {name: Objective(name=name, minimize=goal == "minimize") for name, goal in problem.goals.items()}
        outcomes = {**{name: Objective(name=name, minimize=True) for name in problem.others}, **objectives}
        outcome_constraints = [OutcomeConstraint(text, **{text.split()[0]: outcomes[text.split()[0]]}) for text in limits(problem)]
        self._agent = Agent(sensors=[], dofs=list(dofs.values()), objectives=list(objectives.values()), evaluation_function=lambda uid, suggestions: [],
                            dof_constraints=constraints or None, outcome_constraints=outcome_constraints or None, client_kwargs={"random_seed": seed})
        self._ids: dict[int, int] = {}

    def suggest(self, trials: Sequence[Trial]) -> Suggestion:
        """See `benchmarks.optimizer.engines.Engine`."""
        for trial in self._told.news(trials):
            self._tell(trial)
        found = dict(self._agent.suggest(1)[0])
        self._ids[len(trials)] = found.pop(ID_KEY)
        return Suggestion(self._space.from_ax(found), "blop")

    def _tell(self, trial: Trial) -> None:
        number = self._ids.get(trial.index)
        if number is not None and (trial.outcome is None or was_moved(trial)):
            self._agent.to_optimization_problem().optimizer.register_failures([{ID_KEY: number}])
            number = None
        if trial.outcome is not None:
            point = self._space.to_ax(trial.point) if number is None else {ID_KEY: number}
            self._agent.ingest([{**point, **raw(trial.outcome)}])


def _dof(parameter: RangeParameterConfig | ChoiceParameterConfig) -> RangeDOF | ChoiceDOF:
    if isinstance(parameter, ChoiceParameterConfig):
        return ChoiceDOF(name=parameter.name, values=parameter.values, parameter_type=parameter.parameter_type, is_ordered=parameter.is_ordered)
    return RangeDOF(name=parameter.name, bounds=parameter.bounds, parameter_type=parameter.parameter_type, scaling=parameter.scaling)
