"""Overlapping samples: what a lane's message costs beside a bare one, how soon a pause lands, how busy the bottleneck station is.

The makespan: 50 samples go through three stations (synthesis 0.3 s, anneal 0.25 s, detector 0.2 s) and are carried by one arm (0.03 s each
way) from the rack to each of them and back. All durations are timers that finish a Status. A station cannot work while it is unloaded
and loaded, so the slowest one (synthesis) needs 0.3 + 2 x 0.03 s for each sample, and the bound for n samples is

    n x (0.3 + 2 x 0.03) + (0.25 + 0.03) + (0.2 + 0.03)

the bottleneck at work without a pause, and the last sample's way from there to the rack (its unloading is counted with the bottleneck).
The idle time of the bottleneck is what it stood still beyond work, unloading and loading, between its first and its last sample, for each
sample. Serial is the same plan with one lane, in the same run.
"""

from __future__ import annotations

import gc
import heapq
import io
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout

from bluesky import Msg, RunEngine
from bluesky.utils import RunEngineInterrupted
from ophyd.status import Status

from benchmarks.figures import Figure, show
from plans.lanes import Lane, Plan, Resources, acquire, lanes, release, spawn

SAMPLES, SERIAL_SAMPLES = 50, 5
SYNTH_S, ANNEAL_S, DETECT_S, ARM_S = 0.3, 0.25, 0.2, 0.03
RECIPE = [
    {"synth": 1, "arm": 1}, {"synth": 1}, {"synth": 1, "anneal": 1, "arm": 1}, {"anneal": 1}, {"anneal": 1, "detector": 1, "arm": 1},
    {"detector": 1}, {"detector": 1, "arm": 1},
]
SERIAL_RECIPE = RECIPE * SERIAL_SAMPLES
CELL = {name: (name,) for name in ("synth", "anneal", "detector", "arm")}

MESSAGES, ROUNDS = 20000, 4


