"""When a campaign has found what it looks for: rules of its file, judged by what its suggestions were expected to bring.

What each suggestion promised stands in its thought; the verdict reads those thoughts and asks no model, so that it costs
nothing and is the same whenever it is asked. Points that people gave and references are passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lab.core.question import CampaignConfig, Confidence, Stop
from lab.core.trial import Trial, TrialState
from lab.optimise.aim import Aim
from lab.optimise.gaussian import Posterior, factor
from lab.optimise.polytope import Array
from lab.optimise.study import Models

N_DRAWS = 256
"""Functions drawn from the model to judge how far the recommended point may be from the best."""

MOST_KNOWN, MOST_OTHERS = 150, 250
"""Points at which they are drawn: of the measured and of all others those that may be the best, by mean and two standard deviations."""

FEWEST = 10
"""Outcomes for each parameter below which the model is not asked how sure it is: of fewer, its length scales are mostly guessed (Loeppky, Sacks
and Welch 2009, doi:10.1198/TECH.2009.08040, ask for as many)."""

FEWEST_REPEATS = 5
"""Samples of points that were sampled before (degrees of freedom) from which scatter is taken to be that, and no structure too fine for the samples."""

HOUR_S = 3600.0


def verdict(campaign: CampaignConfig, trials: Sequence[Trial]) -> str:
    """Why the campaign need not go on, in words; empty while it shall.

    Each rule of `campaign.stop` has to hold for the last `times` suggestions that came from models. A suggestion without a number for it (while no sample
    keeps the outcome constraints there is no improvement to speak of) breaks the row.

    Parameters
    ----------
    trials : sequence of Trial
        All trials of the campaign, as the ledger has them.
    """
    stop = campaign.stop
    if stop is None:
        return ""
    last = [trial for trial in trials if "kernels" in trial.thought and trial.state is not TrialState.ABANDONED][-stop.times:]
    if len(last) < stop.times:
        return ""
    names = " and ".join(objective.name for objective in campaign.objectives)
    for rule in _rules(stop, names, _typical_s(trials)):
        numbers = [rule.number(trial.thought) for trial in last]
        if all(number is not None and rule.holds(number) for number in numbers):
            return f"{rule.words} ({stop.times} suggestion{'s' if stop.times > 1 else ''} in a row, the last one: {numbers[-1]:.3g})"
    return ""


@dataclass(frozen=True)
class _Rule:
    words: str
    number: Callable[[Any], float | None]
    holds: Callable[[float], bool]


def _rules(stop: Stop, names: str, typical_s: float | None) -> list[_Rule]:
    """Rules of the file; `typical_s` are the seconds of a sample where its suggestion says nothing of them."""
    def per_hour(thought: Any) -> float | None:
        improvement, seconds = thought.get("improvement"), thought.get("seconds", typical_s)
        return None if improvement is None or not seconds else float(improvement) * HOUR_S / float(seconds)

    found: list[_Rule] = []
    if stop.improvement is not None:
        least = stop.improvement
        found.append(_Rule(f"expected improvement of {names} below {least:g}", lambda thought: thought.get("improvement"), lambda number: number < least))
    if stop.improvement_per_hour is not None:
        least_per_hour = stop.improvement_per_hour
        found.append(_Rule(f"expected improvement of {names} in an hour below {least_per_hour:g}", per_hour, lambda number: number < least_per_hour))
    if stop.confidence is not None:
        asked = stop.confidence
        found.append(_Rule(f"the recommended point is at most {asked.within:g} from the best {names} with a probability of at least {asked.probability:g}",
                           lambda thought: _probability(thought, asked), lambda number: number >= asked.probability))
    return found


def _probability(thought: Any, asked: Confidence) -> float | None:
    """What a suggestion's thought says of this tolerance; None where it was asked for another one."""
    found = thought.get("confidence")
    return float(found["probability"]) if found and found["within"] == asked.within else None


