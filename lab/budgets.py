"""The budget of a campaign under way, changed by people: checked before anybody is asked, on record with who did it.

A session that runs the campaign takes the change as a request; of an interrupted campaign it is written down at once, and
`lab resume` goes on with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lab.core.config import LabConfig
from lab.core.errors import ConfigError, LedgerError
from lab.core.question import Budget, CampaignConfig
from lab.files import parse
from lab.records.ledger import Ledger

FIELDS = tuple(Budget.model_fields)


def read(detail: str) -> dict[str, Any]:
    """The fields that a request changes.

    Raises
    ------
    LedgerError
        When it is no such request.
    """
    try:
        changes = json.loads(detail)
    except ValueError as error:
        raise LedgerError(f"request: budget: given {detail!r}; allowed: a JSON object of {', '.join(FIELDS)}") from error
    if not isinstance(changes, dict):
        raise LedgerError(f"request: budget: given {detail!r}; allowed: a JSON object of {', '.join(FIELDS)}")
    return changes


def changed(config: CampaignConfig, changes: Mapping[str, Any], where: str) -> CampaignConfig:
    """The campaign with another budget.

    Parameters
    ----------
    changes : mapping of str to number
        Fields of the budget; what is not named stays as it is, ``hours: None`` takes the limit away.
    where : str
        What messages name as the origin.

    Raises
    ------
    ConfigError
        For unknown fields and values that a budget may not have; all of them are said.
    """
    if not changes:
        raise ConfigError(where, "budget", "nothing", f"at least one of {', '.join(FIELDS)}")
    unknown = [name for name in changes if name not in FIELDS]
    if unknown:
        raise ConfigError(where, f"budget.{unknown[0]}", str(changes[unknown[0]]), f"one of {', '.join(FIELDS)}",
                          [ConfigError(where, f"budget.{name}", str(changes[name]), f"one of {', '.join(FIELDS)}") for name in unknown[1:]])
    return parse(CampaignConfig, config.model_dump(mode="json"), where, {f"budget.{name}": value for name, value in changes.items()})


def words(former: Budget, now: Budget) -> str:
    """``trials 20 -> 40``: what has changed."""
    said = [f"{name} {_said(getattr(former, name))} -> {_said(getattr(now, name))}" for name in FIELDS if getattr(former, name) != getattr(now, name)]
    return ", ".join(said) if said else "as it was"


def ask(ledger: Ledger, campaign: str, changes: Mapping[str, Any], by: str, where: str = "command line") -> str:
    """Change the budget of a campaign that runs or can be resumed; returns in words what was done, or will be.

    Parameters
    ----------
    campaign : str
        As `Ledger.campaign` finds it.
    by : str
        Who asks.

    Raises
    ------
    ConfigError
        When it is no budget, or more trials than the rack has slots.
    LedgerError
        When there is no such campaign, or it is over.
    """
    row = ledger.campaign(campaign)
    config = CampaignConfig.model_validate_json(row.config)
    new = changed(config, changes, where)
    stations = LabConfig.model_validate_json(row.lab).stations.values()
    slots = sum(station.slots for station in stations if station.role == "rack")
    if new.budget.trials > slots:
        raise ConfigError(where, "budget.trials", str(new.budget.trials), f"1..{slots}, the slots of the rack of {row.lab_name}")
    said = words(config.budget, new.budget)
    if row.status == "interrupted":
        ledger.change_config(row.id, new.model_dump_json(), by, f"budget: {said}")
        return f"{row.id}: budget: {said}; lab resume goes on with it"
    ledger.request(row.id, "budget", by, json.dumps(dict(changes)))
    return f"asked {row.id} for another budget: {said}; its session (process {row.pid} on {row.host}) takes it in a moment"


def _said(value: float | None) -> str:
    return "no limit" if value is None else f"{value:g}"
