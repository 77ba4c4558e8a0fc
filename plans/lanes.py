"""Many plans at once in one RunEngine: each sample is a *lane*, and what one lane waits for does not hold up the others.

Inside a lane everything Bluesky offers works as in a plan of its own: ``bps.mv``, ``trigger_and_read``, ``stage``, runs, monitors. On top
of that a lane acquires stations and the arm (`acquire`, `release`, `claim`), starts other lanes (`spawn`), and waits for the first of
several Statuses (`first_of`). What differs from a plan of its own:

- A Status that fails is thrown (`bluesky.utils.FailedStatus`) into the lane that owns it, at its ``wait`` for that group (or one
  that watches it), and nowhere else. One that nobody waits for makes the lane fail at its end.
- Nothing is replayed, so nothing is set twice. A pause lets what is under way finish; after it, a device that was on its way to a
  number and is not there makes the lane's ``wait`` fail with a `lab.core.errors.CommandError`.
- An exception ends its own lane only. An abort or stop of the RunEngine reaches all lanes; their finalizers run side by side.

See docs/decisions/0007-lanes.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from bluesky.utils import Msg

from lab.core.capabilities import Status
from plans.lane import Lane, LaneCancelled, LaneHandle, LanesFailed, Plan, Preprocessor
from plans.multiplexer import Multiplexer
from plans.resources import ResourceError, Resources

__all__ = ["Lane", "LaneCancelled", "LaneHandle", "LanesFailed", "Plan", "ResourceError", "Resources", "acquire", "claim", "first_of", "lanes", "release",
           "spawn"]


def acquire(*resources: str) -> Plan:
    """Wait for a unit of each of these resources, all at once.

    Returns
    -------
    dict of resource to the name of the unit granted

    Raises
    ------
    plans.resources.ResourceError
        When the lane's claim, or the laboratory, does not allow it.
    """
    return (yield Msg("lane_acquire", None, *resources))


def release(*units: str) -> Plan:
    """Give units back, by name. What a lane still has when it ends is given back for it.

    Raises
    ------
    plans.resources.ResourceError
        When the lane does not hold one of them.
    """
    yield Msg("lane_release", None, *units)


def claim(*stages: Mapping[str, int]) -> Plan:
    """Say what the lane may still need at most at one time; replaces its former claim. Several: one after the other.

    Raises
    ------
    plans.resources.ResourceError
        When it is more than the laboratory has, or grows so that lanes could wait for each other for ever.
    """
    yield Msg("lane_claim", None, *stages)


def spawn(lane: Lane) -> Plan:
    """Start another lane; returns its `LaneHandle`.

    Raises
    ------
    plans.resources.ResourceError
        When its claim cannot be kept.
    LabError
        When there is, or was, a lane of that name, or all lanes are being ended.
    """
    return (yield Msg("lane_spawn", None, lane))


def first_of(*statuses: Status) -> Plan:
    """Wait until at least one of the Statuses is done; a failed one does not raise here.

    Raises
    ------
    LabError
        When none is given: that would be for ever.
    """
    yield Msg("lane_first_of", None, *statuses)


def lanes(*first: Lane, resources: Resources, resting: Callable[..., AbstractContextManager[Any]] = nullcontext,
          preprocessors: Sequence[Preprocessor] = ()) -> Plan:
    """Run lanes side by side until all have ended.

    Parameters
    ----------
    *first : Lane
        Further ones are started by these, with `spawn`.
    resources : Resources
    resting : callable returning a context manager
        Entered while no lane can go on (virtual clocks may leap then), with a callable that tells whether one can by now.
    preprocessors : sequence of callables
        Applied to each lane's plan, as a RunEngine applies its own to the whole: this is the place for monitors and flyers of a
        ``SupplementalData``, which know of one run at a time. A baseline works in both places.

    Returns
    -------
    dict of lane name to what its plan returned

    Raises
    ------
    LanesFailed
        When lanes ended with exceptions that nobody took (by reading `LaneHandle.exception`).
    """
    return (yield from Multiplexer(resources, resting, preprocessors).run(first))
