"""A Gantt chart of one rehearsal: what stands where on the picture, in pixels, whatever draws it (`lab.rehearsal.picture`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lab.rehearsal.conductor import Bar, Shown

COLOURS = ("#4878a8", "#e08a3c", "#5a9e6f", "#c25b5b", "#8069ad", "#a5784e", "#cf7fb0", "#6f7a83", "#a8a03c", "#3fa3ad")
"""Of the samples, in turn."""

INK, FAINT, PALE, BAND = "#22282e", "#6b747c", "#d9dde1", "#f5f6f8"

ROW, BAR, TOP, BOTTOM, RIGHT = 40.0, 26.0, 56.0, 46.0, 24.0
LEAST_WIDTH, MOST_WIDTH, WIDTH_OF_SAMPLE = 1100.0, 6000.0, 42.0

PREPARE = "prepare "
"""What the name of a step begins with during which a sample waits for its station to be ready."""

LETTER = 6.6
"""Width of a letter of 11 px, about."""

TICKS_S = (60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800)
TICK_PX = 85.0
"""Two marks of the time axis are at least so far apart."""


@dataclass(frozen=True)
class Box:
    """A filled rectangle; `kind` is ``step``, ``cooling`` or ``band``, `title` what it says when it is pointed at."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    kind: str
    title: str = ""


@dataclass(frozen=True)
class Label:
    """A line of text; `anchor` is ``start``, ``middle`` or ``end``, `y` its base line."""

    x: float
    y: float
    text: str
    colour: str = INK
    size: float = 11.0
    anchor: str = "start"
    is_bold: bool = False


@dataclass
class Layout:
    """All that is drawn, in the order in which it is drawn: `boxes`, `lines` (x, top, bottom), `labels`."""

    width: float
    height: float
    boxes: list[Box] = field(default_factory=list)
    lines: list[tuple[float, float, float]] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)


def layout_of(shown: Shown, rows: Sequence[str], title: str, roles: dict[str, str]) -> Layout:
    """The chart: a row for each station, a bar for each step.

    Parameters
    ----------
    shown : Shown
    rows : sequence of str
        Stations and the arm, from the top.
    title : str
    roles : dict of str to str
        What is said below a row's name.
    """
    left = 28.0 + 8.0 * max(len(text) for row in rows for text in (row, roles.get(row, "")))
    until_s = max((bar.end_s for bar in (*shown.bars, *shown.cooling)), default=1.0)
    width = min(MOST_WIDTH, max(LEAST_WIDTH, left + RIGHT + WIDTH_OF_SAMPLE * len(shown.orders)))
    scale = (width - left - RIGHT) / until_s
    chart = Layout(width, TOP + ROW * len(rows) + BOTTOM)
    chart.labels.append(Label(20.0, 30.0, title, size=15.0, is_bold=True))
    for number, row in enumerate(rows):
        y = TOP + ROW * number
        if number % 2 == 0:
            chart.boxes.append(Box(0.0, y, width, ROW, BAND, "band"))
        has_role = bool(roles.get(row))
        chart.labels.append(Label(20.0, y + (18.0 if has_role else 24.0), row, size=13.0))
        if has_role:
            chart.labels.append(Label(20.0, y + 32.0, roles[row], FAINT, 10.5))
    _axis(chart, left, scale, until_s, TOP + ROW * len(rows))
    top = {row: TOP + ROW * number + (ROW - BAR) / 2 for number, row in enumerate(rows)}
    for bar in shown.cooling:
        chart.boxes.append(Box(left + bar.begin_s * scale, top[bar.station], (bar.end_s - bar.begin_s) * scale, BAR, PALE, "cooling",
                               f"{bar.station} cools, {_clock(bar.begin_s)} to {_clock(bar.end_s)}"))
    for bar in shown.bars:
        if bar.step.startswith(PREPARE) and (bar.end_s - bar.begin_s) * scale < 1.0:
            continue  # the station was ready
        _add_bar(chart, bar, left + bar.begin_s * scale, top[bar.station], max(0.6, (bar.end_s - bar.begin_s) * scale))
    if shown.cooling:
        x, y = width - RIGHT - 150.0, 18.0
        chart.boxes.append(Box(x, y, 26.0, 14.0, PALE, "legend"))
        chart.labels.append(Label(x + 34.0, y + 11.5, "empty and too hot", FAINT, 11.5))
    return chart


def _add_bar(chart: Layout, bar: Bar, x: float, y: float, width: float) -> None:
    """One step, with the number of its sample where that has room."""
    is_waited_for = bar.step.startswith(PREPARE)
    colour = COLOURS[bar.sample % len(COLOURS)]
    chart.boxes.append(Box(x, y + (BAR - 6.0 if is_waited_for else 0.0), width, 6.0 if is_waited_for else BAR, colour, "step",
                           f"sample {bar.sample + 1}: {bar.step} at {bar.station}, {_clock(bar.begin_s)} to {_clock(bar.end_s)}"))
    text = str(bar.sample + 1)
    if not is_waited_for and width > LETTER * len(text) + 3.0:
        chart.labels.append(Label(x + width / 2, y + BAR / 2 + 4.0, text, "#ffffff", 11.0, "middle", True))


def _axis(chart: Layout, left: float, scale: float, until_s: float, bottom: float) -> None:
    step_s = next((tick for tick in TICKS_S if tick * scale >= TICK_PX), TICKS_S[-1])
    for at_s in _times(until_s, step_s):
        x = left + at_s * scale
        chart.lines.append((x, TOP, bottom + 5.0))
        chart.labels.append(Label(x, bottom + 21.0, tick_words(at_s), FAINT, 11.5, "middle"))


def _times(until_s: float, step_s: float) -> Iterator[float]:
    at_s = 0.0
    while at_s <= until_s:
        yield at_s
        at_s += step_s


def tick_words(seconds: float) -> str:
    """``0``, ``20 min``, ``1 h``, ``1 h 30``."""
    hours, minutes = divmod(round(seconds) // 60, 60)
    if not hours:
        return f"{minutes} min" if minutes else "0"
    return f"{hours} h {minutes:02d}" if minutes else f"{hours} h"


def _clock(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
