"""One problem, one engine, one seed: ``python -m benchmarks.optimizer.one PROBLEM ENGINE VERSION SEED FOLDER_OF_TABLES``.

Writes a row for each trial, as soon as it is known, to standard output. Whatever the libraries print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.optimizer import engines, problems
from benchmarks.optimizer.engines import Engine
from benchmarks.optimizer.problems import OUTCOME, Problem, Values
from benchmarks.optimizer.rows import Key, Row
from lab.core.best import best_trial
from lab.core.errors import LabError
from lab.core.trial import Suggestion, Trial, TrialState

TOLERANCE = 1e-6
"""Largest error of a peer's point: its bounds and sums, relative. Labwright's own tests hold its engines to 1e-9."""


def run(problem: Problem, engine: Engine, key: Key) -> Iterator[Row]:
    """A campaign without a laboratory, trial by trial."""
    campaign = problem.campaign("sobol", key.seed)
    trials: list[Trial] = []
    taken: set[int] = set()
    for index in range(problem.n_trials):
        began = time.process_time()
        suggestion = engine.suggest(trials)
        cpu_s = time.process_time() - began
        values, note = _executed(problem, engine, suggestion, taken)
        wrong = campaign.space.problems(values, TOLERANCE) if problem.pool is None else []
        if wrong:
            raise LabError(f"{key.engine}: suggested what {problem.name} does not allow: {wrong[0]}")
        outcome = problem.measure(values, key.seed, index)
        state = TrialState.FAILED if outcome is None else TrialState.COMPLETED
        trials.append(Trial(index, state, suggestion.values, values, outcome, cause="" if outcome is not None else "no sample",
                            origin=suggestion.origin))
        best = best_trial(campaign, trials)
        yield Row(key.problem, key.engine, key.version, key.seed, index, state.value, json.dumps(dict(values)),
                  value=None if outcome is None else outcome.measured[OUTCOME].mean,
                  best=None if best is None or best.outcome is None else best.outcome.measured[OUTCOME].mean,
                  regret=None if best is None else problem.regret(best.point),
                  found=None if problem.pool is None else len(taken & problem.pool.top) / len(problem.pool.top),
                  failures=sum(trial.state is TrialState.FAILED for trial in trials), cpu_s=round(cpu_s, 6), note=note)


def _executed(problem: Problem, engine: Engine, suggestion: Suggestion, taken: set[int]) -> tuple[Values, str]:
    """What is carried out of a suggestion, and the note to it. `taken` gains the row of a pool."""
    pool = problem.pool
    if pool is None:
        return suggestion.values, suggestion.origin
    k = pool.index(suggestion.values)
    if k is not None and k not in taken:
        taken.add(k)
        return pool.rows[k], suggestion.origin
    if engine.has_pools:
        raise LabError(f"{problem.name}: suggested {dict(suggestion.values)}, which is no untried row of the pool")
    k, distance = pool.nearest(suggestion.values, taken)
    taken.add(k)
    return pool.rows[k], f"{suggestion.origin}; moved to the nearest untried row, {distance:.3f} away"


def main() -> int:
    """Run what the command line names."""
    rows = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    name, engine, version, seed, tables = sys.argv[1:]
    problem = problems.find(name, Path(tables))
    with rows:
        for row in run(problem, engines.make(engine, problem, int(seed)), Key(name, engine, version, int(seed))):
            rows.write(row.line())
            rows.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
