"""Packets of the New Era NE-1000 syringe pump, no I/O (user manual 1200-01, section 10, "RS-232 communications").

Basic mode (10.2)::

    [address] command [argument] CR                    ->  STX address(2) status [data] ETX

Safe mode (10.2.1) adds a length and a checksum; a reply comes in the mode of its request::

    STX length [address] command [argument] CRC(2) ETX ->  STX length address(2) status [data] CRC(2) ETX

``length`` counts the bytes that remain, itself among them; CRC is CRC-CCITT (polynomial 0x1021, start 0, high byte first)
over what lies between length and CRC. Example of the manual: ``02 08 "SAF0" 55 43 03``.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass

from lab.core.errors import LimitError, LinkGarbled

STX, ETX, CR = 0x02, 0x03, 0x0D

RUNNING = frozenset("IWX")
"""Status prompts of a moving pump: infusing, withdrawing, purging (10.3)."""

STATES = {"I": "infusing", "W": "withdrawing", "S": "stopped", "P": "paused", "T": "waiting", "U": "waiting", "X": "infusing",
          "A": "alarm"}
"""Status prompts as states of the STATUS channel."""

ALARMS = {
    "R": "the pump was reset (power was interrupted)",
    "S": "the motor stalled",
    "T": "no valid command came within the safe-mode time-out",
    "E": "the pumping program has an error",
    "O": "a phase of the pumping program is out of range",
}
"""Alarm types (10.3.1)."""

ERRORS = {
    "": "command not recognised",
    "NA": "not applicable now",
    "OOR": "out of range",
    "COM": "the pump received an invalid packet",
    "IGN": "command ignored",
}
"""What may follow a question mark in place of data (10.3.2)."""

_VOLUME_ML = {"ML": 1.0, "UL": 1e-3}
_RATE_ML_MIN = {"MM": 1.0, "MH": 1 / 60, "UM": 1e-3, "UH": 1e-3 / 60}

_REPLY = re.compile(rb"(\d\d)(?:A\?([A-Z])|([IWSPTUX])([\x20-\x7e]*))")
_SAFE_ALARM = re.compile(rb"\x02\x09((\d\d)A\?([A-Z]))(..)\x03", re.DOTALL)
_BASIC_ALARM = re.compile(rb"\x02(\d\d)A\?([A-Z])\x03")
_NUMBER = r"(\d+\.?\d*|\.\d+)"
_QUANTITY = re.compile(_NUMBER + r"([A-Z]{2})")
_DISPENSED = re.compile(rf"I{_NUMBER}W{_NUMBER}(ML|UL)")


@dataclass(frozen=True)
class Reply:
    """A decoded reply.

    Parameters
    ----------
    address : int
    status : str
        One letter, a key of `STATES`.
    alarm : str
        A key of `ALARMS` when `status` is ``A``, else empty.
    data : str
        What follows the status.
    """

    address: int
    status: str
    alarm: str = ""
    data: str = ""

    @property
    def is_running(self) -> bool:
        return self.status in RUNNING

    @property
    def error(self) -> str:
        """The pump's refusal in words; empty when the command was taken."""
        if not self.data.startswith("?"):
            return ""
        return f"{ERRORS.get(self.data[1:], 'unknown error')} ({self.data})"


def encode(address: int, command: str, is_safe: bool) -> bytes:
    """The packet of a command.

    Parameters
    ----------
    address : int
        0..99.
    command : str
        For instance ``RAT5.000MM``; empty asks for the status.
    is_safe : bool
        Safe mode.
    """
    data = f"{address}{command}".encode("ascii")
    if not is_safe:
        return data + bytes([CR])
    return bytes([STX, len(data) + 4]) + data + checksum(data) + bytes([ETX])


def is_basic_complete(received: bytes) -> bool:
    """Whether a basic-mode reply has arrived; noise before its STX does not count."""
    start = received.find(STX)
    return start >= 0 and ETX in received[start:]


def is_safe_complete(received: bytes) -> bool:
    """Whether a safe-mode reply has arrived. The checksum may contain STX and ETX, so the length decides."""
    start = received.find(STX)
    rest = received[start + 1:] if start >= 0 else b""
    return bool(rest) and len(rest) >= rest[0]


