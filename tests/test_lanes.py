"""Lanes in a real RunEngine: who gets which message, Status and station."""

from __future__ import annotations

from typing import Any

import pytest
from bluesky import Msg, RunEngine
from bluesky import plan_stubs as bps
from bluesky.utils import FailedStatus
from lane_devices import Mover

from lab.core.errors import CommandError
from plans.lanes import Lane, LanesFailed, ResourceError, Resources, acquire, claim, first_of, lanes, release, spawn


@pytest.fixture
def engine() -> RunEngine:
    return RunEngine({}, call_returns_result=True)


def run(engine: RunEngine, *first: Lane, **options: Any) -> dict[str, Any]:
    """What the lanes returned."""
    options.setdefault("resources", Resources({"arm": ("arm",), "annealer": ("plate_a", "plate_b")}))
    found: dict[str, Any] = engine(lanes(*first, **options)).plan_result
    return found


def test_lanes_return_what_their_plans_returned(engine: RunEngine) -> None:
    def plan(number: int) -> Any:
        yield from bps.null()
        return number

    assert run(engine, Lane("a", plan(1)), Lane("b", plan(2))) == {"a": 1, "b": 2}


def test_a_failed_status_reaches_the_lane_that_waits_for_it_and_no_other(engine: RunEngine) -> None:
    good, bad = Mover("good"), Mover("bad", is_prompt=False)
    caught: list[FailedStatus] = []

    def failing() -> Any:
        status = yield from bps.abs_set(bad, 1, group="mine")
        yield from bps.null()
        bad.fail(CommandError("bad: stuck"))
        yield from bps.null()
        try:
            yield from bps.wait("mine")
        except FailedStatus as error:
            caught.append(error)
        return status

    def other() -> Any:
        for i in range(20):
            yield from bps.mv(good, i)
        return good.asked

    results = run(engine, Lane("failing", failing()), Lane("other", other()))
    assert results["other"] == list(range(20))
    assert caught[0].args[0] is bad.statuses[0]
    assert str(caught[0].__cause__) == "bad: stuck"


def test_what_fails_in_a_lane_is_told_at_the_end_of_all(engine: RunEngine) -> None:
    good = Mover("good")

    def failing() -> Any:
        yield from bps.null()
        raise CommandError("arm: no air")

    def other() -> Any:
        for i in range(3):
            yield from bps.mv(good, i)

    with pytest.raises(LanesFailed, match="lane failing: CommandError: arm: no air") as caught:
        run(engine, Lane("failing", failing()), Lane("other", other()))
    assert list(caught.value.causes) == ["failing"]
    assert good.asked == [0, 1, 2]


def test_a_lane_gets_units_by_name_and_may_start_others(engine: RunEngine) -> None:
    got: list[str] = []

    def sample() -> Any:
        units = yield from acquire("annealer", "arm")
        got.append(units["annealer"])
        yield from release("arm")
        yield from claim({"annealer": 1})
        yield from release(units["annealer"])

    def first() -> Any:
        handles = []
        for i in range(4):
            handles.append((yield from spawn(Lane(f"sample {i}", sample(), claim={"annealer": 1, "arm": 1}))))
        while not all(handle.done for handle in handles):
            yield from first_of(*(handle.status for handle in handles if not handle.done))
        return len(handles)

    assert run(engine, Lane("first", first()))["first"] == 4
    assert set(got) <= {"plate_a", "plate_b"} and len(got) == 4


def test_a_request_beyond_the_claim_is_refused_with_given_and_allowed(engine: RunEngine) -> None:
    def greedy() -> Any:
        yield from acquire("annealer")

    with pytest.raises(LanesFailed, match="asks for 1 annealer and holds nothing; allowed by its claim: 1 arm") as caught:
        run(engine, Lane("greedy", greedy(), claim={"arm": 1}))
    assert isinstance(caught.value.causes["greedy"], ResourceError)


def test_runs_of_lanes_are_kept_apart(engine: RunEngine) -> None:
    documents: list[tuple[str, dict[str, Any]]] = []
    engine.subscribe(lambda name, document: documents.append((name, document)))
    device = Mover("device")

    def sample(name: str) -> Any:
        uid = yield from bps.open_run({"lane": name})
        for _ in range(3):
            yield from bps.trigger_and_read([device])
        yield Msg("close_run")
        return uid

    uids = run(engine, Lane("a", sample("a")), Lane("b", sample("b")))
    starts = {document["uid"]: document["lane"] for name, document in documents if name == "start"}
    assert starts == {uids["a"]: "a", uids["b"]: "b"}
    stops = [document for name, document in documents if name == "stop"]
    assert [document["num_events"] for document in stops] == [{"primary": 3}, {"primary": 3}]
