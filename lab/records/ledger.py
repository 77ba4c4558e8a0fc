"""The ledger: the single truth of campaigns.

Every suggestion, sample, move, dose, outcome, failure and decision is written here in a transaction before the action
it announces and after the action it confirms. Optimisers, reports and resumes are functions of what stands here.

Several threads may use one Ledger, and several processes may write one ledger. After a process was killed at any
point, what it had announced stands as announced, and reads as ``unconfirmed``.
"""

from __future__ import annotations

import json
import secrets
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from sqlalchemy import Connection, Row, and_, insert, select, update

from lab.core.clock import Clock
from lab.core.errors import LedgerError
from lab.core.sample import GRIPPER, UNKNOWN
from lab.core.trial import Outcome, Suggestion, Trial, TrialState
from lab.records import schema
from lab.records.answers import campaign_by_id, campaign_rows, outcome_rows, process_of, rows_of, trials_of, true_status, union_s
from lab.records.journal import SampleJournal, add_event, holder_of, next_index, plain
from lab.records.process import this_process
from lab.records.rows import CampaignRow, DoseRow, EventRow, MoveRow, RunRow, SampleRow, StepRow
from lab.records.store import Store, utc_now

CampaignEnd = Literal["done", "failed", "interrupted"]

CAMPAIGN_ENDS = ("done", "failed", "interrupted")


