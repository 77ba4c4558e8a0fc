"""Engines that put evenly spread points first, and then ask a model; the engine ``ax``, whose model is Ax's and BoTorch's."""

from __future__ import annotations

import importlib
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from lab.core.question import CampaignConfig
from lab.core.trial import Suggestion, Trial, TrialState
from lab.optimise.domain import Domain, Points
from lab.optimise.evidence import Evidence, gather
from lab.optimise.gaussian import ModelFailed
from lab.optimise.polytope import Array
from lab.optimise.sampling import Stream, every_point
from lab.optimise.sobol import SobolOptimizer, check_count
from lab.optimise.tried import Tried

N_CANDIDATES = 512
"""Evenly spread points from which the search for the best one starts."""

N_INCUMBENTS = 4
"""Best trials around which it starts as well."""

FEWEST = 2
"""Completed trials that a model needs."""


def load() -> None:
    """Import torch and Ax (seconds, some 500 MB): the first model does; who has time to spare may do it before, in a thread.

    Ax announces its SQL storage, which nothing here uses, on standard error: that line is left out.
    """
    announcer = logging.getLogger("ax.storage.sqa_store.with_db_settings_base")

    def is_wanted(record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO

    announcer.addFilter(is_wanted)
    try:
        importlib.import_module("lab.optimise.surrogate")
    finally:
        announcer.removeFilter(is_wanted)


def mixed(*numbers: int) -> int:
    """One seed out of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint32)[0])


class ModelBasedOptimizer(ABC):
    """Sobol points, then a model's; see `lab.optimise.protocol.Optimizer`.

    The first `initial` trials are Sobol points. One that failed or was given up does not count and is replaced, so
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
        """The whole space where it is small, else points spread evenly over it."""
        everything = every_point(self._domain)
        if everything is not None and len(everything) <= 4 * N_CANDIDATES:
            return everything
        # Another sequence than the initial trials', or all of its first points would count as tried.
        return Stream(self._domain, mixed(self._seed)).points(0, N_CANDIDATES)

    def suggest(self, trials: Sequence[Trial], n: int = 1) -> list[Suggestion]:
        """The next `n` points; see `lab.optimise.protocol.Optimizer`."""
        check_count(n)
        began = time.process_time()
        evidence = self._gather(trials)
        tried = Tried.of(self._domain, trials)
        n_live = sum(t.state not in (TrialState.FAILED, TrialState.ABANDONED) for t in trials)
        n_initial = min(n, max(0, self._campaign.optimizer.initial - n_live))
        points, origin = self._begin(trials, evidence, tried, n_initial)
        origins = [origin] * n_initial
        n_more = n - n_initial
        if n_more:
            tried = tried.also(self._domain.encode(points))
            if len(evidence.X) < FEWEST:
                more, origin = self._sobol.next_points(tried, len(trials) + n_initial, n_more), "sobol (too few outcomes for a model yet)"
            else:
                more, origin = self._ask_or_spread(trials, evidence.with_waiting(self._domain.encode(points)), tried, len(trials) + n_initial, n_more)
            points, origins = Points.join(points, more), origins + [origin] * n_more
        seconds = (time.process_time() - began) / n
        return [Suggestion(values, origin, seconds) for values, origin in zip(self._domain.values(points), origins, strict=True)]

    def _gather(self, trials: Sequence[Trial]) -> Evidence:
        """What the trials say, as this engine's model takes it."""
        return gather(self._campaign, self._domain, trials)

    def _begin(self, trials: Sequence[Trial], evidence: Evidence, tried: Tried, n: int) -> tuple[Points, str]:
        """`n` points before there is a model, and their origin."""
        return self._sobol.next_points(tried, len(trials), n), "sobol"

    def _ask_or_spread(self, trials: Sequence[Trial], evidence: Evidence, tried: Tried, position: int, n: int) -> tuple[Points, str]:
        try:
            return self._ask(trials, evidence, tried, n)
        except ModelFailed as error:
            return self._sobol.next_points(tried, position, n), f"sobol (model failed: {error})"

    @abstractmethod
    def _ask(self, trials: Sequence[Trial], evidence: Evidence, tried: Tried, n: int) -> tuple[Points, str]:
        """The model's `n` points, and their origin.

        Raises
        ------
        ModelFailed
            In words.
        """

    def _incumbents(self, trials: Sequence[Trial], merit: Array) -> Points:
        """Allowed points at the best completed trials, as planned."""
        done = [t for t in trials if t.state is TrialState.COMPLETED]
        best = [done[k].planned for k in np.argsort(-merit, kind="stable")[:N_INCUMBENTS]]
        return self._domain.points_of(best)


class AxOptimizer(ModelBasedOptimizer):
    """Bayesian optimisation by Ax and BoTorch; see `ModelBasedOptimizer`."""

    def _ask(self, trials: Sequence[Trial], evidence: Evidence, tried: Tried, n: int) -> tuple[Points, str]:
        load()
        from lab.optimise.surrogate import Question, ask

        goal = 1.0 if self._campaign.objective.goal == "maximize" else -1.0
        question = Question(self._domain, goal, self._campaign.outcome_limits, tried, self._candidates,
                            self._incumbents(trials, goal * evidence.Y[:, 0]), seed=mixed(self._seed, len(trials)))
        return ask(question, evidence, n), f"ax ({evidence.remark})" if evidence.remark else "ax"
