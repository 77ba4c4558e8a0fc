"""Plans on a bare RunEngine, with instruments that do what a test tells them: what is announced, what is confirmed, what is safe."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted
from ophyd.status import Status

from lab.core.capabilities import ArmMove, Dose, Health, Park, Pick, Place
from lab.core.clock import ScaledClock
from lab.core.errors import CommandError, EmptyPlace, LabError, LedgerError, LinkDown, NotBegun
from lab.core.sample import GRIPPER, UNKNOWN
from plans.cell import Station, WorkCell
from plans.closed_loop import closed_loop
from plans.recipes import RECIPES, Carried, Order
from plans.safe import make_safe, recover


def finished(error: Exception | None = None) -> Status:
    status = Status()
    if error is None:
        status.set_finished()
    else:
        status.set_exception(error)
    return status


class Instrument:
    """Records what it is asked; fails the call named in `fails`, as often as told."""

    parent = None

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log
        self.fails: dict[str, list[Exception]] = {}

    def do(self, what: str) -> Status:
        self.log.append(f"{self.name} {what}")
        waiting = self.fails.get(what.split()[0])
        return finished(waiting.pop(0) if waiting else None)

    def health(self) -> Health:
        return Health(True, self.name, "ready", "", 0.1)

    def recover(self) -> Status:
        return self.do("recover")

    def make_safe(self) -> Status:
        return self.do("safe")

    def stop(self, *, success: bool = False) -> None:
        self.log.append(f"{self.name} stop")

    def read(self) -> dict[str, Any]:
        return {self.name: {"value": 1.0, "timestamp": 0.0}}

    def describe(self) -> dict[str, Any]:
        return {self.name: {"source": "test", "dtype": "number", "shape": []}}

    def read_configuration(self) -> dict[str, Any]:
        return {}

    describe_configuration = read_configuration


class Arm(Instrument):
    has_sample = False

    def set(self, move: ArmMove) -> Status:
        status = self.do(f"{type(move).__name__.lower()} {getattr(move, 'place', '')}".strip())
        if status.success and not isinstance(move, Park):
            self.has_sample = isinstance(move, Pick)
        return status

    def is_holding(self) -> bool:
        return self.has_sample


class Heater(Instrument):
    plate_c = 25.0

    def __init__(self, name: str, log: list[str]) -> None:
        super().__init__(name, log)
        self.stirrer = Stirrer("stirrer", log)

    def set(self, temperature_c: float) -> Status:
        status = self.do(f"set {temperature_c:g}")
        if status.success:
            self.plate_c = temperature_c
        return status

    def off(self) -> Status:
        return self.do("off")

    def temperature_c(self) -> float:
        return self.plate_c

    def cool_below(self, temperature_c: float) -> Status:
        self.plate_c = temperature_c
        return self.do(f"cool {temperature_c:g}")


class Stirrer(Instrument):
    def set(self, rpm: float) -> Status:
        return self.do(f"set {rpm:g}")


class Synthesiser(Instrument):
    """Dispenses 2 % too little of every liquid."""

    liquids = ("cs", "fa")

    def __init__(self, name: str, log: list[str]) -> None:
        super().__init__(name, log)
        self.counted: dict[str, float] = {}

    def set(self, dose: Dose) -> Status:
        status = self.do("dose " + " ".join(f"{n}={v:.3f}" for n, v in dose.volumes_ml.items()))
        self.counted = {n: round(v * (0.98 if status.success else 0.5), 4) for n, v in dose.volumes_ml.items()}
        return status

    def dispensed_ml(self) -> dict[str, float]:
        return self.counted


class Detector(Instrument):
    def set_exposure(self, count_time_s: float, n_images: int) -> Status:
        return self.do(f"exposure {count_time_s:g} {n_images}")

    def set_file(self, path: str) -> None:
        self.log.append(f"detector file {Path(path).name}")

    def stage(self) -> list[Any]:
        self.log.append("detector stage")
        return [self]

    def unstage(self) -> list[Any]:
        self.log.append("detector unstage")
        return [self]

    def trigger(self) -> Status:
        return self.do("trigger")


class Journal:
    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.place = "rack.1"
        self.values: dict[str, Any] = {}

    def move_announced(self, origin: str, target: str) -> int:
        self.log.append(f"announced {origin} -> {target}")
        self.target = target
        return 1

    def move_done(self, move: int) -> None:
        self.log.append("move done")
        self.place = self.target

    def move_failed(self, move: int, place: str, cause: str) -> None:
        self.log.append(f"move failed, at {place}: {cause}")
        self.place = place

    def dose_announced(self, key: str, volumes_ml: Mapping[str, float]) -> None:
        self.log.append(f"announced dose {key}")

    def dose_done(self, key: str, dispensed_ml: Mapping[str, float]) -> None:
        self.log.append(f"dose done {dict(dispensed_ml)}")

    def dose_failed(self, key: str, dispensed_ml: Mapping[str, float], cause: str) -> None:
        self.log.append(f"dose failed {dict(dispensed_ml)}: {cause}")

    def step_began(self, station: str, what: str, name: str = "") -> int:
        return 1

    def step_ended(self, step: int, cause: str = "") -> None:
        pass

    def executed(self, values: Mapping[str, Any]) -> None:
        self.values.update(values)

    def run_opened(self, uid: str) -> None:
        self.log.append("run opened")


class Conductor:
    """Orders `n` samples, all alike."""

    def __init__(self, log: list[str], n: int = 1) -> None:
        self.log, self.left, self.trial = log, n, -1
        self.journal = Journal(log)
        self.journals: dict[str, Journal] = {}
        self.order: tuple[Order, Journal] | None = None
        self.reported: Carried | None = None
        self.failures: list[LabError] = []
        self.troubles: list[str] = []

    def next_order(self) -> Status:
        self.order = None
        if self.left:
            self.left, self.trial = self.left - 1, self.trial + 1
            self.journal = Journal(self.log)
            self.journal.place = f"rack.{self.trial + 1}"
            self.journals[f"s{self.trial}"] = self.journal
            settings = {name: s.default for name, s in RECIPES["thin_film"].settings.items()}
            settings.update(anneal_temperature=120.0, anneal_time_s=600.0)
            place = f"rack.{self.trial + 1}"
            sample = f"s{self.trial}"
            self.order = (Order(self.trial, sample, place, sample, {"cs": 0.25, "fa": 0.75}, {}, settings, {"sample": sample}), self.journal)
        return finished()

    def carried(self, order: Order, carried: Carried) -> None:
        self.reported = carried

    def measured(self, order: Order) -> Status:
        self.log.append("measured")
        return finished()

    def failed(self, order: Order, error: LabError) -> None:
        self.failures.append(error)

    def trouble(self, what: str) -> None:
        self.troubles.append(what)

    def whereabouts(self, order: Order) -> str:
        return self.journals[order.sample].place


class Bench:
    def __init__(self, tmp_path: Path) -> None:
        self.log: list[str] = []
        self.arm, self.synthesiser, self.detector = Arm("arm", self.log), Synthesiser("synthesiser", self.log), Detector("detector", self.log)
        self.heater = Heater("heater", self.log)
        stations = (Station("synthesiser", "synthesiser", self.synthesiser), Station("plate", "annealer", self.heater),
                    Station("stage", "detector", self.detector))
        self.cell = WorkCell(self.arm, stations, ("rack.1", "rack.2"), ScaledClock(100000), tmp_path)
        self.documents: list[tuple[str, dict[str, Any]]] = []
        self.RE = RunEngine(context_managers=[])
        self.RE.subscribe(lambda name, doc: self.documents.append((name, doc)))

    def run(self, conductor: Conductor) -> None:
        self.RE(closed_loop(self.cell, RECIPES["thin_film"], conductor))


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    one = Bench(tmp_path)
    yield one
    one.RE.loop.call_soon_threadsafe(one.RE.loop.stop)
    one.RE._th.join(5)


def test_a_sample_is_made_measured_and_put_back_and_every_act_is_announced_first(bench: Bench) -> None:
    conductor = Conductor(bench.log)
    bench.run(conductor)
    assert not conductor.failures
    wanted = ["announced rack.1 -> gripper", "arm pick rack.1", "announced gripper -> synthesiser", "arm place synthesiser",
              "announced dose s0:dose", "synthesiser dose cs=0.250 fa=0.750", "arm pick synthesiser", "arm place plate",
              "stirrer set 300", "heater set 120", "heater off", "stirrer set 0", "arm pick plate", "arm place stage", "detector stage", "detector trigger", "detector unstage", "measured",
              "arm pick stage", "arm place rack.1"]
    positions = [bench.log.index(line) for line in wanted]
    assert positions == sorted(positions)
    assert bench.log.count("move done") == 8


def test_what_was_carried_out_is_reported_not_what_was_planned(bench: Bench) -> None:
    conductor = Conductor(bench.log)
    bench.heater.set = lambda c: setattr(bench.heater, "plate_c", c - 1.5) or finished()  # type: ignore[method-assign]
    bench.run(conductor)
    assert conductor.reported is not None
    assert conductor.reported.settings["anneal_temperature"] == pytest.approx(118.5)
    assert conductor.reported.settings["anneal_time_s"] >= 600.0
    assert sum(conductor.reported.shares.values()) == pytest.approx(1.0, abs=1e-12)


def test_an_anneal_whose_plate_does_not_hold_its_temperature_fails_the_sample(bench: Bench) -> None:
    conductor = Conductor(bench.log)
    bench.heater.set = lambda c: setattr(bench.heater, "plate_c", 80.0) or finished()  # type: ignore[method-assign]
    bench.run(conductor)
    assert [str(e) for e in conductor.failures] == [
        "heater: the plate is at 80 degC where it shall hold 120 degC; look at its display for an error"]
    assert conductor.reported is None
    assert "heater off" in bench.log


def test_a_warm_plate_is_cooled_before_a_substrate_is_loaded(bench: Bench) -> None:
    bench.heater.plate_c = 150.0
    bench.run(Conductor(bench.log))
    assert bench.log.index("heater cool 60") < bench.log.index("arm pick rack.1")


def test_a_failed_dose_is_booked_with_what_the_pumps_counted_and_costs_only_its_sample(bench: Bench) -> None:
    bench.synthesiser.fails["dose"] = [CommandError("pump cs: stalled")]
    conductor = Conductor(bench.log, n=2)
    bench.run(conductor)
    assert [str(e) for e in conductor.failures] == ["pump cs: stalled"]
    assert "dose failed {'cs': 0.125, 'fa': 0.375}: pump cs: stalled" in bench.log
    assert "announced dose s1:dose" in bench.log
    stops = [doc for name, doc in bench.documents if name == "stop"]
    assert [s["exit_status"] for s in stops] == ["fail", "success"]
    assert stops[0]["reason"] == "pump cs: stalled"


def test_a_failed_sample_is_put_away_so_that_the_station_is_free(bench: Bench) -> None:
    bench.synthesiser.fails["dose"] = [CommandError("pump cs: stalled")]
    conductor = Conductor(bench.log)
    bench.run(conductor)
    assert conductor.journal.place == "rack.1"
    failed = bench.log.index("dose failed {'cs': 0.125, 'fa': 0.375}: pump cs: stalled")
    assert "arm pick synthesiser" in bench.log[failed:]


def test_the_heater_goes_off_when_the_anneal_fails(bench: Bench) -> None:
    bench.heater.fails["set"] = [LinkDown("hotplate: no answer")]
    bench.run(Conductor(bench.log))
    assert "heater off" in bench.log[bench.log.index("heater set 120"):]


@pytest.mark.parametrize(("what", "place"), [("pick", "rack.1"), ("place", UNKNOWN)])
def test_after_a_failed_transfer_the_ledger_says_where_the_sample_is(bench: Bench, what: str, place: str) -> None:
    bench.arm.fails[what] = [CommandError("arm: [3005] collision")]
    conductor = Conductor(bench.log)
    if what == "place":
        bench.arm.is_holding = lambda: False  # type: ignore[method-assign]
    bench.run(conductor)
    assert f"move failed, at {place}: arm: [3005] collision" in bench.log
    assert conductor.journal.place == "rack.1"


def test_a_sample_left_in_the_gripper_is_put_back_into_its_slot(bench: Bench) -> None:
    bench.arm.fails["place"] = [CommandError("arm: [1016] unreachable")]
    conductor = Conductor(bench.log)
    bench.run(conductor)
    assert f"move failed, at {GRIPPER}: arm: [1016] unreachable" in bench.log
    assert conductor.journal.place == "rack.1"


def stands_at(bench: Bench, place: str) -> None:
    """Let the gripper find a sample at `place` only, and never feel it (its line was down)."""
    carry_out = bench.arm.set

    def pick(move: ArmMove) -> Status:
        if isinstance(move, Pick) and move.place != place and "arm place synthesiser" in bench.log:
            bench.log.append(f"arm pick {move.place}")
            return finished(EmptyPlace(f"arm: no sample at {move.place}"))
        return carry_out(move)

    bench.arm.set = pick  # type: ignore[method-assign]
    bench.arm.fails["place"] = [LinkDown("arm: the line dropped during the motion")]
    holding = [False]
    bench.arm.is_holding = lambda: holding.pop() if holding else unplugged(bench)  # type: ignore[method-assign]


def unplugged(bench: Bench) -> bool:
    """The gripper cannot be asked until the arm has been recovered; then it is empty."""
    if bench.log.count("arm recover") < 2:
        raise LinkDown("arm: no answer")
    return False


@pytest.mark.parametrize("place", ["synthesiser", "plate", "stage", "rack.1"])
def test_a_sample_of_which_nobody_knows_where_it_is_is_looked_for_and_put_back(bench: Bench, place: str) -> None:
    stands_at(bench, place)
    conductor = Conductor(bench.log)
    bench.run(conductor)
    assert f"move failed, at {UNKNOWN}: arm: the line dropped during the motion" in bench.log
    assert conductor.journal.place == "rack.1"
    assert conductor.troubles == []


def test_a_sample_that_is_found_nowhere_is_said_and_keeps_no_other_from_being_made(bench: Bench) -> None:
    stands_at(bench, "the floor")
    conductor = Conductor(bench.log)
    bench.run(conductor)
    assert conductor.journal.place == UNKNOWN
    assert conductor.troubles == ["sample s0: not put away: nobody knows where it is: "
                                  "arm: the gripper found no sample at synthesiser, plate, stage, rack.1"]


def test_no_sample_is_carried_into_one_that_could_not_be_put_away(bench: Bench) -> None:
    bench.synthesiser.fails["dose"] = [CommandError("pump cs: stalled")]
    bench.arm.fails["pick"] = []
    carry_out = bench.arm.set

    def broken(move: ArmMove) -> Status:
        if move == Pick("synthesiser"):
            return finished(CommandError("arm: [1011] the robot is in error"))
        return carry_out(move)

    bench.arm.set = broken  # type: ignore[method-assign]
    conductor = Conductor(bench.log, n=2)
    bench.run(conductor)
    assert str(conductor.failures[1]) == ("not begun: sample s0 may be in the way: it is at synthesiser: "
                                          "arm: [1011] the robot is in error")
    assert "arm pick rack.2" not in bench.log
    assert [journal.place for journal in conductor.journals.values()] == ["synthesiser", "rack.2"]


def test_a_sample_in_the_gripper_is_put_away_as_soon_as_the_arm_can_before_the_next_one_is_touched(bench: Bench) -> None:
    dead = [CommandError("arm: [1016] unreachable")] * 2
    bench.arm.fails["place"] = dead
    conductor = Conductor(bench.log, n=2)
    bench.run(conductor)
    assert len(conductor.failures) == 1
    assert bench.log.index("arm place rack.1") < bench.log.index("arm pick rack.2")
    assert [journal.place for journal in conductor.journals.values()] == ["rack.1", "rack.2"]


def test_an_empty_slot_costs_its_trial_and_nothing_is_looked_for_at_the_stations(bench: Bench) -> None:
    bench.arm.fails["pick"] = [EmptyPlace("arm: no sample at rack.1: the gripper closed on nothing")]
    conductor = Conductor(bench.log, n=2)
    bench.run(conductor)
    assert [str(e) for e in conductor.failures] == ["arm: no sample at rack.1: the gripper closed on nothing"]
    assert "arm place rack.1" not in bench.log
    assert conductor.journals["s0"].place == UNKNOWN
    assert conductor.journals["s1"].place == "rack.2"


def test_a_campaign_does_not_begin_with_somebody_elses_sample_in_the_gripper(bench: Bench) -> None:
    bench.arm.has_sample = True
    with pytest.raises(CommandError, match="the gripper holds a sample that is none of this campaign"):
        bench.run(Conductor(bench.log))
    assert not any("pick" in line for line in bench.log)
    assert "synthesiser safe" in bench.log


def test_everything_is_made_safe_in_order_and_one_dead_instrument_keeps_no_other_from_it(bench: Bench) -> None:
    bench.synthesiser.fails["safe"] = [LinkDown("pump: no answer")]
    conductor = Conductor(bench.log, n=0)
    bench.run(conductor)
    assert [line for line in bench.log if line.endswith("safe") or line == "arm park"] == ["heater safe", "synthesiser safe", "arm safe", "detector safe", "arm park"]
    assert conductor.troubles == ["synthesiser: not safe: pump: no answer"]


@pytest.mark.parametrize("document", ["start", "event", "stop"])
def test_a_document_that_cannot_be_written_ends_the_campaign_safely(bench: Bench, document: str) -> None:
    def write(name: str, doc: dict[str, Any]) -> None:
        if name == document:
            raise LedgerError("documents: run.jsonl: cannot be written: No space left on device")

    bench.RE.subscribe(write)
    conductor = Conductor(bench.log, n=2)
    with pytest.raises(LedgerError, match="No space left on device"):
        bench.run(conductor)
    assert conductor.trial == 0
    assert [str(e) for e in conductor.failures] == ["documents: run.jsonl: cannot be written: No space left on device"]
    assert "synthesiser safe" in bench.log and "arm park" in bench.log


def test_an_abort_from_outside_makes_safe_too(bench: Bench) -> None:
    conductor = Conductor(bench.log)

    def abort_meanwhile() -> Status:
        threading.Thread(target=bench.RE.abort, args=("operator",)).start()
        return Status()  # never finishes by itself

    bench.detector.trigger = abort_meanwhile  # type: ignore[method-assign]
    with pytest.raises(RunEngineInterrupted):
        bench.run(conductor)
    assert "arm park" in bench.log
    assert "detector safe" in bench.log


def test_a_move_that_fails_because_it_is_stopped_does_not_fail_the_stop(bench: Bench) -> None:
    conductor = Conductor(bench.log)
    moving = Status()

    def pick(move: ArmMove) -> Status:
        if isinstance(move, Park):
            return bench.arm.do("park")
        threading.Thread(target=bench.RE.abort, args=("operator",)).start()
        return moving

    def safe() -> Status:
        moving.set_exception(CommandError("arm: the move failed: the arm was made safe"))
        return bench.arm.do("safe")

    bench.arm.set, bench.arm.make_safe = pick, safe  # type: ignore[method-assign]
    with pytest.raises(RunEngineInterrupted):
        bench.run(conductor)
    assert conductor.troubles == []
    assert bench.log[-1] == "arm park" or "arm park" in bench.log[-3:]


def test_recovery_is_tried_again_until_patience_ends(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.arm.fails["recover"] = [LinkDown("arm: no answer")]
    found: dict[str, Any] = {}

    def plan(then: Callable[[], Any]) -> Any:
        found["wrong"] = yield from then()

    bench.RE(plan(lambda: recover(bench.cell, patience_s=5.0)))
    assert found["wrong"] == {}
    bench.arm.fails["recover"] = [LinkDown("arm: no answer")]
    bench.RE(plan(lambda: recover(bench.cell)))
    assert found["wrong"] == {"arm": "arm: no answer"}
    bench.RE(plan(lambda: make_safe(bench.cell)))
    assert found["wrong"] == {"heater": "safe", "synthesiser": "safe", "arm": "safe, parked", "detector": "safe"}


def test_place_and_pick_are_values() -> None:
    assert Place("stage") == Place("stage") != Pick("stage")


def test_an_instrument_that_went_while_idle_is_waited_for_and_costs_no_sample(bench: Bench) -> None:
    conductor = Conductor(bench.log)
    answers = iter([Health(False, "arm", "not connected", "unplugged", float("nan"))])
    ready = Health(True, "arm", "ready", "", 0.1)
    bench.arm.health = lambda: next(answers, ready)  # type: ignore[method-assign]
    bench.run(conductor)
    assert not conductor.failures
    assert bench.log.count("arm recover") == 3  # at the start, when it had gone, and before it parks


def test_a_sample_is_not_begun_while_an_instrument_is_not_ready(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plans.closed_loop.PATIENCE_S", 0.0)
    conductor = Conductor(bench.log)
    bench.arm.health = lambda: Health(False, "arm", "not connected", "unplugged", float("nan"))  # type: ignore[method-assign]
    bench.arm.fails["recover"] = [LinkDown("arm: no answer")] * 3
    bench.run(conductor)
    assert [type(error) for error in conductor.failures] == [NotBegun]
    assert str(conductor.failures[0]) == "not begun: arm is not ready: arm: no answer"
    assert not any("pick" in line for line in bench.log)
