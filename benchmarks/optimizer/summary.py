"""What the rows say: quartiles of every problem and engine, ratio to the best peer, and the targets of issue 5 beside them.

An engine is *best* on a problem when its median is at least as good as that of every peer. It is *tied* when a two-sided Mann-Whitney U
test of its seeds against the best peer's leaves more than `SAME` of doubt that they differ, and each of the two has at least `ENOUGH`
seeds: with fewer the test cannot tell anything apart, and only the medians count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table
from scipy.stats import mannwhitneyu

from benchmarks.figures import Figure
from benchmarks.optimizer.engines import IGNORING, NO_MODEL, OURS
from benchmarks.optimizer.rows import ENDED, Row, by_run

TIE = 1e-4
"""Regrets below this count as this: which of 1e-6 and 1e-9 is smaller is no merit in a laboratory. In the response's unit, for every problem."""

LEAST_SHARE = 1e-3
"""Shares of a pool's best rows below this count as this: two engines that find none are tied."""

WITHIN = 1.5
"""Of the best peer's median regret, or one over it of its share of a pool's best rows."""

SAME = 0.05
"""Of the Mann-Whitney test: above this p, two engines are tied."""

ENOUGH = 10
"""Seeds of each, for that test to count."""

SAFE = 0.05
"""Share of its samples that a safe campaign may have beyond the limit: it is to keep within it with a probability of 0.95."""

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
    failures, violations, n_trials : ndarray, shape (n_seeds,)
        Points that gave no sample, samples beyond the limit, and how many were tried.
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
    violations: np.ndarray
    n_trials: np.ndarray
    cpu_ms: np.ndarray

    @property
    def has_pool(self) -> bool:
        return self.problem.startswith(POOL)

    @property
    def scores(self) -> np.ndarray:
        """Of each seed, the smaller the better: regret, or one over the share found; what makes no difference is levelled."""
        if self.has_pool:
            return 1.0 / np.maximum(LEAST_SHARE, np.nan_to_num(self.found, nan=0.0))
        return np.maximum(TIE, self.regret)

    @property
    def score(self) -> float:
        """Their median."""
        return float(quartiles(self.scores)[1])

    def words(self) -> str:
        """Median, quartiles and seeds."""
        low, middle, high = quartiles(self.found if self.has_pool else self.regret)
        return f"{middle:.3g} ({low:.3g}..{high:.3g}), {self.n_seeds} seeds"


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
                  failures=np.array([row.failures for row in last]), violations=np.array([row.violations for row in last]),
                  n_trials=np.array([sum(bool(row.state) for row in run) for run in runs]),
                  cpu_ms=np.array([row.cpu_s * 1e3 for run in runs for row in run if row.cpu_s is not None]))


def best_peers(results: Iterable[Result]) -> dict[str, Result]:
    """For each problem, the peer with the best median."""
    found: dict[str, Result] = {}
    for result in results:
        if result.engine not in (*NO_MODEL, *OURS) and (result.problem not in found or result.score < found[result.problem].score):
            found[result.problem] = result
    return found


def doubt(one: Result, other: Result) -> float:
    """How probable it would be that two engines' seeds differ as much as they do if the engines did not; 1 when all are equal."""
    scores = np.nan_to_num(one.scores, posinf=np.finfo(float).max), np.nan_to_num(other.scores, posinf=np.finfo(float).max)
    if len(np.unique(np.concatenate(scores))) == 1:
        return 1.0
    return float(mannwhitneyu(*scores, alternative="two-sided").pvalue)


def is_best_or_tied(mine: Result, peer: Result) -> bool:
    """See this module's docstring."""
    return mine.score <= peer.score or (min(mine.n_seeds, peer.n_seeds) >= ENOUGH and doubt(mine, peer) > SAME)


def subject(results: Iterable[Result]) -> str:
    """The engine of Labwright that is held against the targets: the first of its engines that was run."""
    run = {result.engine for result in results}
    return next((name for name in OURS if name in run), next(iter(OURS)))


def table(results: Sequence[Result]) -> Table:
    """One line for each problem and engine."""
    peers = best_peers(results)
    view = Table(title=f"quartiles over the seeds (25 / 50 / 75 %); ratio of medians to the best peer's, regrets below {TIE:g} counting as {TIE:g}",
                 title_justify="left")
    for name in ("problem", "engine", "version"):
        view.add_column(name, no_wrap=name != "version")
    for name in ("seeds", "regret", "top 5 % found", "ratio", "failures", "beyond limit", "CPU ms"):
        view.add_column(name, justify="right")
    for result in sorted(results, key=lambda r: (r.problem, r.score)):
        view.add_row(*_cells(result, peers.get(result.problem)))
    return view


