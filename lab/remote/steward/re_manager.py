"""The RE Manager, as the steward asks it: from any thread, each question with a deadline, its queue as something that can be compared."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import zmq

from lab.core.errors import ServiceError

ASK_S = 5.0
PATIENCE_S = 15.0
"""Wall seconds that the RE Manager is given to come back: its watchdog starts it again after 5 s."""

_LINES = 16


class ManagerGone(ServiceError):
    """The RE Manager does not answer; whether it has done what it was asked, nobody knows."""


class ManagerRefused(ServiceError):
    """The RE Manager answered that it does not do it.

    Parameters
    ----------
    is_invalid : bool
        Whether it says that the plan or its parameters are nothing that it can run.
    """

    def __init__(self, message: str, is_invalid: bool = False) -> None:
        super().__init__(message)
        self.is_invalid = is_invalid


@dataclass(frozen=True)
class Entry:
    """One entry of the RE Manager's queue.

    Parameters
    ----------
    uid : str
    item : str
        Id in the ledger; empty: nobody of the laboratory has put it there.
    digest : str
        Of what was checked.
    kind, name : str
    raw : mapping
        As the RE Manager has it.
    """

    uid: str
    item: str
    digest: str
    kind: str
    name: str
    raw: Mapping[str, Any]

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Entry:
        meta = raw.get("meta")
        meta = meta if isinstance(meta, Mapping) else {}
        return cls(str(raw.get("item_uid", "")), str(meta.get("item", "")), str(meta.get("digest", "")), str(raw.get("item_type", "")),
                   str(raw.get("name", "")), raw)


@dataclass(frozen=True)
class View:
    """The RE Manager's queue at one moment; `running` is in the worker, or on its way there."""

    entries: tuple[Entry, ...]
    running: Entry | None


class REManager:
    """Its control socket.

    Parameters
    ----------
    address : str
        `lab.layout.Layout.queue_control`.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._idle: queue.LifoQueue[zmq.Socket[bytes]] = queue.LifoQueue(_LINES)
        self._lock = threading.Lock()
        self._is_closed = False
        self._longest_s = 0.0

    def ask(self, method: str, params: Mapping[str, Any] | None = None, deadline_s: float = ASK_S) -> dict[str, Any]:
        """One question, and its answer, whatever it says.

        Raises
        ------
        ManagerGone
            When there is none within `deadline_s` wall seconds.
        """
        line = self._line()
        began = time.monotonic()
        try:
            line.send(json.dumps({"method": method, "params": dict(params or {})}).encode())  # type: ignore[arg-type]
            if not line.poll(int(deadline_s * 1000)):
                raise ManagerGone(f"the RE Manager has not answered within {deadline_s:g} s ({method}); it is started again by itself: try again in a while")
            answer = json.loads(line.recv())
            self._longest_s = max(self._longest_s, time.monotonic() - began)
        except BaseException:
            line.close(linger=0)  # what it may still answer is nobody's
            raise
        try:
            self._idle.put_nowait(line)
        except queue.Full:
            line.close(linger=0)
        return answer if isinstance(answer, dict) else {"success": False, "msg": f"the RE Manager's answer is no object: {answer!r}"}

    def do(self, method: str, params: Mapping[str, Any] | None = None, deadline_s: float = ASK_S) -> dict[str, Any]:
        """As `ask`, for what has to succeed.

        Raises
        ------
        ManagerRefused
            When it is answered that it has not been done.
        """
        answer = self.ask(method, params, deadline_s)
        if not answer.get("success", False):
            raise ManagerRefused(f"{method}: the RE Manager says: {answer.get('msg', 'no')}")
        return answer

    def status(self, deadline_s: float = ASK_S) -> dict[str, Any]:
        """Its status, which has no ``success``."""
        return self.ask("status", deadline_s=deadline_s)

    def view(self) -> View:
        """Its queue; a manager that is being started again is waited for."""
        ends = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer = self.do("queue_get", deadline_s=max(0.5, ends - time.monotonic()))
                break
            except ManagerRefused:
                if time.monotonic() > ends:  # Redis is being started again
                    raise
                time.sleep(0.2)
        running = answer.get("running_item")
        return View(tuple(Entry.of(raw) for raw in answer["items"]), Entry.of(running) if running else None)

    def history(self) -> list[dict[str, Any]]:
        """What it knows of what has run, the oldest first."""
        items: list[dict[str, Any]] = self.do("history_get")["items"]
        return items

    def put(self, items: Sequence[Mapping[str, Any]], user: str, role: str, before: str = "") -> list[str]:
        """Put items into its queue, before another entry or behind all; their uids.

        Raises
        ------
        ManagerGone, ManagerRefused
            In the second case none of them is in the queue.
        """
        params = {"user": user, "user_group": role, "items": list(items), **({"before_uid": before} if before else {"pos": "back"})}
        answer = self.ask("queue_item_add_batch", params, PATIENCE_S)
        if not answer.get("success", False):
            why = "; ".join(str(result["msg"]) for result in answer.get("results", []) if not result.get("success", True))
            raise ManagerRefused(f"the RE Manager refused it: {why or answer.get('msg', 'no')}", is_invalid=bool(why))
        return [str(raw["item_uid"]) for raw in answer["items"]]

    def longest_wait_s(self) -> float:
        """The longest wait for an answer that came, wall seconds, since this was asked last."""
        longest, self._longest_s = self._longest_s, 0.0
        return longest

    def close(self) -> None:
        """Give its sockets back; whatever is asked meanwhile fails."""
        with self._lock:
            self._is_closed = True
        self._context.destroy(linger=0)

    def _line(self) -> zmq.Socket[bytes]:
        with self._lock:
            if self._is_closed:
                raise ManagerGone("the steward is ending")
            try:
                return self._idle.get_nowait()
            except queue.Empty:
                line = self._context.socket(zmq.REQ)
        line.setsockopt(zmq.LINGER, 0)
        line.connect(self._address)
        return line
