"""Whoever means no good, against a gateway process: no key, a wrong one, one that was revoked, or a right one in wrong hands.

After each of them the gateway answers an honest client in time, has not grown beyond `GROWTH`, and nobody behind it has seen anything.
"""

from __future__ import annotations

import json
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import msgpack
import psutil
import pytest
import zmq
from gateway_stand_ins import Behind, Client

from lab.remote.access.key_files import KeyFile

Until = Callable[..., None]

GROWTH = 64_000_000
"""Bytes of memory that one attack may cost the gateway at any time; the process has about 60 MB."""

HONEST = {"uid": "asked by an honest client"}
TURNED_AWAY = {zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, zmq.EVENT_HANDSHAKE_FAILED_AUTH, zmq.EVENT_DISCONNECTED}


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    made = Behind(tmp_path_factory.mktemp("hostile"))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def gateway(gate: Behind) -> Iterator[Behind]:
    """The gateway, and an honest client before and after."""
    honest = gate.key("honest")
    with gate.client(honest) as old:
        assert old.ask("queue_item_get", HONEST)["success"]
        before, n_manager, n_steward = gate.rss(), len(gate.manager.seen), len(gate.steward.seen)
        yield gate
        with gate.client(honest) as new:
            for client in (old, new):
                assert client.ask("queue_item_get", HONEST)["success"]
        assert [asked for asked in gate.manager.seen[n_manager:] if asked["params"] != HONEST] == []
        assert gate.steward.seen[n_steward:] == []
        assert gate.rss() - before < GROWTH


def is_refused(client: Client, payload: bytes, words: str) -> bool:
    """Whether a message is refused with these words."""
    client.socket.send_multipart([b"", payload])
    answer = client.receive()
    assert answer is not None
    unpacked = json.loads(answer[-1]) if payload[:1] == b"{" else msgpack.unpackb(answer[-1])
    return unpacked["success"] is False and words in unpacked["msg"]


def raw(gateway: Behind) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.port), timeout=200)


def is_closed(line: socket.socket) -> bool:
    """Whether the other end closes a connection; waits for it as long as the connection's deadline."""
    try:
        while line.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


# --------------------------------------------------------------------------------------------------------- the wrong key


def test_who_knows_no_curve_is_not_let_in(gateway: Behind) -> None:
    with gateway.client(None) as client:
        assert client.event() in TURNED_AWAY


def test_a_password_is_no_key(gateway: Behind) -> None:
    with gateway.client(None, PLAIN_USERNAME=b"honest", PLAIN_PASSWORD=b"please") as client:
        assert client.event() in TURNED_AWAY


def test_an_unknown_key_is_refused(gateway: Behind) -> None:
    public, secret = (half.decode() for half in zmq.curve_keypair())
    stranger = KeyFile("honest", "admin", "", gateway.key("honest").server_key, public, secret)
    with gateway.client(stranger) as client:
        assert client.event() == zmq.EVENT_HANDSHAKE_FAILED_AUTH


def test_a_public_key_without_its_secret_half_is_not_let_in(gateway: Behind) -> None:
    honest = gateway.key("honest")
    thief = KeyFile("honest", "scientist", "", honest.server_key, honest.public_key, zmq.curve_keypair()[1].decode())
    with gateway.client(thief) as client:
        assert client.event() in TURNED_AWAY


def test_a_key_for_another_laboratory_is_not_let_in(gateway: Behind) -> None:
    public, secret = (half.decode() for half in zmq.curve_keypair())
    with gateway.client(KeyFile("x", "admin", "", zmq.curve_keypair()[0].decode(), public, secret)) as client:
        assert client.event(10.0) in TURNED_AWAY


def test_revoking_a_key_ends_its_open_connections_and_lets_it_in_no_more(gateway: Behind) -> None:
    key = gateway.key("leaver", "operator")
    with gateway.client(key) as asking, gateway.client(key) as reading:
        assert asking.ask("lab_whoami")["name"] == "leaver"
        reading.socket.send(json.dumps({"subscribe": {"documents": {"all": True}}, "credit": 5}).encode())
        reading.socket.send(b'{"credit": "much"}')
        assert reading.receive()[0] == b"end"  # that was refused: what came before it has been heard
        assert asking.event() == reading.event() == zmq.EVENT_HANDSHAKE_SUCCEEDED
        gateway.registry.revoke("leaver", by="test")
        for client in (asking, reading):
            assert client.event() == zmq.EVENT_DISCONNECTED
            assert client.event() == zmq.EVENT_HANDSHAKE_FAILED_AUTH


# ------------------------------------------------------------------------------------------------- the right key, misused


