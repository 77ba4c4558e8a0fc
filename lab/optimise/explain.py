"""What can be told of a campaign's models, for a person: see `lab.optimise.left_out`, `sensitivity` and `dependence`.

A function of the campaign and its trials, as suggestions are. It explains Labwright's own models, whichever engine made the suggestions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lab.core.best import best_trial
from lab.core.errors import LabError
from lab.core.question import CampaignConfig
from lab.core.space import Value
from lab.core.trial import Trial, TrialState
from lab.optimise.cloud import Cloud, names_of, spread
from lab.optimise.dependence import N_STEPS, Curve, Map, average, map_of, sums_of, through, triangle_of
from lab.optimise.domain import Domain
from lab.optimise.gaussian import ModelFailed, Posterior
from lab.optimise.left_out import Foretold, LeftOut, foretold, left_out
from lab.optimise.memory import last_kernels
from lab.optimise.one_thread import one_thread
from lab.optimise.polytope import Array
from lab.optimise.pool import Pool
from lab.optimise.readings import hours_now
from lab.optimise.scaling import Scale
from lab.optimise.sensitivity import Sensitivities, sensitivities
from lab.optimise.study import Models, Observed, Study, study_of
from lab.optimise.terms import JointModel
from lab.optimise.tried import encode_trial

FEWEST = 2
"""Completed trials that a model needs."""

MOST_CURVES = 8
"""Parameters whose curves are drawn: those that matter most."""

TIME = "laboratory time, h"
"""How drift's axis is called."""

N_CLOUD = 256
"""Points that stand for the space where curves are averaged."""


