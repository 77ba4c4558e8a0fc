"""What the steward answers about campaigns: submitting, looking, answering, asking for something, points of one's own.

See `lab.remote.steward` for the form of handlers. A scientist may do all this with their own campaigns, an operator with everybody's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lab.changes.config import change
from lab.core.errors import LabError
from lab.core.question import CampaignConfig
from lab.core.remote import is_at_least
from lab.core.trial import Trial, TrialState
from lab.records.report import campaign_rows, summary
from lab.records.requests import WITHOUT_ACKNOWLEDGING
from lab.records.rows import CampaignRow, ProposalRow
from lab.remote.access.who import Who
from lab.remote.registry.plain import problems_of_plain
from lab.remote.registry.plan_checks import limits_of, raise_problems
from lab.remote.registry.refusals import Problem, refuse, shown
from lab.remote.steward import pauses
from lab.remote.steward.campaigns_on_record import CampaignsOnRecord, owner_of
from lab.remote.steward.items_desk import add_one, read_item

if TYPE_CHECKING:
    from lab.remote.steward.service import Steward

Answer = dict[str, Any]

NOT_TOLD = ("host", "pid", "steps", "sessions", "unconfirmed")
"""Of `lab.records.report.summary`: where it ran, and what is long and of use to nobody elsewhere."""

MOST_LISTED = 500
"""Campaigns of one answer, the newest."""

LARGEST_NUMBER = 2**31 - 1
"""Of a question or a proposal."""

DROPPED = "the campaign ended before it was tried"

BUDGET = ("trials", "failures", "hours")


# --------------------------------------------------------------------------------------------------- submitting


def lab_campaign_submit(steward: Steward, who: Who, params: Answer) -> Answer:
    """Queue a campaign; it belongs to the name of the key, whatever it says itself."""
    new, warnings = read_item(steward, who, {"name": "campaign", "kwargs": {"config": params.get("config")}})
    return add_one(steward, who, new, {}, warnings)


# ------------------------------------------------------------------------------------------------------ looking


def lab_campaigns(steward: Steward, who: Who, params: Answer) -> Answer:
    """Campaigns that somebody may see, the oldest first."""
    rows = _records(steward).visible(who)[-MOST_LISTED:]
    told = [{**one, "owner": owner_of(row)} for one, row in zip(campaign_rows(steward.ledger, rows), rows, strict=True)]
    return {"success": True, "msg": "", "campaigns": _json(told)}


def lab_campaign(steward: Steward, who: Who, params: Answer) -> Answer:
    """One campaign: trials, samples, best, questions, events."""
    row = _records(steward).find(who, params.get("campaign"), "lab_campaign")
    told = {name: value for name, value in summary(steward.ledger, row.id).items() if name not in NOT_TOLD}
    return {"success": True, "msg": "", "campaign": _json({**told, "owner": owner_of(row)})}


# -------------------------------------------------------------------------------------- answering, asking for


def lab_answer(steward: Steward, who: Who, params: Answer) -> Answer:
    """Answer a question of a campaign; the first answer counts."""
    number, choice = _number(params.get("question"), "lab_answer", "question"), params.get("choice")
    try:
        question = steward.ledger.question(number)
        _records(steward).find(who, question.campaign)
    except LabError as error:  # there is none, or it is none of theirs: that is the same to them
        raise refuse("lab_answer", "question", number, "the number of a question of a campaign that is yours, as lab_campaign tells it") from error
    _records(steward).own(who, question.campaign, "lab_answer")
    if not isinstance(choice, str) or choice not in question.choices:
        raise refuse("lab_answer", "choice", choice, ", ".join(question.choices))
    done = steward.ledger.answer(number, choice, who.name)
    return {"success": True, "msg": f"{done.campaign} goes on with it", "campaign": done.campaign, "question": number, "choice": done.choice}


def lab_campaign_pause(steward: Steward, who: Who, params: Answer) -> Answer:
    """Ask a campaign to pause. A scientist's pause of what is paused already would only be a way to lift the other's."""
    row = _records(steward).own(who, params.get("campaign"), "lab_campaign_pause")
    if not is_at_least(who.role, "operator") and pauses.is_paused(steward):
        raise refuse("lab_campaign_pause", "campaign", row.id, "a campaign that is not paused already")
    return _asked(steward, who, row.id, "pause")


def lab_campaign_continue(steward: Steward, who: Who, params: Answer) -> Answer:
    """Ask a campaign to go on. A scientist lifts their own pause, nobody else's, and acknowledges no interlock: somebody may have a hand in there."""
    row = _records(steward).own(who, params.get("campaign"), "lab_campaign_continue")
    if is_at_least(who.role, "operator"):
        return _asked(steward, who, row.id, "continue")
    held = pauses.held_by(steward, row.id)
    if not held or set(held) != {who.name}:
        others = [name for name in dict.fromkeys(held) if name != who.name]
        raise refuse("lab_campaign_continue", "campaign", row.id,
                     f"a campaign that you have paused; this one was paused by {', '.join(others)}: ask them, or an operator" if others else
                     "a campaign that you have paused; what paused otherwise goes on by itself, or by an operator's word")
    return _asked(steward, who, row.id, "continue", WITHOUT_ACKNOWLEDGING)


def lab_campaign_stop(steward: Steward, who: Who, params: Answer) -> Answer:
    """Ask a campaign to finish the samples in the machine, and stop."""
    return _asked(steward, who, _records(steward).own(who, params.get("campaign"), "lab_campaign_stop").id, "stop")


