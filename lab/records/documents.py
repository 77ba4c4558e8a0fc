"""Bluesky documents on disk: one append-only file of JSON lines per run, written before the RunEngine goes on.

A line is ``[name, document]``. Each line is one write followed by fsync, so a power cut costs at most the line that
was being written; `read_run` knows such a torn last line. Everything else that keeps documents (Tiled) is fed from here.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path, PurePath
from typing import Any
from uuid import uuid4

import numpy as np

from lab.core.errors import LedgerError

Document = tuple[str, dict[str, Any]]
"""Name (start, descriptor, event, ...) and document, as Bluesky emits them."""

_log = logging.getLogger(__name__)


class RunReferences:
    """Which run a document belongs to: it names its run, or a descriptor or resource that does.

    Not thread-safe.
    """

    def __init__(self) -> None:
        self._run_of: dict[str, str] = {}  # descriptor, resource and stream resource -> run

    def run_of(self, name: str, doc: Mapping[str, Any]) -> str | None:
        """Uid of the document's run, None when it refers to nothing known; remembers what later documents refer to."""
        if name == "start":
            return str(doc["uid"])
        if "run_start" in doc:
            run: str | None = str(doc["run_start"])
        else:
            referred = [doc[key] for key in ("descriptor", "stream_resource", "resource") if key in doc]
            run = next((self._run_of[r] for r in referred if r in self._run_of), None)
        if run is not None and name in ("descriptor", "stream_resource", "resource"):
            self._run_of[str(doc["uid"])] = run
        return run

    def forget(self, run: str) -> None:
        """The run has stopped."""
        self._run_of = {uid: owner for uid, owner in self._run_of.items() if owner != run}


