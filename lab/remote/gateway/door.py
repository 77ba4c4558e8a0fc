"""The only door: one ROUTER socket with CURVE, who may enter (ZAP, https://rfc.zeromq.org/spec/27/), and how connections end.

All of it runs in the caller's loop: `tend` looks after what happened, `receive` hands over messages, whose sender's key libzmq vouches
for, and `send` never waits. Within one `tend`, connections that are gone are heard of before anybody is let in: so an answer
can never reach somebody who has come under the identity of who asked.
"""

from __future__ import annotations

import errno
import logging
import resource
import struct
import time
from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any

import zmq
from zmq.utils import z85

from lab.core.errors import ServiceError
from lab.core.remote import Traffic
from lab.remote.gateway.connections import HANDSHAKE_S, Connection, Connections

log = logging.getLogger(__name__)

ZAP = "inproc://zeromq.zap.01"
DOMAIN = b"lab"
MOST_FRAMES = 3
"""Kept of one message; the parser refuses more than two, the others are only counted."""

SEND_HWM, RECEIVE_HWM = 256, 16
"""Messages of one connection that libzmq keeps, to be read by the other end, and by us."""

LONG_ANSWER = 4096
"""Bytes; of longer ones it is followed whether the other end has read them."""

FOLLOWED = 64
"""Long answers of a key after which those that have been read are left out."""

MOST_EVENTS = 5000
"""Of the monitor, looked at in one turn."""

BACKLOG = 1024
BUFFER = 512 * 1024
HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS = 10_000, 30_000
INSPECT_S = 0.1
CLOSE_S, QUIET_MS = 3.0, 50
"""For what happens at the end: at most so long, and until nothing has happened for so long."""

SAY_S = 10.0
"""How often what was refused is said in the log, at most."""

_EVENTS = (zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_ACCEPT_FAILED | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
           | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH)
_SAID = {
    zmq.EVENT_ACCEPT_FAILED: "connections that could not be accepted",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "handshakes that were not finished",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "connections that did not speak the protocol",
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "keys that were not let in",
}

Admit = Callable[[str], int]
"""Of a public key: 200, come in; 300, later; 400, no."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message.

    Parameters
    ----------
    connection : Connection
        With the sender's public key and identity.
    frames : list of bytes
        At most `MOST_FRAMES` of them, without the identity.
    size : int
        Bytes of all frames.
    is_first : bool
        Whether the connection says something for the first time.
    """

    connection: Connection
    frames: list[bytes]
    size: int
    is_first: bool


