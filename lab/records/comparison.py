"""What two ledgers of one campaign say differently, apart from names and the wall's time: nothing, when the same was done."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, create_engine, select

from lab.records import schema

_OF_THE_PROCESS = frozenset({"id", "uid", "host", "pid", "process_started", "suggest_s"})
"""Columns that name a row or a process, or time the computer."""

_PROCESS = re.compile(r"process \d+ on [^\s\"]+")


def differences(one: Path, other: Path) -> list[str]:
    """Rows that only one of two ledgers has.

    Parameters
    ----------
    one, other : Path
        SQLite ledgers with one campaign each.

    Returns
    -------
    list of str
        ``TABLE of FILE: {...}``, by table. Rows are compared as wholes and not in their order: what happens at one instant may be
        written down in any.
    """
    found = []
    mine, yours = _rows(one), _rows(other)
    for row in sorted((mine - yours).elements()):
        found.append((*row, one))
    for row in sorted((yours - mine).elements()):
        found.append((*row, other))
    return [f"{table} of {path}: {content}" for table, content, path in sorted(found, key=lambda row: row[0])]


def _rows(path: Path) -> Counter[tuple[str, str]]:
    engine = create_engine(f"sqlite:///file:{path}?mode=ro&uri=true")
    try:
        with engine.connect() as connection:
            names = dict(enumerate(connection.scalars(select(schema.campaign.c.id).order_by(schema.campaign.c.started_wall))))
            return Counter(row for table in schema.metadata.sorted_tables for row in _of_table(connection, table, names))
    finally:
        engine.dispose()


def _of_table(connection: Connection, table: Table, names: dict[int, str]) -> Iterator[tuple[str, str]]:
    columns = [column for column in table.columns if column.name not in _OF_THE_PROCESS and not column.name.endswith("_wall")]
    if table is schema.about or not columns:
        return
    for row in connection.execute(select(*columns)).mappings():
        content: dict[str, Any] = dict(row)
        text = json.dumps(content, sort_keys=True)
        for number, name in names.items():
            text = text.replace(name, f"campaign {number + 1}")
        yield table.name, _PROCESS.sub("a process", text)
