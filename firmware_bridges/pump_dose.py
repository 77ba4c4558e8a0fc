"""One dose: from the pump's counter set to zero to a volume it has confirmed.

RUN is sent once and never again. When its reply is lost, or the line drops while the pump runs, the pump itself is asked
what it did: its status says whether it runs, its counter (DIS) how much it delivered. What a pump has forgotten (power
lost) nobody knows, and the channel says so rather than 0.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Protocol

from firmware_bridges.ne1000 import (
    ALARMS,
    RUNNING,
    Reply,
    dispensed_ml,
    number,
    rate_argument,
    rate_ml_min,
    volume_argument,
    volume_ml,
)
from firmware_bridges.pump_line import PumpLine
from firmware_bridges.waits import Wait, Waits
from lab.core.clock import deadline_s
from lab.core.errors import CommandError, LinkDown, LinkError

log = logging.getLogger(__name__)

LOST_S = 30.0
"""How long a dose waits for a line that has dropped, wall seconds. The pump itself stops after the safe-mode time-out."""

MARGIN_S = 5.0
"""Added to the deadline of a dose, which is one and a half times its expected duration."""


class DosingPump(Protocol):
    """What a dose must know of its pump (`firmware_bridges.pump.Pump`)."""

    address: int
    rate_ml_min: float
    diameter_mm: float
    status: str
    cause: str
    alarm: str
    dose: str
    is_watched: bool
    is_reset: bool
    uncleared: str
    has_forgotten: bool
    is_stop_wanted: bool
    waiting: Wait | None
    motion: threading.Lock
    changed: threading.Condition


class Bank(Protocol):
    """What a dose needs of its controller (`firmware_bridges.pump.PumpController`)."""

    line: PumpLine
    speed: float
    waits: Waits

    @property
    def is_stopping(self) -> bool: ...

    def who(self, pump: DosingPump) -> str: ...

    def poll_soon(self) -> None: ...

    def note(self, error: Exception) -> None: ...

    def read_volumes(self, pump: DosingPump) -> tuple[float, float]: ...

    def publish_volumes(self, pump: DosingPump, volumes: tuple[float, float]) -> None: ...

    def begin_volume(self, pump: DosingPump, direction: str) -> None: ...

    def invalidate_volume(self, pump: DosingPump, cause: str) -> None: ...

    def halted(self, pump: DosingPump) -> Reply: ...


class Dose:
    """A volume to deliver.

    Parameters
    ----------
    bank : Bank
        The controller, whose poll loop keeps the pump's status.
    pump : DosingPump
        Claimed for this dose.
    volume : float
        mL.
    direction : str
        ``INF`` or ``WDR``.
    """

    def __init__(self, bank: Bank, pump: DosingPump, volume: float, direction: str) -> None:
        self._bank, self._pump, self._direction = bank, pump, direction
        self._who = bank.who(pump)
        self._digits, self._unit = volume_argument(volume)
        self._target = volume_ml(self._digits + self._unit)
        self._has_run = False
        self._deadline_s = deadline_s(1.5 * volume / pump.rate_ml_min * 60, bank.speed, MARGIN_S)

    def carry_out(self) -> None:
        """Deliver it, and return when the pump has stopped by itself.

        Raises
        ------
        CommandError
            The pump refused, stalled, was stopped, lost power or delivered another volume; in its words.
        LinkDown, LinkTimeout
            The line was lost and did not come back. The dose stays open: what was delivered shows when the pump answers again.
        """
        self._prepare()
        pump = self._pump
        pump.has_forgotten, pump.is_watched, pump.dose = False, True, self._direction
        self._bank.poll_soon()
        try:
            self._run()
            with self._bank.waits.waiting() as pump.waiting:
                self._bank.poll_soon()
                self._wait_and_settle()
        except LinkError:
            raise
        except CommandError:
            pump.dose = ""
            raise
        else:
            pump.dose = ""
        finally:
            pump.is_watched = False
            pump.waiting = None

    def _prepare(self) -> None:
        """Counter to zero, volume and direction set and read back."""
        line, address, pump = self._bank.line, self._pump.address, self._pump
        pump.alarm, pump.is_stop_wanted = "", False
        self._bank.begin_volume(pump, self._direction)
        if line.status(address).status != "S":
            self._bank.halted(pump)
        line.tell(address, f"CLD{self._direction}")
        pump.uncleared = ""
        for command in (f"VOL{self._unit}", f"VOL{self._digits}", f"DIR{self._direction}"):
            line.tell(address, command)
        wanted_rate = rate_ml_min(rate_argument(pump.rate_ml_min))
        checks = (("VOL", volume_ml, self._target), ("RAT", rate_ml_min, wanted_rate), ("DIA", float, float(number(pump.diameter_mm))))
        for query, read, wanted in checks:
            found = line.ask(address, query, read)
            if abs(found - wanted) > 1e-9:
                raise CommandError(f"{self._who}: {query}: told {wanted:g}, it keeps {found:g}; nothing was dispensed")
        if pump.is_reset:
            raise CommandError(f"{self._who}: power was lost before the dose; nothing was dispensed")

    def _run(self) -> None:
        """Send RUN, once. A lost reply is not an error yet: the pump is asked afterwards."""
        with self._pump.motion:
            if self._pump.is_stop_wanted:
                raise CommandError(f"{self._who}: told to stop before it ran; nothing was dispensed")
            try:
                reply = self._bank.line.once(self._pump.address, "RUN")
            except LinkError as error:
                self._bank.note(error)
                log.warning("%s: no reply to RUN; asking the pump what it does: %s", self._who, error)
                return
        self._has_run = reply.is_running
        if reply.error:
            raise CommandError(f"{self._who}: the pump refused RUN: {reply.error}; nothing was dispensed")

    def _wait_and_settle(self) -> None:
        deadline = time.monotonic() + self._deadline_s
        lost_at: float | None = None
        while True:
            try:
                if self._has_stopped(deadline):
                    self._settle()
                    return
                lost_at = None
            except LinkError as error:
                lost_at = time.monotonic() if lost_at is None else lost_at
                if time.monotonic() - lost_at > LOST_S or self._bank.is_stopping:
                    raise LinkDown(f"{self._who}: the line was lost during the dose and did not come back; "
                                   f"what was dispensed is not known yet: {error}") from error
                if self._pump.status:
                    self._bank.poll_soon()  # the poll loop has not noticed yet
            with self._pump.changed:
                self._pump.changed.wait(0.1)

    def _has_stopped(self, deadline: float) -> bool:
        """By the poll loop's last word; a stop is confirmed, for that word may be older than RUN.

        Raises
        ------
        LinkError
            The pump does not answer.
        CommandError
            It still runs at the deadline; it has been stopped.
        """
        pump = self._pump
        if not pump.status:
            raise LinkDown(f"{self._who}: does not answer: {pump.cause}")
        if pump.status not in RUNNING and not self._bank.line.status(pump.address).is_running:
            return True
        if time.monotonic() >= deadline:
            with pump.motion:
                self._bank.halted(pump)
            raise CommandError(f"{self._who}: still running at its deadline, and stopped; delivered {self._mine(self._bank.read_volumes(pump)):g} "
                               f"of {self._target:g} mL")
        return False

    def _settle(self) -> None:
        """Ask the pump what it delivered, publish it, and compare."""
        pump = self._pump
        volumes = self._bank.line.ask(pump.address, "DIS", dispensed_ml)
        delivered = self._mine(volumes)
        if self._has_run and delivered == 0 and not pump.alarm and not pump.is_stop_wanted:
            # It ran, and counts nothing, and says nothing: its alarm was lost on the line, and its settings with its power.
            pump.is_reset = pump.has_forgotten = True
        if pump.has_forgotten:
            cause = f"{self._who}: power was lost during the dose; how much was delivered is not known"
            self._bank.invalidate_volume(pump, cause)
            raise CommandError(cause)
        self._bank.publish_volumes(pump, volumes)
        # The counter has four digits; half a per cent covers its last one.
        if abs(delivered - self._target) <= max(0.005 * self._target, 0.001):
            return
        raise CommandError(f"{self._who}: {self._why_short(delivered)}; delivered {delivered:g} of {self._target:g} mL")

    def _mine(self, volumes: tuple[float, float]) -> float:
        """The count of this dose's direction, of infused and withdrawn."""
        return volumes[0] if self._direction == "INF" else volumes[1]

    def _why_short(self, delivered: float) -> str:
        if self._pump.alarm:
            return ALARMS.get(self._pump.alarm, self._pump.alarm)
        if self._pump.is_stop_wanted:
            return "told to stop"
        return "did not start" if delivered == 0 else "stopped by itself"
