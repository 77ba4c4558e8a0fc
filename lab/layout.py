"""Where the services of a laboratory that is up find one another: addresses and files, decided once by ``lab up``.

Everything is on this machine's loopback interface, or in a folder that only its owner may enter; the gateway alone listens elsewhere.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lab.core.errors import ConfigError
from lab.home import Home

LONGEST_SOCKET = 100
"""Bytes of the path of a socket: unix(7) allows 108, with its end."""


@dataclass(frozen=True)
class Layout:
    """What ``lab up`` has decided; `Layout.load` in any process of the laboratory.

    Parameters
    ----------
    lab : str
        Name of the laboratory.
    lab_file : str
        As given to ``lab up``, absolute; the configuration that counts is `Layout.config_file`.
    home : str
        Its LAB_HOME, absolute.
    gateway : str
        Where the gateway listens: ``tcp://127.0.0.1:60615``.
    redis : str
        ``host:port``.
    is_own_redis : bool
        Whether it is a service of the laboratory.
    redis_password : str
        Of the laboratory's own; others on this machine may reach its port.
    is_under_systemd : bool
        Whether its services are units of systemd, and not processes of a supervisor of ours.
    queue_control, queue_info : str
        The RE Manager's sockets, for the steward and the gateway alone.
    steward : str
        The steward's socket, for the gateway alone.
    tiled : str
        ``http://127.0.0.1:PORT``; empty where lab.yaml has ``catalogue: false``.
    tiled_key : str
        Its API key.
    ca_ports : dict
        Channel Access port of each instrument's bridge.
    """

    lab: str
    lab_file: str
    home: str
    gateway: str
    redis: str
    is_own_redis: bool
    queue_control: str
    queue_info: str
    steward: str
    tiled: str
    tiled_key: str
    ca_ports: dict[str, int]
    redis_password: str = ""
    is_under_systemd: bool = False

    @property
    def folder(self) -> Path:
        """Where the services keep their sockets and files: ``LAB_HOME/services``."""
        return services_folder(Home(Path(self.home)))

    @property
    def config_file(self) -> Path:
        """The laboratory's configuration as it was when it came up, as JSON (`LabConfig`)."""
        return self.folder / "lab.json"

    @property
    def instruments_file(self) -> Path:
        """Written by the instruments' service when it is ready: ``{"pid", "endpoints": {instrument: endpoint}}``."""
        return self.folder / "instruments.json"

    @property
    def worker_file(self) -> Path:
        """Written by the worker when its session is open: ``{"pid", "host", "process_started", "kernel": connection file}``."""
        return self.folder / "worker.json"

    @property
    def alarms_file(self) -> Path:
        """Written by the worker every other second: ``{"wall", "instruments": {name: cause}, "interlocks": {name: words}}``, both of what is wrong."""
        return self.folder / "alarms.json"

    @property
    def supervisor_socket(self) -> Path:
        return self.folder / "supervisor.sock"

    @property
    def redis_login(self) -> str:
        """``:password@host:port``, what follows ``redis://``; for the RE Manager's configuration alone."""
        return f":{self.redis_password}@{self.redis}" if self.redis_password else self.redis

    def log_of(self, service: str) -> Path:
        """What a service has written, on either stream."""
        return self.folder / f"{service}.log"

    def save(self) -> None:
        """Write it, for its owner alone.

        Raises
        ------
        ConfigError
            When the folder cannot be made, or is too deep for a socket.
        """
        check_length(Home(Path(self.home)))
        write_for_owner(self.folder / "layout.json", json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls, home: Home) -> Layout | None:
        """What was decided for this LAB_HOME, which may have been moved since; None when the laboratory has never been up."""
        try:
            found = cls(**json.loads((services_folder(home) / "layout.json").read_text()))
        except (FileNotFoundError, NotADirectoryError):  # of a file in the folder's place says more who makes the folder
            return None
        before, now = str(found.folder), str(services_folder(home))
        if before == now:
            return found
        sockets = {name: getattr(found, name).replace(before, now) for name in ("queue_control", "queue_info", "steward")}
        return replace(found, home=str(home.path), **sockets)


def services_folder(home: Home) -> Path:
    """Where the services of a LAB_HOME keep their sockets and files."""
    return home.path / "services"


def check_length(home: Home) -> None:
    """Refuse a LAB_HOME that is too deep for sockets.

    Raises
    ------
    ConfigError
        With what would be short enough.
    """
    folder = services_folder(home)
    if len(os.fsencode(folder / "supervisor.sock")) > LONGEST_SOCKET:
        raise ConfigError("LAB_HOME", str(home.path), "a path too long for a socket",
                          f"a folder of at most {LONGEST_SOCKET - len('/services/supervisor.sock')} bytes")


def write_for_owner(path: Path, text: str) -> None:
    """Write a file as a whole or not at all, readable for its owner alone, in a folder of which that is also true.

    Raises
    ------
    ConfigError
        When that cannot be done.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        raise ConfigError("LAB_HOME", str(path), error.strerror or str(error), "a file that can be written") from error
