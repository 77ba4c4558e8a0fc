"""What ``lab status`` and ``lab stock`` tell: plain data, for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab.core.sample import REMOVED
from lab.records.ledger import Ledger
from lab.records.rows import CampaignRow, QuestionRow, SampleRow, StepRow, StockRow


def status_of(ledger: Ledger) -> dict[str, Any]:
    """Campaigns that run or can be resumed, and what is running low in their laboratories.

    Returns
    -------
    dict
        ``campaigns``: the oldest first, each with its samples in the machine, open questions and requests that nobody has taken yet;
        ``stock``: the accounts that are low, of all laboratories on record.
    """
    rows = [row for row in ledger.campaigns() if row.status in ("running", "interrupted")]
    low = [one for lab in ledger.laboratories() for one in stock_of(ledger, lab) if one["is_low"]]
    return {"campaigns": [_campaign(ledger, row) for row in rows], "stock": low}


def stock_of(ledger: Ledger, lab: str) -> list[dict[str, Any]]:
    """The accounts of a laboratory, by name."""
    return [_account(row) for row in ledger.stock(lab)]


def _campaign(ledger: Ledger, row: CampaignRow) -> dict[str, Any]:
    is_running = row.status == "running"
    steps = {step.sample: step for step in ledger.steps(row.id) if step.state in ("busy", "unconfirmed")}
    running = {trial.trial for trial in ledger.unfinished(row.id)}
    return {
        "campaign": row.id, "name": row.name, "lab": row.lab_name, "status": row.status, "cause": row.cause, "host": row.host, "pid": row.pid,
        "session": row.session, "started": row.started_wall, "trials": dict(row.n_trials),
        "samples": [_sample(sample, steps.get(sample.id)) for sample in ledger.samples(row.id) if _is_under_way(sample, running)],
        "questions": [question(one) for one in ledger.open_questions(row.id)],
        "requests": [{"request": one.id, "kind": one.kind, "by": one.by, "requested": one.requested_wall}
                     for one in ledger.requests(row.id) if one.state == "waiting"],
        "next": f"lab stop {row.id}" if is_running else f"lab resume {row.id}"}


def question(row: QuestionRow) -> dict[str, Any]:
    """A question, each choice with what it means and the command that makes it."""
    return {
        "question": row.id, "trial": None if row.trial is None else row.trial + 1, "sample": row.sample, "step": row.step, "error": row.error,
        "asked": row.asked_wall, "default": row.default,
        "choices": [{"choice": choice, "meaning": meaning, "command": f"lab answer {row.campaign} {row.id} {choice}"}
                    for choice, meaning in row.choices.items()]}


def _is_under_way(sample: SampleRow, running: Sequence[int] | set[int]) -> bool:
    """Being made, or not where it belongs."""
    is_made = sample.state == "current" and sample.trial in running
    return is_made or (sample.place not in (sample.slot, REMOVED) and sample.state != "lost")


def _sample(sample: SampleRow, step: StepRow | None) -> dict[str, Any]:
    doing = None if step is None else {"name": step.name, "station": step.station, "what": step.what, "since": step.began_wall}
    return {"sample": sample.id, "trial": sample.trial + 1, "slot": sample.slot, "place": sample.place, "state": sample.state, "step": doing}


def _account(row: StockRow) -> dict[str, Any]:
    return {"lab": row.lab, "account": row.account, "unit": row.unit, "capacity": row.capacity, "balance": row.balance,
            "reserved": row.reserved, "available": round(row.available, 9), "low_water": row.low_water, "per_sample": row.per_sample,
            "n_samples": row.n_samples, "is_low": row.is_low}


