"""Whether constraints can be met at all, asked before a campaign starts."""

from __future__ import annotations

import numpy as np
from scipy.optimize import Bounds, milp
from scipy.optimize import LinearConstraint as Rows

from lab.core.question import CampaignConfig
from lab.core.space import LinearConstraint, Space
from lab.optimise.domain import Domain
from lab.optimise.pool import Pool
from lab.optimise.sampling import some_allowed


def check_feasible(space: Space) -> None:
    """Refuse a space without a single allowed point.

    Whether linear constraints can be met is proved; of others, points that meet them are looked for (in small domains of whole numbers, among all).

    Raises
    ------
    ValueError
        Naming the smallest set of linear constraints that cannot be met together within the parameters' bounds, or all of them.
    """
    constraints = list(space.constraints)
    if constraints and not _can_be_met(space, constraints):
        raise _conflict(space, constraints)
    if space.nonlinear and not len(some_allowed(Domain(space))):
        raise ValueError(f"constraints: given {'; '.join(map(str, space.all_constraints))}: no point was found that keeps them all within "
                         f"{_bounds(space, {name for c in space.all_constraints for name in c.names})}; "
                         f"allowed: constraints that leave at least one point")


def check_question(campaign: CampaignConfig) -> None:
    """Refuse a campaign of which nothing could be suggested: see `check_feasible`; of candidates, one row has to keep the constraints.

    Raises
    ------
    ValueError
        As `check_feasible`, or naming the candidates.
    ConfigError
        For structures of a choice that cannot be read.
    """
    check_feasible(campaign.space)
    domain = Domain(campaign.space)
    if campaign.candidates is not None:
        Pool(domain, campaign.candidates)


def _conflict(space: Space, constraints: list[LinearConstraint]) -> ValueError:
    conflict = list(constraints)
    for constraint in constraints:
        fewer = [c for c in conflict if c is not constraint]
        if not _can_be_met(space, fewer):
            conflict = fewer
    together = "cannot be met" if len(conflict) == 1 else "cannot be met together"
    return ValueError(f"constraints: given {'; '.join(map(str, conflict))}: {together} within {_bounds(space, {n for c in conflict for n in c.names})}; "
                      f"allowed: constraints that leave at least one point")


def _bounds(space: Space, names: set[str]) -> str:
    """What the parameters of `names` may be, in words."""
    found = [f"{p.name} {p.low:g}..{p.high:g}{' (whole)' if p.is_integer else ''}" for p in space.ranges if p.name in names]
    return ", ".join([*found, *(f"{p.name} fixed to {p.value}" for p in space.fixed if p.name in names)])


def _can_be_met(space: Space, constraints: list[LinearConstraint]) -> bool:
    try:
        constraints = [c for c in map(space.with_fixed, constraints) if c.coefficients]
    except ValueError:  # one that what is fixed does not meet
        return False
    if not constraints:
        return True
    ranges = space.ranges
    low, high = np.array([p.low for p in ranges], dtype=float), np.array([p.high for p in ranges], dtype=float)
    rows, least, most = [], [], []
    for c in constraints:
        coefficients = dict(c.coefficients)
        rows.append([coefficients.get(p.name, 0.0) for p in ranges])
        least.append(-np.inf if c.operator == "<=" else c.bound)
        most.append(np.inf if c.operator == ">=" else c.bound)
    found = milp(np.zeros(len(ranges)), constraints=Rows(np.array(rows), np.array(least), np.array(most)), bounds=Bounds(low, high),
                 integrality=np.array([p.is_integer for p in ranges], dtype=int))
    return found.x is not None


def extent(space: Space) -> dict[str, tuple[float, float]]:
    """The least and the greatest value that each number can have with all linear constraints kept (with the others, it may be less).

    Raises
    ------
    ValueError
        When the constraints cannot be met.
    """
    ranges = space.ranges
    whole = np.array([p.is_integer for p in ranges], dtype=int)
    constraints = [c for c in map(space.with_fixed, space.constraints) if c.coefficients]
    rows = [Rows(np.array([dict(c.coefficients).get(p.name, 0.0) for p in ranges]), -np.inf if c.operator == "<=" else c.bound,
                 np.inf if c.operator == ">=" else c.bound) for c in constraints]
    bounds = Bounds([p.low for p in ranges], [p.high for p in ranges])
    bound = {name for c in constraints for name in c.names}
    found = {p.name: (p.low, p.high) for p in ranges} | {p.name: (float(p.value), float(p.value)) for p in space.fixed if not p.is_text}
    for i, p in enumerate(ranges):
        if p.name not in bound:
            continue
        ends = [milp(sign * np.eye(len(ranges))[i], constraints=rows, bounds=bounds, integrality=whole) for sign in (1.0, -1.0)]
        if any(end.x is None for end in ends):
            check_feasible(space)
            raise ValueError(f"constraints: given {'; '.join(map(str, space.constraints))}; allowed: constraints that leave at least one point")
        found[p.name] = (float(ends[0].x[i]), float(ends[1].x[i]))
    return found
