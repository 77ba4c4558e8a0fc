"""One New Era NE-1000 syringe pump: its motor and its command set, without framing or network.

Source: NE-1000 user manual, publication 1200-01: section 10.2 (syntax), 10.3 (errors and alarms), 10.4 (commands); the
range of the motor from the specifications (28.32 mL/min with a 26.59 mm syringe, 0.73 uL/h with a 4.699 mm one).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from lab.core.clock import Clock
from sim.ne1000_memory import (
    FASTEST_CM_MIN,
    FIRMWARE,
    FLAGS,
    N_PHASES,
    NOT_APPLICABLE,
    OUT_OF_RANGE,
    RATE_ML_S,
    SLOWEST_CM_H,
    SMALL_SYRINGE_MM,
    TRIGGERS,
    UNKNOWN,
    VOLUME_ML,
    Memory,
    Phase,
    Refusal,
    number,
    parse_number,
)

Status = Literal["I", "W", "S", "P", "T", "X"]
Alarm = Literal["R", "S", "T", "E", "O"]

_RATE = re.compile(r"(.*?)(MM|MH|UM|UH)?")


class Reservoir(Protocol):
    """The part of the world a pump acts on."""

    def infuse(self, address: int, volume_ml: float) -> None:
        """So much more liquid has left the syringe of this pump (negative: has been drawn in)."""
        ...


@dataclass
class _Motor:
    """What is under way. `left_ml` None: without end."""

    rate_ml_s: float = 0.0
    direction: Literal["INF", "WDR"] = "INF"
    left_ml: float | None = None
    pause_left_s: float = 0.0


class Pump:
    """The state machine of one pump.

    Parameters
    ----------
    address : int
        Network address, 0 to 99; also the syringe's name in the world, which stays when ``*ADR`` changes the address.
    physics, wall : Clock
    world : Reservoir
    """

    def __init__(self, address: int, physics: Clock, wall: Clock, world: Reservoir) -> None:
        self.address = address
        self._syringe = address
        self._physics, self._wall, self._world = physics, wall, world
        self._memory = Memory()
        self._commands: dict[str, Callable[[str], str]] = {
            "VER": self._version, "ADR": self._address, "DIA": self._diameter, "RAT": self._rate, "VOL": self._volume,
            "DIR": self._direction, "RUN": self._run, "PUR": self._purge, "STP": self._stop, "DIS": self._dispensed,
            "CLD": self._clear, "SAF": self._safe, "PHN": self._phase_number, "FUN": self._function, "TRG": self._trigger,
            "RESET": self._reset, **{name: self._flag(name) for name in FLAGS}}
        self.power_on()

    def power_on(self) -> None:
        """Power has come: the program is stopped, the counts are zero, alarm ``R`` (10.3)."""
        self.status: Status = "S"
        self.alarm: Alarm | None = "R"
        self.is_alarm_announced = False
        self._motor = _Motor()
        self._phase = 0
        self._selected = 0
        self._infused_ml = self._withdrawn_ml = 0.0
        self._is_blocked = False
        self._advanced_s = self._physics.now()
        self._timeout_at_s: float | None = None

    @property
    def is_safe(self) -> bool:
        """Whether Safe mode is on, so that alarms are told unasked."""
        return self._memory.safe_timeout_s > 0

    @property
    def is_pumping(self) -> bool:
        return self.status in ("I", "W", "X")

    def block(self) -> None:
        """The syringe jams: the motor stalls as soon as it turns."""
        self._is_blocked = True

    def raise_alarm(self, alarm: Alarm) -> None:
        """Stop, and stay in alarm until it is acknowledged."""
        self.status = "S"
        self.alarm, self.is_alarm_announced = alarm, False

    def execute(self, command: str) -> str:
        """Carry out one command (upper case, no blanks; empty for a status query); return status and data.

        A pump in alarm answers with it whatever it was asked, does nothing else, and is out of alarm (10.3).
        """
        self.advance()
        self._timeout_at_s = self._wall.now() + self._memory.safe_timeout_s if self.is_safe else None
        if self.alarm is not None:
            alarm, self.alarm = self.alarm, None
            return f"A?{alarm}"
        try:
            data = self._dispatch(command)
        except Refusal as refusal:
            data = str(refusal)
        return f"{self.status}{data}"

    def advance(self) -> None:
        """Let the time pass that has passed: liquid flows, phases end, the safe-mode time-out runs out."""
        now_s = self._physics.now()
        left_s, self._advanced_s = now_s - self._advanced_s, now_s
        if self._is_blocked and self.is_pumping:
            self._is_blocked = False
            self.raise_alarm("S")
        while left_s > 0.0 and self.status in ("I", "W", "X", "T"):
            left_s -= self._pause(left_s) if self.status == "T" else self._flow(left_s)
        if self._timeout_at_s is not None and self._wall.now() >= self._timeout_at_s:
            self._timeout_at_s = None
            self.raise_alarm("T")

    def due_s(self) -> float:
        """Laboratory seconds until the phase that is under way has ended; infinite when none is, or it has no end."""
        if self.status == "T":
            return self._motor.pause_left_s
        if self.is_pumping and self._motor.left_ml is not None and self._motor.rate_ml_s > 0.0:
            return self._motor.left_ml / self._motor.rate_ml_s
        return math.inf

    # ------------------------------------------------------------------------------------------------ motor

    def _pause(self, for_s: float) -> float:
        spent_s = min(for_s, self._motor.pause_left_s)
        self._motor.pause_left_s -= spent_s
        if self._motor.pause_left_s <= 0.0:
            self._begin(self._phase + 1)
        return spent_s

    def _flow(self, for_s: float) -> float:
        """Deliver for at most `for_s`; return the seconds it took."""
        motor = self._motor
        flown_ml, spent_s = motor.rate_ml_s * for_s, for_s
        is_over = motor.left_ml is not None and flown_ml >= motor.left_ml
        if motor.left_ml is not None:
            if is_over:
                flown_ml, spent_s = motor.left_ml, motor.left_ml / motor.rate_ml_s
            motor.left_ml -= flown_ml
        if motor.direction == "INF":
            self._infused_ml += flown_ml
            self._world.infuse(self._syringe, flown_ml)
        else:
            self._withdrawn_ml += flown_ml
            self._world.infuse(self._syringe, -flown_ml)
        if is_over:
            self._begin(self._phase + 1)
        return spent_s

    def _begin(self, phase: int) -> None:
        """Start the phase with this index; past the last one the program stops."""
        self._phase = phase
        stored = self._memory.phases[phase] if phase < N_PHASES else Phase()
        function, _, argument = stored.function.partition(" ")
        if function == "RAT":
            volume_ml = stored.volume * VOLUME_ML[self._memory.volume_units]
            self._motor = _Motor(stored.rate * RATE_ML_S[stored.rate_units], stored.direction, volume_ml or None)
            self.status = "I" if stored.direction == "INF" else "W"
        elif function == "PAS":
            self._motor = _Motor(pause_left_s=float(argument))
            self.status = "T"
        else:
            self.status = "S"

    def _limits_ml_s(self) -> tuple[float, float]:
        area_cm2 = math.pi * (self._memory.diameter_mm / 20.0) ** 2
        return area_cm2 * SLOWEST_CM_H / 3600.0, area_cm2 * FASTEST_CM_MIN / 60.0

    def _check_rate(self, rate: float, units: str) -> None:
        slowest, fastest = self._limits_ml_s()
        if not slowest <= rate * RATE_ML_S[units] <= fastest:
            raise Refusal(OUT_OF_RANGE)

    # --------------------------------------------------------------------------------------------- commands

    def _dispatch(self, command: str) -> str:
        if not command:
            return ""
        for length in (5, 3, 2):  # RESET, most of them, and AL BP LN
            found = self._commands.get(command[:length])
            if found is not None:
                return found(command[length:])
        raise Refusal(UNKNOWN)

    def _idle(self) -> None:
        if self.status != "S":
            raise Refusal(NOT_APPLICABLE)

    @property
    def _current(self) -> Phase:
        return self._memory.phases[self._selected]

    def _store(self, phase: Phase) -> None:
        self._memory.phases[self._selected] = phase

    def _version(self, argument: str) -> str:
        if argument:
            raise Refusal(UNKNOWN)
        return FIRMWARE

    def _address(self, argument: str) -> str:
        if not argument:
            return f"{self.address:02d}"
        if not re.fullmatch(r"\d{1,2}", argument):
            raise Refusal(OUT_OF_RANGE)
        self.address = int(argument)
        return ""

    def _diameter(self, argument: str) -> str:
        if not argument:
            return number(self._memory.diameter_mm)
        self._idle()
        diameter_mm = parse_number(argument)
        if not 0.1 <= diameter_mm <= 50.0:
            raise Refusal(OUT_OF_RANGE)
        self._memory.diameter_mm = diameter_mm
        self._memory.volume_units = "UL" if diameter_mm <= SMALL_SYRINGE_MM else "ML"
        return ""

    def _rate(self, argument: str) -> str:
        if not argument:
            return number(self._current.rate) + self._current.rate_units
        match = _RATE.fullmatch(argument)
        if match is None:
            raise Refusal(UNKNOWN)
        rate, units = parse_number(match[1]), match[2]
        if self.is_pumping and units is not None:
            raise Refusal(NOT_APPLICABLE)  # units cannot be changed while pumping
        units = units if units is not None else self._current.rate_units
        self._check_rate(rate, units)
        if self.is_pumping:
            self._motor.rate_ml_s = rate * RATE_ML_S[units]  # takes effect at once and is not stored
        else:
            self._store(replace(self._current, rate=rate, rate_units=units))
        return ""

    def _volume(self, argument: str) -> str:
        if not argument:
            return number(self._current.volume) + self._memory.volume_units
        self._idle()
        if argument in VOLUME_ML:
            self._memory.volume_units = argument
        else:
            self._store(replace(self._current, volume=parse_number(argument)))
        return ""

    def _direction(self, argument: str) -> str:
        if not argument:
            return self._current.direction
        if argument not in ("INF", "WDR", "REV"):
            raise Refusal(UNKNOWN)
        if self.status != "S" and (self._motor.left_ml is not None or self.status == "X"):
            raise Refusal(NOT_APPLICABLE)  # while pumping only when the volume to be dispensed is 0
        reverse: Literal["INF", "WDR"] = "WDR" if self._current.direction == "INF" else "INF"
        direction: Literal["INF", "WDR"] = reverse if argument == "REV" else "INF" if argument == "INF" else "WDR"
        self._store(replace(self._current, direction=direction))
        if self.status in ("I", "W"):
            self._motor.direction = direction
            self.status = "I" if direction == "INF" else "W"
        return ""

    def _run(self, argument: str) -> str:
        if self.status == "P" and not argument:
            self.status = "T" if self._motor.pause_left_s > 0 else "I" if self._motor.direction == "INF" else "W"
            return ""
        self._idle()
        if argument and not (argument.isdecimal() and 1 <= int(argument) <= N_PHASES):
            raise Refusal(OUT_OF_RANGE)
        first = int(argument) - 1 if argument else 0
        if self._memory.phases[first].function == "RAT":
            self._check_rate(self._memory.phases[first].rate, self._memory.phases[first].rate_units)
        self._begin(first)
        return ""

    def _purge(self, argument: str) -> str:
        if argument:
            raise Refusal(UNKNOWN)
        self._idle()
        self._motor = _Motor(self._limits_ml_s()[1], self._current.direction)
        self.status = "X"
        return ""

    def _stop(self, argument: str) -> str:
        """Pauses what is running; stops what is paused, so that the next RUN starts from the beginning."""
        if argument:
            raise Refusal(UNKNOWN)
        if self.status == "S":
            raise Refusal(NOT_APPLICABLE)
        self.status = "P" if self.status in ("I", "W", "T") else "S"
        return ""

    def _dispensed(self, argument: str) -> str:
        if argument:
            raise Refusal(UNKNOWN)
        unit_ml = VOLUME_ML[self._memory.volume_units]
        infused, withdrawn = (volume_ml / unit_ml % 10000.0 for volume_ml in (self._infused_ml, self._withdrawn_ml))
        return f"I{number(infused)}W{number(withdrawn)}{self._memory.volume_units}"

    def _clear(self, argument: str) -> str:
        if argument not in ("INF", "WDR"):
            raise Refusal(UNKNOWN)
        self._idle()
        if argument == "INF":
            self._infused_ml = 0.0
        else:
            self._withdrawn_ml = 0.0
        return ""

    def _safe(self, argument: str) -> str:
        if not argument:
            return str(self._memory.safe_timeout_s)
        if not argument.isdecimal():
            raise Refusal(UNKNOWN)
        if len(argument) > 3 or int(argument) > 255:
            raise Refusal(OUT_OF_RANGE)
        self._memory.safe_timeout_s = int(argument)
        self._timeout_at_s = self._wall.now() + self._memory.safe_timeout_s if self.is_safe else None
        return ""

    def _phase_number(self, argument: str) -> str:
        if not argument:
            return f"{self._selected + 1:02d}"
        self._idle()
        if not (argument.isdecimal() and 1 <= int(argument) <= N_PHASES):
            raise Refusal(OUT_OF_RANGE)
        self._selected = int(argument) - 1
        return ""

    def _function(self, argument: str) -> str:
        """RAT (pump), STP (end of the program) and PAS n (wait n seconds); the other functions are refused as out of range."""
        if not argument:
            return self._current.function.replace(" ", "")
        self._idle()
        pause = re.fullmatch(r"PAS(\d{1,2})", argument)
        if argument not in ("RAT", "STP") and pause is None:
            raise Refusal(OUT_OF_RANGE)
        self._store(replace(self._current, function=argument if pause is None else f"PAS {pause[1]}"))
        return ""

    def _trigger(self, argument: str) -> str:
        if not argument:
            return self._memory.trigger
        if argument not in TRIGGERS:
            raise Refusal(UNKNOWN)
        self._memory.trigger = argument
        return ""

    def _flag(self, name: str) -> Callable[[str], str]:
        def setting(argument: str) -> str:
            if not argument:
                return self._memory.flags[name]
            if argument not in ("0", "1"):
                raise Refusal(OUT_OF_RANGE)
            self._memory.flags[name] = argument
            return ""
        return setting

    def _reset(self, argument: str) -> str:
        """``*RESET``: program memory as from the factory, Basic mode, address 0."""
        if argument:
            raise Refusal(UNKNOWN)
        self._idle()
        self._memory, self._selected, self.address = Memory(), 0, 0
        self._timeout_at_s = None
        return ""
