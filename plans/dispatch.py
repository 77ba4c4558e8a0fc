"""When the next sample may start, and who goes first: decided anew at each call, from where every sample is now.

A sample that has a time limit between two steps (anneal within 30 s of casting) may only start when the station it will need
is going to be free in time. `Dispatcher` looks ahead in a few dozen scenarios of how long everything may take
(`plans.lookahead`), and lets a sample start when in nearly all of them every limit is kept, its own and those of the others. Nothing is
remembered between two calls, so a step that lasted longer than forecast is taken in by the next one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lab.core.errors import ScheduleError
from plans.forecast import Route, StepForecast, remaining_s
from plans.lookahead import EPSILON_S, Cell, Floats, Ints, Outlook, look_ahead, normals

Now = Literal["waiting", "moving", "preparing", "working"]

RACK = ""
"""The unit of a sample in the rack."""

ASK_AGAIN_S = 1.0
"""No answer is sooner than this, or a dispatcher that is nearly certain would be asked at every instant."""


@dataclass(frozen=True)
class Progress:
    """Where one sample is.

    Parameters
    ----------
    name : str
    route : Route
    step : int
        The step that it is at, or was at last; -1 before the first.
    now : str
        ``working`` at that step; ``waiting``, the step being done; ``preparing`` the unit `target` of the next step while it
        still stands at `unit`; ``moving`` from `unit` to `target`.
    since_s : float
        Laboratory time since when it does that.
    unit : str
        The station that it occupies, or leaves; `RACK` before the first step.
    target : str
        The unit that it has been granted for its next step; `RACK` when it has none yet, or goes back to the rack.
    """

    name: str
    route: Route
    step: int = -1
    now: Now = "waiting"
    since_s: float = 0.0
    unit: str = RACK
    target: str = RACK


@dataclass(frozen=True)
class Risk:
    """A time limit that may be missed.

    Parameters
    ----------
    name : str
        Of the sample.
    step : str
        The step that may begin too late.
    chance : float
        Of missing it.
    late_s : float
        By how much, in the middle of the scenarios that miss it; inf when the step cannot be begun as things stand.
    """

    name: str
    step: str
    chance: float
    late_s: float


class Dispatcher:
    """Says when a sample may start, and in which order waiting ones are served.

    Parameters
    ----------
    units : mapping of role to names of its stations
        Without the arm and the rack.
    keep : float
        The probability with which all time limits of a sample shall be kept when it starts.
    n_scenarios : int
        Scenarios per look ahead; with `keep` 0.97 and 64 of them, one may miss a limit.
    wait_error : float
        Relative standard deviation of the waits that the caller gives in `plates`.

    Notes
    -----
    Nobody starves as long as the caller asks for one sample at a time and goes on asking for it: the samples in the machine come to their
    end, and in an empty machine every route that `check` lets pass may start.
    """

    def __init__(self, units: Mapping[str, Sequence[str]], keep: float = 0.97, n_scenarios: int = 64, wait_error: float = 0.05) -> None:
        if not 0.5 <= keep < 1.0:
            raise ScheduleError(f"keep is {keep:g}; allowed: at least 0.5, less than 1")
        self.roles = tuple(units)
        self.names = tuple(name for role in units for name in units[role])
        if len(set(self.names)) != len(self.names):
            raise ScheduleError(f"a station stands twice in {', '.join(self.names)}; allowed: one role each")
        self.keep, self.n_scenarios, self.wait_error = keep, n_scenarios, wait_error
        self._capacity = {role: len(units[role]) for role in units}
        numbers = [number for number, role in enumerate(self.roles) for _ in units[role]]
        self._role_of_unit = np.array([*numbers, len(self.roles)], dtype=np.int64)
        self._number = {name: number for number, name in enumerate(self.names)} | {RACK: len(self.names)}
        self._checked: set[Route] = set()

    # -- what the closed loop asks -------------------------------------------------------------------------------------

    def check(self, route: Route) -> None:
        """Refuse a route whose limits cannot be kept even when it has the laboratory to itself.

        Raises
        ------
        ScheduleError
            Which limit, and by how much it would be missed.
        """
        if route in self._checked:
            return
        for before, step in zip((None, *route.steps), route.steps, strict=False):
            self._check_step(route, before, step)
        late_s = self._look([Progress("", route)], 0.0, {}).late_s[:, 0, : len(route.steps)]
        for number, step in enumerate(route.steps):
            quantile_s = float(np.quantile(late_s[:, number], self.keep, method="higher"))
            if quantile_s > EPSILON_S:
                raise ScheduleError(f"step {step.name}: max_gap_s is {step.max_gap_s:g} s, and even a sample that is alone in the laboratory "
                                    f"would miss it by {quantile_s:.4g} s in more than {1 - self.keep:.0%} of cases; allow more, or prepare less")
        if len(self._checked) >= 256:  # forecasts that are learned change with each sample
            self._checked.clear()
        self._checked.add(route)

    def start_in_s(self, route: Route, active: Sequence[Progress], now_s: float, plates: Mapping[str, float] | None = None) -> float | None:
        """When a new sample may start.

        Parameters
        ----------
        route : Route
            Its forecast.
        active : sequence of Progress
            All samples that are in the machine.
        now_s : float
            Laboratory time.
        plates : mapping of unit to s
            How long units that stand empty cannot be loaded yet (a plate that cools); inf for one that is out of order.

        Returns
        -------
        float or None
            0: now. More: not yet; ask again then, and at each change. None: not before something changes.

        Raises
        ------
        ScheduleError
            When its limits can never be kept.
        """
        self.check(route)
        waits = {} if plates is None else plates
        samples = [*active, Progress("", route, since_s=now_s)]
        outlook = self._look(samples, now_s, waits)
        begins_s = outlook.leaves_s[:, -1, 0]
        wait_s = float(np.median(begins_s))
        if wait_s > EPSILON_S:
            return max(wait_s, ASK_AGAIN_S) if math.isfinite(wait_s) else None
        if self._blocks(outlook, samples):
            return None
        for answer in (self._own_limits_s(outlook), self._others_limits_s(outlook, active, now_s, waits), self._idle_wait_s(outlook, route)):
            if answer is None or answer > 0.0:
                return answer
        return 0.0

    def rank(self, progress: Progress, active: Sequence[Progress], now_s: float) -> float:
        """Who is served first by the arm and the stations: the lowest.

        A sample whose limit runs goes first, by the time it has left; then whoever leaves the bottleneck station, whoever goes
        to it, and of the others the one that is nearest to its end.
        """
        step = progress.step + 1
        if step < len(progress.route.steps) and progress.route.steps[step].max_gap_s is not None and progress.step >= 0:
            gap_s = progress.route.steps[step].max_gap_s or 0.0
            return URGENT + progress.since_s + gap_s - progress.route.transfer_s - now_s
        return _rank(progress.route, step, self.bottleneck([other.route for other in active] or [progress.route]))

    def move_in_s(self, progress: Progress, active: Sequence[Progress], now_s: float, plates: Mapping[str, float] | None = None) -> float:
        """How long a sample that could be moved should leave the arm alone: another's limit would run out meanwhile.

        Parameters
        ----------
        progress : Progress
            Waiting, or about to start.
        active, now_s, plates
            As in `start_in_s`.

        Returns
        -------
        float
            0: it may go. More: ask again then, and at each change.
        """
        waits = {} if plates is None else plates
        occupied = {name for other in active for name in (other.unit, other.target)}
        mine_s = self._latest_s(progress, now_s)
        longest_s = 0.0
        for other in active:
            latest_s = self._latest_s(other, now_s)
            if other.name == progress.name or math.isinf(latest_s) or latest_s >= mine_s:
                continue
            step = other.route.steps[other.step + 1]
            free = [waits.get(name, 0.0) for name in self._units(step.role) if name not in occupied or name == other.target]
            if free:
                longest_s = max(longest_s, self._leave_to_s(other, progress.route.transfer_s, min(free), now_s))
        return longest_s

    def at_risk(self, active: Sequence[Progress], now_s: float, plates: Mapping[str, float] | None = None) -> tuple[Risk, ...]:
        """The time limits that will be missed more often than `keep` allows, as things stand."""
        late_s = self._look(active, now_s, {} if plates is None else plates).late_s if active else np.zeros((1, 0, 0))
        risks = []
        for i, progress in enumerate(active):
            for number, step in enumerate(progress.route.steps):
                missed = late_s[:, i, number] > EPSILON_S
                if missed.mean() > 1.0 - self.keep:
                    risks.append(Risk(progress.name, step.name, float(missed.mean()), float(np.median(late_s[missed, i, number]))))
        return tuple(risks)

    def bottleneck(self, routes: Sequence[Route]) -> str:
        """The role whose stations the routes together keep busy longest."""
        return _bottleneck(tuple(dict.fromkeys(routes)), tuple(self._capacity.items()))

    # -- limits --------------------------------------------------------------------------------------------------------

    def _check_step(self, route: Route, before: StepForecast | None, step: StepForecast) -> None:
        capacity = self._capacity.get(step.role, 0)
        if not capacity:
            raise ScheduleError(f"step {step.name}: no station has the role {step.role}; there are {', '.join(self.roles)}")
        if before is not None and before.role == step.role and capacity < 2:
            raise ScheduleError(f"step {step.name}: follows {before.name} at another station of the role {step.role}, and there is one; "
                                "make one step of what is done at one station")
        if step.max_gap_s is not None and before is None:
            raise ScheduleError(f"step {step.name}: max_gap_s counts from the step before, and there is none")
        if step.max_gap_s is not None and step.max_gap_s < route.transfer_s:
            raise ScheduleError(f"step {step.name}: max_gap_s is {step.max_gap_s:g} s, and the transfer alone takes {route.transfer_s:g} s: "
                                f"{route.transfer_s - step.max_gap_s:g} s too long")

    def _blocks(self, outlook: Outlook, samples: Sequence[Progress]) -> bool:
        """Whether samples would stand in each other's way for ever; only those that come to a role twice can."""
        for i, progress in enumerate(samples):
            if _table(progress.route, self.roles).is_reentrant and not np.isfinite(outlook.leaves_s[:, i, len(progress.route.steps)]).all():
                return True
        return False

    def _own_limits_s(self, outlook: Outlook) -> float | None:
        """How much too early a start now would be for the new sample's own limits; 0 if it is not."""
        late_s = outlook.late_s[:, -1].max(axis=1)
        if (late_s > EPSILON_S).mean() <= 1.0 - self.keep:
            return 0.0
        shift_s = float(np.quantile(late_s, self.keep, method="higher"))
        return max(shift_s, ASK_AGAIN_S) if math.isfinite(shift_s) else None

    def _others_limits_s(self, outlook: Outlook, active: Sequence[Progress], now_s: float, waits: Mapping[str, float]) -> float:
        """How long to wait until the new sample is in nobody's way; 0 if it is not."""
        missed = (outlook.late_s[:, :-1] > EPSILON_S).mean(axis=0)
        if not (missed > 1.0 - self.keep).any():
            return 0.0
        without = (self._look(active, now_s, waits).late_s > EPSILON_S).mean(axis=0)
        n_steps = without.shape[1]  # the new sample's route may be the longest
        worse = (missed > 1.0 - self.keep)
        worse[:, :n_steps] &= missed[:, :n_steps] > without
        if not worse.any():
            return 0.0
        decided_s = np.median(outlook.leaves_s[:, :-1], axis=0)[worse].min()
        return max(float(decided_s), ASK_AGAIN_S) if math.isfinite(decided_s) else ASK_AGAIN_S

    def _idle_wait_s(self, outlook: Outlook, route: Route) -> float:
        """How much later the sample could start and be at the bottleneck as early, in nearly all scenarios; 0 if not much.

        A sample that starts when it has to is chosen with all that is known by then, and its film does not wait.
        """
        last = _bottleneck_step(route, self.bottleneck([route]))
        idle_s = float(np.quantile(outlook.waits_s[:, -1, 1 : last + 1].sum(axis=1), 1.0 - self.keep, method="lower"))
        spare_s = idle_s - 2 * route.transfer_s  # the arm may be elsewhere then
        return spare_s if math.isfinite(spare_s) and spare_s > ASK_AGAIN_S else 0.0

    def _latest_s(self, progress: Progress, now_s: float) -> float:
        """How long after the end of its present step a sample's next transfer may begin at the latest; inf without a limit."""
        step = progress.step + 1
        if progress.now == "moving" or progress.step < 0 or step >= len(progress.route.steps):
            return math.inf
        gap_s = progress.route.steps[step].max_gap_s
        return math.inf if gap_s is None else gap_s - progress.route.transfer_s

    def _leave_to_s(self, other: Progress, transfer_s: float, available_s: float, now_s: float) -> float:
        """How long to leave the arm to a sample with a limit; 0 when a transfer that begins now hardly harms it."""
        slack_s = self._latest_s(other, now_s)
        if other.now != "working":
            left_s = other.since_s + slack_s - now_s
            return max(available_s, ASK_AGAIN_S) if available_s <= left_s < transfer_s and available_s > 0.0 else 0.0
        step = other.route.steps[other.step]
        elapsed_s = now_s - other.since_s
        if step.ends_within(elapsed_s, transfer_s - slack_s) <= (1.0 - self.keep) / 4:  # several transfers fall into one step
            return 0.0
        median_s = float(remaining_s(step.mean_s, step.sigma, elapsed_s, np.zeros(1))[0])
        return max(median_s, ASK_AGAIN_S)

    def _units(self, role: str) -> tuple[str, ...]:
        return tuple(name for name, number in zip(self.names, self._role_of_unit, strict=False) if self.roles[number] == role)

    # -- the state of the cell, for the look ahead ---------------------------------------------------------------------

    def _look(self, samples: Sequence[Progress], now_s: float, waits: Mapping[str, float]) -> Outlook:
        """Look ahead until all limits are decided and the last sample is at its bottleneck."""
        tables = [_table(progress.route, self.roles) for progress in samples]
        n_steps = max(len(table.role) for table in tables)
        scattered = any(table.is_scattered for table in tables) or bool(waits)
        n_scenarios = self.n_scenarios if scattered else 1
        cell = self._empty_cell(samples, tables, n_scenarios, n_steps, waits)
        until = np.array([len(table.role) - 1 if table.is_reentrant else table.last_limit for table in tables], dtype=np.int64)
        until[-1] = max(until[-1], _bottleneck_step(samples[-1].route, self.bottleneck([samples[-1].route])))
        z = normals(self.n_scenarios, 256)[:n_scenarios]
        for i, progress in enumerate(samples):
            self._place(cell, i, progress, now_s, z[:, (7 * i) % 256])
        return look_ahead(cell, until)

    def _empty_cell(self, samples: Sequence[Progress], tables: Sequence[_Table], n_scenarios: int, n_steps: int,
                    waits: Mapping[str, float]) -> Cell:
        n, rack = len(samples), len(self.roles)
        cell = Cell(
            role_of_unit=self._role_of_unit, free_s=np.full((n_scenarios, len(self.names) + 1), -np.inf),
            earliest_s=np.full((n_scenarios, len(self.names) + 1), -np.inf), arm_s=np.zeros(n_scenarios),
            role=np.full((n, n_steps), rack, dtype=np.int64), work_s=np.zeros((n_scenarios, n, n_steps)),
            prepare_s=np.zeros((n_scenarios, n, n_steps)), gap_s=np.full((n, n_steps), np.inf),
            transfer_s=np.array([progress.route.transfer_s for progress in samples]), rank=np.zeros((n, n_steps)),
            position=np.zeros(n, dtype=np.int64), ready_s=np.zeros((n_scenarios, n)), at=np.full(n, len(self.names), dtype=np.int64),
            reserved_s=np.full((n_scenarios, n), np.nan), target=np.full(n, -1, dtype=np.int64),
        )
        bottleneck = self.bottleneck([progress.route for progress in samples])
        z = normals(self.n_scenarios, 256)[:n_scenarios]
        for i, (progress, table) in enumerate(zip(samples, tables, strict=True)):
            m = len(table.role)
            columns = (np.arange(2 * m) + 7 * i + 1) % 256
            cell.role[i, :m], cell.gap_s[i, :m] = table.role, table.gap_s
            cell.work_s[:, i, :m] = table.mean_s * _factor(table.sigma, z[:, columns[:m]])
            cell.prepare_s[:, i, :m] = table.prepare_s * _factor(table.sigma, z[:, columns[m:]])
            cell.rank[i, :m] = _ranks(progress.route, bottleneck)
        for number, (name, wait_s) in enumerate(waits.items()):
            if wait_s > 0.0:
                sigma = np.full(1, math.sqrt(math.log1p(self.wait_error**2)))
                cell.earliest_s[:, self._unit(name)] = wait_s * _factor(sigma, z[:, [(200 + number) % 256]])[:, 0]
        return cell

    def _place(self, cell: Cell, i: int, progress: Progress, now_s: float, z: Floats) -> None:
        """Put a sample where it is now."""
        unit, target = self._unit(progress.unit), self._unit(progress.target)
        elapsed_s, step = now_s - progress.since_s, progress.step
        cell.position[i], cell.at[i] = step + 1, unit
        for occupied in (unit, target):
            if occupied != self._unit(RACK):
                cell.free_s[:, occupied] = np.inf
        if progress.now == "moving":
            ends_s = max(progress.route.transfer_s - elapsed_s, 0.0)
            cell.arm_s[:] = np.maximum(cell.arm_s, ends_s)
            if unit != self._unit(RACK):
                cell.free_s[:, unit] = ends_s
            cell.position[i], cell.at[i] = step + 2, target
            cell.gap_s[i, step + 1] = np.inf  # nobody can do anything about it now
            cell.ready_s[:, i] = ends_s + cell.work_s[:, i, step + 1]
            return
        if progress.now == "working":
            forecast = progress.route.steps[step]
            cell.ready_s[:, i] = remaining_s(forecast.mean_s, forecast.sigma, elapsed_s, z)
        elif step >= 0:
            cell.ready_s[:, i] = -elapsed_s
        if progress.target != RACK:
            cell.target[i] = target
            cell.reserved_s[:, i] = 0.0
            if progress.now == "preparing":
                forecast = progress.route.steps[step + 1]
                cell.reserved_s[:, i] = remaining_s(forecast.prepare_s, forecast.sigma, elapsed_s, z)
            elif math.isfinite(cell.earliest_s[0, target]):
                cell.reserved_s[:, i] = cell.earliest_s[:, target]

    def _unit(self, name: str) -> int:
        try:
            return self._number[name]
        except KeyError:
            raise ScheduleError(f"no station is named {name}; there are {', '.join(self.names)}") from None


