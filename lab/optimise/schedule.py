"""Reference samples of a laboratory that drifts: the same point again and again, so that the model can tell time from place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lab.core.question import CampaignConfig
from lab.core.space import Value
from lab.core.trial import Trial, TrialState

REFERENCE = "reference"
"""Origin of such a sample."""


def reference_due(campaign: CampaignConfig, trials: Sequence[Trial]) -> Mapping[str, Value] | None:
    """The reference point where the next trial is to be it; None else.

    The first trial is the reference, and then one of `campaign.drift.every`, initial ones included. It may be in one plate twice. A
    point that has given no sample is not repeated: after a failed reference there is none any more (see `remark`).
    """
    drift = campaign.drift
    if drift is None or not drift.reference or _failed(trials) is not None:
        return None
    since = next((k for k, trial in enumerate(reversed(trials)) if trial.origin == REFERENCE), None)
    return dict(drift.reference) if since is None or since >= drift.every - 1 else None


def before(trials: Sequence[Trial]) -> Mapping[str, Value] | None:
    """Where the laboratory will be when the next sample begins: at the last point that was not given up; None before the first."""
    return next((trial.point for trial in reversed(trials) if trial.state is not TrialState.ABANDONED), None)


def remark(campaign: CampaignConfig, trials: Sequence[Trial]) -> str:
    """Why no reference is tried any more; empty while one is, or none was asked for."""
    failed = _failed(trials)
    if campaign.drift is None or failed is None:
        return ""
    return f"no further reference: trial {failed.index} failed there"


def _failed(trials: Sequence[Trial]) -> Trial | None:
    return next((t for t in trials if t.origin == REFERENCE and t.state is TrialState.FAILED), None)
