"""Which parameters matter: shares of the variance of what a model expects, over the search space.

Length scales do not say it: a parameter with a short one may move the outcome little, and those of several choices or of fractions that
sum to one cannot be compared at all.

Where every parameter can be changed alone, the shares are Sobol indices: ``first``, what a parameter explains alone (Saltelli et al.
2010, doi:10.1016/j.cpc.2009.09.018, table 2b), and ``whole``, with all its interactions (Jansen 1999, doi:10.1016/S0010-4655(98)00154-4).
Under constraints, or in a pool, parameters depend on each other (one fraction is what the others leave), and an index of one of them
is no property of it. There, ``whole`` is its Shapley effect: what it adds to the explained variance, averaged over the orders in which
parameters may become known; they sum to 1 (Owen 2014, doi:10.1137/130936233; Song, Nelson and Staum 2016, doi:10.1137/15M1048070). Conditional
variances are those between nearest neighbours (Broto, Bachoc and Depecker 2020, doi:10.1137/18M1234631).

The error of each is that of the points, and the standard deviation over functions that the model believes possible, drawn from its
joint distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import comb
from typing import Literal, Protocol

import numpy as np

from lab.optimise.cloud import Cloud, is_choice, names_of, spread
from lab.optimise.domain import Domain, Points
from lab.optimise.gaussian import factor
from lab.optimise.polytope import Array
from lab.optimise.sampling import Stream

N_POINTS = 1024
"""Points of each sample; a power of two keeps Sobol points balanced."""

WORK = 2e7
"""Most covariances between points and trials: bounds the time."""

N_JOINT = 1024
"""Most points of which functions are drawn together: the cost grows as their cube."""

N_DRAWS = 48

N_SUBSETS = 7
"""Up to so many parameters, every set of them is looked at; of more, `N_ORDERS` orders drawn at random."""

N_ORDERS = 24

FEWEST = 6
"""Points of which neighbours tell something."""

FLAT = 1e-10
"""Variance of what is expected, relative to the square of the outcomes' own spread, below which nothing matters."""


class Process(Protocol):
    """A model that knows how its expectations hang together."""

    def means(self, x: Array) -> Array:
        """Expected outcomes, shape (n,), at `x`, shape (n, d)."""
        ...

    def joint(self, x: Array) -> tuple[Array, Array]:
        """Means and covariances, shapes (n,) and (n, n)."""
        ...


@dataclass(frozen=True)
class Effect:
    """How much a parameter matters; shares of the variance, each with its standard error."""

    name: str
    first: float
    first_error: float
    whole: float
    whole_error: float


@dataclass(frozen=True)
class Sensitivities:
    """Effects of all parameters on one outcome, the largest first; none when nothing matters."""

    kind: Literal["sobol", "shapley"]
    effects: tuple[Effect, ...]
    over: str = "the whole space"
    problem: str = "by the model, no parameter makes a difference"

    @property
    def words(self) -> str:
        """What was computed, and what came of it."""
        if not self.effects:
            return self.problem
        told = ", ".join(f"{one.name} {_percent(one.whole)} (± {_percent(one.whole_error)})" for one in self.effects[:4])
        how = "interactions included (total Sobol indices)" if self.kind == "sobol" else "shared fairly, since parameters depend on each other (Shapley effects)"
        return f"share of the variance over {self.over}, {how}: {told}"


def sensitivities(model: Process, domain: Domain, n_trials: int, pool: Cloud | None = None, seed: int = 0) -> Sensitivities:
    """Effects of all parameters on what `model` expects, over the allowed points of `domain` or the candidates of `pool`.

    Parameters
    ----------
    n_trials : int
        Observations of the model, by which the number of points is chosen.
    seed : int
        Of the points and of the functions that are drawn.

    Raises
    ------
    OptimizerError
        When no allowed point turns up.
    """
    rng = np.random.default_rng(seed)
    if pool is None and not domain.space.all_constraints:
        return _sobol(model, domain, n_trials, rng, seed)
    cloud = spread(domain, N_JOINT, seed) if pool is None else pool.some(N_JOINT)
    over = "the points that are allowed" if pool is None else "the candidates"
    if len(cloud) < FEWEST:
        return Sensitivities("shapley", (), over, f"{over} are too few to say what matters")
    return replace(_shapley(model, cloud, rng), over=over)