@pytest.mark.parametrize("params", [
    {"user": "honest"}, {"user_group": "admin"}, {"item": {"name": "count", "user": "honest"}},
    {"items": [{"name": "count"}, {"name": "count", "user_group": "operator"}]},
], ids=["user", "group", "item", "batch"])
def test_nobody_can_name_another_user(gateway: Behind, params: dict[str, Any]) -> None:
    with gateway.client(gateway.key("mallory")) as client:
        answer = client.ask("queue_item_add", params)
    assert answer["success"] is False
    assert "which your key says" in answer["msg"]


def test_a_false_name_is_on_record(gateway: Behind, until: Until) -> None:
    with gateway.client(gateway.key("pretender")) as client:
        client.ask("queue_item_add", {"user": "honest"})
    lines = gateway.home.path / "audit" / "0001.jsonl"
    until(lambda: any("pretender" in line and "queue_item_add" in line for line in lines.read_text().splitlines()))


def test_an_observer_changes_nothing(gateway: Behind) -> None:
    with gateway.client(gateway.key("guest", "observer")) as client:
        for method in ("queue_item_add", "queue_start", "re_abort", "environment_close", "lab_approve", "lab_campaign_submit"):
            assert "your key's role is observer" in client.ask(method)["msg"]


def test_scripts_functions_and_permissions_are_for_admins(gateway: Behind) -> None:
    with gateway.client(gateway.key("boss", "operator")) as client:
        for method in ("script_upload", "function_execute", "permissions_set", "config_get", "manager_stop"):
            assert "allowed: admin" in client.ask(method)["msg"]


def test_what_breaks_the_manager_is_for_nobody(gateway: Behind) -> None:
    with gateway.client(gateway.key("root", "admin")) as client:
        assert "for no role" in client.ask("manager_kill")["msg"]
        assert "there is no method" in client.ask("no_such_method")["msg"]


# -------------------------------------------------------------------------------------------------------------- messages


def message(params: str) -> bytes:
    return b'{"method": "queue_item_add", "params": %s}' % params.encode()


