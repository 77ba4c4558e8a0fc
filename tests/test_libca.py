"""Of processes that start libca in the same moment, one brings the CA repeater, and the others begin no thread for it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from lab import libca
from lab.services import client_environment, free_ports

CLIENT = """
import sys
import ophyd
from lab import libca
print("ready", flush=True)
sys.stdin.readline()
libca.start()
print("started", flush=True)
sys.stdin.readline()
"""


def begin(port: int) -> subprocess.Popen[str]:
    environment = {**os.environ, **client_environment([free_ports(1)[0]]), "EPICS_CA_REPEATER_PORT": str(port)}
    client = subprocess.Popen([sys.executable, "-c", CLIENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True)
    assert client.stdout is not None and client.stdout.readline() == "ready\n"
    return client


def tell(client: subprocess.Popen[str]) -> None:
    assert client.stdin is not None
    client.stdin.write("\n")
    client.stdin.flush()


def threads(client: subprocess.Popen[str]) -> list[str]:
    return [path.read_text().strip() for path in Path(f"/proc/{client.pid}/task").glob("*/comm")]


def test_one_process_at_a_time_starts_libca_and_only_the_first_brings_the_repeater() -> None:
    port = free_ports(1)[0]
    clients = [begin(port) for _ in range(3)]
    try:
        with open(libca.__file__, "rb") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            for client in clients:
                tell(client)
            assert not libca.await_repeater(port, 0.5), "nobody starts while another does"
        for client in clients:
            assert client.stdout is not None and client.stdout.readline() == "started\n"
        assert libca.await_repeater(port, 60)
        assert sum("CAC-repeater" in threads(client) for client in clients) == 1
    finally:
        for client in clients:
            tell(client)
            client.communicate(timeout=120)
    assert [client.returncode for client in clients] == [0, 0, 0]


def test_where_no_repeater_listens_none_is_awaited_for_long() -> None:
    assert not libca.await_repeater(free_ports(1)[0], 0.1)
