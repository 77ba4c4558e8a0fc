"""The exact schedule, as a CP-SAT model of the same work cell that knows every duration beforehand: the yardstick.

A sample's stay on a unit reaches from the begin of the transfer that brings it to the end of the one that takes it away, since it
stays until it can go on; the preparation stands before the stay. Transfers share the arm. Whole seconds.

Which sample goes first is free, though a closed loop has no such choice: its samples are not known beforehand. For lines of single
stations the search begins with the order of Nawaz, Enscore and Ham (Omega 11, 91, 1983) and takes the better of the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ortools.sat.python import cp_model

from benchmarks.workcell import Outcome, Truth
from plans.forecast import Route

Units = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Schedule:
    """When each sample's transfers begin, and which unit each step takes.

    Parameters
    ----------
    leaves_s : sequence of sequence of s
        Per sample and step; the last one is the way back to the rack.
    unit : mapping of (sample, step) to name
    """

    leaves_s: Sequence[Sequence[float]]
    unit: Mapping[tuple[int, int], str]


@dataclass(frozen=True)
class Exact:
    """The best schedule found.

    Parameters
    ----------
    makespan_s : float
    bound_s : float
        No schedule is shorter: proven.
    is_optimal : bool
    schedule : Schedule
    """

    makespan_s: float
    bound_s: float
    is_optimal: bool
    schedule: Schedule


def exact(route: Route, truths: Sequence[Truth], units: Units, effort: float, hint: Schedule | None = None,
          order: Sequence[int] | None = None, n_workers: int = 2) -> Exact:
    """Schedule all samples with their true durations.

    Parameters
    ----------
    route : Route
        For its roles, limits and transfer time.
    truths : sequence of Truth
        Whole seconds.
    units : mapping of role to names
    effort : float
        How much search: CP-SAT's deterministic time (seconds of an idle computer, about); ends after twice as many wall seconds at the latest.
    hint : Schedule or None
        A schedule to begin with, which must be possible; it is the answer where the search finds none.
    order : sequence of int or None
        The samples in the order in which they leave the rack and enter each station; None: free.

    Raises
    ------
    RuntimeError
        When nothing was found with that effort, and there is no hint.
    """
    model = _Model(route, truths, units)
    if hint is not None:
        model.hint(hint)
    if order is not None:
        model.fix(order)
    solver = cp_model.CpSolver()
    solver.parameters.max_deterministic_time = effort
    solver.parameters.max_time_in_seconds = 2.0 * effort
    solver.parameters.num_workers = n_workers
    solver.parameters.random_seed = 1
    status = solver.solve(model.model)
    if status == cp_model.UNKNOWN and hint is not None:
        return Exact(max(leaves_s[-1] for leaves_s in hint.leaves_s) + route.transfer_s, solver.best_objective_bound, False, hint)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        raise RuntimeError(f"no schedule with an effort of {effort:g}: {solver.status_name(status)}")
    return Exact(solver.objective_value, solver.best_objective_bound, status == cp_model.OPTIMAL, model.schedule(solver))


def schedule_of(outcome: Outcome, route: Route) -> Schedule:
    """What a run of the work cell did, as a schedule."""
    n = len(route.steps)
    leaves_s = [[0.0] * (n + 1) for _ in range(len(outcome.starts_s))]
    for stay in outcome.stays:
        leaves_s[stay.sample][stay.step] = stay.begin_s
        leaves_s[stay.sample][stay.step + 1] = stay.end_s - route.transfer_s
    return Schedule(leaves_s, {(stay.sample, stay.step): stay.unit for stay in outcome.stays})


def reordered(schedule: Schedule, order: Sequence[int]) -> Schedule:
    """The schedule of samples that were taken in that order, by their own numbers."""
    place = {sample: at for at, sample in enumerate(order)}
    return Schedule([schedule.leaves_s[place[sample]] for sample in range(len(order))],
                    {(order[at], step): name for (at, step), name in schedule.unit.items()})


def good_order(route: Route, truths: Sequence[Truth]) -> list[int]:
    """An order for a line of single stations: the longest first, each inserted where the line ends soonest."""
    order: list[int] = []
    for i in sorted(range(len(truths)), key=lambda i: -sum(truths[i].work_s)):
        candidates = ([*order[:at], i, *order[at:]] for at in range(len(order) + 1))
        order = min(candidates, key=lambda candidate: _line_s(route, [truths[i] for i in candidate]))
    return order


def _line_s(route: Route, truths: Sequence[Truth]) -> float:
    """When a line of single stations is done with samples in this order, if the arm is always there."""
    n = len(route.steps)
    free_s = [0.0] * (n + 1)
    for truth in truths:
        leaves_s = free_s[0]
        for step in range(n):
            leaves_s = max(leaves_s, free_s[step] + truth.prepare_s[step])
            done_s = leaves_s + route.transfer_s + truth.work_s[step]
            leaves_s = max(done_s, free_s[step + 1])
            free_s[step] = leaves_s + route.transfer_s
    return free_s[n - 1]


class _Model:
    def __init__(self, route: Route, truths: Sequence[Truth], units: Units) -> None:
        self.route, self.truths, self.units = route, truths, units
        self.model = cp_model.CpModel()
        self.transfer_s = round(route.transfer_s)
        self.horizon = sum(round(sum(truth.work_s) + sum(truth.prepare_s)) + (len(route.steps) + 1) * self.transfer_s for truth in truths)
        self.makespan = self.model.new_int_var(0, self.horizon, "makespan")
        self.leaves = [[self.model.new_int_var(0, self.horizon, f"leaves {i} {step}") for step in range(len(route.steps) + 1)]
                       for i in range(len(truths))]
        self.chosen: dict[tuple[int, int, str], cp_model.IntVar] = {}
        self._samples()
        self._arm()
        self._stations()
        self.model.minimize(self.makespan)

    def hint(self, schedule: Schedule) -> None:
        for variables, values in zip(self.leaves, schedule.leaves_s, strict=True):
            for variable, value in zip(variables, values, strict=True):
                self.model.add_hint(variable, round(value))
        for (i, step, name), chosen in self.chosen.items():
            self.model.add_hint(chosen, schedule.unit[i, step] == name)

    def fix(self, order: Sequence[int]) -> None:
        for first, second in zip(order, order[1:], strict=False):
            for step, forecast in enumerate(self.route.steps):
                self.model.add(self.leaves[first][step] < self.leaves[second][step])
                if len(self.units[forecast.role]) == 1:
                    empty = self.leaves[first][step + 1] + self.transfer_s
                    self.model.add(self.leaves[second][step] >= empty + round(self.truths[second].prepare_s[step]))

    def schedule(self, solver: cp_model.CpSolver) -> Schedule:
        unit = {(i, step): name for (i, step, name), chosen in self.chosen.items() if solver.boolean_value(chosen)}
        return Schedule([[solver.value(variable) for variable in variables] for variables in self.leaves], unit)

    def _samples(self) -> None:
        """Each sample goes its way; blocking is that it leaves a station no sooner than its work is done."""
        following = [*(step.max_gap_s for step in self.route.steps[1:]), None]
        for leaves, truth in zip(self.leaves, self.truths, strict=True):
            for step, max_gap_s in enumerate(following):
                done = leaves[step] + self.transfer_s + round(truth.work_s[step])
                self.model.add(leaves[step + 1] >= done)
                if max_gap_s is not None:
                    self.model.add(leaves[step + 1] + self.transfer_s <= done + int(max_gap_s))
            self.model.add(self.makespan >= leaves[-1] + self.transfer_s)

    def _arm(self) -> None:
        self.model.add_no_overlap([self.model.new_fixed_size_interval_var(start, self.transfer_s, "") for leaves in self.leaves for start in leaves])

    def _stations(self) -> None:
        stays: dict[str, list[cp_model.IntervalVar]] = {name: [] for names in self.units.values() for name in names}
        for i, (leaves, truth) in enumerate(zip(self.leaves, self.truths, strict=True)):
            for step, forecast in enumerate(self.route.steps):
                begin, end = leaves[step] - round(truth.prepare_s[step]), leaves[step + 1] + self.transfer_s
                size = self.model.new_int_var(0, self.horizon, "")
                names = self.units[forecast.role]
                if len(names) == 1:
                    stays[names[0]].append(self.model.new_interval_var(begin, size, end, ""))
                    continue
                for name in names:
                    chosen = self.chosen[i, step, name] = self.model.new_bool_var(f"{i} {step} {name}")
                    stays[name].append(self.model.new_optional_interval_var(begin, size, end, chosen, ""))
                self.model.add_exactly_one(self.chosen[i, step, name] for name in names)
        for intervals in stays.values():
            self.model.add_no_overlap(intervals)
