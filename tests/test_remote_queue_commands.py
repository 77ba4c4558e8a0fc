"""``lab queue ...``, against a gateway's door whose answers are those of the steward."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.core.errors import ConfigError, RemoteError
from lab.remote.access.key_files import save_key
from lab.remote.client import connect
from lab.remote.commands.arguments import in_words, parameters
from lab.remote.commands.queue_commands import app
from tests.stand_in_gateway import StandIn

Said = Callable[..., tuple[int, str, str]]

EXAMPLE = Path(__file__).parent.parent / "examples" / "perovskite.yaml"


def row(number: int, state: str = "queued", **more: Any) -> dict[str, Any]:
    return {"number": number, "id": f"i-{number:05d}-1f3{number}", "uid": f"u{number}", "kind": "plan", "name": "count",
            "parameters": {"detectors": ["hotplate_a"], "num": 3}, "digest": "d" * 64, "user": "alice", "role": "scientist", "state": state, "cause": "",
            "estimate_s": 90.0, "campaign": "", "runs": [], "approved_by": "", "approved_wall": None, "parent": "", "decided": "",
            "decided_by": "", "decided_wall": None, "submitted_wall": "2026-11-22T10:00:00.000000Z",
            "began_wall": None, "ended_wall": None, **more}


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    stand_in = StandIn()
    save_key(tmp_path / "alice.key", stand_in.key())
    monkeypatch.setenv("LAB_KEY", str(tmp_path / "alice.key"))
    monkeypatch.delenv("LAB_ADDRESS", raising=False)
    monkeypatch.chdir(tmp_path)
    yield stand_in
    stand_in.close()


@pytest.fixture
def queue(gateway: StandIn, capfd: pytest.CaptureFixture[str]) -> Said:
    """Runs the command in this process: exit status, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            app(list(arguments))
        return int(str(ended.value.code)), *capfd.readouterr()

    return run


