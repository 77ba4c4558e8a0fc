"""The simulated world outlives its process: kill -9 at any moment, and the next one goes on with what was there."""

from __future__ import annotations

import errno
import json
import random
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import serial
from hypothesis import given
from hypothesis import strategies as st

import sim.keeping
import sim.world_file
from lab.core.clock import ManualClock
from lab.core.config import LabConfig
from lab.core.errors import ConfigError, ServiceError
from lab.home import Home
from lab.processes import world_file
from lab.session import Session
from sim.keeping import Changes, KeptWorld
from sim.thermal import AMBIENT_C
from sim.world import World
from sim.world_file import WorldFile, discard, state_in

LAB: dict[str, Any] = {
    "name": "kept",
    "instruments": {
        "pump": {"kind": "pump", "syringes": [{"address": 0, "liquid": "cs"}, {"address": 1, "liquid": "fa"}]},
        "hotplate_a": {"kind": "hotplate"}, "hotplate_b": {"kind": "hotplate"},
        "detector": {"kind": "detector", "geometry": {"shape": [32, 32], "beam_center_px": [15.5, 15.5], "pixel_um": 2000}}},
    "stations": {
        "synthesiser": {"role": "synthesiser", "origin": {"pose": [190, 0, 80, 180, 0, 180]}},
        "plate_a": {"role": "annealer", "instrument": "hotplate_a", "origin": {"pose": [165, 95, 80, 180, 0, 150]}},
        "plate_b": {"role": "annealer", "instrument": "hotplate_b", "origin": {"pose": [95, 165, 80, 180, 0, 120]}},
        "stage": {"role": "detector", "origin": {"pose": [0, 190, 80, 180, 0, 90]}},
        "rack": {"role": "rack", "slots": 3, "columns": 3, "step_mm": [20, -20], "origin": {"pose": [60, -130, 60, 180, 0, 180]}}}}
LABORATORY = LabConfig.model_validate(LAB)
POSES = {**{name: place.pose for name, place in LABORATORY.places.items()}, "the air": (0.0, 0.0, 300.0, 0.0, 0.0, 0.0)}

Deed = tuple[str, Any, Any]


class Kept:
    """A world in a file, its clock, and hands."""

    def __init__(self, path: Path, began_s: float = 0.0) -> None:
        self.clock = ManualClock(began_s)
        self.world = World(LABORATORY, self.clock, WorldFile(path))

    def do(self, deed: Deed) -> None:
        kind, what, how = deed
        match kind:
            case "dose":
                self.world.infuse("pump", what, how)
            case "move":
                self.world.close_gripper(POSES[what])
                self.world.open_gripper(POSES[how])
            case "grip":
                self.world.close_gripper(POSES[what])
            case "heat":
                self.world.set_heater(what, how)
            case "stir":
                self.world.set_stirrer(what, how)
            case "wait":
                self.clock.advance(how)
                self.world.plate_c("hotplate_a")
            case "look":
                list(self.world.stage("detector").expose(1.0, 1))

    @property
    def account(self) -> dict[str, Any]:
        return json.loads(json.dumps(self.world.account()))  # type: ignore[no-any-return]


def film(begin: str = "rack.1") -> list[Deed]:
    """What happens to a sample, from its slot to the detector and into the gripper."""
    return [("move", begin, "synthesiser"), ("dose", 0, 0.2), ("dose", 1, 0.3), ("dose", 1, -0.05), ("move", "synthesiser", "plate_a"),
            ("stir", "hotplate_a", 300.0), ("heat", "hotplate_a", 120.0), ("wait", None, 200.0), ("wait", None, 0.7), ("heat", "hotplate_a", None),
            ("move", "plate_a", "stage"), ("look", None, None), ("wait", None, 30.0), ("grip", "stage", None)]


def all_of(kept: Kept) -> KeptWorld:
    """Everything in a world, as it would stand in a new file."""
    return KeptWorld.model_validate(Changes(kept.world._is).all())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "world.json"


@pytest.fixture(autouse=True)
def _time_that_passes_is_kept_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim.keeping, "PASSING_S", 0.0)


# -------------------------------------------------------------------------------------------------- goes on


