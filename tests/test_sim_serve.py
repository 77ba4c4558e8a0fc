"""Transports and faults of the simulator, and its process contract."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import serial
from hypothesis import given
from hypothesis import strategies as st

from lab.core.clock import ManualClock
from lab.core.errors import ConfigError, ServiceError
from sim.faults import Fault, FaultError, FaultPlan, load
from sim.firmware import Outgoing
from sim.serve import MemoryServer, PtyServer, TcpServer
from sim.switchboard import Switchboard

DEADLINE_S = 30.0


class Parrot:
    """Says back every line it hears; counts what happens to it."""

    failures = ("moult",)

    def __init__(self) -> None:
        self.heard = b""
        self.unasked = b""
        self.happened: list[str] = []

    def feed(self, data: bytes) -> bytes:
        self.heard += data
        return data.upper()

    def step(self) -> bytes:
        said, self.unasked = self.unasked, b""
        return said

    def power_cycle(self) -> None:
        self.happened.append("power_cycle")

    def hung_up(self) -> None:
        self.happened.append("hung_up")

    def fail(self, words: str) -> None:
        self.happened.append(words)


def fault(kind: str, **more: object) -> Fault:
    return Fault.model_validate({"instrument": "parrot", "kind": kind, **more})


def memory(*faults: Fault) -> tuple[MemoryServer, Parrot, ManualClock]:
    wall, parrot = ManualClock(), Parrot()
    return MemoryServer(parrot, faults, wall), parrot, wall


# ------------------------------------------------------------------------------------------------------ faults


def test_without_faults_what_is_said_arrives_at_once() -> None:
    line, *_ = memory()
    assert line.exchange(b"hello") == b"HELLO"


def test_a_dropped_reply_was_still_a_command_carried_out() -> None:
    line, parrot, _ = memory(fault("drop", after=2))
    assert [line.exchange(b"%d" % n) for n in range(4)] == [b"0", b"1", b"", b"3"]
    assert parrot.heard == b"0123"


def test_a_dropped_request_was_never_heard() -> None:
    line, parrot, _ = memory(fault("drop", after=1, count=2, side="request"))
    assert [line.exchange(b"%d" % n) for n in range(4)] == [b"0", b"", b"", b"3"]
    assert parrot.heard == b"03"


def test_a_delayed_reply_comes_late_and_holds_up_those_behind_it() -> None:
    line, _, wall = memory(fault("delay", delay_s=2.0))
    assert line.exchange(b"a") == b""
    wall.advance(1.0)
    assert line.exchange(b"b") == b""
    wall.advance(1.0)
    assert line.read() == b"AB"
    assert line.exchange(b"c") == b"C"


def test_a_slow_instrument_is_slow_until_it_is_over() -> None:
    line, _, wall = memory(fault("slow", delay_s=1.0, for_s=5.0))
    assert line.exchange(b"a") == b""
    wall.advance(1.0)
    assert line.read() == b"A"
    wall.advance(5.0)
    assert line.exchange(b"b") == b"B"


def test_a_corrupt_reply_differs_in_one_bit() -> None:
    line, *_ = memory(fault("corrupt", seed=3))
    reply = line.exchange(b"hello")
    assert [(a ^ b).bit_count() for a, b in zip(reply, b"HELLO", strict=True)].count(1) == 1
    assert line.exchange(b"hello") == b"HELLO"


def test_a_truncated_reply_ends_in_the_middle() -> None:
    line, *_ = memory(fault("truncate", seed=3, count=20))
    replies = {line.exchange(b"hello") for _ in range(20)}
    assert all(b"HELLO".startswith(reply) and reply != b"HELLO" for reply in replies)
    assert len(replies) > 1


def test_bytes_come_unsolicited_when_their_time_has_come() -> None:
    line, _, wall = memory(fault("unsolicited", at_s=3.0, data="\xffboo"))
    line.step()
    assert line.read() == b""
    wall.advance(3.0)
    line.step()
    line.step()
    assert line.read() == b"\xffboo"


def test_a_hung_instrument_hears_and_says_nothing_until_cleared() -> None:
    line, parrot, wall = memory(fault("hang", after=1))
    assert line.exchange(b"a") == b"A"
    parrot.unasked = b"squawk"
    line.step()
    wall.advance(1e6)
    assert line.exchange(b"b") == b""
    assert not line.is_down
    line.clear_faults()
    assert line.exchange(b"c") == b"C"
    assert parrot.heard == b"ac"


def test_an_unplugged_line_is_down_for_its_time_and_loses_what_is_written() -> None:
    line, parrot, wall = memory(fault("unplug", at_s=1.0, for_s=2.0))
    wall.advance(1.0)
    line.step()
    assert line.is_down
    assert line.exchange(b"lost") == b""
    wall.advance(2.0)
    line.step()
    assert not line.is_down
    assert line.exchange(b"a") == b"A"
    assert (parrot.heard, parrot.happened) == (b"a", ["hung_up"])


def test_a_hang_up_is_down_for_one_step() -> None:
    line, parrot, _ = memory(fault("hang_up", after=1))
    line.exchange(b"a")
    states = []
    for _ in range(3):
        line.step()
        states.append(line.is_down)
    assert states == [True, False, False]
    assert parrot.happened == ["hung_up"]


def test_a_power_cycle_and_an_error_of_its_own_reach_the_firmware() -> None:
    line, parrot, _ = memory(fault("power_cycle", after=1), fault("error", words="moult", after=2))
    for _ in range(3):
        line.exchange(b"a")
        line.step()
    assert parrot.happened == ["power_cycle", "moult"]


def test_an_error_the_instrument_does_not_have_is_refused_when_it_is_planned() -> None:
    with pytest.raises(FaultError, match=r"parrot: given error 'fly'; allowed: moult"):
        memory(fault("error", words="fly"))


def test_the_counting_of_an_injected_fault_begins_when_it_is_injected() -> None:
    line, _, wall = memory()
    wall.advance(100.0)
    for _ in range(10):
        line.exchange(b"x")
    line.inject(fault("drop", after=1, at_s=5.0))
    wall.advance(5.0)
    assert [line.exchange(b"a"), line.exchange(b"b")] == [b"A", b""]


@given(st.integers(0, 1000))
def test_chance_has_a_seed(seed: int) -> None:
    lines = [memory(fault("drop", probability=0.5, seed=seed))[0] for _ in range(2)]
    first, second = ([line.exchange(b"a") for _ in range(30)] for line in lines)
    assert first == second
    assert set(first) == {b"", b"A"} or seed


def test_a_reply_fault_waits_for_a_reply() -> None:
    plan = FaultPlan([fault("drop")], ManualClock())
    for _ in range(5):
        plan.request(b"set")
        assert plan.reply(b"") == []
    plan.request(b"ask")
    assert plan.reply(b"answer") == []
    plan.request(b"ask")
    assert [parcel.data for parcel in plan.reply(b"answer")] == [b"answer"]


@pytest.mark.parametrize(("row", "message"), [
    ("{instrument: a, kind: explode}", r"0\.kind: given 'explode'"),
    ("{instrument: a, kind: drop, afer: 3}", r"0\.afer: given 3; allowed: .*not permitted"),
    ("{instrument: a, kind: drop, probability: 0}", r"0\.probability: given 0"),
    ("{instrument: a, kind: error}", r"words: missing"),
    ("{instrument: a, kind: delay, side: request}", r"side: given request; allowed: reply"),
    ("{instrument: a, kind: power_cycle, for_s: 1}", r"for_s: given 1; allowed: nothing"),
    ("{instrument: a, kind: unsolicited, data: \u20ac}", r"data: allowed"),
    ("{instrument: a", r"file: .*valid YAML"),
])  # fmt: skip
def test_a_wrong_fault_file_is_refused_by_row_and_field(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "faults.yaml"
    path.write_text(f"- {row}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load(path)


def test_fault_files_are_yaml_or_json(tmp_path: Path) -> None:
    row = {"instrument": "pump", "kind": "drop", "after": 20}
    for name, text in (("faults.yaml", "- {instrument: pump, kind: drop, after: 20}"), ("faults.json", json.dumps([row]))):
        (tmp_path / name).write_text(text)
        assert load(tmp_path / name) == (Fault.model_validate(row),)


def test_a_missing_fault_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing.yaml: file"):
        load(tmp_path / "nothing.yaml")


# -------------------------------------------------------------------------------------------------- transports


@pytest.fixture
def switchboard() -> Iterator[Switchboard]:
    board = Switchboard()
    board.start()
    yield board
    board.stop()


@pytest.fixture
def parrot() -> Parrot:
    return Parrot()


@pytest.fixture
def pty(switchboard: Switchboard, parrot: Parrot) -> Iterator[tuple[PtyServer, str]]:
    server = PtyServer("parrot", parrot, switchboard, 9600)
    endpoint = server.start()
    assert endpoint.startswith("serial:///") and endpoint.endswith("/parrot?baud=9600")
    yield server, endpoint.removeprefix("serial://").partition("?")[0]
    server.stop()


def test_a_pseudo_terminal_carries_every_byte_in_both_directions(pty: tuple[PtyServer, str], parrot: Parrot) -> None:
    every = bytes(range(256))
    with serial.Serial(pty[1], timeout=DEADLINE_S) as port:
        port.write(every)
        assert port.read(256) == every.upper()
    assert parrot.heard == every


def test_a_port_can_be_closed_and_opened_again_also_with_7e1(pty: tuple[PtyServer, str]) -> None:
    for _ in range(3):
        with serial.Serial(pty[1], baudrate=9600, bytesize=7, parity="E", timeout=DEADLINE_S) as port:
            port.write(b"a")
            assert port.read(1) == b"A"


def test_an_unplugged_port_is_gone_and_comes_back_under_the_same_name(pty: tuple[PtyServer, str], parrot: Parrot) -> None:
    server, path = pty
    with serial.Serial(path, timeout=DEADLINE_S) as port:
        server.inject(fault("unplug"))
        with pytest.raises(serial.SerialException, match="disconnected|Input/output"):
            port.read(1)
    with pytest.raises(serial.SerialException, match="could not open port"):
        serial.Serial(path)
    assert parrot.happened == ["hung_up"]
    server.clear_faults()
    with serial.Serial(path, timeout=DEADLINE_S) as port:
        port.write(b"a")
        assert port.read(1) == b"A"


def test_a_host_that_never_reads_does_not_hold_up_the_others(pty: tuple[PtyServer, str], switchboard: Switchboard) -> None:
    other = PtyServer("other", Parrot(), switchboard, 9600)
    path = other.start().removeprefix("serial://").partition("?")[0]
    with contextlib.ExitStack() as stack:
        stack.callback(other.stop)
        deaf, port = (stack.enter_context(serial.Serial(p, timeout=DEADLINE_S, write_timeout=DEADLINE_S)) for p in (pty[1], path))
        for _ in range(20):
            deaf.write(b"x" * 1000)
        port.write(b"a")
        assert port.read(1) == b"A"


def test_stopping_leaves_no_port_behind(switchboard: Switchboard) -> None:
    server = PtyServer("parrot", Parrot(), switchboard, 9600)
    path = Path(server.start().removeprefix("serial://").partition("?")[0])
    assert path.is_symlink()
    server.stop()
    server.stop()
    assert not path.parent.exists()


def test_the_link_of_a_killed_simulator_is_taken_away_by_the_next_one(switchboard: Switchboard, tmp_path: Path,
                                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait(timeout=30)
    stale, living = tmp_path / f"lab-sim-{gone.pid}-x", tmp_path / f"lab-sim-{os.getpid()}-x"
    for folder in (stale, living):
        folder.mkdir()
        (folder / "pump").symlink_to("/dev/pts/0")
    server = PtyServer("parrot", Parrot(), switchboard, 9600)
    server.start()
    server.stop()
    assert list(tmp_path.iterdir()) == [living]


class Robot:
    """One client on the control port, many on the monitoring port."""

    failures = ("collision",)

    def __init__(self) -> None:
        self.controller: int | None = None
        self.watchers: list[int] = []
        self.happened: list[str] = []

    def opened(self, port: str, connection: int) -> Sequence[Outgoing]:
        if port == "monitor":
            self.watchers.append(connection)
            return [Outgoing(connection, b"mon\0")]
        if self.controller is not None:
            return [Outgoing(connection, b"[3001]\0", is_last=True)]
        self.controller = connection
        return [Outgoing(connection, b"[3000]\0")]

    def feed(self, connection: int, data: bytes) -> Sequence[Outgoing]:
        return [Outgoing(connection, b"ok:" + data), *(Outgoing(watcher, b"saw:" + data) for watcher in self.watchers)]

    def step(self) -> Sequence[Outgoing]:
        return []

    def closed(self, connection: int) -> None:
        self.happened.append("closed")
        if connection == self.controller:
            self.controller = None
        else:
            self.watchers.remove(connection)

    def power_cycle(self) -> None:
        self.happened.append("power_cycle")

    def fail(self, words: str) -> None:
        self.happened.append(words)


@pytest.fixture
def robot() -> Robot:
    return Robot()


@pytest.fixture
def tcp(switchboard: Switchboard, robot: Robot) -> Iterator[tuple[TcpServer, int, int]]:
    server = TcpServer("arm", robot, switchboard, {"control": 0, "monitor": 0})
    address, _, monitor = server.start().removeprefix("tcp://127.0.0.1:").partition("?monitor=")
    yield server, int(address), int(monitor)
    server.stop()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)


def receive(client: socket.socket, n: int) -> bytes:
    data = b""
    while len(data) < n and (piece := client.recv(n - len(data))):
        data += piece
    return data


def test_control_and_monitoring_are_ports_of_one_firmware(tcp: tuple[TcpServer, int, int]) -> None:
    _, control, monitor = tcp
    with connect(control) as client, connect(monitor) as watcher, connect(monitor) as another:
        assert receive(client, 7) == b"[3000]\0"
        assert receive(watcher, 4) == receive(another, 4) == b"mon\0"
        client.sendall(b"hi")
        assert receive(client, 5) == b"ok:hi"
        assert receive(watcher, 6) == receive(another, 6) == b"saw:hi"


def test_a_firmware_can_turn_a_second_client_away(tcp: tuple[TcpServer, int, int], robot: Robot) -> None:
    _, control, _ = tcp
    with connect(control) as client:
        assert receive(client, 7) == b"[3000]\0"
        with connect(control) as second:
            assert receive(second, 8) == b"[3001]\0"
        assert robot.happened == []
        client.sendall(b"x")
        assert receive(client, 4) == b"ok:x"


def test_faults_of_replies_happen_on_the_control_port_only(tcp: tuple[TcpServer, int, int]) -> None:
    server, control, monitor = tcp
    server.inject(fault("drop"))
    with connect(control) as client, connect(monitor) as watcher:
        assert receive(client, 7) == b"[3000]\0"
        assert receive(watcher, 4) == b"mon\0"
        watcher.sendall(b"m")
        assert receive(watcher, 9) == b"ok:msaw:m"
        client.sendall(b"a")
        assert receive(watcher, 5) == b"saw:a"
        client.sendall(b"b")
        assert receive(client, 4) == b"ok:b"


def test_an_unplugged_network_closes_connections_and_refuses_new_ones_until_it_is_back(
        tcp: tuple[TcpServer, int, int], robot: Robot) -> None:
    server, control, monitor = tcp
    with connect(control) as client, connect(monitor) as watcher:
        assert receive(client, 7) == b"[3000]\0"
        assert receive(watcher, 4) == b"mon\0"
        client.sendall(b"x")
        assert receive(client, 4) + receive(watcher, 5) == b"ok:xsaw:x"
        server.inject(fault("unplug"))
        assert client.recv(1) == watcher.recv(1) == b""
    for port in (control, monitor):
        with pytest.raises(ConnectionRefusedError, match="refused"):
            connect(port)
    assert robot.happened == ["closed", "closed"]
    server.clear_faults()
    with connect(control) as client:
        assert receive(client, 7) == b"[3000]\0"


def test_a_power_cycle_closes_the_connections_first(tcp: tuple[TcpServer, int, int], robot: Robot) -> None:
    server, control, _ = tcp
    with connect(control) as client:
        assert receive(client, 7) == b"[3000]\0"
        server.inject(fault("power_cycle"))
        assert client.recv(1) == b""
    assert robot.happened == ["closed", "power_cycle"]


def test_a_hung_network_instrument_keeps_its_connections_and_is_silent(tcp: tuple[TcpServer, int, int]) -> None:
    server, control, _ = tcp
    with connect(control) as client:
        assert receive(client, 7) == b"[3000]\0"
        server.inject(fault("hang"))
        client.sendall(b"a")
        server.inject(fault("unsolicited", data="?"))  # goes through the loop after the bytes above
        assert receive(client, 1) == b"?"
        server.clear_faults()
        client.sendall(b"b")
        assert receive(client, 4) == b"ok:b"


def test_a_client_that_reads_nothing_is_dropped_at_last(tcp: tuple[TcpServer, int, int], robot: Robot) -> None:
    _, control, monitor = tcp
    with connect(control) as client, connect(monitor) as deaf:
        assert receive(client, 7) == b"[3000]\0"
        assert receive(deaf, 4) == b"mon\0"
        while not robot.happened:
            client.sendall(b"x" * 4096)
            receive(client, len(b"ok:") + 4096)
        assert robot.happened == ["closed"]


def test_an_error_in_a_firmware_ends_the_loop_visibly() -> None:
    class Broken(Parrot):
        def feed(self, data: bytes) -> bytes:
            raise RuntimeError("a mistake of ours")

    board = Switchboard()
    board.start()
    server = PtyServer("broken", Broken(), board, 9600)
    path = server.start().removeprefix("serial://").partition("?")[0]
    with serial.Serial(path) as port:
        port.write(b"x")
        board.join(DEADLINE_S)
    server.stop()
    with pytest.raises(ServiceError, match="error of its own") as caught:
        board.stop()
    assert isinstance(caught.value.__cause__, RuntimeError)


# ------------------------------------------------------------------------------------------------- the process

LAB = {"name": "demo", "speed": 400, "instruments": {
    "pump": {"kind": "pump", "syringes": [{"address": 0, "liquid": "cs"}, {"address": 3, "liquid": "fa"}]},
    "hotplate": {"kind": "hotplate"},
    "real": {"kind": "hotplate", "endpoint": "serial:///dev/null"}}}  # fmt: skip


class Process:
    """``python -m sim`` with a deadline on everything."""

    def __init__(self, configuration: object) -> None:
        self.popen = subprocess.Popen([sys.executable, "-m", "sim"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, start_new_session=True)
        self.answer = self.do(configuration)

    def do(self, message: object) -> dict[str, object]:
        assert self.popen.stdin is not None and self.popen.stdout is not None
        self.popen.stdin.write(json.dumps(message).encode() + b"\n")
        self.popen.stdin.flush()
        ready, _, _ = select.select([self.popen.stdout], [], [], 60.0)
        assert ready, "no answer"
        return json.loads(self.popen.stdout.readline())

    def path(self, name: str) -> str:
        return self.answer["endpoints"][name].removeprefix("serial://").partition("?")[0]  # type: ignore[index]

    def ended(self) -> int:
        _, log = self.popen.communicate(timeout=30)
        assert b"Traceback" not in log, log.decode()
        return self.popen.returncode


@pytest.fixture
def process() -> Iterator[Process]:
    started = Process({"lab": LAB, "faults": [{"instrument": "pump", "kind": "drop", "after": 3}]})
    yield started
    if started.popen.poll() is None:
        started.popen.communicate(timeout=30)


def test_the_process_serves_its_simulated_instruments_until_standard_input_ends(process: Process) -> None:
    assert process.answer["ready"] is True
    assert list(process.answer["endpoints"]) == ["pump", "hotplate"]  # type: ignore[call-overload]
    folder = Path(process.path("pump")).parent
    with serial.Serial(process.path("pump"), timeout=DEADLINE_S) as port:
        replies = []
        for command in (b"3\r", b"3\r", b"3VER\r", b"3DIA\r", b"3RAT\r"):
            port.write(command)
            if command == b"3DIA\r":  # its reply is lost, by plan: wait until the loop has come round
                process.do({"do": "account"})
                process.do({"do": "account"})
            else:
                replies.append(port.read_until(b"\x03"))
        assert replies == [b"\x0203A?R\x03", b"\x0203S\x03", b"\x0203SNE1000V3.928\x03", b"\x0203S10.00MH\x03"]
        assert process.do({"do": "fault", "instrument": "pump", "kind": "error", "words": "stall 3"}) == {"ok": True}
        port.write(b"3RAT6MM\r3VOL1\r3RUN\r")
        assert port.read_until(b"I\x03") == b"\x0203S\x03\x0203S\x03\x0203I\x03"
        port.write(b"3\r")
        assert port.read_until(b"\x03") == b"\x0203A?S\x03"
    assert {"doses", "moves", "places"} <= process.do({"do": "account"}).keys()
    assert process.do({"do": "clear"}) == {"ok": True}
    assert process.ended() == 0
    assert not folder.exists()


@pytest.mark.parametrize(("command", "message"), [
    ({"do": "dance"}, "allowed: fault, clear, account"),
    ({"do": "fault", "instrument": "real", "kind": "drop"}, "given 'real'; allowed: pump, hotplate"),
    ({"do": "fault", "instrument": "pump", "kind": "error", "words": "flood"}, "given error 'flood'; allowed: reset, stall"),
    ({"do": "fault", "instrument": "pump", "kind": "melt"}, r"given 'melt'"),
    (["fault"], "one JSON object on a line"),
])  # fmt: skip
def test_a_wrong_command_is_answered_and_the_process_goes_on(process: Process, command: object, message: str) -> None:
    answer = process.do(command)
    assert answer["ok"] is False and message in str(answer["error"])
    assert process.do({"do": "clear"}) == {"ok": True}


def test_what_is_no_json_is_answered_too(process: Process) -> None:
    assert process.popen.stdin is not None
    process.popen.stdin.write(b"\xff{\n")
    assert process.do({"do": "clear"})["ok"] is False
    assert process.popen.stdout is not None
    assert json.loads(process.popen.stdout.readline()) == {"ok": True}


def test_sigterm_ends_the_process_and_sigint_does_not(process: Process) -> None:
    folder = Path(process.path("hotplate")).parent
    os.kill(process.popen.pid, signal.SIGINT)
    assert process.do({"do": "clear"}) == {"ok": True}
    os.kill(process.popen.pid, signal.SIGTERM)
    assert process.ended() == 0
    assert not folder.exists()


@pytest.mark.parametrize(("configuration", "message"), [
    ({"lab": {**LAB, "sped": 3}}, "lab: sped"),
    ({"lab": LAB, "faults": [{"instrument": "arm", "kind": "drop"}]}, "given 'arm'; allowed: pump, hotplate"),
    ({"lab": LAB, "faults": [{"instrument": "pump", "kind": "sleep"}]}, "0.kind"),
    ({"laboratory": LAB}, 'allowed: {"lab"'),
    (3, 'allowed: {"lab"'),
])  # fmt: skip
def test_a_wrong_configuration_is_told_and_the_process_exits_1(configuration: object, message: str) -> None:
    process = Process(configuration)
    assert process.answer["ready"] is False and message in str(process.answer["error"])
    assert process.ended() == 1


def test_the_simulator_is_imported_without_numpy() -> None:
    # lab.cli imports it for `lab sim --help`, which has to be quick
    done = subprocess.run([sys.executable, "-c", "import sys, sim.laboratory; print('numpy' in sys.modules)"],
                          capture_output=True, timeout=60, check=True)
    assert done.stdout == b"False\n"
