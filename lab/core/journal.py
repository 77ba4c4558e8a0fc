"""What a plan tells the ledger about one sample: announced before it is done, confirmed after.

The ledger implements this (`lab.records.ledger`); a dry run passes a `Journal` that keeps nothing.
Every method returns when the entry is on disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from lab.core.space import Value


class Journal(Protocol):
    """The record of one trial and its sample."""

    def move_announced(self, origin: str, target: str) -> int:
        """The sample is about to go from `origin` to `target`; returns the number of the move."""
        ...

    def move_done(self, move: int) -> None:
        """The sample now is at the target."""
        ...

    def move_failed(self, move: int, place: str, cause: str) -> None:
        """The transfer failed; the sample is at `place` (`lab.core.sample.UNKNOWN` when nobody can say)."""
        ...

    def dose_announced(self, key: str, volumes_ml: Mapping[str, float]) -> None:
        """These liquids are about to be dispensed under the idempotency key.

        Raises
        ------
        LedgerError
            When the key has been used before: a dose is never repeated.
        ConsumableError
            When less is left of a liquid than is needed.
        """
        ...

    def dose_done(self, key: str, dispensed_ml: Mapping[str, float]) -> None:
        """All delivered, as counted by the pumps."""
        ...

    def dose_failed(self, key: str, dispensed_ml: Mapping[str, float], cause: str) -> None:
        """Failed part-way; `dispensed_ml` is what the pumps counted, as far as they could be asked."""
        ...

    def step_began(self, station: str, what: str, name: str = "") -> int:
        """A station became busy with this sample; returns the number of the step.

        Parameters
        ----------
        station : str
            Name of the station, or ``arm``.
        what : str
            In words, for people.
        name : str
            Which step of the recipe (``cast``, ``anneal``, ``transfer``...): durations are learned by it.
        """
        ...

    def step_ended(self, step: int, cause: str = "") -> None:
        """The station is free again; `cause` is empty when the step succeeded."""
        ...

    def executed(self, values: Mapping[str, Value]) -> None:
        """Parameter values as really carried out, by the instruments' own counts; may be called several times."""
        ...

    def run_opened(self, uid: str) -> None:
        """Documents of this sample are in the run `uid`."""
        ...
