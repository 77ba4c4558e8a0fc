"""What a sample costs in laboratory time, and what that does to the choice of the next one.

The seconds of a sample are those of every sample, and for each parameter that is slow to change (an oven, a wavelength)
so many for each unit by which it differs from the sample before. The campaign's file says where to begin; what its
trials have really taken is fitted with non-negative coefficients, pulled towards the file's as by a prior.

Where several samples are in the machine at once, a trial's duration holds waiting for others, too. The fit is robust
(Huber 1964, doi:10.1214/aoms/1177703732): a sample that took long for no reason that the model knows counts less. Waiting
that all samples share is part of their common seconds, which is what a suggestion made under the same load will take.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from lab.core.question import CampaignConfig
from lab.core.space import ChoiceParameter, RangeParameter, Space, Value
from lab.core.trial import Trial, TrialState
from lab.optimise.domain import Domain, Points
from lab.optimise.polytope import Array

DOUBT = 0.5
"""Standard deviation of each of the file's numbers, relative to itself; and at least so that a change over the whole range may cost as
much of a sample."""

UNKNOWN = 8.0
"""The same of a number that the file gives as 0: so many samples, for a change over the whole range."""

SCATTER, N_SCATTER = 0.2, 4.0
"""Scatter of durations that is assumed at first, relative to a sample's, and how many trials that counts for."""

HUBER = 1.345
"""Deviations beyond which a duration counts less."""

N_FITS = 12
"""Turns of the robust fit."""

ROUNDED = 0.01
"""Seconds, relative to a sample's, by which the corner of the costs at no change is rounded off for gradients."""

N_STAYING = 128
"""Evenly spread points that are also looked at with what is slow to change as it is."""

EXACT = 8
"""Most samples whose shortest order is found exactly."""


@dataclass(frozen=True)
class Durations:
    """Laboratory seconds of a sample, by the sample before it; made by `durations_of`.

    Parameters
    ----------
    space : Space
    sample_s : float
        Of every sample.
    change_s : mapping of name to float
        For each unit by which a number differs from that of the sample before; of a choice: for each change.
    """

    space: Space
    sample_s: float
    change_s: Mapping[str, float]

    def change(self, before: Mapping[str, Value] | None, values: Mapping[str, Value]) -> float:
        """Seconds to come from one sample's values to another's; 0 from nowhere."""
        if before is None:
            return 0.0
        return sum(seconds * _difference(self.space, name, before, values) for name, seconds in self.change_s.items())

    def seconds(self, before: Mapping[str, Value] | None, values: Mapping[str, Value]) -> float:
        """Seconds of a sample."""
        return self.sample_s + self.change(before, values)

    @property
    def slow(self) -> tuple[str, ...]:
        """Parameters whose changes cost something."""
        return tuple(name for name, seconds in self.change_s.items() if seconds > 0)


def durations_of(campaign: CampaignConfig, domain: Domain, trials: Sequence[Trial]) -> Durations | None:
    """What samples cost, by the file and by the completed trials whose times are on record; None where the file says nothing.

    Parameters that the file does not name cost nothing to change; one that it names with 0 is learned from the trials alone.
    """
    given = campaign.durations
    if given is None:
        return None
    space = domain.space
    names = [name for name in given.change_s if isinstance(space[name], RangeParameter | ChoiceParameter)]
    first = np.array([given.sample_s, *(given.change_s[name] for name in names)])
    rows, seconds = _observed(space, names, trials) if given.learn else (np.zeros((0, 0)), np.zeros(0))
    found = _fitted(first, _doubts(space, names, first), rows, seconds) if len(rows) else first
    return Durations(space, float(found[0]), dict(zip(names, found[1:].tolist(), strict=True)))


def _observed(space: Space, names: Sequence[str], trials: Sequence[Trial]) -> tuple[Array, Array]:
    """1 and the differences to the sample before, shape (n, 1 + k), and the seconds, shape (n,), of completed trials."""
    begun = sorted((t for t in trials if t.began_lab_s is not None), key=lambda t: (t.began_lab_s, t.index))
    rows, seconds = [], []
    for former, trial in zip(begun, begun[1:], strict=False):
        if trial.state is not TrialState.COMPLETED or trial.ended_lab_s is None or trial.began_lab_s is None:
            continue
        rows.append([1.0, *(_difference(space, name, former.point, trial.point) for name in names)])
        seconds.append(max(0.0, trial.ended_lab_s - trial.began_lab_s))
    return np.array(rows).reshape(len(rows), 1 + len(names)), np.array(seconds)


