"""What a lane may wait for without holding up the others: Statuses, time, tasks of the event loop; and the bell that ends the rest of all."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from lab.core.capabilities import Status
from lab.core.errors import LabError

Resume = Callable[[Any, BaseException | None], None]
Call = Callable[[], None]


class Bell:
    """Wakes the resting plan, from any thread. What was rung for is carried out by `hear`, in the plan's own thread."""

    def __init__(self) -> None:
        self._calls: deque[Call] = deque()
        self._rest: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def ring(self, call: Call) -> None:
        """Have `call` called by the plan, soon."""
        # The order matters: `rest` announces itself before it looks whether somebody has rung.
        self._calls.append(call)
        self._wake()

    def hear(self) -> None:
        """Carry out what was rung for."""
        while self._calls:
            self._calls.popleft()()

    def is_rung(self) -> bool:
        """Whether there is something to hear."""
        return bool(self._calls)

    async def rest(self, longest_s: float | None) -> None:
        """Return once somebody rings, or after so many wall seconds."""
        self._wake()  # a rest that a pause has interrupted goes on in the event loop: end it
        mine = asyncio.get_running_loop(), asyncio.Event()
        self._rest = mine
        if not self._calls:
            try:
                async with asyncio.timeout(longest_s):
                    await mine[1].wait()
            except TimeoutError:
                pass  # the time has come that the plan rested for
        if self._rest is mine:
            self._rest = None

    def close(self) -> None:
        """Nobody listens any longer."""
        self._calls.clear()
        self._wake()
        self._rest = None

    def _wake(self) -> None:
        rest = self._rest
        if rest is not None:
            loop, event = rest
            loop.call_soon_threadsafe(event.set)


class Timers:
    """Calls that are due at a time of the wall clock."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._due: list[tuple[float, int, Wait]] = []
        self._numbers = itertools.count()

    def add(self, wait: Wait, after_s: float) -> None:
        heapq.heappush(self._due, (self._now() + after_s, next(self._numbers), wait))

    def next_s(self) -> float | None:
        """Wall seconds until the next one is due; None when there is none."""
        while self._due and self._due[0][2].is_over:
            heapq.heappop(self._due)
        return max(0.0, self._due[0][0] - self._now()) if self._due else None

    def ring(self) -> None:
        """Tell those whose time has come."""
        if self._due:
            now = self._now()
            while self._due and self._due[0][0] <= now:
                wait = heapq.heappop(self._due)[2]
                if not wait.is_over:
                    wait.timed_out()


class Wait:
    """What one lane waits for; the base of the others. `resume` continues the lane, with a response or an error."""

    def __init__(self, resume: Resume) -> None:
        self._resume = resume
        self.is_over = False

    def resume(self, response: Any = None, error: BaseException | None = None) -> None:
        self.give_up()
        self._resume(response, error)

    def timed_out(self) -> None:
        """Its time has come: the end of a sleep."""
        self.resume()

    def give_up(self) -> None:
        """The lane is no longer interested."""
        self.is_over = True


class StatusWait(Wait):
    """Waits for Statuses; `heard` is told of each one that is done."""

    def __init__(self, resume: Resume, watches: Watches) -> None:
        super().__init__(resume)
        self._watches = watches
        self._watched: list[Status] = []

    def watch(self, statuses: Iterable[Status]) -> None:
        for status in statuses:
            self._watched.append(status)
            self._watches.add(status, self)

    def heard(self, status: Status) -> None:
        """One of them is done. Any one is enough here."""
        self.resume()

    def give_up(self) -> None:
        if not self.is_over:
            super().give_up()
            for status in self._watched:
                self._watches.remove(status, self)


class Watches:
    """One callback for each Status that is waited for, however often and by however many lanes."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._waits: dict[int, tuple[Status, dict[StatusWait, None]]] = {}

    def add(self, status: Status, wait: StatusWait) -> None:
        key = id(status)
        if key in self._waits:
            self._waits[key][1][wait] = None
            return
        self._waits[key] = (status, {wait: None})
        status.add_callback(lambda done: self._bell.ring(lambda: self._done(key)))

    def remove(self, status: Status, wait: StatusWait) -> None:
        if id(status) in self._waits:
            self._waits[id(status)][1].pop(wait, None)

    def _done(self, key: int) -> None:
        status, waits = self._waits.pop(key)
        for wait in list(waits):
            wait.heard(status)


class TaskWait(Wait):
    """Waits for a task of the event loop, and answers with its result."""

    def __init__(self, resume: Resume, task: asyncio.Task[Any], bell: Bell) -> None:
        super().__init__(resume)
        self._task = task
        task.add_done_callback(lambda done: bell.ring(self._done))

    def _done(self) -> None:
        if self.is_over:
            return
        if self._task.cancelled():
            self.resume(error=LabError("wait_for: what a lane waited for was cancelled by somebody else"))
        elif (error := self._task.exception()) is not None:
            self.resume(error=error)
        else:
            self.resume(self._task.result())

    def give_up(self) -> None:
        super().give_up()
        self._task.cancel()
