"""The channel tables: one row per PV. A device and its bridge know each other only by these rows.

PV names are ``{prefix}{instrument}:{channel}``, for a pump bank ``{prefix}{instrument}:{address}:{channel}``.

Contract of a *write* channel ``X`` (setpoint or action):

- a put with callback completes when the command has been carried out, or has failed;
- before it completes, the text channel ``X:ERR`` holds ``""`` or the cause: the class of the error, a colon, and the
  instrument's own words (`lab.core.errors.to_words`). A put-callback never tells a client of a failure, so a device
  reads ``X:ERR`` after each put;
- a value outside the row's limits is refused by the bridge: nothing is sent, ``X:ERR`` says so;
- ``action`` channels carry out their command whatever value is written.

While the line is down every read channel stands in INVALID alarm, ``CONNECTED`` is 0 and ``LAST_ERROR`` has the cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lab.core.errors import LimitError

ChannelType = Literal["float", "int", "bool", "enum", "text", "action", "vector", "image"]

ERROR_SUFFIX = ":ERR"
ERROR_LENGTH = 1024
"""Bytes of an error text."""


@dataclass(frozen=True)
class Channel:
    """One PV.

    Parameters
    ----------
    name : str
        PV suffix, for instance ``RATE``.
    type : ChannelType
        ``vector`` has `length` floats; ``image`` is a flat uint16 waveform of `length` elements.
    doc : str
        What it is, for people.
    is_writable : bool
        Setpoints and actions; readbacks are not.
    unit : str
        EGU.
    low, high : float or None
        Inclusive limits of a float, int or (each element of a) vector.
    choices : tuple of str
        The states of an enum, in order.
    length : int
        Elements of a vector or image; characters of a text.
    """

    name: str
    type: ChannelType
    doc: str
    is_writable: bool = False
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    length: int = 1
    precision: int = 3

    def check(self, value: object, instrument: str) -> None:
        """Refuse what this row forbids.

        Raises
        ------
        LimitError
            Naming the instrument, what was given, what is allowed, and the unit.
        """
        who = f"{instrument}.{self.name}"
        if not self.is_writable:
            raise LimitError(f"{who}: is a readback and cannot be written")
        if self.type in ("float", "int"):
            self._check_number(value, who)
        elif self.type == "vector":
            elements = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]
            if len(elements) != self.length:
                raise LimitError(f"{who}: given {len(elements)} numbers; allowed: exactly {self.length}")
            for element in elements:
                self._check_number(element, who)
        elif self.type == "enum":
            if value not in self.choices and value not in range(len(self.choices)):
                raise LimitError(f"{who}: given {value!r}; allowed: {', '.join(self.choices)}")
        elif self.type == "text" and len(str(value).encode()) >= self.length:
            raise LimitError(f"{who}: given {len(str(value).encode())} bytes; allowed: fewer than {self.length}")

    def _check_number(self, value: object, who: str) -> None:
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise LimitError(f"{who}: given {value!r}; allowed: a number") from error
        low = self.low if self.low is not None else float("-inf")
        high = self.high if self.high is not None else float("inf")
        if not low <= number <= high:
            raise LimitError(f"{who}: {number:g} {self.unit} is outside {low:g}..{high:g} {self.unit}".replace(" ..", ".."))


def _read(name: str, type: ChannelType, doc: str, **more: object) -> Channel:
    return Channel(name, type, doc, is_writable=False, **more)  # type: ignore[arg-type]


def _write(name: str, type: ChannelType, doc: str, **more: object) -> Channel:
    return Channel(name, type, doc, is_writable=True, **more)  # type: ignore[arg-type]


BRIDGE: tuple[Channel, ...] = (
    _read("CONNECTED", "bool", "1 while the instrument answers"),
    _read("IDENTITY", "text", "what the firmware says it is", length=128),
    _read("ERROR_COUNT", "int", "failed exchanges since the bridge started"),
    _read("LAST_ERROR", "text", "cause of the last failed exchange or command", length=512),
    _read("ROUND_TRIP_MS", "float", "duration of the last poll exchange", unit="ms"),
    _write("RESET", "action", "clear the instrument's error and re-read its state"),
    _write("POLL", "action", "read the instrument anew; completes when all readings are from after this"),
    _write("SAFE", "action", "make the instrument safe: heat off, pumps stopped, motion stopped, disarmed"),
)
"""Every bridge serves these, directly under the instrument's name."""

