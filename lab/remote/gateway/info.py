"""What the RE Manager publishes of itself, on loopback and unencrypted: its status, and what it and the worker print. Here it is read, to be passed on through the door."""

from __future__ import annotations

import json
import logging
import re
from collections import deque
from collections.abc import Iterator
from typing import Any

import zmq

_log = logging.getLogger(__name__)

CONSOLE_TOPIC, INFO_TOPIC = b"QS_Console", b"QS_Info"
"""Of bluesky_queueserver.manager.output_streaming."""
LONGEST_TEXT = 64 * 1024
MOST_TEXTS, MOST_BYTES = 2000, 1_000_000
"""Of the console, kept for those who read slowly."""

_OBEYED = re.compile(r"\x1b\[[0-9;]*m|([\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069])")


def harmless(text: str) -> str:
    """A text for a terminal that obeys nothing in it but line ends, tabs and colours: plans print what clients have given them."""
    return _OBEYED.sub(lambda found: found[0] if found[1] is None else ascii(found[1])[1:-1], text)


class Console:
    """What was printed lately, numbered from 1."""

    def __init__(self) -> None:
        self.last = 0
        self._texts: deque[dict[str, Any]] = deque()
        self._n_bytes = 0

    def add(self, wall: float, text: str) -> None:
        """Keep what was printed, and forget what is too old."""
        text = harmless(text[:LONGEST_TEXT])
        self._texts.append({"time": wall, "msg": text})
        self._n_bytes += len(text)
        self.last += 1
        while len(self._texts) > MOST_TEXTS or self._n_bytes > MOST_BYTES:
            self._n_bytes -= len(self._texts.popleft()["msg"])

    def after(self, number: int) -> tuple[int, dict[str, Any]] | None:
        """What was printed after text `number`, and its own number; where that is forgotten already, words that say how much was left out."""
        if number >= self.last:
            return None
        oldest = self.last - len(self._texts) + 1
        if number + 1 < oldest:
            return oldest - 1, {"time": self._texts[0]["time"], "msg": f"[{oldest - 1 - number} lines were not read in time, and are left out]\n"}
        return number + 1, self._texts[number + 1 - oldest]


class Info:
    """Reads the RE Manager's socket for status and console; it may come and go.

    Parameters
    ----------
    address : str
        `Layout.queue_info`.
    """

    def __init__(self, address: str) -> None:
        self.console = Console()
        self.status: dict[str, Any] | None = None
        """The latest, as published: ``{"time", "msg": {"status": {...}}}``."""
        self.n_status = 0
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        for option, value in ((zmq.LINGER, 0), (zmq.RCVHWM, 5000), (zmq.RECONNECT_IVL, 100), (zmq.RECONNECT_IVL_MAX, 1000), (zmq.MAXMSGSIZE, 16_000_000)):
            self._socket.setsockopt(option, value)
        self._socket.setsockopt(zmq.SUBSCRIBE, CONSOLE_TOPIC)
        self._socket.setsockopt(zmq.SUBSCRIBE, INFO_TOPIC)
        self._socket.connect(address)

    def take(self, most: int = 500) -> None:
        """Read what has come; never waits."""
        for topic, content in self._received(most):
            wall, said = content.get("time"), content.get("msg")
            wall = float(wall) if isinstance(wall, (int, float)) else 0.0
            if topic == CONSOLE_TOPIC and isinstance(said, str):
                self.console.add(wall, said)
            elif topic == INFO_TOPIC and isinstance(said, dict) and isinstance(said.get("status"), dict):
                self.status = {"time": wall, "msg": {"status": said["status"]}}
                self.n_status += 1

    def close(self) -> None:
        """Read no more."""
        self._socket.close()
        self._context.term()

    def _received(self, most: int) -> Iterator[tuple[bytes, dict[str, Any]]]:
        for _ in range(most):
            try:
                topic, *rest = self._socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            try:
                content = json.loads(rest[-1])
            except (ValueError, IndexError, RecursionError):
                _log.warning("the RE Manager published something that is not JSON")
                continue
            if isinstance(content, dict):
                yield topic, content
