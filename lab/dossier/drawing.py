"""How figures look, and figures as text: SVG that stands in a page, drawn by Matplotlib without a screen.

Colours are Okabe and Ito's, which people with any colour vision tell apart (https://jfly.uni-koeln.de/color/), and viridis; what a colour
says is said by a mark or a word, too.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#666666"
MAP_COLOURS = "viridis"
WIDTH = 9.0
"""Inches of a figure as wide as the page."""

MANY = 300
"""More marks than this are drawn as a picture inside the figure: a path for each would make a large file."""

_STYLE: Any = {
    "font.family": "DejaVu Sans", "font.size": 9.5, "axes.titlesize": 10.0, "axes.titlelocation": "left", "axes.labelsize": 9.5,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#888888", "axes.grid": True, "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6, "axes.axisbelow": True, "xtick.color": "#444444", "ytick.color": "#444444", "legend.frameon": False,
    "legend.fontsize": 9.0, "figure.constrained_layout.use": True, "svg.fonttype": "path", "svg.hashsalt": "labwright",
    "text.parse_math": False,  # units and choices are anybody's text, dollars and all
}


@contextmanager
def style() -> Iterator[None]:
    """Everything that is drawn meanwhile looks alike."""
    from matplotlib import rc_context

    with rc_context(_STYLE):
        yield


def figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure, in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height))
    FigureCanvasAgg(made)
    return made


def svg(drawn: Figure, name: str, words: str) -> str:
    """A figure as an element of a page.

    Parameters
    ----------
    name : str
        Different for each figure of a page: parts of a figure are known by names, and pages have one room for all of them.
    words : str
        What it shows, for those who hear a page.
    """
    from html import escape

    file = io.StringIO()
    drawn.savefig(file, format="svg", metadata={"Date": None, "Creator": None}, dpi=150)
    text = file.getvalue()
    text = text[text.index("<svg"):]
    text = re.sub(r'\b(id="|url\(#|href="#)', lambda found: f"{found.group(1)}{name}-", text)
    return re.sub(r"<svg ", f'<svg role="img" aria-label="{escape(words, quote=True)}" ', text, count=1)


def labelled(axes: Axes, x: str, y: str, title: str = "") -> None:
    """Names of both axes, and what is shown."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if title:
        axes.set_title(title)


def on_logarithms(axes: Axes, which: Literal["x", "y"]) -> None:
    """A logarithmic scale, with plain numbers at its decades."""
    from matplotlib.ticker import LogFormatter, NullFormatter

    if which == "x":
        axes.set_xscale("log")
    else:
        axes.set_yscale("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(LogFormatter())
    axis.set_minor_formatter(NullFormatter())


def with_unit(name: str, unit: str) -> str:
    """``anneal_temperature [degC]``."""
    return f"{name} [{unit}]" if unit else name
