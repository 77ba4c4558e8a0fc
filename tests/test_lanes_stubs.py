"""Bluesky's own stubs and plans inside lanes: each does there what it does in a plan of its own."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import Any

import pytest
from bluesky import Msg, RunEngine
from bluesky import plan_stubs as bps
from bluesky import plans as bp
from bluesky.preprocessors import SupplementalData
from bluesky.run_engine import WaitForTimeoutError
from bluesky.utils import FailedStatus, IllegalMessageSequence
from lane_devices import Mover
from ophyd.sim import SynAxis, SynGauss, TrivialFlyer
from ophyd.status import Status

from lab.core.errors import CommandError, LabError
from plans.lanes import Lane, LaneCancelled, LaneHandle, LanesFailed, Resources, acquire, first_of, lanes, release, spawn

Documents = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def engine() -> RunEngine:
    return RunEngine({}, call_returns_result=True)


@pytest.fixture
def documents(engine: RunEngine) -> Documents:
    found: Documents = []
    engine.subscribe(lambda name, document: found.append((name, document)))
    return found


def run(engine: RunEngine, *plans: Any, **options: Any) -> list[Any]:
    """What each plan returned."""
    options.setdefault("resources", Resources({"arm": ("arm",)}))
    made = [plan if isinstance(plan, Lane) else Lane(f"lane {i}", plan, {"arm": 1}) for i, plan in enumerate(plans)]
    found: dict[str, Any] = engine(lanes(*made, **options)).plan_result
    return list(found.values())


def by_run(documents: Documents) -> dict[str, Counter[str]]:
    """Per ``lane`` of the start documents the number of events by stream."""
    lane_of = {document["uid"]: document["lane"] for name, document in documents if name == "start"}
    stream_of = {document["uid"]: (lane_of[document["run_start"]], document["name"]) for name, document in documents if name == "descriptor"}
    found: dict[str, Counter[str]] = {lane: Counter() for lane in lane_of.values()}
    for name, document in documents:
        if name in ("event", "event_page"):
            lane, stream = stream_of[document["descriptor"]]
            found[lane][stream] += 1 if name == "event" else len(document["seq_num"])
    return found


def measure(lane: str, device: Any, n: int = 2) -> Any:
    uid = yield from bps.open_run({"lane": lane})
    for _ in range(n):
        yield from bps.trigger_and_read([device])
    yield from bps.close_run()
    return uid


# --- whole plans


def test_scans_of_bluesky_run_side_by_side(engine: RunEngine, documents: Documents) -> None:
    motors = [SynAxis(name=f"m{i}") for i in range(2)]
    detectors = [SynGauss(f"d{i}", motor, f"m{i}", center=0, Imax=1, sigma=1) for i, motor in enumerate(motors)]
    run(engine, *(bp.scan([d], m, -1, 1, 5, md={"lane": m.name}) for d, m in zip(detectors, motors, strict=True)))
    assert by_run(documents) == {"m0": {"primary": 5}, "m1": {"primary": 5}}
    assert [document["exit_status"] for name, document in documents if name == "stop"] == ["success", "success"]


def test_flyers_are_kicked_off_completed_and_collected(engine: RunEngine, documents: Documents) -> None:
    class Flyer(TrivialFlyer):
        """Collects one event, once."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name, self.n_collected = name, 0

        def describe_collect(self) -> dict[str, Any]:
            return {"flown": {self.name: {"source": "test", "dtype": "number", "shape": []}}}

        def collect(self) -> Any:
            self.n_collected += 1
            yield {"time": 0.0, "data": {self.name: 1.0}, "timestamps": {self.name: 0.0}}

    flyers = [Flyer("f0"), Flyer("f1")]
    run(engine, *(bp.fly([flyer], md={"lane": flyer.name}) for flyer in flyers))
    assert by_run(documents) == {"f0": {"flown": 1}, "f1": {"flown": 1}}
    assert [flyer.n_collected for flyer in flyers] == [1, 1]