place, hotplate = st.sampled_from(sorted(POSES)), st.sampled_from(["hotplate_a", "hotplate_b"])
deed = st.one_of(
    st.tuples(st.just("dose"), st.integers(0, 1), st.floats(-0.2, 0.5)),
    st.tuples(st.just("move"), place, place),
    st.tuples(st.just("grip"), place, st.none()),
    st.tuples(st.just("heat"), hotplate, st.none() | st.floats(0.0, 200.0)),
    st.tuples(st.just("stir"), hotplate, st.floats(0.0, 500.0)),
    st.tuples(st.just("wait"), st.none(), st.integers(0, 6400).map(lambda ticks: ticks / 64)),  # exact, from whatever origin they are counted
    st.tuples(st.just("look"), st.none(), st.none()))


@given(st.lists(deed, max_size=25))
def test_a_killed_world_is_restored_to_the_last_bit_whatever_was_done(deeds: list[Deed]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "world.json"
        first = Kept(path)
        for one in [("move", "rack.1", "synthesiser"), *deeds]:
            first.do(one)
        in_file = state_in(path.read_bytes(), path)
        assert KeptWorld.model_validate(in_file) == all_of(first)
        account = first.account
        first.world.close()
        second = Kept(path, began_s=7.0)
        assert second.account == account
        assert all_of(second) == all_of(first)
        second.world.close()


def test_two_lives_of_a_world_are_as_one(path: Path, tmp_path: Path) -> None:
    whole, parts = Kept(tmp_path / "other.json"), Kept(path)
    deeds = [*film(), ("move", "stage", "rack.1"), *film("rack.2")]
    is_hot = False
    for n, one in enumerate(deeds):
        whole.do(one)
        parts.do(one)
        is_hot = one[2] is not None if one[0] in ("heat", "stir") else is_hot
        if not is_hot:  # what the firmware of a hotplate was doing is not restored
            parts.world.close()
            parts = Kept(path, began_s=float(n))
    assert {**parts.account, "time_s": 0.0} == {**whole.account, "time_s": 0.0}
    assert parts.account["time_s"] == pytest.approx(whole.account["time_s"])
    for one in (whole, parts):
        one.world.close()


def test_plates_are_as_warm_as_they_were_and_their_heaters_off(path: Path) -> None:
    first = Kept(path)
    first.world.set_heater("hotplate_b", 150.0)
    first.world.set_stirrer("hotplate_b", 300.0)
    first.clock.advance(300.0)
    assert first.world.plate_c("hotplate_b") == pytest.approx(150.0, abs=0.1)
    first.world.close()
    second = Kept(path)
    assert second.world.plate_c("hotplate_b") == pytest.approx(150.0, abs=0.1)
    assert second.world.stir_rpm("hotplate_b") == 0.0
    assert second.world.plate_c("hotplate_a") == AMBIENT_C
    second.clock.advance(420.0)
    assert second.world.plate_c("hotplate_b") < 80.0
    second.world.close()


def test_laboratory_time_goes_on_from_where_it_was(path: Path) -> None:
    first = Kept(path, began_s=1000.0)
    first.clock.advance(50.0)
    first.world.close()
    second = Kept(path, began_s=3.0)
    second.clock.advance(5.0)
    assert second.account["time_s"] == pytest.approx(1055.0)
    second.world.close()


def test_a_sample_in_the_gripper_stays_there(path: Path) -> None:
    first = Kept(path)
    first.do(("grip", "rack.2", None))
    first.world.close()
    second = Kept(path)
    assert second.world.is_holding()
    second.world.open_gripper(POSES["stage"])
    assert [(move["origin"], move["target"]) for move in second.account["moves"]] == [("rack.2", "stage")]
    second.world.close()


# ------------------------------------------------------------------------------------------------- killed


def test_a_file_that_ends_anywhere_holds_what_was_done_up_to_there(path: Path) -> None:
    first = Kept(path)
    for one in film():
        first.do(one)
    data = path.read_bytes()
    first.world.close()
    ends = [n + 1 for n, byte in enumerate(data) if byte == 0x0A]
    assert len(ends) > len(film())
    states = {end: KeptWorld.model_validate(state_in(data[:end], path)) for end in ends}
    for cut in range(ends[0], len(data), 41):
        found = KeptWorld.model_validate(state_in(data[:cut], path))
        assert found == states[max(end for end in ends if end <= cut)]
    path.write_bytes(data[:-3])
    restored = Kept(path)
    assert all_of(restored) == states[ends[-2]]
    restored.do(("move", "rack.2", "plate_b"))
    restored.world.close()
    assert KeptWorld.model_validate(state_in(path.read_bytes(), path)).standing["plate_b"] == "substrate:rack.2"


WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_sim_keeping import Kept
kept = Kept(Path(sys.argv[1]))
n = 0
while True:
    for deed in [("move", "rack.1", "synthesiser"), *[("dose", k % 2, 0.001) for k in range(40)], ("move", "synthesiser", "rack.1")]:
        kept.do(deed)
        n += 1
        sys.stdout.write(f"{n}\\n")
        sys.stdout.flush()
"""
ROUND = 42
"""Deeds of one round of the worker: a move, 40 increments of a dose, a move."""


@pytest.mark.parametrize("seed", range(4))
def test_a_process_killed_in_the_middle_of_doses_and_moves_has_kept_all_it_has_told_of(path: Path, seed: int) -> None:
    chance = random.Random(seed)
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(path), str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    told = 0
    for _ in range(chance.randrange(1, 400)):
        told = int(worker.stdout.readline())
    worker.kill()
    told = max([told, *(int(line) for line in worker.stdout if line.endswith("\n"))])
    worker.wait(60)
    worker.stdout.close()
    account = (kept := Kept(path)).account
    kept.world.close()
    increments = round(sum(dose["counted_ml"] for dose in account["doses"]) * 1000)
    is_carried = "gripper" in account["places"]
    done = increments + len(account["moves"])
    assert increments == 40 * (done // ROUND) + min(max(done % ROUND - 1, 0), 40), "deeds in their order, none left out"
    assert told <= done <= told + 1 or (is_carried and done == told)
    assert [move["target"] for move in account["moves"]] == ["synthesiser", "rack.1"] * (len(account["moves"]) // 2) + (
        ["synthesiser"] if len(account["moves"]) % 2 else [])


class Simulator:
    """``python -m sim`` with a world in a file."""

    def __init__(self, path: Path, log: Path) -> None:
        with log.open("ab") as errors:
            self.process = subprocess.Popen([sys.executable, "-m", "sim"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
        instruments = {name: config for name, config in LAB["instruments"].items() if name != "detector"}
        stations = {name: station for name, station in LAB["stations"].items() if name != "stage"}
        self.ready = self.ask({"lab": {**LAB, "speed": 2.0, "instruments": instruments, "stations": stations}, "state": str(path)})

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()
        assert select.select([self.process.stdout], [], [], 30.0)[0]
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def end(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(120)
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


@pytest.fixture
def start(path: Path, tmp_path: Path) -> Iterator[Callable[[], Simulator]]:
    started: list[Simulator] = []

    def begin() -> Simulator:
        started.append(Simulator(path, tmp_path / "sim.log"))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            one.end()


def test_a_simulator_killed_during_a_dose_goes_on_with_what_its_pump_had_told(path: Path, start: Callable[[], Simulator]) -> None:
    hands = Kept(path)
    hands.do(("move", "rack.3", "synthesiser"))
    hands.world.close()
    first = start()
    with serial.Serial(first.ready["endpoints"]["pump"].removeprefix("serial://").partition("?")[0], timeout=200) as port:
        def ask(command: bytes) -> bytes:
            port.write(command + b"\r")
            return port.read_until(b"\x03")

        for command in (b"1", b"1DIA26.70", b"1RAT10MM", b"1VOL5", b"1RUN"):
            ask(command)
        told_ml = 0.0
        while told_ml < 0.05:
            told_ml = float(ask(b"1DIS").partition(b"I")[2].lstrip(b"I").partition(b"W")[0])
        first.end(signal.SIGKILL)
    second = start()
    (dose,) = second.ask({"do": "account"})["doses"]
    assert (dose["sample"], dose["liquid"]) == ("substrate:rack.3", "fa")
    assert told_ml - 0.0005 <= dose["counted_ml"] < told_ml + 0.5
    assert second.ask({"do": "account"})["doses"] == [dose], "the pump lost its power: it has stopped"
    second.end()
    third = start()
    account = third.ask({"do": "account"})
    assert account["doses"] == [dose] and len(account["moves"]) == 1


def test_a_second_simulator_does_not_take_the_world_of_one_that_lives(path: Path, start: Callable[[], Simulator], monkeypatch: pytest.MonkeyPatch) -> None:
    start()
    monkeypatch.setattr(sim.world_file, "LOCK_S", 0.0)
    with pytest.raises(ServiceError, match=r"world\.json: another simulator keeps its world there; end that session, or set another LAB_HOME"):
        WorldFile(path)
    with pytest.raises(ServiceError, match="another simulator keeps its world there"):
        discard(path, 0.0)


# -------------------------------------------------------------------------------------------------- files


def test_a_long_file_is_replaced_by_what_it_says(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim.world_file, "LONG_BYTES", 20_000)
    first = Kept(path)
    first.do(("move", "rack.1", "synthesiser"))
    sizes = []
    for _ in range(300):
        first.do(("dose", 0, 0.001))
        sizes.append(path.stat().st_size)
    assert max(sizes) < 25_000 and sizes != sorted(sizes)
    account = first.account
    first.world.close()
    second = Kept(path)
    assert second.account["doses"] == account["doses"]
    second.world.close()


def test_a_world_whose_file_was_taken_away_goes_on_and_brings_nothing_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim.world_file, "LONG_BYTES", 100)
    first = Kept(path)
    path.unlink()
    for one in film():
        first.do(one)
    assert not path.exists()
    first.world.close()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name: demo\nspeed: 4\n", r"world\.json: line 1: given no JSON .*; allowed: a world that a simulator of this version wrote; remove the file"),
        (b"[1, 2]\n", r"line 1: given list, no object"),
        (b'{"plates": 1}\n', r"line 1: given format None, version None"),
        (b'{"format":"labwright world","version":99}\n', r"line 1: given format 'labwright world', version 99"),
        (b'{"format":"labwright wor', r"line 1: given the beginning of a line"),
        (b'{"format":"labwright world","version":1,"time_s":0}\n\x00\x00\n{}\n', r"line 2: given no JSON"),
        (b'{"format":"labwright world","version":1}\n', r"world\.json: time_s: given Field required"),
        (b'{"format":"labwright world","version":1,"time_s":0,"films":{"a":{"temperature_c":"warm"}}}\n', r"films\.a\.temperature_c: given Input should be a valid number"),
        (b'{"format":"labwright world","version":1,"time_s":0,"films":{"a":{"temperature_c":23}}}\n', r"samples that are at two places, or at none"),
        (b'{"format":"labwright world","version":1,"time_s":0,"films":{"a":{"temperature_c":23}},"standing":{"rack.9":"a"}}\n',
         r"standing: given samples at rack\.9, which this laboratory does not have"),
    ],
)
def test_a_file_that_is_no_world_of_this_laboratory_is_refused_and_left_as_it_is(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    file = WorldFile(path)
    with pytest.raises(ConfigError, match=message):
        World(LABORATORY, ManualClock(), file)
    file.close()
    assert path.read_bytes() == content


def test_a_simulator_says_what_is_wrong_with_the_file(path: Path, start: Callable[[], Simulator]) -> None:
    path.write_text("something else\n")
    refused = start()
    assert refused.ready["ready"] is False
    assert f"{path}: line 1: given no JSON" in refused.ready["error"]
    assert refused.process.wait(120) == 1


def test_what_cannot_be_kept_is_not_done_in_silence(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    kept = Kept(path)
    monkeypatch.setattr(sim.world_file, "_write", full)
    with pytest.raises(ServiceError, match=r"world\.json: the simulated world cannot be kept: No space left on device"):
        kept.do(("move", "rack.1", "stage"))
    monkeypatch.undo()
    kept.world.close()


def test_a_folder_that_does_not_exist_is_said(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"none/world\.json: the simulated world cannot be kept: No such file or directory"):
        WorldFile(tmp_path / "none" / "world.json")


# ------------------------------------------------------------------------------------------------ sessions


def test_a_new_session_begins_with_a_fresh_world_and_a_resumed_one_goes_on(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.world.write_text("kept")
    assert world_file(home, is_new=Session(LABORATORY, home, keeps_world=True).is_new_world, say=print) == str(home.world)
    assert home.world.read_text() == "kept"
    assert world_file(home, is_new=Session(LABORATORY, home).is_new_world, say=print) == str(home.world)
    assert not home.world.exists()


def test_a_new_session_leaves_the_world_of_one_that_lives_alone_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, said = Home(tmp_path), list[str]()
    living = Kept(home.world)
    monkeypatch.setattr(discard, "__defaults__", (0.0,))
    assert world_file(home, is_new=True, say=said.append) == ""
    assert "another simulator keeps its world there" in said[0]
    assert "its campaigns cannot be resumed" in said[0]
    assert home.world.exists()
    living.world.close()
