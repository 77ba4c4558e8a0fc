"""Several campaigns in one work cell: whose sample is next."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lab.core.errors import ScheduleError


def next_campaign(shares: Mapping[str, float], started: Mapping[str, float], priorities: Mapping[str, int] | None = None) -> str:
    """Which campaign's sample starts next.

    Of the campaigns with the highest priority, the one that has had least for its share. The same numbers give the same answer.

    Parameters
    ----------
    shares : mapping of campaign to weight
        Of those that have a sample to start; only the ratios count.
    started : mapping of campaign to number
        What each has had since the last of them began: samples, or laboratory seconds of the bottleneck where samples differ.
        (Counted from an earlier time, one that joins late would have everything until it has caught up.)
    priorities : mapping of campaign to whole number
        The highest goes first, and the others only when it has nothing to start; 0 where not given.

    Raises
    ------
    ScheduleError
        Without campaigns, or with a share that is not above 0.
    """
    if not shares:
        raise ScheduleError("no campaign has a sample to start")
    for name, share in shares.items():
        if not (math.isfinite(share) and share > 0.0):
            raise ScheduleError(f"campaign {name}: share is {share:g}; allowed: a finite number above 0")
    rank = {} if priorities is None else priorities
    return min(shares, key=lambda name: (-rank.get(name, 0), (started.get(name, 0.0) + 1.0) / shares[name], name))