def test_a_lane_may_have_several_runs_at_once(engine: RunEngine, documents: Documents) -> None:
    device = Mover("device")

    def two() -> Any:
        yield Msg("open_run", None, lane="outer")
        yield Msg("open_run", None, lane="inner", run="second")
        yield Msg("create", None, name="primary", run="second")
        yield Msg("read", device, run="second")
        yield Msg("save", None, run="second")
        yield Msg("close_run", None, run="second")
        yield Msg("close_run", None)

    run(engine, two(), measure("other", device))
    assert by_run(documents) == {"outer": {}, "inner": {"primary": 1}, "other": {"primary": 2}}


def test_a_run_that_a_failed_lane_left_open_is_closed_with_its_cause(engine: RunEngine, documents: Documents) -> None:
    def failing() -> Any:
        yield from bps.open_run({"lane": "failing"})
        yield from bps.null()
        raise CommandError("arm: no air")

    with pytest.raises(LanesFailed, match="arm: no air"):
        run(engine, failing(), measure("other", Mover("device")))
    stops = {document["exit_status"]: document["reason"] for name, document in documents if name == "stop"}
    assert stops == {"fail": "arm: no air", "success": ""}


def test_a_message_that_the_run_engine_refuses_is_its_lanes_own_mistake(engine: RunEngine) -> None:
    def wrong() -> Any:
        try:
            yield from bps.save()
        except IllegalMessageSequence as error:
            return str(error)

    assert run(engine, wrong(), measure("other", Mover("device")))[0] == "A 'save' message was sent but no run is open."


# --- waiting


def test_a_wait_times_out_and_may_be_taken_up_again(engine: RunEngine) -> None:
    device = Mover("device", is_prompt=False)

    def waiting() -> Any:
        yield from bps.abs_set(device, 1, group="g")
        try:
            yield from bps.wait("g", timeout=0.001)
        except WaitForTimeoutError:
            device.arrive()
        return (yield from bps.wait("g"))

    assert run(engine, waiting()) == [True]


def test_a_wait_may_move_on_when_its_time_is_over(engine: RunEngine) -> None:
    device = Mover("device", is_prompt=False)

    def waiting() -> Any:
        yield from bps.abs_set(device, 1, group="g")
        first = yield from bps.wait("g", timeout=0.001, error_on_timeout=False)
        device.arrive()
        return first, (yield from bps.wait("g", timeout=10, error_on_timeout=False))

    assert run(engine, waiting()) == [(False, True)]


def test_a_wait_ends_when_a_group_that_it_watches_fails(engine: RunEngine) -> None:
    slow, watched = Mover("slow", is_prompt=False), Mover("watched", is_prompt=False)

    def waiting() -> Any:
        yield from bps.abs_set(slow, 1, group="g")
        yield from bps.abs_set(watched, 1, group="w")
        threading.Timer(0.01, watched.fail, [CommandError("watched: stuck")]).start()
        try:
            yield from bps.wait("g", watch=("w",))
        except FailedStatus as error:
            return str(error.__cause__)

    assert run(engine, waiting()) == ["watched: stuck"]


def test_one_failure_of_a_group_ends_the_wait_and_the_rest_can_still_be_waited_for(engine: RunEngine) -> None:
    bad, slow = Mover("bad", is_prompt=False), Mover("slow", is_prompt=False)

    def waiting() -> Any:
        yield from bps.abs_set(bad, 1, group="g")
        yield from bps.abs_set(slow, 1, group="g")
        bad.fail(CommandError("bad: stuck"))
        with pytest.raises(FailedStatus):
            yield from bps.wait("g")
        slow.arrive()
        return (yield from bps.wait("g"))

    assert run(engine, waiting()) == [True]


def test_groups_of_one_name_in_two_lanes_are_two(engine: RunEngine) -> None:
    slow, prompt = Mover("slow", is_prompt=False), Mover("prompt")
    order: list[str] = []

    def waiting(device: Mover) -> Any:
        yield from bps.abs_set(device, 1, group="same")
        yield from bps.wait("same")
        order.append(device.name)
        if device is prompt:
            slow.arrive()

    run(engine, waiting(slow), waiting(prompt))
    assert order == ["prompt", "slow"]