# ------------------------------------------------------------------------------------------------- Sobol indices


def _sobol(model: Process, domain: Domain, n_trials: int, rng: np.random.Generator, seed: int) -> Sensitivities:
    names = names_of(domain)
    size = N_POINTS
    while size > 64 and size * (len(names) + 2) * max(n_trials, 1) > WORK:
        size //= 2
    x, shape = _samples(domain, size, rng, seed)
    values = model.means(x).reshape(shape)
    indices = _indices(values)
    if indices is None:
        return Sensitivities("sobol", ())
    of_points = _scatter([_indices(values[:, rng.integers(size, size=size)]) for _ in range(N_DRAWS)], indices)
    few = max(16, N_JOINT // (len(names) + 2))
    x, shape = _samples(domain, few, rng, seed)
    draws, mean = _draws(model, x, rng)
    at_few = _indices(mean.reshape(shape))
    of_functions = _scatter([_indices(one.reshape(shape)) for one in draws], indices if at_few is None else at_few)
    return _ranked("sobol", names, indices, np.hypot(of_points, of_functions))


def _samples(domain: Domain, size: int, rng: np.random.Generator, seed: int) -> tuple[Array, tuple[int, int]]:
    """Two samples A and B, and for each parameter A with that one taken from B: shape ((parameters + 2) * size, columns)."""
    both = Stream(domain, seed).points(0, 2 * size)
    # Point k of the second half differs from point k of the first in a fixed way, so that they have to be shuffled.
    A, B = both[np.arange(size)], both[size + rng.permutation(size)]
    parts = [A, B]
    for column in range(A.w.shape[1]):
        w = A.w.copy()
        w[:, column] = B.w[:, column]
        parts.append(Points(w, A.choices))
    for column in range(A.choices.shape[1]):
        choices = A.choices.copy()
        choices[:, column] = B.choices[:, column]
        parts.append(Points(A.w, choices))
    return domain.encode(Points.join(*parts)), (len(parts), size)


def _indices(values: Array) -> Array | None:
    """First-order and total indices, shape (2, p), of values of shape (p + 2, size); None where nothing varies."""
    a, b, mixed = values[0], values[1], values[2:]
    variance, centre = float(values[:2].var()), float(values[:2].mean())
    if not variance > FLAT:
        return None
    return np.array([((b - centre) * (mixed - a)).mean(axis=1), 0.5 * ((a - mixed) ** 2).mean(axis=1)]) / variance


def _scatter(found: Sequence[Array | None], centre: Array) -> Array:
    """Root mean square distance of indices from `centre`, of the same shape."""
    return np.sqrt(np.mean([(one - centre) ** 2 for one in found if one is not None] or [np.zeros_like(centre)], axis=0))


def _draws(model: Process, x: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Functions that the model believes possible, shape (draws, n), and their mean, shape (n,)."""
    mean, covariance = model.joint(x)
    # Where the model knows everything, what is left of the covariance is rounding, and has to be lifted above it.
    lift = 1e-7 * (float(np.diag(covariance).mean()) + float(mean.var())) + 1e-12
    L, _ = factor(covariance + lift * np.eye(len(x)))
    return mean + (L @ rng.standard_normal((len(x), N_DRAWS))).T, mean


# ----------------------------------------------------------------------------------------------- Shapley effects


def _shapley(model: Process, cloud: Cloud, rng: np.random.Generator) -> Sensitivities:
    names = names_of(cloud.domain)
    draws, mean = _draws(model, cloud.x, rng)
    if not float(mean.var()) > FLAT:
        return Sensitivities("shapley", ())
    values, places = np.vstack([mean, draws]), _coordinates(cloud, names)
    shares = _shares(values, _distances(places, names, cloud.domain, rng), rng)
    of_functions = np.sqrt(((shares[:, :, 1:] - shares[:, :, :1]) ** 2).mean(axis=2))
    # Two halves of the points differ by twice as much as the whole is wrong. Every other point of a Sobol sequence would be half of the space.
    one, other = np.array_split(rng.permutation(len(cloud)), 2)
    halves = [_shares(values[:1, half], _distances(places[half], names, cloud.domain, rng), rng)[:, :, 0] for half in (one, other)]
    of_points = 0.5 * np.abs(halves[0] - halves[1])
    return _ranked("shapley", names, shares[:, :, 0], np.hypot(of_functions, of_points))


def _shares(values: Array, squared: Sequence[Array], rng: np.random.Generator) -> Array:
    """What each parameter explains alone, and its Shapley effect, of each row of `values`: shape (2, p, rows)."""
    if len(squared) > N_SUBSETS:
        return np.array([[1.0 - _unexplained(values, one) for one in squared], _over_orders(values, squared, rng)])
    unexplained = _unexplained_by_sets(values, squared)
    return np.array([[1.0 - unexplained[frozenset({k})] for k in range(len(squared))], _over_sets(unexplained, len(squared))])


def _coordinates(cloud: Cloud, names: Sequence[str]) -> Array:
    """Each parameter of each point, numbers on a scale of 1, shape (n, p)."""
    places = cloud.places()
    width = np.maximum(np.ptp(places, axis=0), 1e-12)
    return places / np.array([1.0 if is_choice(cloud.domain, name) else one for name, one in zip(names, width, strict=True)])


def _distances(places: Array, names: Sequence[str], domain: Domain, rng: np.random.Generator) -> list[Array]:
    """Squared distances between all points by each parameter, shape (n, n) each; equal ones differ by next to nothing, so that one is drawn."""
    found = []
    for column, name in zip(places.T, names, strict=True):
        apart = column[:, None] - column[None, :]
        found.append(((apart != 0.0).astype(float) if is_choice(domain, name) else apart ** 2) + 1e-9 * rng.random(apart.shape))
    return found


def _unexplained(values: Array, squared: Array) -> Array:
    """Share of the variance that remains between points that are alike by these squared distances, of each row of `values`."""
    apart = squared + np.diag(np.full(len(squared), np.inf))
    nearest = apart.argmin(axis=1)
    return 0.5 * ((values - values[:, nearest]) ** 2).mean(axis=1) / np.maximum(values.var(axis=1), 1e-300)


def _unexplained_by_sets(values: Array, squared: Sequence[Array]) -> dict[frozenset[int], Array]:
    """The same for every set of parameters; knowing none explains nothing, knowing all explains everything."""
    every = range(len(squared))
    found = {frozenset[int](): np.ones(len(values)), frozenset(every): np.zeros(len(values))}
    for n in range(1, len(squared)):
        for chosen in combinations(every, n):
            found[frozenset(chosen)] = np.minimum(_unexplained(values, sum(squared[k] for k in chosen)), 1.0)  # type: ignore[arg-type]
    return found


def _over_sets(unexplained: dict[frozenset[int], Array], n: int) -> Array:
    """Shapley effects, shape (n, rows); Song et al. 2016, eq. 5."""
    effects = []
    for k in range(n):
        effect = np.zeros_like(unexplained[frozenset()])
        for chosen, rest in unexplained.items():
            if k not in chosen:
                effect = effect + (rest - unexplained[chosen | {k}]) / (n * comb(n - 1, len(chosen)))
        effects.append(effect)
    return np.array(effects)


def _over_orders(values: Array, squared: Sequence[Array], rng: np.random.Generator) -> Array:
    """The same, averaged over orders that are drawn at random."""
    n = len(squared)
    total = np.zeros((n, len(values)))
    for _ in range(N_ORDERS):
        known, before = np.zeros_like(squared[0]), np.ones(len(values))
        for place, k in enumerate(rng.permutation(n)):
            known += squared[k]
            after = np.minimum(_unexplained(values, known), 1.0) if place < n - 1 else np.zeros(len(values))
            total[k] += before - after
            before = after
    return total / N_ORDERS


def _ranked(kind: Literal["sobol", "shapley"], names: Sequence[str], shares: Array, errors: Array) -> Sensitivities:
    """Effects, the largest first, of shares and errors of shape (2, p): first, whole."""
    order = np.argsort(-shares[1], kind="stable")
    return Sensitivities(kind, tuple(Effect(names[k], float(shares[0, k]), float(errors[0, k]), float(shares[1, k]), float(errors[1, k])) for k in order))


def _percent(share: float) -> str:
    return f"{100 * min(max(share, 0.0), 1.0):.0f} %"
