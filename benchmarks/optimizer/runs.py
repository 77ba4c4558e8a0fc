"""All the runs: each on one thread in a process of its own, with a deadline; what is on file already is left alone."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.optimizer.crew import Crew, Worker
from benchmarks.optimizer.problem import Problem
from benchmarks.optimizer.rows import DEADLINE, ENDED, Key, Row, Rows, by_run, is_finished, read_line

PATIENCE = 20

_USED_UP = str(-signal.SIGXCPU)
"""The exit status of a run that has had its CPU seconds."""


@dataclass(frozen=True)
class Plan:
    """How the runs are made.

    Parameters
    ----------
    tables : Path
        The folder with the tables.
    deadline_s : float
        For one run, CPU seconds: how busy the machine is counts against nobody. One that hangs ends after `PATIENCE` times as many wall seconds.
    n_jobs : int
        Runs at a time.
    most_s : float
        After so many wall seconds no further run is begun.
    """

    tables: Path
    deadline_s: float
    n_jobs: int = 1
    most_s: float = math.inf


def missing(rows: Rows, wanted: Iterable[tuple[Problem, Key]]) -> list[tuple[Problem, Key]]:
    """The runs that are not finished; rows of those that were cut off are taken off the file."""
    runs = by_run(rows.read())
    todo = [(problem, key) for problem, key in wanted if not is_finished(runs.get(key, []), problem.n_trials)]
    rows.drop(key for _, key in todo if key in runs)
    return todo


def run_all(plan: Plan, rows: Rows, todo: Sequence[tuple[Problem, Key]], say: Callable[[str], None]) -> int:
    """Run them, each row on file as it comes; an interrupt ends those under way.

    Returns
    -------
    int
        How many were run; fewer than all when the plan's time was over.
    """
    stop = threading.Event()
    ends_s = time.monotonic() + plan.most_s

    def do(item: tuple[Problem, Key]) -> bool:
        if stop.is_set() or time.monotonic() >= ends_s:
            return False
        _, key = item
        said = run_one(crew.of(key.engine), plan.deadline_s, rows, key)
        if not stop.is_set():
            say(f"{key.problem} {key.engine} {key.version} seed {key.seed}: {said}")
        return True

    with ThreadPoolExecutor(plan.n_jobs) as pool, Crew(plan.tables) as crew:
        try:
            return sum(pool.map(do, todo))
        finally:
            stop.set()


def run_one(worker: Worker, deadline_s: float, rows: Rows, key: Key) -> str:
    """Have a run played; returns what became of it, in words.

    A run that passes the deadline, or breaks down, ends with a row that says so.
    """
    last = Row(key.problem, key.engine, key.version, key.seed, -1, "", "", "", None, None, None, 0, 0, None, None, "")
    status, why, n_trials = "", "", 0
    late = threading.Timer(PATIENCE * deadline_s, worker.kill)
    late.start()
    for line in worker.play(key, math.ceil(deadline_s)):
        row = read_line(line)
        word, _, rest = line.strip().partition(" ")
        if row is not None:
            rows.add(row)
            last = row
            n_trials += bool(row.state)
        elif word == "broke":
            why = rest
        elif word == "ended":
            status = rest
    is_late = not late.is_alive() or status == _USED_UP
    late.cancel()
    late.join()
    if status == "0":
        return f"{n_trials} trials"
    if not why:
        why = f"exit status {status}" if status else "its process ended"
    note = f"{DEADLINE} of {deadline_s:g} s CPU" if is_late else f"{ENDED}{why}"
    rows.add(replace(last, trial=n_trials, state="", parameters="", measured="", cpu_s=None, note=note))
    return f"{n_trials} trials; {note}"
