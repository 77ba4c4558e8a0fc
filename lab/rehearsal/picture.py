"""Drawing a Gantt chart: SVG as text, PNG by Matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from lab.core.errors import ConfigError
from lab.rehearsal.ahead import Ahead, Rehearsed
from lab.rehearsal.conductor import Shown
from lab.rehearsal.layout import PALE, Box, Label, Layout, layout_of
from lab.rehearsal.report import makespan_s

SUFFIXES = (".svg", ".png")
FONT = "system-ui, 'Helvetica Neue', Arial, sans-serif"


def check_path(path: Path) -> None:
    """Refuse a file that cannot be drawn into, before anything else is done.

    Raises
    ------
    ConfigError
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError("command line", "--picture", str(path), f"a file that ends in {' or '.join(SUFFIXES)}")
    if not path.absolute().parent.is_dir():
        raise ConfigError("command line", "--picture", str(path), "a file in a folder that exists")


def draw(path: Path, ahead: Ahead, rehearsed: Rehearsed) -> None:
    """Draw the rehearsal whose duration is in the middle of all.

    Raises
    ------
    ConfigError
        When the file cannot be written.
    """
    if not rehearsed.shown:
        return
    chart = chart_of(ahead, typical(rehearsed.shown))
    try:
        if path.suffix.lower() == ".svg":
            path.write_text(svg(chart), encoding="utf-8")
        else:
            _write_png(chart, path)
    except OSError as error:
        raise ConfigError("command line", "--picture", f"{path} ({error.strerror})", "a file that can be written") from error


def typical(shown: Sequence[Shown]) -> Shown:
    """The one whose duration is in the middle."""
    return sorted(shown, key=makespan_s)[(len(shown) - 1) // 2]


def chart_of(ahead: Ahead, shown: Shown) -> Layout:
    """The chart of one rehearsal."""
    from lab.records.cells import duration

    lab = ahead.case.lab
    rows = ["arm", *(name for name, station in lab.stations.items() if station.role != "rack")]
    whole_s = makespan_s(shown)
    shares = {row: sum(bar.end_s - bar.begin_s for bar in shown.bars if bar.station == row) / whole_s if whole_s > 0 else 0.0 for row in rows}
    title = f"{ahead.case.campaign.name} in {lab.name}: {shown.n_done} samples in {duration(whole_s)}, rehearsed"
    return layout_of(shown, rows, title, {row: f"busy {100 * share:.0f} %" for row, share in shares.items()})


# ------------------------------------------------------------------------------------------------------ SVG


def svg(chart: Layout) -> str:
    """The chart as an SVG document."""
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{chart.width:.0f}" height="{chart.height:.0f}" '
             f'viewBox="0 0 {chart.width:.0f} {chart.height:.0f}" font-family={quoteattr(FONT)}>',
             '<rect width="100%" height="100%" fill="#ffffff"/>']
    bands = [box for box in chart.boxes if box.kind == "band"]
    lines += [_rect(box) for box in bands]
    lines += [f'<line x1="{x:.1f}" y1="{top:.1f}" x2="{x:.1f}" y2="{bottom:.1f}" stroke="{PALE}"/>' for x, top, bottom in chart.lines]
    lines += [_rect(box) for box in chart.boxes if box.kind != "band"]
    lines += [_text(label) for label in chart.labels]
    return "\n".join([*lines, "</svg>", ""])


def _rect(box: Box) -> str:
    start = (f'<rect class="{box.kind}" x="{box.x:.2f}" y="{box.y:.1f}" width="{box.width:.2f}" height="{box.height:.1f}" '
             f'fill="{box.colour}"')
    return f"{start}><title>{escape(box.title)}</title></rect>" if box.title else f"{start}/>"


def _text(label: Label) -> str:
    weight = ' font-weight="600"' if label.is_bold else ""
    return (f'<text x="{label.x:.1f}" y="{label.y:.1f}" font-size="{label.size:g}" fill="{label.colour}" '
            f'text-anchor="{label.anchor}"{weight}>{escape(label.text)}</text>')


# ------------------------------------------------------------------------------------------------------ PNG

DPI = 144.0
POINTS = 72.0 / 96.0
"""Points to a pixel of the layout."""


def _write_png(chart: Layout, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection, PatchCollection
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    figure = Figure(figsize=(chart.width / 96.0, chart.height / 96.0), dpi=DPI)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0.0, chart.width)
    axes.set_ylim(chart.height, 0.0)
    axes.axis("off")
    for order, is_band in ((1, True), (3, False)):
        boxes = [box for box in chart.boxes if (box.kind == "band") == is_band]
        patches = [Rectangle((box.x, box.y), box.width, box.height) for box in boxes]
        axes.add_collection(PatchCollection(patches, facecolors=[box.colour for box in boxes], linewidths=0.0, zorder=order))
    axes.add_collection(LineCollection([((x, top), (x, bottom)) for x, top, bottom in chart.lines], colors=PALE, linewidths=0.8, zorder=2))
    sides = {"start": "left", "middle": "center", "end": "right"}
    for label in chart.labels:
        axes.text(label.x, label.y, label.text, color=label.colour, fontsize=label.size * POINTS, ha=sides[label.anchor], va="baseline",
                  fontweight="bold" if label.is_bold else "normal", zorder=4)
    figure.savefig(path, dpi=DPI, facecolor="white")
