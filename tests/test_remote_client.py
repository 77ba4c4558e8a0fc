"""The client's side of the gateway: who one is, what survives which loss, and that nothing is done twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bluesky_queueserver_api import BPlan

from lab.core.errors import ConfigError, RemoteError
from lab.remote.access.key_files import new_pair, save_key
from lab.remote.client import Laboratory, NoAnswer, Refused, connect, requests
from lab.remote.client.line import AnswerLost, KeyRefused, Unreachable
from tests.stand_in_gateway import Lose, StandIn

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def gateway() -> Iterator[StandIn]:
    stand_in = StandIn()
    yield stand_in
    stand_in.close()


@pytest.fixture
def alice(gateway: StandIn) -> Iterator[Laboratory]:
    with Laboratory(gateway.address, gateway.key(), status_polling_period=0.02) as laboratory:
        yield laboratory


# ------------------------------------------------------------------------------------------------ the official client


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_an_item_is_added_as_the_official_client_does_it_without_a_user(gateway: StandIn, encoding: str) -> None:
    gateway.answers["queue_item_add"] = lambda params: {"success": True, "msg": "", "qsize": 1, "item": params["item"]}
    with Laboratory(gateway.address, gateway.key(), zmq_encoding=encoding) as alice:
        answer = alice.item_add(BPlan("count", ["hotplate_a"], num=3))
    assert answer["item"]["name"] == "count"
    ((method, params),) = gateway.requests
    assert method == "queue_item_add" and set(params) == {"item", "request"}


def test_the_status_comes_through_the_client_s_own_thread(gateway: StandIn, alice: Laboratory) -> None:
    gateway.answers["status"] = lambda params: {"manager_state": "idle", "items_in_queue": 0}
    assert alice.status()["manager_state"] == "idle"
    alice.wait_for_idle(timeout=200)


def test_a_refusal_is_the_official_error_with_fields_and_one_of_ours(gateway: StandIn, alice: Laboratory) -> None:
    problem = {"field": "num", "given": -1, "allowed": "1 to 1000"}
    gateway.answers["queue_item_add"] = lambda params: {"success": False, "msg": "count: num: given -1; allowed: 1 to 1000", "problems": [problem]}
    with pytest.raises(alice.RequestFailedError, match="allowed: 1 to 1000") as caught:
        alice.item_add(BPlan("count", num=-1))
    assert isinstance(caught.value, Refused) and isinstance(caught.value, RemoteError)
    assert caught.value.problems == [problem]


def test_requests_come_from_several_threads_at_a_time(gateway: StandIn, alice: Laboratory) -> None:
    from concurrent.futures import ThreadPoolExecutor

    gateway.answers["lab_item"] = lambda params: {"success": True, "item": params["item"]}
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda n: alice.send_request(method="lab_item", params={"item": n}), range(100))
    assert [answer["item"] for answer in answers] == list(range(100))


# ------------------------------------------------------------------------------------------------------ what is lost


def test_a_read_whose_answer_was_lost_is_asked_again(gateway: StandIn, alice: Laboratory) -> None:
    gateway.answers["queue_get"] = _losing(1, lambda params: {"success": True, "items": []})
    assert alice.send_request(method="queue_get")["items"] == []
    assert len(gateway.requests) == 2


def test_a_write_whose_answer_was_lost_is_asked_again_under_the_same_name(gateway: StandIn, alice: Laboratory) -> None:
    done: dict[str, int] = {}

    def add(params: dict[str, Any]) -> dict[str, Any]:
        is_first = params["request"] not in done
        done.setdefault(params["request"], len(done))
        if is_first:
            raise Lose
        return {"success": True, "msg": "", "item": params["item"], "qsize": len(done)}

    gateway.answers["queue_item_add"] = add
    assert alice.item_add(BPlan("count"))["qsize"] == 1
    assert len(gateway.requests) == 2 and len(done) == 1


def test_a_write_that_is_under_way_is_waited_for(gateway: StandIn, alice: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "AGAIN_S", 0.01)
    came: list[str] = []

    def submit(params: dict[str, Any]) -> dict[str, Any]:
        came.append(params["request"])
        if len(came) == 1:
            raise Lose
        if len(came) < 4:
            return {"success": False, "msg": f"request {params['request']} is under way; lab_request tells what became of it"}
        return {"success": True, "msg": "", "repeated": True}

    gateway.answers["queue_item_add"] = submit
    assert alice.item_add(BPlan("count"))["repeated"]
    assert len(came) == 4 and len(set(came)) == 1


def test_a_write_that_a_service_behind_the_gateway_did_not_answer_is_asked_again(gateway: StandIn, alice: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "AGAIN_S", 0.01)
    came: list[str] = []

    def add(params: dict[str, Any]) -> dict[str, Any]:
        came.append(params["request"])
        if len(came) < 3:
            return {"success": False, "msg": "the steward has died; whether queue_item_add was done is not known", "unanswered": True}
        return {"success": True, "msg": "", "repeated": True}

    gateway.answers["queue_item_add"] = add
    assert alice.item_add(BPlan("count"))["repeated"]
    assert len(came) == 3 and len(set(came)) == 1


def test_a_service_that_does_not_come_back_leaves_a_write_open_in_words(gateway: StandIn, alice: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "AGAIN_S", 0.01)
    monkeypatch.setattr(requests, "RESTART_S", 0.1)
    gateway.answers["queue_item_add"] = lambda params: {"success": False, "msg": "the steward is not there", "unanswered": True}
    with pytest.raises(NoAnswer, match="the steward is not there: queue_item_add may have been done, or not; look before"):
        alice.item_add(BPlan("count"))


def test_two_writes_have_names_of_their_own(gateway: StandIn, alice: Laboratory) -> None:
    gateway.answers["queue_start"] = lambda params: {"success": True, "msg": ""}
    alice.queue_start()
    alice.queue_start()
    assert len({params["request"] for _, params in gateway.requests}) == 2


def test_a_restart_of_the_gateway_between_two_requests_is_not_noticed(gateway: StandIn, alice: Laboratory) -> None:
    gateway.answers["queue_get"] = lambda params: {"success": True, "items": []}
    alice.send_request(method="queue_get")
    gateway.hang_up()
    gateway.listen()
    assert alice.send_request(method="queue_get")["success"]


def test_an_answer_that_nobody_can_bring_any_more_is_said_to_be_lost(gateway: StandIn, alice: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "RESTART_S", 0.3)

    def add(params: dict[str, Any]) -> dict[str, Any]:
        gateway._router.close()
        raise Lose

    gateway.answers["queue_item_add"] = add
    with pytest.raises(NoAnswer, match="may have been done, or not") as caught:
        alice.item_add(BPlan("count"))
    assert isinstance(caught.value.__cause__, AnswerLost)


def test_nobody_at_the_address_is_said_in_words(gateway: StandIn, alice: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "FIRST_S", 0.2)
    gateway.hang_up()
    with pytest.raises(alice.RequestTimeoutError, match="nobody answers there .* Is the laboratory up") as caught:
        alice.whoami()
    assert isinstance(caught.value.__cause__, Unreachable)


# ------------------------------------------------------------------------------------------------------------ keys


def test_a_key_that_is_not_known_is_told_so_at_once(gateway: StandIn) -> None:
    with Laboratory(gateway.address, gateway.key("mallory", is_known=False)) as mallory, \
            pytest.raises(NoAnswer, match="does not let the key of 'mallory' in: it was revoked, or belongs to another laboratory") as caught:
        mallory.whoami()
    assert isinstance(caught.value.__cause__, KeyRefused)


def test_a_key_revoked_while_connected_is_told_so(gateway: StandIn) -> None:
    gateway.answers["lab_whoami"] = lambda params: {"success": True, "name": "alice"}
    with Laboratory(gateway.address, gateway.key()) as alice:
        alice.whoami()
        gateway.known.clear()
        gateway.hang_up()
        gateway.listen()
        with pytest.raises(NoAnswer, match="it was revoked"):
            alice.whoami()


def test_another_laboratory_at_the_address_is_not_spoken_to(gateway: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    monkeypatch.setattr(requests, "FIRST_S", 0.5)
    key = replace(gateway.key(), server_key=new_pair()[0])
    with Laboratory(gateway.address, key) as alice, pytest.raises(NoAnswer, match="it is not the laboratory of this key file"):
        alice.whoami()


def test_connect_takes_key_and_address_from_the_environment(gateway: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_key(tmp_path / "alice.key", gateway.key())
    gateway.answers["lab_whoami"] = lambda params: {"success": True, "name": "alice"}
    monkeypatch.setenv("LAB_KEY", str(tmp_path / "alice.key"))
    monkeypatch.delenv("LAB_ADDRESS", raising=False)
    with connect() as alice:
        assert alice.whoami()["name"] == "alice"
    monkeypatch.setenv("LAB_ADDRESS", "lab.example:60615")
    with connect() as alice:
        assert alice.address == "lab.example:60615"
    with connect(f"tcp://{gateway.address}") as alice:
        assert alice.address == gateway.address


def test_without_a_key_connect_says_where_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAB_KEY", raising=False)
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="key: given none; allowed: the key file that the laboratory has made for you: export LAB_KEY=FILE"):
        connect()


def test_what_json_cannot_say_is_not_sent(gateway: StandIn, alice: Laboratory) -> None:
    with pytest.raises(RemoteError, match="only JSON goes to the laboratory"):
        alice.item_add(BPlan("count", num=float("nan")))
    assert gateway.requests == []


def _losing(n: int, answer: Any) -> Any:
    left = iter(range(n))

    def function(params: dict[str, Any]) -> dict[str, Any]:
        if next(left, None) is not None:
            raise Lose
        found: dict[str, Any] = answer(params)
        return found

    return function


# ------------------------------------------------------------------------------------------------------ the notebook


def test_the_notebook_of_the_examples_is_one_that_programs_can_open() -> None:
    import json

    notebook = json.loads((EXAMPLES / "remote.ipynb").read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert all(set(cell) >= {"cell_type", "id", "metadata", "source"} for cell in notebook["cells"])
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in notebook["cells"] if cell["cell_type"] == "code")


def test_what_the_examples_call_is_there() -> None:
    import ast
    import json

    cells = json.loads((EXAMPLES / "remote.ipynb").read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    for source in [*sources, (EXAMPLES / "remote_first_plan.py").read_text(encoding="utf-8")]:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "lab":
                assert hasattr(Laboratory, node.attr) or node.attr == "key", node.attr
