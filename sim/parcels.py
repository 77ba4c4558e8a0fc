"""Bytes on their way from a simulated instrument to the host, some of them late."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Parcel:
    """Bytes on the way to the host, and how many wall seconds late they are."""

    data: bytes
    delay_s: float = 0.0


@dataclass
class Outbox:
    """Bytes on their way to the host: a late reply holds up all that come after it, as on a real line."""

    parcels: deque[tuple[float, bytes]] = field(default_factory=deque)

    def put(self, parcel: Parcel, now_s: float) -> None:
        """Send `parcel`, counted from `now_s`."""
        due_s = now_s + parcel.delay_s
        if self.parcels:
            due_s = max(due_s, self.parcels[-1][0])
        self.parcels.append((due_s, parcel.data))

    def take(self, now_s: float) -> bytes:
        """All that are due."""
        due = []
        while self.parcels and self.parcels[0][0] <= now_s:
            due.append(self.parcels.popleft()[1])
        return b"".join(due)