def left_out(results: Iterable[Result], obstacles: Mapping[tuple[str, str], str]) -> list[str]:
    """Which engines could not be run, why, and on what; those that have rows from elsewhere are no news."""
    run = {(result.problem, result.engine) for result in results}
    found: dict[tuple[str, str], list[str]] = {}
    for (problem, engine), why in obstacles.items():
        if (problem, engine) not in run:
            found.setdefault((engine, why), []).append(problem)
    return [f"not run: {engine}: {why} ({', '.join(problems)})" for (engine, why), problems in sorted(found.items())]


def _cells(result: Result, peer: Result | None) -> list[str]:
    ratio = "" if peer is None else f"{result.score / peer.score:.2f}"
    ended = f" ({result.n_ended} ended early)" if result.n_ended else ""
    found = " / ".join(f"{v:.0%}" for v in np.quantile(result.found, [0.25, 0.5, 0.75])) if result.has_pool else ""
    cpu = _three(quartiles(result.cpu_ms)) if len(result.cpu_ms) else ""
    return [result.problem, result.engine, result.version, f"{result.n_seeds}{ended}", _three(quartiles(result.regret)), found, ratio,
            _counts(result.failures), _counts(result.violations), cpu]


def _counts(values: np.ndarray) -> str:
    return " / ".join(f"{v:g}" for v in quartiles(values)) if values.any() else "0"


def _three(values: np.ndarray) -> str:
    return " / ".join(f"{v:.3g}" for v in values)


def figures(results: Sequence[Result]) -> list[Figure]:
    """The targets of the issue for Labwright's own engine, and how it stands to them."""
    ours = subject(results)
    peers = best_peers(results)
    ignoring = {result.problem: result for result in results if result.engine == IGNORING}
    mine = [result for result in results if result.engine == ours]
    found = []
    for result in mine:
        found.append(_beside(result, peers.get(result.problem)))
        if result.problem in ignoring and ours != IGNORING:
            found.append(_over_ignoring(result, ignoring[result.problem]))
        found += _particular(result)
    compared = [result for result in mine if result.problem in peers]
    if compared:
        behind = [result.problem for result in compared if not is_best_or_tied(result, peers[result.problem])]
        found.append(Figure(f"{ours}: problems where it is best or tied, of {len(compared)}", len(compared) - len(behind), "", least=len(compared) // 2 + 1,
                            note=f"behind on {', '.join(behind)}" if behind else ""))
    return found


def _beside(mine: Result, peer: Result | None) -> Figure:
    """How it stands to the best peer; without one the score is only reported."""
    if peer is None:
        return Figure(f"{mine.engine}, {mine.problem}: score (no peer was run)", mine.score, "", note=mine.words())
    standing = "best or tied" if is_best_or_tied(mine, peer) else "behind"
    note = f"{standing}: {mine.words()}; {peer.engine} {peer.words()}; p {doubt(mine, peer):.2g}"
    if mine.has_pool:
        return Figure(f"{mine.engine}, {mine.problem}: share of the top 5 % over {peer.engine}'s", peer.score / mine.score, "x", least=1.0, note=note)
    return Figure(f"{mine.engine}, {mine.problem}: median regret over {peer.engine}'s", mine.score / peer.score, "x", most=WITHIN, note=note)


def _over_ignoring(mine: Result, other: Result) -> Figure:
    """What it is worth to be told what the problem is about."""
    note = f"{mine.words()}; ignoring {other.words()}"
    if mine.has_pool:
        return Figure(f"{mine.engine}, {mine.problem}: share of the top 5 % over that of ignoring it", other.score / mine.score, "x", least=1.0, note=note)
    return Figure(f"{mine.engine}, {mine.problem}: median regret over that of ignoring it", mine.score / other.score, "x", most=1.0, note=note)


def _particular(result: Result) -> list[Figure]:
    """Targets that single problems have. The milliseconds are the median over a whole run, its first points included."""
    cpu_ms = float(np.median(result.cpu_ms)) if len(result.cpu_ms) else np.inf
    name = f"{result.engine}, {result.problem}"
    if result.problem == "failing-branin":
        return [Figure(f"{name}: failures in 30 attempts, median", float(np.median(result.failures)), "", most=5),
                Figure(f"{name}: median regret", float(quartiles(result.regret)[1]), "", most=0.01)]
    if result.problem == "safe-branin":
        share = float(result.violations.sum() / result.n_trials.sum())
        return [Figure(f"{name}: samples beyond the limit", share * 100, "%", most=SAFE * 100, note=f"{result.violations.sum()} of {result.n_trials.sum()}")]
    if result.problem in ("simplex", "mixed"):
        return [Figure(f"{name}: a suggestion, q=1", cpu_ms, "ms CPU", most=50)]
    if result.problem == "pool-direct-arylation":
        return [Figure(f"{name}: a pick of 1,728", cpu_ms, "ms CPU", most=5)]
    return []
