"""How a campaign went, drawn: outcomes over trials, and the trade-off between objectives."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from lab.core.best import is_eligible
from lab.core.front import is_in_front
from lab.core.merit import merits
from lab.core.question import CampaignConfig, Objective
from lab.dossier.content import Dossier, Progress
from lab.dossier.drawing import BLUE, GREEN, GREY, MANY, ORANGE, PURPLE, RED, WIDTH, figure, labelled, with_unit
from lab.optimise.left_out import WITHIN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKS = ((BLUE, "o"), (ORANGE, "^"), (PURPLE, "s"), (GREEN, "v"), (GREY, "P"))
"""Of where suggestions came from."""

MOST_PAIRS = 3
"""Pairs of objectives that are drawn."""

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
    if len(one.recommended) > 1:
        errors = [WITHIN * (error or 0.0) for _, _, error in one.recommended]
        ax.errorbar([number + 0.3 for number, _, _ in one.recommended], [mean for _, mean, _ in one.recommended], yerr=errors, fmt="D", color="black",
                    markerfacecolor="white", markersize=5, elinewidth=1.0, label="recommended by then", zorder=3)
    if dossier.failed:
        low = ax.get_ylim()[0]
        ax.plot([t.index + 1 for t in dossier.failed], [low] * len(dossier.failed), "x", color=RED, markersize=7, markeredgewidth=1.6, label="failed",
                clip_on=False)
    _changes(ax, dossier)
    target = None if dossier.config is None else next(o.target for o in dossier.config.objectives if o.name == one.name)
    if target is not None:
        ax.axhline(target, color=GREEN, linestyle="--", linewidth=1.2, label="target")
    labelled(ax, "trial", with_unit(one.name, unit))
    drawn.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=4)
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
    """Objectives against each other, two at a time; those that no other one beats in all are marked, and joined where there are only two."""
    eligible = [t for t in dossier.completed if is_eligible(config, t)]
    table = np.array([[t.outcome.measured[one.name].mean for one in config.objectives] for t in eligible if t.outcome is not None])
    table = table.reshape(-1, len(config.objectives))
    is_best = is_in_front(merits(config.objectives, {one.name: table[:, k] for k, one in enumerate(config.objectives)}))
    pairs = list(combinations(range(len(config.objectives)), 2))[:MOST_PAIRS]
    drawn = figure(3.8, WIDTH if len(pairs) > 1 else WIDTH * 0.65)
    for ax, (first, second) in zip(drawn.subplots(1, len(pairs), squeeze=False).flat, pairs, strict=True):
        ax.plot(table[~is_best, first], table[~is_best, second], "o", color=GREY, markersize=4, label="measured", rasterized=len(table) > MANY)
        best = table[is_best][np.argsort(table[is_best][:, first])]
        ax.plot(best[:, first], best[:, second], "D-" if len(config.objectives) == 2 else "D", color=GREEN, markersize=5, linewidth=1.0, label="not beaten")
        labelled(ax, _goal(config.objectives[first]), _goal(config.objectives[second]))
    drawn.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return drawn


def _goal(one: Objective) -> str:
    return f"{with_unit(one.name, one.unit)} ({one.goal if one.target is None else f'target {one.target:g}'})"


def _kind(origin: str) -> str:
    """An origin without what degraded: that stands in the table."""
    return origin.partition(" (")[0][:LONGEST] or "not on record"


def _kinds(rows: Sequence[tuple[int, float, float | None, str]]) -> list[str]:
    return list(dict.fromkeys(_kind(row[3]) for row in rows))

