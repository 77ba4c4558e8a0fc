"""Whether ledger, the RE Manager's queue, the history, and what really happened in the world agree."""

from __future__ import annotations

import json
from collections import Counter

from lab.records.queue_rows import ITEM_ENDS
from tests.queue_laboratory import OSCAR, QueueLaboratory

BEGAN = ("completed", "failed", "stopped", "aborted", "interrupted")


def disagreements(lab: QueueLaboratory, asked_for: Counter[str] | None = None) -> list[str]:
    """What does not agree, in words; to be called when nothing is under way any more.

    Parameters
    ----------
    lab : QueueLaboratory
    asked_for : counter, optional
        Names of requests that were made: each stands for one item at most, and for one if it was answered with success.
    """
    items = {item.id: item for item in lab.ledger.items()}
    world = _world(lab)
    found = [f"{item} began {n} times" for item, n in world["began"].items() if n > 1]
    found += [f"{item} began in the world, and is on nobody's record" for item in world["began"] if item not in items]
    for item in items.values():
        began, ended = world["began"][item.id], world["ended"][item.id]
        if began and item.state not in BEGAN and item.state != "running":
            found.append(f"{item.id} is {item.state}, and began in the world")
        if item.state == "completed" and item.kind == "plan" and not ended:
            found.append(f"{item.id} is completed, and never came to its end in the world")
        if item.state == "running":
            found.append(f"{item.id} is still running")
        if item.state in ("failed", "interrupted") and not item.cause:
            found.append(f"{item.id} is {item.state}, and nobody says why")
    return found + _queue(lab) + _history(lab)


def _world(lab: QueueLaboratory) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {"began": Counter(), "ended": Counter()}
    file = lab.home.path / "done.jsonl"
    for line in file.read_text().splitlines() if file.exists() else []:
        what, _, item, _ = json.loads(line)
        found[what][item] += 1
    return found


def _queue(lab: QueueLaboratory) -> list[str]:
    answer = lab.manager("queue_get")
    there = [entry["meta"]["item"] for entry in answer["items"]]
    running = [answer["running_item"]["meta"]["item"]] if answer["running_item"] else []
    queued = [item.id for item in lab.ledger.items(("queued",))]
    if there != queued or running:
        return [f"the queue has {there}, running {running}; on record are {queued}"]
    return []


def _history(lab: QueueLaboratory) -> list[str]:
    entries = lab.ask(OSCAR, "history_get")["items"]
    told = Counter(entry["lab"]["item"] for entry in entries if "lab" in entry)
    ended = {item.id for item in lab.ledger.items(ITEM_ENDS) if item.began_wall is not None}
    found = [f"{item} is {told[item]} times in the history" for item in ended if told[item] != 1]
    return found + [f"{item} is in the history, and has not ended" for item in told if item not in ended]
