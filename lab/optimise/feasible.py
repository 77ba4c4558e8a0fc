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
