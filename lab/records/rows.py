"""What the ledger answers: frozen rows. Wall times are UTC in ISO 8601, laboratory times seconds of the session's clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

UNCONFIRMED = "unconfirmed"
"""State of a dose or move that was announced, and of which nobody told how it ended, because the session was gone."""


@dataclass(frozen=True)
class CampaignRow:
    """One campaign.

    Parameters
    ----------
    status : str
        ``running``, ``done``, ``failed`` or ``interrupted``; a campaign whose process is gone is interrupted.
    cause : str
        Why it failed or was interrupted, else empty.
    config, lab : str
        The campaign and laboratory files as they were used, JSON.
    n_trials : mapping of trial state to number
    """

    id: str
    name: str
    status: str
    cause: str
    config: str
    lab: str
    host: str
    pid: int
    started_wall: str
    started_lab_s: float
    ended_wall: str | None
    ended_lab_s: float | None
    n_trials: Mapping[str, int]


@dataclass(frozen=True)
class SampleRow:
    """One sample and where it is now."""

    id: str
    trial: int
    place: str
    placed_wall: str
    placed_lab_s: float


@dataclass(frozen=True)
class MoveRow:
    """One transfer; `state` is announced, done, failed or unconfirmed."""

    id: int
    trial: int
    sample: str
    origin: str
    target: str
    state: str
    place: str
    cause: str
    announced_wall: str
    announced_lab_s: float
    ended_wall: str | None
    ended_lab_s: float | None


@dataclass(frozen=True)
class DoseRow:
    """One dose; `state` is announced, done, failed or unconfirmed. `dispensed_ml` is None as long as nobody told."""

    key: str
    trial: int
    sample: str
    volumes_ml: Mapping[str, float]
    dispensed_ml: Mapping[str, float] | None
    state: str
    cause: str
    announced_wall: str
    announced_lab_s: float
    ended_wall: str | None
    ended_lab_s: float | None


@dataclass(frozen=True)
class StepRow:
    """A station's busy interval; `state` is busy, done, failed or unconfirmed."""

    id: int
    trial: int
    station: str
    what: str
    state: str
    cause: str
    began_wall: str
    began_lab_s: float
    ended_wall: str | None
    ended_lab_s: float | None


@dataclass(frozen=True)
class RunRow:
    """The documents of a trial's sample are in this Bluesky run."""

    uid: str
    trial: int
    opened_wall: str
    opened_lab_s: float


@dataclass(frozen=True)
class EventRow:
    """A failure, a note or an operator's decision."""

    id: int
    trial: int | None
    kind: str
    text: str
    recorded_wall: str
    recorded_lab_s: float