@dataclass(frozen=True)
class InUnit:
    """A model of an outcome, in the outcome's unit."""

    model: JointModel
    scale: Scale

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Means and variances, shapes (n,), at `x`, shape (n, d); of logarithms see `Scale.natural`."""
        mean, variance = self.model.predict(x)
        natural, deviation = self.scale.natural(mean, np.sqrt(variance))
        return natural, deviation ** 2

    def means(self, x: Array) -> Array:
        """Means, shape (n,)."""
        return self.scale.from_unit(self.model.means(x))

    def joint(self, x: Array) -> tuple[Array, Array]:
        """Means and covariances, shapes (n,) and (n, n); of logarithms, to first order."""
        mean, covariance = self.model.joint(x)
        rate = self.scale.rate(mean)
        return self.scale.from_unit(mean), rate[:, None] * covariance * rate


@dataclass(frozen=True)
class Axis:
    """Something that is measured and not chosen: ``value = low + width * column``."""

    name: str
    low: float
    width: float


@dataclass(frozen=True)
class Told:
    """What is told of the model of one outcome; all in the outcome's unit.

    Parameters
    ----------
    trials : tuple of int or None
        Whose index each left-out sample has; None: of earlier data.
    noise : float
        Standard deviation of the noise that was learned; of logarithms, where the outcome is at their mean.
    n_drawn_in : int
        How many of the worst outcomes count as less bad than they are (`lab.optimise.scaling.Fence`).
    averages, slices : tuple of Curve
        Over the space, and through the point; of the parameters that matter most.
    map : Map or None
        Over the two parameters that matter most, through the point.
    triangle : Map or None
        Over three fractions of a sum, through the point.
    beyond : tuple of Curve
        At the point, along what is measured and not chosen, and along laboratory time, as far as they were seen.
    is_log : bool
        Whether the model is of the outcome's logarithm.
    """

    name: str
    left_out: LeftOut
    trials: tuple[int | None, ...]
    noise: float
    n_drawn_in: int
    sensitivities: Sensitivities
    averages: tuple[Curve, ...]
    slices: tuple[Curve, ...]
    map: Map | None
    triangle: Map | None
    beyond: tuple[Curve, ...] = ()
    is_log: bool = False


@dataclass(frozen=True)
class Explanation:
    """What is told of a campaign.

    Parameters
    ----------
    problem : str
        Why there is no model; empty when there is one.
    point : mapping
        Through which curves and maps go; empty when nothing is known to be good.
    outcomes : tuple of Told
        Objectives first.
    success : Foretold or None
        Of the chance that a sample gives an outcome; None while nothing has failed, or everything.
    remarks : tuple of str
        What a person should know of how the trials were used.
    """

    problem: str = ""
    point: Mapping[str, Value] | None = None
    outcomes: tuple[Told, ...] = ()
    success: Foretold | None = None
    remarks: tuple[str, ...] = ()


def explain(campaign: CampaignConfig, trials: Sequence[Trial], point: Mapping[str, Value] | None = None) -> Explanation:
    """What can be told.

    Parameters
    ----------
    point : mapping or None
        Through which curves and maps go; None: the best one that was measured.
    """
    done = [t for t in trials if t.state is TrialState.COMPLETED]
    if len(done) < FEWEST:
        return Explanation(f"{len(done)} completed trial{'s' if len(done) != 1 else ''}: a model needs {FEWEST}", point)
    best = best_trial(campaign, trials)
    around = point if point is not None else None if best is None else best.point
    try:
        domain = Domain(campaign.space)
        cloud = _cloud(campaign, domain)
    except (ValueError, LabError) as error:  # constraints that cannot be met together, structures that cannot be read
        return Explanation(str(error), around)
    try:
        with one_thread():
            study = study_of(campaign, domain, trials)
            if len(study.X) < FEWEST:
                return Explanation(f"too few outcomes for a model: {'; '.join(study.remarks)}", around)
            models = study.models(last_kernels(trials))
            axes, through_point = _axes(campaign, study, trials), _allowed(domain, around)
            outcomes = tuple(_told(one.name, models, cloud, done, through_point, campaign, axes) for one in study.observed)
            return Explanation("", around, outcomes, _success(models), models.remarks)
    except (ModelFailed, LabError) as error:
        return Explanation(str(error), around)


def _told(name: str, models: Models, cloud: Cloud, done: Sequence[Trial], point: Mapping[str, Value] | None, campaign: CampaignConfig,
          axes: Sequence[Axis]) -> Told:
    study, posterior = models.study, models.outcomes[name]
    observed, here = study[name], posterior.at(study.here)
    model = InUnit(here, observed.scale)
    n = len(posterior.data.y)
    # Sobol indices and shares have no unit, and their threshold of what is flat is that of the standardised outcome.
    found = sensitivities(here, study.domain, n, cloud if campaign.candidates is not None else None)
    most = [one.name for one in found.effects[:MOST_CURVES]] or list(names_of(study.domain)[:MOST_CURVES])
    averages = tuple(average(model, cloud, one) for one in most)
    slices = () if point is None else tuple(through(model, study.domain, point, one) for one in most)
    pair = _pair(study.domain, most)
    whole = left_out(posterior, observed.scale)
    return Told(name, whole, _whose(study, posterior, done), observed.rate(0.0) * float(np.sqrt(posterior.kernel.noise)),
                _n_drawn_in(observed, done), found, averages, slices,
                None if point is None or pair is None else map_of(model, study.domain, point, pair),
                None if point is None else _triangle(model, study.domain, point, most),
                () if point is None else _beyond(InUnit(posterior, observed.scale), study, point, axes), observed.scale.is_log)


def _n_drawn_in(observed: Observed, done: Sequence[Trial]) -> int:
    raw = np.array([t.outcome.measured[observed.name].mean for t in done if t.outcome is not None and observed.name in t.outcome.measured])
    return int(observed.scale.is_drawn_in(raw).sum())


def _success(models: Models) -> Foretold | None:
    return None if models.success is None or not (models.success.data.y > 0.0).any() else foretold(models.success)


def _cloud(campaign: CampaignConfig, domain: Domain) -> Cloud:
    if campaign.candidates is None:
        return spread(domain, N_CLOUD)
    pool = Pool(domain, campaign.candidates)
    return Cloud(domain, pool.rows, pool.x)


def _allowed(domain: Domain, point: Mapping[str, Value] | None) -> Mapping[str, Value] | None:
    """The allowed point nearest to what was executed, which may lie a little outside: bounds first, then sums."""
    if point is None:
        return None
    found = {name: point[name] for name in domain.space.names}
    for p in domain.ranges:
        inside = min(max(float(found[p.name]), p.low), p.high)
        found[p.name] = round(inside) if p.is_integer else inside
    for equality in (c for c in domain.space.constraints if c.is_sum):
        total = equality.left_side(found)
        if total > 0:
            found |= {name: float(found[name]) * equality.bound / total for name in equality.names}
    return found


def _pair(domain: Domain, most: Sequence[str]) -> tuple[str, str] | None:
    """The two that matter most among those that can be changed together."""
    numbers = [name for name in most if name in {p.name for p in domain.ranges}]
    for k, first in enumerate(numbers):
        for second in numbers[k + 1:]:
            if not any({first, second} >= set(names) for names in sums_of(domain)):
                return first, second
    return None


def _triangle(model: InUnit, domain: Domain, point: Mapping[str, Value], most: Sequence[str]) -> Map | None:
    """Over the three fractions of a sum that matter most."""
    for names in sums_of(domain):
        ranked = sorted(names, key=lambda name: most.index(name) if name in most else len(most))[:3]
        if len(ranked) == 3:
            first, second, third = (name for name in names if name in ranked)
            return triangle_of(model, domain, point, (first, second, third))
    return None


def _axes(campaign: CampaignConfig, study: Study, trials: Sequence[Trial]) -> list[Axis]:
    """What is measured and not chosen, in the order of the columns that models have for it."""
    found = [Axis(one.name, one.bounds[0], one.bounds[1] - one.bounds[0]) for one in campaign.context]
    if len(study.here) > len(found):
        now = float(study.here[-1])
        found.append(Axis(TIME, 0.0, hours_now(trials) / now if now > 0 else 1.0))
    return found


def _beyond(model: InUnit, study: Study, point: Mapping[str, Value], axes: Sequence[Axis]) -> tuple[Curve, ...]:
    """`model` is one of all columns."""
    n, here = study.domain.n_columns, study.here
    start, found = np.concatenate([study.domain.encode_values(point), here]), []
    for k, axis in enumerate(axes):
        seen = np.append(study.X[:, n + k], here[k])
        x = np.tile(start, (N_STEPS, 1))
        x[:, n + k] = np.linspace(seen.min(), seen.max(), N_STEPS)
        mean, variance = model.predict(x)
        found.append(Curve(axis.name, tuple((axis.low + axis.width * x[:, n + k]).tolist()), tuple(mean.tolist()), tuple(np.sqrt(variance).tolist())))
    return tuple(found)


def _whose(study: Study, posterior: Posterior, done: Sequence[Trial]) -> tuple[int | None, ...]:
    """Which trial each observation of a posterior is; None: of none of this campaign."""
    mine: dict[bytes, list[int]] = defaultdict(list)
    for trial in done:
        mine[encode_trial(study.domain, trial, trial.point).tobytes()].append(trial.index)
    n = study.domain.n_columns
    rows = [np.ascontiguousarray(row[:n]).tobytes() for row in posterior.data.X]
    return tuple(mine[row].pop(0) if mine.get(row) else None for row in rows)
