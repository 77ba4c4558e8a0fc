"""What a lane has under way: operations in groups, whether they went well, and what a pause may have done to them."""

from __future__ import annotations

from collections.abc import Generator, Hashable, Iterator, Sequence
from numbers import Real
from typing import Any

from bluesky.run_engine import WaitForTimeoutError
from bluesky.utils import FailedStatus, Msg

from lab.core.capabilities import Status
from lab.core.errors import CommandError
from plans.lane import Lane, LaneHandle
from plans.lane_waits import Resume, StatusWait, Wait, Watches
from plans.resources import Holder

TOLERANCE = 0.01
"""A device without a `tolerance` of its own is where it was sent when it is within this share of the target (or of 1, if that is more)."""


class LaneRun(str):
    """The run key of one lane's run."""

    __slots__ = ()


class Operation:
    """Something a lane has started.

    Attributes
    ----------
    is_thrown : bool
        Its failure has been thrown into the lane; it is thrown once.
    is_seen : bool
        The lane has waited for it with `first_of`, and looks itself how it went.
    """

    __slots__ = ("status", "device", "command", "target", "is_thrown", "is_seen", "_is_doubtful", "_fault")

    def __init__(self, status: Status, device: Any, command: str, args: tuple[Any, ...]) -> None:
        self.status, self.device, self.command = status, device, command
        self.target = args[0] if args else None
        self.is_thrown = self.is_seen = False
        self._is_doubtful = False
        self._fault: CommandError | None = None

    def doubt(self, watches: Watches) -> None:
        """A pause came in between: look again where the device is, as soon as it has ended."""
        self._is_doubtful = True
        if self.status.done:
            self._verify()
        else:
            StatusWait(lambda response, error: self._verify(), watches).watch([self.status])

    def error(self) -> Exception | None:
        """Why it failed; None when all is well. For operations that are done."""
        if not self.status.success:
            failure = FailedStatus(self.status)
            failure.__cause__ = self.status.exception(timeout=0)
            return failure
        self._verify()
        return self._fault

    def _verify(self) -> None:
        if self._is_doubtful:
            self._is_doubtful = False
            self._fault = self._moved()

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


class Group:
    """Operations a lane can wait for; `key` is its name in the RunEngine."""

    __slots__ = ("key", "operations")

    def __init__(self, key: str) -> None:
        self.key = key
        self.operations: list[Operation] = []


class Track:
    """A lane at work.

    Attributes
    ----------
    wait : Wait or None
        What it waits for.
    is_ready : bool
        It stands in the queue of lanes that can go on, with a `response` or an `error` for its plan.
    done_group : str or None
        A group that the RunEngine has not yet been told to forget.
    """

    def __init__(self, lane: Lane, plan: Generator[Msg, Any, Any], holder: Holder, handle: LaneHandle) -> None:
        self.name, self.plan, self.holder, self.handle = lane.name, plan, holder, handle
        self.groups: dict[Hashable, Group] = {}
        self.open_runs: dict[LaneRun, None] = {}
        self.is_rewindable = True
        self.wait: Wait | None = None
        self.is_ready = False
        self.response: Any = None
        self.error: BaseException | None = None
        self.done_group: str | None = None
        self._runs: dict[Hashable, LaneRun] = {}
        self._n_groups = 0

    def run(self, key: Hashable) -> LaneRun:
        """The lane's own name for a run key."""
        if key not in self._runs:
            self._runs[key] = LaneRun(self.name if key is None else f"{self.name}/{len(self._runs)}")
        return self._runs[key]

    def group(self, key: Hashable) -> Group:
        """The lane's own group of that name."""
        if key not in self.groups:
            self._n_groups += 1
            self.groups[key] = Group(f"{self.name}/{self._n_groups}")
        return self.groups[key]

    def operations(self) -> Iterator[Operation]:
        for group in self.groups.values():
            yield from group.operations

    def unheeded_failure(self) -> Exception | None:
        """The failure of an operation that the lane never waited for."""
        for operation in self.operations():
            if operation.status.done and not (operation.is_thrown or operation.is_seen):
                error = operation.error()
                if error is not None:
                    return error
        return None


class GroupWait(StatusWait):
    """A lane's ``wait``: for all of a group, or the first failure in it or in a group that it watches."""

    def __init__(self, resume: Resume, watches: Watches, track: Track, key: Hashable, watched: Sequence[Group], is_error_on_timeout: bool) -> None:
        super().__init__(resume, watches)
        self._track, self._key, self._is_error_on_timeout = track, key, is_error_on_timeout
        self._operations = list(track.groups[key].operations)
        self._left = {id(one.status) for one in self._operations if not one.status.done}
        self._operations += [one for group in watched for one in group.operations]

    def start(self) -> None:
        """Resume at once when all is done or something has failed already."""
        if any(self._fails(one) for one in self._operations if one.status.done):
            return
        if self._left:
            self.watch(one.status for one in self._operations if not one.status.done)
        else:
            self._succeed()

    def heard(self, status: Status) -> None:
        self._left.discard(id(status))
        if any(self._fails(one) for one in self._operations if one.status is status):
            return
        if not self._left:
            self._succeed()

    def timed_out(self) -> None:
        if self._is_error_on_timeout:
            self.resume(error=WaitForTimeoutError("Plan failed to complete in the specified time"))
        else:
            self.resume(False)

    def _fails(self, operation: Operation) -> bool:
        error = None if operation.is_thrown else operation.error()
        if error is None:
            return False
        operation.is_thrown = True
        self.resume(error=error)
        return True

    def _succeed(self) -> None:
        self._track.done_group = self._track.groups.pop(self._key).key
        self.resume(True)
