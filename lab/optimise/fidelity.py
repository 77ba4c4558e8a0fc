"""Cheap and rough samples beside dear and exact ones: what is sought is sought at the target, and measured where that is worth its cost.

The parameter that makes a sample rough is a column of the models like any other, so that they learn how much a rough sample tells of an
exact one. The point is the one whose sample at the target promises most. There, each level is worth the improvement
to be expected from what would be known at the target after a sample at that level, beyond what is expected without one, per
laboratory second: what remains to be learned at the target, times the squared correlation with the level, takes the place of the
variance (Huang, Allen, Notz and Miller 2006, doi:10.1007/s00158-005-0587-0, multiply the improvement by that correlation and the
ratio of costs; here the correlation acts where it makes a difference, within the improvement). A level that is exact there already tells nothing more, so
that the target's turn comes by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np

from lab.core.consistency import cost_of
from lab.core.errors import OptimizerError
from lab.core.question import CampaignConfig
from lab.core.space import ChoiceParameter, RangeParameter, Value
from lab.optimise.aim import Aim
from lab.optimise.domain import Domain
from lab.optimise.polytope import Array
from lab.optimise.study import Models
from lab.optimise.terms import JointModel

N_LEVELS = 8
"""Levels of a range that are considered, evenly spread on its scale; all values of a choice or of few whole numbers are."""

LEAST_LEFT = 1e-12
"""Least share of the variance at the target that a sample is credited with, so that its logarithm can be had."""


@dataclass(frozen=True)
class Held:
    """A model some of whose columns are held where they are.

    Parameters
    ----------
    model : JointModel
    columns : ndarray of int, shape (k,)
    values : ndarray, shape (k,)
    """

    model: JointModel
    columns: Array
    values: Array

    def predict(self, x: Array) -> tuple[Array, Array]:
        """See `lab.optimise.terms.Model`."""
        return self.model.predict(self._held(x))

    def means(self, x: Array) -> Array:
        """See `lab.optimise.terms.Model`."""
        return self.model.means(self._held(x))

    def joint(self, x: Array) -> tuple[Array, Array]:
        """See `lab.optimise.terms.JointModel`."""
        return self.model.joint(self._held(x))

    def slopes(self, x: Array) -> tuple[float, float, Array, Array]:
        """See `lab.optimise.terms.Model`; nothing depends on what is held."""
        mean, variance, by_mean, by_variance = self.model.slopes(self._held(x[None, :])[0])
        is_free = np.ones(len(x))
        is_free[self.columns] = 0.0
        return mean, variance, by_mean * is_free, by_variance * is_free

    def _held(self, x: Array) -> Array:
        x = np.array(x, dtype=float)
        x[:, self.columns] = self.values
        return x


@dataclass(frozen=True)
class AtTarget(Models):
    """Models of what an exact sample gives, wherever it is asked; made by `pinned`."""

    columns: Array = field(default_factory=lambda: np.zeros(0, dtype=int))
    values: Array = field(default_factory=lambda: np.zeros(0))

    def of(self, name: str) -> JointModel:
        """The model of one outcome at the target, for the next sample."""
        return Held(super().of(name), self.columns, self.values)

    def rough(self, name: str) -> JointModel:
        """The model of one outcome at any level."""
        return super().of(name)


def pinned(campaign: CampaignConfig, models: Models) -> Models:
    """The same models for samples at the target; themselves where a campaign knows only one level.

    Improvements, incumbents and recommendations are those of exact samples: they are asked of these.
    """
    if campaign.fidelity is None or isinstance(models, AtTarget):
        return models
    columns, values = _place(models.study.domain, campaign.fidelity.parameter, campaign.fidelity.target)
    return AtTarget(**{one.name: getattr(models, one.name) for one in fields(models)}, columns=columns, values=values)


def _place(domain: Domain, name: str, target: Value) -> tuple[Array, Array]:
    """The model columns in which a parameter stands, and what they hold at the target: seen from how its values are encoded."""
    anything: dict[str, Value] = {p.name: p.low if isinstance(p, RangeParameter) else p.values[0] if isinstance(p, ChoiceParameter) else p.value
                                  for p in domain.space.parameters}
    parameter = domain.space[name]
    ends = (parameter.low, parameter.high) if isinstance(parameter, RangeParameter) else levels(domain, name, target)
    coded = np.array([domain.encode_values({**anything, name: value}) for value in ends])
    columns = np.flatnonzero(np.ptp(coded, axis=0) > 0)
    return columns, domain.encode_values({**anything, name: target})[columns]


def levels(domain: Domain, name: str, target: Value) -> list[Value]:
    """Values of the parameter that are considered; the target first."""
    parameter = domain.space[name]
    found: Sequence[Value] = ()
    if isinstance(parameter, ChoiceParameter):
        found = parameter.values
    elif isinstance(parameter, RangeParameter):
        spread = np.geomspace if parameter.is_log else np.linspace
        numbers = np.asarray(spread(parameter.low, parameter.high, N_LEVELS))
        found = [int(v) for v in np.unique(np.rint(numbers))] if parameter.is_integer else np.clip(numbers, parameter.low, parameter.high).tolist()
    return [target, *(value for value in found if value != target)]


@dataclass(frozen=True)
class _Foreseen(Models):
    """Models after a sample at each of several levels: means and variances at the target, by outcome, each shape (k,)."""

    foreseen: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)

    def of(self, name: str) -> JointModel:
        return _Foretold(*self.foreseen[name])


@dataclass(frozen=True)
class _Foretold:
    """A model that says the same of any points."""

    mean: Array
    variance: Array

    def predict(self, x: Array) -> tuple[Array, Array]:
        return self.mean, self.variance

    def means(self, x: Array) -> Array:
        return self.mean

    def joint(self, x: Array) -> tuple[Array, Array]:
        return self.mean, np.diag(self.variance)

    def slopes(self, x: Array) -> tuple[float, float, Array, Array]:
        return float(self.mean[0]), float(self.variance[0]), np.zeros(len(x)), np.zeros(len(x))


def costs(campaign: CampaignConfig, points: Sequence[Mapping[str, Value]]) -> Array:
    """Laboratory seconds of samples by the campaign's expression, shape (n,).

    Raises
    ------
    OptimizerError
        Where that is no number above 0.
    """
    if campaign.fidelity is None:
        return np.ones(len(points))
    cost = cost_of(campaign.space, campaign.fidelity.cost)
    found = np.array([cost.where_defined({name: float(point[name]) for name in cost.names}) for point in points], dtype=float)
    if not (found > 0).all():
        where = dict(points[int(np.argmin(np.nan_to_num(found, nan=-np.inf)))])
        raise OptimizerError(f"fidelity.cost: {campaign.fidelity.cost!r} is no number above 0 at {where}; give an expression that is one everywhere")
    return found


def choose(campaign: CampaignConfig, models: Models, aim: Aim, options: Sequence[Mapping[str, Value]], changes_s: Array) -> tuple[int, float]:
    """Which level a point is measured at, and the laboratory seconds of that.

    Parameters
    ----------
    models : Models
        Those of `pinned`.
    options : sequence of mappings
        The point at each level that is allowed and untried.
    changes_s : ndarray, shape (k,)
        Laboratory seconds that each costs besides, to come from the sample before.
    """
    seconds = costs(campaign, options) + changes_s
    if not isinstance(models, AtTarget):
        return 0, float(seconds[0])
    x = np.array([models.study.domain.encode_values(values) for values in options])
    foreseen = {objective.name: _after(models, objective.name, x) for objective in campaign.objectives}
    # While nothing is expected to keep the constraints there is no improvement; what is learned counts.
    gains = _gains(models, aim, foreseen) if aim.terms(models) else 0.5 * np.log(foreseen[campaign.objective.name][1])
    best = int(np.argmax(gains - np.log(seconds)))
    return best, float(seconds[best])


def _gains(models: AtTarget, aim: Aim, foreseen: Mapping[str, tuple[Array, Array]]) -> Array:
    """Logarithms of what is expected to be gained by a sample at each level, beyond what is expected without one; shape (k,)."""
    nothing = {name: (mean, np.full(len(mean), LEAST_LEFT * variance.max())) for name, (mean, variance) in foreseen.items()}
    after, before = (np.sum([term.values(np.zeros((len(next(iter(known.values()))[0]), 0)))
                             for term in aim.terms(_Foreseen(models.study, models.outcomes, models.success, foreseen=known))], axis=0)
                     for known in (foreseen, nothing))
    with np.errstate(divide="ignore"):
        return np.asarray(after + np.log(-np.expm1(np.minimum(before - after, 0.0))))


def _after(models: AtTarget, name: str, x: Array) -> tuple[Array, Array]:
    """Mean at the target of the first of `x`, shape (k, d), and how much of its variance a sample at each of them takes away; shapes (k,)."""
    posterior = models.outcomes[name]
    target = x[:1].copy()
    target[:, models.columns] = models.values
    mean, covariance = models.rough(name).joint(np.vstack([target, x]))
    noise = posterior.kernel.noise * float(np.median(posterior.data.shares)) + float(np.median(posterior.data.told))
    own = max(float(covariance[0, 0]), 1e-300)
    taken = covariance[0, 1:] ** 2 / np.maximum(np.diag(covariance)[1:] + noise, 1e-300)
    return np.full(len(x), mean[0]), np.clip(taken, LEAST_LEFT * own, own)
