"""A lane: what it is given to do, how it is seen by the one who started it, how it ends. See `plans.lanes`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bluesky.utils import Msg, RunEngineControlException

from lab.core.errors import LabError
from plans.resources import Claim, Rank
from plans.statuses import Happening

Plan = Generator[Msg, Any, Any]
Preprocessor = Callable[[Plan], Iterable[Msg]]


class LaneCancelled(RunEngineControlException):
    """Thrown into a lane by `LaneHandle.cancel`: it shall clean up and end.

    No LabError on purpose: a recipe that handles the failures of its instruments must not take it for one and go on.
    """

    exit_status = "abort"


class LanesFailed(LabError):
    """Lanes ended with exceptions that nobody has taken.

    Parameters
    ----------
    causes : mapping of lane name to exception
    """

    def __init__(self, causes: Mapping[str, BaseException]) -> None:
        self.causes = dict(causes)
        super().__init__("; ".join(f"lane {name}: {type(error).__name__}: {error}" for name, error in self.causes.items()))


@dataclass(frozen=True)
class Lane:
    """A plan to be run beside others.

    Parameters
    ----------
    name : str
        Unlike that of any other lane of the same `lanes`.
    plan : iterable of Msg
    claim : mapping of resource to count, or sequence of them
        What it will hold at most at one time; as a sequence: stage by stage, in the order in which it goes through them
        (see `plans.resources`). It can `acquire` no more than that.
    rank : float or callable
        Who gets a station first: the smallest; a callable is asked again at each decision. Among equals the older lane.
    holds : sequence of str
        Units that it has from the start.
    """

    name: str
    plan: Iterable[Msg]
    claim: Claim = field(default_factory=dict)
    rank: Rank = 0.0
    holds: Sequence[str] = ()


class LaneHandle:
    """A lane, as seen by the one who started it.

    Attributes
    ----------
    name : str
    status : Status
        Done, and always successful, when the lane has ended.
    is_taken : bool
        Somebody has asked for its exception; `lanes` does not raise it again.
    """

    def __init__(self, name: str, cancel: Callable[[], None]) -> None:
        self.name = name
        self.status = Happening()
        self.is_taken = False
        self._cancel = cancel
        self._result: Any = None
        self._exception: BaseException | None = None

    @property
    def done(self) -> bool:
        return self.status.done

    @property
    def result(self) -> Any:
        """What the plan returned; None while it runs, and when it failed."""
        return self._result

    @property
    def exception(self) -> BaseException | None:
        """What the lane ended with; whoever reads it once the lane is done has taken it."""
        self.is_taken = self.is_taken or self.done
        return self._exception

    def cancel(self) -> None:
        """Throw `LaneCancelled` into the lane, from any thread. Nothing happens to one that has ended."""
        self._cancel()

    def end(self, result: Any, error: BaseException | None) -> None:
        """For `lanes` alone: the lane has ended."""
        self._result, self._exception = result, error
        self.status.happen()

    def untaken(self) -> BaseException | None:
        """For `lanes` alone: the exception, if nobody has taken it."""
        return None if self.is_taken else self._exception
