"""The history of the queue, complete: what the RE Manager remembers, put right and filled in from the ledger.

The RE Manager loses what had just ended when it, or Redis, died; and of what ended while it was away it knows nothing, or ``unknown``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lab.records.queue_rows import ITEM_ENDS, ItemRow
from lab.remote.access.roles import may_see
from lab.remote.access.who import Who
from lab.remote.registry.refusals import refuse
from lab.remote.steward.keeper import DESTROYED_WORDS, as_raw

if TYPE_CHECKING:
    from lab.remote.steward.service import Steward

CLEARED = "history"
"""Kind of the notice by which it is known that an admin has cleared the history."""

EXIT_STATUS = {"completed": "completed", "failed": "failed", "stopped": "stopped", "aborted": "aborted", "interrupted": "unknown"}
"""The RE Manager's words; for an item that was interrupted nobody knows how far it came."""


def complete(entries: Sequence[Mapping[str, Any]], items: Sequence[ItemRow], since_wall: str = "") -> list[dict[str, Any]]:
    """The history, in the order in which things ended.

    Parameters
    ----------
    entries : sequence of mapping
        The RE Manager's, the oldest first.
    items : sequence of ItemRow
        All that have ended.
    since_wall : str
        What ended before has been cleared away.
    """
    by_id = {item.id: item for item in items}
    found, told = [], set()
    for entry in entries:
        item = by_id.get(str((entry.get("meta") or {}).get("item", "")))
        if item is None or item.began_wall is None or item.uid not in ("", entry.get("item_uid")):
            found.append(dict(entry))
            continue
        told.add(item.id)
        found.append(_put_right(entry, item))
    found += [_of_ledger(item) for item in items if item.began_wall is not None and item.id not in told and (item.ended_wall or "") > since_wall]
    return sorted(found, key=lambda entry: float((entry.get("result") or {}).get("time_stop", 0.0)))


def _put_right(entry: Mapping[str, Any], item: ItemRow) -> dict[str, Any]:
    result = dict(entry.get("result") or {})
    if result.get("exit_status") == "unknown" or DESTROYED_WORDS in str(result.get("msg", "")):
        result |= {"exit_status": EXIT_STATUS[item.state], "msg": item.cause}
    if not result.get("run_uids"):
        result["run_uids"] = list(item.runs)
    return {**entry, "result": result, "lab": _ours(item)}


def _of_ledger(item: ItemRow) -> dict[str, Any]:
    result = {"exit_status": EXIT_STATUS[item.state], "run_uids": list(item.runs), "scan_ids": [], "time_start": _seconds(item.began_wall),
              "time_stop": _seconds(item.ended_wall), "msg": item.cause, "traceback": ""}
    return {**as_raw(item), "user": item.user, "user_group": item.role, "item_uid": item.uid if item.uid else item.id, "result": result, "lab": _ours(item)}


def _ours(item: ItemRow) -> dict[str, Any]:
    return {"item": item.id, "state": item.state, "cause": item.cause, "decided": item.decided}


def _seconds(wall: str | None) -> float:
    return datetime.fromisoformat(wall).timestamp() if wall is not None else 0.0


def history_get(steward: Steward, who: Who, params: dict[str, Any]) -> dict[str, Any]:
    """What has run, and how it ended."""
    answer = steward.manager.ask("history_get")
    if not answer.get("success"):
        return answer
    sees = steward.lab.remote.documents(who.role)
    cleared = [notice.recorded_wall for notice in steward.ledger.notices() if notice.kind == CLEARED]
    found = complete(answer["items"], steward.ledger.items(ITEM_ENDS), cleared[-1] if cleared else "")
    return {**answer, "items": [entry if may_see(sees, who.name, str(entry.get("user", ""))) else _in_short(entry) for entry in found]}


def _in_short(entry: Mapping[str, Any]) -> dict[str, Any]:
    """For those who do not see its data: what a plan raised may show some, and shows the machine's paths."""
    return {**entry, "result": {**(entry.get("result") or {}), "traceback": ""}}


def history_clear(steward: Steward, who: Who, params: dict[str, Any]) -> dict[str, Any]:
    """Clear the RE Manager's history; the ledger keeps what is in it."""
    if params.keys() - {"lock_key"}:
        raise refuse("history_clear", sorted(params)[0], next(iter(params.values())), "lock_key: the history is cleared as a whole")
    answer = steward.manager.ask("history_clear", params)
    if answer.get("success"):
        steward.notice(CLEARED, f"the history was cleared by {who.name}; lab_items tells it still")
    return answer


METHODS_HERE = {"history_get": history_get, "history_clear": history_clear}
