"""Clocks: what passes when, and who may leap."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import pytest
from bluesky import RunEngine

from lab.core.clock import Clock, EventClock, ManualClock, ScaledClock, WallClock
from plans.statuses import Elapsed
from plans.stubs import Plan, hold


class Sleeper:
    """A thread's work in virtual time, written as one function after another."""

    def __init__(self, clock: EventClock) -> None:
        self.clock, self.seen = clock, []

    def note(self, what: str) -> Callable[[], None]:
        return lambda: self.seen.append((self.clock.now(), what))


@pytest.fixture
def clock() -> EventClock:
    return EventClock()


@pytest.fixture
def diary(clock: EventClock) -> Sleeper:
    return Sleeper(clock)


@pytest.mark.parametrize("real", [WallClock(), ScaledClock(1000)])
def test_a_real_clock_calls_once_the_time_has_passed(real: Clock) -> None:
    called, began = threading.Event(), real.now()
    with real.resting(), real.working():
        real.after(0.01, called.set)
        assert called.wait(60)
    assert real.now() - began >= 0.01


def test_a_real_clock_does_not_call_what_was_cancelled() -> None:
    called, later = threading.Event(), threading.Event()
    clock = WallClock()
    clock.after(0.01, called.set)()
    clock.after(0.05, later.set)
    assert later.wait(60) and not called.is_set()


@pytest.mark.parametrize("clock", [WallClock(), ScaledClock(10), ManualClock(), EventClock()])
@pytest.mark.parametrize("wrong", [-1.0, math.nan])
def test_a_time_that_cannot_pass_is_refused(clock: Clock, wrong: float) -> None:
    with pytest.raises(ValueError, match="is not a time to wait"):
        clock.after(wrong, lambda: None)


@pytest.mark.parametrize("speed", [0.0, -2.0, math.inf, math.nan])
def test_a_scaled_clock_needs_a_speed_that_can_be(speed: float) -> None:
    with pytest.raises(ValueError, match="not greater than 0 and finite"):
        ScaledClock(speed)


def test_a_manual_clock_calls_each_at_its_own_time_when_it_is_advanced() -> None:
    clock, seen = ManualClock(5.0), []
    clock.after(3, lambda: seen.append(("second", clock.now())))
    clock.after(1, lambda: (seen.append(("first", clock.now())), clock.after(1, lambda: seen.append(("chained", clock.now())))))
    clock.after(9, lambda: seen.append(("too late", clock.now())))
    clock.advance(4)
    assert seen == [("first", 6.0), ("chained", 7.0), ("second", 8.0)] and clock.now() == 9.0


def test_virtual_time_stands_still_while_nobody_rests(clock: EventClock, diary: Sleeper) -> None:
    clock.after(1, diary.note("never"))
    assert clock.now() == 0 and diary.seen == []


def test_who_rests_leaps_to_the_next_event_and_no_further(clock: EventClock, diary: Sleeper) -> None:
    clock.after(7200, diary.note("late"))
    clock.after(30, diary.note("early"))
    with clock.resting():
        assert diary.seen == [(30, "early")] and clock.now() == 30
    with clock.resting():
        assert diary.seen == [(30, "early"), (7200, "late")]


def test_what_is_due_at_one_time_is_called_in_the_order_in_which_it_was_asked_for(clock: EventClock, diary: Sleeper) -> None:
    for number in range(20):
        clock.after(10, diary.note(str(number)))
    with clock.resting():
        assert diary.seen == [(10, str(number)) for number in range(20)]


def test_time_leaps_on_until_what_is_waited_for_has_happened(clock: EventClock, diary: Sleeper) -> None:
    def chain(left: int) -> None:
        diary.note(str(left))()
        if left:
            clock.after(5, lambda: chain(left - 1))

    clock.after(5, lambda: chain(3))
    clock.after(1000, diary.note("too far"))
    with clock.resting(lambda: len(diary.seen) == 4):
        assert diary.seen == [(5, "3"), (10, "2"), (15, "1"), (20, "0")]


