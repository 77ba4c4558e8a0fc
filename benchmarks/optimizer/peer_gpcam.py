"""gpCAM, its GPOptimizer with the acquisition "expected improvement": the peer that has a cost of going from one point to the next.

- It begins with as many random points as a campaign of Labwright does, and is trained before each further one, at its defaults.
- What it is told of the cost is the truth: the seconds that the sample would take after the one before.
- An exact measurement is told with the smallest noise that its Cholesky factors bear.
- It maximises: what is to be small is told with the other sign. Failed samples are left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from gpcam import GPOptimizer

from benchmarks.optimizer.chance import Chance
from benchmarks.optimizer.problem import OUTCOME, Problem
from benchmarks.optimizer.told import Told
from lab.core.question import FEWEST_INITIAL
from lab.core.trial import Suggestion, Trial

NOISE = 1e-6
"""Least variance that is told, in squares of the outcome's unit."""


class Gpcam:
    """See `benchmarks.optimizer.engines.Engine`."""

    has_pools = False

    def __init__(self, problem: Problem, seed: int) -> None:
        warnings.filterwarnings("ignore", module="gpcam|fvgp")
        np.random.seed(seed)
        self._problem, self._told, self._chance = problem, Told(), Chance(problem, seed)
        self._sign = 1.0 if problem.goal == "maximize" else -1.0
        self._names = [p.name for p in problem.parameters]
        self._bounds = np.array([(p.low, p.high) for p in problem.ranges])
        self._n_first: int = FEWEST_INITIAL
        self._optimizer = GPOptimizer(cost_function=self._cost)

    def suggest(self, trials: Sequence[Trial]) -> Suggestion:
        """See `benchmarks.optimizer.engines.Engine`."""
        self._tell(trials)
        if len(trials) < self._n_first:
            return Suggestion(self._chance.suggest(trials).values, "gpcam (random)")
        self._optimizer.train()
        found = self._optimizer.ask(self._bounds, position=self._place(trials[-1]), acquisition_function="expected improvement")["x"][0]
        within = np.clip(found, *self._bounds.T)
        return Suggestion(dict(zip(self._names, within.tolist(), strict=True)), "gpcam")

    def _tell(self, trials: Sequence[Trial]) -> None:
        done = [(trial, trial.outcome.measured[OUTCOME]) for trial in self._told.news(trials) if trial.outcome is not None]
        if done:
            self._optimizer.tell(np.array([self._place(trial) for trial, _ in done]), np.array([self._sign * m.mean for _, m in done]),
                                 noise_variances=np.array([max(NOISE, (m.sem or 0.0) ** 2) for _, m in done]))

    def _place(self, trial: Trial) -> np.ndarray:
        return np.array([float(trial.point[name]) for name in self._names])

    def _cost(self, origin: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Seconds of a sample at each of `x`, shape (n, d), after one at `origin`."""
        before = dict(zip(self._names, np.ravel(origin).tolist(), strict=True))
        chance = np.random.default_rng(0)
        return np.array([self._problem.duration_s(before, dict(zip(self._names, row, strict=True)), chance) for row in np.atleast_2d(x).tolist()])
