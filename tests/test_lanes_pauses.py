"""Pause, resume, stop, abort, halt and suspenders over lanes, in a real RunEngine: nothing is set twice, nobody is told of what is another's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from bluesky import Msg, RunEngine
from bluesky import plan_stubs as bps
from bluesky.suspenders import SuspendBoolHigh
from bluesky.utils import FailedStatus, RequestAbort, RequestStop, RunEngineInterrupted
from lane_devices import Mover
from ophyd import Signal

from lab.core.errors import CommandError
from plans.lanes import Lane, Resources, acquire, lanes

DEADLINE_S = 30.0
NONE = Resources({"arm": ("arm",)})


@pytest.fixture
def engine() -> RunEngine:
    return RunEngine({}, call_returns_result=True)


def when(event: threading.Event, call: Callable[[], Any]) -> threading.Thread:
    """Call something in a thread of its own once an event is set."""
    def wait() -> None:
        assert event.wait(DEADLINE_S)
        call()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def interrupted(engine: RunEngine, plan: Any, event: threading.Event, call: Callable[[], Any]) -> None:
    """Run a plan, call something once the event is set, and come back when the plan is interrupted."""
    thread = when(event, call)
    with pytest.raises(RunEngineInterrupted):
        engine(plan)
    thread.join(DEADLINE_S)


def move(device: Mover, *targets: Any) -> Any:
    for target in targets:
        yield from bps.mv(device, target)
    return list(targets)


def test_a_pause_lets_what_is_under_way_finish_and_nothing_is_set_twice(engine: RunEngine) -> None:
    slow, other = Mover("slow", is_prompt=False), Mover("other", is_prompt=False)
    both = lanes(Lane("slow", move(slow, 1)), Lane("other", move(other, 5)), resources=NONE)
    interrupted(engine, both, other.begun, engine.request_pause)
    assert engine.state == "paused"
    assert slow.stops == other.stops == []
    slow.arrive()
    other.arrive()
    assert engine.resume().plan_result == {"slow": [1], "other": [5]}
    assert slow.asked == [1] and other.asked == [5]


def test_a_device_moved_by_hand_during_a_pause_fails_its_own_lane_only(engine: RunEngine) -> None:
    slow, other = Mover("slow", is_prompt=False), Mover("other", is_prompt=False)
    caught: list[Exception] = []

    def careful() -> Any:
        try:
            yield from bps.mv(slow, 10)
        except CommandError as error:
            caught.append(error)

    both = lanes(Lane("slow", careful()), Lane("other", move(other, 5)), resources=NONE)
    interrupted(engine, both, other.begun, engine.request_pause)
    slow.arrive(at=3.0)
    other.arrive()
    assert engine.resume().plan_result["other"] == [5]
    assert str(caught[0]) == "slow: was on its way to 10 during a pause, and is now at 3 (allowed: within 0.1); somebody has moved it"


def test_a_status_that_fails_during_a_pause_reaches_its_lane_after_it(engine: RunEngine) -> None:
    slow, other = Mover("slow", is_prompt=False), Mover("other", is_prompt=False)
    caught: list[Exception] = []

    def careful() -> Any:
        try:
            yield from bps.mv(slow, 10)
        except FailedStatus as error:
            caught.append(error)

    both = lanes(Lane("slow", careful()), Lane("other", move(other, 5, 6)), resources=NONE)
    interrupted(engine, both, other.begun, engine.request_pause)
    slow.fail(CommandError("slow: stuck"))
    other.arrive()
    other.is_prompt = True
    assert engine.resume().plan_result["other"] == [5, 6]
    assert str(caught[0].__cause__) == "slow: stuck"


def test_a_deferred_pause_lands_between_messages_and_outside_of_readings(engine: RunEngine) -> None:
    device = Mover("device")
    asked = threading.Event()

    def measuring() -> Any:
        yield from bps.open_run()
        device.begun.set()
        while not engine.deferred_pause_requested:
            yield from bps.trigger_and_read([device])
        asked.set()
        yield from bps.checkpoint()
        yield from bps.trigger_and_read([device])
        yield from bps.close_run()
        return "measured"

    plan = lanes(Lane("measuring", measuring()), resources=NONE)
    interrupted(engine, plan, device.begun, lambda: engine.request_pause(defer=True))
    assert engine.state == "paused" and asked.is_set()
    assert engine.resume().plan_result == {"measuring": "measured"}


def test_a_deferred_pause_lands_where_no_lane_has_a_checkpoint(engine: RunEngine) -> None:
    slow, other = Mover("slow", is_prompt=False), Mover("other", is_prompt=False)
    requested = threading.Event()

    def request() -> None:
        engine.request_pause(defer=True)
        requested.set()

    both = lanes(Lane("slow", move(slow, 1)), Lane("other", move(other, 5, 6)), resources=NONE)
    thread = when(requested, other.arrive)
    interrupted(engine, both, other.begun, request)
    thread.join(DEADLINE_S)
    assert engine.state == "paused"
    slow.arrive()
    other.arrive()
    assert engine.resume().plan_result == {"slow": [1], "other": [5, 6]}


def test_a_lane_may_pause_all(engine: RunEngine) -> None:
    device = Mover("device")

    def pausing() -> Any:
        yield from bps.mv(device, 1)
        yield from bps.pause()
        yield from bps.mv(device, 2)

    with pytest.raises(RunEngineInterrupted):
        engine(lanes(Lane("pausing", pausing()), Lane("other", move(Mover("other"), 1, 2, 3)), resources=NONE))
    assert device.asked == [1]
    engine.resume()
    assert device.asked == [1, 2]


def test_a_reading_that_a_pause_interrupts_is_taken_again(engine: RunEngine) -> None:
    begun = threading.Event()

    class Slow(Mover):
        n_reads = 0

        async def read(self) -> dict[str, Any]:
            import asyncio

            self.n_reads += 1
            if self.n_reads == 1:
                begun.set()
                await asyncio.Event().wait()
            return super().read()

    device = Slow("device")

    def measuring() -> Any:
        yield from bps.open_run()
        reading = yield from bps.trigger_and_read([device])
        yield from bps.close_run()
        return reading

    interrupted(engine, lanes(Lane("measuring", measuring()), resources=NONE), begun, engine.request_pause)
    assert engine.resume().plan_result == {"measuring": {"device": {"value": 0.0, "timestamp": 0.0}}}


@pytest.mark.parametrize(("way", "kind", "exit_status"), [("stop", RequestStop, "success"), ("abort", RequestAbort, "abort")])
@pytest.mark.parametrize("is_paused_before", [True, False])
def test_stop_and_abort_reach_all_lanes_whose_finalizers_run_side_by_side(
        engine: RunEngine, way: str, kind: type[Exception], exit_status: str, is_paused_before: bool) -> None:
    heater, arm, waiting = Mover("heater"), Mover("arm", is_prompt=False), Mover("waiting", is_prompt=False)
    seen: dict[str, Any] = {}
    documents: list[tuple[str, dict[str, Any]]] = []
    engine.subscribe(lambda name, document: documents.append((name, document)))

    def moving() -> Any:
        yield from acquire("arm")
        try:
            yield from bps.mv(arm, 1)
        except kind as error:
            seen["moving"] = error
            raise
        finally:
            seen["stops when told"] = list(arm.stops)
            yield from bps.mv(heater, 0)

    def second() -> Any:
        yield from bps.open_run()
        try:
            yield from bps.mv(waiting, 1)
        finally:
            yield from bps.mv(heater, 1)
            yield from acquire("arm")

    plan = lanes(Lane("moving", moving(), claim={"arm": 1}), Lane("second", second(), claim={"arm": 1}), resources=Resources({"arm": ("arm",)}))
    if is_paused_before:
        interrupted(engine, plan, waiting.begun, engine.request_pause)
        getattr(engine, way)()
    else:
        interrupted(engine, plan, waiting.begun, getattr(engine, way))
    assert engine.state == "idle"
    assert isinstance(seen["moving"], kind)
    assert arm.stops and waiting.stops
    assert sorted(heater.asked) == [0, 1]
    assert arm.asked == [1] and waiting.asked == [1]
    assert [document["exit_status"] for name, document in documents if name == "stop"] == [exit_status]


def test_what_is_under_way_stops_before_the_finalizers_run(engine: RunEngine) -> None:
    arm = Mover("arm", is_prompt=False)
    seen: list[list[bool]] = []

    def moving() -> Any:
        try:
            yield from bps.mv(arm, 1)
        finally:
            yield from bps.null()
            seen.append(list(arm.stops))

    interrupted(engine, lanes(Lane("moving", moving()), resources=NONE), arm.begun, engine.abort)
    assert seen == [[False]]


def test_halt_closes_all_lanes_and_stops_what_was_set(engine: RunEngine) -> None:
    arm = Mover("arm", is_prompt=False)
    closed: list[str] = []

    def moving() -> Any:
        try:
            yield from bps.mv(arm, 1)
        except GeneratorExit:
            closed.append("moving")
            raise

    interrupted(engine, lanes(Lane("moving", moving()), resources=NONE), arm.begun, engine.halt)
    assert closed == ["moving"]
    assert arm.stops


def test_a_suspender_holds_all_lanes_and_repeats_nothing(engine: RunEngine) -> None:
    signal = Signal(name="hutch_open", value=0)
    slow, other = Mover("slow", is_prompt=False), Mover("other")
    suspended, again = threading.Event(), threading.Event()
    engine.install_suspender(SuspendBoolHigh(signal, pre_plan=lambda: told(suspended)))

    def told(event: threading.Event) -> Any:
        event.set()
        yield Msg("null")

    thread = when(slow.begun, lambda: signal.put(1))
    release = when(suspended, lambda: (slow.arrive(), signal.put(0)))
    result = engine(lanes(Lane("slow", move(slow, 1)), Lane("other", move(other, *range(5))), resources=NONE))
    thread.join(DEADLINE_S)
    release.join(DEADLINE_S)
    assert suspended.is_set() and not again.is_set()
    assert result.plan_result == {"slow": [1], "other": list(range(5))}
    assert slow.asked == [1] and other.asked == list(range(5))
    assert slow.stops == [True], "stopped at the end of the plan, not by the suspender"


def test_the_run_engine_is_rewindable_again_afterwards(engine: RunEngine) -> None:
    assert engine.rewindable
    engine(lanes(Lane("a", move(Mover("a"), 1)), resources=NONE))
    assert engine.rewindable
    arm = Mover("arm", is_prompt=False)
    interrupted(engine, lanes(Lane("moving", move(arm, 1)), resources=NONE), arm.begun, engine.abort)
    assert engine.rewindable


def test_a_device_says_itself_how_near_is_near_enough(engine: RunEngine) -> None:
    class Stirrer(Mover):
        tolerance = float("inf")

    spinning_up = Stirrer("stirrer", is_prompt=False)
    plan = lanes(Lane("stirring", move(spinning_up, 300)), resources=NONE)
    interrupted(engine, plan, spinning_up.begun, engine.request_pause)
    spinning_up.arrive(at=12.0)
    assert engine.resume().plan_result == {"stirring": [300]}


def test_a_device_that_cannot_say_where_it_is_after_a_pause_fails_its_lane(engine: RunEngine) -> None:
    class Mute(Mover):
        @property
        def position(self) -> float:
            raise ConnectionError("no reply")

    mute = Mute("mute", is_prompt=False)
    caught: list[Exception] = []

    def careful() -> Any:
        try:
            yield from bps.mv(mute, 10)
        except CommandError as error:
            caught.append(error)

    interrupted(engine, lanes(Lane("mute", careful()), resources=NONE), mute.begun, engine.request_pause)
    mute.arrive()
    engine.resume()
    assert str(caught[0]) == "mute: was on its way to 10 during a pause, and cannot say where it is now: no reply"


def test_what_arrives_only_after_the_pause_is_looked_at_when_it_has(engine: RunEngine) -> None:
    slow, other = Mover("slow", is_prompt=False), Mover("other", is_prompt=False)
    caught: list[Exception] = []

    def careful() -> Any:
        status = yield from bps.abs_set(slow, 10, group="g")
        try:
            yield from bps.wait("g")
        except CommandError as error:
            caught.append(error)
        return status.done

    def later() -> Any:
        yield from bps.mv(other, 1)
        slow.arrive(at=4.0)

    interrupted(engine, lanes(Lane("slow", careful()), Lane("other", later()), resources=NONE), other.begun, engine.request_pause)
    other.arrive()
    assert engine.resume().plan_result["slow"] is True
    assert "is now at 4" in str(caught[0])
