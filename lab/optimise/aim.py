"""What is sought: the improvement of one objective, of several together, or of their trade-offs, with outcome constraints kept.

Everything is worked out in the unit of the models (`lab.optimise.study.Observed`), and for the place at which the next
sample is sought. What has been measured counts by what is expected there, not by the luckiest reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lab.core.best import is_eligible, means_of
from lab.core.front import boxes, by_gain, hypervolume, inferred_reference
from lab.core.merit import composite, merits, reference_merits, scores
from lab.core.question import CampaignConfig, Objective
from lab.core.space import LinearConstraint
from lab.core.trial import Trial, TrialState
from lab.optimise.desirability import DesirabilityGain, Ramp, log_composite, normal_draws
from lab.optimise.doubt import improvement_over
from lab.optimise.front_in_doubt import front_in_doubt
from lab.optimise.gains import Gain, Merit, Near, Up
from lab.optimise.gaussian import Pinned, Posterior
from lab.optimise.hits import level
from lab.optimise.hypervolume import HypervolumeGain
from lab.optimise.improvement import Above, Improvement
from lab.optimise.polytope import Array
from lab.optimise.study import Models, Study
from lab.optimise.terms import JointWorth, OfOutcome, OfOutcomes, Term, Worth

LEAST_DISTANCE = 1e-6
"""A target counts as met no better than this, in the unit of the models: there is always a little to improve."""

FARTHEST = 1e6
"""Values that a file gives count as no farther than this from what has been measured, in the unit of the models."""

N_LEADING = 8
"""Of trade-offs, so many trials are put into an order by what they add to the front."""


@dataclass(frozen=True)
class Aim:
    """What a sample is worth, by the models of a study.

    Parameters
    ----------
    campaign : CampaignConfig
    is_kept : ndarray of bool, shape (n,)
        Which measured points, and points under way, are expected to keep the outcome constraints.
    incumbent : float or None
        What the best of these is expected to be, up is better: the objective's merit in the unit of its model, the composite
        desirability, or the hypervolume; None: no point is expected to keep the constraints.
    worth : Worth, JointWorth or None
        Logarithm of the expected improvement, by the objective or by all of them; None while there is no incumbent.
    unit : float
        One unit of the expected improvement, in that of the objective (of trade-offs, in the product of theirs).
    words : str
        For a person.
    remarks : tuple of str
        What has been left out of account.
    reference : ndarray, shape (m,), or None
        Of trade-offs: from where the hypervolume counts, merits in the unit of the models.
    hit : Worth or None
        Where the best share of a pool is wanted: the logarithm of by how much a row is expected to be above their level.
    """

    campaign: CampaignConfig
    is_kept: Array
    incumbent: float | None = None
    worth: Worth | None = None
    joint_worth: JointWorth | None = None
    unit: float = 1.0
    words: str = "the outcome constraints: no sample is expected to keep them yet"
    remarks: tuple[str, ...] = ()
    reference: Array | None = None
    hit: Worth | None = None

    def terms(self, models: Models) -> list[Term]:
        """What a sample is sought for, success and constraints aside; nothing while no measured point is expected to keep the constraints."""
        return self._gains(models) if self.hit is None else [OfOutcome(models.of(self.campaign.objective.name), self.hit)]

    def _gains(self, models: Models) -> list[Term]:
        """The logarithm of the expected improvement."""
        names = [objective.name for objective in self.campaign.objectives]
        if self.reference is not None:
            doubted = [model for model in map(models.of, names) if isinstance(model, Posterior | Pinned)]
            sides = [merit_of(objective, models.study) for objective in self.campaign.objectives]
            found = front_in_doubt(doubted, sides, known_points(models)[self.is_kept], self.reference) if len(doubted) == len(names) else None
            if found is not None:
                return [found]
        if self.joint_worth is not None:
            return [OfOutcomes([models.of(name) for name in names], self.joint_worth)]
        model = models.of(names[0])
        # Of a pool, no row can be measured again: there is nothing to guard against, and what is expected there is what will be chosen from.
        if self.campaign.candidates is None and isinstance(self.worth, Improvement) and isinstance(model, Posterior | Pinned):
            return [improvement_over(model, known_points(models)[self.is_kept], self.worth)]
        return [] if self.worth is None else [OfOutcome(model, self.worth)]

    def limits(self, models: Models) -> list[Term]:
        """The probability that each outcome constraint is kept."""
        found: list[Term] = []
        for limit in self.campaign.outcome_limits:
            name, bound, sign = side_of(limit, models.study)
            found.append(OfOutcome(models.of(name), Above(bound, sign)))
        return found

    def improvement(self, models: Models, x: Array) -> Array | None:
        """The expected improvement of samples that may break a constraint or fail, shape (n,), at `x`, shape (n, d).

        In the objective's unit; of a desirability without one; of trade-offs a volume, in the product of the units. None while there is no incumbent,
        or where the product of the units is no finite number above 0.
        """
        terms = self._gains(models)
        if not terms or not 0.0 < self.unit < np.inf:
            return None
        logs = sum((term.values(x) for term in [*terms, *self.limits(models)]), np.zeros(len(x)))
        chance = models.success_at(x)
        return np.exp(logs) * self.unit * (1.0 if chance is None else chance)

    def merit(self, trials: Sequence[Trial]) -> Array:
        """How good each completed trial was as measured, up is better, shape (n,); those that broke a constraint are all below the others.

        Of trade-offs, the one that dominates most comes first, then the one that adds most to it, and so on.
        """
        done = [t for t in trials if t.state is TrialState.COMPLETED and t.outcome is not None]
        objectives = self.campaign.objectives
        means = means_of(self.campaign, done)
        found = scores(self.campaign, means)
        eligible = np.array([is_eligible(self.campaign, t) for t in done], dtype=bool)
        rank = np.argsort(np.argsort(found, kind="stable"), kind="stable") - np.where(eligible, 0, len(done))
        if len(objectives) > 1 and self.campaign.combine == "pareto" and eligible.any():
            known = merits(objectives, means)
            over = known[eligible] - reference_merits(objectives, known[eligible])
            size = np.abs(over).max(axis=0)
            leading = by_gain(over / np.where(size > 0.0, size, 1.0), np.zeros(len(objectives)), N_LEADING)
            rank[np.flatnonzero(eligible)[leading]] = len(done) + np.arange(len(leading))[::-1]
        return rank.astype(float)


def side_of(limit: LinearConstraint, study: Study) -> tuple[str, float, float]:
    """Outcome, bound in the unit of its model, and 1 where it must be above it, -1 where below."""
    (name, coefficient), = limit.coefficients
    sign = 1.0 if (limit.operator == ">=") == (coefficient > 0) else -1.0
    return name, in_unit(study, name, limit.bound / coefficient), sign


def aim_of(campaign: CampaignConfig, models: Models, rows: Array | None = None) -> Aim:
    """The aim, given what has been measured.

    Parameters
    ----------
    rows : ndarray, shape (n, d), or None
        Of a pool, all of them.
    """
    study = models.study
    x = known_points(models)
    is_kept = np.ones(len(x), dtype=bool)
    for limit in campaign.outcome_limits:
        name, bound, sign = side_of(limit, study)
        is_kept &= sign * (models.of(name).means(x) - bound) >= 0.0
    if not is_kept.any():
        return Aim(campaign, is_kept)
    means = np.array([models.of(objective.name).means(x[is_kept]) for objective in campaign.objectives])
    if len(campaign.objectives) == 1:
        aim = _single(campaign, study, is_kept, means[0])
        return aim if rows is None or campaign.optimizer.top is None else _hit(aim, models, rows, campaign.optimizer.top)
    if campaign.combine == "desirability":
        return _desirable(campaign, study, is_kept, means)
    return _trade_offs(campaign, study, is_kept, means)


def known_points(models: Models) -> Array:
    """Points that the models are made of, with those under way, shape (n, d)."""
    study = models.study
    return models.outcomes[study.observed[0].name].data.X[:, :study.domain.n_columns]


def _single(campaign: CampaignConfig, study: Study, is_kept: Array, means: Array) -> Aim:
    objective = campaign.objective
    merit, one = merit_of(objective, study), study[objective.name]
    best = float(merit.of(means).max())
    worth: Worth
    if isinstance(merit, Near):
        best = min(best, -LEAST_DISTANCE)
        worth = Gain(merit, best)
        words = f"{objective.name} nearer to {objective.target:g} than {-best * one.scale.width:.4g}"
    else:
        sign = 1.0 if objective.goal == "maximize" else -1.0
        worth = Improvement(sign * best, sign)
        words = f"{objective.name} {'above' if sign > 0 else 'below'} {one.natural(sign * best):.4g}"
    return Aim(campaign, is_kept, best, worth, unit=one.rate(best if objective.goal == "maximize" else -best), words=words)


def _hit(aim: Aim, models: Models, rows: Array, share: float) -> Aim:
    objective = aim.campaign.objective
    sign, one = (1.0 if objective.goal == "maximize" else -1.0), models.study[objective.name]
    mean, variance = models.of(objective.name).predict(rows)
    bound = sign * level(sign * mean, variance, share)
    words = f"one of the best {share:.3g} of the candidates: {objective.name} {'above' if sign > 0 else 'below'} {one.natural(bound):.4g}"
    return replace(aim, hit=Improvement(bound, sign), words=words)


def _desirable(campaign: CampaignConfig, study: Study, is_kept: Array, means: Array) -> Aim:
    ramps = ramps_of(campaign, study)
    natural = {o.name: study[o.name].scale.from_unit(mean) for o, mean in zip(campaign.objectives, means, strict=True)}
    places = composite(campaign.objectives, natural)
    best = float(places.max())
    rounded = float(np.exp(log_composite(ramps, means)[0].max())) if best > 0.0 else None
    worth = DesirabilityGain(ramps, rounded, normal_draws(len(ramps), campaign.optimizer.seed))
    return Aim(campaign, is_kept, best, joint_worth=worth, words=f"a desirability above {best:.4g}")


def _trade_offs(campaign: CampaignConfig, study: Study, is_kept: Array, means: Array) -> Aim:
    sides = [merit_of(objective, study) for objective in campaign.objectives]
    known = np.column_stack([merit.of(mean) for merit, mean in zip(sides, means, strict=True)])
    inferred = inferred_reference(known)
    reference = np.array([inferred[j] if o.reference is None else float(sides[j].of(np.array(in_unit(study, o.name, o.reference))))
                          for j, o in enumerate(campaign.objectives)])
    lower, upper, n_left_out = boxes(known, reference)
    remarks = (f"{n_left_out} points of the front not counted: those that add least",) if n_left_out else ()
    with np.errstate(over="ignore"):  # a product of units that is too large to be told is not told
        unit = float(np.prod([study[o.name].scale.width for o in campaign.objectives]))
    words = f"a larger hypervolume beyond {', '.join(_beyond(o, study, level) for o, level in zip(campaign.objectives, reference, strict=True))}"
    return Aim(campaign, is_kept, hypervolume(known, reference), joint_worth=HypervolumeGain(sides, lower, upper), unit=unit, words=words, remarks=remarks,
               reference=reference)


def merit_of(objective: Objective, study: Study) -> Merit:
    """The merit of an objective's outcome, in the unit of its model."""
    if objective.target is not None:
        return Near(in_unit(study, objective.name, objective.target))
    return Up(1.0 if objective.goal == "maximize" else -1.0)


