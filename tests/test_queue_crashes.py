"""The queue after a crash, with real processes: Redis, the RE Manager and its worker, the steward, each killed with SIGKILL.

After each: nothing is forgotten, what ran stands as interrupted and is not begun again, and it is said in words.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator

import psutil
import pytest

from lab.core.errors import ServiceError
from lab.up.queue import ask
from tests.crash.queue import survive
from tests.queue_agreement import disagreements
from tests.queue_laboratory import ALICE, BOB, OSCAR, QueueLaboratory

pytestmark = pytest.mark.timeout(600)  # real processes, also on a busy machine


@pytest.fixture(scope="module")
def services() -> Iterator[QueueLaboratory]:
    with QueueLaboratory() as laboratory:
        laboratory.start().until_ready()
        yield laboratory


@pytest.fixture
def lab(services: QueueLaboratory) -> Iterator[QueueLaboratory]:
    """With an empty queue that runs by itself, whatever the test before has left."""
    yield services
    services.restore()  # a test that failed has not started again what it killed
    for item in services.ledger.items(("running",)):  # a test that failed has not opened its gate
        services.go(str(item.parameters.get("gate", "none")))
    services.until_ready()
    for item in services.status()["interrupted"]:
        services.ask(OSCAR, "lab_dismiss", item=item["id"])
    services.ask(OSCAR, "queue_start")
    services.until(lambda: not services.ledger.items(("queued", "running")), "the queue is empty")
    services.until_idle()
    assert disagreements(services) == []


def texts(lab: QueueLaboratory, item: str = "") -> str:
    return "\n".join(notice.text for notice in lab.ledger.notices(item))


def test_what_ran_in_a_worker_that_died_is_interrupted_until_a_person_decides(lab: QueueLaboratory) -> None:
    ran, queued = lab.add(ALICE, "hold", 1, gate="first"), lab.add(BOB, "work", 2)
    lab.until_begun(ran)
    pid = lab.kill_worker()
    lab.until(lambda: f"the worker (process {pid}) died" in texts(lab), "the death is noticed")
    assert lab.ledger.item(ran).state == "interrupted" and lab.ledger.item(ran).runs != ()
    lab.until_ready()
    lab.until_idle()
    assert lab.worker_pid() != pid and disagreements(lab) == []
    standing = lab.status()
    assert [item["id"] for item in standing["interrupted"]] == [ran] and standing["interrupted"][0]["next"].startswith(f"lab queue retry {ran}")
    assert not standing["queue"]["is_on"] and "was interrupted" in standing["queue"]["why"]
    assert lab.ledger.item(queued).state == "queued" and lab.done() == [1]
    lab.go("first")
    again = lab.ask(OSCAR, "lab_retry", item=ran)["lab"]["item"]
    lab.until_state(queued, "completed")
    assert lab.ledger.item(again).parent == ran and lab.ledger.item(again).user == "alice" and lab.ledger.item(ran).decided == f"retried as {again}"
    assert lab.done("ended") == [1, 2]


def test_a_plan_goes_on_when_the_re_manager_dies(lab: QueueLaboratory) -> None:
    ran, queued = lab.add(ALICE, "hold", 6, gate="sixth"), lab.add(BOB, "work", 7)
    lab.until_begun(ran)
    lab.kill_manager()
    lab.go("sixth")
    lab.until_state(ran, "completed")
    lab.until_state(queued, "completed")
    lab.until(lambda: "the RE Manager answers again" in texts(lab), "it is said")


def test_the_end_of_a_plan_that_fell_into_a_time_without_redis_is_not_lost(lab: QueueLaboratory) -> None:
    ran, queued = lab.add(ALICE, "hold", 10, gate="tenth"), lab.add(BOB, "work", 11)
    lab.until_begun(ran)
    lab.kill("redis")
    lab.go("tenth")
    lab.until_state(ran, "completed")
    lab.until(lambda: has_met_the_end(lab), "the RE Manager has met it")
    lab.start("redis")
    lab.until_state(queued, "completed")


def has_met_the_end(lab: QueueLaboratory) -> bool:
    """The RE Manager has heard that the worker has nothing to do; or it has died of what it met, and the next one waits for Redis."""
    try:
        return str(ask(lab.layout, "status")["re_state"]) == "idle"
    except ServiceError:
        return True


def test_an_item_on_record_that_never_reached_the_queue_is_queued_when_the_steward_is_there_again(lab: QueueLaboratory) -> None:
    gate = lab.add(OSCAR, "hold", 12, gate="twelfth")
    lab.until_begun(gate)
    # It stops between the ledger and the queue, because the RE Manager does not answer then.
    lab.until(lambda: is_held(lab, signal.SIGSTOP), "the RE Manager stands still")
    line = lab.send(ALICE, "queue_item_add", item={"item_type": "plan", "name": "work", "kwargs": {"number": 13}}, request="r13")
    try:
        lab.processes["steward"].send_signal(signal.SIGSTOP)
    finally:
        lab.kill("steward")
        line.close(linger=0)
        is_held(lab, signal.SIGCONT)
    lab.start("steward")
    answer = lab.ask(ALICE, "queue_item_add", item={"item_type": "plan", "name": "work", "kwargs": {"number": 13}}, request="r13")
    assert answer["success"], answer
    lab.go("twelfth")
    lab.until_state(answer["lab"]["item"], "completed")
    assert lab.done().count(13) == 1


def is_held(lab: QueueLaboratory, number: signal.Signals) -> bool:
    """Stop or continue the process that answers for the RE Manager."""
    worker = lab.worker_pid()
    for child in psutil.Process(lab.processes["queue"].pid).children():
        if child.pid != worker:
            child.send_signal(number)
    return True


def test_an_item_in_the_queue_of_which_the_steward_never_heard_is_known_by_its_record(lab: QueueLaboratory) -> None:
    gate = lab.add(OSCAR, "hold", 14, gate="fourteenth")
    lab.until_begun(gate)
    item = lab.add(ALICE, "work", 15)
    lab.kill("steward")
    lab.ledger.set_item_uid(item, "as if it had died before it wrote this down")
    lab.start("steward")
    uid = lab.manager("queue_get")["items"][0]["item_uid"]
    lab.until(lambda: lab.ledger.item(item).uid == uid, "the uid is on record")
    lab.go("fourteenth")
    lab.until_state(item, "completed")
    assert lab.done().count(15) == 1


def test_what_nobody_has_recorded_is_taken_out_of_the_queue(lab: QueueLaboratory) -> None:
    gate = lab.add(OSCAR, "hold", 16, gate="sixteenth")
    lab.until_begun(gate)
    lab.manager("queue_item_add", item={"item_type": "plan", "name": "work", "kwargs": {"number": 17}}, user="mallory", user_group="admin")
    lab.until(lambda: not lab.manager("queue_get")["items"], "it is taken out")
    lab.until(lambda: "an entry (work) was taken out of the queue: it is on nobody's record" in texts(lab), "it is said")
    lab.go("sixteenth")
    lab.until_state(gate, "completed")
    assert 17 not in lab.done()


def test_what_redis_has_lost_is_queued_again_at_its_place(lab: QueueLaboratory) -> None:
    gate = lab.add(OSCAR, "hold", 18, gate="eighteenth")
    lab.until_begun(gate)
    items = [lab.add(ALICE, "work", number) for number in (19, 20, 21)]
    uids = [entry["item_uid"] for entry in lab.manager("queue_get")["items"]]
    lab.manager("queue_item_remove_batch", uids=[uids[0], uids[2]])
    lab.until(lambda: len(lab.manager("queue_get")["items"]) == 3, "they are there again")
    assert [entry["meta"]["item"] for entry in lab.manager("queue_get")["items"]] == items
    lab.go("eighteenth")
    lab.until_state(items[-1], "completed")
    assert lab.done()[-3:] == [19, 20, 21]


def test_after_the_machine_was_lost_queue_and_history_are_complete(lab: QueueLaboratory) -> None:
    first = lab.add(ALICE, "work", 22)
    lab.until_state(first, "completed")
    ran = lab.add(ALICE, "hold", 23, gate="never")
    lab.until_begun(ran)
    items = [lab.add(BOB, "work", number, pos="back") for number in (24, 25)]
    lab.kill("steward", "queue", "redis")
    lab.until(lambda: lab.ledger.item(ran).state == "interrupted", "it is told before anybody is there to notice")
    lab.start().until_ready()
    lab.until(lambda: "was interrupted" in lab.status()["queue"]["why"], "it is said why the queue stands")
    assert disagreements(lab) == [] and [item.id for item in lab.ledger.items(("queued",))] == items
    assert lab.done().count(23) == 1
    lab.ask(OSCAR, "lab_dismiss", item=ran)
    lab.until_state(items[-1], "completed")


def test_a_write_that_is_asked_for_again_is_done_once(lab: QueueLaboratory) -> None:
    item = {"item_type": "plan", "name": "work", "kwargs": {"number": 26}}
    first = lab.ask(ALICE, "queue_item_add", item=item, request="r26")
    lab.kill("steward")
    lab.start("steward")
    again = lab.ask(ALICE, "queue_item_add", item=item, request="r26")
    assert again["lab"]["item"] == first["lab"]["item"] and again["repeated"]
    assert lab.ask(ALICE, "lab_request", request="r26")["answer"]["lab"]["item"] == first["lab"]["item"]
    lab.until_state(first["lab"]["item"], "completed")
    assert lab.done().count(26) == 1


def test_a_queue_that_somebody_has_stopped_stays_so_when_the_steward_is_started_again(lab: QueueLaboratory) -> None:
    lab.ask(OSCAR, "queue_stop")
    item = lab.add(ALICE, "work", 27)
    lab.kill("steward", "queue")
    lab.start("queue", "steward").until_ready()
    assert lab.status()["queue"]["why"] == "stopped by oscar; lab queue start goes on" and lab.ledger.item(item).state == "queued"
    lab.ask(OSCAR, "queue_start")
    lab.until_state(item, "completed")


def test_services_that_die_at_random_while_people_ask_leave_everything_in_agreement(lab: QueueLaboratory) -> None:
    found, counts = survive(lab, random.Random(3), 2)
    assert found == [] and sum(n for what, n in counts.items() if what.startswith("killed")) == 2
