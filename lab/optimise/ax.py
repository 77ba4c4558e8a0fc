"""The engine ``ax``: evenly spread points first, then Ax's and BoTorch's model."""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Sequence
from functools import cached_property

from lab.core.question import CampaignConfig
from lab.core.trial import Suggestion, Trial, TrialState
from lab.optimise.domain import Domain, Points
from lab.optimise.evidence import Evidence, gather
from lab.optimise.gaussian import ModelFailed
from lab.optimise.sobol import SobolOptimizer, check_count
from lab.optimise.starts import candidates, incumbents, mixed
from lab.optimise.tried import Tried

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


class AxOptimizer:
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
        return candidates(self._domain, self._seed)

    def suggest(self, trials: Sequence[Trial], n: int = 1) -> list[Suggestion]:
        """The next `n` points; see `lab.optimise.protocol.Optimizer`."""
        check_count(n)
        began = time.process_time()
        evidence = gather(self._campaign, self._domain, trials)
        tried = Tried.of(self._domain, trials)
        n_live = sum(t.state not in (TrialState.FAILED, TrialState.ABANDONED) for t in trials)
        n_initial = min(n, max(0, self._campaign.n_initial - n_live))
        points = self._sobol.next_points(tried, len(trials), n_initial)
        origins = ["sobol"] * n_initial
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

    def _ask_or_spread(self, trials: Sequence[Trial], evidence: Evidence, tried: Tried, position: int, n: int) -> tuple[Points, str]:
        try:
            return self._ask(trials, evidence, tried, n)
        except ModelFailed as error:
            return self._sobol.next_points(tried, position, n), f"sobol (model failed: {error})"

    def _ask(self, trials: Sequence[Trial], evidence: Evidence, tried: Tried, n: int) -> tuple[Points, str]:
        load()
        from lab.optimise.surrogate import Question, ask

        goal = 1.0 if self._campaign.objective.goal == "maximize" else -1.0
        question = Question(self._domain, goal, self._campaign.outcome_limits, tried, self._candidates,
                            incumbents(self._domain, trials, goal * evidence.Y[:, 0]), seed=mixed(self._seed, len(trials)))
        return ask(question, evidence, n), f"ax ({evidence.remark})" if evidence.remark else "ax"