@pytest.mark.parametrize(("payload", "words"), [
    (message('{"x": ' + "[" * 200_000 + "]" * 200_000 + "}"), "more than 20000 values"),
    (message('{"x": ' + "[" * 900 + "]" * 900 + "}"), "within one another"),
    (message('{"x": ' + "[" * 10_000 + "]" * 10_000 + "}"), "within one another"),
    (message('{"x": ' + "9" * 400_000 + "}"), "a number of 400000 characters"),
    (message('{"x": 1e400}'), "a number that is none"),
    (message('{"x": NaN}'), "a number that is none"),
    (message('{"x": 9223372036854775808}'), "more than 64 bits"),
    (message('{"x": 1, "x": 2}'), "a key twice"),
    (message('{"x": "\\ud800"}'), "half a character"),
    (message('{"x": "\\u0000"}'), "NUL"),
    (b'{"method": "status", "params": {"x": "\xff"}}', "UTF-8"),
    (b'{"method": "status"', "no JSON"),
    (b'{"method": "status", "params": {}, "user": "x"}', "nothing else"),
    (b'{"method": ["status"]}', "method"),
    (b'{"method": "status", "params": [1]}', "params: a map"),
    (b'{"method": "__init__"}', "method"),
    (b"{}" + b" " * 1_000_100, "1000000"),
    (msgpack.packb({"method": "status", "params": {"x": msgpack.ExtType(5, b"code")}}), "extension type"),
    (msgpack.packb({"method": "status", "params": {"x": b"raw"}}), "raw bytes"),
    (msgpack.packb({"method": "status", "params": {"x": msgpack.Timestamp(0)}}), "extension type"),
    (b"\x81\xa1x" + b"\xdd\xff\xff\xff\xff" * 100_000, "claims more than there is"),
    (b"\x81\xa1x" + b"\x91" * 100_000 + b"\xc0", "within one another"),
    (b"\x81\xa1x\xdc\xff\xff" + b"\xc0" * 65535, "more than 20000 values"),
    (b"\xdf\xff\xff\xff\xff", "claims more than there is"),
    (b"\x82\xa1x\x01\xa1x\x02", "a key twice"),
    (b"\x81\x01\x02", "no msgpack that JSON"),
    (b"\x81\xa1x\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00", "a number that is none"),
    (b"\x80\x80", "more than one message"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_no_message_is_refused_in_words(gateway: Behind, payload: bytes, words: str) -> None:
    with gateway.client(gateway.key(f"writer-{len(payload)}")) as client:
        assert is_refused(client, payload, words)
        assert client.ask("lab_whoami")["success"]


def test_who_goes_on_sending_what_is_no_message_is_thrown_out(gateway: Behind) -> None:
    with gateway.client(gateway.key("babbler")) as client:
        assert client.event() == zmq.EVENT_HANDSHAKE_SUCCEEDED
        for _ in range(100):
            client.socket.send_multipart([b"", b"babble"])
        assert client.event() == zmq.EVENT_DISCONNECTED


def test_a_message_of_a_hundred_thousand_frames_goes_nowhere(gateway: Behind) -> None:
    with gateway.client(gateway.key("bomber"), SNDHWM=0) as client:
        assert client.event() == zmq.EVENT_HANDSHAKE_SUCCEEDED
        client.socket.send_multipart([b"", *[b"x"] * 100_000])
        client.socket.send_multipart([b"", b'{"method": "lab_whoami"}'])
        while not client.monitor.poll(0) and not client.socket.poll(5):
            pass  # it is thrown out on the way, or, come as a whole, not answered: what comes after it is
        assert client.event(0.0) == zmq.EVENT_DISCONNECTED or b"bomber" in client.socket.recv_multipart()[-1]


def test_a_message_of_a_hundred_long_frames_ends_its_connection_before_it_is_whole(gateway: Behind) -> None:
    highest = before = gateway.rss()
    with gateway.client(gateway.key("endless"), SNDHWM=0) as client:
        assert client.event() == zmq.EVENT_HANDSHAKE_SUCCEEDED
        client.socket.send_multipart([bytes(900_000)] * 100)
        while not client.monitor.poll(5):
            highest = max(highest, gateway.rss())
        assert client.event() == zmq.EVENT_DISCONNECTED
    assert highest - before < GROWTH


def test_a_message_of_100_megabytes_ends_its_connection(gateway: Behind) -> None:
    with gateway.client(gateway.key("giant")) as client:
        assert client.event() == zmq.EVENT_HANDSHAKE_SUCCEEDED
        client.socket.send_multipart([b"", bytes(100_000_000)])
        assert client.event() == zmq.EVENT_DISCONNECTED


# ------------------------------------------------------------------------------------------------------------ connections


GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + b"\0" + bytes(31)


def test_garbage_instead_of_the_protocol_is_closed(gateway: Behind) -> None:
    dice = random.Random(11)
    for beginning in (b"GET / HTTP/1.1\r\n\r\n", dice.randbytes(2000), GREETING + b"\x04\xc8" + dice.randbytes(200),
                      GREETING + b"\x06" + (2**62).to_bytes(8, "big")):
        with raw(gateway) as line:
            line.sendall(beginning + dice.randbytes(5000))
            assert is_closed(line)


def test_bytes_of_an_honest_connection_are_of_no_use_again(gateway: Behind) -> None:
    with Eavesdropper(gateway.port) as ear:
        client = Client(gateway._context, f"tcp://127.0.0.1:{ear.port}", gateway.key("honest"), zmq.DEALER)
        assert client.ask("queue_item_get", HONEST)["success"]
        client.close()
    n_seen = len(gateway.manager.seen)
    assert len(ear.heard) > 500
    with raw(gateway) as line:
        line.sendall(ear.heard)
        assert is_closed(line)
    with raw(gateway) as line:  # as the two ends took turns
        for beginning, end in ((0, 64), (64, 266), (266, len(ear.heard))):
            line.sendall(ear.heard[beginning:end])
            line.recv(65536)
        assert is_closed(line)
    assert len(gateway.manager.seen) == n_seen


def test_thousands_of_half_open_connections_are_held_off(gateway: Behind, until: Until) -> None:
    process = psutil.Process(gateway.process.pid)
    before = process.num_fds()
    with ExitStack() as lines:
        for number in range(2000):
            line = lines.enter_context(raw(gateway))
            if number % 2:
                line.sendall(GREETING[:40])
        with gateway.client(gateway.key("honest")) as client:
            assert client.ask("queue_item_get", HONEST)["success"]
        until(lambda: process.num_fds() - before < 2 * 512 + 50)


def test_one_key_has_so_many_connections_and_no_more(gateway: Behind) -> None:
    key = gateway.key("octopus")
    with ExitStack() as clients:
        arms = [clients.enter_context(gateway.client(key)) for _ in range(32)]
        for arm in arms:
            assert arm.ask("lab_whoami")["success"]
        another = clients.enter_context(gateway.client(key))
        assert another.event() == zmq.EVENT_HANDSHAKE_SUCCEEDED
        another.socket.send_multipart([b"", b'{"method": "lab_whoami"}'])
        assert another.event() == zmq.EVENT_DISCONNECTED
        assert arms[0].ask("lab_whoami")["success"]


def test_answers_go_to_who_asked_though_another_comes_under_the_same_identity(gateway: Behind) -> None:
    with gateway.client(gateway.key("honest"), ROUTING_ID=b"desk") as owner:
        assert owner.ask("queue_item_get", HONEST)["success"]
        with gateway.client(gateway.key("double"), ROUTING_ID=b"desk") as double:
            double.socket.send_multipart([b"", b'{"method": "lab_whoami"}'])
            assert owner.ask("queue_item_get", HONEST)["success"]
            assert double.receive(0.0) is None


# ------------------------------------------------------------------------------------------------------------- too much


def test_who_asks_thousands_of_times_a_second_is_refused_and_then_thrown_out(gateway: Behind) -> None:
    with gateway.client(gateway.key("flood"), SNDHWM=0) as client, gateway.client(gateway.key("honest")) as honest:
        assert client.event() == zmq.EVENT_HANDSHAKE_SUCCEEDED
        for _ in range(20_000):
            client.socket.send_multipart([b"", b'{"method": "lab_whoami"}'])
        assert honest.ask("queue_item_get", HONEST)["success"]
        answers = []
        while not client.monitor.poll(0):
            answers += [client.socket.recv_multipart()[-1] for _ in range(client.socket.poll(5))]
        assert client.event() == zmq.EVENT_DISCONNECTED
    assert len([answer for answer in answers if b'"flood"' in answer]) < 2000


def test_who_asks_for_more_than_a_key_may_is_told_so(gateway: Behind) -> None:
    long = b'{"method": "lab_whoami"}'.ljust(990_000)  # costs as much as 240 short ones
    with gateway.client(gateway.key("eager")) as client:
        for _ in range(20):
            client.socket.send_multipart([b"", long])
        answers = [answer[-1] for answer in (client.receive() for _ in range(20)) if answer is not None]
    assert len(answers) == 20
    assert any(b"eager" in answer for answer in answers)
    assert any(b"more than 200 requests a second" in answer for answer in answers)


def test_who_does_not_read_answers_costs_no_memory(gateway: Behind, until: Until) -> None:
    answer, gateway.manager.answer = gateway.manager.answer, lambda message: {"success": True, "padding": "x" * 700_000}
    highest = before = gateway.rss()
    try:
        with gateway.client(gateway.key("sleeper"), RCVHWM=1, RCVBUF=10_000) as client:
            assert client.event() == zmq.EVENT_HANDSHAKE_SUCCEEDED
            while "answers that are not read" not in gateway.log.read_text():
                client.socket.poll(5, zmq.POLLOUT)
                with suppress(zmq.Again):
                    client.socket.send_multipart([b"", json.dumps({"method": "queue_item_get", "params": HONEST}).encode()], zmq.DONTWAIT)
                highest = max(highest, gateway.rss())
    finally:
        gateway.manager.answer = answer
    assert highest - before < GROWTH


def test_who_does_not_read_a_stream_costs_no_memory_and_loses_nothing(gateway: Behind) -> None:
    uid, n = "7c1d0a6e-0000-4000-8000-000000000002", 30_000
    start = {"uid": uid, "time": 1.0, "user": "reader"}
    with gateway.home.runs.joinpath(f"{uid}.jsonl").open("w") as run:
        run.write(json.dumps(["start", start]) + "\n")
        run.writelines(json.dumps(["event", {"seq_num": number, "data": {"image": "x" * 1000}}]) + "\n" for number in range(1, n))
    before = highest = gateway.rss()
    with gateway.client(gateway.key("reader"), RCVHWM=1, RCVBUF=10_000) as client, gateway.client(gateway.key("honest")) as honest:
        client.socket.send(json.dumps({"subscribe": {"documents": {"all": True}, "have": {uid: 0}}, "credit": 10_000}).encode())
        for _ in range(200):  # meanwhile it reads nothing
            assert honest.ask("queue_item_get", HONEST)["success"]
            highest = max(highest, gateway.rss())
        for number in range(5_000):
            came = client.receive()
            assert came is not None
            assert json.loads(came[1])["n"] == number
            highest = max(highest, gateway.rss()) if number % 100 == 0 else highest
    assert highest - before < GROWTH


class Eavesdropper:
    """Stands between a client and the gateway, and keeps what the client sends."""

    def __init__(self, port: int) -> None:
        self._gateway = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.heard = b""
        self._threads = [threading.Thread(target=self._forth)]

    def __enter__(self) -> Eavesdropper:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join(60)
        self._server.close()

    def _forth(self) -> None:
        with self._server.accept()[0] as client, socket.create_connection(("127.0.0.1", self._gateway)) as gateway:
            back = threading.Thread(target=self._back, args=(gateway, client))
            back.start()
            while heard := client.recv(65536):
                self.heard += heard
                gateway.sendall(heard)
            gateway.shutdown(socket.SHUT_RDWR)
            back.join(60)

    def _back(self, gateway: socket.socket, client: socket.socket) -> None:
        try:
            while heard := gateway.recv(65536):
                client.sendall(heard)
        except OSError:
            pass  # the client has gone
