"""CPU milliseconds of one suggestion, q=1, by the number of trials: ``python -m benchmarks.optimizer.latency [--engines botorch,ax]``.

In a box of four dimensions, on a simplex of four fractions and in a pool of 2,000 rows. The trials are random points with exact
measurements; each engine is asked in a process of its own, on one thread, after it was asked once to have its imports done.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.figures import Figure, show
from benchmarks.optimizer.chance import Chance
from benchmarks.optimizer.crew import ONE_THREAD, ROOT
from benchmarks.optimizer.engines import make
from benchmarks.optimizer.functions import hartmann
from benchmarks.optimizer.pools import Pool
from benchmarks.optimizer.problem import Problem, Values
from lab.core.trial import Trial, TrialState

N_ASKED = 3
"""Suggestions timed in a round, each with one trial more than the one before, after one that is not."""

N_ROUNDS = 3

OURS = "botorch"
"""The engine that follows its models' parameters from one suggestion to the next, and seeks them anew now and then."""

NAMES = ("a", "b", "c", "d")


def _response(values: Values) -> float:
    """Hartmann's function of the first three coordinates, and a parabola of the fourth."""
    *three, fourth = (float(values[name]) for name in NAMES)
    return hartmann(three) + (fourth - 0.3) ** 2


UNIT = [{"name": name, "type": "range", "bounds": [0, 1]} for name in NAMES]
BOX = Problem("box-4", {"parameters": UNIT}, "minimize", _response, -3.9, 1000, "hartmann3 and a parabola")
PRODUCT = Problem("product-4", {"parameters": UNIT}, "maximize", lambda values: math.exp(-2.0 * _response(values)), math.exp(7.8), 1000,
                  "what may be modelled by its logarithm")
SIMPLEX = Problem("simplex-4", {"parameters": UNIT, "constraints": [" + ".join(NAMES) + " == 1"]}, "minimize", _response, -3.9, 1000,
                  "the same on a simplex")

POOL_ROWS = tuple(dict(zip(NAMES, row, strict=True)) for row in np.random.default_rng(1).random((2000, 4)).round(9).tolist())
POOL = Pool("minimize", POOL_ROWS, np.array([_response(row) for row in POOL_ROWS]))
LIBRARY = Problem("pool-2000", POOL.space, "minimize", _response, POOL.optimum, 1000, "the same at 2,000 random points", pool=POOL)

TARGETS = ((BOX, 10, 50.0), (BOX, 50, 50.0), (BOX, 200, 50.0), (BOX, 500, 250.0), (PRODUCT, 200, 50.0), (SIMPLEX, 50, 50.0), (LIBRARY, 50, 5.0))
"""Problem, trials on record, and the target in ms."""


def random_trials(problem: Problem, n: int) -> list[Trial]:
    """`n` completed trials at random points."""
    chance = Chance(problem, 1)
    trials: list[Trial] = []
    for k in range(n):
        values = chance.suggest(trials).values
        trials.append(Trial(k, TrialState.COMPLETED, values, values, problem.measure(values, 1, k), began_lab_s=600.0 * k, ended_lab_s=600.0 * (k + 1)))
    return trials


def cpu_ms(engine: str, problem: Problem, n: int) -> tuple[float, float]:
    """Median CPU milliseconds of a suggestion after about `n` trials, and of one before which there was none; of several rounds the lowest each,
    since a busy machine only adds.

    Each of those trials but the first carries the thought of the suggestion before it, as trials of a campaign do.
    """
    usual, anew = zip(*(_round(engine, problem, n) for _ in range(N_ROUNDS)), strict=True)
    return min(usual), min(anew)


def _round(engine: str, problem: Problem, n: int) -> tuple[float, float]:
    trials = random_trials(problem, n + N_ASKED)
    asked = make(engine, problem, 1)
    taken = []
    for k in range(n - 1, n + N_ASKED):
        began = time.process_time()
        suggestion = asked.suggest(trials[:k])
        taken.append((time.process_time() - began) * 1e3)
        trials[k] = replace(trials[k], thought=suggestion.thought)
    return statistics.median(taken[1:]), taken[0]


def figures(engine: str, targets: Sequence[tuple[Problem, int, float]] = TARGETS) -> Iterator[Figure]:
    """Two figures for each target: as most suggestions are, and as one in a campaign is each time that there are three tenths more outcomes."""
    for problem, n, most in targets:
        usual, anew = cpu_ms(engine, problem, n)
        yield Figure(f"{engine}: a suggestion, {problem.name}, after {n} trials", usual, "ms CPU", most=most)
        if engine == OURS:
            yield Figure(f"{engine}: the same, parameters sought anew", anew, "ms CPU", most=most)


def main() -> int:
    """Print the figures of each engine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", default="botorch,labwright-ax,ax")
    parser.add_argument("--here", action="store_true", help="in this process, with the threads that it has")
    given = parser.parse_args()
    if given.here:
        show(figures(given.engines))
        return 0
    commands = [[sys.executable, "-m", "benchmarks.optimizer.latency", "--here", "--engines", name] for name in given.engines.split(",")]
    return max(subprocess.run(command, cwd=ROOT, env={**os.environ, **ONE_THREAD}, check=False).returncode for command in commands)


if __name__ == "__main__":
    sys.exit(main())
