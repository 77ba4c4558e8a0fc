"""The engine for points that somebody has chosen: a list, tried in its order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from lab.core.errors import OptimizerError
from lab.core.question import CampaignConfig, Scalar
from lab.core.trial import Suggestion, Trial


class GivenPoints:
    """The points of ``optimizer.points``, one after the other; see `lab.optimise.protocol.Optimizer`.

    Parameters
    ----------
    campaign : CampaignConfig
        Which has checked them.
    """

    def __init__(self, campaign: CampaignConfig) -> None:
        self._points = campaign.optimizer.points

    def suggest(self, trials: Sequence[Trial], n: int = 1) -> list[Suggestion]:
        """The next `n` points of the list of which there is no trial yet, whatever became of the others; a point that stands there twice is tried twice.

        Raises
        ------
        OptimizerError
            When there are not as many.
        """
        tried = Counter(frozenset(trial.planned.items()) for trial in trials)
        found: list[Mapping[str, Scalar]] = []
        for point in self._points:
            key = frozenset(point.items())
            if tried[key]:
                tried[key] -= 1
            elif len(found) < n:
                found.append(point)
        if n < 1 or len(found) < n:
            raise OptimizerError(f"all {len(self._points)} points of optimizer.points have been tried; give more, or end the campaign")
        return [Suggestion(dict(point), "given") for point in found]
