"""What every device behind a bridge has: the BRIDGE channels, and with them health, recovery and safety."""

from __future__ import annotations

import math

from ophyd import Component, Device, Kind

from devices import timekeeping
from devices.signals import Command, Reading
from devices.statuses import OperationStatus
from lab.core.capabilities import Health
from lab.core.errors import InstrumentError

SAFE_S = 20.0
"""Deadline for making an instrument safe, wall seconds."""


class BridgedDevice(Device):
    """An instrument behind its bridge.

    Parameters
    ----------
    prefix : str
        PV prefix of the instrument with its colon: ``f"{lab.prefix}{name}:"``.
    name : str
    """

    _refreshed_s = math.nan

    answers = Component(Reading, "CONNECTED", kind=Kind.omitted)
    identity = Component(Reading, "IDENTITY", is_text=True, kind=Kind.omitted)
    error_count = Component(Reading, "ERROR_COUNT", kind=Kind.omitted)
    last_error = Component(Reading, "LAST_ERROR", is_text=True, kind=Kind.omitted)
    round_trip_ms = Component(Reading, "ROUND_TRIP_MS", kind=Kind.omitted)
    reset_errors = Component(Command, "RESET", kind=Kind.omitted)
    poll = Component(Command, "POLL", kind=Kind.omitted)
    safe = Component(Command, "SAFE", deadline_s=SAFE_S, kind=Kind.omitted)

    def health(self) -> Health:
        """Whether it is there and how it is; never raises for an absent instrument, but says so."""
        identity, is_there = "", False
        try:
            identity = str(self.identity.get())
            if not self.answers.get(use_monitor=False):
                return Health(False, identity, "not connected", self.cause(), float("nan"))
            is_there = True
            return Health(True, identity, self.state_in_words(), self.fault(), float(self.round_trip_ms.get()))
        except InstrumentError as error:
            return Health(is_there, identity, "no valid reading" if is_there else "not connected", str(error), float("nan"))

    def state_in_words(self) -> str:
        """What the instrument is doing, for people."""
        return "ready"

    def fault(self) -> str:
        """The instrument's present error in its own words; empty when there is none."""
        return ""

    def cause(self) -> str:
        """Why there are no valid readings, as the bridge says."""
        return str(self.last_error.get(use_monitor=False)) or "no cause given"

    def recover(self) -> OperationStatus:
        """Clear the instrument's errors and re-read its state; fails with the cause when it cannot."""
        return self.reset_errors.set(1)

    def refresh(self) -> None:
        """In virtual time, have the bridge read the instrument anew if time has leapt since: its last reading may be older."""
        now_s = timekeeping.clock().now()
        if timekeeping.is_virtual() and now_s != self._refreshed_s:
            self.poll.set(1).wait()
            self._refreshed_s = now_s

    def make_safe(self) -> OperationStatus:
        """Have the bridge make the instrument safe."""
        return self.safe.set(1)
