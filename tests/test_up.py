"""``lab up`` with services of straw: how they are started, followed, restarted, said, and ended. The real ones: test_up_laboratory.py."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from rich.console import Console

from lab.core.clock import WallClock
from lab.core.config import LabConfig
from lab.core.errors import ConfigError, LeaseError, ServiceError
from lab.files import load_lab
from lab.home import Home
from lab.layout import Layout, services_folder
from lab.lease import Lease
from lab.records.ledger import Ledger
from lab.records.process import Process
from lab.records.queue_rows import NewItem
from lab.up import arrangement, events, note, queue, redis, starting, state, stopping, supervisor, systemd
from lab.up.bringing import configuration, own_address
from lab.up.events import Event
from lab.up.screen import render
from lab.up.services import Service
from lab.up.state import laboratory_state

LAB = Path(__file__).parent.parent / "examples" / "lab.yaml"
DEADLINE_S = 150.0
SERVES = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print('{"ready": true}', flush=True)
while True:
    signal.pause()
"""
DEAF = SERVES.replace("lambda *_: sys.exit(0)", "signal.SIG_IGN")
DIES = "import time; time.sleep(0.2); raise SystemExit('no such door')"


@pytest.fixture
def straw(tmp_path: Path) -> Callable[..., Service]:
    """A service that is a program of a few lines."""

    def make(name: str, program: str = SERVES, stop_s: float = 5.0) -> Service:
        path = tmp_path / f"{name}.py"
        path.write_text(program)
        return Service(name, "of straw", (sys.executable, "-S", str(path)), stop_s)

    return make


@pytest.fixture
def lab() -> LabConfig:
    return configuration(LAB, "127.0.0.1:0", None)


@pytest.fixture
def home(short_path: Path) -> Iterator[Home]:
    where = Home(short_path / "h")
    yield where
    for process in events.alive(services_folder(where)).values():
        os.kill(process.pid, signal.SIGKILL)


