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
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np

from lab.core.errors import OptimizerError
from lab.core.question import CampaignConfig
from lab.core.space import Value
from lab.core.trial import Suggestion, Trial, TrialState
from lab.optimise.aim import Aim, aim_of
from lab.optimise.circumstances import Circumstances, circumstances_of
from lab.optimise.domain import Domain, Points
from lab.optimise.fidelity import choose, levels, pinned
from lab.optimise.gaussian import ModelFailed
from lab.optimise.ground import Found, ground_of
from lab.optimise.memory import last_kernels
from lab.optimise.one_thread import one_thread
from lab.optimise.schedule import REFERENCE, reference_due
from lab.optimise.sobol import SobolOptimizer, check_count
from lab.optimise.starts import incumbents, mixed, ways
from lab.optimise.stopping import confidence
from lab.optimise.study import Models, Study, study_of
from lab.optimise.terms import Acquisition
from lab.optimise.tried import Tried

FEWEST = 2
"""Completed trials that a model needs."""

N_LOOKED_AT = 64
"""Evenly spread points among which the next initial one is chosen once something has failed."""

N_NEAR, NEAR = 64, (0.01, 0.05, 0.2)
"""Around the best trials, where the best there is may be: points on the ways to so many others, so far."""


@dataclass(frozen=True)
class Choice:
    """A point and how it was found."""

    values: Mapping[str, Value]
    origin: str
    thought: Mapping[str, Any]


