"""One rehearsal: the closed loop with all its lanes, in a plain RunEngine, in virtual time."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lab.core.clock import EventClock
from lab.core.config import LabConfig
from lab.core.recovery import Policy, Recovery, Rule
from lab.rehearsal.conductor import Bar, DryConductor, Shown
from lab.rehearsal.devices import DryPlate, Refused, dry_instruments
from lab.rehearsal.pace import Pace
from plans.cell import Station, WorkCell
from plans.closed_loop import closed_loop
from plans.cooling import FIRST_GUESS_S
from plans.expectation import Expectation
from plans.recipes import Order, Recipe

PATIENCE_S = 1.0
"""Wall seconds; dry instruments are always ready."""


class Stage:
    """Where rehearsals of one campaign take place.

    Parameters
    ----------
    lab : LabConfig
    recipe : Recipe
    policy : Policy
    orders : sequence of Order
    rack : sequence of str
        Places with empty substrates, in the order of use.
    recorded : mapping of step name to laboratory seconds
        On record.
    hours : float or None
        The campaign's budget.
    load_below_c : float
    """

    def __init__(self, lab: LabConfig, recipe: Recipe, policy: Policy, orders: Sequence[Order], rack: Sequence[str],
                 recorded: Mapping[str, tuple[float, ...]], hours: float | None, load_below_c: float) -> None:
        self._lab, self._recipe, self._orders, self._rack = lab, recipe, orders, rack
        self._policy = hasty(policy)
        self._recorded, self._hours, self._load_below_c = dict(recorded), hours, load_below_c
        self._engine = _engine()

    def rehearse(self, rng: np.random.Generator, refused: Refused, at_once: int | None = None) -> Shown:
        """Make all samples once.

        Parameters
        ----------
        rng : numpy.random.Generator
            Of all that is scattered.
        refused : callable
            Told of each value beyond a limit.
        at_once : int or None
            Most samples in the machine at one time; None: as many as there is room for.
        """
        clock = EventClock()
        expectation = Expectation(self._recipe, self._orders[0], self._recorded)
        pace = Pace(self._recipe, expectation, self._recorded, rng)
        instruments = dry_instruments(self._lab, clock, refused, pace.transfer_s, lambda: pace.scattered(FIRST_GUESS_S))
        stations = tuple(Station(name, one.role, instruments[name]) for name, one in self._lab.stations.items() if name in instruments)
        arm: Any = next(one for name, one in instruments.items() if name not in self._lab.stations)
        cell = WorkCell(arm, stations, tuple(self._rack), clock, Path("rehearsal"))
        conductor = DryConductor(self._orders, self._recipe, self._policy, pace, self._rack, instruments, clock, self._load_below_c,
                                 self._hours)
        self._engine(closed_loop(cell, [conductor], PATIENCE_S, at_once))
        conductor.shown.cooling = [bar for station in stations if isinstance(station.device, DryPlate) for bar in self._cooling(station, clock.now())]
        return conductor.shown

    def _cooling(self, station: Station, end_s: float) -> Iterator[Bar]:
        """When a plate was too hot to be loaded."""
        plate: DryPlate = station.device
        for (since_s, from_c), (next_s, _) in zip(plate.cooled, [*plate.cooled[1:], (end_s, 0.0)], strict=False):
            until_s = min(since_s + plate.fall_s(from_c, self._load_below_c), next_s, end_s)
            if until_s > since_s:
                yield Bar(-1, station.name, "cooling", since_s, until_s)


def hasty(policy: Policy) -> Policy:
    """The same rules without their pauses, which nobody needs in a rehearsal."""
    rules = tuple(Rule(**{**rule.model_dump(), "wait_s": 0.0, "within_s": None}) for rule in policy.rules)
    return Policy([Recovery(rules=rules, patience_s=PATIENCE_S)])


def _engine() -> Any:
    """A RunEngine, made without Ophyd.

    A RunEngine imports Ophyd when it is made, only to note its version. That takes a second or two; and Ophyd brings Channel
    Access, which reads its address list once in a process, before the session that may follow has its ports.
    """
    from bluesky import RunEngine

    absent = [name for name in ("ophyd", "ophyd_async") if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment] # its import fails (docs.python.org: the import system, 5.3.1)
    try:
        return RunEngine(context_managers=[])
    finally:
        for name in absent:
            del sys.modules[name]
