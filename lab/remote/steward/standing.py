"""How the laboratory stands: queue, worker, lease, alarms, and what waits for somebody; for ``lab status`` here and elsewhere."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lab import presence
from lab.core.errors import LeaseError, ServiceError
from lab.lease import holder
from lab.remote.access.who import Who
from lab.remote.steward.items_desk import told

if TYPE_CHECKING:
    from lab.remote.steward.service import Steward

_NOTICES = 10


def lab_status(steward: Steward, who: Who, params: dict[str, Any]) -> dict[str, Any]:
    """What stands, runs, waits, and is wrong."""
    ledger, watch = steward.ledger, steward.watch
    running = ledger.items(("running",))
    return {
        "success": True, "msg": "", "lab": steward.lab.name,
        "queue": {"is_on": watch.going.is_on and steward.lab.remote.autostart, "runs_by_itself": steward.lab.remote.autostart, "why": watch.standstill(),
                  "since": watch.going.since_wall, "n_queued": len(ledger.items(("queued",))), **_of_manager(steward)},
        "running": [told(item) for item in running],
        "waiting": [told(item) | {"next": item.next} for item in ledger.items(("waiting",))],
        "interrupted": [told(item) | {"next": item.next} for item in watch.undecided()],
        "lease": _lease(steward), "alarms": _alarms(steward), "notices": [asdict(notice) for notice in ledger.notices(limit=_NOTICES)]}


def _of_manager(steward: Steward) -> dict[str, Any]:
    status, worker = steward.watch.status, steward.watch.worker
    if status is None:
        return {"is_manager_there": False, "manager_state": "gone", "environment": "unknown", "re_state": None, "mode": None}
    is_there = bool(status.get("worker_environment_exists"))
    environment = "closed" if not is_there else "dead" if worker is not None and worker.is_gone() else status.get("worker_environment_state")
    return {"is_manager_there": True, "manager_state": status.get("manager_state"), "environment": environment, "re_state": status.get("re_state"),
            "mode": status.get("plan_queue_mode")}


def _lease(steward: Steward) -> dict[str, Any] | None:
    try:
        found = holder(steward.home)
    except LeaseError as error:
        return {"words": str(error)}
    return None if found is None else {"who": found.who, "what": found.what, "since": found.since, "words": found.words}


def _alarms(steward: Steward) -> dict[str, Any]:
    """As the worker wrote them last; of a worker that is gone, or stands still, nobody knows."""
    try:
        found = presence.alarms(steward.layout)
    except ServiceError:  # it wrote nothing that can be read
        found = None
    return {"wall": None, "instruments": {}, "interlocks": {}, "is_known": False} if found is None else {**found, "is_known": True}


def ping(steward: Steward, who: Who, params: dict[str, Any]) -> dict[str, Any]:
    """That the steward answers."""
    return {"success": True, "msg": "steward", "is_manager_there": steward.watch.status is not None}


METHODS_HERE = {"lab_status": lab_status, "ping": ping}
