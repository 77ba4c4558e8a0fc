"""What the steward answers, with a real RE Manager behind it: items added, changed, moved, removed, approved, run, decided upon."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lab.lease import Lease
from tests.queue_agreement import disagreements
from tests.queue_laboratory import ADA, ALICE, BOB, OSCAR, QueueLaboratory

pytestmark = pytest.mark.timeout(600)  # real processes, also on a busy machine


@pytest.fixture(scope="module")
def services() -> Iterator[QueueLaboratory]:
    with QueueLaboratory({"approval": ["admin"], "approval_names": ["Robot"]}) as laboratory:
        laboratory.start().until_ready()
        yield laboratory


@pytest.fixture
def lab(services: QueueLaboratory) -> Iterator[QueueLaboratory]:
    """A queue that stands, and is empty."""
    services.ask(OSCAR, "queue_autostart", enable=False)
    yield services
    services.ask(OSCAR, "queue_clear")
    services.until_idle()
    assert disagreements(services) == []


def plan(number: int, name: str = "work", **more: Any) -> dict[str, Any]:
    return {"item_type": "plan", "name": name, "kwargs": {"number": number, **more}}


def queue(lab: QueueLaboratory) -> list[int]:
    """What the RE Manager has, in its order; the ledger has it in the same."""
    there = [entry["kwargs"]["number"] for entry in lab.manager("queue_get")["items"]]
    assert there == [item.parameters["number"] for item in lab.ledger.items(("queued",))]
    return there


def test_the_answer_to_an_item_is_the_re_managers_with_ours_beside_it(lab: QueueLaboratory) -> None:
    answer = lab.ask(ALICE, "queue_item_add", item={**plan(1, seconds=2.5), "meta": {"purpose": "calibration"}})
    assert (answer["success"], answer["qsize"], answer["lab"]["estimate_s"], answer["lab"]["state"]) == (True, 1, 2.5, "queued")
    entry = lab.manager("queue_get")["items"][0]
    assert entry["item_uid"] == answer["item"]["item_uid"] and (entry["user"], entry["user_group"]) == ALICE
    assert entry["meta"] == {"purpose": "calibration", "item": answer["lab"]["item"], "user": "alice", "digest": answer["lab"]["digest"]}


def test_parameters_may_be_given_by_position(lab: QueueLaboratory) -> None:
    lab.ask(ALICE, "queue_item_add", item={"item_type": "plan", "name": "work", "args": [2, 0.5]})
    assert lab.ledger.items(("queued",))[0].parameters == {"number": 2, "seconds": 0.5}


@pytest.mark.parametrize(("item", "field"), [
    (plan(1, "rm -rf"), "name"), ({**plan(1), "item_type": "function"}, "item.item_type"), ("work", "item"), ({**plan(1), "meta": {"user": "bob"}}, "item.meta.'user'"),
    ({**plan(1), "meta": {"__class__": []}}, "item.meta.'__class__'"), ({**plan(1), "meta": {"note": "\x1b]0;gone\x07"}}, "item.meta.'note'"), ({"item_type": "instruction", "name": "queue_stop"}, "item.name")])
def test_what_is_refused_says_field_given_and_allowed_and_enters_nothing(lab: QueueLaboratory, item: Any, field: str) -> None:
    answer = lab.ask(ALICE, "queue_item_add", item=item)
    assert not answer["success"] and answer["problems"][0]["field"] == field and answer["problems"][0]["allowed"]
    assert lab.ledger.items(("queued",)) == []


def test_one_name_has_so_many_items_in_the_queue(services: QueueLaboratory, lab: QueueLaboratory) -> None:
    answer = lab.ask(ALICE, "queue_item_add_batch", items=[plan(n) for n in range(300)])
    assert answer["success"]
    answer = lab.ask(ALICE, "queue_item_add_batch", items=[plan(n) for n in range(201)])
    assert answer["msg"].startswith("queue: items: given 501; allowed: 500 items of yours at one time") and len(queue(lab)) == 300
    assert lab.ask(BOB, "queue_item_add", item=plan(1))["success"]


def test_a_batch_is_queued_as_a_whole_or_not_at_all(lab: QueueLaboratory) -> None:
    answer = lab.ask(ALICE, "queue_item_add_batch", items=[plan(1), plan(2, "nothing"), plan("three")])  # type: ignore[arg-type]
    assert [result["success"] for result in answer["results"]] == [True, False, False] and queue(lab) == []
    assert [problem["field"] for problem in answer["problems"]] == ["items.1.name", "items.2.number"]
    answer = lab.ask(ALICE, "queue_item_add_batch", items=[plan(1), plan(2)])
    assert answer["success"] and queue(lab) == [1, 2] and [ours["state"] for ours in answer["labs"]] == ["queued", "queued"]


@pytest.mark.parametrize(("where", "expected"), [
    ({"pos": "front"}, [9, 1, 2, 3]), ({"pos": 1}, [1, 9, 2, 3]), ({"pos": -1}, [1, 2, 3, 9]), ({"pos": -2}, [1, 2, 9, 3]), ({"pos": 100}, [1, 2, 3, 9]),
    ({"pos": -100}, [9, 1, 2, 3]), ({"before_uid": 1}, [1, 9, 2, 3]), ({"after_uid": 1}, [1, 2, 9, 3])])
def test_items_go_where_they_are_told_to(lab: QueueLaboratory, where: dict[str, Any], expected: list[int]) -> None:
    lab.ask(OSCAR, "queue_item_add_batch", items=[plan(n) for n in (1, 2, 3)])
    uids = [entry["item_uid"] for entry in lab.manager("queue_get")["items"]]
    lab.add(OSCAR, "work", 9, **{key: uids[value] if key != "pos" else value for key, value in where.items()})
    assert queue(lab) == expected


def test_a_scientist_passes_nobody(lab: QueueLaboratory) -> None:
    bobs = lab.add(BOB, "work", 1)
    answer = lab.ask(ALICE, "queue_item_add", item=plan(2), pos="front")
    assert not answer["success"] and f"a place behind {bobs} of bob" in answer["msg"]
    lab.add(ALICE, "work", 3)
    lab.add(ALICE, "work", 4, pos=1)
    assert queue(lab) == [1, 4, 3]


def test_scientists_change_and_remove_their_own_items_only(lab: QueueLaboratory) -> None:
    bobs = lab.ask(BOB, "queue_item_add", item=plan(1))["item"]["item_uid"]
    for method, params in (("queue_item_remove", {"uid": bobs}), ("queue_item_update", {"item": {**plan(2), "item_uid": bobs}}),
                           ("queue_item_move", {"uid": bobs, "pos_dest": "front"}), ("queue_item_remove_batch", {"uids": [bobs]})):
        assert "your own items; this one is bob's" in lab.ask(ALICE, method, **params)["msg"]
    assert lab.ask(OSCAR, "queue_item_remove", uid=bobs)["success"] and queue(lab) == []
    assert lab.ledger.items(("removed",))[-1].cause == "removed by oscar"


def test_an_item_that_is_changed_keeps_its_place_and_is_checked_again(lab: QueueLaboratory) -> None:
    items = [lab.add(ALICE, "work", number) for number in (1, 2, 3)]
    uid = lab.ledger.item(items[1]).uid
    assert not lab.ask(ALICE, "queue_item_update", item={**plan("two"), "item_uid": uid})["success"]  # type: ignore[arg-type]
    answer = lab.ask(ALICE, "queue_item_update", item={**plan(22), "item_uid": uid})
    assert answer["success"] and answer["lab"]["item"] == items[1] and queue(lab) == [1, 22, 3]


def test_items_are_moved_one_by_one_and_together(lab: QueueLaboratory) -> None:
    uids = [lab.ledger.item(lab.add(ALICE, "work", number)).uid for number in (1, 2, 3, 4)]
    assert lab.ask(ALICE, "queue_item_move", pos="back", pos_dest="front")["success"] and queue(lab) == [4, 1, 2, 3]
    assert lab.ask(ALICE, "queue_item_move_batch", uids=[uids[2], uids[0]], after_uid=uids[1])["success"] and queue(lab) == [4, 2, 3, 1]
    assert "an item that is not moved itself" in lab.ask(ALICE, "queue_item_move", uid=uids[0], before_uid=uids[0])["msg"]


def test_items_are_removed_together(lab: QueueLaboratory) -> None:
    uids = [lab.ledger.item(lab.add(ALICE, "work", number)).uid for number in (1, 2, 3)]
    assert not lab.ask(ALICE, "queue_item_remove_batch", uids=[uids[0], "nobody's"], ignore_missing=False)["success"]
    assert lab.ask(ALICE, "queue_item_remove_batch", uids=[uids[0], "nobody's", uids[2]])["success"] and queue(lab) == [2]


def test_what_needs_an_operators_word_is_in_nobodys_queue_before_it_has_it(lab: QueueLaboratory) -> None:
    answer = lab.ask(ADA, "queue_item_add", item=plan(1))
    item = answer["lab"]["item"]
    assert answer["lab"]["state"] == "waiting" and f"lab queue approve {item}" in answer["msg"] and queue(lab) == []
    assert [waiting["id"] for waiting in lab.status()["waiting"]] == [item]
    assert "it was changed since" in lab.ask(OSCAR, "lab_approve", item=item, digest="0" * 64)["msg"]
    assert lab.ask(OSCAR, "lab_approve", item=item, digest=answer["lab"]["digest"])["success"] and queue(lab) == [1]
    changed = lab.ask(ADA, "queue_item_update", item={**plan(2), "item_uid": lab.ledger.item(item).uid})
    assert changed["lab"]["state"] == "waiting" and queue(lab) == []
    assert lab.ask(OSCAR, "lab_reject", item=item, why="too \x1b[31mhot")["problems"][0]["field"] == "why"
    assert lab.ask(OSCAR, "lab_reject", item=item, why="too hot")["item"]["cause"] == "rejected by oscar: too hot"


def test_a_name_whose_items_wait_for_a_word_is_the_same_in_upper_and_lower_case(lab: QueueLaboratory) -> None:
    asked = [lab.ask((name, "scientist"), "queue_item_add", item=plan(number))["lab"]["state"] for number, name in enumerate(("robot", "ROBOT", "robot2", "alice"))]
    assert asked == ["waiting", "waiting", "queued", "queued"] and queue(lab) == [2, 3]
    for item in lab.ledger.items(("waiting",)):
        lab.ask(OSCAR, "lab_reject", item=item.id, why="seen enough")


def test_what_waits_for_a_word_can_be_taken_back(lab: QueueLaboratory) -> None:
    item = lab.ask(ADA, "queue_item_add", item=plan(1))["item"]["item_uid"]
    assert lab.ask(ADA, "queue_item_remove", uid=item)["success"] and lab.ledger.item(item).state == "removed"


def test_an_item_is_run_at_once_past_the_queue(lab: QueueLaboratory) -> None:
    lab.add(ALICE, "work", 1)
    answer = lab.ask(OSCAR, "queue_item_execute", item=plan(50))
    lab.until_state(answer["lab"]["item"], "completed")
    assert queue(lab) == [1]


def test_an_item_that_failed_is_taken_out_and_stops_the_queue_until_it_is_started(lab: QueueLaboratory) -> None:
    failed, other = lab.add(ALICE, "fail", 51), lab.add(BOB, "work", 52)
    lab.ask(OSCAR, "queue_start")
    lab.until(lambda: "failed: " in lab.status()["queue"]["why"], "it is said why the queue stands")
    assert queue(lab) == [52] and "the pump is dry" in lab.ledger.item(failed).cause
    lab.ask(OSCAR, "queue_start")
    lab.until_state(other, "completed")


def test_an_item_that_cannot_begin_has_failed_and_stops_nobody(lab: QueueLaboratory) -> None:
    broken, other = lab.add(ALICE, "broken", 53), lab.add(BOB, "work", 54)
    lab.ask(OSCAR, "queue_start")
    lab.until_state(other, "completed")
    assert lab.ledger.item(broken).cause.startswith("it did not begin: ") and lab.ledger.item(broken).began_wall is None


def test_an_item_that_was_stopped_is_not_begun_again(lab: QueueLaboratory) -> None:
    item = lab.add(ALICE, "hold", 55, gate="never")
    lab.ask(OSCAR, "queue_start")
    lab.until_begun(item)
    lab.ask(OSCAR, "re_pause", option="immediate")
    lab.until(lambda: lab.manager("status")["manager_state"] == "paused", "it pauses")
    assert lab.ledger.item(item).state == "running"
    lab.ask(OSCAR, "re_abort")
    lab.until_state(item, "aborted")
    lab.until(lambda: "was aborted" in lab.status()["queue"]["why"], "it is said why the queue stands")
    assert queue(lab) == []


def test_an_instruction_is_followed_once(lab: QueueLaboratory) -> None:
    first = lab.add(OSCAR, "work", 56)
    answer = lab.ask(OSCAR, "queue_item_add", item={"item_type": "instruction", "name": "queue_stop"})
    last = lab.add(OSCAR, "work", 57)
    lab.ask(OSCAR, "queue_start")
    lab.until(lambda: "queue_stop" in lab.status()["queue"]["why"], "the queue stands")
    assert lab.ledger.item(first).state == "completed" and lab.ledger.item(answer["lab"]["item"]).state == "completed"
    assert lab.ledger.item(last).state == "queued"


def test_nothing_begins_while_somebody_else_controls_the_laboratory(lab: QueueLaboratory) -> None:
    with Lease.take(lab.home, "dora", "console"):
        lab.ask(OSCAR, "queue_start")
        item = lab.add(ALICE, "work", 58)
        lab.until(lambda: not lab.manager("status")["queue_autostart_enabled"], "the queue is held")
        assert "the laboratory is controlled by dora" in lab.status()["queue"]["why"]
    lab.until_state(item, "completed")


def test_queues_do_not_loop(lab: QueueLaboratory) -> None:
    assert "to do it again, add it again" in lab.ask(OSCAR, "queue_mode_set", mode={"loop": True})["msg"]


def test_items_are_told_with_what_happened_to_them(lab: QueueLaboratory) -> None:
    item = lab.add(ALICE, "work", 59)
    told = lab.ask(BOB, "lab_item", item=item)["item"]
    assert (told["id"], told["user"], told["state"]) == (item, "alice", "queued")
    assert [one["id"] for one in lab.ask(BOB, "lab_items", states=["queued"])["items"]] == [item]
    assert "allowed: waiting" in lab.ask(BOB, "lab_items", states=["lost"])["msg"]


def test_a_request_that_is_named_is_done_once(lab: QueueLaboratory) -> None:
    first, second = (lab.ask(ALICE, "queue_item_add", item=plan(60), request="r60") for _ in range(2))
    assert first["lab"]["item"] == second["lab"]["item"] and second["repeated"] and queue(lab) == [60]
    assert "was used for queue_item_add" in lab.ask(ALICE, "queue_item_add", item=plan(61), request="r60")["msg"]
    assert lab.ask(BOB, "lab_request", request="r60")["is_known"] is False


def test_the_refusal_of_a_named_request_is_its_answer(lab: QueueLaboratory) -> None:
    item = lab.add(BOB, "work", 61)
    first, second = (lab.ask(ALICE, "queue_item_remove", uid=item, request="r61") for _ in range(2))
    assert "your own items" in first["msg"] and second == {**first, "repeated": True}


@pytest.mark.parametrize("params", [{"uid": [1]}, {"uid": {}}, {"pos": "middle"}, {"pos": True}, {"pos": 10**9}, {}])
def test_positions_that_are_none_are_refused_in_words(lab: QueueLaboratory, params: dict[str, Any]) -> None:
    for method, more in (("queue_item_remove", {}), ("queue_item_move", {"pos_dest": "front", "before_uid": [1]})):
        answer = lab.ask(ALICE, method, **params, **more)
        assert not answer["success"] and "allowed: " in answer["msg"]


def test_methods_that_do_not_exist_are_refused_in_words(lab: QueueLaboratory) -> None:
    assert "one of the laboratory's methods" in lab.ask(ADA, "os_system", command="rm")["msg"]
    assert "the parameters lock_key" in lab.ask(OSCAR, "queue_start", shell="sh")["msg"]
