"""How good outcomes are by a campaign's objectives: one number each, more is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lab.core.front import Array, compromise, inferred_reference
from lab.core.question import CampaignConfig, Objective


def merit(objective: Objective, y: Array) -> Array:
    """An objective's outcomes with up for better, in its unit: of a target, minus the distance from it."""
    if objective.goal == "target" and objective.target is not None:
        return -np.abs(y - objective.target)
    return np.asarray(y) if objective.goal == "maximize" else -np.asarray(y)


def merits(objectives: Sequence[Objective], outcomes: Mapping[str, Array]) -> Array:
    """Merits of `outcomes`, each of shape (n,): shape (n, m)."""
    return np.column_stack([merit(objective, np.asarray(outcomes[objective.name], dtype=float)) for objective in objectives])


def reference_merits(objectives: Sequence[Objective], known: Array) -> Array:
    """The reference point of several objectives: as the file gives it, else inferred from merits, shape (n, m), n at least 1; shape (m,)."""
    inferred = inferred_reference(known)
    return np.array([inferred[j] if objective.reference is None else float(merit(objective, np.array(objective.reference)))
                     for j, objective in enumerate(objectives)])


def desirability(objective: Objective, y: Array) -> Array:
    """From 0 at the worst value of interest to 1 at the best, straight in between.

    Derringer and Suich 1980, doi:10.1080/00224065.1980.11980968, eqs. 1 and 3, their exponents being the weights of the mean.
    """
    if objective.goal == "target" and objective.target is not None and objective.tolerance is not None:
        return np.clip(1.0 - np.abs(y - objective.target) / objective.tolerance, 0.0, 1.0)
    if objective.desirability is None:
        raise ValueError(f"{objective.name}: given no desirability; allowed: [value worth nothing, best value]")
    worst, best = objective.desirability
    return np.clip((y - worst) / (best - worst), 0.0, 1.0)


def composite(objectives: Sequence[Objective], outcomes: Mapping[str, Array]) -> Array:
    """The weighted geometric mean of all desirabilities, 0 to 1; shape (n,)."""
    total = sum(objective.weight for objective in objectives)
    parts = [desirability(objective, np.asarray(outcomes[objective.name], dtype=float)) ** (objective.weight / total) for objective in objectives]
    return np.prod(parts, axis=0)


def scores(campaign: CampaignConfig, outcomes: Mapping[str, Array]) -> Array:
    """How good outcomes are, limits aside, for putting them into an order; shape (n,).

    Of one objective its merit, of a desirability the composite, of trade-offs what each dominates by itself: that of the best
    compromise is the largest.
    """
    objectives = campaign.objectives
    if len(objectives) > 1 and campaign.combine == "desirability":
        return composite(objectives, outcomes)
    known = merits(objectives, outcomes)
    if len(objectives) == 1 or not len(known):
        return known[:, 0]
    return compromise(known, reference_merits(objectives, known))
