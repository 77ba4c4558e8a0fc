"""What the steward does for people in the loop: a campaign's question changed under way, points and results brought, suggestions taken back.

See `lab.remote.steward` for the form of handlers. A scientist may do all this with their own campaigns, an operator with everybody's.
What was approved was approved as it was: who needs a word for a campaign may ask for less of it, not for more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from lab.changes import points
from lab.changes.config import change
from lab.core.question import CampaignConfig, ChoiceSpec
from lab.core.trial import Measured
from lab.records.rows import CampaignRow
from lab.remote.access.who import Who
from lab.remote.registry.campaign_checks import check_config, narrowed_problems, written
from lab.remote.registry.plain import problems_of_plain
from lab.remote.registry.plan_checks import limits_of, raise_problems
from lab.remote.registry.refusals import Problem, refuse, shown
from lab.remote.steward.campaigns_on_record import CampaignsOnRecord

if TYPE_CHECKING:
    from lab.remote.steward.service import Steward

Answer = dict[str, Any]

LONGEST_WHY = 300


def lab_campaign_change(steward: Steward, who: Who, params: Answer) -> Answer:
    """Change what a campaign asks: ``changes`` as `lab change` takes them, ``{"cs": [0, 0.5], "constraints+": "cs + fa <= 0.8"}``."""
    row = _own(steward, who, params, "lab_campaign_change")
    changes = _object(params, "changes", "lab_campaign_change", "an object: what is to be changed, with its new value")
    former = CampaignConfig.model_validate_json(row.config)

    def check(new: CampaignConfig) -> None:
        found = check_config(steward.lab, written(new.model_dump(mode="json")))
        found += narrowed_problems(new, limits_of(steward.lab.remote.rules(who.role), "campaign"))
        if steward.lab.remote.needs_approval(who.name, who.role):
            found += beyond(former, new)
        raise_problems("lab_campaign_change", found)

    done = change(steward.ledger, row.id, changes, who.name, "lab_campaign_change", check)
    return {"success": True, "msg": str(done), "campaign": row.id, "revision": done.revision, "withdrawn": [index + 1 for index in done.withdrawn]}


def lab_campaign_attach(steward: Steward, who: Who, params: Answer) -> Answer:
    """Have a point tried before anything else is suggested; with ``measured``, learn from what was found elsewhere."""
    row = _own(steward, who, params, "lab_campaign_attach")
    values = _object(params, "values", "lab_campaign_attach", "an object: a value for each parameter of the campaign")
    given = params.get("measured")
    measured = {} if given is None else _measured(_object(params, "measured", "lab_campaign_attach", 'an object: {outcome: {"mean": m, "sem": s}}'))
    trial, said = points.attach(steward.ledger, row.id, values, who.name, measured)
    return {"success": True, "msg": said, "campaign": row.id, "trial": trial}


def lab_campaign_veto(steward: Steward, who: Who, params: Answer) -> Answer:
    """Take back a suggestion that has not begun."""
    row, why = _own(steward, who, params, "lab_campaign_veto"), params.get("why") or ""
    if not isinstance(why, str) or len(why) > LONGEST_WHY:
        raise refuse("lab_campaign_veto", "why", why, f"a text of at most {LONGEST_WHY} characters")
    said = points.veto(steward.ledger, row.id, _trial(params, "lab_campaign_veto"), who.name, why)
    return {"success": True, "msg": said, "campaign": row.id}


def lab_campaign_edit(steward: Steward, who: Who, params: Answer) -> Answer:
    """Have another point tried in place of a suggestion that has not begun; ``values`` are what is other."""
    row = _own(steward, who, params, "lab_campaign_edit")
    values = _object(params, "values", "lab_campaign_edit", "an object: what is other than in the suggestion")
    trial, said = points.edit(steward.ledger, row.id, _trial(params, "lab_campaign_edit"), values, who.name)
    return {"success": True, "msg": said, "campaign": row.id, "trial": trial}


def beyond(former: CampaignConfig, new: CampaignConfig) -> list[Problem]:
    """What a changed campaign may do that the former one, which was approved, may not."""
    found = []
    for number, (old, one) in enumerate(zip(former.parameters, new.parameters, strict=True)):
        allowed = old.extremes
        is_within = set(one.extremes) <= set(allowed) if isinstance(old, ChoiceSpec) else all(_is_between(value, allowed) for value in one.extremes)
        if not is_within:
            found.append(Problem(f"parameters.{number}.{one.extremes_field}", shown(list(one.extremes)), _approved(shown(list(allowed)))))
    found += [Problem("constraints", f"none of {text!r}", _approved(text)) for text in former.constraints if text not in new.constraints]
    if new.safety != former.safety:
        found.append(Problem("safety", "another", _approved("as it is")))
    for name in ("trials", "failures", "hours"):
        had, has = getattr(former.budget, name), getattr(new.budget, name)
        if (math.inf if has is None else has) > (math.inf if had is None else had):
            found.append(Problem(f"budget.{name}", "no limit" if has is None else shown(has), _approved(f"at most {had:g}")))
    return found


def _approved(allowed: str) -> str:
    return f"{allowed}, with which it was approved; an operator may give it more"


def _is_between(value: Any, ends: Iterable[Any]) -> bool:
    numbers = [end for end in ends if isinstance(end, (int, float))]
    return value in ends if not numbers or isinstance(value, str) else min(numbers) <= value <= max(numbers)


def _own(steward: Steward, who: Who, params: Answer, method: str) -> CampaignRow:
    return CampaignsOnRecord(steward.ledger, steward.lab).own(who, params.get("campaign"), method)


def _object(params: Answer, name: str, method: str, allowed: str) -> Answer:
    value = params.get(name)
    if not isinstance(value, dict) or not value:
        raise refuse(method, name, value, allowed)
    raise_problems(method, problems_of_plain(value, name))
    if name == "values":
        raise_problems(method, [Problem(f"values.{shown(key)[1:-1]}", shown(one), "a number or a text") for key, one in value.items()
                                if isinstance(one, bool) or not isinstance(one, (int, float, str))])
    return value


def _measured(given: Answer) -> dict[str, Measured]:
    """Means and standard errors: numbers, or objects with ``mean`` and ``sem``."""
    found, problems = {}, []
    for name, one in given.items():
        told = one if isinstance(one, dict) else {"mean": one}
        mean, sem = _float(told.get("mean")), _float(told.get("sem"))
        if mean is None or (sem is None and told.get("sem") is not None) or set(told) - {"mean", "sem"}:
            problems.append(Problem(f"measured.{shown(name)[1:-1]}", shown(one), 'a number, or {"mean": m, "sem": s}'))
        else:
            found[name] = Measured(mean, sem)
    raise_problems("lab_campaign_attach", problems)
    return found


def _float(value: Any) -> float | None:
    """A finite number; None for anything else."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) else None


def _trial(params: Answer, method: str) -> int:
    trial = params.get("trial")
    if isinstance(trial, bool) or not isinstance(trial, int) or not 0 < trial < 2**31:
        raise refuse(method, "trial", trial, "the number of a trial, from 1")
    return trial


METHODS_HERE: dict[str, Callable[[Steward, Who, Answer], Answer]] = {
    handler.__name__: handler for handler in (lab_campaign_change, lab_campaign_attach, lab_campaign_veto, lab_campaign_edit)}
