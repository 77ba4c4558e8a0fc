"""Points and results that people bring, and suggestions that they take back, as they write them: trials count from one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lab.core.errors import ConfigError
from lab.core.question import CampaignConfig
from lab.core.space import Value
from lab.core.trial import Measured, Outcome
from lab.records.ledger import Ledger
from lab.records.rows import CampaignRow

ERROR_SIGNS = ("+-", "±")
"""Between a measured value and its standard error."""


def attach(ledger: Ledger, campaign: str, values: Mapping[str, Value], by: str, measured: Mapping[str, Measured] | None = None) -> tuple[int, str]:
    """Have a point tried next, or book what was measured of it elsewhere; returns the number of its trial, and what was done.

    Parameters
    ----------
    campaign : str
        As `Ledger.campaign` finds it.
    values : mapping of parameter name to value
        What is fixed may be left out.
    by : str
        Who brings it.
    measured : mapping of outcome name to Measured, or None
        What is known of it; None or empty: it is to be tried.

    Raises
    ------
    ConfigError, LedgerError
        As `Ledger.attach` and `Ledger.attach_result`.
    """
    row = ledger.campaign(campaign)
    point = _whole(row, values)
    if measured:
        number = 1 + ledger.attach_result(row.id, point, Outcome(measured), by)
        return number, f"{row.id}: trial {number} is what {by} has measured elsewhere"
    number = 1 + ledger.attach(row.id, point, by)
    return number, f"{row.id}: trial {number} is tried for {by} before anything else is suggested{_when(row)}"


def veto(ledger: Ledger, campaign: str, trial: Any, by: str, why: str = "") -> str:
    """Take back a suggestion that has not begun; returns what was done.

    Raises
    ------
    ConfigError
        For what is no number of a trial.
    LedgerError
        As `Ledger.veto`.
    """
    row, number = ledger.campaign(campaign), _number(trial)
    ledger.veto(row.id, number - 1, by, why)
    return f"{row.id}: trial {number} is not made, and its point is not suggested again{_when(row)}"


def edit(ledger: Ledger, campaign: str, trial: Any, values: Mapping[str, Value], by: str) -> tuple[int, str]:
    """Have another point tried in place of a suggestion that has not begun; returns the number of the new trial, and what was done.

    Raises
    ------
    ConfigError, LedgerError
        As `Ledger.edit`.
    """
    row, number = ledger.campaign(campaign), _number(trial)
    if not values:
        raise ConfigError("point", "values", "nothing", "at least one parameter with another value")
    new = 1 + ledger.edit(row.id, number - 1, values, by)
    return new, f"{row.id}: trial {new} takes the place of trial {number}{_when(row)}"


def parse_measured(assignments: Sequence[str]) -> dict[str, Measured]:
    """``purity=0.93`` or ``purity=0.93+-0.02``, several.

    Raises
    ------
    ConfigError
        For anything else.
    """
    found = {}
    for text in assignments:
        name, separator, given = text.partition("=")
        mean, sem = given, ""
        for sign in ERROR_SIGNS:
            mean, sem = given.split(sign, 1) if sign in given else (mean, sem)
        try:
            found[name.strip()] = Measured(_float(mean), _float(sem) if sem else None)
        except ValueError as error:
            raise ConfigError("command line", "--measured", repr(text), "OUTCOME=VALUE or OUTCOME=VALUE+-ERROR") from error
        if not separator or not name.strip():
            raise ConfigError("command line", "--measured", repr(text), "OUTCOME=VALUE or OUTCOME=VALUE+-ERROR")
    return found


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not finite")
    return value


def _whole(row: CampaignRow, values: Mapping[str, Value]) -> dict[str, Value]:
    fixed = CampaignConfig.model_validate_json(row.config).space.fixed
    return {**{one.name: one.value for one in fixed}, **values}


def _number(trial: Any) -> int:
    """A trial as people count them."""
    number = int(trial) if isinstance(trial, str) and trial.isdecimal() else trial
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ConfigError("command line", "TRIAL", repr(trial), "the number of a trial, from 1, as lab show has it")
    return number


def _when(row: CampaignRow) -> str:
    return "; lab resume goes on with it" if row.status == "interrupted" else ""
