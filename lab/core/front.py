"""Several objectives at once: which points no other one beats, and how much they dominate together.

All arrays are merits: in every column up is better.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

MOST_BOXES = 128
"""Boxes into which what is not dominated is cut at most: how much is expected of a point costs as many terms."""

MARGIN = 0.1
"""How far an inferred reference point lies beyond the worst of the front, relative to the front's extent (Ishibuchi,
Akedo and Nojima 2011, doi:10.1145/2001576.2001678)."""


def is_in_front(merits: Array) -> Array:
    """Which points are beaten by no other one: as good in all columns and better in one.

    Parameters
    ----------
    merits : ndarray, shape (n, m)

    Returns
    -------
    ndarray of bool, shape (n,)
        Of points that are alike, all or none.
    """
    n = len(merits)
    stays = np.ones(n, dtype=bool)
    for k in np.argsort(-merits.sum(axis=1), kind="stable"):  # a point with a larger sum is never dominated by one with a smaller
        if stays[k]:
            stays &= ~((merits <= merits[k]).all(axis=1) & (merits < merits[k]).any(axis=1))
    return stays


def inferred_reference(merits: Array) -> Array:
    """Where the hypervolume of a front may begin: beyond its worst in each column by a tenth of its extent.

    Where a column of the front has no extent (a single point), that of all points counts.

    Parameters
    ----------
    merits : ndarray, shape (n, m)
        At least one point.

    Returns
    -------
    ndarray, shape (m,)
    """
    front = merits[is_in_front(merits)]
    worst, extent = front.min(axis=0), np.ptp(front, axis=0)
    extent = np.where(extent > 0.0, extent, np.ptp(merits, axis=0))
    return worst - MARGIN * np.where(extent > 0.0, extent, np.maximum(np.abs(worst), 1e-3))


class Corners:
    """The corners of what a growing set of points leaves undominated, and the points that define each.

    Everything that is not dominated lies above one of the corners in all columns. Klamroth, Lacour and Vanderpooten 2015,
    doi:10.1016/j.ejor.2015.03.031, algorithm 3, with up for down.

    Parameters
    ----------
    reference : ndarray, shape (m,)
    """

    def __init__(self, reference: Array) -> None:
        m = len(reference)
        self._reference = reference
        self._corners = reference[None, :].astype(float)
        self._by = np.where(np.eye(m, dtype=bool), reference, np.inf)[None, :, :]

    def add(self, point: Array) -> None:
        """One more point, shape (m,), dominates what is below it."""
        hit = (point > self._corners).all(axis=1)
        if not hit.any():
            return
        corners, by = [self._corners[~hit]], [self._by[~hit]]
        for j in range(len(point)):
            others = np.delete(self._by[hit], j, axis=1)[:, :, j].min(axis=1)
            moved = point[j] <= others  # of points that are alike in a column, too: boxes without volume are left out below
            new, new_by = self._corners[hit][moved].copy(), self._by[hit][moved].copy()
            new[:, j], new_by[:, j, :] = point[j], point
            corners.append(new)
            by.append(new_by)
        self._corners, self._by = np.concatenate(corners), np.concatenate(by)

    def boxes(self) -> tuple[Array, Array]:
        """What is not dominated, as boxes that do not overlap: lower and upper ends, shapes (k, m).

        A line along the first column enters what is dominated at one corner: so each corner has a box that is open upwards there,
        and that is bounded in every other column by the points that define the corner in the columns before (Lacour, Klamroth
        and Fonseca 2017, doi:10.1016/j.cor.2016.09.008, proposition 3.3).
        """
        lower, upper = self._corners, np.full_like(self._corners, np.inf)
        for j in range(1, lower.shape[1]):
            upper[:, j] = self._by[:, :j, j].min(axis=1)
        is_something = (upper > lower).all(axis=1)
        return lower[is_something], upper[is_something]

    def volume(self) -> float:
        """What is dominated: on each of those lines, from the reference to the corner."""
        lower, upper = self.boxes()
        depth = lower[:, 0] - self._reference[0]
        inside = depth > 0.0  # boxes that are open in another column too stand on the reference: nothing below them is dominated
        return float((depth[inside] * (upper - lower)[inside, 1:].prod(axis=1)).sum())


def boxes(points: Array, reference: Array) -> tuple[Array, Array, int]:
    """What is above a reference point and not dominated, cut into at most `MOST_BOXES` boxes.

    Parameters
    ----------
    points : ndarray, shape (n, m)
    reference : ndarray, shape (m,)

    Returns
    -------
    lower, upper : ndarray, shape (k, m)
        Disjoint; `upper` may be infinite.
    n_left_out : int
        Points of the front that did not count, since the boxes would have been too many: those that add least.
    """
    front = distinct_front(points, reference)
    corners = Corners(reference)
    for point in front:
        corners.add(point)
    lower, upper = corners.boxes()
    if len(lower) <= MOST_BOXES:
        return lower, upper, 0
    corners = Corners(reference)
    lower, upper = corners.boxes()
    for n_used in range(len(front)):
        corners.add(front[int(np.argmax(gains(front, lower, upper)))])
        more, higher = corners.boxes()
        if len(more) > MOST_BOXES:
            return lower, upper, len(front) - n_used
        lower, upper = more, higher
    return lower, upper, 0


def by_gain(points: Array, reference: Array, most: int) -> list[int]:
    """Places of the point that dominates most, of the one that adds most to it, and so on; at most `most`, and only while something is added."""
    corners, chosen = Corners(reference), list[int]()
    while len(chosen) < most:
        gain = gains(points, *corners.boxes())
        if not gain.max(initial=0.0) > 0.0:
            break
        chosen.append(int(np.argmax(gain)))
        corners.add(points[chosen[-1]])
    return chosen


def gains(points: Array, lower: Array, upper: Array) -> Array:
    """Volume that each point, shape (n, m), would add to what is dominated, given the boxes of what is not; shape (n,)."""
    return np.asarray(np.maximum(np.minimum(points[:, None, :], upper) - lower, 0.0).prod(axis=2).sum(axis=1))


def distinct_front(points: Array, reference: Array) -> Array:
    """The points of the front that are above the reference in every column, each once, shape (k, m)."""
    above = points[(points > reference).all(axis=1)]
    return np.unique(above[is_in_front(above)], axis=0)


def compromise(points: Array, reference: Array) -> Array:
    """Share of what is above the reference that each point dominates by itself, shape (n,).

    Of points that are not above it in every column, minus how far below it they are at most. Each column counts in units of its largest
    distance from the reference.
    """
    over = points - reference
    size = np.abs(over).max(axis=0, initial=0.0)
    over = over / np.where(size > 0.0, size, 1.0)
    return np.where((over > 0.0).all(axis=1), over.prod(axis=1), np.minimum(over, 0.0).min(axis=1))


def hypervolume(points: Array, reference: Array) -> float:
    """Volume that points dominate above the reference, in the product of the columns' units.

    Parameters
    ----------
    points : ndarray, shape (n, m)
    reference : ndarray, shape (m,)
    """
    corners = Corners(reference)
    for point in distinct_front(points, reference):
        corners.add(point)
    return corners.volume()
