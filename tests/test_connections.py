"""Which connections to the door have to end, and how much a key may ask for: the rules alone, on plain sockets and a clock that is told."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import zmq

from lab.core.remote import Traffic
from lab.remote.gateway.allowance import SHUT_OUT_S, Allowance
from lab.remote.gateway.connections import (
    IDLE_S,
    LET_IN_BYTES,
    PATIENCE_S,
    SILENT_AT_MOST,
    SILENT_S,
    SPARE_BYTES,
    YOUNG_AT_MOST,
    YOUNG_AT_ONCE,
    Connection,
    Connections,
)
from lab.remote.gateway.relay import Failure, Relay

Until = Callable[..., None]


class Street:
    """A listening socket, and whoever connects to it."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1024))
        self.gone: list[Connection] = []
        self.connections = Connections(self._server.getsockname()[1], message_bytes=100_000, most=600, gone=self.gone.append)
        stack.callback(self.connections.close)

    def connect(self, now: float = 0.0) -> tuple[socket.socket, socket.socket]:
        """Somebody connects: their end, and ours."""
        theirs = self._stack.enter_context(socket.create_connection(self._server.getsockname()))
        ours = self._stack.enter_context(self._server.accept()[0])
        self.connections.accepted(ours.fileno(), now)
        return theirs, ours


@pytest.fixture
def street() -> Iterator[Street]:
    with ExitStack() as stack:
        yield Street(stack)


def let_in(ends: tuple[socket.socket, socket.socket]) -> None:
    theirs, ours = ends
    ours.sendall(bytes(LET_IN_BYTES))
    theirs.recv(LET_IN_BYTES, socket.MSG_WAITALL)


def test_a_few_at_their_handshake_are_left_alone(street: Street) -> None:
    for _ in range(YOUNG_AT_ONCE):
        street.connect()
    assert street.connections.end_excess(PATIENCE_S + 1) == {}


def test_too_many_at_their_handshake_for_too_long_end_the_oldest_first(street: Street) -> None:
    ends = [street.connect(now=number / 1000) for number in range(YOUNG_AT_ONCE + 3)]
    assert street.connections.end_excess(PATIENCE_S - 0.1) == {}
    assert street.connections.end_excess(PATIENCE_S + 1) == {"too many at their handshake": 3}
    assert ends[2][0].recv(1) == b""
    ends[3][0].setblocking(False)
    with pytest.raises(BlockingIOError):
        ends[3][0].recv(1)


def test_very_many_at_their_handshake_are_not_waited_for(street: Street) -> None:
    for _ in range(YOUNG_AT_MOST + 5):
        street.connect()
    assert street.connections.end_excess(0.1) == {"too many at their handshake": 5}


def test_who_was_let_in_and_is_silent_is_not_taken_for_half_open(street: Street, until: Until) -> None:
    for _ in range(YOUNG_AT_ONCE + 5):
        let_in(street.connect())
    until(lambda: all(one.look() == 0 and one.is_let_in for one in street.connections))
    assert street.connections.end_excess(PATIENCE_S + 1) == {}
    assert street.connections.end_excess(SILENT_S + 1) == {"too many that say nothing": YOUNG_AT_ONCE + 5 - SILENT_AT_MOST}


def test_more_than_a_message_that_is_not_whole_ends_its_connection(street: Street, until: Until) -> None:
    theirs, ours = street.connect()
    street.connections.heard(ours.fileno(), "key", b"id", 0.0)
    street.connections.end_excess(0.1)
    one = next(iter(street.connections))

    def more() -> None:
        before = one.look()
        theirs.sendall(bytes(200_000))
        ours.recv(200_000, socket.MSG_WAITALL)
        until(lambda: one.look() >= before + 200_000)

    while one.look() - one.n_received + 200_000 < 100_000 + SPARE_BYTES:
        more()
    assert street.connections.end_excess(0.2) == {}
    street.connections.heard(ours.fileno(), "key", b"id", 0.0)  # it was whole
    assert street.connections.end_excess(0.3) == {}
    for _ in range(6):
        more()
    assert street.connections.end_excess(0.4) == {"more than a message, and none was whole": 1}


def test_who_says_nothing_for_an_hour_has_to_connect_again(street: Street) -> None:
    _, ours = street.connect()
    street.connections.heard(ours.fileno(), "key", b"id", 10.0)
    assert street.connections.end_excess(IDLE_S + 9.0) == {}
    assert street.connections.end_excess(IDLE_S + 11.0) == {"nothing said in a long time": 1}


def test_a_descriptor_that_is_no_connection_of_the_door_is_left_alone(street: Street, tmp_path: Path) -> None:
    elsewhere, _ = socket.socketpair()
    file = os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY)
    try:
        for descriptor in (elsewhere.fileno(), file, 10_000):
            street.connections.accepted(descriptor, 0.0)
        assert len(street.connections) == 0
    finally:
        os.close(file)
        elsewhere.close()
        _.close()


