"""Streams through the door: the documents of runs, the RE Manager's status and console, to whoever may see them.

Documents are read from the files of `LAB_HOME/runs`, where the RunEngine has put them before it went on: nothing here can slow it down or make it fail.
For each subscriber there is a place in each file. Credit bounds what is sent; a slow reader's place stays where it is, and nothing is kept or lost for it.
After a restart of either side the client subscribes again with what it has, and gets the rest: each document once, in order, by run.

Messages are ``[topic, payload]``, the payload in the encoding of the subscription:

- ``document``: ``{"run", "n", "name", "doc", "campaign", "item", "user"}``, `n` counted from 0 in its run
- ``status``: ``{"time", "msg": {"status": {...}}}``, the latest only; ``console``: ``{"time", "msg"}``; both as the RE Manager publishes them
- ``end``: ``{"success": false, "msg"}``: nothing more will come, and why
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import msgpack

from lab.core.remote import RemoteConfig
from lab.remote.access.roles import may_see
from lab.remote.access.who import Who
from lab.remote.gateway.info import Info
from lab.remote.gateway.run_files import Line, Run, RunFiles
from lab.remote.gateway.subscriptions import MOST_CREDIT, NotAllowed, Wish, credit_of, wish_of

_log = logging.getLogger(__name__)

Encoding = Literal["json", "msgpack"]
Reader = TypeVar("Reader", bound=Hashable)

LOOK_S = 0.05
"""How often files are looked at: the longest that a document waits."""
SILENT_S = 60.0
"""Who has said nothing for so long (``{"alive": true}`` is enough) is taken for dead."""
A_TURN = 100
"""Messages to one reader before the others have their turn."""
BUDGET_S = 0.005
"""Of one `Streams.pump`: requests are waiting."""
MATCHED_AT_ONCE = 2000
"""Runs that are compared with a subscription in one turn."""


@dataclass(slots=True, eq=False)
class _Place:
    """Where a reader is in a run.

    Parameters
    ----------
    n : int
        Lines before it.
    to_skip : int
        Lines that are to be left out yet: the reader has them.
    """

    run: Run
    n: int = 0
    offset: int = 0
    to_skip: int = 0


@dataclass(slots=True, eq=False)
class _Subscription:
    """What one reader gets, and how far it has come."""

    who: Who
    encoding: Encoding
    wish: Wish
    rule: Literal["none", "own", "all"]
    listing: int
    credit: int
    heard: float
    since: float
    n_matched: int = 0
    """Runs that have been compared with the wish."""
    places: dict[str, _Place] = field(default_factory=dict)
    behind: dict[str, _Place] = field(default_factory=dict)
    """Those places after which there may be more."""
    n_status: int = 0
    n_console: int = 0


class Streams(Generic[Reader]):
    """All subscriptions. Not thread-safe; never waits.

    Parameters
    ----------
    runs : Path
        ``LAB_HOME/runs``.
    remote : RemoteConfig
        Who may see what, and how many subscriptions a key may have.
    info : Info or None
        Where status and console come from; it is closed by `close`.
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, runs: Path, remote: RemoteConfig, info: Info | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._remote, self._info, self._clock = remote, info, clock
        self._files = RunFiles(runs)
        self._readers: dict[Reader, _Subscription] = {}
        self._looked = float("-inf")

    def __len__(self) -> int:
        return len(self._readers)

    def control(self, reader: Reader, who: Who, message: dict[str, Any], encoding: Encoding) -> str | None:
        """One message of a reader: ``{"subscribe": {...}, "credit": n}``, ``{"credit": n}``, ``{"alive": true}`` or ``{"unsubscribe": true}``.

        Returns
        -------
        str or None
            Why it is refused, in words; a subscription that was there stays as it was.
        """
        try:
            self._control(reader, who, message, encoding)
        except NotAllowed as error:
            return str(error)
        return None

    def gone(self, reader: Reader) -> None:
        """Its connection has ended."""
        self._readers.pop(reader, None)

    def pump(self, send: Callable[[Reader, list[bytes]], bool], now: float) -> bool:
        """Send what is there, to whoever has credit for it.

        Parameters
        ----------
        send : callable
            Takes a reader and the frames, never waits; False when there is no room: it is tried again later.
        now : float
            Monotonic seconds.

        Returns
        -------
        bool
            Whether there is more to do at once.
        """
        if self._info is not None:
            self._info.take()
        if now - self._looked >= LOOK_S:
            self._looked = now
            self._look(now)
        self._end_silent(send, now)
        until, is_more = self._clock() + BUDGET_S, False
        for reader, subscription in [pair for pair in self._readers.items() if self._is_wanting(pair[1])]:
            if self._clock() >= until:
                return True
            is_more = self._serve(reader, subscription, send) or is_more
            if reader in self._readers:
                self._readers[reader] = self._readers.pop(reader)  # to the end: the next turn begins with those who had none
        return is_more

    def close(self) -> None:
        """Send nothing more."""
        self._readers.clear()
        if self._info is not None:
            self._info.close()

    # -------------------------------------------------------------------------------------------- what they say

    def _control(self, reader: Reader, who: Who, message: dict[str, Any], encoding: Encoding) -> None:
        wish = message.get("subscribe")
        allowed = {"subscribe", "credit"} if "subscribe" in message else {"credit", "alive", "unsubscribe"}
        if not message or not set(message) <= allowed:
            raise NotAllowed('the control of a stream is {"subscribe": {...}, "credit": n}, {"credit": n}, {"alive": true} or {"unsubscribe": true}')
        credit = credit_of(message["credit"]) if "credit" in message else 0
        if "subscribe" in message:
            if not isinstance(wish, dict):
                raise NotAllowed("subscribe: allowed: status, console, documents, have, since")
            self._subscribe(reader, who, wish_of(wish), credit, encoding)
            return
        found = self._readers.get(reader)
        if found is None:
            raise NotAllowed("there is no subscription on this connection (any more): subscribe, with what you have")
        if "unsubscribe" in message:
            self.gone(reader)
            return
        found.heard = self._clock()
        found.credit = min(found.credit + credit, MOST_CREDIT)

    def _subscribe(self, reader: Reader, who: Who, wish: Wish, credit: int, encoding: Encoding) -> None:
        rule = self._remote.documents(who.role)
        if wish.documents is not None and rule == "none":
            raise NotAllowed(f"documents: your key's role is {who.role}, which sees none; allowed: those of whom lab.yaml says so (remote.roles)")
        if wish.console and rule != "all" and not (wish.status or wish.documents):
            raise NotAllowed(_NO_CONSOLE.format(role=who.role))
        n_others = sum(one.who.key == who.key for other, one in self._readers.items() if other is not reader and other != reader)
        if n_others >= self._remote.traffic.subscriptions:
            raise NotAllowed(f"subscribe: this key has {n_others} subscriptions; allowed: {self._remote.traffic.subscriptions} at one time")
        # What the first listing finds was there before anybody could subscribe.
        found = _Subscription(who, encoding, wish, rule, max(1, self._files.listing), credit, self._clock(), wish.since)
        if self._info is not None:
            found.n_console = self._info.console.last
        self._readers[reader] = found

    # ------------------------------------------------------------------------------------------ what they are sent

    def _look(self, now: float) -> None:
        for run in self._files.look(now):
            self._grown(run)

    def _grown(self, run: Run) -> None:
        for one in self._readers.values():
            place = one.places.get(run.uid)
            if place is not None:
                one.behind[run.uid] = place

    def _end_silent(self, send: Callable[[Reader, list[bytes]], bool], now: float) -> None:
        silent = [reader for reader, one in self._readers.items() if now - one.heard > SILENT_S]
        for reader in silent:
            one = self._readers.pop(reader)
            send(reader, [b"end", _encoded({"success": False, "msg": f"nothing was heard of you for {SILENT_S:.0f} s; subscribe again, with what you have"},
                                           one.encoding)])

    def _is_wanting(self, one: _Subscription) -> bool:
        """Whether there may be something for a reader."""
        if not one.credit:
            return False
        if one.behind or one.n_matched < len(self._files.runs):
            return True
        info = self._info
        return info is not None and ((one.wish.status and one.n_status < info.n_status)
                                     or (one.wish.console and 0 <= one.n_console < info.console.last))

    def _serve(self, reader: Reader, one: _Subscription, send: Callable[[Reader, list[bytes]], bool]) -> bool:
        """Send to one reader; whether there is more for it."""
        self._match(one)
        messages = self._messages(one)
        for _ in range(min(A_TURN, one.credit)):
            found = next(messages, None)
            if found is None:
                return one.n_matched < len(self._files.runs)
            topic, payload, come_so_far = found
            if not send(reader, [topic, payload]):
                return False  # no room: later
            one.credit -= 1
            come_so_far()
        return one.credit > 0

    def _messages(self, one: _Subscription) -> Iterator[tuple[bytes, bytes, Callable[[], None]]]:
        """Topic, payload, and what to do when it has been sent."""
        if self._info is not None:
            yield from self._status(one, self._info)
            yield from self._console(one, self._info)
        for place in list(one.behind.values()):
            yield from self._documents(one, place)

    def _status(self, one: _Subscription, info: Info) -> Iterator[tuple[bytes, bytes, Callable[[], None]]]:
        if one.wish.status and info.status is not None and one.n_status < info.n_status:
            number = info.n_status

            def come() -> None:
                one.n_status = number

            yield b"status", _encoded(info.status, one.encoding), come

    def _console(self, one: _Subscription, info: Info) -> Iterator[tuple[bytes, bytes, Callable[[], None]]]:
        if not one.wish.console or one.n_console < 0:
            return
        if one.rule != "all":
            def told() -> None:
                one.n_console = -1

            yield b"console", _encoded({"time": time.time(), "msg": f"{_NO_CONSOLE.format(role=one.who.role)}\n"}, one.encoding), told
            return
        while (found := info.console.after(one.n_console)) is not None:
            number, text = found

            def come(number: int = number) -> None:
                one.n_console = number

            yield b"console", _encoded(text, one.encoding), come

    def _documents(self, one: _Subscription, place: _Place) -> Iterator[tuple[bytes, bytes, Callable[[], None]]]:
        """What stands after a place; the place is left when there is no more, for good when the run has stopped."""
        run = place.run
        while True:
            lines = self._lines(one, place)
            if not lines:
                one.behind.pop(run.uid, None)
                return
            for line in lines:
                payload, name = _payload(run, place.n, line, one.encoding)

                def come(line: Line = line) -> None:
                    place.n, place.offset = place.n + 1, line.end

                if payload is None:
                    _log.warning("documents: %s: line %d is not a document; nobody is told of it", run.uid, place.n + 1)
                    come()
                    continue
                yield b"document", payload, come
                if name == "stop":
                    self._files.stopped(run)
                    self._leave(one, run)
                    self._grown(run)  # no look will find it grown any more: this is the last time that the others hear of it
                    return

    def _lines(self, one: _Subscription, place: _Place) -> list[Line]:
        try:
            while place.to_skip:
                offset, left = self._files.skip(place.run, place.offset, place.to_skip)
                if offset == place.offset:
                    return []  # the reader has more than is there: a power cut has taken it
                place.n, place.offset, place.to_skip = place.n + place.to_skip - left, offset, left
            return self._files.read(place.run, place.offset)
        except OSError as error:
            _log.warning("documents: %s: cannot be read: %s; its readers get no more of it", place.run.uid, error.strerror)
            self._leave(one, place.run)
            return []

    def _leave(self, one: _Subscription, run: Run) -> None:
        one.behind.pop(run.uid, None)
        one.places.pop(run.uid, None)

    def _match(self, one: _Subscription) -> None:
        """Find the runs that the wish is about, some at a time."""
        if one.wish.documents is None:
            one.n_matched = len(self._files.runs)
            return
        for run in self._files.runs[one.n_matched:one.n_matched + MATCHED_AT_ONCE]:
            one.n_matched += 1
            if run.uid in one.wish.have:
                # Whoever has this run wants those after it, too: `since` is of the client's clock, which may go before ours.
                one.since = min(one.since, run.started)
            if one.wish.is_about(run, one.listing, one.since) and may_see(one.rule, one.who.name, run.user):
                place = _Place(run, to_skip=one.wish.have.get(run.uid, 0))
                one.places[run.uid] = one.behind[run.uid] = place


_NO_CONSOLE = "console: your key's role is {role}; what plans print is for those who see all documents (lab.yaml: remote.roles.{role}.documents)"


def _payload(run: Run, n: int, line: Line, encoding: Encoding) -> tuple[bytes | None, str]:
    """A document as it is sent, and its name, made once for all readers; None for a line that is none."""
    if encoding not in line.payloads:
        found = line.document()
        if found is None:
            return None, ""
        line.name, doc = found
        content = {"run": run.uid, "n": n, "name": line.name, "doc": doc, "campaign": run.campaign, "item": run.item, "user": run.user}
        try:
            line.payloads[encoding] = _encoded(content, encoding)
        except (ValueError, RecursionError):
            return None, ""  # deeper than msgpack goes
    return line.payloads[encoding], line.name


def _encoded(content: dict[str, Any], encoding: Encoding) -> bytes:
    if encoding == "json":
        return json.dumps(content).encode()
    packed: bytes = msgpack.packb(content, unicode_errors="replace")
    return packed
