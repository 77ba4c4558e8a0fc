"""What is killed when: drawn from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from lab.files import load_lab

BRIDGES = tuple(load_lab(Path(__file__).parent.parent.parent / "examples" / "lab.yaml", {}).instruments)
"""Each instrument has one."""

ALL = "everything"
POWER = "power"
"""Everything, and what is resumed is what was on the disk, at another place."""

FORK = "nobody"
"""Nothing is killed: what a power loss would leave is copied, and the copy resumed as a campaign of its own."""

VICTIMS = {"session": 30, ALL: 14, POWER: 12, "simulator": 16, **dict.fromkeys(BRIDGES, 4), "pump": 6, "arm": 6}
"""How often each is drawn."""

PHASES = {"start": 10, "resuming": 16, "running": 24, "cast": 12, "anneal": 8, "measure": 8, "transfer": 12, "evaluate": 8, "after Ctrl-C": 12}
"""When: while processes start; while a resumed session looks for its samples; at any time; within such a step; a moment after Ctrl-C."""


@dataclass(frozen=True)
class Kill:
    """One kill.

    Parameters
    ----------
    victim : str
        `SESSION`, ``simulator``, a bridge, `ALL`, `POWER` or `FORK`.
    phase : str
        One of `PHASES`.
    delay_s : float
        Wall seconds from the beginning of that phase.
    nth : int
        The how many-th such step of the session it is, where the phase is one.
    """

    victim: str
    phase: str
    delay_s: float
    nth: int = 1

    @property
    def is_bridge(self) -> bool:
        return self.victim in BRIDGES

    def __str__(self) -> str:
        return f"{self.victim} at {self.phase} + {self.delay_s:.3f} s"


_LONGEST_S = {"start": 6.0, "resuming": 0.8, "running": 8.0, "cast": 0.12, "anneal": 0.8, "measure": 0.25, "transfer": 0.25, "evaluate": 0.15,
              "after Ctrl-C": 1.5}


def kills(chances: random.Random) -> list[Kill]:
    """The kills of one session: bridges, which are started again, and mostly one that ends it."""
    found = []
    while True:
        kill = _kill(chances)
        found.append(kill)
        if not kill.is_bridge or kill.phase in ("start", "after Ctrl-C") or len(found) == 4:
            return found


def _kill(chances: random.Random) -> Kill:
    victim = chances.choices(list(VICTIMS), list(VICTIMS.values()))[0]
    phase = chances.choices(list(PHASES), list(PHASES.values()))[0]
    return Kill(victim, phase, chances.uniform(0.0, _LONGEST_S[phase]))