def test_a_failure_that_nobody_waits_for_ends_its_lane_as_failed(engine: RunEngine) -> None:
    bad = Mover("bad", is_prompt=False)

    def careless() -> Any:
        yield from bps.abs_set(bad, 1)
        bad.fail(CommandError("bad: stuck"))
        yield from bps.null()

    with pytest.raises(LanesFailed) as caught:
        run(engine, careless())
    assert str(caught.value.causes["lane 0"].__cause__) == "bad: stuck"


def test_sleeps_of_lanes_do_not_add_up(engine: RunEngine) -> None:
    order: list[float] = []

    def sleeping(seconds: float) -> Any:
        yield from bps.sleep(seconds)
        order.append(seconds)

    run(engine, *(sleeping(seconds) for seconds in (0.03, 0.01, 0.02)))
    assert order == [0.01, 0.02, 0.03]


def test_wait_for_does_not_hold_up_the_others(engine: RunEngine) -> None:
    box: dict[str, asyncio.Event] = {}

    def waiting() -> Any:
        box["event"] = asyncio.Event()
        (task,) = yield from bps.wait_for([box["event"].wait])
        return task.result()

    def opening() -> Any:
        yield from bps.mv(Mover("device"), 1)
        box["event"].set()

    assert run(engine, waiting(), opening()) == [True, None]


def test_wait_for_raises_when_its_time_is_over(engine: RunEngine) -> None:
    def waiting() -> Any:
        yield from bps.wait_for([asyncio.Event().wait], timeout=0.001)

    with pytest.raises(LanesFailed, match="WaitForTimeoutError"):
        run(engine, waiting())


def test_first_of_goes_on_with_the_first_and_takes_no_notice_of_failures(engine: RunEngine) -> None:
    slow, bad = Mover("slow", is_prompt=False), Mover("bad", is_prompt=False)

    def waiting() -> Any:
        statuses = []
        for device in (slow, bad):
            statuses.append((yield from bps.abs_set(device, 1)))
        threading.Timer(0.01, bad.fail, [CommandError("bad: stuck")]).start()
        yield from first_of(*statuses)
        return [status.done for status in statuses]

    assert run(engine, waiting()) == [[False, True]]


def test_a_wait_after_first_of_still_raises(engine: RunEngine) -> None:
    bad = Mover("bad", is_prompt=False)

    def waiting() -> Any:
        status = yield from bps.abs_set(bad, 1, group="g")
        bad.fail(CommandError("bad: stuck"))
        yield from first_of(status)
        try:
            yield from bps.wait("g")
        except FailedStatus as error:
            return str(error.__cause__)

    assert run(engine, waiting()) == ["bad: stuck"]


def test_first_of_nothing_is_refused(engine: RunEngine) -> None:
    with pytest.raises(LanesFailed, match=r"lane lane 0: first_of\(\) waits for nothing; allowed: at least one status"):
        run(engine, first_of())


# --- staging, monitors, baseline


def test_stage_and_unstage_reach_the_device(engine: RunEngine) -> None:
    class Staged(Mover):
        def __init__(self, name: str) -> None:
            super().__init__(name)
            self.log: list[str] = []

        def stage(self) -> list[Any]:
            self.log.append("stage")
            return [self]

        def unstage(self) -> Status:
            self.log.append("unstage")
            status = Status()
            status.set_finished()
            return status

    device, left = Staged("device"), Staged("left")

    def staging() -> Any:
        answer = yield from bps.stage(device)
        yield from bps.unstage(device)
        return answer

    def leaving() -> Any:
        yield from bps.stage(left)

    assert run(engine, staging(), leaving())[0] == [device]
    assert device.log == ["stage", "unstage"]
    assert left.log == ["stage", "unstage"], "the RunEngine unstages what was left"


def test_a_monitor_tells_the_run_of_its_lane(engine: RunEngine, documents: Documents) -> None:
    signals = [Watched(f"s{i}") for i in range(2)]

    def monitoring(signal: Watched) -> Any:
        yield from bps.open_run({"lane": signal.name})
        yield from bps.monitor(signal, name="watch")
        for i in range(3):
            yield from bps.mv(signal, i)
        yield from bps.unmonitor(signal)
        yield from bps.close_run()

    run(engine, *(monitoring(signal) for signal in signals))
    assert by_run(documents) == {"s0": {"watch": 4}, "s1": {"watch": 4}}


