"""What the trials say, as arrays for the model of the engine ``ax``. Nothing here is repaired in silence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lab.core.question import CampaignConfig
from lab.core.trial import Trial, TrialState
from lab.optimise.domain import Domain
from lab.optimise.polytope import Array
from lab.optimise.readings import measured
from lab.optimise.tried import encode_trial

LEAST_SEM = 1e-3
"""Smallest standard error that a model is told, in units of the outcomes' own spread; its inverse is the largest."""


@dataclass(frozen=True)
class Evidence:
    """Completed trials, and points that are known but have no outcome.

    Parameters
    ----------
    X : ndarray, shape (n, columns)
        Executed points in model coordinates; they may lie slightly outside 0..1.
    Y : ndarray, shape (n, m)
        Outcomes, each column with mean 0 and standard deviation 1 (or 0 where all are alike); the objective first.
    variances : tuple of (ndarray, shape (n,), or None), one per outcome
        Squared standard errors in the unit of `Y` squared; None: the model shall infer the noise.
    centre, width : ndarray, shape (m,)
        ``outcome = centre + width * Y``.
    waiting : ndarray, shape (k, columns)
        Suggested and running points: their outcomes will be known.
    failed : ndarray, shape (l, columns)
        Failed points. (Abandoned ones say nothing; `lab.optimise.tried` keeps them from being suggested again.)
    remark : str
        What a person should know of how the numbers were used; mostly empty.
    """

    names: tuple[str, ...]
    X: Array
    Y: Array
    variances: tuple[Array | None, ...]
    centre: Array
    width: Array
    waiting: Array
    failed: Array
    remark: str

    def with_waiting(self, x: Array) -> Evidence:
        """The same, and `x`, shape (k, columns), under way."""
        return replace(self, waiting=np.vstack([self.waiting, x]))


def gather(campaign: CampaignConfig, domain: Domain, trials: Sequence[Trial]) -> Evidence:
    """Read the evidence from trials.

    Standard errors are used for all trials or for none, since a model cannot know the noise of some and learn that of
    others: with ``noise: inferred`` for none, and with ``noise: measured`` for none as soon as one completed trial
    lacks it (the remark then says so).

    Objectives on the bad side of Tukey's fence (1.5 interquartile ranges beyond the quartile; Tukey 1977, Exploratory
    Data Analysis, 2D) count as the fence, as in Ax: how bad the worst samples are says little about the best, and
    a model that must explain it is blind there (measured: regret on Branin's function 0.18 in place of 0.32).

    Raises
    ------
    OptimizerError
        When a completed trial lacks an outcome, or an outcome or standard error is not finite.
    """
    names = campaign.outcome_names
    done = [t for t in trials if t.state is TrialState.COMPLETED]
    found = [measured(done, name) for name in names]
    raw = np.array([[one.mean for one in column] for column in found], dtype=float).reshape(len(names), len(done)).T
    raw[:, 0] = _fenced(raw[:, 0], 1.0 if campaign.objective.goal == "maximize" else -1.0)
    centre, width, Y = _standardised(raw)
    variances: list[Array | None] = []
    remark = ""
    for k, name in enumerate(names):
        sems = [one.sem for one in found[k]]
        n_missing = sems.count(None)
        is_inferred = name == campaign.objective.name and campaign.objective.noise == "inferred"
        if n_missing or is_inferred:
            variances.append(None)
            if n_missing and name == campaign.objective.name and not is_inferred:
                remark = f"noise inferred: {n_missing} of {len(done)} trials have no standard error"
        else:
            relative = np.array(sems, dtype=float) / width[k]
            variances.append(np.clip(relative, LEAST_SEM, 1.0 / LEAST_SEM) ** 2)

    def points(*states: TrialState) -> Array:
        return np.array([encode_trial(domain, t, t.point) for t in trials if t.state in states]).reshape(-1, domain.n_columns)

    return Evidence(names, points(TrialState.COMPLETED), Y, tuple(variances), centre, width,
                    points(TrialState.SUGGESTED, TrialState.RUNNING), points(TrialState.FAILED), remark)


def _fenced(objective: Array, goal: float) -> Array:
    """`objective`, shape (n,), its bad tail drawn in."""
    if len(objective) < 5:
        return objective
    merit = goal * objective
    lower, upper = np.quantile(merit, [0.25, 0.75])
    reach = 1.5 * (upper - lower)
    return goal * np.maximum(merit, lower - reach) if reach > 0 else objective


def _standardised(raw: Array) -> tuple[Array, Array, Array]:
    """Centre, width and ``(raw - centre) / width``, also where squares would overflow. Alike outcomes get width 1."""
    n, m = raw.shape
    largest = np.where((top := np.abs(raw).max(axis=0, initial=0.0)) > 0, top, 1.0)
    scaled = raw / largest
    centre = scaled.mean(axis=0) if n else np.zeros(m)
    spread = scaled.std(axis=0, ddof=1) if n > 1 else np.zeros(m)
    spread = np.where(spread > 1e-12, spread, 1.0 / largest)
    return centre * largest, spread * largest, (scaled - centre) / spread
