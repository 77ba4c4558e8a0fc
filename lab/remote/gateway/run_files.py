"""The runs on disk as they grow: whose they are, and their lines from any place on.

What is read here is what the RunEngine has written and synced before it went on (`lab.records.documents`); nothing of this runs in its process.
A folder may hold a hundred thousand old runs: they are taken in a few at a time, and files that do not grow are hardly looked at.
"""

from __future__ import annotations

import json
import logging
import os
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)

AT_ONCE = 100
"""Files whose first line is read in one look."""
LISTED_AGAIN_S = 0.1
"""A folder is listed once more so long after it has changed: its time may not change with a second file that comes right after the first."""
LISTED_ANYHOW_S = 5.0
QUIET_S, QUIET_LOOK_S = 30.0, 1.0
"""A run that has not grown for so long is looked at only so often."""
CHUNK_BYTES = 64 * 1024
LARGEST_LINE = 64 * 1024 * 1024
KEPT_BYTES = 4 * 1024 * 1024
"""Of lines that several readers are about to ask for."""


@dataclass(slots=True, eq=False)
class Run:
    """The file of a run whose start document is there.

    Parameters
    ----------
    uid : str
        Name of the file, which is the run's uid.
    started : float
        Time of day, of the start document.
    campaign, item, user : str
        Of the start document; empty where it names none.
    listing : int
        In which listing of the folder it was found first.
    state : (int, int)
        Bytes and time of change (ns), when it was last looked at; the last line may not be whole.
    is_stopped : bool
        Whether it has its stop document: nothing more will come.
    """

    uid: str
    started: float
    campaign: str
    item: str
    user: str
    listing: int
    state: tuple[int, int]
    is_stopped: bool
    grown: float
    examined: tuple[int, int] = (0, 0)
    """State in which its last line was last looked at."""


@dataclass(slots=True, eq=False)
class Line:
    """One document as it was written; `name` and `payloads` by encoding are made once for all who read it.

    Parameters
    ----------
    raw : bytes
        Without its end.
    end : int
        Where the next line begins.
    """

    raw: bytes
    end: int
    name: str = ""
    payloads: dict[str, bytes] = field(default_factory=dict)

    def document(self) -> tuple[str, dict[str, Any]] | None:
        """Name and document; None when it is none: somebody has changed the file.

        Whole numbers beyond 64 bits, which msgpack does not know, become floats.
        """
        try:
            name, doc = json.loads(self.raw, parse_int=_whole)
        except (ValueError, TypeError, RecursionError):
            return None
        return (name, doc) if isinstance(name, str) and isinstance(doc, dict) else None


