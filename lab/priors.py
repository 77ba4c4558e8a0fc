"""``prior: [{name, campaign}]``: what an earlier campaign has measured, copied into a new one before it is opened.

The ledger keeps the copy with the campaign, so that its suggestions depend on nothing else, whatever becomes of the other one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from lab.core.errors import ConfigError, LedgerError
from lab.core.question import CampaignConfig, FixedSpec, PriorData, Scalar
from lab.core.trial import Trial, TrialState
from lab.records.ledger import Ledger

STATE = "state"
"""The column that says ``failed`` of a point that gave no outcome."""


def with_priors(config: CampaignConfig, ledger: Ledger, file: str) -> CampaignConfig:
    """The campaign with the trials of the earlier ones that it names.

    Parameters
    ----------
    file : str
        The campaign's file, named in messages.

    Raises
    ------
    ConfigError
        When one is not on record, has no outcome that this one asks for, or did not know a parameter.
    """
    if not any(one.campaign and not one.columns for one in config.prior):
        return config
    prior = tuple(_copied(config, one, ledger, file, f"prior.{k}") if one.campaign and not one.columns else one for k, one in enumerate(config.prior))
    return CampaignConfig.model_validate({**config.model_dump(exclude_unset=True), "prior": [one.model_dump() for one in prior]})


def _copied(config: CampaignConfig, prior: PriorData, ledger: Ledger, file: str, field: str) -> PriorData:
    try:
        row = ledger.campaign(prior.campaign)
        other = CampaignConfig.model_validate_json(row.config)
    except LedgerError as error:
        raise ConfigError(file, f"{field}.campaign", repr(prior.campaign), f"a campaign of this ledger ({error})") from error
    except ValidationError as error:
        raise ConfigError(file, f"{field}.campaign", repr(prior.campaign), "a campaign that this version of Labwright can read") from error
    fixed = _fixed(config, other, file, field, prior)
    trials = [one for one in ledger.trials(row.id) if one.state in (TrialState.COMPLETED, TrialState.FAILED)]
    outcomes = [name for name in config.outcome_names if any(one.outcome is not None and name in one.outcome.measured for one in trials)]
    if not outcomes:
        found = sorted({name for one in trials if one.outcome is not None for name in one.outcome.measured})
        raise ConfigError(file, f"{field}.campaign", f"{row.id}, which has measured {', '.join(found) or 'nothing'}",
                          f"a campaign that has measured {' or '.join(config.outcome_names)}")
    rows = [_row(config, trial, fixed, outcomes) for trial in trials]
    columns = tuple(dict.fromkeys(name for one in rows for name in one))
    return PriorData(name=prior.name, campaign=row.id, is_same=prior.is_same, columns=columns,
                     rows=tuple(tuple(one.get(name, "") for name in columns) for one in rows))


def _fixed(config: CampaignConfig, other: CampaignConfig, file: str, field: str, prior: PriorData) -> dict[str, Scalar]:
    """Parameters of this campaign that stayed the same in the other one, by its settings."""
    varied = {one.name for one in other.parameters}
    settings: Mapping[str, Any] = other.settings
    fixed = {one.name: settings[one.sets or one.name] for one in config.parameters if one.name not in varied and (one.sets or one.name) in settings}
    missing = [one.name for one in config.parameters if one.name not in varied and one.name not in fixed and not isinstance(one, FixedSpec)]
    if missing:
        raise ConfigError(file, f"{field}.campaign", f"{prior.campaign}, which did not know {', '.join(missing)}",
                          f"a campaign with each of {', '.join(one.name for one in config.parameters)} as a parameter or among its settings")
    unknown = sorted(varied - {one.name for one in config.parameters})
    if unknown and prior.is_same:
        raise ConfigError(file, f"{field}.is_same", f"true of {prior.campaign}, which varied {', '.join(unknown)}", "false: it is another question")
    return fixed


def _row(config: CampaignConfig, trial: Trial, fixed: Mapping[str, Scalar], outcomes: Sequence[str]) -> dict[str, Scalar]:
    names = {one.name for one in config.parameters}
    row: dict[str, Scalar] = {**fixed, **{name: value for name, value in trial.point.items() if name in names}}
    details = {} if trial.outcome is None else trial.outcome.details
    read = {**trial.executed, **details}
    row |= {one.name: read[one.name] for one in config.context if isinstance(read.get(one.name), (int, float))}
    measured = {} if trial.outcome is None else trial.outcome.measured
    for name in outcomes:
        if name in measured:
            row[name] = measured[name].mean
            if (sem := measured[name].sem) is not None:
                row[f"{name}_sem"] = sem
    return row | {STATE: "failed" if trial.state is TrialState.FAILED else "completed"}
