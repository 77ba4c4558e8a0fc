"""What may come through the door, and how it is answered: bytes to values and back, no I/O, nothing executed.

A message is one map, ``{"method": ..., "params": {...}}`` as the RE Manager has it, or the control of a stream; JSON or msgpack, told
apart by the first byte, and answered in the same. Everything that JSON cannot say, or says twice, is refused, so that all who see a
message behind the door (gateway, steward, RE Manager, audit log) see the same in it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import msgpack

from lab.core.errors import LabError
from lab.core.remote import Traffic
from lab.remote.gateway.packed import PackedError, scan

Encoding = Literal["json", "msgpack"]

MOST_VALUES = 20_000
"""In one message, keys included: what a message of 1 MB may unfold to in memory is bounded by this, not by its bytes."""

LONGEST_NUMBER = 40
"""Characters; a double has 24 at most."""

LARGEST_WHOLE = 2**63
_MAP_TAGS = frozenset((*range(0x80, 0x90), 0xDE, 0xDF))
_TEXTS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_METHOD = re.compile(r"[a-z][a-z0-9_]{0,63}")


class _NotAllowed(LabError):
    """Words for `Refusal`; it does not leave this module."""


@dataclass(frozen=True, slots=True)
class Request:
    """Something is asked, and answered once."""

    method: str
    params: dict[str, Any]
    encoding: Encoding


@dataclass(frozen=True, slots=True)
class StreamControl:
    """Somebody subscribes, or goes on reading."""

    message: dict[str, Any]
    encoding: Encoding


@dataclass(frozen=True, slots=True)
class Refusal:
    """Not a message.

    Parameters
    ----------
    words : str
        What is wrong, and what is allowed; nothing of the sender's in it.
    encoding : str or None
        In which it can be said; None: it cannot be answered.
    is_control : bool
        Whether it came as one for a stream.
    """

    words: str
    encoding: Encoding | None
    is_control: bool = False


def parse(frames: Sequence[bytes], traffic: Traffic) -> Request | StreamControl | Refusal:
    """What the frames of one message say, without the sender's identity.

    Parameters
    ----------
    frames : sequence of bytes
        ``[b"", payload]`` is a request, ``[payload]`` the control of a stream.
    traffic : Traffic
        How long and how deep a payload may be.
    """
    is_control = len(frames) == 1
    if not is_control and (len(frames) != 2 or frames[0]):
        return Refusal("a request is an empty frame and one more, the control of a stream is one frame", None)
    payload = frames[-1]
    encoding = encoding_of(payload)
    if encoding is None:
        return Refusal("a message is a map, as JSON or msgpack", None, is_control)
    try:
        message = _message(payload, encoding, traffic)
        return StreamControl(message, encoding) if is_control else _request(message, encoding)
    except _NotAllowed as error:
        return Refusal(str(error), encoding, is_control)


def encoding_of(payload: bytes) -> Encoding | None:
    """How a payload is written, by its first byte; None when it is no map in either."""
    start = payload[:16].lstrip(b" \t\r\n")[:1]
    if start == b"{":
        return "json"
    return "msgpack" if payload and payload[0] in _MAP_TAGS else None


def encode(answer: Mapping[str, Any], encoding: Encoding) -> bytes:
    """An answer of our own."""
    if encoding == "json":
        return json.dumps(answer).encode()
    packed: bytes = msgpack.packb(answer)
    return packed


def translate(answer: bytes, encoding: Encoding) -> bytes:
    """An answer that came as JSON from behind the door, for whoever asked.

    Raises
    ------
    ValueError
        When it is no JSON; only looked at when it has to be written anew.
    """
    if encoding == "json":
        return answer
    packed: bytes = msgpack.packb(json.loads(answer))
    return packed


def _request(message: dict[str, Any], encoding: Encoding) -> Request:
    if not message.keys() <= {"method", "params"}:
        raise _NotAllowed("a request has method and params, and nothing else")
    method, params = message.get("method"), message.get("params", {})
    if not isinstance(method, str) or _METHOD.fullmatch(method) is None:
        raise _NotAllowed("method: a name of at most 64 lower-case letters, digits and underscores")
    if not isinstance(params, dict):
        raise _NotAllowed("params: a map")
    return Request(method, params, encoding)


def _message(payload: bytes, encoding: Encoding, traffic: Traffic) -> dict[str, Any]:
    if len(payload) > traffic.message_bytes:
        raise _NotAllowed(f"a message of {len(payload)} bytes; allowed: {traffic.message_bytes} (lab.yaml: remote.traffic.message_bytes)")
    message = _from_json(payload) if encoding == "json" else _from_msgpack(payload, traffic.depth)
    _check(message, traffic.depth)
    if not isinstance(message, dict):
        raise _NotAllowed("a message is a map")
    return message


# ------------------------------------------------------------------------------------------------------------- JSON


def _from_json(payload: bytes) -> Any:
    if _n_values(payload) > MOST_VALUES:
        raise _NotAllowed(f"more than {MOST_VALUES} values in one message")
    try:
        return _DECODER.decode(payload.decode())
    except RecursionError as error:
        raise _NotAllowed("lists and maps too deep within one another") from error
    except UnicodeDecodeError as error:
        raise _NotAllowed("text is UTF-8") from error
    except ValueError as error:
        raise _NotAllowed("this is no JSON") from error


def _n_values(payload: bytes) -> int:
    """No fewer than the values and keys that a text of JSON has; exact only where it matters."""
    if _n_separators(payload) <= MOST_VALUES:
        return 0
    return _n_separators(_TEXTS.sub(b"", payload))  # commas within a text, a script for instance, are no values


def _n_separators(payload: bytes) -> int:
    return sum(map(payload.count, (b",", b":", b"[", b"{")))


def _whole(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise _NotAllowed(f"a number of {len(text)} characters; allowed: {LONGEST_NUMBER}")
    return int(text)


def _real(text: str) -> float:
    if len(text) > LONGEST_NUMBER:
        raise _NotAllowed(f"a number of {len(text)} characters; allowed: {LONGEST_NUMBER}")
    return float(text)


def _no_number(text: str) -> NoReturn:
    raise _NotAllowed("a number that is none (NaN, Infinity)")


def _map(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise _NotAllowed("a key twice in one map")
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=_map, parse_int=_whole, parse_float=_real, parse_constant=_no_number)


# ---------------------------------------------------------------------------------------------------------- msgpack


def _from_msgpack(payload: bytes, depth: int) -> Any:
    try:
        # Before anything is made of it: a header of 5 bytes may claim a list of 4 thousand million values, and lists are made as long as claimed.
        scan(payload, depth, MOST_VALUES)
        return msgpack.unpackb(payload, raw=False, strict_map_key=True, object_pairs_hook=_map)
    except PackedError as error:
        raise _NotAllowed(str(error)) from error
    except UnicodeDecodeError as error:
        raise _NotAllowed("text is UTF-8") from error
    except (ValueError, msgpack.UnpackException) as error:
        raise _NotAllowed("this is no msgpack that JSON could say as well") from error


# ------------------------------------------------------------------------------------------------------------- both


def _check(message: Any, depth: int) -> None:
    """Refuse what is deeper than allowed, and values that not everybody behind the door would read alike."""
    level: list[Any] = [message]
    for n_around in range(depth + 1):
        deeper: list[Any] = []
        for value in level:
            if isinstance(value, str):
                _check_text(value)
            elif isinstance(value, (dict, list)):
                if n_around == depth:
                    raise _NotAllowed(f"more than {depth} lists and maps within one another")
                deeper.extend(_within(value))
            elif isinstance(value, float):
                if not math.isfinite(value):
                    raise _NotAllowed("a number that is none (NaN, Infinity)")
            elif isinstance(value, int) and not -LARGEST_WHOLE <= value < LARGEST_WHOLE:
                raise _NotAllowed("a whole number of more than 64 bits")
        if not deeper:
            return
        level = deeper


def _within(value: dict[Any, Any] | list[Any]) -> Iterable[Any]:
    if isinstance(value, list):
        return value
    for key in value:
        _check_text(key)
    return value.values()


def _check_text(text: object) -> None:
    if not isinstance(text, str):
        raise _NotAllowed("a key that is no text")
    if "\0" in text:
        raise _NotAllowed("a text with NUL in it")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise _NotAllowed("half a character (a lone surrogate)") from error