class Ledger:
    """Reads and writes campaigns.

    Parameters
    ----------
    url_or_path : str or Path
        SQLite file, made when it does not exist, or a SQLAlchemy URL.
    clock : Clock
        Laboratory time of the entries.
    wall : callable
        Time of day of the entries, UTC.
    busy_timeout_s : float
        How long another process may keep the ledger busy before an entry fails.

    Raises
    ------
    LedgerError
        When the file is no ledger, damaged, locked, or of a newer version. So does every method, when it cannot do
        what it says.
    """

    def __init__(self, url_or_path: str | Path, clock: Clock, *, wall: Callable[[], datetime] = utc_now,
                 busy_timeout_s: float = 20.0) -> None:
        self._store = Store(url_or_path, clock, wall, busy_timeout_s)
        self._me = this_process()

    def close(self) -> None:
        """Give the file back. Safe to call twice."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # -------------------------------------------------------------------------------------------- campaigns

    def open_campaign(self, name: str, config_json: str, lab_json: str) -> str:
        """Begin a campaign of this process; returns its id, such as ``perovskite-20261122-101500-ab12``."""
        for label, text in (("config", config_json), ("lab", lab_json)):
            _check_json(text, f"campaign {name}: {label}")
        moment = self._store.wall().strftime("%Y%m%d-%H%M%S")
        campaign = f"{name}-{moment}-{secrets.token_hex(2)}"
        with self._store.write() as connection:
            connection.execute(insert(schema.campaign).values(
                id=campaign, name=name, status="running", cause="", config=config_json, lab=lab_json,
                host=self._me.host, pid=self._me.pid, process_started=self._me.started, **self._store.stamp("started")))
            add_event(connection, self._store, campaign, None, "campaign", f"began in process {self._me.pid} on {self._me.host}")
        return campaign

    def close_campaign(self, campaign: str, status: CampaignEnd, cause: str = "") -> None:
        """End it. Trials that have not ended are abandoned: nobody will tell how they went."""
        if status not in CAMPAIGN_ENDS:
            raise LedgerError(f"{campaign}: status: given {status!r}; allowed: {', '.join(CAMPAIGN_ENDS)}")
        with self._store.write() as connection:
            self._check_open(connection, campaign, "close")
            left = update(schema.trial).where(schema.trial.c.campaign == campaign)
            for state, text in ((TrialState.RUNNING, "before it had ended"), (TrialState.SUGGESTED, "before it began")):
                connection.execute(left.where(schema.trial.c.state == state.value).values(
                    state=TrialState.ABANDONED.value, cause=f"the campaign ended {text}" + (f": {cause}" if cause else ""),
                    **self._store.stamp("ended")))
            connection.execute(update(schema.campaign).where(schema.campaign.c.id == campaign).values(
                status=status, cause=cause, **self._store.stamp("ended")))
            add_event(connection, self._store, campaign, None, "campaign", f"{status}: {cause}" if cause else status)

    def campaigns(self) -> list[CampaignRow]:
        """All campaigns, the oldest first."""
        query = select(schema.campaign).order_by(schema.campaign.c.started_wall, schema.campaign.c.id)
        with self._store.read() as connection:
            rows = connection.execute(query).all()
            return campaign_rows(connection, rows)

    def campaign(self, key: str) -> CampaignRow:
        """A campaign by its id, by its name (then the newest), or by the unique beginning of its id.

        Raises
        ------
        LedgerError
            When there is none, or several begin so.
        """
        table = schema.campaign
        newest = select(table).order_by(table.c.started_wall.desc(), table.c.id.desc())
        with self._store.read() as connection:
            found = connection.execute(newest.where(table.c.id == key)).all()[:1]
            if not found:
                found = connection.execute(newest.where(table.c.name == key)).all()[:1]
            if not found and key:
                found = connection.execute(newest.where(table.c.id.startswith(key, autoescape=True))).all()
            if len(found) > 1:
                raise LedgerError(f"campaign {key}: several begin so: {', '.join(row.id for row in found[:5])}; give more of the id")
            if not found:
                last = connection.execute(newest.limit(3)).all()
                known = ", ".join(row.id for row in last) if last else "none yet"
                raise LedgerError(f"campaign {key}: is not in the ledger {self._store.name}; the newest there: {known}")
            return campaign_rows(connection, found)[0]

    # ----------------------------------------------------------------------------------------------- trials

    def add_suggestion(self, campaign: str, suggestion: Suggestion) -> int:
        """Book a suggestion; returns the index of its trial."""
        planned = plain(suggestion.values, f"{campaign}: suggestion")
        with self._store.write() as connection:
            self._check_open(connection, campaign, "add a suggestion")
            index = next_index(connection, campaign)
            connection.execute(insert(schema.trial).values(
                campaign=campaign, trial=index, state=TrialState.SUGGESTED.value, planned=planned, executed={},
                origin=suggestion.origin, suggest_s=float(suggestion.seconds), cause="", **self._store.stamp("suggested")))
        return index

    def start_trial(self, campaign: str, index: int, place: str) -> SampleJournal:
        """Make the sample of a suggested trial, standing at `place`; returns the journal that the plan writes.

        Raises
        ------
        LedgerError
            When the trial is not suggested, or another sample is at `place`.
        """
        sample = f"{campaign}-s{index + 1:03d}"  # people count from one
        with self._store.write() as connection:
            self._check_open(connection, campaign, "start a trial")
            self._change(connection, campaign, index, (TrialState.SUGGESTED,), TrialState.RUNNING, "started")
            taken = holder_of(connection, campaign, place)
            if taken is not None:
                raise LedgerError(f"{sample}: cannot begin at {place}: {taken} is there or on its way there")
            connection.execute(insert(schema.sample).values(
                id=sample, campaign=campaign, trial=index, place=place, **self._store.stamp("created"), **self._store.stamp("placed")))
        return SampleJournal(self._store, campaign, index, sample)

    def complete_trial(self, campaign: str, index: int, outcome: Outcome) -> None:
        """Book the outcome of a running trial.

        Raises
        ------
        LedgerError
            When the trial is not running, nothing was measured, or a mean or standard error is not finite.
        """
        rows = outcome_rows(outcome, f"{campaign}: trial {index}")
        with self._store.write() as connection:
            self._change(connection, campaign, index, (TrialState.RUNNING,), TrialState.COMPLETED, "ended")
            stamp = self._store.stamp("recorded")
            connection.execute(insert(schema.outcome), [{"campaign": campaign, "trial": index, **row, **stamp} for row in rows])

    def fail_trial(self, campaign: str, index: int, cause: str, state: TrialState = TrialState.FAILED) -> None:
        """Book why a suggested or running trial gave no outcome; `state` is FAILED or ABANDONED."""
        if state not in (TrialState.FAILED, TrialState.ABANDONED):
            raise LedgerError(f"{campaign}: trial {index}: given {state.value}; allowed: failed, abandoned")
        if not cause:
            raise LedgerError(f"{campaign}: trial {index}: {state.value} without a cause")
        with self._store.write() as connection:
            self._change(connection, campaign, index, (TrialState.SUGGESTED, TrialState.RUNNING), state, "ended", cause=cause)
            add_event(connection, self._store, campaign, index, "failure", f"{state.value}: {cause}")

    def trials(self, campaign: str) -> list[Trial]:
        """All trials in the order of their suggestion.

        A trial that was running or suggested when its session was killed reads as abandoned.
        """
        with self._store.read() as connection:
            return trials_of(connection, campaign)

    def trial(self, campaign: str, index: int) -> Trial:
        """One trial (see `trials`)."""
        with self._store.read() as connection:
            found = trials_of(connection, campaign, index)
        if not found:
            raise LedgerError(f"{campaign}: trial {index}: is not in the ledger")
        return found[0]

    # ---------------------------------------------------------------------------------------------- samples

    def where(self, sample: str) -> str:
        """The place of a sample: `GRIPPER` while it is moved, `UNKNOWN` when the session died meanwhile."""
        with self._store.read() as connection:
            row = connection.execute(select(schema.sample).where(schema.sample.c.id == sample)).first()
            if row is None:
                raise LedgerError(f"sample {sample}: is not in the ledger {self._store.name}")
            return self._places(connection, row.campaign, [row])[sample]

    def samples(self, campaign: str) -> list[SampleRow]:
        """All samples of a campaign and where they are (see `where`)."""
        query = select(schema.sample).where(schema.sample.c.campaign == campaign).order_by(schema.sample.c.trial)
        with self._store.read() as connection:
            rows = connection.execute(query).all()
            places = self._places(connection, campaign, rows)
        return [SampleRow(r.id, r.trial, places[r.id], r.placed_wall, r.placed_lab_s) for r in rows]

    def occupied(self, campaign: str) -> dict[str, str]:
        """Places that hold a sample of this campaign or are promised to one on its way, and which sample.

        While a sample is moved, the place it left and the place it goes to are both taken.
        """
        sample, move = schema.sample, schema.move
        with self._store.read() as connection:
            standing = connection.execute(select(sample.c.place, sample.c.id).where(sample.c.campaign == campaign)).all()
            coming = connection.execute(select(move.c.target, move.c.sample).where(
                move.c.campaign == campaign, move.c.state == "announced")).all()
        return {place: holder for place, holder in [*coming, *standing] if place != UNKNOWN}

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

    def busy_s(self, campaign: str) -> dict[str, float]:
        """Laboratory seconds that each station was busy, overlapping steps counted once.

        A step that has not ended counts until now when the campaign runs in this process, else not at all.
        """
        now = self._store.clock.now()
        with self._store.read() as connection:
            row = campaign_by_id(connection, campaign)
            steps = connection.execute(select(schema.step).where(schema.step.c.campaign == campaign)).all()
        is_mine = row.status == "running" and process_of(row) == self._me
        spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for step in steps:
            end = step.ended_lab_s if step.ended_lab_s is not None else (now if is_mine else step.began_lab_s)
            spans[step.station].append((step.began_lab_s, end))
        return {station: union_s(intervals) for station, intervals in spans.items()}

    # ----------------------------------------------------------------------------------------------- events

    def note(self, campaign: str, kind: str, text: str, trial: int | None = None) -> None:
        """A failure, remark or operator's decision that belongs on record."""
        with self._store.write() as connection:
            campaign_by_id(connection, campaign)
            add_event(connection, self._store, campaign, trial, kind, text)

    def events(self, campaign: str) -> list[EventRow]:
        """All events of a campaign, in their order."""
        table = schema.event
        with self._store.read() as connection:
            return rows_of(connection, EventRow, table, table.c.campaign == campaign, [table.c.id])

    # ----------------------------------------------------------------------------------------- common parts

    def _check_open(self, connection: Connection, campaign: str, what: str) -> None:
        row = campaign_by_id(connection, campaign, is_locked=True)
        if row.status != "running":
            raise LedgerError(f"{campaign}: cannot {what}: the campaign is {row.status}")

    def _change(self, connection: Connection, campaign: str, index: int, allowed: tuple[TrialState, ...], state: TrialState,
                when: str, **values: str) -> None:
        """Take a trial to its next state, if it is in one of `allowed`."""
        mine = and_(schema.trial.c.campaign == campaign, schema.trial.c.trial == index)
        changed = connection.execute(update(schema.trial).where(mine, schema.trial.c.state.in_([s.value for s in allowed])).values(
            state=state.value, **values, **self._store.stamp(when)))
        if changed.rowcount == 1:
            return
        now = connection.execute(select(schema.trial.c.state).where(mine)).scalar()
        if now is None:
            raise LedgerError(f"{campaign}: trial {index}: is not in the ledger")
        raise LedgerError(f"{campaign}: trial {index}: cannot become {state.value}: it is {now}; "
                          f"allowed from: {', '.join(s.value for s in allowed)}")

    def _places(self, connection: Connection, campaign: str, samples: Sequence[Row[Any]]) -> dict[str, str]:
        """Place of each sample, looking at moves that nobody has confirmed."""
        status, _ = true_status(campaign_by_id(connection, campaign))
        moving = set(connection.execute(select(schema.move.c.sample).where(
            schema.move.c.campaign == campaign, schema.move.c.state == "announced")).scalars())
        under_way = GRIPPER if status == "running" else UNKNOWN
        return {row.id: under_way if row.id in moving else row.place for row in samples}


def _check_json(text: str, what: str) -> None:
    try:
        json.loads(text)
    except (TypeError, ValueError) as error:
        raise LedgerError(f"{what}: is not JSON: {error}") from error
