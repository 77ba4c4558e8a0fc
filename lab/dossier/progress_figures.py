"""How a campaign went, drawn: outcomes over trials, and the trade-off between objectives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lab.core.question import CampaignConfig
from lab.dossier.content import Dossier, Progress
from lab.dossier.drawing import BLUE, GREEN, GREY, MANY, ORANGE, PURPLE, RED, WIDTH, figure, labelled, with_unit
from lab.optimise.left_out import WITHIN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKS = ((BLUE, "o"), (ORANGE, "^"), (PURPLE, "s"), (GREEN, "v"), (GREY, "P"))
"""Of where suggestions came from."""

LONGEST = 34
"""Characters of an origin in a legend."""


def progress_figure(dossier: Dossier, one: Progress, unit: str) -> Figure:
    """An objective over the trials: what was expected, what was measured, what failed, and the best so far."""
    drawn = figure(3.5)
    ax = drawn.subplots()
    _foresight(ax, one)
    rows = [(t.index + 1, m.mean, m.sem, t.origin) for t in dossier.completed if t.outcome is not None and (m := t.outcome.measured.get(one.name))]
    for (colour, mark), origin in zip(MARKS, _kinds(rows), strict=False):
        own = [row for row in rows if _kind(row[3]) == origin]
        ax.errorbar([row[0] for row in own], [row[1] for row in own], yerr=[WITHIN * (row[2] or 0.0) for row in own], fmt=mark, color=colour,
                    markersize=4.5 if len(own) <= MANY else 2.0, elinewidth=0.9, label=f"measured ({origin})", rasterized=len(own) > MANY)
    if one.best:
        ax.step([number for number, _ in one.best], [value for _, value in one.best], where="post", color=GREEN, linewidth=1.6, label="best so far")
    if dossier.failed:
        low = ax.get_ylim()[0]
        ax.plot([t.index + 1 for t in dossier.failed], [low] * len(dossier.failed), "x", color=RED, markersize=7, markeredgewidth=1.6, label="failed",
                clip_on=False)
    _changes(ax, dossier)
    labelled(ax, "trial", with_unit(one.name, unit))
    drawn.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=5)
    return drawn


def _foresight(ax: Axes, one: Progress) -> None:
    if one.foresight is not None:
        found = one.foresight
        ax.errorbar(one.foreseen, found.expected, yerr=WITHIN * found.deviation, fmt="_", color=GREY, markersize=7, elinewidth=3.0, alpha=0.35,
                    label="expected before (95 %)", zorder=1, rasterized=len(found) > MANY)


def _changes(ax: Axes, dossier: Dossier) -> None:
    """Where people changed the question."""
    for k, one in enumerate(r for r in dossier.revisions if r.number > 0):
        before = sum(t.began_lab_s is not None and t.began_lab_s < one.changed_lab_s for t in dossier.trials)
        ax.axvline(before + 0.5, color=PURPLE, linestyle=":", linewidth=1.2, label="changed by people" if k == 0 else None)


def front_figure(dossier: Dossier, config: CampaignConfig) -> Figure:
    """The first two objectives against each other; those that no other one beats in both are joined."""
    first, second = config.objectives[:2]
    drawn = figure(3.8, WIDTH * 0.65)
    ax = drawn.subplots()
    rows = [(t.outcome.measured[first.name].mean, t.outcome.measured[second.name].mean) for t in dossier.completed
            if t.outcome is not None and first.name in t.outcome.measured and second.name in t.outcome.measured]
    table = np.array(rows).reshape(-1, 2)
    is_best = unbeaten(np.column_stack([_merit(first.goal, first.target, table[:, 0]), _merit(second.goal, second.target, table[:, 1])]))
    ax.plot(*table[~is_best].T, "o", color=GREY, markersize=4, label="measured", rasterized=len(table) > MANY)
    best = table[is_best][np.argsort(table[is_best][:, 0])]
    ax.plot(*best.T, "D-", color=GREEN, markersize=5, linewidth=1.0, label="not beaten in both")
    labelled(ax, f"{with_unit(first.name, first.unit)} ({_goal(first.goal, first.target)})", f"{with_unit(second.name, second.unit)} ({_goal(second.goal, second.target)})")
    ax.legend(loc="best")
    return drawn


def unbeaten(merits: np.ndarray) -> np.ndarray:
    """Which rows, shape (n, m), no other one equals in all and beats in one: bool, shape (n,)."""
    found = np.ones(len(merits), dtype=bool)
    for k, row in enumerate(merits):
        found[k] = not ((merits >= row).all(axis=1) & (merits > row).any(axis=1)).any()
    return found


def _merit(goal: str, target: float | None, values: np.ndarray) -> np.ndarray:
    if goal == "target" and target is not None:
        return -np.abs(values - target)
    return values if goal == "maximize" else -values


def _goal(goal: str, target: float | None) -> str:
    return f"target {target:g}" if target is not None else goal


def _kind(origin: str) -> str:
    """An origin without what degraded: that stands in the table."""
    return origin.partition(" (")[0][:LONGEST] or "not on record"


def _kinds(rows: Sequence[tuple[int, float, float | None, str]]) -> list[str]:
    return list(dict.fromkeys(_kind(row[3]) for row in rows))

