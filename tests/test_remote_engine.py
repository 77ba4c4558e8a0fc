"""The RunEngine of the queue: items of the ledger, each begun once, ended as they were, with the lease while they run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bluesky import Msg
from bluesky.utils import RunEngineInterrupted

from lab.core.clock import ManualClock
from lab.core.digest import digest_of
from lab.core.errors import CommandError, LeaseError, LedgerError
from lab.home import Home
from lab.lease import Lease, holder
from lab.records.ledger import Ledger
from lab.records.process import Process
from lab.records.queue_rows import ItemRow, NewItem
from lab.remote.worker.engine import RecordedRunEngine
from lab.remote.worker.queued_plan import QueuedPlan


class Queue:
    """A queue of one, and the engine that runs what is in it."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder)
        self.ledger = Ledger(self.home.ledger, ManualClock())
        self.engine = RecordedRunEngine(self.ledger, self.home, context_managers=[])
        self.documents: list[tuple[str, dict[str, Any]]] = []
        self.engine.subscribe(lambda name, doc: self.documents.append((name, doc)))

    def add(self, num: int = 1) -> str:
        return self.ledger.add_item(NewItem("count", {"num": num}, digest_of("count", {"num": num}), "ann", "scientist")).id

    def run(self, item: str, plan: Any, num: int = 1) -> Any:
        """As the RE Manager calls it."""
        return self.engine(QueuedPlan("count", {"num": num}, iter(plan)), {"all": []}, item=item, user="ann", digest="-")

    def pause(self, item: str) -> None:
        """Run it to a pause."""
        with pytest.raises(RunEngineInterrupted):
            self.run(item, [*RUN[:1], Msg("checkpoint"), Msg("pause"), *RUN[1:]])
        assert self.engine.state == "paused"

    def item(self, item: str) -> ItemRow:
        return self.ledger.item(item)

    def end(self, item: str) -> tuple[str, str]:
        row = self.ledger.item(item)
        return row.state, row.cause

    def is_free(self) -> bool:
        return holder(self.home) is None


RUN = [Msg("open_run", None), Msg("close_run", None)]


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    monkeypatch.setattr("lab.remote.worker.engine.PATIENCE_S", 0.0)
    made = Queue(tmp_path)
    yield made
    made.ledger.close()


def test_an_item_runs_and_is_completed_with_its_runs(queue: Queue) -> None:
    item = queue.add()
    uids = queue.run(item, [*RUN, *RUN])
    assert queue.end(item) == ("completed", "")
    assert queue.item(item).runs == uids and len(uids) == 2
    assert queue.is_free() and queue.engine.item is None


def test_start_documents_carry_the_item_and_its_user(queue: Queue) -> None:
    item = queue.add()
    queue.run(item, RUN)
    start = queue.documents[0][1]
    assert (start["item"], start["user"], "digest" in start) == (item, "ann", False)


def test_while_it_runs_nobody_else_controls_the_laboratory(queue: Queue) -> None:
    item = queue.add()

    def plan() -> Iterator[Msg]:
        found = holder(queue.home)
        assert found is not None
        assert (found.who, found.what) == ("ann", f"item {item} of ann: count")
        with pytest.raises(LeaseError, match="controlled by ann"):
            Lease.take(queue.home, "bob", "console")
        yield Msg("null")

    queue.run(item, plan())
    assert queue.end(item) == ("completed", "")


def test_while_somebody_else_controls_the_laboratory_an_item_stays_queued(queue: Queue) -> None:
    item = queue.add()
    with Lease.take(queue.home, "bob", "console"), pytest.raises(LeaseError, match="controlled by bob"):
        queue.run(item, RUN)
    assert queue.end(item) == ("queued", "") and queue.documents == []
    queue.run(item, RUN)
    assert queue.end(item) == ("completed", "")


def test_an_item_that_has_run_is_refused_when_the_manager_hands_it_over_again(queue: Queue) -> None:
    item = queue.add()
    queue.run(item, [])
    with pytest.raises(LedgerError, match="cannot begin: it is completed"):
        queue.run(item, RUN)
    assert queue.documents == [] and queue.is_free()


def test_what_was_not_checked_is_refused(queue: Queue) -> None:
    item = queue.add(num=1)
    with pytest.raises(LedgerError, match="not the ones that were checked"):
        queue.run(item, RUN, num=1000)
    assert queue.end(item)[0] == "queued" and queue.documents == [] and queue.is_free()


def test_a_plan_that_is_none_of_the_registry_is_refused(queue: Queue) -> None:
    item = queue.add()
    with pytest.raises(LedgerError, match="given a list; allowed: a plan of the laboratory's registry"):
        queue.engine(RUN, item=item, user="ann")
    assert queue.end(item)[0] == "queued"


