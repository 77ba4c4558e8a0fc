"""``python -m lab.remote.gateway``: the only door of a laboratory that is up.

One loop, which waits for nobody. It knows who asks (`lab.remote.gateway.door`) and how often they may (`lab.remote.gateway.allowance`), understands what they say
(`lab.remote.gateway.wire`), and hands it to `lab.remote.gateway.dispatch`, which passes it on: what only looks to the RE Manager, whatever changes something to the
steward. A slow one of these holds up nobody who asks the other.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

import zmq

from lab.core.config import LabConfig
from lab.core.errors import LedgerError
from lab.home import Home
from lab.layout import Layout
from lab.remote.access.audit import Audit, Entry
from lab.remote.access.keys import Key, KeyRegistry
from lab.remote.access.who import Who
from lab.remote.gateway import wire
from lab.remote.gateway.allowance import Allowance
from lab.remote.gateway.connections import Connection
from lab.remote.gateway.dispatch import UNREAD_BYTES, Dispatch, Ticket, entry_of
from lab.remote.gateway.door import Arrival, Door
from lab.remote.gateway.info import Info
from lab.remote.gateway.streams import Streams
from lab.up.service import configuration, layout_of_command, log_to_stderr, say_ready

log = logging.getLogger(__name__)

MOST_ABUSES = 20
"""Messages of one connection that are none; with the next it ends."""

A_PASS = 200
"""Messages taken in one turn of the loop, before it looks elsewhere."""

TURN_MS = 20
KEYS_S, PUMP_S, FORGET_S = 0.1, 0.02, 60.0


class Gateway:
    """The service; `serve` until it is told to end, then `close`.

    Parameters
    ----------
    layout : Layout
    config : LabConfig
    registry : KeyRegistry
    audit : Audit
    streams : Streams

    Raises
    ------
    ConfigError
        When the gateway's own keys cannot be read or made.
    ServiceError
        When it cannot listen where it should.
    """

    def __init__(self, layout: Layout, config: LabConfig, registry: KeyRegistry, audit: Audit, streams: Streams[Connection]) -> None:
        self._traffic = config.remote.traffic
        self._registry, self._audit, self._streams = registry, audit, streams
        self._allowances: dict[str, Allowance] = {}
        self._keys_at = self._pumped_at = self._forgot_at = time.monotonic()
        self._problem = ""
        self._has_more = self._has_failed = False
        server = registry.server_keys()
        self._context: zmq.Context[Any] = zmq.Context()
        self.door = Door(self._context, layout.gateway, server.public, server.secret, self._admit, self._traffic, self._gone)
        self._dispatch = Dispatch(self._context, layout, self._traffic, audit, self._send, self.door.n_unread)

    def serve(self, is_over: Callable[[], bool]) -> None:
        """Answer, until `is_over`; it is asked every `TURN_MS` at least."""
        poller = zmq.Poller()
        self.door.register(poller)
        self._dispatch.register(poller)
        while not is_over():
            woken = {socket for socket, _ in poller.poll(0 if self._has_more else TURN_MS)}
            self._turn(time.monotonic(), woken)

    def close(self) -> None:
        """Have everything in the audit log, and end all connections."""
        try:
            self._audit.close()
        finally:
            self.door.close()
            self._dispatch.close()
            self._streams.close()
            self._context.destroy(linger=0)

    # ------------------------------------------------------------------------------------------------ the loop

    def _turn(self, now: float, woken: Container[object]) -> None:
        self.door.tend(now, woken)
        if now - self._keys_at >= KEYS_S:
            self._keys_at = now
            self._look_at_keys()
        self._dispatch.answer(now, woken)
        if self.door.has_messages(woken):
            self._hear_all(now)
        self._dispatch.pass_on(now)
        if self._has_more or now - self._pumped_at >= PUMP_S:
            self._pumped_at = now
            self._pump(now)
        self._keep_house(now)

    def _hear_all(self, now: float) -> None:
        for _ in range(A_PASS):
            arrival = self.door.receive(now)
            if arrival is None:
                return
            self._hear_safely(arrival, now)

    def _keep_house(self, now: float) -> None:
        problem = self._dispatch.problem or self._registry.problem
        try:
            self._audit.tick()
        except LedgerError as error:
            problem = str(error)
        if problem and problem != self._problem:
            log.error("%s", problem)  # once, though it lasts
        self._problem = problem
        if now - self._forgot_at >= FORGET_S:
            self._forgot_at = now
            self._allowances = {key: one for key, one in self._allowances.items() if not one.is_full(now)}

    # ---------------------------------------------------------------------------------------- who may come in

    def _admit(self, public: str) -> int:
        """Whether a key may enter: 200; for a while not: 300; not: 400."""
        key = self._registry.known(public)
        if key is None:
            self._audit.note(Entry("", "", "", "connect", "", "unknown key"))
            return 400
        if not key.is_valid:
            self._audit.note(entry_of(_who(key), "connect", "", "revoked key"))
            return 400
        return 200 if self._allowance(public).enter(time.monotonic()) else 300

    def _look_at_keys(self) -> None:
        """End the connections of keys that have been revoked."""
        for public in self._registry.revoked_since(self.door.connections.keys()):
            connections = self.door.connections.of_key(public)
            for connection in connections:
                connection.end()
            if connections:
                key = self._registry.known(public)
                log.warning("%s: the key was revoked; %d connections ended", key.name if key else "somebody", len(connections))
                entry = entry_of(_who(key), "connect", "", "ended: revoked key") if key else Entry("", "", public, "connect", "", "ended: unknown key")
                self._audit.note(entry)

    def _allowance(self, public: str) -> Allowance:
        if public not in self._allowances:
            self._allowances[public] = Allowance(self._traffic, time.monotonic())
        return self._allowances[public]

    def _gone(self, connection: Connection) -> None:
        self._streams.gone(connection)

    # ---------------------------------------------------------------------------------------------- requests

    def _hear_safely(self, arrival: Arrival, now: float) -> None:
        """No message, whatever it is, may end the door for everybody else: it ends its own connection, and the log has what happened."""
        try:
            self._hear(arrival, now)
        except Exception:  # noqa: BLE001  a mistake of ours that somebody with a key could repeat at will
            log.exception("a message could not be dealt with; its connection is ended")
            arrival.connection.end()

    def _hear(self, arrival: Arrival, now: float) -> None:
        """One message: refuse it, take it to the streams, or note that it is to be passed on."""
        connection = arrival.connection
        key = self._registry.by_public(connection.key)
        if key is None:
            connection.end()
            return
        who = _who(key)
        if arrival.is_first and len(self.door.connections.of_key(key.public)) > self._traffic.connections:
            self._end(connection, who, f"more than {self._traffic.connections} connections of one key", now)
            return
        allowance = self._allowance(key.public)
        if not allowance.take(arrival.size, now):
            self._slow_down(arrival, who, allowance, now)
            return
        heard = wire.parse(arrival.frames, self._traffic)
        if isinstance(heard, wire.Refusal):
            self._refuse(arrival, who, heard, now)
        elif isinstance(heard, wire.StreamControl):
            self._control(connection, who, heard)
        else:
            self._dispatch.consider(Ticket(connection, who, heard, allowance))

    # ------------------------------------------------------------------------------------- what is not allowed

    def _control(self, connection: Connection, who: Who, heard: wire.StreamControl) -> None:
        words = self._streams.control(connection, who, heard.message, heard.encoding)
        if words is not None or "subscribe" in heard.message:  # credit and signs of life are no requests
            self._audit.note(entry_of(who, "subscribe", "", words or "done"))
        if words is not None:
            self.door.send(connection, [b"end", wire.encode({"success": False, "msg": words}, heard.encoding)])

    def _pump(self, now: float) -> None:
        try:
            self._has_more = self._streams.pump(self._push, now)
        except Exception:  # noqa: BLE001  whoever wrote a document that cannot be sent must not close the door for all who ask
            self._has_more = False
            self.door.refused["turns in which streams failed"] += 1
            if not self._has_failed:
                self._has_failed = True
                log.exception("streams failed; it is tried again, and not said again")

    def _push(self, connection: Connection, frames: list[bytes]) -> bool:
        """A message of a stream, if there is room for it; whoever does not read gets no more, and loses nothing (`lab.remote.gateway.streams`)."""
        return self.door.n_unread(connection.key) < UNREAD_BYTES // 2 and self.door.send(connection, frames)

    def _refuse(self, arrival: Arrival, who: Who, refused: wire.Refusal, now: float) -> None:
        connection = arrival.connection
        self.door.refused["messages that are none"] += 1
        self._audit.note(entry_of(who, "?", "", refused.words))
        connection.n_abuses += 1
        if connection.n_abuses > MOST_ABUSES:
            self._end(connection, who, "messages that are none, again and again", now)
        elif refused.encoding is not None:
            answer = wire.encode({"success": False, "msg": refused.words}, refused.encoding)
            self.door.send(connection, [b"end" if refused.is_control else b"", answer])

    def _slow_down(self, arrival: Arrival, who: Who, allowance: Allowance, now: float) -> None:
        words = f"more than {self._traffic.requests_per_s:g} requests a second of this key; allowed: so many (lab.yaml: remote.traffic)"
        self.door.refused["requests beyond what a key may ask for"] += 1
        self._audit.note(entry_of(who, "?", "", words))
        encoding = wire.encoding_of(arrival.frames[-1])
        if allowance.is_abused():
            for connection in self.door.connections.of_key(who.key):
                self._end(connection, who, words, now)
        elif encoding is not None and len(arrival.frames) == 2:
            self.door.send(arrival.connection, [b"", wire.encode({"success": False, "msg": words}, encoding)])

    def _end(self, connection: Connection, who: Who, why: str, now: float) -> None:
        """End a connection that takes too much, and let nobody in with its key for a while."""
        log.warning("%s: connection ended: %s", who.name, why)
        self._audit.note(entry_of(who, "connect", "", f"ended: {why}"))
        self._allowance(who.key).shut_out(now)
        connection.end()

    def _send(self, ticket: Ticket, payload: bytes) -> None:
        if not self.door.send(ticket.connection, [b"", payload]) and not ticket.connection.is_ending:
            self._end(ticket.connection, ticket.who, "answers that are not read", time.monotonic())


def _who(key: Key) -> Who:
    return Who(key.name, key.role, key.public)


def main() -> int:
    """Serve until SIGTERM; one line of JSON on standard output when it does."""
    layout = layout_of_command("lab.remote.gateway")
    log_to_stderr()
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: told.append(number))
    home, config = Home(Path(layout.home)), configuration(layout)
    gateway = Gateway(layout, config, KeyRegistry(home), Audit(home), Streams(home.runs, config.remote, Info(layout.queue_info)))
    try:
        say_ready(address=gateway.door.address)
        gateway.serve(lambda: bool(told))
    finally:
        gateway.close()
    return 0
