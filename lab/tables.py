"""Reading the tables that a campaign names: candidates, and what is known before."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from lab.core.errors import ConfigError
from lab.core.table import MOST_ROWS

Cell = float | int | str

STATE, FAILED = "state", "failed"
"""The column that says ``failed`` of a row of earlier measurements, and of such a row any outcome may be empty."""

WHOLE = re.compile(r"[+-]?[0-9]{1,15}")
"""What is read as a whole number: more digits than these may not be exact elsewhere."""


def with_tables(campaign: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """A campaign's content, each table that names a ``file`` read into ``columns`` and ``rows``.

    Parameters
    ----------
    campaign : mapping
        Content of the campaign's file, not yet validated: what is no table is left for that.
    file : Path
        The campaign's file: paths are relative to it.

    Raises
    ------
    ConfigError
        When a table cannot be read.
    """
    found = dict(campaign)
    texts = _text_choices(campaign.get("parameters"))
    candidates = campaign.get("candidates")
    if isinstance(candidates, dict) and _names_a_file(candidates):
        found["candidates"] = _read_into(candidates, file, "candidates.file", texts, ())
    prior = campaign.get("prior")
    if isinstance(prior, list):
        optional = [STATE, *(f"{name}_sem" for name in _outcomes(campaign))]
        found["prior"] = [_read_into(one, file, f"prior.{k}.file", texts, optional, _used(campaign)) if isinstance(one, dict) and _names_a_file(one) else one
                          for k, one in enumerate(prior)]
    return found


def read_table(path: Path, file: str, field: str, texts: Set[str] = frozenset(), optional: Sequence[str] = (),
               used: Set[str] | None = None) -> tuple[list[str], list[list[Cell]]]:
    """Columns and rows of a CSV file: a header, then a row a line, commas between cells.

    A column is of numbers where all its cells are numbers, and of whole numbers where all are whole.

    Parameters
    ----------
    path : Path
    file, field : str
        Named in messages.
    texts : set of str
        Columns that are text, even where all their cells are numbers.
    optional : sequence of str
        Columns whose cells may be empty: there, they are the text ``""``.
    used : set of str or None
        Columns that are kept; None: all.

    Raises
    ------
    ConfigError
        For a file that cannot be read, an empty one, columns named alike, rows of another length, more than `MOST_ROWS` rows, and empty or
        not finite cells, with the number of the row (from 1, below the header).
    """
    given = _lines(path, file, field)
    if not given:
        raise ConfigError(file, field, f"{path.name}, which is empty", "a CSV file with a header")
    header, *lines = given
    columns = [name.strip() for name in header]
    if len(set(columns)) < len(columns) or "" in columns:
        raise ConfigError(file, field, f"{path.name} with the columns {', '.join(map(repr, columns))}", "columns with different names")
    if not lines:
        raise ConfigError(file, field, f"{path.name} without a row", "at least one row below the header")
    for number, cells in enumerate(lines, 1):
        if len(cells) != len(columns):
            raise ConfigError(file, field, f"{len(cells)} cells in row {number} of {path.name}", f"{len(columns)}, one for each column of its header")
    kept = [k for k, name in enumerate(columns) if used is None or name in used]
    failed = {n for n, cells in enumerate(lines) if used is not None and STATE in columns and cells[columns.index(STATE)].strip().lower() == FAILED}
    read = [_column(columns[k], [cells[k].strip() for cells in lines], texts, optional, failed, (file, field, path.name)) for k in kept]
    return [columns[k] for k in kept], [list(row) for row in zip(*read, strict=True)] if read else [[] for _ in lines]


def _lines(path: Path, file: str, field: str) -> list[list[str]]:
    """Header and rows; lines without anything on them are left out."""
    found: list[list[str]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            for cells in csv.reader(stream, strict=True):
                if any(cell.strip() for cell in cells):
                    found.append(cells)
                if len(found) > MOST_ROWS + 1:
                    raise ConfigError(file, field, f"{path.name} with more than {MOST_ROWS} rows", f"at most {MOST_ROWS}")
    except FileNotFoundError as error:
        raise ConfigError(file, field, f"{path}, which does not exist", "a CSV file, its path relative to the campaign's file") from error
    except (OSError, UnicodeDecodeError, ValueError, csv.Error) as error:
        raise ConfigError(file, field, f"{path.name}, which cannot be read ({error})", "a CSV file in UTF-8") from error
    return found


def _column(name: str, cells: list[str], texts: Set[str], optional: Sequence[str], failed: Set[int], where: tuple[str, str, str]) -> list[Cell]:
    file, field, table = where
    if name not in optional:
        for number, cell in enumerate(cells, 1):
            if not cell and number - 1 not in failed:
                raise ConfigError(file, field, f"nothing for {name} in row {number} of {table}", "a value in every cell")
    if name in texts:
        return list(cells)
    numbers = [_number(cell) for cell in cells if cell]
    if any(number is None for number in numbers):
        return list(cells)
    for number, cell in enumerate(cells, 1):
        if cell and not math.isfinite(float(cell)):
            raise ConfigError(file, field, f"{name} = {cell} in row {number} of {table}", "finite numbers")
    is_whole = all(WHOLE.fullmatch(cell) for cell in cells if cell)
    return [cell if not cell else int(cell) if is_whole else float(cell) for cell in cells]


def _number(cell: str) -> float | None:
    try:
        return float(cell) if "_" not in cell else None  # Python's digit groups are no file's
    except ValueError:
        return None


def _names_a_file(table: Mapping[str, Any]) -> bool:
    """Whether it is still to be read."""
    return isinstance(table.get("file"), str) and bool(table["file"]) and not table.get("rows")


def _read_into(table: Mapping[str, Any], file: Path, field: str, texts: Set[str], optional: Sequence[str],
               used: Set[str] | None = None) -> dict[str, Any]:
    columns, rows = read_table(file.parent / table["file"], str(file), field, texts, optional, used)
    return {**table, "columns": columns, "rows": rows}


def _text_choices(parameters: Any) -> set[str]:
    """Choices between texts: their values are texts in a table, too, even where they look like numbers."""
    if not isinstance(parameters, list):
        return set()
    return {str(p["name"]) for p in parameters if isinstance(p, dict) and isinstance(p.get("values"), list) and "name" in p
            and all(isinstance(value, str) for value in p["values"])}


def _outcomes(campaign: Mapping[str, Any]) -> list[str]:
    """Names of what is measured, as far as they can be told before the campaign is validated."""
    objectives = campaign.get("objectives")
    found = [str(one.get("name")) for one in objectives if isinstance(one, dict)] if isinstance(objectives, list) else []
    safety = campaign.get("safety")
    limits = [campaign.get("outcome_constraints"), safety.get("constraints") if isinstance(safety, dict) else None]
    texts = [text for one in limits if isinstance(one, list) for text in one if isinstance(text, str)]
    return list(dict.fromkeys([*found, *(name for text in texts for name in re.findall(r"[A-Za-z][A-Za-z0-9_]*", text))]))


def _used(campaign: Mapping[str, Any]) -> set[str]:
    """Columns of earlier measurements that somebody looks at; others may hold anything."""
    named = [one for key in ("parameters", "context") if isinstance(campaign.get(key), list) for one in campaign[key] if isinstance(one, dict)]
    outcomes = _outcomes(campaign)
    return {STATE, *(str(one.get("name")) for one in named), *outcomes, *(f"{name}_sem" for name in outcomes)}
