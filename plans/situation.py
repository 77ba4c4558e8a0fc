"""Where every sample is, and that as the arrays of `plans.lookahead`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lab.core.errors import ScheduleError
from plans.forecast import Route, remaining_s
from plans.lookahead import Cell, Floats, Ints, normals

Now = Literal["waiting", "moving", "preparing", "working"]

RACK = ""
"""The unit of a sample in the rack."""

URGENT = -1e9
"""Ranks about this belong to samples whose time limit runs."""


N_COLUMNS = 512
"""Independent columns of random numbers."""


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


class Stations:
    """The stations of a laboratory by role, without the arm and the rack.

    Parameters
    ----------
    units : mapping of role to names

    Raises
    ------
    ScheduleError
        When a name stands twice.
    """

    def __init__(self, units: Mapping[str, Sequence[str]]) -> None:
        self.roles = tuple(units)
        self.names = tuple(name for role in units for name in units[role])
        if len(set(self.names)) != len(self.names):
            raise ScheduleError(f"a station stands twice in {', '.join(self.names)}; allowed: one role each")
        self.of_role = {role: tuple(units[role]) for role in units}
        self.role_of_unit = np.array([*(number for number, role in enumerate(units) for _ in units[role]), len(self.roles)], dtype=np.int64)
        self._number = {name: number for number, name in enumerate(self.names)} | {RACK: len(self.names)}

    def number(self, name: str) -> int:
        """The column of a unit.

        Raises
        ------
        ScheduleError
            When there is none of that name.
        """
        try:
            return self._number[name]
        except KeyError:
            raise ScheduleError(f"no station is named {name}; there are {', '.join(self.names)}") from None

    def bottleneck(self, routes: Sequence[Route]) -> str:
        """The role whose stations the routes together keep busy longest."""
        return _bottleneck(tuple(dict.fromkeys(routes)), tuple((role, len(names)) for role, names in self.of_role.items()))


def situation(stations: Stations, samples: Sequence[Progress], now_s: float, waits: Mapping[str, float], n_scenarios: int, wait_error: float) -> Cell:
    """The samples as arrays; one scenario, where nothing is scattered.

    Parameters
    ----------
    stations : Stations
    samples : sequence of Progress
    now_s : float
        Laboratory time.
    waits : mapping of unit to s
        Before then nothing can be loaded there.
    n_scenarios : int
    wait_error : float
        Relative standard deviation of `waits`.
    """
    tables = [table(progress.route, stations.roles) for progress in samples]
    is_scattered = any(one.is_scattered for one in tables) or bool(waits)
    z = normals(n_scenarios, N_COLUMNS)[: n_scenarios if is_scattered else 1]
    if not is_scattered:
        z = np.zeros_like(z)
    n_steps = max(len(one.role) for one in tables)
    cell = _empty_cell(stations, len(samples), len(z), n_steps)
    bottleneck = stations.bottleneck([progress.route for progress in samples])
    for number, (name, wait_s) in enumerate(waits.items()):
        if wait_s > 0.0:
            sigma = np.full(1, math.sqrt(math.log1p(wait_error**2)))
            cell.earliest_s[:, stations.number(name)] = wait_s * _factor(sigma, z[:, [-1 - number % N_COLUMNS]])[:, 0]
    for i, (progress, one) in enumerate(zip(samples, tables, strict=True)):
        m = len(one.role)
        columns = (np.arange(2 * m + 1) + (2 * n_steps + 1) * i) % N_COLUMNS
        cell.role[i, :m], cell.gap_s[i, :m] = one.role, one.gap_s
        cell.work_s[:, i, :m] = one.mean_s * _factor(one.sigma, z[:, columns[:m]])
        cell.prepare_s[:, i, :m] = one.prepare_s * _factor(one.sigma, z[:, columns[m:-1]])
        cell.rank[i, :m] = _ranks(progress.route, bottleneck)
        _place(stations, cell, i, progress, now_s, z[:, columns[-1]])
    return cell


def _empty_cell(stations: Stations, n: int, n_scenarios: int, n_steps: int) -> Cell:
    """Empty stations, samples without a way."""
    n_units, rack = len(stations.role_of_unit), len(stations.roles)
    return Cell(
        role_of_unit=stations.role_of_unit, free_s=np.full((n_scenarios, n_units), -np.inf), earliest_s=np.full((n_scenarios, n_units), -np.inf),
        arm_s=np.zeros(n_scenarios), role=np.full((n, n_steps), rack, dtype=np.int64), work_s=np.zeros((n_scenarios, n, n_steps)),
        prepare_s=np.zeros((n_scenarios, n, n_steps)), gap_s=np.full((n, n_steps), np.inf), transfer_s=np.zeros(n), rank=np.zeros((n, n_steps)),
        position=np.zeros(n, dtype=np.int64), ready_s=np.zeros((n_scenarios, n)), at=np.full(n, n_units - 1, dtype=np.int64),
        reserved_s=np.full((n_scenarios, n), np.nan), target=np.full(n, -1, dtype=np.int64),
    )


def _place(stations: Stations, cell: Cell, i: int, progress: Progress, now_s: float, z: Floats) -> None:
    """Put a sample where it is now."""
    unit, target, rack = stations.number(progress.unit), stations.number(progress.target), stations.number(RACK)
    elapsed_s, step = now_s - progress.since_s, progress.step
    cell.transfer_s[i], cell.position[i], cell.at[i] = progress.route.transfer_s, step + 1, unit
    cell.free_s[:, [occupied for occupied in (unit, target) if occupied != rack]] = np.inf
    if progress.now == "moving":
        _place_moving(cell, i, step, unit, target, max(progress.route.transfer_s - elapsed_s, 0.0))
        return
    if progress.now == "working":
        forecast = progress.route.steps[step]
        cell.ready_s[:, i] = remaining_s(forecast.mean_s, forecast.sigma, elapsed_s, z)
    elif step >= 0:
        cell.ready_s[:, i] = -elapsed_s
    if target != rack:
        cell.target[i] = target
        cell.reserved_s[:, i] = np.maximum(cell.earliest_s[:, target], 0.0)
        if progress.now == "preparing":
            forecast = progress.route.steps[step + 1]
            cell.reserved_s[:, i] = remaining_s(forecast.prepare_s, forecast.sigma, elapsed_s, z)


def _place_moving(cell: Cell, i: int, step: int, unit: int, target: int, left_s: float) -> None:
    """A sample on the arm: both ends of its way are occupied until it is there."""
    cell.arm_s[:] = np.maximum(cell.arm_s, left_s)
    if unit != len(cell.role_of_unit) - 1:
        cell.free_s[:, unit] = left_s
    cell.position[i], cell.at[i] = step + 2, target
    cell.gap_s[i, step + 1] = np.inf  # nobody can do anything about it now
    cell.ready_s[:, i] = left_s + cell.work_s[:, i, step + 1]


@dataclass(frozen=True)
class Table:
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
def table(route: Route, roles: tuple[str, ...]) -> Table:
    steps = route.steps
    gaps = [math.inf if step.max_gap_s is None else step.max_gap_s for step in steps]
    return Table(
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


def bottleneck_step(route: Route, role: str) -> int:
    return next(number for number, step in enumerate(route.steps) if step.role == role)


def base_rank(route: Route, step: int, bottleneck: str) -> float:
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
    return np.array([URGENT if limits[step] else base_rank(route, step, bottleneck) for step in range(len(route.steps) + 1)])


