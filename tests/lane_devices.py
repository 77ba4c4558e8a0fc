"""Devices for tests of lanes: they do what a test tells them, when it tells them, and remember what they were asked."""

from __future__ import annotations

import threading
from typing import Any

from ophyd.status import Status


class Mover:
    """Ends a move when told to; `asked` has every target it was set to."""

    parent = None

    def __init__(self, name: str, is_prompt: bool = True) -> None:
        self.name, self.is_prompt = name, is_prompt
        self.asked: list[Any] = []
        self.stops: list[bool] = []
        self.statuses: list[Status] = []
        self.begun = threading.Event()
        self.at: float = 0.0

    @property
    def position(self) -> float:
        return self.at

    def set(self, target: Any) -> Status:
        status = Status()
        self.asked.append(target)
        self.statuses.append(status)
        if self.is_prompt:
            self.arrive()
        self.begun.set()
        return status

    def arrive(self, at: float | None = None) -> None:
        """The move under way ends."""
        target = self.asked[-1] if at is None else at
        self.at = target if isinstance(target, (int, float)) else self.at
        self.statuses[-1].set_finished()

    def fail(self, error: Exception) -> None:
        """The move under way fails."""
        self.statuses[-1].set_exception(error)

    def stop(self, *, success: bool = False) -> None:
        self.stops.append(success)

    def read(self) -> dict[str, Any]:
        return {self.name: {"value": self.at, "timestamp": 0.0}}

    def describe(self) -> dict[str, Any]:
        return {self.name: {"source": "test", "dtype": "number", "shape": []}}

    def read_configuration(self) -> dict[str, Any]:
        return {}

    describe_configuration = read_configuration
