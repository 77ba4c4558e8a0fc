"""``lab up``: decide, start the supervisor, follow every service until it serves; or stop everything again and say why."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab import interrupts, lease
from lab.core.config import LabConfig
from lab.core.errors import LeaseError, ServiceError
from lab.home import Home
from lab.layout import Layout, check_length, services_folder
from lab.up import events, queue, redis
from lab.up.arrangement import arrange
from lab.up.services import Service
from lab.up.supervisor import Supervisor, last_lines, launch

READY_S = 180.0
"""Wall seconds for all services to serve; on two idle cores they take under 20."""

LOOK_S = 0.05
"""Wall seconds between two looks at services that start."""

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
    check_length(home)
    home.prepare()
    with alone(home):
        _check_free(home)
        began = time.monotonic()
        layout, services = arrange(lab_file, lab, home)
        n_seen = len(events.read_events(layout.folder))
        try:
            with interrupts.raised():
                process = launch(layout)
                Supervisor(layout.supervisor_socket).wait(process)
                _follow(layout, services, n_seen, began, say)
        except BaseException:
            from lab.up.stopping import stop_everything

            say("it does not come up: stopping everything again")
            with interrupts.answered(say, "already stopping; please wait"):
                stop_everything(layout, services, say)
            raise
    return layout


def prepare(lab_file: Path, lab: LabConfig, home: Home) -> tuple[Layout, tuple[Service, ...]]:
    """Decide everything for systemd, and start nothing.

    Raises
    ------
    ConfigError, LeaseError, ServiceError
        As `start`; also when the laboratory is up.
    """
    check_length(home)
    home.prepare()
    with alone(home):
        _check_free(home)
        return arrange(lab_file, lab, home, is_under_systemd=True)


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
        _lock(descriptor, home)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, home: Home) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        pid = os.read(descriptor, 20).decode() or "?"
        raise ServiceError(f"lab up or lab down is at work on {home.path} already (process {pid}); lab status shows how far it is") from error
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())


def _check_free(home: Home) -> None:
    """Nothing of an earlier laboratory is left here, and nobody runs it by hand."""
    left = list(events.alive(services_folder(home)))
    if left and Supervisor(services_folder(home) / "supervisor.sock").is_there():
        raise ServiceError("the laboratory is up: lab down first")
    layout = Layout.load(home)
    if left and layout is not None and layout.is_under_systemd:
        raise ServiceError(f"the laboratory is up, under systemd: systemctl status labwright-{layout.lab}.target; to end it: lab down")
    if left:
        raise ServiceError(f"the supervisor of this laboratory has died, but not: {', '.join(left)}; end them first: lab down")
    holder = lease.holder(home)
    if holder is not None:
        raise LeaseError(f"the laboratory is controlled by {holder.words}; wait for its end, or end it there, then: lab up")


# ------------------------------------------------------------------------------------------------ readiness


class Progress:
    """Which services are ready, and whether one can become so no more.

    Parameters
    ----------
    layout : Layout
    services : sequence of Service
    n_seen : int
        Events of earlier times.
    """

    def __init__(self, layout: Layout, services: Sequence[Service], n_seen: int) -> None:
        self._layout, self._n_seen = layout, n_seen
        self.waiting = {service.name: service for service in services}
        self._is_opening = False

    def look(self) -> list[Service]:
        """Services that have become ready since the last look.

        Raises
        ------
        ServiceError
            When one has died, or the worker has not come up.
        """
        happened = events.read_events(self._layout.folder)[self._n_seen:]
        for event in happened:
            if event.event in ("died", "given up"):
                raise failure(self._layout, event.service, event.why)
        said = {event.service for event in happened if event.event == "ready"}
        return [self.waiting.pop(name) for name in tuple(self.waiting) if self._is_ready(name, said)]

    def _is_ready(self, name: str, said: set[str]) -> bool:
        if name == "redis":
            return redis.answers(self._layout)
        if name == "queue":
            return name in said and self._has_session()
        return name in said

    def _has_session(self) -> bool:
        """Whether the RE Manager's worker has its session, which the steward opens."""
        try:
            status = queue.ask(self._layout, "status", deadline_s=1.0)
        except ServiceError:
            return False
        is_opening, exists = status["manager_state"] == "creating_environment", bool(status["worker_environment_exists"])
        if self._is_opening and not is_opening and not exists:
            raise failure(self._layout, "queue", "its worker has not come up")
        self._is_opening = self._is_opening or is_opening
        return exists and not is_opening


def _follow(layout: Layout, services: Sequence[Service], n_seen: int, began: float, say: Say) -> None:
    """Say a line for each service as it becomes ready.

    Raises
    ------
    ServiceError
        When one does not, or they take longer than `READY_S`.
    """
    progress = Progress(layout, services, n_seen)
    while progress.waiting:
        for service in progress.look():
            say(f"{service.name:<12} ready after {time.monotonic() - began:4.1f} s   {service.what}")
        if time.monotonic() - began > READY_S:
            raise failure(layout, next(iter(progress.waiting)), f"not ready after {READY_S:g} s")
        time.sleep(LOOK_S)


def failure(layout: Layout, name: str, why: str) -> ServiceError:
    """What is said of a service that does not start: the end of what it has written, and what to do."""
    log = layout.log_of(name)
    return ServiceError(f"{name}: did not start ({why}). The end of {log}:\n{last_lines(log, 12)}\n"
                        "  correct what it complains of, then: lab up")
