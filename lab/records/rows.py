"""What the ledger answers: frozen rows. Wall times are UTC in ISO 8601, laboratory times seconds of the session's clock."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from lab.core.space import Value
from lab.core.trial import Trial

LOW_SAMPLES = 3
"""A consumable without a low-water mark is low when it lasts for fewer samples than this."""

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
    lab_name: str = ""
    recipe: str = ""
    session: int = 1
    """Number of the session that runs it, or ran it last: one more than it was resumed."""


@dataclass(frozen=True)
class SampleRow:
    """One sample and where it is now.

    Parameters
    ----------
    place : str
        A place of lab.yaml, or `lab.core.sample.GRIPPER`, ``UNKNOWN`` or ``REMOVED``.
    slot : str
        Where its substrate stood, and where it goes back to.
    state : str
        ``current``: the sample its trial stands on; ``discarded`` or ``lost``: the point is made again with another one.
    cause : str
        Why it was discarded.
    """

    id: str
    trial: int
    place: str
    placed_wall: str
    placed_lab_s: float
    slot: str = ""
    state: str = "current"
    cause: str = ""


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
    """A station's busy interval; `state` is busy, done, failed or unconfirmed. `name`: which step of the recipe."""

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
    sample: str = ""
    name: str = ""
    session: int = 1


@dataclass(frozen=True)
class RunRow:
    """The documents of a trial's sample are in this Bluesky run."""

    uid: str
    trial: int
    opened_wall: str
    opened_lab_s: float
    sample: str = ""


@dataclass(frozen=True)
class EventRow:
    """A failure, a note or an operator's decision."""

    id: int
    trial: int | None
    kind: str
    text: str
    recorded_wall: str
    recorded_lab_s: float


@dataclass(frozen=True)
class SessionRow:
    """One session that ran a campaign; `status` is running, done, failed or interrupted."""

    number: int
    host: str
    pid: int
    status: str
    began_wall: str
    began_lab_s: float
    ended_wall: str | None
    ended_lab_s: float | None


@dataclass(frozen=True)
class Unfinished:
    """What a session that resumes a campaign must know of a trial that had begun.

    Parameters
    ----------
    sample, slot : str
        The trial's newest sample, and where its substrate stood.
    place : str
        Where the ledger has it: `lab.core.sample.UNKNOWN` when a move is unconfirmed, or failed and nobody could say.
    last_place : str
        The last place at which it certainly was.
    planned, executed : mapping
        Values of the trial.
    moves, doses, steps, runs
        Everything on record of this sample, in order.
    """

    trial: int
    sample: str
    slot: str
    place: str
    last_place: str
    planned: Mapping[str, Value]
    executed: Mapping[str, Value]
    moves: tuple[MoveRow, ...]
    doses: tuple[DoseRow, ...]
    steps: tuple[StepRow, ...]
    runs: tuple[RunRow, ...]

    @property
    def unconfirmed_move(self) -> MoveRow | None:
        """The move of which nobody knows how it ended; a sample has one at most."""
        return next((move for move in self.moves if move.state == UNCONFIRMED), None)

    @property
    def unconfirmed_doses(self) -> tuple[DoseRow, ...]:
        return tuple(dose for dose in self.doses if dose.state == UNCONFIRMED)

    @property
    def steps_done(self) -> tuple[StepRow, ...]:
        """Steps that ended well, in the order in which they began."""
        return tuple(step for step in self.steps if step.state == "done")


@dataclass(frozen=True)
class RevisionRow:
    """A configuration that a campaign has had.

    Parameters
    ----------
    number : int
        From 0, which is that with which it was opened.
    config : str
        The whole of it, JSON.
    by, words : str
        Who changed it, and what is other than before; empty of number 0.
    """

    number: int
    config: str
    by: str
    words: str
    changed_wall: str
    changed_lab_s: float


@dataclass(frozen=True)
class Known:
    """What an optimiser is told: by this, a suggestion is made again at any time, in any process, to the last bit.

    Parameters
    ----------
    trials : tuple of Trial
        In the order of their suggestion; without causes and samples, which are of no concern to it.
    config : str
        The campaign's configuration, JSON.
    revision : int
        Number of that configuration.
    basis : int
        Number of the last change of a trial that is known.
    """

    trials: tuple[Trial, ...]
    config: str
    revision: int
    basis: int


