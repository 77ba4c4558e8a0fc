"""Whether constraints can be met at all, asked before a campaign starts."""

from __future__ import annotations

import numpy as np
from scipy.optimize import Bounds, milp
from scipy.optimize import LinearConstraint as Rows

from lab.core.space import LinearConstraint, Space


def check_feasible(space: Space) -> None:
    """Refuse a space without a single allowed point.

    Raises
    ------
    ValueError
        Naming the smallest set of constraints that cannot be met together within the parameters' bounds.
    """
    constraints = list(space.constraints)
    if not constraints or _can_be_met(space, constraints):
        return
    conflict = list(constraints)
    for constraint in constraints:
        fewer = [c for c in conflict if c is not constraint]
        if not _can_be_met(space, fewer):
            conflict = fewer
    names = sorted({name for c in conflict for name in c.names}, key=space.names.index)
    bounds = ", ".join(f"{p.name} {p.low:g}..{p.high:g}{' (whole)' if p.is_integer else ''}" for p in space.ranges if p.name in names)
    together = "cannot be met" if len(conflict) == 1 else "cannot be met together"
    raise ValueError(f"constraints: given {'; '.join(map(str, conflict))}: {together} within {bounds}; "
                     f"allowed: constraints that leave at least one point")


def _can_be_met(space: Space, constraints: list[LinearConstraint]) -> bool:
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
    """The least and the greatest value that each range parameter can have, with all constraints kept.

    Raises
    ------
    ValueError
        When the constraints cannot be met.
    """
    ranges = space.ranges
    whole = np.array([p.is_integer for p in ranges], dtype=int)
    rows = [Rows(np.array([dict(c.coefficients).get(p.name, 0.0) for p in ranges]), -np.inf if c.operator == "<=" else c.bound,
                 np.inf if c.operator == ">=" else c.bound) for c in space.constraints]
    bounds = Bounds([p.low for p in ranges], [p.high for p in ranges])
    bound = {name for c in space.constraints for name in c.names}
    found = {p.name: (p.low, p.high) for p in ranges}
    for i, p in enumerate(ranges):
        if p.name not in bound:
            continue
        ends = [milp(sign * np.eye(len(ranges))[i], constraints=rows, bounds=bounds, integrality=whole) for sign in (1.0, -1.0)]
        if any(end.x is None for end in ends):
            check_feasible(space)
            raise ValueError(f"constraints: given {'; '.join(map(str, space.constraints))}; allowed: constraints that leave at least one point")
        found[p.name] = (float(ends[0].x[i]), float(ends[1].x[i]))
    return found