class Door:
    """The socket at which everybody knocks.

    Parameters
    ----------
    context : zmq.Context
    address : str
        ``tcp://host:port``; port 0: one that is free.
    public, secret : str
        The gateway's own pair, z85.
    admit : callable
    traffic : Traffic
    gone : callable
        Told of each connection that has ended.

    Raises
    ------
    ServiceError
        When the address is taken, or not this machine's.
    """

    def __init__(self, context: zmq.Context[Any], address: str, public: str, secret: str, admit: Admit, traffic: Traffic,
                 gone: Callable[[Connection], None]) -> None:
        self._admit = admit
        self.refused: Counter[str] = Counter()
        """What was turned away since it was last said, by the reason."""
        self._unread: dict[str, list[tuple[zmq.MessageTracker, int]]] = {}
        self._said_at = self._inspected_at = time.monotonic()
        # Bound before any connection can be made, so that nobody is let in unasked.
        self._zap = context.socket(zmq.ROUTER)
        self._zap.setsockopt(zmq.LINGER, 0)
        self._zap.bind(ZAP)
        self._router = _router(context, public, secret, traffic)
        self._router.monitor(f"inproc://door-{id(self)}", _EVENTS)
        self._monitor = context.socket(zmq.PAIR)
        self._monitor.setsockopt(zmq.LINGER, 0)
        self._monitor.connect(f"inproc://door-{id(self)}")
        self._router.setsockopt(zmq.IPV6, int("[" in address))
        try:
            self._router.bind(address.replace("tcp://localhost:", "tcp://127.0.0.1:"))
        except zmq.ZMQError as error:
            self._close_sockets()
            raise ServiceError(f"gateway: cannot listen at {address}: {error.strerror}. Free it, or change remote.listen in lab.yaml "
                               "(lab up --listen HOST:PORT)") from error
        self.address: str = self._router.getsockopt_string(zmq.LAST_ENDPOINT)
        port = int(self.address.rpartition(":")[2])
        self.connections = Connections(port, traffic.message_bytes, most_connections(), gone)

    def register(self, poller: zmq.Poller) -> None:
        """Be woken by what happens here."""
        for socket in (self._monitor, self._zap, self._router):
            poller.register(socket, zmq.POLLIN)

    def tend(self, now: float, woken: Container[object]) -> None:
        """See who has come and gone, let in or not who knocks, and end what holds too much.

        Parameters
        ----------
        now : float
            Monotonic seconds.
        woken : container of sockets
            Those at which a poller has found something: to look in vain costs an exception each time.
        """
        is_knocked = self._zap in woken
        if (is_knocked or self._monitor in woken) and self._look_who_is_there(now) and is_knocked:
            self._answer_knocks(100)
        if now - self._inspected_at >= INSPECT_S:
            self._inspected_at = now
            self.refused.update(self.connections.end_excess(now))
        if self.refused and now - self._said_at >= SAY_S:
            self._said_at = now
            log.warning("turned away: %s", "; ".join(f"{n} x {what}" for what, n in self.refused.most_common()))
            self.refused.clear()

    def has_messages(self, woken: Container[object]) -> bool:
        """Whether a poller has found any."""
        return self._router in woken

    def receive(self, now: float) -> Arrival | None:
        """The next message; None when there is none. It may belong to nobody any more, and is left out then."""
        while True:
            try:
                identity = self._router.recv(zmq.DONTWAIT, copy=False)
            except zmq.Again:
                return None
            frames: list[zmq.Frame] = []
            size, last = 0, identity
            while last.more:
                last = self._router.recv(zmq.DONTWAIT, copy=False)
                size += len(last)
                if len(frames) < MOST_FRAMES:
                    frames.append(last)
            if not frames:
                continue
            key, fd = str(last.get("User-Id")), int(last.get(zmq.SRCFD))
            if not self.connections.has(fd):
                self._look_who_is_there(now)  # it has come just now
            connection = self.connections.heard(fd, key, identity.bytes, now)
            if connection is not None:
                return Arrival(connection, [frame.bytes for frame in frames], size, connection.n_messages == 1)
            self.refused["messages of a connection that had ended"] += 1

    def send(self, connection: Connection, frames: list[bytes]) -> bool:
        """Send, if the other end has room for it; False when it has not, or is gone."""
        if connection.is_ending:
            return False
        *first, last = frames
        try:
            # The router takes a message whole or not at all: it decides at the identity.
            self._router.send(connection.identity, zmq.SNDMORE | zmq.DONTWAIT)
            for frame in first:
                self._router.send(frame, zmq.SNDMORE | zmq.DONTWAIT)
            if len(last) < LONG_ANSWER:
                self._router.send(last, zmq.DONTWAIT)
            else:
                tracker = self._router.send(last, zmq.DONTWAIT, copy=False, track=True)
                followed = self._unread.setdefault(connection.key, [])
                followed.append((tracker, len(last)))
                if len(followed) % FOLLOWED == 0:
                    self.n_unread(connection.key)  # leaves out what has been read
            return True
        except zmq.ZMQError as error:
            if error.errno == errno.EHOSTUNREACH:
                connection.is_ending = True  # it has gone; the monitor will say so
            elif error.errno != zmq.EAGAIN:
                raise
            return False

    def n_unread(self, key: str) -> int:
        """Bytes of long answers to a key that libzmq still has, since the other end does not read them."""
        if key not in self._unread:
            return 0
        left = [(tracker, size) for tracker, size in self._unread[key] if not tracker.done]
        if left:
            self._unread[key] = left
        else:
            del self._unread[key]
        return sum(size for _, size in left)

    def close(self) -> None:
        """Listen no longer, and end all connections."""
        self._router.unbind(self.address)
        # libzmq waits for room for an event under a lock that closing needs, too: so nobody may come any more, and what has happened is taken first.
        end = time.monotonic() + CLOSE_S
        while time.monotonic() < end and self._monitor.poll(QUIET_MS):
            self._monitor.recv_multipart(zmq.DONTWAIT)
        self.connections.close()
        self._close_sockets()

    def _close_sockets(self) -> None:
        self._monitor.close()
        self._router.disable_monitor()
        self._router.close()
        self._zap.close()

    def _look_who_is_there(self, now: float) -> bool:
        """Take note of who has come and gone; False when there is more to note."""
        for _ in range(MOST_EVENTS):
            try:
                event, value = struct.unpack("=Hi", self._monitor.recv_multipart(zmq.DONTWAIT)[0])
            except zmq.Again:
                return True
            if event == zmq.EVENT_ACCEPTED:
                self.connections.accepted(value, now)
            elif event == zmq.EVENT_DISCONNECTED:
                self.connections.disconnected(value)
            else:
                self.refused[_SAID.get(event, "other events")] += 1
        return False

    def _answer_knocks(self, most: int) -> None:
        for _ in range(most):
            try:
                frames = self._zap.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            who, _, version, number, _domain, _address, _identity, mechanism, *credentials = frames
            public = z85.encode(credentials[0]).decode() if mechanism == b"CURVE" and credentials else ""
            try:
                status = self._admit(public)
            except Exception:  # noqa: BLE001  one who knocks must not close the door for all others
                log.exception("it could not be found out whether a key may enter; it may not")
                status = 500
            user = public.encode() if status == 200 else b""
            self._zap.send_multipart([who, b"", version, number, str(status).encode(), b"", user, b""])


def most_connections() -> int:
    """How many connections the descriptors of this process allow, which are made as many as it may have.

    Each takes two, and libzmq may be ahead by as many as its monitor keeps.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 16384 if hard == resource.RLIM_INFINITY else min(16384, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(64, min(1024, (max(soft, wanted) - 2500) // 3))


def _router(context: zmq.Context[Any], public: str, secret: str, traffic: Traffic) -> zmq.Socket[bytes]:
    router = context.socket(zmq.ROUTER)
    for option, value in (
        (zmq.LINGER, 0), (zmq.ROUTER_MANDATORY, 1), (zmq.SNDHWM, SEND_HWM), (zmq.RCVHWM, RECEIVE_HWM), (zmq.BACKLOG, BACKLOG),
        # a little more than a message: one that is a little too long is refused in words, one that is much too long ends the connection
        (zmq.MAXMSGSIZE, traffic.message_bytes + 100_000), (zmq.SNDBUF, BUFFER), (zmq.RCVBUF, BUFFER),
        (zmq.HANDSHAKE_IVL, int(1000 * HANDSHAKE_S)), (zmq.HEARTBEAT_IVL, HEARTBEAT_MS), (zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS),
        (zmq.TCP_KEEPALIVE, 1), (zmq.CURVE_SERVER, 1), (zmq.CURVE_PUBLICKEY, public.encode()), (zmq.CURVE_SECRETKEY, secret.encode()),
        (zmq.ZAP_DOMAIN, DOMAIN), (zmq.ZAP_ENFORCE_DOMAIN, 1),
    ):
        router.setsockopt(option, value)
    return router
