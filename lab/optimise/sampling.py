"""Evenly spread points of a domain, in an order that depends on the seed alone.

Scrambled Sobol points (scipy.stats.qmc) are mapped on the free coordinates, and those that break a constraint are
dropped: an affine map keeps what is left even. A sum of fractions is met by the spacings of sorted coordinates, which
are uniform on the simplex (Devroye 1986, Non-Uniform Random Variate Generation, V.2.1). Where almost everything would
be dropped, points come from a hit-and-run walk, or, with whole numbers, from the nearest allowed point. Of constraints that are
not linear see `lab.optimise.allowed`.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
from scipy.optimize import Bounds, milp
from scipy.optimize import LinearConstraint as Rows
from scipy.stats import qmc

from lab.core.errors import OptimizerError
from lab.optimise.allowed import draw_in, search, walk
from lab.optimise.domain import Domain, Points
from lab.optimise.polytope import Array

BLOCK = 256
"""Points drawn at a time; a power of two keeps Sobol points balanced."""

RAREST = 0.004
"""Below this share of allowed points, dropping the others takes too long."""

N_STARTS = 16
"""Points that are drawn in onto constraints that leave little; in many dimensions, where each takes long, a quarter of them."""

ENUMERABLE = 20_000
"""Domains with fewer points than this are searched to the last one."""


class Stream:
    """An endless sequence of points; the k-th one is a function of domain, seed and k.

    Parameters
    ----------
    domain : Domain
    seed : int
    """

    def __init__(self, domain: Domain, seed: int) -> None:
        self._domain, self._seed = domain, seed
        self._sums = _sums(domain)
        n_dims = domain.n_free + len(domain.choices)
        self._sobol = qmc.Sobol(d=max(1, n_dims), scramble=True, rng=np.random.default_rng(seed))
        self._known = Points(np.zeros((0, domain.n_free)), np.zeros((0, len(domain.choices)), dtype=int))
        self._n_blocks = 0
        self._linear: Stream | None = None
        self._everything: Points | None = None
        self._walkers = np.zeros((0, domain.n_free))
        self._method = self._cheapest()

    def points(self, start: int, stop: int) -> Points:
        """Points number `start` to `stop` (not included).

        Raises
        ------
        OptimizerError
            When no allowed point turns up.
        """
        idle = 0
        while len(self._known) < stop:
            fresh = self._next_block()
            idle = 0 if len(fresh) else idle + 1
            if idle > 200:
                raise OptimizerError("no point that keeps all constraints was found; check the constraints on whole numbers, and those that are not linear")
            self._known = Points.join(self._known, fresh)
        return self._known[np.arange(start, stop)]

    def _cheapest(self) -> str:
        """The first method whose points are mostly allowed, tried on points of its own."""
        if self._domain.space.nonlinear:
            self._linear = Stream(Domain(replace(self._domain.space, nonlinear=())), self._seed)
            n_looked_at = 128 if self._linear._method == "nearest" else 4096
            w = self._linear.points(0, n_looked_at).w
            share = self._domain.is_allowed(w).mean()
            if share >= RAREST:
                return "drop"
            self._everything = every_point(self._domain)
            if self._everything is not None:
                return "listed"
            self._walkers = _first_allowed(self._domain, w, np.random.default_rng(self._seed))
            return "among"
        trial = qmc.Sobol(d=max(1, self._sobol.d), scramble=True, rng=np.random.default_rng(self._seed)).random(4096)
        for method in (["sums"] if self._sums else []) + ["box"]:
            if self._domain.is_allowed(self._place(method, trial)).mean() >= RAREST:
                return method
        bound = {name for c in self._domain.constraints for name in c.names}
        return "nearest" if any(p.is_integer and p.name in bound for p in self._domain.ranges) else "walk"

    def _next_block(self) -> Points:
        self._n_blocks += 1
        if self._linear is not None:
            return self._next_of(self._linear)
        s = self._sobol.random(BLOCK)
        counts = np.array([len(c.values) for c in self._domain.choices], dtype=int)
        choices = np.minimum((s[:, self._domain.n_free:self._domain.n_free + len(counts)] * counts).astype(int), counts - 1)
        if self._method == "walk":
            rng = np.random.default_rng([self._seed, self._n_blocks])
            w = rng.permutation(self._domain.polytope.walk(rng, BLOCK, self._domain.polytope.centre()))
            whole = self._domain.is_integer[self._domain.polytope.free]
            return Points(np.where(whole, self._place("box", s), w), choices)
        if self._method == "nearest":
            w = np.array([self._nearest(row) for row in self._place("box", s[:16])]).reshape(-1, self._domain.n_free)
            allowed = self._domain.is_allowed(w)
            return Points(w[allowed], choices[:16][allowed])
        w = self._place(self._method, s)
        allowed = self._domain.is_allowed(w)
        return Points(w[allowed], choices[allowed])

    def _next_of(self, linear: Stream) -> Points:
        """Those of the next points under the linear constraints that keep the others, or, where these are too few, points of the walk among them."""
        points = linear.points((self._n_blocks - 1) * BLOCK, self._n_blocks * BLOCK)
        if self._method == "drop":
            return points[self._domain.is_allowed(points.w)]
        rng = np.random.default_rng([self._seed, self._n_blocks])
        if self._everything is not None:
            return self._everything[rng.permutation(len(self._everything))[:BLOCK]]
        if not len(self._walkers):
            return points[:0]
        n_steps = 4 + self._domain.n_free // 2
        if self._n_blocks == 1:
            self._walkers = self._walkers[rng.integers(len(self._walkers), size=BLOCK)]
            n_steps += 20 + 2 * self._domain.n_free
        self._walkers = walk(self._domain, self._walkers, n_steps, rng)
        return Points(self._walkers[rng.permutation(BLOCK)], points.choices)

    def _place(self, method: str, s: Array) -> Array:
        """Free coordinates for points of the unit cube; whole numbers get equal shares of it."""
        domain, polytope = self._domain, self._domain.polytope
        s = s[:, :domain.n_free]
        w = polytope.low + s * (polytope.high - polytope.low)
        if method == "sums":
            place = {int(i): k for k, i in enumerate(polytope.free)}
            for members, total in self._sums:
                inner = [place[i] for i in members if i in place]
                cuts = np.sort(s[:, inner], axis=1)
                shares = np.diff(cuts, axis=1, prepend=0.0, append=1.0) * total
                for column, i in enumerate(members):
                    if i in place:
                        w[:, place[i]] = shares[:, column] / (domain.high[i] - domain.low[i])
        return self._whole(w, s)

    def _whole(self, w: Array, s: Array) -> Array:
        """Whole numbers with equal shares of the cube (of its logarithm, where that is their scale)."""
        domain, free = self._domain, self._domain.polytope.free
        for k, i in enumerate(free):
            if not domain.is_integer[i]:
                continue
            low, high = domain.low[i], domain.high[i]
            if domain.is_log_in_u[i]:
                number = (low - 0.5) * ((high + 0.5) / (low - 0.5)) ** s[:, k]
                w[:, k] = np.log(np.clip(np.rint(number), low, high) / low) / np.log(high / low)
            else:
                first = np.ceil(low + self._domain.polytope.low[k] * (high - low) - 1e-9)
                last = np.floor(low + self._domain.polytope.high[k] * (high - low) + 1e-9)
                number = np.minimum(first + np.floor(s[:, k] * (last - first + 1)), last)
                w[:, k] = (number - low) / (high - low)
        return w

    def _nearest(self, w: Array) -> Array:
        """The allowed point nearest to `w` (sum of absolute differences in `u`), by a mixed-integer program."""
        domain = self._domain
        d = len(domain.ranges)
        target = domain.natural(domain.polytope.expand(w[None, :]))[0]
        width = domain.high - domain.low
        cost = np.concatenate([np.zeros(d), 1.0 / width])
        (A_ub, b_ub), (A_eq, b_eq) = (domain.rows(lambda c: c.operator != "=="), domain.rows(lambda c: c.operator == "=="))
        rows = [Rows(np.hstack([A / width, np.zeros_like(A)]), lo + A @ (domain.low / width), hi + A @ (domain.low / width))
                for A, lo, hi in ((A_ub, np.full(len(b_ub), -np.inf), b_ub), (A_eq, b_eq, b_eq)) if len(A)]
        far = [Rows(np.hstack([np.eye(d), -np.eye(d)]), -np.inf, target), Rows(np.hstack([np.eye(d), np.eye(d)]), target, np.inf)]
        found = milp(cost, constraints=[*rows, *far], integrality=np.concatenate([domain.is_integer, np.zeros(d)]),
                     bounds=Bounds(np.concatenate([domain.low, np.zeros(d)]), np.concatenate([domain.high, np.full(d, np.inf)])))
        if found.x is None:
            raise OptimizerError("the constraints cannot be met with whole numbers")
        return domain.unit(found.x[None, :d])[0, domain.polytope.free]


def some_allowed(domain: Domain) -> Array:
    """Free coordinates of some points that keep everything, shape (k, f); none where none was found."""
    everything = every_point(domain)
    if everything is not None:
        return everything.w
    linear = Stream(Domain(replace(domain.space, nonlinear=())), 0)
    w = linear.points(0, 128 if linear._method == "nearest" else 4096).w
    allowed = domain.is_allowed(w)
    return w[allowed] if allowed.any() else _first_allowed(domain, w, np.random.default_rng(0))


def _first_allowed(domain: Domain, w: Array, rng: np.random.Generator) -> Array:
    """Allowed points, shape (k, f), found from `w`, which keep the linear constraints; the ways to look grow more expensive."""
    w = np.vstack([w[domain.is_allowed(w)], w])[:max(N_STARTS // 4, min(N_STARTS, 16 * N_STARTS // max(1, domain.n_free)))]
    found = draw_in(domain, w)
    if len(found):
        return found
    return search(domain, w, rng)


def every_point(domain: Domain) -> Points | None:
    """All points of a small finite domain; None for any other."""
    if domain.n_points > ENUMERABLE:
        return None
    free = domain.polytope.free
    numbers = _combinations([np.arange(domain.low[i], domain.high[i] + 1) for i in free])
    natural = np.tile(domain.low, (len(numbers), 1))
    natural[:, free] = numbers
    w = domain.unit(natural)[:, free]
    w = w[domain.is_allowed(w)]
    picks = _combinations([np.arange(len(c.values)) for c in domain.choices]).astype(int)
    return Points(np.repeat(w, len(picks), axis=0), np.tile(picks, (len(w), 1)))


def _combinations(levels: list[Array]) -> Array:
    """Every way to take one of each: shape (n, len(levels))."""
    taken = list(product(*levels))
    return np.array(taken, dtype=float).reshape(len(taken), len(levels))


def _sums(domain: Domain) -> list[tuple[list[int], float]]:
    """Sums of fractions among the constraints: their members and what is left of the sum above the lower bounds."""
    index = {p.name: i for i, p in enumerate(domain.ranges)}
    equal = [c for c in domain.constraints if c.operator == "=="]
    found = []
    for c in equal:
        members = [index[name] for name in c.names]
        alone = not any(set(c.names) & set(other.names) for other in equal if other is not c)
        solved = set(members) - set(domain.polytope.free.tolist())
        like = len({coefficient for _, coefficient in c.coefficients}) == 1
        if alone and like and len(members) > 1 and len(solved) == 1 and not domain.is_integer[members].any():
            found.append((members, c.bound / c.coefficients[0][1] - float(domain.low[members].sum())))
    return found
