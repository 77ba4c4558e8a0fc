"""Where a sample is safe: nothing is suggested that keeps all safety constraints with less than the stated probability.

A model of its own for each constraint, of the margin: how far the outcome is on the safe side of the bound, in units of
the margins measured so far. Its mean before anything is measured is 0, the bound itself: where nothing is known a sample is
as likely unsafe as safe. So everything that is suggested is near something that was measured to be safe, and the safe set grows
from there (Sui, Gotovos, Burdick and Krause 2015, Safe Exploration for Optimization with Gaussian Processes, ICML). Length
scales are taken to be short until the trials say otherwise, and scatter that the model cannot explain counts as risk.

What is measured and not chosen (humidity, say) may make the same point safe on one day and not on another: it is in these models as well, and a sample
is safe as it is now. Where it was not measured with a trial, the trial counts for now.

What is under way counts as unknown here: it makes nothing safer before it is measured. A sample that failed says
nothing of safety; where samples fail is learned by the model of success.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lab.core.errors import OptimizerError
from lab.core.question import CampaignConfig
from lab.core.space import LinearConstraint, Value
from lab.core.trial import Trial, TrialState
from lab.optimise import readings
from lab.optimise.domain import Domain, Points
from lab.optimise.gaussian import Data, Posterior, condition
from lab.optimise.improvement import Above
from lab.optimise.likelihood import Prior, fit
from lab.optimise.polytope import Array
from lab.optimise.representative import representative
from lab.optimise.starts import ways
from lab.optimise.study import groups_with
from lab.optimise.terms import OfOutcome

MARGIN = Prior(scale=(float(np.log(0.25)), 0.25), amplitude=(0.0, 0.5), noise=(-8.0, 2.0))
"""Of margins. In a unit square, the median of the length scales is a third of a side."""

MOST = 400
"""Trials that a model of margins is made of: the half with the least margins, and others spread over the rest."""

INSIDE, STEEP = 0.1, 100.0
"""A climb is held where the chance to be unsafe is by so much less than allowed, by so steep a slope."""

N_ANCHORS, STEPS = 8, (0.02, 0.06, 0.15, 0.35)
"""Measured points from which the safe set is looked for, and how far towards evenly spread points, of the whole way."""

ROUNDED = 1e-6
"""What arithmetic makes of a probability on the way from model coordinates to values and back."""

N_TOWARDS = 128
"""Evenly spread points towards which it is looked for."""


@dataclass(frozen=True)
class SafeSet:
    """The chance that a sample keeps all safety constraints, as a function of the point; a term, too (`lab.optimise.terms.Term`).

    Made by `safe_set_of`.

    Parameters
    ----------
    margins : tuple of Posterior
        Of the margin of each constraint; at least 0 is safe.
    here : ndarray, shape (e,)
        What is not chosen, as it is for the next sample.
    probability : float
        What is asked for.
    anchors : Points
        Points that are known to be safe; the safest first.
    words : str
        The constraints.
    """

    domain: Domain
    margins: tuple[Posterior, ...]
    here: Array
    probability: float
    anchors: Points
    words: str

    def chance(self, x: Array) -> Array:
        """The probability that all constraints are kept, shape (n,), at model coordinates `x`, shape (n, columns)."""
        return np.exp(sum((term.values(x) for term in self._terms), np.zeros(len(x))))

    def values(self, x: Array) -> Array:
        """0 where a sample may be made, else minus infinity."""
        return np.where(self.chance(x) >= self.probability, 0.0, -np.inf)

    def slope(self, x: Array) -> tuple[float, Array]:
        """0 well inside the safe set; a steep way back to it elsewhere, which a climb can follow."""
        found = [term.slope(x) for term in self._terms]
        lacking = sum(value for value, _ in found) - np.log(self.probability + INSIDE * (1.0 - self.probability))
        if lacking >= 0.0:
            return 0.0, np.zeros(len(x))
        return STEEP * float(lacking), STEEP * np.sum([gradient for _, gradient in found], axis=0)

    def checked(self, values: Mapping[str, Value]) -> float:
        """The probability that a sample with these values is safe.

        Raises
        ------
        OptimizerError
            When it is less than what is asked for.
        """
        chance = float(self.chance(self.domain.encode_values(values)[None, :])[0])
        if chance < self.probability - ROUNDED:
            raise OptimizerError(f"safety: the point to suggest keeps {self.words} with a probability of {chance:.3g} only, {self.probability:g} is asked for")
        return chance

    def doubt(self, waiting: Array) -> list[OfOutcome]:
        """Terms that are largest where the margins are known the least: with them, the safe set is grown.

        Parameters
        ----------
        waiting : ndarray, shape (w, columns)
            Points under way.
        """
        full = np.hstack([waiting, np.tile(self.here, (len(waiting), 1))])
        return [OfOutcome(model.expecting(full).at(self.here), _log_deviation) for model in self.margins]

    def candidates(self, spread: Points) -> Points:
        """Places at which to look for safe points: on the ways from known ones to `spread`."""
        towards = spread[:N_TOWARDS]
        elsewise = [ways(self.domain, Points(np.repeat(self.anchors.w[k:k + 1], len(towards), axis=0), towards.choices), towards[:0], ())
                    for k in range(len(self.anchors) if self.domain.choices else 0)]
        return Points.join(ways(self.domain, self.anchors, towards, STEPS), *elsewise)

    def refusal(self, x: Array, why: str) -> str:
        """Why nothing can be suggested, in words.

        Parameters
        ----------
        x : ndarray, shape (n, columns)
            Points that were looked at.
        why : str
            What the search said.
        """
        surest = f"the surest one: {float(self.chance(x).max()):.3g}" if len(x) else "none is allowed"
        return (f"safety: {why} that keeps {self.words} with a probability of {self.probability:g} ({surest}); "
                f"give further points that are known to be safe, lower safety.probability, or end the campaign")

    @property
    def _terms(self) -> list[OfOutcome]:
        return [OfOutcome(model.at(self.here), Above(0.0, noise=model.kernel.noise)) for model in self.margins]


def _log_deviation(mean: Array, variance: Array) -> tuple[Array, Array, Array]:
    return 0.5 * np.log(variance), np.zeros_like(mean), 0.5 / variance


def safe_set_of(campaign: CampaignConfig, domain: Domain, trials: Sequence[Trial]) -> SafeSet | None:
    """What is safe, by all that has been measured; None where the campaign does not ask.

    The points that the campaign gives count as safe until they have been measured.

    Raises
    ------
    OptimizerError
        When nothing is known to be safe, a completed trial lacks an outcome of a constraint, or no model can be made of them.
    """
    if campaign.safety is None:
        return None
    limits = campaign.safe_limits
    completed = [trial for trial in trials if trial.state is TrialState.COMPLETED]
    prior = _of_prior(campaign, limits)
    measured = [(trial.point, _values(trial, limits)) for trial in completed] + [(point, values) for point, values, _ in prior]
    before = np.array([one for _, _, one in prior]).reshape(len(prior), len(campaign.context))
    beyond = np.vstack([readings.context(campaign, completed), before])
    here = readings.context_now(campaign, np.vstack([before, readings.context(campaign, trials)]))[0]
    known = [dict(trial.planned) for trial in completed]
    given = [point for point in campaign.optimizer.points if dict(point) not in known]
    points = [point for point, _ in measured] + [dict(point) for point in given]
    if not points:
        raise OptimizerError("safety: nothing is known to be safe; give at least one such point (optimizer.points), or prior data of the same question")
    beyond = np.vstack([np.where(np.isfinite(beyond), beyond, here), np.tile(here, (len(given), 1))])
    x = np.hstack([np.array([domain.encode_values(point) for point in points]), beyond])
    models, margins = [], []
    for k, limit in enumerate(limits):
        margin, told = _margins(limit, np.array([values[k] for _, values in measured]).reshape(-1, 2))
        width = np.sqrt(np.mean(margin ** 2)) if len(margin) else 1.0
        width = float(width) if width > 0 else 1.0
        y = np.concatenate([margin / width, np.ones(len(given))])
        data = Data(x, y, np.concatenate([told / width ** 2, np.zeros(len(given))]), groups_with(domain, len(here)))
        data = data.only(representative(x, -y, MOST))
        models.append(condition(data, fit(data, MARGIN)))
        margins.append(y)
    return SafeSet(domain, tuple(models), here, campaign.safety.probability, _anchors(domain, points, np.min(margins, axis=0)),
                   " and ".join(campaign.safety.constraints))


def _anchors(domain: Domain, points: Sequence[Mapping[str, Value]], margin: Array) -> Points:
    """Allowed points that are safe as measured: the safest one, then those farthest from what has been taken."""
    safe = [dict(points[k]) for k in np.argsort(-margin, kind="stable") if margin[k] >= 0.0]
    found = domain.points_of(safe)
    if len(found) <= N_ANCHORS:
        return found
    x = domain.encode(found)
    taken = [0]
    while len(taken) < N_ANCHORS:
        away = np.min([np.abs(x - x[k]).max(axis=1) for k in taken], axis=0)
        taken.append(int(np.argmax(away)))
    return found[np.array(taken)]


def _values(trial: Trial, limits: Sequence[LinearConstraint]) -> list[tuple[float, float]]:
    """Mean and variance of each constrained outcome of a completed trial."""
    found = []
    for limit in limits:
        name = limit.names[0]
        measured = None if trial.outcome is None else trial.outcome.measured.get(name)
        if measured is None or not np.isfinite(measured.mean):
            raise OptimizerError(f"trial {trial.index}: is completed and has no outcome {name}, which a safety constraint needs; "
                                 f"mark it failed or give the outcome")
        found.append((measured.mean, 0.0 if measured.sem is None else measured.sem ** 2))
    return found


def _of_prior(campaign: CampaignConfig, limits: Sequence[LinearConstraint]) -> list[tuple[Mapping[str, Value], list[tuple[float, float]], list[float]]]:
    """Rows of prior data of the same question that have all parameters and all constrained outcomes: point, mean and variance of each, context."""
    needed = [*campaign.space.names, *(limit.names[0] for limit in limits)]
    found: list[tuple[Mapping[str, Value], list[tuple[float, float]], list[float]]] = []
    for prior in campaign.prior:
        for row in prior.records() if prior.is_same else []:
            if all(name in row for name in needed) and not any(isinstance(row[limit.names[0]], str) for limit in limits):
                point: dict[str, Value] = {name: row[name] for name in campaign.space.names}
                context = [one.place(float(row[one.name])) if _is_number(row.get(one.name)) else np.nan for one in campaign.context]
                found.append((point, [(float(row[limit.names[0]]), float(row.get(f"{limit.names[0]}_sem", 0.0) or 0.0) ** 2) for limit in limits], context))
    return found


def _margins(limit: LinearConstraint, values: Array) -> tuple[Array, Array]:
    """Distances to the bound, at least 0 where it is kept, and their variances; both shape (n,)."""
    (_, coefficient), = limit.coefficients
    sign = 1.0 if (limit.operator == ">=") == (coefficient > 0) else -1.0
    return sign * (values[:, 0] - limit.bound / coefficient), values[:, 1]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))
