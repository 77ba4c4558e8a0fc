"""What the trials say, as arrays, and the models that are made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import ndtr

from lab.core.question import CampaignConfig, Objective
from lab.core.trial import Measured, Trial, TrialState
from lab.optimise import readings
from lab.optimise.domain import Domain
from lab.optimise.drift import SLIGHT, drifting
from lab.optimise.gaussian import Data, Posterior, Trend, condition
from lab.optimise.improvement import Above
from lab.optimise.likelihood import Prior
from lab.optimise.memory import Remembered, recall
from lab.optimise.polytope import Array
from lab.optimise.prior_mean import prior_mean
from lab.optimise.replicates import alike, merged
from lab.optimise.representative import representative
from lab.optimise.scaling import FEWEST, Scale, scale_of
from lab.optimise.terms import JointModel, OfOutcome
from lab.optimise.transfer import known_before, trend
from lab.optimise.tried import encode_trials

MOST = 1000
"""Trials that a model is made of: the cost grows as their cube. Of more, those around the best and others spread over the rest."""

LEAST_SEM = 1e-4
"""Smallest standard error that a model is told, in units of the outcomes' own spread; its inverse is the largest."""

OUTCOME = Prior(may_be_smooth=True, apart=0.6)
SUCCESS = Prior(scale=(0.0, 0.5), noise=(-4.0, 1.0))
"""Of success and failure, as 1 and -1: borders are sharper than outcomes are rough, and a failure may have been a cable's."""

ENOUGH, CAUTION = 0.8, 30.0
"""Below the first, the chance of success counts so much more: a failure costs a sample, and the improvement expected beyond
a border is often many times that on this side of it. Where nothing is known, the chance is a half."""

FORETOLD = 2
"""Initial points where earlier data of another question say what to expect: how this one differs is seen from few."""

SUCCEEDS = ""
"""The name of the model of success among the kernels; no outcome has it."""


@dataclass(frozen=True)
class Observed:
    """One outcome of all completed trials.

    Parameters
    ----------
    y : ndarray, shape (n,)
        Mean near 0, standard deviation near 1; up is up, as it was measured. The worst ones are drawn in (`lab.optimise.scaling.Fence`).
    told : ndarray, shape (n,)
        Variance of each, in the unit of `y` squared; 0 where none was told.
    is_told : ndarray of bool, shape (n,)
        Which were told; the noise of the others is learned.
    scale : Scale
    objective : Objective or None
    stretch : ndarray, shape (n,), or None
        See `lab.optimise.gaussian.Data`.
    logarithms : Observed or None
        The same on a logarithmic scale, where a model of that may explain the outcomes better; None: it is not thought of.
    """

    name: str
    y: Array
    told: Array
    is_told: Array
    scale: Scale
    objective: Objective | None = None
    stretch: Array | None = None
    logarithms: Observed | None = None

    def to_unit(self, value: float) -> float:
        """A value of the outcome, in the unit of `y`."""
        return float(self.scale.to_unit(np.array([value]))[0])

    def natural(self, y: float) -> float:
        """A value in the unit of `y`, in the outcome's."""
        return float(self.scale.from_unit(np.asarray(y)))

    def rate(self, y: float) -> float:
        """By how much the outcome grows with `y`."""
        return float(self.scale.rate(np.asarray(y)))


