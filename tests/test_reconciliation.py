"""What has to change in the RE Manager's queue, and what its history lacks: decided without any process."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.records.queue_rows import ItemRow, ItemState
from lab.remote.steward.history import complete
from lab.remote.steward.re_manager import Entry, View
from lab.remote.steward.reconciliation import Follow, Keep, Put, Remove, steps


def row(number: int, state: ItemState = "queued", *, uid: str | None = None, kind: str = "plan", digest: str = "d", ended: str = "2026-01-01T00:00:10Z",
        cause: str = "") -> ItemRow:
    has_begun = state not in ("queued", "waiting", "removed", "rejected")
    return ItemRow(number, f"i-{number}", f"u-{number}" if uid is None else uid, kind, "work", {}, digest, {}, "alice", "scientist", state, cause, float(number), None,
                   "", ("run 1",), "", None, "", "", "", None, "host", 1, "", "2026-01-01T00:00:00Z", "2026-01-01T00:00:05Z" if has_begun else None,
                   ended if has_begun else None)


def entry(number: int, uid: str | None = None, digest: str = "d") -> Entry:
    return Entry(f"u-{number}" if uid is None else uid, f"i-{number}", digest, "plan", "work", {"user": "alice"})


def view(*entries: Entry, running: Entry | None = None) -> View:
    return View(entries, running)


def test_a_queue_that_says_what_the_ledger_says_is_left_alone() -> None:
    assert steps(view(entry(1), entry(2), running=entry(0)), [row(0), row(1), row(2)], {}) == []


@pytest.mark.parametrize("state", ["failed", "interrupted", "aborted", "running", "removed"])
def test_what_was_put_back_is_taken_out(state: ItemState) -> None:
    assert steps(view(entry(1, "u-new"), entry(2)), [row(2)], {"i-1": row(1, state)}) == [Remove(entry(1, "u-new"), f"it is {state}")]


def test_what_is_on_nobodys_record_is_taken_out() -> None:
    stranger = Entry("u", "", "", "plan", "work", {})
    assert steps(view(stranger), [], {}) == [Remove(stranger, "it is on nobody's record")]


def test_what_was_put_back_before_it_began_keeps_its_place_under_its_new_uid() -> None:
    assert steps(view(entry(1, "u-new"), entry(2)), [row(1), row(2)], {}) == [Keep("i-1", "u-new")]


def test_copies_are_taken_out() -> None:
    assert steps(view(entry(1), entry(1, "u-new")), [row(1)], {}) == [Remove(entry(1, "u-new"), "it is there already")]
    assert steps(view(entry(1, "u-new"), running=entry(1)), [row(1)], {}) == [Remove(entry(1, "u-new"), "it is there already")]


def test_what_is_not_what_was_checked_is_put_in_anew() -> None:
    assert steps(view(entry(1, digest="old"), entry(2)), [row(1), row(2)], {}) == [Remove(entry(1, digest="old"), "it is not what was checked"), Put("i-1", "i-2")]


def test_an_instruction_that_was_in_the_queue_and_is_not_any_more_was_followed() -> None:
    assert steps(view(), [row(1, kind="instruction")], {}) == [Follow("i-1")]
    assert steps(view(), [row(1, kind="instruction", uid="")], {}) == [Put("i-1", "")]


def after(before: View, found: list[Any]) -> list[str]:
    """Items in the queue when all has been done."""
    queue = [(one.uid, one.item) for one in before.entries]
    for step in found:
        if isinstance(step, Remove):
            queue.remove((step.entry.uid, step.entry.item))
        elif isinstance(step, Put):
            items = [item for _, item in queue]
            queue.insert(items.index(step.before) if step.before else len(queue), ("new", step.item))
    return [item for _, item in queue]


@given(st.data())
def test_whatever_the_queue_has_become_it_is_what_is_queued_in_its_order(data: st.DataObject) -> None:
    numbers = data.draw(st.lists(st.integers(1, 8), unique=True).map(sorted), "queued")
    ended = sorted(set(range(1, 9)) - set(numbers))
    running = data.draw(st.none() | st.sampled_from(range(1, 9)), "running")
    # The RE Manager's: some of those that are queued, in order, some that have ended put back at the front, copies of either.
    kept = [entry(n) for n in numbers if data.draw(st.booleans()) and n != running]
    front = [entry(n, f"u-{n}-again") for n in data.draw(st.lists(st.sampled_from(range(1, 9)), max_size=4), "put back") if n in ended or n == running]
    before = view(*front, *kept, running=None if running is None else entry(running))
    found = steps(before, [row(n) for n in numbers], {f"i-{n}": row(n, "failed") for n in ended})
    assert after(before, found) == [f"i-{n}" for n in numbers if n != running]


def told(number: int, status: str, msg: str = "", uid: str | None = None) -> dict[str, Any]:
    return {"item_uid": f"u-{number}" if uid is None else uid, "name": "work", "meta": {"item": f"i-{number}"},
            "result": {"exit_status": status, "run_uids": [], "msg": msg, "time_stop": 1767225610.0}}


def test_a_history_is_put_right_where_the_re_manager_did_not_know() -> None:
    entries = [told(1, "completed"), told(2, "unknown"), told(3, "failed", "RE Worker environment was destroyed")]
    found = complete(entries, [row(1, "completed"), row(2, "completed"), row(3, "interrupted", cause="the worker died")])
    assert [one["result"]["exit_status"] for one in found] == ["completed", "completed", "unknown"]
    assert found[2]["result"]["msg"] == "the worker died" and found[1]["result"]["run_uids"] == ["run 1"]


def test_a_history_has_what_the_re_manager_forgot() -> None:
    found = complete([told(2, "completed")], [row(1, "failed", ended="2026-01-01T00:00:07Z", cause="the pump is dry"), row(2, "completed")])
    assert [(one["lab"]["item"], one["result"]["exit_status"], one["result"]["msg"]) for one in found] == [("i-1", "failed", "the pump is dry"), ("i-2", "completed", "")]


def test_what_never_began_and_what_was_cleared_away_is_not_filled_in() -> None:
    assert complete([], [row(1, "removed"), row(2, "completed")], since_wall="2026-01-01T00:00:20Z") == []


def test_attempts_that_did_not_begin_stay_as_the_re_manager_has_them() -> None:
    entries = [told(1, "failed", "the laboratory is controlled by dora", uid="u-0"), told(1, "completed")]
    found = complete(entries, [row(1, "completed")])
    assert [one.get("lab", {}).get("state") for one in found] == [None, "completed"]
