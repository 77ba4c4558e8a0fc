"""Campaigns: begun, ended, resumed, found; and what happened in them."""

from __future__ import annotations

import json
import secrets
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, insert, select, update

from lab.core.errors import LedgerError
from lab.core.trial import TrialState
from lab.records import schema
from lab.records.answers import add_event, campaign_by_id, campaign_rows, last_lab_s, rows_of, true_status, wall_at
from lab.records.part import Part
from lab.records.proposals import drop_proposals
from lab.records.revisions import add_revision
from lab.records.rows import CampaignRow, EventRow, SessionRow
from lab.records.store import iso

CampaignEnd = Literal["done", "failed", "interrupted"]

CAMPAIGN_ENDS = ("done", "failed", "interrupted")


class Campaigns(Part):
    """Life of campaigns."""

    def open_campaign(self, name: str, config_json: str, lab_json: str) -> str:
        """Begin a campaign of this process; returns its id, such as ``perovskite-20261122-101500-ab12``."""
        config = _object(config_json, f"campaign {name}: config")
        lab = _object(lab_json, f"campaign {name}: lab")
        moment = self._store.wall().strftime("%Y%m%d-%H%M%S")
        campaign = f"{name}-{moment}-{secrets.token_hex(2)}"
        with self._store.write() as connection:
            connection.execute(insert(schema.campaign).values(
                id=campaign, name=name, status="running", cause="", config=config_json, lab=lab_json, lab_name=_text(lab, "name"),
                recipe=_text(config, "recipe"), session=1,
                host=self._me.host, pid=self._me.pid, process_started=self._me.started, **self._store.stamp("started")))
            add_revision(connection, campaign, 0, config_json, "", "", self._store.stamp("changed"))
            self._begin_session(connection, campaign, 1)
            add_event(connection, self._store, campaign, None, "campaign", f"began in process {self._me.pid} on {self._me.host}")
        return campaign

    def close_campaign(self, campaign: str, status: CampaignEnd, cause: str = "") -> None:
        """End it.

        Of a campaign that is ``done`` or ``failed``, trials that have not ended are abandoned: nobody will tell how they went.
        One that is ``interrupted`` can be resumed (`reopen_campaign`); its trials read as abandoned until then.
        """
        if status not in CAMPAIGN_ENDS:
            raise LedgerError(f"{campaign}: status: given {status!r}; allowed: {', '.join(CAMPAIGN_ENDS)}")
        with self._store.write() as connection:
            row = self._check_open(connection, campaign, "close")
            if status != "interrupted":
                self._abandon_all(connection, campaign, cause)
                drop_proposals(connection, campaign, iso(self._store.wall()))
            self._end_session(connection, campaign, row.session, status, self._store.stamp("ended"))
            connection.execute(update(schema.campaign).where(schema.campaign.c.id == campaign).values(
                status=status, cause=cause, **self._store.stamp("ended")))
            add_event(connection, self._store, campaign, None, "campaign", f"{status}: {cause}" if cause else status)

    def reopen_campaign(self, campaign: str) -> None:
        """An interrupted or killed campaign is running again, in this process.

        Its trials are again in the states in which they were. What the last session announced and did not confirm stays
        unconfirmed: see `Samples.unfinished`, and confirm or fail it with `Trials.journal_of`.

        Raises
        ------
        LedgerError
            When it is done or failed, when it runs, or when laboratory time would go back: the session's clock has to go on
            where the last one ended (`last_lab_s`).
        """
        with self._store.write() as connection:
            row = campaign_by_id(connection, campaign, is_locked=True)
            status, cause = true_status(row)
            if status == "running":
                raise LedgerError(f"{campaign}: cannot be resumed: it runs in process {row.pid} on {row.host}")
            if status != "interrupted":
                raise LedgerError(f"{campaign}: cannot be resumed: it is {status}; allowed: an interrupted one")
            last = last_lab_s(connection, campaign)
            if self._store.clock.now() < last:
                raise LedgerError(f"{campaign}: cannot be resumed: laboratory time is {self._store.clock.now():.6g} s and would go back; "
                                  f"allowed: {last:.6g} s or more, where the last session ended")
            if row.status == "running":  # killed: nobody has written its end
                killed = {"ended_wall": _last_wall(connection, campaign), "ended_lab_s": last}
                self._end_session(connection, campaign, row.session, "interrupted", killed)
            connection.execute(update(schema.campaign).where(schema.campaign.c.id == campaign).values(
                status="running", cause="", host=self._me.host, pid=self._me.pid, process_started=self._me.started,
                session=row.session + 1, ended_wall=None, ended_lab_s=None))
            self._begin_session(connection, campaign, row.session + 1)
            add_event(connection, self._store, campaign, None, "campaign",
                      f"resumed in process {self._me.pid} on {self._me.host}, after: {cause}" if cause
                      else f"resumed in process {self._me.pid} on {self._me.host}")

    def last_lab_s(self, campaign: str) -> float:
        """The largest laboratory time on record of a campaign: from there on the clock of a session that resumes it must count."""
        with self._store.read() as connection:
            campaign_by_id(connection, campaign)
            return last_lab_s(connection, campaign)

    def last_moment(self, campaign: str) -> tuple[float, datetime]:
        """The same, and the time of day of the first entry at that laboratory time: what came later was written by others."""
        with self._store.read() as connection:
            campaign_by_id(connection, campaign)
            last = last_lab_s(connection, campaign)
            return last, datetime.fromisoformat(wall_at(connection, campaign, last))

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

    def sessions(self, campaign: str) -> list[SessionRow]:
        """The sessions that ran a campaign, the first one first."""
        table = schema.session
        with self._store.read() as connection:
            rows = connection.execute(select(table).where(table.c.campaign == campaign).order_by(table.c.number)).all()
            status = true_status(campaign_by_id(connection, campaign))[0]
        return [SessionRow(r.number, r.host, r.pid, status if r.status == "running" else r.status, r.began_wall, r.began_lab_s,
                           r.ended_wall, r.ended_lab_s) for r in rows]

    # ----------------------------------------------------------------------------------------------- events

    def note(self, campaign: str, kind: str, text: str, trial: int | None = None) -> None:
        """A failure, remark or operator's decision that belongs on record."""
        with self._store.write() as connection:
            row = campaign_by_id(connection, campaign)
            add_event(connection, self._store, campaign, trial, kind, text, self._stamp(connection, row, "recorded"))

    def events(self, campaign: str) -> list[EventRow]:
        """All events of a campaign, in their order."""
        table = schema.event
        with self._store.read() as connection:
            return rows_of(connection, EventRow, table, table.c.campaign == campaign, [table.c.id])

    # ------------------------------------------------------------------------------------------------ parts

    def _abandon_all(self, connection: Connection, campaign: str, cause: str) -> None:
        left = update(schema.trial).where(schema.trial.c.campaign == campaign)
        for state, text in ((TrialState.RUNNING, "before it had ended"), (TrialState.SUGGESTED, "before it began")):
            connection.execute(left.where(schema.trial.c.state == state.value).values(
                state=TrialState.ABANDONED.value, cause=f"the campaign ended {text}" + (f": {cause}" if cause else ""),
                **self._store.stamp("ended")))

    def _begin_session(self, connection: Connection, campaign: str, number: int) -> None:
        connection.execute(insert(schema.session).values(
            campaign=campaign, number=number, host=self._me.host, pid=self._me.pid, status="running", **self._store.stamp("began")))

    def _end_session(self, connection: Connection, campaign: str, number: int, status: str, stamp: dict[str, Any]) -> None:
        """Nobody waits any longer for what it had asked, and nobody will do what was asked of it."""
        connection.execute(update(schema.session).where(
            schema.session.c.campaign == campaign, schema.session.c.number == number).values(status=status, **stamp))
        for table, state_now, state in ((schema.question, "open", "withdrawn"), (schema.request, "waiting", "dropped")):
            when = stamp if table is schema.question else {}
            connection.execute(update(table).where(table.c.campaign == campaign, table.c.state == state_now).values(state=state, **when))


def _last_wall(connection: Connection, campaign: str) -> str:
    """Wall time of the last event of a campaign: the nearest to the end of a killed session that is on record as a whole."""
    row = connection.execute(select(schema.event.c.recorded_wall).where(schema.event.c.campaign == campaign).order_by(
        schema.event.c.id.desc()).limit(1)).scalar()
    return str(row) if row is not None else ""


def _object(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError) as error:
        raise LedgerError(f"{what}: is not JSON: {error}") from error


def _text(data: Any, key: str) -> str:
    """A text of a JSON object, or nothing."""
    value = data.get(key) if isinstance(data, dict) else None
    return value if isinstance(value, str) else ""