class JsonlWriter:
    """Writes ``FOLDER/UID.jsonl``; subscribe it to the RunEngine.

    Parameters
    ----------
    folder : Path
        Made when it does not exist.
    fsync : bool
        Whether each document has reached the disk before the RunEngine goes on.

    Raises
    ------
    LedgerError
        From a call, when a document cannot be written: this aborts the plan, for nothing may be measured that is not
        recorded.
    """

    def __init__(self, folder: str | Path, fsync: bool = True) -> None:
        self.folder, self._is_synchronous = Path(folder), fsync
        self._lock = threading.Lock()
        self._files: dict[str, int] = {}
        self._references = RunReferences()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerError(f"documents: {self.folder}: cannot be made: {error.strerror}") from error

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        with self._lock:
            run = self._run(name, doc)
            line = _line(name, doc)
            try:
                if name == "start":
                    self._open(run)
                self._append(run, line)
                if name == "stop":
                    self._close(run)
            except OSError as error:
                raise LedgerError(f"documents: {self.path(run)}: {name} cannot be written: {error.strerror}") from error

    def path(self, run: str) -> Path:
        """The file of a run."""
        return self.folder / f"{run}.jsonl"

    def close(self) -> None:
        """Close the files of runs that have not stopped. Safe to call twice."""
        with self._lock:
            for run in list(self._files):
                self._close(run)

    def _run(self, name: str, doc: Mapping[str, Any]) -> str:
        run = self._references.run_of(name, doc)
        if run is None or (name != "start" and run not in self._files):
            raise LedgerError(f"documents: a {name} of a run that is not open (uid {doc.get('uid', 'none')})")
        return run

    def _open(self, run: str) -> None:
        # O_EXCL: a run is written once; O_APPEND: nothing that is written is ever overwritten.
        self._files[run] = os.open(self.path(run), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        if self._is_synchronous:
            _sync_folder(self.folder)  # else a power cut may lose the file's name

    def _append(self, run: str, line: bytes) -> None:
        left = memoryview(line)
        while left:
            left = left[os.write(self._files[run], left):]
        if self._is_synchronous:
            os.fsync(self._files[run])

    def _close(self, run: str) -> None:
        os.close(self._files.pop(run))
        self._references.forget(run)


@dataclass(frozen=True)
class RunRecord:
    """A run as it was found on disk.

    Parameters
    ----------
    path : Path
    documents : list of (name, document)
    torn : bytes
        What stands after the last whole line: the beginning of a document whose writer was cut off. Mostly empty.
    """

    path: Path
    documents: list[Document]
    torn: bytes

    @property
    def is_closed(self) -> bool:
        """Whether the run has its stop document."""
        return bool(self.documents) and self.documents[-1][0] == "stop"

    @property
    def start(self) -> dict[str, Any]:
        """The start document; empty when not even that was written whole."""
        return self.documents[0][1] if self.documents and self.documents[0][0] == "start" else {}


def read_record(path: str | Path) -> RunRecord:
    """Read a run's file, whole or cut off.

    Raises
    ------
    LedgerError
        When it cannot be read, or a line before the last is not a document: then somebody has changed it.
    """
    path = Path(path)
    try:
        whole, _, torn = path.read_bytes().rpartition(b"\n")
    except OSError as error:
        raise LedgerError(f"documents: {path}: cannot be read: {error.strerror}") from error
    documents = [_parse(line, path, number) for number, line in enumerate(whole.splitlines(), 1)]
    return RunRecord(path, documents, torn)


def read_run(path: str | Path) -> list[Document]:
    """The documents of a run's file; a torn last line is left out, with a warning in the log."""
    record = read_record(path)
    if record.torn:
        _log.warning("documents: %s: the last line is torn after %d bytes; its writer was cut off", path, len(record.torn))
    return record.documents


def runs_of(folder: str | Path, campaign: str = "") -> list[Path]:
    """Files of the runs whose start document names this campaign (all runs when empty), the oldest first.

    Reads only the first line of each file.
    """
    found = []
    for path in sorted(Path(folder).glob("*.jsonl")):
        with path.open("rb") as file:
            line = file.readline()
        if not line.endswith(b"\n"):
            continue  # cut off within the start document: no run ever began
        _, start = _parse(line, path, 1)
        if not campaign or start.get("campaign") == campaign:
            found.append((float(start.get("time", 0.0)), path))
    return [path for _, path in sorted(found)]


def close_cut_off(folder: str | Path, campaign: str, reason: str, now: Callable[[], float] = time.time) -> list[Path]:
    """Give the runs of a campaign that were cut off a stop document, so that others can tell that nothing more will come.

    Its ``exit_status`` is ``abort``. The beginning of a document that was being written is taken away: it was never on record. To be
    called by the session that resumes the campaign, when nobody writes these runs any longer.

    Parameters
    ----------
    folder : Path
        Of the `JsonlWriter`.
    campaign : str
    reason : str
    now : callable
        Time of day, seconds.

    Returns
    -------
    list of Path
        The runs that were closed here, the oldest first.

    Raises
    ------
    LedgerError
        When one cannot be read or written.
    """
    found = [record for record in map(read_record, runs_of(folder, campaign)) if not record.is_closed]
    for record in found:
        line = _line("stop", {"uid": str(uuid4()), "time": now(), "run_start": record.start["uid"], "exit_status": "abort",
                              "reason": reason, "num_events": _num_events(record.documents)})
        try:
            with record.path.open("r+b") as file:
                file.seek(-len(record.torn), os.SEEK_END)
                file.truncate()
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise LedgerError(f"documents: {record.path}: cannot be closed: {error.strerror}") from error
    return [record.path for record in found]


def _num_events(documents: Sequence[Document]) -> dict[str, int]:
    """Events by stream."""
    streams = {doc["uid"]: str(doc.get("name", "")) for name, doc in documents if name == "descriptor"}
    found = dict.fromkeys(streams.values(), 0)
    for name, doc in documents:
        if name in ("event", "event_page") and doc.get("descriptor") in streams:
            found[streams[doc["descriptor"]]] += len(doc["seq_num"]) if name == "event_page" else 1
    return found


def as_written(name: str, doc: Mapping[str, Any]) -> Document:
    """A document as it reads back from disk: plain numbers, lists and mappings.

    Raises
    ------
    LedgerError
        When it holds something that cannot be recorded.
    """
    found = json.loads(_line(name, doc))
    return found[0], found[1]


def _line(name: str, doc: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps([name, doc], default=_plain, separators=(",", ":")).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise LedgerError(f"documents: {name} {doc.get('uid', '')}: {error}; "
                          "allowed: numbers, texts, lists, mappings, numpy arrays and scalars, paths and dates") from error


def _plain(value: object) -> object:
    """What JSON does not know, as something that it does."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (PurePath, date, datetime)):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"a {type(value).__name__} cannot be recorded")


def _parse(line: bytes, path: Path, number: int) -> Document:
    try:
        name, doc = json.loads(line)
    except ValueError as error:
        raise LedgerError(f"documents: {path}: line {number} is not a document: {error}") from error
    if not (isinstance(name, str) and isinstance(doc, dict)):
        raise LedgerError(f"documents: {path}: line {number} is not a document")
    return name, doc


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
