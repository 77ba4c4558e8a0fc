"""Counting noise for many frames of one scene: exact Poisson counts, several times faster than drawing each by itself.

Most of a frame's pixels share a few hundred mean values, nearly. So the means are rounded *down* to a grid of levels, and for each level the
distribution function is tabulated once. A frame is then drawn by inversion: a guide table over the first eight bits of a
uniform number gives most counts at once, the rest are looked up in the distribution function (Devroye, Non-Uniform Random
Variate Generation, 1986, III.2.4). What the rounding took away is put back exactly: Poisson counts add, so the
remainders of all pixels together are one Poisson number of single counts, each falling on a pixel with probability in proportion
to its remainder.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

LEVEL_STEP = 0.01
"""Distance of the levels on the scale of the square root of the mean, where counting noise is 0.5 everywhere."""

TAIL_SIGMAS, TAIL_COUNTS = 6.5, 15
"""How far around its mean a distribution is tabulated: beyond lies less than one in 2**32, all that a draw resolves."""

CELLS = 256
"""Cells of the guide table."""

TABLE_LIMIT = 4_000_000
"""Entries of the distribution functions beyond which a table is no longer worth its making."""


class CountingNoise:
    """Draws frames with given means.

    Parameters
    ----------
    mean : ndarray, float64
        Mean counts of each pixel, >= 0. Making the tables takes as long as drawing a few frames.
    """

    def __init__(self, mean: np.ndarray) -> None:
        self._mean = mean
        flat = mean.ravel()
        root = (np.sqrt(flat) / LEVEL_STEP).astype(np.int64)
        level = np.cumsum(np.bincount(root) > 0)[root] - 1
        bases = np.full(int(level.max()) + 1, np.inf)
        np.minimum.at(bases, level, flat)
        self._lowest = np.maximum(0, np.floor(bases - TAIL_SIGMAS * np.sqrt(bases) - TAIL_COUNTS)).astype(np.int64)
        width = int((bases + TAIL_SIGMAS * np.sqrt(bases) + TAIL_COUNTS - self._lowest).max()) + 1
        self._is_tabulated = width * len(bases) <= TABLE_LIMIT
        if not self._is_tabulated:
            return
        self._remainder = np.cumsum(flat - bases[level])
        self._tabulate(bases, width)
        self._first_cell = (level * CELLS).astype(np.int32)
        self._first_step = level * (width + 1)
        self._offset = self._lowest[level].astype(np.int32)

    def _tabulate(self, bases: np.ndarray, width: int) -> None:
        """Distribution functions of all levels, and the guide table into them."""
        counts = self._lowest[:, None] + np.arange(width)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.where(counts == 0, 0.0, counts * np.log(bases)[:, None]) - bases[:, None] - gammaln(counts + 1.0)
        steps = np.minimum(np.cumsum(np.exp(logs), axis=1), 1.0)
        first_cell_above = np.ceil(steps * CELLS).astype(np.int64)
        place = first_cell_above + np.arange(len(bases))[:, None] * (CELLS + 1)
        per_cell = np.bincount(place.ravel(), minlength=len(bases) * (CELLS + 1)).reshape(len(bases), CELLS + 1)
        guide = np.cumsum(per_cell, axis=1)
        # A cell within one step of the distribution holds its count; one with a step inside holds where to look, negative.
        is_split = guide[:, 1:] != guide[:, :-1]
        self._guide = np.where(is_split, -guide[:, :-1] - 1, guide[:, :-1]).astype(np.int32).ravel()
        self._steps = np.concatenate([steps, np.full((len(bases), 1), np.inf)], axis=1).ravel()

    def draw(self, chance: np.random.Generator) -> np.ndarray:
        """One frame: ndarray, int32 or int64, the shape of the means."""
        if not self._is_tabulated:
            return chance.poisson(self._mean)
        uniform = chance.integers(0, 2**32, size=self._mean.size, dtype=np.uint32)
        counts = self._guide.take(self._first_cell + (uniform >> 24).view(np.int32))
        split = np.flatnonzero(counts < 0)
        counts[split] = self._look_up(self._first_step[split], -counts[split] - 1, (uniform[split] + 0.5) / 2.0**32)
        counts += self._offset
        self._put_back(counts, chance)
        return counts.reshape(self._mean.shape)

    def _look_up(self, first: np.ndarray, count: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Go up the distribution functions from `count` until they exceed `uniform`."""
        active = np.arange(len(count))
        while len(active):
            active = active[self._steps[first[active] + count[active]] <= uniform[active]]
            count[active] += 1
        return count

    def _put_back(self, counts: np.ndarray, chance: np.random.Generator) -> None:
        total = float(self._remainder[-1])
        if total > 0.0:
            hits = np.searchsorted(self._remainder, chance.random(chance.poisson(total)) * total, side="right")
            np.add.at(counts, hits, 1)
