"""The baseline engine: evenly spread points, blind to outcomes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from lab.core.errors import OptimizerError
from lab.core.question import CampaignConfig
from lab.core.trial import Suggestion, Trial
from lab.optimise.domain import Domain, Points
from lab.optimise.feasible import check_feasible
from lab.optimise.sampling import Stream, every_point
from lab.optimise.tried import Tried

PATIENCE = 4096
"""Points looked at before the search for one that was not tried gives up."""


class SobolOptimizer:
    """Scrambled Sobol points on the constrained space.

    Parameters
    ----------
    campaign : CampaignConfig

    Raises
    ------
    ValueError
        When the constraints cannot be met.
    """

    def __init__(self, campaign: CampaignConfig) -> None:
        check_feasible(campaign.space)
        self.domain = Domain(campaign.space)
        self._seed = campaign.optimizer.seed

    @cached_property
    def _stream(self) -> Stream:
        return Stream(self.domain, self._seed)

    def suggest(self, trials: Sequence[Trial], n: int = 1) -> list[Suggestion]:
        """The next points of the sequence that no trial has used yet; see `lab.optimise.protocol.Optimizer`."""
        check_count(n)
        began = time.process_time()
        points = self.next_points(Tried.of(self.domain, trials), len(trials), n)
        seconds = (time.process_time() - began) / n
        return [Suggestion(values, "sobol", seconds) for values in self.domain.values(points)]

    def next_points(self, tried: Tried, position: int, n: int, n_spare: int = 0) -> Points:
        """`n` different untried points, from place `position` of the sequence on, and `n_spare` more if there are as many.

        Raises
        ------
        OptimizerError
            When there are not as many.
        """
        found = self._stream.points(0, 0)
        for start in range(position, position + PATIENCE, 64):
            found = self._add(found, self._stream.points(start, start + 64), tried, n + n_spare)
            if len(found) == n + n_spare:
                return found
        everything = every_point(self.domain)
        if everything is not None:
            found = self._add(found, everything, tried, n + n_spare)
        if len(found) < n:
            raise OptimizerError(exhausted(self.domain, everything, len(found), n))
        return found

    def _add(self, found: Points, candidates: Points, tried: Tried, n: int) -> Points:
        x = self.domain.encode(candidates)
        tried = tried.also(self.domain.encode(found))
        for k in np.flatnonzero(tried.is_new(x)):
            if len(found) == n:
                break
            if tried.is_new(x[k:k + 1])[0] and self.domain.is_sound(candidates[k:k + 1]):
                found = Points.join(found, candidates[k:k + 1])
                tried = tried.also(x[k:k + 1])
        return found


def check_count(n: int) -> None:
    """Refuse to suggest fewer points than one."""
    if n < 1:
        raise OptimizerError(f"suggest: given n = {n}; allowed: 1 or more")


def exhausted(domain: Domain, everything: Points | None, n_found: int, n: int) -> str:
    """Why there is nothing left to suggest, in words."""
    if everything is not None:
        return (f"all {len(everything)} points of the space have been tried, failed or are under way "
                f"({n_found} of {n} could be suggested); widen the parameters or end the campaign")
    return (f"no untried point was found near {PATIENCE} evenly spread ones ({n_found} of {n} could be suggested); "
            f"widen the parameters or end the campaign")