@dataclass(frozen=True)
class Study:
    """Trials as a model takes them.

    Parameters
    ----------
    X : ndarray, shape (n, d + e)
        Executed points of completed trials: the domain's columns, then those of what is not chosen (context, then laboratory time).
    observed : tuple of Observed
        Objectives first, in the order of the file.
    failed : ndarray, shape (k, d + e)
    waiting : ndarray, shape (w, d)
        Points under way.
    here : ndarray, shape (e,)
        What is not chosen, as it is for the next sample.
    groups : ndarray of int, shape (d + e,)
        Which length scale each column has.
    trends : mapping of outcome name to Trend
        What was expected before anything was measured.
    n_before : int
        How many of the completed trials are rows of earlier data of the same question.
    is_foretold : bool
        Whether earlier data of another question say what to expect.
    remarks : tuple of str
        What a person should know of how the trials were used.
    """

    domain: Domain
    X: Array
    observed: tuple[Observed, ...]
    failed: Array
    waiting: Array
    here: Array
    groups: Array
    trends: Mapping[str, Trend] = field(default_factory=dict)
    n_before: int = 0
    is_foretold: bool = False
    remarks: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Observed:
        return next(one for one in self.observed if one.name == name)

    @property
    def merit(self) -> Array:
        """How good each completed trial is by the first objective, shape (n,), in the unit of its model."""
        return self.observed[0].scale.merit(self.observed[0].y, self.observed[0].objective)

    def n_initial(self, asked: int) -> int:
        """How many initial points are evenly spread, of those `asked` for: fewer where something is known before."""
        left = max(0, asked - self.n_before)
        return min(left, FORETOLD) if self.is_foretold else left

    def hope(self, x: Array) -> Array | None:
        """How good the first objective is expected to be by earlier data alone, up is better, shape (n,), at `x`, shape (n, d); None without any."""
        first = self.observed[0]
        if not self.is_foretold or first.name not in self.trends or (first.objective is not None and first.objective.goal == "target"):
            return None
        return first.scale.merit(self.trends[first.name].at(np.hstack([x, np.tile(self.here, (len(x), 1))]))[0], first.objective)

    def with_waiting(self, x: Array) -> Study:
        """The same, and `x`, shape (k, d), under way."""
        return replace(self, waiting=np.vstack([self.waiting, x]))

    def models(self, start: Mapping[str, Any] | None = None) -> Models:
        """A model of each outcome and, once something has failed, of success.

        `Models.study` has the outcomes on the scales that the models are of.

        Parameters
        ----------
        start : mapping or None
            `Models.kernels` of an earlier study: where the search for the most probable ones begins (`lab.optimise.memory`).

        Raises
        ------
        ModelFailed
            When one cannot be made.
        """
        known = start or {}
        which = alike(self.X, np.column_stack([one.is_told for one in self.observed]))
        n, first = len(which.first), self.observed[0]
        leading = merged(self._data(first), which)
        used = representative(leading.X, first.scale.merit(leading.y, first.objective), MOST)
        remarks = [*self.remarks] + ([f"model of {len(used)} of {n} trials"] if len(used) < n else [])
        outcomes, kernels, observed = {}, {}, []
        for one in self.observed:
            scales = [merged(self._data(scaled), which) for scaled in (one, one.logarithms) if scaled is not None]
            scales = scales if len(used) == n else [data.only(used) for data in scales]
            found = kernels[one.name] = recall(scales[0], OUTCOME, known.get(one.name), *scales[1:])
            outcomes[one.name] = condition(scales[int(found.is_log)], found.kernel)
            observed.append(one.logarithms if found.is_log and one.logarithms is not None else one)
        success = None
        if len(self.failed):
            kernels[SUCCEEDS], success = self._success(known.get(SUCCEEDS))
        remarks += [f"jitter {model.jitter:.1g}" for model in [*outcomes.values(), *([] if success is None else [success])] if model.jitter]
        return Models(replace(self, observed=tuple(observed)), outcomes, success, kernels, tuple(remarks))

    def success(self) -> Posterior:
        """Where samples give an outcome: 1 where they do, -1 where they do not."""
        return self._success(None)[1]

    def _success(self, known: object) -> tuple[Remembered, Posterior]:
        X = np.vstack([self.X, self.failed])
        y = np.concatenate([np.ones(len(self.X)), -np.ones(len(self.failed))])
        data = Data(X, y, np.zeros(len(X)), self.groups).only(representative(X, -y, MOST))
        found = recall(data, SUCCESS, known)
        return found, condition(data, found.kernel)

    def _data(self, one: Observed) -> Data:
        share = None if not one.is_told.any() else np.where(one.is_told, 0.0, 1.0)
        return Data(self.X, one.y, one.told, self.groups, share, trend=self.trends.get(one.name), stretch=one.stretch)


