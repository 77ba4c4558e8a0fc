"""An IKA hotplate-stirrer (C-MAG HS7) on a serial line, NAMUR commands.

Source: IKA C-MAG HS 7 operating instructions, "Interfaces and outputs": command syntax, NAMUR commands, watchdog.
9600 baud, 7 bits, even parity; lines of at most 80 characters; the device speaks only when asked, and answers a value as
``24.8 2`` (value, channel). Set-points and start and stop commands are not answered, an unknown command neither.

Channels: 1 medium (external probe), 2 plate, 3 safety temperature, 4 stirrer, 5 viscosity trend.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from lab.core.clock import Clock

NAME = "C-MAG HS7"
SOFTWARE = "1.3.001"

LONGEST_LINE = 80

HIGHEST_C, FASTEST_RPM = 500.0, 1500.0
SAFETY_C = 550.0
"""The safety circuit switches off here; set-points end 50 K below it."""

WATCHDOG_S = (20.0, 1500.0)

_COMMAND = re.compile(r"([A-Z_]+(?:_\d+)?|OUT_WD\d)(?:@| +|$)(-?\d+(?:\.\d+)?)?")


class Plate(Protocol):
    """The part of the world a hotplate acts on."""

    def set_heater(self, target_c: float | None) -> None:
        """Regulate the plate to `target_c`; None: heater off."""
        ...

    def plate_c(self) -> float: ...

    def probe_c(self) -> float: ...

    def set_stirrer(self, rpm: float) -> None: ...

    def stir_rpm(self) -> float: ...


class Hotplate:
    """The state machine (a `sim.firmware.Firmware`).

    Parameters
    ----------
    physics : Clock
        Not used by the electronics: what is slow about a hotplate is in the world.
    wall : Clock
        For the watchdogs.
    world : Plate

    Notes
    -----
    `failures`: ``watchdog`` (Er 2), ``overtemperature`` (Er 3), ``stirrer`` (Er 4). Each switches heater and stirrer off;
    they cannot be started again before RESET or a power cycle.
    """

    failures = ("watchdog", "overtemperature", "stirrer")

    def __init__(self, physics: Clock, wall: Clock, world: Plate) -> None:
        self._wall, self._world = wall, world
        self._line = bytearray()
        self._set_c, self._set_rpm = 0.0, 0.0
        self._safe_c, self._safe_rpm = HIGHEST_C, FASTEST_RPM
        self._mode = "A"
        self._is_heating = self._is_stirring = False
        self._error = ""
        self._watchdog = 0
        self._watchdog_ends_s = float("inf")
        self._commands: dict[str, Callable[[float | None], str]] = {
            "IN_NAME": lambda _: NAME,
            "IN_SOFTWARE": lambda _: SOFTWARE,
            "IN_PV_1": lambda _: f"{self._world.probe_c():.1f} 1",
            "IN_PV_2": lambda _: f"{self._world.plate_c():.1f} 2",
            "IN_PV_4": lambda _: f"{self._world.stir_rpm():.1f} 4",
            "IN_PV_5": lambda _: "0.0 5",
            "IN_SP_1": lambda _: f"{self._set_c:.1f} 1",
            "IN_SP_3": lambda _: f"{SAFETY_C:.1f} 3",
            "IN_SP_4": lambda _: f"{self._set_rpm:.1f} 4",
            "OUT_SP_1": self._temperature, "OUT_SP_4": self._speed,
            "OUT_SP_12": self._safe_temperature, "OUT_SP_42": self._safe_speed,
            "OUT_WD1": lambda value: self._watch(1, value), "OUT_WD2": lambda value: self._watch(2, value),
            "START_1": lambda _: self._start(heat=True), "START_4": lambda _: self._start(stir=True),
            "STOP_1": lambda _: self._stop(heat=True), "STOP_4": lambda _: self._stop(stir=True),
            "SET_MODE_A": lambda _: self._set_mode("A"), "SET_MODE_B": lambda _: self._set_mode("B"),
            "SET_MODE_D": lambda _: self._set_mode("D"), "RESET": lambda _: self._reset()}

    def feed(self, data: bytes) -> bytes:
        self._check_watchdog()
        replies = b""
        for byte in data:
            character = byte & 0x7F  # the eighth bit is the parity's
            if character != 0x0A:
                if len(self._line) <= LONGEST_LINE:
                    self._line.append(character)
                continue
            line, is_too_long = self._line.decode("ascii").strip("\r\x00 "), len(self._line) > LONGEST_LINE
            self._line.clear()
            reply = "" if is_too_long else self._execute(line)
            if reply:
                replies += reply.encode("ascii") + b"\r\n"
        return replies

    def step(self) -> bytes:
        self._check_watchdog()
        return b""

    def due_s(self) -> float:
        """Never: the electronics wait for nothing, and how warm the plate is nobody is told unasked."""
        return float("inf")

    def power_cycle(self) -> None:
        """Set-points stay; heater and stirrer come back only in mode B."""
        was_heating, was_stirring = self._is_heating, self._is_stirring
        self._line.clear()
        self._reset()
        if self._mode == "B":
            self._start(heat=was_heating, stir=was_stirring)

    def hung_up(self) -> None:
        """The device does not notice; that is what its watchdog is for."""

    def fail(self, words: str) -> None:
        self._error = words
        self._stop(heat=True, stir=True)

    # --------------------------------------------------------------------------------------------- commands

    def _execute(self, line: str) -> str:
        match = _COMMAND.fullmatch(line)
        command = self._commands.get(match[1]) if match is not None else None
        if match is None or command is None:
            return ""
        return command(float(match[2]) if match[2] is not None else None)

    def _temperature(self, value: float | None) -> str:
        if value is not None and 0.0 <= value <= HIGHEST_C:
            self._set_c = value
            self._apply()
        return ""

    def _speed(self, value: float | None) -> str:
        if value is not None and 0.0 <= value <= FASTEST_RPM:
            self._set_rpm = value
            self._apply()
        return ""

    def _safe_temperature(self, value: float | None) -> str:
        if value is not None and 0.0 <= value <= HIGHEST_C:
            self._safe_c = value
        return f"{self._safe_c:.1f} 12"

    def _safe_speed(self, value: float | None) -> str:
        if value is not None and 0.0 <= value <= FASTEST_RPM:
            self._safe_rpm = value
        return f"{self._safe_rpm:.1f} 42"

    def _set_mode(self, mode: str) -> str:
        self._mode = mode
        return ""

    def _start(self, heat: bool = False, stir: bool = False) -> str:
        if not self._error:
            self._is_heating |= heat
            self._is_stirring |= stir
            self._apply()
        return ""

    def _stop(self, heat: bool = False, stir: bool = False) -> str:
        self._is_heating &= not heat
        self._is_stirring &= not stir
        self._apply()
        return ""

    def _reset(self) -> str:
        """Normal operation: everything off, the watchdog too, errors gone."""
        self._error, self._watchdog, self._watchdog_ends_s = "", 0, float("inf")
        return self._stop(heat=True, stir=True)

    def _apply(self) -> None:
        self._world.set_heater(self._set_c if self._is_heating else None)
        self._world.set_stirrer(self._set_rpm if self._is_stirring else 0.0)

    # --------------------------------------------------------------------------------------------- watchdog

    def _watch(self, mode: int, value: float | None) -> str:
        """Start the watchdog, or restart it in time: only this command itself keeps it quiet. 0 ends it."""
        if value is None or not (value == 0.0 or WATCHDOG_S[0] <= value <= WATCHDOG_S[1]):
            return ""
        self._watchdog = mode if value else 0
        self._watchdog_ends_s = self._wall.now() + value if value else float("inf")
        return f"{value:.0f}"

    def _check_watchdog(self) -> None:
        if self._wall.now() < self._watchdog_ends_s:
            return
        self._watchdog_ends_s = float("inf")
        if self._watchdog == 1:
            self.fail("watchdog")
        else:
            self._set_c, self._set_rpm = self._safe_c, self._safe_rpm
            self._apply()
