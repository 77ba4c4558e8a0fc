"""Client of the SIMPLON REST interface, over a connection that is kept alive.

Source: DECTRIS *SIMPLON API Reference* 1.8: ``GET|PUT /{subsystem}/api/1.8.0/{config|status|command}/{name}`` with
``{"value": v}``; a PUT of a configuration returns the names of all values that changed with it, ``arm`` the number of the series
as ``{"sequence id": n}``. ``trigger`` is answered when the images of an internal trigger have been taken.

The standard library's http.client, because a keep-alive request takes it a third of what httpx takes.
"""

from __future__ import annotations

import http.client
import json
import select
import socket
import threading
import time
from typing import Literal

from lab.core.errors import CommandError, LinkDown, LinkGarbled, LinkTimeout

API = "1.8.0"

REPLY_S = 5.0
"""Longest wait for an answer to anything but initialise, arm and trigger, wall seconds."""

Part = Literal["config", "status"]


class SimplonLine:
    """One kept-alive HTTP connection; one request at a time.

    Parameters
    ----------
    name : str
        The instrument's name; messages start with it.
    host : str
    port : int
    """

    def __init__(self, name: str, host: str, port: int) -> None:
        self.name = name
        self._http = http.client.HTTPConnection(host, port)
        self._address = f"http://{host}:{port}"
        self._turn = threading.Lock()
        self._outstanding = ""

    def get(self, subsystem: str, part: Part, key: str, deadline_s: float = REPLY_S) -> object:
        """Value of ``/{subsystem}/api/1.8.0/{part}/{key}``.

        Raises
        ------
        CommandError
            The detector refused; its words and the HTTP status.
        LinkDown, LinkTimeout, LinkGarbled
            The line failed; an answer that is not JSON with a value.
        """
        reply = self._exchange("GET", f"/{subsystem}/api/{API}/{part}/{key}", None, deadline_s)
        if not isinstance(reply, dict) or "value" not in reply:
            raise LinkGarbled(f'{self.name}: {key}: {{"value": ...}} expected', reply=repr(reply)[:200].encode())
        return reply["value"]

    def configure(self, subsystem: str, key: str, value: object, deadline_s: float = REPLY_S) -> None:
        """Set one configuration value. Raises as `get` does."""
        self._exchange("PUT", f"/{subsystem}/api/{API}/config/{key}", {"value": value}, deadline_s)

    def command(self, key: str, deadline_s: float = REPLY_S) -> object:
        """Carry out a detector command; returns its answer. Raises as `get` does."""
        return self._exchange("PUT", f"/detector/api/{API}/command/{key}", None, deadline_s)

    def arm(self, deadline_s: float) -> int:
        """Arm a series; returns its number (``sequence id``). Raises as `get` does."""
        reply = self.command("arm", deadline_s)
        value = reply.get("sequence id") if isinstance(reply, dict) else None
        if not isinstance(value, int):
            raise LinkGarbled(f'{self.name}: arm: {{"sequence id": n}} expected', reply=repr(reply)[:200].encode())
        return value

    def begin(self, key: str) -> None:
        """Send a detector command without waiting for its answer; `is_answered` and `finish` must follow."""
        self._take_turn(REPLY_S)
        try:
            self._request("PUT", f"/detector/api/{API}/command/{key}", None, REPLY_S)
        except BaseException:
            self._turn.release()
            raise
        self._outstanding = key

    def is_answered(self, within_s: float = 0.0) -> bool:
        """Whether `finish` would not wait (or the connection is gone, which `finish` will say), now or within so many wall seconds."""
        return self._http.sock is None or self._is_readable(within_s)

    def finish(self, deadline_s: float) -> None:
        """Wait for the answer to the command that was begun. Raises as `get` does."""
        key, self._outstanding = self._outstanding, ""
        try:
            self._answer(f"PUT {key}", deadline_s)
        finally:
            self._turn.release()

    def give_up(self) -> None:
        """Drop the connection with its outstanding answer, if there is one."""
        if self._outstanding:
            self._outstanding = ""
            self._http.close()
            self._turn.release()

    def close(self) -> None:
        """Close the connection; an exchange under way in another thread fails. The next request opens it again."""
        if self._turn.acquire(blocking=False):
            try:
                self._http.close()
            finally:
                self._turn.release()
        elif (connection := self._http.sock) is not None:
            # http.client is not made for two threads: whoever has the turn finds the end of the file, and closes.
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is closed, or its other end is

    def _exchange(self, method: str, path: str, body: object, deadline_s: float) -> object:
        self._take_turn(deadline_s)
        try:
            self._request(method, path, body, deadline_s)
            return self._answer(f"{method} {path}", deadline_s)
        finally:
            self._turn.release()

    def _take_turn(self, deadline_s: float) -> None:
        if not self._turn.acquire(timeout=deadline_s):
            raise LinkTimeout(f"{self.name}: {self._address} was busy for {deadline_s:g} s")

    def _request(self, method: str, path: str, body: object, deadline_s: float) -> None:
        # A detector may close a connection that has been idle. What is readable before anything was asked is that end of file;
        # finding it out now, before sending, means that a command never has to be sent twice.
        if self._http.sock is not None and self._is_readable():
            self._http.close()
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if data is not None else {}
        try:
            self._http.timeout = deadline_s
            if self._http.sock is not None:
                self._http.sock.settimeout(deadline_s)
            self._http.request(method, path, data, headers)
        except (OSError, http.client.HTTPException) as error:
            self._http.close()
            raise LinkDown(f"{self.name}: cannot reach {self._address}: {_words(error)}", f"{method} {path}".encode()) from error

    def _answer(self, request: str, deadline_s: float) -> object:
        sent = request.encode()
        try:
            if self._http.sock is not None:
                self._http.sock.settimeout(deadline_s)
            response = self._http.getresponse()
            data = response.read()
        except TimeoutError as error:
            self._http.close()
            raise LinkTimeout(f"{self.name}: no answer within {deadline_s:.3g} s from {self._address}", sent) from error
        except (http.client.BadStatusLine, http.client.IncompleteRead) as error:
            self._http.close()
            kind = LinkDown if isinstance(error, http.client.RemoteDisconnected) else LinkGarbled
            raise kind(f"{self.name}: {self._address} broke off: {_words(error)}", sent) from error
        except (OSError, http.client.HTTPException) as error:
            self._http.close()
            raise LinkDown(f"{self.name}: lost {self._address}: {_words(error)}", sent) from error
        if response.status >= 400:
            words = data.decode("utf-8", "replace").strip()
            raise CommandError(f"{self.name}: {request}: {words or response.reason} (HTTP {response.status})")
        try:
            return json.loads(data) if data.strip() else None
        except ValueError as error:
            raise LinkGarbled(f"{self.name}: {request}: an answer that is not JSON", sent, data[:200]) from error

    def _is_readable(self, within_s: float = 0.0) -> bool:
        connection: socket.socket | None = self._http.sock
        return connection is not None and bool(select.select([connection], [], [], within_s)[0])


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def remaining_s(deadline: float) -> float:
    """Seconds until a time of `time.monotonic`, at least one millisecond."""
    return max(deadline - time.monotonic(), 0.001)