@dataclass(frozen=True)
class Models:
    """A posterior of each outcome by name, and of success.

    Parameters
    ----------
    success : Posterior or None
        None while nothing has failed.
    remembered : mapping of name to Remembered
        The parameters of each, as the next suggestion begins from them; the model of success is under ``""``.
    """

    study: Study
    outcomes: Mapping[str, Posterior]
    success: Posterior | None
    remembered: Mapping[str, Remembered] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def of(self, name: str) -> JointModel:
        """The model of one outcome, for the next sample."""
        return self.outcomes[name].at(self.study.here)

    def natural(self, name: str, x: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of an outcome in its unit, shapes (n,), at `x`, shape (n, d); of logarithms see `Scale.natural`."""
        mean, variance = self.of(name).predict(x)
        return self.study[name].scale.natural(mean, np.sqrt(variance))

    def chance(self) -> list[OfOutcome]:
        """The term for the probability that a sample gives an outcome; none while nothing has failed."""
        if self.success is None:
            return []
        return [OfOutcome(self.success.at(self.study.here), Above(0.0, noise=self.success.kernel.noise, caution=CAUTION, enough=ENOUGH))]

    def success_at(self, x: Array) -> Array | None:
        """The probability that a sample gives an outcome, shape (n,), at `x`, shape (n, d); None while nothing has failed."""
        if self.success is None:
            return None
        mean, variance = self.success.at(self.study.here).predict(x)
        return np.asarray(ndtr(mean / np.sqrt(variance + self.success.kernel.noise)))

    def with_waiting(self, x: Array) -> Models:
        """The same, and no other points than `x`, shape (k, d), under way."""
        return replace(self, study=replace(self.study, waiting=x))

    def expecting(self, x: Array) -> Models:
        """The same, when the outcomes at `x`, shape (k, d), turn out as expected."""
        if not len(x):
            return self
        full = np.hstack([x, np.tile(self.study.here, (len(x), 1))])
        return replace(self, outcomes={name: one.expecting(full) for name, one in self.outcomes.items()})

    @cached_property
    def kernels(self) -> dict[str, Any]:
        """Parameters of all models, as JSON has them; the model of success is under ``""``."""
        return {name: one.as_json() for name, one in self.remembered.items()}


def study_of(campaign: CampaignConfig, domain: Domain, trials: Sequence[Trial]) -> Study:
    """Read the trials, and what was known before them.

    A completed trial whose context was not measured is left out of the models, and a remark says so: one missing reading ends no campaign.

    Raises
    ------
    OptimizerError
        When a completed trial lacks an outcome, an outcome or standard error is not finite, or what is known before cannot be used.
    """
    known = known_before(campaign, domain, OUTCOME)
    everything = [*known.same, *trials]
    beyond, here, remarks = _not_chosen(campaign, trials, everything)
    is_known = np.isfinite(beyond).all(axis=1)
    done = [k for k, t in enumerate(everything) if readings.is_done(t) and is_known[k]]
    n_left_out = sum(map(readings.is_done, everything)) - len(done)
    if n_left_out:
        remarks.append(f"{n_left_out} trial{'s' if n_left_out > 1 else ''} without {' or '.join(one.name for one in campaign.context)} left out")
    # What the context of a failed sample was is often not known: it counts as failed where the next one would be.
    failed = [k for k, t in enumerate(everything) if t.state is TrialState.FAILED]
    others = np.where(np.isfinite(beyond[failed]), beyond[failed], here)
    completed = [everything[k] for k in done]
    observed = tuple(_observed(campaign, name, readings.measured(completed, name), remarks) for name in campaign.outcome_names)
    expected = {name: prior_mean(domain, name, text, next(one.scale for one in observed if one.name == name))
                for name, text in campaign.prior_mean.items() if name in campaign.outcome_names}
    trends = {one.name: found for one in observed if (found := trend(known.others, one.name, expected.get(one.name))) is not None}
    # Where something says what to expect, it says so of the outcomes as they are.
    observed = tuple(one if expected or known.others or campaign.drift is not None else _with_logarithms(campaign, one, completed) for one in observed)
    if campaign.drift is not None:
        trends = {one.name: drifting(trends.get(one.name), domain.n_columns + len(campaign.context)) for one in observed}
    return Study(domain, np.hstack([_points(domain, completed), beyond[done]]), observed,
                 np.hstack([_points(domain, [everything[k] for k in failed]), others]),
                 _points(domain, [t for t in trials if t.state in (TrialState.SUGGESTED, TrialState.RUNNING)]), here,
                 groups_with(domain, len(here)), trends, sum(map(readings.is_done, known.same)), bool(known.others), (*known.remarks, *remarks))


def _points(domain: Domain, trials: Sequence[Trial]) -> Array:
    return encode_trials(domain, trials, [t.point for t in trials])


def column_groups(domain: Domain) -> Array:
    """Which length scale each of the domain's columns has; int, shape (columns,)."""
    return domain.columns.groups


def groups_with(domain: Domain, n_beyond: int) -> Array:
    """Which length scale each of the domain's columns has, and a scale of its own for each of the columns behind them; int, shape (columns + n_beyond,)."""
    own = column_groups(domain)
    first = int(own.max(initial=-1)) + 1
    return np.concatenate([own, np.arange(first, first + n_beyond)]).astype(int)


def _observed(campaign: CampaignConfig, name: str, measured: Sequence[Measured], remarks: list[str]) -> Observed:
    """One outcome on the scale of its model."""
    raw = np.array([one.mean for one in measured], dtype=float)
    objective = next((one for one in campaign.objectives if one.name == name), None)
    # Of trade-offs, what is bad by one objective may be the best by another: all of it counts. Measured on Branin's and Currin's functions,
    # 40 trials, 10 seeds: a hypervolume regret of 1.44 (quartiles 1.34 to 1.59), 1.57 (1.55 to 1.67) with the bad tails drawn in.
    is_trade_off = len(campaign.objectives) > 1 and campaign.combine == "pareto"
    scale = scale_of(raw, None if is_trade_off else objective)
    is_inferred = objective is not None and objective.noise == "inferred"
    sems = [None if is_inferred else one.sem for one in measured]
    is_told = np.array([sem is not None for sem in sems], dtype=bool)
    told = np.where(is_told, _relative(np.array([0.0 if sem is None else sem for sem in sems]), scale), 0.0)
    n_untold = len(raw) - int(is_told.sum())
    if n_untold and not is_inferred and (objective is not None or is_told.any()):
        whose = "noise" if objective is not None and len(campaign.objectives) == 1 else f"noise of {name}"
        remarks.append(f"{whose} inferred: {n_untold} of {len(raw)} trials have no standard error")
    return Observed(name, scale.to_unit(raw), told, is_told, scale, objective)


def _relative(sems: Array, scale: Scale, rate: Array | float = 1.0) -> Array:
    """Variances in the unit of a model of standard errors, shape (n,), of what grows `rate` times as fast as the scale's own numbers."""
    with np.errstate(over="ignore"):  # what is too large to tell counts as the largest that can be told
        return np.asarray(np.clip(sems / rate / scale.width, LEAST_SEM, 1.0 / LEAST_SEM) ** 2)


def _with_logarithms(campaign: CampaignConfig, one: Observed, completed: Sequence[Trial]) -> Observed:
    """The same, with its logarithms where they are to be thought of: of a single objective that is to be large and is above 0 wherever it was measured.

    Where nothing is the worst that there can be, outcomes vanish by degrees, and the degrees tell the way to where there is something. Of what is to
    be small, logarithms would tell the best apart instead (measured: decision 22).
    """
    objective = one.objective
    if objective is None or len(campaign.objectives) > 1 or objective.goal != "maximize" or objective.desirability is not None:
        return one
    measured = readings.measured(completed, one.name)
    raw = np.array([each.mean for each in measured], dtype=float)
    if len(raw) < FEWEST or not (raw > 0.0).all():
        return one
    scale = scale_of(raw, objective, is_log=True)
    sems = np.array([0.0 if each.sem is None else each.sem for each in measured])
    told = np.where(one.is_told, _relative(sems, scale, raw), 0.0)
    other = Observed(one.name, scale.to_unit(raw), told, one.is_told, scale, objective, scale.stretch(raw))
    return replace(one, stretch=one.scale.stretch(raw), logarithms=other)


def _not_chosen(campaign: CampaignConfig, trials: Sequence[Trial], everything: Sequence[Trial]) -> tuple[Array, Array, list[str]]:
    """What was not chosen in each of all trials, shape (n, e), and as it is for the next sample, shape (e,)."""
    beyond = readings.context(campaign, everything)
    here, remarks = readings.context_now(campaign, beyond)
    if campaign.drift is None:
        return beyond, here, remarks
    hours, now = readings.hours(trials), readings.hours_now(trials)
    # In units that change seldom, and then by a factor of two: the pieces of the path stay the same for many trials.
    unit = 2.0 ** np.ceil(np.log2(now)) if now > 0 else 1.0
    if not now > 0 and len(trials):
        remarks.append("no laboratory times are on record: drift is not seen")
    times = np.concatenate([np.zeros(len(everything) - len(trials)), hours])[:, None] * (SLIGHT / unit)
    return np.hstack([beyond, times]), np.append(here, now * (SLIGHT / unit)), remarks
