"""How lanes are run: one message of each runnable lane in turn, and one rest for all when none can go on.

Everything here happens in the RunEngine's own thread, between two of its messages; other threads only ring the bell. Only lanes that can
go on are looked at, so a message costs the same with two lanes and with two hundred.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from numbers import Real
from typing import Any

from bluesky.run_engine import WaitForTimeoutError
from bluesky.utils import FailedPause, FailedStatus, Msg, RunEngineControlException, ensure_generator

from lab.core.capabilities import Status
from lab.core.errors import CommandError, LabError
from plans.lane import Lane, LaneCancelled, LaneHandle, LanesFailed, Plan, Preprocessor
from plans.lane_proxies import STARTING, Quiet, QuietStatus, quiet
from plans.lane_waits import Bell, Resume, StatusWait, TaskWait, Timers, Wait, Watches
from plans.resources import Resources

_log = logging.getLogger(__name__)

LANDING_S = 0.5
"""A deferred pause needs a checkpoint: so often, wall seconds, a rest is interrupted for one."""

TOLERANCE = 0.01
"""A device without a `tolerance` of its own is where it was sent when it is within this share of the target (or of 1, if that is more)."""

_CONTROL = (RunEngineControlException, FailedPause)
_AGAIN = frozenset({"read", "locate", "declare_stream", "input"})
"""Never answered with None, unless a pause came in between: asked again then."""
_LOST = object()
"""In place of a response: the message failed, and its lane has been told."""


class LaneRun(str):
    """The run key of one lane's run."""

    __slots__ = ()


class Operation:
    """Something a lane has started."""

    __slots__ = ("status", "device", "command", "target", "is_doubtful", "fault", "is_taken")

    def __init__(self, status: Status, device: Any, command: str, args: tuple[Any, ...]) -> None:
        self.status, self.device, self.command = status, device, command
        self.target = args[0] if args else None
        self.is_doubtful = False
        self.fault: CommandError | None = None
        self.is_taken = False

    def verify(self) -> None:
        """Look, once, whether what was under way at a pause has come to where it was sent."""
        if self.is_doubtful:
            self.is_doubtful = False
            self.fault = self._moved()

    def error(self) -> Exception | None:
        """Why it failed; None when all is well. For operations that are done."""
        if not self.status.success:
            failure = FailedStatus(self.status)
            failure.__cause__ = self.status.exception(timeout=0)
            return failure
        self.verify()
        return self.fault

    def _moved(self) -> CommandError | None:
        """What is wrong after a pause: the device has a position, was sent to a number, and is not there."""
        if self.command != "set" or not isinstance(self.target, Real) or isinstance(self.target, bool) or not hasattr(type(self.device), "position"):
            return None
        name, target = self.device.name, float(self.target)
        tolerance = float(getattr(self.device, "tolerance", TOLERANCE * max(1.0, abs(target))))
        try:
            position = float(self.device.position)
        except Exception as error:  # noqa: BLE001 - whatever a device raises here means that nobody knows where it is
            failure = CommandError(f"{name}: was on its way to {target:g} during a pause, and cannot say where it is now: {error}")
            failure.__cause__ = error
            return failure
        if abs(position - target) <= tolerance:
            return None
        return CommandError(f"{name}: was on its way to {target:g} during a pause, and is now at {position:g} (allowed: within {tolerance:g}); somebody has moved it")


def _verify(operation: Operation, response: Any, error: BaseException | None) -> None:
    operation.verify()


class Group:
    """Operations a lane can wait for; `key` is its name in the RunEngine."""

    __slots__ = ("key", "operations")

    def __init__(self, key: str) -> None:
        self.key = key
        self.operations: list[Operation] = []


class Track:
    """A lane at work."""

    def __init__(self, lane: Lane, plan: Generator[Msg, Any, Any], handle: LaneHandle) -> None:
        self.name, self.plan, self.handle = lane.name, plan, handle
        self.holder: Any = None
        self.groups: dict[Hashable, Group] = {}
        self.runs: dict[Hashable, LaneRun] = {None: LaneRun(lane.name)}
        self.open_runs: dict[LaneRun, None] = {}
        self.n_groups = 0
        self.is_rewindable = True
        self.wait: Wait | None = None
        self.is_ready = False
        self.response: Any = None
        self.error: BaseException | None = None
        self.forget: str | None = None

    def run(self, key: Hashable) -> LaneRun:
        """The lane's own name for a run key."""
        if key not in self.runs:
            self.runs[key] = LaneRun(f"{self.name}/{len(self.runs)}")
        return self.runs[key]

    def group(self, key: Hashable) -> Group:
        if key not in self.groups:
            self.n_groups += 1
            self.groups[key] = Group(f"{self.name}/{self.n_groups}")
        return self.groups[key]

    def operations(self) -> Iterable[Operation]:
        for group in self.groups.values():
            yield from group.operations


