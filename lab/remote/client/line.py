"""One encrypted connection to a gateway, which knows whether it stands, is refused, or was lost: what a client may do next depends on it.

A message is handed over only when the handshake has succeeded (``ZMQ_IMMEDIATE``), so that one which could not be sent was never
sent; and the monitor of the socket tells at once when a connection ends with which an answer would have come.
"""

from __future__ import annotations

import time

import zmq
from zmq.utils.monitor import recv_monitor_message

from lab.core.errors import RemoteError
from lab.remote.access.key_files import KeyFile

HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS = 5_000, 15_000
"""A connection of which the other end is silent for so long is taken as lost: a cable pulled out says nothing."""
NOBODY = "nobody answers there"


class Unreachable(RemoteError):
    """Nobody there, or no gateway: nothing was sent.

    Parameters
    ----------
    message : str
    reason : str
        The same without what to do about it.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class KeyRefused(RemoteError):
    """The gateway does not know this key, or no longer: nothing was sent."""


class AnswerLost(RemoteError):
    """Sent, and then the connection ended or the deadline passed: whether it was done is not known."""


class Line:
    """A connection of its own; for one thread at a time.

    Parameters
    ----------
    context : zmq.Context
    address : str
        ``host:port``.
    key : KeyFile
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str, key: KeyFile) -> None:
        self._address, self._who = address, key.name
        self._is_up = False
        self._trouble = NOBODY
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.IMMEDIATE, 1)
        self.socket.setsockopt(zmq.RECONNECT_IVL, 100)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        self.socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        self.socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
        self.socket.setsockopt(zmq.CURVE_SERVERKEY, key.server_key.encode())
        self.socket.setsockopt(zmq.CURVE_PUBLICKEY, key.public_key.encode())
        self.socket.setsockopt(zmq.CURVE_SECRETKEY, key.secret_key.encode())
        self._monitor = self.socket.get_monitor_socket()
        self._monitor.setsockopt(zmq.LINGER, 0)
        self._poller = zmq.Poller()
        self._poller.register(self._monitor, zmq.POLLIN)
        self._poller.register(self.socket, zmq.POLLIN)
        self.socket.connect(f"tcp://{address}")

    def open(self, deadline_s: float) -> None:
        """Wait until the handshake has succeeded.

        Raises
        ------
        KeyRefused
        Unreachable
            When it has not within `deadline_s`.
        AnswerLost
            When the connection had stood before, and ended.
        """
        end = time.monotonic() + deadline_s
        while not self._is_up:
            if not self._monitor.poll(max(0, int(1000 * (end - time.monotonic())))):
                reason = f"{self._address}: {self._trouble}"
                raise Unreachable(f"{reason} (waited {deadline_s:.0f} s). Is the laboratory up (lab status there), "
                                  "and does the network let you through?", reason)
            self._look()
        if self._monitor.poll(0):
            self._look()

    def send(self, *frames: bytes) -> None:
        """Hand a message over, after `open`.

        Raises
        ------
        AnswerLost
            When the connection has ended.
        """
        try:
            self.socket.send_multipart(frames, zmq.DONTWAIT)
        except zmq.Again as error:
            raise AnswerLost(f"{self._address}: the connection does not take any more") from error

    def receive(self, deadline_s: float) -> list[bytes] | None:
        """The next message; None when none came within `deadline_s`.

        Raises
        ------
        KeyRefused, AnswerLost
            When the connection has ended.
        """
        end = time.monotonic() + deadline_s
        while True:
            ready = dict(self._poller.poll(max(0, int(1000 * (end - time.monotonic())))))
            if self.socket in ready:
                return self.socket.recv_multipart(zmq.DONTWAIT)
            if not ready:
                return None
            self._look()

    def close(self) -> None:
        """End the connection; what was not yet sent is dropped."""
        self.socket.disable_monitor()
        self.socket.close()

    def _look(self) -> None:
        """Take note of one event of the connection."""
        event = recv_monitor_message(self._monitor)["event"]
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._is_up = True
        elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            raise KeyRefused(f"{self._address} does not let the key of {self._who!r} in: it was revoked, or belongs to another laboratory. "
                             "Ask an admin there (lab keys list; lab keys new)")
        elif event in (zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL):
            self._trouble = "somebody answers, but it is not the laboratory of this key file, or it does not let this key in for a while"
        elif event == zmq.EVENT_CLOSED:
            self._trouble = NOBODY
        elif event == zmq.EVENT_DISCONNECTED and self._is_up:
            self._is_up = False
            raise AnswerLost(f"{self._address}: the connection ended")
