"""Requests: how people at other processes speak to the session that runs a campaign."""

from __future__ import annotations

from sqlalchemy import insert, select, update

from lab.core.errors import LedgerError
from lab.records import schema
from lab.records.answers import add_event, campaign_by_id, rows_of, true_status
from lab.records.part import Part
from lab.records.rows import RequestRow
from lab.records.store import iso

REQUEST_KINDS = ("pause", "continue", "stop")

WITHOUT_ACKNOWLEDGING = "interlocks are not acknowledged by it"
"""Detail of a ``continue`` from somebody elsewhere, who has not seen the instruments."""


class Requests(Part):
    """What people ask of sessions."""

    def request(self, campaign: str, kind: str, by: str, detail: str = "") -> int:
        """Ask the session that runs a campaign to ``pause``, ``continue`` or ``stop``; returns the number of the request.

        `detail` of a ``continue`` is nothing, which acknowledges interlocks, too, or `WITHOUT_ACKNOWLEDGING`.

        Raises
        ------
        LedgerError
            For another kind, or when no session runs it: nobody would ever take the request.
        """
        if kind not in REQUEST_KINDS:
            raise LedgerError(f"{campaign}: request: given {kind!r}; allowed: {', '.join(REQUEST_KINDS)}")
        with self._store.write() as connection:
            row = campaign_by_id(connection, campaign, is_locked=True)
            status, cause = true_status(row)
            if status != "running":
                raise LedgerError(f"{campaign}: cannot {kind}: the campaign is {status}{f' ({cause})' if cause else ''}; "
                                  "no session is there to do it")
            number = connection.execute(insert(schema.request).values(
                campaign=campaign, kind=kind, by=by, detail=detail, session=row.session, state="waiting",
                **self._stamp(connection, row, "requested"))).inserted_primary_key
            if number is None:
                raise LedgerError("request: the database gave no number to the new row")
            add_event(connection, self._store, campaign, None, "request", f"{kind}, asks {by}" + (f": {detail}" if detail else ""),
                      self._stamp(connection, row, "recorded"))
        return int(number[0])

    def take_requests(self, campaign: str) -> list[RequestRow]:
        """What was asked since the last call, the oldest first; each is given out once."""
        table = schema.request
        waiting = table.c.campaign == campaign, table.c.state == "waiting"
        with self._store.read() as connection:  # asked often, and mostly for nothing: no need to keep writers waiting
            if connection.execute(select(table.c.id).where(*waiting).limit(1)).first() is None:
                return []
        taken = []
        with self._store.write() as connection:
            for row in connection.execute(select(table).where(*waiting).order_by(table.c.id).with_for_update()).all():
                stamp = self._store.stamp("taken")
                connection.execute(update(table).where(table.c.id == row.id).values(state="taken", **stamp))
                taken.append(RequestRow(row.id, campaign, row.kind, row.by, row.detail, "taken", row.requested_wall, iso(self._store.wall())))
        return taken

    def requests(self, campaign: str) -> list[RequestRow]:
        """All requests to a campaign, the oldest first; `state` is waiting, taken, or dropped (its session ended before it took it)."""
        table = schema.request
        with self._store.read() as connection:
            return rows_of(connection, RequestRow, table, table.c.campaign == campaign, [table.c.id], "waiting", "dropped")
