"""The question of a campaign, changed under way: checked against its laboratory and its trials, on record with who did it.

Trials before stay evidence, also those outside the new bounds. A suggestion that has not begun and that the change forbids is withdrawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.changes.draft import changed
from lab.changes.words import differences
from lab.core.config import LabConfig
from lab.core.errors import ConfigError, LedgerError, Outdated
from lab.core.question import CampaignConfig
from lab.core.trial import Trial, TrialState
from lab.records.ledger import Ledger
from lab.records.revisions import CAN_BE_CHANGED
from lab.records.rows import CampaignRow
from lab.validation import check_question

ATTEMPTS = 5
"""Others may change the same campaign at the same moment; so often it is looked at again."""

Check = Callable[[CampaignConfig], None]


@dataclass(frozen=True)
class Changed:
    """What was done.

    Parameters
    ----------
    campaign : str
        Id.
    revision : int
        Number of the configuration that it has now.
    words : str
        What is other than before.
    withdrawn : tuple of int
        Indices of the suggestions that are not made after all.
    when : str
        From when on it holds.
    """

    campaign: str
    revision: int
    words: str
    withdrawn: tuple[int, ...]
    when: str

    def __str__(self) -> str:
        taken_back = "".join(f"; trial {index + 1} is withdrawn" for index in self.withdrawn)
        return f"{self.campaign}: {self.words}{taken_back}; {self.when}"


def change(ledger: Ledger, campaign: str, changes: Mapping[str, Any], by: str, where: str = "command line",
           check: Check | None = None) -> Changed:
    """Change a campaign that runs or can be resumed.

    Parameters
    ----------
    campaign : str
        As `Ledger.campaign` finds it.
    changes : mapping of str to value
        See `lab.changes.draft.changed`.
    by : str
        Who changes it.
    check : callable or None
        Raises when the new configuration is beyond what this person may have.

    Raises
    ------
    ConfigError
        When it cannot be: what is wrong, and what is allowed; an objective that was never measured.
    LedgerError
        When there is no such campaign, or it is over.
    """
    row = ledger.campaign(campaign)
    for _ in range(ATTEMPTS):
        try:
            return _change(ledger, row, changes, by, where, check)
        except Outdated:  # somebody else was faster: the same change of what it is now
            continue
    raise LedgerError(f"{row.id}: others change it all the time; look at it (lab show {row.id}), then try again")


def _change(ledger: Ledger, row: CampaignRow, changes: Mapping[str, Any], by: str, where: str, check: Check | None) -> Changed:
    if row.status not in CAN_BE_CHANGED:
        raise LedgerError(f"{row.id}: cannot be changed: it is {row.status}; allowed: one that runs or can be resumed")
    revisions = ledger.revisions(row.id)
    configs = [CampaignConfig.model_validate_json(one.config) for one in revisions]
    former = configs[-1]
    new = changed(former, changes, where, configs)
    words = differences(former, new)
    if new == former:
        return Changed(row.id, revisions[-1].number, words, (), "it goes on as before")
    if check is not None:
        check(new)
    trials = ledger.trials(row.id)
    check_question(LabConfig.model_validate_json(row.lab), new, lab_file=row.lab_name, campaign_file=where)
    _check_property(former, new, where)
    _check_measured(new, trials, where)
    withdrawn = _forbidden(new, ledger.known(row.id).trials, f"withdrawn by {by}, with whose change ({words}) it is not allowed")
    number = ledger.change_config(row.id, new.model_dump_json(), by, words, former=revisions[-1].number, withdrawn=withdrawn)
    when = "lab resume goes on with it" if row.status == "interrupted" else f"its session (process {row.pid} on {row.host}) goes on with it"
    return Changed(row.id, number, words, tuple(withdrawn), when)


def _check_property(former: CampaignConfig, new: CampaignConfig, where: str) -> None:
    """What a brightness stands for is said once: another name would be another property of the same light."""
    if former.evaluate.kind == "brightness" and [one.name for one in new.objectives] != [one.name for one in former.objectives]:
        raise ConfigError(where, "objectives", ", ".join(one.name for one in new.objectives), f"{former.objective.name}: all that evaluate.kind brightness gives")


def _check_measured(config: CampaignConfig, trials: Sequence[Trial], where: str) -> None:
    """An outcome that is asked for from now on must have been measured all along, or the trials so far would say nothing."""
    outcomes = [trial.outcome for trial in trials if trial.state is TrialState.COMPLETED and trial.outcome is not None]
    for name in config.outcome_names:
        if outcomes and not any(name in outcome.measured for outcome in outcomes):
            found = dict.fromkeys(one for outcome in outcomes for one in outcome.measured)
            raise ConfigError(where, "objectives", f"{name}, which no trial has measured", ", ".join(found))


def _forbidden(config: CampaignConfig, trials: Sequence[Trial], cause: str) -> dict[int, str]:
    """Suggestions that have not begun and that the configuration does not allow."""
    space = config.space
    found = {trial.index: space.problems(trial.planned) for trial in trials if trial.state is TrialState.SUGGESTED}
    return {index: f"{cause}: {problems[0]}" for index, problems in found.items() if problems}
