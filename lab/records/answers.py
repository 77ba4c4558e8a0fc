"""From the ledger's tables to what it answers: rows, trials, the true status of a campaign."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, Table, func, insert, or_, select

from lab.core.errors import LedgerError
from lab.core.trial import Measured, Outcome, Trial, TrialState
from lab.records import schema
from lab.records.process import Process
from lab.records.rows import UNCONFIRMED, CampaignRow
from lab.records.store import Store

R = TypeVar("R")


def campaign_by_id(connection: Connection, campaign: str, *, is_locked: bool = False) -> Row[Any]:
    """The campaign's row; `is_locked` keeps other writers from it until the transaction ends.

    Raises
    ------
    LedgerError
        When there is none.
    """
    query = select(schema.campaign).where(schema.campaign.c.id == campaign)
    row = connection.execute(query.with_for_update(key_share=True) if is_locked else query).first()
    if row is None:
        raise LedgerError(f"campaign {campaign}: is not in the ledger")
    return row


def process_of(row: Row[Any]) -> Process:
    """The process that runs, or ran, a campaign."""
    return Process(row.host, row.pid, row.process_started)


def is_live(row: Row[Any]) -> bool:
    """Whether a campaign runs, in a process that lives."""
    return row.status == "running" and not process_of(row).is_gone()


def true_status(row: Row[Any]) -> tuple[str, str]:
    """Status and cause of a campaign; one whose process is gone without a word is interrupted."""
    if row.status == "running" and not is_live(row):
        return "interrupted", f"process {row.pid} on {row.host} is gone"
    return row.status, row.cause


def campaign_rows(connection: Connection, rows: Sequence[Row[Any]]) -> list[CampaignRow]:
    """Campaigns with the number of their trials in each state."""
    query = select(schema.trial.c.campaign, schema.trial.c.state, func.count()).group_by(schema.trial.c.campaign, schema.trial.c.state)
    if len(rows) == 1:
        query = query.where(schema.trial.c.campaign == rows[0].id)
    counts: dict[str, dict[str, int]] = defaultdict(lambda: {state.value: 0 for state in TrialState})
    for campaign, state, n in connection.execute(query):
        counts[campaign][state] = n
    found = []
    for row in rows:
        status, cause = true_status(row)
        n_trials = counts[row.id]
        if status != "running":  # as `trial` below: what had not ended never will
            n_trials["abandoned"] += n_trials["running"] + n_trials["suggested"]
            n_trials["running"] = n_trials["suggested"] = 0
        found.append(CampaignRow(row.id, row.name, status, cause, row.config, row.lab, row.host, row.pid, row.started_wall,
                                 row.started_lab_s, row.ended_wall, row.ended_lab_s, MappingProxyType(n_trials),
                                 row.lab_name, row.recipe, row.session))
    return found


def add_event(connection: Connection, store: Store, campaign: str, trial: int | None, kind: str, text: str,
              stamp: Mapping[str, str | float] | None = None) -> None:
    """One more line of the campaign's events, in the caller's transaction; `stamp` where the process's own clock does not count."""
    when = store.stamp("recorded") if stamp is None else stamp
    connection.execute(insert(schema.event).values(campaign=campaign, trial=trial, kind=kind, text=text, **when))


_TIMES = {
    schema.campaign: ("started", "ended"), schema.trial: ("suggested", "started", "ended"), schema.outcome: ("recorded",),
    schema.sample: ("created", "placed"), schema.move: ("announced", "ended"), schema.dose: ("announced", "ended"),
    schema.step: ("began", "ended"), schema.run: ("opened",), schema.event: ("recorded",), schema.question: ("asked", "ended"),
    schema.session: ("began", "ended"), schema.revision: ("changed",)}


def last_lab_s(connection: Connection, campaign: str) -> float:
    """The largest laboratory time on record of a campaign."""
    found: list[float] = []
    for table, prefixes in _TIMES.items():
        owner = table.c.id if table is schema.campaign else table.c.campaign
        row = connection.execute(select(*(func.max(table.c[f"{prefix}_lab_s"]) for prefix in prefixes)).where(owner == campaign)).one()
        found += [value for value in row if value is not None]
    return max(found)


def wall_at(connection: Connection, campaign: str, lab_s: float) -> str:
    """When it first was this laboratory time, by the entries of a campaign: ISO 8601."""
    found: list[str] = []
    for table, prefixes in _TIMES.items():
        owner = table.c.id if table is schema.campaign else table.c.campaign
        for prefix in prefixes:
            row = connection.execute(select(func.min(table.c[f"{prefix}_wall"])).where(owner == campaign, table.c[f"{prefix}_lab_s"] == lab_s)).scalar()
            found += [row] if row is not None else []
    return min(found)


