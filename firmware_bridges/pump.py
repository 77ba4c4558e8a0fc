"""Bridge of a bank of New Era NE-1000 syringe pumps on one serial line (user manual 1200-01).

The pumps guard themselves against a dead bridge: in safe mode (SAF) a pump that hears nothing valid for `SAFE_MODE_S`
stops with an alarm, so the poll loop talks to each of them more often than that. In basic mode nothing guards them.

A pump that was switched off and on has forgotten its syringe and its rate (alarm R); it is set up again before anything else.
A pump found running without a dose of ours is stopped: nobody knows what it was told.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from firmware_bridges.controller import BridgeSettings, Controller
from firmware_bridges.link import Backoff, Link, serial_link
from firmware_bridges.ne1000 import ALARMS, STATES, Reply, dispensed_ml, rate_argument, rate_ml_min
from firmware_bridges.ne1000 import number as to_number
from firmware_bridges.pump_dose import Dose, DosingPump
from firmware_bridges.pump_line import PumpLine
from firmware_bridges.waits import Wait
from lab.core.channels import PUMP, narrow
from lab.core.config import PumpBank, Syringe
from lab.core.errors import CommandError, InstrumentError, LinkDown, LinkError, LinkGarbled, LinkTimeout

log = logging.getLogger(__name__)

BAUD = 19200
"""The pump's default (manual 10.1)."""

SAFE_MODE_S = 5
"""Safe-mode time-out: the pump stops when it hears nothing valid for so long."""

ENDING_S = 2.0
"""How long the next command waits for a stopped dose to be settled."""

IDLE_POLL_S = 0.25
DOSING_POLL_S = 0.005
"""While a pump runs: simulated physics may finish a dose within milliseconds."""

COUNTERS = {"INF": ("DISPENSED", 0), "WDR": ("WITHDRAWN", 1)}
"""Channel of each direction's count, and its place in the reply to DIS."""


@dataclass
class Pump:
    """What the bridge knows of one pump.

    Parameters
    ----------
    syringe : Syringe
        As lab.yaml has it.
    diameter_mm, rate_ml_min : float
        What the pump shall be set to.
    """

    syringe: Syringe
    diameter_mm: float
    rate_ml_min: float
    address: int
    status: str = ""
    """Last status prompt; empty while the pump does not answer."""
    cause: str = "not connected yet"
    alarm: str = ""
    """Alarm type, kept until a RESET or the next dose."""
    is_reset: bool = False
    """It lost power and has not been set up since."""
    dose: str = ""
    """``INF`` or ``WDR`` from before RUN until it is known what became of the dose."""
    is_watched: bool = False
    """A worker waits for the dose."""
    uncleared: str = ""
    """``INF`` or ``WDR`` while the pump's counter of that direction still holds the dose before the present one."""
    has_forgotten: bool = False
    """It lost power during the last dose, and with it the count of what it had delivered."""
    is_stop_wanted: bool = False
    waiting: Wait | None = None
    """The dose's wait for the pump to end."""
    busy: threading.Lock = field(default_factory=threading.Lock)
    """Held by the one command that may use the pump."""
    motion: threading.Lock = field(default_factory=threading.Lock)
    """Held while RUN or STP is on its way, so that a STOP is never overtaken by the RUN it came before."""
    changed: threading.Condition = field(default_factory=threading.Condition)
    retry_at: float = 0.0
    backoff: Backoff = field(default_factory=Backoff)

    @property
    def is_up(self) -> bool:
        return bool(self.status)


