"""The audit log of the gateway: who asked for what, and what came of it. Append-only, on disk before a write is answered.

Writes and refusals of consequence are lines of their own (`Audit.add`, then `Audit.commit` once for as many as have come together). Reads of one key, method and
outcome within a second are one line with their count (`Audit.note`), so that a thousand requests a second cost some lines a second. What is not committed when the
process is killed is at most a second of reads; no write that was answered is ever missing.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.core.errors import LabError, LedgerError
from lab.home import Home
from lab.remote.access.audit_chain import START, Head, Link, chained, file_number, files_of, lines_of, parse, read_head
from lab.remote.access.key_files import sync_folder
from lab.remote.access.roles import METHODS
from lab.remote.access.words import escaped

MERGE_S = 1.0
FILE_BYTES = 16_000_000
MOST_MERGED = 1000
"""Lines that wait to be merged; with more they are written at once, so that no client can hold memory."""
LOCK_WITHIN_S = 5.0
_LOCK_AGAIN_S = 0.02
_SHORT_KEY = 8
_OVERFLOW = ("", "", "", "overflow")


@dataclass(frozen=True)
class Entry:
    """One request, as it stands in the log; texts of clients may be given as they are.

    Parameters
    ----------
    who, role, key : str
        Of the key with which the connection was made; empty where none was accepted. Of the public key the first characters are kept.
    method : str
        Of `roles.METHODS`, or ``connect``, ``subscribe``; what is no method stands as ``?``, with its beginning in `what`.
    what : str
        In short, what it was about (`what_of`).
    outcome : str
        ``done``, or in words why not.
    """

    who: str
    role: str
    key: str
    method: str
    what: str
    outcome: str

    def cleaned(self) -> Entry:
        """The same, short and printable."""
        is_ours = self.method in METHODS or self.method in ("connect", "subscribe", "audit", "?")
        what = self.what if is_ours else f"{self.method[:40]!r} {self.what}"
        return Entry(escaped(self.who, 64), escaped(self.role, 16), escaped(self.key[:_SHORT_KEY], 32), self.method if is_ours else "?",
                     escaped(what), escaped(self.outcome, 200))


def folder_of(home: Home) -> Path:
    """Where a laboratory keeps its audit log: ``LAB_HOME/audit``."""
    return home.path / "audit"


def what_of(params: dict[str, Any]) -> str:
    """What a request is about, in short: the names and ids it gives, and the digest of all its parameters."""
    item = params.get("item")
    if isinstance(item, dict):
        item = item.get("name")
    config = params.get("config")
    name = config.get("name") if isinstance(config, dict) else None
    ids = (item, name, params.get("uid"), params.get("campaign"), params.get("question"), params.get("choice"), params.get("name"))
    said = [escaped(value, 40) for value in ids if isinstance(value, (str, int)) and not isinstance(value, bool)]
    text = json.dumps(params, sort_keys=True, separators=(",", ":"), default=repr)
    return " ".join([*said, hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]])


class Audit:
    """The log's one writer. Not thread-safe.

    Parameters
    ----------
    home : Home
    now : callable
        Time of day, seconds, for the lines.
    clock : callable
        Seconds that never go back, for merging.
    file_bytes : int
        A file that has got larger is followed by another.

    Raises
    ------
    LedgerError
        When the log cannot be read or written, or another process writes it. From `add` and `note` never; from `commit` and `tick`
        when the disk is full or broken: then nothing of what was to be written stands in the log, and no write may be carried out or answered as done.
    """

    def __init__(self, home: Home, now: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic,
                 file_bytes: int = FILE_BYTES) -> None:
        self.folder = folder_of(home)
        self._now, self._clock, self._file_bytes = now, clock, file_bytes
        self._pending: list[dict[str, Any]] = []
        self._merged: dict[tuple[str, ...], dict[str, Any]] = {}
        self._merging_since = 0.0
        self._n_lost = 0
        self._synced_at, self._is_head_dirty = clock(), False
        self._file, self._number, self._size, self._is_torn = -1, 0, 0, False
        self._end = START
        self._lock = _take_lock(self.folder)
        try:
            self._head = Head(self.folder)
            self._recover()
        except LabError:
            os.close(self._lock)
            raise

    @property
    def end(self) -> Link:
        """Number and hash of the last line on disk."""
        return self._end

    def note(self, entry: Entry) -> None:
        """Take down what changes nothing; on disk within about a second, with others like it, as `tick` is called."""
        entry = entry.cleaned()
        # Strangers are one: they could come with as many keys as they like.
        kind = (entry.who, entry.key if entry.who else "", entry.method, entry.outcome)
        if len(self._merged) >= MOST_MERGED:
            kind, entry = _OVERFLOW, Entry("", "", "", "audit", f"more than {MOST_MERGED} kinds of requests in a second", "overflow")
        row = self._merged.get(kind)
        if row is not None:
            row["count"] += 1
            return
        if not self._merged:
            self._merging_since = self._clock()
        self._merged[kind] = self._row(entry)

    def add(self, entry: Entry) -> None:
        """Take down what changes something, a line of its own; on disk when `commit` returns."""
        self._pending.append(self._row(entry.cleaned()))

    def record(self, entry: Entry) -> None:
        """`add` and `commit`."""
        self.add(entry)
        self.commit()

    def commit(self) -> None:
        """Have everything that was added on disk when this returns: call it once before the answers of several writes."""
        if self._pending:
            self._write(self._due())

    def tick(self) -> None:
        """Write merged reads whose second is over; call it a few times a second."""
        if self._pending or self._is_due():
            self._write(self._due())
        elif self._is_head_dirty and self._clock() - self._synced_at >= MERGE_S:
            self._sync_head()

    def close(self) -> None:
        """Write what is left, and let another process write. Safe to call twice."""
        if self._lock < 0:
            return
        try:
            rows = [*self._merged.values(), *self._pending]
            self._merged.clear()
            if rows:
                self._write(rows)
            self._sync_head()
        finally:
            self._head.close()
            os.close(self._file)
            os.close(self._lock)
            self._lock = -1

    # --------------------------------------------------------------------------------------------------- parts

    def _row(self, entry: Entry) -> dict[str, Any]:
        return {"wall": round(self._now(), 3), **asdict(entry), "count": 1}

    def _is_due(self) -> bool:
        return bool(self._merged) and (self._clock() - self._merging_since >= MERGE_S or len(self._merged) >= MOST_MERGED)

    def _due(self) -> list[dict[str, Any]]:
        rows = list(self._merged.values()) if self._is_due() else []
        if rows:
            self._merged.clear()
        return [*rows, *self._pending]

    def _write(self, rows: list[dict[str, Any]]) -> None:
        self._pending = []
        if self._n_lost:
            rows = [self._row(_own("lost", f"{self._n_lost} lines could not be written")), *rows]
        try:
            rows = [*self._displaced(), *rows]
            lines, end = [], self._end
            for row in rows:
                line, end = chained(row, end)
                lines.append(line)
            self._append(b"".join(lines))
        except OSError as error:
            self._n_lost += len(rows)
            raise LedgerError(f"audit: {self.folder}: cannot be written: {error.strerror}; nothing is changed that cannot be audited") from error
        self._n_lost, self._end, self._is_head_dirty = 0, end, True
        self._head.write(end)
        if self._clock() - self._synced_at >= MERGE_S:
            self._sync_head()
        if self._size >= self._file_bytes:
            self._open(self._number + 1)

    def _append(self, content: bytes) -> None:
        """All of it, on disk, or nothing of it."""
        if self._is_torn:
            os.ftruncate(self._file, self._size)
        self._is_torn = True
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(self._file, left):]
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._is_torn = False
        self._size += len(content)

    def _displaced(self) -> list[dict[str, Any]]:
        """Go on in another file, and say so, when somebody has taken away, cut or lengthened the one that is open: else lines would go nowhere."""
        if self._is_torn:
            return []
        path, own = self._path(self._number), os.fstat(self._file)
        try:
            there = os.stat(path)
            if (there.st_ino, there.st_size) == (own.st_ino, self._size):
                return []
        except FileNotFoundError:
            pass
        self._open(max(self._number, *map(file_number, files_of(self.folder)), 0) + 1)
        return [self._row(_own("damaged", f"{path.name} was moved away, cut or written by somebody else"))]

    def _sync_head(self) -> None:
        # The lines are on disk first. A head that lags shows as lines after it, never as lines cut off.
        self._head.sync()
        self._synced_at, self._is_head_dirty = self._clock(), False

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:04d}.jsonl"

    def _open(self, number: int) -> None:
        path = self._path(number)
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            sync_folder(self.folder)
        except OSError as error:
            raise LedgerError(f"audit: {path}: cannot be opened: {error.strerror}") from error
        if self._file >= 0:
            os.close(self._file)
        self._file, self._number, self._size = file, number, os.fstat(file).st_size

    def _recover(self) -> None:
        """Go on where the last writer ended, and say in the log how that was."""
        files, head = files_of(self.folder), read_head(self.folder)
        self._open(file_number(files[-1]) if files else 1)
        torn = lines_of(files[-1])[1] if files else b""
        if torn:
            # Its writer was cut off before anybody was answered. What it was stays on record as its digest.
            self._size -= len(torn)
            os.ftruncate(self._file, self._size)
            self.add(_own("torn", f"{len(torn)} bytes of a line, {hashlib.sha256(torn).hexdigest()[:12]}"))
        last, is_head_there = _ends(files, head)
        self._end = last if head is None or head.n <= last.n else head
        if not is_head_there:
            said = "no head" if head is None else f"the head was n {head.n} {head.hash[:12]}"
            self.add(_own("damaged", f"{said}, the last line n {last.n} {last.hash[:12]}"))
        self.add(_own("opened", f"by process {os.getpid()}"))
        self.commit()
        self._sync_head()


def _ends(files: list[Path], head: Link | None) -> tuple[Link, bool]:
    """The last line that can be read, and whether the line that the head names is there."""
    last: Link | None = None
    for path in reversed(files):
        for line in reversed(lines_of(path)[0]):
            found = parse(line)
            if found is None:
                continue
            link = found[1]
            last = link if last is None else last
            if head is None or link.n <= head.n:
                return last, link == head
    return last or START, (head or START) == START


def _own(outcome: str, what: str) -> Entry:
    return Entry("", "", "", "audit", what, outcome)


def is_being_written(home: Home) -> bool:
    """Whether a gateway writes this log now."""
    try:
        descriptor = os.open(folder_of(home) / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _take_lock(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise LedgerError(f"audit: {folder}: cannot be made: {error.strerror}") from error
    # Not at once given up: `lab audit` looks at the lock for a moment, and a gateway that ends may still have it.
    deadline = time.monotonic() + LOCK_WITHIN_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                raise LedgerError(f"audit: {folder}: another process writes it: there is one gateway to a laboratory") from error
            time.sleep(_LOCK_AGAIN_S)
