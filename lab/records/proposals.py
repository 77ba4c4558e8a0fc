"""Points that programs elsewhere propose to a campaign whose engine is ``remote``, and which trials they became."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from lab.core.errors import LedgerError
from lab.core.question import CampaignConfig
from lab.core.space import Value
from lab.core.trial import Suggestion
from lab.records import schema
from lab.records.allowed import check_point
from lab.records.answers import add_event, campaign_by_id, n_with_sample, true_status
from lab.records.journal import plain
from lab.records.part import Part
from lab.records.revisions import last_revision
from lab.records.rows import ProposalRow
from lab.records.store import iso
from lab.records.trials import add_trial

table = schema.proposal


class Proposals(Part):
    """What programs elsewhere ask campaigns to try."""

    def propose(self, campaign: str, values: Mapping[str, Value], by: str) -> int:
        """Ask a campaign to try a point; returns the number of the proposal. One that is interrupted tries it once it is resumed.

        Parameters
        ----------
        values : mapping of parameter name to value
            Complete, inside the bounds, every constraint met.
        by : str
            Who proposes it.

        Raises
        ------
        ConfigError
            When the campaign may not try this point; all that is wrong is said.
        LedgerError
            When the campaign takes no proposals, is over, or its budget has no trial left for it.
        """
        with self._store.write() as connection:
            row = campaign_by_id(connection, campaign, is_locked=True)
            config = CampaignConfig.model_validate_json(row.config)
            if config.optimizer.engine != "remote":
                raise LedgerError(f"{campaign}: takes no proposals: its optimizer.engine is {config.optimizer.engine}; allowed: remote")
            status, _ = true_status(row)
            if status not in ("running", "interrupted"):
                raise LedgerError(f"{campaign}: takes no proposals any more: it is {status}")
            check_point(config, values, "proposal")
            n_trials = n_with_sample(connection, campaign)
            n_waiting = connection.execute(select(func.count()).select_from(table).where(
                table.c.campaign == campaign, table.c.state == "waiting")).scalar_one()
            if n_trials + n_waiting >= config.budget.trials:
                raise LedgerError(f"{campaign}: no trial is left for another proposal: {n_trials} made, {n_waiting} waiting; allowed: {config.budget.trials} "
                                  f"(lab budget {campaign} trials=...)")
            number = connection.execute(insert(table).values(
                campaign=campaign, values=plain(values, f"{campaign}: proposal"), by=by, state="waiting",
                proposed_wall=iso(self._store.wall()))).inserted_primary_key
            if number is None:
                raise LedgerError("proposal: the database gave no number to the new row")
            add_event(connection, self._store, campaign, None, "proposal", f"proposal {number[0]} by {by}", self._stamp(connection, row, "recorded"))
        return int(number[0])

    def take_proposal(self, campaign: str, basis: int | None = None) -> ProposalRow | None:
        """Make a trial of the oldest proposal that waits, in one transaction; None when none does. `basis` as in `add_suggestion`."""
        waiting = table.c.campaign == campaign, table.c.state == "waiting"
        with self._store.read() as connection:  # asked often, and mostly for nothing: no need to keep writers waiting
            if connection.execute(select(table.c.id).where(*waiting).limit(1)).first() is None:
                return None
        with self._store.write() as connection:
            self._check_open(connection, campaign, "take a proposal")
            config = CampaignConfig.model_validate_json(campaign_by_id(connection, campaign).config)
            row = self._first_allowed(connection, campaign, config)
            if row is None:
                return None
            index = add_trial(connection, campaign, Suggestion(row._mapping["values"], f"remote: {row.by}"), self._store.stamp("suggested"),
                              last_revision(connection, campaign), basis)
            connection.execute(update(table).where(table.c.id == row.id).values(state="taken", trial=index, ended_wall=iso(self._store.wall())))
            return _by_number(connection, row.id)

    def _first_allowed(self, connection: Connection, campaign: str, config: CampaignConfig) -> Any:
        """The oldest proposal that waits; those that the campaign may not try any more, since it was changed, are dropped."""
        waiting = select(table).where(table.c.campaign == campaign, table.c.state == "waiting").order_by(table.c.id)
        for row in connection.execute(waiting.with_for_update()).all():
            problems = config.space.problems(row._mapping["values"])
            if not problems:
                return row
            connection.execute(update(table).where(table.c.id == row.id).values(state="dropped", ended_wall=iso(self._store.wall())))
            add_event(connection, self._store, campaign, None, "proposal", f"proposal {row.id} by {row.by} is dropped: {problems[0]}")
        return None

    def proposal(self, number: int) -> ProposalRow:
        """One proposal; the trial that it became tells the outcome (`Trials.trial`).

        Raises
        ------
        LedgerError
            When there is none of that number.
        """
        with self._store.read() as connection:
            return _by_number(connection, number)

    def proposals(self, campaign: str) -> list[ProposalRow]:
        """All proposals to a campaign, the oldest first."""
        with self._store.read() as connection:
            return [_row(row) for row in connection.execute(select(table).where(table.c.campaign == campaign).order_by(table.c.id))]


def drop_proposals(connection: Connection, campaign: str, wall: str) -> None:
    """Nobody will try what still waits: the campaign is over."""
    connection.execute(update(table).where(table.c.campaign == campaign, table.c.state == "waiting").values(state="dropped", ended_wall=wall))


def _by_number(connection: Connection, number: int) -> ProposalRow:
    row = connection.execute(select(table).where(table.c.id == number)).first()
    if row is None:
        raise LedgerError(f"proposal {number}: is not in the ledger")
    return _row(row)


def _row(row: Any) -> ProposalRow:
    return ProposalRow(**row._mapping)
