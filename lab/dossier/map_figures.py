"""Maps of what is expected over two parameters, and over three fractions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lab.core.question import CampaignConfig, RangeSpec
from lab.core.space import Value
from lab.core.trial import Trial
from lab.dossier.drawing import MANY, MAP_COLOURS, RED, figure, labelled, on_logarithms, with_unit
from lab.optimise.dependence import N_EDGE, Map

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 3.0 ** 0.5 / 2.0]])
"""Where each fraction is everything."""


def map_figure(found: Map, outcome: str, config: CampaignConfig, completed: Sequence[Trial], failed: Sequence[Trial], best: Mapping[str, Value] | None) -> Figure:
    """What is expected over two parameters, and how surely."""
    drawn = figure(3.7)
    x, y = (np.unique([float(at[k]) for at in found.at]) for k in (0, 1))
    units = {one.name: one.unit for one in config.parameters}
    for ax, numbers, words in zip(drawn.subplots(1, 2, sharey=True), (found.mean, found.deviation), ("expected", "uncertainty (standard deviation)"), strict=True):
        table = np.full((len(y), len(x)), np.nan)
        for at, number in zip(found.at, numbers, strict=True):
            table[np.searchsorted(y, float(at[1])), np.searchsorted(x, float(at[0]))] = number
        mesh = ax.pcolormesh(x, y, table, cmap=MAP_COLOURS if words == "expected" else "cividis", shading="nearest", rasterized=True)
        if _is_log(config, found.names[0]):
            on_logarithms(ax, "x")
        if _is_log(config, found.names[1]):
            on_logarithms(ax, "y")
        drawn.colorbar(mesh, ax=ax, label=outcome)
        _points(ax, [_pair(found, t.point) for t in completed], [_pair(found, t.point) for t in failed], None if best is None else _pair(found, best))
        ax.grid(visible=False)
        labelled(ax, with_unit(found.names[0], units.get(found.names[0], "")), with_unit(found.names[1], units.get(found.names[1], "")), words)
    return drawn


def _is_log(config: CampaignConfig, name: str) -> bool:
    return any(isinstance(one, RangeSpec) and one.name == name and one.scale == "log" for one in config.parameters)


def triangle_figure(found: Map, outcome: str, completed: Sequence[Trial], failed: Sequence[Trial], best: Mapping[str, Value] | None) -> Figure:
    """What is expected over three fractions, and how surely."""
    from matplotlib.collections import PolyCollection
    from matplotlib.patches import Polygon

    drawn = figure(4.1)
    places = np.array([_corner_sum(at) for at in found.at])
    turn = np.pi / 6 + np.arange(6) * np.pi / 3
    hexagon = np.column_stack([np.cos(turn), np.sin(turn)]) / (N_EDGE * 3.0 ** 0.5) * 1.02
    for ax, numbers, words in zip(drawn.subplots(1, 2), (found.mean, found.deviation), ("expected", "uncertainty (standard deviation)"), strict=True):
        cells: Any = PolyCollection(places[:, None, :] + hexagon, array=np.array(numbers), cmap=MAP_COLOURS if words == "expected" else "cividis",
                                    edgecolors="face", linewidths=0.3, rasterized=True)
        ax.add_collection(cells)
        cells.set_clip_path(Polygon(CORNERS, transform=ax.transData))
        drawn.colorbar(cells, ax=ax, label=outcome, shrink=0.75)
        ax.set_title(words)
        _frame(ax, found)
        _points(ax, [_corner_sum(_named(found, t.point)) for t in completed], [_corner_sum(_named(found, t.point)) for t in failed],
                None if best is None else _corner_sum(_named(found, best)))
    return drawn


def _frame(ax: Axes, found: Map) -> None:
    """The edges of the triangle, a tick each fifth, and which corner is which."""
    ax.plot(*CORNERS[[0, 1, 2, 0]].T, color="#444444", linewidth=0.8)
    for share in (0.2, 0.4, 0.6, 0.8):
        for a, b, c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
            ends = share * CORNERS[a] + (1 - share) * CORNERS[[b, c]]
            ax.plot(*ends.T, color="white", linewidth=0.4, alpha=0.6)
    total = sum(float(v) for v in found.at[0])
    for name, corner, (dx, dy), side in zip(found.names, CORNERS, ((0.0, -0.05), (0.0, -0.05), (0.0, 0.03)), ("top", "top", "bottom"), strict=True):
        ax.text(corner[0] + dx, corner[1] + dy, f"{name} {total:.3g}", ha="center", va=side)
    ax.set_xlim(-0.12, 1.12)
    ax.set_ylim(-0.13, 0.98)
    ax.set_aspect("equal")
    ax.set_axis_off()


def _points(ax: Axes, completed: Sequence[Any], failed: Sequence[Any], best: Any) -> None:
    if len(completed):
        ax.scatter(*_columns(completed), marker="o", s=14 if len(completed) <= MANY else 2, color="white", edgecolors="black",
                   linewidths=0.6 if len(completed) <= MANY else 0.2, rasterized=len(completed) > MANY, zorder=3)
    if len(failed):
        for width, colour in ((3.6, "white"), (1.8, RED)):  # seen on any colour below
            ax.scatter(*_columns(failed), marker="x", s=26 if len(completed) <= MANY else 12, color=colour, linewidths=width, rasterized=len(failed) > MANY, zorder=3)
    if best is not None:
        ax.scatter(*_columns([best]), marker="*", s=150, color="white", edgecolors="black", linewidths=0.9, zorder=4)


def _columns(points: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(points, dtype=float)
    return table[:, 0], table[:, 1]


def _pair(found: Map, point: Mapping[str, Value]) -> tuple[float, ...]:
    return tuple(float(point[name]) for name in found.names)


def _named(found: Map, point: Mapping[str, Value]) -> tuple[Value, ...]:
    return tuple(point[name] for name in found.names)


def _corner_sum(at: Sequence[Value]) -> np.ndarray:
    """Where three fractions stand in the triangle; of nothing at all, in its middle."""
    shares = np.array([float(v) for v in at])
    total = float(shares.sum())
    return np.asarray((shares / total if total > 0 else np.full(3, 1 / 3)) @ CORNERS)


def words_of(found: Map) -> str:
    """What is held, where."""
    held = ", ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in found.others.items())
    return f"all else as at the recommended point{': ' + held if held else ''}; ring: measured, cross: failed, star: recommended"

