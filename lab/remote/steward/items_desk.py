"""Items of the queue, for people elsewhere: adding, changing, moving, removing, looking at them.

Whose item it is says the key. Each may do with their own items what they like before those have begun; operators with everybody's.
Nothing enters the queue unchecked, and nothing is changed without being checked again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from lab.core.digest import digest_of
from lab.core.remote import is_at_least
from lab.records.queue_rows import ItemRow, NewItem
from lab.remote.access.who import Who
from lab.remote.registry.plain import problems_of_plain
from lab.remote.registry.refusals import PlanRefused, Problem, refuse, shown
from lab.remote.steward.keeper import as_raw
from lab.remote.steward.queue_order import chosen, place_of, position
from lab.remote.steward.re_manager import Entry, View

if TYPE_CHECKING:
    from lab.remote.steward.service import Steward

Params = dict[str, Any]
Answer = dict[str, Any]

RESERVED = frozenset({"item", "user", "digest", "campaign", "trial", "uid", "time", "scan_id", "plan_name", "plan_type", "plan_args", "versions",
                      "hints", "group", "owner", "project", "data_session", "data_groups", "data_type", "sample"})
"""Keys of start documents that mean something to the laboratory, to Bluesky, or to who reads them."""

MOST_PENDING = 8_000_000
"""Characters of the parameters of all items that one name has in the queue or waiting: everybody who looks at the queue is sent them."""

MOST_META = 20
MOST_ITEMS = 500
"""In one batch."""

CHECKS_S = 40.0
"""Wall seconds for looking at a batch: whoever sent it waits no longer, and must not find it in the queue hours later."""


# ---------------------------------------------------------------------------------------------------- what is added


def read_item(steward: Steward, who: Who, raw: Any, field: str = "item") -> tuple[NewItem, tuple[str, ...]]:
    """An item as the RE Manager's clients write it, checked; with warnings.

    Raises
    ------
    PlanRefused
        With all mistakes.
    """
    if not isinstance(raw, dict):
        raise refuse("queue", field, raw, "an object: item_type, name, kwargs")
    kind = raw.get("item_type", "plan")
    if kind == "instruction":
        return _instruction(who, raw, field), ()
    if kind != "plan":
        raise refuse("queue", f"{field}.item_type", kind, "plan" + (", instruction" if is_at_least(who.role, "operator") else ""))
    parameters = steward.plans.bind(raw.get("name"), raw.get("args"), raw.get("kwargs"), who.role)
    checked = steward.plans.check(raw.get("name"), parameters, who)
    return NewItem(checked.name, checked.parameters, checked.digest, who.name, who.role, is_waiting=steward.lab.remote.needs_approval(who.name, who.role),
                   estimate_s=checked.estimate_s, campaign=_campaign_of(checked.name, checked.parameters), meta=_meta(raw.get("meta"), field)), checked.warnings


def _campaign_of(name: str, parameters: Mapping[str, Any]) -> str:
    return str(parameters["campaign"]) if name == "resume_campaign" else ""


def _instruction(who: Who, raw: Params, field: str) -> NewItem:
    if not is_at_least(who.role, "operator") or raw.get("name") != "queue_stop":
        raise refuse("queue", f"{field}.name", raw.get("name"), "queue_stop, from an operator" if raw.get("name") == "queue_stop" else "queue_stop")
    return NewItem("queue_stop", {}, digest_of("queue_stop", {}), who.name, who.role, kind="instruction")


def _meta(raw: Any, field: str) -> dict[str, Any]:
    """What the owner wants in the start documents; what the steward put there itself when the item was added before is left out."""
    given = {} if raw is None else raw
    if not isinstance(given, dict):
        raise refuse("queue", f"{field}.meta", raw, "an object")
    given = {key: value for key, value in given.items() if key not in ("item", "user", "digest")} if "digest" in given else given
    wrong = [Problem(f"{field}.meta.{shown(key)}", shown(value), "a text without control characters, a number, true or false; under a name that is not reserved")
             for key, value in given.items()
             if key in RESERVED or not key.isidentifier() or len(key) > 80 or not isinstance(value, str | int | float | bool) or problems_of_plain(value)]
    if len(given) > MOST_META:
        wrong.append(Problem(f"{field}.meta", f"{len(given)} names", f"at most {MOST_META}"))
    if wrong:
        raise PlanRefused("queue", wrong)
    return given


def queue_item_add(steward: Steward, who: Who, params: Params) -> Answer:
    """Check one item, record it, queue it."""
    new, warnings = read_item(steward, who, params.get("item"))
    return add_one(steward, who, new, params, warnings)


def add_one(steward: Steward, who: Who, new: NewItem, params: Mapping[str, Any], warnings: Sequence[str] = ()) -> Answer:
    """Record an item that was checked, and queue it; the answer is the RE Manager's, with ours under ``lab``."""
    with steward.keeper.lock:
        if not new.parent:
            _check_room(steward, who, [new])
        view = steward.keeper.view()
        row = steward.keeper.add([new], before=place_of(view, params, who), errand=steward.errand)[0]
        n = len(view.entries) + (row.state == "queued")
    why = steward.watch.standstill() if row.state == "queued" else ""
    warnings = [*warnings, f"the queue stands: {why}"] if why else warnings
    return {"success": True, "msg": _msg(row), "qsize": n, "item": _raw(row), "lab": _ours(row, warnings)}


