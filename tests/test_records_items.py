"""Items of the queue in the ledger: each begins once, with what was checked; errands are done once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.core.clock import ManualClock
from lab.core.digest import digest_of
from lab.core.errors import ConfigError, LedgerError
from lab.records.ledger import Ledger
from lab.records.process import Process, this_process
from lab.records.queue_rows import Errand, NewItem

GONE = Process(this_process().host, os.getpid(), "another boot:1")


def new(name: str = "count", user: str = "alice", *, num: int = 1, is_waiting: bool = False, parent: str = "") -> NewItem:
    return NewItem(name, {"num": num}, digest_of(name, {"num": num}), user, "scientist", is_waiting=is_waiting, parent=parent)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite", ManualClock()) as ledger:
        yield ledger


def order(ledger: Ledger) -> list[str]:
    return [item.parameters["num"] for item in ledger.items(("queued",))]


def test_an_item_is_told_as_it_was_submitted(ledger: Ledger) -> None:
    item = ledger.add_item(NewItem("film", {"fraction": 0.5}, "d" * 64, "alice", "scientist", estimate_s=90.0))
    assert ledger.item(item.id) == item
    assert (item.name, item.parameters, item.user, item.state, item.estimate_s, item.runs) == ("film", {"fraction": 0.5}, "alice", "queued", 90.0, ())
    assert item.words == f"item {item.id} of alice (film)"


def test_ids_sort_as_items_were_submitted(ledger: Ledger) -> None:
    ids = [ledger.add_item(new(num=n)).id for n in range(12)]
    assert sorted(ids) == ids and ids[0].startswith("i-00001-")


def test_an_item_is_claimed_once(ledger: Ledger) -> None:
    item = ledger.add_item(new())
    claimed = ledger.claim_item(item.id, item.digest)
    assert (claimed.state, claimed.pid) == ("running", os.getpid())
    with pytest.raises(LedgerError, match=rf"item {item.id}: cannot begin: it is running; allowed: queued, and each item begins once"):
        ledger.claim_item(item.id, item.digest)
    ledger.end_item(item.id, "failed", "the pump is dry")
    with pytest.raises(LedgerError, match=r"it is failed \(the pump is dry\)"):
        ledger.claim_item(item.id, item.digest)


def test_only_what_was_checked_can_be_claimed(ledger: Ledger) -> None:
    item = ledger.add_item(new(num=1))
    with pytest.raises(LedgerError, match="its plan or parameters are not the ones that were checked"):
        ledger.claim_item(item.id, new(num=2).digest)
    assert ledger.item(item.id).state == "queued"


def test_what_runs_in_a_process_that_is_gone_reads_interrupted(ledger: Ledger) -> None:
    item = ledger.add_item(new())
    ledger.claim_item(item.id, item.digest, GONE)
    found = ledger.item(item.id)
    assert found.state == "interrupted" and "died while it ran" in found.cause
    assert [i.id for i in ledger.items(("interrupted",))] == [item.id] and ledger.items(("running",)) == []
    with pytest.raises(LedgerError, match="cannot begin: it is interrupted"):
        ledger.claim_item(item.id, item.digest)


def test_interruptions_are_written_down_once(ledger: Ledger) -> None:
    item, other = ledger.add_item(new()), ledger.add_item(new())
    ledger.claim_item(item.id, item.digest, GONE)
    ledger.claim_item(other.id, other.digest)
    assert [i.id for i in ledger.settle_lost_items()] == [item.id]
    assert ledger.settle_lost_items() == [] and ledger.item(item.id).ended_wall is not None and ledger.item(other.id).state == "running"


def test_an_instruction_is_followed_without_a_worker(ledger: Ledger) -> None:
    item = ledger.add_item(NewItem("queue_stop", {}, digest_of("queue_stop", {}), "oscar", "operator", kind="instruction"))
    ledger.finish_instruction(item.id)
    assert ledger.item(item.id).state == "completed"


def test_an_interrupted_item_stays_interrupted_when_somebody_has_decided(ledger: Ledger) -> None:
    item = ledger.add_item(new())
    ledger.claim_item(item.id, item.digest, GONE)
    again = ledger.add_item(new(user="oscar", parent=item.id))
    found = ledger.item(item.id)
    assert (found.state, found.decided, found.decided_by) == ("interrupted", f"retried as {again.id}", "oscar") and found.ended_wall is not None
    with pytest.raises(LedgerError, match=f"was retried as {again.id} by oscar already"):
        ledger.decide_item(item.id, "dismissed", "alice")


def test_an_item_that_has_not_ended_badly_is_not_decided_upon(ledger: Ledger) -> None:
    item = ledger.add_item(new())
    with pytest.raises(LedgerError, match="cannot be decided upon: it is queued; allowed: interrupted, failed, stopped, aborted"):
        ledger.decide_item(item.id, "dismissed", "alice")


def test_the_end_of_an_item_is_on_record(ledger: Ledger) -> None:
    item = ledger.add_item(new())
    ledger.claim_item(item.id, item.digest)
    ledger.set_item_campaign(item.id, "film-1")
    ledger.end_item(item.id, "stopped", "oscar stopped it", ("uid 1", "uid 2"))
    found = ledger.item(item.id)
    assert (found.state, found.cause, found.runs, found.campaign) == ("stopped", "oscar stopped it", ("uid 1", "uid 2"), "film-1")
    assert found.began_wall is not None and found.ended_wall is not None


def test_the_runs_of_an_item_are_on_record_as_they_open(ledger: Ledger) -> None:
    item = ledger.add_item(new())
    with pytest.raises(LedgerError, match="cannot open a run: it is queued"):
        ledger.add_item_run(item.id, "uid 0")
    ledger.claim_item(item.id, item.digest)
    ledger.add_item_run(item.id, "uid 1")
    ledger.add_item_run(item.id, "uid 2")
    ledger.end_item(item.id, "completed", runs=("uid 2", "uid 3"))
    assert ledger.item(item.id).runs == ("uid 1", "uid 2", "uid 3")


@pytest.mark.parametrize("state", ["queued", "removed", "exploded"])
def test_an_item_ends_in_no_other_way(ledger: Ledger, state: str) -> None:
    item = ledger.add_item(new())
    ledger.claim_item(item.id, item.digest)
    with pytest.raises(LedgerError, match="allowed: completed, failed, stopped, aborted, interrupted"):
        ledger.end_item(item.id, state)  # type: ignore[arg-type]


def test_what_has_not_begun_does_not_end(ledger: Ledger) -> None:
    item = ledger.add_item(new())
    with pytest.raises(LedgerError, match="cannot end as completed: it is queued; allowed: running"):
        ledger.end_item(item.id, "completed")


def test_what_waits_is_queued_by_an_operators_word_for_what_they_saw(ledger: Ledger) -> None:
    item = ledger.add_item(new(is_waiting=True))
    first = ledger.add_item(new(num=9))
    with pytest.raises(LedgerError, match="cannot begin: it is waiting"):
        ledger.claim_item(item.id, item.digest)
    with pytest.raises(LedgerError, match="it was changed since; look at it again"):
        ledger.approve_item(item.id, new(num=2).digest, "oscar")
    assert ledger.approve_item(item.id, item.digest, "oscar").approved_by == "oscar"
    assert [i.id for i in ledger.items(("queued",))] == [first.id, item.id]


def test_a_changed_item_waits_for_a_new_word(ledger: Ledger) -> None:
    item = ledger.add_item(new(is_waiting=True))
    ledger.approve_item(item.id, item.digest, "oscar")
    changed = ledger.change_item(item.id, new(num=3, is_waiting=True))
    assert (changed.state, changed.approved_by, changed.parameters) == ("waiting", "", {"num": 3})


def test_what_was_rejected_or_removed_never_begins(ledger: Ledger) -> None:
    rejected, removed = ledger.add_item(new(is_waiting=True)), ledger.add_item(new())
    ledger.reject_item(rejected.id, "oscar", "too hot")
    ledger.remove_item(removed.id, "removed by alice")
    assert ledger.item(rejected.id).cause == "rejected by oscar: too hot"
    for item in (rejected, removed):
        with pytest.raises(LedgerError, match=r"cannot begin: it is re(jected|moved)"):
            ledger.claim_item(item.id, item.digest)


def test_what_runs_cannot_be_removed(ledger: Ledger) -> None:
    item = ledger.add_item(new())
    ledger.claim_item(item.id, item.digest)
    with pytest.raises(LedgerError, match="cannot be removed: it is running; allowed: waiting, queued"):
        ledger.remove_item(item.id, "removed by alice")


def test_what_the_worker_would_not_begin_has_failed_without_a_beginning(ledger: Ledger) -> None:
    item = ledger.add_item(new())
    ledger.turn_item_away(item.id, "the worker knows no such plan")
    found = ledger.item(item.id)
    assert (found.state, found.began_wall) == ("failed", None)


def test_items_have_their_place_before_others(ledger: Ledger) -> None:
    first, last = ledger.add_item(new(num=0)), ledger.add_item(new(num=100))
    ledger.add_items([new(num=98), new(num=99)], before=last.id)
    ledger.add_item(new(num=-1), before=first.id)
    assert order(ledger) == [-1, 0, 98, 99, 100]


def test_places_between_two_do_not_run_out(ledger: Ledger) -> None:
    last = ledger.add_items([new(num=0), new(num=100)])[1]
    for n in range(1, 80):
        ledger.add_item(new(num=n), before=last.id)
    assert order(ledger) == [*range(80), 100]


def test_items_are_put_in_the_order_of_the_queue(ledger: Ledger) -> None:
    ids = [ledger.add_item(new(num=n)).id for n in range(4)]
    ledger.order_items([ids[2], "i-unknown", ids[0], ids[3], ids[1]])
    assert order(ledger) == [2, 0, 3, 1]


def test_items_are_found_by_the_latest_uid_of_the_queue(ledger: Ledger) -> None:
    item = ledger.add_item(new())
    ledger.set_item_uid(item.id, "uid 1")
    ledger.set_item_uid(item.id, "uid 2")
    assert ledger.item("uid 2").id == item.id
    with pytest.raises(LedgerError, match="item uid 1: is not in the ledger"):
        ledger.item("uid 1")
    with pytest.raises(LedgerError, match="is not in the ledger"):
        ledger.item("")


def test_items_are_listed_by_state_and_owner_the_latest_ones(ledger: Ledger) -> None:
    for n in range(3):
        ledger.add_item(new(num=n))
        ledger.add_item(new(num=n, user="bob", is_waiting=True))
    assert [i.parameters["num"] for i in ledger.items(user="bob", limit=2)] == [1, 2]
    assert len(ledger.items(("waiting", "queued"))) == 6
    with pytest.raises(LedgerError, match="state: given 'lost'; allowed: waiting"):
        ledger.items(("lost",))  # type: ignore[arg-type]


def test_an_errand_is_begun_once_and_knows_its_items(ledger: Ledger) -> None:
    errand = Errand("alice", "r1", "queue_item_add", "d")
    assert ledger.begin_errand(errand) is None
    item = ledger.add_item(new(), errand=errand)
    again = ledger.begin_errand(errand)
    assert again is not None and again.items == (item.id,) and again.answer is None
    ledger.end_errand(errand, {"success": True})
    found = ledger.errand("alice", "r1")
    assert found is not None and found.answer == {"success": True} and ledger.errand("bob", "r1") is None


def test_the_oldest_errands_of_a_name_are_forgotten(tmp_path: Path) -> None:
    clock = ManualClock()
    with Ledger(tmp_path / "ledger.sqlite", clock) as ledger:
        for number in range(5):
            ledger.begin_errand(Errand("alice", f"r{number}", "queue_item_add", "d"))
        ledger.begin_errand(Errand("bob", "r0", "queue_item_add", "d"))
        assert ledger.forget_errands("alice", 2) == 3 and ledger.forget_errands("alice", 2) == 0
        assert ledger.errand("alice", "r4") is not None and ledger.errand("alice", "r0") is None and ledger.errand("bob", "r0") is not None


def test_it_is_known_how_much_of_somebody_is_pending(ledger: Ledger) -> None:
    items = [ledger.add_item(new(num=n, is_waiting=n == 1)) for n in range(3)]
    ledger.add_item(new(user="bob"))
    assert ledger.pending_of("alice") == (3, 3 * len('{"num": 1}'))
    ledger.remove_item(items[0].id, "")
    assert ledger.pending_of("alice")[0] == 2 and ledger.pending_of("mallory") == (0, 0)


def test_the_name_of_an_errand_stands_for_one_errand(ledger: Ledger) -> None:
    ledger.begin_errand(Errand("alice", "r1", "queue_item_add", "d"))
    with pytest.raises(LedgerError, match="request r1: was used for queue_item_add at .*; allowed: a new name for each request"):
        ledger.begin_errand(Errand("alice", "r1", "queue_item_add", "other"))
    assert ledger.begin_errand(Errand("bob", "r1", "queue_clear", "x")) is None


def test_notices_are_kept_in_order(ledger: Ledger) -> None:
    ledger.add_notice("worker", "the worker died")
    ledger.add_notice("item", "was interrupted", "i-1")
    assert [n.text for n in ledger.notices()] == ["the worker died", "was interrupted"]
    assert [n.kind for n in ledger.notices(item="i-1", limit=5)] == ["item"]


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_a_digest_does_not_depend_on_the_order_of_names(parameters: dict[str, object]) -> None:
    expected = digest_of("film", parameters)
    assert digest_of("film", dict(reversed(parameters.items()))) == expected and len(expected) == 64


def test_a_digest_tells_different_parameters_apart_and_equal_ones_not() -> None:
    assert digest_of("film", {"a": 1, "b": (1, 2)}) == digest_of("film", {"b": [1, 2.0], "a": 1.0})
    assert len({digest_of("film", {"a": 1}), digest_of("film", {"a": True}), digest_of("film", {"a": "1"}), digest_of("count", {"a": 1})}) == 4


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, b"x", {1: 2}])
def test_what_json_cannot_say_has_no_digest(value: object) -> None:
    with pytest.raises(ConfigError, match="film: parameters: given what JSON cannot say"):
        digest_of("film", {"a": value})
