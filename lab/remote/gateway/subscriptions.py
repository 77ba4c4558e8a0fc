"""What a client asks of the streams: read from its message, everything checked, nothing of it ever a path."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lab.core.errors import LabError
from lab.remote.access.words import escaped
from lab.remote.gateway.run_files import Run

MOST_CREDIT = 100_000
LONGEST_ID = 200
_FIELDS = ("status", "console", "documents", "have", "since")


class NotAllowed(LabError):
    """A message that is none; the words are for whoever sent it."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be sent.

    Parameters
    ----------
    status, console : bool
    documents : {"all", "item", "campaign"} or None
        Of which runs.
    id : str
        Of the item or campaign.
    have : Mapping of str to int
        Documents that are there already, by run.
    since : float
        Time of day: with ``all``, of runs that had stopped before the subscription, those that began then or later.
    """

    status: bool = False
    console: bool = False
    documents: Literal["all", "item", "campaign"] | None = None
    id: str = ""
    have: Mapping[str, int] = field(default_factory=dict)
    since: float = 0.0

    def is_about(self, run: Run, listing: int, since: float) -> bool:
        """Whether a run's documents are wanted, whoever may see them.

        Parameters
        ----------
        run : Run
        listing : int
            Of `RunFiles`, when the subscription began: what was found later is new.
        since : float
            As the wish has it, or earlier.
        """
        if self.documents == "item":
            return run.item == self.id
        if self.documents == "campaign":
            return run.campaign == self.id
        return self.documents == "all" and (run.uid in self.have or run.started >= since or not run.is_stopped or run.listing > listing)


def wish_of(message: Mapping[str, Any]) -> Wish:
    """The content of ``subscribe``.

    Raises
    ------
    NotAllowed
        When it says anything that it may not.
    """
    unknown = [name for name in message if name not in _FIELDS]
    if unknown:
        raise NotAllowed(f"subscribe: given {escaped(unknown[0], 40)}; allowed: {', '.join(_FIELDS)}")
    for name in ("status", "console"):
        if not isinstance(message.get(name, False), bool):
            raise NotAllowed(f"subscribe.{name}: allowed: true or false")
    kind, chosen = _documents(message.get("documents"))
    wish = Wish(message.get("status", False), message.get("console", False), kind, chosen, _have(message.get("have", {})), _since(message.get("since", 0.0)))
    if not (wish.status or wish.console or wish.documents):
        raise NotAllowed("subscribe: nothing is asked for; allowed: status, console, documents")
    return wish


def credit_of(value: object) -> int:
    """How many messages more may be sent.

    Raises
    ------
    NotAllowed
        When it is no such number.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= MOST_CREDIT:
        raise NotAllowed(f"credit: allowed: a whole number, 1 to {MOST_CREDIT}")
    return value


def _documents(value: object) -> tuple[Literal["all", "item", "campaign"] | None, str]:
    allowed = 'subscribe.documents: allowed: {"all": true}, {"item": id} or {"campaign": id}'
    if value is None:
        return None, ""
    if not isinstance(value, Mapping) or len(value) != 1:
        raise NotAllowed(allowed)
    [(kind, chosen)] = value.items()
    if kind == "all" and chosen is True:
        return "all", ""
    if kind in ("item", "campaign") and isinstance(chosen, str) and 0 < len(chosen) <= LONGEST_ID:
        return kind, chosen
    raise NotAllowed(allowed)


def _have(value: object) -> Mapping[str, int]:
    if not isinstance(value, Mapping):
        raise NotAllowed("subscribe.have: allowed: {run: number of documents}")
    for run, n in value.items():
        if not isinstance(run, str) or len(run) > LONGEST_ID or not isinstance(n, int) or isinstance(n, bool) or n < 0:
            raise NotAllowed("subscribe.have: allowed: {run: number of documents}")
    return dict(value)


def _since(value: object) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise NotAllowed("subscribe.since: allowed: seconds since 1970")
    return float(value)
