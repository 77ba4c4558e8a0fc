"""Who is connected to the door: a table of TCP connections, and which of them have to end.

libzmq tells when it has accepted a connection and when one is gone, by its descriptor, and with each message the descriptor it came from.
The table keeps a duplicate of each: so it can look at a connection (how many bytes came) and end it, and never means another one that
has been given the same number meanwhile. libzmq itself bounds neither the number of connections nor the length of a message
of many frames, of which it hands over nothing until it is whole: what came and was not handed over is what is counted here.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

HANDSHAKE_S = 5.0
"""Within which libzmq ends a connection whose key has not been accepted."""

LET_IN_BYTES = 270
"""Acknowledged by the other end of a connection that was let in, at least: greeting 64, WELCOME 170, READY 67 (https://rfc.zeromq.org/spec/26/). Who is not
let in is sent an ERROR of 12 instead, or nothing. libzmq says that a handshake has succeeded, but not on which connection."""

YOUNG_AT_ONCE, YOUNG_AT_MOST = 256, 512
"""Connections at their handshake: beyond the first number those older than `PATIENCE_S` end, beyond the second any, the oldest first."""

PATIENCE_S = 2.0
"""An honest handshake takes milliseconds, and some round trips; but all clients come at once when a gateway comes back."""

YOUNG_BYTES = 32_000_000
"""Held by all connections together that have not been let in yet."""

SILENT_AT_MOST = 256
"""Connections that were let in and have not said anything within `SILENT_S`: beyond this number the oldest end, and connect again when they have."""
SILENT_S = 60.0

IDLE_S = 3600.0
"""Without a message; clients connect again when they have something to say."""

SPARE_BYTES = 1_000_000
"""Held beyond the longest message: what is in the system's own buffers."""

_BYTES = 120
"""Offset of tcpi_bytes_acked and tcpi_bytes_received in struct tcp_info (linux/tcp.h, since 4.1)."""


@dataclass(eq=False, slots=True)
class Connection:
    """One connection.

    Parameters
    ----------
    fd : int
        libzmq's descriptor.
    line : socket
        The duplicate.
    since, heard : float
        When it was accepted, and when it last handed over a message; monotonic seconds.
    key : str
        Public key of who is at the other end; empty until the first message.
    identity : bytes
        To which answers are sent.
    """

    fd: int
    line: socket.socket
    since: float
    heard: float
    key: str = ""
    identity: bytes = b""
    n_messages: int = 0
    n_abuses: int = 0
    is_let_in: bool = False
    is_ending: bool = False
    n_received: int = 0
    """Bytes that had come when it was last seen with nothing held."""
    was_heard: bool = False
    """Since it was last looked at."""

    def look(self) -> int:
        """Bytes that have come; and whether it has been let in since."""
        acknowledged, received = struct.unpack_from("QQ", self.line.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES + 16), _BYTES)
        self.is_let_in = self.is_let_in or acknowledged >= LET_IN_BYTES
        return int(received)

    def end(self) -> None:
        """End it at once; the table forgets it when libzmq says that it is gone."""
        self.is_ending = True
        try:
            self.line.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other end was first


