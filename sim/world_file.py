"""The file in which a simulated world outlives its process: kill -9 at any moment, and the next start finds what was there.

Lines of JSON. The first is the whole state; it comes into being by renaming, so it is always whole. Each further line is what one
deed, or the passing of some time, has changed: a merge patch (RFC 7386), written with one call before anybody is told of the deed.
A process that is killed while it writes leaves at most a last line without its end, and that deed has then not happened.

Nothing is forced to the disk: what a power cut takes of a simulated world is as if it had not happened; a real one has no file.

One process keeps a file: it holds a lock on it (flock), which the system takes back however the process ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

from lab.core.errors import ConfigError, ServiceError

FORMAT, VERSION = "labwright world", 1

LOCK_S = 10.0
"""Wall seconds to wait for the process that kept the file before: it may be about to end."""

LONG_BYTES = 8_000_000
"""Patches of so many bytes are replaced by the state that they make."""

ALLOWED = "a world that a simulator of this version wrote; remove the file for a fresh one"
"""What may stand in the file."""


class WorldFile:
    """A file that this process, and no other, keeps.

    Parameters
    ----------
    path : Path
        Made when there is none.

    Raises
    ------
    ServiceError
        When the file cannot be opened, or another process keeps it and does not end within `LOCK_S`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = _locked(path, time.monotonic() + LOCK_S)
        self._n_bytes = 0

    def read(self) -> dict[str, Any] | None:
        """The state that was kept last; None for a new file.

        Raises
        ------
        ConfigError
            When the file is none of ours, or damaged.
        """
        with os.fdopen(os.dup(self._fd), "rb") as file:
            file.seek(0)
            return state_in(file.read(), self.path)

    def begin(self, state: dict[str, Any]) -> None:
        """Let the file hold this state, as a whole or not at all."""
        beside = self.path.with_name(f"{self.path.name}.new")
        line = _line({"format": FORMAT, "version": VERSION, **state})
        try:
            fd = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o644)
            fcntl.flock(fd, fcntl.LOCK_EX)
            _write(fd, line)
            beside.replace(self.path)
        except OSError as error:
            raise self._failed(error) from error
        os.close(self._fd)
        self._fd, self._n_bytes = fd, 0

    def append(self, changes: dict[str, Any]) -> None:
        """Keep what has changed."""
        line = _line(changes)
        try:
            _write(self._fd, line)
        except OSError as error:
            raise self._failed(error) from error
        self._n_bytes += len(line)

    @property
    def is_long(self) -> bool:
        """Whether it is time to `begin` again. Never once somebody else has removed or replaced the file: this one is then nobody's."""
        return self._n_bytes > LONG_BYTES and _is_at(self._fd, self.path)

    def close(self) -> None:
        """Leave the file to others."""
        os.close(self._fd)

    def _failed(self, error: OSError) -> ServiceError:
        return ServiceError(f"{self.path}: the simulated world cannot be kept: {error.strerror or error}")


def discard(path: Path, patience_s: float = 3.0) -> None:
    """Remove a world that nobody keeps any longer; nothing happens when there is none.

    Parameters
    ----------
    path : Path
    patience_s : float
        Wall seconds to wait for a simulator that is about to end.

    Raises
    ------
    ServiceError
        When another process keeps it.
    """
    if not path.exists():
        return
    fd = _locked(path, time.monotonic() + patience_s)
    try:
        path.unlink(missing_ok=True)
    finally:
        os.close(fd)


def state_in(data: bytes, path: Path) -> dict[str, Any] | None:
    """The state that a file's content makes; None for an empty one.

    Raises
    ------
    ConfigError
        When it is none of ours, or damaged.
    """
    *lines, unfinished = data.split(b"\n")  # what comes after the last line's end was never written to its end
    if not lines:
        if unfinished:
            raise ConfigError(str(path), "line 1", "the beginning of a line", ALLOWED)
        return None
    state: dict[str, Any] = {}
    for number, line in enumerate(lines, start=1):
        state = merged(state, _parsed(path, number, line))
        if number == 1 and (state.get("format"), state.get("version")) != (FORMAT, VERSION):
            raise ConfigError(str(path), "line 1", f"format {state.get('format')!r}, version {state.get('version')!r}", ALLOWED)
    return {name: value for name, value in state.items() if name not in ("format", "version")}


def time_kept(path: Path) -> float:
    """Laboratory time of the world that a file keeps, s; 0 when there is none.

    Raises
    ------
    ConfigError
        When it is none of ours, or damaged.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return 0.0
    time_s = (state_in(data, path) or {}).get("time_s", 0.0)
    return float(time_s) if isinstance(time_s, (int, float)) else 0.0


def _parsed(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise ConfigError(str(path), f"line {number}", f"no JSON ({error})", ALLOWED) from error
    if not isinstance(found, dict):
        raise ConfigError(str(path), f"line {number}", f"{type(found).__name__}, no object", ALLOWED)
    return found


def merged(state: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """A state with a merge patch applied (RFC 7386): objects are merged, null removes, all else replaces. `state` is changed in place."""
    for name, value in patch.items():
        if value is None:
            state.pop(name, None)
        elif isinstance(value, dict):
            there = state.get(name)
            state[name] = merged(there if isinstance(there, dict) else {}, value)
        else:
            state[name] = value
    return state


_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def _line(content: dict[str, Any]) -> bytes:
    return _ENCODER.encode(content).encode() + b"\n"


def _write(fd: int, data: bytes) -> None:
    while data:  # one call, but for a disk that is nearly full
        data = data[os.write(fd, data):]


def _locked(path: Path, deadline_s: float) -> int:
    """A descriptor of the file, locked by this process."""
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ServiceError(f"{path}: the simulated world cannot be kept: {error.strerror or error}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(fd, path):
                return fd
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                os.close(fd)
                raise ServiceError(f"{path}: another simulator keeps its world there; end that session, or set another LAB_HOME") from None
        os.close(fd)
        time.sleep(0.02)


def _is_at(fd: int, path: Path) -> bool:
    """Whether the descriptor's file is still the one of that name."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(fd), there)
