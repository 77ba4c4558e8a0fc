"""What a session has of a laboratory that is up: instruments that others keep running, and files that say how the session is.

The worker's file is what the instruments' service watches: when its process dies without having withdrawn it, the service makes the
instruments safe. The alarms' file is for those who want to know how the instruments are without a session of their own.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.core.capabilities import Instrument
from lab.core.config import LabConfig
from lab.core.errors import ConfigError, LabError, LeaseError, ServiceError
from lab.core.interlocks import InterlockState
from lab.home import Home
from lab.layout import Layout, write_for_owner
from lab.lease import Lease, abandoned
from lab.presence import say_worker, serving, withdraw

log = logging.getLogger(__name__)

ALARMS_S = 2.0
"""Wall seconds between two looks at what is wrong."""


class Attachment:
    """The instruments of a laboratory that is up, for one session.

    Parameters
    ----------
    layout : Layout
    lab : LabConfig
        The laboratory's as it came up (`Layout.config_file`).
    kernel : str
        Connection file of the IPython kernel that this process is; empty: none.

    Raises
    ------
    ServiceError
        When the instruments' service does not run.
    ConfigError
        When `lab` is another laboratory.
    """

    def __init__(self, layout: Layout, lab: LabConfig, kernel: str = "") -> None:
        found = serving(layout)
        if found is None:
            raise ServiceError(f"the instruments of {layout.lab} are not running (log: {layout.folder / 'instruments.log'}); lab status shows its services")
        if set(lab.instruments) != set(layout.ca_ports):
            raise ConfigError(str(layout.config_file), "instruments", ", ".join(lab.instruments), ", ".join(layout.ca_ports))
        self._layout, self._lab, self._kernel, self._serving = layout, lab, kernel, found
        self._ended = threading.Event()
        self._watching: threading.Thread | None = None

    @property
    def ports(self) -> list[int]:
        """Channel Access ports of the bridges, in the order of the laboratory's file."""
        return [self._layout.ca_ports[name] for name in self._lab.instruments]

    @property
    def endpoints(self) -> dict[str, str]:
        """Where each instrument is."""
        return dict(self._serving.endpoints)

    def now_s(self) -> float:
        """Laboratory time now: it goes on from worker to worker."""
        return self._serving.now_s(float(self._lab.speed) if self._lab.is_simulated else 1.0)

    def catalogue(self) -> Any:
        """Tiled's client of the laboratory.

        Raises
        ------
        ServiceError
            When lab.yaml has ``catalogue: false``.
        """
        from lab.records.catalogue import connect_by_http

        if not self._layout.tiled:
            raise ServiceError("this laboratory has no catalogue (lab.yaml: catalogue: false); the runs are in their JSON lines")
        return connect_by_http(self._layout.tiled, self._layout.tiled_key)

    def begin(self, devices: Mapping[str, Any], interlocks: Callable[[], Sequence[InterlockState]], is_idle: Callable[[], bool],
              make_safe: Callable[[str], None]) -> None:
        """Say that this process holds the laboratory's session, and from now on what is wrong.

        Parameters
        ----------
        devices : mapping of name to device
        interlocks : callable
            How they are.
        is_idle : callable
            Whether no plan is under way.
        make_safe : callable
            Makes the instruments safe, for a reason: called when a console has died that controlled the laboratory, as soon as no
            plan is under way.
        """
        say_worker(self._layout, self._kernel)
        watched = {name: devices[name] for name in self._lab.instruments if isinstance(devices[name], Instrument)}

        def look() -> None:
            write_for_owner(self._layout.alarms_file, json.dumps(alarms(watched, interlocks())))
            if is_idle():
                self._take_over(make_safe)

        self._watching = threading.Thread(target=self._watch, args=(look,), name="alarms", daemon=True)
        self._watching.start()

    def end(self) -> None:
        """The session is over and has left the instruments safe. May be called twice."""
        self._ended.set()
        if self._watching is not None:
            self._watching.join()
            self._watching = None
            self._layout.alarms_file.unlink(missing_ok=True)
        withdraw(self._layout.worker_file)

    def _watch(self, look: Callable[[], None]) -> None:
        while not self._ended.is_set():
            try:
                look()
            except LabError as error:  # a full disk must not end what watches
                log.error("could not look after the laboratory: %s", error)
            self._ended.wait(ALARMS_S)

    def _take_over(self, make_safe: Callable[[str], None]) -> None:
        """Whoever controlled the laboratory has died: nobody is left who knows what they had switched on."""
        home = Home(Path(self._layout.home))
        gone = abandoned(home)
        if gone is None:
            return
        try:
            lease = Lease.take(home, "laboratory", f"making the instruments safe after the end of {gone.who} ({gone.what})")
        except LeaseError:
            return  # somebody else has it by now
        with lease:
            make_safe(f"{gone.words} has died while in control")


def alarms(devices: Mapping[str, Instrument], interlocks: Sequence[InterlockState]) -> dict[str, Any]:
    """What is wrong now: instruments with their causes, violated interlocks in words, and when that was looked at."""
    wrong: dict[str, str] = {}
    for name, device in devices.items():
        health = device.health()
        if health.cause or not health.is_connected:
            wrong[name] = health.cause if health.cause else health.state
    return {"wall": time.time(), "instruments": wrong, "interlocks": {state.name: state.words for state in interlocks if not state.is_ok}}
