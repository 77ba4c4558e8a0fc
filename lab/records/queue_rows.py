"""What the ledger answers about the queue: frozen rows. Wall times are UTC in ISO 8601."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

ItemState = Literal["waiting", "queued", "running", "completed", "failed", "stopped", "aborted", "removed", "rejected", "interrupted"]
ItemEnd = Literal["completed", "failed", "stopped", "aborted", "interrupted"]

ITEM_STATES: tuple[ItemState, ...] = (
    "waiting", "queued", "running", "completed", "failed", "stopped", "aborted", "removed", "rejected", "interrupted")
"""``waiting`` for an operator's word, ``queued``, ``running``; the others are ends."""

ITEM_ENDS: tuple[ItemEnd, ...] = ("completed", "failed", "stopped", "aborted", "interrupted")
"""How an item ends that has begun."""


@dataclass(frozen=True)
class NewItem:
    """An item that is to be recorded.

    Parameters
    ----------
    name : str
        Of the plan, or of the RE Manager's instruction.
    parameters : mapping of str to JSON value
        By name, as they were validated.
    digest : str
        `lab.core.digest.digest_of` both.
    user, role : str
        Whose it is: the name and role of a key.
    is_waiting : bool
        Whether it waits for an operator's word.
    estimate_s : float, optional
        How long it will take, laboratory seconds.
    campaign : str
        Which it resumes; else empty.
    parent : str
        The item which is made again by it; else empty.
    kind : {"plan", "instruction"}
    meta : mapping of str to JSON value
        What its owner wants to be in the start documents of its runs.
    by : str
        Who asked for it, where that is not its owner: an operator, or the policy.
    """

    name: str
    parameters: Mapping[str, Any]
    digest: str
    user: str
    role: str
    is_waiting: bool = False
    estimate_s: float | None = None
    campaign: str = ""
    parent: str = ""
    kind: Literal["plan", "instruction"] = "plan"
    meta: Mapping[str, Any] = field(default_factory=dict)
    by: str = ""


@dataclass(frozen=True)
class ItemRow:
    """One item of the queue, from when it was asked for to what became of it.

    Parameters
    ----------
    number : int
        In the order in which they were submitted.
    id : str
        ``i-00042-1f3c``; sorts as `number` does.
    uid : str
        The RE Manager's, the latest one; empty while it is not in its queue.
    state : str
        One of `ITEM_STATES`; what runs, and whose worker is gone, is ``interrupted``.
    cause : str
        Why it ended as it did, in words.
    place : float
        Orders what is queued.
    runs : tuple of str
        Uids of its runs.
    decided : str
        What people made of an item that had ended badly: ``retried as ITEM``, ``dismissed``; else empty.
    host, pid, process_started
        The worker that began it, as `lab.records.process.Process` has it.
    """

    number: int
    id: str
    uid: str
    kind: str
    name: str
    parameters: Mapping[str, Any]
    digest: str
    meta: Mapping[str, Any]
    user: str
    role: str
    state: ItemState
    cause: str
    place: float
    estimate_s: float | None
    campaign: str
    runs: tuple[str, ...]
    approved_by: str
    approved_wall: str | None
    parent: str
    decided: str
    decided_by: str
    decided_wall: str | None
    host: str
    pid: int
    process_started: str
    submitted_wall: str
    began_wall: str | None
    ended_wall: str | None

    @property
    def words(self) -> str:
        """One line for people: which it is, and whose."""
        return f"item {self.id} of {self.user} ({self.name})"

    @property
    def next(self) -> str:
        """With what a person decides about it; empty: nobody has to."""
        if self.state == "waiting":
            return f"lab queue approve {self.id}, or lab queue reject {self.id} WHY"
        if self.state == "interrupted" and not self.decided:
            return f"lab queue retry {self.id}, or lab queue dismiss {self.id}"
        return ""


@dataclass(frozen=True)
class ErrandRow:
    """A write to which a client gave a name, and what became of it.

    Parameters
    ----------
    items : tuple of str
        Ids of the items that it made.
    answer : mapping, optional
        What was answered; None while nobody knows: it is under way, or the steward died before it had an answer.
    """

    user: str
    name: str
    method: str
    digest: str
    items: tuple[str, ...]
    answer: Mapping[str, Any] | None
    begun_wall: str
    ended_wall: str | None


@dataclass(frozen=True)
class NoticeRow:
    """Something that happened to the queue or one of its services.

    Parameters
    ----------
    kind : str
        ``worker``, ``manager``, ``queue``, ``item``.
    item : str
        Which item it concerns; empty: none.
    """

    id: int
    kind: str
    item: str
    text: str
    recorded_wall: str


@dataclass(frozen=True)
class Errand:
    """Names a write: whose it is, and the client's name for it."""

    user: str
    name: str
    method: str = ""
    digest: str = field(default="")