def test_a_plan_that_fails_fails_its_item_in_the_words_of_the_instrument(queue: Queue) -> None:
    item = queue.add()

    def plan() -> Iterator[Msg]:
        yield RUN[0]
        yield RUN[1]
        raise CommandError("pump: stalled")

    with pytest.raises(CommandError, match="pump: stalled"):
        queue.run(item, plan())
    assert queue.end(item) == ("failed", "pump: stalled")
    assert len(queue.item(item).runs) == 1 and queue.is_free()


def test_a_paused_item_goes_on_running_keeps_the_lease_and_is_completed_at_last(queue: Queue) -> None:
    item = queue.add()
    queue.pause(item)
    assert queue.end(item) == ("running", "") and not queue.is_free()
    with pytest.raises(LedgerError, match="cannot begin: the RunEngine is paused"):
        queue.run(queue.add(), RUN)
    queue.engine.resume()
    assert queue.end(item) == ("completed", "") and queue.is_free()
    assert len(queue.item(item).runs) == 1


@pytest.mark.parametrize(("ending", "state", "cause"), [
    ("stop", "stopped", ""), ("abort", "aborted", ""), ("halt", "aborted", "halted: nothing was cleaned up after it")])
def test_an_item_that_is_ended_while_it_is_paused_says_how(queue: Queue, ending: str, state: str, cause: str) -> None:
    item = queue.add()
    queue.pause(item)
    getattr(queue.engine, ending)()
    assert queue.end(item) == (state, cause) and queue.is_free()


def test_an_item_that_is_aborted_while_it_runs_says_why(queue: Queue) -> None:
    item = queue.add()
    abort = threading.Thread(target=lambda: queue.engine.abort("the hutch door is open"), daemon=True)

    def plan() -> Iterator[Msg]:
        yield RUN[0]
        abort.start()
        yield Msg("sleep", None, 60)

    with pytest.raises(RunEngineInterrupted):
        queue.run(item, plan())
    abort.join(20)
    assert queue.end(item) == ("aborted", "the hutch door is open") and queue.is_free()
    assert queue.documents[-1][1]["exit_status"] == "abort"


def test_an_abort_whose_clean_up_fails_says_both(queue: Queue) -> None:
    item = queue.add()

    def plan() -> Iterator[Msg]:
        try:
            yield Msg("checkpoint")
            yield Msg("pause")
        finally:
            raise CommandError("heater: cannot be switched off")

    with pytest.raises(RunEngineInterrupted):
        queue.run(item, plan())
    with pytest.raises(CommandError, match="cannot be switched off"):
        queue.engine.abort("somebody is in the hutch")
    assert queue.end(item) == ("aborted", "somebody is in the hutch; heater: cannot be switched off")


def test_a_pause_where_nothing_can_go_on_from_aborts_the_item(queue: Queue) -> None:
    item = queue.add()
    with pytest.raises(RunEngineInterrupted):
        queue.run(item, [Msg("clear_checkpoint"), Msg("pause"), Msg("null")])
    assert queue.end(item) == ("aborted", "it was paused where it cannot go on from")


def test_an_abort_that_comes_before_the_plan_is_no_end_of_it(queue: Queue) -> None:
    with pytest.raises(Exception, match="already idle"):
        queue.engine.abort("too early")
    item = queue.add()
    queue.run(item, RUN)
    assert queue.end(item) == ("completed", "")


def test_an_end_that_could_not_be_written_is_written_before_the_next_item_begins(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = queue.add(), queue.add()

    def locked(*given: Any) -> None:
        raise LedgerError("ledger: locked")

    with monkeypatch.context() as patched:
        patched.setattr(queue.ledger, "end_item", locked)
        queue.run(first, RUN)
        with pytest.raises(LedgerError, match="ledger: locked"):
            queue.run(second, RUN)
    assert (queue.end(first)[0], queue.end(second)[0]) == ("running", "queued")
    queue.run(second, RUN)
    assert (queue.end(first)[0], queue.end(second)[0]) == ("completed", "completed")
    assert len(queue.item(first).runs) == len(queue.item(second).runs) == 1


def test_by_hand_nothing_runs_while_nobody_controls_the_laboratory(queue: Queue) -> None:
    with pytest.raises(LeaseError, match="nobody controls the laboratory from a console; lab console takes control"):
        queue.engine(RUN)
    assert queue.documents == []


def test_by_hand_nothing_runs_beside_an_item_of_this_worker(queue: Queue) -> None:
    with Lease.take(queue.home, "ann", "item i-1 of ann: film"), pytest.raises(LeaseError, match="controlled by ann"):
        queue.engine(RUN)


def test_by_hand_plans_run_in_the_name_of_the_console_that_controls(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    with Lease.take(queue.home, "carol", "console"):
        monkeypatch.setattr("lab.remote.worker.engine.this_process", lambda: Process("here", 1, "another process"))
        queue.engine(QueuedPlan("count", {"num": 1}, iter(RUN)))
    assert queue.documents[0][1]["user"] == "carol" and "item" not in queue.documents[0][1]
