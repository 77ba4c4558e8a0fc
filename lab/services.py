"""The processes of a laboratory: simulator and bridges, started, watched and ended (docs/architecture.md)."""

from __future__ import annotations

import json
import logging
import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.core.errors import ServiceError

log = logging.getLogger(__name__)

START_S = 30.0
"""Wall seconds that a process may take to say that it is ready."""

END_S = 10.0
"""Wall seconds that a process may take to make its instrument safe and go."""

LOOPBACK = "127.0.0.1"


class Child:
    """One process that speaks JSON lines on its standard input and output, and lives no longer than this one.

    Parameters
    ----------
    name : str
        For messages and the log file.
    module : str
        Started as ``python -m module``.
    config : mapping
        Its first input line.
    log : Path
        Where its standard error goes.
    environment : mapping
        Added to this process's environment.
    shares : sequence of int
        Descriptors that it inherits, under the same numbers.
    """

    def __init__(
        self, name: str, module: str, config: Mapping[str, Any], log: Path, environment: Mapping[str, str] | None = None,
        shares: Sequence[int] = (),
    ) -> None:
        self.name = name
        self._module, self._config, self.log = module, dict(config), log
        self._environment = {**os.environ, **(environment or {})}
        self._shares = tuple(shares)
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        """Start the process without waiting for it; `wait_ready` does."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._buffer = b""
        self._close_pipes()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment,
                pass_fds=self._shares,
                start_new_session=True,  # Ctrl-C at the terminal belongs to the session, which ends its children in order
            )
        self._write(self._config)

    def wait_ready(self) -> dict[str, Any]:
        """The ready line.

        Raises
        ------
        ServiceError
            When the process ended, said that it cannot, or said nothing within `START_S`.
        """
        answer = self._read_line(START_S)
        if answer.get("ready") is not True:
            raise ServiceError(f"{self.name}: did not start: {answer.get('error', answer)} (log: {self.log})")
        return answer

    def ask(self, request: Mapping[str, Any], deadline_s: float = 5.0) -> dict[str, Any]:
        """Send one JSON line and wait for the answer.

        Raises
        ------
        ServiceError
            When there is none in time.
        """
        self._write(request)
        return self._read_line(deadline_s)

    def wait_end(self, deadline_s: float | None = None) -> int | None:
        """Exit status, or None when it still runs after `deadline_s`."""
        if self._process is None:
            return None
        try:
            return self._process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            return None

    def close_input(self) -> None:
        """Ask it to make its instrument safe and go, without waiting for that; `stop` does."""
        if self._process is not None and self._process.stdin is not None:
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                pass  # it is gone already

    def stop(self) -> None:
        """Close its input, which asks it to make its instrument safe and go; force it only when it does not."""
        process = self._process
        if process is None:
            return
        self.close_input()
        for end, grace_s in ((None, END_S), (signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0)):
            if end is not None:
                process.send_signal(end)
            if self.wait_end(grace_s) is not None:
                break
        if process.stdout is not None:
            process.stdout.close()

    def _close_pipes(self) -> None:
        """Of the process before: one that died has left them open."""
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    try:
                        pipe.close()
                    except BrokenPipeError:
                        pass  # what was not written is for nobody any more

    def _write(self, line: Mapping[str, Any]) -> None:
        process = self._process
        if process is None or process.stdin is None:
            raise ServiceError(f"{self.name}: is not running")
        try:
            process.stdin.write(json.dumps(line).encode() + b"\n")
            process.stdin.flush()
        except (BrokenPipeError, ValueError) as error:
            raise ServiceError(f"{self.name}: has ended (log: {self.log})") from error

    def _read_line(self, deadline_s: float) -> dict[str, Any]:
        process = self._process
        if process is None or process.stdout is None:
            raise ServiceError(f"{self.name}: is not running")
        end = time.monotonic() + deadline_s
        while b"\n" not in self._buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                raise ServiceError(f"{self.name}: said nothing for {deadline_s:g} s (log: {self.log})")
            chunk = os.read(process.stdout.fileno(), 65536)
            if not chunk:
                status = self.wait_end(2.0)
                raise ServiceError(f"{self.name}: ended with status {status} (log: {self.log})")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            answer = json.loads(line)
        except json.JSONDecodeError as error:
            raise ServiceError(f"{self.name}: said {line[:200]!r}, which is no JSON (log: {self.log})") from error
        if not isinstance(answer, dict):
            raise ServiceError(f"{self.name}: said {line[:200]!r}, which is no JSON object (log: {self.log})")
        return answer


class Watch(threading.Thread):
    """Starts bridges again that die, and says so. A simulator that died is not started again: its world is lost.

    Parameters
    ----------
    children : sequence of Child
        The bridges.
    say : callable
        Told in words what died and what was done.
    simulator : Child or None
    on_loss : callable
        Called once, with the cause, when the simulator has died; nothing is watched any more then.
    """

    def __init__(self, children: list[Child], say: Callable[[str], None], simulator: Child | None = None,
                 on_loss: Callable[[str], None] = log.error) -> None:
        super().__init__(name="watch", daemon=True)
        self._children, self._say = children, say
        self._simulator, self._on_loss = simulator, on_loss
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.25):
            if self._simulator is not None and not self._simulator.is_running:
                self._on_loss(f"the simulated laboratory died (exit status {self._simulator.wait_end(0)}; log: {self._simulator.log})")
                return
            for child in self._children:
                if not child.is_running:
                    self._restart(child)

    def _restart(self, child: Child) -> None:
        status = child.wait_end(0)
        self._say(f"bridge {child.name} died (exit status {status}); starting it again")
        try:
            child.launch()
            child.wait_ready()
        except ServiceError as error:
            self._say(f"bridge {child.name} could not be started again: {error}")
            self._ended.wait(2.0)
        else:
            self._say(f"bridge {child.name} is back")

    def end(self) -> None:
        self._ended.set()
        self.join(START_S)


def free_ports(n: int) -> list[int]:
    """`n` ports of the loopback interface that are free for both TCP and UDP, as Channel Access needs them.

    They are outside of the range from which the system gives ports to whoever connects (ip(7), ip_local_port_range): one of those could be
    taken in the second between this question and the bridge's own bind, and an IOC whose UDP port is taken stands still for ever.
    """
    held: list[socket.socket] = []
    ports: list[int] = []
    asked = _not_given_out()
    try:
        while len(ports) < n:
            tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
            held += [tcp, udp]
            try:
                tcp.bind((LOOPBACK, next(asked)))
                port = tcp.getsockname()[1]
                udp.bind((LOOPBACK, port))
            except OSError:
                continue  # somebody has it: ask for another
            ports.append(port)
    finally:
        for one in held:
            one.close()
    return ports


def _not_given_out() -> Iterator[int]:
    """Ports to ask for, at random; 0, for any, where the system does not tell which ones it gives out."""
    try:
        first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    except (OSError, ValueError):
        first = last = 0
    candidates = [port for port in range(10000, 65000) if not first <= port <= last] if first else []
    random.SystemRandom().shuffle(candidates)
    yield from candidates
    while True:
        yield 0


def bridge_environment(port: int) -> dict[str, str]:
    """Channel Access server settings of one bridge: this port, this machine only."""
    return {
        "EPICS_CA_SERVER_PORT": str(port),
        "EPICS_CAS_INTF_ADDR_LIST": LOOPBACK,
        "EPICS_CAS_BEACON_ADDR_LIST": LOOPBACK,
        "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
        "EPICS_CA_ADDR_LIST": LOOPBACK,
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
    }


def client_environment(ports: list[int]) -> dict[str, str]:
    """Channel Access client settings of the session; to be set before `epics` is imported."""
    return {
        "EPICS_CA_ADDR_LIST": " ".join(f"{LOOPBACK}:{port}" for port in ports),
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_CONN_TMO": "3",
        "EPICS_CA_MAX_ARRAY_BYTES": "10000000",
    }
