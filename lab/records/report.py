"""What ``lab ls`` and ``lab show`` tell of the campaigns on record: plain data, for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from lab.core.best import best_trial
from lab.core.question import CampaignConfig, Objective
from lab.core.trial import Trial
from lab.records.ledger import Ledger
from lab.records.render import render_campaigns, render_summary
from lab.records.rows import UNCONFIRMED, CampaignRow, StatisticsRow

__all__ = ["campaign_rows", "render_campaigns", "render_summary", "summary"]


def campaign_rows(ledger: Ledger, rows: Sequence[CampaignRow] | None = None) -> list[dict[str, Any]]:
    """These campaigns, all when None, the oldest first: ``campaign, name, status, cause, started, ended, trials`` and ``best``."""
    return [{**_head(row), "best": _best(row, ledger.trials(row.id))} for row in (rows if rows is not None else ledger.campaigns())]


def summary(ledger: Ledger, campaign: str) -> dict[str, Any]:
    """One campaign, JSON-able.

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
    trials, doses, steps = ledger.trials(row.id), ledger.doses(row.id), ledger.steps(row.id)
    samples, events, statistics = ledger.samples(row.id), ledger.events(row.id), ledger.statistics(row.id)
    moves = [move for sample in samples for move in ledger.moves(sample.id)]
    ended_wall, ended_lab_s = _last_sign(row, [*doses, *moves, *steps, *events])
    config = _config(row)
    return {
        **_head(row),
        "budget": None if config is None else config.budget.model_dump(mode="json"),
        "host": row.host,
        "pid": row.pid,
        "wall_s": (datetime.fromisoformat(ended_wall) - datetime.fromisoformat(row.started_wall)).total_seconds(),
        "lab_s": ended_lab_s - row.started_lab_s,
        "best": _best(row, trials),
        "table": [_trial(trial, config) for trial in trials],
        "samples": [dataclasses.asdict(sample) for sample in samples],
        "unconfirmed": {"doses": [dataclasses.asdict(dose) for dose in doses if dose.state == UNCONFIRMED],
                        "moves": [dataclasses.asdict(move) for move in moves if move.state == UNCONFIRMED]},
        "stations": {name: {"busy_s": use.busy_s, "utilisation": use.utilisation, "idle_s": use.idle_s}
                     for name, use in statistics.stations.items()},
        "statistics": _statistics(statistics),
        "sessions": [dataclasses.asdict(session) for session in ledger.sessions(row.id)],
        "questions": [{**dataclasses.asdict(one), "choices": dict(one.choices)} for one in ledger.questions(row.id)],
        "requests": [dataclasses.asdict(one) for one in ledger.requests(row.id)],
        "steps": [dataclasses.asdict(step) for step in steps],
        "events": [dataclasses.asdict(event) for event in events],
        "changes": [{"revision": one.number, "by": one.by, "words": one.words, "changed": one.changed_wall} for one in ledger.revisions(row.id, since=0)],
        "runs": [dataclasses.asdict(run) for run in ledger.runs(row.id)],
    }


def _statistics(row: StatisticsRow) -> dict[str, Any]:
    return {"makespan_s": row.makespan_s, "overlap": row.overlap, "n_sessions": row.n_sessions, "n_samples": dict(row.n_samples),
            "n_questions": row.n_questions, "n_answers": row.n_answers, "n_requests": row.n_requests, "n_refills": row.n_refills,
            "n_interventions": row.n_interventions}


def _head(row: CampaignRow) -> dict[str, Any]:
    config = _config(row)
    return {"campaign": row.id, "name": row.name, "lab": row.lab_name, "recipe": row.recipe, "status": row.status, "cause": row.cause, "started": row.started_wall,
            "ended": row.ended_wall, "trials": dict(row.n_trials),
            "objective": None if config is None else _objective(config.objective),
            "objectives": [] if config is None else [_objective(one) for one in config.objectives],
            "outcomes": [] if config is None else list(config.outcome_names)}


def _objective(objective: Objective) -> dict[str, Any]:
    return {"name": objective.name, "goal": objective.goal, "target": objective.target, "unit": objective.unit}


def _config(row: CampaignRow) -> CampaignConfig | None:
    """The campaign's file; None when another version of Labwright wrote it."""
    try:
        return CampaignConfig.model_validate_json(row.config)
    except ValidationError:
        return None


def _best(row: CampaignRow, trials: list[Trial]) -> dict[str, Any] | None:
    """The best measured trial among those whose means keep the outcome constraints; None when there is none."""
    config = _config(row)
    if config is None:
        return None
    best = best_trial(config, trials)
    return None if best is None else _trial(best, config)


def _trial(trial: Trial, config: CampaignConfig | None) -> dict[str, Any]:
    outcome = trial.outcome
    measured = {} if outcome is None else {name: {"mean": m.mean, "sem": m.sem} for name, m in outcome.measured.items()}
    asked = tuple(measured) if config is None else config.outcome_names
    return {
        "trial": trial.index + 1, "state": trial.state.value, "origin": trial.origin, "sample": trial.sample,
        "planned": dict(trial.planned), "executed": dict(trial.executed),
        "outcomes": {name: measured[name] for name in asked if name in measured},
        "also_measured": {name: one for name, one in measured.items() if name not in asked},
        "details": {} if outcome is None else {name: value if value == value else None for name, value in outcome.details.items()},
        "cause": trial.cause,
    }


def _last_sign(row: CampaignRow, happenings: Sequence[object]) -> tuple[str, float]:
    """Wall and laboratory time of a campaign's end; of one that has not been closed, of the last thing it wrote."""
    if row.ended_wall is not None and row.ended_lab_s is not None:
        return row.ended_wall, row.ended_lab_s
    wall, lab_s = row.started_wall, row.started_lab_s
    for happening in happenings:
        for prefix in ("announced", "began", "recorded", "ended"):
            wall = max(wall, getattr(happening, f"{prefix}_wall", None) or wall)
            lab_s = max(lab_s, getattr(happening, f"{prefix}_lab_s", None) or lab_s)
    return wall, lab_s
