"""Where searches for the best point start, and the seeds of what is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lab.core.trial import Trial, TrialState
from lab.optimise.domain import Domain, Points
from lab.optimise.polytope import Array
from lab.optimise.sampling import Stream, every_point

N_CANDIDATES = 512
"""Evenly spread points from which the search for the best one starts."""

N_INCUMBENTS = 4
"""Best trials around which it starts as well."""


def mixed(*numbers: int) -> int:
    """One seed out of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint32)[0])


def candidates(domain: Domain, seed: int) -> Points:
    """The whole space where it is small, else points spread evenly over it."""
    everything = every_point(domain)
    if everything is not None and len(everything) <= 4 * N_CANDIDATES:
        return everything
    # Another sequence than the initial trials', or all of its first points would count as tried.
    return Stream(domain, mixed(seed)).points(0, N_CANDIDATES)


def incumbents(domain: Domain, trials: Sequence[Trial], merit: Array) -> Points:
    """Allowed points at the best completed trials, as planned.

    Parameters
    ----------
    merit : ndarray, shape (n,)
        Of each completed trial, up is better.
    """
    done = [t for t in trials if t.state is TrialState.COMPLETED]
    return domain.points_of([done[k].planned for k in np.argsort(-merit, kind="stable")[:N_INCUMBENTS]])


def ways(domain: Domain, anchors: Points, towards: Points, steps: Sequence[float]) -> Points:
    """Allowed points on the straight ways from each of `anchors`, whose choices they keep, to each of `towards`: so far of the way."""
    parts = []
    for k in range(len(anchors)):
        choices = np.repeat(anchors.choices[k:k + 1], len(towards), axis=0)
        parts += [Points(domain.snap(anchors.w[k] + step * (towards.w - anchors.w[k])), choices) for step in steps]
    found = Points.join(anchors, *parts)
    return found[domain.is_allowed(found.w)]
