"""All the runs: each in a process of its own, on one thread, with a deadline; what is on file already is left alone."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.optimizer.problem import Problem
from benchmarks.optimizer.rows import DEADLINE, ENDED, Key, Row, Rows, by_run, is_finished, read_line

ROOT = Path(__file__).parent.parent.parent

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS",
                            "VECLIB_MAXIMUM_THREADS"), "1")
"""In the environment of a run before it imports anything: afterwards most libraries no longer look."""


@dataclass(frozen=True)
class Plan:
    """How the runs are made.

    Parameters
    ----------
    tables : Path
        The folder with the tables.
    deadline_s : float
        For one run, wall seconds.
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
        say(f"{key.problem} {key.engine} {key.version} seed {key.seed}: {run_one(plan, rows, key, stop)}")
        return True

    with ThreadPoolExecutor(plan.n_jobs) as pool:
        try:
            return sum(pool.map(do, todo))
        finally:
            stop.set()


def run_one(plan: Plan, rows: Rows, key: Key, stop: threading.Event) -> str:
    """Run one in a process; returns what became of it, in words.

    A run that passes the deadline, or breaks down, ends with a row that says so.
    """
    command = [sys.executable, "-m", "benchmarks.optimizer.one", key.problem, key.engine, key.version, str(key.seed), str(plan.tables)]
    last = Row(key.problem, key.engine, key.version, key.seed, -1, "", "", "", None, None, None, 0, 0, None, None, "")
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **ONE_THREAD}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        complaint: list[str] = []
        reader = threading.Thread(target=lambda: complaint.extend(process.stderr or ()), daemon=True)
        late = threading.Timer(plan.deadline_s, process.kill)
        reader.start()
        late.start()
        try:
            for line in process.stdout or ():
                row = read_line(line)
                if row is not None:
                    rows.add(row)
                    last = row
                if stop.is_set():
                    break
        finally:
            is_late = not late.is_alive() and process.poll() != 0
            late.cancel()
            if stop.is_set():
                process.kill()
            process.wait()
            reader.join()
    if process.returncode == 0:
        return f"{last.trial + 1} trials"
    if stop.is_set():
        return "interrupted"
    words = [line.strip() for line in complaint if line.strip()]
    why = f"{DEADLINE} of {plan.deadline_s:g} s" if is_late else f"{ENDED}{words[-1] if words else f'exit status {process.returncode}'}"
    rows.add(replace(last, trial=last.trial + 1, state="", parameters="", measured="", cpu_s=None, note=why))
    return f"{last.trial + 1} trials; {why}"
