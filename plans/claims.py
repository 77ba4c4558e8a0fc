"""What lanes may need: claims, stage by stage, and whether all of them can still be brought to their end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lab.core.errors import LabError

Counts = Mapping[str, int]
"""Resource to number of units."""

Claim = Counts | Sequence[Counts]
"""What a lane holds at most at one time: over its whole life, or in each of its stages, in order."""

Standing = tuple[tuple[Counts, ...], Counts, int]
"""Where a lane stands: the stages of its claim, what is set aside for it, and the stage in which it is."""


class ResourceError(LabError):
    """A recipe asks for what its claim or the laboratory does not allow: mend the recipe. Nothing was taken."""


def is_safe(free: Counts, lanes: Iterable[Standing]) -> bool:
    """Whether the lanes can be advanced, one after the other, until none has anything.

    Each step leaves more units free than before, so the order in which lanes are tried does not matter.
    """
    left, rest = dict(free), [lane for lane in lanes if lane[1]]
    while rest:
        for lane in rest:
            step = _advance(left, *lane)
            if step is not None:
                break
        else:
            return False
        stages, counts, _ = lane
        fewer, stage = step
        for resource, n in counts.items():
            left[resource] += n - fewer.get(resource, 0)
        rest.remove(lane)
        if fewer:
            rest.append((stages, fewer, stage))
    return True


def _advance(free: Counts, stages: tuple[Counts, ...], counts: Counts, stage: int) -> tuple[dict[str, int], int] | None:
    """How little a lane can be brought to hold with what is free now, and in which stage; None when it would have to wait first.

    In each stage on the way it may take up to what the stage allows.
    """
    for i in range(stage, len(stages)):
        if any(n > free[resource] + counts.get(resource, 0) for resource, n in stages[i].items()):
            return None
        if fits(stages[i], counts) and sum(stages[i].values()) < sum(counts.values()):
            return dict(stages[i]), i
    return {}, len(stages)


def fits(some: Counts, limit: Counts) -> bool:
    """Whether `some` is no more than `limit`, of each resource."""
    return all(n <= limit.get(resource, 0) for resource, n in some.items())


def counted(names: Iterable[str]) -> dict[str, int]:
    """How often each name occurs."""
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return counts


def signature(counts: Counts) -> tuple[tuple[str, int], ...]:
    """The same for equal counts; can be the key of a dict."""
    return tuple(sorted(counts.items()))


def words(claim: Claim) -> str:
    """A claim for people: ``1 plate + 1 arm, then 1 plate``."""
    stages = [claim] if isinstance(claim, Mapping) else claim
    return ", then ".join(" + ".join(f"{n} {resource}" for resource, n in stage.items() if n) or "nothing" for stage in stages) or "nothing"
