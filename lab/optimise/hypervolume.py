"""How much a sample is expected to add to what the front of several objectives dominates.

With independent outcomes it is exact: what is not dominated is cut into boxes (`lab.core.front.boxes`), and in each box the volume
that is gained is a product of one length for each objective (Yang, Emmerich, Deutz and Bäck 2019, doi:10.1007/s10898-019-00798-7).
It is taken on a logarithmic scale throughout, so there is somewhere to climb where nothing is expected
(Ament et al. 2023, arXiv:2310.20708); there it is no estimate by draws, as elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lab.optimise.gains import Merit
from lab.optimise.polytope import Array

AT_ONCE = 2048
"""Points of which all boxes are worked out together: bounds the memory."""


@dataclass(frozen=True)
class HypervolumeGain:
    """Logarithm of the expected hypervolume improvement; a `lab.optimise.terms.JointWorth`.

    Parameters
    ----------
    merits : sequence of m Merit
    lower, upper : ndarray, shape (k, m)
        Disjoint boxes that make up what is not dominated; `upper` may be infinite.
    """

    merits: Sequence[Merit]
    lower: Array
    upper: Array

    def __call__(self, means: Array, variances: Array) -> tuple[Array, Array, Array]:
        """See `lab.optimise.terms.JointWorth`."""
        n = means.shape[1]
        parts = [self._some(means[:, k:k + AT_ONCE], variances[:, k:k + AT_ONCE]) for k in range(0, max(n, 1), AT_ONCE)]
        return (np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts], axis=1),
                np.concatenate([part[2] for part in parts], axis=1))

    @cached_property
    def _sides(self) -> list[tuple[Array, Array, Array]]:
        """Of each objective: the different pairs of ends that boxes have there, shapes (p,), and which one each box has, shape (k,)."""
        found = []
        for low, high in zip(self.lower.T, self.upper.T, strict=True):
            pairs, place = np.unique(np.column_stack([low, high]), axis=0, return_inverse=True)
            found.append((pairs[:, 0], pairs[:, 1], place.ravel()))
        return found

    def _some(self, means: Array, variances: Array) -> tuple[Array, Array, Array]:
        gains = [merit.log_gain(mean[:, None], variance[:, None], low, high)
                 for merit, mean, variance, (low, high, _) in zip(self.merits, means, variances, self._sides, strict=True)]
        volumes = sum((gain[0][:, place] for gain, (_, _, place) in zip(gains, self._sides, strict=True)), np.zeros((means.shape[1], len(self.lower))))
        largest = volumes.max(axis=1)
        largest = np.where(np.isfinite(largest), largest, 0.0)  # where every box is out of reach
        share = np.exp(volumes - largest[:, None])
        whole = np.maximum(share.sum(axis=1), np.finfo(float).tiny)
        share /= whole[:, None]
        value = np.where(share.any(axis=1), largest + np.log(whole), -np.inf)
        by_mean, by_variance = [], []
        for (_, d_mean, d_variance), (low, _, place) in zip(gains, self._sides, strict=True):
            weight = share @ (place[:, None] == np.arange(len(low)))  # of all boxes with one pair of ends together
            by_mean.append((weight * d_mean).sum(axis=1))
            by_variance.append((weight * d_variance).sum(axis=1))
        return value, np.array(by_mean), np.array(by_variance)
