"""Whether a laboratory is up, and which processes of it live: told by the files of ``LAB_HOME/services`` (`lab.layout`)."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.core.errors import ServiceError
from lab.home import Home
from lab.layout import Layout, write_for_owner
from lab.records.process import Process, this_process

STALE_S = 10.0
"""Wall seconds after which what the worker has written of alarms is no longer believed."""


@dataclass(frozen=True)
class Serving:
    """What the instruments' service says of itself (`Layout.instruments_file`).

    Parameters
    ----------
    pid, host, process_started
        Of the service, as `Process` has them.
    endpoints : mapping of instrument to endpoint
        Of the simulator, where the instrument is simulated.
    lab_s, monotonic_s : float
        Laboratory time at a moment of this machine's monotonic clock, which all its processes share.
    """

    pid: int
    host: str
    process_started: str
    endpoints: Mapping[str, str]
    lab_s: float
    monotonic_s: float

    def now_s(self, speed: float) -> float:
        """Laboratory time now."""
        return self.lab_s + (time.monotonic() - self.monotonic_s) * speed

    @property
    def process(self) -> Process:
        return Process(self.host, self.pid, self.process_started)


@dataclass(frozen=True)
class Worker:
    """The process that holds the laboratory's only session (`Layout.worker_file`).

    Parameters
    ----------
    pid, host, process_started
        Of the process, as `Process` has them.
    kernel : str
        Connection file of its IPython kernel; empty when it has none.
    """

    pid: int
    host: str
    process_started: str
    kernel: str

    @property
    def process(self) -> Process:
        return Process(self.host, self.pid, self.process_started)


def serving(layout: Layout) -> Serving | None:
    """The instruments' service, while it lives."""
    said = _read(layout.instruments_file)
    found = Serving(**said) if said is not None else None
    return found if found is not None and not found.process.is_gone() else None


def say_serving(layout: Layout, endpoints: Mapping[str, str], lab_s: float) -> None:
    """Write `Layout.instruments_file` for this process."""
    me = this_process()
    write_for_owner(layout.instruments_file, json.dumps(asdict(Serving(me.pid, me.host, me.started, dict(endpoints), lab_s, time.monotonic()))))


def worker(layout: Layout) -> Worker | None:
    """The worker that opened a session and has not closed it; it may have died since (``worker.process.is_gone()``)."""
    said = _read(layout.worker_file)
    return Worker(**said) if said is not None else None


def say_worker(layout: Layout, kernel: str) -> None:
    """Write `Layout.worker_file` for this process."""
    me = this_process()
    write_for_owner(layout.worker_file, json.dumps(asdict(Worker(me.pid, me.host, me.started, kernel))))


def alarms(layout: Layout) -> dict[str, Any] | None:
    """What the worker says is wrong, ``wall, instruments {name: cause}, interlocks {name: words}``; None when it has not said for a while, or is gone.

    Raises
    ------
    ServiceError
        When what it says of itself cannot be read.
    """
    found = worker(layout)
    if found is None or found.process.is_gone():
        return None
    try:
        said = json.loads(layout.alarms_file.read_text())
    except (OSError, ValueError):
        return None
    return said if isinstance(said, dict) and time.time() - float(said.get("wall", 0)) < STALE_S else None


def withdraw(path: Path) -> None:
    """Remove a file that this process has written; one that another process has written since stays."""
    said = _read(path)
    if said is not None and said.get("pid") == os.getpid():
        path.unlink(missing_ok=True)


def laboratory_up(home: Home) -> Layout | None:
    """The laboratory of a LAB_HOME that is up: its supervisor answers, or its instruments' service lives; else None."""
    layout = Layout.load(home)
    if layout is None or not (_answers(layout.supervisor_socket) or serving(layout) is not None):
        return None
    return layout


def refuse_when_up(home: Home, instead: str) -> None:
    """Refuse a command that would open its own session on instruments that a running laboratory holds.

    Parameters
    ----------
    home : Home
    instead : str
        What to do in place of it.

    Raises
    ------
    ServiceError
        When the laboratory is up.
    """
    layout = laboratory_up(home)
    if layout is not None:
        raise ServiceError(f"laboratory {layout.lab} is up (since {up_since(layout)}): {instead}; or lab down")


def up_since(layout: Layout) -> str:
    """When ``lab up`` decided the layout, for people."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime((layout.folder / "layout.json").stat().st_mtime))


def _answers(path: Path) -> bool:
    """Whether somebody listens on a socket."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(1.0)
        try:
            asking.connect(str(path))
        except OSError:
            return False
    return True


def _read(path: Path) -> dict[str, Any] | None:
    try:
        said = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ServiceError(f"{path}: cannot be read: {error}; lab down, then lab up, write it anew") from error
    if not isinstance(said, dict):
        raise ServiceError(f"{path}: {type(said).__name__}, no JSON object; lab down, then lab up, write it anew")
    return said
