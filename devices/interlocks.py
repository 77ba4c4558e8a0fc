"""Watches the channels of a laboratory's interlocks, apart from all drivers.

One thread looks: at once when a monitored channel changes its value, its validity or its connection, and every second over the network,
for a bridge that hangs sends nothing. What cannot be read is violated, with the cause; so is everything if the watching itself fails.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ophyd import Signal

from devices.signals import Reading
from devices.suspension import Suspension
from lab.core.conditions import Reference
from lab.core.errors import ConfigError, InstrumentError
from lab.core.interlocks import InterlockState, refuse
from lab.core.trips import Found, Trip

log = logging.getLogger(__name__)

CONFIRM_S = 1.0
"""Wall seconds between two looks over the network."""

CONNECT_S = 5.0
"""Wall seconds for the channels to appear at the start; one that does not is violated."""

END_S = 10.0

Listener = Callable[[InterlockState], None]
"""Told of each interlock that has tripped or recovered. Called in the watching thread: it must not wait for hardware."""


class Interlocks:
    """The interlocks of a laboratory that have a condition (implements `lab.core.interlocks.Interlocks`).

    Parameters
    ----------
    trips : sequence of Trip
        ``LabConfig.trips()``.
    devices : mapping of instrument name to device
        Asked for the cause of an INVALID channel.
    prefix : str
        The laboratory's PV prefix.
    on_change : callable
        A `Listener`.

    Attributes
    ----------
    signals : dict of str to ophyd.Signal
        By interlock: 1 while it is well, 0 while it is violated. For suspenders, and for people who plot.
    """

    def __init__(self, trips: Sequence[Trip], devices: Mapping[str, Any], prefix: str, on_change: Listener = lambda state: None) -> None:
        self._trips = {trip.name: trip for trip in trips}
        self._on_change = on_change
        self._channels = {
            reference: Reading(f"{prefix}{reference.instrument}:{reference.key}", name=f"interlock {reference}", parent=devices[reference.instrument])
            for trip in trips for reference in trip.references}
        self.signals = {name: Signal(name=f"interlock_{name}", value=0) for name in self._trips}
        self._suspensions = {name: Suspension(self.signals[name], trip.config.reason) for name, trip in self._trips.items()
                             if trip.config.action == "suspend" or trip.config.then == "wait"}
        self._silent: dict[Reference, Found] = {}
        self._looking = threading.Lock()
        self._states = tuple(trip.state for trip in trips)  # replaced whole, so that whoever asks need not wait for a look
        self._wake, self._is_ending = threading.Event(), False
        self._confirm_at = float("-inf")
        self._thread: threading.Thread | None = None
        self._defect = ""

    @property
    def suspensions(self) -> tuple[Suspension, ...]:
        """The suspenders of those interlocks for which plans wait; install them on the RunEngine."""
        return tuple(self._suspensions.values())

    def start(self) -> None:
        """Look once, in this thread; then watch."""
        deadline = time.monotonic() + CONNECT_S
        for channel in self._channels.values():
            try:
                channel.wait_for_connection(timeout=max(0.1, deadline - time.monotonic()))
            except TimeoutError:
                log.warning("%s: nobody serves %s", channel.name, channel.pvname)
            channel.subscribe(self._on_news, event_type=channel.SUB_VALUE, run=False)
            channel.subscribe(self._on_news, event_type=channel.SUB_META, run=False)
        self._look()
        self._thread = threading.Thread(target=self._watch, name="interlocks", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Watch no more. The states stay as they were last seen."""
        self._is_ending = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(END_S)
            self._thread = None
        for channel in self._channels.values():
            channel.unsubscribe_all()
            channel.destroy()

    def states(self) -> tuple[InterlockState, ...]:
        """How each interlock is, in the order of lab.yaml."""
        return self._states

    def check(self, instruments: Iterable[str]) -> None:
        """Refuse to begin what these instruments would do.

        Raises
        ------
        InterlockError
            When an interlock that guards one of them is violated; with its reason.
        """
        refuse(self._states, tuple(instruments))

    def waits(self, instruments: Iterable[str]) -> list[Callable[[], Any]]:
        """What a plan waits for (``Msg("wait_for", None, ...)``) before it moves these: violated interlocks that suspend."""
        names = tuple(instruments)
        return [self._suspensions[state.name].until_well for state in self._states
                if not state.is_ok and state.name in self._suspensions and state.is_about(names)]

    def acknowledge(self, name: str = "") -> None:
        """The operator has seen a violation after which the plan waits (``then: wait``); it goes on when the condition holds.

        Parameters
        ----------
        name : str
            Of the interlock; empty: all that wait.

        Raises
        ------
        ConfigError
            When there is no such interlock.
        """
        if name and name not in self._trips:
            raise ConfigError("lab", "interlocks", repr(name), ", ".join(self._trips) or "none, there are no interlocks")
        with self._looking:
            for trip in self._trips.values():
                if trip.name == name or not name:
                    trip.acknowledge()
        self._wake.set()

    # ------------------------------------------------------------------------------------------- the watching thread

    def _on_news(self, **_: Any) -> None:
        self._wake.set()

    def _watch(self) -> None:
        while not self._is_ending:
            self._wake.wait(max(0.0, min(self._confirm_at, self._next_look_s()) - time.monotonic()))
            self._wake.clear()
            if self._is_ending:
                return
            try:
                self._look()
            except Exception as error:  # noqa: BLE001 - a defect in the watching must look like a violation, not like the last good state
                log.exception("interlocks: defect")
                is_new, self._defect = not self._defect, f"{type(error).__name__}: {error}"
                if is_new:
                    self._wake.set()
                self._confirm_at = time.monotonic() + CONFIRM_S

    def _next_look_s(self) -> float:
        with self._looking:
            return min((trip.next_look_s for trip in self._trips.values()), default=float("inf"))

    def _look(self) -> None:
        found = self._read_all()
        changed: list[InterlockState] = []
        with self._looking:
            for trip in self._trips.values():
                if trip.look({reference: found[reference] for reference in trip.references}, time.monotonic(), time.time()):
                    changed.append(trip.state)
            self._states = tuple(trip.state for trip in self._trips.values())
        for state in self._states:
            if self.signals[state.name].get() != state.is_ok:
                self.signals[state.name].put(int(state.is_ok))
        for state in changed:
            log.warning("interlock %s: %s: %s", state.name, "well again" if state.is_ok else "violated", state.value)
            self._on_change(state)

    def _read_all(self) -> dict[Reference, Found]:
        if self._defect:
            return dict.fromkeys(self._channels, Found(None, f"the watching failed: {self._defect}"))
        if time.monotonic() >= self._confirm_at:
            self._confirm_at = time.monotonic() + CONFIRM_S
            self._confirm()
        return {reference: self._silent.get(reference) or _read(channel) for reference, channel in self._channels.items()}

    def _confirm(self) -> None:
        """Ask every channel over the network. A bridge that does not answer for one of its channels is not asked for the others."""
        self._silent = {}
        silent: dict[str, Found] = {}
        for reference, channel in self._channels.items():
            found = silent.get(reference.instrument) or _read(channel, use_monitor=False)
            if found.value is None:
                self._silent[reference] = silent[reference.instrument] = found


def _read(channel: Reading, use_monitor: bool = True) -> Found:
    try:
        value = float(channel.get(use_monitor=use_monitor, connection_timeout=0.1))
    except InstrumentError as error:
        return Found(None, str(error))
    return Found(value) if math.isfinite(value) else Found(None, f"{channel.name}: given {value}; allowed: a finite number")
