"""``lab down``: end the services in order, from the door inwards, whatever state they are in."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence

from lab.core.errors import ServiceError
from lab.home import Home
from lab.layout import Layout, services_folder
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
        left = _alive(layout)
        if not left and not Supervisor(layout.supervisor_socket).is_there():
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
    for service in reversed(services):
        began = time.monotonic()
        try:
            supervisor.stop(service.name, service.stop_s + 10.0)
        except ServiceError:
            process = events.processes(layout.folder).get(service.name)
            if process is None or not process.started or process.is_gone():
                continue
            _end(process, service.stop_s)  # nobody supervises it any more
        say(f"{service.name:<12} ended after {time.monotonic() - began:4.1f} s")
    _end_supervisor(layout, supervisor)
    for name, process in _alive(layout).items():
        say(f"{name:<12} still there: killed")
        _end(process, 0.0)


def _end_supervisor(layout: Layout, supervisor: Supervisor) -> None:
    process = events.processes(layout.folder).get(events.SUPERVISOR)
    try:
        supervisor.shut_down()
    except ServiceError:
        if process is None:
            return
    if process is not None and process.started:
        _end(process, SUPERVISOR_S, is_told=True)


def _check_idle(layout: Layout) -> None:
    """Raises ServiceError when an item of the queue is under way."""
    try:
        status = queue.ask(layout, "status", deadline_s=2.0)
    except ServiceError:
        return  # nobody knows; the ledger does, and says so later
    if status["manager_state"] in ("executing_queue", "paused", "starting_queue"):
        raise ServiceError("an item of the queue is under way (lab status); wait for its end, or interrupt it: lab down --now")


def _alive(layout: Layout) -> dict[str, Process]:
    """The processes of services that have not ended, by name."""
    return {name: process for name, process in events.processes(services_folder(Home(layout.folder.parent))).items()
            if process.started not in ("", "ended") and not process.is_gone()}


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
