"""Lines of an IKA hotplate-stirrer, no I/O (NAMUR commands; RCT digital manual, chapter "Interfaces and outputs").

Commands and replies are ASCII lines of at most 80 characters that end in blank CR LF (replies) or CR LF. A reading comes as
number, blank, channel: ``IN_PV_2`` -> ``24.8 2``. Channels: 1 external probe, 2 plate, 3 safety limit, 4 speed, 5 viscosity trend.
Settings and starts (OUT_SP_n, START_n, STOP_n, RESET) are not answered; safety limits and watchdogs (``...@n``) are echoed.
"""

from __future__ import annotations

import re

from lab.core.errors import LinkGarbled

MAX_LENGTH = 80

_READING = re.compile(rb"\s*([+-]?\d+(?:\.\d+)?)(?:\s+(\d+))?\s*")
_NAME = re.compile(rb"\s*([\x20-\x7e]*[A-Za-z][\x20-\x7e]*?)\s*")


def encode(command: str, *arguments: str) -> bytes:
    """The line of a command: ``OUT_SP_1 60 \\r\\n`` (a blank goes before the line's end, as the manual has it).

    Raises
    ------
    ValueError
        When it is longer than 80 characters.
    """
    line = " ".join((command, *arguments)) + " \r\n"
    if len(line) > MAX_LENGTH:
        raise ValueError(f"given a command of {len(line)} characters; allowed: {MAX_LENGTH}")
    return line.encode("ascii")


def is_complete(received: bytes) -> bool:
    """Whether a line has arrived."""
    return received.endswith(b"\n")


def reading(received: bytes, channel: int | None, request: bytes = b"") -> float:
    """The number in a reply.

    Parameters
    ----------
    received : bytes
    channel : int or None
        The channel it must be of. A reply that names none is taken (not all firmware does); one that names another is not.

    Raises
    ------
    LinkGarbled
        Not one line with a number, or that of another channel.
    """
    match = _READING.fullmatch(received)
    if match is None or (channel is not None and match[2] is not None and int(match[2]) != channel):
        of_channel = "" if channel is None else f" of channel {channel}"
        raise LinkGarbled(f"hotplate: a reply that is no reading{of_channel}", request, received)
    return float(match[1])


def name(received: bytes, request: bytes = b"") -> str:
    """The text in the reply to IN_NAME, ``RCT digital``; raises LinkGarbled for anything else."""
    match = _NAME.fullmatch(received)
    if match is None:
        raise LinkGarbled("hotplate: a reply that is no name", request, received)
    return match[1].decode("ascii")


def setpoint(value: float) -> str:
    """A set value with the instrument's resolution, one decimal; whole numbers without."""
    return f"{value:.1f}".removesuffix(".0")