def test_who_has_what_they_wait_for_does_not_leap(clock: EventClock, diary: Sleeper) -> None:
    clock.after(1, diary.note("never"))
    with clock.resting(lambda: True):
        assert clock.now() == 0


def test_time_stands_still_while_somebody_works_and_leaps_when_the_last_has_done(clock: EventClock, diary: Sleeper) -> None:
    clock.after(60, diary.note("after the work"))
    first, second = clock.working(), clock.working()
    first.__enter__(), second.__enter__()
    with clock.resting(lambda: bool(diary.seen)):
        first.__exit__(None, None, None)
        assert diary.seen == []
        second.__exit__(None, None, None)
        assert diary.seen == [(60, "after the work")]


def test_work_that_gave_the_resting_what_they_wait_for_does_not_leap(clock: EventClock, diary: Sleeper) -> None:
    clock.after(60, diary.note("too far"))
    answers: list[int] = []
    work = clock.working()
    work.__enter__()
    with clock.resting(lambda: bool(answers)):
        answers.append(42)
        work.__exit__(None, None, None)
        assert clock.now() == 0


def test_what_is_asked_for_while_somebody_rests_is_not_forgotten(clock: EventClock, diary: Sleeper) -> None:
    with clock.resting(lambda: bool(diary.seen)):
        clock.after(12, diary.note("asked for late"))
        assert diary.seen == [(12, "asked for late")]


def test_what_was_cancelled_is_not_leapt_to(clock: EventClock, diary: Sleeper) -> None:
    cancel = clock.after(1, diary.note("cancelled"))
    clock.after(2, diary.note("kept"))
    cancel()
    cancel()
    with clock.resting():
        assert diary.seen == [(2, "kept")] and clock.now() == 2


def test_an_error_of_a_call_leaves_the_block_that_leapt_and_the_clock_goes_on(clock: EventClock, diary: Sleeper) -> None:
    def fail() -> None:
        raise RuntimeError("no such thing")

    clock.after(1, fail)
    clock.after(1, diary.note("the other"))
    with pytest.raises(RuntimeError, match="no such thing"), clock.resting():
        pass
    with clock.resting():
        assert diary.seen == [(1, "the other")]


def test_threads_that_say_when_they_work_wake_at_their_own_times(clock: EventClock) -> None:
    seen: dict[int, list[float]] = {n: [] for n in range(1, 9)}
    everybody = threading.Barrier(8)

    def live(number: int) -> None:
        work = clock.working()
        work.__enter__()
        everybody.wait(60)
        for _ in range(50):
            woken = threading.Event()
            clock.after(number, woken.set)
            with clock.resting(woken.is_set):
                work.__exit__(None, None, None)
                assert woken.wait(60)
                work = clock.working()
                work.__enter__()
            seen[number].append(clock.now())
        work.__exit__(None, None, None)

    threads = [threading.Thread(target=live, args=(number,)) for number in seen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert seen == {number: [float(number * turn) for turn in range(1, 51)] for number in seen}


def test_elapsed_time_is_a_status_like_others(clock: EventClock) -> None:
    elapsed, told = Elapsed(clock, 10), []
    elapsed.add_callback(told.append)
    with pytest.raises(TimeoutError, match="has not happened yet"):
        elapsed.exception(0)
    with clock.resting():
        assert elapsed.done and elapsed.success and elapsed.exception(0) is None
    elapsed.add_callback(told.append)
    assert told == [elapsed, elapsed]


def test_a_hold_lasts_its_laboratory_seconds_and_leaves_no_timer_when_it_is_given_up() -> None:
    clock, times = ManualClock(), []

    def plan() -> Plan:
        held = hold(clock, 100.0)
        yield next(held)
        clock.advance(100.0)
        yield from held
        times.append(clock.now())

    RunEngine({}, context_managers=[])(plan())
    assert times == [100.0]
    given_up = hold(clock, 5.0)
    next(given_up)
    given_up.close()
    assert clock._agenda.next_s == math.inf
