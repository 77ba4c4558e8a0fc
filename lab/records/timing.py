"""Laboratory time: how long stations were busy, how long steps take, what a campaign made of its time."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Row, func, select

from lab.records import schema
from lab.records.answers import campaign_by_id, is_live, last_lab_s, process_of, union_s
from lab.records.part import Part
from lab.records.rows import StationUse, StatisticsRow
from lab.records.store import iso

DURATIONS_KEPT = 200
"""How many durations of each step are worth learning from."""

Span = tuple[float, float]


CAMPAIGNS_LEARNED = 50
"""Durations are learned from so many campaigns, the newest."""


class Timing(Part):
    """What took how long, laboratory seconds."""

    def busy_s(self, campaign: str) -> dict[str, float]:
        """Laboratory seconds that each station was busy, overlapping steps counted once.

        A step that has not ended counts until now when the campaign runs in this process, else until the last entry of the
        session that began it.
        """
        with self._store.read() as connection:
            spans = self._spans(connection, campaign)
        return {station: union_s(intervals) for station, intervals in _by(spans, "station").items()}

    def durations(self, lab_name: str, recipe: str, speed: float | str | None = None) -> Mapping[str, tuple[float, ...]]:
        """How long completed steps took, over the newest campaigns of a laboratory and a recipe.

        Parameters
        ----------
        lab_name, recipe : str
        speed : float, str or None
            Only of campaigns that ran at this speed of the simulated physics: what takes wall time (an exchange with an instrument) counts as
            so much more laboratory time the faster that is.

        Returns
        -------
        mapping of step name to tuple of float
            Laboratory seconds, the newest last, at most `DURATIONS_KEPT` each.
        """
        step, owner = schema.step, schema.campaign
        joined = step.join(owner, owner.c.id == step.c.campaign)
        found = {}
        with self._store.read() as connection:
            newest = connection.execute(select(owner.c.id, owner.c.lab).where(owner.c.lab_name == lab_name, owner.c.recipe == recipe).order_by(
                owner.c.started_wall.desc()).limit(CAMPAIGNS_LEARNED)).all()
            ids = [row.id for row in newest if speed is None or json.loads(row.lab).get("speed") == speed]
            theirs = step.c.campaign.in_(ids), step.c.state == "done", step.c.name != ""
            for name in connection.execute(select(step.c.name).select_from(joined).where(*theirs).distinct()).scalars().all():
                rows = connection.execute(select(step.c.began_lab_s, step.c.ended_lab_s).select_from(joined).where(
                    *theirs, step.c.name == name).order_by(step.c.id.desc()).limit(DURATIONS_KEPT)).all()
                found[str(name)] = tuple(row.ended_lab_s - row.began_lab_s for row in reversed(rows))
        return MappingProxyType(found)

    def statistics(self, campaign: str) -> StatisticsRow:
        """What a campaign made of its time, over all its sessions."""
        with self._store.read() as connection:
            row = campaign_by_id(connection, campaign)
            spans = self._spans(connection, campaign)
            n_refills = self._refills(connection, row)
            counts = {table.name: connection.execute(select(func.count()).select_from(table).where(table.c.campaign == campaign)).scalar_one()
                      for table in (schema.question, schema.request)}
            answers = connection.execute(select(func.count()).select_from(schema.question).where(
                schema.question.c.campaign == campaign, schema.question.c.state == "answered")).scalar_one()
            n_samples = _sample_counts(connection, campaign)
        intervals = [interval for _, interval in spans]
        makespan_s = max((end for _, end in intervals), default=0.0) - min((begin for begin, _ in intervals), default=0.0)
        stations = {name: _use(found, makespan_s) for name, found in sorted(_by(spans, "station").items())}
        made_s = sum(_length(found) for found in _by(spans, "sample").values())
        return StatisticsRow(
            makespan_s=makespan_s, stations=MappingProxyType(stations), overlap=made_s / makespan_s if makespan_s > 0 else 0.0,
            n_sessions=row.session, n_samples=MappingProxyType(n_samples), n_questions=counts["question"], n_answers=answers,
            n_requests=counts["request"], n_refills=n_refills)

    def _spans(self, connection: Connection, campaign: str) -> list[tuple[Row[Any], Span]]:
        """All steps of a campaign and their intervals; an open one has an end in it, see `busy_s`."""
        row = campaign_by_id(connection, campaign)
        rows = connection.execute(select(schema.step).where(schema.step.c.campaign == campaign).order_by(schema.step.c.id)).all()
        is_mine = row.status == "running" and process_of(row) == self._me
        ends: dict[int, float] = {}
        if any(step.ended_lab_s is None for step in rows):
            table = schema.session
            for number, ended_lab_s in connection.execute(select(table.c.number, table.c.ended_lab_s).where(table.c.campaign == campaign)):
                ends[number] = ended_lab_s if ended_lab_s is not None else (
                    self._store.clock.now() if is_mine else last_lab_s(connection, campaign))
        spans = []
        for step in rows:
            end = step.ended_lab_s if step.ended_lab_s is not None else ends.get(step.session, step.began_lab_s)
            spans.append((step, (step.began_lab_s, max(step.began_lab_s, end))))
        return spans

    def _refills(self, connection: Connection, row: Row[Any]) -> int:
        """How often people refilled something in the laboratory while the campaign ran."""
        until = iso(self._store.wall()) if is_live(row) else (row.ended_wall if row.ended_wall is not None else row.started_wall)
        n = 0
        for table, kinds in ((schema.entry, ("set", "added")), (schema.refill, ())):
            query = select(func.count()).select_from(table).where(
                table.c.lab == row.lab_name, table.c.recorded_wall >= row.started_wall, table.c.recorded_wall <= until, table.c.by != "")
            n += connection.execute(query.where(table.c.kind.in_(kinds)) if kinds else query).scalar_one()
        return n if row.lab_name else 0


def _sample_counts(connection: Connection, campaign: str) -> dict[str, int]:
    """Samples by what became of them: completed, failed, abandoned, running; discarded, lost."""
    sample, trial = schema.sample, schema.trial
    found: dict[str, int] = dict.fromkeys(("completed", "failed", "abandoned", "running", "discarded", "lost"), 0)
    for row in connection.execute(select(sample.c.state, trial.c.state.label("trial_state")).join(
            trial, (trial.c.campaign == sample.c.campaign) & (trial.c.trial == sample.c.trial)).where(sample.c.campaign == campaign)):
        found[row.trial_state if row.state == "current" else row.state] += 1
    return found


def _by(spans: Sequence[tuple[Row[Any], Span]], key: str) -> dict[str, list[Span]]:
    found: dict[str, list[Span]] = defaultdict(list)
    for row, interval in spans:
        found[getattr(row, key)].append(interval)
    return found


def _use(intervals: Sequence[Span], makespan_s: float) -> StationUse:
    busy_s = union_s(intervals)
    return StationUse(busy_s, max(0.0, _length(intervals) - busy_s), busy_s / makespan_s if makespan_s > 0 else 0.0, len(intervals))


def _length(intervals: Sequence[Span]) -> float:
    """From the first beginning to the last end."""
    return max(end for _, end in intervals) - min(begin for begin, _ in intervals)
