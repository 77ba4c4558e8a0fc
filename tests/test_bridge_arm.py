"""The Meca500's bridge: its codec against the manual's transcripts, its controller against a robot that says what a test has it say."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridges import arm as arm_module
from firmware_bridges import robot_line
from firmware_bridges.arm import ArmController, build
from firmware_bridges.controller import BridgeSettings
from firmware_bridges.meca500 import GripperState, Message, Parser, RobotStatus, command
from lab.core.config import ArmConfig
from lab.core.errors import CommandError, InstrumentError, LimitError, LinkDown, LinkError, LinkGarbled

DEADLINE_S = 30.0

# Programming manual for Meca500, 2.4.29, 2.5.2, 2.5.3 and SetCheckpoint: what the robot says, and what it means.
TRANSCRIPT = [
    (b"[3000][Connected to Meca500 R3 v9.1.147]\0", Message(3000, "Connected to Meca500 R3 v9.1.147")),
    (b"[2000][Motors activated.]\0", Message(2000, "Motors activated.")),
    (b"[2002][Homing done.]\0", Message(2002, "Homing done.")),
    (b"[2007][1,1,0,0,0,1,1]\0", Message(2007, "1,1,0,0,0,1,1")),
    (b"[2026][0.000000,-20.000000,20.000000,0.000000,30.000000,0.000000]\0",
     Message(2026, "0.000000,-20.000000,20.000000,0.000000,30.000000,0.000000")),
    (b"[3030][1]\0", Message(3030, "1")),
    (b"[1001][Empty command or command unrecognized. - Command: 'Foo[]']\0",
     Message(1001, "Empty command or command unrecognized. - Command: 'Foo[]'")),
]


def _all(parser: Parser) -> list[Message]:
    return list(iter(parser.take, None))


def test_the_manuals_messages_are_read() -> None:
    parser = Parser()
    parser.feed(b"".join(raw for raw, _ in TRANSCRIPT))
    assert _all(parser) == [message for _, message in TRANSCRIPT]


@given(st.lists(st.tuples(st.integers(1000, 3999), st.text(st.characters(blacklist_characters="\0\r\n", blacklist_categories=("Cs",)))),
                min_size=1, max_size=5), st.data())
def test_messages_are_the_same_at_any_split_of_the_bytes(pairs: list[tuple[int, str]], data: st.DataObject) -> None:
    stream = b"".join(f"[{code}][{text}]".encode() + b"\0" for code, text in pairs)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    parser, found = Parser(), []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        parser.feed(stream[begin:end])
        found += _all(parser)
    assert found == [Message(code, text) for code, text in pairs]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_but_never_crash(data: bytes) -> None:
    parser = Parser()
    parser.feed(data + b"\0")
    for _ in range(data.count(b"\0") + 2):
        with contextlib.suppress(LinkGarbled):
            if parser.take() is None:
                return
    raise AssertionError("the parser did not come to an end")


def test_a_garbled_message_is_refused_with_its_bytes_and_the_next_one_is_read() -> None:
    parser = Parser()
    parser.feed(b"[20x7][1,1\0[3030][4]\0")
    with pytest.raises(LinkGarbled, match="20x7"):
        parser.take()
    assert parser.take() == Message(3030, "4")


def test_an_endless_message_is_refused() -> None:
    parser = Parser()
    parser.feed(b"[2007][" + b"1," * 40000)
    with pytest.raises(LinkGarbled, match="no end of message"):
        parser.take()


@pytest.mark.parametrize(("name", "arguments", "wire"), [
    ("ActivateRobot", (), b"ActivateRobot()\0"),
    ("MoveJoints", (10, 20, -10, 0, 0, 45), b"MoveJoints(10,20,-10,0,0,45)\0"),
    ("MoveLin", (140.0, -0.0, 250.5, 0.0, 90.0, 1e-5), b"MoveLin(140,0,250.5,0,90,0.00001)\0"),
    ("SetCheckpoint", (8000,), b"SetCheckpoint(8000)\0"),
])
def test_commands_are_written_as_in_the_manual(name: str, arguments: tuple[float, ...], wire: bytes) -> None:
    assert command(name, *arguments) == wire


@given(st.lists(st.floats(-1000, 1000), min_size=6, max_size=6))
def test_numbers_are_written_without_exponents_and_read_back(values: list[float]) -> None:
    wire = command("MovePose", *values)
    assert b"e" not in wire.removeprefix(b"MovePose")
    assert [float(v) for v in wire[9:-2].split(b",")] == pytest.approx(values, abs=1e-6)


def test_a_number_that_is_not_finite_is_never_sent() -> None:
    with pytest.raises(LimitError, match="not finite"):
        command("MoveJoints", float("nan"))


@pytest.mark.parametrize(("flags", "state"), [
    ("0,0,0,0,0,1,1", "off"), ("1,0,0,0,0,1,1", "activated"), ("1,1,0,0,0,1,1", "ready"), ("1,1,0,0,0,0,0", "moving"),
    ("1,1,0,0,1,1,1", "paused"), ("1,1,0,1,1,1,1", "error"), ("0,0,0,1,0,1,1", "error"),
])
def test_the_status_flags_become_one_word(flags: str, state: str) -> None:
    assert RobotStatus.parse(Message(2007, flags)).state == state


def test_a_status_with_too_few_flags_is_garbled() -> None:
    with pytest.raises(LinkGarbled, match="7 numbers expected"):
        RobotStatus.parse(Message(2007, "1,1,0"))


@pytest.mark.parametrize(("fields", "opened", "closed"), [
    ("100,0,1,0,1", True, True), ("100,0,0,0,0", False, False), ("100,1,0,0,0", False, True), ("100,0,1,1,0", True, True),
    ("100,1,0", False, True),
])
def test_the_gripper_has_done_when_its_fingers_stopped_or_hold(fields: str, opened: bool, closed: bool) -> None:
    state = GripperState.parse(Message(2320, fields))
    assert (state.has_done(opening=True), state.has_done(opening=False)) == (opened, closed)


@pytest.mark.parametrize(("message", "is_failure"), [
    (Message(1016, "out of reach"), True), (Message(3005, "Motion error."), True), (Message(3086, "1"), True),
    (Message(3086, "0"), False), (Message(3012, "End of block."), False), (Message(2043, "Motion resumed."), False),
])
def test_only_what_ends_a_motion_is_a_failure(message: Message, is_failure: bool) -> None:
    assert message.is_failure is is_failure


# ------------------------------------------------------------------------------------------------- a scripted robot


class FakeRobot:
    """Listens on both ports and answers like the manual; a test says the rest."""

    def __init__(self) -> None:
        self.activated, self.homed, self.error, self.paused, self.still = 1, 1, 0, 0, 1
        self.gripper = "0,1,0,1"
        self.greeting = b"[3000][Connected to Meca500 R3 v9.1.147]\0"
        self.overrides: dict[str, bytes | None] = {}
        self.reaches_checkpoints = True
        self.received: list[str] = []
        self._news = threading.Condition()
        self._servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        self._connections: list[socket.socket] = []
        self._control: socket.socket | None = None
        self._is_closed = False
        self._threads = [threading.Thread(target=self._serve, args=(server, i == 0)) for i, server in enumerate(self._servers)]
        for thread in self._threads:
            thread.start()

    @property
    def endpoint(self) -> str:
        control, monitor = (server.getsockname()[1] for server in self._servers)
        return f"tcp://127.0.0.1:{control}?monitor={monitor}"

    def say(self, *messages: bytes) -> None:
        assert self._control is not None
        self._control.sendall(b"".join(m + b"\0" for m in messages))

    def drop(self) -> None:
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def await_command(self, name: str, n: int = 1) -> None:
        with self._news:
            assert self._news.wait_for(lambda: self.count(name) >= n, DEADLINE_S), f"{name} not received: {self.received}"

    def count(self, name: str) -> int:
        return sum(c.startswith(name + "(") for c in self.received)

    def close(self) -> None:
        self._is_closed = True
        for server in self._servers:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            server.close()
        self.drop()
        for thread in self._threads:
            thread.join(DEADLINE_S)

    def _serve(self, server: socket.socket, is_control: bool) -> None:
        while not self._is_closed:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.append(connection)
            if is_control:
                self._control = connection
                self._converse(connection)

    def _converse(self, connection: socket.socket) -> None:
        pending = b""
        with contextlib.suppress(OSError):
            connection.sendall(self.greeting)
            while data := connection.recv(4096):
                *commands, pending = (pending + data).split(b"\0")
                for text in commands:
                    self._take(text.decode(), connection)

    def _take(self, text: str, connection: socket.socket) -> None:
        with self._news:
            self.received.append(text)
            self._news.notify_all()
        name, _, arguments = text.partition("(")
        reply = self.overrides[name] if name in self.overrides else self._reply(name, arguments.rstrip(")"))
        if reply:
            connection.sendall(reply + b"\0")

    def _reply(self, name: str, arguments: str) -> bytes | None:
        changes = {"ActivateRobot": ("activated", 1, b"[2000][Motors activated.]"), "Home": ("homed", 1, b"[2002][Homing done.]"),
                   "DeactivateRobot": ("activated", 0, b"[2004][Motors deactivated.]"),
                   "ResetError": ("error", 0, b"[2005][The error was reset.]"), "PauseMotion": ("paused", 1, b"[2042][Motion paused.]"),
                   "ClearMotion": ("paused", 1, b"[2044][The motion was cleared.]"),
                   "ResumeMotion": ("paused", 0, b"[2043][Motion resumed.]")}
        if name in changes:
            attribute, value, reply = changes[name]
            setattr(self, attribute, value)
            return reply
        if name == "SetCheckpoint" and not self.reaches_checkpoints:
            return None
        return {
            "GetStatusRobot": f"[2007][{self.activated},{self.homed},0,{self.error},{self.paused},{self.still},{self.still}]",
            "GetJoints": "[2026][0,-20,20,0,30,0]", "GetPose": "[2027][190,0,308,0,90,0]",
            "GetRtGripperState": f"[2320][1000,{self.gripper}]", "GetFwVersionFull": "[2082][v9.1.147]",
            "GetRobotSerial": "[2083][m500-00001]", "SetCheckpoint": f"[3030][{arguments}]",
        }.get(name, "").encode() or None


@pytest.fixture
def robot() -> Iterator[FakeRobot]:
    fake = FakeRobot()
    yield fake
    fake.close()


class Watched:
    """A controller, and everything it has published."""

    def __init__(self, robot: FakeRobot) -> None:
        self.controller: ArmController = build(BridgeSettings("arm", "LAB:", 100.0, robot.endpoint, ArmConfig(kind="arm")))
        self.controller.poll_s = 0.02
        self.values: dict[str, object] = {}
        self.causes: dict[str, str] = {}
        self._news = threading.Condition()
        self.controller.subscribe(self._hear)
        self.controller.start()

    def _hear(self, key: str, value: object, cause: str) -> None:
        with self._news:
            self.values[key], self.causes[key] = value, cause
            self._news.notify_all()

    def until(self, what: Callable[[], bool]) -> None:
        with self._news:
            assert self._news.wait_for(what, DEADLINE_S), f"{self.values} {self.causes}"

    def until_connected(self, is_connected: bool = True) -> None:
        self.until(lambda: self.values.get("CONNECTED") == is_connected)


class Pending:
    """A command in a thread of its own, as the IOC runs it."""

    def __init__(self, controller: ArmController, key: str, value: object = 1) -> None:
        self.error: InstrumentError | None = None
        self._thread = threading.Thread(target=self._run, args=(controller, key, value))
        self._thread.start()

    def _run(self, controller: ArmController, key: str, value: object) -> None:
        try:
            controller.execute(key, value)
        except InstrumentError as error:
            self.error = error

    @property
    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def result(self) -> InstrumentError | None:
        self._thread.join(DEADLINE_S)
        assert self.is_done, "the command hangs"
        return self.error


@pytest.fixture
def watched(robot: FakeRobot) -> Iterator[Watched]:
    bridge = Watched(robot)
    bridge.until_connected()
    yield bridge
    bridge.controller.stop()


PARK = (0.0, -20.0, 20.0, 0.0, 30.0, 0.0)


def test_a_connected_robot_shows_who_and_where_it_is(watched: Watched) -> None:
    assert watched.values["IDENTITY"] == "Mecademic Meca500 R3, firmware v9.1.147, serial m500-00001"
    assert watched.values["STATE"] == "ready"
    assert watched.values["JOINTS"] == PARK
    assert watched.values["POSE"] == (190.0, 0.0, 308.0, 0.0, 90.0, 0.0)
    assert (watched.values["HOLDING"], watched.values["GRIPPER_RBV"]) == (False, "open")


def test_a_robot_with_another_user_refuses_in_its_own_words(robot: FakeRobot) -> None:
    robot.greeting = b"[3001][Another user is already connected, closing connection.]\0"
    bridge = Watched(robot)
    try:
        bridge.until(lambda: "[3001][Another user" in str(bridge.values.get("LAST_ERROR")))
        assert bridge.values["CONNECTED"] is False
    finally:
        bridge.controller.stop()


def test_a_move_is_done_at_its_checkpoint_and_at_nothing_else(robot: FakeRobot, watched: Watched) -> None:
    robot.reaches_checkpoints = False
    move = Pending(watched.controller, "MOVE_JOINTS", PARK)
    robot.await_command("SetCheckpoint")
    robot.say(b"[3004][End of movement.]", b"[3012][End of block.]", b"[3030][77]")
    robot.await_command("GetJoints", robot.count("GetJoints") + 3)  # polls that came after what was said
    assert not move.is_done
    robot.say(b"[3030][1]")
    assert move.result() is None
    assert robot.received[robot.received.index("MoveJoints(0,-20,20,0,30,0)") + 1] == "SetCheckpoint(1)"


@pytest.mark.parametrize("words", [b"[1005][The robot is not activated.]", b"[1006][The robot is not homed.]",
                                   b"[1007][Joint 2 is over its limit.]", b"[1016][Destination pose out of reach.]"])
def test_a_refused_move_fails_in_the_robots_words(robot: FakeRobot, watched: Watched, words: bytes) -> None:
    robot.overrides |= {"MoveLin": words, "SetCheckpoint": b"[1011][The robot is in error.]"}
    with pytest.raises(CommandError, match="MoveLin failed: " + words.decode().replace("[", r"\[").replace("]", r"\]").replace(".", r"\.")):
        watched.controller.execute("MOVE_LIN", (100, 0, 100, 0, 90, 0))


@pytest.mark.parametrize(("said", "words"), [
    (b"[3005][Motion error.]", r"\[3005\]\[Motion error\.\]"),
    (b"[1010][Blocked by the 180 degree protection.]", r"\[1010\]\[Blocked"),
    (b"[3040][1]", r"\[3040\]\[1\] the motion was discarded"),
    (b"[3070][1]", r"\[3070\]\[1\]"),
    (b"[2044][The motion was cleared.]", r"\[2044\]\[The motion was cleared"),
])
def test_a_motion_that_fails_on_its_way_fails_in_the_robots_words(robot: FakeRobot, watched: Watched, said: bytes, words: str) -> None:
    robot.reaches_checkpoints = False
    move = Pending(watched.controller, "MOVE_POSE", (100, 0, 100, 0, 90, 0))
    robot.await_command("SetCheckpoint")
    robot.say(said)
    assert isinstance(error := move.result(), CommandError)
    assert error.args[0].startswith("arm: MovePose failed: ")
    with pytest.raises(CommandError, match=words):
        raise error


def test_an_error_shows_as_state_and_text_until_it_is_reset(robot: FakeRobot, watched: Watched) -> None:
    robot.error = 1
    robot.say(b"[3005][Motion error.]")
    watched.until(lambda: watched.values["STATE"] == "error" and watched.values["ERROR_TEXT"] == "[3005][Motion error.]")
    watched.controller.execute("RESET", 1)
    assert (watched.values["STATE"], watched.values["ERROR_TEXT"]) == ("ready", "")


def test_reset_resumes_with_an_empty_queue(robot: FakeRobot, watched: Watched) -> None:
    robot.error = robot.paused = 1
    watched.controller.execute("RESET", 1)
    told = [c for c in robot.received if c in ("ResetError()", "ClearMotion()", "ResumeMotion()")]
    assert told == ["ResetError()", "ClearMotion()", "ResumeMotion()"]
    assert watched.values["STATE"] == "ready"


def test_an_error_that_persists_makes_reset_fail(robot: FakeRobot, watched: Watched) -> None:
    robot.error = 1
    robot.overrides["ResetError"] = b"[2006][There was no error to reset.]"
    with pytest.raises(CommandError, match="the error persists after ResetError"):
        watched.controller.execute("RESET", 1)


def test_stop_fails_the_pending_motion_and_clears_the_queue(robot: FakeRobot, watched: Watched) -> None:
    robot.reaches_checkpoints = False
    move = Pending(watched.controller, "MOVE_JOINTS", PARK)
    robot.await_command("SetCheckpoint")
    watched.controller.execute("STOP", 1)
    with pytest.raises(CommandError, match="MoveJoints failed: stopped by STOP"):
        raise move.result() or AssertionError
    assert robot.received.index("PauseMotion()") < robot.received.index("ClearMotion()")


def test_a_stop_that_overtakes_the_command_of_a_motion_leaves_none_in_the_queue(
        robot: FakeRobot, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    robot.reaches_checkpoints = False
    send = watched.controller._line.ask

    def overtaken(request: bytes, *more: Any, **options: Any) -> Any:
        if request.startswith(b"MoveJoints"):
            watched.controller.execute("STOP", 1)
        return send(request, *more, **options)

    monkeypatch.setattr(watched.controller._line, "ask", overtaken)
    with pytest.raises(CommandError, match="MoveJoints failed: stopped by STOP"):
        watched.controller.execute("MOVE_JOINTS", PARK)
    robot.await_command("ClearMotion", 2)
    last_clear = len(robot.received) - 1 - robot.received[::-1].index("ClearMotion()")
    assert robot.received.index("MoveJoints(0,-20,20,0,30,0)") < last_clear


def test_a_move_after_a_stop_resumes_first(robot: FakeRobot, watched: Watched) -> None:
    watched.controller.execute("STOP", 1)
    assert watched.values["STATE"] == "paused"
    watched.controller.execute("MOVE_JOINTS", PARK)
    assert robot.received.index("ResumeMotion()") < robot.received.index("MoveJoints(0,-20,20,0,30,0)")


def test_safe_works_while_a_motion_is_pending(robot: FakeRobot, watched: Watched) -> None:
    robot.reaches_checkpoints = False
    move = Pending(watched.controller, "MOVE_JOINTS", PARK)
    robot.await_command("SetCheckpoint")
    watched.controller.execute("SAFE", 1)
    assert "stopped by SAFE" in str(move.result())


def test_a_second_move_is_refused_while_one_is_pending(robot: FakeRobot, watched: Watched) -> None:
    robot.reaches_checkpoints = False
    move = Pending(watched.controller, "MOVE_JOINTS", PARK)
    robot.await_command("SetCheckpoint")
    with pytest.raises(CommandError, match="MoveLin refused: MoveJoints is pending; STOP it first"):
        watched.controller.execute("MOVE_LIN", PARK)
    robot.say(b"[3030][1]")
    assert move.result() is None


def test_a_line_that_drops_in_mid_motion_fails_the_motion_which_is_never_sent_again(robot: FakeRobot, watched: Watched) -> None:
    robot.reaches_checkpoints = False
    move = Pending(watched.controller, "MOVE_JOINTS", PARK)
    robot.await_command("SetCheckpoint")
    robot.activated = 0
    robot.drop()
    with pytest.raises(LinkDown, match="MoveJoints failed: the line dropped during the motion, which is not sent again"):
        raise move.result() or AssertionError
    watched.until(lambda: watched.values["CONNECTED"] is True and watched.values["STATE"] == "off")  # read anew
    assert robot.count("MoveJoints") == 1


def test_readings_are_invalid_while_the_robot_is_gone_and_valid_again_afterwards(robot: FakeRobot, watched: Watched) -> None:
    robot.greeting = b"[3001][Another user is already connected.]\0"
    robot.drop()
    watched.until(lambda: "[3001]" in watched.causes["STATE"])
    with pytest.raises(LinkDown, match="not connected: "):
        watched.controller.execute("MOVE_JOINTS", PARK)
    robot.greeting = b"[3000][Connected to Meca500 R3 v9.1.147]\0"
    watched.until(lambda: watched.values["CONNECTED"] is True and watched.causes["STATE"] == "")


def test_a_garbled_reply_costs_the_connection_and_says_what_came(robot: FakeRobot, watched: Watched) -> None:
    robot.overrides["GetPose"] = b"[2027]190,0,308"
    watched.until(lambda: "190,0,308" in str(watched.values.get("LAST_ERROR")))
    del robot.overrides["GetPose"]
    watched.until_connected()


def test_a_silent_robot_is_noticed(robot: FakeRobot, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robot_line, "REPLY_S", 0.05)
    robot.overrides["GetStatusRobot"] = None
    watched.until(lambda: "no answer within 0.05 s" in watched.causes["STATE"])
    del robot.overrides["GetStatusRobot"]
    watched.until_connected()


def test_a_motion_that_never_ends_is_stopped_at_its_deadline(robot: FakeRobot, watched: Watched,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arm_module, "motion_deadline_s", lambda velocity_pct, speed: 0.05)
    robot.reaches_checkpoints = False
    with pytest.raises(CommandError, match="MoveJoints failed: not done within 0.05 s; it was stopped"):
        watched.controller.execute("MOVE_JOINTS", PARK)
    robot.await_command("ClearMotion")


def test_a_gripper_command_is_done_when_the_fingers_have_stopped(robot: FakeRobot, watched: Watched) -> None:
    robot.gripper = "0,0,0,0"
    grip = Pending(watched.controller, "GRIPPER", "closed")
    robot.await_command("GripperClose")
    robot.await_command("GetRtGripperState", robot.count("GetRtGripperState") + 3)
    assert not grip.is_done
    robot.gripper = "1,0,0,0"
    assert grip.result() is None
    assert (watched.values["HOLDING"], watched.values["GRIPPER_RBV"]) == (True, "closed")


def test_fingers_that_never_stop_fail_the_command(robot: FakeRobot, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arm_module, "SLACK_S", 0.0)
    robot.gripper = "0,0,0,0"
    with pytest.raises(CommandError, match="GripperOpen failed: the fingers have not stopped within 10 s"):
        watched.controller.execute("GRIPPER", "open")


def test_a_robot_without_a_gripper_moves_but_has_no_holding(robot: FakeRobot) -> None:
    robot.overrides["GetRtGripperState"] = b"[1038][No gripper connected.]"
    bridge = Watched(robot)
    try:
        bridge.until_connected()
        assert "[1038][No gripper connected.]" in bridge.causes["HOLDING"]
        bridge.controller.execute("MOVE_JOINTS", PARK)
        with pytest.raises(CommandError, match="GripperClose failed: arm: .1038"):
            bridge.controller.execute("GRIPPER", "closed")
    finally:
        bridge.controller.stop()


def test_velocity_is_kept_until_the_robot_can_take_it(robot: FakeRobot, watched: Watched) -> None:
    robot.activated = robot.homed = 0
    watched.until(lambda: watched.values["STATE"] == "off")
    watched.controller.execute("VELOCITY", 60.0)
    assert robot.count("SetJointVel") == 0
    watched.controller.execute("ACTIVATE", 1)
    watched.controller.execute("HOME", 1)
    assert "SetJointVel(60)" in robot.received
    assert watched.values["STATE"] == "ready"


def test_what_the_channel_table_forbids_is_not_sent(robot: FakeRobot, watched: Watched) -> None:
    with pytest.raises(LimitError, match="arm.MOVE_JOINTS: given 5 numbers; allowed: exactly 6"):
        watched.controller.execute("MOVE_JOINTS", PARK[:5])
    with pytest.raises(LimitError, match="1500 mm,deg is outside"):
        watched.controller.execute("MOVE_POSE", (1500, 0, 0, 0, 0, 0))
    assert robot.count("MoveJoints") == robot.count("MovePose") == 0


def test_a_failed_activation_fails_in_the_robots_words(robot: FakeRobot, watched: Watched) -> None:
    robot.overrides["ActivateRobot"] = b"[1013][Activation failed.]"
    with pytest.raises(CommandError, match=r"arm: \[1013\]\[Activation failed\.\]"):
        watched.controller.execute("ACTIVATE", 1)


def test_a_refusal_of_a_long_request_is_not_taken_for_one_of_a_poll(robot: FakeRobot, watched: Watched) -> None:
    robot.overrides["Home"] = None
    home = Pending(watched.controller, "HOME")
    robot.await_command("Home")
    robot.await_command("GetStatusRobot", robot.count("GetStatusRobot") + 2)  # polls go on meanwhile
    robot.say(b"[1014][Homing failed.]")
    assert "[1014][Homing failed.]" in str(home.result())
    assert watched.values["CONNECTED"] is True


def test_an_endpoint_that_is_not_tcp_is_refused() -> None:
    with pytest.raises(InstrumentError, match="allowed: tcp://host"):
        build(BridgeSettings("arm", "LAB:", 1.0, "serial:///dev/ttyS0", ArmConfig(kind="arm")))


def test_closing_the_line_leaves_no_thread(robot: FakeRobot) -> None:
    bridge = Watched(robot)
    bridge.until_connected()
    bridge.controller.stop()
    assert not [t.name for t in threading.enumerate() if t.name.startswith(("arm ", "poll arm"))]


def test_the_line_can_be_asked_by_several_threads_at_once(robot: FakeRobot) -> None:
    from firmware_bridges.link import Endpoint, TcpLink

    endpoint = Endpoint.parse(robot.endpoint)
    line = robot_line.RobotLine("arm", TcpLink("arm", endpoint.host, endpoint.port or 0),
                                TcpLink("arm", endpoint.host, int(endpoint.options["monitor"])),
                                lambda message: False, lambda message: None, lambda error: None)
    line.open()
    answers: list[Message] = []

    def ask() -> None:
        for _ in range(50):
            answers.extend(line.ask(command("GetJoints") + command("GetStatusRobot"), frozenset({2026}), frozenset({2007})))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_S)
    finally:
        line.close()
    assert sorted({m.code for m in answers}) == [2007, 2026] and len(answers) == 400
    with pytest.raises(LinkError, match="not connected"):
        line.ask(command("GetJoints"), frozenset({2026}))
