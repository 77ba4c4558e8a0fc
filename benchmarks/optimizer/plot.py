"""The rows as curves: one panel for each problem, the median of every engine with its quartiles around it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.optimizer.engines import NAMES
from benchmarks.optimizer.rows import HOURS, Row, by_run
from benchmarks.optimizer.summary import POOL, newest, quartiles

LEAST = 1e-6
"""Where the logarithmic axis ends."""

COLOURS = {name: matplotlib.colormaps["tab20"](k) for k, name in enumerate(NAMES)}
"""An engine has the same colour in every plot."""


def draw(rows: Sequence[Row], file: Path) -> None:
    """Draw all problems that have rows.

    Parameters
    ----------
    rows : sequence of Row
    file : Path
        PNG, SVG or PDF, by its ending.
    """
    rows = newest(rows)
    names = sorted({row.problem for row in rows})
    if not names:
        return
    n_columns = min(3, len(names))
    n_lines = math.ceil(len(names) / n_columns)
    figure = Figure(figsize=(5 * n_columns, 3.6 * n_lines), layout="constrained")
    panels = figure.subplots(n_lines, n_columns, squeeze=False).ravel()
    for panel, name in zip(panels, names, strict=False):
        _panel(panel, name, [row for row in rows if row.problem == name])
    for panel in panels[len(names):]:
        panel.set_axis_off()
    figure.savefig(file, dpi=120)


def _panel(panel: Axes, name: str, rows: Sequence[Row]) -> None:
    has_pool = name.startswith(POOL)
    in_hours = any(row.note.startswith(HOURS) for row in rows)
    for engine in sorted({row.engine for row in rows}, key=NAMES.index):
        runs = [run for key, run in by_run(rows).items() if key.engine == engine]
        x = _steps(rows, in_hours)
        low, middle, high = _curves(runs, x, in_hours, has_pool)
        panel.plot(x, middle, label=f"{engine} ({len(runs)})", color=COLOURS[engine])
        panel.fill_between(x, low, high, color=COLOURS[engine], alpha=0.15, linewidth=0)
    panel.set_title(name)
    panel.set_xlabel("laboratory hours" if in_hours else "trials")
    panel.set_ylabel("top 5 % found" if has_pool else "regret")
    panel.set_yscale("linear" if has_pool else "log")
    panel.legend(fontsize="small")


def _steps(rows: Sequence[Row], in_hours: bool) -> np.ndarray:
    """Where the curves have points: after each trial, or, where the hours are limited, 100 times in them."""
    if in_hours:
        return np.linspace(0, max(row.hours for row in rows if row.hours is not None), 101)[1:]
    return np.arange(1, max(sum(bool(row.state) for row in run) for run in by_run(rows).values()) + 1)


def _curves(runs: Sequence[Sequence[Row]], x: np.ndarray, in_hours: bool, has_pool: bool) -> np.ndarray:
    """Quartiles at each of `x`, shape (3, n). A run that ended early keeps its last value."""
    curves = np.full((len(runs), len(x)), np.inf)
    for curve, run in zip(curves, runs, strict=True):
        ended = [row for row in run if row.state]
        values = np.array([np.inf if v is None else v if has_pool else max(LEAST, v) for v in (row.found if has_pool else row.regret for row in ended)])
        places = np.array([row.hours for row in ended], dtype=float) if in_hours else np.arange(1, len(ended) + 1)
        last = np.searchsorted(places, x, side="right") - 1
        curve[last >= 0] = values[last[last >= 0]]
    bands = np.array([quartiles(column) for column in curves.T]).T.reshape(3, len(x))
    return np.where(np.isfinite(bands), bands, np.nan)
