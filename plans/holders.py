"""Lanes that hold units or wait for them, and the queues in which they wait."""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from plans.claims import Counts

Rank = float | Callable[[], float]
"""Who comes first: the smallest. A callable is asked again at each decision."""


@dataclass(eq=False, slots=True)
class Holder:
    """One lane, as `Resources` sees it.

    Parameters
    ----------
    name : str
    number : int
        Its age: older lanes have smaller numbers.
    rank : float or callable
        Who comes first: the smallest.
    stages : tuple of mapping of resource to count
        Its claim.
    stage : int
        How far it has got in it.
    held : dict of resource to names of units
    reserved : dict of resource to count
        At least what it holds: what it gave back out of turn stays set aside for it as long as others could not be brought to their end without.
    wanted : mapping of resource to count, or None
        What it waits for.
    """

    name: str
    number: int
    rank: Rank
    stages: tuple[Counts, ...]
    stage: int = 0
    held: dict[str, list[str]] = field(default_factory=dict)
    reserved: dict[str, int] = field(default_factory=dict)
    wanted: Counts | None = None
    n_passed: int = 0
    entry: tuple[float, int, Holder] | None = None

    def counts(self) -> dict[str, int]:
        """How many units of each resource it holds."""
        return {resource: len(units) for resource, units in self.held.items()}


class Queue:
    """Holders that wait for the same, in the order in which they are tried."""

    def __init__(self) -> None:
        self._fixed: list[tuple[float, int, Holder]] = []
        self._moving: dict[Holder, None] = {}

    def add(self, holder: Holder) -> None:
        if callable(holder.rank):
            self._moving[holder] = None
        else:
            holder.entry = (holder.rank, holder.number, holder)
            insort(self._fixed, holder.entry)

    def remove(self, holder: Holder) -> None:
        if holder.entry is None:
            del self._moving[holder]
        else:
            del self._fixed[bisect_left(self._fixed, holder.entry)]
            holder.entry = None

    def in_order(self) -> Iterator[tuple[float, int, Holder]]:
        moving = sorted((rank_of(holder), holder.number, holder) for holder in self._moving)
        return heapq.merge(list(self._fixed), moving) if moving else iter(list(self._fixed))


def rank_of(holder: Holder) -> float:
    """The rank of a lane now."""
    return holder.rank() if callable(holder.rank) else holder.rank