def _asked(steward: Steward, who: Who, campaign: str, kind: str, detail: str = "") -> Answer:
    number = steward.ledger.request(campaign, kind, who.name, detail)
    return {"success": True, "msg": f"asked {campaign} to {kind}; its session takes it in a moment", "campaign": campaign, "number": number}


def lab_campaign_budget(steward: Steward, who: Who, params: Answer) -> Answer:
    """Change what a campaign may still use."""
    row = _records(steward).own(who, params.get("campaign"), "lab_campaign_budget")
    changes = {name: params[name] for name in BUDGET if params.get(name) is not None}
    unknown = [name for name in params if name not in (*BUDGET, "campaign")]
    found = [Problem(shown(name)[1:-1], shown(params[name]), ", ".join(BUDGET)) for name in unknown]
    found += [problem for name, value in changes.items() for problem in _budget_problems(steward, who, name, value)]
    if steward.lab.remote.needs_approval(who.name, who.role):
        found += _raised_problems(row, changes)
    raise_problems("lab_campaign_budget", found)
    done = change(steward.ledger, row.id, {f"budget.{name}": value for name, value in changes.items()}, who.name, "lab_campaign_budget")
    return {"success": True, "msg": str(done), "campaign": row.id, "revision": done.revision}


def _budget_problems(steward: Steward, who: Who, name: str, value: Any) -> list[Problem]:
    allowed = "a number of hours" if name == "hours" else "a whole number"
    if isinstance(value, bool) or not isinstance(value, (int, float) if name == "hours" else int) or not 0 < value <= LARGEST_NUMBER:
        return [Problem(name, shown(value), f"{allowed} above 0")]
    limits = limits_of(steward.lab.remote.rules(who.role), "campaign")
    low, high = limits.get(name, (0.0, math.inf))
    return [] if low <= value <= high else [Problem(name, shown(value), f"{low:g}..{high:g} (limits of your role)")]


def _raised_problems(row: CampaignRow, changes: Answer) -> list[Problem]:
    """What was approved was approved with its budget: who needs a word for the campaign may use less of it, not more."""
    now = CampaignConfig.model_validate_json(row.config).budget.model_dump()
    return [Problem(name, shown(value), f"at most {now[name]:g}, with which it was approved; an operator may give it more")
            for name, value in changes.items() if isinstance(value, (int, float)) and now[name] is not None and value > now[name]]


# --------------------------------------------------------------------------------------- points of one's own


def lab_propose(steward: Steward, who: Who, params: Answer) -> Answer:
    """Ask a campaign with ``optimizer: {engine: remote}`` to try a point."""
    row = _records(steward).own(who, params.get("campaign"), "lab_propose")
    values = params.get("values")
    if not isinstance(values, dict) or not values:
        raise refuse("lab_propose", "values", values, "an object: a value for each parameter of the campaign")
    raise_problems("lab_propose", [*problems_of_plain(values, "values"), *(
        Problem(f"values.{shown(name)[1:-1]}", shown(value), "a number or a text") for name, value in values.items()
        if isinstance(value, bool) or not isinstance(value, (int, float, str)))])
    return {"success": True, "msg": "", "proposal": steward.ledger.propose(row.id, values, who.name), "campaign": row.id}


def lab_proposal(steward: Steward, who: Who, params: Answer) -> Answer:
    """What became of a point that was proposed."""
    number = _number(params.get("proposal"), "lab_proposal", "proposal")
    try:
        found = steward.ledger.proposal(number)
        _records(steward).find(who, found.campaign)
    except LabError as error:
        raise refuse("lab_proposal", "proposal", number, "the number of a proposal to a campaign that is yours, as lab_propose answers it") from error
    return {"success": True, "msg": "", "proposal": _json(_became(steward, found))}


def _became(steward: Steward, proposal: ProposalRow) -> Answer:
    told: Answer = {"proposal": proposal.id, "campaign": proposal.campaign, "by": proposal.by, "proposed": dict(proposal.values), "trial": None,
                    "state": "waiting", "values": {}, "outcomes": {}, "cause": ""}
    if proposal.trial is None:
        return told if proposal.state == "waiting" else told | {"state": "abandoned", "cause": DROPPED}
    trial = steward.ledger.trial(proposal.campaign, proposal.trial)
    return told | {"trial": trial.index + 1, "state": "taken" if trial.state is TrialState.SUGGESTED else trial.state.value,
                   "values": dict(trial.point), "outcomes": _outcomes(trial), "cause": trial.cause, "sample": trial.sample}


def _outcomes(trial: Trial) -> Answer:
    measured = trial.outcome.measured if trial.outcome is not None else {}
    return {name: {"mean": one.mean, "sem": one.sem} for name, one in measured.items()}


# -------------------------------------------------------------------------------------------------------- parts


def _records(steward: Steward) -> CampaignsOnRecord:
    return CampaignsOnRecord(steward.ledger, steward.lab)


def _number(given: Any, what: str, field: str) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or not 0 < given <= LARGEST_NUMBER:
        raise refuse(what, field, given, "a number from 1")
    return given


def _json(value: Any) -> Any:
    """Numbers that JSON does not have are null."""
    if isinstance(value, dict):
        return {str(name): _json(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


METHODS_HERE: dict[str, Callable[[Steward, Who, Answer], Answer]] = {
    "lab_campaign_submit": lab_campaign_submit, "lab_campaigns": lab_campaigns, "lab_campaign": lab_campaign, "lab_answer": lab_answer,
    "lab_campaign_pause": lab_campaign_pause, "lab_campaign_continue": lab_campaign_continue, "lab_campaign_stop": lab_campaign_stop,
    "lab_campaign_budget": lab_campaign_budget, "lab_propose": lab_propose, "lab_proposal": lab_proposal}
