"""Who may use what: named resources, taken all at once, never so that lanes wait for each other in a circle. Knows nothing of Bluesky.

Each lane states a *claim*: what it will hold at most at one time, as a list of stages that it goes through in order. With them a
lane can promise, for instance, to let go of the arm between two stations. A request is granted only when afterwards every lane
could still reach its end (a banker's algorithm over stages). Without the stages a lane that holds the arm for one transfer would
count as one that may keep it until the sample is done, and hardly two samples could be in the machine at once.

Why nobody waits for ever: after each decision the state is *safe*, that is, lanes can be advanced one after the other, each to
a stage where it holds less than now, until none holds anything. The lane that can be advanced first is either at work or its request
can be granted, since what it asks for lies between what it holds and what that stage allows. Lanes that hold nothing can
always wait for the others. ``tests/test_resources.py`` looks for a counter-example in random laboratories.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence

from plans.claims import Claim, Counts, ResourceError, Standing, counted, fits, is_safe, signature, words
from plans.holders import Holder, Queue, Rank

__all__ = ["Claim", "Holder", "Rank", "ResourceError", "Resources"]

PATIENCE = 64
"""So many grants to younger lanes does the oldest waiting lane suffer before lanes that hold nothing have to let it go first."""


class Resources:
    """Resources of a laboratory, and who has them.

    Parameters
    ----------
    units : mapping of resource to the names of its units
        ``{"arm": ("arm",), "annealer": ("plate_a", "plate_b")}``. A unit belongs to one resource.
    patience : int
        See `PATIENCE`.
    prefer : callable or None
        Of several free units of a resource the one with the smallest number is given (a plate that is cool already); None: in their order.

    Raises
    ------
    ResourceError
        When a resource has no unit, or a unit is named twice.
    """

    def __init__(self, units: Mapping[str, Sequence[str]], patience: int = PATIENCE, prefer: Callable[[str], float] | None = None) -> None:
        self._prefer = prefer
        self.units = {resource: tuple(names) for resource, names in units.items()}
        self._resource_of: dict[str, str] = {}
        for resource, names in self.units.items():
            if not names:
                raise ResourceError(f"resources: {resource} has no unit; allowed: at least one")
            for unit in names:
                if unit in self._resource_of:
                    raise ResourceError(f"resources: unit {unit} is given for {self._resource_of[unit]} and for {resource}; allowed: one of them")
                self._resource_of[unit] = resource
        self._patience = patience
        self._taken: set[str] = set()
        self._free = {resource: len(names) for resource, names in self.units.items()}
        """Units that are neither held nor reserved."""
        self._holding: dict[Holder, None] = {}
        self._queues: dict[tuple[tuple[str, int], ...], Queue] = {}
        self._by_age: list[tuple[int, Holder]] = []
        self._n_holders = 0

    def enter(self, name: str, claim: Claim, rank: Rank = 0.0, holds: Sequence[str] = ()) -> Holder:
        """A lane begins.

        Parameters
        ----------
        name : str
        claim : mapping, or sequence of mappings
            What it holds at most at one time: over its whole life, or stage by stage.
        rank : float or callable
            Smaller comes first; a callable is asked again at each decision.
        holds : sequence of str
            Units that it has from the start: its sample stands there.

        Raises
        ------
        ResourceError
            When the claim exceeds the laboratory, a unit is taken, or the others could then wait for each other.
        """
        holder = Holder(name, self._n_holders, rank, self._stages(name, claim))
        self._n_holders += 1
        for unit in holds:
            resource = self._resource(name, unit)
            if unit in self._taken:
                raise ResourceError(f"lane {name}: cannot hold {unit} from the start, it is taken; allowed: {', '.join(self._untaken(resource)) or 'none'}")
        wanted = counted(self._resource_of[unit] for unit in holds)
        if holds:
            stage = self._stage_for(holder, wanted)
            if not self._is_grantable(holder, wanted):
                raise ResourceError(f"lane {name}: cannot hold {', '.join(holds)} from the start: the lanes could then wait for each other for ever")
            self._take(holder, wanted, tuple(holds))
            holder.stage = stage
        return holder

    def leave(self, holder: Holder) -> None:
        """A lane has ended: it gives back all that it holds, and waits for nothing any longer."""
        self.withdraw(holder)
        self.release(holder, [unit for units in holder.held.values() for unit in units])

    def claim(self, holder: Holder, claim: Claim) -> None:
        """Replace a lane's claim by what it may need from now on.

        Raises
        ------
        ResourceError
            When the claim exceeds the laboratory, or grows so, while units are held, that lanes could wait for each other. A lane that
            holds nothing may always claim what the laboratory has.
        """
        before = holder.stages, holder.stage
        holder.stages, holder.stage = self._stages(holder.name, claim), 0
        if holder.reserved and not is_safe(self._free, self._state()):
            holder.stages, holder.stage = before
            raise ResourceError(f"lane {holder.name}: cannot claim {words(claim)} while it holds {words(holder.counts())}: lanes could then wait "
                                f"for each other for ever; allowed: {words(before[0][before[1]:])}, or to release first")

    def request(self, holder: Holder, wanted: Counts) -> None:
        """Wait for units, all at once; `decide` grants them.

        Raises
        ------
        ResourceError
            When the lane's claim, or the laboratory, does not allow it.
        """
        if holder.wanted is not None:
            raise ResourceError(f"lane {holder.name}: asks for {words(wanted)} while it waits for {words(holder.wanted)}; allowed: one request at a time")
        self._check(holder.name, "asks for", wanted)
        self._stage_for(holder, wanted)
        holder.wanted, holder.n_passed = dict(wanted), 0
        self._queues.setdefault(signature(wanted), Queue()).add(holder)
        heapq.heappush(self._by_age, (holder.number, holder))

    def withdraw(self, holder: Holder) -> None:
        """A lane no longer waits."""
        if holder.wanted is not None:
            self._queues[signature(holder.wanted)].remove(holder)
            holder.wanted = None

    def release(self, holder: Holder, units: Sequence[str]) -> None:
        """Give units back.

        Raises
        ------
        ResourceError
            When the lane does not hold one of them; nothing is given back then.
        """
        held = [unit for names in holder.held.values() for unit in names]
        for unit in units:
            if unit not in held or list(units).count(unit) > 1:
                raise ResourceError(f"lane {holder.name}: gives back {', '.join(units)}; allowed: {', '.join(held) or 'nothing, it holds nothing'}, each once")
        for unit in units:
            resource = self._resource_of[unit]
            holder.held[resource].remove(unit)
            if not holder.held[resource]:
                del holder.held[resource]
            self._taken.discard(unit)
        if units:
            self._go_on(holder)
            self._lower(holder)

    @staticmethod
    def _go_on(holder: Holder) -> None:
        """A lane that gives back what only its present stage allows is through with that stage; with one stage at each release."""
        held, following = holder.counts(), holder.stages[holder.stage + 1:holder.stage + 2]
        if following and fits(held, following[0]) and fits(following[0], holder.stages[holder.stage]):
            holder.stage += 1

    def decide(self) -> list[tuple[Holder, dict[str, tuple[str, ...]]]]:
        """Grant all that can be granted now, in the order of rank, then of age.

        Returns
        -------
        list of (Holder, mapping of resource to names of units)
        """
        for one in [one for one in self._holding if one.reserved != one.counts()]:
            self._lower(one)
        granted = []
        while (holder := self._next()) is not None:
            wanted = holder.wanted if holder.wanted is not None else {}
            self.withdraw(holder)
            oldest = self._oldest()
            if oldest is not None and oldest.number < holder.number and not wanted.keys().isdisjoint(oldest.wanted or ()):
                oldest.n_passed += 1
            holder.stage = self._stage_for(holder, wanted)
            granted.append((holder, self._take(holder, wanted, ())))
        return granted

    def _next(self) -> Holder | None:
        """The first lane whose request can be granted now."""
        oldest = self._oldest()
        starved = oldest if oldest is not None and oldest.n_passed >= self._patience else None
        if starved is not None and self._is_grantable(starved, starved.wanted or {}):
            return starved
        is_any_reserve = any(sum(one.reserved.values()) != sum(map(len, one.held.values())) for one in self._holding)
        known: dict[object, bool] = {}
        open_queues = [queue for wanted, queue in self._queues.items() if is_any_reserve or all(n <= self._free[resource] for resource, n in wanted)]
        for _, _, holder in heapq.merge(*(queue.in_order() for queue in open_queues)):
            wanted = holder.wanted or {}
            if starved is not None and not holder.held and not wanted.keys().isdisjoint(starved.wanted or ()):
                continue
            # Lanes of one recipe that hold nothing are all alike: one look is enough.
            alike = (signature(wanted), holder.stage, tuple(map(signature, holder.stages))) if not holder.held else holder
            if alike not in known:
                known[alike] = self._is_grantable(holder, wanted)
            if known[alike]:
                return holder
        return None

    def _oldest(self) -> Holder | None:
        """The oldest lane that waits."""
        while self._by_age and self._by_age[0][1].wanted is None:
            heapq.heappop(self._by_age)
        return self._by_age[0][1] if self._by_age else None

    def _is_grantable(self, holder: Holder, wanted: Counts) -> bool:
        """Whether there are enough units, and all lanes can still reach their end afterwards."""
        reserved = self._reserved_with(holder, wanted)
        free = dict(self._free)
        for resource, n in reserved.items():
            free[resource] -= n - holder.reserved.get(resource, 0)
            if free[resource] < 0:
                return False
        return is_safe(free, [*self._state(holder), (holder.stages, reserved, self._stage_for(holder, wanted))])

    def _reserved_with(self, holder: Holder, wanted: Counts) -> dict[str, int]:
        """What is set aside for a lane once it has what it wants; what was reserved for it is used first."""
        reserved = dict(holder.reserved)
        for resource, n in wanted.items():
            reserved[resource] = max(reserved.get(resource, 0), len(holder.held.get(resource, ())) + n)
        return reserved

    def _state(self, other_than: Holder | None = None) -> list[Standing]:
        return [(one.stages, one.reserved, one.stage) for one in self._holding if one is not other_than]

    def _lower(self, holder: Holder) -> None:
        """Set aside for a lane no more than it holds, or the least that keeps the state safe."""
        held = holder.counts()
        before = dict(holder.reserved)
        options = [held]
        options += [dict(stage) for stage in holder.stages[holder.stage:] if fits(held, stage) and fits(stage, before)]
        for counts in options:
            lower = {resource: n for resource, n in counts.items() if n}
            free = dict(self._free)
            for resource, n in before.items():
                free[resource] += n - lower.get(resource, 0)
            if is_safe(free, [*self._state(holder), (holder.stages, lower, holder.stage)]):
                holder.reserved, self._free = lower, free
                break
        if not holder.reserved:
            self._holding.pop(holder, None)

    def _take(self, holder: Holder, wanted: Counts, named: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Give a lane units: those named, or the best ones that are free."""
        reserved = self._reserved_with(holder, wanted)
        for resource, n in reserved.items():
            self._free[resource] -= n - holder.reserved.get(resource, 0)
        holder.reserved = reserved
        if reserved:
            self._holding[holder] = None
        taken: dict[str, tuple[str, ...]] = {}
        for resource, n in wanted.items():
            units = [unit for unit in named if self._resource_of[unit] == resource] or self._best(resource)[:n]
            holder.held.setdefault(resource, []).extend(units)
            self._taken.update(units)
            taken[resource] = tuple(units)
        return taken

    def _stage_for(self, holder: Holder, wanted: Counts) -> int:
        """The stage of a lane's claim in which a request falls.

        Raises
        ------
        ResourceError
            When it falls in none, or the lane still holds what an earlier stage gives back.
        """
        held = holder.counts()
        total = {resource: held.get(resource, 0) + wanted.get(resource, 0) for resource in {*held, *wanted}}
        for i in range(holder.stage, len(holder.stages)):
            if fits(total, holder.stages[i]):
                return i
            if not fits(held, holder.stages[i]):
                break
        raise ResourceError(f"lane {holder.name}: asks for {words(wanted)} and holds {words(held)}; allowed by its claim: {words(holder.stages[holder.stage:])}")

    def _stages(self, name: str, claim: Claim) -> tuple[Counts, ...]:
        stages = (dict(claim),) if isinstance(claim, Mapping) else tuple(dict(stage) for stage in claim)
        for stage in stages:
            self._check(name, "claims", stage)
        return tuple({resource: n for resource, n in stage.items() if n} for stage in stages) or ({},)

    def _check(self, name: str, what: str, counts: Counts) -> None:
        for resource, n in counts.items():
            if resource not in self.units:
                raise ResourceError(f"lane {name}: {what} {resource}; allowed: {', '.join(self.units)}")
            if not 0 <= n <= len(self.units[resource]):
                raise ResourceError(f"lane {name}: {what} {n} of {resource}; allowed: 0 to {len(self.units[resource])}, which the laboratory has")

    def _resource(self, name: str, unit: str) -> str:
        if unit not in self._resource_of:
            raise ResourceError(f"lane {name}: {unit} is no unit of the laboratory; allowed: {', '.join(self._resource_of)}")
        return self._resource_of[unit]

    def _best(self, resource: str) -> list[str]:
        free = self._untaken(resource)
        return sorted(free, key=self._prefer) if self._prefer is not None and len(free) > 1 else free

    def _untaken(self, resource: str) -> list[str]:
        return [unit for unit in self.units[resource] if unit not in self._taken]
