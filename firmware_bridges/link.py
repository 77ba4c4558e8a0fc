"""The line to an instrument: one owner, one turn at a time, a deadline on every wait.

A turn lasts from the first byte written to the last byte read, so that two threads can never read each other's reply.
A link does not reconnect behind its owner's back: after a `LinkDown` it is closed, every exchange fails at once, and the
controller calls `connect` again (see `Backoff`), because a fresh connection means that the instrument's state must be read anew.

An unplugged port shows three faces: pyserial's ``read`` raises SerialException ("returned no data"), ``write`` raises
SerialException (EIO), ``in_waiting`` a bare OSError. SerialException is an OSError, so OSError is what is caught here.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import termios
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

import serial

from lab.core.errors import LinkDown, LinkTimeout

log = logging.getLogger(__name__)

T = TypeVar("T")

Framer = Callable[[bytes], bool]
"""Whether the bytes received so far hold a complete reply."""

LOCK_S = 5.0
"""Longest wait for one's turn: several exchanges of others."""

WRITE_S = 1.0
"""Longest wait for the line to take a request."""

_SLICE_S = 0.05
"""A blocking read returns at least this often to look at its deadline. Fixed, because changing pyserial's timeout per
exchange costs system calls."""


class Backoff:
    """Pauses between attempts to connect: 10 ms first, doubling up to 2 s (the habit of EPICS asyn, with a gentler start)."""

    def __init__(self, first_s: float = 0.01, longest_s: float = 2.0) -> None:
        self._first_s, self._longest_s = first_s, longest_s
        self._next_s = first_s

    def reset(self) -> None:
        """The attempt succeeded: start again at the shortest pause."""
        self._next_s = self._first_s

    def next_s(self) -> float:
        """Pause before the next attempt, s."""
        pause_s, self._next_s = self._next_s, min(2 * self._next_s, self._longest_s)
        return pause_s


