"""What happens to the services, noted as it happens: a plug-in of the supervisor, and who reads what it wrote.

The plug-in lives in the supervisor's own process, so that nothing is lost when everything else dies. It also keeps the numbers of the
processes: whoever finds the supervisor dead can still end what it started.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.records.process import Process, process_of, this_process

EVENTS = "events.jsonl"
PROCESSES = "processes.json"
SUPERVISOR = "supervisor"

_KEPT = 1000
"""Events kept when the laboratory comes up anew."""

_WORDS = {
    "ProcessStateStartingEvent": "starting", "ProcessStateRunningEvent": "started", "ProcessStateExitedEvent": "died",
    "ProcessStateBackoffEvent": "died", "ProcessStateStoppingEvent": "stopping", "ProcessStateStoppedEvent": "stopped",
    "ProcessStateFatalEvent": "given up",
}


@dataclass(frozen=True)
class Event:
    """Something that happened to a service.

    Parameters
    ----------
    wall : float
        When, s since the epoch.
    service : str
    event : str
        ``starting``, ``started``, ``ready``, ``died``, ``stopping``, ``stopped`` or ``given up``.
    pid : int
    why : str
        Of a death: exit status or signal.
    """

    wall: float
    service: str
    event: str
    pid: int = 0
    why: str = ""


def read_events(folder: Path) -> list[Event]:
    """What happened since the laboratory came up first, the oldest first; a line that was cut short is left out."""
    return list(_events(folder / EVENTS))


def last_start(seen: Sequence[Event]) -> int:
    """The number of the event with which the laboratory came up last: when its supervisor began."""
    return max((number for number, event in enumerate(seen) if (event.service, event.event) == (SUPERVISOR, "started")), default=0)


def processes(folder: Path) -> dict[str, Process]:
    """The last known process of each service, and of the supervisor; none when `folder` is a copy of the one in which they run."""
    try:
        found = json.loads((folder / PROCESSES).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    if found.get("folder") != _identity(folder):
        return {}
    return {name: Process(**row) for name, row in found["processes"].items()}


def alive(folder: Path) -> dict[str, Process]:
    """Those of them that have not ended."""
    return {name: process for name, process in processes(folder).items() if process.started not in ("", "ended") and not process.is_gone()}


def begin(folder: Path) -> None:
    """Keep the newest events of earlier times, and nothing of their processes."""
    lines = [json.dumps(asdict(event)) + "\n" for event in _events(folder / EVENTS)][-_KEPT:]
    draft = folder / f".{EVENTS}"
    draft.write_text("".join(lines))
    draft.replace(folder / EVENTS)
    (folder / PROCESSES).unlink(missing_ok=True)


def append(folder: Path, event: Event) -> None:
    """Note an event; one line, written at once."""
    with (folder / EVENTS).open("a") as file:
        file.write(json.dumps(asdict(event)) + "\n")


def keep(folder: Path, added: Mapping[str, Process]) -> None:
    """Note the processes of services beside those that are noted."""
    with (folder / f"{PROCESSES}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rows = {name: asdict(process) for name, process in {**processes(folder), **added}.items()}
        draft = folder / f".{PROCESSES}"
        draft.write_text(json.dumps({"folder": _identity(folder), "processes": rows}))
        draft.replace(folder / PROCESSES)


def _identity(folder: Path) -> int:
    """What a folder keeps when it is moved, and what its copy does not have."""
    return folder.stat().st_ino


def _events(path: Path) -> Iterator[Event]:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            yield Event(**json.loads(line))
        except (ValueError, TypeError):
            continue


# ------------------------------------------------------------------------------------------- in the supervisor


class Notes:
    """Writes events and process numbers into a folder.

    Parameters
    ----------
    supervisor : supervisor.supervisord.Supervisor
    folder : Path
    """

    def __init__(self, supervisor: Any, folder: Path) -> None:
        self._supervisor, self._folder = supervisor, folder
        self._processes: dict[str, Process] = {}
        self._output: dict[str, str] = {}
        self._ends: dict[str, str] = {}
        for group in supervisor.process_groups.values():
            for process in group.processes.values():
                self._listen_to_end(process)

    def _listen_to_end(self, process: Any) -> None:
        """Learn with which signal a process ended: the supervisor's events do not say, its method that reaps does."""
        from supervisor.options import decode_wait_status

        reap = process.finish

        def finish(pid: int, status: int) -> None:
            self._ends[str(process.config.name)] = str(decode_wait_status(status)[1])
            reap(pid, status)

        process.finish = finish

    def begin(self) -> None:
        """The supervisor itself is up."""
        self._keep(SUPERVISOR, this_process())
        self._note(Event(time.time(), SUPERVISOR, "started", os.getpid()))

    def state_changed(self, change: Any) -> None:
        """Told of each change of a service's state."""
        process = change.process
        word = _WORDS.get(type(change).__name__)
        if word is None:
            return
        name = str(process.config.name)
        if word == "started":
            word = ""  # that it lived for a second tells nothing: its own line says when it is ready
        if word == "starting":
            self._output.pop(name, None)
        if word:
            self._note(Event(time.time(), name, word, int(process.pid or 0), self._ends.get(name, "") if word == "died" else ""))
        if process.pid:
            self._keep(name, process_of(int(process.pid)))

    def spoke(self, said: Any) -> None:
        """Told of each piece of a service's standard output."""
        name = str(said.process.config.name)
        text = self._output.get(name, "") + said.data.decode(errors="replace")
        *lines, rest = text.split("\n")
        self._output[name] = rest[-4096:]
        for line in lines:
            if line.startswith('{"ready": true'):
                self._keep(name, process_of(int(said.pid)))
                self._note(Event(time.time(), name, "ready", int(said.pid)))

    def _note(self, event: Event) -> None:
        try:
            append(self._folder, event)
        except OSError as error:  # the supervisor must outlive a full disk
            self._supervisor.options.logger.warn(f"{event.service} {event.event}: could not be noted: {error}")

    def _keep(self, name: str, process: Process) -> None:
        if self._processes.get(name) == process:
            return
        self._processes[name] = process
        try:
            keep(self._folder, {name: process})
        except OSError as error:
            self._supervisor.options.logger.warn(f"{name}: process {process.pid} could not be noted: {error}")


class _Nothing:
    """The plug-in answers no calls of its own."""


def note_events(supervisor: Any, **options: Mapping[str, str]) -> _Nothing:
    """Called by the supervisor as it starts (``supervisor.rpcinterface_factory``); its working directory is LAB_HOME."""
    from supervisor import events  # type: ignore[import-untyped,unused-ignore]

    notes = Notes(supervisor, Path("services").absolute())
    events.subscribe(events.SupervisorRunningEvent, lambda _: notes.begin())
    events.subscribe(events.ProcessStateEvent, notes.state_changed)
    events.subscribe(events.ProcessLogStdoutEvent, notes.spoke)
    return _Nothing()

