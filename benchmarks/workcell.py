"""A work cell on paper: samples, stations and one arm, run by a `Dispatcher` with durations that it does not know."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from plans.dispatch import RACK, Dispatcher, Progress
from plans.forecast import Route


@dataclass(frozen=True)
class Truth:
    """How long one sample's steps really take, s; `prepare_s` is that of the station before the sample comes."""

    work_s: tuple[float, ...]
    prepare_s: tuple[float, ...]


@dataclass(frozen=True)
class Stay:
    """A sample's time on a station: from the begin of the transfer that brings it to the end of the one that takes it away."""

    sample: int
    step: int
    unit: str
    begin_s: float
    end_s: float


@dataclass
class Outcome:
    """What came of it.

    Parameters
    ----------
    makespan_s : float
    gaps_s : list of (sample, step, s)
        From the end of the former step to the begin of that one, where there is a limit.
    stays : list of Stay
    starts_s : list of float
        When each sample left the rack.
    decisions : int
        How often `start_in_s` was asked.
    """

    makespan_s: float = 0.0
    gaps_s: list[tuple[int, int, float]] = field(default_factory=list)
    stays: list[Stay] = field(default_factory=list)
    starts_s: list[float] = field(default_factory=list)
    decisions: int = 0

    def missed(self, route: Route) -> list[float]:
        """By how much limits were missed, s."""
        limits = [step.max_gap_s for step in route.steps]
        return [gap_s - (limits[step] or 0.0) for _, step, gap_s in self.gaps_s if gap_s > (limits[step] or 0.0) + 1e-6]


class WorkCell:
    """Runs samples to their end.

    Parameters
    ----------
    dispatcher : Dispatcher
    route : Route
        As forecast.
    truths : sequence of Truth
        One per sample, in the order in which they start.
    units : mapping of role to names
    most : int
        So many samples are in the machine at once at most; 1 is serial work.
    """

    def __init__(self, dispatcher: Dispatcher, route: Route, truths: Sequence[Truth], units: Mapping[str, Sequence[str]], most: int = 10**6) -> None:
        self.dispatcher, self.route, self.truths, self.units, self.most = dispatcher, route, truths, units, most
        self.now_s = 0.0
        self.active: dict[int, Progress] = {}
        self.ends_s: dict[int, float] = {}
        self.left_s: dict[str, float] = {name: -math.inf for names in units.values() for name in names}
        self.came_s: dict[str, float] = {}
        self.done_s: dict[int, float] = {}
        self.arm_free_s = 0.0
        self.n_started = 0
        self.ask_s = math.inf
        self.outcome = Outcome()

    def run(self) -> Outcome:
        while self.active or self.n_started < len(self.truths):
            self._serve()
            times = [*self.ends_s.values(), self.ask_s, self._next_loadable_s()]
            later = [time for time in times if time > self.now_s + 1e-9]
            if not later:
                raise RuntimeError(f"nothing happens any more at {self.now_s} s: {self.active}")
            self.now_s = min(later)
            self._end()
        self.outcome.makespan_s = self.now_s
        return self.outcome

    # -- time passes ---------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        """Whatever is over by now."""
        for number in [n for n, end_s in self.ends_s.items() if end_s <= self.now_s + 1e-9]:
            del self.ends_s[number]
            progress = self.active[number]
            if progress.now == "working":
                self.done_s[number] = self.now_s
                self.active[number] = replace(progress, now="waiting", since_s=self.now_s)
                continue
            if progress.unit != RACK:
                self.left_s[progress.unit] = self.now_s
                self.outcome.stays.append(Stay(number, progress.step, progress.unit, self.came_s.pop(progress.unit), self.now_s))
            if progress.step + 1 == len(self.route.steps):
                del self.active[number]
                continue
            step = progress.step + 1
            if self.route.steps[step].max_gap_s is not None:
                self.outcome.gaps_s.append((number, step, self.now_s - self.done_s[number]))
            self.active[number] = replace(progress, step=step, now="working", since_s=self.now_s, unit=progress.target, target=RACK)
            self.ends_s[number] = self.now_s + self.truths[number].work_s[step]

    def _serve(self) -> None:
        """Give the arm to whoever may have it."""
        self.ask_s = math.inf
        if self.arm_free_s > self.now_s + 1e-9:
            self._ask_start(may_start=False)
            return
        active = list(self.active.values())
        waits = self._waits_s()
        waiting = sorted((p for p in active if p.now == "waiting"), key=lambda p: (self.dispatcher.rank(p, active, self.now_s), int(p.name)))
        for progress in waiting:
            number = int(progress.name)
            target = self._free_unit(number, progress.step + 1)
            if target is None:
                continue
            hold_s = self.dispatcher.move_in_s(progress, active, self.now_s, waits)
            if hold_s > 0.0:
                self.ask_s = min(self.ask_s, self.now_s + hold_s)
                continue
            self._move(number, progress, target)
            return
        self._ask_start(may_start=True)

    def _ask_start(self, may_start: bool) -> None:
        """Start the next sample if it may."""
        if self.n_started == len(self.truths) or len(self.active) >= self.most or not may_start:
            return
        number = self.n_started
        self.outcome.decisions += 1
        wait_s = self.dispatcher.start_in_s(self.route, list(self.active.values()), self.now_s, self._waits_s())
        target = self._free_unit(number, 0)
        if wait_s == 0.0 and target is not None:
            self.n_started += 1
            self.outcome.starts_s.append(self.now_s)
            self._move(number, Progress(str(number), self.route), target)
        elif wait_s:
            self.ask_s = min(self.ask_s, self.now_s + wait_s)

    def _move(self, number: int, progress: Progress, target: str) -> None:
        self.active[number] = replace(progress, now="moving", since_s=self.now_s, target=target)
        if target != RACK:
            self.came_s[target] = self.now_s
        self.arm_free_s = self.ends_s[number] = self.now_s + self.route.transfer_s

    # -- stations ------------------------------------------------------------------------------------------------------

    def _loadable_s(self, number: int, step: int, name: str) -> float:
        return self.left_s[name] + self.truths[number].prepare_s[step]

    def _free_unit(self, number: int, step: int) -> str | None:
        """A unit that the sample can be taken to now."""
        if step == len(self.route.steps):
            return RACK
        free = [name for name in self.units[self.route.steps[step].role] if name not in self.came_s]
        free = [name for name in free if self._loadable_s(number, step, name) <= self.now_s + 1e-9]
        return min(free, key=lambda name: self.left_s[name], default=None)

    def _waits_s(self) -> dict[str, float]:
        """How long empty units still have to be prepared for the next sample that comes to them, as their thermometers tell."""
        waits = {}
        for number_of_step, step in enumerate(self.route.steps):
            coming = self._next_comer(number_of_step)
            if step.prepare_s <= 0.0 or coming is None:
                continue
            for name in self.units[step.role]:
                wait_s = self._loadable_s(coming, number_of_step, name) - self.now_s
                if name not in self.came_s and wait_s > 0.0:
                    waits[name] = wait_s
        return waits

    def _next_comer(self, step: int) -> int | None:
        """The sample that comes to that step next."""
        coming = [number for number, p in self.active.items() if p.step + (p.now == "moving") < step]
        coming += range(self.n_started, min(self.n_started + 1, len(self.truths)))
        return min(coming, default=None)

    def _next_loadable_s(self) -> float:
        return min((self.now_s + wait_s for wait_s in self._waits_s().values()), default=math.inf)
