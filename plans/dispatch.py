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

import numpy as np

from lab.core.errors import ScheduleError
from plans.forecast import Learning, Route, StepForecast, remaining_s
from plans.lookahead import EPSILON_S, Outlook, look_ahead
from plans.shares import next_campaign
from plans.situation import RACK, URGENT, Progress, Stations, base_rank, bottleneck_step, situation, table

__all__ = ["RACK", "Dispatcher", "Learning", "Progress", "Risk", "Route", "StepForecast", "next_campaign"]

ASK_AGAIN_S = 1.0
"""No answer is sooner than this, or a dispatcher that is nearly certain would be asked at every instant."""


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
        self.stations = Stations(units)
        self.keep, self.n_scenarios, self.wait_error = keep, n_scenarios, wait_error
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
        worst_s = float(np.quantile(late_s.max(axis=1), self.keep, method="higher"))
        if worst_s > EPSILON_S:
            step = route.steps[int(np.quantile(late_s, self.keep, axis=0, method="higher").argmax())]
            raise ScheduleError(f"step {step.name}: max_gap_s is {step.max_gap_s:g} s, and even a sample that is alone in the laboratory "
                                f"would miss it by {worst_s:.4g} s in more than {1 - self.keep:.0%} of cases; allow more, or prepare less")
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
        slack_s = _slack_s(progress)
        if math.isfinite(slack_s):
            return URGENT + progress.since_s + slack_s - now_s
        return base_rank(progress.route, progress.step + 1, self.stations.bottleneck([other.route for other in active] or [progress.route]))

    def move_in_s(self, progress: Progress, active: Sequence[Progress], now_s: float, plates: Mapping[str, float] | None = None) -> float:
        """How long a sample that could be moved should not be: it would take the arm, or the last station, from one with a limit.

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
        if math.isfinite(_slack_s(progress)):
            return 0.0
        occupied = {name for one in active for name in (one.unit, one.target)}
        limited = [one for one in active if one.name != progress.name and math.isfinite(_slack_s(one))]
        longest_s = 0.0
        for other in limited:
            step = other.route.steps[other.step + 1]
            free = [waits.get(name, 0.0) for name in self.stations.of_role[step.role] if name not in occupied or name == other.target]
            if free:
                n_comers = sum(one.route.steps[one.step + 1].role == step.role and one.target == RACK for one in limited)
                takes_unit = other.target == RACK and len(free) <= n_comers and _next_role(progress) == step.role
                longest_s = max(longest_s, self._leave_to_s(other, _busy_s(progress, step.prepare_s, takes_unit), min(free), now_s))
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

    # -- limits --------------------------------------------------------------------------------------------------------

    def _check_step(self, route: Route, before: StepForecast | None, step: StepForecast) -> None:
        capacity = len(self.stations.of_role.get(step.role, ()))
        if not capacity:
            raise ScheduleError(f"step {step.name}: no station has the role {step.role}; there are {', '.join(self.stations.roles)}")
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
            if table(progress.route, self.stations.roles).is_reentrant and not np.isfinite(outlook.leaves_s[:, i, len(progress.route.steps)]).all():
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
        worse = missed > 1.0 - self.keep
        worse[:, :n_steps] &= missed[:, :n_steps] > without
        if not worse.any():
            return 0.0
        decided_s = np.median(outlook.leaves_s[:, :-1], axis=0)[worse].min()
        return max(float(decided_s), ASK_AGAIN_S) if math.isfinite(decided_s) else ASK_AGAIN_S

    def _idle_wait_s(self, outlook: Outlook, route: Route) -> float:
        """How much later the sample could start and be at the bottleneck as early, in nearly all scenarios; 0 if not much.

        A sample that starts when it has to is chosen with all that is known by then, and its film does not wait.
        """
        last = bottleneck_step(route, self.stations.bottleneck([route]))
        idle_s = float(np.quantile(outlook.waits_s[:, -1, 1 : last + 1].sum(axis=1), 1.0 - self.keep, method="lower"))
        spare_s = idle_s - 2 * route.transfer_s  # the arm may be elsewhere then
        return spare_s if math.isfinite(spare_s) and spare_s > ASK_AGAIN_S else 0.0

    def _leave_to_s(self, other: Progress, busy_s: float, available_s: float, now_s: float) -> float:
        """How long to leave the way to a sample with a limit; 0 when something that takes `busy_s` from now hardly harms it."""
        if other.now != "working":
            left_s = other.since_s + _slack_s(other) - now_s
            return max(available_s, ASK_AGAIN_S) if available_s <= left_s < busy_s else 0.0
        step, elapsed_s = other.route.steps[other.step], now_s - other.since_s
        if step.ends_within(elapsed_s, busy_s - _slack_s(other)) <= (1.0 - self.keep) / 4:  # several transfers fall into one step
            return 0.0
        median_s = float(remaining_s(step.mean_s, step.sigma, elapsed_s, np.zeros(1))[0])
        return max(median_s, ASK_AGAIN_S)

    def _look(self, samples: Sequence[Progress], now_s: float, waits: Mapping[str, float]) -> Outlook:
        """Look ahead until all limits are decided and the last sample is at its bottleneck.

        Samples that come to a role twice can block each other for ever, so they are followed to their end.
        """
        tables = [table(progress.route, self.stations.roles) for progress in samples]
        until = np.array([len(one.role) - 1 if one.is_reentrant else one.last_limit for one in tables], dtype=np.int64)
        until[-1] = max(until[-1], bottleneck_step(samples[-1].route, self.stations.bottleneck([samples[-1].route])))
        return look_ahead(situation(self.stations, samples, now_s, waits, self.n_scenarios, self.wait_error), until)


def _slack_s(progress: Progress) -> float:
    """How long after the end of its present step a sample's next transfer may begin at the latest; inf without a limit."""
    step = progress.step + 1
    if progress.now == "moving" or progress.step < 0 or step >= len(progress.route.steps):
        return math.inf
    gap_s = progress.route.steps[step].max_gap_s
    return math.inf if gap_s is None else gap_s - progress.route.transfer_s


def _next_role(progress: Progress) -> str | None:
    step = progress.step + 1
    return progress.route.steps[step].role if step < len(progress.route.steps) else None


def _busy_s(progress: Progress, prepare_s: float, takes_unit: bool) -> float:
    """How long a transfer keeps something from another sample: the arm, or with it the unit that it goes to."""
    transfer_s = progress.route.transfer_s
    return 2 * transfer_s + progress.route.steps[progress.step + 1].mean_s + prepare_s if takes_unit else transfer_s