class Watched(Mover):
    """Tells who subscribed of each value, at once."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._told: list[Any] = []

    def subscribe(self, told: Any, **kwargs: Any) -> None:
        self._told.append(told)
        told(self.read())

    def clear_sub(self, told: Any) -> None:
        self._told.remove(told)

    def arrive(self, at: float | None = None) -> None:
        super().arrive(at)
        for told in self._told:
            told(self.read())


def supplements() -> SupplementalData:
    return SupplementalData(baseline=[Mover("base")], monitors=[Watched("ring")])


def test_baseline_and_monitors_belong_to_the_lanes_plans(engine: RunEngine, documents: Documents) -> None:
    run(engine, measure("a", Mover("device")), measure("b", Mover("device")), preprocessors=[supplements()])
    assert by_run(documents) == {name: {"baseline": 2, "ring_monitor": 1, "primary": 2} for name in "ab"}


def test_a_baseline_of_the_run_engine_is_right_for_each_lane_too(engine: RunEngine, documents: Documents) -> None:
    engine.preprocessors.append(SupplementalData(baseline=[Mover("base")]))
    run(engine, measure("a", Mover("device")), measure("b", Mover("device")))
    assert by_run(documents) == {name: {"baseline": 2, "primary": 2} for name in "ab"}


def test_monitors_of_the_run_engine_itself_are_refused_with_what_to_do(engine: RunEngine) -> None:
    engine.preprocessors.append(supplements())
    with pytest.raises(LanesFailed, match=r"a preprocessor of the RunEngine knows of one run only \(monitors, flyers\); give it to lanes\(preprocessors=\)"):
        run(engine, measure("a", Mover("device")))


# --- lanes among themselves


def test_a_cancelled_lane_cleans_up_gives_back_and_is_no_failure(engine: RunEngine) -> None:
    slow, device = Mover("slow", is_prompt=False), Mover("device")

    def slowly() -> Any:
        yield from acquire("arm")
        try:
            yield from bps.mv(slow, 1)
        finally:
            yield from bps.mv(device, 0)

    def first() -> Any:
        handle: LaneHandle = yield from spawn(Lane("slowly", slowly(), {"arm": 1}))
        while not slow.asked:
            yield from bps.null()
        handle.cancel()
        units = yield from acquire("arm")
        yield from release(*units.values())
        return handle

    (handle, _) = run(engine, first())
    assert handle.done and isinstance(handle.exception, LaneCancelled)
    assert device.asked == [0]
    assert slow.stops == [True], "at the end only: a recipe that is cancelled says itself what shall stop"


def test_who_reads_the_exception_of_a_lane_has_taken_it(engine: RunEngine) -> None:
    def failing() -> Any:
        yield from bps.null()
        raise CommandError("arm: no air")

    def first() -> Any:
        handle = yield from spawn(Lane("failing", failing()))
        yield from first_of(handle.status)
        return str(handle.exception), handle.result, handle.status.success

    assert run(engine, first())[0] == ("arm: no air", None, True)


def test_a_name_is_used_once(engine: RunEngine) -> None:
    def first() -> Any:
        yield from spawn(Lane("lane 0", []))

    with pytest.raises(LanesFailed, match="lane lane 0: there is, or was, a lane of that name; allowed: any other"):
        run(engine, first())


def test_lanes_rest_only_while_none_can_go_on(engine: RunEngine) -> None:
    device = Mover("device", is_prompt=False)
    rests: list[str] = []

    class Resting:
        def __init__(self, is_over: Any) -> None:
            assert not is_over()

        def __enter__(self) -> None:
            rests.append("rests")
            if device.statuses and not device.statuses[-1].done:
                device.arrive()

        def __exit__(self, *error: object) -> None:
            rests.append("goes on")

    def moving() -> Any:
        yield from bps.mv(device, 1)

    run(engine, moving(), resting=Resting)
    assert rests == ["rests", "goes on"]


def test_only_a_lab_error_names_what_a_unit_is(engine: RunEngine) -> None:
    def wrong() -> Any:
        try:
            yield from release("hammer")
        except LabError as error:
            return str(error)

    assert run(engine, wrong()) == ["lane lane 0: gives back hammer; allowed: nothing, it holds nothing, each once"]
