"""The supervisor (supervisord) of a laboratory: its configuration, its start, and what is asked of it over its socket."""

from __future__ import annotations

import http.client
import os
import shlex
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.core.errors import ConfigError, ServiceError
from lab.layout import Layout, write_for_owner
from lab.up.services import Service

ANSWER_S = 10.0
"""Wall seconds for the supervisor's answer."""

START_S = 15.0
"""Wall seconds for the supervisor to answer for the first time."""

CONFIGURATION = "supervisord.conf"
LOG = "supervisord.log"


@dataclass(frozen=True)
class State:
    """How the supervisor sees a service.

    Parameters
    ----------
    name : str
    state : str
        ``STARTING``, ``RUNNING``, ``BACKOFF``, ``STOPPING``, ``EXITED``, ``STOPPED``, ``FATAL`` or ``UNKNOWN``.
    pid : int
        0 when there is no process.
    since : float
        Wall time at which this process began, s since the epoch; 0 when it never did.
    """

    name: str
    state: str
    pid: int
    since: float


def write_configuration(layout: Layout, services: Sequence[Service]) -> None:
    """Everything in it is relative to LAB_HOME, the supervisor's working directory: no path has to be quoted.

    Raises
    ------
    ConfigError
        When it cannot be written.
    """
    sections = [
        "[unix_http_server]", "file=services/supervisor.sock", "chmod=0600", "",
        "[supervisord]", f"logfile=services/{LOG}", "logfile_maxbytes=5MB", "logfile_backups=2", "pidfile=services/supervisord.pid",
        "nodaemon=true", "silent=true", "childlogdir=services", "nocleanup=true", "",
        "[rpcinterface:supervisor]", "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface", "",
        "[rpcinterface:laboratory]", "supervisor.rpcinterface_factory=lab.up.events:note_events", ""]
    for number, service in enumerate(services):
        sections += [
            f"[program:{service.name}]", f"command={_command(service)}", f"priority={10 * (number + 1)}",
            "autorestart=true", "startsecs=1", "startretries=20", "stopsignal=TERM", f"stopwaitsecs={service.stop_s:g}", "killasgroup=true",
            "redirect_stderr=true", f"stdout_logfile=services/{service.name}.log", "stdout_logfile_maxbytes=10MB",
            "stdout_logfile_backups=3", "stdout_events_enabled=true", ""]
    write_for_owner(layout.folder / CONFIGURATION, "\n".join(sections))


def _command(service: Service) -> str:
    """A command as the supervisor reads it: split as by a shell, with % doubled.

    Raises
    ------
    ConfigError
        When the path of Python has characters that its configuration cannot hold.
    """
    if any(character in word for word in service.command for character in ";#\n\r"):
        raise ConfigError("this machine", "Python's path", sys.executable, "one without ; # and line ends (the supervisor cannot read those)")
    return shlex.join(service.command).replace("%", "%%")


def launch(layout: Layout) -> subprocess.Popen[bytes]:
    """Start it in a session of its own: Ctrl-C and the end of this terminal do not reach it.

    The environment is this process's, without what would configure another RE Manager.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("QSERVER_")}
    environment |= {"LAB_HOME": layout.home, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
    with (layout.folder / LOG).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "-c", f"services/{CONFIGURATION}"],
            cwd=layout.home, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, umask=0o077)


class Supervisor:
    """Asks a supervisor that runs.

    Parameters
    ----------
    path : Path
        Its socket.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def is_there(self) -> bool:
        """Whether one answers at the socket."""
        try:
            self._ask(2.0, lambda server: server.supervisor.getPID())
        except ServiceError:
            return False
        return True

    def wait(self, process: subprocess.Popen[bytes]) -> None:
        """Until it answers.

        Raises
        ------
        ServiceError
            When it ends first, or does not answer within `START_S`; with the last lines of its log.
        """
        ends = time.monotonic() + START_S
        while not self.is_there():
            if process.poll() is not None or time.monotonic() > ends:
                said = last_lines(self._path.with_name(LOG), 5)
                raise ServiceError(f"supervisor: did not start (status {process.poll()}; log: {self._path.with_name(LOG)})\n{said}")
            time.sleep(0.05)

    def states(self) -> dict[str, State]:
        """Of all services.

        Raises
        ------
        ServiceError
            When it does not answer.
        """
        rows: Any = self._ask(ANSWER_S, lambda server: server.supervisor.getAllProcessInfo())
        return {row["name"]: State(row["name"], row["statename"], int(row["pid"]), float(row["start"])) for row in rows}

    def stop(self, name: str, deadline_s: float) -> None:
        """End a service in order, or by force when it does not end in its time.

        Raises
        ------
        ServiceError
            When it has not ended within `deadline_s` wall seconds.
        """
        def stop(server: xmlrpc.client.ServerProxy) -> object:
            try:
                return server.supervisor.stopProcess(name, True)
            except xmlrpc.client.Fault as fault:
                if "NOT_RUNNING" in fault.faultString:
                    return True
                raise

        self._ask(deadline_s, stop)

    def shut_down(self) -> None:
        """Have it end whatever still runs, then itself.

        Raises
        ------
        ServiceError
            When it does not answer.
        """
        self._ask(ANSWER_S, lambda server: server.supervisor.shutdown())

    def _ask(self, deadline_s: float, question: Callable[[xmlrpc.client.ServerProxy], object]) -> Any:
        with xmlrpc.client.ServerProxy("http://supervisor", transport=_Transport(self._path, deadline_s)) as server:
            try:
                return question(server)
            except (OSError, http.client.HTTPException) as error:
                raise ServiceError(f"supervisor: no answer at {self._path}: {error}") from error
            except xmlrpc.client.Error as error:
                raise ServiceError(f"supervisor: {error}") from error


class _Line(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, deadline_s: float) -> None:
        super().__init__("supervisor", timeout=deadline_s)
        self._path, self._deadline_s = path, deadline_s

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._deadline_s)
        self.sock.connect(str(self._path))


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: Path, deadline_s: float) -> None:
        super().__init__()
        self._path, self._deadline_s = path, deadline_s

    def make_connection(self, host: Any) -> _Line:
        return _Line(self._path, self._deadline_s)


def last_lines(path: Path, n: int) -> str:
    """The end of a log, indented; empty when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 16384))
            lines = file.read().decode(errors="replace").rstrip().splitlines()
    except FileNotFoundError:
        return ""
    return "\n".join(f"    {line}" for line in lines[-n:])
