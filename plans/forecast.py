"""How long the steps of a sample are expected to take: from the recipe's own estimate, and from what was recorded.

Durations are taken as log-normal: never negative, and late more often than early, as the recorded ones are. Two numbers say it
all, the mean and the relative standard deviation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from lab.core.errors import ScheduleError

TRANSFER = "transfer"
"""The name under which the ledger keeps the durations of transfers."""

OVERDUE_CHANCE = 1e-3
"""A step that has lasted so long that only this share of its kind would still run is not of its kind: the forecast is wrong."""

OVERDUE_SHARE = 0.1
"""Such a step is expected to last another tenth of what it has lasted."""

_NORMAL = NormalDist()
_Z_GRID = np.linspace(-4.5, 4.5, 1801)
_U_GRID = np.array([_NORMAL.cdf(float(z)) for z in _Z_GRID])


@dataclass(frozen=True)
class StepForecast:
    """One step of a sample's route.

    Parameters
    ----------
    name : str
        As the ledger knows it ("cast", "anneal", ...).
    role : str
        The kind of station it needs.
    mean_s : float
        Laboratory seconds from the moment the sample stands there until its work is done.
    spread : float
        Relative standard deviation of `mean_s`, and of `prepare_s`.
    prepare_s : float
        How long the station stands empty before it can be loaded (a hotplate that cools); begins when the former sample has left.
    max_gap_s : float or None
        The longest time from the end of the former step to the begin of this one; the transfer counts.

    Raises
    ------
    ScheduleError
        When a number is negative or not finite.
    """

    name: str
    role: str
    mean_s: float
    spread: float = 0.0
    prepare_s: float = 0.0
    max_gap_s: float | None = None

    def __post_init__(self) -> None:
        given = {"mean_s": self.mean_s, "spread": self.spread, "prepare_s": self.prepare_s}
        if self.max_gap_s is not None:
            given["max_gap_s"] = self.max_gap_s
        for field, value in given.items():
            if not (math.isfinite(value) and value >= 0.0):
                raise ScheduleError(f"step {self.name}: {field} is {value:g}; allowed: a finite number, at least 0")

    @property
    def prepare_name(self) -> str:
        """The name under which the ledger keeps how long the preparation took."""
        return f"prepare {self.name}"

    @property
    def sigma(self) -> float:
        """Standard deviation of the logarithm of the duration."""
        return math.sqrt(math.log1p(self.spread**2))

    def quantile_s(self, share: float) -> float:
        """The duration below which `share` of these steps end."""
        return _quantile_s(self.mean_s, self.sigma, share)

    def ends_within(self, elapsed_s: float, within_s: float) -> float:
        """The chance that the step ends in the next `within_s`, if it has lasted `elapsed_s` and not ended."""
        if within_s <= 0.0:
            return 0.0
        if self.sigma == 0.0 and elapsed_s <= self.mean_s:
            return float(elapsed_s + within_s >= self.mean_s)
        surviving = 1.0 - self._ended(elapsed_s)
        if surviving < OVERDUE_CHANCE:
            return 1.0 - math.exp(-within_s / max(OVERDUE_SHARE * elapsed_s, 1e-9))
        return (self._ended(elapsed_s + within_s) - self._ended(elapsed_s)) / surviving

    def _ended(self, elapsed_s: float) -> float:
        """The share of these steps that have ended after `elapsed_s`."""
        if elapsed_s <= 0.0:
            return 0.0
        if self.mean_s <= 0.0 or self.sigma == 0.0:
            return float(elapsed_s > self.mean_s)
        return _NORMAL.cdf((math.log(elapsed_s / self.mean_s) + self.sigma**2 / 2) / self.sigma)


@dataclass(frozen=True)
class Route:
    """The way of one sample through the laboratory, from the rack and back.

    Parameters
    ----------
    steps : tuple of StepForecast
        What is done at one station without moving the sample is one step.
    transfer_s : float
        Laboratory seconds of one transfer by the arm, at most: transfers are not scattered.

    Raises
    ------
    ScheduleError
        Without steps, and when `transfer_s` is negative or not finite.
    """

    steps: tuple[StepForecast, ...]
    transfer_s: float

    def __post_init__(self) -> None:
        if not self.steps:
            raise ScheduleError("a route needs at least one step")
        if not (math.isfinite(self.transfer_s) and self.transfer_s >= 0.0):
            raise ScheduleError(f"transfer_s is {self.transfer_s:g}; allowed: a finite number, at least 0")


@dataclass(frozen=True)
class Learning:
    """Forecasts that follow what is recorded.

    Parameters
    ----------
    prior : Route
        The recipe's own estimate.
    prior_weight : float
        The estimate counts as much as this many recorded durations.
    half_life : float
        Recordings: one that is followed by so many others counts half. With 20, a change (a new hotplate, another
        solvent) is nine tenths of the forecast's way along after 40 to 50 samples, and half of it after about 20.

    Notes
    -----
    The centre is the weighted median of the recorded durations and the spread comes from their 16 % and 84 % quantiles, both on
    a logarithmic scale, so that a sample that waited an hour for an operator moves neither.
    """

    prior: Route
    prior_weight: float = 4.0
    half_life: float = 20.0

    def route(self, durations: Mapping[str, Sequence[float]]) -> Route:
        """The route as it is expected now.

        Parameters
        ----------
        durations : mapping of step name to laboratory seconds, newest last
            Of completed steps; `TRANSFER` and each step's `StepForecast.prepare_name` are taken up too.
        """
        transfer_s, _ = self._blend(self.prior.transfer_s, 0.0, durations.get(TRANSFER, ()))
        return Route(self.steps(durations), transfer_s)

    def steps(self, durations: Mapping[str, Sequence[float]]) -> tuple[StepForecast, ...]:
        """The steps of `route`."""
        return tuple(self._step(step, durations) for step in self.prior.steps)

    def _step(self, step: StepForecast, durations: Mapping[str, Sequence[float]]) -> StepForecast:
        mean_s, spread = self._blend(step.mean_s, step.spread, durations.get(step.name, ()))
        prepare_s, _ = self._blend(step.prepare_s, step.spread, durations.get(step.prepare_name, ()))
        return replace(step, mean_s=mean_s, spread=spread, prepare_s=prepare_s)

    def _blend(self, mean_s: float, spread: float, recorded: Sequence[float]) -> tuple[float, float]:
        """Mean and relative standard deviation, from the estimate and the recordings."""
        values = np.asarray([value for value in recorded if math.isfinite(value) and value > 0.0])
        if not len(values):
            return mean_s, spread
        weights = 0.5 ** (np.arange(len(values))[::-1] / self.half_life)
        low, centre, high = _weighted_quantiles(np.log(values), weights, (0.16, 0.5, 0.84))
        seen = float(weights.sum())
        share = seen / (seen + self.prior_weight)
        prior_sigma = math.sqrt(math.log1p(spread**2))
        sigma = share * (high - low) / 2 + (1.0 - share) * prior_sigma
        median_s = share * math.exp(centre) + (1.0 - share) * mean_s * math.exp(-(prior_sigma**2) / 2)
        return median_s * math.exp(sigma**2 / 2), math.sqrt(math.expm1(sigma**2))


def _weighted_quantiles(values: NDArray[np.float64], weights: NDArray[np.float64], shares: tuple[float, ...]) -> list[float]:
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order]) - weights[order] / 2
    return [float(np.interp(share, below / weights.sum(), values[order])) for share in shares]


def _quantile_s(mean_s: float, sigma: float, share: float) -> float:
    return mean_s * math.exp(sigma * _NORMAL.inv_cdf(share) - sigma**2 / 2) if mean_s > 0.0 and sigma > 0.0 else mean_s


def remaining_s(mean_s: float, sigma: float, elapsed_s: float, z: NDArray[np.float64]) -> NDArray[np.float64]:
    """How long something that has lasted `elapsed_s`, and is not over, still lasts, in scenarios.

    Parameters
    ----------
    mean_s, sigma : float
        Of the whole duration, as in `StepForecast`.
    elapsed_s : float
    z : ndarray, shape (n,)
        A standard normal number per scenario: how late this one is.

    Returns
    -------
    ndarray, shape (n,), s
    """
    if elapsed_s <= 0.0 or sigma == 0.0 or mean_s == 0.0:
        return np.maximum(mean_s * np.exp(sigma * z - sigma**2 / 2) - max(elapsed_s, 0.0), 0.0)
    ended = _NORMAL.cdf((math.log(elapsed_s) - math.log(mean_s) + sigma**2 / 2) / sigma)  # the ratio may be too small for a float
    share = np.interp(z, _Z_GRID, _U_GRID)
    if 1.0 - ended < OVERDUE_CHANCE:
        return OVERDUE_SHARE * elapsed_s * -np.log1p(-share)
    late = np.interp(1.0 - (1.0 - share) * (1.0 - ended), _U_GRID, _Z_GRID)
    return np.maximum(mean_s * np.exp(sigma * late - sigma**2 / 2) - elapsed_s, 0.0)