def queue_item_add_batch(steward: Steward, who: Who, params: Params) -> Answer:
    """Check items, and queue all of them or none."""
    items = params.get("items")
    if not isinstance(items, list) or len(items) > MOST_ITEMS:
        raise refuse("queue", "items", items, f"a list of at most {MOST_ITEMS} items")
    if not items:
        return {"success": True, "msg": "", "qsize": len(steward.keeper.view().entries), "items": [], "results": []}
    news, results, problems = [], [], []
    ends = time.monotonic() + CHECKS_S
    for index, raw in enumerate(items):
        if time.monotonic() > ends:
            raise refuse("queue", "items", f"{len(items)} items, of which {index} were looked at within {CHECKS_S:g} s", "fewer of them at one time")
        try:
            news.append(read_item(steward, who, raw, f"items.{index}")[0])
            results.append({"success": True, "msg": ""})
        except PlanRefused as error:
            results.append({"success": False, "msg": str(error)})
            problems += [problem if problem.field.startswith("items.") else problem.under(f"items.{index}") for problem in error.problems]
    if problems:
        n = sum(not result["success"] for result in results)
        return {"success": False, "msg": f"nothing was queued: {n} of {len(items)} items are refused: {problems[0].field}: given {problems[0].given}; "
                                         f"allowed: {problems[0].allowed}", "problems": [problem.as_dict() for problem in problems],
                "qsize": None, "items": items, "results": results}
    with steward.keeper.lock:
        _check_room(steward, who, news)
        view = steward.keeper.view()
        rows = steward.keeper.add(news, before=place_of(view, params, who), errand=steward.errand)
    return {"success": True, "msg": _msg(rows[0]) if rows[0].state == "waiting" else "", "qsize": len(view.entries) + sum(row.state == "queued" for row in rows),
            "items": [_raw(row) for row in rows], "results": results, "lab": _ours(rows[0]), "labs": [_ours(row) for row in rows]}


def queue_item_execute(steward: Steward, who: Who, params: Params) -> Answer:
    """Run an item at once, past the queue; operators only, so it waits for nobody's word."""
    new = replace(read_item(steward, who, params.get("item"))[0], is_waiting=False)
    if new.kind != "plan":
        raise refuse("queue", "item.item_type", new.kind, "plan")
    with steward.keeper.lock:
        steward.keeper.reconcile()
        row = steward.ledger.add_item(new, errand=steward.errand)
        answer = steward.manager.ask("queue_item_execute", {"item": as_raw(row), "user": who.name, "user_group": who.role})
        if not answer.get("success"):
            steward.ledger.remove_item(row.id, f"it could not be run at once: {answer.get('msg')}")
        else:
            steward.ledger.set_item_uid(row.id, str(answer["item"]["item_uid"]))
    return {**answer, "lab": _ours(steward.ledger.item(row.id))}


# ---------------------------------------------------------------------------------------------------- what is changed


def queue_item_update(steward: Steward, who: Who, params: Params) -> Answer:
    """Give an item another plan or other parameters; it keeps its place, and needs a new word where it needed one."""
    raw = params.get("item")
    uid = raw.get("item_uid") if isinstance(raw, dict) else None
    own_item(steward, who, uid)
    new, warnings = read_item(steward, who, raw)
    with steward.keeper.lock:
        steward.keeper.reconcile()
        before = own_item(steward, who, uid)
        _check_room(steward, who, [new], is_one_there=True)
        row = steward.ledger.change_item(before.id, new)
        steward.keeper.reconcile()  # what stands there is not what was checked now: it is taken out, and put in again
        row = steward.ledger.item(row.id)
        view = steward.manager.view()
    return {"success": True, "msg": _msg(row), "qsize": len(view.entries), "item": _raw(row), "lab": _ours(row, warnings)}