class Link(ABC):
    """A byte stream with deadlines.

    Parameters
    ----------
    name : str
        Whose line it is; every error message starts with it.

    Attributes
    ----------
    quiet_s : float
        How long the line must be silent after a failed exchange before the next one, s; see `transact`.
    on_stray : callable or None
        Called with bytes that are dropped because no request waits for them: late replies, and what was said unasked.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.quiet_s = 0.0
        self.on_stray: Callable[[bytes], None] | None = None
        self._is_doubtful = False
        self._turn = threading.Lock()
        self._reading = threading.Lock()

    @property
    @abstractmethod
    def is_open(self) -> bool:
        """Whether there is a connection (whether or not somebody answers on it)."""

    @property
    @abstractmethod
    def address(self) -> str:
        """Where the other end is, for people."""

    def connect(self) -> None:
        """Open the line, if it is not open.

        Raises
        ------
        LinkDown
            When there is nobody to connect to.
        """
        with self._my_turn():
            if self.is_open:
                return
            try:
                self._open()
            except (OSError, termios.error) as error:
                self._close()
                raise LinkDown(f"{self.name}: cannot open {self.address}: {_reason(error)}{_step(error)}") from error

    def close(self) -> None:
        """Close the line; a waiting read fails."""
        self._close()

    def exchange(self, request: bytes, is_complete: Framer, deadline_s: float) -> bytes:
        """Send a request and return its reply.

        Input that arrived before the request (the late reply to one that was given up) is dropped.

        Parameters
        ----------
        request : bytes
        is_complete : callable
            Called with all bytes received so far, after each arrival.
        deadline_s : float
            From the last byte written to the last byte read, s.

        Raises
        ------
        LinkDown
            Unplugged, closed or never opened; the line is closed now.
        LinkTimeout
            The line was busy too long, or the reply is not complete at the deadline.
        """
        return self.transact(request, is_complete, deadline_s, bytes)

    def transact(self, request: bytes, is_complete: Framer, deadline_s: float, read: Callable[[bytes], T]) -> T:
        """`exchange`, and what `read` makes of the reply, in one turn.

        When there is no reply, or `read` raises LinkGarbled, the next turn first waits until the line has been quiet for
        `quiet_s`: protocols whose replies do not say what they answer would otherwise take a late reply for the next one's.

        Raises
        ------
        LinkDown, LinkTimeout, LinkGarbled
        """
        with self._my_turn(), self._reading:
            with self._down_is_reported(request):
                if self._is_doubtful:
                    self._hush()
                self._drain()
                self._write(request)
            self._is_doubtful = self.quiet_s > 0
            found = read(self._collect(is_complete, deadline_s, request))
            self._is_doubtful = False
            return found

    def doubt(self) -> None:
        """The last reply made no sense after all: let the line fall quiet before the next turn."""
        self._is_doubtful = self.quiet_s > 0

    def _drop(self, data: bytes) -> None:
        log.debug("%s: dropped %r, which nobody waited for", self.name, data)
        if self.on_stray is not None:
            self.on_stray(data)

    def _hush(self) -> None:
        deadline = time.monotonic() + LOCK_S
        last = time.monotonic()
        while time.monotonic() - last < self.quiet_s:
            if stray := self._read_some():
                self._drop(stray)
                last = time.monotonic()
            if last > deadline:
                raise serial.SerialTimeoutException(f"never quiet for {self.quiet_s:g} s")

    def send(self, data: bytes) -> None:
        """Send without waiting for anything.

        Raises
        ------
        LinkDown, LinkTimeout
            As for `exchange`.
        """
        with self._my_turn(), self._down_is_reported(data):
            self._write(data)

    def receive(self, is_complete: Framer, deadline_s: float) -> bytes:
        """Wait for bytes that nobody asked for; a `send` may go out meanwhile (full duplex).

        Raises
        ------
        LinkDown, LinkTimeout
            As for `exchange`; a LinkTimeout carries what had arrived.
        """
        with self._reading:
            return self._collect(is_complete, deadline_s, b"")

    def _collect(self, is_complete: Framer, deadline_s: float, request: bytes) -> bytes:
        deadline = time.monotonic() + deadline_s
        reply = b""
        while True:
            with self._down_is_reported(request, reply):
                reply += self._read_some()
            if reply and is_complete(reply):
                return reply
            if time.monotonic() >= deadline:
                raise LinkTimeout(f"{self.name}: no complete reply within {deadline_s:g} s on {self.address}", request, reply)

    @contextmanager
    def _my_turn(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=LOCK_S):
            raise LinkTimeout(f"{self.name}: {self.address} was busy for {LOCK_S:g} s")
        try:
            yield
        finally:
            self._turn.release()

    @contextmanager
    def _down_is_reported(self, request: bytes, reply: bytes = b"") -> Iterator[None]:
        """Turn the operating system's errors into ours, and leave the line closed."""
        if not self.is_open:
            raise LinkDown(f"{self.name}: {self.address} is not connected", request, reply)
        try:
            yield
        except serial.SerialTimeoutException as error:
            raise LinkTimeout(f"{self.name}: {self.address}: {error}", request, reply) from error
        except (OSError, termios.error, TypeError) as error:  # TypeError: pyserial's file descriptor after close()
            self._close()
            raise LinkDown(f"{self.name}: lost {self.address}: {_reason(error)}", request, reply) from error

    @abstractmethod
    def _open(self) -> None: ...

    @abstractmethod
    def _close(self) -> None: ...

    @abstractmethod
    def _drain(self) -> None:
        """Drop what has arrived."""

    @abstractmethod
    def _write(self, data: bytes) -> None: ...

    @abstractmethod
    def _read_some(self) -> bytes:
        """What has arrived, at least one byte, or nothing after `_SLICE_S`."""


def _parts(error: Exception) -> tuple[object, ...]:
    """Number and text of an error of the operating system, when it is one."""
    number = getattr(error, "errno", None)
    return (number, str(error)) if isinstance(number, int) else (str(error),)


