"""A laboratory that changes with time: what is added to every outcome, as a path over the campaign's hours.

A lamp that ages or a stock that thins out shifts all outcomes alike, whatever the point. So the path is added to the function of the
point and does not multiply its kernel, where time that goes by would make everything that was measured before irrelevant. It is made of straight pieces whose steps are
independent of each other, as those of a random walk; how large they are is told by reference samples above all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lab.optimise.gaussian import Basis, Trend
from lab.optimise.polytope import Array

N_PIECES = 16
"""Pieces of the path, over the unit of time (`lab.optimise.study`): at least eight in the time that has gone by."""

SLIGHT = 1e-3
"""What the column of time holds at the end of the unit of time: so little that the kernel, whose length scales are longer, does not see it."""

DEVIATION = 1.0
"""Of the path at the end of the unit of time, in units of the outcomes' own standard deviation."""


@dataclass(frozen=True)
class Path:
    """Functions of one column: each rises from 0 to 1 in one piece and stays there (`lab.optimise.gaussian.Basis`).

    Parameters
    ----------
    column : int
        Of the model coordinates: time, 0..`SLIGHT`.
    """

    column: int

    def values(self, x: Array) -> Array:
        """See `Basis`."""
        return np.clip(x[:, [self.column]] * (N_PIECES / SLIGHT) - np.arange(N_PIECES), 0.0, 1.0)

    def slopes(self, x: Array) -> tuple[Array, Array]:
        """See `Basis`."""
        values = self.values(x[None, :])[0]
        gradients = np.zeros((N_PIECES, len(x)))
        gradients[:, self.column] = np.where((values > 0.0) & (values < 1.0), N_PIECES / SLIGHT, 0.0)
        return values, gradients


@dataclass(frozen=True)
class _Beside:
    """Several sets of functions as one."""

    parts: Sequence[Basis]

    def values(self, x: Array) -> Array:
        return np.hstack([part.values(x) for part in self.parts])

    def slopes(self, x: Array) -> tuple[Array, Array]:
        found = [part.slopes(x) for part in self.parts]
        return np.concatenate([values for values, _ in found]), np.vstack([gradients for _, gradients in found])


def drifting(trend: Trend | None, column: int) -> Trend:
    """A trend, or none, and a path over time besides.

    Parameters
    ----------
    column : int
        The model column that holds time.
    """
    path = Trend(Path(column), np.zeros(N_PIECES), np.full(N_PIECES, DEVIATION / np.sqrt(N_PIECES)))
    if trend is None:
        return path
    return Trend(_Beside((trend.basis, path.basis)), np.concatenate([trend.weight, path.weight]), np.concatenate([trend.deviation, path.deviation]))
