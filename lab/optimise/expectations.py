"""What is expected of a point, as it stands: what a recommendation is sought by, where improvements no longer count."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lab.core.question import CampaignConfig
from lab.optimise.aim import merit_of, ramps_of, side_of
from lab.optimise.desirability import Ramp, log_composite
from lab.optimise.gains import Merit, Near, Up
from lab.optimise.improvement import Above
from lab.optimise.polytope import Array
from lab.optimise.study import Models
from lab.optimise.terms import OfOutcome, OfOutcomes, Term

EVEN = 0.5
"""What is recommended keeps all limits, and gives a sample, with this probability at least."""

STEEP = 1e3
"""How much a point loses by each factor of e that its probability is short."""


@dataclass(frozen=True)
class Expected:
    """The expected merit of an outcome; of a target minus the square of the distance, which is smooth."""

    merit: Merit

    def __call__(self, mean: Array, variance: Array) -> tuple[Array, Array, Array]:
        """See `lab.optimise.terms.Worth`."""
        nothing = np.zeros_like(mean)
        if isinstance(self.merit, Near):
            off = mean - self.merit.target
            return -off * off, -2.0 * off, nothing
        sign = self.merit.sign if isinstance(self.merit, Up) else 1.0
        return sign * mean, np.full_like(mean, sign), nothing


@dataclass(frozen=True)
class ExpectedDesirability:
    """Logarithm of the composite desirability of what is expected."""

    ramps: tuple[Ramp, ...]

    def __call__(self, means: Array, variances: Array) -> tuple[Array, Array, Array]:
        """See `lab.optimise.terms.JointWorth`."""
        value, by_mean = log_composite(self.ramps, means)
        return value, by_mean, np.zeros_like(means)


@dataclass(frozen=True)
class AtLeast:
    """Nothing where a probability is large enough, and a steep way down where it is not."""

    above: Above
    probability: float

    def __call__(self, mean: Array, variance: Array) -> tuple[Array, Array, Array]:
        """See `lab.optimise.terms.Worth`."""
        value, by_mean, by_variance = self.above(mean, variance)
        lacking = np.minimum(value - np.log(self.probability), 0.0)
        weight = STEEP * (lacking < 0.0)
        return STEEP * lacking, weight * by_mean, weight * by_variance


def candidate_terms(campaign: CampaignConfig, models: Models) -> list[Term]:
    """What the best expected point of all has the most of; of one objective or a desirability."""
    found: list[Term] = []
    if len(campaign.objectives) == 1:
        found.append(OfOutcome(models.of(campaign.objective.name), Expected(merit_of(campaign.objective, models.study))))
    else:
        found.append(OfOutcomes([models.of(o.name) for o in campaign.objectives], ExpectedDesirability(ramps_of(campaign, models.study))))
    safe = EVEN if campaign.safety is None else campaign.safety.probability
    for limits, probability in ((campaign.outcome_limits, EVEN), (campaign.safe_limits, safe)):
        for limit in limits:
            name, bound, sign = side_of(limit, models.study)
            found.append(OfOutcome(models.of(name), AtLeast(Above(bound, sign), probability)))
    if models.success is not None:
        found += [OfOutcome(term.model, AtLeast(Above(0.0, noise=models.success.kernel.noise), EVEN)) for term in models.chance()]
    return found
