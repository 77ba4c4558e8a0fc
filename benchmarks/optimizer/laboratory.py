"""A campaign without a laboratory: samples take their laboratory time, some at once, and end in the order in which they are done."""

from __future__ import annotations

import heapq
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

from benchmarks.optimizer.engines import Engine, Recommending
from benchmarks.optimizer.problem import HOUR_S, Problem, Values
from benchmarks.optimizer.rows import HOURS, Key, Row
from benchmarks.optimizer.scores import Score, score
from lab.core.errors import LabError
from lab.core.trial import Suggestion, Trial, TrialState

TOLERANCE = 1e-6
"""Largest error of a peer's point: its bounds and sums, relative. Labwright's own tests hold its engines to 1e-9."""

RECOMMENDED_EVERY = 5
"""An engine that recommends is asked after so many trials, and after the last one."""


@dataclass
class _Begun:
    cpu_s: float | None
    note: str


class _Campaign:
    """One campaign of the bench: what was suggested, what is under way, and the laboratory's time."""

    def __init__(self, problem: Problem, engine: Engine, key: Key) -> None:
        self.problem, self._engine, self._key = problem, engine, key
        self._starts = problem.starts(key.seed)
        self.trials: list[Trial] = []
        self._begun: list[_Begun] = []
        self._under_way: list[tuple[float, int]] = []
        self._taken: set[int] = set()
        self._now_s = 0.0
        self._last = Score(None, None)

    @property
    def n_under_way(self) -> int:
        return len(self._under_way)

    def begin(self) -> bool:
        """Ask for a point and begin its sample; False, and nothing begun, when it would not be done within the hours."""
        index = len(self.trials)
        began = time.process_time()
        given = index < len(self._starts)
        suggestion = Suggestion(self._starts[index], "given") if given else self._engine.suggest(self.trials)
        cpu_s = None if given else round(time.process_time() - began, 6)
        values, note = self._executed(suggestion)
        wrong = self.problem.allowed.problems(values, TOLERANCE) if self.problem.pool is None else []
        if wrong:
            raise LabError(f"{self._key.engine}: suggested what {self.problem.name} does not allow: {wrong[0]}")
        before = self.trials[-1].point if self.trials else None
        ends_s = self._now_s + self.problem.duration_s(before, values, self.problem.chance(self._key.seed, index, 1))
        if self.problem.hours is not None and ends_s > self.problem.hours * HOUR_S:
            return False
        self.trials.append(Trial(index, TrialState.RUNNING, suggestion.values, values, origin=suggestion.origin, thought=suggestion.thought,
                                 began_lab_s=self._now_s))
        self._begun.append(_Begun(cpu_s, note))
        heapq.heappush(self._under_way, (ends_s, index))
        return True

    def end(self) -> Row:
        """The sample that is done first."""
        self._now_s, index = heapq.heappop(self._under_way)
        trial = self.trials[index]
        outcome = self.problem.measure(trial.point, self._key.seed, index, self._now_s / HOUR_S)
        state = TrialState.FAILED if outcome is None else TrialState.COMPLETED
        self.trials[index] = replace(trial, state=state, outcome=outcome, cause="" if outcome is not None else "no sample", ended_lab_s=self._now_s)
        begun = self._begun[index]
        measured = "" if outcome is None else json.dumps({name: m.mean for name, m in outcome.measured.items()})
        return replace(self._row(), trial=index, state=state.value, parameters=json.dumps(dict(trial.point)), measured=measured,
                       cpu_s=begun.cpu_s, note=begun.note)

    def out_of_hours(self) -> Row:
        """The row that says that no more samples fit into the hours."""
        return replace(self._row(), note=f"{HOURS} {self.problem.hours:g} laboratory hours")

    def _row(self) -> Row:
        problem, key, pool = self.problem, self._key, self.problem.pool
        self._last = self._score()
        return Row(key.problem, key.engine, key.version, key.seed, len(self.trials), "", "", "", best=self._last.best, regret=self._last.regret,
                   found=None if pool is None else len(self._taken & pool.top) / len(pool.top),
                   failures=sum(trial.state is TrialState.FAILED for trial in self.trials),
                   violations=sum(trial.state is not TrialState.RUNNING and problem.breaks(trial.point) for trial in self.trials),
                   hours=round(self._now_s / HOUR_S, 6), cpu_s=None, note="")

    def _score(self) -> Score:
        if not self.problem.is_recommended:
            return score(self.problem, self.trials)
        n = len(self.trials)
        if n % RECOMMENDED_EVERY and n < self.problem.n_trials:
            return self._last
        point = cast(Recommending, self._engine).recommend(self.trials)
        return Score(self.problem.truth(point), self.problem.regret(point))

    def _executed(self, suggestion: Suggestion) -> tuple[Values, str]:
        """What is carried out of a suggestion, and the note to it."""
        pool = self.problem.pool
        if pool is None:
            return suggestion.values, suggestion.origin
        k = pool.index(suggestion.values)
        if k is not None and k not in self._taken:
            self._taken.add(k)
            return pool.rows[k], suggestion.origin
        if self._engine.has_pools:
            raise LabError(f"{self.problem.name}: suggested {dict(suggestion.values)}, which is no untried row of the pool")
        k, distance = pool.nearest(suggestion.values, self._taken)
        self._taken.add(k)
        return pool.rows[k], f"{suggestion.origin}; moved to the nearest untried row, {distance:.3f} away"


def run(problem: Problem, engine: Engine, key: Key) -> Iterator[Row]:
    """A campaign, a row for each trial as it ends; where the hours end it, a last row that says so."""
    campaign = _Campaign(problem, engine, key)
    is_full = False
    while not is_full and len(campaign.trials) < problem.n_trials:
        if campaign.n_under_way == problem.n_at_once:
            yield campaign.end()
        is_full = not campaign.begin()
    while campaign.n_under_way:
        yield campaign.end()
    if is_full:
        yield campaign.out_of_hours()
