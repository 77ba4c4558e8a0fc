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
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from bluesky.utils import FailedPause, IllegalMessageSequence, Msg, RequestAbort, RunEngineControlException, ensure_generator

from lab.core.errors import LabError
from plans.lane import Lane, LaneCancelled, LaneHandle, LanesFailed, Plan, Preprocessor
from plans.lane_commands import Commands
from plans.lane_operations import LaneRun, Operation, Track
from plans.lane_proxies import STARTING, Quiet, QuietStatus, quiet
from plans.lane_waits import Bell, Timers
from plans.resources import Holder, Resources

_log = logging.getLogger(__name__)

LANDING_S = 0.5
"""A deferred pause needs a checkpoint: so often, wall seconds, a rest is interrupted for one."""

_CONTROL = (RunEngineControlException, FailedPause, asyncio.CancelledError)
"""What the RunEngine throws into a plan that shall end."""
_AGAIN = frozenset({"read", "locate", "declare_stream", "input"})
"""Never answered with None, unless a pause came in between: asked again then."""
_LOST = object()
"""In place of a response: the message failed, and who has to know has been told."""


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
        self._of_holder: dict[Holder, Track] = {}
        self._ready: deque[Track] = deque()
        self._bell, self._timers = Bell(), Timers()
        self._commands = Commands(self, resources, self._bell, self._timers)
        self._handlers = self._commands.handlers
        self._stand_ins: dict[Any, Quiet] = {}
        """Of all that was set, as the RunEngine keeps them to stop them at the end."""
        self._bundling: set[LaneRun] = set()
        self._ending: BaseException | None = None
        self._interrupted: list[Operation] = []
        self._is_resumed = False
        self._is_landing_owed = False
        self._landed_s = time.monotonic()
        self._self = _Interruptions(self._on_pause, self._on_resume)

    # --- the whole

    def run(self, first: Iterable[Lane]) -> Plan:
        """Admit the first lanes, and run until all have ended."""
        was_rewindable = yield Msg("rewindable", self._self, None)
        yield Msg("rewindable", self._self, False)
        try:
            for lane in first:
                self.admit(lane)
            while self._tracks:
                yield from self._turn()
        except BaseException as error:
            self._close(is_halt=isinstance(error, GeneratorExit))
            raise
        finally:
            self._bell.close()
            for stand_in in self._stand_ins.values():
                stand_in.let_stop()
        yield Msg("rewindable", self._self, was_rewindable)
        return self._result()

    def _turn(self) -> Plan:
        if self._is_resumed:
            self._look_again()
        self._bell.hear()
        self._timers.ring()
        if self._is_landing_owed and not self._bundling:
            yield from self._land()
        elif self._ready:
            track = self._ready.popleft()
            track.is_ready = False
            yield from self._step(track)
        elif (landing_s := self._landed_s + LANDING_S - time.monotonic()) <= 0 and not self._bundling:
            yield from self._land()
        else:
            yield from self._rest(landing_s if landing_s > 0 else LANDING_S)

    def _rest(self, longest_s: float) -> Plan:
        due_s = self._timers.next_s()
        rest = partial(self._bell.rest, longest_s if due_s is None else min(due_s, longest_s))
        with self._resting(self._bell.is_rung):
            if not self._bell.is_rung():  # virtual time may have leapt at once to what is waited for
                yield from self._ask(Msg("wait_for", self._self, [rest]))

    def _land(self) -> Plan:
        """A checkpoint, where a deferred pause can land. Nothing is replayed from it."""
        self._is_landing_owed = False
        yield from self._ask(Msg("checkpoint", self._self))
        self._landed_s = time.monotonic()

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
            for stand_in in self._stand_ins.values():
                self._stop_now(stand_in)

    def _stop_now(self, stand_in: Quiet) -> None:
        """Without the RunEngine, which may have stopped all it knows of before it came here."""
        if hasattr(stand_in.device, "stop"):
            try:
                answer = stand_in.device.stop(success=False)
                if inspect.isawaitable(answer):
                    asyncio.ensure_future(answer)
            except Exception:  # noqa: BLE001 - one device that cannot be stopped must not keep the others going
                _log.exception("failed to stop %s", stand_in.name)

    # --- lanes begin, go on and end

    def admit(self, lane: Lane) -> LaneHandle:
        """A lane begins; it runs when its turn comes."""
        if self._ending is not None:
            raise LabError(f"lane {lane.name}: not started, all lanes are being ended")
        if lane.name in self._handles:
            raise LabError(f"lane {lane.name}: there is, or was, a lane of that name; allowed: any other")
        holder = self._resources.enter(lane.name, lane.claim, lane.rank, lane.holds)
        plan = ensure_generator(lane.plan)
        for preprocessor in self._preprocessors:
            plan = ensure_generator(preprocessor(plan))
        handle = LaneHandle(lane.name, lambda: self._bell.ring(lambda: self._cancel(lane.name)))
        track = Track(lane, plan, holder, handle)
        self._tracks[lane.name], self._handles[lane.name], self._of_holder[holder] = track, handle, track
        self.wake(track, None, None)
        return handle

    def _cancel(self, name: str) -> None:
        track = self._tracks.get(name)
        if track is not None:
            self._interrupt(track, LaneCancelled(f"lane {name} was cancelled"))

    def wake(self, track: Track, response: Any, error: BaseException | None) -> None:
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
        self.wake(track, None, error)

    def decide(self) -> None:
        """Give units to lanes that wait for them."""
        for holder, units in self._resources.decide():
            self.wake(self._of_holder[holder], {resource: names[0] for resource, names in units.items()}, None)

    def owe_landing(self) -> None:
        """A lane came to a checkpoint: there is one for all as soon as no lane is in the middle of a reading."""
        self._is_landing_owed = True

    def _step(self, track: Track) -> Plan:
        """One message of a lane."""
        if track.done_group is not None:
            key, track.done_group = track.done_group, None
            yield from self._ask(Msg("wait", None, group=key))
            if track.is_ready:  # an abort came in between, and is thrown when its turn comes again
                return
        response, error = track.response, track.error
        track.response = track.error = None
        try:
            message = track.plan.throw(error) if error is not None else track.plan.send(response)
        except StopIteration as end:
            yield from self._ended(track, end.value, None)
        except (Exception, asyncio.CancelledError) as failure:  # noqa: BLE001 - whatever it is, it stays in its lane
            yield from self._ended(track, None, failure)
        else:
            yield from self._carry_out(track, message)

    def _carry_out(self, track: Track, message: Msg) -> Plan:
        command = message.command
        if command in self._handlers:
            try:
                self._handlers[command](track, message)
            except Exception as failure:  # noqa: BLE001 - as the RunEngine does: what a message raises is thrown into its plan
                self.wake(track, None, failure)
        elif command in STARTING:
            yield from self._start(track, message)
        else:
            yield from self._forward(track, message)

    def _ended(self, track: Track, result: Any, error: BaseException | None) -> Plan:
        if error is None:
            error = track.unheeded_failure()
        del self._tracks[track.name]
        status = "success" if error is None else getattr(error, "exit_status", "fail")
        for run in track.open_runs:
            self._bundling.discard(run)
            failure = yield from self._close_run(Msg("close_run", None, run=run, exit_status=status, reason="" if error is None else str(error)))
            error = failure if error is None else error
        for group in track.groups.values():
            yield from self._ask(Msg("wait", None, group=group.key))
        self._resources.leave(track.holder)
        del self._of_holder[track.holder]
        self.decide()
        track.handle.end(None if error is not None else result, error)

    def _close_run(self, message: Msg) -> Plan:
        """Close a run that a lane has left open; returns what that raises: it is the lane's, which may have failed of just that."""
        try:
            yield message
        except _CONTROL as error:
            yield from self._end_all(error)
        except Exception as error:  # noqa: BLE001 - what a message raises is told to whoever started the lane
            return error
        return None

    # --- messages that reach the RunEngine

    def _ask(self, message: Msg) -> Plan:
        """Send a message that is no single lane's; what it raises ends all."""
        try:
            return (yield message)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - each lane is told, and the plan raises it in the end
            yield from self._end_all(error)
            return _LOST

    def _send(self, track: Track, message: Msg) -> Plan:
        """Send a lane's message; what it raises is the lane's, unless it is an abort or stop."""
        try:
            answer = yield message
            while answer is None and message.command in _AGAIN:
                answer = yield message
        except _CONTROL as error:
            yield from self._end_all(error)
            return _LOST
        except Exception as error:  # noqa: BLE001 - what a message raises is thrown into the lane that sent it
            self.wake(track, None, self._explained(track, message, error))
            return _LOST
        return answer

    @staticmethod
    def _explained(track: Track, message: Msg, error: Exception) -> Exception:
        if message.command != "open_run" or message.run in track.open_runs or not isinstance(error, IllegalMessageSequence):
            return error
        # The run has been opened, under its lane's key; it was a message that the RunEngine's preprocessor put behind it which failed.
        failure = LabError(f"lane {track.name}: a preprocessor of the RunEngine knows of one run only (monitors, flyers); "
                           f"give it to lanes(preprocessors=) instead: {error}")
        failure.__cause__ = error
        return failure

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
        self.wake(track, answer, None)

    def _start(self, track: Track, message: Msg) -> Plan:
        """Set, trigger, kick off ...: through the device's stand-in."""
        group = track.group(message.kwargs.get("group"))
        started = Msg(message.command, self._stand_in(message), *message.args, run=track.run(message.run), **{**message.kwargs, "group": group.key})
        answer = yield from self._send(track, started)
        if answer is _LOST:
            return
        if isinstance(answer, QuietStatus):
            answer = answer.real
            group.operations.append(Operation(answer, message.obj, message.command, message.args))
        self.wake(track, answer, None)

    def _stand_in(self, message: Msg) -> Quiet:
        if message.command != "set":  # what is triggered may be made for this once
            return quiet(message.obj)
        if message.obj not in self._stand_ins:
            self._stand_ins[message.obj] = quiet(message.obj)
        return self._stand_ins[message.obj]

    # --- abort, stop, pause

    def _end_all(self, error: BaseException) -> Plan:
        """What is under way stops, and every lane is told; their finalizers run side by side."""
        self._ending = error
        for track in list(self._tracks.values()):
            self._interrupt(track, type(error)(*error.args) if isinstance(error, _CONTROL) else RequestAbort(str(error)))
        moving = {id(one.device): one.device for track in self._tracks.values() for one in track.operations() if one.command == "set" and not one.status.done}
        for device in moving.values():
            if hasattr(device, "stop"):
                try:
                    yield Msg("stop", device)
                except _CONTROL as again:
                    self._ending = again  # the lanes know already
                except Exception:  # noqa: BLE001 - the RunEngine tries again at the end, and says so; the others have to be stopped too
                    _log.exception("failed to stop %s", getattr(device, "name", device))

    def _on_pause(self) -> None:
        for track in self._tracks.values():
            self._interrupted.extend(one for one in track.operations() if not one.status.done)

    def _on_resume(self) -> None:
        self._is_resumed = True

    def _look_again(self) -> None:
        self._is_resumed = False
        for operation in self._interrupted:
            operation.doubt(self._commands.watches)
        self._interrupted.clear()
