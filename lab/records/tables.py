"""What was measured, as tables with units and provenance, before it is written in any format (`lab.records.table_files`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lab.core.errors import LedgerError
from lab.core.question import CampaignConfig
from lab.core.trial import Trial
from lab.records.documents import RunRecord, read_record
from lab.records.export import trial_rows
from lab.records.ledger import Ledger
from lab.records.rows import CampaignRow
from lab.records.schema import SCHEMA_VERSION

PACKAGES = ("labwright", "bluesky", "ophyd", "numpy", "scipy", "pyFAI", "lmfit", "ax-platform", "botorch")
"""Whose versions are told with the data."""

LONGEST_ROW = 16384
"""Numbers of one reading that is an array: thumbnails and spectra, no frames."""

MOST_BYTES = 100_000_000
"""Of the documents of one run."""

OUTCOME_UNITS = {"perovskite_fraction": "1", "lattice_parameter": "angstrom", "peak_width": "deg", "crystallite_size": "nm",
                 "total_intensity": "counts/pixel/s*deg"}
"""Of what ``evaluate: {kind: phases}`` delivers (`lab.records.evaluate`)."""


@dataclass(frozen=True)
class Column:
    """One quantity.

    Parameters
    ----------
    name : str
    values : tuple
        Numbers, texts, or lists of numbers of one length; None where there is none.
    unit : str
        Empty: none, or nobody has said.
    description : str
    """

    name: str
    values: tuple[Any, ...]
    unit: str = ""
    description: str = ""

    @property
    def is_array(self) -> bool:
        """Whether each value is a list of numbers."""
        return any(isinstance(value, list) for value in self.values)


@dataclass(frozen=True)
class Table:
    """Columns of one length.

    Parameters
    ----------
    name : str
        May have slashes: groups of an HDF5 file.
    attributes : mapping of str to text or number
        What is true of all its rows.
    """

    name: str
    columns: tuple[Column, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Data:
    """Everything of a campaign, or of the runs of an item.

    Parameters
    ----------
    main : Table
        The one that CSV and Parquet have.
    more : tuple of Table
        Readings of each run; HDF5 has them, too.
    provenance : mapping of str to text or number
        Where it comes from: ids in the ledger, versions, configuration.
    """

    main: Table
    more: tuple[Table, ...]
    provenance: Mapping[str, Any]


def campaign_data(ledger: Ledger, runs: Path, campaign: str, frames: Path | None = None, *, is_whole: bool = True) -> Data:
    """The trials of a campaign, with the powder patterns of their samples and the readings of their runs.

    Parameters
    ----------
    ledger : Ledger
    runs : Path
        Folder of the documents.
    campaign : str
        Id.
    frames : Path or None
        Where frames are looked for that are not where the documents say.
    is_whole : bool
        False: only the trials.

    Raises
    ------
    LedgerError
        When there is no such campaign, or its documents cannot be read.
    """
    row = ledger.campaign(campaign)
    trials = ledger.trials(row.id)
    opened: dict[int, str] = {}
    for run in ledger.runs(row.id):
        opened[run.trial] = run.uid  # the last one is that of the sample it stands on
    try:
        config = CampaignConfig.model_validate_json(row.config)
    except ValidationError as error:
        raise LedgerError(f"{row.id}: its file is that of another version of Labwright: {error.error_count()} fields are not known") from error
    names, rows = trial_rows(trials)
    columns = [Column(name, tuple(one.get(name) for one in rows), _unit_of(name, config, trials), _meaning_of(name)) for name in names]
    columns.insert(4, Column("run", tuple(opened.get(trial.index) for trial in trials), "", "uid of the run with its readings"))
    main, provenance = Table("trials", tuple(columns)), _provenance(row, config)
    if not is_whole:
        return Data(main, (), provenance)
    from lab.records.patterns import pattern_table

    found = {trial: record for trial, uid in opened.items() if (record := _record(runs, uid)) is not None}
    patterns = pattern_table({trial: record.documents for trial, record in found.items()}, config, row.lab, frames)
    readings = tuple(table for record in found.values() for table in stream_tables(record))
    return Data(main, readings if patterns is None else (patterns, *readings), provenance)


def item_data(runs: Path, uids: Sequence[str], provenance: Mapping[str, Any]) -> Data:
    """The readings of some runs, a row for each event.

    Parameters
    ----------
    runs : Path
        Folder of the documents.
    uids : sequence of str
        As the ledger has them.
    provenance : mapping of str to text or number
        Of the item.

    Raises
    ------
    LedgerError
        When documents cannot be read.
    """
    records = [record for uid in uids if (record := _record(runs, uid)) is not None]
    tables = tuple(table for record in records for table in stream_tables(record))
    return Data(_joined("events", tables), tables, {**dict(provenance), **_versions(), "runs": json.dumps(list(uids))})


def stream_tables(record: RunRecord) -> list[Table]:
    """A table for each stream of a run: ``seq_num``, ``time`` and each reading; readings that are files are left out."""
    descriptors = {doc["uid"]: doc for name, doc in record.documents if name == "descriptor"}
    events: dict[str, list[dict[str, Any]]] = {uid: [] for uid in descriptors}
    for name, doc in record.documents:
        if name == "event" and doc.get("descriptor") in events:
            events[doc["descriptor"]].append(doc)
    run = str(record.start.get("uid", ""))
    about = {name: record.start[name] for name in ("plan_name", "campaign", "trial", "sample", "item", "user")
             if isinstance(record.start.get(name), (str, int, float))}
    found = []
    for uid, descriptor in descriptors.items():
        rows = events[uid]
        columns = [Column("seq_num", tuple(row["seq_num"] for row in rows)),
                   Column("time", tuple(row["time"] for row in rows), "s", "of the day, since 1970-01-01 UTC")]
        columns += [_reading(name, key, rows) for name, key in descriptor.get("data_keys", {}).items() if "external" not in key]
        found.append(Table(f"runs/{run}/{descriptor.get('name', 'primary')}", tuple(columns), {"run": run, **about}))
    return found


def _reading(name: str, key: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Column:
    values = tuple(_value(row.get("data", {}).get(name)) for row in rows)
    return Column(name, values, str(key.get("units") or ""), str(key.get("source", "")))


def _value(value: Any) -> Any:
    """Numbers and texts as they are, arrays as one list of numbers."""
    if not isinstance(value, list):
        return value if isinstance(value, (str, int, float)) or value is None else str(value)
    flat = list(_flat(value))
    return flat if len(flat) <= LONGEST_ROW and all(isinstance(one, (int, float)) for one in flat) else None


def _flat(value: Iterable[Any]) -> Iterable[Any]:
    for one in value:
        if isinstance(one, list):
            yield from _flat(one)
        else:
            yield one


def _joined(name: str, tables: Sequence[Table]) -> Table:
    """All rows of several tables below each other, with the run and the stream that each is of; arrays are left out."""
    lengths = [len(table.columns[0].values) for table in tables]
    kept = {column.name: column for table in tables for column in table.columns if not column.is_array}
    columns = [Column("run", tuple(table.attributes["run"] for table, n in zip(tables, lengths, strict=True) for _ in range(n))),
               Column("stream", tuple(table.name.rpartition("/")[2] for table, n in zip(tables, lengths, strict=True) for _ in range(n)))]
    for column in kept.values():
        values: list[Any] = []
        for table, n in zip(tables, lengths, strict=True):
            own = next((one for one in table.columns if one.name == column.name and not one.is_array), None)
            values += own.values if own is not None else [None] * n
        columns.append(Column(column.name, tuple(values), column.unit, column.description))
    return Table(name, tuple(columns))


def _record(runs: Path, uid: str) -> RunRecord | None:
    """The documents of a run; None when they are not there (any more)."""
    if not uid or not all(one.isalnum() or one == "-" for one in uid):
        raise LedgerError(f"documents: {uid!r} is no uid of a run")
    path = runs / f"{uid}.jsonl"
    if not path.exists():
        return None
    if path.stat().st_size > MOST_BYTES:
        raise LedgerError(f"documents: run {uid} has {path.stat().st_size / 1e6:.0f} MB; at most {MOST_BYTES / 1e6:.0f} MB are put into one table: "
                          "read its file at the laboratory, or its runs one by one from the catalogue")
    return read_record(path)


def _unit_of(name: str, config: CampaignConfig, trials: Sequence[Trial]) -> str:
    kind, _, rest = name.partition(".")
    if kind in ("planned", "executed"):
        return next((one.unit for one in config.parameters if one.name == rest), "")
    own = name.removesuffix(".sem").removeprefix("detail.").removesuffix("_sem")
    return next((one.unit for one in config.objectives if one.name == own and one.unit), OUTCOME_UNITS.get(own, ""))


def _meaning_of(name: str) -> str:
    kind, _, rest = name.partition(".")
    words = {"planned": "as it was suggested", "executed": "as it was carried out, from the instruments' own counts and readings",
             "detail": "found beside the outcomes"}
    if kind in words:
        return words[kind]
    return "standard error of the mean" if rest == "sem" else {
        "trial": "number, from 1", "state": "completed, failed or abandoned", "sample": "id of its sample in the ledger",
        "origin": "which method suggested it", "cause": "why it is not completed"}.get(name, "mean of the measurement")


def _provenance(row: CampaignRow, config: CampaignConfig) -> dict[str, Any]:
    return {"campaign": row.id, "name": row.name, "owner": config.owner, "status": row.status, "cause": row.cause, "laboratory": row.lab_name,
            "recipe": row.recipe, "objective": ", ".join(one.name for one in config.objectives), "goal": ", ".join(one.goal for one in config.objectives), "started": row.started_wall,
            "ended": row.ended_wall or "", "sessions": row.session, "config": row.config, "instruments": _instruments(row.lab), **_versions()}


def _instruments(lab_json: str) -> str:
    """Limits, geometry and what was loaded; where the instruments are connected is nobody's business."""
    instruments = json.loads(lab_json).get("instruments", {})
    return json.dumps({name: {key: value for key, value in one.items() if key != "endpoint"} for name, one in instruments.items()})


def _versions() -> dict[str, Any]:
    found: dict[str, Any] = {"ledger_schema": SCHEMA_VERSION}
    for package in PACKAGES:
        try:
            found[f"version_{package}"] = version(package)
        except PackageNotFoundError:  # an optional one, or Labwright run from its sources
            continue
    return found
