"""The gateway process between honest clients and what stands behind it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq
from gateway_stand_ins import Behind, StandIn

from lab.home import Home
from lab.layout import write_for_owner

DIES_WHEN_ASKED = """
import os, sys, zmq
socket = zmq.Context().socket(zmq.ROUTER)
socket.bind(sys.argv[1])
socket.recv_multipart()
os._exit(9)
"""


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    made = Behind(tmp_path_factory.mktemp("gateway"))
    yield made
    made.close()


def test_a_read_is_answered_by_the_manager(behind: Behind) -> None:
    with behind.client(behind.key("alice")) as client:
        assert client.ask("status")["heard"] == "status"
        assert client.ask("queue_get")["heard"] == "queue_get"
    assert behind.manager.seen[-2:] == [{"method": "status", "params": {}}, {"method": "queue_get", "params": {}}]


def test_a_change_goes_to_the_steward_with_the_name_and_role_of_the_key(behind: Behind) -> None:
    alice = behind.key("alice")
    n_seen = len(behind.manager.seen)
    with behind.client(alice) as client:
        answer = client.ask("queue_item_add", {"item": {"name": "count"}, "user": "alice", "user_group": "scientist"})
    assert answer["success"]
    assert behind.steward.seen[-1] == {"who": {"name": "alice", "role": "scientist", "key": alice.public_key},
                                       "method": "queue_item_add", "params": {"item": {"name": "count"}}}
    assert len(behind.manager.seen) == n_seen


def test_the_gateway_says_who_somebody_is(behind: Behind) -> None:
    with behind.client(behind.key("alice")) as client:
        answer = client.ask("lab_whoami")
    assert answer | {"version": ""} == {"success": True, "msg": "", "name": "alice", "role": "scientist", "lab": "demo", "version": ""}


def test_a_slow_steward_keeps_nobody_from_looking(behind: Behind) -> None:
    answer, going_on = behind.steward.answer, threading.Event()

    def slowly(message: dict[str, Any]) -> dict[str, Any]:
        going_on.wait(60)
        return answer(message)

    behind.steward.answer = slowly
    try:
        with behind.client(behind.key("alice")) as writing, behind.client(behind.key("alice")) as looking:
            writing.socket.send_multipart([b"", b'{"method": "queue_item_add", "params": {"item": {"name": "film"}}}'])
            for _ in range(20):
                assert looking.ask("status")["success"]
            assert writing.receive(0.0) is None
            going_on.set()
            answered = writing.receive()
            assert answered is not None
            assert json.loads(answered[-1])["heard"] == "queue_item_add"
    finally:
        going_on.set()
        behind.steward.answer = answer


def test_a_manager_that_dies_and_comes_back_is_found_again(behind: Behind, until: Callable[..., None]) -> None:
    with behind.client(behind.key("alice")) as client:
        assert client.ask("status")["success"]
        behind.manager.stop()
        until(lambda: "is not there" in client.ask("status")["msg"])
        assert "gateway of demo" in client.ask("ping")["msg"]
        assert client.ask("queue_item_add", {"item": {"name": "count"}})["success"]
        behind.manager = StandIn(zmq.REP, behind.manager.address)
        until(lambda: client.ask("status")["success"])


def test_a_steward_that_dies_while_it_is_asked_leaves_open_whether_it_was_done(behind: Behind, until: Callable[..., None]) -> None:
    said: list[str] = []
    behind.steward.stop()
    dying = subprocess.Popen([sys.executable, "-c", DIES_WHEN_ASKED, behind.steward.address])
    with behind.client(behind.key("alice")) as client:

        def add() -> str:
            said.append(client.ask("queue_item_add", {"item": {"name": "film"}})["msg"])
            return said[-1]

        until(lambda: "is not there" not in add())
        dying.wait(60)
        assert "ended before it had answered" in said[-1]
        assert "whether queue_item_add was done is not known" in said[-1]
        behind.steward = StandIn(zmq.ROUTER, behind.steward.address)
        until(lambda: add() == "")


def test_a_change_is_on_record_before_it_is_passed_on_and_before_it_is_answered(behind: Behind) -> None:
    at_steward: list[str] = []
    lines = behind.home.path / "audit" / "0001.jsonl"
    answer = behind.steward.answer
    behind.steward.answer = lambda message: (at_steward.append(lines.read_text()), {"success": False, "msg": "no such plan"})[1]
    try:
        with behind.client(behind.key("keeper")) as client:
            assert client.ask("queue_item_add", {"item": {"name": "count"}})["msg"] == "no such plan"
            at_client = lines.read_text()
    finally:
        behind.steward.answer = answer
    before, after = ([json.loads(line) for line in text.splitlines() if "keeper" in line and "queue_item_add" in line] for text in (at_steward[0], at_client))
    assert [line["outcome"] for line in before] == ["asked"]
    assert [line["outcome"] for line in after] == ["asked", "refused: no such plan"]


def test_msgpack_is_answered_in_msgpack(behind: Behind) -> None:
    with behind.client(behind.key("alice")) as client:
        for method in ("status", "lab_whoami", "re_abort"):
            client.socket.send_multipart([b"", msgpack.packb({"method": method})])
            answered = client.receive()
            assert answered is not None
            assert "msg" in msgpack.unpackb(answered[-1])


def test_the_official_client_for_messages_is_answered(behind: Behind) -> None:
    key = behind.key("alice")
    with behind.client(key, zmq.REQ) as client:
        for _ in range(3):
            client.socket.send_json({"method": "status", "params": {}})
            assert client.socket.poll(5000)
            assert client.socket.recv_json()["success"]


def test_documents_come_through_the_door(behind: Behind) -> None:
    with behind.client(behind.key("eve", "operator")) as client:
        client.socket.send(json.dumps({"subscribe": {"documents": {"all": True}}, "credit": 10}).encode())
        assert client.ask("lab_whoami")["success"]  # by now the subscription has been heard, too
        start = {"uid": "7c1d0a6e-0000-4000-8000-000000000001", "time": 1.0, "item": "i-1", "user": "alice"}
        behind.home.runs.joinpath(f"{start['uid']}.jsonl").write_text(json.dumps(["start", start]) + "\n")
        came = client.receive()
        assert came is not None
        assert came[0] == b"document"
        assert json.loads(came[1])["doc"] == start


def test_who_subscribes_is_on_record(behind: Behind, until: Callable[..., None]) -> None:
    lines = behind.home.path / "audit" / "0001.jsonl"
    with behind.client(behind.key("listener", "operator")) as client:
        client.socket.send(json.dumps({"subscribe": {"status": True}, "credit": 10}).encode())
        until(lambda: [json.loads(line)["outcome"] for line in lines.read_text().splitlines() if "listener" in line and "subscribe" in line] == ["done"])


def test_a_gateway_that_is_killed_is_followed_by_another_and_clients_go_on(behind: Behind) -> None:
    with behind.client(behind.key("alice")) as client:
        assert client.ask("status")["success"]
        behind.process.kill()
        behind.process.wait(60)
        behind.process.stdout.close()
        behind.layout = replace(behind.layout, gateway=behind.address)
        behind.layout.save()
        behind.start()
        assert client.ask("status")["success"]


def test_the_gateway_ends_in_order_when_it_is_told_to_though_strangers_keep_knocking(behind: Behind, until: Callable[..., None]) -> None:
    is_over, n_knocks = threading.Event(), 0

    def knock() -> None:
        nonlocal n_knocks
        while not is_over.is_set():
            with suppress(OSError), socket.create_connection(("127.0.0.1", behind.port), timeout=1):
                n_knocks += 1

    stranger = threading.Thread(target=knock)
    stranger.start()
    try:
        until(lambda: n_knocks > 300)
        assert behind.stop() == 0
    finally:
        is_over.set()
        stranger.join(60)
    behind.start()


def test_a_second_gateway_at_the_same_address_says_so(behind: Behind, tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.prepare()
    layout = replace(behind.layout, home=str(tmp_path), gateway=behind.address)
    layout.save()
    write_for_owner(layout.config_file, behind.layout.config_file.read_text())
    ended = subprocess.run([sys.executable, "-m", "lab.remote.gateway", "--home", str(tmp_path)], capture_output=True, text=True, timeout=200, check=False)
    assert ended.returncode == 1
    assert "cannot listen at" in ended.stderr and "Traceback" not in ended.stderr
