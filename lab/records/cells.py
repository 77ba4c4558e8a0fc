"""Cells and tables on a terminal, as all of our tables have them.

Causes hold what instruments say, brackets and all (``[3012][Buffer overrun]``), so every cell is a Text: nothing in it is markup.
"""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

COLOURS = {"done": "green", "completed": "green", "running": "cyan", "interrupted": "yellow", "abandoned": "yellow", "failed": "red"}

_RIGHT = ("trial", "done", "failed", "given up", "share", "left", "reserved", "samples")
_WHOLE = ("campaign", "is at", "answer")
"""Columns that people copy from the screen: they must stand there whole."""


def table_of(*columns: str) -> Table:
    """An empty table without lines."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, justify="right" if column in _RIGHT else "left", no_wrap=column in _WHOLE, overflow="fold")
    return table


def state_cell(state: str) -> Text:
    """A state in its colour."""
    return Text(state, COLOURS.get(state, ""))


def moment(iso: str) -> str:
    """``2026-11-22 10:15:00``."""
    return iso[:19].replace("T", " ")


def duration(seconds: float) -> str:
    """``2 h 05 min``, ``3 min 20 s`` or ``4.2 s``."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes:02d} min" if hours else (f"{minutes} min {whole % 60:02d} s" if minutes else f"{seconds:.1f} s")
