"""What the models say, drawn: left-out samples, what matters, how."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lab.core.question import CampaignConfig, RangeSpec
from lab.core.space import ChoiceParameter, Value
from lab.core.trial import Trial
from lab.dossier.drawing import BLUE, GREEN, GREY, MANY, ORANGE, RED, WIDTH, figure, labelled, on_logarithms, with_unit
from lab.optimise.dependence import Curve
from lab.optimise.explain import Told
from lab.optimise.left_out import WITHIN, Foretold

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4
"""Curves side by side."""


def left_out_figure(told: Told, unit: str) -> Figure:
    """Predicted against measured, and residuals in the order of the trials."""
    drawn, one = figure(3.6), told.left_out
    ax, of_residuals = drawn.subplots(1, 2, width_ratios=[1.0, 1.25])
    is_inside = np.abs(one.standardised) <= WITHIN
    ends = [min(one.measured.min(), one.expected.min()), max(one.measured.max(), one.expected.max())]
    ax.plot(ends, ends, color=GREY, linewidth=1.0)
    for which, colour, mark, words in ((is_inside, BLUE, "o", "inside its 95 % band"), (~is_inside, RED, "D", "outside")):
        if which.any():
            ax.errorbar(one.expected[which], one.measured[which], xerr=WITHIN * one.deviation[which], fmt=mark, color=colour, markersize=4,
                        elinewidth=0.8, alpha=0.8, label=words, rasterized=len(one) > MANY)
    labelled(ax, f"predicted without it: {with_unit(told.name, unit)}", f"measured: {with_unit(told.name, unit)}", "samples left out")
    ax.legend(loc="best")
    numbers = np.array([k + 1 if index is None else index + 1 for k, index in enumerate(told.trials)])
    of_residuals.axhspan(-WITHIN, WITHIN, color="#e8f1f8", zorder=0)
    of_residuals.axhline(0.0, color=GREY, linewidth=1.0)
    for which, colour, mark in ((is_inside, BLUE, "o"), (~is_inside, RED, "D")):
        of_residuals.plot(numbers[which], one.standardised[which], mark, color=colour, markersize=4, rasterized=len(one) > MANY)
    labelled(of_residuals, "trial", "residual in its own standard deviations", "by trial; the band holds 95 %")
    return drawn


def effects_figure(told: Told) -> Figure:
    """What each parameter matters."""
    found = told.sensitivities
    drawn = figure(0.9 + 0.34 * len(found.effects), WIDTH * 0.75)
    ax = drawn.subplots()
    places = np.arange(len(found.effects))[::-1]
    whole = "with all interactions" if found.kind == "sobol" else "share (Shapley)"
    ax.barh(places + 0.18, [max(one.whole, 0.0) for one in found.effects], 0.34, color=BLUE, label=whole,
            xerr=[one.whole_error for one in found.effects], error_kw={"elinewidth": 1.0, "ecolor": "#222222"})
    ax.barh(places - 0.18, [max(one.first, 0.0) for one in found.effects], 0.34, color=ORANGE, label="alone", hatch="//", edgecolor="white",
            xerr=[one.first_error for one in found.effects], error_kw={"elinewidth": 1.0, "ecolor": "#222222"})
    ax.set_yticks(places, [one.name for one in found.effects])
    ax.set_xlim(0.0, None)
    ax.grid(visible=False, axis="y")
    labelled(ax, f"share of the variance of {told.name}", "")
    ax.legend(loc="lower right")
    return drawn


def curves_figure(told: Told, config: CampaignConfig, completed: Sequence[Trial]) -> Figure:
    """How the outcome depends on each of the parameters that matter most."""
    n_rows = -(-len(told.averages) // COLUMNS)
    drawn = figure(0.5 + 2.3 * n_rows)
    grid = drawn.subplots(n_rows, COLUMNS, squeeze=False, sharey=True)
    through = {one.name: one for one in told.slices}
    for ax, curve in zip(grid.flat, told.averages, strict=False):
        place = _scale_of(ax, config, curve)
        is_choice = isinstance(config.space[curve.name], ChoiceParameter)
        if through.get(curve.name) is not None:
            _line(ax, through[curve.name], place, ORANGE, "--", "through the recommended point", is_choice)
        _line(ax, curve, place, BLUE, "-", "mean over the space", is_choice)
        _marks(ax, curve.name, told.name, place, completed)
        labelled(ax, with_unit(curve.name, _unit(config, curve.name)), "")
    for ax in list(grid.flat)[len(told.averages):]:
        ax.set_axis_off()
    for row in grid:
        row[0].set_ylabel(told.name)
    handles, names = grid[0, 0].get_legend_handles_labels()
    drawn.legend(handles, names, loc="outside upper left", ncols=3)
    return drawn


def beyond_figure(told: Told, units: Mapping[str, str]) -> Figure:
    """At one point, along what is not chosen."""
    drawn = figure(2.8, WIDTH * min(1.0, 0.4 * len(told.beyond) + 0.1))
    for ax, curve in zip(drawn.subplots(1, len(told.beyond), squeeze=False, sharey=True).flat, told.beyond, strict=True):
        _line(ax, curve, float, ORANGE, "--", told.name, is_choice=False)
        labelled(ax, with_unit(curve.name, units.get(curve.name, "")), told.name)
    return drawn


def _line(ax: Axes, curve: Curve, place: Callable[[Value], float], colour: str, kind: str, label: str, is_choice: bool) -> None:
    if not curve.values:
        return
    x, mean, deviation = np.array([place(v) for v in curve.values]), np.array(curve.mean), np.array(curve.deviation)
    if is_choice:
        ax.errorbar(x, mean, yerr=WITHIN * deviation, fmt="s" if kind == "-" else "^", color=colour, markersize=4, elinewidth=1.2, label=label)
        return
    ax.fill_between(x, mean - WITHIN * deviation, mean + WITHIN * deviation, color=colour, alpha=0.18, linewidth=0)
    ax.plot(x, mean, kind, color=colour, linewidth=1.6, label=label)


def _marks(ax: Axes, name: str, outcome: str, place: Callable[[Value], float], completed: Sequence[Trial]) -> None:
    """What was measured."""
    points = [(place(t.point[name]), t.outcome.measured[outcome].mean) for t in completed
              if t.outcome is not None and outcome in t.outcome.measured and name in t.point]
    ax.plot([x for x, _ in points], [y for _, y in points], "o", color=GREY, markersize=2.5, alpha=0.6, label="measured", zorder=1,
            rasterized=len(points) > MANY)


def _scale_of(ax: Axes, config: CampaignConfig, curve: Curve) -> Callable[[Value], float]:
    """Where a value of a parameter stands on its axis, which is made ready for it."""
    spec = next((one for one in config.parameters if one.name == curve.name), None)
    if isinstance(spec, RangeSpec):
        if spec.scale == "log":
            on_logarithms(ax, "x")
        return float
    choice = config.space[curve.name]
    values = [str(v) for v in choice.values] if isinstance(choice, ChoiceParameter) else []
    ax.set_xticks(range(len(values)), values, rotation=30 if sum(map(len, values)) > 18 else 0)
    ax.set_xlim(-0.5, len(values) - 0.5)
    return lambda value: float(values.index(str(value))) if str(value) in values else float("nan")


def _unit(config: CampaignConfig, name: str) -> str:
    return next((one.unit for one in config.parameters if one.name == name), "")


def reliability_figure(found: Foretold) -> Figure:
    """How often samples succeeded, by the chance that they were given."""
    drawn = figure(3.0, WIDTH * 0.5)
    ax = drawn.subplots()
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=1.0)
    steps = found.reliability()
    ax.plot([chance for chance, _, _ in steps], [share for _, share, _ in steps], "s-", color=GREEN, markersize=6)
    for chance, share, n in steps:
        ax.annotate(str(n), (chance, share), xytext=(6, -11 if share > 0.5 else 6), textcoords="offset points", fontsize=8)
    ax.set_xlim(-0.03, 1.08)
    ax.set_ylim(-0.03, 1.08)
    labelled(ax, "chance of success, predicted without it", "share that succeeded", "with the number of samples")
    return drawn