@dataclass(frozen=True)
class QuestionRow:
    """What a session asked people.

    Parameters
    ----------
    step : str
        The step that failed.
    error : str
        In the instrument's words.
    choices : mapping of choice to explanation
        In the order in which they are offered.
    default : str
        One of them, or empty: what is done when nobody answers.
    state : str
        ``open``, ``answered`` or ``withdrawn`` (nobody waits for the answer any longer).
    choice, answered_by : str
        Empty as long as it has no answer.
    """

    id: int
    campaign: str
    trial: int | None
    sample: str
    step: str
    error: str
    choices: Mapping[str, str]
    default: str
    state: str
    choice: str
    answered_by: str
    asked_wall: str
    asked_lab_s: float
    ended_wall: str | None
    ended_lab_s: float | None


@dataclass(frozen=True)
class RequestRow:
    """What somebody asked of a running session: `kind` is pause, continue or stop; `state` is waiting, taken or dropped."""

    id: int
    campaign: str
    kind: str
    by: str
    detail: str
    state: str
    requested_wall: str
    taken_wall: str | None


@dataclass(frozen=True)
class StockRow:
    """One consumable of a laboratory.

    Parameters
    ----------
    account : str
        ``liquid:NAME`` or ``substrates``.
    unit : str
        ``mL``, ``pieces``...
    capacity : float or None
        What there can be at most.
    balance : float
        What is there by the ledger.
    reserved : float
        Of it, what announced doses are going to take.
    low_water : float or None
        At or below this, `is_low`.
    per_sample : float or None
        Mean drawn by a completed sample; None as long as none has been completed.
    """

    lab: str
    account: str
    unit: str
    capacity: float | None
    balance: float
    reserved: float
    low_water: float | None
    per_sample: float | None

    @property
    def available(self) -> float:
        return self.balance - self.reserved

    @property
    def n_samples(self) -> int | None:
        """For how many more samples it lasts, if they take what the others took; None when that is not known."""
        if self.per_sample is None or self.per_sample <= 0:
            return None
        return max(0, math.floor(self.available / self.per_sample + 1e-9))

    @property
    def is_low(self) -> bool:
        """At or below its low-water mark; without one, less than for `LOW_SAMPLES` samples."""
        if self.low_water is not None:
            return self.available <= self.low_water
        return self.available <= 0 or (self.n_samples is not None and self.n_samples < LOW_SAMPLES)


@dataclass(frozen=True)
class EntryRow:
    """What went into an account (positive) or out of it. `kind` is set, added, drawn or settled; `dose` is its idempotency key."""

    id: int
    account: str
    amount: float
    kind: str
    why: str
    by: str
    campaign: str
    trial: int | None
    dose: str
    recorded_wall: str


@dataclass(frozen=True)
class StationUse:
    """How one station was used, in laboratory seconds.

    Parameters
    ----------
    busy_s : float
        Overlapping steps counted once.
    idle_s : float
        Nobody on it, between its first and its last step.
    utilisation : float
        `busy_s` over the makespan of the campaign, 0..1.
    """

    busy_s: float
    idle_s: float
    utilisation: float
    n_steps: int


@dataclass(frozen=True)
class StatisticsRow:
    """What a campaign made of its time.

    Parameters
    ----------
    makespan_s : float
        Laboratory seconds from the beginning of its first step to the end of its last.
    overlap : float
        Mean number of samples that were being made at one time: the sum of the samples' own spans over the makespan.
    n_interventions : int
        `n_answers` + `n_requests` + `n_refills`: what people had to do.
    """

    makespan_s: float
    stations: Mapping[str, StationUse]
    overlap: float
    n_sessions: int
    n_samples: Mapping[str, int]
    n_questions: int
    n_answers: int
    n_requests: int
    n_refills: int

    @property
    def n_interventions(self) -> int:
        return self.n_answers + self.n_requests + self.n_refills


@dataclass(frozen=True)
class ProposalRow:
    """A point that somebody proposed: ``waiting`` for the campaign to take it, ``taken`` as its trial, or ``dropped`` since the campaign ended before."""

    id: int
    campaign: str
    values: Mapping[str, Value]
    by: str
    state: str
    trial: int | None
    proposed_wall: str
    ended_wall: str | None