class PumpController(Controller):
    """The pumps of one line.

    Parameters
    ----------
    name : str
    config : PumpBank
    link : Link
    speed : float
        Laboratory seconds per wall second.
    """

    def __init__(self, name: str, config: PumpBank, link: Link, speed: float) -> None:
        table = narrow(PUMP, config.limits, f"instruments.{name}.limits")
        super().__init__(name, {str(s.address): table for s in config.syringes}, IDLE_POLL_S)
        self.speed = speed
        self._is_safe = config.is_safe_mode
        self.line = PumpLine(name, link, config.is_safe_mode, self._on_alarm, self.note)
        self.pumps = {s.address: Pump(s, s.diameter_mm, s.rate_ml_min, s.address) for s in config.syringes}
        self._identities: dict[int, str] = {}
        self._read_due = 0.0
        for pump in self.pumps.values():
            self._serve(pump)

    def _serve(self, pump: Pump) -> None:
        def command(carry_out: Callable[[Pump, float], None]) -> Callable[[object], None]:
            return lambda value: carry_out(pump, float(value))  # type: ignore[arg-type]

        self.commands |= {
            f"{pump.address}:RATE": command(self._set_rate),
            f"{pump.address}:DIAMETER": command(self._set_diameter),
            f"{pump.address}:DISPENSE": command(lambda p, volume: self.dose(p, volume, "INF")),
            f"{pump.address}:WITHDRAW": command(lambda p, volume: self.dose(p, volume, "WDR")),
            f"{pump.address}:STOP": lambda _: self.halt(pump),
        }

    def who(self, pump: DosingPump) -> str:
        """``pump.0 (cs)``, for messages."""
        return f"{self.name}.{pump.address} ({self.pumps[pump.address].syringe.liquid})"

    # ------------------------------------------------------------------------------------------------- connection

    def _connect(self) -> None:
        self.line.link.connect()
        failures = [error for pump in self.pumps.values() if (error := self._try_set_up(pump)) is not None]
        if len(failures) == len(self.pumps):
            raise failures[0]

    def _try_set_up(self, pump: Pump) -> InstrumentError | None:
        try:
            self._set_up(pump)
        except LinkDown:
            raise
        except InstrumentError as error:
            self.lose(pump, error)
            return error
        return None

    def _set_up(self, pump: Pump) -> None:
        """Learn what the pump is doing, and set what it has forgotten; a dose that goes on is left alone."""
        line, address = self.line, pump.address
        line.status(address, attempts=1)  # a silent pump shall cost one deadline, not three
        line.tell(address, f"SAF{SAFE_MODE_S if self._is_safe else 0}")
        self._identities[address] = line.ask(address, "VER", _version)
        reply = line.status(address)
        if reply.is_running and not pump.is_watched:
            log.warning("%s: found running; stopped", self.who(pump))
            reply = self.halted(pump)
        if not reply.is_running:
            self._set_syringe(pump)
        self._restore_volumes(pump)
        pump.backoff.reset()
        with pump.changed:
            pump.is_reset = False
            pump.dose = pump.dose if pump.is_watched else ""
        self.publish_status(pump, reply)
        self.publish("IDENTITY", self._identity())

    def _restore_volumes(self, pump: Pump) -> None:
        """Lift the alarm from what is still known, and say what is not."""
        if pump.has_forgotten:
            self.invalidate_volume(pump, f"{self.who(pump)}: power was lost during the dose; how much was delivered is not known")
        elif pump.is_reset and self.value(f"{pump.address}:DISPENSED") is not None:
            log.warning("%s: power was lost; set up again", self.who(pump))
            infused, withdrawn = (self.value(f"{pump.address}:{channel}") for channel, _ in COUNTERS.values())
            self.publish_volumes(pump, (float(infused), float(withdrawn)))  # type: ignore[arg-type]
        else:
            self.read_volumes(pump)

    def _set_syringe(self, pump: Pump) -> None:
        """Diameter first: the pump derives its range of rates from it."""
        line, address = self.line, pump.address
        if line.ask(address, "DIA", float) != float(to_number(pump.diameter_mm)):
            line.tell(address, f"DIA{to_number(pump.diameter_mm)}")
        wanted = rate_argument(pump.rate_ml_min)
        if abs(line.ask(address, "RAT", rate_ml_min) - rate_ml_min(wanted)) > 1e-9:
            line.tell(address, f"RAT{wanted}")
        self.publish(f"{address}:DIAMETER_RBV", line.ask(address, "DIA", float))
        self.publish(f"{address}:RATE_RBV", line.ask(address, "RAT", rate_ml_min))

    def _identity(self) -> str:
        """``NE1000V3.928 (0, 1, 2)``."""
        versions = sorted(set(self._identities.values()))
        return "; ".join(f"{v} ({', '.join(str(a) for a, has in sorted(self._identities.items()) if has == v)})" for v in versions)

    def _disconnect(self) -> None:
        self.line.link.close()

    def _went_down(self, error: InstrumentError) -> None:
        super()._went_down(error)
        for pump in self.pumps.values():
            self._forget_status(pump, str(error))

    def lose(self, pump: Pump, error: InstrumentError) -> None:
        """One pump does not answer: its channels go into alarm, the others work on."""
        if pump.is_up or pump.cause != str(error):
            log.warning("%s: does not answer: %s", self.who(pump), error)
        self.note(error)
        pump.retry_at = time.monotonic() + pump.backoff.next_s()
        self._forget_status(pump, str(error))
        for channel in PUMP:
            if not channel.is_writable:
                self.invalidate(f"{pump.address}:{channel.name}", str(error))

    def _forget_status(self, pump: Pump, cause: str) -> None:
        with pump.changed:
            pump.status, pump.cause = "", cause
            pump.changed.notify_all()

    # ---------------------------------------------------------------------------------------------------- polling

    def _poll(self) -> None:
        for pump in self.pumps.values():
            if pump.is_up:
                self._poll_pump(pump)
        self._seek()
        if not any(pump.is_up for pump in self.pumps.values()):
            raise LinkTimeout(next(iter(self.pumps.values())).cause)
        if time.monotonic() >= self._read_due:
            self._read_due = time.monotonic() + IDLE_POLL_S
            for pump in self.pumps.values():
                if pump.is_up and pump.dose and not pump.has_forgotten:
                    self._read_along(pump)
        is_dosing = any(pump.dose for pump in self.pumps.values())
        self.poll_s = DOSING_POLL_S if is_dosing and not self.waits.is_virtual else IDLE_POLL_S  # virtual time tells when to look

    def _seek(self) -> None:
        """Look for one pump that is missing: one reply's deadline is all that the others can spare of their time-out."""
        missing = [pump for pump in self.pumps.values() if not pump.is_up and time.monotonic() >= pump.retry_at]
        if missing:
            self._try_set_up(min(missing, key=lambda pump: pump.retry_at))

    def _poll_pump(self, pump: Pump) -> None:
        epoch, waiting = self.waits.epoch, pump.waiting
        try:
            reply = self.line.status(pump.address)
            if pump.is_reset:
                self._set_up(pump)
            else:
                self.publish_status(pump, reply)
                if reply.is_running and waiting is not None:
                    waiting.not_yet(epoch)
        except LinkDown:
            raise
        except (LinkError, CommandError) as error:
            self.lose(pump, error)

    def _read_along(self, pump: Pump) -> None:
        try:
            self.read_volumes(pump)
        except LinkDown:
            raise
        except (LinkError, CommandError) as error:
            self.lose(pump, error)

    def publish_status(self, pump: Pump, reply: Reply) -> None:
        """What the pump is doing, for the channels and for the dose that waits for it."""
        address = pump.address
        if not reply.is_running and pump.waiting is not None:
            pump.waiting.end()
        self.publish(f"{address}:STATUS", "alarm" if pump.alarm else STATES[reply.status])
        self.publish(f"{address}:ALARM", ALARMS.get(pump.alarm, pump.alarm))
        with pump.changed:
            pump.status, pump.cause = reply.status, ""
            pump.changed.notify_all()

    def read_volumes(self, pump: DosingPump) -> tuple[float, float]:
        """Volumes infused and withdrawn as the pump counts them, mL; published."""
        volumes = self.line.ask(pump.address, "DIS", dispensed_ml)
        self.publish_volumes(pump, volumes)
        return volumes

    def begin_volume(self, pump: DosingPump, direction: str) -> None:
        """A dose begins: what the last one delivered is history, whatever becomes of this one."""
        pump.uncleared = direction
        self.publish(f"{pump.address}:{COUNTERS[direction][0]}", 0.0)

    def invalidate_volume(self, pump: DosingPump, cause: str) -> None:
        """The count of the dose that is going on is lost."""
        self.invalidate(f"{pump.address}:{COUNTERS[pump.dose or 'INF'][0]}", cause)

    def publish_volumes(self, pump: DosingPump, volumes: tuple[float, float]) -> None:
        """Counts of infused and withdrawn volume, mL. A counter that could not be set to zero tells nothing of the present dose."""
        for direction, (channel, index) in COUNTERS.items():
            self.publish(f"{pump.address}:{channel}", 0.0 if pump.uncleared == direction else round(volumes[index], 6))

    def _on_alarm(self, address: int, alarm: str) -> None:
        pump = self.pumps.get(address)
        if pump is None:
            return  # a pump on the line that is none of ours
        log.warning("%s: alarm: %s", self.who(pump), ALARMS.get(alarm, alarm))
        with pump.changed:
            if alarm == "R":
                pump.is_reset = True
                pump.has_forgotten = pump.has_forgotten or bool(pump.dose)
            if alarm != "R" or pump.dose:
                pump.alarm = alarm
            pump.changed.notify_all()

    # --------------------------------------------------------------------------------------------------- commands

    def _set_rate(self, pump: Pump, rate: float) -> None:
        with self.claimed(pump, "RATE"):
            wanted = rate_argument(rate)
            self.line.tell(pump.address, f"RAT{wanted}")
            self._confirm(pump, "RAT", rate_ml_min, rate_ml_min(wanted), "RATE_RBV", "mL/min")
            pump.rate_ml_min = rate

    def _set_diameter(self, pump: Pump, diameter_mm: float) -> None:
        with self.claimed(pump, "DIAMETER"):
            wanted = to_number(diameter_mm)
            self.line.tell(pump.address, f"DIA{wanted}")
            self._confirm(pump, "DIA", float, float(wanted), "DIAMETER_RBV", "mm")
            pump.diameter_mm = diameter_mm

    def _confirm(self, pump: Pump, query: str, read: Callable[[str], float], wanted: float, channel: str, unit: str) -> None:
        is_value = self.line.ask(pump.address, query, read)
        self.publish(f"{pump.address}:{channel}", is_value)
        if abs(is_value - wanted) > 1e-6 * max(1.0, wanted):
            raise CommandError(f"{self.who(pump)}: {query}: told {wanted:g} {unit}, it keeps {is_value:g} {unit}")

    def dose(self, pump: Pump, volume: float, direction: str) -> None:
        """Deliver a volume; see `firmware_bridges.pump_dose`."""
        with self.claimed(pump, "DISPENSE" if direction == "INF" else "WITHDRAW"):
            Dose(self, pump, volume, direction).carry_out()

    def claimed(self, pump: Pump, what: str) -> _Claim:
        """The right to command a pump; entering raises CommandError while a dose is going on."""
        if not pump.is_up:
            raise LinkTimeout(f"{self.who(pump)}: {what}: does not answer: {pump.cause}")
        return _Claim(pump, f"{self.who(pump)}: {what} refused: a dose is going on")

    def halt(self, pump: Pump) -> None:
        """Stop a pump for good.

        Raises
        ------
        CommandError
            It still runs.
        """
        pump.is_stop_wanted = True
        with pump.motion:
            self.publish_status(pump, self.halted(pump))

    def halted(self, pump: DosingPump) -> Reply:
        """Stop a pump and return its last reply. The first STP pauses a running pump, a second one ends the pumping program (manual 9.1)."""
        for _ in range(4):
            try:
                reply = self.line.once(pump.address, "STP")
            except (LinkTimeout, LinkGarbled) as error:
                self.note(error)
            reply = self.line.status(pump.address)
            if reply.status == "S":
                return reply
        raise CommandError(f"{self.who(pump)}: told to stop four times, it is still {STATES[reply.status]}")

    def _reset(self) -> None:
        failures = []
        for pump in self.pumps.values():
            pump.alarm = ""
            if (error := self._try_set_up(pump)) is not None:
                failures.append(error)
        if failures:
            raise failures[0]

    def _make_safe(self) -> None:
        failures = []
        for pump in self.pumps.values():
            try:
                if pump.is_up:
                    self.halt(pump)
                else:
                    pump.is_stop_wanted = True
                    self.line.once(pump.address, "STP")  # it may hear though it cannot be heard; it costs one deadline
            except InstrumentError as error:
                failures.append(error)
        if failures:
            raise failures[0]


class _Claim:
    """Holds a pump's `busy` lock, or says who has it."""

    def __init__(self, pump: Pump, refusal: str) -> None:
        self._pump, self._refusal = pump, refusal

    def __enter__(self) -> None:
        # A dose that has been told to stop needs a moment to ask the pump what it delivered.
        if not self._pump.busy.acquire(timeout=ENDING_S if self._pump.is_stop_wanted else 0):
            raise CommandError(self._refusal)

    def __exit__(self, *_: object) -> None:
        self._pump.busy.release()


def _version(data: str) -> str:
    """The reply to VER, ``NE1000V3.928``; ValueError for anything else."""
    if not data.startswith("NE") or "V" not in data:
        raise ValueError(f"given {data!r}; allowed: a version such as NE1000V3.928")
    return data


def build(settings: BridgeSettings) -> PumpController:
    """The controller of a pump bank."""
    if not isinstance(settings.config, PumpBank):
        raise ValueError(f"{settings.name}: kind: given {settings.config.kind!r}; allowed: pump")
    link = serial_link(settings.name, settings.endpoint, BAUD)
    return PumpController(settings.name, settings.config, link, settings.speed)
