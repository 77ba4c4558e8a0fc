"""The text protocol of the Meca500: commands in, messages out.

Commands are ``Name(a,b,...)``, any case, ended by NUL or LF; messages are ``[code][text]`` ended by NUL, and only the
codes are to be relied upon (Mecademic MC-PM-MECA500, firmware 9.x, chapter 2, "TCP/IP communication", and its tables
of error messages 2.5.1, responses 2.5.2 and status messages 2.5.3).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from lab.core.errors import LabError

LONGEST_COMMAND = 4096
"""More bytes than these without an end are answered with [3003]. (The manual gives no number.)"""

_FREE_TEXT = frozenset({"logtrace"})
"""Commands whose argument is a text, which may hold commas and parentheses."""

_COMMAND = re.compile(r"([A-Za-z][A-Za-z0-9_]*)\s*(?:\((.*)\))?", re.DOTALL)


class Refusal(LabError):
    """A command that the robot answers with an error message.

    Parameters
    ----------
    code : int
        1000 to 1999.
    text : str
    """

    def __init__(self, code: int, text: str) -> None:
        self.code, self.text = code, text
        super().__init__(f"[{code}][{text}]")


@dataclass(frozen=True)
class Command:
    """One command as it was received.

    Parameters
    ----------
    name : str
        In lower case: the robot does not distinguish.
    arguments : tuple of str
    text : str
        The whole, as error messages quote it.
    """

    name: str
    arguments: tuple[str, ...]
    text: str

    @classmethod
    def parse(cls, line: str) -> Command:
        """Read one line.

        Raises
        ------
        Refusal
            [1001] for what is no command, [1002] for a missing parenthesis or comma.
        """
        text = line.strip()
        match = _COMMAND.fullmatch(text)
        if match is None:
            raise refusal(1002 if text.count("(") != text.count(")") else 1001, text)
        inside = (match[2] or "").strip()
        if match[1].lower() in _FREE_TEXT:
            return cls(match[1].lower(), (inside,), text)
        arguments = tuple(part.strip() for part in inside.split(",")) if inside else ()
        if "" in arguments or any(" " in a or "(" in a or ")" in a for a in arguments):
            raise refusal(1002, text)
        return cls(match[1].lower(), arguments, text)

    def numbers(self, least: int, most: int | None = None) -> tuple[float, ...]:
        """The arguments as finite numbers, `least` to `most` of them (`most` None: exactly `least`).

        Raises
        ------
        Refusal
            [1003] for a wrong number of arguments, or one that is no finite number.
        """
        if not least <= len(self.arguments) <= (least if most is None else most):
            raise refusal(1003, self.text)
        try:
            values = tuple(float(argument) for argument in self.arguments)
        except ValueError as error:
            raise refusal(1003, self.text) from error
        if not all(math.isfinite(value) for value in values):
            raise refusal(1003, self.text)
        return values

    def whole(self, low: int, high: int) -> int:
        """The only argument, a whole number in `low`..`high`. Raises Refusal [1003] for anything else."""
        (value,) = self.numbers(1)
        if not value.is_integer() or not low <= value <= high:
            raise refusal(1003, self.text)
        return int(value)


TEXTS: dict[int, str] = {
    1000: "Command buffer is full.",
    1001: "Empty command or command unrecognized. - Command: '{}'",
    1002: "Syntax error, symbol missing. - Command: '{}'",
    1003: "Argument error. - Command: '{}'",
    1005: "The robot is not activated.",
    1006: "The robot is not homed.",
    1010: "Linear move is blocked because a joint would rotate by more than 180deg. - Command: '{}'",
    1011: "The robot is in error.",
    1012: "Linear move not possible due to a singularity along the path - Command: '{}'",
    1013: "Activation failed.",
    1016: "Destination pose out of reach for any configuration. - Command: '{}'",
    1025: "Impossible to reset the error. Please, power-cycle the robot.",
    2000: "Motors activated.",
    2002: "Homing done.",
    2004: "Motors deactivated.",
    2005: "The error was reset.",
    2006: "There was no error to reset.",
    2042: "Motion paused.",
    2043: "Motion resumed.",
    2044: "The motion was cleared.",
    2052: "End of movement is enabled.",
    2053: "End of movement is disabled.",
    2054: "End of block is enabled.",
    2055: "End of block is disabled.",
    3001: "Another user is already connected, closing connection.",
    3003: "Command has reached the maximum length.",
    3004: "End of movement.",
    3005: "Error of motion.",
    3006: "Error of communication with drives.",
    3012: "End of block.",
    3025: "Gripper error.",
    3029: "Excessive torque error occurred.",
}
"""Descriptions by code; ``{}`` stands for the command. They may change with the firmware: rely on the codes."""


def refusal(code: int, command: str) -> Refusal:
    """The error message `code` about `command`."""
    return Refusal(code, TEXTS[code].format(command))


def encode(code: int, text: str) -> bytes:
    """One message: ``[code][text]`` and NUL."""
    return f"[{code}][{text}]".encode("ascii", "replace") + b"\0"


def listed(values: Iterable[float | int | bool]) -> str:
    """Values separated by commas: whole numbers as they are, others to five decimals."""
    return ",".join(_written(value) for value in values)


def _written(value: float | int | bool) -> str:
    if isinstance(value, int):
        return str(int(value))
    return f"{round(value, 5) + 0.0:.5f}"  # adding 0.0 turns -0.0 into 0.0


class Lines:
    """Cuts a byte stream into commands, wherever the network has split it."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._is_skipping = False

    def feed(self, data: bytes) -> list[str | None]:
        """The lines that are complete now, without their ends; None for one beyond `LONGEST_COMMAND`.

        Empty ones are left out: client libraries send a bare NUL to be recognised, or end lines with LF and NUL.
        """
        found: list[str | None] = []
        for piece in re.split(rb"(\0|\n)", data):
            if piece in (b"\0", b"\n"):
                found += self._ended()
            elif not self._is_skipping:
                self._pending += piece
                if len(self._pending) > LONGEST_COMMAND:
                    self._is_skipping = True
                    self._pending.clear()
                    found.append(None)
        return found

    def _ended(self) -> list[str | None]:
        text = bytes(self._pending).decode("latin-1").strip()
        self._pending.clear()
        is_lost, self._is_skipping = self._is_skipping, False
        return [] if is_lost or not text else [text]
