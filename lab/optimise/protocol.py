"""What the rest of the laboratory knows of an optimiser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lab.core.question import CampaignConfig
from lab.core.trial import Suggestion, Trial


class Optimizer(Protocol):
    """A function from the ledger to the next point; it keeps nothing between calls but caches.

    The same campaign and the same trials give the same suggestions, to the last bit, in any process.
    """

    def suggest(self, trials: Sequence[Trial], n: int = 1) -> list[Suggestion]:
        """The next `n` points to try, all different.

        Parameters
        ----------
        trials : sequence of Trial
            All trials of the campaign, in any state, as the ledger has them.
        n : int
            At least 1.

        Raises
        ------
        OptimizerError
            When nothing can be suggested, or a trial on record cannot be used; the message says why.
        """
        ...


def make_optimizer(campaign: CampaignConfig) -> Optimizer:
    """The engine that the campaign names, at its beginning.

    Raises
    ------
    ValueError
        When the campaign's constraints cannot be met, or its points are proposed by others (engine ``remote``).
    """
    if campaign.optimizer.engine == "sobol":
        from lab.optimise.sobol import SobolOptimizer

        return SobolOptimizer(campaign)
    if campaign.optimizer.engine == "given":
        from lab.optimise.given import GivenPoints

        return GivenPoints(campaign)
    if campaign.optimizer.engine == "remote":
        raise ValueError("optimizer.engine: given remote; allowed: an engine of this laboratory, others propose their points to the campaign")
    if campaign.optimizer.engine == "botorch":
        from lab.optimise.bayesian import BayesianOptimizer

        return BayesianOptimizer(campaign)
    from lab.optimise.ax import AxOptimizer

    return AxOptimizer(campaign)
