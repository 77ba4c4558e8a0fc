"""A ledger of an older version becomes one of this version, in one transaction: all of it, or nothing.

Version 2 knows sessions (a campaign can be resumed), further samples of a trial, names of steps, questions, requests and stock.
Its new columns have defaults in the database, so they are added to the tables that are there; what they can be told from the old
rows is filled in. Racks of version 1 began full with each campaign, so no slot counts as used.

Version 3 knows the queue: items, the writes that clients have named, notices, proposals. Its tables are new, and begin empty.

Version 4 knows revisions (a campaign's configuration can change under way), and what a suggestion was thought of. What a campaign had been
changed to before is its revision 0: nobody has kept what it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, Table, insert, inspect, literal, select, text, update
from sqlalchemy.schema import CreateColumn

from lab.core.errors import LedgerError
from lab.records import schema
from lab.records.process import Process

READABLE = (1, 2, 3)
"""Versions that can be brought up to date."""


def migrate(connection: Connection, name: str) -> None:
    """Bring the ledger up to date, in the caller's transaction.

    Raises
    ------
    LedgerError
        When a campaign of the older version still runs: it would write rows that lack what the new ones have.
    """
    # Another process may have done it while this one waited for the transaction.
    version = connection.execute(select(schema.about.c.schema_version)).scalar_one()
    if version == schema.SCHEMA_VERSION:
        return
    _refuse_if_in_use(connection, name, version)
    schema.metadata.create_all(connection)
    inspector = inspect(connection)
    for table in schema.metadata.sorted_tables:
        _add_columns(connection, table, {column["name"] for column in inspector.get_columns(table.name)})
    if version == 1:
        _fill_in_version_2(connection)
    _fill_in_version_4(connection)
    connection.execute(update(schema.about).values(schema_version=schema.SCHEMA_VERSION))


def _fill_in_version_2(connection: Connection) -> None:
    # One sample to a trial was unique; the index of version 2 has another name and its number in it.
    connection.execute(text("DROP INDEX sample_of_trial"))
    _make_indices(connection)
    _fill_in(connection)


def _fill_in_version_4(connection: Connection) -> None:
    campaign, trial, change = schema.campaign, schema.trial, schema.change
    # Origins have room for all that degraded; SQLite changes no type in place.
    for statement in ("ALTER TABLE trial ADD COLUMN longer TEXT NOT NULL DEFAULT ''", "UPDATE trial SET longer = origin",
                      "ALTER TABLE trial DROP COLUMN origin", "ALTER TABLE trial RENAME COLUMN longer TO origin"):
        connection.execute(text(statement))
    connection.execute(insert(schema.revision).from_select(
        ["campaign", "number", "config", "by", "words", "changed_wall", "changed_lab_s"],
        select(campaign.c.id, literal(0), campaign.c.config, literal(""), literal(""), campaign.c.started_wall, campaign.c.started_lab_s)))
    # A trial that was made again had begun at another time, too; nobody has kept it, and engines of that version did not look at it.
    for column, time, states in ((change.c.began_lab_s, trial.c.started_lab_s, ("running", "completed", "failed", "abandoned")),
                                 (change.c.ended_lab_s, trial.c.ended_lab_s, ("completed", "failed", "abandoned"))):
        own = select(time).where(trial.c.campaign == change.c.campaign, trial.c.trial == change.c.trial).scalar_subquery()
        connection.execute(update(change).where(change.c.state.in_(states)).values({column: own}))


def _refuse_if_in_use(connection: Connection, name: str, version: int) -> None:
    # By name: the other columns of this version are not there yet.
    for row in connection.execute(text("SELECT id, pid, host, process_started FROM campaign WHERE status = 'running'")):
        if not Process(row.host, row.pid, row.process_started).is_gone():
            raise LedgerError(f"ledger {name}: is of version {version}, and campaign {row.id} of that version still runs in process {row.pid} on "
                              f"{row.host}; wait until it has ended, then try again")


def _add_columns(connection: Connection, table: Table, present: set[str]) -> None:
    quote = connection.dialect.identifier_preparer.quote
    for column in table.columns:
        if column.name not in present:
            definition = CreateColumn(column).compile(dialect=connection.dialect)
            connection.execute(text(f"ALTER TABLE {quote(table.name)} ADD COLUMN {definition}"))


def _make_indices(connection: Connection) -> None:
    for table in schema.metadata.sorted_tables:
        for index in table.indexes:
            index.create(connection, checkfirst=True)


def _fill_in(connection: Connection) -> None:
    campaign, sample = schema.campaign, schema.sample
    for row in connection.execute(select(campaign)).all():
        connection.execute(update(campaign).where(campaign.c.id == row.id).values(
            lab_name=_text_in(row.lab, "name"), recipe=_text_in(row.config, "recipe")))
        _add_session(connection, row)
    for row in connection.execute(select(sample)).all():
        first = connection.execute(select(schema.move.c.origin).where(schema.move.c.sample == row.id).order_by(schema.move.c.id)).scalar()
        connection.execute(update(sample).where(sample.c.id == row.id).values(
            slot=first if first is not None else row.place, holds_slot=0))
        for table in (schema.step, schema.run):
            connection.execute(update(table).where(table.c.campaign == row.campaign, table.c.trial == row.trial).values(sample=row.id))


def _add_session(connection: Connection, row: Row[Any]) -> None:
    connection.execute(insert(schema.session).values(
        campaign=row.id, number=1, host=row.host, pid=row.pid, status=row.status, began_wall=row.started_wall,
        began_lab_s=row.started_lab_s, ended_wall=row.ended_wall, ended_lab_s=row.ended_lab_s))


def _text_in(document: str, key: str) -> str:
    data = json.loads(document)
    value = data.get(key) if isinstance(data, Mapping) else None
    return value if isinstance(value, str) else ""
