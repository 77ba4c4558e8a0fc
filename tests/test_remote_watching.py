"""What somebody who watches a laboratory is told, and that neither side's restart loses or repeats anything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from lab.core.errors import RemoteError
from lab.remote.client import Laboratory
from lab.remote.client import documents as documents_module
from lab.remote.client import feed as feed_module
from lab.remote.client.documents import Document
from lab.remote.commands import watching
from lab.remote.commands.live_view import LiveView
from lab.remote.commands.story import Story
from tests.stand_in_gateway import StandIn
from tests.test_remote_queue_commands import row

RUN = "0d1f"
HINTED = {"uid": "d1", "run_start": RUN, "name": "primary", "data_keys": {"a": {"units": "degC", "shape": []}, "b": {"shape": []}}, "hints": {"x": {"fields": ["a"]}}}


def document(n: int, name: str, doc: dict[str, Any], run: str = RUN, **more: Any) -> dict[str, Any]:
    return {"run": run, "n": n, "name": name, "doc": doc, "campaign": "", "item": "i-00001-1f31", "user": "alice", **more}


def run_of(n_events: int, run: str = RUN) -> list[dict[str, Any]]:
    start = {"uid": run, "time": 0.0, "scan_id": 7, "plan_name": "count", "num_points": n_events}
    events = [{"uid": f"e{i}", "descriptor": "d1", "seq_num": i + 1, "time": 1.0 + i, "data": {"a": 20.0 + i, "b": 1}} for i in range(n_events)]
    stop = {"uid": "s", "run_start": run, "exit_status": "success", "reason": "", "num_events": {"primary": n_events}}
    found = [("start", start), ("descriptor", HINTED), *(("event", event) for event in events), ("stop", stop)]
    return [document(n, name, doc, run) for n, (name, doc) in enumerate(found)]


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    for module, names in ((documents_module, ("LOOK_S", "SETTLE_S")), (watching, ("LOOK_S", "SETTLE_S", "NEXT_S"))):
        for name in names:
            monkeypatch.setattr(module, name, 0.03)
    stand_in = StandIn()
    yield stand_in
    stand_in.close()


@pytest.fixture
def alice(gateway: StandIn) -> Iterator[Laboratory]:
    with Laboratory(gateway.address, gateway.key(), status_polling_period=0.02, console_monitor_poll_timeout=0.05, system_info_monitor_poll_timeout=0.05) as laboratory:
        yield laboratory


def item_is(gateway: StandIn, state: str, **more: Any) -> None:
    gateway.answers["lab_item"] = lambda params: {"success": True, "msg": "", "item": row(1, state, **more)}


# ------------------------------------------------------------------------------------------------------- the stream


def test_documents_come_in_order_and_once_although_the_connection_is_cut(gateway: StandIn, alice: Laboratory) -> None:
    item_is(gateway, "running")
    sent = run_of(5)
    came = []
    stream = alice.watch(item="i-00001-1f31")

    def push(some: list[dict[str, Any]]) -> None:
        for one in some:
            gateway.push(b"document", one)

    gateway.on_subscribe = lambda message: push(sent[:4])
    came += [next(stream) for _ in range(4)]
    first = gateway.controls.get(timeout=200)["subscribe"]
    assert first == {"documents": {"item": "i-00001-1f31"}, "have": {}}
    gateway.on_subscribe = lambda message: push(sent[2:])  # two of them again: a gateway that knows no better
    gateway.cut_listeners()
    came += [next(stream) for _ in range(4)]
    assert gateway.controls.get(timeout=200)["subscribe"]["have"] == {RUN: 4}
    item_is(gateway, "completed")
    assert list(stream) == []
    assert [one.n for one in came] == list(range(8)) and [one.name for one in came][-1] == "stop"
    assert came[0] == Document(RUN, 0, "start", sent[0]["doc"], "", "i-00001-1f31", "alice")


def test_a_gateway_that_was_started_again_gets_a_subscription_with_what_is_here(gateway: StandIn, alice: Laboratory) -> None:
    feed = alice.feed({"documents": {"all": True}})
    gateway.on_subscribe = lambda message: gateway.push(b"document", run_of(1)[0])
    assert feed.next(10) is not None
    gateway.controls.get(timeout=200)
    gateway.hang_up()
    gateway.on_subscribe = lambda message: gateway.push(b"document", run_of(1)[1])
    assert feed.next(0.05) is None
    assert "the connection ended; trying again" in feed.trouble or "nobody answers" in feed.trouble
    gateway.listen()
    message = feed.next(10)
    assert message is not None and message.content["n"] == 1 and feed.trouble == ""
    assert gateway.controls.get(timeout=200)["subscribe"]["have"] == {RUN: 1}
    feed.close()


def test_credit_is_granted_as_messages_are_read(gateway: StandIn, alice: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "CREDIT", 4)
    feed = alice.feed({"console": True})
    gateway.on_subscribe = lambda message: [gateway.push(b"console", {"time": i, "msg": "x"}) for i in range(4)]
    assert [feed.next(10) is not None for _ in range(4)] == [True] * 4
    assert gateway.controls.get(timeout=200)["credit"] == 4
    assert [gateway.controls.get(timeout=200) for _ in range(2)] == [{"credit": 2}, {"credit": 2}]
    feed.close()


def test_a_refused_subscription_is_an_error_in_the_gateway_s_words(gateway: StandIn, alice: Laboratory) -> None:
    gateway.on_subscribe = lambda message: gateway.push(b"end", {"success": False, "msg": "documents: your key's role is observer, which sees none"})
    feed = alice.feed({"documents": {"all": True}})
    with pytest.raises(RemoteError, match="your key's role is observer"):
        feed.next(10)
    feed.close()


def test_a_forgotten_subscriber_subscribes_again(gateway: StandIn, alice: Laboratory) -> None:
    pushed = iter([(b"end", {"success": False, "msg": "nothing was heard of you for 60 s; subscribe again, with what you have"}), (b"console", {"time": 0, "msg": "x"})])
    gateway.on_subscribe = lambda message: gateway.push(*next(pushed))
    feed = alice.feed({"console": True})
    message = feed.next(10)
    assert message is not None and message.content["msg"] == "x"
    feed.close()


def test_the_official_monitors_listen_to_the_stream(gateway: StandIn, alice: Laboratory) -> None:
    def tell(message: dict[str, Any]) -> None:
        if message["subscribe"].get("console"):
            gateway.push(b"console", {"time": 1.0, "msg": "hello\n"})
        else:
            gateway.push(b"status", {"time": 1.0, "msg": {"status": {"manager_state": "idle"}}})

    gateway.on_subscribe = tell
    alice.console_monitor.enable()
    assert alice.console_monitor.next_msg(timeout=200)["msg"] == "hello\n"
    assert alice.console_monitor.text() == "hello"
    alice.console_monitor.disable_wait(timeout=200)
    alice.system_info_monitor.enable()
    assert alice.system_info_monitor.next_msg(timeout=200)["msg"]["status"]["manager_state"] == "idle"
    alice.system_info_monitor.disable_wait(timeout=200)


# --------------------------------------------------------------------------------------------------------- the story


def lines(story: Story, contents: list[dict[str, Any]]) -> list[str]:
    return [happening.line for content in contents for happening in story.take(Document.of(content)) if happening.line]


def test_a_run_is_told_with_the_fields_that_its_devices_hint_at() -> None:
    assert lines(Story(), run_of(2)) == [
        "run 7 begins of alice: count", "run 7  primary 1: a 20 degC", "run 7  primary 2: a 21 degC", "run 7 ends: success, 2 events"]


def test_a_sample_is_told_as_its_trial() -> None:
    story = Story()
    start = document(0, "start", {"uid": RUN, "trial": 2, "planned": {"cs": 0.25, "solvent": "DMF"}}, campaign="film-1")
    assert lines(story, [start]) == ["trial 3 begins of alice: cs 0.25  solvent DMF"]


def test_texts_of_instruments_cannot_give_orders_to_the_terminal() -> None:
    story = Story()
    lines(story, run_of(0)[:2])
    event = document(2, "event", {"descriptor": "d1", "seq_num": 1, "data": {"a": "\x1b[2J"}})
    assert lines(story, [event]) == ["run 7  primary 1: a \\x1b[2J degC"]


def summary(status: str = "running", *trials: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"campaign": "film-1", "name": "film", "status": status, "cause": "", "table": list(trials), "questions": [], "best": None,
            "trials": {"completed": len(trials), "failed": 0, "abandoned": 0}, **more}


TRIAL = {"trial": 1, "state": "completed", "planned": {"cs": 0.2}, "executed": {"cs": 0.21}, "outcomes": {"purity": {"mean": 0.9, "sem": 0.01}}, "cause": "", "origin": "sobol"}


def test_each_result_is_told_once() -> None:
    story = Story()
    told = [happening.line for _ in range(2) for happening in story.take_campaign(summary("running", TRIAL, best=TRIAL))]
    assert told == ["trial 1 completed: cs 0.21  ->  purity 0.9 ± 0.01   best purity 0.9 ± 0.01 (trial 1)", "campaign film-1 is running"]


def test_an_open_question_is_told_with_what_to_type() -> None:
    question = {"id": 3, "state": "open", "sample": "s001", "error": "arm: slipped", "choices": {"retry": "again", "skip": "leave it"}}
    told = [happening.line for happening in Story().take_campaign(summary(questions=[question]))]
    assert told[0] == "? s001: arm: slipped: lab queue answer 3 retry|skip"


def test_the_live_picture_has_progress_results_and_readings() -> None:
    story = Story()
    lines(story, run_of(4)[:4])
    list(story.take_item(row(1, "running", name="campaign", parameters={"config": {"name": "film", "budget": {"trials": 5}}})))
    list(story.take_campaign(summary("running", TRIAL, best=TRIAL)))
    list(story.take_trouble("the connection ended"))
    console = Console(width=120, record=True, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115  closed with the console
    console.print(LiveView(story))
    text = console.export_text()
    for words in ("i-00001-1f31", "film", "1/5", "2/4", "best  purity 0.9 ± 0.01", "a 21 degC", "! the connection ended"):
        assert words in text


# ------------------------------------------------------------------------------------------------------ lab queue watch


def test_without_a_terminal_watch_writes_lines_and_ends_with_the_item(gateway: StandIn, alice: Laboratory, capsys: pytest.CaptureFixture[str]) -> None:
    whys = iter(["", "stopped by oscar", "stopped by oscar"])
    gateway.answers["lab_status"] = lambda params: {"success": True, "msg": "", "queue": {"why": next(whys)}}
    states = iter(["queued", "queued", "queued", "running"])
    gateway.answers["lab_item"] = lambda params: {"success": True, "msg": "", "item": row(1, next(states, "completed"))}
    gateway.on_subscribe = lambda message: [gateway.push(b"document", one) for one in run_of(1)]
    assert watching.watch(alice, "i-00001-1f31", as_json=False) == 0
    told = [line.split("  ", 1)[1] for line in capsys.readouterr().out.splitlines()]
    assert [line for line in told if line.startswith("the queue")] == ["the queue stands: stopped by oscar"]
    assert [line for line in told if line.startswith("i-")] == [f"i-00001-1f31 (count of alice) is {state}" for state in ("queued", "running", "completed")]
    assert [line for line in told if line.startswith("run")] == ["run 7 begins of alice: count", "run 7  primary 1: a 20 degC", "run 7 ends: success, 1 events"]


def test_with_json_watch_writes_an_object_for_each_thing(gateway: StandIn, alice: Laboratory, capsys: pytest.CaptureFixture[str]) -> None:
    item_is(gateway, "failed", cause="hotplate_a: offline")
    gateway.on_subscribe = lambda message: [gateway.push(b"document", one) for one in run_of(1)]
    assert watching.watch(alice, "i-00001-1f31", as_json=True) == 1
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["document"]["name"] for one in told if "document" in one] == ["start", "descriptor", "event", "stop"]
    assert [one["item"]["cause"] for one in told if "item" in one] == ["hotplate_a: offline"]


def test_watch_goes_on_while_a_service_behind_the_gateway_is_away(gateway: StandIn, alice: Laboratory, capsys: pytest.CaptureFixture[str]) -> None:
    replies = iter([{"success": True, "msg": "", "item": row(1, "running")}, {"success": False, "msg": "the steward does not answer"}])
    gateway.answers["lab_item"] = lambda params: next(replies, {"success": True, "msg": "", "item": row(1, "completed")})
    assert watching.watch(alice, "i-00001-1f31", as_json=False) == 0
    told = [line.split("  ", 1)[1] for line in capsys.readouterr().out.splitlines()]
    assert told[1:3] == ["! the steward does not answer", "i-00001-1f31 (count of alice) is completed"] or told[2] == "connected again"


def test_watch_of_an_item_that_is_not_there_says_so(gateway: StandIn, alice: Laboratory) -> None:
    gateway.answers["lab_item"] = lambda params: {"success": False, "msg": "item i-00009-aaaa: is not in the ledger"}
    with pytest.raises(RemoteError, match="is not in the ledger"):
        watching.watch(alice, "i-00009-aaaa", as_json=False)
