"""Which of too many trials a model is made of."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from lab.optimise.polytope import Array

BEST = 0.05
"""Share of the chosen that are the best of all; as many again, and so on up to a half, are those nearest to them, whatever they gave: the best of
many noisy ones are lucky ones, and a model of these alone would believe it."""

LOOKED_AT = 4
"""So many times the number that is chosen are looked at for the other half, evenly spread over their order: bounds the time."""


def representative(X: Array, merit: Array, most: int) -> Array:
    """Places of at most `most` trials, in order: half of them around the best, half as far from those and from each other as can be.

    Parameters
    ----------
    X : ndarray, shape (n, d)
    merit : ndarray, shape (n,)
        More is better.
    most : int
    """
    n = len(merit)
    if n <= most:
        return np.arange(n)
    best = np.argsort(-merit, kind="stable")[:max(1, int(BEST * most))]
    near = cdist(X, X[best]).min(axis=1, initial=np.inf)
    chosen = np.argsort(near, kind="stable")[:most // 2]
    rest = np.setdiff1d(np.arange(n), chosen)
    rest = rest[np.unique(np.linspace(0, len(rest) - 1, LOOKED_AT * most).round().astype(int))] if len(rest) > LOOKED_AT * most else rest
    return np.sort(np.concatenate([chosen, rest[_spread(X[rest], cdist(X[rest], X[chosen]).min(axis=1, initial=np.inf), most - len(chosen))]]))


def _spread(X: Array, distance: Array, n: int) -> Array:
    """Places of `n` points, each the farthest from what was chosen before (Gonzalez 1985, doi:10.1016/0304-3975(85)90224-5)."""
    squares, distance = (X * X).sum(axis=1), distance.copy() ** 2
    found = []
    for _ in range(n):
        k = int(np.argmax(distance))
        found.append(k)
        np.minimum(distance, squares + squares[k] - 2.0 * (X @ X[k]), out=distance)
        distance[k] = -np.inf
    return np.array(found, dtype=int)
