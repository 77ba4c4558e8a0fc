"""Virtual time over several processes: who says what on the shared page, when time leaps, and that two campaigns are the same."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import sim.keeper
from devices import timekeeping
from devices.cadence import LONGEST_S, SHORTEST_S, Cadence
from devices.statuses import OperationStatus
from firmware_bridges.waits import Arrival, Waits
from lab.core.clock import STANDSTILL_S, ManualClock, WallClock, deadline_s
from lab.core.config import LabConfig
from lab.core.errors import CommandError
from lab.core.page import N_SEATS, TimePage
from lab.core.virtual import SharedClock
from lab.records.comparison import differences
from sim.keeper import TimeKeeper
from sim.switchboard import Switchboard

ROOT = Path(__file__).parent.parent


@pytest.fixture
def page() -> Iterator[TimePage]:
    made, file = TimePage.create()
    with file:
        yield made


@pytest.fixture
def clock(page: TimePage) -> Iterator[SharedClock]:
    made = SharedClock(page)
    yield made
    made.close()


def leap(page: TimePage, now_s: float) -> None:
    page.move_to(now_s)
    page.leapt()


# ------------------------------------------------------------------------------------------------------- the page


def test_a_page_is_seen_by_all_who_inherit_it() -> None:
    mine, file = TimePage.create(5.0)
    with file:
        yours = TimePage(file.fileno())
    leap(mine, 12.5)
    yours.sit(3, yours.epoch, 2)
    assert (yours.now_s, yours.epoch, mine.look(4).n_waiting) == (12.5, 1, (0, 0, 0, 2))


def test_a_page_has_room_for_a_large_laboratory() -> None:
    assert N_SEATS > 100


def test_nobody_is_at_rest_before_the_session_says_so(page: TimePage) -> None:
    assert not page.look(2).is_at_rest
    page.tell(is_quiet=True, n_asked=0, n_working=0, next_s=math.inf)
    assert page.look(2).is_at_rest


def test_commands_that_were_asked_for_and_do_not_wait_keep_time_still(page: TimePage) -> None:
    page.tell(is_quiet=True, n_asked=2, n_working=0, next_s=math.inf)
    page.sit(0, page.epoch, 1)
    assert not page.look(2).is_at_rest
    page.sit(1, page.epoch, 1)
    assert page.look(2).is_at_rest


def test_what_was_seen_before_a_leap_does_not_count_after_it(page: TimePage) -> None:
    page.tell(is_quiet=True, n_asked=1, n_working=0, next_s=math.inf)
    page.sit(0, page.epoch, 1)
    leap(page, 1.0)
    assert not page.look(1).is_at_rest


def test_whoever_is_writing_is_not_settled(page: TimePage) -> None:
    page.tell(is_quiet=True, n_asked=0, n_working=0, next_s=math.inf)
    first_of_seat_1 = 8 + 3
    page._whole[first_of_seat_1] += 1
    assert not page.look(2).is_settled and not page.look(2).is_at_rest
    page.sit(1, page.epoch, 0)
    assert page.look(2).is_at_rest, "its successor, after it was killed in the middle, counts on"


# ----------------------------------------------------------------------------------------------- the session's clock


def test_the_session_is_quiet_while_it_rests_and_has_nothing_to_hear(page: TimePage, clock: SharedClock) -> None:
    heard: list[int] = []
    assert not page.is_quiet
    with clock.resting(lambda: bool(heard)):
        assert page.is_quiet
        with clock.working():
            assert not page.is_quiet and page.look(0).n_working == 1
            heard.append(1)
        assert not page.is_quiet, "it has been handed something, though it has not woken up"
    assert not page.is_quiet


def test_a_rest_of_which_nothing_more_is_known_is_over_when_anything_has_happened(page: TimePage, clock: SharedClock) -> None:
    with clock.resting():
        assert page.is_quiet
        with clock.working():
            pass
        assert not page.is_quiet


def test_what_other_processes_carry_out_is_counted_but_does_not_disturb_the_rest(page: TimePage, clock: SharedClock) -> None:
    with clock.resting(lambda: False), clock.asking(), clock.asking():
        assert page.is_quiet and page.look(0).n_asked == 2
    assert page.look(0).n_asked == 0


def test_the_next_timer_stands_on_the_page_until_it_has_been_called(page: TimePage, clock: SharedClock, until: Callable[..., None]) -> None:
    seen: list[float] = []
    cancel = clock.after(3.0, lambda: seen.append(-1.0))
    clock.after(7.5, lambda: seen.append(clock.now()))
    assert page.look(0).next_s == 3.0
    cancel()
    assert page.look(0).next_s == 7.5
    with clock.resting(lambda: bool(seen)):
        leap(page, 7.5)
        until(lambda: seen == [7.5] and page.look(0).next_s == math.inf)
        assert not page.is_quiet


def test_a_call_that_fails_does_not_stop_time_for_the_others(clock: SharedClock, page: TimePage, until: Callable[..., None]) -> None:
    seen: list[str] = []

    def fail() -> None:
        raise RuntimeError("no such thing")

    clock.after(1.0, fail)
    clock.after(2.0, lambda: seen.append("called"))
    with clock.resting(lambda: bool(seen)):
        leap(page, 1.0)
        until(lambda: page.look(0).next_s == 2.0)
        leap(page, 2.0)
        until(lambda: seen == ["called"])


def test_the_end_of_an_operation_keeps_time_still_until_everybody_has_been_told(page: TimePage, clock: SharedClock,
                                                                               until: Callable[..., None]) -> None:
    timekeeping.use(clock)
    try:
        may_go_on, told = threading.Event(), threading.Event()
        status = OperationStatus(None, "test", 10.0)
        status.add_callback(lambda _: (told.set(), may_go_on.wait(60)))
        with clock.resting(lambda: False):
            assert page.is_quiet
            status.succeed()
            assert not page.is_quiet
            assert told.wait(60) and not page.is_quiet
            may_go_on.set()
            until(lambda: page.is_quiet)
            status.fail(CommandError("too late"))
            assert page.is_quiet
    finally:
        timekeeping.use(WallClock())


# ------------------------------------------------------------------------------------------------------- bridges


def test_a_command_waits_for_physics_when_it_has_seen_so_since_the_last_leap(page: TimePage) -> None:
    waits = Waits()
    waits.share(page, 1, lambda: None)
    with waits.waiting() as wait:
        assert page.look(2).n_waiting == (0, 0), "it has not looked yet"
        wait.not_yet(waits.epoch)
        assert page.look(2).n_waiting == (0, 1)
        leap(page, 1.0)
        assert page.look(2).n_waiting == (0, 0)
        wait.not_yet(waits.epoch - 1)
        assert page.look(2).n_waiting == (0, 0), "it asked before the leap"
        wait.not_yet(waits.epoch)
        assert page.look(2).n_waiting == (0, 1)
    assert page.look(2).n_waiting == (0, 0)
    wait.not_yet(waits.epoch)
    assert page.look(2).n_waiting == (0, 0), "it had ended"


def test_each_leap_calls_for_a_new_look_while_anybody_waits(page: TimePage) -> None:
    waits, looked = Waits(), threading.Event()
    waits.share(page, 0, looked.set)
    with waits.waiting():
        leap(page, 1.0)
        assert looked.wait(60)


def test_what_has_arrived_already_is_not_waited_for(page: TimePage) -> None:
    waits, early, late = Waits(), Arrival(), Arrival()
    waits.share(page, 0, lambda: None)
    early.set()
    for arrival in (early, late):
        arrival.expect(waits)
    (wait,) = waits.told()
    wait.not_yet(waits.epoch)
    assert page.look(1).n_waiting == (1,)
    late.set()
    assert page.look(1).n_waiting == (0,) and late.wait(0) and not waits.told()


def test_in_real_time_waiting_is_told_to_nobody() -> None:
    waits = Waits()
    with waits.waiting() as wait:
        wait.not_yet(waits.epoch)
    assert not waits.is_virtual and waits.epoch == 0


def test_deadlines_of_physics_do_not_count_virtual_time_that_stands_still() -> None:
    assert deadline_s(60.0, 30.0, 5.0) == 7.0
    assert deadline_s(60.0, math.inf, 5.0) == STANDSTILL_S + 5.0


def test_a_plate_is_looked_at_the_more_often_the_nearer_it_is() -> None:
    cadence = Cadence(100.0)
    assert cadence.next_s(0.0, 20.0) == SHORTEST_S
    assert cadence.next_s(1.0, 21.5) == pytest.approx(0.5 * 78.5 / 1.5)
    assert cadence.next_s(53.0, 99.0) == SHORTEST_S
    assert cadence.next_s(54.0, 99.0) == LONGEST_S


# --------------------------------------------------------------------------------------------------- the time-keeper


class Instrument:
    """A simulated instrument with something to do at a time."""

    def __init__(self, physics: ManualClock) -> None:
        self.physics, self.at_s, self.is_at_it = physics, math.inf, False

    def due_s(self) -> float:
        return 0.0 if self.is_at_it else max(0.0, self.at_s - self.physics.now())

    def wake(self) -> None:
        if self.physics.now() >= self.at_s:
            self.at_s = math.inf


class Kept:
    """A time-keeper at work, with one seat and one instrument."""

    def __init__(self, page: TimePage) -> None:
        self.page, self.physics, self.passed = page, ManualClock(page.now_s), []
        self.instrument, self.switchboard = Instrument(self.physics), Switchboard()
        self.keeper = TimeKeeper(page, ["pump"], self.physics, {"pump": self.instrument}, self.switchboard,  # type: ignore[dict-item]
                                 lambda: self.passed.append(self.physics.now()))
        self.switchboard.start()
        self.keeper.start()

    def stop(self) -> None:
        self.keeper.stop()
        self.switchboard.stop()


@pytest.fixture
def kept(page: TimePage) -> Iterator[Kept]:
    made = Kept(page)
    yield made
    made.stop()


def quiet(page: TimePage, n_asked: int = 0, next_s: float = math.inf) -> None:
    page.tell(is_quiet=True, n_asked=n_asked, n_working=0, next_s=next_s)


def awake(page: TimePage) -> None:
    page.tell(is_quiet=False, n_asked=0, n_working=0, next_s=math.inf)


def test_time_leaps_to_the_next_timer_of_the_session_and_no_further(page: TimePage, kept: Kept, until: Callable[..., None]) -> None:
    epoch = page.epoch
    quiet(page, next_s=7200.0)
    until(lambda: page.epoch == epoch + 1)
    assert page.now_s == kept.physics.now() == 7200.0 and kept.passed == [7200.0]


def test_physics_that_comes_first_is_leapt_to_first_and_stepped_before_anybody_is_told(page: TimePage, kept: Kept, until: Callable[..., None]) -> None:
    stepped: list[tuple[float, int]] = []
    kept.switchboard.call(lambda: kept.switchboard.add_step(lambda: stepped.append((kept.physics.now(), page.epoch))))
    kept.instrument.at_s = 30.0
    epoch = page.epoch
    page.sit(0, epoch, 1)
    quiet(page, n_asked=1, next_s=7200.0)
    until(lambda: page.epoch == epoch + 1)
    assert page.now_s == 30.0 and (30.0, epoch) in stepped


def test_time_stands_still_while_an_instrument_is_still_at_it(page: TimePage, kept: Kept, until: Callable[..., None]) -> None:
    kept.instrument.is_at_it = True
    turns: list[int] = []
    kept.instrument.due_s = lambda: turns.append(1) or 0.0  # type: ignore[method-assign, func-returns-value]
    quiet(page, next_s=1.0)
    until(lambda: len(turns) > 5)
    assert page.now_s == 0.0
    kept.instrument.due_s = lambda: math.inf  # type: ignore[method-assign]
    until(lambda: page.now_s == 1.0)


def test_a_timer_that_is_due_has_to_be_called_before_the_next_leap(page: TimePage, kept: Kept, until: Callable[..., None]) -> None:
    turns: list[int] = []
    kept.instrument.due_s = lambda: turns.append(1) or 4.0  # type: ignore[method-assign, func-returns-value]
    quiet(page, next_s=1.0)
    until(lambda: page.now_s == 1.0)
    so_far = len(turns)
    until(lambda: len(turns) > so_far + 5)
    assert page.now_s == 1.0


def test_time_creeps_and_says_who_is_busy_when_something_is_under_way_and_nothing_happens(
        page: TimePage, kept: Kept, until: Callable[..., None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(sim.keeper, "STALL_S", 0.02)
    page.tell(is_quiet=False, n_asked=1, n_working=0, next_s=math.inf)
    until(lambda: page.now_s > 2.0)
    awake(page)
    assert "the session is awake; of 1 commands under way these wait for physics: none" in caplog.text


def test_time_stands_still_for_ever_while_the_session_computes_or_has_nothing_to_wait_for(
        page: TimePage, kept: Kept, until: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim.keeper, "STALL_S", 0.0)
    looks: list[int] = []
    watch = kept.keeper._watch
    monkeypatch.setattr(kept.keeper, "_watch", lambda look: (looks.append(1), watch(look)))
    page.tell(is_quiet=False, n_asked=1, n_working=1, next_s=5.0)
    until(lambda: len(looks) > 3)
    quiet(page)
    until(lambda: len(looks) > 6)
    assert page.now_s == 0.0


# ----------------------------------------------------------------------------------------------------- configuration


def test_a_laboratory_with_a_real_instrument_cannot_hurry() -> None:
    with pytest.raises(ValueError, match=r"speed: given max; allowed: a number, since pump cannot hurry"):
        LabConfig.model_validate({"name": "x", "speed": "max", "instruments": {
            "pump": {"kind": "pump", "endpoint": "serial:///dev/ttyUSB0", "syringes": [{"address": 0, "liquid": "cs"}]}}})


@pytest.mark.parametrize("speed", [0, -1, "fast", math.inf, None])
def test_a_speed_is_a_number_above_zero_or_max(speed: Any) -> None:
    with pytest.raises(ValueError, match="allowed: a number greater than 0, or max"):
        LabConfig.model_validate({"name": "x", "speed": speed, "instruments": {"plate": {"kind": "hotplate"}}})


# --------------------------------------------------------------------------------------------------- whole campaigns


def test_two_campaigns_of_one_seed_in_virtual_time_have_the_same_ledger(tmp_path: Path) -> None:
    """Both at once, so that each is held up by the other at other moments."""
    command = [sys.executable, "-m", "lab.cli", "run", "examples/perovskite.yaml", "--speed", "max", "--json", "--set", "budget.trials=2",
               "--set", "optimizer.engine=sobol", "--set", "lab.catalogue=false"]
    homes = [tmp_path / "one", tmp_path / "other"]
    runs = [subprocess.Popen(command, cwd=ROOT, env={**os.environ, "LAB_HOME": str(home)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for home in homes]
    results = []
    for run in runs:
        printed, errors = run.communicate(timeout=280)
        assert run.returncode == 0, errors
        results.append(json.loads(printed))
    assert results[0]["lab_s"] == results[1]["lab_s"] > 600 and results[0]["best"] == results[1]["best"]
    assert differences(homes[0] / "ledger.sqlite", homes[1] / "ledger.sqlite") == []
    assert "stood still" not in (homes[0] / "logs" / "simulator.log").read_text()
