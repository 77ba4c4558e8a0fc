"""Whether the queue runs by itself, and why not: on the disk, because no restart may start a queue that somebody, or something, has stopped."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, Self

from lab.layout import Layout, write_for_owner
from lab.lease import Holder
from lab.records.process import Process

Cause = Literal["", "failed", "interrupted", "stopped"]


@dataclass(frozen=True)
class Going:
    """What the queue is meant to do.

    Parameters
    ----------
    is_on : bool
        Whether what is queued runs without anybody's doing.
    cause : str
        Why not: an item ``failed`` or was ended by somebody, one was ``interrupted`` and nobody has decided, somebody has ``stopped`` the queue.
    why : str
        In words; empty while it is on.
    since_wall : str
        ISO 8601, UTC.
    is_environment_wanted : bool
        Whether the worker is to be there: nobody has closed it.
    """

    is_on: bool
    since_wall: str
    cause: Cause = ""
    why: str = ""
    is_environment_wanted: bool = True

    def started(self, wall: str) -> Self:
        return replace(self, is_on=True, cause="", why="", since_wall=wall)

    def stopped(self, cause: Cause, why: str, wall: str) -> Self:
        return replace(self, is_on=False, cause=cause, why=why, since_wall=wall)

    def save(self, layout: Layout) -> None:
        """Write it down before anything is done about it."""
        write_for_owner(_file(layout), json.dumps(asdict(self)))

    @classmethod
    def load(cls, layout: Layout) -> Self | None:
        """As it was left; None in a laboratory that has never been up."""
        try:
            return cls(**json.loads(_file(layout).read_text()))
        except FileNotFoundError:
            return None


def standstill(going: Going | None, held: Holder | None, worker: Process | None) -> str:
    """Why nothing begins, although it is queued; empty: nothing keeps it.

    Parameters
    ----------
    going : Going, optional
    held : Holder, optional
        Of the laboratory's lease.
    worker : Process, optional
        To which the lease may belong without keeping anything.
    """
    if going is not None and going.why:
        return going.why
    if held is None or held.process == worker:
        return ""
    return f"the laboratory is controlled by {held.words}; the queue goes on when they give it back"


def _file(layout: Layout) -> Path:
    return layout.folder / "going.json"
