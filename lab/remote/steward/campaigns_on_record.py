"""Whose campaigns are whose: what somebody may see of the ledger, and what they may do with it.

Campaigns of others that somebody may not see do not exist for them: refusals say the same of both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lab.core.config import LabConfig
from lab.core.remote import is_at_least
from lab.records.ledger import Ledger
from lab.records.rows import CampaignRow
from lab.remote.access.roles import may_see
from lab.remote.access.who import Who
from lab.remote.registry.refusals import PlanRefused, Problem, refuse, shown


class CampaignsOnRecord:
    """The campaigns of a ledger as each person may see them.

    Parameters
    ----------
    ledger : Ledger
    lab : LabConfig
        Which says what roles see.
    """

    def __init__(self, ledger: Ledger, lab: LabConfig) -> None:
        self._ledger, self._lab = ledger, lab

    def visible(self, who: Who) -> list[CampaignRow]:
        """Those that somebody may see, the oldest first."""
        sees = self._lab.remote.documents(who.role)
        return [row for row in self._ledger.campaigns() if may_see(sees, who.name, owner_of(row))]

    def find(self, who: Who, key: Any, what: str = "campaign") -> CampaignRow:
        """One that somebody may see: by its id, by its name (then the newest), or by the unique beginning of its id.

        Raises
        ------
        PlanRefused
            When there is none, or several begin so.
        """
        rows = self.visible(who)
        if not isinstance(key, str) or not key:
            raise refuse(what, "campaign", key, f"the id of a campaign: {_some(rows)}")
        exact = [row for row in rows if row.id == key] or [row for row in rows if row.name == key][-1:]
        found = exact if exact else [row for row in rows if row.id.startswith(key)]
        if len(found) != 1:
            raise PlanRefused(what, [Problem("campaign", shown(key), _one_of(found if found else rows))])
        return found[0]

    def own(self, who: Who, key: Any, what: str = "campaign") -> CampaignRow:
        """The same, and theirs; anybody's for operators.

        Raises
        ------
        PlanRefused
        """
        row = self.find(who, key, what)
        if owner_of(row) != who.name and not is_at_least(who.role, "operator"):
            raise PlanRefused(what, [Problem("campaign", row.id, "your own campaigns; ask an operator for this one")])
        return row

    def resumable_problems(self, campaign: str, who: Who) -> list[Problem]:
        """Why somebody may not have a campaign resumed (`lab.remote.registry.plan_checks.Records`)."""
        try:
            row = self.own(who, campaign)
        except PlanRefused as error:
            return list(error.problems)
        if row.id != campaign:
            return [Problem("campaign", shown(campaign), f"its whole id: {row.id}")]
        if row.status != "interrupted":
            return [Problem("campaign", f"{row.id}, which is {row.status}", "a campaign that is interrupted")]
        if row.lab_name != self._lab.name:
            return [Problem("campaign", f"{row.id} of the laboratory {row.lab_name}", f"a campaign of {self._lab.name}")]
        return []

    def prior_problems(self, config: Mapping[str, Any], who: Who) -> list[Problem]:
        """Why somebody may not build upon the earlier campaigns that a new one names (`lab.remote.registry.plan_checks.Records`)."""
        found = []
        for number, one in enumerate(config.get("prior", ())):
            if not one.get("campaign"):
                continue
            field = f"config.prior.{number}.campaign"
            try:
                row = self.own(who, one["campaign"])
            except PlanRefused as error:
                found += [replace(problem, field=field) for problem in error.problems]
                continue
            if row.id != one["campaign"]:  # by its name it may be another one by the time it is looked for
                found.append(Problem(field, shown(one["campaign"]), f"its whole id: {row.id}"))
        return found


def owner_of(row: CampaignRow) -> str:
    """Whose campaign it is; empty when it names nobody."""
    try:
        config = json.loads(row.config)
    except ValueError:
        return ""
    owner = config.get("owner") if isinstance(config, dict) else None
    return owner if isinstance(owner, str) else ""


def _some(rows: Sequence[CampaignRow]) -> str:
    newest = [row.id for row in rows[-8:]]
    return ", ".join(reversed(newest)) if newest else "there is none that you may see"


def _one_of(rows: Sequence[CampaignRow]) -> str:
    return f"one of {_some(rows)}" if rows else f"none: {_some(rows)}"
