"""Where the next point is chosen: anywhere in a space, or among the rows of a pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from lab.core.question import CampaignConfig
from lab.core.space import Value
from lab.core.trial import Trial
from lab.optimise.ascent import seek
from lab.optimise.domain import Domain, Points
from lab.optimise.polytope import Array
from lab.optimise.pool import Pool, seek_in_pool
from lab.optimise.sobol import SobolOptimizer
from lab.optimise.starts import candidates, mixed
from lab.optimise.terms import Acquisition
from lab.optimise.tried import Tried


@dataclass(frozen=True)
class Found:
    """The best points of a search, the best first.

    Parameters
    ----------
    values : sequence of mappings
        As suggestions carry them.
    x : ndarray, shape (n, d)
        Their model coordinates.
    scores : ndarray, shape (n,)
        Of the acquisition function.
    """

    values: Sequence[Mapping[str, Value]]
    x: Array
    scores: Array


class Ground(Protocol):
    """What suggestions are chosen from."""

    @property
    def origin(self) -> str:
        """What its evenly spread points are called."""
        ...

    @property
    def remark(self) -> str:
        """What a person should know of it; mostly empty."""
        ...

    @property
    def rows(self) -> Array | None:
        """Model coordinates of all there is to choose from, shape (n, d); None where that is a space."""
        ...

    @property
    def candidates(self) -> Points:
        """Points spread evenly over the space around it."""
        ...

    def spread(self, trials: Sequence[Trial], n: int = 1) -> Sequence[Mapping[str, Value]]:
        """Untried points, evenly spread with those that have been tried: `n`, or as many as there are, at least one.

        Raises
        ------
        OptimizerError
            When there is none.
        """
        ...

    def seek(self, trials: Sequence[Trial], acquisition: Acquisition, starts: Points, further: Points) -> Found:
        """The untried points with the largest values.

        Parameters
        ----------
        starts : Points
            Around which to look as well.
        further : Points
            Places to look at, besides those spread evenly.

        Raises
        ------
        ModelFailed
            When none was found.
        """
        ...


class InSpace:
    """Anywhere in a space; see `Ground`.

    Parameters
    ----------
    campaign : CampaignConfig
    sobol : SobolOptimizer
        Of the same campaign.
    """

    origin = "sobol"
    remark = ""
    rows: Array | None = None

    def __init__(self, campaign: CampaignConfig, sobol: SobolOptimizer) -> None:
        self._domain: Domain = sobol.domain
        self._sobol, self._seed = sobol, campaign.optimizer.seed

    @cached_property
    def candidates(self) -> Points:
        return candidates(self._domain, self._seed)

    def spread(self, trials: Sequence[Trial], n: int = 1) -> Sequence[Mapping[str, Value]]:
        """See `Ground`."""
        return self._domain.values(self._sobol.next_points(Tried.of(self._domain, trials), 0, 1, n_spare=n - 1))

    def seek(self, trials: Sequence[Trial], acquisition: Acquisition, starts: Points, further: Points) -> Found:
        """See `Ground`."""
        rng = np.random.default_rng(mixed(self._seed, len(trials)))
        points, scores = seek(self._domain, acquisition, Tried.of(self._domain, trials), Points.join(self.candidates, further), starts, rng)
        return Found(self._domain.values(points), self._domain.encode(points), scores)


class InPool:
    """Among the rows of a pool; see `Ground`.

    Parameters
    ----------
    campaign : CampaignConfig
        With candidates.
    domain : Domain
    pool : Pool
        Of these candidates.
    """

    origin = "spread"

    def __init__(self, campaign: CampaignConfig, domain: Domain, pool: Pool) -> None:
        self._pool, self._domain = pool, domain
        self._seed = campaign.optimizer.seed
        self.remark = pool.remark
        self.rows: Array | None = pool.x

    @cached_property
    def candidates(self) -> Points:
        return candidates(self._domain, self._seed)

    def spread(self, trials: Sequence[Trial], n: int = 1) -> Sequence[Mapping[str, Value]]:
        """See `Ground`."""
        return [self._pool.rows[k] for k in self._pool.spread(self._pool.untried(trials), n, self._seed)]

    def seek(self, trials: Sequence[Trial], acquisition: Acquisition, starts: Points, further: Points) -> Found:
        """See `Ground`; all rows are looked at, so that it makes no difference where to start."""
        rows, scores = seek_in_pool(self._pool, acquisition, self._pool.untried(trials))
        return Found([self._pool.rows[k] for k in rows], self._pool.x[rows], scores)


def ground_of(campaign: CampaignConfig, sobol: SobolOptimizer) -> Ground:
    """The pool where the campaign names candidates, else the space.

    Raises
    ------
    ValueError
        When no candidate keeps the constraints.
    """
    if campaign.candidates is None:
        return InSpace(campaign, sobol)
    return InPool(campaign, sobol.domain, Pool(sobol.domain, campaign.candidates))
