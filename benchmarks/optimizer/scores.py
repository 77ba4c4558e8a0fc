"""How good a campaign is so far, by the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.optimizer.problem import OUTCOME, Problem
from lab.core.best import best_trial
from lab.core.trial import Trial, TrialState

Pair = tuple[float, float]


@dataclass(frozen=True)
class Score:
    """How good it is.

    Parameters
    ----------
    best : float or None
        Best measured value that keeps the limit; of several objectives the hypervolume. None: there is none.
    regret : float or None
        How far the true response there is from the optimum.
    """

    best: float | None
    regret: float | None


def score(problem: Problem, trials: Sequence[Trial]) -> Score:
    """Of the best measured trial; of several objectives, of all trials together."""
    if problem.also:
        volume = hypervolume(problem, trials)
        return Score(volume, max(0.0, problem.optimum - volume))
    best = best_trial(problem.judge, trials)
    if best is None or best.outcome is None:
        return Score(None, None)
    return Score(best.outcome.measured[OUTCOME].mean, problem.regret(best.point))


def hypervolume(problem: Problem, trials: Sequence[Trial]) -> float:
    """What the true outcomes of the completed trials dominate, up to the reference point."""
    truths = {OUTCOME: problem.truth, **problem.others}
    signs = {name: 1.0 if goal == "minimize" else -1.0 for name, goal in problem.goals.items()}
    first, second = problem.goals
    points = [(signs[first] * truths[first](t.point), signs[second] * truths[second](t.point)) for t in trials if t.state is TrialState.COMPLETED]
    return area(points, (signs[first] * problem.reference[first], signs[second] * problem.reference[second]))


def area(points: Sequence[Pair], reference: Pair) -> float:
    """The area that points dominate, both coordinates minimised."""
    total, floor = 0.0, reference[1]
    for x, y in sorted(points):
        if x < reference[0] and y < floor:
            total += (reference[0] - x) * (floor - y)
            floor = y
    return total
