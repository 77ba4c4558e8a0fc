"""What happens next, if everybody goes on as forecast: a small simulation of the work cell in many scenarios at once.

Every change of place needs the one arm, so a schedule is a sequence of transfers: the next one is that which can begin first, and
of several that can begin at the same time the most urgent. All scenarios (rows of the arrays) are carried on in step, a
transfer each at a time, with a dozen numpy operations; 64 of them cost little more than one.

Arrays: ``k`` scenarios, ``n`` samples, ``m`` steps, ``u`` units (the last one is the rack, which always has room).
Times are laboratory seconds from now.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

EPSILON_S = 1e-6
"""Times that differ by less are the same."""

@dataclass
class Cell:
    """Where everything stands now, and how long everything takes in each scenario.

    Parameters
    ----------
    role_of_unit : ndarray, shape (u,)
        The rack has the last number of all roles.
    free_s : ndarray, shape (k, u)
        Since when a unit stands empty; inf while it is occupied.
    earliest_s : ndarray, shape (k, u)
        Before this no sample can be loaded, whoever it is.
    arm_s : ndarray, shape (k,)
        When the arm is free.
    role : ndarray, shape (n, m + 1)
        Role of each step; after the last one, the rack.
    work_s, prepare_s : ndarray, shape (k, n, m + 1)
    gap_s : ndarray, shape (n, m + 1)
        inf where there is no limit.
    transfer_s : ndarray, shape (n,)
    rank : ndarray, shape (n, m + 1)
        Who goes first to that step, of those that can; lower goes first.
    position : ndarray, shape (n,)
        The step that each sample goes to next.
    ready_s : ndarray, shape (k, n)
        When its present work is done.
    at : ndarray, shape (n,)
        The unit that it stands on.
    reserved_s : ndarray, shape (k, n)
        When the unit that it has already been granted for its next step is ready; nan where it has none.
    target : ndarray, shape (n,)
        That unit; -1 where it has none.
    """

    role_of_unit: Ints
    free_s: Floats
    earliest_s: Floats
    arm_s: Floats
    role: Ints
    work_s: Floats
    prepare_s: Floats
    gap_s: Floats
    transfer_s: Floats
    rank: Floats
    position: Ints
    ready_s: Floats
    at: Ints
    reserved_s: Floats
    target: Ints


@dataclass
class Outlook:
    """When each sample began its steps, in each scenario.

    Parameters
    ----------
    leaves_s : ndarray, shape (k, n, m + 1)
        When the transfer to that step begins; inf: it does not.
    waits_s : ndarray, shape (k, n, m + 1)
        How long the sample, its former step done, waited for that transfer.
    late_s : ndarray, shape (k, n, m + 1)
        By how much the limit before that step is missed; negative: it is kept, -inf: there is none.
    """

    leaves_s: Floats
    waits_s: Floats
    late_s: Floats


@lru_cache(maxsize=8)
def normals(n_scenarios: int, n_columns: int) -> Floats:
    """Standard normal numbers, shape (n_scenarios, n_columns): each column holds the same quantiles, in an order of its own.

    Fixed once and for all, so that the same state of the machine gives the same answer.
    """
    rng = np.random.default_rng(20)
    values = np.array([NormalDist().inv_cdf((i + 0.5) / n_scenarios) for i in range(n_scenarios)])
    return np.stack([rng.permutation(values) for _ in range(n_columns)], axis=1)


def look_ahead(cell: Cell, until: Ints) -> Outlook:
    """Carry the cell on until each sample has begun the step that is of interest.

    Parameters
    ----------
    cell : Cell
    until : ndarray, shape (n,)
        For each sample, the step after which its further way is of no interest.
    """
    return _Run(cell, until).run()


class _Run:
    """One look ahead; the state of all scenarios, and how a transfer changes it."""

    def __init__(self, cell: Cell, until: Ints) -> None:
        n_scenarios, n_samples, n_steps = cell.work_s.shape
        self.cell, self.until = cell, until
        self.rows = np.arange(n_scenarios)
        self.samples = np.arange(n_samples)
        self.rack = len(cell.role_of_unit) - 1
        self.free_s, self.ready_s = cell.free_s.copy(), cell.ready_s.copy()
        self.arm_s = cell.arm_s.copy()
        self.position = np.tile(cell.position, (n_scenarios, 1))
        self.at = np.tile(cell.at, (n_scenarios, 1))
        self.is_granted = np.tile(cell.target >= 0, (n_scenarios, 1))
        self.last = np.argmax(cell.role == cell.role_of_unit[-1], axis=1)
        self.has_limits = bool(np.isfinite(cell.gap_s).any())
        shape = (n_scenarios, n_samples, n_steps)
        self.outlook = Outlook(np.full(shape, np.inf), np.full(shape, np.inf), np.full(shape, -np.inf))
        self.serves = cell.role_of_unit[None, None, :] == cell.role[:, :, None]
        for i, position in enumerate(cell.position):
            ahead = np.arange(n_steps) >= position
            self.outlook.late_s[:, i, ahead & np.isfinite(cell.gap_s[i])] = np.inf

    def run(self) -> Outlook:
        n_transfers = int((self.last + 1 - self.cell.position).sum())
        for _ in range(n_transfers):
            start_s, unit = self._starts()
            chosen = self._choose(start_s)
            begins_s = start_s[self.rows, chosen]
            going = np.nonzero(np.isfinite(begins_s))[0]
            if not len(going):
                break
            self._carry(going, chosen[going], begins_s[going], unit[going, chosen[going]])
            if (self.position > self.until).all():
                break
        return self.outlook

    def _starts(self) -> tuple[Floats, Ints]:
        """When each sample could be taken to its next step, and to which unit; shape (k, n) each."""
        cell, samples = self.cell, self.samples
        step = np.minimum(self.position, self.last)
        prepare_s = cell.prepare_s[self.rows[:, None], samples, step]
        loadable_s = np.maximum(self.free_s[:, None, :] + prepare_s[:, :, None], cell.earliest_s[:, None, :])
        loadable_s = np.where(self.serves[samples, step], loadable_s, np.inf)
        unit = loadable_s.argmin(axis=2)
        available_s = np.where(self.is_granted, cell.reserved_s, loadable_s.min(axis=2))
        unit = np.where(self.is_granted, cell.target, unit)
        start_s = np.maximum(np.maximum(self.ready_s, self.arm_s[:, None]), available_s)
        start_s = np.where(self.position > self.last, np.inf, start_s)
        return start_s, unit

    def _choose(self, start_s: Floats) -> Ints:
        """The sample that the arm takes next, shape (k,)."""
        step = np.minimum(self.position, self.last)
        rank = self.cell.rank[self.samples, step]
        chosen = _first(start_s, rank)
        if not self.has_limits:
            return chosen
        latest_s = self.ready_s + self.cell.gap_s[self.samples, step] - self.cell.transfer_s
        allowed_s = start_s.copy()
        while (held := self._is_in_the_way(chosen, start_s, latest_s)).any():
            # Of several transfers, the one that can begin last is in nobody's way: this comes to an end.
            allowed_s[self.rows[held], chosen[held]] = np.inf
            chosen = _first(allowed_s, rank)
        return chosen

    def _is_in_the_way(self, chosen: Ints, start_s: Floats, latest_s: Floats) -> NDArray[np.bool_]:
        """Whether the chosen transfer would hold the arm while another sample's limit runs out; shape (k,).

        It is not if it could not wait for the other one without missing a limit of its own.
        """
        transfer_s = self.cell.transfer_s
        begins_s = start_s[self.rows, chosen]
        ends_s = begins_s + transfer_s[chosen]
        misses = (begins_s[:, None] < start_s) & (start_s <= latest_s) & (latest_s + EPSILON_S < ends_s[:, None])
        can_wait = latest_s[self.rows, chosen][:, None] >= start_s + transfer_s
        held: NDArray[np.bool_] = np.any(misses & can_wait, axis=1)
        return held

    def _carry(self, rows: Ints, sample: Ints, begins_s: Floats, unit: Ints) -> None:
        """One transfer in each of these scenarios."""
        cell, outlook = self.cell, self.outlook
        step = self.position[rows, sample]
        ends_s = begins_s + cell.transfer_s[sample]
        ready_s = self.ready_s[rows, sample]
        outlook.leaves_s[rows, sample, step] = begins_s
        outlook.waits_s[rows, sample, step] = begins_s - ready_s
        outlook.late_s[rows, sample, step] = ends_s - ready_s - cell.gap_s[sample, step]
        self.free_s[rows, self.at[rows, sample]] = ends_s
        self.free_s[rows, unit] = np.inf
        self.free_s[:, self.rack] = -np.inf
        self.at[rows, sample] = unit
        self.ready_s[rows, sample] = ends_s + cell.work_s[rows, sample, step]
        self.position[rows, sample] = step + 1
        self.is_granted[rows, sample] = False
        self.arm_s[rows] = ends_s


def _first(start_s: Floats, rank: Floats) -> Ints:
    """Of the samples that can go first, the one with the lowest rank; shape (k,)."""
    first_s = start_s.min(axis=1, keepdims=True)
    return np.where(start_s <= first_s + EPSILON_S, rank, np.inf).argmin(axis=1)