def test_a_message_counts_for_nobody_when_its_descriptor_is_someone_elses_by_now(street: Street) -> None:
    _, ours = street.connect()
    first = street.connections.heard(ours.fileno(), "key", b"id", 0.0)
    assert first is not None
    assert street.connections.heard(ours.fileno(), "other key", b"id", 0.0) is None
    assert street.connections.heard(ours.fileno(), "key", b"other id", 0.0) is None
    assert street.connections.of_key("key") == [first]
    street.connections.disconnected(ours.fileno())
    assert street.gone == [first]
    assert street.connections.keys() == []


# ----------------------------------------------------------------------------------------------------------- allowances


def test_a_key_may_ask_at_its_rate_for_ever() -> None:
    allowance = Allowance(Traffic(requests_per_s=10, burst=5), now=0.0)
    assert all(allowance.take(100, now=number / 10) for number in range(1000))


def test_a_key_may_ask_in_a_burst_and_then_has_to_wait() -> None:
    allowance = Allowance(Traffic(requests_per_s=10, burst=5), now=0.0)
    assert [allowance.take(100, now=0.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert allowance.take(100, now=0.11)


def test_a_long_message_costs_more_but_can_be_sent() -> None:
    allowance = Allowance(Traffic(requests_per_s=10, burst=5), now=0.0)
    assert allowance.take(1_000_000, now=0.0)
    assert not allowance.take(100, now=0.0)


def test_who_goes_on_after_refusals_is_found_out_and_who_waits_is_not() -> None:
    patient, greedy = (Allowance(Traffic(requests_per_s=10, burst=5), now=0.0) for _ in range(2))
    for number in range(60):
        patient.take(100, now=number / 15)  # half as much again as allowed
        greedy.take(100, now=number / 100)
    assert not patient.is_abused()
    assert greedy.is_abused()


def test_who_was_shut_out_may_come_again_later() -> None:
    allowance = Allowance(Traffic(), now=0.0)
    allowance.shut_out(0.0)
    assert not allowance.enter(SHUT_OUT_S - 0.1)
    assert allowance.enter(SHUT_OUT_S + 0.1)


def test_a_key_cannot_connect_again_and_again_without_end() -> None:
    allowance = Allowance(Traffic(connections=2), now=0.0)
    assert [allowance.enter(0.0) for _ in range(9)] == [True] * 8 + [False]
    assert allowance.enter(0.3)


# ---------------------------------------------------------------------------------------------------------------- relays


@pytest.fixture
def behind() -> Iterator[tuple[zmq.Socket[bytes], Relay[str]]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    service = context.socket(zmq.ROUTER)
    port = service.bind_to_random_port("tcp://127.0.0.1")
    relay: Relay[str] = Relay(context, "the steward", f"tcp://127.0.0.1:{port}", 60.0, 3)
    yield service, relay
    relay.close()
    context.destroy(linger=0)


def asked(relay: Relay[str], ticket: str, now: float) -> bool:
    return relay.ask(b"{}", ticket, now) is None


def test_answers_find_who_asked_in_any_order(behind: tuple[zmq.Socket[bytes], Relay[str]], until: Until) -> None:
    service, relay = behind
    until(lambda: asked(relay, "first", 0.0))
    assert asked(relay, "second", 0.0)
    for answer in reversed([service.recv_multipart() for _ in range(2)]):
        service.send_multipart([*answer[:-1], b"answer"])
    came: list[tuple[str, bytes | Failure]] = []
    until(lambda: came.extend(relay.answers(0.0)) or len(came) == 2)
    assert came == [("second", b"answer"), ("first", b"answer")]


def test_what_is_not_answered_in_time_is_answered_for_and_keeps_its_place(behind: tuple[zmq.Socket[bytes], Relay[str]], until: Until) -> None:
    service, relay = behind
    until(lambda: asked(relay, "early", 0.0))
    assert asked(relay, "late", 30.0)
    assert [ticket for ticket, _ in relay.answers(59.9)] == []
    ((ticket, failure),) = relay.answers(60.1)
    assert ticket == "early"
    assert isinstance(failure, Failure)
    assert "has not answered within 60 s" in failure.words
    assert failure.was_sent
    assert asked(relay, "third", 61.0)
    assert not asked(relay, "fourth", 61.0)  # the service still has three
    for _ in range(3):
        *envelope, _ = service.recv_multipart()
        service.send_multipart([*envelope, b"answer"])
    came: list[str] = []
    until(lambda: came.extend(ticket for ticket, _ in relay.answers(61.0)) or len(came) == 2)
    assert came == ["late", "third"]  # the answer that came too late is nobody's


def test_an_answer_to_nothing_is_nobodys(behind: tuple[zmq.Socket[bytes], Relay[str]], until: Until) -> None:
    service, relay = behind
    until(lambda: asked(relay, "one", 0.0))
    who, number, *_ = service.recv_multipart()
    for forged in (b"", b"\xff" * 8, b"\xff" * 300):
        service.send_multipart([who, forged, b"", b"forged"])
    service.send_multipart([who, number, b"", b"answer"])
    came: list[tuple[str, bytes | Failure]] = []
    until(lambda: came.extend(relay.answers(0.0)) or came)
    assert came == [("one", b"answer")]