URGENT = -1e9
"""Ranks about this belong to samples whose time limit runs."""


@dataclass(frozen=True)
class _Table:
    """A route as arrays; shape (m + 1,): the last one is the way back to the rack."""

    role: Ints
    mean_s: Floats
    sigma: Floats
    prepare_s: Floats
    gap_s: Floats
    last_limit: int
    is_scattered: bool
    is_reentrant: bool


@lru_cache(maxsize=256)
def _table(route: Route, roles: tuple[str, ...]) -> _Table:
    steps = route.steps
    gaps = [math.inf if step.max_gap_s is None else step.max_gap_s for step in steps]
    return _Table(
        role=np.array([*(roles.index(step.role) for step in steps), len(roles)], dtype=np.int64),
        mean_s=np.array([*(step.mean_s for step in steps), 0.0]),
        sigma=np.array([*(step.sigma for step in steps), 0.0]),
        prepare_s=np.array([*(step.prepare_s for step in steps), 0.0]),
        gap_s=np.array([*gaps, math.inf]),
        last_limit=max((number for number, gap in enumerate(gaps) if math.isfinite(gap)), default=-1),
        is_scattered=any(step.spread > 0.0 for step in steps),
        is_reentrant=len({step.role for step in steps}) < len(steps),
    )


def _factor(sigma: Floats, z: Floats) -> Floats:
    """How much longer than its mean something lasts."""
    return np.exp(sigma * z - sigma**2 / 2)


