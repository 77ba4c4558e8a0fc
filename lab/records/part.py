"""What the parts of the ledger share: the store, the process they speak for, and the checks before an entry."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, and_, insert, select, update

from lab.core.errors import LedgerError
from lab.core.trial import TrialState
from lab.records import schema
from lab.records.answers import campaign_by_id, last_lab_s, process_of
from lab.records.process import Process
from lab.records.store import Store, iso


def note_change(connection: Connection, campaign: str, index: int) -> None:
    """Keep what a trial is now, in the transaction that changed it."""
    trial, change = schema.trial, schema.change
    now = select(trial.c.campaign, trial.c.trial, trial.c.state, trial.c.executed, trial.c.started_lab_s, trial.c.ended_lab_s).where(
        trial.c.campaign == campaign, trial.c.trial == index)
    connection.execute(insert(change).from_select(["campaign", "trial", "state", "executed", "began_lab_s", "ended_lab_s"], now))


class Part:
    """One part of `lab.records.ledger.Ledger`.

    Parameters
    ----------
    store : Store
    me : Process
        The process for which it speaks.
    """

    def __init__(self, store: Store, me: Process) -> None:
        self._store, self._me = store, me

    def _check_open(self, connection: Connection, campaign: str, what: str) -> Row[Any]:
        """The campaign's row, kept from other writers; refused when it does not run."""
        row = campaign_by_id(connection, campaign, is_locked=True)
        if row.status != "running":
            raise LedgerError(f"{campaign}: cannot {what}: the campaign is {row.status}")
        return row

    def _stamp(self, connection: Connection, row: Row[Any], prefix: str) -> dict[str, str | float]:
        """Now, for an entry about a campaign that another process may run: only that one knows the laboratory time.

        Any other process takes the largest laboratory time on record.
        """
        if process_of(row) == self._me:
            return self._store.stamp(prefix)
        return {f"{prefix}_wall": iso(self._store.wall()), f"{prefix}_lab_s": last_lab_s(connection, row.id)}

    def _change(self, connection: Connection, campaign: str, index: int, allowed: tuple[TrialState, ...], state: TrialState,
                **values: Any) -> None:
        """Take a trial to its next state, if it is in one of `allowed`."""
        mine = and_(schema.trial.c.campaign == campaign, schema.trial.c.trial == index)
        changed = connection.execute(update(schema.trial).where(mine, schema.trial.c.state.in_([s.value for s in allowed])).values(
            state=state.value, **values))
        if changed.rowcount == 1:
            note_change(connection, campaign, index)
            return
        now = connection.execute(schema.trial.select().where(mine)).first()
        if now is None:
            raise LedgerError(f"{campaign}: trial {index}: is not in the ledger")
        raise LedgerError(f"{campaign}: trial {index}: cannot become {state.value}: it is {now.state}; "
                          f"allowed from: {', '.join(s.value for s in allowed)}")