PUMP: tuple[Channel, ...] = (
    _write("RATE", "float", "pumping rate", unit="mL/min", low=0.001, high=50.0),
    _read("RATE_RBV", "float", "pumping rate read back", unit="mL/min"),
    _write("DIAMETER", "float", "inside diameter of the syringe", unit="mm", low=0.1, high=50.0),
    _read("DIAMETER_RBV", "float", "syringe diameter read back", unit="mm"),
    _write("DISPENSE", "float", "infuse this volume; completes when the pump has stopped", unit="mL", low=0.001, high=60.0),
    _write("WITHDRAW", "float", "withdraw this volume; completes when the pump has stopped", unit="mL", low=0.001, high=60.0),
    _read("DISPENSED", "float", "volume infused since the last DISPENSE began, as the pump counts it", unit="mL"),
    _read("WITHDRAWN", "float", "volume withdrawn since the last WITHDRAW began, as the pump counts it", unit="mL"),
    _write("STOP", "action", "stop this pump"),
    _read("STATUS", "enum", "what the pump is doing",
          choices=("stopped", "infusing", "withdrawing", "paused", "waiting", "alarm")),
    _read("ALARM", "text", "the pump's alarm in words, empty when none", length=128),
)
"""Per pump of a bank: New Era NE-1000."""

HOTPLATE: tuple[Channel, ...] = (
    _write("TEMPERATURE", "float", "plate temperature setpoint", unit="degC", low=0.0, high=310.0),
    _read("TEMPERATURE_SP", "float", "setpoint read back", unit="degC"),
    _read("TEMPERATURE_RBV", "float", "plate temperature", unit="degC"),
    _read("PROBE_RBV", "float", "temperature of the external probe", unit="degC"),
    _write("HEAT", "bool", "heater on or off"),
    _read("HEAT_RBV", "bool", "heater as the bridge last switched it; the firmware cannot be asked"),
    _write("STIR_RPM", "float", "stirring speed setpoint", unit="rpm", low=0.0, high=1500.0),
    _read("STIR_SP", "float", "stirring setpoint read back", unit="rpm"),
    _read("STIR_RBV", "float", "stirring speed", unit="rpm"),
    _write("STIR", "bool", "stirrer on or off"),
)
"""IKA hotplate-stirrer, NAMUR."""

ARM: tuple[Channel, ...] = (
    _write("ACTIVATE", "action", "power the motors"),
    _write("HOME", "action", "home all joints"),
    _write("DEACTIVATE", "action", "motors off, brakes on"),
    _write("STOP", "action", "stop motion and clear the motion queue"),
    _write("MOVE_JOINTS", "vector", "joint move; completes on its checkpoint", unit="deg", length=6, low=-360.0, high=360.0),
    _write("MOVE_POSE", "vector", "move to x,y,z,alpha,beta,gamma, joints interpolated", unit="mm,deg", length=6,
           low=-1000.0, high=1000.0),
    _write("MOVE_LIN", "vector", "move to x,y,z,alpha,beta,gamma on a straight line", unit="mm,deg", length=6,
           low=-1000.0, high=1000.0),
    _write("GRIPPER", "enum", "gripper jaws", choices=("closed", "open")),
    _read("GRIPPER_RBV", "enum", "gripper jaws read back", choices=("closed", "open")),
    _read("HOLDING", "bool", "1 while the gripper holds a part"),
    _write("VELOCITY", "float", "joint velocity", unit="%", low=1.0, high=100.0),
    _read("JOINTS", "vector", "joint angles", unit="deg", length=6),
    _read("POSE", "vector", "tool pose x,y,z,alpha,beta,gamma", unit="mm,deg", length=6),
    _read("STATE", "enum", "what the robot is", choices=("off", "activated", "ready", "moving", "paused", "error")),
    _read("ERROR_TEXT", "text", "the robot's error in its own words, empty when none", length=256),
)
"""Mecademic Meca500."""

