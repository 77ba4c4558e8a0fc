"""Messages of a lane that end in `lanes`, and never reach the RunEngine: waits, time, checkpoints, and what lanes ask of each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from bluesky.run_engine import WaitForTimeoutError
from bluesky.utils import Msg

from lab.core.errors import LabError
from plans.lane import Lane, LaneHandle
from plans.lane_operations import GroupWait, Track
from plans.lane_waits import Bell, StatusWait, TaskWait, Timers, Wait, Watches
from plans.resources import Resources

Handler = Callable[[Track, Msg], None]


class Yard(Protocol):
    """Where lanes come from and go to (implemented by `plans.multiplexer`)."""

    def wake(self, track: Track, response: Any, error: BaseException | None) -> None:
        """The lane goes on, with a response or an error."""
        ...

    def admit(self, lane: Lane) -> LaneHandle:
        """A further lane begins."""
        ...

    def decide(self) -> None:
        """Give units to lanes that wait for them."""
        ...

    def owe_landing(self) -> None:
        """A lane came to a checkpoint."""
        ...


class Commands:
    """Handlers by command. Each of them either wakes the lane, or leaves it with something to wait for.

    What a handler raises is thrown into the lane.
    """

    def __init__(self, yard: Yard, resources: Resources, bell: Bell, timers: Timers) -> None:
        self._yard, self._resources, self._bell, self._timers = yard, resources, bell, timers
        self.watches = Watches(bell)
        self.handlers: dict[str, Handler] = {
            "wait": self._wait, "sleep": self._sleep, "wait_for": self._wait_for, "checkpoint": self._checkpoint,
            "clear_checkpoint": self._clear_checkpoint, "rewindable": self._rewindable, "lane_acquire": self._acquire,
            "lane_release": self._release, "lane_claim": self._claim, "lane_spawn": self._spawn, "lane_first_of": self._first_of,
        }

    def _wait(self, track: Track, message: Msg) -> None:
        options = message.kwargs
        key = message.args[0] if message.args else options["group"]
        if key not in track.groups:
            self._yard.wake(track, True, None)
            return
        watched = [track.groups[other] for other in options.get("watch", ()) if other in track.groups]
        wait = GroupWait(partial(self._yard.wake, track), self.watches, track, key, watched, options.get("error_on_timeout", True))
        track.wait = wait
        wait.start()
        timeout_s = options.get("timeout")
        if timeout_s is not None and not wait.is_over:
            self._timers.add(wait, timeout_s)

    def _sleep(self, track: Track, message: Msg) -> None:
        (seconds,) = message.args
        track.wait = Wait(partial(self._yard.wake, track))
        self._timers.add(track.wait, seconds)

    def _wait_for(self, track: Track, message: Msg) -> None:
        async def all_of() -> list[asyncio.Future[Any]]:
            futures = [asyncio.ensure_future(factory()) for factory in message.args[0]]
            _, pending = await asyncio.wait(futures, **message.kwargs)
            if pending:
                raise WaitForTimeoutError("Plan failed to complete in the specified time")
            return futures

        track.wait = TaskWait(partial(self._yard.wake, track), asyncio.ensure_future(all_of()), self._bell)

    def _first_of(self, track: Track, message: Msg) -> None:
        statuses = message.args
        if not statuses:
            raise LabError(f"lane {track.name}: first_of() waits for nothing; allowed: at least one status")
        asked = {id(status) for status in statuses}
        for operation in track.operations():
            if id(operation.status) in asked:
                operation.is_seen = True
        if any(status.done for status in statuses):
            self._yard.wake(track, None, None)
            return
        wait = StatusWait(partial(self._yard.wake, track), self.watches)
        track.wait = wait
        wait.watch(statuses)

    def _checkpoint(self, track: Track, message: Msg) -> None:
        self._yard.owe_landing()
        self._yard.wake(track, None, None)

    def _clear_checkpoint(self, track: Track, message: Msg) -> None:
        # It would turn the next pause of all lanes into an abort; and there is nothing that could be replayed.
        self._yard.wake(track, None, None)

    def _rewindable(self, track: Track, message: Msg) -> None:
        (flag,) = message.args
        if flag is not None:
            track.is_rewindable = bool(flag)
        self._yard.wake(track, track.is_rewindable, None)

    def _acquire(self, track: Track, message: Msg) -> None:
        if len(set(message.args)) != len(message.args):
            raise LabError(f"lane {track.name}: acquires {', '.join(message.args)}; allowed: each resource once")
        self._resources.request(track.holder, dict.fromkeys(message.args, 1))
        self._yard.decide()

    def _release(self, track: Track, message: Msg) -> None:
        self._resources.release(track.holder, message.args)
        self._yard.wake(track, None, None)
        self._yard.decide()

    def _claim(self, track: Track, message: Msg) -> None:
        self._resources.claim(track.holder, message.args)
        self._yard.wake(track, None, None)
        self._yard.decide()

    def _spawn(self, track: Track, message: Msg) -> None:
        (lane,) = message.args
        self._yard.wake(track, self._yard.admit(lane), None)
