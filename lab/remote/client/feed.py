"""What a gateway tells as it comes: documents, the console, the status. Nothing is lost to a slow reader, nor to a restart of either side.

The reader grants credit, gets so many messages, and grants more. After a break it says what it has, by run and number of documents,
and gets the rest.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgpack

from lab.core.errors import RemoteError
from lab.remote.client.line import AnswerLost, Line, Unreachable
from lab.remote.client.requests import Requests

CONNECTING: Final = "connecting"
CREDIT: Final = 1000
"""Messages that may be on their way at one time."""
AGAIN: Final = "with what you have"
"""In the words of a gateway that has forgotten a subscriber of whom nothing was heard (`lab.remote.gateway.streams`)."""
PATIENCE_S: Final = 3.0
"""To connect, before it is called a trouble."""
ALIVE_S: Final = 15.0
"""A subscriber who says nothing for a minute is taken for dead."""


@dataclass(frozen=True)
class Message:
    """One message of a stream.

    Parameters
    ----------
    topic : str
        ``document``, ``console`` or ``status``.
    content : Any
    """

    topic: str
    content: Any


class Feed:
    """A subscription; for one thread at a time.

    Parameters
    ----------
    requests : Requests
        Of the client to whom it belongs.
    subscription : Mapping
        ``{"documents": {"all": True} | {"item": id} | {"campaign": id}, "console": True, "status": True, "since": seconds}``, any of them.
    have : Mapping of str to int or None
        How many documents of each run are there already; they are not sent again.

    Attributes
    ----------
    have : dict
        The same, as it has become.
    trouble : str
        Why nothing comes at present, in words; empty while the connection stands.
    """

    def __init__(self, requests: Requests, subscription: Mapping[str, Any], have: Mapping[str, int] | None = None) -> None:
        self._requests, self._subscription = requests, dict(subscription)
        self.have = dict(have) if have is not None else {}
        self.trouble = CONNECTING
        self._line: Line | None = None
        self._is_subscribed = False
        self._used = 0
        self._spoke = self._began = 0.0

    def next(self, deadline_s: float) -> Message | None:
        """The next message; None when none came within `deadline_s`: then `trouble` tells whether there is one.

        Raises
        ------
        RemoteError
            `KeyRefused`, when the gateway does not let this key in any more; in its words, when it refuses the subscription; or when it
            answers what cannot be read.
        """
        end = time.monotonic() + deadline_s
        while True:
            left_s = max(0.0, end - time.monotonic())
            try:
                line = self._subscribed(left_s)
                self._say_alive(line)
                frames = line.receive(left_s)
            except Unreachable as error:
                if time.monotonic() - self._began >= PATIENCE_S:
                    self.trouble = f"{error.reason}; trying again"
                return None
            except AnswerLost as error:
                self.trouble = f"{error}; trying again"
                self.close()
                continue
            if frames is None:
                return None
            message = self._read(frames)
            if message is not None and message.topic == "end":
                self._take_end(message)
            elif message is not None:
                self._grant(line)
                return message

    def close(self) -> None:
        """End the subscription; `next` begins it anew, where it had come to."""
        line, self._line, self._is_subscribed = self._line, None, False
        if line is not None:
            line.close()

    def _subscribed(self, deadline_s: float) -> Line:
        if self._line is None:
            self._line, self._began = self._requests.line(), time.monotonic()
        self._line.open(deadline_s)
        if not self._is_subscribed:
            self._say(self._line, {"subscribe": {**self._subscription, "have": self.have}, "credit": CREDIT})
            self._is_subscribed, self._used, self.trouble = True, 0, ""
        return self._line

    def _read(self, frames: list[bytes]) -> Message | None:
        """The message; None for a document that is here already."""
        try:
            topic, content = frames[0].decode(), msgpack.unpackb(frames[1])
            if topic == "document":
                run, number = content["run"], int(content["n"])
                if number < self.have.get(run, 0):
                    return None
                self.have[run] = number + 1
        except (ValueError, KeyError, TypeError, IndexError, msgpack.UnpackException) as error:
            raise RemoteError(f"{self._requests.address}: a message of the stream that cannot be read: {error!r}") from error
        return Message(topic, content)

    def _take_end(self, message: Message) -> None:
        """The gateway sends nothing more: subscribe again where it took us for dead, else say its words."""
        words = str(message.content.get("msg", ""))
        if AGAIN not in words:
            raise RemoteError(f"{self._requests.address}: {words}")
        self._is_subscribed = False

    def _grant(self, line: Line) -> None:
        self._used += 1
        if self._used >= CREDIT // 2:
            try:
                self._say(line, {"credit": self._used})
            except AnswerLost:
                self.close()  # `next` opens it again, with what is here by then
            self._used = 0

    def _say_alive(self, line: Line) -> None:
        if time.monotonic() - self._spoke > ALIVE_S:
            self._say(line, {"alive": True})

    def _say(self, line: Line, message: Mapping[str, Any]) -> None:
        line.send(msgpack.packb(message))
        self._spoke = time.monotonic()
