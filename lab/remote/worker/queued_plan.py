"""A plan that knows its name and parameters, so that what runs can be compared with what was checked and approved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lab.core.digest import digest_of


@dataclass(frozen=True)
class QueuedPlan:
    """What the worker's plan functions return. It is a plan, too: at a console, ``RE(count(...))`` runs it.

    Parameters
    ----------
    name : str
        In the registry.
    parameters : mapping of str to JSON value
        All of them, as they were checked.
    plan : iterator of Msg
        Nothing is done before the first message is asked for.
    """

    name: str
    parameters: Mapping[str, Any]
    plan: Iterator[Any]

    @property
    def digest(self) -> str:
        """What the ledger knows the item by."""
        return digest_of(self.name, self.parameters)

    def __iter__(self) -> Iterator[Any]:
        return self.plan
