"""``lab down``: end the services in order, from the door inwards, whatever state they are in."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence

from lab.core.errors import ServiceError
from lab.home import Home
from lab.layout import Layout
from lab.records.process import Process
from lab.up import events, queue
from lab.up.service import configuration
from lab.up.services import Service, services_of
from lab.up.starting import alone
from lab.up.supervisor import Supervisor

SUPERVISOR_S = 10.0
"""Wall seconds for the supervisor to end after its services."""

KILLED_S = 5.0
"""Wall seconds for a process to be gone after SIGKILL."""

Say = Callable[[str], None]


def stop(home: Home, say: Say, *, is_now: bool = False) -> bool:
    """Take a laboratory down; whether there was anything to end.

    Parameters
    ----------
    home : Home
    say : callable
        Told what is done.
    is_now : bool
        Also when an item of the queue is under way: it is aborted, and stands so on record.

    Raises
    ------
    ServiceError
        When an item is under way, or a process cannot be ended.
    """
    layout = Layout.load(home)
    if layout is None:
        return False
    with alone(home):
        if not events.alive(layout.folder) and not Supervisor(layout.supervisor_socket).is_there():
            return False
        if not is_now:
            _check_idle(layout)
        services = services_of(layout, configuration(layout))
        stop_everything(layout, services, say)
    return True


def stop_everything(layout: Layout, services: Sequence[Service], say: Say) -> None:
    """End the services in the opposite order of their needs, then the supervisor; then whatever outlived it.

    Raises
    ------
    ServiceError
        When a process is still there at the end.
    """
    supervisor = Supervisor(layout.supervisor_socket)
    if not supervisor.is_there():  # else it would start again, some day, what is ended here
        _end_all(layout, [events.SUPERVISOR], 0.0)
    for service in reversed(services):
        began = time.monotonic()
        try:
            supervisor.stop(service.name, service.stop_s + 10.0)
        except ServiceError:
            if not _end_all(layout, [service.name], service.stop_s):
                continue
        say(f"{service.name:<12} ended after {time.monotonic() - began:4.1f} s")
    try:
        supervisor.shut_down()
    except ServiceError:
        pass  # it is gone
    _end_all(layout, [events.SUPERVISOR], SUPERVISOR_S, is_told=True)
    left = list(events.alive(layout.folder))
    for name in left:
        say(f"{name:<12} still there: killed")
    _end_all(layout, left, 0.0)


def _end_all(layout: Layout, names: Sequence[str], grace_s: float, *, is_told: bool = False) -> int:
    """End the processes of services without a supervisor; how many there were."""
    found = [process for name, process in events.alive(layout.folder).items() if name in names]
    for process in found:
        _end(process, grace_s, is_told=is_told)
    return len(found)


def _check_idle(layout: Layout) -> None:
    """Raises ServiceError when an item of the queue is under way."""
    try:
        status = queue.ask(layout, "status", deadline_s=2.0)
    except ServiceError:
        return  # nobody knows; the ledger does, and says so later
    if status["manager_state"] in ("executing_queue", "paused", "starting_queue"):
        raise ServiceError("an item of the queue is under way (lab status); wait for its end, or interrupt it: lab down --now")


def _end(process: Process, grace_s: float, *, is_told: bool = False) -> None:
    """SIGTERM, and SIGKILL when it is still there after `grace_s`.

    Raises
    ------
    ServiceError
        When it is still there after that.
    """
    steps = ((None if is_told else signal.SIGTERM, grace_s), (signal.SIGKILL, KILLED_S))
    for number, within_s in steps:
        if number is not None and not process.is_gone():
            try:
                os.kill(process.pid, number)
            except ProcessLookupError:
                return
        ends = time.monotonic() + within_s
        while not process.is_gone():
            if time.monotonic() > ends:
                break
            time.sleep(0.05)
        else:
            return
    raise ServiceError(f"process {process.pid} does not end, not even by SIGKILL: it hangs in the system (a disk, a device driver)")
