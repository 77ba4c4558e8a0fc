"""What trials say, as numbers; nothing is repaired in silence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lab.core.errors import OptimizerError
from lab.core.question import CampaignConfig
from lab.core.trial import Measured, Trial, TrialState
from lab.optimise.polytope import Array

LARGEST = 1e150
"""Largest size of an outcome: its square can still be told."""

HOUR_S = 3600.0


def measured(trials: Sequence[Trial], name: str) -> list[Measured]:
    """An outcome of completed trials.

    Raises
    ------
    OptimizerError
        Naming the trial that lacks it, or whose mean or standard error is not finite.
    """
    return [_measured(trial, name) for trial in trials]


def context(campaign: CampaignConfig, trials: Sequence[Trial]) -> Array:
    """What was measured and not chosen, in model coordinates (0..1 between the bounds that are given), shape (n, c); not-a-number where it is not known."""
    return np.array([[one.place(_reading(trial, one.name)) for one in campaign.context]
                     for trial in trials]).reshape(len(trials), len(campaign.context))


def context_now(campaign: CampaignConfig, beyond: Array) -> tuple[Array, list[str]]:
    """What is measured and not chosen as it is for the next sample, in model coordinates, shape (c,), and what a person should know of it.

    Parameters
    ----------
    beyond : ndarray, shape (n, c)
        `context` of what has been measured: the last reading holds unless the campaign says what is true now.
    """
    here, remarks = np.full(len(campaign.context), 0.5), []
    for k, one in enumerate(campaign.context):
        known = beyond[np.isfinite(beyond[:, k]), k]
        if one.now is not None:
            here[k] = one.place(one.now)
        elif len(known):
            here[k] = known[-1]
        else:
            remarks.append(f"{one.name} was not measured yet")
    return here, remarks


def hours(trials: Sequence[Trial]) -> Array:
    """When each trial was done, laboratory hours since the campaign's first sample, shape (n,); where it is not known, as the trial before; 0 before all."""
    starts = [t.began_lab_s for t in trials if t.began_lab_s is not None] + [t.ended_lab_s for t in trials if t.ended_lab_s is not None]
    first = min(starts, default=0.0)
    known, last = np.zeros(len(trials)), 0.0
    for k, trial in enumerate(trials):
        moment = trial.ended_lab_s if trial.ended_lab_s is not None else trial.began_lab_s
        last = known[k] = last if moment is None else (moment - first) / HOUR_S
    return known


def hours_now(trials: Sequence[Trial]) -> float:
    """When the next sample will be done: as long after the last that is known as samples mostly are after one another."""
    ended = np.sort(hours([t for t in trials if t.ended_lab_s is not None or t.began_lab_s is not None]))
    if not len(ended):
        return 0.0
    return float(ended[-1] + (np.median(np.diff(ended)) if len(ended) > 1 else 0.0))


def is_done(trial: Trial) -> bool:
    """Whether it has an outcome."""
    return trial.state is TrialState.COMPLETED


def _reading(trial: Trial, name: str) -> float:
    for source in ({} if trial.outcome is None else trial.outcome.details, trial.executed):
        value = source.get(name)
        if value is not None and not isinstance(value, str | bool) and np.isfinite(value):
            return float(value)
    return float("nan")


def _measured(trial: Trial, name: str) -> Measured:
    found = None if trial.outcome is None else trial.outcome.measured.get(name)
    if found is None:
        raise OptimizerError(f"trial {trial.index}: is completed and has no outcome {name}; mark it failed or give the outcome")
    if not abs(found.mean) <= LARGEST:
        raise OptimizerError(f"trial {trial.index}: {name}: given {found.mean}; allowed: a finite number up to {LARGEST:g}; mark the trial failed")
    if found.sem is not None and not (np.isfinite(found.sem) and found.sem >= 0):
        raise OptimizerError(f"trial {trial.index}: standard error of {name}: given {found.sem}; allowed: a finite number from 0, or none")
    return found
