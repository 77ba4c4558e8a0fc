"""The configurations that a campaign has had: each one is kept, with who changed what, so that every suggestion can be told from its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from lab.core.errors import LedgerError, Outdated
from lab.core.trial import TrialState
from lab.records import schema
from lab.records.answers import add_event, campaign_by_id
from lab.records.part import Part
from lab.records.rows import RevisionRow

table = schema.revision

CAN_BE_CHANGED = ("running", "interrupted")
"""Campaigns in these states have something before them."""


class Revisions(Part):
    """How campaigns are changed under way."""

    def change_config(self, campaign: str, config_json: str, by: str, words: str, *, former: int | None = None,
                      withdrawn: Mapping[int, str] | None = None) -> int:
        """From now on the campaign has another configuration; returns its number.

        Parameters
        ----------
        by, words : str
            Who changes it, and what is other than before.
        former : int or None
            The revision that was changed; None: whichever is the last one.
        withdrawn : mapping of trial index to cause
            Suggestions that the change forbids: they are abandoned. One that has begun meanwhile is left alone.

        Raises
        ------
        LedgerError
            When the campaign is over.
        Outdated
            When somebody else has changed it since `former`.
        """
        _check_json(config_json, campaign)
        with self._store.write() as connection:
            row = campaign_by_id(connection, campaign, is_locked=True)
            if row.status not in CAN_BE_CHANGED:
                raise LedgerError(f"{campaign}: cannot be changed: it is {row.status}")
            last = last_revision(connection, campaign)
            if former is not None and former != last:
                raise Outdated(f"{campaign}: has been changed meanwhile: it is at revision {last}, and no longer at {former}; look at it again")
            add_revision(connection, campaign, last + 1, config_json, by, words, self._stamp(connection, row, "changed"))
            connection.execute(update(schema.campaign).where(schema.campaign.c.id == campaign).values(config=config_json))
            add_event(connection, self._store, campaign, None, "change", f"{words}, says {by}", self._stamp(connection, row, "recorded"))
            for index, cause in (withdrawn or {}).items():
                self._withdraw(connection, row, index, cause)
        return last + 1

    def revision(self, campaign: str) -> int:
        """Number of the configuration that a campaign has now."""
        with self._store.read() as connection:
            return last_revision(connection, campaign)

    def revisions(self, campaign: str, since: int = -1) -> list[RevisionRow]:
        """The configurations of a campaign after number `since`, in their order."""
        mine = table.c.campaign == campaign, table.c.number > since
        with self._store.read() as connection:
            rows = connection.execute(select(table).where(*mine).order_by(table.c.number)).all()
        return [RevisionRow(row.number, row.config, row.by, row.words, row.changed_wall, row.changed_lab_s) for row in rows]

    def _withdraw(self, connection: Connection, row: Any, index: int, cause: str) -> bool:
        """Abandon a suggestion that has not begun, in the caller's transaction; returns whether it had not."""
        if state_of(connection, row.id, index) != TrialState.SUGGESTED.value:
            return False
        self._change(connection, row.id, index, (TrialState.SUGGESTED,), TrialState.ABANDONED, cause=cause, **self._stamp(connection, row, "ended"))
        add_event(connection, self._store, row.id, index, "withdrawn", cause, self._stamp(connection, row, "recorded"))
        return True


def add_revision(connection: Connection, campaign: str, number: int, config_json: str, by: str, words: str, stamp: Mapping[str, str | float]) -> None:
    """One more configuration, in the caller's transaction."""
    connection.execute(insert(table).values(campaign=campaign, number=number, config=config_json, by=by, words=words, **stamp))


def last_revision(connection: Connection, campaign: str) -> int:
    """Number of the configuration that a campaign has now; -1 when there is no such campaign."""
    last = connection.execute(select(func.max(table.c.number)).where(table.c.campaign == campaign)).scalar()
    return -1 if last is None else int(last)


def config_at(connection: Connection, campaign: str, number: int) -> str:
    """A configuration of a campaign, JSON."""
    found = connection.execute(select(table.c.config).where(table.c.campaign == campaign, table.c.number == number)).scalar()
    if found is None:
        raise LedgerError(f"{campaign}: has no revision {number} in the ledger")
    return str(found)


def state_of(connection: Connection, campaign: str, index: int) -> str:
    """State of a trial as it stands in the ledger; empty when there is none."""
    mine = schema.trial.c.campaign == campaign, schema.trial.c.trial == index
    found = connection.execute(select(schema.trial.c.state).where(*mine)).scalar()
    return "" if found is None else str(found)


def _check_json(text: str, campaign: str) -> None:
    try:
        json.loads(text)
    except (TypeError, ValueError) as error:
        raise LedgerError(f"campaign {campaign}: config: is not JSON: {error}") from error
