"""How campaigns end, and when a budget is spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.core.question import Budget
from lab.core.trial import Trial, TrialState


@dataclass(frozen=True)
class End:
    """How a campaign ended: ``done``, ``failed`` or ``interrupted``, and why."""

    status: str
    cause: str


def spent(budget: Budget, trials: Sequence[Trial], lab_s: float) -> End | None:
    """Why no further trial is begun, None when one may be.

    A point that was taken back before it began, and a result that somebody has brought, cost the laboratory nothing.

    Parameters
    ----------
    budget : Budget
    trials : sequence of Trial
        All of the campaign.
    lab_s : float
        Laboratory seconds that it has used.
    """
    made = [trial for trial in trials if trial.needs_sample]
    causes = [trial.cause for trial in made if trial.state in (TrialState.FAILED, TrialState.ABANDONED)]
    if len(causes) >= budget.failures:
        return End("failed", f"failure budget spent: {len(causes)} samples failed, the last one with: {causes[-1]}")
    if any(trial.state is TrialState.SUGGESTED for trial in made):
        return None
    said = ""
    if len(made) >= budget.trials:
        said = f"{budget.trials} trials"
    elif budget.hours is not None and lab_s >= budget.hours * 3600:
        said = f"{budget.hours:g} laboratory hours"
    if not said:
        return None
    if not any(trial.state is TrialState.COMPLETED for trial in made):
        return End("failed", f"no trial gave an outcome ({said})")
    return End("done", said)