def decode(received: bytes, address: int, is_safe: bool, request: bytes = b"") -> Reply:
    """Read a reply.

    Raises
    ------
    LinkGarbled
        For anything but a reply of this pump with a right checksum; carries `request` and `received`.
    """
    packet = received[max(received.find(STX), 0):]
    data = _safe_data(packet) if is_safe else _basic_data(packet)
    match = _REPLY.fullmatch(data) if data is not None else None
    if match is None:
        raise LinkGarbled(f"pump {address}: a reply that is none", request, received)
    if int(match[1]) != address:
        raise LinkGarbled(f"pump {address}: pump {int(match[1])} replied", request, received)
    if match[2] is not None:
        return Reply(address, "A", alarm=match[2].decode())
    return Reply(address, match[3].decode(), data=match[4].decode())


def alarms_in(received: bytes) -> list[tuple[int, str]]:
    """Addresses and types of the alarms in a heap of bytes.

    In safe mode a pump tells an alarm unasked (10.2.3), on top of other replies; and an alarm in a reply is over once it is
    told, so one in bytes that are otherwise useless must not be lost.
    """
    found = [match for match in _SAFE_ALARM.finditer(received) if match[4] == checksum(match[1])]
    return [(int(match[2]), match[3].decode()) for match in found] + [
        (int(match[1]), match[2].decode()) for match in _BASIC_ALARM.finditer(received)]


def _basic_data(packet: bytes) -> bytes | None:
    is_framed = len(packet) >= 2 and packet[0] == STX and packet[-1] == ETX
    return packet[1:-1] if is_framed else None


def _safe_data(packet: bytes) -> bytes | None:
    is_framed = len(packet) >= 5 and packet[0] == STX and packet[1] == len(packet) - 1 and packet[-1] == ETX
    if not is_framed or packet[-3:-1] != checksum(packet[2:-3]):
        return None
    return packet[2:-3]


def checksum(data: bytes) -> bytes:
    """CRC-CCITT, start 0, high byte first."""
    return binascii.crc_hqx(data, 0).to_bytes(2, "big")


def number(value: float) -> str:
    """A number as the pump takes it: at most four digits and a point, at most three of them behind it (10.1).

    Raises
    ------
    LimitError
        When it does not fit: more than 9999, or so small that it would become zero.
    """
    is_in_range = value == 0 or 0.0005 <= value < 9999.5  # False for NaN
    for n_decimals in (3, 2, 1, 0):
        text = f"{value:.{n_decimals}f}"
        if is_in_range and len(text.replace(".", "")) <= 4:
            return text
    raise LimitError(f"pump: given {value:g}; allowed: 0, or 0.001..9999")


def volume_argument(volume_ml: float) -> tuple[str, str]:
    """Number and unit that give a volume its best resolution: ``("333.3", "UL")``."""
    return (number(volume_ml * 1000), "UL") if volume_ml < 9.999 else (number(volume_ml), "ML")


def rate_argument(rate_ml_min: float) -> str:
    """A rate with its unit, at its best resolution: ``1500UM``."""
    return number(rate_ml_min * 1000) + "UM" if rate_ml_min < 9.999 else number(rate_ml_min) + "MM"


def volume_ml(data: str) -> float:
    """A volume from the reply to VOL, mL; ValueError for anything else."""
    return _quantity(data, _VOLUME_ML)


def rate_ml_min(data: str) -> float:
    """A rate from the reply to RAT, mL/min; ValueError for anything else."""
    return _quantity(data, _RATE_ML_MIN)


def dispensed_ml(data: str) -> tuple[float, float]:
    """Volumes infused and withdrawn from the reply to DIS, mL; ValueError for anything else."""
    match = _DISPENSED.fullmatch(data)
    if match is None:
        raise ValueError(f"given {data!r}; allowed: a dispensed volume such as I5.000W0.000ML")
    unit = _VOLUME_ML[match[3]]
    return float(match[1]) * unit, float(match[2]) * unit


def _quantity(data: str, units: dict[str, float]) -> float:
    match = _QUANTITY.fullmatch(data)
    if match is None or match[2] not in units:
        raise ValueError(f"given {data!r}; allowed: a number with a unit of {', '.join(units)}")
    return float(match[1]) * units[match[2]]
