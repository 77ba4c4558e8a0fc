"""What several test files share. Everything is on loopback, on ports the system assigns, and gone at the end.

Channel Access fixes its list of servers when `epics` is first imported, once per process. So ports for bridges are drawn
here, before any test imports anything, and `bridges` hands them out.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import settings

from lab.core.clock import ManualClock
from lab.records.ledger import Ledger
from lab.services import bridge_environment, client_environment, free_ports

_PORTS = free_ports(24)
os.environ.update(client_environment(_PORTS))
# A private port for the CA repeater: nobody else's is used, and none is left behind.
os.environ["EPICS_CA_REPEATER_PORT"] = str(free_ports(1)[0])

# `make test` looks at a few dozen examples of each property, `make fuzz` at thousands. No deadline: that would time the machine.
# The few dozen are the same in every run: what is found by chance is found by `make fuzz`, and never holds up a change that did not cause it.
settings.register_profile("test", max_examples=25, deadline=None, derandomize=True)
settings.register_profile("fuzz", max_examples=5000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "test"))


SLOWEST = ("test_campaigns", "test_queue_crashes", "test_console", "test_crash", "test_up_laboratory", "test_up_worker", "test_virtual_time",
           "test_optimise_suggestions", "test_records_catalogue", "test_up_instruments", "test_records_stock", "test_devices_pump",
           "test_interlocked_campaigns", "test_devices_hotplate", "test_devices_detector", "test_devices_interlocks")
"""Files that take longest, the longest first: begun first, so that at the end nobody waits for one of them (``--dist loadfile``)."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slowest files first; else the order stays."""
    rank = {name: n for n, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(SLOWEST)))


class Process:
    """A child process of the laboratory: one JSON line in, one out (docs/architecture.md)."""

    def __init__(self, module: str, config: dict[str, Any], log: Path, environment: dict[str, str] | None = None) -> None:
        self._arguments = (module, config, log, environment)
        self.start()

    def start(self) -> None:
        module, config, log, environment = self._arguments
        with log.open("ab") as errors:
            self.popen = subprocess.Popen([sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                                          env={**os.environ, **(environment or {})}, text=True)
        self.ready = self.ask(config)
        assert self.ready["ready"] is True, self.ready

    def ask(self, message: dict[str, Any], deadline_s: float = 120.0) -> dict[str, Any]:
        assert self.popen.stdin is not None and self.popen.stdout is not None
        self.popen.stdin.write(json.dumps(message) + "\n")
        self.popen.stdin.flush()
        assert select.select([self.popen.stdout], [], [], deadline_s)[0], f"no answer to {message}"
        answer: dict[str, Any] = json.loads(self.popen.stdout.readline())
        return answer

    def stop(self) -> int:
        """Close its input, and wait for its end."""
        assert self.popen.stdin is not None and self.popen.stdout is not None
        if not self.popen.stdin.closed:
            self.popen.stdin.close()
        try:
            return self.popen.wait(60)
        finally:
            self.popen.stdout.close()
            if self.popen.returncode is None:
                self.popen.kill()
                self.popen.wait(60)


class Bench:
    """A simulated laboratory with some of its bridges, for tests of bridges and devices.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.bridges: dict[str, Process] = {}
        self._ports: dict[str, int] = {}

    def simulate(self, instruments: dict[str, Any], speed: float, **more: Any) -> Process:
        """Start the simulator of these instruments (a part of lab.yaml)."""
        lab = {"name": "test", "speed": speed, "instruments": instruments, **more}
        self.lab, self.sim = lab, Process("sim", {"lab": lab, "faults": []}, self._folder / "sim.log")
        return self.sim

    def bridge(self, name: str, prefix: str, endpoint: str | None = None) -> Process:
        """Start the bridge of an instrument; again after it was killed, on the same port."""
        if name not in self._ports:
            self._ports[name] = _PORTS.pop()
        settings = {"name": name, "prefix": prefix, "speed": self.lab["speed"], "config": self.lab["instruments"][name],
                    "endpoint": endpoint or self.sim.ready["endpoints"][name]}
        self.bridges[name] = Process("firmware_bridges", settings, self._folder / f"{name}.log", bridge_environment(self._ports[name]))
        return self.bridges[name]

    def fault(self, instrument: str, kind: str, **more: Any) -> None:
        """Inject a fault into the simulator, from now on."""
        answer = self.sim.ask({"do": "fault", "instrument": instrument, "kind": kind, **more})
        assert answer.get("ok"), answer

    def clear(self) -> None:
        """End all faults."""
        assert self.sim.ask({"do": "clear"}).get("ok")

    def stop(self) -> None:
        for bridge in self.bridges.values():
            bridge.stop()
        if hasattr(self, "sim"):
            self.sim.stop()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A simulated laboratory of one test module: ``bench.simulate(...)``, ``bench.bridge(...)``."""
    made = Bench(tmp_path_factory.mktemp("bench"))
    yield made
    made.stop()


@pytest.fixture
def clock() -> ManualClock:
    """Laboratory time of the `ledger`; it begins at 100 s."""
    return ManualClock(100.0)


@pytest.fixture
def ledger(tmp_path: Path, clock: ManualClock) -> Iterator[Ledger]:
    """An empty ledger in a file."""
    with Ledger(tmp_path / "ledger.sqlite", clock) as opened_ledger:
        yield opened_ledger


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    """At the very end: no process, and no thread that would keep the interpreter from ending."""
    yield
    # A zombie has ended: libca forks for a CA repeater, and never asks what became of it.
    processes = [child for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]
    assert not processes, f"left behind: {processes}"
    # dask keeps a pool without a name, which ends with the interpreter.
    threads = [thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()
               and not thread.name.startswith("ThreadPoolExecutor")]
    assert not threads, f"left behind: {threads}"


def until(condition: Any, deadline_s: float = 120.0) -> None:
    """Wait for a condition, with a deadline."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "the condition was not met in time"
        time.sleep(0.005)


@pytest.fixture(name="until", scope="session")
def _until() -> Any:
    """``until(condition, deadline_s)``: wait for a condition, with a deadline."""
    return until


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder of the test's own, near the root: paths of sockets must be short, and ``tmp_path`` is deep where workers share the tests."""
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        yield Path(folder)
