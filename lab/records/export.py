"""Trials of a campaign as a table for other programs."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.core.errors import ConfigError
from lab.core.trial import Trial
from lab.records.ledger import Ledger


def trial_rows(trials: Sequence[Trial]) -> tuple[list[str], list[dict[str, Any]]]:
    """Columns and rows, one for each trial.

    Columns are ``trial, state, sample, origin, cause``, ``planned.NAME`` and ``executed.NAME`` for each parameter, ``NAME`` and ``NAME.sem``
    for each measured outcome, and ``detail.NAME``. What a trial does not have is left out of its row.
    """
    names = {"planned": _names(t.planned for t in trials), "executed": _names(t.executed for t in trials)}
    outcomes = [t.outcome for t in trials if t.outcome is not None]
    measured, details = _names(o.measured for o in outcomes), _names(o.details for o in outcomes)
    columns = ["trial", "state", "sample", "origin"]
    columns += [f"{kind}.{name}" for kind in ("planned", "executed") for name in names[kind]]
    columns += [column for name in measured for column in (name, f"{name}.sem")]
    columns += [f"detail.{name}" for name in details] + ["cause"]
    return columns, [_row(trial) for trial in trials]


def trials_to_csv(ledger: Ledger, campaign: str, path: str | Path) -> int:
    """Write the trials of a campaign to a CSV file (replacing one that is there); returns their number.

    Numbers are written with all their digits. The file appears whole or not at all.

    Raises
    ------
    LedgerError
        When there is no such campaign.
    ConfigError
        When the file cannot be written.
    """
    path = Path(path)
    columns, rows = trial_rows(ledger.trials(campaign))
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(rows)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise ConfigError("command line", "csv", f"{path}, which cannot be written: {error.strerror}",
                          "a file in a folder that exists and is writable") from error
    return len(rows)


def _row(trial: Trial) -> dict[str, Any]:
    row: dict[str, Any] = {"trial": trial.index + 1, "state": trial.state.value, "sample": trial.sample, "origin": trial.origin}
    row |= {f"planned.{name}": value for name, value in trial.planned.items()}
    row |= {f"executed.{name}": value for name, value in trial.executed.items()}
    if trial.outcome is not None:
        for name, value in trial.outcome.measured.items():
            row[name] = value.mean
            if value.sem is not None:
                row[f"{name}.sem"] = value.sem
        row |= {f"detail.{name}": value for name, value in trial.outcome.details.items()}
    return row | {"cause": trial.cause}


def _names(mappings: Any) -> list[str]:
    """All keys, in the order in which they first appear."""
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))
