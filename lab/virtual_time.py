"""Virtual time over all processes of a laboratory, from the session's side: the page that they share, and the session's clock on it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

from lab.core.page import TimePage
from lab.core.virtual import SharedClock, hand_over_soon


class VirtualTime:
    """The time of a session whose laboratory has ``speed: max``.

    Parameters
    ----------
    now_s : float
        Laboratory time at which it starts.

    Attributes
    ----------
    page : TimePage
    clock : SharedClock
    """

    def __init__(self, now_s: float = 0.0) -> None:
        self.page, self._file = TimePage.create(now_s)
        self.clock = SharedClock(self.page)
        self._turn_s = hand_over_soon()
        self._rest: AbstractContextManager[Any] | None = None

    @property
    def fd(self) -> int:
        """Descriptor of the page, for child processes to inherit."""
        return self._file.fileno()

    def simulator(self, names: Iterable[str]) -> dict[str, Any]:
        """What the simulator is told: it keeps the time."""
        return {"page": self.fd, "seats": list(names)}

    def bridge(self, seat: int) -> dict[str, Any]:
        """What a bridge is told, in the order of the simulator's `seats`."""
        return {"page": self.fd, "seat": seat}

    def waiting(self, statuses: Any) -> None:
        """A ``waiting_hook`` of the RunEngine: a plan that is no lane of a campaign rests while it waits for its statuses."""
        rest, self._rest = self._rest, None
        if rest is not None:
            rest.__exit__(None, None, None)
        if statuses:
            found = tuple(statuses)
            self._rest = self.clock.resting(lambda: all(one.done for one in found) or any(one.done and not one.success for one in found))
            self._rest.__enter__()

    def close(self) -> None:
        """Nothing is called any more; the time can still be read."""
        self.clock.close()
        sys.setswitchinterval(self._turn_s)
        self._file.close()