def _reason(error: Exception) -> str:
    """What went wrong, once: pyserial's text repeats the port and the system's words."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if isinstance(number, int) else str(error)


def _step(error: Exception) -> str:
    if getattr(error, "errno", None) in (errno.EAGAIN, errno.EBUSY):
        return "; another program has it: find out which one"
    if getattr(error, "errno", None) == errno.EACCES:
        return "; this user has no right to it (on Linux: group dialout)"
    return "; look at its power, cable and address"


@dataclass(frozen=True)
class Framing:
    """Bits of a character on a serial line, for instance ``Framing(7, "E", 1)``."""

    data_bits: int = 8
    parity: str = "N"
    stop_bits: float = 1


class SerialLink(Link):
    """A serial line, opened by ``serial.serial_for_url``.

    Parameters
    ----------
    name : str
    url : str
        A device, or anything pyserial opens (``socket://``, ``rfc2217://``). A device is locked: two programs on one line take each
        other's replies, and each would give its own doses.
    baud : int
    framing : Framing
        A pseudo-terminal knows 8N1 only: some kernels ignore what else it is told, some refuse, and then it is opened 8N1.
        Parity is not checked there, for nothing flips a bit in a pipe; of seven-bit characters the eighth bit is cleared.
    """

    def __init__(self, name: str, url: str, baud: int, framing: Framing = Framing()) -> None:  # noqa: B008 - frozen
        super().__init__(name)
        self._url, self._baud, self._framing = url, baud, framing
        self._port: serial.SerialBase | None = None
        self._is_stripped = framing.data_bits == 7

    @property
    def is_open(self) -> bool:
        return self._port is not None

    @property
    def address(self) -> str:
        return self._url

    def _open(self) -> None:
        try:
            self._port = self._opened(self._framing)
        except (termios.error, ValueError, serial.SerialException) as error:
            if self._framing == Framing():
                raise OSError(*_parts(error)) from error
            try:
                self._port = self._opened(Framing())
            except (termios.error, ValueError, serial.SerialException) as second:
                raise OSError(*_parts(second)) from error
            log.info("%s: %s knows no %d%s%g; opened 8N1", self.name, self._url, self._framing.data_bits, self._framing.parity,
                     self._framing.stop_bits)

    def _opened(self, framing: Framing) -> serial.SerialBase:
        port = serial.serial_for_url(self._url, do_not_open=True, baudrate=self._baud, bytesize=framing.data_bits,
                                     parity=framing.parity, stopbits=framing.stop_bits, timeout=_SLICE_S, write_timeout=WRITE_S,
                                     exclusive=True)
        try:
            port.open()
        except BaseException:
            port.close()
            raise
        return port

    def _close(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            try:
                port.close()
            except (OSError, termios.error) as error:
                log.debug("%s: closing %s: %s", self.name, self._url, error)

    def _drain(self) -> None:
        port = self._current()
        waiting = port.in_waiting
        if waiting:
            self._drop(port.read(waiting))

    def _write(self, data: bytes) -> None:
        self._current().write(data)

    def _read_some(self) -> bytes:
        # read(1) sleeps in select until something is there; then one more read takes the rest. Measured three times as fast
        # as read_until, which reads byte by byte.
        port = self._current()
        data: bytes = port.read(1)
        if data:
            waiting = port.in_waiting
            if waiting:
                data += port.read(waiting)
        return bytes(b & 0x7F for b in data) if self._is_stripped else data

    def _current(self) -> serial.SerialBase:
        if self._port is None:
            raise OSError("closed")
        return self._port


class TcpLink(Link):
    """A TCP connection.

    Parameters
    ----------
    name, host : str
    port : int
    connect_s : float
        Longest wait for the connection to be accepted, s.
    """

    def __init__(self, name: str, host: str, port: int, connect_s: float = 2.0) -> None:
        super().__init__(name)
        self._host, self._port_number, self._connect_s = host, port, connect_s
        self._socket: socket.socket | None = None

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    @property
    def address(self) -> str:
        return f"{self._host}:{self._port_number}"

    def _open(self) -> None:
        connection = socket.create_connection((self._host, self._port_number), timeout=self._connect_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(_SLICE_S)
        self._socket = connection

    def _close(self) -> None:
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()

    def _drain(self) -> None:
        while select.select([self._current()], [], [], 0)[0]:
            data = self._current().recv(65536)
            if not data:
                raise OSError("closed by the other end")
            self._drop(data)

    def _write(self, data: bytes) -> None:
        view, deadline = memoryview(data), time.monotonic() + WRITE_S
        while view:
            try:
                view = view[self._current().send(view):]
            except TimeoutError as error:
                if time.monotonic() >= deadline:
                    raise serial.SerialTimeoutException(str(error)) from error

    def _read_some(self) -> bytes:
        try:
            data = self._current().recv(65536)
        except TimeoutError:
            return b""
        if not data:
            raise OSError("closed by the other end")
        return data

    def _current(self) -> socket.socket:
        if self._socket is None:
            raise OSError("closed")
        return self._socket


@dataclass(frozen=True)
class Endpoint:
    """An endpoint of lab.yaml taken apart: ``serial:///dev/ttyUSB0?baud=9600``, ``tcp://host:10000?monitor=10001``.

    Parameters
    ----------
    scheme : str
    host : str
        Empty for a serial device.
    port : int or None
    path : str
        The serial device.
    options : dict of str to str
        What follows the question mark.
    """

    scheme: str
    host: str
    port: int | None
    path: str
    options: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Read an endpoint.

        Raises
        ------
        ValueError
            For a port that is no number.
        """
        parts = urlsplit(text)
        options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        return cls(parts.scheme, parts.hostname or "", parts.port, parts.path, options)


def serial_link(name: str, endpoint: str, baud: int, framing: Framing = Framing()) -> SerialLink:  # noqa: B008 - frozen
    """The serial line of an endpoint ``serial://DEVICE?baud=N``; `baud` is the instrument's default.

    ``serial://host:port`` opens a raw TCP serial server.
    """
    parts = Endpoint.parse(endpoint)
    url = parts.path if not parts.host else f"socket://{parts.host}:{parts.port}"
    return SerialLink(name, url, int(parts.options.get("baud", baud)), framing)
