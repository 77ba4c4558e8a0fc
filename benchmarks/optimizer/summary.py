"""What the rows say: quartiles of every problem and engine, ratio to the best peer, and the targets of issue 5 beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.markup import escape
from rich.table import Table

from benchmarks.figures import Figure
from benchmarks.optimizer.engines import NO_MODEL, OURS
from benchmarks.optimizer.rows import ENDED, Row, by_run

TIE = 1e-4
"""Regrets below this count as this: which of 1e-6 and 1e-9 is smaller is no merit in a laboratory. In the response's unit, for every problem."""

LEAST_SHARE = 1e-3
"""Shares of a pool's best rows below this count as this: two engines that find none are tied."""

WITHIN = 1.5
"""Of the best peer's median regret, or one over it of its share of a pool's best rows."""

POOL = "pool-"


@dataclass(frozen=True)
class Result:
    """All finished runs of one engine on one problem.

    Parameters
    ----------
    problem, engine, version : str
    n_seeds, n_ended : int
        Runs, and those of them that ended before their last trial.
    regret, found : ndarray, shape (n_seeds,)
        At the end of each run; infinite and NaN where there is none.
    failures : ndarray, shape (n_seeds,)
    cpu_ms : ndarray
        Of every suggestion.
    """

    problem: str
    engine: str
    version: str
    n_seeds: int
    n_ended: int
    regret: np.ndarray
    found: np.ndarray
    failures: np.ndarray
    cpu_ms: np.ndarray

    @property
    def has_pool(self) -> bool:
        return self.problem.startswith(POOL)

    @property
    def score(self) -> float:
        """The smaller the better: median regret, or one over the median share found."""
        if self.has_pool:
            return 1.0 / max(LEAST_SHARE, float(np.median(self.found)))
        return max(TIE, float(quartiles(self.regret)[1]))


def quartiles(values: np.ndarray) -> np.ndarray:
    """Lower quartile, median and upper quartile; where some are infinite, values that occur."""
    return np.quantile(values, [0.25, 0.5, 0.75], method="linear" if np.isfinite(values).all() else "higher")


def newest(rows: Sequence[Row]) -> list[Row]:
    """Rows of the version that was run last, for each problem and engine."""
    last = {(row.problem, row.engine): row.version for row in rows}
    return [row for row in rows if row.version == last[row.problem, row.engine]]


def collect(rows: Sequence[Row]) -> list[Result]:
    """A result for each problem and engine, in the order in which they first stand in the rows."""
    runs = by_run(newest(rows))
    groups: dict[tuple[str, str, str], list[list[Row]]] = {}
    for key, run in runs.items():
        groups.setdefault((key.problem, key.engine, key.version), []).append(run)
    return [_result(names, found) for names, found in groups.items()]


def _result(names: tuple[str, str, str], runs: Sequence[Sequence[Row]]) -> Result:
    last = [run[-1] for run in runs]
    return Result(*names, n_seeds=len(runs), n_ended=sum(row.note.startswith(ENDED) for row in last),
                  regret=np.array([np.inf if row.regret is None else row.regret for row in last]),
                  found=np.array([np.nan if row.found is None else row.found for row in last]),
                  failures=np.array([row.failures for row in last]),
                  cpu_ms=np.array([row.cpu_s * 1e3 for run in runs for row in run if row.cpu_s is not None]))


def best_peers(results: Iterable[Result], ours: str) -> dict[str, Result]:
    """For each problem, the best engine that learns, other than `ours`. Labwright's ``ax`` is Ax, and so a peer of ``botorch``."""
    found: dict[str, Result] = {}
    for result in results:
        is_peer = result.engine not in (*NO_MODEL, ours) and (result.engine == "ax" or result.engine not in OURS)
        if is_peer and (result.problem not in found or result.score < found[result.problem].score):
            found[result.problem] = result
    return found


