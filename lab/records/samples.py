"""Samples: where they are, and everything that was done with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select, update

from lab.core.errors import LedgerError
from lab.core.sample import GRIPPER, UNKNOWN
from lab.core.trial import TrialState
from lab.records import schema
from lab.records.answers import add_event, campaign_by_id, rows_of
from lab.records.part import Part
from lab.records.places import NOWHERE, claim_laboratory, companions, holder_of, places_of, sample_by_id
from lab.records.rows import DoseRow, MoveRow, RunRow, SampleRow, StepRow, Unfinished


class Samples(Part):
    """What is known of samples."""

    def where(self, sample: str) -> str:
        """The place of a sample: `GRIPPER` while it is moved, `UNKNOWN` when the session died meanwhile."""
        with self._store.read() as connection:
            row = sample_by_id(connection, sample)
            return places_of(connection, row.campaign, [row])[sample]

    def samples(self, campaign: str) -> list[SampleRow]:
        """All samples of a campaign and where they are (see `where`), those of one trial in the order in which they were made."""
        table = schema.sample
        with self._store.read() as connection:
            rows = connection.execute(select(table).where(table.c.campaign == campaign).order_by(table.c.trial, table.c.number)).all()
            places = places_of(connection, campaign, rows)
        return [SampleRow(r.id, r.trial, places[r.id], r.placed_wall, r.placed_lab_s, r.slot, r.state, r.cause) for r in rows]

    def occupied(self, campaign: str) -> dict[str, str]:
        """Places that hold a sample, or are promised to one on its way, and which sample.

        Of this campaign and all others that run in its laboratory. While a sample is moved, the place it left and the place it
        goes to are both taken.
        """
        sample, move = schema.sample, schema.move
        with self._store.read() as connection:
            scope = companions(connection, campaign_by_id(connection, campaign))
            standing = connection.execute(select(sample.c.place, sample.c.id).where(sample.c.campaign.in_(scope))).all()
            coming = connection.execute(select(move.c.target, move.c.sample).where(
                move.c.campaign.in_(scope), move.c.state == "announced")).all()
        return {place: holder for place, holder in [*coming, *standing] if place not in NOWHERE}

    def put_sample(self, sample: str, place: str, by: str, why: str) -> None:
        """A person says where a sample is: at a place, `UNKNOWN`, or `lab.core.sample.REMOVED`.

        An unconfirmed move of it ends there as failed.

        Raises
        ------
        LedgerError
            When another sample is at `place`.
        """
        with self._store.write() as connection:
            row = sample_by_id(connection, sample)
            claim_laboratory(connection, row.campaign)
            owner = campaign_by_id(connection, row.campaign, is_locked=True)
            taken = holder_of(connection, companions(connection, owner), place)
            if taken is not None and taken != sample:
                raise LedgerError(f"{sample}: cannot be at {place}: {taken} is there or on its way there")
            move, stamp = schema.move, self._stamp(connection, owner, "ended")
            connection.execute(update(move).where(move.c.sample == sample, move.c.state == "announced").values(
                state="failed", place=place, cause=f"{by} says: {why}", **stamp))
            connection.execute(update(schema.sample).where(schema.sample.c.id == sample).values(
                place=place, **self._stamp(connection, owner, "placed")))
            add_event(connection, self._store, row.campaign, row.trial, "decision", f"{by}: {sample} is at {place}: {why}",
                      self._stamp(connection, owner, "recorded"))

    def moves(self, sample: str) -> list[MoveRow]:
        """All moves of a sample, in their order."""
        table = schema.move
        with self._store.read() as connection:
            return rows_of(connection, MoveRow, table, table.c.sample == sample, [table.c.id], "announced")

    def doses(self, campaign: str) -> list[DoseRow]:
        """All doses of a campaign, in the order of their announcement."""
        table = schema.dose
        with self._store.read() as connection:
            return rows_of(connection, DoseRow, table, table.c.campaign == campaign, [table.c.announced_wall, table.c.trial], "announced")

    def steps(self, campaign: str) -> list[StepRow]:
        """Busy intervals of the stations, in the order in which they began."""
        table = schema.step
        with self._store.read() as connection:
            return rows_of(connection, StepRow, table, table.c.campaign == campaign, [table.c.id], "busy")

    def runs(self, campaign: str) -> list[RunRow]:
        """Bluesky runs of a campaign, in the order in which they were opened."""
        table = schema.run
        with self._store.read() as connection:
            return rows_of(connection, RunRow, table, table.c.campaign == campaign, [table.c.opened_wall, table.c.trial])

    def unfinished(self, campaign: str) -> list[Unfinished]:
        """What was under way, or is: one row for each trial that has begun and not ended, in the order of the trials."""
        trial, sample = schema.trial, schema.sample
        with self._store.read() as connection:
            campaign_by_id(connection, campaign)
            rows = connection.execute(select(sample, trial.c.planned, trial.c.executed.label("carried_out")).join(
                trial, (trial.c.campaign == sample.c.campaign) & (trial.c.trial == sample.c.trial)).where(
                trial.c.campaign == campaign, trial.c.state == TrialState.RUNNING.value, sample.c.state == "current").order_by(
                trial.c.trial)).all()
            places = places_of(connection, campaign, rows)
            return [_unfinished(connection, row, places[row.id]) for row in rows]


def _unfinished(connection: Connection, row: Row[Any], place: str) -> Unfinished:
    move, dose, step, run = schema.move, schema.dose, schema.step, schema.run
    moves = rows_of(connection, MoveRow, move, move.c.sample == row.id, [move.c.id], "announced")
    return Unfinished(
        trial=row.trial, sample=row.id, slot=row.slot, place=place, last_place=_last_place(row.slot, moves, place), planned=row.planned,
        executed=row.carried_out, moves=tuple(moves),
        doses=tuple(rows_of(connection, DoseRow, dose, dose.c.sample == row.id, [dose.c.announced_wall], "announced")),
        steps=tuple(rows_of(connection, StepRow, step, step.c.sample == row.id, [step.c.id], "busy")),
        runs=tuple(rows_of(connection, RunRow, run, run.c.sample == row.id, [run.c.opened_wall])))


def _last_place(slot: str, moves: Sequence[MoveRow], place: str) -> str:
    """The last place at which a sample certainly was."""
    if place not in (UNKNOWN, GRIPPER):
        return place
    known = [slot, *(move.place for move in moves if move.place and move.place != UNKNOWN)]
    return known[-1]
