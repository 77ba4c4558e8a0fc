"""Instruments that outlive the session: their service, sessions that come and go, consoles on the worker, and the death of each."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
from typer.testing import CliRunner

from lab.cli import app
from lab.core.config import LabConfig
from lab.core.errors import LeaseError, ServiceError
from lab.home import Home
from lab.layout import Layout
from lab.lease import Lease, holder
from lab.presence import laboratory_up, refuse_when_up, serving, worker
from lab.services import free_ports
from lab.session import Session
from lab.up.instruments import await_free

pytestmark = pytest.mark.timeout(600)  # real processes, also on a busy machine

LAB = str(Path(sys.executable).parent / "lab")

LABORATORY = LabConfig.model_validate({
    "name": "small", "speed": 60, "catalogue": False,
    "instruments": {"plate": {"kind": "hotplate"}, "pump": {"kind": "pump", "syringes": [{"address": 0, "liquid": "cs"}]}},
})

KERNEL = """
import sys
from ipykernel.kernelapp import IPKernelApp
app = IPKernelApp.instance()
app.exec_lines = ["from lab.remote.worker.opening import open_worker", "globals().update(open_worker())"]
app.initialize(["-f", sys.argv[1]])
app.start()
"""
"""A worker as the RE Manager makes it, without the RE Manager."""


def until(condition: Callable[[], Any], deadline_s: float = 150.0) -> Any:
    end = time.monotonic() + deadline_s
    while not (found := condition()):
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)
    return found


class Up:
    """A laboratory that is up, without its queue: the instruments' service, and a worker when asked for."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder / "home")
        self.home.prepare()
        ports = free_ports(len(LABORATORY.instruments))
        self.layout = Layout("small", "lab.yaml", str(self.home.path), "", "", True, "", "", "", "", "", dict(zip(LABORATORY.instruments, ports, strict=True)))
        self.layout.save()
        self.layout.config_file.write_text(LABORATORY.model_dump_json())
        self.log = folder / "instruments.log"
        self.environment = {**os.environ, "LAB_HOME": str(self.home.path), "TERM": "dumb", "IPYTHONDIR": str(folder / "ipython"), "COLUMNS": "160"}
        self._started: list[subprocess.Popen[bytes]] = []
        self.service = self.start_service()

    def start_service(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            service = subprocess.Popen([sys.executable, "-m", "lab.up.instruments", "--home", str(self.home.path)], stdout=subprocess.PIPE, stderr=log)
        self._started.append(service)
        assert service.stdout is not None
        with service.stdout:
            assert json.loads(service.stdout.readline()) == {"ready": True}, self.log.read_text()
        return service

    def start_worker(self) -> subprocess.Popen[bytes]:
        self.layout.worker_file.unlink(missing_ok=True)
        with (self.home.logs / "worker.log").open("ab") as log:
            made = subprocess.Popen([sys.executable, "-c", KERNEL, str(self.layout.folder / "kernel.json")], env=self.environment, stdin=subprocess.DEVNULL,
                                    stdout=log, stderr=log)
        self._started.append(made)
        until(lambda: worker(self.layout) is not None)
        return made

    def console(self) -> pexpect.spawn:
        return pexpect.spawn(LAB, ["console"], env=self.environment, encoding="utf-8", timeout=150, dimensions=(50, 160))

    def heater(self) -> str:
        """What the bridge has logged of its plate."""
        return (self.home.logs / "plate.log").read_text()

    def close(self) -> None:
        for process in reversed(self._started):
            if process.poll() is None:
                process.terminate()
        for process in self._started:
            process.wait(60)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    made = Up(tmp_path_factory.mktemp("up"))
    yield made
    made.close()


def test_a_service_says_where_its_instruments_are(up: Up) -> None:
    found = serving(up.layout)
    assert found is not None
    assert set(found.endpoints) == {"plate", "pump"}
    assert all(endpoint.startswith("serial://") for endpoint in found.endpoints.values())
    assert laboratory_up(up.home) == up.layout


@pytest.mark.parametrize("command", [["run", "examples/perovskite.yaml"], ["resume"], ["check", "examples/lab.yaml"]])
def test_commands_with_a_session_of_their_own_are_refused_while_the_laboratory_is_up(up: Up, command: list[str],
                                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_HOME", str(up.home.path))
    monkeypatch.chdir(Path(__file__).parent.parent)
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    assert re.search(r"lab: laboratory small is up \(since [-0-9]+ [:0-9]+\): .*; or lab down", done.stderr)


@pytest.mark.parametrize(("arguments", "words"), [
    (["--speed", "60"], r"--speed: given a value; allowed: nothing: laboratory small is up"),
    (["./tests/../examples/lab.yaml"], r"LAB: given .*lab\.yaml, laboratory demo; allowed: none, or that of laboratory small, which is up"),
])
def test_a_console_of_another_laboratory_or_speed_is_refused_while_one_is_up(up: Up, arguments: list[str], words: str,
                                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_HOME", str(up.home.path))
    monkeypatch.chdir(Path(__file__).parent.parent)
    done = CliRunner().invoke(app, ["console", *arguments])
    assert done.exit_code == 2
    assert re.search(words, done.stderr)


def test_a_laboratory_that_has_ended_refuses_nothing(tmp_path: Path) -> None:
    refuse_when_up(Home(tmp_path), "wait")
    Layout("small", "lab.yaml", str(tmp_path), "", "", True, "", "", "", "", "", {}).save()
    refuse_when_up(Home(tmp_path), "wait")


def test_a_person_controls_and_another_looks_on_and_the_worker_dies_under_them(up: Up) -> None:
    process = up.start_worker()
    until(up.layout.alarms_file.exists)
    assert json.loads(up.layout.alarms_file.read_text())["instruments"] == {}
    first = up.console()
    first.expect(r"You control the laboratory\.")
    first.expect(r"In \[\d+\]: ")
    assert (found := holder(up.home)) is not None and (found.pid, found.what) == (first.pid, "console")

    second = up.console()
    second.expect(r"You look on: the laboratory is controlled by \S+ \(console; process")
    second.expect(r"In \[\d+\]: ")
    second.sendline("RE.state")
    second.expect(r"not sent: the laboratory is controlled by")

    first.sendline("RE(bps.sleep(1000))")
    first.expect("sleep")
    until(lambda: "'idle' -> 'running'" in (up.home.logs / "session.log").read_text())
    first.sendintr()
    first.expect("Deferred pause acknowledged")
    first.sendintr()
    while first.expect(["entering a paused state", pexpect.TIMEOUT], timeout=5):
        first.sendintr()  # Bluesky takes two within 0.1 s for one
    first.sendline("RE.abort(); print('engine', RE.state)")
    first.expect("engine idle")
    first.sendline("plate.set(60); print('set', plate.name)")
    first.expect("set plate")
    first.sendline("exit")
    first.expect("the instruments safe")
    first.expect(pexpect.EOF)
    first.close()
    assert first.exitstatus == 0
    assert process.poll() is None
    assert holder(up.home) is None

    second.sendline("print('power', plate.power.get())")
    second.expect("You control the laboratory now")
    second.expect("power 0")
    second.sendline("plate.set(80); print('set', plate.name)")
    second.expect("set plate")
    before = up.heater().count("made safe, as asked")
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    until(lambda: up.heater().count("made safe, as asked") > before)
    until(lambda: "instruments made safe after the death of the worker" in up.log.read_text())
    second.sendline("RE.state")
    second.expect("has died; its instruments are being made safe")
    second.expect(pexpect.EOF)
    second.close()
    assert second.exitstatus == 1
    assert holder(up.home) is None


def test_a_new_worker_goes_on_where_the_last_one_died_and_leaves_instruments_running(up: Up) -> None:
    now_s = serving(up.layout).now_s(60.0)  # type: ignore[union-attr]
    process = up.start_worker()
    console = up.console()
    console.expect(r"You control the laboratory\.")
    console.expect(r"In \[\d+\]: ")
    console.sendline(f"print('later', lab._session.clock.now() > {now_s})")
    console.expect("later True")
    os.kill(console.pid, signal.SIGKILL)
    console.close()
    until(lambda: "has died while in control: making the instruments safe" in (up.home.logs / "session.log").read_text())
    until(lambda: holder(up.home) is None)
    process.terminate()
    process.wait(60)
    assert up.service.poll() is None


def test_a_service_that_is_killed_comes_back_on_its_ports_with_its_world(up: Up) -> None:
    earlier, n_connected = serving(up.layout), up.heater().count("connected")
    up.service.kill()
    up.service.wait(60)
    assert laboratory_up(up.home) is None
    up.service = up.start_service()
    later = serving(up.layout)
    assert earlier is not None and later is not None
    assert later.lab_s >= earlier.lab_s
    until(lambda: up.heater().count("connected") > n_connected)


def test_a_port_that_stays_taken_is_said() -> None:
    (port,) = free_ports(1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(ServiceError, match=f"Channel Access port {port} is taken by another process"):
            await_free([port], 0.0)


def test_a_session_takes_the_lease_for_what_it_does(tmp_path: Path) -> None:
    with (Lease.take(Home(tmp_path), "alice", "campaign perovskite"),
          pytest.raises(LeaseError, match=r"controlled by alice \(campaign perovskite; "),
          Session(LABORATORY, Home(tmp_path), purpose="console")):
        pass


def test_a_session_without_instruments_to_attach_to_is_refused(tmp_path: Path) -> None:
    layout = Layout("small", "lab.yaml", str(tmp_path), "", "", True, "", "", "", "", "", {"plate": 1, "pump": 2})
    with pytest.raises(ServiceError, match="the instruments of small are not running"):
        Session(LABORATORY, Home(tmp_path), attached=layout)