class _GroupWait(StatusWait):
    """A lane's ``wait``: for all of a group, or the first failure in it or in a group that it watches."""

    def __init__(self, resume: Resume, watches: Watches, track: Track, key: Hashable, watched: Sequence[Group], is_error_on_timeout: bool) -> None:
        super().__init__(resume, watches)
        self._track, self._key, self._watched_groups, self._is_error_on_timeout = track, key, watched, is_error_on_timeout

    def start(self) -> None:
        group = self._track.groups[self._key]
        for operation in [*group.operations, *(one for other in self._watched_groups for one in other.operations)]:
            if operation.status.done and self._fails(operation):
                return
        self._left = {id(one.status) for one in group.operations if not one.status.done}
        if not self._left:
            self._succeed()
            return
        self.watch(one.status for one in [*group.operations, *(one for other in self._watched_groups for one in other.operations)] if not one.status.done)

    def heard(self, status: Status) -> None:
        self._left.discard(id(status))
        for group in (self._track.groups[self._key], *self._watched_groups):
            for operation in group.operations:
                if operation.status is status and self._fails(operation):
                    return
        if not self._left:
            self._succeed()

    def timed_out(self) -> None:
        if self._is_error_on_timeout:
            self.resume(error=WaitForTimeoutError("Plan failed to complete in the specified time"))
        else:
            self.resume(False)

    def _fails(self, operation: Operation) -> bool:
        error = None if operation.is_taken else operation.error()
        if error is None:
            return False
        operation.is_taken = True
        self.resume(error=error)
        return True

    def _succeed(self) -> None:
        self._track.forget = self._track.groups.pop(self._key).key
        self.resume(True)