def rows_of(connection: Connection, kind: type[R], table: Table, where: Any, order: Sequence[Any], open_state: str = "",
            otherwise: str = UNCONFIRMED) -> list[R]:
    """Rows of one table as dataclasses of `kind`; `open_state` reads `otherwise` when the session that wrote it has ended."""
    owner = schema.campaign
    query = (select(table, owner.c.status.label("owner_status"), owner.c.host.label("owner_host"), owner.c.pid.label("owner_pid"),
                    owner.c.process_started.label("owner_started"), owner.c.session.label("owner_session"))
             .join(owner, owner.c.id == table.c.campaign).where(where).order_by(*order))
    names = [f.name for f in dataclasses.fields(kind)]  # type: ignore[arg-type]
    is_over: dict[tuple[Any, ...], bool] = {}
    found = []
    for row in connection.execute(query):
        values = {name: getattr(row, name) for name in names}
        if open_state and values["state"] == open_state:
            key = (row.owner_status, row.owner_host, row.owner_pid, row.owner_started)
            if key not in is_over:
                is_over[key] = row.owner_status != "running" or Process(*key[1:]).is_gone()
            values["state"] = otherwise if is_over[key] or row.session != row.owner_session else open_state
        found.append(kind(**values))
    return found


def n_with_sample(connection: Connection, campaign: str) -> int:
    """How many trials of a campaign need a sample, or needed one (`lab.core.trial.Trial.needs_sample`): so much of its budget is spoken for."""
    table = schema.trial
    needs_sample = or_(table.c.state.in_([TrialState.SUGGESTED.value, TrialState.RUNNING.value]), table.c.started_lab_s.is_not(None))
    return int(connection.execute(select(func.count()).select_from(table).where(table.c.campaign == campaign, needs_sample)).scalar_one())


def trials_of(connection: Connection, campaign: str, only: Collection[int] | None = None) -> list[Trial]:
    """Trials of a campaign (or those at the indices `only`) in the order of their suggestion."""
    table, sample, outcome = schema.trial, schema.sample, schema.outcome
    status, cause = true_status(campaign_by_id(connection, campaign))
    lost = "" if status == "running" else f"the campaign was interrupted: {cause}"
    query = (select(table, sample.c.id.label("sample"))
             .join(sample, (sample.c.campaign == table.c.campaign) & (sample.c.trial == table.c.trial) & (sample.c.state == "current"),
                   isouter=True)
             .where(table.c.campaign == campaign).order_by(table.c.trial))
    numbers = select(outcome).where(outcome.c.campaign == campaign)
    if only is not None:
        query, numbers = query.where(table.c.trial.in_(only)), numbers.where(outcome.c.trial.in_(only))
    of_trial: dict[int, list[Row[Any]]] = defaultdict(list)
    for number in connection.execute(numbers):
        of_trial[number.trial].append(number)
    return [_trial(row, of_trial.get(row.trial, []), lost) for row in connection.execute(query)]


def _trial(row: Row[Any], numbers: Sequence[Row[Any]], lost: str) -> Trial:
    state, cause = TrialState(row.state), row.cause
    if lost and state in (TrialState.RUNNING, TrialState.SUGGESTED):
        state, cause = TrialState.ABANDONED, lost
    result = None
    if numbers:
        measured = {n.name: Measured(n.mean, n.sem) for n in numbers if n.is_measured}
        details = {n.name: math.nan if n.mean is None else n.mean for n in numbers if not n.is_measured}
        result = Outcome(MappingProxyType(measured), MappingProxyType(details))
    return Trial(index=row.trial, state=state, planned=MappingProxyType(row.planned), executed=MappingProxyType(row.executed),
                 outcome=result, cause=cause, origin=row.origin, sample=row.sample if row.sample is not None else "",
                 thought=MappingProxyType(row.thought), began_lab_s=row.started_lab_s, ended_lab_s=row.ended_lab_s)


def outcome_rows(outcome: Outcome, who: str) -> list[dict[str, Any]]:
    """Rows of the outcome table.

    Raises
    ------
    LedgerError
        When nothing was measured, or a mean or standard error is not a finite number.
    """
    if not outcome.measured:
        raise LedgerError(f"{who}: an outcome without a measured value")
    rows: list[dict[str, Any]] = []
    for name, measured in outcome.measured.items():
        sem = None if measured.sem is None else float(measured.sem)
        if not math.isfinite(measured.mean) or (sem is not None and not (math.isfinite(sem) and sem >= 0)):
            raise LedgerError(f"{who}: {name}: given {measured.mean} with standard error {sem}; allowed: finite numbers")
        rows.append({"name": name, "is_measured": 1, "mean": float(measured.mean), "sem": sem})
    for name, value in outcome.details.items():
        # A detail may be nothing: NULL stands for "not a number", which SQL cannot hold.
        rows.append({"name": name, "is_measured": 0, "mean": float(value) if math.isfinite(value) else None, "sem": None})
    return rows


def union_s(intervals: Iterable[tuple[float, float]]) -> float:
    """Length of the union of intervals."""
    total, reached = 0.0, -math.inf
    for begin, end in sorted(intervals):
        if end > reached:
            total += end - max(begin, reached)
            reached = end
    return total