@lru_cache(maxsize=256)
def _bottleneck(routes: tuple[Route, ...], capacity: tuple[tuple[str, int], ...]) -> str:
    load_s = {
        role: sum(step.mean_s + step.prepare_s + 2 * route.transfer_s for route in routes for step in route.steps if step.role == role) / n
        for role, n in capacity if n
    }
    return max(load_s, key=lambda role: load_s[role])


def _bottleneck_step(route: Route, role: str) -> int:
    return next(number for number, step in enumerate(route.steps) if step.role == role)


def _rank(route: Route, step: int, bottleneck: str) -> float:
    """How urgent the transfer to that step is, if no limit runs; lower is more urgent."""
    if step > 0 and route.steps[step - 1].role == bottleneck:
        return 0.0
    if step < len(route.steps) and route.steps[step].role == bottleneck:
        return 1.0
    return 2.0 + len(route.steps) - step


@lru_cache(maxsize=256)
def _ranks(route: Route, bottleneck: str) -> NDArray[np.float64]:
    """The ranks of all transfers of a route, shape (m + 1,)."""
    limits = [step.max_gap_s is not None for step in route.steps] + [False]
    return np.array([URGENT if limits[step] else _rank(route, step, bottleneck) for step in range(len(route.steps) + 1)])


def next_campaign(shares: Mapping[str, float], started: Mapping[str, float], priorities: Mapping[str, int] | None = None) -> str:
    """Which campaign's sample starts next.

    Of the campaigns with the highest priority, the one that has had least for its share. The same numbers give the same answer.

    Parameters
    ----------
    shares : mapping of campaign to weight
        Of those that have a sample to start; only the ratios count.
    started : mapping of campaign to number
        What each has had since the last of them began: samples, or laboratory seconds of the bottleneck where samples differ.
        (Counted from an earlier time, one that joins late would have everything until it has caught up.)
    priorities : mapping of campaign to whole number
        The highest goes first, and the others only when it has nothing to start; 0 where not given.

    Raises
    ------
    ScheduleError
        Without campaigns, or with a share that is not above 0.
    """
    if not shares:
        raise ScheduleError("no campaign has a sample to start")
    for name, share in shares.items():
        if not (math.isfinite(share) and share > 0.0):
            raise ScheduleError(f"campaign {name}: share is {share:g}; allowed: a finite number above 0")
    rank = {} if priorities is None else priorities
    return min(shares, key=lambda name: (-rank.get(name, 0), (started.get(name, 0.0) + 1.0) / shares[name], name))