class BayesianOptimizer:
    """Bayesian optimisation that learns from failures; see `lab.optimise.protocol.Optimizer`.

    The points that the campaign gives are tried first. Evenly spread ones follow, until there are `CampaignConfig.n_initial` of both. One that failed or was
    given up does not count and is replaced, so that the model starts from as many outcomes as the campaign asks for.

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
        sobol = SobolOptimizer(campaign)
        self._domain: Domain = sobol.domain
        self._ground = ground_of(campaign, sobol)

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
        n_live = sum(t.state not in (TrialState.FAILED, TrialState.ABANDONED) and t.origin != REFERENCE for t in trials)
        n_initial = study.n_initial(self._campaign.n_initial)
        if around.safe is not None:
            return self._safely(trials, study, around, models, n_live < n_initial)
        if n_live < n_initial:
            return self._begin(trials, study, around, n_initial - n_live), models
        if len(study.X) < FEWEST:
            return self._spread(trials, "too few outcomes for a model yet"), models
        try:
            models = models or study.models(last_kernels(trials))
            return self._ask(trials, study, around, models), models
        except ModelFailed as error:
            return self._spread(trials, f"model failed: {error}"), models

    def _spread(self, trials: Sequence[Trial], why: str = "") -> Choice:
        return Choice(self._ground.spread(trials)[0], self._ground.origin + (f" ({why})" if why else ""), {"remarks": [why]} if why else {})

    def _begin(self, trials: Sequence[Trial], study: Study, around: Circumstances, n_left: int) -> Choice:
        """The next of `n_left` initial points: the nearest, where changes cost something; the most promising, where earlier data say which; once
        something has failed, one at which success is likely."""
        if not len(study.failed) and study.is_foretold:
            points = self._ground.spread(trials, 1 + N_LOOKED_AT)
            hope = study.hope(self._domain.encode_rows(points))
            if hope is not None:
                return Choice(points[int(np.argmax(hope))], f"{self._ground.origin} (where earlier data are good)", {})
        if not len(study.failed):
            if around.durations is None:
                return self._spread(trials)
            left = self._ground.spread(trials, n_left)
            return Choice(left[around.nearest(left)], self._ground.origin, {})
        points = self._ground.spread(trials, 1 + N_LOOKED_AT)
        chance = Acquisition(Models(study, {}, study.success()).chance()).values(self._domain.encode_rows(points))
        return Choice(points[int(np.argmax(np.minimum(chance, 0.0)))], f"{self._ground.origin} (where success is likely)", {})

    def _safely(self, trials: Sequence[Trial], study: Study, around: Circumstances, models: Models | None,
                is_beginning: bool) -> tuple[Choice, Models | None]:
        """The next point of a campaign that may suggest nothing unsafe: there is no falling back on points of which nothing is known."""
        try:
            if is_beginning or len(study.X) < FEWEST:
                acquisition = Acquisition([*around.doubt(study.waiting), *around.terms()])
                found = self._seek(trials, around, acquisition, around.known_safe)
                thought = {"acquisition": float(found.scores[0]), **around.thought(found.values[0])}
                return Choice(found.values[0], "safe (where the margins are known the least)", thought), models
            models = models or study.models(last_kernels(trials))
            return self._ask(trials, study, around, models), models
        except ModelFailed as error:
            raise OptimizerError(around.refusal(self._ground.candidates, str(error))) from error

    def _seek(self, trials: Sequence[Trial], around: Circumstances, acquisition: Acquisition, starts: Points) -> Found:
        return self._ground.seek(trials, acquisition, starts, around.candidates(self._ground.candidates))

    def _ask(self, trials: Sequence[Trial], study: Study, around: Circumstances, models: Models) -> Choice:
        """The model's point."""
        measured = pinned(self._campaign, models.with_waiting(study.waiting))
        now = measured.expecting(study.waiting)
        aim = aim_of(self._campaign, now, self._ground.rows)  # what is under way counts as measured: or its surroundings would be sought again
        acquisition = Acquisition([*aim.terms(now), *aim.limits(now), *now.chance(), *around.terms()])
        starts = incumbents(self._domain, trials, aim.merit(trials))
        found = self._seek(trials, around, acquisition, starts)
        remarks = [*now.remarks, *around.remarks, *aim.remarks, *([self._ground.remark] if self._ground.remark else [])]
        origin = f"botorch ({'; '.join(remarks)})" if remarks else "botorch"
        chosen, seconds = self._level(trials, now, aim, around, found.values[0])
        thought = _thought(now, aim, found, remarks) | around.thought(chosen) | seconds
        return Choice(chosen, origin, thought | self._sureness(trials, measured, aim, starts, found))

    def _level(self, trials: Sequence[Trial], models: Models, aim: Aim, around: Circumstances,
               values: Mapping[str, Value]) -> tuple[Mapping[str, Value], dict[str, Any]]:
        """The level at which a point is measured, and what that costs, where a campaign knows several."""
        fidelity = self._campaign.fidelity
        if fidelity is None:
            return values, {}
        tried = Tried.of(self._domain, trials)
        every = [{**values, fidelity.parameter: level} for level in levels(self._domain, fidelity.parameter, fidelity.target)]
        options = [one for one in every if not self._campaign.space.problems(one) and tried.is_new(self._domain.encode_values(one)[None, :])[0]
                   and around.is_safe(one)]
        options = options or [dict(values)]
        best, seconds = choose(self._campaign, models, aim, options, np.array([around.change_s(one) for one in options]))
        return options[best], {"seconds": seconds}

    def _sureness(self, trials: Sequence[Trial], models: Models, aim: Aim, starts: Points, found: Found) -> dict[str, Any]:
        """How surely the recommended point is good enough, where the campaign asks."""
        stop = self._campaign.stop
        if stop is None or stop.confidence is None:
            return {}
        spread = self._ground.candidates
        x = np.vstack([self._domain.encode(Points.join(spread, ways(self._domain, starts, spread[:N_NEAR], NEAR))), found.x])
        rng = np.random.default_rng(mixed(self._campaign.optimizer.seed, len(trials), 1))
        return {"confidence": confidence(self._campaign, models, aim, x, rng)}


def _thought(models: Models, aim: Aim, found: Found, remarks: Sequence[str]) -> dict[str, Any]:
    """What is written with a suggestion: see docs/decisions/0020."""
    natural = {name: models.natural(name, found.x) for name in models.outcomes}
    expected = [{name: [float(mean[k]), float(sd[k])] for name, (mean, sd) in natural.items()} for k in range(len(found.x))]
    chance, improvement = models.success_at(found.x[:1]), aim.improvement(models, found.x[:1])
    return {"version": _version(), "kernels": models.kernels, "expected": expected[0], "success": None if chance is None else float(chance[0]),
            "acquisition": float(found.scores[0]), "aim": aim.words, "improvement": None if improvement is None else float(improvement[0]),
            "alternatives": [{"values": dict(found.values[k]), "acquisition": float(found.scores[k]), "expected": expected[k]}
                             for k in range(1, len(found.x))],
            "remarks": list(remarks)}


@cache
def _version() -> str:
    """Of Labwright: the same trials give the same suggestion to the last bit within one version."""
    return version("labwright")
