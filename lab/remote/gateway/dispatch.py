"""What becomes of a request once it is known who asks: refused in words, passed on to who answers it, or answered for them.

Nothing here waits. What changes anything is in the audit log, on disk, before it is passed on, and what became of it before it is answered.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Container
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import zmq

from lab.core.errors import LedgerError
from lab.core.remote import Traffic
from lab.layout import Layout
from lab.remote.access.audit import Audit, Entry, what_of
from lab.remote.access.claims import false_claim, without_claims
from lab.remote.access.roles import METHODS, refusal
from lab.remote.access.who import Who
from lab.remote.gateway import wire
from lab.remote.gateway.allowance import Allowance
from lab.remote.gateway.connections import Connection
from lab.remote.gateway.relay import Failure, Relay

log = logging.getLogger(__name__)

MANAGER_S, STEWARD_S = 5.0, 60.0
"""Deadlines for answers: of reads, and of what may be validated and rehearsed before."""

BEHIND = 256
"""Requests under way at one time at one service behind the door."""

UNREAD_BYTES = 16_000_000
"""Of answers that one key may leave unread, or await."""

LONGEST_TRANSLATED = 4_000_000
"""Bytes of an answer that is written anew in msgpack while others wait."""


@dataclass(eq=False, slots=True)
class Ticket:
    """A request under way: whose, and how it is answered."""

    connection: Connection
    who: Who
    request: wire.Request
    allowance: Allowance
    what: str = ""
    """In short, for the audit log."""
    is_write: bool = False
    n_expected: int = 0
    """Bytes of its answer, as long as the last one of this method was."""


class Dispatch:
    """All requests.

    Parameters
    ----------
    context : zmq.Context
    layout : Layout
    traffic : Traffic
    audit : Audit
    send : callable
        Takes a ticket and its answer.
    n_unread : callable
        Bytes of answers that a key has not read.
    """

    def __init__(self, context: zmq.Context[Any], layout: Layout, traffic: Traffic, audit: Audit, send: Callable[[Ticket, bytes], None],
                 n_unread: Callable[[str], int]) -> None:
        self._lab, self._traffic, self._audit, self._send, self._n_unread = layout.lab, traffic, audit, send, n_unread
        self._manager: Relay[Ticket] = Relay(context, "the RE Manager", layout.queue_control, MANAGER_S, BEHIND)
        self._steward: Relay[Ticket] = Relay(context, "the steward", layout.steward, STEWARD_S, BEHIND)
        self._waiting: list[Ticket] = []
        self._sizes: dict[str, int] = {}
        self.problem = ""
        """Why nothing can be changed at present."""

    def register(self, poller: zmq.Poller) -> None:
        """Be woken by answers."""
        self._manager.register(poller)
        self._steward.register(poller)

    def consider(self, ticket: Ticket) -> None:
        """Refuse a request, or note that `pass_on` will pass it on."""
        method, params = ticket.request.method, ticket.request.params
        ticket.what = what_of(params) if params else ""
        words = refusal(ticket.who.role, method) or false_claim(params, ticket.who) or self._too_much(ticket)
        if words is not None:
            self._audit.note(entry_of(ticket.who, method, ticket.what, words))
            self._send(ticket, wire.encode({"success": False, "msg": words}, ticket.request.encoding))
            return
        ticket.is_write = METHODS[method].is_write
        ticket.allowance.n_outstanding += 1
        ticket.allowance.n_expected += ticket.n_expected
        if ticket.is_write:
            self._audit.add(entry_of(ticket.who, method, ticket.what, "asked"))
        self._waiting.append(ticket)

    def pass_on(self, now: float) -> None:
        """Pass on whatever was considered since."""
        tickets, self._waiting = self._waiting, []
        self._commit()
        for ticket in tickets:
            target = METHODS[ticket.request.method].target
            if self.problem and ticket.is_write:
                self._finish(ticket, {"success": False, "msg": self.problem})
            elif target == "gateway":
                self._finish(ticket, self._whoami(ticket.who))
            else:
                relay = self._manager if target == "manager" else self._steward
                failure = relay.ask(_behind(ticket, target), ticket, now)
                if failure is not None:
                    self._finish(ticket, self._without(ticket, failure))

    def answer(self, now: float, woken: Container[object] | None = None) -> None:
        """Send what has come back since, and say what will not; `woken` as in `Relay.answers`."""
        ready = []
        for ticket, answer in [*self._manager.answers(now, woken), *self._steward.answers(now, woken)]:
            if isinstance(answer, Failure):
                payload, outcome = wire.encode(self._without(ticket, answer), ticket.request.encoding), answer.words
            else:
                self._sizes[ticket.request.method] = len(answer)
                payload, outcome = _translated(answer, ticket.request.encoding), _outcome(answer, ticket.is_write)
            self._take_down(ticket, outcome)
            ready.append((ticket, payload))
        self._commit()
        for ticket, payload in ready:
            self._send(ticket, payload)

    def close(self) -> None:
        """Ask nothing more."""
        self._manager.close()
        self._steward.close()

    # --------------------------------------------------------------------------------------------------- parts

    def _too_much(self, ticket: Ticket) -> str | None:
        allowance, most = ticket.allowance, self._traffic.connections
        if allowance.n_outstanding >= most:
            return f"{allowance.n_outstanding} requests of this key are not answered yet; allowed: {most} at one time"
        ticket.n_expected = self._sizes.get(ticket.request.method, 0)
        awaited = self._n_unread(ticket.who.key) + allowance.n_expected
        if awaited and awaited + ticket.n_expected > UNREAD_BYTES:
            return f"{awaited} bytes of answers to this key are not read yet; allowed: {UNREAD_BYTES}. Read them first"
        return None

    def _finish(self, ticket: Ticket, answer: dict[str, Any]) -> None:
        """Answer a request that was not passed on."""
        self._take_down(ticket, "done" if answer["success"] else str(answer["msg"]))
        self._commit()
        self._send(ticket, wire.encode(answer, ticket.request.encoding))

    def _take_down(self, ticket: Ticket, outcome: str) -> None:
        ticket.allowance.n_outstanding -= 1
        ticket.allowance.n_expected -= ticket.n_expected
        entry = entry_of(ticket.who, ticket.request.method, ticket.what, outcome)
        if ticket.is_write:
            self._audit.add(entry)
        else:
            self._audit.note(entry)

    def _commit(self) -> None:
        try:
            self._audit.commit()
            self.problem = ""
        except LedgerError as error:
            self.problem = str(error)

    def _whoami(self, who: Who) -> dict[str, Any]:
        return {"success": True, "msg": "", "name": who.name, "role": who.role, "lab": self._lab, "version": version("labwright")}

    def _without(self, ticket: Ticket, failure: Failure) -> dict[str, Any]:
        """The answer when there is none from behind."""
        method = ticket.request.method
        if method == "ping":
            return {"success": True, "msg": f"gateway of {self._lab}; {failure.words}"}
        words = failure.words
        if failure.was_sent and ticket.is_write:
            words += f"; whether {method} was done is not known: see lab queue list"
        return {"success": False, "msg": words, "unanswered": True}  # a client asks again under the same name (`lab.remote.client.requests`)


def entry_of(who: Who, method: str, what: str, outcome: str) -> Entry:
    """An entry of the audit log."""
    return Entry(who.name, who.role, who.key, method, what, outcome)


def _behind(ticket: Ticket, target: str) -> bytes:
    """A request as the services behind the door have it."""
    message: dict[str, Any] = {"method": ticket.request.method, "params": without_claims(ticket.request.params)}
    if target == "steward":
        who = ticket.who
        message = {"who": {"name": who.name, "role": who.role, "key": who.key}, **message}
    return json.dumps(message).encode()


def _translated(answer: bytes, encoding: wire.Encoding) -> bytes:
    if encoding == "msgpack" and len(answer) > LONGEST_TRANSLATED:
        words = f"an answer of {len(answer)} bytes; allowed in msgpack: {LONGEST_TRANSLATED}. Ask in JSON"
        return wire.encode({"success": False, "msg": words}, encoding)
    try:
        return wire.translate(answer, encoding)
    except (ValueError, OverflowError, RecursionError):
        return wire.encode({"success": False, "msg": "what came from behind the gateway cannot be said in msgpack: ask in JSON"}, encoding)


def _outcome(answer: bytes, is_write: bool) -> str:
    """What became of it; of a read only that it was answered."""
    if not is_write:
        return "done"
    try:
        message = json.loads(answer)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        return "an answer that cannot be read"
    return "done" if message.get("success") is True else f"refused: {message.get('msg')}"