def subject(results: Iterable[Result]) -> str:
    """The engine of Labwright that is held against the targets: the first of its engines that was run."""
    run = {result.engine for result in results}
    return next((name for name in OURS if name in run), OURS[0])


def table(results: Sequence[Result], obstacles: Mapping[tuple[str, str], str]) -> Table:
    """One line for each problem and engine; those that could not be run say why."""
    peers = best_peers(results, subject(results))
    view = Table(title=f"quartiles over the seeds (25 / 50 / 75 %); ratio of medians to the best peer's, regrets below {TIE:g} counting as {TIE:g}",
                 title_justify="left")
    for name in ("problem", "engine", "version"):
        view.add_column(name, no_wrap=name != "version")
    for name in ("seeds", "regret", "top 5 % found", "ratio", "failures", "CPU ms"):
        view.add_column(name, justify="right")
    for result in sorted(results, key=lambda r: r.problem):
        view.add_row(*_cells(result, peers.get(result.problem)))
    for (problem, engine), why in sorted(obstacles.items()):
        view.add_row(problem, engine, escape(why), style="dim")
    return view


def _cells(result: Result, peer: Result | None) -> list[str]:
    ratio = "" if peer is None else f"{result.score / peer.score:.2f}"
    ended = f" ({result.n_ended} ended early)" if result.n_ended else ""
    found = " / ".join(f"{v:.0%}" for v in np.quantile(result.found, [0.25, 0.5, 0.75])) if result.has_pool else ""
    cpu = _three(quartiles(result.cpu_ms)) if len(result.cpu_ms) else ""
    return [result.problem, result.engine, result.version, f"{result.n_seeds}{ended}", _three(quartiles(result.regret)), found, ratio,
            " / ".join(f"{v:g}" for v in quartiles(result.failures)) if result.failures.any() else "0", cpu]


def _three(values: np.ndarray) -> str:
    return " / ".join(f"{v:.3g}" for v in values)


def figures(results: Sequence[Result]) -> list[Figure]:
    """The targets of the issue for Labwright's own engine, and how it stands to them."""
    ours = subject(results)
    peers = best_peers(results, ours)
    mine = [result for result in results if result.engine == ours]
    found = []
    for result in mine:
        note = f"{result.n_seeds} seeds"
        peer = peers.get(result.problem)
        if peer is None:
            found.append(Figure(f"{ours}, {result.problem}: score (no peer was run)", result.score, "", note=note))
        elif result.has_pool:
            found.append(Figure(f"{ours}, {result.problem}: share of the top 5 % over {peer.engine}'s", peer.score / result.score, "x", least=1.0, note=note))
        else:
            found.append(Figure(f"{ours}, {result.problem}: median regret over {peer.engine}'s", result.score / peer.score, "x", most=WITHIN, note=note))
        found += _particular(result)
    compared = [result for result in mine if result.problem in peers]
    if compared:
        n_best = sum(result.score <= peers[result.problem].score for result in compared)
        found.append(Figure(f"{ours}: problems where it is best or tied, of {len(compared)}", n_best, "", least=len(compared) // 2 + 1))
    return found


def _particular(result: Result) -> list[Figure]:
    """Targets that single problems have. The milliseconds are the median over a whole run, its first points included."""
    cpu_ms = float(np.median(result.cpu_ms)) if len(result.cpu_ms) else np.inf
    name = f"{result.engine}, {result.problem}"
    if result.problem == "failing-branin":
        return [Figure(f"{name}: failures in 30 attempts, median", float(np.median(result.failures)), "", most=5),
                Figure(f"{name}: median regret", float(quartiles(result.regret)[1]), "", most=0.01)]
    if result.problem in ("simplex", "mixed"):
        return [Figure(f"{name}: a suggestion, q=1", cpu_ms, "ms CPU", most=50)]
    if result.problem == "pool-direct-arylation":
        return [Figure(f"{name}: a pick of 1,728", cpu_ms, "ms CPU", most=5)]
    return []
