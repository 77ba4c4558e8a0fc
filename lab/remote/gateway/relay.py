"""Pass requests on to a service behind the door, and its answers back, without ever waiting for it.

A service that is not there is said to be so at once; one that ends while it is asked ends what it was asked; one that does not answer
within its deadline is answered for. None of that needs more than its coming back: the socket connects again by itself.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import zmq

log = logging.getLogger(__name__)

Ticket = TypeVar("Ticket")

RECONNECT_MS, RECONNECT_AT_MOST_MS = 20, 500


@dataclass(frozen=True, slots=True)
class Failure:
    """There is no answer.

    Parameters
    ----------
    words : str
    was_sent : bool
        Whether the service may have done what it was asked all the same.
    """

    words: str
    was_sent: bool


@dataclass(slots=True)
class _Pending(Generic[Ticket]):
    ticket: Ticket | None
    """None: it has been answered for; only a place in the service's own queue is still taken."""
    deadline: float


class Relay(Generic[Ticket]):
    """A DEALER to one service: ``[number, b"", JSON]`` there, ``[number, b"", JSON]`` back.

    Parameters
    ----------
    context : zmq.Context
    name : str
        For words: ``the RE Manager``.
    address : str
    deadline_s : float
    most : int
        Requests that may be under way at one time.
    """

    def __init__(self, context: zmq.Context[Any], name: str, address: str, deadline_s: float, most: int) -> None:
        self.name, self._deadline_s, self._most = name, deadline_s, most
        self.is_there = False
        self._number = 0
        self._pending: dict[int, _Pending[Ticket]] = {}
        self._socket = context.socket(zmq.DEALER)
        # a sender hears of half the high-water mark at once what has been taken: less would look like a service that is not there
        for option, value in ((zmq.LINGER, 0), (zmq.IMMEDIATE, 1), (zmq.SNDHWM, 2 * most + 2), (zmq.RCVHWM, most + 1),
                              (zmq.RECONNECT_IVL, RECONNECT_MS), (zmq.RECONNECT_IVL_MAX, RECONNECT_AT_MOST_MS)):
            self._socket.setsockopt(option, value)
        self._socket.monitor(f"inproc://relay-{id(self)}", zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        self._monitor = context.socket(zmq.PAIR)
        self._monitor.setsockopt(zmq.LINGER, 0)
        self._monitor.connect(f"inproc://relay-{id(self)}")
        self._socket.connect(address)

    def register(self, poller: zmq.Poller) -> None:
        """Be woken by what happens here."""
        poller.register(self._monitor, zmq.POLLIN)
        poller.register(self._socket, zmq.POLLIN)

    def ask(self, payload: bytes, ticket: Ticket, now: float) -> Failure | None:
        """Pass a request on; None when it is on its way, and `answers` will have the ticket."""
        if len(self._pending) >= self._most:
            return Failure(f"{self.name} has {self._most} requests to answer already; try again in a while (lab status)", False)
        self._number += 1
        try:
            self._socket.send_multipart([struct.pack("<Q", self._number), b"", payload], zmq.DONTWAIT)
        except zmq.Again:
            return Failure(f"{self.name} is not there; it is started again by itself (lab status)", False)
        self._pending[self._number] = _Pending(ticket, now + self._deadline_s)
        return None

    def answers(self, now: float, woken: Container[object] | None = None) -> Iterator[tuple[Ticket, bytes | Failure]]:
        """What has come back since it was last looked at, and what will not.

        Parameters
        ----------
        now : float
            Monotonic seconds.
        woken : container of sockets, optional
            Those at which a poller has found something; left out: look at all.
        """
        is_monitored = woken is None or self._monitor in woken
        if is_monitored or (woken is not None and self._socket in woken):  # what came before the end of a service comes before it here
            yield from self._received()
        if is_monitored:
            yield from self._lost()
        yield from self._late(now)

    def close(self) -> None:
        """Ask nothing more."""
        self._monitor.close()
        self._socket.disable_monitor()
        self._socket.close()

    def _received(self) -> Iterator[tuple[Ticket, bytes | Failure]]:
        while True:
            try:
                number, *_, payload = self._socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            found = self._pending.pop(int.from_bytes(number, "little"), None)
            if found is not None and found.ticket is not None:
                yield found.ticket, payload

    def _lost(self) -> Iterator[tuple[Ticket, bytes | Failure]]:
        while True:
            try:
                event, _ = struct.unpack("=Hi", self._monitor.recv_multipart(zmq.DONTWAIT)[0])
            except zmq.Again:
                return
            was_there, self.is_there = self.is_there, event == zmq.EVENT_HANDSHAKE_SUCCEEDED
            if was_there != self.is_there:
                log.info("%s is %s", self.name, "there" if self.is_there else "gone")
            if not self.is_there:
                pending, self._pending = self._pending, {}
                for one in pending.values():
                    if one.ticket is not None:
                        yield one.ticket, Failure(f"{self.name} ended before it had answered; it is started again by itself (lab status)", True)

    def _late(self, now: float) -> Iterator[tuple[Ticket, bytes | Failure]]:
        for one in self._pending.values():  # in the order in which they were sent
            if one.deadline > now:
                return
            if one.ticket is not None:
                ticket, one.ticket = one.ticket, None
                yield ticket, Failure(f"{self.name} has not answered within {self._deadline_s:.0f} s (lab status)", True)
