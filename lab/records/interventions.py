"""Points and results that people bring to a campaign, and suggestions that they take back or put in other words.

Each of them is one transaction, in whichever process: the session that runs the campaign finds it before its next sample. Nothing is
overwritten: a suggestion that is edited is withdrawn, and the new point is a trial of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from lab.core.errors import LedgerError
from lab.core.question import CampaignConfig
from lab.core.space import Value
from lab.core.trial import Outcome, Suggestion, TrialState
from lab.records import schema
from lab.records.allowed import check_point, check_result
from lab.records.answers import add_event, campaign_by_id, n_with_sample, outcome_rows
from lab.records.revisions import CAN_BE_CHANGED, Revisions, last_revision, state_of
from lab.records.trials import add_trial

POINT, RESULT = "point", "result"
"""How messages call what somebody brings."""

ELSEWHERE = "measured elsewhere"
"""What the origin of a result says beside the name."""


class Interventions(Revisions):
    """What people do to the trials of a campaign."""

    def attach(self, campaign: str, values: Mapping[str, Value], by: str) -> int:
        """Have a point tried before anything else is suggested; returns the index of its trial.

        Parameters
        ----------
        values : mapping of parameter name to value
            Complete, inside the bounds, every constraint met.
        by : str
            Who wants it; it is the trial's origin.

        Raises
        ------
        ConfigError
            When the campaign may not try this point; all that is wrong is said.
        LedgerError
            When it is over, or its budget has no trial left for it.
        """
        with self._store.write() as connection:
            row, config = self._open_row(connection, campaign)
            check_point(config, values, POINT)
            _check_budget(connection, row, config)
            return self._attach(connection, row, values, by, "attached", f"is tried for {by}")

    def attach_result(self, campaign: str, values: Mapping[str, Value], outcome: Outcome, by: str) -> int:
        """Book what was measured elsewhere: a completed trial without a sample, which uses nothing of the budget; returns its index.

        Raises
        ------
        ConfigError
            When a parameter or an outcome that the campaign asks for is missing, or unknown.
        LedgerError
            When it is over, or a number is not finite.
        """
        with self._store.write() as connection:
            row, config = self._open_row(connection, campaign)
            check_result(config, values, outcome.measured, RESULT)
            index = self._attach(connection, row, values, f"{by}, {ELSEWHERE}", "attached", f"{ELSEWHERE}, says {by}")
            rows = outcome_rows(outcome, f"{campaign}: trial {index}")
            stamp = self._stamp(connection, row, "recorded")
            self._change(connection, campaign, index, (TrialState.SUGGESTED,), TrialState.COMPLETED, **self._stamp(connection, row, "ended"))
            connection.execute(insert(schema.outcome), [{"campaign": campaign, "trial": index, **one, **stamp} for one in rows])
        return index

    def veto(self, campaign: str, index: int, by: str, why: str = "") -> None:
        """Withdraw a suggestion that has not begun; its point is not suggested again.

        Raises
        ------
        LedgerError
            When there is no such trial, when it has begun, or the campaign is over.
        """
        with self._store.write() as connection:
            row, _ = self._open_row(connection, campaign)
            self._take_back(connection, row, index, f"vetoed by {by}" + (f": {why}" if why else ""))

    def edit(self, campaign: str, index: int, values: Mapping[str, Value], by: str) -> int:
        """Have another point tried in place of a suggestion that has not begun; returns the index of the new trial.

        Parameters
        ----------
        values : mapping of parameter name to value
            What is other than in the suggestion.

        Raises
        ------
        ConfigError
            When the campaign may not try this point; all that is wrong is said.
        LedgerError
            As `veto`.
        """
        with self._store.write() as connection:
            row, config = self._open_row(connection, campaign)
            table = schema.trial
            planned = connection.execute(select(table.c.planned).where(table.c.campaign == campaign, table.c.trial == index)).scalar()
            edited = {**(planned if planned is not None else {}), **values}
            self._take_back(connection, row, index, f"edited by {by}")
            check_point(config, edited, POINT)
            return self._attach(connection, row, edited, f"{by}, for trial {index + 1}", "edited", f"takes the place of trial {index + 1}, says {by}")

    # ------------------------------------------------------------------------------------------------ parts

    def _open_row(self, connection: Connection, campaign: str) -> tuple[Row[Any], CampaignConfig]:
        row = campaign_by_id(connection, campaign, is_locked=True)
        if row.status not in CAN_BE_CHANGED:
            raise LedgerError(f"{campaign}: is {row.status}; allowed: a campaign that runs or can be resumed")
        return row, CampaignConfig.model_validate_json(row.config)

    def _attach(self, connection: Connection, row: Row[Any], values: Mapping[str, Value], origin: str, kind: str, text: str) -> int:
        stamp = self._stamp(connection, row, "suggested")
        index = add_trial(connection, row.id, Suggestion(values, origin), stamp, last_revision(connection, row.id), None)
        add_event(connection, self._store, row.id, index, kind, text, self._stamp(connection, row, "recorded"))
        return index

    def _take_back(self, connection: Connection, row: Row[Any], index: int, cause: str) -> None:
        if not self._withdraw(connection, row, index, cause):
            state = state_of(connection, row.id, index)
            raise LedgerError(f"{row.id}: trial {index + 1}: " + (f"is {state}; allowed: a suggestion that has not begun" if state else "is not in the ledger"))


def _check_budget(connection: Connection, row: Row[Any], config: CampaignConfig) -> None:
    n = n_with_sample(connection, row.id)
    if n >= config.budget.trials:
        raise LedgerError(f"{row.id}: no trial is left for another point: {n} of {config.budget.trials} are made or suggested; give it more first: "
                          f"lab change {row.id} trials={n + 1}")
