"""What may come in from outside at all, before anybody looks at what it means: plain JSON of a bounded size.

Everything behind this may walk through what it is given, show it, and hand it to a parser, without thinking of its size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from lab.remote.registry.refusals import Problem, shown

DEEPEST = 16
"""Lists and objects within one another."""

MOST_VALUES = 20_000
"""As many as one message may hold: a table of candidates is that large."""
LONGEST_TEXT = 2000
LONGEST_NAME = 120
LARGEST_WHOLE = 2**53
"""Beyond it, not every whole number is also a float."""


def problems_of_plain(value: object, field: str = "") -> list[Problem]:
    """Why a value is not plain JSON of a reasonable size; empty when it is.

    Looks at no more than `MOST_VALUES` values and stops at the first few mistakes.
    """
    found: list[Problem] = []
    for place, one in _walk(value, field, found):
        problem = _problem(place, one)
        if problem is not None:
            found.append(problem)
        if len(found) >= 10:
            break
    return found


def _walk(value: object, field: str, found: list[Problem]) -> Iterator[tuple[str, object]]:
    """Every value within `value`, itself first, with the path to it."""
    left: list[tuple[str, object, int]] = [(field, value, 0)]
    n = 0
    while left:
        place, one, depth = left.pop()
        n += 1
        if n > MOST_VALUES:
            found.append(Problem(field, f"more than {MOST_VALUES} values", f"at most {MOST_VALUES} values in all"))
            return
        yield place, one
        if not isinstance(one, (dict, list, tuple)):
            continue
        if depth >= DEEPEST:
            found.append(Problem(place, f"more than {DEEPEST} lists or objects within one another", f"at most {DEEPEST}"))
            return
        if len(one) > MOST_VALUES:
            found.append(Problem(place, f"{len(one)} values", f"at most {MOST_VALUES} values in all"))
            return
        inner = one.items() if isinstance(one, dict) else enumerate(one)
        left.extend((f"{place}.{_name(key)}" if place else _name(key), each, depth + 1) for key, each in inner)


def _name(key: Any) -> str:
    text = key if isinstance(key, str) else str(key) if isinstance(key, int) and abs(key) < LARGEST_WHOLE else shown(key)
    text = text if len(text) <= 40 else f"{text[:37]}..."
    return text if text.isprintable() else shown(text)


def _problem(place: str, value: Any) -> Problem | None:
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        return _text_problem(place, value, LONGEST_TEXT)
    if isinstance(value, int):
        return None if abs(value) <= LARGEST_WHOLE else Problem(place, shown(value), "a number of at most 16 digits")
    if isinstance(value, float):
        return None if math.isfinite(value) else Problem(place, shown(value), "a finite number")
    if isinstance(value, dict):
        wrong = (_text_problem(place, key, LONGEST_NAME) if isinstance(key, str) else Problem(place, f"the name {shown(key)}", "names that are text")
                 for key in value)
        return next((one for one in wrong if one is not None), None)
    if isinstance(value, (list, tuple)):
        return None
    return Problem(place, f"a {type(value).__name__}", "numbers, texts, lists and objects, as JSON has them")


def _text_problem(place: str, text: str, longest: int) -> Problem | None:
    if len(text) > longest:
        return Problem(place, f"{len(text)} characters", f"at most {longest} characters")
    if any(not (one.isprintable() or one in "\n\t") for one in text):
        return Problem(place, shown(text), "text without control characters")
    return None
