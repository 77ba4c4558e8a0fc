"""The Meca500's text protocol, sans-IO: bytes in, messages out; and the commands this bridge sends.

Source: Mecademic *Programming manual for Meca500* (MC-PM-MECA500, firmware 9.x), chapter 2. Commands are
``Name(a,b,...)`` ended by NUL. Every message of the robot is ``[code][text or comma-separated values]`` ended by NUL
(2.5). Only codes are to be relied upon: texts may change with the firmware. Codes 1000-1999 are errors due to a
command, 2000-2999 responses and feedback, 3000-3999 status updates and general errors.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from lab.core.errors import LimitError, LinkGarbled

# Responses (2.5.2).
ACTIVATED, ALREADY_ACTIVATED, HOMED, ALREADY_HOMED, DEACTIVATED = 2000, 2001, 2002, 2003, 2004
ERROR_RESET, NO_ERROR_TO_RESET = 2005, 2006
STATUS_ROBOT = 2007
JOINTS, POSE = 2026, 2027
PAUSED, RESUMED, CLEARED = 2042, 2043, 2044
FIRMWARE_FULL, SERIAL = 2082, 2083
GRIPPER_STATE = 2320

# Status messages (2.5.3).
CONNECTED, USER_ALREADY_CONNECTED = 3000, 3001
CHECKPOINT_REACHED, CHECKPOINT_DISCARDED = 3030, 3040

NOT_AN_ERROR = frozenset({CONNECTED, 3004, 3012, 3013, 3018, 3022, 3026, 3028, CHECKPOINT_REACHED, CHECKPOINT_DISCARDED,
                          3032, 3034, 3035, 3036, 3039, 3048})
"""Status messages (3000-3099) that do not end a motion by themselves."""

SAFETY_STOPS = frozenset({3032, 3069, 3070, *range(3080, 3088)})
"""Safety signals: ``[code][1]`` when raised, ``[code][0]`` when cleared."""

MAX_CHECKPOINT = 8000
"""Checkpoint numbers run from 1 to this (SetCheckpoint)."""

_MESSAGE = re.compile(rb"\[(\d{4})\]\[(.*)\]", re.DOTALL)
_LONGEST = 65536


@dataclass(frozen=True)
class Message:
    """One message of the robot: ``[code][text]``."""

    code: int
    text: str

    @property
    def is_command_error(self) -> bool:
        return 1000 <= self.code < 2000

    @property
    def is_failure(self) -> bool:
        """Whether a motion that is pending cannot end well after this message."""
        if self.code in SAFETY_STOPS:
            return self.text.split(",")[0].strip() == "1"
        return self.is_command_error or (3000 <= self.code < 3100 and self.code not in NOT_AN_ERROR)

    @property
    def words(self) -> str:
        """The robot's own words, with the code that decides."""
        return f"[{self.code}][{self.text}]"

    def numbers(self, n: int) -> tuple[float, ...]:
        """The first `n` comma-separated values.

        Raises
        ------
        LinkGarbled
            When there are fewer, or one is not a finite number.
        """
        try:
            values = tuple(float(field) for field in self.text.split(",")[:n])
        except ValueError as error:
            raise LinkGarbled(f"Meca500: {n} numbers expected", reply=self.words.encode()) from error
        if len(values) < n or not all(math.isfinite(v) for v in values):
            raise LinkGarbled(f"Meca500: {n} numbers expected", reply=self.words.encode())
        return values


class Parser:
    """Cuts the robot's stream into messages, wherever the network has split it."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> None:
        """Take bytes as they came from the socket."""
        self._pending += data

    def take(self) -> Message | None:
        """The next complete message, or None.

        Raises
        ------
        LinkGarbled
            For a complete message that is not ``[code][text]``, or an endless one. It has then been removed.
        """
        while True:
            end = self._pending.find(b"\0")
            if end < 0:
                if len(self._pending) > _LONGEST:
                    raw = self._drop(len(self._pending))
                    raise LinkGarbled("Meca500: no end of message", reply=raw[:80])
                return None
            raw = self._drop(end + 1)[:-1].strip(b"\r\n")
            if not raw:
                continue
            match = _MESSAGE.fullmatch(raw)
            if match is None:
                raise LinkGarbled("Meca500: not a message; [code][text] expected", reply=raw[:200])
            return Message(int(match[1]), match[2].decode("utf-8", "replace"))

    def _drop(self, n: int) -> bytes:
        raw = bytes(self._pending[:n])
        del self._pending[:n]
        return raw


def command(name: str, *arguments: float) -> bytes:
    """One command as the robot reads it, without exponents.

    Raises
    ------
    LimitError
        For an argument that is not finite; nothing may be sent.
    """
    if not all(math.isfinite(a) for a in arguments):
        raise LimitError(f"arm: {name}{arguments}: given a number that is not finite; allowed: finite numbers")
    return f"{name}({','.join(_plain(a) for a in arguments)})".encode("ascii") + b"\0"


def _plain(value: float) -> str:
    if float(value).is_integer():
        return str(int(value))
    text = f"{value:.6f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


@dataclass(frozen=True)
class RobotStatus:
    """``[2007][as,hs,sm,es,pm,eob,eom]`` (2.4.29)."""

    is_activated: bool
    is_homed: bool
    is_simulating: bool
    is_in_error: bool
    is_paused: bool
    is_block_ended: bool
    is_still: bool

    @classmethod
    def parse(cls, message: Message) -> RobotStatus:
        return cls(*(value != 0 for value in message.numbers(7)))

    @property
    def state(self) -> str:
        """In the words of the channel STATE."""
        if self.is_in_error:
            return "error"
        if not self.is_activated:
            return "off"
        if not self.is_homed:
            return "activated"
        if self.is_paused:
            return "paused"
        return "ready" if self.is_block_ended else "moving"


@dataclass(frozen=True)
class GripperState:
    """``[2320][t,hp,dr,gc,go]`` (GetRtGripperState); firmware 9.0 leaves out the last two."""

    is_holding: bool
    is_reached: bool
    is_closed: bool
    is_open: bool

    @classmethod
    def parse(cls, message: Message) -> GripperState:
        n = len(message.text.split(","))
        flags = [value != 0 for value in message.numbers(min(max(n, 3), 5))[1:]]
        return cls(*(flags + [False] * (4 - len(flags))))

    def has_done(self, *, opening: bool) -> bool:
        """Whether the fingers have finished opening (or closing).

        ``dr`` falls when the command begins to be executed and rises when the opening is reached; a gripper that closes
        on a part stops short of it, forcing (``hp``).
        """
        if opening:
            return (self.is_open or self.is_reached) and not self.is_holding
        return self.is_holding or self.is_closed or self.is_reached