DETECTOR: tuple[Channel, ...] = (
    _write("INITIALIZE", "action", "initialise the detector"),
    _write("COUNT_TIME", "float", "exposure of one frame", unit="s", low=0.0001, high=3600.0),
    _read("COUNT_TIME_RBV", "float", "exposure read back", unit="s"),
    _write("N_IMAGES", "int", "frames of one trigger", low=1, high=100000),
    _read("N_IMAGES_RBV", "int", "frames of one trigger read back"),
    _write("FILE", "text", "HDF5 file of the next series, an absolute path", length=1024),
    _read("FILE_RBV", "text", "HDF5 file being written or last written", length=1024),
    _write("ARM", "action", "arm a series and open FILE"),
    _write("TRIGGER", "action", "take N_IMAGES frames; completes when they are saved in FILE"),
    _write("DISARM", "action", "end the series and close FILE"),
    _write("STOP", "action", "abort the exposure and disarm"),
    _read("FRAMES_SAVED", "int", "frames in FILE"),
    _read("STATE", "text", "detector state: na idle ready acquire configure initialize error", length=32),
    _read("WIDTH", "int", "pixels in a row"),
    _read("HEIGHT", "int", "rows of a frame"),
    _read("PIXEL_TYPE", "text", "type of a pixel as numpy writes it: <u2", length=16),
    _read("MEAN_COUNTS", "float", "mean counts per pixel of the last frame", unit="counts"),
    _read("MAX_COUNTS", "int", "largest pixel of the last frame", unit="counts"),
    _read("THUMBNAIL", "image", "last frame, reduced to 64 x 64", length=4096),
)
"""Dectris SIMPLON 1.8 area detector."""

PLC: tuple[Channel, ...] = (
    _read("SCAN", "int", "reads of all inputs since the bridge started, told every half second"),
)
"""Programmable controller, Modbus TCP; each of its inputs in lab.yaml adds a row (see `input_row`)."""

TABLES: dict[str, tuple[Channel, ...]] = {"pump": PUMP, "hotplate": HOTPLATE, "arm": ARM, "detector": DETECTOR, "plc": PLC}
"""Channel table of each kind of instrument (a pump bank has one per address)."""


def input_row(name: str, unit: str, is_switch: bool) -> Channel:
    """The row of one input of a PLC."""
    return _read(name, "bool" if is_switch else "float", f"input {name}", unit=unit)


def by_name(table: Sequence[Channel]) -> dict[str, Channel]:
    """The rows of a table, by channel name."""
    return {channel.name: channel for channel in table}


def narrow(table: Sequence[Channel], limits: Mapping[str, tuple[float, float]], where: str) -> tuple[Channel, ...]:
    """Put a laboratory's own limits into a channel table.

    Parameters
    ----------
    table : sequence of Channel
    limits : mapping of channel name to (low, high), in the channel's unit
    where : str
        Named in messages, for instance ``lab.yaml: instruments.hotplate.limits``.

    Raises
    ------
    LimitError
        For a channel that does not exist, is not a number to be written, or whose limits would be wider than the table's.
    """
    rows = by_name(table)
    for name, (low, high) in limits.items():
        row = rows.get(name)
        writable = [r.name for r in table if r.is_writable and r.type in ("float", "int", "vector")]
        if row is None or row.name not in writable:
            raise LimitError(f"{where}.{name}: given no setpoint of this instrument; allowed: {', '.join(writable)}")
        if not low < high:
            raise LimitError(f"{where}.{name}: given {low:g}..{high:g}; allowed: the lower limit first")
        for bound in (low, high):
            if (row.low is not None and bound < row.low) or (row.high is not None and bound > row.high):
                raise LimitError(f"{where}.{name}: given {bound:g} {row.unit}; allowed: {row.low:g}..{row.high:g} {row.unit}, "
                                 "what the instrument itself can do")
        rows[name] = replace(row, low=float(low), high=float(high))
    return tuple(rows.values())
