"""The line of New Era pumps: asks one pump and returns what it said.

What may be repeated after a bad or missing reply is repeated here (queries, settings); what moves liquid never is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from firmware_bridges.link import Link
from firmware_bridges.ne1000 import ALARMS, Reply, alarms_in, decode, encode, is_basic_complete, is_safe_complete
from lab.core.errors import CommandError, LinkError, LinkGarbled, LinkTimeout

log = logging.getLogger(__name__)

REPLY_S = 0.5
"""Deadline of a reply: the longest one takes 20 ms at 9600 baud."""

QUIET_S = 0.05
"""After a failed exchange the line must be quiet for so long: replies do not say which command they belong to."""

ATTEMPTS = 3
"""Of what may be repeated."""

T = TypeVar("T")


class PumpLine:
    """Several pumps on one line.

    Parameters
    ----------
    link : Link
    is_safe : bool
        Safe mode (length, checksum) rather than basic mode.
    on_alarm : callable
        Called with address and alarm type whenever a reply reports one: a pump reports an alarm once, to whoever asks next.
    on_error : callable
        Called with every failed exchange, also with those that the next attempt makes good.
    """

    def __init__(self, name: str, link: Link, is_safe: bool, on_alarm: Callable[[int, str], None],
                 on_error: Callable[[LinkError], None]) -> None:
        self._name = name
        self.link = link
        self._is_safe = is_safe
        self._is_complete = is_safe_complete if is_safe else is_basic_complete
        self._on_alarm, self._on_error = on_alarm, on_error
        link.quiet_s = QUIET_S
        link.on_stray = self._listen

    def once(self, address: int, command: str) -> Reply:
        """One exchange, not repeated whatever happens.

        Raises
        ------
        LinkDown, LinkTimeout, LinkGarbled
        """
        request = encode(address, command, self._is_safe)

        def read(received: bytes) -> Reply:
            try:
                return decode(received, address, self._is_safe, request)
            except LinkGarbled:
                self._listen(received)
                raise

        reply = self.link.transact(request, self._is_complete, REPLY_S, read)
        if reply.alarm:
            self._on_alarm(address, reply.alarm)
        if reply.data == "?COM":
            raise LinkGarbled(f"{self._name}.{address}: the pump received an invalid packet", request, b"?COM")
        return reply

    def _listen(self, stray: bytes) -> None:
        for address, alarm in alarms_in(stray):
            self._on_alarm(address, alarm)

    def status(self, address: int, attempts: int = ATTEMPTS) -> Reply:
        """What the pump is doing."""
        return self._repeated(lambda: self.once(address, ""), attempts)

    def ask(self, address: int, command: str, read: Callable[[str], T]) -> T:
        """A query whose reply `read` understands.

        Raises
        ------
        LinkError
            When no attempt gave a proper reply.
        CommandError
            When the pump refused.
        """
        def attempt() -> T:
            reply = self._past_alarm(address, command)
            try:
                return read(reply.data)
            except ValueError as error:
                self.link.doubt()
                raise LinkGarbled(f"{self._name}.{address}: {command}: {error}", encode(address, command, self._is_safe),
                                  reply.data.encode()) from error

        return self._repeated(attempt, ATTEMPTS)

    def tell(self, address: int, command: str) -> Reply:
        """A setting, which may be repeated without harm.

        Raises
        ------
        CommandError
            The pump refused, in its words.
        """
        return self._repeated(lambda: self._past_alarm(address, command), ATTEMPTS)

    def _past_alarm(self, address: int, command: str) -> Reply:
        """An alarm takes the place of the reply, and the command may not have been carried out: send it again."""
        for _ in range(len(ALARMS) + 1):
            reply = self.once(address, command)
            if not reply.alarm:
                break
        else:
            raise CommandError(f"{self._name}.{address}: the pump stays in alarm: {ALARMS.get(reply.alarm, reply.alarm)}")
        if reply.error:
            raise CommandError(f"{self._name}.{address}: the pump refused {command!r}: {reply.error}")
        return reply

    def _repeated(self, attempt: Callable[[], T], attempts: int) -> T:
        for n in range(1, attempts + 1):
            try:
                return attempt()
            except (LinkTimeout, LinkGarbled) as error:
                if n == attempts:
                    raise
                self._on_error(error)
        raise CommandError(f"{self._name}: given {attempts} attempts; allowed: at least one")
