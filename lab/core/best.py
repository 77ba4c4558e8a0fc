"""Which trial was best."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lab.core.front import is_in_front
from lab.core.merit import merits, scores
from lab.core.question import CampaignConfig
from lab.core.trial import Trial, TrialState


def best_trial(campaign: CampaignConfig, trials: Sequence[Trial]) -> Trial | None:
    """The best completed trial whose measured means keep every outcome constraint; the earliest of equals.

    Of several objectives: that with the largest desirability, or, of trade-offs, the one that dominates most by itself (the
    largest volume above the reference point).

    Returns
    -------
    Trial or None
        None when there is none. Trials with an objective that is missing or not finite do not count.
    """
    eligible = [t for t in trials if is_eligible(campaign, t)]
    return eligible[int(np.argmax(scores(campaign, means_of(campaign, eligible))))] if eligible else None


def front_of(campaign: CampaignConfig, trials: Sequence[Trial]) -> list[Trial]:
    """The completed trials that keep every outcome constraint and that no other one beats in all objectives, as measured.

    Of one objective, or of a desirability, the best one alone.
    """
    if len(campaign.objectives) == 1 or campaign.combine == "desirability":
        best = best_trial(campaign, trials)
        return [] if best is None else [best]
    eligible = [t for t in trials if is_eligible(campaign, t)]
    stays = is_in_front(merits(campaign.objectives, means_of(campaign, eligible)))
    return [trial for trial, is_front in zip(eligible, stays, strict=True) if is_front]


def means_of(campaign: CampaignConfig, trials: Sequence[Trial]) -> dict[str, np.ndarray]:
    """Measured means of each objective, shape (n,); of completed trials that have them."""
    return {o.name: np.array([t.outcome.measured[o.name].mean for t in trials if t.outcome is not None], dtype=float) for o in campaign.objectives}


def is_eligible(campaign: CampaignConfig, trial: Trial) -> bool:
    """Whether a trial is completed at the fidelity that counts, has finite objectives and keeps every outcome constraint."""
    if trial.state is not TrialState.COMPLETED or trial.outcome is None:
        return False
    means = {name: m.mean for name, m in trial.outcome.measured.items()}
    needed = {*(o.name for o in campaign.objectives), *(name for limit in campaign.outcome_limits for name in limit.names)}
    if not all(math.isfinite(means.get(name, math.nan)) for name in needed):
        return False
    fidelity = campaign.fidelity
    if fidelity is not None and trial.planned.get(fidelity.parameter) != fidelity.target:
        return False
    return all(limit.is_met(means) for limit in campaign.outcome_limits)
