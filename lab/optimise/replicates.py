"""Samples of the same point as one observation: exact, and cheaper by the cube of how many they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lab.optimise.gaussian import Data
from lab.optimise.polytope import Array


@dataclass(frozen=True)
class Alike:
    """Which samples are of the same point.

    Parameters
    ----------
    first : ndarray of int, shape (k,)
        The first sample of each group, in order.
    group : ndarray of int, shape (n,)
        The group of each sample.
    """

    first: Array
    group: Array

    @property
    def is_trivial(self) -> bool:
        """Whether no two are alike."""
        return len(self.first) == len(self.group)


def alike(X: Array, is_told: Array) -> Alike:
    """Groups of samples that have the same point to the last bit, and told standard errors of the same outcomes.

    Parameters
    ----------
    X : ndarray, shape (n, d)
    is_told : ndarray of bool, shape (n, m)
    """
    place: dict[bytes, int] = {}
    first: list[int] = []
    group = np.empty(len(X), dtype=int)
    for k, row in enumerate(np.hstack([X, is_told]) + 0.0):  # + 0.0: minus zero is zero
        key = row.tobytes()
        if key not in place:
            place[key] = len(first)
            first.append(k)
        group[k] = place[key]
    return Alike(np.array(first, dtype=int), group)


def merged(data: Data, which: Alike) -> Data:
    """One observation for each group.

    Where errors were told, the mean with weights of one over their squares; should the samples scatter more than they were told to, its error is
    larger by as much (Birge 1932, doi:10.1103/PhysRev.40.207). Where none were, the plain mean of k with a k-th of the learned variance, and how
    they scatter about it goes into `Data.within`: together they have the likelihood of the single samples, to a constant.
    """
    if which.is_trivial:
        return data
    share, told = data.shares, data.told
    weight = np.where(share > 0.0, 1.0, 1.0 / np.where(told > 0.0, told, 1.0))
    total = np.bincount(which.group, weight)
    count = np.bincount(which.group)
    mean = np.bincount(which.group, weight * data.y) / total
    squares = np.bincount(which.group, weight * (data.y - mean[which.group]) ** 2)
    is_told = share[which.first] == 0.0
    excess = np.maximum(1.0, squares / np.maximum(count - 1, 1))
    within = (float((count - 1)[~is_told].sum()), float(squares[~is_told].sum()))
    stretch = None if data.stretch is None else np.bincount(which.group, data.stretch)
    return Data(data.X[which.first], mean, np.where(is_told, excess / total, 0.0), data.groups, np.where(is_told, 0.0, 1.0 / count), within, data.trend, stretch)
