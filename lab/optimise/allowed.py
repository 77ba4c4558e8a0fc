"""Points that keep constraints which are not linear: finding the first ones, and walking among them.

Where such constraints leave a fair share of the linear part, points that break them are simply dropped (`lab.optimise.sampling`). Where
they leave little, some points are drawn in onto them one by one, and others are reached from there by a walk that never leaves.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import Bounds, minimize

from lab.optimise.domain import Domain
from lab.optimise.polytope import Array

MARGIN = 1e-8
"""How far inside a constraint the drawing in aims, in units of its spread over the box: at its edge, rounding would decide."""

N_STEPS = 60
"""Most steps of drawing one point in."""

N_TRIES = 300
"""Rounds of the search by chance, where drawing in finds nothing."""

N_SHRINKS = 30
"""How often a step of the walk is shortened before it is given up."""


def draw_in(domain: Domain, w: Array) -> Array:
    """Allowed points near `w`, shape (n, f): each is projected on the constraints; those that fail are left out, shape (k, f).

    Whole numbers are first treated as any, then rounded, and what is continuous is projected once more.
    """
    found = []
    whole = domain.is_integer[domain.polytope.free]
    for start in w:
        end = _project(domain, start, np.ones(len(whole), dtype=bool))
        if whole.any():
            end = domain.snap(end[None, :])[0]
            if not whole.all():
                end = _project(domain, end, ~whole)
        if domain.is_allowed(end[None, :])[0]:
            found.append(end)
    return np.array(found).reshape(len(found), domain.n_free)


def search(domain: Domain, w: Array, rng: np.random.Generator) -> Array:
    """Allowed points reached from `w`, shape (n, f), which keep the linear constraints, by steps that lessen the largest violation.

    Slow and without a gradient: for whole numbers, and expressions with kinks.
    """
    w = w.copy()
    worst = _violation(domain, w)
    for k in range(N_TRIES):
        if (worst <= 0.0).sum() >= min(len(w), 8):
            break
        tries = domain.snap(_step(domain, w, 0.5 * 0.97 ** k, rng))
        strain = _violation(domain, tries)
        better = strain < worst
        w[better], worst[better] = tries[better], strain[better]
    return w[domain.is_allowed(w)]


def walk(domain: Domain, w: Array, n_steps: int, rng: np.random.Generator) -> Array:
    """Where `n_steps` random steps lead from allowed points `w`, shape (n, f): to allowed points, in the long run evenly spread.

    Hit-and-run over what is continuous: a place on the line through the point, drawn anew nearer to the point until it is
    allowed (Neal 2003, doi:10.1214/aos/1056562461, 4.1: shrinkage). Whole numbers take steps of 1, 2, 4, ... that are taken back
    where they are not allowed.
    """
    whole = domain.is_integer[domain.polytope.free]
    for _ in range(n_steps):
        if not whole.all():
            w = _slide(domain, w, ~whole, rng)
        if whole.any():
            moved = domain.snap(w + _whole_step(domain, len(w), rng))
            allowed = domain.is_allowed(moved)
            w = np.where(allowed[:, None], moved, w)
    return w


def _slide(domain: Domain, w: Array, moving: Array, rng: np.random.Generator) -> Array:
    direction = rng.standard_normal(w.shape) * moving
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    behind, ahead = domain.polytope.reach(w, direction)
    result, is_open = w.copy(), np.ones(len(w), dtype=bool)
    for _ in range(N_SHRINKS):
        step = behind + rng.random(len(w)) * (ahead - behind)
        moved = w + step[:, None] * direction
        arrived = is_open & domain.is_allowed(moved)
        result[arrived] = moved[arrived]
        is_open &= ~arrived
        if not is_open.any():
            break
        behind, ahead = np.where(step < 0.0, step, behind), np.where(step < 0.0, ahead, step)
    return result


def _step(domain: Domain, w: Array, length: float, rng: np.random.Generator) -> Array:
    """A random step from each of `w`, inside the linear constraints; whole numbers by whole numbers."""
    whole = domain.is_integer[domain.polytope.free]
    sparse = rng.random(w.shape) < rng.choice([0.3, 1.0], size=(len(w), 1))
    moved = w + length * rng.standard_normal(w.shape) * sparse + _whole_step(domain, len(w), rng) * whole
    return domain.polytope.pull_in(w, moved)


def _whole_step(domain: Domain, n: int, rng: np.random.Generator) -> Array:
    """For each of `n` points, one whole number up or down by a power of two, shape (n, f)."""
    free = domain.polytope.free
    places = np.flatnonzero(domain.is_integer[free])
    step = np.zeros((n, len(free)))
    if not len(places):
        return step
    width = (domain.high - domain.low)[free]
    for k, place in enumerate(rng.choice(places, size=n)):
        largest = int(np.log2(max(width[place], 1.0))) + 1
        step[k, place] = rng.choice([-1.0, 1.0]) * 2.0 ** rng.integers(largest) / width[place]
    return step


def _violation(domain: Domain, w: Array) -> Array:
    """The largest violation of each point, shape (n,), in units of the constraints' spread; infinite where the linear ones are broken."""
    excess = domain.excess(domain.natural(domain.polytope.expand(w))) / domain.spread
    worst = np.where(np.isnan(excess), np.inf, excess).max(axis=1, initial=0.0)
    return np.where(domain.keeps_linear(w), worst, np.inf)


def _project(domain: Domain, start: Array, moving: Array) -> Array:
    """The nearest point to `start`, shape (f,), that keeps everything, changing only what is `moving`; where the search ended, if none."""
    polytope = domain.polytope
    w, basis = start.copy(), polytope.basis[:, moving]
    rows = polytope.rows[:, moving]
    room = polytope.limits - polytope.rows[:, ~moving] @ start[~moving]

    def natural(v: Array) -> Array:
        w[moving] = v
        return domain.unrounded(polytope.expand(w[None, :]))[0]

    def within(v: Array) -> Array:
        excess = domain.excess(natural(v)[None, :])[0] / domain.spread
        return np.concatenate([room - rows @ v, -MARGIN - np.where(np.isnan(excess), 1e3, excess)])

    def slopes(v: Array) -> Array:
        by_u = domain.excess_slope(natural(v)) / domain.spread[:, None]
        return np.vstack([-rows, -np.where(np.isnan(by_u), 0.0, by_u) @ basis])

    first = start[moving]
    found = minimize(lambda v: (0.5 * float((v - first) @ (v - first)), v - first), first, jac=True, method="SLSQP",
                     bounds=Bounds(polytope.low[moving], polytope.high[moving]),
                     constraints={"type": "ineq", "fun": within, "jac": slopes}, options={"maxiter": N_STEPS, "ftol": 1e-10})
    end = np.asarray(found.x, dtype=float)
    w[moving] = end if np.isfinite(end).all() else first
    return w
