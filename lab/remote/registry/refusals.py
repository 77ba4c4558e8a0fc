"""What is wrong with something that was sent: field, given, allowed, for each mistake at once; and values shown without being trusted."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lab.core.errors import ConfigError

MOST_SHOWN = 120
"""Characters of a value that are sent back to who sent it."""

MOST_PROBLEMS = 50
"""More mistakes than this are no help to anybody."""

_SHORT = reprlib.Repr()
_SHORT.maxlevel = 3
_SHORT.maxstring = _SHORT.maxother = MOST_SHOWN
_SHORT.maxlong = 40


def shown(value: object) -> str:
    """A value as it was given, shortened; whatever it is, this takes no time and raises nothing."""
    try:
        text = _SHORT.repr(value)
    except ValueError:  # a whole number of more than 4300 digits
        text = f"a {type(value).__name__} that is too long to be shown"
    text = text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN - 3]}..."
    return text.encode(errors="backslashreplace").decode()


@dataclass(frozen=True)
class Problem:
    """One mistake.

    Parameters
    ----------
    field : str
        Dotted path.
    given, allowed : str
        In words, with the unit.
    """

    field: str
    given: str
    allowed: str

    def under(self, field: str) -> Problem:
        """The same, of a field of `field`."""
        return Problem(f"{field}.{self.field}" if self.field else field, self.given, self.allowed)

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


class PlanRefused(ConfigError):
    """What was asked for is not allowed, or wrong; nothing was queued.

    Parameters
    ----------
    what : str
        The plan, or the method, named in the message.
    problems : sequence of Problem
        At least one; all that was found.
    """

    def __init__(self, what: str, problems: Sequence[Problem]) -> None:
        self.what = what
        self.problems = tuple(problems[:MOST_PROBLEMS])
        first, *others = self.problems
        super().__init__(what, first.field, first.given, first.allowed,
                         [ConfigError(what, one.field, one.given, one.allowed) for one in others])


def problems_of(error: ConfigError) -> list[Problem]:
    """The mistakes that a `ConfigError` tells of, its own first."""
    if isinstance(error, PlanRefused):
        return list(error.problems)
    return [Problem(one.field, one.given, one.allowed) for one in _flat(error)][:MOST_PROBLEMS]


def _flat(error: ConfigError) -> Iterable[ConfigError]:
    yield error
    for other in error.others:
        yield from _flat(other)


def refuse(what: str, field: str, given: Any, allowed: str) -> PlanRefused:
    """A refusal of one mistake, `given` shown as it was sent."""
    return PlanRefused(what, [Problem(field, shown(given), allowed)])
