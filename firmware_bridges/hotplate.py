"""Bridge of an IKA hotplate-stirrer (NAMUR commands over a serial line, 9600 baud 7E1).

The instrument answers neither settings nor starts, so each setting is read back; whether the heater is on cannot be
asked at all, and ``HEAT_RBV`` is what the bridge last switched.

Two guards turn the heater off: when the bridge dies, the instrument's own watchdog (OUT_WD1, fed here; the manual's
shortest time is 20 s); and when the line was lost, the bridge itself, at its return: after a loss nobody can say whether the
power had failed, and a heater must not come back by itself. ``LAST_ERROR`` then says what was on; whoever wants it on says so again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from firmware_bridges import namur
from firmware_bridges.controller import BridgeSettings, Controller
from firmware_bridges.link import Framing, Link, serial_link
from lab.core.channels import HOTPLATE, narrow
from lab.core.config import Hotplate
from lab.core.errors import CommandError, LinkGarbled, LinkTimeout

log = logging.getLogger(__name__)

BAUD = 9600
FRAMING = Framing(7, "E", 1)

REPLY_S = 0.5
"""Deadline of a reply; a line of 10 characters takes 10 ms."""

QUIET_S = 0.05
ATTEMPTS = 3
"""Of a reading."""

POLL_S = 0.05
"""On a real line a poll takes longer than this, and the pause with it (see `Controller`)."""

WATCHDOG_S = 20
"""The shortest that the instrument takes."""

_FEED_S = 5.0

_JUMP = 5.0
"""Of a reading between two polls, K or rpm; more than that is asked again."""

_READINGS = (("IN_PV_2", 2, "TEMPERATURE_RBV"), ("IN_PV_1", 1, "PROBE_RBV"), ("IN_PV_4", 4, "STIR_RBV"),
             ("IN_SP_1", 1, "TEMPERATURE_SP"), ("IN_SP_4", 4, "STIR_SP"))

T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """How a set value is sent and read back."""

    command: str
    query: str
    channel: int
    key: str
    unit: str
    resolution: float


_TEMPERATURE = Setting("OUT_SP_1", "IN_SP_1", 1, "TEMPERATURE_SP", "degC", 0.11)
_SPEED = Setting("OUT_SP_4", "IN_SP_4", 4, "STIR_SP", "rpm", 1.1)


class HotplateController(Controller):
    """One hotplate-stirrer.

    Parameters
    ----------
    name : str
    config : Hotplate
    link : Link
    """

    def __init__(self, name: str, config: Hotplate, link: Link) -> None:
        super().__init__(name, {"": narrow(HOTPLATE, config.limits, f"instruments.{name}.limits")}, POLL_S)
        self._link = link
        link.quiet_s = QUIET_S
        self._switching = threading.Lock()
        self._on = {"heater": False, "stirrer": False}
        self._fed_at = 0.0
        self.commands |= {
            "TEMPERATURE": lambda value: self._set(_TEMPERATURE, float(value)),  # type: ignore[arg-type]
            "STIR_RPM": lambda value: self._set(_SPEED, float(value)),  # type: ignore[arg-type]
            "HEAT": lambda value: self._switch("heater", 1, bool(value)),
            "STIR": lambda value: self._switch("stirrer", 4, bool(value)),
        }

    # ------------------------------------------------------------------------------------------------- connection

    def _connect(self) -> None:
        self._link.connect()
        request = namur.encode("IN_NAME")
        identity = self._repeated(request, lambda reply: namur.name(reply, request))
        were_on = [what for what, is_on in self._on.items() if is_on]
        with self._switching:
            self._switch_off()
        self._ask(f"OUT_WD1@{WATCHDOG_S}", None)
        self._fed_at = time.monotonic()
        self.publish("IDENTITY", identity)
        self._read_all()
        if were_on:
            lost = f"{self.name}: on when the line was lost, and switched off now: {', '.join(were_on)}; switch on again if still wanted"
            log.warning("%s", lost)
            self.publish("LAST_ERROR", lost)

    def _switch_off(self) -> None:
        self._link.send(namur.encode("STOP_1"))
        self._link.send(namur.encode("STOP_4"))
        self._on = {"heater": False, "stirrer": False}
        self.publish("HEAT_RBV", False)

    def _disconnect(self) -> None:
        self._link.close()

    # ---------------------------------------------------------------------------------------------------- polling

    def _poll(self) -> None:
        self._feed_watchdog()
        self._read_all()

    def _read_all(self) -> None:
        for query, channel, key in _READINGS:
            self.publish(key, self._plausible(query, channel, self.value(key)))
        self.publish("HEAT_RBV", self._on["heater"])

    def _plausible(self, query: str, channel: int, last: object) -> float:
        """A reading; asked again when it jumped. The replies carry no checksum, and pyserial ignores wrong parity."""
        found = self._ask(query, channel)
        if isinstance(last, float) and abs(found - last) > _JUMP:
            found = self._ask(query, channel)
        return found

    def _feed_watchdog(self) -> None:
        """OUT_WD1 starts the watchdog and must come again within its time; polling alone does not feed it.

        Raises
        ------
        LinkTimeout
            Also when the bridge itself was held up for so long that the watchdog has struck.
        """
        now = time.monotonic()
        if any(self._on.values()) and now - self._fed_at > WATCHDOG_S:
            raise LinkTimeout(f"{self.name}: the watchdog was not fed for {now - self._fed_at:.0f} s")
        if now >= self._fed_at + _FEED_S:
            self._ask(f"OUT_WD1@{WATCHDOG_S}", None)
            self._fed_at = now

    def _ask(self, query: str, channel: int | None) -> float:
        request = namur.encode(query)
        return self._repeated(request, lambda reply: namur.reading(reply, channel, request))

    def _repeated(self, request: bytes, read: Callable[[bytes], T]) -> T:
        """A query may be repeated."""
        for _ in range(ATTEMPTS - 1):
            try:
                return self._link.transact(request, namur.is_complete, REPLY_S, read)
            except (LinkTimeout, LinkGarbled) as error:
                self.note(error)
        return self._link.transact(request, namur.is_complete, REPLY_S, read)

    # --------------------------------------------------------------------------------------------------- commands

    def _set(self, setting: Setting, value: float) -> None:
        """Send a set value and read it back; a set value may be repeated."""
        wanted = namur.setpoint(value)
        with self._switching:
            for _ in range(ATTEMPTS):
                self._link.send(namur.encode(setting.command, wanted))
                found = self._ask(setting.query, setting.channel)
                self.publish(setting.key, found)
                if abs(found - float(wanted)) < setting.resolution:
                    return
        raise CommandError(f"{self.name}: told {setting.command} {wanted} {setting.unit} {ATTEMPTS} times, it keeps {found:g} "
                           f"{setting.unit}; look at its safety limit")

    def _switch(self, what: str, channel: int, is_on: bool) -> None:
        """Start or stop the heater (1) or the stirrer (4). A reading afterwards shows that the instrument hears us."""
        with self._switching:
            self._link.send(namur.encode(f"{'START' if is_on else 'STOP'}_{channel}"))
            self._on[what] = is_on
            self._ask("IN_SP_1", 1)
            self.publish("HEAT_RBV", self._on["heater"])

    def _make_safe(self) -> None:
        with self._switching:
            self._switch_off()
            self._ask("IN_SP_1", 1)

    def _reset(self) -> None:
        """Leave a watchdog error; everything is off afterwards."""
        with self._switching:
            self._switch_off()
            self._link.send(namur.encode("RESET"))
            self._ask(f"OUT_WD1@{WATCHDOG_S}", None)
            self._read_all()


def build(settings: BridgeSettings) -> HotplateController:
    """The controller of a hotplate."""
    if not isinstance(settings.config, Hotplate):
        raise ValueError(f"{settings.name}: kind: given {settings.config.kind!r}; allowed: hotplate")
    link = serial_link(settings.name, settings.endpoint, BAUD, FRAMING)
    return HotplateController(settings.name, settings.config, link)