def _typical_s(trials: Sequence[Trial]) -> float | None:
    """Median of the completed trials' laboratory seconds; None where no times are on record."""
    known = [trial.ended_lab_s - trial.began_lab_s for trial in trials
             if trial.state is TrialState.COMPLETED and trial.began_lab_s is not None and trial.ended_lab_s is not None]
    return float(np.median(known)) if known else None


def confidence(campaign: CampaignConfig, models: Models, aim: Aim, x: Array, rng: np.random.Generator) -> dict[str, float] | None:
    """How surely the best of the measured points is at most so far from the best there is, as a thought has it; None where the campaign
    does not ask, or there are fewer than `FEWEST` outcomes for each parameter.

    Functions are drawn from the model at the measured points and at `x` jointly: the share of those of which no point is
    better than the recommended one by more than `within`. Only points that more likely than not keep the outcome constraints and give a sample count.
    Scatter that nobody told and fewer than `FEWEST_REPEATS` repeated samples bear out may as well be structure: points that have not been measured have it.

    Parameters
    ----------
    models : Models
        Without anything that is only expected.
    aim : Aim
    x : ndarray, shape (n, d)
        Points that may be the best: evenly spread over the space, and near the best that are known.
    rng : numpy.random.Generator
    """
    if campaign.stop is None or campaign.stop.confidence is None:
        return None
    within = campaign.stop.confidence.within
    model, study = models.of(campaign.objective.name), models.study
    if len(study.X) < FEWEST * (len(study.domain.ranges) + len(study.domain.choices)):
        return None
    known = study.X[:, :study.domain.n_columns]
    known, x = known[_is_possible(models, aim, known)], x[_is_possible(models, aim, x)]
    if not len(known):
        return {"within": within, "probability": 0.0}
    known, others = (_promising(campaign, models, points, most) for points, most in ((known, MOST_KNOWN), (x, MOST_OTHERS)))
    mean, covariance = model.joint(np.vstack([known, others]))
    covariance[np.diag_indices(len(mean))] += 1e-10 * np.mean(np.diag(covariance))
    covariance[np.arange(len(known), len(mean)), np.arange(len(known), len(mean))] += _unresolved(models.outcomes[campaign.objective.name])
    drawn = mean + rng.standard_normal((N_DRAWS, len(mean))) @ factor(covariance)[0].T
    recommended = int(np.argmax(_merit(campaign, models, mean[:len(known)])))
    merit = _merit(campaign, models, drawn)
    missed = merit.max(axis=1) - merit[:, recommended]
    return {"within": within, "probability": float(np.mean(missed <= within))}


def _unresolved(posterior: Posterior) -> float:
    """Variance that was learned as scatter, and of which nothing shows that it is."""
    data = posterior.data
    return posterior.kernel.noise if data.shares.any() and data.within[0] < FEWEST_REPEATS else 0.0


def _is_possible(models: Models, aim: Aim, x: Array) -> Array:
    """Where a sample more likely than not keeps each outcome constraint and gives an outcome; bool, shape (n,)."""
    is_possible = np.ones(len(x), dtype=bool)
    for term in aim.limits(models):
        is_possible &= term.values(x) >= np.log(0.5)
    chance = models.success_at(x)
    return is_possible if chance is None else is_possible & (chance >= 0.5)


def _promising(campaign: CampaignConfig, models: Models, x: Array, most: int) -> Array:
    """At most `most` of the points: those that may be the best."""
    if len(x) <= most:
        return x
    mean, variance = models.of(campaign.objective.name).predict(x)
    hope = np.maximum(*(_merit(campaign, models, mean + side * np.sqrt(variance)) for side in (-2.0, 2.0)))
    return x[np.sort(np.argsort(-hope, kind="stable")[:most])]


def _merit(campaign: CampaignConfig, models: Models, y: Array) -> Array:
    """How good outcomes in the unit of the model are, up is better, in the unit of the objective; the shape of `y`."""
    objective = campaign.objective
    natural = models.study[objective.name].scale.from_unit(y)
    if objective.target is not None:
        return -np.abs(natural - objective.target)
    return natural if objective.goal == "maximize" else -natural
