"""The engine ``botorch``: Gaussian processes of our own, and the expected improvement of a sample that may fail.

A suggestion maximises the logarithm of: what a sample is worth by the objectives (`lab.optimise.aim`), times the
probability that every outcome constraint is kept, times the probability that the sample gives an outcome at all. While
no trial is expected to keep the constraints, only the probabilities count. Samples under way are taken to turn out as
expected. A plate of several samples is as many suggestions one after the other, each with those before it under way.

The number of evaluations of every likelihood and of every acquisition function is bounded. Nothing is remembered between
calls but what depends on the campaign alone; what the next suggestion is to know stands in `Suggestion.thought`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from lab.core.errors import OptimizerError
from lab.core.question import CampaignConfig
from lab.core.space import Value
from lab.core.trial import Suggestion, Trial, TrialState
from lab.optimise.aim import aim_of
from lab.optimise.ascent import seek
from lab.optimise.circumstances import Circumstances, circumstances_of
from lab.optimise.domain import Domain, Points
from lab.optimise.gaussian import ModelFailed
from lab.optimise.one_thread import one_thread
from lab.optimise.schedule import REFERENCE, reference_due
from lab.optimise.sobol import SobolOptimizer, check_count
from lab.optimise.starts import candidates, incumbents, mixed
from lab.optimise.study import Models, Study, study_of
from lab.optimise.terms import Acquisition
from lab.optimise.tried import Tried

FEWEST = 2
"""Completed trials that a model needs."""

N_LOOKED_AT = 64
"""Evenly spread points among which the next initial one is chosen once something has failed."""


@dataclass(frozen=True)
class Choice:
    """A point and how it was found."""

    values: Mapping[str, Value]
    origin: str
    thought: Mapping[str, Any]


class BayesianOptimizer:
    """Bayesian optimisation that learns from failures; see `lab.optimise.protocol.Optimizer`.

    The points that the campaign gives are tried first. Up to the `initial`-th trial, Sobol points follow. One that failed or was given up does not count and is replaced, so
    that the model starts from as many outcomes as the campaign asks for.

    Parameters
    ----------
    campaign : CampaignConfig

    Raises
    ------
    ValueError
        When the constraints cannot be met.
    """

    def __init__(self, campaign: CampaignConfig) -> None:
        self._campaign = campaign
        self._sobol = SobolOptimizer(campaign)
        self._domain: Domain = self._sobol.domain
        self._seed = campaign.optimizer.seed

    @cached_property
    def _candidates(self) -> Points:
        return candidates(self._domain, self._seed)

    def suggest(self, trials: Sequence[Trial], n: int = 1) -> list[Suggestion]:
        """The next `n` points; see `lab.optimise.protocol.Optimizer`."""
        check_count(n)
        found: list[Suggestion] = []
        known = list(trials)
        with one_thread():
            study = study_of(self._campaign, self._domain, known)
            models: Models | None = None
            first = around = circumstances_of(self._campaign, self._domain, known)
            for _ in range(n):
                began = time.process_time()
                choice, models = self._next(known, study, around, models)
                around = around.after(choice.values)
                found.append(Suggestion(choice.values, choice.origin, time.process_time() - began, choice.thought))
                known.append(Trial(len(known), TrialState.SUGGESTED, choice.values, origin=choice.origin, thought=choice.thought))
                study = study.with_waiting(self._domain.encode_values(choice.values)[None, :])
        return first.ordered(found)

    # ------------------------------------------------------------------------------------------------ one point

    def _next(self, trials: Sequence[Trial], study: Study, around: Circumstances, models: Models | None) -> tuple[Choice, Models | None]:
        """The next point, and the models if they were needed: they are the same for the next point of the plate."""
        given = next((point for point in self._campaign.optimizer.points if all(dict(t.planned) != point for t in trials)), None)
        if given is not None:
            return Choice(given, "given", {}), models
        reference = reference_due(self._campaign, trials)
        if reference is not None:
            return Choice(reference, REFERENCE, {}), models
        tried = Tried.of(self._domain, trials)
        n_live = sum(t.state not in (TrialState.FAILED, TrialState.ABANDONED) for t in trials)
        if around.safe is not None:
            return self._safely(trials, study, around, tried, models, n_live < self._campaign.optimizer.initial)
        if n_live < self._campaign.optimizer.initial:
            return self._begin(trials, study, around, tried, self._campaign.optimizer.initial - n_live), models
        if len(study.X) < FEWEST:
            return self._spread(trials, tried, "sobol (too few outcomes for a model yet)"), models
        try:
            models = models or study.models(_last_kernels(trials))
            return self._ask(trials, study, around, tried, models), models
        except ModelFailed as error:
            return self._spread(trials, tried, f"sobol (model failed: {error})"), models

    def _spread(self, trials: Sequence[Trial], tried: Tried, origin: str) -> Choice:
        point = self._sobol.next_points(tried, len(trials), 1)
        return Choice(self._domain.values(point)[0], origin, {})

    def _begin(self, trials: Sequence[Trial], study: Study, around: Circumstances, tried: Tried, n_left: int) -> Choice:
        """The next of `n_left` initial points: the nearest, where changes cost something; once something has failed, one at which success is likely."""
        if not len(study.failed):
            if around.durations is None:
                return self._spread(trials, tried, "sobol")
            left = self._domain.values(self._sobol.next_points(tried, 0, 1, n_spare=n_left - 1))
            return Choice(left[around.nearest(left)], "sobol", {})
        points = self._sobol.next_points(tried, len(trials), 1, n_spare=N_LOOKED_AT)
        chance = Acquisition(Models(study, {}, study.success()).chance()).values(self._domain.encode(points))
        best = int(np.argmax(np.minimum(chance, 0.0)))
        return Choice(self._domain.values(points[best:best + 1])[0], "sobol (where success is likely)", {})

    def _safely(self, trials: Sequence[Trial], study: Study, around: Circumstances, tried: Tried, models: Models | None,
                is_beginning: bool) -> tuple[Choice, Models | None]:
        """The next point of a campaign that may suggest nothing unsafe: there is no falling back on points of which nothing is known."""
        try:
            if is_beginning or len(study.X) < FEWEST:
                acquisition = Acquisition([*around.doubt(study.waiting), *around.terms()])
                points, values = self._seek(trials, around, tried, acquisition, around.known_safe)
                chosen = self._domain.values(points[:1])[0]
                thought = {"acquisition": float(values[0]), **around.thought(chosen)}
                return Choice(chosen, "safe (where the margins are known the least)", thought), models
            models = models or study.models(_last_kernels(trials))
            return self._ask(trials, study, around, tried, models), models
        except ModelFailed as error:
            raise OptimizerError(around.refusal(self._candidates, str(error))) from error

    def _seek(self, trials: Sequence[Trial], around: Circumstances, tried: Tried, acquisition: Acquisition, starts: Points) -> tuple[Points, np.ndarray]:
        spread = Points.join(self._candidates, around.candidates(self._candidates))
        return seek(self._domain, acquisition, tried, spread, starts, np.random.default_rng(mixed(self._seed, len(trials))))

    def _ask(self, trials: Sequence[Trial], study: Study, around: Circumstances, tried: Tried, models: Models) -> Choice:
        """The model's point."""
        now = replace(models, study=study).expecting(study.waiting)
        aim = aim_of(self._campaign, now)  # what is under way counts as measured: or its surroundings would be sought again
        acquisition = Acquisition([*aim.terms(now), *aim.limits(now), *now.chance(), *around.terms()])
        starts = incumbents(self._domain, trials, aim.merit(trials))
        points, values = self._seek(trials, around, tried, acquisition, starts)
        remarks = [*now.remarks, *around.remarks]
        origin = f"botorch ({'; '.join(remarks)})" if remarks else "botorch"
        chosen = self._domain.values(points[:1])[0]
        return Choice(chosen, origin, self._thought(now, points, values, remarks) | around.thought(chosen))

    def _thought(self, models: Models, points: Points, values: np.ndarray, remarks: Sequence[str]) -> dict[str, Any]:
        """What is written with a suggestion: see docs/decisions/0020."""
        x = self._domain.encode(points)
        natural = {name: models.natural(name, x) for name in models.outcomes}
        expected = [{name: [float(mean[k]), float(sd[k])] for name, (mean, sd) in natural.items()} for k in range(len(points))]
        chance = models.success_at(x[:1])
        named = self._domain.values(points)
        return {"kernels": models.kernels, "expected": expected[0], "success": None if chance is None else float(chance[0]),
                "acquisition": float(values[0]),
                "alternatives": [{"values": named[k], "acquisition": float(values[k]), "expected": expected[k]} for k in range(1, len(points))],
                "remarks": list(remarks)}


def _last_kernels(trials: Sequence[Trial]) -> Mapping[str, Any] | None:
    """The models' parameters at the last suggestion that came from models."""
    return next((t.thought["kernels"] for t in reversed(trials) if "kernels" in t.thought), None)