class TimerThread:
    """Calls back at given times: one thread for all Statuses, as an EPICS client has one for all its callbacks."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._changed = threading.Condition()
        self._is_open = True
        self._n = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        with self._changed:
            self._n += 1
            heapq.heappush(self._due, (time.perf_counter() + seconds, self._n, call))
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._is_open = False
            self._changed.notify()
        self._thread.join(5)

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._is_open and (not self._due or self._due[0][0] > time.perf_counter()):
                    self._changed.wait(self._due[0][0] - time.perf_counter() if self._due else None)
                if not self._is_open:
                    return
                call = heapq.heappop(self._due)[2]
            call()


class Machine:
    """Something that takes a fixed time; notes when it was at work."""

    parent = None

    def __init__(self, name: str, seconds: float, timers: TimerThread) -> None:
        self.name, self._seconds, self._timers = name, seconds, timers
        self.busy: list[tuple[float, float]] = []

    def set(self, target: object) -> Status:
        began, status = time.perf_counter(), Status()

        def finish() -> None:
            self.busy.append((began, time.perf_counter()))
            status.set_finished()

        self._timers.after(self._seconds, finish)
        return status


def move(machine: Machine, target: object) -> Plan:
    yield Msg("set", machine, target, group=machine.name)
    yield Msg("wait", None, group=machine.name)


class Cell:
    """Three stations and an arm."""

    def __init__(self, timers: TimerThread) -> None:
        self.arm = Machine("arm", ARM_S, timers)
        self.stations = {name: Machine(name, seconds, timers) for name, seconds in (("synth", SYNTH_S), ("anneal", ANNEAL_S), ("detector", DETECT_S))}

    def sample(self, number: int) -> Plan:
        """From the rack through all stations and back, one run."""
        yield Msg("open_run", None, sample=str(number))
        left: tuple[str, ...] = ()
        for name, station in self.stations.items():
            yield from acquire(name, "arm")
            yield from move(self.arm, name)
            yield from release(*left, "arm")
            yield from move(station, number)
            left = (name,)
        yield from acquire("arm")
        yield from move(self.arm, "rack")
        yield from release(*left, "arm")
        yield Msg("close_run", None)

    def overlapping(self, n: int) -> Plan:
        for number in range(n):
            yield from spawn(Lane(f"sample {number}", self.sample(number), RECIPE))

    def serial(self, n: int) -> Plan:
        for number in range(n):
            yield from self.sample(number)


def bound_s(n: int) -> float:
    """The shortest possible makespan: see the top of this file."""
    return n * (SYNTH_S + 2 * ARM_S) + (ANNEAL_S + ARM_S) + (DETECT_S + ARM_S)


def makespan() -> None:
    timers = TimerThread()
    engine = RunEngine({})
    cell = Cell(timers)
    took: dict[str, float] = {}
    for name, lane in (("serial", Lane("serial", cell.serial(SERIAL_SAMPLES), SERIAL_RECIPE)), ("overlapping", Lane("all", cell.overlapping(SAMPLES)))):
        cell.stations["synth"].busy.clear()
        began = time.perf_counter()
        engine(lanes(lane, resources=Resources(CELL)))
        took[name] = time.perf_counter() - began
    timers.close()
    busy = cell.stations["synth"].busy
    gaps = [following[0] - former[1] - 2 * ARM_S for former, following in zip(busy, busy[1:], strict=False)]
    serial_s = took["serial"] / SERIAL_SAMPLES * SAMPLES
    show([
        Figure(f"makespan of {SAMPLES} samples, three stations and the arm / bound", took["overlapping"] / bound_s(SAMPLES), "x", most=1.03,
               note=f"{took['overlapping']:.2f} s / {bound_s(SAMPLES):.2f} s"),
        Figure("idle time of the bottleneck station, per sample", 1e3 * statistics.mean(gaps), "ms", most=30.0, note=f"largest {1e3 * max(gaps):.1f} ms"),
        Figure("faster than one sample after the other", serial_s / took["overlapping"], "x", least=1.6,
               note=f"serial {serial_s:.1f} s, from {SERIAL_SAMPLES} samples"),
    ])


def null(n: int) -> Plan:
    message = Msg("null")
    for _ in range(n):
        yield message


class Prompt:
    """A device that is there at once."""

    parent = None
    name = "prompt"

    def set(self, target: object) -> Status:
        status = Status()
        status.set_finished()
        return status


def moves(n: int) -> Plan:
    device = Prompt()
    for _ in range(n // 2):
        yield Msg("set", device, 1, group="a")
        yield Msg("wait", None, group="a")


def cost_s(engine: RunEngine, plan: Callable[[int], Plan], n_lanes: int, n_messages: int) -> float:
    """Seconds of the processor for each message: bare when `n_lanes` is 0."""
    if n_lanes:
        whole = lanes(*(Lane(f"lane {i}", plan(n_messages // n_lanes)) for i in range(n_lanes)), resources=Resources(CELL))
    else:
        whole = plan(n_messages)
    began = time.process_time()
    engine(whole)
    return (time.process_time() - began) / n_messages


def cost() -> None:
    engine = RunEngine({})
    # What was imported is not the lanes' own: the collector would go through all of it whenever the number of objects has grown by a quarter.
    gc.collect()
    gc.freeze()
    for what, plan, n_messages in (("null", null, MESSAGES), ("set and wait", moves, MESSAGES)):
        found: dict[int, list[float]] = {0: [], 2: [], 200: []}
        for _ in range(ROUNDS):
            for n_lanes, values in found.items():
                values.append(cost_s(engine, plan, n_lanes, n_messages))
        bare, two, many = (min(values) for values in found.values())
        show([
            Figure(f"a message in one of 2 lanes / bare ({what})", two / bare, "x", most=2.0, note=f"{two * 1e6:.1f} us / {bare * 1e6:.1f} us"),
            Figure(f"a message in one of 200 lanes / in one of 2 ({what})", many / two, "x", most=1.2, note=f"{many * 1e6:.1f} us / {two * 1e6:.1f} us"),
        ])


@contextmanager
def requested_pause(engine: RunEngine, after_s: float) -> Iterator[list[float]]:
    """Ask for a pause from another thread; the list has when."""
    when: list[float] = []

    def request() -> None:
        when.append(time.perf_counter())
        engine.request_pause()

    timer = threading.Timer(after_s, request)
    timer.start()
    yield when
    timer.join()


def pause() -> None:
    timers, engine = TimerThread(), RunEngine({})
    slow = Machine("slow", 5.0, timers)
    landed: list[float] = []
    for _ in range(5):
        with redirect_stdout(io.StringIO()):  # the RunEngine says what people can do now
            with requested_pause(engine, 0.1) as when:
                try:
                    engine(lanes(Lane("slow", move(slow, 1)), Lane("idle", null(10)), resources=Resources(CELL)))
                except RunEngineInterrupted:
                    landed.append(time.perf_counter() - when[0])
            engine.stop()
    timers.close()
    show([Figure("a pause lands while a lane waits 5 s, largest", 1e3 * max(landed), "ms", most=200.0, note=f"of {len(landed)}")])


def main() -> None:
    cost()
    pause()
    makespan()


if __name__ == "__main__":
    main()
