"""Requests to a gateway and their answers: from any thread, over as many connections as there are requests under way.

**Nothing is done twice.** Whether an answer was lost, or only late, a client cannot tell. What only looks is asked again. What changes
something carries an identity, ``request``, made here once; asked again with it, the laboratory answers what became of the first time.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Mapping
from typing import Any, Final

import msgpack
import zmq

from lab.core.errors import RemoteError
from lab.remote.access.key_files import KeyFile
from lab.remote.access.roles import METHODS
from lab.remote.client.line import AnswerLost, Line, Unreachable

READ_S: Final = 15.0
"""For an answer that only looks; the gateway gives up, with words, after 5 s."""
WRITE_S: Final = 75.0
"""For one that changes something: what is queued is rehearsed before; the gateway gives up, with words, after 60 s."""
UNKNOWN: Final = "may have been done, or not; look before you ask for it again (lab queue list, lab queue history)"
AGAIN_S: Final = 0.5
"""Between two questions what became of a write."""
FIRST_S: Final = 5.0
"""For the very first connection."""
RESTART_S: Final = 30.0
"""For the connection to come back after it had stood: the gateway is being started again."""


def _is_open(answer: Mapping[str, Any], name: str) -> bool:
    """Whether what became of a write is not known yet: a service behind the gateway is away (it is started again by itself), or still at it."""
    is_under_way = answer.get("success") is False and str(answer.get("msg", "")).startswith(f"request {name} is under way")
    return is_under_way or answer.get("unanswered") is True


def is_a_read(method: str) -> bool:
    """Whether a method changes nothing, and may be asked any number of times."""
    found = METHODS.get(method)
    return found is None or not found.is_write  # what does not exist is refused, and changes nothing


class Requests:
    """Stands in for `bluesky_queueserver.ZMQCommSendThreads`, with a key of its own.

    Parameters
    ----------
    address : str
        ``host:port``.
    key : KeyFile
    encoding : str
        ``json`` or ``msgpack``.
    """

    def __init__(self, address: str, key: KeyFile, encoding: str = "json") -> None:
        self.address, self.key = address, key
        self._is_json = encoding == "json"
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._lock = threading.Lock()
        self._idle: list[Line] = []
        self._has_stood = False
        self._is_closed = False

    def send_message(self, *, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Ask, and wait for the answer.

        Raises
        ------
        RemoteError
            `KeyRefused` or `Unreachable`: nothing was done; `AnswerLost`: in spite of asking again, nobody knows.
        """
        params = dict(params or {})  # type: ignore[arg-type]
        is_read = is_a_read(method)
        if not is_read:
            params.setdefault("request", uuid.uuid4().hex)
        payload = self._packed({"method": method, "params": params})
        if is_read:
            return self._read(payload)
        return self._write(method, params["request"], payload)

    def line(self) -> Line:
        """A connection of one's own, for a stream; it is the caller's to close."""
        return Line(self._context, self.address, self.key)

    def close(self) -> None:
        """End all connections. Streams that were opened with `line` have to be closed before."""
        with self._lock:
            self._is_closed = True
            lines, self._idle = self._idle, []
        for line in lines:
            line.close()
        self._context.destroy(linger=0)

    def _read(self, payload: bytes) -> dict[str, Any]:
        """Asked again until there is an answer."""
        end = time.monotonic() + READ_S
        while True:
            try:
                return self._ask(payload, end)
            except AnswerLost:
                if time.monotonic() >= end:
                    raise

    def _write(self, method: str, name: str, payload: bytes) -> dict[str, Any]:
        """Asked again under the same name until it is known what became of it."""
        end = time.monotonic() + WRITE_S
        lost: AnswerLost | None = None
        while True:
            try:
                answer = self._ask(payload, end)
            except AnswerLost as error:
                lost = error if lost is None else lost  # what a service has said tells more than the silence after it
            except Unreachable as error:
                if lost is None:
                    raise
                raise AnswerLost(f"{lost}, and did not come back: {method} {UNKNOWN}") from error
            else:
                if not _is_open(answer, name):
                    return answer
                lost = AnswerLost(f"{self.address}: {answer.get('msg')}")
                end = min(end, time.monotonic() + RESTART_S) if answer.get("unanswered") else end
                time.sleep(AGAIN_S)
            if time.monotonic() >= end:
                raise AnswerLost(f"{lost}: {method} {UNKNOWN}") from lost

    def _ask(self, payload: bytes, end: float) -> dict[str, Any]:
        line = self._take()
        try:
            line.send(b"", payload)
            answer = line.receive(max(0.0, end - time.monotonic()))
            if answer is None:
                raise AnswerLost(f"{self.address}: no answer in time")
            unpacked = self._unpacked(answer[-1])
        except BaseException:
            line.close()
            raise
        with self._lock:
            if not self._is_closed:
                self._idle.append(line)
                return unpacked
        line.close()
        return unpacked

    def _take(self) -> Line:
        """A connection that stands: one that has, or a new one."""
        while True:
            with self._lock:
                if self._is_closed:
                    raise RemoteError(f"{self.address}: this client has been closed")
                line = self._idle.pop() if self._idle else None
            is_new = line is None
            if line is None:
                line = self.line()
            try:
                line.open(RESTART_S if self._has_stood else FIRST_S)
            except AnswerLost:
                line.close()  # it stood idle when it ended: nothing was asked over it
            except BaseException:
                line.close()
                raise
            else:
                self._has_stood = self._has_stood or is_new
                return line

    def _packed(self, message: Mapping[str, Any]) -> bytes:
        try:
            if self._is_json:
                return json.dumps(message, allow_nan=False).encode()
            packed: bytes = msgpack.packb(message)
            return packed
        except (TypeError, ValueError) as error:
            raise RemoteError(f"{message['method']}: only JSON goes to the laboratory (numbers, texts, lists, objects): {error}") from error

    def _unpacked(self, payload: bytes) -> dict[str, Any]:
        try:
            found = json.loads(payload) if self._is_json else msgpack.unpackb(payload)
        except (ValueError, msgpack.UnpackException) as error:
            raise RemoteError(f"{self.address}: an answer that cannot be read: {error}") from error
        if not isinstance(found, dict):
            raise RemoteError(f"{self.address}: an answer that is no object")
        return found
