"""Child processes: they say that they are ready, answer, and end with the session."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from lab.core.errors import ServiceError
from lab.services import Child, Watch, free_ports

CHILD = """
import json, sys
config = json.loads(sys.stdin.readline())
if config.get("fails"):
    print(json.dumps({"ready": False, "error": config["fails"]}), flush=True); sys.exit(1)
if config.get("dies"):
    sys.exit(3)
print(json.dumps({"ready": True, "endpoints": {}}), flush=True)
for line in sys.stdin:
    print(line.strip() if not config.get("garbles") else "???", flush=True)
print("made safe", file=sys.stderr, flush=True)
"""


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "laboratory_child.py").write_text(CHILD)
    made: list[Child] = []

    def make(**config: Any) -> Child:
        one = Child("pump", "laboratory_child", config, tmp_path / "logs" / "pump.log", {"PYTHONPATH": str(tmp_path)})
        made.append(one)
        one.launch()
        return one

    yield make
    for one in made:
        one.stop()


def test_a_child_says_that_it_is_ready_and_answers(child: Any) -> None:
    one = child()
    assert one.wait_ready()["endpoints"] == {}
    assert one.ask({"do": "account"}) == {"do": "account"}


def test_closing_its_input_lets_a_child_make_safe_and_go(child: Any, tmp_path: Path) -> None:
    one = child()
    one.wait_ready()
    one.stop()
    assert not one.is_running
    assert one.wait_end(0) == 0
    assert (tmp_path / "logs" / "pump.log").read_text() == "made safe\n"


def test_a_child_that_cannot_start_says_why(child: Any) -> None:
    with pytest.raises(ServiceError, match=r"pump: did not start: no such port \(log: .*pump\.log\)"):
        child(fails="no such port").wait_ready()


def test_a_child_that_dies_is_told_with_its_status(child: Any) -> None:
    with pytest.raises(ServiceError, match="pump: ended with status 3"):
        child(dies=True).wait_ready()


def test_an_answer_that_is_no_json_is_said(child: Any) -> None:
    one = child(garbles=True)
    one.wait_ready()
    with pytest.raises(ServiceError, match=r"pump: said b'\?\?\?', which is no JSON"):
        one.ask({"do": "account"})


def test_asking_a_child_that_has_ended_is_said(child: Any) -> None:
    one = child()
    one.wait_ready()
    one.stop()
    with pytest.raises(ServiceError, match="pump: has ended"):
        one.ask({"do": "account"})


def test_a_child_survives_the_ctrl_c_of_the_terminal(child: Any) -> None:
    one = child()
    one.wait_ready()
    assert os.getpgid(one.pid) != os.getpgid(0)


def test_the_watch_starts_a_dead_child_again_and_says_so(child: Any) -> None:
    one = child()
    one.wait_ready()
    said: list[str] = []
    is_back = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        if "is back" in text:
            is_back.set()

    watch = Watch([one], say)
    watch.start()
    n_files = len(os.listdir("/proc/self/fd"))
    try:
        first = one.pid
        os.kill(first, signal.SIGKILL)
        assert is_back.wait(120), said
    finally:
        watch.end()
    assert one.pid != first
    assert len(os.listdir("/proc/self/fd")) == n_files, "the pipes of the dead child are closed"
    assert said == ["bridge pump died (exit status -9); starting it again", "bridge pump is back"]


def test_a_simulator_that_died_is_told_once_and_not_started_again(child: Any) -> None:
    one = child()
    one.wait_ready()
    causes: list[str] = []
    is_told = threading.Event()

    def lose(cause: str) -> None:
        causes.append(cause)
        is_told.set()

    watch = Watch([], lambda text: None, one, lose)
    watch.start()
    os.kill(one.pid, signal.SIGKILL)
    assert is_told.wait(120)
    watch.end()
    assert not one.is_running
    assert len(causes) == 1
    assert causes[0].startswith("the simulated laboratory died (exit status -9; log: ")


def test_free_ports_are_all_different() -> None:
    ports = free_ports(8)
    assert len(set(ports)) == 8
    assert all(1024 < port < 65536 for port in ports)


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, json, lab.cli; print(json.dumps([m for m in ('torch', 'ax', 'epics', 'ophyd', 'bluesky', 'softioc', 'numpy') if m in sys.modules]))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=200)
    assert json.loads(found.stdout) == []
