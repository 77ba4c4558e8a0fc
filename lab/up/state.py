"""How a laboratory that is up is, for ``lab status``: services, queue, lease, alarms, and what there is to do. Plain data, for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab import lease, presence
from lab.core.clock import WallClock
from lab.core.errors import ConfigError, ServiceError
from lab.home import Home
from lab.layout import Layout
from lab.records.ledger import Ledger
from lab.records.queue_rows import ItemRow
from lab.records.status import status_of
from lab.remote.steward.going import Going, standstill
from lab.up import events, queue, redis
from lab.up.events import Event
from lab.up.service import configuration
from lab.up.services import ORDER
from lab.up.supervisor import State, Supervisor

N_NOTICES = 4
"""Notices that are shown."""

_STATES = {"STARTING": "starting", "RUNNING": "ready", "BACKOFF": "restarting", "STOPPING": "stopping", "EXITED": "restarting",
           "STOPPED": "stopped", "FATAL": "given up", "UNKNOWN": "unknown"}


def laboratory_state(home: Home) -> dict[str, Any] | None:
    """The laboratory of a LAB_HOME as it is now; None when none of its processes lives.

    Returns
    -------
    dict
        ``lab``, ``home``, ``gateway``, ``is_supervised``, ``services``, ``queue``, ``lease``, ``alarms`` and ``next``: lines of what to do.
    """
    layout = Layout.load(home)
    if layout is None:
        return None
    alive = set(events.alive(layout.folder))
    states = _supervised(layout)
    if states is None and not alive:
        return None
    services = _services(layout, states, alive)
    holder = lease.holder(home)
    manager = _manager(layout, holder)
    found = {
        "lab": layout.lab, "home": layout.home, "gateway": layout.gateway.removeprefix("tcp://"), "is_supervised": states is not None or layout.is_under_systemd,
        "services": services, "queue": manager, "lease": None if holder is None else {"who": holder.who, "what": holder.what, "since": holder.since},
        "alarms": presence.alarms(layout)}
    return {**found, "next": list(_next_steps(layout, found))}


def everything(home: Home) -> dict[str, Any]:
    """What ``lab status`` tells.

    Returns
    -------
    dict
        ``laboratory`` (None when none is up), ``items`` of the queue, the latest ``notices`` of its steward, and what `status_of` has.

    Raises
    ------
    ConfigError
        When neither a laboratory nor a campaign has ever been here.
    """
    laboratory = laboratory_state(home)
    if laboratory is None and not home.ledger.exists():
        raise ConfigError("LAB_HOME", str(home.path), "no ledger there", "a folder in which a campaign has been run, or a laboratory is up")
    with Ledger(home.ledger, WallClock()) as ledger:
        return {"laboratory": laboratory, "items": items_state(ledger), "notices": notices(ledger), **status_of(ledger)}


def notices(ledger: Ledger) -> list[dict[str, Any]]:
    """The latest that the steward has noticed: workers and managers that died or are back, items that it has put in order."""
    return [{"wall": row.recorded_wall, "kind": row.kind, "item": row.item, "text": row.text} for row in ledger.notices(limit=N_NOTICES)]


def items_state(ledger: Ledger) -> dict[str, Any]:
    """What the ledger knows of the queue: what runs, waits, and was interrupted and not decided upon; also when nothing is up."""
    rows = ledger.items(states=("running", "waiting", "queued", "interrupted"))
    return {
        "running": [{**_item(row), **_progress(ledger, row)} for row in rows if row.state == "running"],
        "n_queued": sum(row.state == "queued" for row in rows),
        "waiting": [{**_item(row), "next": row.next} for row in rows if row.state == "waiting"],
        "interrupted": [{**_item(row), "next": row.next} for row in rows if row.state == "interrupted" and not row.decided]}


def _item(row: ItemRow) -> dict[str, Any]:
    return {"item": row.id, "plan": row.name, "user": row.user, "state": row.state, "cause": row.cause, "campaign": row.campaign,
            "submitted": row.submitted_wall, "began": row.began_wall, "estimate_s": row.estimate_s}


def _progress(ledger: Ledger, row: ItemRow) -> dict[str, Any]:
    """How far an item is, as far as its campaign tells."""
    if not row.campaign:
        return {"trials": None}
    return {"trials": dict(ledger.campaign(row.campaign).n_trials)}


# ------------------------------------------------------------------------------------------------- services


def _supervised(layout: Layout) -> dict[str, State] | None:
    try:
        return Supervisor(layout.supervisor_socket).states()
    except ServiceError:
        return None


def _services(layout: Layout, states: dict[str, State] | None, alive: set[str]) -> list[dict[str, Any]]:
    seen = events.read_events(layout.folder)
    happened = seen[events.last_start(seen):]
    known = events.processes(layout.folder)
    names = sorted(states if states is not None else known.keys() - {events.SUPERVISOR}, key=ORDER.index)
    return [_service(layout, name, None if states is None else states[name], name in alive, [e for e in happened if e.service == name]) for name in names]


def _service(layout: Layout, name: str, state: State | None, is_alive: bool, happened: Sequence[Event]) -> dict[str, Any]:
    since, n_restarts, death = life(happened)
    return {
        "service": name, "state": _state_of(layout, name, state, is_alive, happened), "pid": state.pid if state is not None else 0,
        "since": since, "restarts": n_restarts, "last_death": {"wall": death.wall, "why": death.why} if death is not None else None,
        "log": str(layout.log_of(name))}


def life(happened: Sequence[Event]) -> tuple[float, int, Event | None]:
    """When a service began last, how often it was started after a death, and the last of these; since it was started on purpose."""
    since, n_restarts, death, last = 0.0, 0, None, ""
    for event in happened:
        if event.event == "starting":
            since = event.wall
            # Not after a death: on purpose, or with the whole machine.
            n_restarts, death = (n_restarts + 1, death) if last == "died" else (0, None)
        elif event.event == "died":
            death = event
        last = event.event
    return since, n_restarts, death


def _state_of(layout: Layout, name: str, state: State | None, is_alive: bool, happened: Sequence[Event]) -> str:
    if state is None:
        if layout.is_under_systemd:
            return "ready" if is_alive else "dead"
        return "unsupervised" if is_alive else "dead"
    word = _STATES.get(state.state, "unknown")
    if word not in ("ready", "starting"):
        return word
    if name == "redis":
        return "ready" if redis.answers(layout) else "starting"
    return "ready" if any(event.event == "ready" and event.pid == state.pid for event in happened) else "starting"


def _manager(layout: Layout, holder: lease.Holder | None) -> dict[str, Any] | None:
    """What the RE Manager says of itself, and whether what is queued begins; None when it says nothing."""
    try:
        status = queue.ask(layout, "status", deadline_s=2.0)
    except ServiceError:
        return None
    return {"manager": status["manager_state"], "environment": status["worker_environment_state"], "n_items": status["items_in_queue"],
            "is_autostarted": status["queue_autostart_enabled"], "is_stopping": status["queue_stop_pending"], **_going(layout, holder)}


def _going(layout: Layout, holder: lease.Holder | None) -> dict[str, Any]:
    """``is_on``: whether what is queued begins by itself; ``why`` nothing begins, empty when nothing keeps it."""
    going, worker = Going.load(layout), presence.worker(layout)
    does_start = configuration(layout).remote.autostart
    return {"is_on": does_start and (going is None or going.is_on), "why": standstill(going, holder, None if worker is None else worker.process)}


# ---------------------------------------------------------------------------------------------- what to do


def _next_steps(layout: Layout, found: dict[str, Any]) -> list[str]:
    """What somebody has to do, the most pressing first."""
    steps = []
    if not found["is_supervised"]:
        steps.append("the supervisor has died, and nothing is started again any more: lab down, then lab up")
    for service in found["services"]:
        if service["state"] == "given up":
            steps.append(f"{service['service']} has been given up after {service['restarts']} restarts: see {service['log']}, then lab down, lab up")
    queue_state = found["queue"]
    if queue_state is None:
        steps.append(f"the RE Manager does not answer: see {layout.log_of('queue')}")
    elif queue_state["environment"] == "closed":
        steps.append(f"the worker has no session yet, and nothing runs: see {layout.log_of('queue')} when this lasts")
    return steps