@pytest.fixture
def up(home: Home, lab: LabConfig, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Bring up a laboratory of the services given; returns what is said."""

    def bring(*services: Service) -> list[str]:
        monkeypatch.setattr(arrangement, "services_of", lambda *_: services)
        monkeypatch.setattr(stopping, "services_of", lambda *_: services)
        said: list[str] = []
        starting.start(LAB, lab, home, said.append)
        return said

    return bring


def eventually(home: Home, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The state of the laboratory, once it is as expected."""
    ends = time.monotonic() + DEADLINE_S
    while True:
        state = laboratory_state(home)
        if state is not None and is_so(state):
            return state
        assert time.monotonic() < ends, state


def service_of(state: dict[str, Any], name: str) -> dict[str, Any]:
    return next(row for row in state["services"] if row["service"] == name)


# ------------------------------------------------------------------------------------------------- life


def test_services_start_are_said_and_end_in_the_opposite_order(up: Any, straw: Any, home: Home) -> None:
    said = up(straw("instruments"), straw("steward"))
    assert sorted(line.split()[0] for line in said) == ["instruments", "steward"]
    assert all("ready after" in line for line in said)
    pids = [process.pid for process in events.alive(services_folder(home)).values()]
    assert len(pids) == 3
    ended: list[str] = []
    assert stopping.stop(home, ended.append)
    assert [line.split()[0] for line in ended] == ["steward", "instruments"]
    assert not any(Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids)
    assert not stopping.stop(home, ended.append)


def test_a_service_that_does_not_start_is_said_with_the_end_of_its_log_and_everything_is_ended(up: Any, straw: Any, home: Home) -> None:
    with pytest.raises(ServiceError, match=r"(?s)steward: did not start \(exit status 1.*no such door.*then: lab up"):
        up(straw("instruments"), straw("steward", DIES))
    assert events.alive(services_folder(home)) == {}


def test_a_service_that_dies_is_started_again_and_said(up: Any, straw: Any, home: Home) -> None:
    up(straw("instruments"), straw("steward"))
    steward = events.processes(services_folder(home))["steward"]
    eventually(home, lambda state: service_of(state, "steward")["state"] == "ready")
    os.kill(steward.pid, signal.SIGKILL)
    found = eventually(home, lambda state: service_of(state, "steward")["restarts"] == 1 and service_of(state, "steward")["state"] == "ready")
    assert service_of(found, "steward")["last_death"]["why"] == "terminated by SIGKILL"
    assert service_of(found, "instruments")["restarts"] == 0
    stopping.stop(home, lambda _: None)


def test_services_outlive_a_supervisor_that_is_killed_and_lab_down_ends_them(up: Any, straw: Any, home: Home, lab: LabConfig) -> None:
    up(straw("instruments"), straw("steward"))
    os.kill(events.processes(services_folder(home))["supervisor"].pid, signal.SIGKILL)
    found = eventually(home, lambda state: not state["is_supervised"])
    assert [row["state"] for row in found["services"]] == ["unsupervised", "unsupervised"]
    assert "the supervisor has died" in found["next"][0]
    with pytest.raises(ServiceError, match="the supervisor of this laboratory has died, but not: .*instruments.*lab down"):
        starting.start(LAB, lab, home, lambda _: None)
    ended: list[str] = []
    assert stopping.stop(home, ended.append)
    assert [line.split()[0] for line in ended] == ["steward", "instruments"]
    assert events.alive(services_folder(home)) == {}
    assert laboratory_state(home) is None


def test_a_service_that_does_not_end_in_order_is_killed(up: Any, straw: Any, home: Home) -> None:
    up(straw("steward", DEAF, stop_s=1.0))
    assert stopping.stop(home, lambda _: None)
    assert events.alive(services_folder(home)) == {}


def test_only_one_lab_up_is_at_work_on_a_folder(home: Home, lab: LabConfig) -> None:
    home.prepare()
    with starting.alone(home), pytest.raises(ServiceError, match=rf"lab up or lab down is at work .*process {os.getpid()}"):
        starting.start(LAB, lab, home, lambda _: None)


def test_a_laboratory_that_somebody_runs_by_hand_is_not_brought_up(home: Home, lab: LabConfig) -> None:
    home.prepare()
    with Lease.take(home, "ada", "campaigns a, b"), pytest.raises(LeaseError, match="controlled by ada .campaigns a, b"):
        starting.start(LAB, lab, home, lambda _: None)


def test_a_copy_of_a_home_knows_nothing_of_the_processes_of_the_original(up: Any, straw: Any, home: Home, tmp_path: Path) -> None:
    up(straw("instruments"))
    copy = Home(home.path.parent / "copy")
    shutil.copytree(home.path, copy.path, ignore=shutil.ignore_patterns("*.sock"))
    assert laboratory_state(copy) is None
    assert not stopping.stop(copy, lambda _: None)
    assert "instruments" in events.alive(services_folder(home))
    stopping.stop(home, lambda _: None)


def test_a_home_that_was_moved_while_up_is_still_found(up: Any, straw: Any, home: Home, tmp_path: Path) -> None:
    up(straw("instruments"))
    moved = Home(home.path.parent / "m")
    home.path.rename(moved.path)
    assert laboratory_state(moved) is not None
    assert stopping.stop(moved, lambda _: None)
    assert events.alive(services_folder(moved)) == {}


# -------------------------------------------------------------------------------------------- decisions


def test_a_folder_that_is_too_deep_for_sockets_is_refused_before_it_is_made(tmp_path: Path, lab: LabConfig) -> None:
    deep = Home(tmp_path / ("x" * 100))
    with pytest.raises(ConfigError, match="a path too long for a socket; allowed: a folder of at most"):
        starting.start(LAB, lab, deep, lambda _: None)
    assert not deep.path.exists()


def test_an_address_that_is_taken_is_refused(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"remote.listen: given 127.0.0.1:{port}: somebody listens there already"):
            arrangement.arrange(LAB, configuration(LAB, f"127.0.0.1:{port}", None), home)


def test_nothing_that_services_read_can_be_read_by_others(home: Home, lab: LabConfig) -> None:
    arrangement.arrange(LAB, lab, home)
    folder = services_folder(home)
    assert folder.stat().st_mode & 0o077 == 0
    assert [path.name for path in folder.iterdir() if path.is_file() and path.stat().st_mode & 0o077 and path.name != events.EVENTS] == []


def test_time_in_a_laboratory_that_is_up_does_not_leap() -> None:
    assert load_lab(LAB).speed == "max"
    assert configuration(LAB, None, None).speed == 60.0
    assert configuration(LAB, None, 7.0).speed == 7.0


def test_services_find_the_table_of_a_world_wherever_they_run(home: Home, lab: LabConfig) -> None:
    table = {"kind": "table", "file": "measured.csv", "inputs": [{"column": "t", "quantity": "temperature"}], "output": "y", "full_scale": [0, 1]}
    arrangement.arrange(LAB, LabConfig.model_validate({**lab.model_dump(), "world": table}), home)
    layout = Layout.load(home)
    assert layout is not None
    assert json.loads(layout.config_file.read_text())["world"]["file"] == str(Path("measured.csv").absolute())


def test_what_services_of_an_earlier_time_left_is_forgotten(home: Home, lab: LabConfig) -> None:
    layout, _ = arrangement.arrange(LAB, lab, home)
    for path in (layout.instruments_file, layout.worker_file, layout.folder / "kernel.json"):
        path.write_text("{}")
    again, _ = arrangement.arrange(LAB, lab, home)
    assert not any(path.exists() for path in (again.instruments_file, again.worker_file, again.folder / "kernel.json"))


def test_a_machine_without_redis_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(redis.shutil, "which", lambda _: None)
    with pytest.raises(ConfigError, match="apt install redis-server"):
        redis.find_server()


def test_the_systems_redis_is_taken_where_there_is_no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(redis.shutil, "which", lambda name: f"/opt/{name}")
    assert redis.find_server() == "/opt/redis-server"


def test_a_command_with_per_cent_signs_and_blanks_reaches_the_supervisor_whole(home: Home, lab: LabConfig) -> None:
    layout, _ = arrangement.arrange(LAB, lab, home)
    supervisor.write_configuration(layout, [Service("steward", "", ("/opt/a b/100%/python", "-m", "x"), 1.0)])
    assert "command='/opt/a b/100%%/python' -m x\n" in (layout.folder / supervisor.CONFIGURATION).read_text()


def test_a_python_whose_path_the_supervisor_cannot_read_is_refused(home: Home, lab: LabConfig) -> None:
    layout, _ = arrangement.arrange(LAB, lab, home)
    with pytest.raises(ConfigError, match="one without ; # and line ends"):
        supervisor.write_configuration(layout, [Service("steward", "", ("/opt/a;b/python",), 1.0)])


@pytest.mark.parametrize(("gateway", "own"), [("tcp://0.0.0.0:1", "127.0.0.1:1"), ("tcp://*:2", "127.0.0.1:2"), ("tcp://[::]:3", "[::1]:3"),
                                              ("tcp://10.0.0.5:4", "10.0.0.5:4")])
def test_the_owners_key_has_an_address_that_can_be_reached(gateway: str, own: str) -> None:
    assert own_address(gateway) == own


def test_laboratories_that_share_a_redis_do_not_share_a_queue(home: Home, lab: LabConfig) -> None:
    arrangement.arrange(LAB, lab, home)
    first = yaml.safe_load((services_folder(home) / queue.CONFIGURATION).read_text())["network"]
    arrangement.arrange(LAB, lab.model_copy(update={"name": "other"}), home)
    second = yaml.safe_load((services_folder(home) / queue.CONFIGURATION).read_text())["network"]
    assert first["redis_name_prefix"] != second["redis_name_prefix"]


def test_redis_acknowledges_nothing_that_is_not_on_the_disk(home: Home, lab: LabConfig) -> None:
    arrangement.arrange(LAB, lab, home)
    said = (services_folder(home) / "redis.conf").read_text().splitlines()
    assert {"appendonly yes", "appendfsync always", "bind 127.0.0.1"} <= set(said)


def test_the_worker_runs_no_persons_ipython_profile_and_its_key_is_not_printed(home: Home, lab: LabConfig) -> None:
    arrangement.arrange(LAB, lab, home)
    said = yaml.safe_load((services_folder(home) / queue.CONFIGURATION).read_text())
    assert said["startup"]["ipython_dir"] == "services/ipython"
    assert said["operation"]["console_logging_level"] == "QUIET"


# ------------------------------------------------------------------------------------------------ events


def test_a_line_that_was_cut_short_does_not_hide_the_others(tmp_path: Path) -> None:
    for number in range(2):
        events.append(tmp_path, Event(1.0 + number, "redis", "starting", 7))
    with (tmp_path / events.EVENTS).open("a") as file:
        file.write('{"wall": 3.0, "serv')
    assert [event.wall for event in events.read_events(tmp_path)] == [1.0, 2.0]


def test_a_ready_line_is_found_in_whatever_pieces_it_comes(tmp_path: Path) -> None:
    notes = events.Notes(SimpleNamespace(process_groups={}), tmp_path)
    said = SimpleNamespace(process=SimpleNamespace(config=SimpleNamespace(name="steward")), pid=os.getpid())
    for piece in (b"hello\n{\"rea", b"dy\": tr", b"ue}\nmore"):
        notes.spoke(SimpleNamespace(**vars(said), data=piece))
    assert [(event.service, event.event) for event in events.read_events(tmp_path)] == [("steward", "ready")]


@pytest.mark.parametrize(("happened", "n_restarts", "why"), [
    ("starting ready", 0, None),
    ("starting ready died starting ready", 1, "SIGKILL"),
    ("starting died starting died starting", 2, "SIGKILL"),
    ("starting died starting stopping stopped starting", 0, None),
    ("starting died starting ready starting", 0, None),  # the machine was lost in between
])
def test_restarts_are_counted_since_a_service_was_started_on_purpose(happened: str, n_restarts: int, why: str | None) -> None:
    _, n, death = state.life([Event(float(number), "redis", word, 7, "SIGKILL") for number, word in enumerate(happened.split())])
    assert (n, death.why if death is not None else None) == (n_restarts, why)


def test_lab_status_says_what_was_interrupted_and_what_to_do_also_when_the_laboratory_is_down(home: Home) -> None:
    home.prepare()
    with Ledger(home.ledger, WallClock()) as ledger:
        item = ledger.add_item(NewItem(name="film", parameters={}, digest="d" * 64, user="ada", role="scientist"))
        ledger.claim_item(item.id, item.digest, Process(socket.gethostname(), 1, "a worker of an earlier boot"))
        ledger.add_notice("worker", "the worker died", item.id)
    found = state.everything(home)
    assert found["laboratory"] is None
    assert [notice["text"] for notice in found["notices"]] == ["the worker died"]
    Console(width=200, file=(screen := StringIO())).print(render(found))
    shown = screen.getvalue()
    assert f"interrupted: item {item.id} of ada (film)" in shown
    assert f"lab queue retry {item.id}" in shown


# ----------------------------------------------------------------------------------------------- systemd


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_takes_the_units(short_path: Path, tmp_path: Path, lab: LabConfig) -> None:
    home = Home(short_path / "a home")
    layout, services = starting.prepare(LAB, lab, home)
    units = systemd.write_units(layout, services, tmp_path / "units")
    assert [unit.name for unit in units] == [*(f"labwright-demo-{service.name}.service" for service in services), "labwright-demo.target"]
    broken = units[0]
    broken.write_text(broken.read_text().replace("Type=exec", "Type=nonsense"))
    with pytest.raises(ServiceError, match="nonsense"):
        systemd.verify(units)


def test_a_unit_runs_the_same_command_as_the_supervisor(tmp_path: Path, lab: LabConfig) -> None:
    layout, services = starting.prepare(LAB, lab, Home(tmp_path / "h"))
    folder = tmp_path / "units"
    systemd.write_units(layout, services, folder)
    for service in services:
        text = (folder / f"labwright-demo-{service.name}.service").read_text()
        assert f"ExecStart={' '.join(service.command)}\n" in text
        assert f"\nWorkingDirectory={tmp_path / 'h'}\n" in text


@pytest.mark.parametrize(("told", "noted"), [
    ({"SERVICE_RESULT": "success", "EXIT_CODE": "exited", "EXIT_STATUS": "0"}, ("stopped", "")),
    ({"SERVICE_RESULT": "signal", "EXIT_CODE": "killed", "EXIT_STATUS": "KILL"}, ("died", "terminated by SIGKILL")),
    ({"SERVICE_RESULT": "exit-code", "EXIT_CODE": "exited", "EXIT_STATUS": "3"}, ("died", "exit status 3")),
])
def test_what_systemd_tells_of_an_end_is_noted(told: dict[str, str], noted: Sequence[str]) -> None:
    assert note.words(told) == tuple(noted)


def test_lab_status_knows_services_of_systemd(home: Home, lab: LabConfig) -> None:
    starting.prepare(LAB, lab, home)
    note.main(["--home", str(home.path), "steward", "started", str(os.getpid())])
    found = laboratory_state(home)
    (services_folder(home) / events.PROCESSES).unlink()  # this process is none of them: nobody may end it
    assert found is not None and found["is_supervised"]
    assert [(row["service"], row["state"]) for row in found["services"]] == [("steward", "ready")]


@pytest.mark.parametrize("without_redis_s", [0.0, 3 * queue.SILENT_S])
def test_waiting_for_the_re_manager_is_said_once_takes_no_processor_and_ends_only_while_redis_is_there(
        without_redis_s: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    now, ended = [0.0], []

    def ask(layout: Layout, method: str) -> dict[str, Any]:
        raise ServiceError("queue: the RE Manager has not been started")

    def sleep(seconds: float) -> None:
        assert seconds > 0
        now[0] += seconds

    monkeypatch.setattr(queue, "ask", ask)
    monkeypatch.setattr(queue, "redis", SimpleNamespace(answers=lambda layout: now[0] > without_redis_s))
    monkeypatch.setattr(queue, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    monkeypatch.setattr(queue, "os", SimpleNamespace(kill=lambda *how: ended.append(how), getpid=os.getpid))
    with caplog.at_level("WARNING", logger="lab.up.queue"):
        queue._watch(SimpleNamespace())  # type: ignore[arg-type]
    assert [record.levelname for record in caplog.records] == ["WARNING", "CRITICAL"] and ended
    assert now[0] == pytest.approx(without_redis_s + queue.SILENT_S, abs=1.0)


def test_a_file_in_the_place_of_lab_home_is_no_laboratory(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    assert Layout.load(Home(tmp_path / "home")) is None