def ramps_of(campaign: CampaignConfig, study: Study) -> tuple[Ramp, ...]:
    """The desirability of each objective, in the unit of its model."""
    return tuple(_ramp(objective, study) for objective in campaign.objectives)


def in_unit(study: Study, name: str, value: float) -> float:
    """A value that a file gives, in the unit of the outcome's model."""
    with np.errstate(over="ignore"):
        return float(np.clip(study[name].to_unit(value), -FARTHEST, FARTHEST))


def _ramp(objective: Objective, study: Study) -> Ramp:
    name = objective.name
    if objective.target is not None and objective.tolerance is not None:
        with np.errstate(over="ignore"):
            reach = float(np.clip(objective.tolerance / np.float64(study[name].scale.width), LEAST_DISTANCE, FARTHEST))
        return Ramp(in_unit(study, name, objective.target), reach, is_target=True, weight=objective.weight)
    if objective.desirability is None:
        raise ValueError(f"{name}: given no desirability; allowed: [value worth nothing, best value]")
    worst, best = (in_unit(study, name, end) for end in objective.desirability)
    side = 1.0 if objective.goal == "minimize" else -1.0
    return Ramp(best, side * max(side * (worst - best), LEAST_DISTANCE), weight=objective.weight)


def _beyond(objective: Objective, study: Study, level: float) -> str:
    """The reference point in one objective, in words."""
    one = study[objective.name]
    if objective.reference is not None:
        side = f"{objective.target:g} ± {abs(objective.reference - objective.target):.4g}" if objective.target is not None else f"{objective.reference:.4g}"
        return f"{objective.name} {side} (given)"
    if objective.target is not None:
        return f"{objective.name} {objective.target:g} ± {-level * one.scale.width:.4g} (inferred)"
    return f"{objective.name} {one.natural(level if objective.goal == 'maximize' else -level):.4g} (inferred)"
