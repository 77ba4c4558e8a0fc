"""The page of memory that the processes of a laboratory in virtual time share (docs/decisions/0014-virtual-time.md).

Whoever writes a cell is the only one who does. The simulator writes what time it is and how often time has leapt; the session, what
it has asked bridges for and what it waits for; each bridge, at its *seat*, how many of its commands wait for physics. It is memory
and no message because a reading of the time must never be older than what was just heard from somebody else.

A writer of several cells counts its changes before and after (odd: it is writing). Two looks that find the same counts, all even,
have seen one state that was never left in between.
"""

from __future__ import annotations

import math
import mmap
import tempfile
from dataclasses import dataclass
from typing import IO

SIZE = 4096

_NOW, _EPOCH = 0, 1
_CHANGES, _IS_QUIET, _N_ASKED, _NEXT, _N_WORKING = 2, 3, 4, 5, 6
_SEATS = 8
_SEAT = 3
"""Cells of a seat: changes, epoch, commands that wait."""

N_SEATS = (SIZE // 8 - _SEATS) // _SEAT
"""As many bridges as one page has room for."""


@dataclass(frozen=True)
class Look:
    """What stands on the page.

    Parameters
    ----------
    is_settled : bool
        Nobody was writing.
    changes : tuple of int
        Of the session and of each seat.
    epoch : int
        How often time has leapt.
    is_quiet : bool
        The session only waits.
    n_working : int
        Threads of the session that compute.
    n_asked : int
        Commands that the session has sent and that have not come back.
    n_waiting : tuple of int
        Of these, how many wait for physics and have looked at it since the last leap; by seat.
    next_s : float
        The session's next timer, laboratory seconds; infinite when there is none.
    """

    is_settled: bool
    changes: tuple[int, ...]
    epoch: int
    is_quiet: bool
    n_working: int
    n_asked: int
    n_waiting: tuple[int, ...]
    next_s: float

    @property
    def is_at_rest(self) -> bool:
        """Nothing goes on anywhere, nothing is on its way, and everybody waits for time to pass."""
        return self.is_settled and self.is_quiet and self.n_asked == sum(self.n_waiting)


class TimePage:
    """The shared page.

    Parameters
    ----------
    fd : int
        Descriptor of a file of `SIZE` bytes; it may be closed afterwards.
    """

    def __init__(self, fd: int) -> None:
        view = memoryview(mmap.mmap(fd, SIZE))
        # Aligned cells of eight bytes: each is read and written as a whole.
        self._whole, self._real = view.cast("Q"), view.cast("d")

    @classmethod
    def create(cls, now_s: float = 0.0) -> tuple[TimePage, IO[bytes]]:
        """A page at a time, and the nameless file behind it: child processes inherit its descriptor, and it goes with the last of them."""
        file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the session
        file.truncate(SIZE)
        page = cls(file.fileno())
        page.move_to(now_s)
        page.tell(is_quiet=False, n_asked=0, n_working=0, next_s=math.inf)
        return page, file

    # ------------------------------------------------------------------------------------------------ of all

    @property
    def now_s(self) -> float:
        """Laboratory seconds."""
        return self._real[_NOW]

    @property
    def epoch(self) -> int:
        """How often time has leapt."""
        return self._whole[_EPOCH]

    # ------------------------------------------------------------------------------------- of the time-keeper

    def move_to(self, now_s: float) -> None:
        """It is `now_s`; `leapt` must follow, once the simulated world has come so far."""
        self._real[_NOW] = now_s

    def leapt(self) -> None:
        """A leap is complete: what anybody has seen of physics before is history."""
        self._whole[_EPOCH] += 1

    @property
    def is_quiet(self) -> bool:
        """Whether the session only waits, at a glance."""
        return bool(self._whole[_IS_QUIET])

    def look(self, n_seats: int) -> Look:
        """What everybody says, with the first `n_seats` seats."""
        cells = self._whole
        rows = [cells[_SEATS + _SEAT * i:_SEATS + _SEAT * (i + 1)].tolist() for i in range(n_seats)]
        epoch = cells[_EPOCH]
        changes = (cells[_CHANGES], *(row[0] for row in rows))
        return Look(
            is_settled=not any(number % 2 for number in changes), changes=changes, epoch=epoch, is_quiet=bool(cells[_IS_QUIET]),
            n_working=cells[_N_WORKING], n_asked=cells[_N_ASKED], n_waiting=tuple(row[2] if row[1] == epoch else 0 for row in rows),
            next_s=self._real[_NEXT])

    # --------------------------------------------------------------------------------------- of the session

    def tell(self, *, is_quiet: bool, n_asked: int, n_working: int, next_s: float) -> None:
        """What the session does (see `Look`)."""
        cells = self._whole
        cells[_CHANGES] |= 1
        cells[_IS_QUIET], cells[_N_ASKED], cells[_N_WORKING] = int(is_quiet), n_asked, n_working
        self._real[_NEXT] = next_s
        cells[_CHANGES] += 1

    # ---------------------------------------------------------------------------------------- of one bridge

    def sit(self, seat: int, epoch: int, n_waiting: int) -> None:
        """How many commands of a bridge have seen at `epoch` that they wait for physics."""
        cells, first = self._whole, _SEATS + _SEAT * seat
        cells[first] |= 1  # also after a bridge that was killed while it wrote
        cells[first + 1], cells[first + 2] = epoch, n_waiting
        cells[first] += 1
