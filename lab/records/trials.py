"""Trials: suggested, started, ended, made again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from lab.core.errors import ConsumableError, LedgerError, Outdated
from lab.core.sample import UNKNOWN
from lab.core.trial import Outcome, Suggestion, Trial, TrialState
from lab.records import schema
from lab.records.accounts import draw_substrate
from lab.records.answers import add_event, campaign_by_id, outcome_rows, trials_of, true_status
from lab.records.journal import SampleJournal, next_index, plain
from lab.records.part import Part, note_change
from lab.records.places import (
    claim_laboratory,
    companions,
    free_places,
    holder_of,
    lab_campaigns,
    places_of,
    sample_by_id,
    slot_holder_of,
)
from lab.records.process import Process
from lab.records.revisions import config_at, last_revision, state_of
from lab.records.rows import Known
from lab.records.store import Store


@dataclass(frozen=True)
class _Read:
    """All trials of a campaign at some moment: its status, and the number of the last change, tell whether they still are so."""

    status: tuple[str, str]
    change: int
    trials: tuple[Trial, ...]


class Trials(Part):
    """Life of trials."""

    def __init__(self, store: Store, me: Process) -> None:
        super().__init__(store, me)
        self._read_before: dict[str, _Read] = {}

    def add_suggestion(self, campaign: str, suggestion: Suggestion, known: Known | None = None) -> int:
        """Book a suggestion; returns the index of its trial.

        Parameters
        ----------
        known : Known or None
            What it was made from; None: nobody says, and it cannot be made again.

        Raises
        ------
        Outdated
            When the campaign has another configuration than the one that it was made under.
        """
        with self._store.write() as connection:
            self._check_open(connection, campaign, "add a suggestion")
            last = last_revision(connection, campaign)
            if known is not None and known.revision != last:
                raise Outdated(f"{campaign}: has been changed meanwhile: the suggestion was made under revision {known.revision}, and it is at {last}")
            return add_trial(connection, campaign, suggestion, self._store.stamp("suggested"), last, None if known is None else known.basis)

    def known(self, campaign: str) -> Known:
        """The campaign and all its trials as they are now, to suggest the next one from."""
        with self._store.read() as connection:
            revision = last_revision(connection, campaign)
            read = self._read(connection, campaign)
            return Known(tuple(replace(trial, cause="", sample="") for trial in read.trials), config_at(connection, campaign, revision), revision,
                         read.change)

    def known_for(self, campaign: str, index: int) -> Known:
        """The same as it was when the trial at `index` was suggested: the optimiser makes the same point of it at any time, to the last bit.

        Raises
        ------
        LedgerError
            When the suggestion does not say what it was made from (a ledger of version 1, or a point that a person gave).
        """
        change = schema.change
        with self._store.read() as connection:
            now = self._read(connection, campaign).trials
            mine = schema.trial.c.campaign == campaign, schema.trial.c.trial == index
            made = connection.execute(select(schema.trial.c.basis, schema.trial.c.revision).where(*mine)).first()
            if made is None or made.basis is None:
                raise LedgerError(f"{campaign}: trial {index}: nobody has said what it was suggested from")
            last = select(func.max(change.c.id)).where(change.c.campaign == campaign, change.c.id <= made.basis).group_by(change.c.trial)
            rows = connection.execute(select(change).where(change.c.id.in_(last)).order_by(change.c.trial)).all()
            config = config_at(connection, campaign, made.revision)
        return Known(tuple(_as_it_was(now[row.trial], row) for row in rows), config, made.revision, made.basis)

    def start_trial(self, campaign: str, index: int, place: str | Sequence[str]) -> SampleJournal:
        """Make a sample of a suggested trial; returns the journal that the plan writes.

        A trial that was requeued gets a further sample: ``...-s003``, then ``...-s003.2``.

        Parameters
        ----------
        place : str or sequence of str
            Where the substrate stands; of several places (a rack), the first one that is free is taken (`Stock.free_slots`).

        Raises
        ------
        Outdated
            When it has been taken back.
        LedgerError
            When the trial is not suggested, or another sample is at `place` or goes back there.
        ConsumableError
            When no place of the rack is free, or no substrate left.
        """
        with self._store.write() as connection:
            claim_laboratory(connection, campaign)
            row = self._check_open(connection, campaign, "start a trial")
            if state_of(connection, campaign, index) == TrialState.ABANDONED.value:
                raise Outdated(f"{campaign}: trial {index}: cannot be started: it has been taken back")
            self._change(connection, campaign, index, (TrialState.SUGGESTED,), TrialState.RUNNING, **self._store.stamp("started"))
            mine = schema.sample.c.campaign == campaign, schema.sample.c.trial == index
            number = 1 + connection.execute(select(func.count()).select_from(schema.sample).where(*mine)).scalar_one()
            sample = f"{campaign}-s{index + 1:03d}" + (f".{number}" if number > 1 else "")  # people count from one
            slot = self._claim(connection, row, place, sample)
            draw_substrate(connection, self._store, row, index, sample)
            connection.execute(insert(schema.sample).values(
                id=sample, campaign=campaign, trial=index, number=number, place=slot, slot=slot, state="current", cause="", holds_slot=1,
                **self._store.stamp("created"), **self._store.stamp("placed")))
        return SampleJournal(self._store, campaign, index, sample, row.session)

    def requeue_trial(self, campaign: str, index: int, cause: str) -> None:
        """A running trial is suggested again: the same point is going to be made with another sample.

        Its sample stays on record as ``discarded``, or ``lost`` when nobody knows where it is; its slot counts as used. What was
        executed is the discarded sample's, and no longer the trial's.
        """
        if not cause:
            raise LedgerError(f"{campaign}: trial {index}: requeued without a cause")
        mine = schema.trial.c.campaign == campaign, schema.trial.c.trial == index
        with self._store.write() as connection:
            self._check_open(connection, campaign, "requeue a trial")
            executed = connection.execute(select(schema.trial.c.executed).where(*mine)).scalar()
            self._change(connection, campaign, index, (TrialState.RUNNING,), TrialState.SUGGESTED, executed={},
                         started_wall=None, started_lab_s=None)
            sample = _current_sample(connection, campaign, index)
            place = places_of(connection, campaign, [sample])[sample.id]
            state = "lost" if place == UNKNOWN else "discarded"
            connection.execute(update(schema.sample).where(schema.sample.c.id == sample.id).values(
                state=state, cause=cause, executed=executed))
            add_event(connection, self._store, campaign, index, "requeued", f"{sample.id} is {state}: {cause}; the same point is made again")

    def journal_of(self, campaign: str, index: int, sample: str = "") -> SampleJournal:
        """The journal of a trial's newest sample (or of `sample`), to go on after a resume.

        Raises
        ------
        LedgerError
            When the trial has no such sample.
        """
        with self._store.read() as connection:
            row = campaign_by_id(connection, campaign)
            table = schema.sample
            found = connection.execute(select(table.c.id).where(table.c.campaign == campaign, table.c.trial == index).order_by(
                table.c.number)).scalars().all()
        if not found or (sample and sample not in found):
            raise LedgerError(f"{campaign}: trial {index}: has no sample{' ' + sample if sample else ''} in the ledger")
        return SampleJournal(self._store, campaign, index, sample if sample else str(found[-1]), row.session)

    def complete_trial(self, campaign: str, index: int, outcome: Outcome) -> None:
        """Book the outcome of a running trial.

        Raises
        ------
        LedgerError
            When the trial is not running, nothing was measured, or a mean or standard error is not finite.
        """
        rows = outcome_rows(outcome, f"{campaign}: trial {index}")
        with self._store.write() as connection:
            self._change(connection, campaign, index, (TrialState.RUNNING,), TrialState.COMPLETED, **self._store.stamp("ended"))
            stamp = self._store.stamp("recorded")
            connection.execute(insert(schema.outcome), [{"campaign": campaign, "trial": index, **row, **stamp} for row in rows])

    def fail_trial(self, campaign: str, index: int, cause: str, state: TrialState = TrialState.FAILED) -> None:
        """Book why a suggested or running trial gave no outcome; `state` is FAILED or ABANDONED."""
        if state not in (TrialState.FAILED, TrialState.ABANDONED):
            raise LedgerError(f"{campaign}: trial {index}: given {state.value}; allowed: failed, abandoned")
        if not cause:
            raise LedgerError(f"{campaign}: trial {index}: {state.value} without a cause")
        with self._store.write() as connection:
            self._change(connection, campaign, index, (TrialState.SUGGESTED, TrialState.RUNNING), state, cause=cause,
                         **self._store.stamp("ended"))
            add_event(connection, self._store, campaign, index, "failure", f"{state.value}: {cause}")

    def trials(self, campaign: str) -> list[Trial]:
        """All trials in the order of their suggestion, each with the sample it stands on.

        A trial that was running or suggested when its session ended reads as abandoned until the campaign is resumed.
        """
        with self._store.read() as connection:
            return list(self._read(connection, campaign).trials)

    def trial(self, campaign: str, index: int) -> Trial:
        """One trial (see `trials`)."""
        with self._store.read() as connection:
            found = trials_of(connection, campaign, [index])
        if not found:
            raise LedgerError(f"{campaign}: trial {index}: is not in the ledger")
        return found[0]

    # ------------------------------------------------------------------------------------------------ parts

    def _read(self, connection: Connection, campaign: str) -> _Read:
        """All trials as they are now. Asked before each decision of a campaign, and of thousands of numbers: only what has changed is read."""
        status, change = true_status(campaign_by_id(connection, campaign)), _last_change(connection, campaign)
        before = self._read_before.get(campaign)
        if before is None or before.status != status:
            trials = trials_of(connection, campaign)
        elif before.change == change:
            return before
        else:
            table = schema.change
            changed = connection.execute(select(table.c.trial).where(table.c.campaign == campaign, table.c.id > before.change).distinct()).scalars().all()
            anew = {trial.index: trial for trial in [*before.trials, *trials_of(connection, campaign, changed)]}
            trials = [anew[index] for index in sorted(anew)]
        found = self._read_before[campaign] = _Read(status, change, tuple(trials))
        return found

    def _claim(self, connection: Connection, row: Row[Any], place: str | Sequence[str], sample: str) -> str:
        """The place for a new sample."""
        live = companions(connection, row)
        if not isinstance(place, str):
            free = free_places(connection, lab_campaigns(row), live, place)
            if not free:
                raise ConsumableError(f"{sample}: no empty substrate: each of the {len(place)} slots has been used since the rack was last "
                                      f"refilled; refill it, then say so: lab refill {row.lab_name or 'LAB'} rack")
            return free[0]
        taken = holder_of(connection, live, place)
        if taken is not None:
            raise LedgerError(f"{sample}: cannot begin at {place}: {taken} is there or on its way there")
        taken = slot_holder_of(connection, live, place)
        if taken is not None:
            raise LedgerError(f"{sample}: cannot begin at {place}: it is the slot of {taken}")
        return place


def add_trial(connection: Connection, campaign: str, suggestion: Suggestion, stamp: Mapping[str, str | float], revision: int,
              basis: int | None) -> int:
    """One more trial, in the caller's transaction; returns its index.

    Raises
    ------
    LedgerError
        When its values or what was thought of it cannot be kept exactly.
    """
    index = next_index(connection, campaign)
    planned, thought = plain(suggestion.values, f"{campaign}: suggestion"), dict(suggestion.thought)
    try:
        json.dumps(thought, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise LedgerError(f"{campaign}: suggestion: thought: {error}; allowed: what JSON has, and finite numbers") from error
    connection.execute(insert(schema.trial).values(
        campaign=campaign, trial=index, state=TrialState.SUGGESTED.value, planned=planned, executed={}, origin=suggestion.origin,
        suggest_s=float(suggestion.seconds), cause="", basis=basis, thought=thought, revision=revision, **stamp))
    note_change(connection, campaign, index)
    return index


def _as_it_was(trial: Trial, change: Row[Any]) -> Trial:
    """A trial at an earlier time; an outcome does not change once it is there."""
    state = TrialState(change.state)
    return replace(trial, state=state, executed=MappingProxyType(change.executed), cause="", sample="", began_lab_s=change.began_lab_s,
                   ended_lab_s=change.ended_lab_s, outcome=trial.outcome if state is TrialState.COMPLETED else None)


def _current_sample(connection: Connection, campaign: str, index: int) -> Row[Any]:
    table = schema.sample
    found = connection.execute(select(table.c.id).where(
        table.c.campaign == campaign, table.c.trial == index, table.c.state == "current")).scalar()
    if found is None:
        raise LedgerError(f"{campaign}: trial {index}: has no sample in the ledger")
    return sample_by_id(connection, found)


def _last_change(connection: Connection, campaign: str) -> int:
    """Number of the last change of any trial; 0 before there has been one."""
    last = connection.execute(select(func.max(schema.change.c.id)).where(schema.change.c.campaign == campaign)).scalar()
    return 0 if last is None else int(last)
