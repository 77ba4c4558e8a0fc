"""The work cell: what a plan has at hand, by capability."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.core.capabilities import Arm, Instrument
from lab.core.clock import Clock
from lab.core.errors import CommandError
from lab.core.interlocks import Exclusions

_SAFE_FIRST = ("annealer", "synthesiser")
"""Roles of what is made safe before the arm: what burns, then what spills."""


@dataclass(frozen=True)
class Station:
    """A place where something is done to a sample, one at a time.

    Parameters
    ----------
    name : str
        Also the place where the arm puts a sample.
    role : str
        ``synthesiser``, ``annealer`` or ``detector``.
    device : Synthesiser, Heater or Detector of lab.core.capabilities
        As the role says.
    """

    name: str
    role: str
    device: Any


@dataclass(frozen=True)
class WorkCell:
    """Instruments and places of one laboratory.

    Parameters
    ----------
    arm : Arm
    stations : tuple of Station
        In the order of lab.yaml.
    rack : tuple of str
        Places where samples start and end.
    clock : Clock
        Laboratory time.
    frames : Path
        Folder for the frames, one for each campaign in it.
    exclusions : Exclusions
        What must not move at the same time.
    check : callable
        Raises InterlockError while an interlock forbids that one of these devices begins something.
    """

    arm: Arm
    stations: tuple[Station, ...]
    rack: tuple[str, ...]
    clock: Clock
    frames: Path
    exclusions: Exclusions = field(default_factory=lambda: Exclusions((), {}))
    check: Callable[[Sequence[Any]], None] = lambda devices: None

    def of(self, role: str) -> tuple[Station, ...]:
        """The stations of a role, in the order of lab.yaml."""
        return tuple(station for station in self.stations if station.role == role)

    def station(self, name: str) -> Station:
        """The station of this name.

        Raises
        ------
        CommandError
            When there is none.
        """
        for station in self.stations:
            if station.name == name:
                return station
        raise CommandError(f"work cell: given {name!r}, which is no station; allowed: {', '.join(s.name for s in self.stations)}")

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """Each device once, in the order in which they are made safe: what burns or spills first."""
        first = [station.device for role in _SAFE_FIRST for station in self.of(role)]
        others = [station.device for station in self.stations if station.role not in _SAFE_FIRST]
        distinct = {id(device): device for device in (*first, self.arm, *others)}
        return tuple(device for device in distinct.values() if isinstance(device, Instrument))