class Connections:
    """All of them.

    Parameters
    ----------
    port : int
        Of the door: a descriptor that has been given to something else meanwhile is not taken for a connection.
    message_bytes : int
        The longest message.
    most : int
        Connections at one time.
    gone : callable
        Told of each connection that has ended.
    """

    def __init__(self, port: int, message_bytes: int, most: int, gone: Callable[[Connection], None]) -> None:
        self._port, self._message_bytes, self._most, self._gone = port, message_bytes, most, gone
        self._by_fd: dict[int, Connection] = {}
        self._by_key: dict[str, dict[Connection, None]] = {}

    def __len__(self) -> int:
        return len(self._by_fd)

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._by_fd.values())

    def accepted(self, fd: int, now: float) -> None:
        """libzmq has accepted a connection."""
        self.disconnected(fd)
        try:
            line = socket.socket(fileno=_duplicate(fd))
        except OSError:
            return  # it is gone again already
        if not _is_of(line, self._port):
            line.close()
            return
        self._by_fd[fd] = Connection(fd, line, now, now)

    def disconnected(self, fd: int) -> None:
        """libzmq has closed a connection."""
        found = self._by_fd.pop(fd, None)
        if found is not None:
            found.is_ending = True
            found.line.close()
            if found.key:
                mates = self._by_key[found.key]
                del mates[found]
                if not mates:
                    del self._by_key[found.key]
            self._gone(found)

    def has(self, fd: int) -> bool:
        """Whether there is a connection with this descriptor."""
        return fd in self._by_fd

    def heard(self, fd: int, key: str, identity: bytes, now: float) -> Connection | None:
        """A message came over a connection; None when that has ended meanwhile."""
        found = self._by_fd.get(fd)
        if found is None or found.is_ending or (found.key and (found.key, found.identity) != (key, identity)):
            return None
        if not found.key:
            self._by_key.setdefault(key, {})[found] = None
        found.key, found.identity, found.heard, found.was_heard = key, identity, now, True
        found.n_messages += 1
        return found

    def of_key(self, key: str) -> list[Connection]:
        """The connections of a key that have said something, the oldest first."""
        return [one for one in self._by_key.get(key, ()) if not one.is_ending]

    def keys(self) -> list[str]:
        """Public keys with which connections are open."""
        return list(self._by_key)

    def end_excess(self, now: float) -> dict[str, int]:
        """End what holds too much or takes too long; how many, by the reason."""
        ended: dict[str, int] = {}
        for reason, one in [*self._holding(now), *self._idle(now), *self._too_many(now)]:
            if not one.is_ending:
                one.end()
                ended[reason] = ended.get(reason, 0) + 1
        return ended

    def close(self) -> None:
        """Let go of all duplicates."""
        for one in self:
            one.line.close()
        self._by_fd.clear()
        self._by_key.clear()

    def _holding(self, now: float) -> Iterator[tuple[str, Connection]]:
        """Connections of which more has come than a message may have, without one being whole."""
        young: list[tuple[int, Connection]] = []
        for one in self:
            try:
                received = one.look()
            except OSError:
                continue  # libzmq will say that it is gone
            if one.was_heard:
                one.n_received, one.was_heard = received, False
            held = received - one.n_received
            if held > self._message_bytes + SPARE_BYTES:
                yield "more than a message, and none was whole", one
            elif not one.is_let_in:
                young.append((held, one))
        young.sort(key=lambda row: row[0], reverse=True)
        total = sum(held for held, _ in young)
        for held, one in young:
            if total <= YOUNG_BYTES:
                break
            total -= held
            yield "too much from those who have not been let in", one

    def _idle(self, now: float) -> Iterator[tuple[str, Connection]]:
        for one in self:
            if now - one.heard > IDLE_S:
                yield "nothing said in a long time", one

    def _too_many(self, now: float) -> Iterator[tuple[str, Connection]]:
        silent = [one for one in self if not one.key and not one.is_ending]  # in the order of their beginning
        young = [one for one in silent if not one.is_let_in]
        for place, one in enumerate(young):
            n_left = len(young) - place
            if n_left > YOUNG_AT_MOST or (n_left > YOUNG_AT_ONCE and now - one.since > PATIENCE_S):
                yield "too many at their handshake", one
        old = [one for one in silent if one.is_let_in and now - one.since > SILENT_S]
        for one in old[: max(0, len(old) - SILENT_AT_MOST)]:
            yield "too many that say nothing", one
        for one in silent[: max(0, len(self) - self._most)]:
            yield "too many connections", one


def _duplicate(fd: int) -> int:


    return os.dup(fd)


def _is_of(line: socket.socket, port: int) -> bool:
    try:
        return line.family in (socket.AF_INET, socket.AF_INET6) and line.getsockname()[1] == port
    except OSError:
        return False
