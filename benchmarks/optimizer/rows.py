"""The raw rows: a CSV that only grows, one row for each trial, written as the trial ends."""

from __future__ import annotations

import csv
import io
import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from lab.core.errors import ConfigError

ENDED = "ended: "
"""How the note of a run's last row begins when it had to end before its last trial."""

DEADLINE = ENDED + "deadline"


@dataclass(frozen=True)
class Key:
    """One run."""

    problem: str
    engine: str
    version: str
    seed: int


@dataclass(frozen=True)
class Row:
    """One trial of one run, or why there are no more.

    Parameters
    ----------
    problem, engine, version : str
    seed, trial : int
        The trial from 0.
    state : str
        ``completed`` or ``failed``; empty in a row that only tells why a run ended.
    parameters : str
        JSON, as executed.
    value : float or None
        As measured; None when there is no sample.
    best : float or None
        Best measured value so far.
    regret : float or None
        How far the true response of that best trial is from the optimum.
    found : float or None
        Share of a pool's top 5 % measured so far; None where there is no pool.
    failures : int
        So far.
    cpu_s : float or None
        CPU seconds of the suggestion.
    note : str
        What the engine said of the point's origin; whether it was moved to a row of the pool.
    """

    problem: str
    engine: str
    version: str
    seed: int
    trial: int
    state: str
    parameters: str
    value: float | None
    best: float | None
    regret: float | None
    found: float | None
    failures: int
    cpu_s: float | None
    note: str

    @property
    def key(self) -> Key:
        return Key(self.problem, self.engine, self.version, self.seed)

    def line(self) -> str:
        """As it stands in the file, with its line end."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(["" if v is None else v for v in asdict(self).values()])
        return text.getvalue()


COLUMNS = tuple(field.name for field in fields(Row))
_WHOLE = ("seed", "trial", "failures")
_NUMBERS = ("value", "best", "regret", "found", "cpu_s")


def read_line(line: str) -> Row | None:
    """A row from its line; None when it is not one (cut off by a kill, or printed by a library)."""
    cells = next(csv.reader([line]), [])
    if len(cells) != len(COLUMNS) or not line.endswith("\n"):
        return None
    named: dict[str, object] = dict(zip(COLUMNS, cells, strict=True))
    try:
        named.update({name: int(str(named[name])) for name in _WHOLE})
        named.update({name: float(str(named[name])) if named[name] != "" else None for name in _NUMBERS})
    except ValueError:
        return None
    return Row(**named)  # type: ignore[arg-type]


class Rows:
    """The file of rows; several threads may add to it.

    Parameters
    ----------
    file : Path
        Made when there is none.

    Raises
    ------
    ConfigError
        When it is a CSV with other columns.
    """

    def __init__(self, file: Path) -> None:
        self._file, self._lock = file, threading.Lock()
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            file.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
        with file.open(encoding="utf-8") as stream:
            header = stream.readline().strip()
        if header != ",".join(COLUMNS):
            raise ConfigError(str(file), "line 1", header, f"{','.join(COLUMNS)}; give another folder")

    def read(self) -> list[Row]:
        """All rows, in the order in which they were written."""
        with self._lock, self._file.open(encoding="utf-8", newline="") as stream:
            stream.readline()
            return [row for line in stream if (row := read_line(line)) is not None]

    def add(self, row: Row) -> None:
        """Append a row; it is in the file when this returns."""
        with self._lock, self._file.open("a", encoding="utf-8", newline="") as stream:
            stream.write(row.line())

    def drop(self, keys: Iterable[Key]) -> None:
        """Take out all rows of some runs: those that have to begin again."""
        gone = set(keys)
        if not gone:
            return
        kept = [row for row in self.read() if row.key not in gone]
        fresh = self._file.with_suffix(".new")
        fresh.write_text(",".join(COLUMNS) + "\n" + "".join(row.line() for row in kept), encoding="utf-8")
        os.replace(fresh, self._file)


def by_run(rows: Sequence[Row]) -> dict[Key, list[Row]]:
    """Rows of each run, in the order of its trials."""
    found: dict[Key, list[Row]] = {}
    for row in rows:
        found.setdefault(row.key, []).append(row)
    return found


def is_finished(run: Sequence[Row], n_trials: int) -> bool:
    """Whether a run came to its end, be it the deadline; one that was killed or that broke down did not."""
    return sum(bool(row.state) for row in run) >= n_trials or any(row.note.startswith(DEADLINE) for row in run)
