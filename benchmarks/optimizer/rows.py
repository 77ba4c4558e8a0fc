"""The raw rows: a CSV that only grows, one row for each trial, written as the trial ends."""

from __future__ import annotations

import csv
import fcntl
import io
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from lab.core.errors import ConfigError

ENDED = "ended: "
"""How the note of a run's last row begins when it had to end before its last trial."""

DEADLINE = ENDED + "deadline"

HOURS = "complete:"
"""How the note of a run's last row begins when its laboratory hours were used up: it is complete without the last of its trials."""


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
    measured : str
        JSON, by outcome; empty when there is no sample.
    best : float or None
        Best measured value so far; of several objectives the true hypervolume, of a recommended point its true value.
    regret : float or None
        How far the true response there is from the optimum.
    found : float or None
        Share of a pool's top 5 % measured so far; None where there is no pool.
    failures, violations : int
        So far: points that gave no sample, and samples beyond the limit.
    hours : float or None
        Laboratory hours so far.
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
    measured: str
    best: float | None
    regret: float | None
    found: float | None
    failures: int
    violations: int
    hours: float | None
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
_WHOLE = ("seed", "trial", "failures", "violations")
_NUMBERS = ("best", "regret", "found", "hours", "cpu_s")


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
    """The file of rows; several threads and processes may add to it.

    Parameters
    ----------
    file : Path
        Made when there is none. Beside it stands ``rows.lock``, which one holds while it writes.

    Raises
    ------
    ConfigError
        When it is a CSV with other columns.
    """

    def __init__(self, file: Path) -> None:
        self._file, self._among_threads = file, threading.Lock()
        file.parent.mkdir(parents=True, exist_ok=True)
        with self._alone():
            if not file.exists():
                file.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
        with file.open(encoding="utf-8") as stream:
            header = stream.readline().strip()
        if header != ",".join(COLUMNS):
            raise ConfigError(str(file), "line 1", header, f"{','.join(COLUMNS)}; give another folder")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else writes; a lock ends with the process that holds it."""
        with self._among_threads, self._file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def read(self) -> list[Row]:
        """All rows, in the order in which they were written."""
        with self._file.open(encoding="utf-8", newline="") as stream:
            stream.readline()
            return [row for line in stream if (row := read_line(line)) is not None]

    def add(self, row: Row) -> None:
        """Append a row; it is in the file when this returns."""
        with self._alone(), self._file.open("a", encoding="utf-8", newline="") as stream:
            stream.write(row.line())

    def drop(self, keys: Iterable[Key]) -> None:
        """Take out all rows of some runs: those that have to begin again."""
        gone = set(keys)
        if not gone:
            return
        with self._alone():
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
    """Whether a run came to its end, be it the deadline or its laboratory hours; one that was killed or that broke down did not."""
    return sum(bool(row.state) for row in run) >= n_trials or any(row.note.startswith((DEADLINE, HOURS)) for row in run)
