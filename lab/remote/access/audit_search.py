"""The audit log for people: searched, shown as a table, its verification in words. Nothing of what clients have said reaches a terminal as it is."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from lab.core.errors import ConfigError
from lab.remote.access.audit_chain import Link, Verdict
from lab.remote.access.words import escaped

if TYPE_CHECKING:
    from rich.table import Table

MEMBERS = ("n", "wall", "who", "role", "key", "method", "what", "outcome", "count")
_AGO = re.compile(r"(\d{1,6})([smhd])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_HEAD = re.compile(r"(\d{1,18}):([0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True)
class Search:
    """What is looked for; empty texts fit everything.

    Parameters
    ----------
    who : str
        Name of a key.
    method : str
        Name, or a pattern: ``queue_*``.
    outcome : str
        A part of it, whatever its case.
    since : float
        Time of day, seconds.
    """

    who: str = ""
    method: str = ""
    outcome: str = ""
    since: float = float("-inf")

    def fits(self, row: dict[str, Any]) -> bool:
        """Whether a line is one of those."""
        wall = row.get("wall")
        return ((not self.who or row.get("who") == self.who)
                and (not self.method or fnmatchcase(str(row.get("method")), self.method))
                and self.outcome.casefold() in str(row.get("outcome")).casefold()
                and isinstance(wall, (int, float)) and wall >= self.since)


def newest(rows: Iterable[dict[str, Any]], search: Search, most: int) -> tuple[list[dict[str, Any]], int]:
    """The last lines that fit, and how many fit."""
    kept: deque[dict[str, Any]] = deque(maxlen=most)
    n_found = 0
    for row in rows:
        if search.fits(row):
            n_found += 1
            kept.append({name: row.get(name) for name in MEMBERS})
    return list(kept), n_found


def since(given: str, now: float | None = None) -> float:
    """A time as people write it: ``2h`` (30s, 10m, 7d: so long ago), ``2026-10-05``, ``2026-10-05T14:00`` (local time, or with its offset).

    Raises
    ------
    ConfigError
        When it is none of those.
    """
    ago = _AGO.fullmatch(given)
    if ago is not None:
        return (time.time() if now is None else now) - int(ago[1]) * _SECONDS[ago[2]]
    try:
        return datetime.fromisoformat(given).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise ConfigError("command line", "--since", escaped(given, 60), "2h, 30m, 7d, or a time such as 2026-10-05 or 2026-10-05T14:00") from error


def head(given: str) -> Link:
    """A head as ``lab audit --verify`` prints it.

    Raises
    ------
    ConfigError
        When it is none.
    """
    found = _HEAD.fullmatch(given)
    if found is None:
        raise ConfigError("command line", "--expect", escaped(given, 60), "N:HASH, as an earlier lab audit --verify has printed it")
    return Link(int(found[1]), found[2])


def render(rows: list[dict[str, Any]], n_found: int) -> Table | str:
    """The lines as a table."""
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return "nothing on record that fits"
    title = None if n_found == len(rows) else f"the last {len(rows)} of {n_found}; more with --limit"
    table = Table("n", "when", "who", "role", "method", "what", "outcome", "times", box=None, header_style="bold", title=title)
    for row in rows:
        who = row["who"] or (f"key {row['key']}" if row["key"] else "")
        cells = (row["n"], _when(row["wall"]), who, row["role"], row["method"], row["what"], row["outcome"], "" if row["count"] == 1 else row["count"])
        table.add_row(*(Text(escaped(cell, 200), overflow="fold") for cell in cells))
    return table


def verdict_in_words(found: Verdict) -> str:
    """What a verification has found; the last line is what to note elsewhere."""
    lines = [f"audit: {problem}" for problem in found.problems[:50]]
    if len(found.problems) > 50:
        lines.append(f"audit: and {len(found.problems) - 50} more of this kind")
    lines += [f"note: {note}" for note in found.notes[:50]]
    lines.append(f"{found.n_lines} lines in {found.n_files} files: " + ("the chain is whole" if not found.problems else f"{len(found.problems)} problems"))
    lines.append(f"head {found.head.n}:{found.head.hash}  (note it where this machine cannot change it; later: lab audit --verify --expect N:HASH)")
    return "\n".join(lines)


def as_data(found: Verdict) -> dict[str, Any]:
    """A verification for programs."""
    return {"whole": not found.problems, "problems": found.problems, "notes": found.notes, "files": found.n_files, "lines": found.n_lines,
            "head": f"{found.head.n}:{found.head.hash}"}


def _when(wall: object) -> str:
    try:
        return f"{datetime.fromtimestamp(float(wall)):%Y-%m-%d %H:%M:%S}"  # type: ignore[arg-type]
    except (ValueError, TypeError, OverflowError, OSError):
        return "?"