def _difference(space: Space, name: str, one: Mapping[str, Value], other: Mapping[str, Value]) -> float:
    if isinstance(space[name], RangeParameter):
        return abs(float(other[name]) - float(one[name]))
    return float(one[name] != other[name])


def _doubts(space: Space, names: Sequence[str], first: Array) -> Array:
    """Standard deviations of the file's numbers."""
    spans = np.array([1.0, *(parameter.high - parameter.low if isinstance(parameter, RangeParameter) else 1.0
                             for parameter in (space[name] for name in names))])
    return np.where(first > 0, DOUBT * np.maximum(first, first[0] / spans), UNKNOWN * first[0] / spans)


def _fitted(first: Array, doubts: Array, rows: Array, seconds: Array) -> Array:
    """Non-negative coefficients: least squares with Huber's weights, `first` being a prior of standard deviations `doubts`."""
    found, assumed = first, SCATTER * first[0]
    for _ in range(N_FITS):
        rest = seconds - rows @ found
        seen = 1.4826 * float(np.median(np.abs(rest)))
        scatter = np.sqrt((N_SCATTER * assumed ** 2 + len(rest) * seen ** 2) / (N_SCATTER + len(rest)))
        weight = np.sqrt(np.minimum(1.0, HUBER * scatter / np.maximum(np.abs(rest), 1e-12 * scatter))) / scatter
        # Unknowns in units of their doubts, so that minutes and hours are of one size to the arithmetic.
        A = np.vstack([weight[:, None] * rows * doubts, np.eye(len(first))])
        found = doubts * nnls(A, np.concatenate([weight * seconds, first / doubts]))[0]
    return np.array([max(found[0], 1e-3 * first[0]), *found[1:]])


# -------------------------------------------------------------------------------------------------- the acquisition


@dataclass(frozen=True)
class PerHour:
    """Minus the logarithm of a sample's seconds: with it, a sum of logarithms is what is gained in an hour (`lab.optimise.terms.Term`).

    Made by `per_hour`.

    Parameters
    ----------
    sample_s : float
    numbers : tuple of _Slow
        Numbers that are slow to change.
    choices : tuple of (ndarray of int, ndarray, float)
        Columns of a choice, what they are now, and the seconds of a change.
    """

    sample_s: float
    numbers: tuple[_Slow, ...]
    choices: tuple[tuple[Array, Array, float], ...]

    def values(self, x: Array) -> Array:
        """See `lab.optimise.terms.Term`."""
        seconds = np.full(len(x), self.sample_s)
        for slow in self.numbers:
            seconds += slow.seconds(x[:, slow.column])[0]
        for columns, now, change_s in self.choices:
            seconds += change_s * (np.abs(x[:, columns] - now).max(axis=1) > 1e-9)
        return -np.log(seconds)

    def slope(self, x: Array) -> tuple[float, Array]:
        """See `lab.optimise.terms.Term`."""
        value = float(self.values(x[None, :])[0])
        gradient = np.zeros(len(x))
        for slow in self.numbers:
            gradient[slow.column] = -float(slow.seconds(x[slow.column])[1]) * np.exp(value)
        return value, gradient


@dataclass(frozen=True)
class _Slow:
    """A number that is slow to change.

    Parameters
    ----------
    column : int
        Of the model coordinates.
    origin, step : float
        Number (its logarithm with `is_log`) where the column is 0, and what 1 adds to it.
    now : float
        As it is now.
    unit_s : float
        Seconds for each unit.
    corner : float
        Where the corner at no change is rounded off, in its unit.
    """

    column: int
    origin: float
    step: float
    is_log: bool
    now: float
    unit_s: float
    corner: float

    def seconds(self, x: Array) -> tuple[Array, Array]:
        """Seconds of the change to column values `x`, and their derivative."""
        number = self.origin + self.step * x
        number = np.exp(number) if self.is_log else number
        away = number - self.now
        length = np.sqrt(away * away + self.corner ** 2)
        return self.unit_s * (length - self.corner), self.unit_s * away / length * self.step * (number if self.is_log else 1.0)


