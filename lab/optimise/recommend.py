"""What a campaign recommends: the point that is expected to be the best, not the one with the luckiest reading.

Models are made of the trials, whichever engine suggested them. Of the measured points that more likely than not keep the
outcome constraints, the one that is expected to be the best is recommended; where there is none, the one that
most likely keeps them. Of trade-offs the whole front is told. The point that is expected to be the best of all those that could be
tried is told as well, as a candidate: it has not been measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr

from lab.core.best import best_trial, front_of
from lab.core.errors import OptimizerError
from lab.core.front import is_in_front
from lab.core.merit import merits, scores
from lab.core.question import CampaignConfig
from lab.core.space import Value
from lab.core.trial import Trial, TrialState
from lab.optimise.aim import side_of
from lab.optimise.expectations import EVEN, candidate_terms
from lab.optimise.fidelity import pinned
from lab.optimise.gaussian import ModelFailed
from lab.optimise.ground import Ground, ground_of
from lab.optimise.memory import last_kernels
from lab.optimise.one_thread import one_thread
from lab.optimise.polytope import Array
from lab.optimise.safety import safe_set_of
from lab.optimise.sobol import SobolOptimizer
from lab.optimise.starts import incumbents
from lab.optimise.study import Models, study_of
from lab.optimise.terms import Acquisition
from lab.optimise.tried import SAME

FEWEST = 2
"""Completed trials that a model needs."""


@dataclass(frozen=True)
class Recommended:
    """One point, and what is expected of it.

    Parameters
    ----------
    values : mapping of parameter name to value
    outcomes : mapping of outcome name to (mean, standard error or None)
        Expected, in the outcome's unit; the error is that of the expectation, without a measurement's own. None: not known.
    probability_feasible : float
        Of keeping all outcome constraints.
    trial : int or None
        Index of the trial that measured it; None: it has not been measured as it stands.
    """

    values: Mapping[str, Value]
    outcomes: Mapping[str, tuple[float, float | None]]
    probability_feasible: float
    trial: int | None

    def as_json(self) -> dict[str, Any]:
        """The same for JSON; trials count from 1, as people see them."""
        return {"trial": None if self.trial is None else self.trial + 1, "values": dict(self.values), "probability_feasible": self.probability_feasible,
                "outcomes": {name: {"mean": mean, "sem": sem} for name, (mean, sem) in self.outcomes.items()}}


@dataclass(frozen=True)
class Recommendation:
    """What is recommended.

    Parameters
    ----------
    best : Recommended or None
        None when nothing has been measured; of trade-offs, the one that dominates most by itself.
    front : tuple of Recommended
        Of trade-offs, all points that no other one is expected to beat; else `best` alone.
    candidate : Recommended or None
        The point that could be tried and is expected to be the best of all; None of trade-offs, and without a model.
    lead : tuple of two floats, or None
        Of one objective: by how much `best` is expected to be better than the next best measured point, and its standard error.
    words : str
        All of that for a person.
    """

    best: Recommended | None
    front: tuple[Recommended, ...] = ()
    candidate: Recommended | None = None
    lead: tuple[float, float] | None = None
    words: str = ""

    @property
    def values(self) -> Mapping[str, Value]:
        """Of the best point; empty when there is none."""
        return {} if self.best is None else self.best.values

    def as_json(self) -> dict[str, Any]:
        """The same for JSON."""
        return {"best": None if self.best is None else self.best.as_json(), "front": [one.as_json() for one in self.front],
                "candidate": None if self.candidate is None else self.candidate.as_json(),
                "lead": None if self.lead is None else {"mean": self.lead[0], "sem": self.lead[1]}, "words": self.words}


def recommend(campaign: CampaignConfig, trials: Sequence[Trial]) -> Recommendation:
    """What a campaign recommends, by all its trials; a function of these alone.

    Nothing is raised for what stands in a ledger: where no model can be made, the best trial as measured is recommended, and the words say why.
    """
    done = [t for t in trials if t.state is TrialState.COMPLETED and t.outcome is not None and not campaign.space.problems(_at_target(campaign, t.planned))]
    if not done:
        return Recommendation(None, words="nothing to recommend: no sample has an outcome yet")
    if len(done) < FEWEST:
        return _as_measured(campaign, done, "one outcome is too few for a model")
    try:
        with one_thread():
            return _by_models(campaign, trials, done)
    except (ModelFailed, OptimizerError, ValueError) as error:
        return _as_measured(campaign, done, str(error))


def _by_models(campaign: CampaignConfig, trials: Sequence[Trial], done: Sequence[Trial]) -> Recommendation:
    sobol = SobolOptimizer(campaign)
    study = study_of(campaign, sobol.domain, trials)
    if len(study.X) < FEWEST:
        return _as_measured(campaign, done, "too few outcomes for a model")
    models = pinned(campaign, study.models(last_kernels(trials)))
    x = sobol.domain.encode_rows([t.point for t in done])
    points = [_expected(campaign, models, row, _at_target(campaign, t.planned), t) for t, row in zip(done, x, strict=True)]
    order = _order(campaign, points)
    best = points[order[0]]
    front = _front(campaign, points) if _is_trade_off(campaign) else (best,)
    candidate = None if _is_trade_off(campaign) else _candidate(campaign, models, ground_of(campaign, sobol), done, x[order[0]], best)
    others = [k for k in order[1:] if points[k].probability_feasible >= EVEN and np.abs(x[k] - x[order[0]]).max(initial=0.0) > SAME]
    is_comparable = bool(others) and best.probability_feasible >= EVEN and len(campaign.objectives) == 1
    lead = _lead(campaign, models, x[[order[0], others[0]]]) if is_comparable else None
    return Recommendation(best, front, candidate, lead, _words(campaign, best, front, candidate, lead))


def _at_target(campaign: CampaignConfig, values: Mapping[str, Value]) -> Mapping[str, Value]:
    """A point at the level of fidelity that counts."""
    return values if campaign.fidelity is None else {**values, campaign.fidelity.parameter: campaign.fidelity.target}


def _is_trade_off(campaign: CampaignConfig) -> bool:
    return len(campaign.objectives) > 1 and campaign.combine == "pareto"


def _expected(campaign: CampaignConfig, models: Models, x: Array, values: Mapping[str, Value], trial: Trial | None) -> Recommended:
    """What the models expect of one point."""
    found = {name: models.natural(name, x[None, :]) for name in models.outcomes}
    outcomes = {name: (float(mean[0]), float(sd[0])) for name, (mean, sd) in found.items()}
    index = trial.index if trial is not None and dict(trial.planned) == dict(values) else None
    return Recommended(values, outcomes, _feasibility(campaign, models, x), index)


def _feasibility(campaign: CampaignConfig, models: Models, x: Array) -> float:
    """The probability that one point, shape (d,), keeps all limits of its outcomes."""
    chance = 1.0
    for limit in (*campaign.outcome_limits, *campaign.safe_limits):
        name, bound, sign = side_of(limit, models.study)
        mean, variance = models.of(name).predict(x[None, :])
        chance *= float(ndtr(sign * (mean[0] - bound) / np.sqrt(variance[0])))
    return chance


def _order(campaign: CampaignConfig, points: Sequence[Recommended]) -> list[int]:
    """Places of points, the best first: those that likely keep the limits by what they are expected to give, then the others by how likely they do."""
    means = {o.name: np.array([one.outcomes[o.name][0] for one in points]) for o in campaign.objectives}
    score, chance = scores(campaign, means), np.array([one.probability_feasible for one in points])
    is_likely = chance >= EVEN
    return [int(k) for k in np.lexsort((np.where(is_likely, -score, -chance), ~is_likely))]


def _front(campaign: CampaignConfig, points: Sequence[Recommended]) -> tuple[Recommended, ...]:
    likely = [one for one in points if one.probability_feasible >= EVEN]
    if not likely:
        return ()
    expected = merits(campaign.objectives, {o.name: np.array([one.outcomes[o.name][0] for one in likely]) for o in campaign.objectives})
    chosen = np.flatnonzero(is_in_front(expected))
    return tuple(likely[k] for k in chosen[np.argsort(-expected[chosen, 0], kind="stable")])


def _candidate(campaign: CampaignConfig, models: Models, ground: Ground, done: Sequence[Trial], x: Array, best: Recommended) -> Recommended | None:
    """The best expected point of all that could be tried; None when the search finds nothing better than the best measured one, or one that has been tried."""
    # What a campaign may suggest is safe by a model that is more careful than those of the outcomes.
    safe = safe_set_of(campaign, models.study.domain, done)
    acquisition = Acquisition([*candidate_terms(campaign, models), *([] if safe is None else [safe])])
    rank = np.array([-float(t.index != best.trial) for t in done])
    starts = incumbents(models.study.domain, done, rank)
    try:
        found = ground.seek([], acquisition, starts, ground.candidates[:0] if safe is None else safe.candidates(ground.candidates))
    except ModelFailed:
        return None
    if not acquisition.values(found.x[:1])[0] > acquisition.values(x[None, :])[0]:
        return None
    values = _at_target(campaign, found.values[0])
    if any(dict(t.planned) == dict(values) for t in done):  # executed a little beside it: to try it again would be no other point
        return None
    return _expected(campaign, models, found.x[0], values, None)


def _lead(campaign: CampaignConfig, models: Models, x: Array) -> tuple[float, float]:
    """By how much the first of two points, shape (2, d), is expected to be better, and the standard error of that."""
    objective = campaign.objective
    mean, covariance = models.of(objective.name).joint(x)
    scale = models.study[objective.name].scale
    first, second = scale.from_unit(mean)
    ahead = scale.rate(mean) * np.array([1.0, -1.0])
    error = float(np.sqrt(max(ahead @ covariance @ ahead, 0.0)))
    merit = merits([objective], {objective.name: np.array([first, second])})[:, 0]
    return float(merit[0] - merit[1]), error


def _as_measured(campaign: CampaignConfig, done: Sequence[Trial], why: str) -> Recommendation:
    """Without a model: the best trial, and the front, as measured."""
    best = best_trial(campaign, done)
    if best is None:
        return Recommendation(None, words=f"nothing to recommend: no outcome keeps the constraints ({why})")
    found = _measured(best)
    front = tuple(found if t is best else _measured(t) for t in front_of(campaign, done))
    return Recommendation(found, front, words=f"{_telling(campaign, found, 'gave')} ({why}: as measured)")


def _measured(trial: Trial) -> Recommended:
    outcome = trial.outcome
    return Recommended(trial.planned, {} if outcome is None else {name: (m.mean, m.sem) for name, m in outcome.measured.items()}, 1.0, trial.index)


def _words(campaign: CampaignConfig, best: Recommended, front: Sequence[Recommended], candidate: Recommended | None, lead: tuple[float, float] | None) -> str:
    parts = [_telling(campaign, best, "is expected to give")]
    if best.probability_feasible < EVEN:
        parts.append(f"no measured point is likely to keep the limits of its outcomes: this one does with a probability of {best.probability_feasible:.2g}")
    elif campaign.outcome_limits or campaign.safe_limits:
        parts.append(f"it keeps the limits of its outcomes with a probability of {best.probability_feasible:.2g}")
    if lead is not None:
        parts.append(f"{lead[0]:.2g} ± {lead[1]:.2g} better than the next one")
    if _is_trade_off(campaign):
        parts.append(f"{len(front)} of the measured points are expected to be beaten by no other one")
    if candidate is not None:
        parts.append(f"not measured: {_telling(campaign, candidate, 'is expected to give')}")
    return "; ".join(parts)


def _telling(campaign: CampaignConfig, point: Recommended, verb: str) -> str:
    place = f"trial {point.trial + 1}" if point.trial is not None else ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in point.values.items())
    given = [_number(point.outcomes[o.name], o.name, o.unit) for o in campaign.objectives if o.name in point.outcomes]
    return f"{place} {verb} {', '.join(given)}"


def _number(outcome: tuple[float, float | None], name: str, unit: str) -> str:
    mean, sem = outcome
    return f"{name} {mean:.4g}{f' ± {sem:.2g}' if sem is not None else ''}{f' {unit}' if unit else ''}"
