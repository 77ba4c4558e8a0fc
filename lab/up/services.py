"""The services of a laboratory that is up: a table, in the order in which they stop from the bottom up."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from lab.core.config import LabConfig
from lab.layout import Layout


@dataclass(frozen=True)
class Service:
    """One process under the supervisor.

    Parameters
    ----------
    name : str
    what : str
        For people.
    command : tuple of str
        Run in LAB_HOME.
    stop_s : float
        Wall seconds that it may take to end in order; after that it is killed.
    needs : tuple of str
        Services without which it cannot work; it waits for them by itself, so that all start side by side.
    """

    name: str
    what: str
    command: tuple[str, ...]
    stop_s: float
    needs: tuple[str, ...] = ()


_MODULES: tuple[tuple[str, str, str, float, tuple[str, ...]], ...] = (
    ("instruments", "simulator and bridges", "lab.up.instruments", 40.0, ()),
    ("catalogue", "Tiled, for people who look at data", "lab.up.catalogue", 30.0, ()),
    ("queue", "the RE Manager and its worker", "lab.up.queue", 90.0, ("redis", "instruments")),
    ("steward", "the only one that changes the queue", "lab.remote.steward", 20.0, ("queue",)),
    ("gateway", "the door for remote scientists", "lab.remote.gateway", 10.0, ("steward",)),
)


ORDER: tuple[str, ...] = ("redis", *(name for name, *_ in _MODULES))
"""Of all services there can be, from the bottom up."""


def services_of(layout: Layout, lab: LabConfig) -> tuple[Service, ...]:
    """The services of a laboratory; each may need those before it, so they end in the opposite order."""
    found = []
    if layout.is_own_redis:
        found.append(Service("redis", "what the queue is kept in", (sys.executable, "-m", "lab.up.redis", "--home", "."), 20.0))
    for name, what, module, stop_s, needs in _MODULES:
        if name == "catalogue" and not lab.catalogue:
            continue
        wanted = tuple(need for need in needs if need != "redis" or layout.is_own_redis)
        found.append(Service(name, what, (sys.executable, "-m", module, "--home", "."), stop_s, wanted))
    return tuple(found)

