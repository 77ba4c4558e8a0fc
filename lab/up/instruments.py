"""``python -m lab.up.instruments --home LAB_HOME``: the service that holds the simulator and the bridges of a laboratory that is up.

It outlives the worker, whose session only speaks to the bridges. When the worker dies without having closed its session, nobody is left
who knows what a heater or a pump is on for: the service has every bridge make its instrument safe, and says so.
"""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from lab.core.clock import WallClock
from lab.core.config import LabConfig
from lab.core.errors import ServiceError
from lab.home import Home
from lab.layout import Layout
from lab.presence import Worker, say_serving, withdraw, worker
from lab.processes import Processes
from lab.services import LOOPBACK
from lab.up.service import configuration, exit_status_of, layout_of_command, log_to_stderr, say_ready

log = logging.getLogger("lab.up.instruments")

LOOK_S = 0.25
"""Wall seconds between two looks at whether the worker lives."""

FREE_S = 20.0
"""Wall seconds for the bridges of a service that was killed to make their instruments safe and give their ports back."""


class InstrumentsService:
    """Simulator and bridges of one laboratory, and the eye on its worker.

    Parameters
    ----------
    layout : Layout
    lab : LabConfig
    """

    def __init__(self, layout: Layout, lab: LabConfig) -> None:
        self._layout, self._lab, self._home = layout, lab, Home(Path(layout.home))
        self._speed = float(lab.speed) if lab.is_simulated else 1.0
        self._processes = Processes(lab, self._home, layout.ca_ports, speed=self._speed)
        self._lost = threading.Event()
        self._mourned: Worker | None = None
        """The last worker after whose death the instruments have been made safe."""

    def start(self) -> None:
        """Start simulator and bridges, and say where they are.

        Raises
        ------
        LabError
            When one of them does not start; what has been started goes on until `stop`.
        """
        self._home.prepare()
        await_free(self._layout.ca_ports.values(), FREE_S)
        is_new_world = self._lab.is_simulated and not self._home.world.exists()
        lab_s = laboratory_time(self._lab, self._home)
        began_s = time.monotonic()
        self._processes.start(str(self._home.world))
        if is_new_world:
            self._open_accounts()
        self._processes.watch(log.warning, self._lose)
        say_serving(self._layout, self._processes.endpoints, lab_s + (time.monotonic() - began_s) * self._speed)

    def _open_accounts(self) -> None:
        """A new simulated world has full syringes and an untouched rack, whatever the ledger remembers of the one before."""
        from lab.records.ledger import Ledger
        from lab.stocking import open_accounts

        with Ledger(self._home.ledger, WallClock()) as ledger:
            open_accounts(ledger, self._lab, is_new_world=True)

    def run(self, end: threading.Event) -> int:
        """Watch until `end` is set, or the simulator has died; returns the exit status."""
        while not end.wait(LOOK_S):
            if self._lost.is_set():
                return 1  # the supervisor starts the service again, and the world goes on from its file
            self._watch_worker()
        return 0

    def _watch_worker(self) -> None:
        try:
            found = worker(self._layout)
        except ServiceError as error:
            log.error("%s", error)
            return
        if found is None or found == self._mourned or not found.process.is_gone():
            return
        self._mourned = found
        log.warning("the worker (process %d) has died without having closed its session: making all instruments safe", found.pid)
        began = time.monotonic()
        for name, said in self._processes.make_safe().items():
            log.log(logging.INFO if said == "safe" else logging.ERROR, "%s: %s", name, said if said == "safe" else f"not safe: {said}")
        log.warning("instruments made safe after the death of the worker (process %d), in %.1f s", found.pid, time.monotonic() - began)

    def _lose(self, cause: str) -> None:
        log.critical("%s; starting all instruments again, as after a power cycle", cause)
        self._lost.set()

    def stop(self) -> None:
        """Make every instrument safe and end its bridge, then the simulator."""
        withdraw(self._layout.instruments_file)
        self._processes.stop()


def laboratory_time(lab: LabConfig, home: Home) -> float:
    """Laboratory time now, s: a simulated world goes on from its file, a real one has gone on since the last entry of the ledger."""
    if lab.is_simulated:
        from sim.world_file import time_kept

        return time_kept(home.world)
    if not home.ledger.exists():
        return 0.0
    from lab.records.ledger import Ledger
    from lab.running import since_last

    with Ledger(home.ledger, WallClock()) as ledger:
        return since_last([ledger.last_moment(row.id) for row in ledger.campaigns()])


def await_free(ports: Iterable[int], patience_s: float) -> None:
    """Wait until ports can be bound: an IOC whose port is taken stands still for ever.

    Raises
    ------
    ServiceError
        When one is still taken after `patience_s` wall seconds.
    """
    end = time.monotonic() + patience_s
    waiting = [port for port in ports if not _is_free(port)]
    while waiting:
        if time.monotonic() > end:
            raise ServiceError(f"Channel Access port {waiting[0]} is taken by another process; end it, or give the laboratory other ports: lab down, lab up")
        time.sleep(0.1)
        waiting = [port for port in waiting if not _is_free(port)]


def _is_free(port: int) -> bool:
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the bridge's own: connections of the one before may linger
        try:
            tcp.bind((LOOPBACK, port))
            udp.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def main() -> int:
    """Run the service; the exit status is 0 after SIGTERM, 1 when it could not start or the simulator has died."""
    log_to_stderr()
    logging.getLogger("alembic").setLevel(logging.WARNING)
    layout = layout_of_command("lab.up.instruments")
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: end.set())
    service = InstrumentsService(layout, configuration(layout))
    try:
        service.start()
        say_ready()
        return service.run(end)
    finally:
        service.stop()


if __name__ == "__main__":
    raise SystemExit(exit_status_of(main))
