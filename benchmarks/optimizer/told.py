"""Which outcomes an engine was told of: trials end out of order where several run at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lab.core.trial import Trial, TrialState

UNDER_WAY = (TrialState.SUGGESTED, TrialState.RUNNING)


class Told:
    """The memory of an adapter whose peer keeps the data itself."""

    def __init__(self) -> None:
        self._told: set[int] = set()

    def news(self, trials: Sequence[Trial]) -> Iterator[Trial]:
        """Trials that ended since it was asked last, in the order of their suggestions."""
        for trial in trials:
            if trial.state not in UNDER_WAY and trial.index not in self._told:
                self._told.add(trial.index)
                yield trial


def under_way(trials: Sequence[Trial]) -> list[Trial]:
    """Trials that have begun and not ended."""
    return [trial for trial in trials if trial.state in UNDER_WAY]


def was_moved(trial: Trial) -> bool:
    """Whether another point was executed than suggested (a pool's nearest row)."""
    return dict(trial.point) != dict(trial.planned)