class _Interruptions:
    """The RunEngine tells every object it has seen when it pauses and goes on; this one passes it on."""

    def __init__(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self.name, self.parent = "lanes", None
        self._pause, self._resume = pause, resume

    def pause(self) -> None:
        self._pause()

    def resume(self) -> None:
        self._resume()


class Multiplexer:
    """See `plans.lanes.lanes`."""

    def __init__(self, resources: Resources, resting: Callable[..., AbstractContextManager[Any]], preprocessors: Sequence[Preprocessor]) -> None:
        self._resources, self._resting, self._preprocessors = resources, resting, tuple(preprocessors)
        self._tracks: dict[str, Track] = {}
        self._handles: dict[str, LaneHandle] = {}
        self._of_holder: dict[Any, Track] = {}
        self._ready: deque[Track] = deque()
        self._bell = Bell()
        self._watches = Watches(self._bell)
        self._timers = Timers()
        self._stand_ins: dict[Any, Quiet] = {}
        self._touched: dict[Quiet, None] = {}
        self._bundling: set[LaneRun] = set()
        self._ending: BaseException | None = None
        self._paused: list[Operation] = []
        self._is_resumed = False
        self._is_landing_owed = False
        self._landed = time.monotonic()
        self._interruptions = _Interruptions(self._on_pause, self._on_resume)
        self._own: dict[str, Callable[[Track, Msg], None]] = {
            "wait": self._wait, "sleep": self._sleep, "wait_for": self._wait_for, "checkpoint": self._checkpoint,
            "clear_checkpoint": self._nothing, "rewindable": self._rewindable, "lane_acquire": self._acquire, "lane_release": self._release,
            "lane_claim": self._claim, "lane_spawn": self._spawn, "lane_first_of": self._first_of,
        }

    # --- the whole

    def run(self, first: Iterable[Lane]) -> Plan:
        was_rewindable = yield Msg("rewindable", self._interruptions, None)
        yield Msg("rewindable", self._interruptions, False)
        try:
            for lane in first:
                self._admit(lane)
            while self._tracks:
                yield from self._turn()
        except BaseException as error:
            self._close(is_halt=isinstance(error, GeneratorExit))
            raise
        finally:
            self._bell.close()
            for stand_in in self._touched:
                stand_in.let_stop()
        yield Msg("rewindable", self._interruptions, was_rewindable)
        return self._result()

    def _turn(self) -> Plan:
        if self._is_resumed:
            self._verify()
        self._bell.hear()
        self._timers.ring()
        if self._is_landing_owed and not self._bundling:
            yield from self._land()
        elif self._ready:
            track = self._ready.popleft()
            track.is_ready = False
            yield from self._step(track)
        elif (landing_s := self._landed + LANDING_S - time.monotonic()) <= 0 and not self._bundling:
            yield from self._land()
        else:
            yield from self._rest(max(landing_s, 0.0) or LANDING_S)

    def _rest(self, longest_s: float) -> Plan:
        due_s = self._timers.next_s()
        rest = partial(self._bell.rest, longest_s if due_s is None else min(due_s, longest_s))
        with self._resting(self._bell.is_rung):
            yield from self._ask(Msg("wait_for", self._interruptions, [rest]))

    def _land(self) -> Plan:
        """A checkpoint, where a deferred pause can land. Nothing is replayed from it."""
        self._is_landing_owed = False
        yield from self._ask(Msg("checkpoint", self._interruptions))
        self._landed = time.monotonic()

    def _result(self) -> dict[str, Any]:
        if self._ending is not None:
            raise self._ending
        failed = {name: error for name, handle in self._handles.items()
                  if (error := handle.untaken()) is not None and not isinstance(error, LaneCancelled)}
        if failed:
            raise LanesFailed(failed)
        return {name: handle.result for name, handle in self._handles.items()}

    def _close(self, is_halt: bool) -> None:
        """The plan is thrown away: lanes have no time to clean up."""
        for track in list(self._tracks.values()):
            self._resources.leave(track.holder)
            try:
                track.plan.close()
            except Exception:  # noqa: BLE001 - a lane that breaks while it is closed must not keep the others open
                _log.exception("lane %s did not close", track.name)
        if is_halt:
            for stand_in in self._touched:
                self._stop_now(stand_in.device)

    def _stop_now(self, device: Any) -> None:
        """Without the RunEngine, which may have stopped all it knows of before it came here."""
        if hasattr(device, "stop"):
            try:
                answer = device.stop(success=False)
                if inspect.isawaitable(answer):
                    asyncio.ensure_future(answer)
            except Exception:  # noqa: BLE001 - one device that cannot be stopped must not keep the others going
                _log.exception("failed to stop %s", getattr(device, "name", device))

    # --- lanes begin, go on and end

    def _admit(self, lane: Lane) -> LaneHandle:
        if lane.name in self._handles:
            raise LabError(f"lane {lane.name}: there is, or was, a lane of that name; allowed: any other")
        holder = self._resources.enter(lane.name, lane.claim, lane.rank, lane.holds)
        plan = ensure_generator(lane.plan)
        for preprocessor in self._preprocessors:
            plan = ensure_generator(preprocessor(plan))
        handle = LaneHandle(lane.name, lambda: self._bell.ring(lambda: self._cancel(lane.name)))
        track = Track(lane, plan, handle)
        track.holder = holder
        self._of_holder[holder] = track
        self._tracks[lane.name], self._handles[lane.name] = track, handle
        self._wake(track, None, None)
        return handle

    def _cancel(self, name: str) -> None:
        track = self._tracks.get(name)
        if track is not None:
            self._interrupt(track, LaneCancelled(f"lane {name} was cancelled"))

    def _wake(self, track: Track, response: Any, error: BaseException | None) -> None:
        """The lane can go on."""
        track.wait, track.response, track.error = None, response, error
        if not track.is_ready:
            track.is_ready = True
            self._ready.append(track)

    def _interrupt(self, track: Track, error: BaseException) -> None:
        """Throw into a lane, whatever it waits for."""
        if track.wait is not None:
            track.wait.give_up()
        self._resources.withdraw(track.holder)
        self._wake(track, None, error)

    def _step(self, track: Track) -> Plan:
        """One message of a lane."""
        if track.forget is not None:
            yield from self._forget(track)
            if track.is_ready:  # an abort came in between
                return
        response, error = track.response, track.error
        track.response = track.error = None
        try:
            message = track.plan.throw(error) if error is not None else track.plan.send(response)
        except StopIteration as end:
            yield from self._ended(track, end.value, None)
            return
        except (Exception, asyncio.CancelledError) as failure:  # noqa: BLE001 - whatever it is, it stays in its lane
            yield from self._ended(track, None, failure)
            return
        command = message.command
        if command in self._own:
            try:
                self._own[command](track, message)
            except Exception as failure:  # noqa: BLE001 - as the RunEngine does: what a message raises is thrown into its plan
                self._wake(track, None, failure)
        elif command in STARTING:
            yield from self._start(track, message)
        else:
            yield from self._forward(track, message)

    def _forget(self, track: Track) -> Plan:
        """Let the RunEngine know that a group is done."""
        key, track.forget = track.forget, None
        yield from self._ask(Msg("wait", None, group=key, run=track.runs[None]))

    def _ended(self, track: Track, result: Any, error: BaseException | None) -> Plan:
        if error is None:
            error = next((failure for one in track.operations() if one.status.done and not one.is_taken and (failure := one.error()) is not None), None)
        del self._tracks[track.name]
        status = "success" if error is None else getattr(error, "exit_status", "fail")
        for run in list(track.open_runs):
            self._bundling.discard(run)
            try:
                yield from self._ask(Msg("close_run", None, run=run, exit_status=status, reason="" if error is None else str(error)))
            except Exception as failure:  # noqa: BLE001 - it is the lane's, as what else it raises
                error = failure if error is None else error
        for group in track.groups.values():
            yield from self._ask(Msg("wait", None, group=group.key, run=track.runs[None]))
        self._resources.leave(track.holder)
        del self._of_holder[track.holder]
        self._decide()
        track.handle.end(None if error is not None else result, error)

    # --- messages that reach the RunEngine

    def _ask(self, message: Msg) -> Plan:
        """Send a message; an abort or stop goes to all lanes."""
        try:
            return (yield message)
        except _CONTROL as error:
            yield from self._end_all(error)
            return _LOST

    def _send(self, track: Track, message: Msg) -> Plan:
        """Send a lane's message; what it raises is the lane's."""
        try:
            answer = yield message
            while answer is None and message.command in _AGAIN:
                answer = yield message
        except _CONTROL as error:
            # The lane whose message this was waits for nothing, and has to be woken with the others.
            yield from self._end_all(error)
            return _LOST
        except Exception as error:  # noqa: BLE001 - what a message raises is thrown into the lane that sent it
            self._wake(track, None, error)
            return _LOST
        return answer

    def _forward(self, track: Track, message: Msg) -> Plan:
        run = track.run(message.run)
        answer = yield from self._send(track, message._replace(run=run))
        if answer is _LOST:
            return
        command = message.command
        if command == "create":
            self._bundling.add(run)
        elif command in ("save", "drop"):
            self._bundling.discard(run)
        elif command == "open_run":
            track.open_runs[run] = None
        elif command == "close_run":
            track.open_runs.pop(run, None)
            self._bundling.discard(run)
        self._wake(track, answer, None)

    def _start(self, track: Track, message: Msg) -> Plan:
        """Set, trigger, kick off ...: through the device's stand-in."""
        stand_in = self._stand_in(message.obj)
        if message.command == "set":
            self._touched[stand_in] = None
        key = message.kwargs.get("group")
        group = track.group(key)
        answer = yield from self._send(track, Msg(message.command, stand_in, *message.args, run=track.run(message.run), **{**message.kwargs, "group": group.key}))
        if answer is _LOST:
            return
        if isinstance(answer, QuietStatus):
            group.operations.append(Operation(answer.real, message.obj, message.command, message.args))
            answer = answer.real
        self._wake(track, answer, None)

    def _stand_in(self, device: Any) -> Quiet:
        try:
            return self._stand_ins[device]
        except KeyError:
            return self._stand_ins.setdefault(device, quiet(device))

    def _end_all(self, error: BaseException) -> Plan:
        """Abort or stop: what is under way stops, and every lane is told."""
        self._ending = error
        for track in list(self._tracks.values()):
            self._interrupt(track, type(error)(*error.args))
        moving = {id(one.device): one.device for track in self._tracks.values() for one in track.operations() if one.command == "set" and not one.status.done}
        for device in moving.values():
            if hasattr(device, "stop"):
                try:
                    yield Msg("stop", device)
                except Exception:  # noqa: BLE001 - the RunEngine tries again at the end, and says so; the others have to be stopped too
                    _log.exception("failed to stop %s", getattr(device, "name", device))

    # --- pauses

    def _on_pause(self) -> None:
        for track in self._tracks.values():
            self._paused.extend(one for one in track.operations() if not one.status.done)

    def _on_resume(self) -> None:
        self._is_resumed = True

    def _verify(self) -> None:
        """After a pause: what was under way is looked at again, as soon as it is done."""
        self._is_resumed = False
        for operation in self._paused:
            operation.is_doubtful = True
            if operation.status.done:
                operation.verify()
            else:
                StatusWait(partial(_verify, operation), self._watches).watch([operation.status])
        self._paused.clear()

    # --- messages that end here

    def _nothing(self, track: Track, message: Msg) -> None:
        self._wake(track, None, None)

    def _checkpoint(self, track: Track, message: Msg) -> None:
        self._is_landing_owed = True
        self._wake(track, None, None)

    def _rewindable(self, track: Track, message: Msg) -> None:
        (flag,) = message.args
        if flag is not None:
            track.is_rewindable = bool(flag)
        self._wake(track, track.is_rewindable, None)

    def _wait(self, track: Track, message: Msg) -> None:
        options = message.kwargs
        key = message.args[0] if message.args else options["group"]
        if key not in track.groups:
            self._wake(track, True, None)
            return
        watched = [track.groups[other] for other in options.get("watch", ()) if other in track.groups]
        wait = _GroupWait(partial(self._wake, track), self._watches, track, key, watched, options.get("error_on_timeout", True))
        track.wait = wait
        wait.start()
        timeout = options.get("timeout")
        if timeout is not None and not wait.is_over:
            self._timers.add(wait, timeout)

    def _sleep(self, track: Track, message: Msg) -> None:
        (seconds,) = message.args
        track.wait = Wait(partial(self._wake, track))
        self._timers.add(track.wait, seconds)

    def _wait_for(self, track: Track, message: Msg) -> None:
        async def all_of() -> list[asyncio.Future[Any]]:
            futures = [asyncio.ensure_future(factory()) for factory in message.args[0]]
            _, pending = await asyncio.wait(futures, **message.kwargs)
            if pending:
                raise WaitForTimeoutError("Plan failed to complete in the specified time")
            return futures

        track.wait = TaskWait(partial(self._wake, track), asyncio.ensure_future(all_of()), self._bell)

    def _first_of(self, track: Track, message: Msg) -> None:
        statuses = message.args
        if not statuses:
            raise LabError(f"lane {track.name}: first_of() waits for nothing; allowed: at least one status")
        asked = {id(status) for status in statuses}
        for operation in track.operations():
            if id(operation.status) in asked:
                operation.is_taken = True
        if any(status.done for status in statuses):
            self._wake(track, None, None)
            return
        wait = StatusWait(partial(self._wake, track), self._watches)
        track.wait = wait
        wait.watch(statuses)

    def _acquire(self, track: Track, message: Msg) -> None:
        if len(set(message.args)) != len(message.args):
            raise LabError(f"lane {track.name}: acquires {', '.join(message.args)}; allowed: each resource once")
        self._resources.request(track.holder, dict.fromkeys(message.args, 1))
        self._decide()

    def _release(self, track: Track, message: Msg) -> None:
        self._resources.release(track.holder, message.args)
        self._wake(track, None, None)
        self._decide()

    def _claim(self, track: Track, message: Msg) -> None:
        self._resources.claim(track.holder, message.args)
        self._wake(track, None, None)
        self._decide()

    def _decide(self) -> None:
        for holder, units in self._resources.decide():
            self._wake(self._of_holder[holder], {resource: names[0] for resource, names in units.items()}, None)

    def _spawn(self, track: Track, message: Msg) -> None:
        (lane,) = message.args
        if self._ending is not None:
            raise LabError(f"lane {lane.name}: not started, all lanes are being ended")
        self._wake(track, self._admit(lane), None)
