"""What operators decide about items: those that wait for their word, and those that ended badly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lab.records.items import DISMISSED
from lab.remote.access.who import Who
from lab.remote.registry.plain import problems_of_plain
from lab.remote.registry.refusals import refuse
from lab.remote.steward.items_desk import add_one, told
from lab.remote.steward.retrying import retry_of

if TYPE_CHECKING:
    from lab.remote.steward.service import Steward

LONGEST_WHY = 500


def lab_approve(steward: Steward, who: Who, params: dict[str, Any]) -> dict[str, Any]:
    """An operator's word for exactly what they saw: `digest` is that of `lab_item`."""
    digest = params.get("digest")
    if not isinstance(digest, str) or not digest:
        raise refuse("lab_approve", "digest", digest, "the item's digest, as lab_item tells it: what was seen is what is approved")
    with steward.keeper.lock:
        steward.keeper.reconcile()
        row = steward.ledger.approve_item(str(params.get("item", "")), digest, who.name)
        steward.notice("item", f"{row.words} was approved by {who.name}", row.id)
        steward.keeper.reconcile()
        row = steward.ledger.item(row.id)
    return {"success": True, "msg": "", "item": told(row)}


def lab_reject(steward: Steward, who: Who, params: dict[str, Any]) -> dict[str, Any]:
    """An operator's word against an item that waits."""
    item, why = str(params.get("item", "")), params.get("why") or ""
    if not isinstance(why, str) or len(why) > LONGEST_WHY or problems_of_plain(why):
        raise refuse("lab_reject", "why", why, f"a text of at most {LONGEST_WHY} characters, none of them for controlling a terminal")
    steward.ledger.reject_item(item, who.name, why)
    return {"success": True, "msg": "", "item": told(steward.ledger.item(item))}


def lab_retry(steward: Steward, who: Who, params: dict[str, Any]) -> dict[str, Any]:
    """Make an item again that ended badly, next, in its owner's name; a campaign is resumed."""
    item = steward.ledger.item(str(params.get("item", "")))
    new = retry_of(steward.ledger, item, who.name)
    answer = add_one(steward, who, new, {"pos": "front"})
    steward.notice("item", f"{item.words} is made again as {answer['lab']['item']}, says {who.name}", item.id)
    steward.watch.go_on_if_decided()
    return answer


def lab_dismiss(steward: Steward, who: Who, params: dict[str, Any]) -> dict[str, Any]:
    """Leave an item that ended badly as it is."""
    item = steward.ledger.item(str(params.get("item", "")))
    steward.ledger.decide_item(item.id, DISMISSED, who.name)
    steward.notice("item", f"{item.words} is left as it is, says {who.name}", item.id)
    steward.watch.go_on_if_decided()
    return {"success": True, "msg": "", "item": told(steward.ledger.item(item.id))}


METHODS_HERE = {handler.__name__: handler for handler in (lab_approve, lab_reject, lab_retry, lab_dismiss)}
