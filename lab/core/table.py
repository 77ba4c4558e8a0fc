"""What a table of candidates must be: checked column by column, since it may have a hundred thousand rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lab.core.parameters import SUM_TOLERANCE, FixedParameter, Parameter, RangeParameter, Value
from lab.core.space import Space

MOST_ROWS = 100_000
"""Of a table. A model looks at each of them before every sample."""


def check_candidates(space: Space, columns: Sequence[str], rows: Sequence[Sequence[Value]]) -> None:
    """Refuse a table from which nothing can be chosen.

    Constraints are no matter here: they leave some of its rows, and the engine says how many.

    Parameters
    ----------
    space : Space
    columns : sequence of str
        Every parameter once, in any order; what is fixed may be left out.
    rows : sequence of sequences
        Rows are counted from 1 in messages, as below the header of a file.

    Raises
    ------
    ValueError
        Naming the row, what is given, and what is allowed.
    """
    needed = [p.name for p in space.parameters if not isinstance(p, FixedParameter)]
    if sorted(set(columns)) != sorted(columns) or not set(needed) <= set(columns) <= set(space.names):
        raise ValueError(f"candidates.columns: given {', '.join(columns) or 'none'}; allowed: {', '.join(needed)}: each parameter once, and nothing else")
    if not rows:
        raise ValueError("candidates.rows: given none; allowed: at least one row")
    if len(rows) > MOST_ROWS:
        raise ValueError(f"candidates.rows: given {len(rows)}; allowed: at most {MOST_ROWS}")
    for k, name in enumerate(columns):
        wrong = _first_wrong(space[name], [row[k] for row in rows])
        if wrong is not None:
            raise ValueError(f"candidates: given {name} = {rows[wrong][k]!r} in row {wrong + 1}; allowed: {space[name].allowed}")
    seen: dict[tuple[Value, ...], int] = {}
    for number, row in enumerate(rows, 1):
        first = seen.setdefault(tuple(row), number)
        if first != number:
            raise ValueError(f"candidates: given row {number} as row {first}; allowed: rows that differ")


def _first_wrong(parameter: Parameter, column: Sequence[Value]) -> int | None:
    """The first place in a column where a value is not allowed."""
    if isinstance(parameter, RangeParameter):
        wrong = np.array([isinstance(value, str | bool) for value in column])
        numbers = np.array([np.nan if is_wrong else float(value) for value, is_wrong in zip(column, wrong, strict=True)])
        slack = SUM_TOLERANCE * max(1.0, abs(parameter.low), abs(parameter.high))
        wrong = ~((numbers >= parameter.low - slack) & (numbers <= parameter.high + slack))
        if parameter.is_integer:
            wrong |= numbers != np.rint(numbers)
        return int(wrong.argmax()) if wrong.any() else None
    return next((k for k, value in enumerate(column) if parameter.problem(value)), None)
