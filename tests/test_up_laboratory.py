"""A laboratory that ``lab up`` has brought up, with its real services: one for all tests here, which leave it running."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from lab.core.clock import WallClock
from lab.home import Home
from lab.layout import Layout
from lab.records.ledger import Ledger
from lab.up import events

ROOT = Path(__file__).parent.parent
LAB = str(Path(sys.executable).parent / "lab")
SERVICES = ("redis", "instruments", "catalogue", "queue", "steward", "gateway")
DEADLINE_S = 150.0

pytestmark = pytest.mark.timeout(600)  # the first test waits for the laboratory


class Laboratory:
    """Commands in a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {**os.environ, "LAB_HOME": str(home)}

    def run(self, *arguments: str, timeout: float = 280.0) -> subprocess.CompletedProcess[str]:
        return subprocess.run([LAB, *arguments], cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=timeout)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return found

    @property
    def layout(self) -> Layout:
        found = Layout.load(Home(self.home))
        assert found is not None
        return found

    def processes(self) -> list[psutil.Process]:
        """The supervisor and all that it has brought up."""
        supervisor = psutil.Process(events.processes(self.layout.folder)["supervisor"].pid)
        return [one for one in (supervisor, *supervisor.children(recursive=True)) if one.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    it = Laboratory(tmp_path_factory.mktemp("up") / "h")
    try:
        done = it.run("up", "examples/lab.yaml", "--listen", "127.0.0.1:0")
        assert done.returncode == 0, done.stderr
        it.said = done.stdout  # type: ignore[attr-defined]
        yield it
    finally:
        it.run("down", "--now")


def eventually(ask: Callable[[], Any]) -> Any:
    """What is asked, once it is true."""
    ends = time.monotonic() + DEADLINE_S
    while not (found := ask()):
        assert time.monotonic() < ends
    return found


def test_every_service_is_said_and_what_to_type_next(laboratory: Any) -> None:
    lines = laboratory.said.splitlines()
    assert {line.split()[0] for line in lines if "ready after" in line} == set(SERVICES)
    assert f"gateway      {laboratory.layout.gateway.removeprefix('tcp://')}" in lines
    key = next(Path(line.split()[-1]) for line in lines if line.startswith("your key"))
    assert json.loads(key.read_text())["role"] == "admin"
    assert "lab status" in laboratory.said and "lab down" in laboratory.said


def test_lab_up_in_a_laboratory_that_is_up_says_so(laboratory: Laboratory) -> None:
    done = laboratory.run("up", "examples/lab.yaml")
    assert done.returncode == 0
    assert "laboratory demo is up already" in done.stdout


def test_lab_status_shows_services_queue_control_and_alarms(laboratory: Laboratory) -> None:
    # On a busy machine the RE Manager may take too long to answer, and the worker to write of alarms.
    found = eventually(lambda: (now := laboratory.status()["laboratory"])["queue"] and now["alarms"] and now)
    assert {row["service"]: (row["state"], row["restarts"]) for row in found["services"]} == dict.fromkeys(SERVICES, ("ready", 0))
    assert found["queue"]["environment"] == "idle"
    assert found["lease"] is None
    assert found["alarms"]["instruments"] == {}
    assert found["next"] == []
    screen = eventually(lambda: "no alarms" in (shown := laboratory.run("status").stdout) and "queue: idle" in shown and shown)
    assert "queue: idle; 0 items in it; worker: idle; runs by itself" in screen
    assert "control: nobody" in screen


def test_everything_listens_on_loopback(laboratory: Laboratory) -> None:
    open_to = {line.laddr.ip for process in laboratory.processes() for line in process.net_connections("inet") if line.status == psutil.CONN_LISTEN}
    assert open_to == {"127.0.0.1"}


def test_no_service_is_told_a_secret_on_its_command_line(laboratory: Laboratory) -> None:
    layout = laboratory.layout
    said = " ".join(word for process in laboratory.processes() for word in process.cmdline())
    assert layout.redis_password and layout.redis_password not in said
    assert layout.tiled_key not in said


def test_the_console_stream_never_shows_the_kernels_key(laboratory: Laboratory) -> None:
    key = json.loads((laboratory.layout.folder / "kernel.json").read_text())["key"]
    assert key not in laboratory.layout.log_of("queue").read_text()


def test_runs_are_filed_for_those_who_have_tileds_key(laboratory: Laboratory) -> None:
    layout = laboratory.layout
    (laboratory.home / "runs").mkdir(exist_ok=True)
    run = [["start", {"uid": "a-run", "time": 1.0}], ["stop", {"uid": "its-end", "run_start": "a-run", "time": 2.0, "exit_status": "success", "num_events": {}}]]
    (laboratory.home / "runs" / "a-run.jsonl").write_text("".join(json.dumps(line) + "\n" for line in run))
    url, key = f"{layout.tiled}/api/v1/metadata/a-run", {"Authorization": f"Apikey {layout.tiled_key}"}
    assert httpx.get(url, timeout=200).status_code == 401
    assert eventually(lambda: httpx.get(url, headers=key, timeout=200).status_code == 200 and "stop" in httpx.get(url, headers=key, timeout=60).text)


def test_an_item_under_way_is_not_ended_unless_that_is_meant_and_then_stands_on_record(laboratory: Laboratory) -> None:
    added = laboratory.run("queue", "add", "count", "detectors=[hotplate_a]", "num=10", "delay_s=36000")
    assert added.returncode == 0, added.stderr
    item = eventually(lambda: laboratory.status()["items"]["running"])[0]
    refused = laboratory.run("down")
    assert refused.returncode == 1
    assert "an item of the queue is under way" in refused.stderr
    processes = laboratory.processes()
    done = laboratory.run("down", "--now")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines() if "ended after" in line] == list(reversed(SERVICES))
    assert psutil.wait_procs(processes, timeout=200)[1] == []
    with Ledger(laboratory.home / "ledger.sqlite", WallClock()) as ledger:
        assert ledger.item(item["item"]).state == "aborted"