def queue_item_remove(steward: Steward, who: Who, params: Params) -> Answer:
    """Take an item back, by uid, id, or position."""
    with steward.keeper.lock:
        view = steward.keeper.view()
        waiting = _waiting(steward, params.get("uid"))
        row = own_item(steward, who, waiting.id if waiting is not None else chosen(view, params).item)
        _remove(steward, who, row)
        n = len(steward.manager.view().entries)
    return {"success": True, "msg": "", "qsize": n, "item": _raw(row), "lab": _ours(steward.ledger.item(row.id))}


def queue_item_remove_batch(steward: Steward, who: Who, params: Params) -> Answer:
    """Take items back; with ``ignore_missing`` false all of them or none."""
    uids = _uids(params)
    with steward.keeper.lock:
        view = steward.keeper.view()
        there = {key for entry in view.entries for key in (entry.uid, entry.item)}
        missing = [uid for uid in uids if uid not in there and _waiting(steward, uid) is None]
        if not params.get("ignore_missing", True) and (missing or len(set(uids)) < len(uids)):
            raise refuse("queue", "uids", missing or uids, "items that are in the queue, each once")
        rows = [own_item(steward, who, uid) for uid in dict.fromkeys(uids) if uid not in missing]
        for row in rows:
            _remove(steward, who, row)
        n = len(steward.manager.view().entries)
    return {"success": True, "msg": "", "qsize": n, "items": [_raw(row) for row in rows]}


def queue_clear(steward: Steward, who: Who, params: Params) -> Answer:
    """Take everything back that is queued."""
    with steward.keeper.lock:
        steward.keeper.reconcile()
        running = steward.manager.view().running
        for row in steward.ledger.items(("queued",)):
            if running is None or row.id != running.item:
                steward.ledger.remove_item(row.id, f"the queue was cleared by {who.name}")
        steward.keeper.reconcile()
    return {"success": True, "msg": ""}


def _remove(steward: Steward, who: Who, row: ItemRow) -> None:
    """From the ledger first: from then on no worker can begin it."""
    steward.ledger.remove_item(row.id, f"removed by {who.name}")
    if row.state == "queued":
        steward.keeper.reconcile()


# ---------------------------------------------------------------------------------------------------- what is moved


def queue_item_move(steward: Steward, who: Who, params: Params) -> Answer:
    """Move an item to another place."""
    with steward.keeper.lock:
        view = steward.keeper.view()
        entry = chosen(view, params)
        row = own_item(steward, who, entry.item)
        _move(steward, who, view, [entry], params)
        n = len(view.entries)
    return {"success": True, "msg": "", "qsize": n, "item": dict(entry.raw), "lab": _ours(row)}


def queue_item_move_batch(steward: Steward, who: Who, params: Params) -> Answer:
    """Move items to another place, in the order given, or (``reorder``) in the one they have."""
    uids = _uids(params)
    with steward.keeper.lock:
        view = steward.keeper.view()
        places = [position(view.entries, uid, "uids") for uid in uids]
        if len(set(places)) < len(places):
            raise refuse("queue", "uids", uids, "each item once")
        entries = [view.entries[place] for place in (sorted(places) if params.get("reorder") else places)]
        for entry in entries:
            own_item(steward, who, entry.item)
        _move(steward, who, view, entries, params)
    return {"success": True, "msg": "", "qsize": len(view.entries), "items": [dict(entry.raw) for entry in entries]}


def _move(steward: Steward, who: Who, view: View, entries: Sequence[Entry], params: Params) -> None:
    moved = {entry.uid for entry in entries}
    if all(params.get(key) is None for key in ("pos_dest", "before_uid", "after_uid")):
        raise refuse("queue", "pos_dest", None, "one of pos_dest, before_uid, after_uid")
    for key in ("before_uid", "after_uid"):
        if any(params.get(key) in (entry.uid, entry.item) for entry in entries):
            raise refuse("queue", key, params[key], "an item that is not moved itself")
    others = View(tuple(entry for entry in view.entries if entry.uid not in moved), view.running)
    before = place_of(others, params, who, "pos_dest")
    place: Params = {"before_uid": others.entries[position(others.entries, before)].uid} if before else {"pos_dest": "back"}
    if entries:
        steward.manager.do("queue_item_move_batch", {"uids": [entry.uid for entry in entries], "reorder": False, **place})
        steward.keeper.reconcile()


# ---------------------------------------------------------------------------------------------------- what is looked at


