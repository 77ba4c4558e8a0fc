"""Look over msgpack before it is unpacked: https://github.com/msgpack/msgpack/blob/master/spec.md, as far as JSON can say the same.

Unpackers make a list as long as its header claims before they look for what is in it. Here nothing is made: lengths are added up.
"""

from __future__ import annotations

from lab.core.errors import LabError

_LENGTHS = {0xD9: 1, 0xDA: 2, 0xDB: 4}
"""Bytes of the length of a text."""
_COUNTS = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}
"""Bytes of the count of a list or map, and how many values each of its members is."""
_SIZES = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
"""nil, false, true, and numbers."""


class PackedError(LabError):
    """Something that is no whole message, or has in it what JSON has not."""


def scan(data: bytes, depth: int, most_values: int) -> None:
    """See that `data` is exactly one value, whole.

    Parameters
    ----------
    data : bytes
    depth : int
        Most lists and maps within one another.
    most_values : int
        Most values, keys included.

    Raises
    ------
    PackedError
        When it is not, is deeper or has more values, or has raw bytes or extension types in it.
    """
    at, n_values, size = 0, 0, len(data)
    awaited = [1]  # values, at each level
    while awaited:
        if not awaited[-1]:
            awaited.pop()
            continue
        awaited[-1] -= 1
        n_values += 1
        if at >= size:
            raise PackedError("a message that ends too soon")
        if n_values > most_values:
            raise PackedError(f"more than {most_values} values in one message")
        at, n_within = _value(data, at)
        if at > size:
            raise PackedError("a message that ends too soon")
        if n_within > size - at:
            raise PackedError("a list or map that claims more than there is")
        if n_within >= 0:
            awaited.append(n_within)
            if len(awaited) > depth + 1:
                raise PackedError(f"more than {depth} lists and maps within one another")
    if at != size:
        raise PackedError("more than one message")


def _value(data: bytes, at: int) -> tuple[int, int]:
    """Where what follows the value, or the header of the list or map, at `at` begins; and how many values are within (-1: it is neither)."""
    tag, at = data[at], at + 1
    if tag <= 0x7F or tag >= 0xE0:  # small numbers
        return at, -1
    if tag <= 0x8F:
        return at, 2 * (tag & 0x0F)
    if tag <= 0x9F:
        return at, tag & 0x0F
    if tag <= 0xBF:
        return at + (tag & 0x1F), -1
    if tag in _SIZES:
        return at + _SIZES[tag], -1
    if tag in _LENGTHS:
        n = _LENGTHS[tag]
        return at + n + int.from_bytes(data[at : at + n], "big"), -1
    if tag in _COUNTS:
        n, each = _COUNTS[tag]
        return at + n, each * int.from_bytes(data[at : at + n], "big")
    raise PackedError("raw bytes or an extension type; allowed: what JSON can say")
