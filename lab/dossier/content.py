"""What a dossier tells, gathered from the ledger."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import ValidationError

from lab.core.best import best_trial
from lab.core.question import CampaignConfig
from lab.core.trial import Trial, TrialState
from lab.optimise.explain import Explanation, explain
from lab.optimise.left_out import LeftOut
from lab.optimise.recommend import Recommendation, recommend
from lab.optimise.why import bests_before, expected_of, why
from lab.records.ledger import Ledger
from lab.records.report import summary
from lab.records.rows import CampaignRow, RevisionRow

OTHER_VERSION = "its file is that of another version of Labwright: only what was measured can be told"


MANY = 150
N_LOOKS, N_LOOKS_OF_MANY = 10, 5
"""How often it is asked what would have been recommended, of up to so many trials and of more."""


@dataclass(frozen=True)
class Why:
    """Why a trial's point was suggested.

    Parameters
    ----------
    expected : mapping of outcome to (mean, standard deviation)
        Before it was measured.
    """

    trial: int
    origin: str
    words: str
    expected: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Progress:
    """One objective over the trials.

    Parameters
    ----------
    best : tuple of (int, float)
        Number of a trial, from 1, and the best that was measured by then; only where it is known what is best.
    recommended : tuple of (int, float, float or None)
        Number of the last trial known, what was expected of the point that would have been recommended then, and its standard error.
    foresight : LeftOut or None
        What was expected of trials before they were made, and what was measured; None where no engine wrote it down.
    foreseen : tuple of int
        Numbers of these trials.
    """

    name: str
    best: tuple[tuple[int, float], ...]
    recommended: tuple[tuple[int, float, float | None], ...]
    foresight: LeftOut | None
    foreseen: tuple[int, ...]


@dataclass(frozen=True)
class Dossier:
    """Everything that is told of a campaign.

    Parameters
    ----------
    config : CampaignConfig or None
        None: another version of Labwright wrote it.
    summary : mapping
        As ``lab show --json`` has it.
    digest : str
        SHA-256 of the record: its configurations and trials, with all that is on record of them.
    """

    row: CampaignRow
    config: CampaignConfig | None
    summary: Mapping[str, Any]
    trials: tuple[Trial, ...]
    recommendation: Recommendation
    explanation: Explanation
    whys: tuple[Why, ...]
    progress: tuple[Progress, ...]
    revisions: tuple[RevisionRow, ...]
    digest: str

    @property
    def completed(self) -> list[Trial]:
        return [t for t in self.trials if t.state is TrialState.COMPLETED]

    @property
    def failed(self) -> list[Trial]:
        return [t for t in self.trials if t.state is TrialState.FAILED]


def dossier_of(ledger: Ledger, campaign: str) -> Dossier:
    """The dossier of a campaign.

    Parameters
    ----------
    campaign : str
        Id, unique beginning of one, or a name (then its newest).

    Raises
    ------
    LedgerError
        When there is no such campaign.
    """
    row = ledger.campaign(campaign)
    trials, revisions = tuple(ledger.trials(row.id)), tuple(ledger.revisions(row.id))
    data, digest = summary(ledger, row.id), digest_of(revisions, trials)
    try:
        config = CampaignConfig.model_validate_json(row.config)
    except ValidationError:
        return Dossier(row, None, data, trials, Recommendation(None), Explanation(OTHER_VERSION), (), (), revisions, digest)
    recommendation = recommend(config, trials)
    explanation = explain(config, trials, None if recommendation.best is None else recommendation.best.values)
    whys = tuple(Why(t.index + 1, t.origin, why(config, t, best), expected_of(t.thought))
                 for t, best in zip(trials, bests_before(config, trials), strict=True))
    former = _former(config, trials, recommendation)
    progress = tuple(_progress(config, trials, explanation, former, objective.name) for objective in config.objectives)
    return Dossier(row, config, data, trials, recommendation, explanation, whys, progress, revisions, digest)


def digest_of(revisions: Sequence[RevisionRow], trials: Sequence[Trial]) -> str:
    """SHA-256 of what suggestions and this dossier are made from, in hexadecimal."""
    record = {"configurations": [[one.number, one.config, one.by] for one in revisions], "trials": [_record(t) for t in trials]}
    return hashlib.sha256(json.dumps(record, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _record(trial: Trial) -> dict[str, Any]:
    outcome = trial.outcome
    return {"index": trial.index, "state": trial.state.value, "planned": dict(trial.planned), "executed": dict(trial.executed),
            "origin": trial.origin, "sample": trial.sample, "cause": trial.cause, "thought": dict(trial.thought),
            "began": trial.began_lab_s, "ended": trial.ended_lab_s,
            "measured": {} if outcome is None else {name: [one.mean, one.sem] for name, one in outcome.measured.items()},
            "details": {} if outcome is None else dict(outcome.details)}


def _former(config: CampaignConfig, trials: Sequence[Trial], now: Recommendation) -> list[tuple[int, Recommendation]]:
    """What would have been recommended after some of the trials, evenly spread: number of the last one known, from 1, and recommendation."""
    n_looks = N_LOOKS if len(trials) <= MANY else N_LOOKS_OF_MANY
    ends = sorted({round(one) for one in np.linspace(min(len(trials), 2), len(trials), n_looks)} - {0, len(trials)})
    found = [(end, recommend(config, trials[:end])) for end in ends] if len(config.objectives) == 1 else []
    return [*found, (len(trials), now)]


def _progress(config: CampaignConfig, trials: Sequence[Trial], explanation: Explanation, former: Sequence[tuple[int, Recommendation]], name: str) -> Progress:
    best: list[tuple[int, float]] = []
    if len(config.objectives) == 1:
        so_far: Trial | None = None
        for trial in (t for t in trials if t.state is TrialState.COMPLETED):
            so_far = best_trial(config, [*([] if so_far is None else [so_far]), trial])
            if so_far is not None and so_far.outcome is not None:
                best.append((trial.index + 1, so_far.outcome.measured[name].mean))
    told = next((one for one in explanation.outcomes if one.name == name), None)
    known = [(number, *one.best.outcomes[name]) for number, one in former if one.best is not None and name in one.best.outcomes]
    return Progress(name, tuple(best), tuple((number, mean, error) for number, mean, error in known), *_foresight(trials, name, 0.0 if told is None else told.noise))


def _foresight(trials: Sequence[Trial], name: str, noise: float) -> tuple[LeftOut | None, tuple[int, ...]]:
    """What was expected of trials before they were made; `noise` is the standard deviation of a measurement, as it is known now."""
    numbers, rows = [], []
    for trial in trials:
        measured = None if trial.outcome is None else trial.outcome.measured.get(name)
        expected = expected_of(trial.thought).get(name)
        if measured is not None and expected is not None:
            error = noise if measured.sem is None else float(np.hypot(noise, measured.sem))
            numbers.append(trial.index + 1)
            rows.append((measured.mean, expected[0], max(float(np.hypot(expected[1], error)), 1e-300)))
    table = np.array(rows).reshape(-1, 3)
    return (LeftOut(table[:, 0], table[:, 1], table[:, 2]) if rows else None), tuple(numbers)
