"""What a campaign expects of an outcome before anything is measured (``prior_mean``), as far as it shows without running it."""

from __future__ import annotations

import re

from lab.core.expression import parse
from lab.core.parameters import ChoiceParameter, RangeParameter
from lab.core.space import Space

FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
"""How ``module:function`` is told from an expression, which has no colon."""


def is_code(text: str) -> bool:
    """Whether it runs Python code of a module: only for who may run code at the laboratory's own console."""
    return FUNCTION.fullmatch(text.strip()) is not None


def numbers_of(space: Space) -> list[str]:
    """Names that may stand in an expression: parameters that are numbers."""
    return [p.name for p in space.parameters if isinstance(p, RangeParameter) or (p.numbers if isinstance(p, ChoiceParameter) else not p.is_text)]


def check_expected(space: Space, outcome: str, text: str) -> None:
    """Refuse an expression that is none.

    Raises
    ------
    ValueError
        In words: ``prior_mean.OUTCOME: given ...; allowed: ...``.
    """
    if is_code(text):
        return
    try:
        parse(text, numbers_of(space))
    except ValueError as error:
        raise ValueError(f"prior_mean.{outcome}: {error}") from error