class RunFiles:
    """The runs of a folder. Not thread-safe.

    Parameters
    ----------
    folder : Path
        ``LAB_HOME/runs``; it may come into being later.

    Attributes
    ----------
    runs : list of Run
        In the order in which they were taken in; none is ever taken out.
    listing : int
        How often the folder has been listed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs: list[Run] = []
        self.listing = 0
        self._seen: set[str] = set()
        self._unread: dict[str, tuple[int, int]] = {}  # name of a file -> its state when its first line was not whole; -1 before it was looked at
        self._found_in: dict[str, int] = {}
        self._open: dict[str, Run] = {}
        self._changed: int | None = None
        self._list_until = self._listed = self._looked_at_quiet = float("-inf")
        self._lines: OrderedDict[tuple[str, int], list[Line]] = OrderedDict()
        self._kept = 0

    def look(self, now: float) -> list[Run]:
        """Take in what is new; runs that have grown, those taken in just now among them.

        Parameters
        ----------
        now : float
            Monotonic seconds.
        """
        self._list(now)
        grown = [run for run in self._open.values() if self._is_grown(run, now)]
        return [*grown, *self._settled(now), *self._take_in(now)]

    def path(self, run: Run) -> Path:
        return self.folder / f"{run.uid}.jsonl"

    def read(self, run: Run, offset: int) -> list[Line]:
        """Whole lines from a place on, some of them; none when there are no more yet.

        Raises
        ------
        OSError
            When the file cannot be read.
        """
        found = self._lines.get((run.uid, offset))
        if found is not None:
            self._lines.move_to_end((run.uid, offset))
            return found
        content = _whole_lines(self.path(run), offset)
        lines, end = [], offset
        for raw in content.split(b"\n")[:-1]:
            end += len(raw) + 1
            lines.append(Line(raw, end))
        self._keep(run, offset, lines)
        return lines

    def skip(self, run: Run, offset: int, n: int) -> tuple[int, int]:
        """Where the reader is who leaves out `n` lines from a place on, some of them: offset, and lines that are still to be left out.

        Raises
        ------
        OSError
            When the file cannot be read.
        """
        content = _whole_lines(self.path(run), offset)
        n_there = content.count(b"\n")
        if n_there <= n:
            return offset + len(content), n - n_there
        end = 0
        for _ in range(n):
            end = content.index(b"\n", end) + 1
        return offset + end, 0

    def stopped(self, run: Run) -> None:
        """Somebody has read its stop document."""
        run.is_stopped = True
        self._open.pop(run.uid, None)

    # --------------------------------------------------------------------------------------------------- parts

    def _list(self, now: float) -> None:
        try:
            changed = self.folder.stat().st_mtime_ns
        except OSError:
            return  # not there yet; a session makes it
        if changed != self._changed:
            self._changed, self._list_until = changed, now + LISTED_AGAIN_S
        elif now > self._list_until and now - self._listed < LISTED_ANYHOW_S:
            return
        self._listed = now
        self.listing += 1
        with os.scandir(self.folder) as files:
            new = [file for file in files if file.name not in self._seen and file.name.endswith(".jsonl")]
        for file in sorted(new, key=_changed):
            self._seen.add(file.name)
            self._unread[file.name] = (-1, 0)
            self._found_in[file.name] = self.listing

    def _take_in(self, now: float) -> list[Run]:
        found = []
        for name in list(self._unread)[:AT_ONCE]:
            tried = self._unread.pop(name)
            run = self._first_look(name, tried, now)
            if run is None:
                continue
            del self._found_in[name]
            self.runs.append(run)
            found.append(run)
            if not run.is_stopped:
                self._open[run.uid] = run
        return found

    def _first_look(self, name: str, tried: tuple[int, int], now: float) -> Run | None:
        """The run of a file; None while its first line is not whole: then it will be tried again, after the others, when it has grown."""
        path = self.folder / name
        try:
            state = _state(path)
            if state == tried:
                self._unread[name] = state
                return None
            content = _whole_lines(path, 0)
        except OSError as error:
            _log.warning("documents: %s: cannot be read: %s; it is left out", path, error.strerror)
            del self._found_in[name]
            return None
        raw, end, _ = content.partition(b"\n")
        if not end:
            self._unread[name] = state
            return None
        parsed = Line(raw, 0).document()
        start = parsed[1] if parsed is not None and parsed[0] == "start" else {}
        if not start:
            _log.warning("documents: %s: its first line is no start document; nobody is told of it", path)
        campaign, item, user = (str(start.get(key) or "") for key in ("campaign", "item", "user"))
        run = Run(name.removesuffix(".jsonl"), _number(start.get("time")), campaign, item, user, self._found_in[name], state, not start, now)
        if start:
            self._examine(run)
        return run

    def _is_grown(self, run: Run, now: float) -> bool:
        if now - run.grown > QUIET_S and now - self._looked_at_quiet < QUIET_LOOK_S:
            return False
        try:
            state = _state(self.path(run))
        except OSError:
            return False  # moved away: who reads it finds out
        if state == run.state:
            return False
        # It may have become shorter: what was torn is taken away before a run that was cut off is closed.
        run.state, run.grown = state, now
        return True

    def _settled(self, now: float) -> list[Run]:
        """Runs of which it turns out that they have stopped, though nobody has read that."""
        if now - self._looked_at_quiet < QUIET_LOOK_S:
            return []
        self._looked_at_quiet = now
        quiet = [run for run in self._open.values() if run.state != run.examined and now - run.grown > QUIET_LOOK_S]
        for run in quiet:
            self._examine(run)
            if run.is_stopped:
                del self._open[run.uid]
        return [run for run in quiet if run.is_stopped]

    def _examine(self, run: Run) -> None:
        run.examined = run.state
        try:
            run.is_stopped = _last_line(self.path(run)).startswith(b'["stop"')
        except OSError as error:
            _log.warning("documents: %s: cannot be read: %s", self.path(run), error.strerror)

    def _keep(self, run: Run, offset: int, lines: list[Line]) -> None:
        if not lines:
            return
        self._lines[run.uid, offset] = lines
        self._kept += lines[-1].end - offset
        while self._kept > KEPT_BYTES and len(self._lines) > 1:
            (_, start), old = self._lines.popitem(last=False)
            self._kept -= old[-1].end - start


def _whole_lines(path: Path, offset: int) -> bytes:
    """What stands in a file from a place on, to the end of a line: as much as `CHUNK_BYTES`, or one line."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        wanted = CHUNK_BYTES
        while True:
            content = os.pread(descriptor, wanted, offset)
            end = content.rfind(b"\n")
            if end >= 0:
                return content[:end + 1]
            if len(content) < wanted:
                return b""
            if wanted >= LARGEST_LINE:
                raise OSError(0, f"a line of more than {LARGEST_LINE} bytes")
            wanted *= 8
    finally:
        os.close(descriptor)


def _last_line(path: Path) -> bytes:
    """The last whole line; empty when it is longer than a stop document is."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - CHUNK_BYTES)
        file.seek(start)
        before, end, _ = file.read(CHUNK_BYTES).rpartition(b"\n")
    if not end or (start > 0 and b"\n" not in before):
        return b""
    return before.rpartition(b"\n")[2]


def _state(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def _changed(file: os.DirEntry[str]) -> int:
    """When a file was written last, to take in the oldest first; 0 for one that has gone again."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def _whole(text: str) -> int | float:
    number = int(text) if len(text) < 25 else float(text)
    return number if isinstance(number, int) and -2**63 <= number < 2**64 else float(number)


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
