"""Making instruments safe without a session: every bridge is asked, whatever becomes of the others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from firmware_bridges.__main__ import obey
from lab.core.config import LabConfig
from lab.core.errors import CommandError
from lab.home import Home
from lab.processes import Processes
from lab.services import Child

BRIDGE = """
import json, sys
how = json.loads(sys.stdin.readline())["how"]
print(json.dumps({"ready": True}), flush=True)
if how == "dies":
    sys.exit(3)
for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps({"ok": True} if how == "well" else {"ok": False, "error": f"heater: no answer to {asked['do']}"}), flush=True)
"""

LABORATORY = LabConfig.model_validate({"name": "small", "instruments": {"plate": {"kind": "hotplate"}}})


@pytest.fixture
def with_bridges(tmp_path: Path) -> Iterator[Callable[..., Processes]]:
    (tmp_path / "laboratory_bridge.py").write_text(BRIDGE)
    made: list[Processes] = []

    def make(**hows: str) -> Processes:
        processes = Processes(LABORATORY, Home(tmp_path), {"plate": 1}, speed=1.0)
        made.append(processes)
        for name, how in hows.items():
            bridge = Child(name, "laboratory_bridge", {"how": how}, tmp_path / "logs" / f"{name}.log", {"PYTHONPATH": str(tmp_path)})
            processes.bridges.append(bridge)
            bridge.launch()
            bridge.wait_ready()
        return processes

    yield make
    for one in made:
        one.stop()


def test_all_bridges_make_their_instruments_safe_and_go_on(with_bridges: Any) -> None:
    processes = with_bridges(plate="well", pump="well")
    assert processes.make_safe() == {"plate": "safe", "pump": "safe"}
    assert processes.make_safe() == {"plate": "safe", "pump": "safe"}


def test_an_instrument_that_cannot_be_made_safe_is_told_in_its_words_and_keeps_no_other_from_it(with_bridges: Any) -> None:
    said = with_bridges(plate="ill", arm="dies", pump="well").make_safe()
    assert said["plate"] == "heater: no answer to safe"
    assert said["arm"].startswith("arm: ")
    assert said["pump"] == "safe"


def test_without_bridges_there_is_nothing_to_make_safe(with_bridges: Any) -> None:
    assert with_bridges().make_safe() == {}


def test_all_end_at_once_and_a_second_end_is_nothing(with_bridges: Any) -> None:
    processes = with_bridges(plate="well", pump="well")
    bridges = list(processes.bridges)
    processes.stop()
    processes.stop()
    assert [bridge.wait_end(0) for bridge in bridges] == [0, 0]


class Asked:
    """What `obey` needs of a controller."""

    name = "plate"

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error
        self.done: list[tuple[str, object]] = []

    def execute(self, key: str, value: object) -> None:
        if self._error is not None:
            raise self._error
        self.done.append((key, value))


def test_a_bridge_makes_safe_when_asked() -> None:
    controller: Any = Asked()
    assert obey(controller, '{"do": "safe"}\n') == {"ok": True}
    assert controller.done == [("SAFE", True)]


def test_a_bridge_says_why_it_could_not() -> None:
    controller: Any = Asked(CommandError("plate: no answer"))
    assert obey(controller, '{"do": "safe"}') == {"ok": False, "error": "plate: no answer"}


@pytest.mark.parametrize("line", ["", "{", '{"do": "heat"}', '["safe"]', json.dumps({"do": "safe", "more": 1})])
def test_a_bridge_does_nothing_else_that_it_is_asked(line: str) -> None:
    controller: Any = Asked()
    answer = obey(controller, line)
    assert answer["ok"] is False
    assert str(answer["error"]).startswith("plate: ")
    assert controller.done == []