def lab_item(steward: Steward, who: Who, params: Params) -> Answer:
    """All that is on record of one item."""
    row = steward.ledger.item(str(params.get("item", "")))
    return {"success": True, "msg": "", "item": told(row), "notices": [asdict(notice) for notice in steward.ledger.notices(row.id, 50)]}


def lab_items(steward: Steward, who: Who, params: Params) -> Answer:
    """Items, of some states or of somebody, the latest of them."""
    limit = params.get("limit", 100)
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= 1000:
        raise refuse("lab_items", "limit", limit, "1..1000")
    states, user = params.get("states") or [], params.get("user") or ""
    if not isinstance(states, list) or not all(isinstance(state, str) for state in states) or not isinstance(user, str):
        raise refuse("lab_items", "states", states, "a list of states; user: a name")
    rows = steward.ledger.items(tuple(states), user, limit)
    return {"success": True, "msg": "", "items": [told(row) for row in rows]}


def lab_request(steward: Steward, who: Who, params: Params) -> Answer:
    """What became of a write to which this client gave a name."""
    found = steward.ledger.errand(who.name, str(params.get("request", "")))
    if found is None:
        return {"success": True, "msg": "never asked for", "is_known": False, "answer": None, "items": []}
    items = [told(steward.ledger.item(identity)) for identity in found.items]
    return {"success": True, "msg": "", "is_known": True, "method": found.method, "answer": found.answer, "items": items}


def told(row: ItemRow) -> dict[str, Any]:
    """An item for a client: the queue is everybody's to see, as the RE Manager's is."""
    found = asdict(row)
    for name in ("host", "pid", "process_started", "place"):
        del found[name]
    return found | {"runs": list(row.runs)}


# ---------------------------------------------------------------------------------------------------- parts


def own_item(steward: Steward, who: Who, uid: Any) -> ItemRow:
    """An item by uid or id, of this person, or anybody's for operators.

    Raises
    ------
    PlanRefused, LedgerError
        When it is another's, or there is none.
    """
    if not isinstance(uid, str) or not uid:
        raise refuse("queue", "uid", uid, "the uid of an item")
    row = steward.ledger.item(uid)
    if row.user != who.name and not is_at_least(who.role, "operator"):
        raise refuse("queue", "uid", uid, f"your own items; this one is {row.user}'s")
    return row


def _check_room(steward: Steward, who: Who, news: Sequence[NewItem], *, is_one_there: bool = False) -> None:
    """Whether somebody may have so much in the queue."""
    most = steward.lab.remote.traffic.items
    n, size = steward.ledger.pending_of(who.name)
    if n + len(news) - is_one_there > most:
        raise refuse("queue", "items", n + len(news), f"{most} items of yours at one time, queued or waiting (lab.yaml: remote.traffic.items)")
    size += sum(len(json.dumps(dict(new.parameters))) for new in news)
    if size > MOST_PENDING:
        raise refuse("queue", "items", f"{size} characters of parameters", f"{MOST_PENDING} in all your items that are queued or waiting")


def _waiting(steward: Steward, uid: Any) -> ItemRow | None:
    """What waits for approval is not in the RE Manager's queue; its id stands for it."""
    return next((row for row in steward.ledger.items(("waiting",)) if uid == row.id), None) if isinstance(uid, str) and uid else None


def _uids(params: Params) -> list[str]:
    uids = params.get("uids")
    if not isinstance(uids, list) or not all(isinstance(uid, str) for uid in uids):
        raise refuse("queue", "uids", uids, "a list of uids")
    return uids


def _raw(row: ItemRow) -> dict[str, Any]:
    return {**as_raw(row), "user": row.user, "user_group": row.role, "item_uid": row.uid if row.uid else row.id}


def _ours(row: ItemRow, warnings: Sequence[str] = ()) -> dict[str, Any]:
    return {"item": row.id, "state": row.state, "digest": row.digest, "estimate_s": row.estimate_s, "warnings": list(warnings)}


def _msg(row: ItemRow) -> str:
    return f"item {row.id} waits for an operator's word (lab queue approve {row.id})" if row.state == "waiting" else ""


METHODS_HERE = {handler.__name__: handler for handler in (
    queue_item_add, queue_item_add_batch, queue_item_execute, queue_item_update, queue_item_remove, queue_item_remove_batch, queue_clear,
    queue_item_move, queue_item_move_batch, lab_item, lab_items, lab_request)}

__all__ = ["METHODS_HERE", "add_one", "own_item", "read_item", "told"]