def answers(**given: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda params: {"success": True, "msg": "", **given}


def has(gateway: StandIn, *rows: dict[str, Any]) -> None:
    """The laboratory's ledger has these items, and its queue runs."""
    stands(gateway, "")

    def items(params: dict[str, Any]) -> dict[str, Any]:
        return {"success": True, "msg": "", "items": [row for row in rows if not params.get("states") or row["state"] in params["states"]]}

    gateway.answers["lab_items"] = items
    gateway.answers["lab_item"] = lambda params: {"success": True, "msg": "", "item": next(row for row in rows if row["id"] == params["item"])}


def stands(gateway: StandIn, why: str, **more: Any) -> None:
    """The queue stands for this reason; empty: it runs."""
    gateway.answers["lab_status"] = answers(**{"queue": {"is_on": not why, "why": why, "n_queued": 2}, "running": [], "waiting": [], "interrupted": [], **more})


# ---------------------------------------------------------------------------------------------------------- to look


def test_status_says_whom_the_laboratory_takes_one_for_and_what_the_worker_does(gateway: StandIn, queue: Said) -> None:
    gateway.answers["lab_whoami"] = answers(name="alice", role="scientist", lab="demo", version="0.3.0")
    gateway.answers["status"] = answers(manager_state="idle", items_in_queue=2, worker_environment_exists=True, queue_autostart_enabled=True)
    stands(gateway, "")
    status, out, _ = queue("status")
    assert status == 0
    assert out.splitlines() == ["you are alice, scientist, at the laboratory demo", "worker   ready   idle", "queue    2 queued; runs by itself"]


def test_status_says_why_the_queue_stands_and_what_somebody_has_to_decide(gateway: StandIn, queue: Said) -> None:
    gateway.answers["lab_whoami"] = answers(name="alice", role="scientist", lab="demo", version="0.3.0")
    gateway.answers["status"] = answers(manager_state="idle", worker_environment_exists=True)
    stands(gateway, "item i-00001-1f31 of alice (count) failed: it is off; lab queue start goes on with the others",
           waiting=[row(4, "waiting") | {"next": "lab queue approve i-00004-1f34"}])
    _, out, _ = queue("status")
    assert out.splitlines()[2:] == ["queue    2 queued; it stands: item i-00001-1f31 of alice (count) failed: it is off; lab queue start goes on with the others",
                                    "waiting  i-00004-1f34 count of alice: lab queue approve i-00004-1f34"]


def test_list_says_why_nothing_begins(gateway: StandIn, queue: Said) -> None:
    has(gateway, row(1))
    stands(gateway, "the laboratory is controlled by root (console)")
    _, out, _ = queue("list")
    assert out.splitlines()[0] == "the queue stands: the laboratory is controlled by root (console)"


@pytest.mark.parametrize("words", [("remove", "1"), ("move", "1", "front")])
def test_what_has_ended_is_named_as_the_person_named_it(gateway: StandIn, queue: Said, words: tuple[str, ...]) -> None:
    has(gateway, row(1, "completed"))
    status, _, err = queue(*words)
    assert status == 2
    assert "ITEM: given i-00001-1f31, which is completed; allowed: an item that is queued" in err


def test_abort_of_nothing_says_that_nothing_was_running(gateway: StandIn, queue: Said) -> None:
    has(gateway)
    gateway.answers["status"] = answers(manager_state="idle")
    status, out, _ = queue("abort")
    assert (status, out) == (0, "no item was running: nothing runs\n")


def test_list_shows_what_runs_what_is_next_and_what_waits_for_people(gateway: StandIn, queue: Said) -> None:
    has(gateway, row(1, "running"), row(3), row(2), row(4, "waiting"), row(5, "interrupted", cause="the worker died"))
    status, out, _ = queue("list")
    assert status == 0
    lines = out.splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [["i-00001-1f31", "count"], ["1", "i-00003-1f33"], ["2", "i-00002-1f32"]]
    assert "about 1 min 30 s" in lines[1] and 'detectors=["hotplate_a"] num=3' in lines[1]
    assert "lab queue approve i-00004-1f34" in out and "lab queue retry i-00005-1f35" in out


@pytest.mark.parametrize("rows", [(), (row(5, "interrupted", decided="dismissed", decided_by="oscar"),)])
def test_list_of_an_empty_queue_says_so_also_when_what_was_interrupted_has_been_decided_upon(
        gateway: StandIn, queue: Said, rows: tuple[dict[str, Any], ...]) -> None:
    has(gateway, *rows)
    assert queue("list")[1].startswith("the queue is empty; add to it with")


def test_list_as_json_is_what_the_ledger_has(gateway: StandIn, queue: Said) -> None:
    has(gateway, row(1))
    status, out, _ = queue("list", "--json")
    assert status == 0 and json.loads(out) == [row(1)]


def test_history_says_how_it_ended_and_what_was_decided(gateway: StandIn, queue: Said) -> None:
    has(gateway, row(1, "failed", cause="hotplate_a: offline", began_wall="2026-11-22T10:00:00.000000Z", ended_wall="2026-11-22T10:01:30.000000Z",
                     decided="retried as i-00002-aaaa", decided_by="bob"))
    status, out, _ = queue("history", "--last", "5")
    assert status == 0
    assert "1 min 30 s" in out and "hotplate_a: offline (retried as i-00002-aaaa by bob)" in out
    assert gateway.requests[-1][1]["limit"] == 5


def test_plans_show_types_units_limits_defaults_and_meaning(gateway: StandIn, queue: Said) -> None:
    gateway.answers["status"] = answers(plans_allowed_uid="1")
    gateway.answers["plans_allowed"] = answers(plans_allowed_uid="1", plans_allowed={"count": {
        "name": "count", "description": "Read detectors.\nMore.", "parameters": [
            {"name": "delay_s", "kind": {"value": 3}, "description": "between two readings", "annotation": {"type": "float"}, "default": "0", "min": "0", "max": "86400", "unit": "s"},
            {"name": "detectors", "kind": {"value": 3}, "description": "what is read", "annotation": {"type": "typing.List[Devices]", "devices": {"Devices": ["hotplate_a", "pump"]}}}]}})
    status, out, _ = queue("plans")
    assert status == 0
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["count", "Read", "detectors."]
    assert lines[2] == ["delay_s", "number", "s", "0", "86400", "0", "between", "two", "readings"]
    assert lines[3] == ["detectors", "list", "(needed)", "what", "is", "read:", "hotplate_a,", "pump"]
    assert queue("plans", "scan")[0] == 2


def test_texts_of_others_cannot_give_orders_to_the_terminal(gateway: StandIn, queue: Said) -> None:
    has(gateway, row(1, user="mallory\x1b[2J", parameters={"a": "\x1b]0;x\x07"}))
    _, out, _ = queue("list")
    assert "\x1b" not in out and "\x07" not in out and "mallory\\x1b[2J" in out


# ------------------------------------------------------------------------------------------------------------ to ask


def test_add_sends_json_and_says_the_item_and_how_long_it_takes(gateway: StandIn, queue: Said) -> None:
    gateway.answers["queue_item_add"] = answers(qsize=1, item={}, lab={"item": "i-00001-1f31", "estimate_s": 9.0, "state": "queued"})
    status, out, _ = queue("add", "count", "detectors=[hotplate_a]", "num=3", "--front")
    assert (status, out) == (0, "queued count as i-00001-1f31, takes about 9.0 s of laboratory time: lab queue watch i-00001-1f31\n")
    ((_, params),) = gateway.requests
    assert params["item"] == {"item_type": "plan", "name": "count", "kwargs": {"detectors": ["hotplate_a"], "num": 3}} and params["pos"] == "front"


def test_an_item_that_waits_says_who_has_to_approve_it(gateway: StandIn, queue: Said) -> None:
    gateway.answers["queue_item_add"] = answers(lab={"item": "i-00001-1f31", "estimate_s": None, "state": "waiting"})
    assert queue("add", "count", '{"num": 3}')[1] == "count waits for an operator's word as i-00001-1f31: lab queue approve i-00001-1f31\n"


def test_a_refusal_says_field_given_and_allowed_and_exits_with_2(gateway: StandIn, queue: Said) -> None:
    problems = [{"field": "num", "given": "-1", "allowed": "1 to 10000"}, {"field": "colour", "given": "'red'", "allowed": "detectors, num, delay_s"}]
    gateway.answers["queue_item_add"] = lambda params: {"success": False, "msg": "count: num: given -1; allowed: 1 to 10000", "problems": problems}
    status, out, err = queue("add", "count", "num=-1", "colour=red")
    assert (status, out) == (2, "")
    assert err.splitlines() == ["count: num: given -1; allowed: 1 to 10000", "colour: given 'red'; allowed: detectors, num, delay_s"]


def test_a_refusal_that_is_about_something_else_exits_with_1(gateway: StandIn, queue: Said) -> None:
    gateway.answers["queue_start"] = lambda params: {"success": False, "msg": "queue_start: your key's role is scientist; allowed: operator and above"}
    assert queue("start") == (1, "", "lab: queue_start: your key's role is scientist; allowed: operator and above\n")


def test_submit_sends_the_fields_of_the_file_without_the_laboratory(gateway: StandIn, queue: Said) -> None:
    gateway.answers["lab_campaign_submit"] = answers(lab={"item": "i-00001-1f31", "estimate_s": 3600.0, "state": "queued"})
    status, out, _ = queue("submit", str(EXAMPLE), "--set", "budget.trials=4")
    assert status == 0 and out.startswith("queued perovskite as i-00001-1f31, takes about 1 h 00 min of laboratory time")
    config = gateway.requests[0][1]["config"]
    assert "lab" not in config and config["budget"]["trials"] == 4 and "recovery" not in config


def test_a_campaign_file_with_mistakes_is_not_sent(gateway: StandIn, queue: Said) -> None:
    status, _, err = queue("submit", str(EXAMPLE), "--set", "budget.trials=none")
    assert status == 2 and "budget.trials" in err and gateway.requests == []


def test_move_and_remove_name_the_item_by_a_part_of_its_id(gateway: StandIn, queue: Said) -> None:
    has(gateway, row(1), row(12))
    gateway.answers["queue_item_move"] = gateway.answers["queue_item_remove"] = answers()
    assert queue("move", "1f312", "1")[1] == "i-00012-1f312 stands at 1\n"
    assert gateway.requests[-1][1] | {"request": ""} == {"uid": "u12", "pos_dest": 0, "request": ""}
    assert queue("remove", "i-00001-1f31")[1] == "i-00001-1f31 is removed\n"
    assert queue("remove", "12")[1] == "i-00012-1f312 is removed\n"
    status, _, err = queue("remove", "1f")
    assert status == 2 and "an item: lab queue list, lab queue history" in err


def test_last_is_the_newest_item_of_one_s_own(gateway: StandIn, queue: Said) -> None:
    has(gateway, row(12))
    gateway.answers |= {"lab_whoami": answers(name="alice", role="scientist", lab="demo", version="0.3.0"), "queue_item_remove": answers()}
    assert queue("remove", "last")[1] == "i-00012-1f312 is removed\n"
    assert next(params for method, params in gateway.requests if method == "lab_items") == {"user": "alice", "limit": 1}


def test_approve_shows_the_parameters_and_is_bound_to_their_digest(gateway: StandIn, queue: Said) -> None:
    has(gateway, row(4, "waiting"))
    gateway.answers["lab_approve"] = answers()
    status, out, _ = queue("approve", "i-00004-1f34")
    assert status == 0 and "num: 3" in out and out.endswith("i-00004-1f34 is approved, and queued\n")
    assert gateway.requests[-1][1]["digest"] == "d" * 64


def test_budget_takes_numbers_only(gateway: StandIn, queue: Said) -> None:
    gateway.answers["lab_campaign_budget"] = answers()
    assert queue("budget", "perovskite", "trials=40", "hours=8.5")[0] == 0
    assert gateway.requests[0][1] | {"request": ""} == {"campaign": "perovskite", "trials": 40, "hours": 8.5, "request": ""}
    assert queue("budget", "perovskite", "trials=many")[0] == 2
    assert queue("budget", "perovskite", "films=3")[0] == 2


def test_people_in_the_loop_have_the_same_words_far_away(gateway: StandIn, queue: Said) -> None:
    for name in ("change", "attach", "veto", "edit"):
        gateway.answers[f"lab_campaign_{name}"] = answers(trial=7)
    for words in (("change", "film", "cs=[0,0.5]", "minimize=peak_width"), ("attach", "film", "cs=0.2", "--measured", "purity=0.9+-0.1"),
                  ("veto", "film", "3", "--why", "no glass"), ("edit", "film", "3", "cs=0.1")):
        assert queue(*words)[0] == 0
    assert [{name: value for name, value in params.items() if name != "request"} for _, params in gateway.requests] == [
        {"campaign": "film", "changes": {"cs": [0, 0.5], "minimize": "peak_width"}},
        {"campaign": "film", "values": {"cs": 0.2}, "measured": {"purity": {"mean": 0.9, "sem": 0.1}}},
        {"campaign": "film", "trial": 3, "why": "no glass"}, {"campaign": "film", "trial": 3, "values": {"cs": 0.1}}]


def test_abort_pauses_first_where_a_plan_runs(gateway: StandIn, queue: Said) -> None:
    has(gateway, row(1, "running"))
    state = {"manager_state": "executing_queue"}

    def pause(params: dict[str, Any]) -> dict[str, Any]:
        state["manager_state"] = "paused"
        return {"success": True, "msg": ""}

    gateway.answers |= {"status": lambda params: dict(state), "re_pause": pause, "re_abort": answers()}
    assert queue("abort") == (0, "aborted\n", "")
    assert dict(gateway.requests)["re_pause"]["option"] == "immediate"


def test_pause_with_a_campaign_asks_the_campaign(gateway: StandIn, queue: Said) -> None:
    gateway.answers["lab_campaign_pause"] = answers()
    assert queue("pause", "perovskite")[0] == 0
    assert gateway.requests[0][1]["campaign"] == "perovskite"


# ------------------------------------------------------------------------------------------------- what people type


@pytest.mark.parametrize(("words", "found"), [
    (["num=3", "delay_s=0.5", "is_fast=true"], {"num": 3, "delay_s": 0.5, "is_fast": True}),
    (['{"num": 3}', "detectors=[a, b]"], {"num": 3, "detectors": ["a", "b"]}),
    (['detectors=["a"]', "name=film=3"], {"detectors": ["a"], "name": "film=3"}),
    (["fractions.cs=0.2", "fractions.fa=0.8"], {"fractions": {"cs": 0.2, "fa": 0.8}}),
    (["positioner=no"], {"positioner": "no"}),
])
def test_parameters_are_json_or_names_with_values(words: list[str], found: dict[str, Any]) -> None:
    assert parameters(words) == found


@pytest.mark.parametrize("words", [["num"], ["=3"], ["{num: 3}"], ["num=1", "num=2"], ["a=1", "a.b=2"], ["num-x=3"]])
def test_what_is_no_parameter_is_refused(words: list[str]) -> None:
    with pytest.raises(ConfigError, match="given .*; allowed: "):
        parameters(words)


def test_parameters_are_shown_as_they_can_be_typed() -> None:
    given = {"detectors": ["a", "b"], "num": 3, "name": "x y"}
    assert in_words(given) == 'detectors=["a","b"] num=3 name="x y"'


# ---------------------------------------------------------------------------------------------------------- the data


def test_data_comes_in_pieces_and_is_checked_as_a_whole(gateway: StandIn, queue: Said, tmp_path: Path) -> None:
    import base64
    import hashlib

    content = b"trial,state\n1,completed\n" * 10

    def data(params: dict[str, Any]) -> dict[str, Any]:
        piece = content[params["offset"]:params["offset"] + 100]
        return {"success": True, "msg": "", "data": base64.b64encode(piece).decode(), "total": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    gateway.answers["lab_data"] = data
    gateway.answers["lab_campaign"] = answers(campaign={"campaign": "perovskite-1"})
    assert queue("data", "perovskite") == (0, f"wrote perovskite-1.csv ({len(content)} bytes)\n", "")
    assert (tmp_path / "perovskite-1.csv").read_bytes() == content
    assert queue("data", "perovskite", "--format", "xls")[0] == 2


# ------------------------------------------------------------------------------------------ campaigns yet to begin


def test_a_program_waits_until_its_campaign_has_begun(gateway: StandIn) -> None:
    rows = [row(1), row(1, "running"), row(1, "running", campaign="film-1")]
    gateway.answers["lab_item"] = lambda params: {"success": True, "msg": "", "item": rows.pop(0)}
    with connect() as lab:
        assert lab.begun("i-00001-1f31", deadline_s=30.0) == "film-1"


def test_a_program_is_told_why_its_campaign_has_not_begun_in_time(gateway: StandIn) -> None:
    has(gateway, row(1))
    stands(gateway, "stopped by oscar; lab queue start goes on")
    with connect() as lab, pytest.raises(TimeoutError, match="it is queued: stopped by oscar"):
        lab.begun("i-00001-1f31", deadline_s=0.0)


def test_a_program_is_told_that_its_campaign_will_never_begin(gateway: StandIn) -> None:
    has(gateway, row(1, "rejected", cause="too early"))
    with connect() as lab, pytest.raises(RemoteError, match="is rejected, and has begun no campaign: too early"):
        lab.begun("i-00001-1f31", deadline_s=30.0)


def test_the_tables_of_a_campaign_go_with_it(tmp_path: Path) -> None:
    from lab.remote.client.asking import _config

    (tmp_path / "pool.csv").write_text("cs,fa\n0.1,0.9\n0.3,0.7\n")
    (tmp_path / "pool.yaml").write_text("""
name: pool
recipe: thin_film
parameters: [{name: cs, type: range, bounds: [0, 1]}, {name: fa, type: range, bounds: [0, 1]}]
candidates: {file: pool.csv}
objectives: [{name: perovskite_fraction, goal: maximize}]
budget: {trials: 2}
optimizer: {engine: botorch}
""")
    sent = _config(tmp_path / "pool.yaml", ["budget.trials=1"])
    assert sent["candidates"]["rows"] == [[0.1, 0.9], [0.3, 0.7]] and sent["budget"]["trials"] == 1
