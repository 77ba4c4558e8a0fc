"""Who has paused what runs: a pause is lifted by whoever made it, or by an operator.

Two ways lead to a pause: a request to the campaign (``lab_campaign_pause`` from afar, ``lab pause`` at the laboratory), which the ledger keeps
with its name, and ``re_pause``, of which the steward leaves a notice at the item that runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.remote.access.who import Who
from lab.remote.steward.re_manager import ManagerGone, ManagerRefused

if TYPE_CHECKING:
    from lab.remote.steward.service import Steward

PAUSED, RESUMED = "pause", "resume"
"""Kinds of the notices about ``re_pause`` and ``re_resume``; what is said of them ends with a name."""

_BY = " by "


def note(steward: Steward, who: Who, kind: str) -> None:
    """Put on record that an operator pauses, or lets go on, whatever runs."""
    for item in steward.ledger.items(("running",)):
        words = "paused" if kind == PAUSED else "let go on"
        steward.notice(kind, f"{item.words} was {words}{_BY}{who.name}", item.id)


def is_paused(steward: Steward) -> bool:
    """Whether what runs is paused already, or about to be."""
    try:
        return str(steward.manager.status().get("re_state")) in ("paused", "pausing")
    except (ManagerGone, ManagerRefused):
        return False


def held_by(steward: Steward, campaign: str) -> list[str]:
    """Who has paused a campaign since it was last let go on; empty: nobody."""
    said = [(one.requested_wall, one.kind, one.by) for one in steward.ledger.requests(campaign) if one.kind in ("pause", "continue")]
    for item in steward.ledger.items(("running",)):
        if item.campaign == campaign:
            said += [(one.recorded_wall, one.kind, one.text.rpartition(_BY)[2]) for one in steward.ledger.notices(item.id) if one.kind in (PAUSED, RESUMED)]
    held: list[str] = []
    for _, kind, by in sorted(said):
        held = [*held, by] if kind == PAUSED else []
    return held
