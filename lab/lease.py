"""Who controls the laboratory: one lease, which ends with the process that holds it.

Whoever holds it has a lock on ``LAB_HOME/services/control.lock`` (flock(2)): the system takes it back however the process ends. Beside
it stands who that is and what for, ``control.json``; of a process that has died these words count no longer.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.core.errors import LeaseError
from lab.home import Home
from lab.layout import services_folder, write_for_owner
from lab.records.process import Process, this_process


@dataclass(frozen=True)
class Holder:
    """Who holds the lease.

    Parameters
    ----------
    who : str
        A person, or the owner of a key.
    what : str
        What the laboratory does for them: ``console``, ``campaigns a, b``, ``item i-... of alice: film``.
    host : str
    pid : int
    process_started : str
        As `lab.records.process.Process` has it.
    since : float
        Seconds of the epoch.
    """

    who: str
    what: str
    host: str
    pid: int
    process_started: str
    since: float

    @property
    def process(self) -> Process:
        return Process(self.host, self.pid, self.process_started)

    @property
    def words(self) -> str:
        """One line for people."""
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"{self.who} ({self.what}; process {self.pid} on {self.host}, since {since})"


class Lease:
    """The control of a laboratory; `take` it, use it as a context manager or `release` it."""

    def __init__(self, folder: Path, descriptor: int, holder: Holder) -> None:
        self._folder = folder
        self._descriptor: int | None = descriptor
        self.holder = holder
        _held.add(self)

    @classmethod
    def take(cls, home: Home, who: str, what: str, patience_s: float = 0.0) -> Lease:
        """Take control of the laboratory of a LAB_HOME, soon or not at all.

        Parameters
        ----------
        home : Home
        who, what : str
            As `Holder` has them.
        patience_s : float
            Wall seconds to wait for somebody who is about to leave it.

        Raises
        ------
        LeaseError
            When somebody else has it; names them.
        """
        folder = services_folder(home)
        me = this_process()
        holder = Holder(who, what, me.host, me.pid, me.started, time.time())
        descriptor = _lock(folder, home, time.monotonic() + patience_s)
        try:
            write_for_owner(folder / RECORD, json.dumps(asdict(holder)))
        except BaseException:
            os.close(descriptor)
            raise
        return cls(folder, descriptor, holder)

    @property
    def is_held(self) -> bool:
        return self._descriptor is not None

    def release(self) -> None:
        """Let others have it. May be called twice."""
        descriptor, self._descriptor = self._descriptor, None
        _held.discard(self)
        if descriptor is not None:
            (self._folder / RECORD).unlink(missing_ok=True)  # before the lock: afterwards it would be another's
            os.close(descriptor)

    def _abandon(self) -> None:
        """In a forked child: a descriptor left open would keep the lock beyond the holder's death."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


LOCK, RECORD = "control.lock", "control.json"
"""Files in ``LAB_HOME/services``."""

_held: set[Lease] = set()


def _abandon_all() -> None:
    for lease in tuple(_held):
        lease._abandon()
    _held.clear()


os.register_at_fork(after_in_child=_abandon_all)


def holder(home: Home) -> Holder | None:
    """Who holds the lease now; None when nobody does.

    Raises
    ------
    LeaseError
        When what stands there cannot be read.
    """
    found = _recorded(home)
    return None if found is None or found.process.is_gone() else found


def abandoned(home: Home) -> Holder | None:
    """Who died while they held the lease, until somebody takes it; else None.

    Raises
    ------
    LeaseError
        When what stands there cannot be read.
    """
    found = _recorded(home)
    return found if found is not None and found.process.is_gone() else None


def _recorded(home: Home) -> Holder | None:
    """Who took the lease last and has not released it."""
    try:
        return Holder(**json.loads((services_folder(home) / RECORD).read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise LeaseError(f"{services_folder(home) / RECORD}: cannot be read: {error}; remove it when nobody controls the laboratory") from error


def _lock(folder: Path, home: Home, ends: float) -> int:
    """A descriptor that holds the lock."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LeaseError(f"{folder / LOCK}: cannot be opened: {error.strerror or error}") from error
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= ends:
                    raise
                time.sleep(0.05)
    except BlockingIOError as error:
        os.close(descriptor)
        found = holder(home)
        raise LeaseError(f"the laboratory is controlled by {found.words if found is not None else 'somebody who has just taken it'}; "
                         "wait for its end, or ask them (lab status shows what runs)") from error
    except OSError as error:
        os.close(descriptor)
        raise LeaseError(f"{folder / LOCK}: cannot be locked: {error.strerror or error}; allowed: a LAB_HOME on a file system with locks") from error
    return descriptor
