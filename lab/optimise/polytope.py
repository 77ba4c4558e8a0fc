"""The polytope that linear constraints leave of the unit cube, in the coordinates that remain free.

Equalities are solved for, once, by Gaussian elimination: a point is ``u = offset + basis @ w`` with `w` the *free*
coordinates, so that every equality holds by construction, and only inequalities ``rows @ w <= limits`` are left to
check. Inequalities that can only hold with equality (``a + b <= 1`` beside ``a + b >= 1``) would leave a body without
volume; they are found by linear programs and solved for as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

Array = np.ndarray

TOUCH = 1e-12
"""How far outside a face a point may lie by rounding, in unit-cube coordinates."""

FLAT = 1e-7
"""A body thinner than this, in unit-cube coordinates, is flat: an equality is meant. The accuracy of the linear programs."""


@dataclass(frozen=True)
class Polytope:
    """``{u = offset + basis @ w : rows @ w <= limits, low <= w <= high}``, inside the unit cube.

    Parameters
    ----------
    free : ndarray of int, shape (f,)
        Which of the `d` coordinates are free; ``w = u[free]``.
    offset, basis : ndarray, shapes (d,) and (d, f)
    rows, limits : ndarray, shapes (k, f) and (k,)
        Inequalities in `w`, rows of length 1. The box is not among them.
    low, high : ndarray, shape (f,)
        The smallest box around the polytope.
    """

    free: Array
    offset: Array
    basis: Array
    rows: Array
    limits: Array
    low: Array
    high: Array

    def expand(self, W: Array) -> Array:
        """All coordinates of free ones: shape (n, f) -> (n, d)."""
        return self.offset + W @ self.basis.T

    def contains(self, W: Array, tolerance: float = TOUCH) -> Array:
        """Which of `W`, shape (n, f), lie inside: bool, shape (n,)."""
        in_box = ((self.low - tolerance <= W) & (self.high + tolerance >= W)).all(axis=1)
        excess = W @ self.rows.T - self.limits
        return in_box & (excess <= tolerance).all(axis=1)

    def pull_in(self, start: Array, W: Array, sweeps: int = 8) -> Array:
        """Points of the polytope near `W`.

        Parameters
        ----------
        start : ndarray, shape (n, f)
            Inside; where a step began.
        W : ndarray, shape (n, f)
            Where it would lead.

        Returns
        -------
        ndarray, shape (n, f)
            Projected in turn on every face that is violated, so that a step against a face slides along it; what is
            then still outside is drawn back towards `start`.
        """
        W = np.clip(W, self.low, self.high)
        if not len(self.rows):
            return W
        for _ in range(sweeps):
            for row, limit in zip(self.rows, self.limits, strict=True):
                W = W - np.maximum(W @ row - limit, 0.0)[:, None] * row
            W = np.clip(W, self.low, self.high)
        step = W - start
        rise = step @ self.rows.T
        room = np.maximum(self.limits - start @ self.rows.T, 0.0)
        reach = np.where(rise > room, room / np.where(rise > room, rise, 1.0), 1.0).min(axis=1)
        return start + reach[:, None] * step

    def give_way(self, W: Array, moving: Array, sweeps: int = 8) -> Array:
        """`W`, shape (n, f), projected in turn on every face that is violated, changing only what is `moving`, bool, shape (f,).

        Some may still be outside: where what moves cannot make up for what does not.
        """
        rows = self.rows * moving
        length = (rows * rows).sum(axis=1)
        for _ in range(sweeps if length.any() else 0):
            for row, across, limit, square in zip(self.rows, rows, self.limits, length, strict=True):
                if square > 0.0:
                    W = W - (np.maximum(W @ row - limit, 0.0) / square)[:, None] * across
            W = np.where(moving, np.clip(W, self.low, self.high), W)
        return W

    def reach(self, W: Array, direction: Array) -> tuple[Array, Array]:
        """How far a line can be followed from points `W` inside, backwards (at most 0) and forwards, in lengths of `direction`.

        Parameters
        ----------
        W, direction : ndarray, shapes (n, f)

        Returns
        -------
        behind, ahead : ndarray, shapes (n,)
        """
        return _reach(W, direction, *self._faces)

    @property
    def _faces(self) -> tuple[Array, Array]:
        """All faces, those of the box with the others."""
        n_free = len(self.free)
        return np.vstack([self.rows, np.eye(n_free), -np.eye(n_free)]), np.concatenate([self.limits, self.high, -self.low])

    def walk(self, rng: np.random.Generator, n: int, start: Array) -> Array:
        """Points spread evenly over the polytope by hit-and-run (Smith 1984, doi:10.1287/opre.32.6.1296).

        Parameters
        ----------
        n : int
            Number of points, from as many as 256 chains.
        start : ndarray, shape (f,)
            A point well inside.

        Returns
        -------
        ndarray, shape (n, f)
        """
        n_free = len(self.free)
        n_chains = min(n, 256)
        W = np.repeat(start[None, :], n_chains, axis=0)
        burn_in, thinning = 20 + 20 * n_free, 4 + 2 * n_free
        faces, bounds = self._faces
        kept: list[Array] = []
        step = 0
        while len(kept) * n_chains < n:
            direction = rng.standard_normal(W.shape)
            direction /= np.linalg.norm(direction, axis=1, keepdims=True)
            behind, ahead = _reach(W, direction, faces, bounds)
            W = W + (behind + rng.random(n_chains) * (ahead - behind))[:, None] * direction
            step += 1
            if step >= burn_in and (step - burn_in) % thinning == 0:
                kept.append(W)
        return np.vstack(kept)[:n]

    def centre(self) -> Array:
        """Centre of the largest ball inside, shape (f,)."""
        n_free = len(self.free)
        faces, bounds = self._faces
        widest = _program(np.append(np.zeros(n_free), -1.0), np.hstack([faces, np.ones((len(faces), 1))]), bounds,
                          np.zeros((0, n_free + 1)), np.zeros(0), [(None, None)] * n_free + [(0.0, None)])
        return np.clip(widest[:n_free], self.low, self.high)


def _reach(W: Array, direction: Array, faces: Array, bounds: Array) -> tuple[Array, Array]:
    rate, room = direction @ faces.T, np.maximum(bounds - W @ faces.T, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = room / rate
    return np.where(rate < -1e-12, ratio, -np.inf).max(axis=1), np.where(rate > 1e-12, ratio, np.inf).min(axis=1)


def build(A_ub: Array, b_ub: Array, A_eq: Array, b_eq: Array, keep_free: Array) -> Polytope:
    """The part of the unit cube where ``A_ub @ u <= b_ub`` and ``A_eq @ u == b_eq``.

    Parameters
    ----------
    A_ub, b_ub, A_eq, b_eq : ndarray, shapes (k, d), (k,), (l, d), (l,)
    keep_free : ndarray of bool, shape (d,)
        Coordinates that are solved for only when no other is left (whole numbers).

    Raises
    ------
    ValueError
        When there is no such point.
    """
    d = len(keep_free)
    faces = np.vstack([A_ub, np.eye(d), -np.eye(d)])
    bounds = np.concatenate([b_ub, np.ones(d), np.zeros(d)])
    tight = np.zeros(len(faces), dtype=bool)
    if len(A_ub) or len(A_eq):
        for k, face in enumerate(faces):
            deepest = _program(face, A_ub, b_ub, A_eq, b_eq, [(0.0, 1.0)] * d)
            tight[k] = bounds[k] - face @ deepest <= FLAT
    free, offset, basis = _solve(np.vstack([A_eq, faces[tight]]), np.concatenate([b_eq, bounds[tight]]), keep_free)
    rows, limits = faces[~tight] @ basis, bounds[~tight] - faces[~tight] @ offset
    length = np.linalg.norm(rows, axis=1)
    is_box = (np.abs(rows) > 1e-12).sum(axis=1) <= 1
    rows, limits = rows[~is_box] / length[~is_box, None], limits[~is_box] / length[~is_box]
    low, high = _box(faces[~tight] @ basis, bounds[~tight] - faces[~tight] @ offset, len(free))
    return Polytope(free, offset, basis, rows, limits, low, high)


def _program(cost: Array, A_ub: Array, b_ub: Array, A_eq: Array, b_eq: Array, bounds: list[tuple[float | None, float | None]]) -> Array:
    """Argument of the smallest `cost`."""
    found = linprog(cost, A_ub=A_ub if len(A_ub) else None, b_ub=b_ub if len(A_ub) else None,
                    A_eq=A_eq if len(A_eq) else None, b_eq=b_eq if len(A_eq) else None, bounds=bounds, method="highs")
    if found.x is None:
        raise ValueError(f"the constraints cannot be met together ({found.message})")
    return np.asarray(found.x, dtype=float)


def _solve(A: Array, b: Array, keep_free: Array) -> tuple[Array, Array, Array]:
    """Solve ``A @ u == b`` for as many coordinates as it has independent rows."""
    d = len(keep_free)
    A, b = A.astype(float).copy(), b.astype(float).copy()
    pivots: dict[int, int] = {}
    used = np.zeros(len(A), dtype=bool)
    while not used.all():
        weight = np.abs(A) * ~used[:, None]
        weight[weight < 1e-9] = 0.0
        if weight[:, ~keep_free].max(initial=0.0) > 0.0:
            weight[:, keep_free] = 0.0
        if weight.max(initial=0.0) == 0.0:
            break
        row, column = divmod(int(weight.argmax()), d)
        b[row] /= A[row, column]
        A[row] /= A[row, column]
        for other in range(len(A)):
            if other != row and A[other, column] != 0.0:
                b[other] -= A[other, column] * b[row]
                A[other] -= A[other, column] * A[row]
        used[row] = True
        pivots[row] = column
    if np.abs(b[~used]).max(initial=0.0) > 1e-7:
        raise ValueError("the equality constraints contradict each other")
    free = np.array([i for i in range(d) if i not in pivots.values()], dtype=int)
    offset, basis = np.zeros(d), np.zeros((d, len(free)))
    basis[free, np.arange(len(free))] = 1.0
    for row, column in pivots.items():
        offset[column], basis[column] = b[row], -A[row, free]
    return free, offset, basis


def _box(rows: Array, limits: Array, n_free: int) -> tuple[Array, Array]:
    """Smallest box around ``rows @ w <= limits``."""
    low, high = np.zeros(n_free), np.ones(n_free)
    if not (np.abs(rows) > 1e-12).sum(axis=1).max(initial=0) > 1:
        for row, limit in zip(rows, limits, strict=True):
            for i in np.flatnonzero(np.abs(row) > 1e-12).tolist():
                if row[i] > 0:
                    high[i] = min(high[i], limit / row[i])
                else:
                    low[i] = max(low[i], limit / row[i])
        return low, high
    none = np.zeros((0, n_free)), np.zeros(0)
    for i in range(n_free):
        axis = np.eye(n_free)[i]
        low[i] = _program(axis, rows, limits, *none, [(None, None)] * n_free)[i]
        high[i] = _program(-axis, rows, limits, *none, [(None, None)] * n_free)[i]
    return np.maximum(low, 0.0), np.minimum(high, 1.0)
