"""A bridge as a process: its life, and the contract of its channels over real Channel Access."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psutil
import pytest

from lab.core.channels import BRIDGE, PUMP
from lab.core.errors import CommandError, LimitError, from_words
from lab.services import bridge_environment, free_ports

INSTRUMENTS: dict[str, Any] = {
    "pump": {"kind": "pump", "syringes": [{"address": 0, "liquid": "cs"}, {"address": 1, "liquid": "fa"}], "limits": {"RATE": [0.01, 20]}},
    "hotplate": {"kind": "hotplate"},
}
PREFIX = "TI:"
_INVALID = 3


class Client:
    """pyepics, as a test needs it."""

    def __init__(self) -> None:
        import ophyd  # noqa: F401 - before epics (field notes, section 5)
        ophyd.set_cl("pyepics")
        import epics
        self._epics = epics
        self._pvs: dict[str, Any] = {}

    def pv(self, name: str) -> Any:
        if name not in self._pvs:  # kept: pyepics talks to the network when one is collected, in whatever thread that happens
            self._pvs[name] = self._epics.PV(PREFIX + name, auto_monitor=False)
        assert self._pvs[name].wait_for_connection(timeout=200), name
        return self._pvs[name]

    def put(self, name: str, value: Any, timeout: float = 30) -> str:
        """Put with callback, wait, and return X:ERR as it is then."""
        done = threading.Event()
        self.pv(name).put(value, use_complete=True, callback=lambda **_: done.set())
        assert done.wait(timeout), f"{name}: the put was never completed"
        return self.text(name + ":ERR")

    def get(self, name: str) -> Any:
        return self.pv(name).get(timeout=200, use_monitor=False)

    def text(self, name: str) -> str:
        return np.atleast_1d(self.get(name)).astype(np.uint8).tobytes().partition(b"\0")[0].decode()

    def severity(self, name: str) -> int:
        return int(self.pv(name).get_with_metadata(timeout=200, use_monitor=False)["severity"])


@pytest.fixture(scope="module")
def laboratory(bench: Any) -> Any:
    bench.simulate(INSTRUMENTS, 400.0)
    bench.bridge("pump", PREFIX)
    return bench


@pytest.fixture(scope="module")
def ca(laboratory: Any) -> Client:
    return Client()


@pytest.fixture(autouse=True)
def connected(request: pytest.FixtureRequest, laboratory: Any, until: Callable[..., None]) -> Iterator[None]:
    if "ca" in request.fixturenames:
        client: Client = request.getfixturevalue("ca")
        until(lambda: client.get("pump:CONNECTED") == 1)
    yield
    laboratory.clear()


# ------------------------------------------------------------------------------------------------------- contract


def test_every_channel_of_the_table_is_served_and_every_writable_one_has_its_error_text(ca: Client) -> None:
    keys = [f"pump:{c.name}" for c in BRIDGE] + [f"pump:{a}:{c.name}" for a in (0, 1) for c in PUMP]
    for key, channel in zip(keys, [*BRIDGE, *PUMP, *PUMP], strict=True):
        assert ca.get(key) is not None
        if channel.is_writable:
            assert ca.text(key + ":ERR") == ""


def test_records_carry_unit_precision_and_the_laboratorys_limits(ca: Client) -> None:
    rate = ca.pv("pump:0:RATE")
    rate.get_ctrlvars()
    assert (rate.units, rate.precision, rate.lower_disp_limit, rate.upper_disp_limit) == ("mL/min", 3, 0.01, 20.0)


def test_a_put_completes_when_the_command_is_done_and_the_readback_is_there(ca: Client) -> None:
    assert ca.put("pump:0:RATE", 7.5) == ""
    assert ca.get("pump:0:RATE_RBV") == 7.5
    assert ca.put("pump:0:DISPENSE", 0.25) == ""
    assert ca.get("pump:0:DISPENSED") == pytest.approx(0.25)


def test_the_same_value_put_twice_is_carried_out_twice(ca: Client) -> None:
    for _ in range(2):
        assert ca.put("pump:1:DISPENSE", 0.1) == ""
        assert ca.get("pump:1:DISPENSED") == pytest.approx(0.1)
        assert ca.put("pump:1:STOP", 1) == ""


def test_a_value_outside_the_limits_is_refused_in_words_not_clamped(ca: Client) -> None:
    assert ca.put("pump:0:RATE", 5.0) == ""
    words = ca.put("pump:0:RATE", 25.0)
    assert words == "LimitError: pump.0.RATE: 25 mL/min is outside 0.01..20 mL/min"
    assert isinstance(from_words(words), LimitError)
    assert ca.get("pump:0:RATE_RBV") == 5.0
    assert ca.put("pump:0:RATE", float("nan")).startswith("LimitError: pump.0.RATE: nan")
    assert ca.put("pump:0:RATE", 5.0) == "", "the error of the last put is gone with the next"


def test_a_failed_command_says_so_before_its_put_completes(laboratory: Any, ca: Client) -> None:
    laboratory.fault("pump", "error", words="stall")  # of the next dose
    words = ca.put("pump:0:DISPENSE", 0.1)
    assert "CommandError: pump.0 (cs): the motor stalled; delivered 0" in words
    assert isinstance(from_words(words), CommandError)
    assert "the motor stalled" in ca.text("pump:LAST_ERROR")
    assert ca.put("pump:RESET", 1) == ""


def test_stop_works_while_a_dispense_is_going_on(ca: Client, until: Callable[..., None]) -> None:
    ca.put("pump:0:RATE", 0.01)
    ended = threading.Event()
    ca.pv("pump:0:DISPENSE").put(1.0, use_complete=True, callback=lambda **_: ended.set())
    until(lambda: ca.pv("pump:0:STATUS").get(as_string=True, use_monitor=False) == "infusing")
    assert ca.put("pump:0:STOP", 1) == ""
    assert ended.wait(120)
    assert "told to stop" in ca.text("pump:0:DISPENSE:ERR")


def test_text_longer_than_forty_characters_comes_whole(laboratory: Any, ca: Client, until: Callable[..., None]) -> None:
    laboratory.fault("pump", "unplug")
    until(lambda: ca.get("pump:CONNECTED") == 0)
    assert len(ca.text("pump:LAST_ERROR")) > 40


def test_unplugged_readings_go_invalid_and_come_back(laboratory: Any, ca: Client, until: Callable[..., None]) -> None:
    assert ca.severity("pump:0:RATE_RBV") == 0
    laboratory.fault("pump", "unplug")
    until(lambda: ca.severity("pump:0:RATE_RBV") == _INVALID and ca.severity("pump:1:STATUS") == _INVALID)
    assert ca.severity("pump:CONNECTED") == 0
    words = ca.put("pump:0:RATE", 3.0)
    assert words.startswith("LinkDown: pump.0: RATE: not connected")
    laboratory.clear()
    until(lambda: ca.severity("pump:0:RATE_RBV") == 0 and ca.get("pump:CONNECTED") == 1)
    assert ca.put("pump:0:RATE", 3.0) == ""


# ------------------------------------------------------------------------------------------------ life of a process


def spawn(line: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-m", "firmware_bridges"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True, env={**os.environ, **bridge_environment(free_ports(1)[0])})
    assert process.stdin is not None
    process.stdin.write(line)
    process.stdin.flush()
    return process


def settings_of(laboratory: Any, name: str = "hotplate", **more: Any) -> str:
    return json.dumps({"name": name, "prefix": "TP:", "speed": 400.0, "endpoint": laboratory.sim.ready["endpoints"][name],
                       "config": INSTRUMENTS[name], **more}) + "\n"


@pytest.mark.parametrize(("change", "words"), [
    ({"config": {"kind": "hotplate", "colour": "red"}}, "colour"),
    ({"config": {"kind": "toaster"}}, "toaster"),
    ({"endpoint": "sim"}, "allowed: the simulator's address"),
])
def test_a_wrong_configuration_is_answered_and_ends_the_process(laboratory: Any, change: dict[str, Any], words: str) -> None:
    out, _ = spawn(settings_of(laboratory, **change)).communicate(timeout=200)
    answer = json.loads(out)
    assert answer["ready"] is False
    assert words in answer["error"]


def test_a_closed_standard_input_instead_of_a_configuration_ends_the_process(laboratory: Any) -> None:
    process = spawn("")
    out, _ = process.communicate(timeout=200)
    assert "closed before a configuration came" in json.loads(out)["error"]
    assert process.returncode == 1


def test_a_bridge_is_ready_though_its_instrument_is_absent(laboratory: Any) -> None:
    process = spawn(settings_of(laboratory, endpoint="serial:///dev/nobody-is-here?baud=9600"))
    assert process.stdout is not None
    assert json.loads(process.stdout.readline()) == {"ready": True}
    process.communicate(timeout=200)
    assert process.returncode == 0


@pytest.mark.parametrize("end", ["end of input", "SIGTERM"])
def test_at_its_end_a_bridge_ignores_ctrl_c_and_makes_its_instrument_safe(laboratory: Any, until: Callable[..., None], end: str) -> None:
    process = spawn(settings_of(laboratory))
    assert process.stdout is not None
    assert json.loads(process.stdout.readline()) == {"ready": True}
    os.kill(process.pid, signal.SIGINT)
    if end == "SIGTERM":
        os.kill(process.pid, signal.SIGTERM)
        out = process.stdout.read()
        assert process.wait(120) == 0
        assert process.stdin is not None
        process.stdin.close()
        process.stdout.close()
    else:
        out, _ = process.communicate(timeout=200)
        assert process.returncode == 0
    assert out == "", "nothing but the ready line goes to standard output"


def test_channel_access_leaves_no_process_behind(laboratory: Any, ca: Client) -> None:
    names = [child.name() for child in psutil.Process().children(recursive=True)]
    assert not [name for name in names if "caRepeater" in name]


def test_a_killed_session_stops_a_running_pump(laboratory: Any, ca: Client, until: Callable[..., None]) -> None:
    """The bridge sees the end of its input; the pump stops though nobody waits for it any more."""
    ca.put("pump:1:RATE", 0.01)
    ca.pv("pump:1:DISPENSE").put(10.0, use_complete=True)
    until(lambda: ca.pv("pump:1:STATUS").get(as_string=True, use_monitor=False) == "infusing")
    assert laboratory.bridges["pump"].stop() == 0

    def spilled(account: dict[str, Any]) -> float:
        return float(sum(row["true_ml"] for row in account["spills"] if row["address"] == 1))

    first = laboratory.sim.ask({"do": "account"})
    until(lambda: laboratory.sim.ask({"do": "account"})["time_s"] > first["time_s"] + 20)
    assert spilled(laboratory.sim.ask({"do": "account"})) == spilled(first), "a running pump would have moved in 20 s"
    laboratory.bridge("pump", PREFIX)
