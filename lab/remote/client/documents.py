"""Documents of an item or a campaign as they come, until it has ended."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from lab.remote.client.laboratory import Laboratory

LOOK_S: Final = 1.0
"""Between two looks whether it has ended, while no document comes."""
SETTLE_S: Final = 1.0
"""After its end, for the last documents to come."""

GOING: Final = ("waiting", "queued", "running")
"""States of an item or a campaign that has not ended."""


@dataclass(frozen=True)
class Document:
    """One document of a run.

    Parameters
    ----------
    run : str
        Uid of the run.
    n : int
        Its number within the run, from 0.
    name : str
        ``start``, ``descriptor``, ``event``, ..., ``stop``.
    doc : dict
        The document.
    campaign, item, user : str
        Whose it is; empty where it is nobody's.
    """

    run: str
    n: int
    name: str
    doc: dict[str, Any]
    campaign: str = ""
    item: str = ""
    user: str = ""

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Document:
        """From the stream's message."""
        return cls(content["run"], content["n"], content["name"], content["doc"], content.get("campaign") or "", content.get("item") or "",
                   content.get("user") or "")


def documents(lab: Laboratory, target: Mapping[str, str] | None, have: Mapping[str, int] | None = None) -> Iterator[Document]:
    """See `lab.remote.client.laboratory.Laboratory.watch`."""
    feed = lab.feed({"documents": dict(target) if target is not None else {"all": True}}, have)
    looked = time.monotonic()
    ended: float | None = None
    try:
        while True:
            message = feed.next(LOOK_S)
            if message is not None and message.topic == "document":
                yield Document.of(message.content)
                continue
            now = time.monotonic()
            if target is None or feed.trouble:
                ended = None
            elif ended is not None:
                if now - ended >= SETTLE_S:
                    return
            elif now - looked >= LOOK_S:
                looked = now
                ended = now if has_ended(lab, target) else None
    finally:
        feed.close()


def has_ended(lab: Laboratory, target: Mapping[str, str]) -> bool:
    """Whether an item or a campaign has come to its end."""
    state: str = lab.item(target["item"])["state"] if "item" in target else lab.campaign(target["campaign"])["status"]
    return state not in GOING
