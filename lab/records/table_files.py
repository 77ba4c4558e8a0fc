"""Tables as files for other programs: CSV (the table), Parquet (the table, with units), HDF5 (everything, with units and provenance)."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from typing import IO, Any, Literal, get_args

from lab.core.errors import LedgerError
from lab.records.tables import Column, Data, Table

Format = Literal["csv", "parquet", "hdf5"]
FORMATS: tuple[str, ...] = get_args(Format)

PARQUET_KEY = b"labwright"
"""Under which the metadata of a Parquet file has the provenance, JSON."""


LONGEST_ATTRIBUTE = 8000
"""Characters; HDF5 has 64 kB for all attributes of an object. A longer one is a dataset of the group ``provenance``."""


def write(data: Data, form: Format, file: IO[bytes]) -> None:
    """Write data into an open file.

    Raises
    ------
    LedgerError
        When something on record cannot be written in this format.
    """
    try:
        _WRITERS[form](data, file)
    except (TypeError, ValueError, OverflowError) as error:
        raise LedgerError(f"{form}: the data cannot be written: {error}") from error


def _csv(data: Data, file: IO[bytes]) -> None:
    """Numbers with all their digits; what is missing is empty."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    try:
        writer = csv.writer(text)
        writer.writerow([column.name for column in data.main.columns])
        for row in zip(*(column.values for column in data.main.columns), strict=True):
            writer.writerow(["" if value is None else value for value in row])
    finally:
        text.detach()  # the file stays open: it is the caller's


def _parquet(data: Data, file: IO[bytes]) -> None:
    import pyarrow
    from pyarrow import parquet

    fields, arrays = [], []
    for column in data.main.columns:
        kind, values = _kind(column)
        array = pyarrow.array(values, {"whole": pyarrow.int64(), "number": pyarrow.float64(), "text": pyarrow.string()}[kind])
        fields.append(pyarrow.field(column.name, array.type, metadata={"unit": column.unit, "description": column.description}))
        arrays.append(array)
    schema = pyarrow.schema(fields, metadata={PARQUET_KEY: json.dumps(dict(data.provenance)).encode()})
    parquet.write_table(pyarrow.Table.from_arrays(arrays, schema=schema), file)


def _hdf5(data: Data, file: IO[bytes]) -> None:
    import h5py

    with h5py.File(file, "w") as root:
        for name, value in data.provenance.items():
            if isinstance(value, str) and len(value) > LONGEST_ATTRIBUTE:
                root.create_dataset(f"provenance/{name}", data=value, dtype=h5py.string_dtype())
            else:
                root.attrs[name] = value
        for table in (data.main, *data.more):
            _group(root, table)


def _group(root: Any, table: Table) -> None:
    import h5py

    group = root.require_group(table.name)
    group.attrs["columns"] = [column.name for column in table.columns]
    for name, value in table.attributes.items():
        group.attrs[name] = value
    for column in table.columns:
        if column.is_array:
            values: Any = _rectangle(column)
        else:
            kind, plain = _kind(column)
            values = [math.nan if value is None else value for value in plain] if kind == "number" else plain
            values = ["" if value is None else value for value in values] if kind == "text" else values
        made = (group.create_dataset(_safe(column.name), data=values, dtype=h5py.string_dtype()) if not column.is_array and kind == "text"
                else group.create_dataset(_safe(column.name), data=values))
        made.attrs["unit"], made.attrs["description"] = column.unit, column.description


def _safe(name: str) -> str:
    """A slash would make a group."""
    return name.replace("/", "_")


def _rectangle(column: Column) -> list[list[float]]:
    """Rows of one length; what is missing is not a number."""
    longest = max(len(value) for value in column.values if isinstance(value, list))
    return [[*map(float, value), *([math.nan] * (longest - len(value)))] if isinstance(value, list) else [math.nan] * longest
            for value in column.values]


def _kind(column: Column) -> tuple[Literal["whole", "number", "text"], Sequence[Any]]:
    """What a column holds: whole numbers without gaps, numbers, or text; of both kinds, all is text."""
    there = [value for value in column.values if value is not None]
    if there and all(isinstance(value, int) for value in there) and len(there) == len(column.values):
        return "whole", [int(value) for value in column.values]
    if there and all(isinstance(value, (int, float)) for value in there):
        return "number", [None if value is None else float(value) for value in column.values]
    return "text", [None if value is None else str(value) for value in column.values]


_WRITERS: dict[str, Callable[[Data, IO[bytes]], None]] = {"csv": _csv, "parquet": _parquet, "hdf5": _hdf5}
