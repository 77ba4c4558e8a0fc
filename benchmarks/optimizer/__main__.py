"""Run what is not on file yet, then print the summary and draw the plot.

``python -m benchmarks.optimizer [--problems a,b] [--engines x,y] [--seeds 20] [--minutes 60] [--folder build/bench-optimizer]``.
Interrupted, it goes on where it was. One run is one problem, engine and seed, on one thread.
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.figures import show
from benchmarks.optimizer import engines, problems, summary
from benchmarks.optimizer.crew import ROOT
from benchmarks.optimizer.problem import Problem
from benchmarks.optimizer.rows import Key, Rows
from benchmarks.optimizer.runs import Plan, missing, run_all
from lab.core.errors import ConfigError


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 2 for an unknown name or a file that cannot be used, 130 when it was interrupted, 0 else; a missed target is no failure of the run."""
    given = _parser().parse_args(arguments)
    for kind, names, known in (("problem", given.problems, problems.NAMES), ("engine", given.engines, engines.NAMES)):
        unknown = [name for name in names if name not in known]
        if unknown:
            print(f"no {kind} {', '.join(unknown)}; allowed: {', '.join(known)}", file=sys.stderr)
            return 2
    obstacles: dict[tuple[str, str], str] = {}
    chosen = list(_found(given.problems, given.data, obstacles))
    try:
        rows = Rows(given.folder / "rows.csv")
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    wanted = list(_wanted(chosen, given.engines, given.seeds, obstacles))
    todo = missing(rows, wanted)
    print(f"{len(wanted)} runs, {len(wanted) - len(todo)} of them on file ({given.folder / 'rows.csv'})", flush=True)
    try:
        n_begun = run_all(Plan(given.data, given.deadline_s, given.jobs, given.minutes * 60), rows, todo, say=lambda text: print(text, flush=True))
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return 130
    if n_begun < len(todo):
        print(f"{len(todo) - n_begun} runs are left for another time", flush=True)
    _report(rows, given.problems, given.engines, obstacles, given.folder / "regret.png")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.optimizer", description=__doc__)
    parser.add_argument("--problems", type=_names, default=list(problems.NAMES), help="with commas; all of them if not given")
    parser.add_argument("--engines", type=_names, default=list(engines.NAMES), help="with commas; all of them if not given")
    parser.add_argument("--seeds", type=int, default=20, help="how many, from 0")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "bench-optimizer", help="for rows.csv and regret.png")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="the folder with the tables")
    parser.add_argument("--deadline-s", type=float, default=1800.0, help="for one run, CPU seconds")
    parser.add_argument("--minutes", type=float, default=math.inf, help="after so many no further run is begun")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; more disturb each other's CPU seconds")
    return parser


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _found(names: Sequence[str], data: Path, obstacles: dict[tuple[str, str], str]) -> list[Problem]:
    """The problems that can be run; `obstacles` gains why the others cannot."""
    found = []
    for name in names:
        try:
            found.append(problems.find(name, data))
        except ConfigError as error:
            obstacles[name, "-"] = str(error)
    return found


def _wanted(chosen: Sequence[Problem], names: Sequence[str], n_seeds: int, obstacles: dict[tuple[str, str], str]) -> list[tuple[Problem, Key]]:
    """Every run that can be made, seed by seed, so that an interrupted bench has some of everything."""
    pairs = []
    for problem in chosen:
        for name in names:
            why = engines.obstacle(name, problem)
            if why:
                obstacles[problem.name, name] = why
            else:
                pairs.append((problem, name, engines.version(name)))
    return [(problem, Key(problem.name, name, version, seed)) for seed in range(n_seeds) for problem, name, version in pairs]


def _report(rows: Rows, names: Sequence[str], chosen: Sequence[str], obstacles: dict[tuple[str, str], str], picture: Path) -> None:
    shown = [row for row in rows.read() if row.problem in names and row.engine in chosen]
    results = summary.collect(shown)
    Console(width=None if sys.stdout.isatty() else 190).print(summary.table(results))
    for line in summary.left_out(results, obstacles):
        print(line)
    show(summary.figures(results))
    from benchmarks.optimizer import plot  # matplotlib takes two seconds to import

    plot.draw(shown, picture)
    print(f"plot: {picture}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended from outside, it ends its processes as well
    sys.exit(main())
