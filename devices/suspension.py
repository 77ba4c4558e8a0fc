"""A suspender of Bluesky's RunEngine that can be trusted with safety.

It is installed with ``RE.install_suspender`` like Bluesky's own. Those give up (with an exception in a callback, which nobody reads) when the
RunEngine's loop is busy for more than 0.1 s, and are silent while a plan is paused, so that ``RE.resume`` would go on regardless.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

ENDING = ("aborting", "stopping", "halting")
"""States of a RunEngine whose plan is being ended."""

LOOK_S = 0.2
"""Wall seconds between two looks whether it is."""


class Suspension:
    """Has plans wait while a signal is 0.

    Parameters
    ----------
    signal : ophyd.Signal
        1 while all is well.
    reason : str
        Said when it suspends.
    """

    def __init__(self, signal: Any, reason: str) -> None:
        self._signal, self._reason = signal, reason
        self._lock = threading.Lock()
        self._engine: Any = None
        self._is_well = True
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def __repr__(self) -> str:
        return f"Suspension({self._signal.name}: {self._reason})"

    @property
    def tripped(self) -> bool:
        """Whether plans wait now."""
        return not self._is_well

    def install(self, RE: Any, *, event_type: str | None = None) -> None:  # noqa: N803 - the RunEngine's own word
        """Called by ``RE.install_suspender``."""
        self._engine = RE
        self._signal.subscribe(self._changed, event_type=event_type, run=False)
        self._changed(self._signal.get())  # ophyd's run=True tells nothing of a signal that nobody has put to yet

    def remove(self) -> None:
        """Called by ``RE.remove_suspender``: what waits goes on."""
        self._signal.clear_sub(self._changed)
        self._engine = None
        self._release()

    def get_futures(self) -> tuple[list[Callable[[], Awaitable[None]]], str]:
        """Called by the RunEngine before it begins a plan: what to wait for, and why."""
        return ([self.until_well], self._reason) if self.tripped else ([], "")

    async def until_well(self) -> None:
        """Return when the signal is 1; also when the plan is being ended.

        A suspension that comes at the moment of an abort is put before the plan's clean-up (RunEngine.request_suspend), which would then wait for
        what nobody may ever mend.
        """
        while True:
            event = asyncio.Event()
            with self._lock:
                if self._is_well:
                    return
                self._waiting.append((asyncio.get_running_loop(), event))
            while not event.is_set():
                if self._engine is not None and self._engine.state in ENDING:
                    return
                try:
                    async with asyncio.timeout(LOOK_S):
                        await event.wait()
                except TimeoutError:
                    continue  # look whether the plan is being ended

    def _changed(self, value: Any = None, **_: Any) -> None:
        if value:
            self._release()
            return
        with self._lock:
            was_well, self._is_well = self._is_well, False
        # Of a plan that begins later the RunEngine asks `get_futures`; in a paused one it suspends before anything else is done.
        if was_well and self._engine is not None and self._engine.state in ("running", "paused"):
            self._engine.request_suspend(self.until_well, justification=self._reason)

    def _release(self) -> None:
        with self._lock:
            self._is_well = True
            waiting, self._waiting = self._waiting, []
        for loop, event in waiting:
            loop.call_soon_threadsafe(event.set)
