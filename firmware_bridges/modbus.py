"""Modbus TCP, no I/O: requests and replies of a client.

Sources: MODBUS Application Protocol Specification V1.1b3 (functions: section 6, exceptions: section 7); MODBUS Messaging on TCP/IP
Implementation Guide V1.0b (MBAP header: section 3.1.3). Numbers are big-endian; addresses begin at 0.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from lab.core.errors import CommandError, LinkGarbled

READ_COILS, READ_DISCRETE, READ_HOLDING, READ_INPUT = 1, 2, 3, 4
WRITE_COIL, WRITE_REGISTER = 5, 6
ENCAPSULATED, READ_IDENTIFICATION, BASIC = 0x2B, 0x0E, 0x01

MOST_BITS, MOST_REGISTERS = 2000, 125
"""In one request (sections 6.1 to 6.4)."""

_HEADER = struct.Struct(">HHHB")
"""Transaction, protocol (0), length of what follows it with the unit, unit."""

_EXCEPTIONS = {1: "illegal function", 2: "illegal data address", 3: "illegal data value", 4: "server device failure", 5: "acknowledge",
               6: "server device busy", 8: "memory parity error", 10: "gateway path unavailable", 11: "gateway target failed to respond"}


def read_request(function: int, address: int, count: int) -> bytes:
    """PDU that reads `count` coils, discrete inputs or registers from `address` on.

    Raises
    ------
    ValueError
        For a count that the protocol does not allow.
    """
    most = MOST_BITS if function in (READ_COILS, READ_DISCRETE) else MOST_REGISTERS
    if not 1 <= count <= most:
        raise ValueError(f"count: given {count}; allowed: 1..{most}")
    return struct.pack(">BHH", function, address, count)


def identification_request() -> bytes:
    """PDU that asks for vendor, product and revision (section 6.21)."""
    return bytes((ENCAPSULATED, READ_IDENTIFICATION, BASIC, 0))


def frame(transaction: int, unit: int, pdu: bytes) -> bytes:
    """A PDU behind its MBAP header."""
    return _HEADER.pack(transaction, 0, len(pdu) + 1, unit) + pdu


def frames(received: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The complete frames in a stream: transaction, unit, PDU.

    Raises
    ------
    LinkGarbled
        For a header that the protocol does not allow: what follows it cannot be told apart any more.
    """
    while len(received) >= _HEADER.size:
        transaction, protocol, length, unit = _HEADER.unpack_from(received)
        if protocol != 0 or not 2 <= length <= 254:
            raise LinkGarbled(f"no MBAP header: protocol {protocol}, length {length}", b"", received)
        end = 6 + length
        if len(received) < end:
            return
        yield transaction, unit, received[_HEADER.size : end]
        received = received[end:]


def has_reply(received: bytes, transaction: int) -> bool:
    """Whether the reply to this transaction has arrived, or nothing that could still become one.

    Late replies to transactions that were given up are passed over.
    """
    try:
        return any(found == transaction for found, _, _ in frames(received))
    except LinkGarbled:
        return True


def reply(received: bytes, request: bytes) -> bytes:
    """The PDU that answers `request` (both frames).

    Raises
    ------
    LinkGarbled
        When there is none, or it answers another unit or function.
    CommandError
        An exception response, in the words of the specification.
    """
    (transaction, unit, asked), *_ = frames(request)
    for found, of_unit, pdu in frames(received):
        if found != transaction:
            continue
        if of_unit != unit or pdu[0] & 0x7F != asked[0]:
            raise LinkGarbled("a reply of another unit, or to another function", request, received)
        if pdu[0] & 0x80:
            code = pdu[1] if len(pdu) == 2 else -1
            raise CommandError(f"exception {code}: {_EXCEPTIONS.get(code, 'not in the specification')}")
        return pdu
    raise LinkGarbled("no reply to this transaction", request, received)


def bits(received: bytes, request: bytes) -> tuple[bool, ...]:
    """Coils or discrete inputs in the reply; raises as `reply`."""
    pdu, count = reply(received, request), _count(request)
    if len(pdu) != 2 + (count + 7) // 8 or pdu[1] != len(pdu) - 2:
        raise LinkGarbled(f"a reply that does not hold {count} bits", request, received)
    return tuple(bool(pdu[2 + i // 8] >> i % 8 & 1) for i in range(count))


def registers(received: bytes, request: bytes) -> tuple[int, ...]:
    """Registers in the reply, 0..65535; raises as `reply`."""
    pdu, count = reply(received, request), _count(request)
    if len(pdu) != 2 + 2 * count or pdu[1] != 2 * count:
        raise LinkGarbled(f"a reply that does not hold {count} registers", request, received)
    return struct.unpack_from(f">{count}H", pdu, 2)


def identification(received: bytes, request: bytes) -> str:
    """Vendor, product code and revision in the reply, with spaces between them; raises as `reply`."""
    pdu = reply(received, request)
    texts: list[str] = []
    at = 7
    if len(pdu) < at or pdu[1:3] != bytes((READ_IDENTIFICATION, BASIC)):
        raise LinkGarbled("a reply that is no identification", request, received)
    for _ in range(pdu[6]):
        if len(pdu) < at + 2 or len(pdu) < at + 2 + pdu[at + 1]:
            raise LinkGarbled("an identification that ends in the middle", request, received)
        texts.append(pdu[at + 2 : at + 2 + pdu[at + 1]].decode("ascii", "replace"))
        at += 2 + pdu[at + 1]
    return " ".join(texts)


def _count(request: bytes) -> int:
    count: int = struct.unpack_from(">H", request, _HEADER.size + 3)[0]
    return count
