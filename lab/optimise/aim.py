"""What is sought: the improvement of the objectives, with outcome constraints kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lab.core.question import CampaignConfig
from lab.core.space import LinearConstraint
from lab.core.trial import Trial, TrialState
from lab.optimise.improvement import Above, Improvement
from lab.optimise.polytope import Array
from lab.optimise.study import Models, Study
from lab.optimise.terms import OfOutcome, Term


@dataclass(frozen=True)
class Aim:
    """What a sample is worth, by the models of a study.

    Parameters
    ----------
    incumbent : float or None
        Best expected objective, up is better, among measured points, and those under way, that are expected to keep the constraints; None: there is none.
    is_kept : ndarray of bool, shape (n,)
        Which of these are expected to keep the outcome constraints.
    """

    campaign: CampaignConfig
    incumbent: float | None
    is_kept: Array

    def terms(self, models: Models) -> list[Term]:
        """What a sample is worth, success and constraints aside; nothing while no measured point is expected to keep the constraints."""
        if self.incumbent is None:
            return []
        objective = self.campaign.objective
        sign = 1.0 if objective.goal == "maximize" else -1.0
        return [OfOutcome(models.of(objective.name), Improvement(sign * self.incumbent, sign))]

    def merit(self, trials: Sequence[Trial]) -> Array:
        """How good each completed trial was as measured, up is better, shape (n,)."""
        objective = self.campaign.objective
        sign = 1.0 if objective.goal == "maximize" else -1.0
        return sign * np.array([t.outcome.measured[objective.name].mean for t in trials if t.state is TrialState.COMPLETED and t.outcome is not None])

    def limits(self, models: Models) -> list[Term]:
        """The probability that each outcome constraint is kept."""
        found: list[Term] = []
        for limit in self.campaign.outcome_limits:
            name, bound, sign = side_of(limit, models.study)
            found.append(OfOutcome(models.of(name), Above(bound, sign)))
        return found


def side_of(limit: LinearConstraint, study: Study) -> tuple[str, float, float]:
    """Outcome, bound in the unit of its model, and 1 where it must be above it, -1 where below."""
    (name, coefficient), = limit.coefficients
    sign = 1.0 if (limit.operator == ">=") == (coefficient > 0) else -1.0
    return name, study[name].to_unit(limit.bound / coefficient), sign


def aim_of(campaign: CampaignConfig, models: Models) -> Aim:
    """The aim, given what has been measured."""
    study = models.study
    X = models.outcomes[study.observed[0].name].data.X
    is_kept = np.ones(len(X), dtype=bool)
    for limit in campaign.outcome_limits:
        name, bound, sign = side_of(limit, study)
        is_kept &= sign * (models.outcomes[name].predict(X)[0] - bound) >= 0.0
    if not is_kept.any():
        return Aim(campaign, None, is_kept)
    sign = 1.0 if campaign.objective.goal == "maximize" else -1.0
    merit = sign * models.outcomes[campaign.objective.name].predict(X)[0]
    return Aim(campaign, float(merit[is_kept].max()), is_kept)
