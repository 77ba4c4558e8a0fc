"""Errands and notices: writes that a client has named, so that they are done once; and what happened to the queue, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, insert, select, update

from lab.core.errors import LedgerError
from lab.records import schema
from lab.records.part import Part
from lab.records.queue_rows import Errand, ErrandRow, NoticeRow
from lab.records.store import iso


class Errands(Part):
    """Writes that clients have named, and notices."""

    def begin_errand(self, errand: Errand) -> ErrandRow | None:
        """Begin a write that a client has named; None when it is new, else what became of it when it was asked for first.

        Raises
        ------
        LedgerError
            When the same client used the name for something else.
        """
        table = schema.errand
        with self._store.write() as connection:
            row = connection.execute(select(table).where(table.c.user == errand.user, table.c.name == errand.name)).first()
            if row is None:
                connection.execute(insert(table).values(user=errand.user, name=errand.name, method=errand.method, digest=errand.digest, items=[],
                                                        answer=None, begun_wall=iso(self._store.wall())))
                return None
        found = _errand(row)
        if (found.method, found.digest) != (errand.method, errand.digest):
            raise LedgerError(f"request {errand.name}: was used for {found.method} at {found.begun_wall}, and for other words; allowed: a new name for each request")
        return found

    def end_errand(self, errand: Errand, answer: Mapping[str, Any]) -> None:
        """Keep what was answered."""
        table = schema.errand
        with self._store.write() as connection:
            connection.execute(update(table).where(table.c.user == errand.user, table.c.name == errand.name).values(
                answer=dict(answer), ended_wall=iso(self._store.wall())))

    def forget_errands(self, user: str, keep: int) -> int:
        """Forget what somebody's oldest writes were answered, but for the newest `keep`; returns how many were forgotten."""
        table = schema.errand
        old = select(table.c.name).where(table.c.user == user).order_by(table.c.begun_wall.desc(), table.c.name).offset(keep)
        with self._store.write() as connection:
            return int(connection.execute(delete(table).where(table.c.user == user, table.c.name.in_(old))).rowcount)

    def errand(self, user: str, name: str) -> ErrandRow | None:
        """What became of a write that a client has named; None when it never came here."""
        table = schema.errand
        with self._store.read() as connection:
            row = connection.execute(select(table).where(table.c.user == user, table.c.name == name)).first()
        return None if row is None else _errand(row)

    def add_notice(self, kind: str, text: str, item: str = "") -> None:
        """Put on record what happened to the queue or one of its services."""
        with self._store.write() as connection:
            connection.execute(insert(schema.notice).values(kind=kind, item=item, text=text, recorded_wall=iso(self._store.wall())))

    def notices(self, item: str = "", limit: int | None = None) -> list[NoticeRow]:
        """Notices in the order in which they were written; of one item only, and the latest so many, when that is asked for."""
        table = schema.notice
        query = select(table).order_by(table.c.id.desc()).limit(limit)
        if item:
            query = query.where(table.c.item == item)
        with self._store.read() as connection:
            return [NoticeRow(**row._asdict()) for row in connection.execute(query)][::-1]


def _errand(row: Any) -> ErrandRow:
    return ErrandRow(row.user, row.name, row.method, row.digest, tuple(row.items), row.answer, row.begun_wall, row.ended_wall)
