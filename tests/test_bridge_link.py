"""The line to an instrument, over real pseudo-terminals and sockets."""

from __future__ import annotations

import os
import pty
import select
import socket
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firmware_bridges.link import Backoff, Endpoint, Framing, Link, SerialLink, TcpLink, serial_link
from lab.core.errors import LinkDown, LinkGarbled, LinkTimeout

Answer = Callable[[bytes], list[bytes]]


def ends_line(received: bytes) -> bool:
    return received.endswith(b"\n")


class Peer:
    """The other end of a pseudo-terminal under a stable name: answers what it is sent, can be unplugged and plugged in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answer: Answer = lambda request: [b"re:" + request]
        self.received: list[bytes] = []
        self.plug()

    def plug(self) -> None:
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.path.symlink_to(os.ttyname(self._slave))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(self._master, self._ended))
        self._thread.start()

    def unplug(self) -> None:
        self.path.unlink()
        self._ended.set()
        self._thread.join(60)
        os.close(self._master)
        os.close(self._slave)

    def say(self, data: bytes) -> None:
        os.write(self._master, data)

    def _serve(self, master: int, ended: threading.Event) -> None:
        pending = b""
        while not ended.is_set():
            if not select.select([master], [], [], 0.02)[0]:
                continue
            pending += os.read(master, 4096)
            while b"\n" in pending:
                line, _, pending = pending.partition(b"\n")
                self.received.append(line)
                for piece in self.answer(line + b"\n"):
                    os.write(master, piece)


@pytest.fixture()
def peer(tmp_path: Path) -> Iterator[Peer]:
    made = Peer(tmp_path / "port")
    yield made
    if made.path.is_symlink():
        made.unplug()


@pytest.fixture()
def link(peer: Peer) -> Iterator[SerialLink]:
    made = SerialLink("pump", str(peer.path), 19200)
    made.connect()
    yield made
    made.close()


def test_a_reply_in_pieces_is_collected_until_it_is_complete(peer: Peer, link: Link) -> None:
    peer.answer = lambda request: [b"a", b"b", b"c\n"]
    assert link.exchange(b"x\n", ends_line, 2.0) == b"abc\n"


def test_no_reply_is_a_timeout_that_carries_the_request_and_what_had_come(peer: Peer, link: Link) -> None:
    peer.answer = lambda request: [b"half"]
    with pytest.raises(LinkTimeout, match=r"pump: no complete reply within 0\.1 s.*sent b'x\\n', got b'half'") as caught:
        link.exchange(b"x\n", ends_line, 0.1)
    assert (caught.value.request, caught.value.reply) == (b"x\n", b"half")


def test_a_late_reply_is_not_taken_for_the_next_one(peer: Peer, link: Link, until: Callable[..., None]) -> None:
    peer.answer = lambda request: []
    with pytest.raises(LinkTimeout, match="no complete reply"):
        link.exchange(b"first\n", ends_line, 0.05)
    peer.say(b"late reply to the first\n")
    peer.answer = lambda request: [b"second\n"]
    port = link._port  # type: ignore[attr-defined]
    until(lambda: port.in_waiting == 24)
    assert link.exchange(b"second\n", ends_line, 2.0) == b"second\n"


def test_after_a_garbled_reply_the_line_falls_quiet_before_the_next_request(peer: Peer, link: Link) -> None:
    link.quiet_s = 0.1

    def refuse(reply: bytes) -> bytes:
        raise LinkGarbled("pump: nonsense", b"x", reply)

    # The second line is sent while the first is being judged: it must not answer the next request.
    peer.answer = lambda request: [b"one\n", b"two\n"] if request == b"x\n" else [b"right\n"]
    with pytest.raises(LinkGarbled, match="nonsense"):
        link.transact(b"x\n", ends_line, 2.0, refuse)
    assert link.exchange(b"y\n", ends_line, 2.0) == b"right\n"


def test_an_unplugged_port_is_down_and_stays_so_until_somebody_connects(peer: Peer, link: Link) -> None:
    peer.unplug()
    with pytest.raises(LinkDown, match="pump: lost .*port"):
        link.exchange(b"x\n", ends_line, 0.5)
    assert not link.is_open
    with pytest.raises(LinkDown, match="is not connected"):
        link.exchange(b"x\n", ends_line, 0.5)
    with pytest.raises(LinkDown, match="pump: cannot open .*port"):
        link.connect()


def test_a_port_pulled_out_during_an_exchange_is_down(peer: Peer, link: Link) -> None:
    started = threading.Event()

    def silent(request: bytes) -> list[bytes]:
        started.set()
        return []

    peer.answer = silent
    errors: list[Exception] = []

    def wait() -> None:
        try:
            link.exchange(b"x\n", ends_line, 5.0)
        except (LinkDown, LinkTimeout) as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert started.wait(120)
    peer.unplug()
    thread.join(60)
    assert isinstance(errors[0], LinkDown)


def test_a_port_plugged_in_again_works_under_its_stable_name(peer: Peer, link: Link) -> None:
    peer.unplug()
    with pytest.raises(LinkDown):
        link.exchange(b"x\n", ends_line, 0.5)
    peer.plug()
    link.connect()
    assert link.exchange(b"x\n", ends_line, 2.0) == b"re:x\n"


def test_a_port_that_another_program_has_is_not_shared(peer: Peer, link: Link) -> None:
    second = SerialLink("pump", str(peer.path), 19200)
    with pytest.raises(LinkDown, match=r"pump: cannot open .*; another program has it: find out which one"):
        second.connect()
    link.close()
    second.connect()
    assert second.exchange(b"VER\n", ends_line, 1.0) == b"re:VER\n"
    second.close()


def test_two_threads_never_get_each_others_reply(peer: Peer, link: Link) -> None:
    wrong: list[tuple[bytes, bytes]] = []

    def ask(who: int) -> None:
        for n in range(100):
            request = b"%d.%d\n" % (who, n)
            reply = link.exchange(request, ends_line, 5.0)
            if reply != b"re:" + request:
                wrong.append((request, reply))

    threads = [threading.Thread(target=ask, args=(who,)) for who in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []


def test_a_seven_bit_line_over_a_pseudo_terminal_loses_its_eighth_bits(peer: Peer) -> None:
    link = SerialLink("hotplate", str(peer.path), 9600, Framing(7, "E", 1))
    link.connect()
    peer.answer = lambda request: [bytes(b | 0x80 for b in b"24.8 2"), b"\n"]
    assert link.exchange(b"IN_PV_2\n", ends_line, 2.0) == b"24.8 2\n"
    link.close()


def test_closing_twice_does_no_harm(link: SerialLink) -> None:
    link.close()
    link.close()
    assert not link.is_open


# ------------------------------------------------------------------------------------------------------------ TCP


@pytest.fixture()
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.settimeout(5)
        yield made


@pytest.fixture()
def tcp(server: socket.socket) -> Iterator[tuple[TcpLink, socket.socket]]:
    link = TcpLink("arm", "127.0.0.1", server.getsockname()[1])
    link.connect()
    connection, _ = server.accept()
    yield link, connection
    link.close()
    connection.close()


def test_tcp_exchange_collects_a_reply(tcp: tuple[TcpLink, socket.socket]) -> None:
    link, connection = tcp
    thread = threading.Thread(target=lambda: (connection.recv(100), connection.sendall(b"[2000]"), connection.sendall(b"[ok]\n")))
    thread.start()
    assert link.exchange(b"Activate\n", ends_line, 2.0) == b"[2000][ok]\n"
    thread.join(60)


def test_tcp_closed_by_the_other_end_is_down(tcp: tuple[TcpLink, socket.socket]) -> None:
    link, connection = tcp
    connection.close()
    with pytest.raises(LinkDown, match="arm: lost 127.0.0.1"):
        link.receive(ends_line, 2.0)
    assert not link.is_open


def test_tcp_refused_is_down(server: socket.socket) -> None:
    port = server.getsockname()[1]
    server.close()
    with pytest.raises(LinkDown, match="arm: cannot open 127.0.0.1"):
        TcpLink("arm", "127.0.0.1", port).connect()


def test_sending_goes_on_while_another_thread_waits_for_bytes(tcp: tuple[TcpLink, socket.socket]) -> None:
    link, connection = tcp
    heard: list[bytes] = []
    thread = threading.Thread(target=lambda: heard.append(link.receive(ends_line, 5.0)))
    thread.start()
    link.send(b"MoveJoints\n")
    assert connection.recv(100) == b"MoveJoints\n"
    connection.sendall(b"[3012][EOB]\n")
    thread.join(60)
    assert heard == [b"[3012][EOB]\n"]


def test_receive_carries_what_had_arrived_when_it_times_out(tcp: tuple[TcpLink, socket.socket]) -> None:
    link, connection = tcp
    connection.sendall(b"[300")
    with pytest.raises(LinkTimeout, match="no complete reply") as caught:
        link.receive(ends_line, 0.1)
    assert caught.value.reply == b"[300"


# ------------------------------------------------------------------------------------------------------- the rest


def test_pauses_between_attempts_grow_to_two_seconds_and_start_again() -> None:
    backoff = Backoff()
    pauses = [backoff.next_s() for _ in range(10)]
    assert pauses[:4] == [0.01, 0.02, 0.04, 0.08]
    assert pauses[-1] == 2.0
    backoff.reset()
    assert backoff.next_s() == 0.01


def test_endpoints_are_taken_apart() -> None:
    assert Endpoint.parse("tcp://10.0.0.5:10000?monitor=10001") == Endpoint("tcp", "10.0.0.5", 10000, "", {"monitor": "10001"})
    assert serial_link("pump", "serial:///dev/ttyUSB0?baud=19200", 9600).address == "/dev/ttyUSB0"
    assert serial_link("pump", "serial://10.0.0.7:4001", 9600).address == "socket://10.0.0.7:4001"


def test_a_port_that_refuses_its_framing_is_opened_8n1(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Framing] = []
    really_open = SerialLink._opened

    def refuse_parity(self: SerialLink, framing: Framing) -> object:
        opened.append(framing)
        if framing.parity != "N":
            raise termios.error(22, "Invalid argument")
        return really_open(self, framing)

    monkeypatch.setattr(SerialLink, "_opened", refuse_parity)
    link = SerialLink("hotplate", str(peer.path), 9600, Framing(7, "E", 1))
    link.connect()
    assert opened == [Framing(7, "E", 1), Framing(8, "N", 1)]
    assert link.exchange(b"IN_NAME\n", ends_line, 2.0) == b"re:IN_NAME\n"
    link.close()