def per_hour(durations: Durations, domain: Domain, before: Mapping[str, Value] | None) -> PerHour:
    """The term for what a sample costs after the one with the values `before` (complete and in this space)."""
    if before is None:
        return PerHour(durations.sample_s, (), ())
    sample_s, numbers, choices = durations.sample_s, [], []
    known = {p.name: p.values[0] if isinstance(p, ChoiceParameter) and before[p.name] not in p.values else before[p.name] for p in domain.space.parameters}
    for name in durations.slow:
        parameter, seconds = domain.space[name], durations.change_s[name]
        if isinstance(parameter, RangeParameter):
            numbers.append(_slow(domain, parameter, known, seconds, ROUNDED * durations.sample_s / seconds))
        elif isinstance(parameter, ChoiceParameter) and known[name] == before[name]:
            coded = np.array([domain.encode_values({**known, name: value}) for value in parameter.values])
            columns = np.flatnonzero(np.ptp(coded, axis=0) > 0)
            choices.append((columns, domain.encode_values(known)[columns], seconds))
        elif isinstance(parameter, ChoiceParameter):  # the value is no longer among them: whatever comes is a change
            sample_s += seconds
    return PerHour(sample_s, tuple(numbers), tuple(choices))


def _slow(domain: Domain, parameter: RangeParameter, before: Mapping[str, Value], unit_s: float, corner: float) -> _Slow:
    """Where the parameter stands among the columns, and on which scale, is seen from how two of its values are encoded."""
    at_low, at_high = (domain.encode_values({**before, parameter.name: end}) for end in (parameter.low, parameter.high))
    column = int(np.argmax(np.abs(at_high - at_low)))
    low, high = (np.log([parameter.low, parameter.high]) if parameter.is_log else np.array([parameter.low, parameter.high]))
    step = float((high - low) / (at_high[column] - at_low[column]))
    return _Slow(column, float(low - step * at_low[column]), step, parameter.is_log, float(before[parameter.name]), unit_s, corner)


def staying(durations: Durations, domain: Domain, points: Points, before: Mapping[str, Value] | None) -> Points:
    """Some of `points` with what is slow to change as it is, where that is allowed: a gradient does not end there by itself."""
    if before is None or not durations.slow:
        return points[:0]
    now = {name: before[name] for name in durations.slow}
    return domain.points_of([{**values, **now} for values in domain.values(points[:N_STAYING])])


# ------------------------------------------------------------------------------------------------------ the order


def order(durations: Durations, points: Sequence[Mapping[str, Value]], before: Mapping[str, Value] | None) -> list[int]:
    """Places of `points` in the order of the least seconds of changes, beginning after `before`.

    Exact for at most `EXACT` points (Held and Karp 1962, doi:10.1137/0110015); of more, the nearest next and then pairs of
    ways exchanged for as long as that is shorter, at most n times. Of equal orders the first by place.
    """
    n = len(points)
    ways = np.array([[durations.change(one, other) for other in points] for one in points]).reshape(n, n)
    first = np.array([durations.change(before, point) for point in points])
    return _exact(first, ways) if n <= EXACT else _exchanged(first, ways)


def _exact(first: Array, ways: Array) -> list[int]:
    n = len(first)
    if not n:
        return []
    best: dict[tuple[int, int], tuple[float, int]] = {(1 << k, k): (float(first[k]), -1) for k in range(n)}
    for seen in range(1, 1 << n):
        for last in range(n):
            if (seen, last) not in best:
                continue
            so_far = best[seen, last][0]
            for k in range(n):
                if seen >> k & 1:
                    continue
                key, total = (seen | 1 << k, k), so_far + float(ways[last, k])
                if key not in best or total < best[key][0]:
                    best[key] = (total, last)
    seen = (1 << n) - 1
    last = min(range(n), key=lambda k: (best[seen, k][0], k))
    found: list[int] = []
    while last >= 0:
        found.append(last)
        seen, last = seen & ~(1 << last), best[seen, last][1]
    return found[::-1]


def _exchanged(first: Array, ways: Array) -> list[int]:
    n = len(first)
    found = [int(np.argmin(first))]
    while len(found) < n:
        left = [k for k in range(n) if k not in found]
        found.append(min(left, key=lambda k: (ways[found[-1], k], k)))
    total = _length(first, ways, found)
    for _ in range(n):
        is_shorter = False
        for i in range(n - 1):
            for j in range(i + 1, n):
                other = found[:i] + found[i:j + 1][::-1] + found[j + 1:]
                length = _length(first, ways, other)
                if length < total * (1.0 - 1e-12):
                    found, total, is_shorter = other, length, True
        if not is_shorter:
            break
    return found


def _length(first: Array, ways: Array, found: Sequence[int]) -> float:
    return float(first[found[0]] + ways[found[:-1], found[1:]].sum())
