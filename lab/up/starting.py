"""``lab up``: decide, start the supervisor, follow every service until it serves; or stop everything again and say why."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from lab import lease
from lab.core.config import LabConfig
from lab.core.errors import LabError, LeaseError, ServiceError
from lab.home import Home
from lab.layout import Layout, services_folder
from lab.up import events, queue, redis
from lab.up.arrangement import arrange
from lab.up.services import Service
from lab.up.supervisor import Supervisor, last_lines, launch

READY_S = 180.0
"""Wall seconds for all services to serve; on two idle cores they take under 20."""

Say = Callable[[str], None]


def is_up(home: Home) -> Layout | None:
    """The laboratory that is up in a LAB_HOME, that is, whose supervisor answers; None when there is none."""
    layout = Layout.load(home)
    return layout if layout is not None and Supervisor(layout.supervisor_socket).is_there() else None


def start(lab_file: Path, lab: LabConfig, home: Home, say: Say) -> Layout:
    """Bring a laboratory up.

    Parameters
    ----------
    lab_file : Path
    lab : LabConfig
        With a speed at which people can wait.
    home : Home
    say : callable
        Told a line for each service.

    Raises
    ------
    ConfigError
        When something in lab.yaml or on this machine has to be changed first.
    LeaseError
        When somebody runs this laboratory by hand.
    ServiceError
        When a service does not start; everything has been stopped again then.
    """
    home.prepare()
    with alone(home):
        _check_free(home)
        layout, services = arrange(lab_file, lab, home)
        process = launch(layout)
        began = time.monotonic()
        try:
            Supervisor(layout.supervisor_socket).wait(process)
            _follow(layout, services, began, say)
        except BaseException:
            from lab.up.stopping import stop_everything

            say("stopping everything again")
            stop_everything(layout, services, say)
            raise
    return layout


@contextmanager
def alone(home: Home) -> Iterator[None]:
    """Only one process brings a laboratory up or down at a time.

    Raises
    ------
    ServiceError
        When another does.
    """
    folder = services_folder(home)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    except BlockingIOError as error:
        pid = os.read(descriptor, 20).decode() or "?"
        raise ServiceError(f"lab up or lab down is at work on {home.path} already (process {pid}); lab status shows how far it is") from error
    finally:
        os.close(descriptor)


def _check_free(home: Home) -> None:
    """Nothing of an earlier laboratory is left here, and nobody runs it by hand."""
    left = [name for name, process in events.processes(services_folder(home)).items() if process.started and not process.is_gone()]
    if left:
        raise ServiceError(f"the supervisor of this laboratory has died, but not: {', '.join(left)}; end them first: lab down")
    holder = lease.holder(home)
    if holder is not None:
        raise LeaseError(f"the laboratory is controlled by {holder.words}; wait for its end, or end it there, then: lab up")


# ------------------------------------------------------------------------------------------------ readiness


def _follow(layout: Layout, services: Sequence[Service], began: float, say: Say) -> None:
    """Say a line for each service as it becomes ready.

    Raises
    ------
    ServiceError
        When one dies first, or they take longer than `READY_S`.
    """
    waiting = {service.name: service for service in services}
    n_seen = len(events.read_events(layout.folder))
    while waiting:
        seen = events.read_events(layout.folder)
        new, n_seen = seen[n_seen:] if len(seen) >= n_seen else seen, len(seen)
        for event in new:
            if event.event in ("died", "given up"):
                raise _failure(layout, event.service, event.why)
        said = {event.service for event in seen if event.event == "ready" and event.wall > began_wall(began)}
        for name in [name for name in waiting if _is_ready(layout, name, said)]:
            say(f"{name:<12} ready after {time.monotonic() - began:4.1f} s   {waiting.pop(name).what}")
        if time.monotonic() - began > READY_S:
            raise _failure(layout, next(iter(waiting)), f"not ready after {READY_S:g} s")
        time.sleep(0.05)


def began_wall(began: float) -> float:
    """A moment of the monotonic clock on the wall."""
    return time.time() - (time.monotonic() - began)


def _is_ready(layout: Layout, name: str, said: set[str]) -> bool:
    if name == "redis":
        return redis.answers(layout)
    if name == "instruments":
        return layout.instruments_file.exists()
    if name == "queue":
        return _has_environment(layout)
    return name in said


def _has_environment(layout: Layout) -> bool:
    """Whether the RE Manager answers and its worker has its session."""
    try:
        status = queue.ask(layout, "status", deadline_s=0.5)
    except ServiceError:
        return False
    if not status["worker_environment_exists"] and status["manager_state"] == "idle" and find_spec("lab.remote.steward") is None:
        queue.ask(layout, "environment_open")  # the steward's, once it is there
    return bool(status["worker_environment_exists"]) and status["manager_state"] != "creating_environment"


def _failure(layout: Layout, name: str, why: str) -> LabError:
    log = layout.log_of(name)
    return ServiceError(f"{name}: did not start ({why}); the end of {log}:\n{last_lines(log, 12)}")
