"""The engine for points that somebody has chosen: a list, tried in its order."""

from __future__ import annotations

from collections.abc import Sequence

from lab.core.errors import OptimizerError
from lab.core.question import CampaignConfig
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
        """The next `n` points of the list: those after as many as there are trials, whatever became of them.

        Raises
        ------
        OptimizerError
            When there are not as many.
        """
        found = self._points[len(trials):len(trials) + n]
        if n < 1 or len(found) < n:
            raise OptimizerError(f"all {len(self._points)} points of optimizer.points have been tried; give more, or end the campaign")
        return [Suggestion(dict(point), "given") for point in found]
