"""``python -m lab.remote.gateway``: the only door of a laboratory that is up.

One loop. It knows who asks (`lab.remote.door`), whether they may (`lab.remote.roles`) and how often (`lab.remote.allowance`), writes it
down (`lab.remote.audit`), passes it on (`lab.remote.relay`) and never waits for an answer: reads go to the RE Manager, whatever
changes something to the steward, and a slow one of these holds up nobody who asks the other.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import zmq

from lab.core.config import LabConfig
from lab.core.errors import ConfigError, LabError, LedgerError
from lab.home import Home
from lab.layout import Layout
from lab.remote import wire
from lab.remote.allowance import Allowance
from lab.remote.audit import Audit, Entry, what_of
from lab.remote.claims import false_claim, without_claims
from lab.remote.connections import Connection
from lab.remote.door import Arrival, Door
from lab.remote.info import Info
from lab.remote.keys import Key, KeyRegistry
from lab.remote.relay import Failure, Relay
from lab.remote.roles import METHODS, refusal
from lab.remote.streams import Streams
from lab.remote.who import Who

log = logging.getLogger(__name__)

MANAGER_S, STEWARD_S = 5.0, 60.0
"""Deadlines for answers: of reads, and of what may be validated and rehearsed before."""

BEHIND = 256
"""Requests under way at one time at one service behind the door."""

UNREAD_BYTES = 16_000_000
"""Of long answers that one key may leave unread."""

MOST_ABUSES = 20
"""Messages of one connection that are none; with the next it ends."""

A_PASS = 200
"""Messages taken in one turn of the loop, before it looks elsewhere."""

TURN_MS = 20
KEYS_S, PUMP_S, FORGET_S = 0.1, 0.02, 60.0


@dataclass(eq=False, slots=True)
class Ticket:
    """A request under way: whose, and how it is answered."""

    connection: Connection
    request: wire.Request
    who: Who
    what: str
    is_write: bool


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
        self._lab, self._traffic = config.name, config.remote.traffic
        self._registry, self._audit, self._streams = registry, audit, streams
        self._allowances: dict[str, Allowance] = {}
        self._to_pass_on: list[Ticket] = []
        self._keys_at = self._pumped_at = self._forgot_at = time.monotonic()
        self._problem = ""
        self._has_more = False
        server = registry.server_keys()
        self._context: zmq.Context[Any] = zmq.Context()
        self.door = Door(self._context, layout.gateway, server.public, server.secret, self._admit, self._traffic, self._gone)
        self._manager: Relay[Ticket] = Relay(self._context, "the RE Manager", layout.queue_control, MANAGER_S, BEHIND)
        self._steward: Relay[Ticket] = Relay(self._context, "the steward", layout.steward, STEWARD_S, BEHIND)

    def serve(self, is_over: Callable[[], bool]) -> None:
        """Answer, until `is_over`; it is asked every `TURN_MS` at least."""
        poller = zmq.Poller()
        for part in (self.door, self._manager, self._steward):
            part.register(poller)
        while not is_over():
            poller.poll(0 if self._has_more else TURN_MS)
            self._turn(time.monotonic())

    def close(self) -> None:
        """End all connections, and have everything in the audit log."""
        self.door.close()
        self._manager.close()
        self._steward.close()
        self._streams.close()
        self._context.destroy(linger=0)
        self._audit.close()

    # ------------------------------------------------------------------------------------------------ the loop

    def _turn(self, now: float) -> None:
        self.door.tend(now)
        if now - self._keys_at >= KEYS_S:
            self._keys_at = now
            self._look_at_keys()
        answered = [*self._manager.answers(now), *self._steward.answers(now)]
        for _ in range(A_PASS):
            arrival = self.door.receive(now)
            if arrival is None:
                break
            self._hear(arrival, now)
        self._pass_on(now)
        self._answer(answered)
        if self._has_more or now - self._pumped_at >= PUMP_S:
            self._pumped_at = now
            self._has_more = self._streams.pump(self._push, now)
        self._keep_house(now)

    def _keep_house(self, now: float) -> None:
        try:
            self._audit.tick()
        except LedgerError as error:
            self._say(str(error))
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
            self._audit.note(_entry(key, "connect", "", "revoked key"))
            return 400
        if public in self._allowances and self._allowances[public].is_shut_out(time.monotonic()):
            return 300
        return 200

    def _look_at_keys(self) -> None:
        """End the connections of keys that have been revoked."""
        for public in self._registry.revoked_since(self.door.connections.keys()):
            connections = self.door.connections.of_key(public)
            for connection in connections:
                connection.end()
            if connections:
                key = self._registry.known(public)
                log.warning("%s: the key was revoked; %d connections ended", key.name if key else "somebody", len(connections))
                self._audit.note(_entry(key, "connect", "", "ended: revoked key") if key else Entry("", "", public, "connect", "", "ended: unknown key"))
        self._say(self._registry.problem)

    def _gone(self, connection: Connection) -> None:
        self._streams.gone(connection)

    def _say(self, problem: str) -> None:
        """Log a problem that lasts once."""
        if problem and problem != self._problem:
            log.error("%s", problem)
        self._problem = problem

    # ---------------------------------------------------------------------------------------------- requests

    def _hear(self, arrival: Arrival, now: float) -> None:
        """One message: refuse it, take it to the streams, or note that it is to be passed on."""
        connection = arrival.connection
        key = self._registry.by_public(connection.key)
        if key is None:
            connection.end()
            return
        who = Who(key.name, key.role, key.public)
        if arrival.is_first and len(self.door.connections.of_key(key.public)) > self._traffic.connections:
            self._end(connection, who, f"more than {self._traffic.connections} connections of one key", now)
            return
        allowance = self._allowances.setdefault(key.public, Allowance(self._traffic, now))
        if not allowance.take(arrival.size, now):
            self._slow_down(arrival, who, allowance, now)
            return
        heard = wire.parse(arrival.frames, self._traffic)
        if isinstance(heard, wire.Refusal):
            self._refuse(arrival, who, heard, now)
        elif isinstance(heard, wire.StreamControl):
            self._control(connection, who, heard)
        else:
            self._consider(Ticket(connection, heard, who, what_of(heard.params) if heard.params else "", False), allowance)

    def _consider(self, ticket: Ticket, allowance: Allowance) -> None:
        """Whether a request may be made, by this key, now."""
        request, who = ticket.request, ticket.who
        words = refusal(who.role, request.method) or false_claim(request.params, who)
        if words is None and allowance.n_outstanding >= self._traffic.connections:
            words = f"{allowance.n_outstanding} requests of this key are not answered yet; allowed: one on each of {self._traffic.connections} connections"
        if words is None and self.door.n_unread(who.key) > UNREAD_BYTES:
            self._end(ticket.connection, who, "answers that are not read", time.monotonic())
            return
        if words is not None:
            self._audit.note(_entry(who, request.method, ticket.what, words))
            self._send(ticket, {"success": False, "msg": words})
            return
        ticket.is_write = METHODS[request.method].is_write
        allowance.n_outstanding += 1
        if ticket.is_write:
            self._audit.add(_entry(who, request.method, ticket.what, "asked"))
        self._to_pass_on.append(ticket)

    def _pass_on(self, now: float) -> None:
        """Whatever came in this turn; that somebody asked for a change is on disk before."""
        tickets, self._to_pass_on = self._to_pass_on, []
        problem = self._commit()
        for ticket in tickets:
            method, request = METHODS[ticket.request.method], ticket.request
            if problem and ticket.is_write:
                self._finish(ticket, {"success": False, "msg": problem})
            elif method.target == "gateway":
                self._finish(ticket, self._whoami(ticket.who))
            else:
                relay = self._manager if method.target == "manager" else self._steward
                failure = relay.ask(_behind(ticket, method.target), ticket, now)
                if failure is not None:
                    self._finish(ticket, self._without(request, failure))

    def _answer(self, answered: list[tuple[Ticket, bytes | Failure]]) -> None:
        """Send what has come back; what was changed is on disk before."""
        ready = []
        for ticket, answer in answered:
            if isinstance(answer, Failure):
                payload, outcome = wire.encode(self._without(ticket.request, answer), ticket.request.encoding), answer.words
            else:
                payload, outcome = _translated(answer, ticket.request.encoding), _outcome(answer, ticket.is_write)
            self._take_down(ticket, outcome)
            ready.append((ticket, payload))
        self._commit()
        for ticket, payload in ready:
            self._send_payload(ticket, payload)

    def _finish(self, ticket: Ticket, answer: dict[str, Any]) -> None:
        """Answer a request that was not passed on."""
        self._take_down(ticket, "done" if answer.get("success", True) else str(answer["msg"]))
        self._commit()
        self._send(ticket, answer)

    def _take_down(self, ticket: Ticket, outcome: str) -> None:
        allowance = self._allowances.get(ticket.who.key)
        if allowance is not None:
            allowance.n_outstanding -= 1
        entry = _entry(ticket.who, ticket.request.method, ticket.what, outcome)
        (self._audit.add if ticket.is_write else self._audit.note)(entry)

    def _commit(self) -> str:
        """Have the audit log on disk; what is wrong with that, in words."""
        try:
            self._audit.commit()
        except LedgerError as error:
            self._say(str(error))
            return str(error)
        return ""

    def _whoami(self, who: Who) -> dict[str, Any]:
        return {"success": True, "msg": "", "name": who.name, "role": who.role, "lab": self._lab, "version": version("labwright")}

    def _without(self, request: wire.Request, failure: Failure) -> dict[str, Any]:
        """The answer when there is none from behind."""
        if request.method == "ping":
            return {"success": True, "msg": f"gateway of {self._lab}; {failure.words}"}
        words = failure.words
        if failure.was_sent and METHODS[request.method].is_write:
            words += f"; whether {request.method} was done is not known: see lab queue list"
        return {"success": False, "msg": words}

    # ------------------------------------------------------------------------------------- what is not allowed

    def _control(self, connection: Connection, who: Who, heard: wire.StreamControl) -> None:
        words = self._streams.control(connection, who, heard.message, heard.encoding)
        if words is not None:
            self._audit.note(_entry(who, "subscribe", "", words))
            self.door.send(connection, [b"end", wire.encode({"success": False, "msg": words}, heard.encoding)])

    def _push(self, connection: Connection, frames: list[bytes]) -> bool:
        """A message of a stream, if there is room for it; whoever does not read gets no more, and loses nothing (`lab.remote.streams`)."""
        return self.door.n_unread(connection.key) < UNREAD_BYTES // 2 and self.door.send(connection, frames)

    def _refuse(self, arrival: Arrival, who: Who, refused: wire.Refusal, now: float) -> None:
        connection = arrival.connection
        self.door.refused["messages that are none"] += 1
        self._audit.note(_entry(who, "?", "", refused.words))
        connection.n_abuses += 1
        if connection.n_abuses > MOST_ABUSES:
            self._end(connection, who, "messages that are none, again and again", now)
        elif refused.encoding is not None:
            answer = wire.encode({"success": False, "msg": refused.words}, refused.encoding)
            self.door.send(connection, [b"end" if refused.is_control else b"", answer])

    def _slow_down(self, arrival: Arrival, who: Who, allowance: Allowance, now: float) -> None:
        words = f"more than {self._traffic.requests_per_s:g} requests a second of this key; allowed: so many (lab.yaml: remote.traffic)"
        self.door.refused["requests beyond what a key may ask for"] += 1
        self._audit.note(_entry(who, "?", "", words))
        encoding = wire.encoding_of(arrival.frames[-1])
        if allowance.is_abused():
            self._end(arrival.connection, who, words, now)
        elif encoding is not None and len(arrival.frames) == 2:
            self.door.send(arrival.connection, [b"", wire.encode({"success": False, "msg": words}, encoding)])

    def _end(self, connection: Connection, who: Who, why: str, now: float) -> None:
        """End a connection that takes too much, and let nobody in with its key for a while."""
        log.warning("%s: connection ended: %s", who.name, why)
        self._audit.note(_entry(who, "connect", "", f"ended: {why}"))
        self._allowances.setdefault(who.key, Allowance(self._traffic, now)).shut_out(now)
        connection.end()

    def _send(self, ticket: Ticket, answer: dict[str, Any]) -> None:
        self._send_payload(ticket, wire.encode(answer, ticket.request.encoding))

    def _send_payload(self, ticket: Ticket, payload: bytes) -> None:
        if not self.door.send(ticket.connection, [b"", payload]) and not ticket.connection.is_ending:
            self._end(ticket.connection, ticket.who, "answers that are not read", time.monotonic())


def _entry(who: Who | Key, method: str, what: str, outcome: str) -> Entry:
    return Entry(who.name, who.role, who.key if isinstance(who, Who) else who.public, method, what, outcome)


def _behind(ticket: Ticket, target: str) -> bytes:
    """A request as the services behind the door have it."""
    method, params = ticket.request.method, without_claims(ticket.request.params)
    message: dict[str, Any] = {"method": method, "params": params}
    if target == "steward":
        who = ticket.who
        message = {"who": {"name": who.name, "role": who.role, "key": who.key}, **message}
    return json.dumps(message).encode()


def _translated(answer: bytes, encoding: wire.Encoding) -> bytes:
    try:
        return wire.translate(answer, encoding)
    except ValueError:
        return wire.encode({"success": False, "msg": "an answer that cannot be read came from behind the gateway (lab status)"}, encoding)


def _outcome(answer: bytes, is_write: bool) -> str:
    """What became of it; of a read only that it was answered."""
    if not is_write:
        return "done"
    try:
        message = json.loads(answer)
    except ValueError:
        return "an answer that cannot be read"
    if not isinstance(message, dict) or message.get("success") is not True:
        return f"refused: {message.get('msg') if isinstance(message, dict) else 'in no words'}"
    return "done"


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM; one line of JSON on standard output when it does."""
    parser = argparse.ArgumentParser(prog="python -m lab.remote.gateway", description="The only door of a laboratory that is up.")
    parser.add_argument("--home", required=True, type=Path, help="LAB_HOME of a laboratory that lab up has laid out")
    home = Home(parser.parse_args(arguments).home.absolute())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: told.append(number))
    try:
        gateway = _opened(home)
    except LabError as error:
        print(json.dumps({"ready": False, "error": str(error)}), flush=True)
        log.error("%s", error)
        return 1
    try:
        print(json.dumps({"ready": True, "address": gateway.door.address}), flush=True)
        gateway.serve(lambda: bool(told))
    finally:
        gateway.close()
    return 0


def _opened(home: Home) -> Gateway:
    layout = Layout.load(home)
    if layout is None:
        raise ConfigError("LAB_HOME", str(home.path), "no laboratory that has been up", "one that has: lab up LAB")
    config = LabConfig.model_validate_json(layout.config_file.read_text())
    return Gateway(layout, config, KeyRegistry(home), Audit(home), Streams(home.runs, config.remote, Info(layout.queue_info)))


if __name__ == "__main__":
    raise SystemExit(main())
