"""What the ledger tells a rehearsal: how long steps took, what is in stock, which slots hold an empty substrate. Nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lab.core.clock import WallClock
from lab.core.config import LabConfig, places_of
from lab.home import Home


@dataclass(frozen=True)
class Account:
    """A consumable that the laboratory counts.

    Parameters
    ----------
    available : float
        What is there and not promised to others.
    capacity : float or None
        What there can be at most.
    unit : str
    """

    available: float
    capacity: float | None
    unit: str


@dataclass(frozen=True)
class Known:
    """What is on record of a laboratory.

    Parameters
    ----------
    durations : mapping of step name to laboratory seconds, newest last
    accounts : mapping of name to Account
    free : tuple of str
        Slots of the rack with an empty substrate, in the order of use.
    """

    durations: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    accounts: Mapping[str, Account] = field(default_factory=dict)
    free: tuple[str, ...] = ()


def look_up(home: Home, lab: LabConfig, recipe: str, *, keeps_world: bool = False) -> Known:
    """What the ledger of `home` knows.

    A laboratory of which nothing is on record has a full rack and full syringes; so has a simulated one, whose world each
    `lab run` makes anew (`lab.stocking`): of that only durations are looked up, unless it `keeps_world`.

    Raises
    ------
    LedgerError
        When the ledger cannot be read.
    """
    rack = tuple(place for name in lab.stations_of("rack") for place in places_of(name, lab.stations[name]))
    if not home.ledger.exists():
        return Known(free=rack)
    from lab.records.ledger import Ledger

    speed = lab.speed if lab.is_simulated else 1.0
    with Ledger(home.ledger, WallClock()) as ledger:
        durations = dict(ledger.durations(lab.name, recipe, speed))
        if lab.is_simulated and not keeps_world:
            return Known(durations, free=rack)
        accounts = {row.account: Account(row.available, row.capacity, row.unit) for row in ledger.stock(lab.name)}
        return Known(durations, accounts, ledger.free_slots(lab.name, rack))
