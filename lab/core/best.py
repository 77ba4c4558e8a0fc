"""Which trial was best."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lab.core.question import CampaignConfig
from lab.core.trial import Trial, TrialState


def best_trial(campaign: CampaignConfig, trials: Sequence[Trial]) -> Trial | None:
    """The best completed trial whose measured means keep every outcome constraint; the earliest of equals.

    Returns
    -------
    Trial or None
        None when there is none. Trials whose objective is missing or not finite do not count.
    """
    sign = 1.0 if campaign.objective.goal == "maximize" else -1.0
    return max((t for t in trials if is_eligible(campaign, t)), default=None,
               key=lambda t: sign * t.outcome.measured[campaign.objective.name].mean if t.outcome is not None else -math.inf)


def is_eligible(campaign: CampaignConfig, trial: Trial) -> bool:
    """Whether a trial is completed, has a finite objective and keeps every outcome constraint."""
    if trial.state is not TrialState.COMPLETED or trial.outcome is None:
        return False
    means = {name: m.mean for name, m in trial.outcome.measured.items()}
    needed = {campaign.objective.name, *(name for limit in campaign.outcome_limits for name in limit.names)}
    if not all(math.isfinite(means.get(name, math.nan)) for name in needed):
        return False
    return all(limit.is_met(means) for limit in campaign.outcome_limits)
