"""What the RunEngine gets to see of a device that a lane sets in motion: one whose operations always succeed, and that a pause does not stop.

The RunEngine throws a failed Status at whatever message comes next, which with many lanes is somebody else's, and stops all it has set
when it pauses. So it is given a *quiet* stand-in: the stand-in passes each call on to the device, answers with a Status that is done
and successful, and keeps the real one for the lane that asked. It has no ``stop`` until the lanes have ended; then the RunEngine
finds it, and stops what was set, as it does at the end of every plan.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from lab.core.capabilities import Status

STARTING = ("set", "trigger", "prepare", "kickoff", "complete", "stage", "unstage")
"""Commands, and methods of devices, that answer with a Status."""

_PASSED_ON = ("collect", "collect_pages", "collect_asset_docs", "describe_collect", "get_index")
"""What the RunEngine asks of a flyer that nobody collected, when it cleans up."""


class QuietStatus:
    """Done and successful from the start; `real` is the device's own."""

    __slots__ = ("real",)
    done = True
    success = True

    def __init__(self, real: Status) -> None:
        self.real = real

    def add_callback(self, callback: Callable[[Any], None]) -> None:
        callback(self)

    def exception(self, timeout: float | None = 0.0) -> BaseException | None:
        return None


class Quiet:
    """A device's stand-in. It is equal to the device, so that the RunEngine takes both for one.

    Parameters
    ----------
    device : object
        Anything Bluesky may set, trigger, stage or kick off.
    """

    def __init__(self, device: Any) -> None:
        self.device = device
        self.name = getattr(device, "name", repr(device))
        self.parent = getattr(device, "parent", None)

    def __eq__(self, other: object) -> bool:
        return other is self or other is self.device or (isinstance(other, Quiet) and other.device is self.device)

    def __hash__(self) -> int:
        return hash(self.device)

    def __repr__(self) -> str:
        return repr(self.device)

    def let_stop(self) -> None:
        """From now on the RunEngine may stop the device."""
        if hasattr(self.device, "stop"):
            self.stop = self.device.stop


def quiet(device: Any) -> Quiet:
    """The stand-in of a device, with those methods that the device has."""
    return _kind(tuple(name for name in (*STARTING, *_PASSED_ON) if hasattr(device, name)))(device)


def _starting(name: str) -> Callable[..., Any]:
    def start(self: Quiet, *args: Any, **kwargs: Any) -> Any:
        answer = getattr(self.device, name)(*args, **kwargs)
        # `stage` may answer with a list of what was staged instead.
        return QuietStatus(answer) if hasattr(answer, "add_callback") else answer

    start.__name__ = name
    return start


def _passing(name: str) -> Callable[..., Any]:
    def pass_on(self: Quiet, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.device, name)(*args, **kwargs)

    pass_on.__name__ = name
    return pass_on


@cache
def _kind(names: tuple[str, ...]) -> type[Quiet]:
    """The class with these methods: the RunEngine tells by a class's methods what an object can do."""
    return type("Quiet", (Quiet,), {name: _starting(name) if name in STARTING else _passing(name) for name in names})
