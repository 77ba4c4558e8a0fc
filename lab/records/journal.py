"""The journal of one trial: what a plan tells the ledger about one sample (implements `lab.core.journal.Journal`).

Each method is one transaction: it has reached the disk when the method returns, or a LedgerError says why not and
nothing was written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, Table, and_, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from lab.core.errors import LedgerError
from lab.core.sample import UNKNOWN
from lab.core.space import Value
from lab.core.trial import TrialState
from lab.records import schema
from lab.records.accounts import draw_dose, liquid_account, reserve
from lab.records.answers import add_event, campaign_by_id
from lab.records.part import note_change
from lab.records.places import claim_laboratory, companions, holder_of, sample_by_id
from lab.records.store import Store


def plain(values: Mapping[str, Value], what: str) -> dict[str, Value]:
    """`values` as JSON can hold them exactly.

    Raises
    ------
    LedgerError
        For numbers that are not finite: a reading that is missing is a failure, never an entry.
    """
    found: dict[str, Value] = {}
    for name, value in values.items():
        item = value.item() if hasattr(value, "item") else value
        if isinstance(item, float) and not math.isfinite(item):
            raise LedgerError(f"{what}: {name}: given {item}; allowed: finite numbers")
        if not isinstance(item, (bool, int, float, str)):
            raise LedgerError(f"{what}: {name}: given {item!r}; allowed: numbers, texts and truth values")
        found[str(name)] = item
    return found


class SampleJournal:
    """What happens to the sample of one trial.

    Parameters
    ----------
    store : Store
    campaign : str
        Campaign id.
    trial : int
        Index.
    sample : str
        Sample id.
    session : int
        Number of the session that writes. What it announces is refused once another session has resumed the campaign.
    """

    def __init__(self, store: Store, campaign: str, trial: int, sample: str, session: int = 1) -> None:
        self._store, self.campaign, self.trial, self.sample, self._session = store, campaign, trial, sample, session
        self._trial = and_(schema.trial.c.campaign == campaign, schema.trial.c.trial == trial)
        self._of = {"campaign": campaign, "trial": trial}

    # ------------------------------------------------------------------------------------------------ moves

    def move_announced(self, origin: str, target: str) -> int:
        """The sample is about to go from `origin` to `target`; returns the number of the move.

        Raises
        ------
        LedgerError
            When the sample does not stand at `origin`, is on its way already, or `target` is taken.
        """
        with self._store.write() as connection:
            claim_laboratory(connection, self.campaign)
            owner = self._check_session(connection)
            self._check_departure(connection, origin)
            taken = holder_of(connection, companions(connection, owner), target)
            if taken is not None and taken != self.sample:
                raise LedgerError(f"{self.sample}: cannot go to {target}: {taken} is there or on its way there")
            return _insert(connection, schema.move, **self._of, sample=self.sample, origin=origin, target=target, state="announced",
                           place="", cause="", session=self._session, **self._store.stamp("announced"))

    def _check_departure(self, connection: Connection, origin: str) -> None:
        under_way = connection.execute(select(schema.move.c.id, schema.move.c.target).where(
            schema.move.c.sample == self.sample, schema.move.c.state == "announced")).first()
        if under_way is not None:
            raise LedgerError(f"{self.sample}: move {under_way.id} to {under_way.target} has not been confirmed")
        place = connection.execute(select(schema.sample.c.place).where(schema.sample.c.id == self.sample)).scalar_one()
        if place != origin:
            raise LedgerError(f"{self.sample}: cannot leave {origin}: it is at {place}")

    def move_done(self, move: int) -> None:
        """The sample now is at the target."""
        with self._store.write() as connection:
            target = connection.execute(select(schema.move.c.target).where(
                schema.move.c.id == move, schema.move.c.sample == self.sample)).scalar()
            self._end_move(connection, move, "done", target if target is not None else "", "")

    def move_failed(self, move: int, place: str, cause: str) -> None:
        """The transfer failed; the sample is at `place` (`lab.core.sample.UNKNOWN` when nobody can say)."""
        with self._store.write() as connection:
            self._end_move(connection, move, "failed", place, cause)
            where = "nobody can say where it is" if place == UNKNOWN else f"it is at {place}"
            add_event(connection, self._store, self.campaign, self.trial, "failure", f"{self.sample}: move {move}: {cause}; {where}")

    def _end_move(self, connection: Connection, move: int, state: str, place: str, cause: str) -> None:
        self._end(connection, schema.move, move, "announced", {"state": state, "place": place, "cause": cause})
        connection.execute(update(schema.sample).where(schema.sample.c.id == self.sample).values(
            place=place, **self._store.stamp("placed")))

    # ------------------------------------------------------------------------------------------------ doses

    def dose_announced(self, key: str, volumes_ml: Mapping[str, float]) -> None:
        """These liquids are about to be dispensed under the idempotency key, and reserved where they have accounts.

        Raises
        ------
        LedgerError
            When the key has been used before (a dose is never repeated), or the trial is not running.
        ConsumableError
            When less is left of a liquid than is needed; nothing is announced.
        """
        volumes = plain(volumes_ml, f"{self.sample}: dose {key}")
        with self._store.write() as connection:
            owner = self._check_running(connection, f"dose {key}")
            used = connection.execute(select(schema.dose).where(schema.dose.c.key == key)).first()
            if used is not None:
                raise LedgerError(f"{self.sample}: dose {key}: the key was used on {used.announced_wall} for {used.sample} "
                                  f"({used.state}); a dose is never repeated")
            reserve(connection, self._store, owner, self.trial, {liquid_account(n): float(v) for n, v in volumes.items()}, self.sample)
            try:
                connection.execute(insert(schema.dose).values(
                    **self._of, key=key, sample=self.sample, volumes_ml=volumes, dispensed_ml=None, state="announced", cause="",
                    session=self._session, **self._store.stamp("announced")))
            except IntegrityError as error:  # another writer between the question and the entry (PostgreSQL)
                raise LedgerError(f"{self.sample}: dose {key}: the key was used a moment ago; a dose is never repeated") from error

    def dose_done(self, key: str, dispensed_ml: Mapping[str, float]) -> None:
        """All delivered, as counted by the pumps; drawn from the accounts."""
        counted = plain(dispensed_ml, f"{self.sample}: dose {key}")
        with self._store.write() as connection:
            self._end(connection, schema.dose, key, "announced", {"state": "done", "dispensed_ml": counted})
            draw_dose(connection, self._store, key)

    def dose_failed(self, key: str, dispensed_ml: Mapping[str, float], cause: str) -> None:
        """Failed part-way; `dispensed_ml` is what the pumps counted, as far as they could be asked (NaN: it could not).

        What nobody counted is drawn from the accounts in full: a liquid that may be gone is promised to nobody.
        """
        counted = plain({liquid: ml for liquid, ml in dispensed_ml.items() if math.isfinite(ml)}, f"{self.sample}: dose {key}")
        with self._store.write() as connection:
            self._end(connection, schema.dose, key, "announced", {"state": "failed", "dispensed_ml": counted, "cause": cause})
            draw_dose(connection, self._store, key)
            add_event(connection, self._store, self.campaign, self.trial, "failure", f"{self.sample}: dose {key}: {cause}")

    # ------------------------------------------------------------------------------------- steps, values, runs

    def step_began(self, station: str, what: str, name: str = "") -> int:
        """A station became busy with this sample; returns the number of the step. `name`: which step of the recipe."""
        with self._store.write() as connection:
            self._check_session(connection)
            return _insert(connection, schema.step, **self._of, sample=self.sample, station=station, what=what, name=name, state="busy",
                           cause="", session=self._session, **self._store.stamp("began"))

    def step_ended(self, step: int, cause: str = "") -> None:
        """The station is free again; `cause` is empty when the step succeeded."""
        with self._store.write() as connection:
            self._end(connection, schema.step, step, "busy", {"state": "failed" if cause else "done", "cause": cause})

    def executed(self, values: Mapping[str, Value]) -> None:
        """Parameter values as really carried out; may be called several times, later values replace earlier ones."""
        added = plain(values, f"{self.sample}: executed")
        with self._store.write() as connection:
            self._check_running(connection, "executed values")
            known = connection.execute(select(schema.trial.c.executed).where(self._trial)).scalar_one()
            connection.execute(update(schema.trial).where(self._trial).values(executed={**known, **added}))
            note_change(connection, self.campaign, self.trial)

    def run_opened(self, uid: str) -> None:
        """Documents of this sample are in the run `uid`."""
        with self._store.write() as connection:
            self._check_running(connection, f"run {uid}")
            connection.execute(insert(schema.run).values(uid=uid, **self._of, sample=self.sample, **self._store.stamp("opened")))

    # --------------------------------------------------------------------------------------------- common parts

    def _check_session(self, connection: Connection) -> Row[Any]:
        """The campaign's row; refused when another session has resumed it: this one's lanes must not go on."""
        owner = campaign_by_id(connection, self.campaign, is_locked=True)
        if owner.session != self._session:
            raise LedgerError(f"{self.sample}: session {self._session} is over: session {owner.session} of {self.campaign} goes on "
                              f"in process {owner.pid} on {owner.host}")
        return owner

    def _check_running(self, connection: Connection, what: str) -> Row[Any]:
        owner = self._check_session(connection)
        state = connection.execute(select(schema.trial.c.state).where(self._trial).with_for_update()).scalar_one()
        if state != TrialState.RUNNING.value:
            raise LedgerError(f"{self.sample}: {what}: trial {self.trial} is {state}; allowed: only while it is running")
        row = sample_by_id(connection, self.sample)
        if row.state != "current":
            raise LedgerError(f"{self.sample}: {what}: the sample is {row.state}: {row.cause}")
        return owner

    def _end(self, connection: Connection, table: Table, key: int | str, state_now: str, values: Mapping[str, object]) -> None:
        """Give an announced row its end; each has exactly one."""
        primary = next(iter(table.primary_key.columns))
        mine = and_(primary == key, table.c.campaign == self.campaign, table.c.trial == self.trial)
        ended = connection.execute(update(table).where(mine, table.c.state == state_now).values(**values, **self._store.stamp("ended")))
        if ended.rowcount == 1:
            return
        state = connection.execute(select(table.c.state).where(mine)).scalar()
        why = "was never announced" if state is None else f"has ended already: {state}"
        raise LedgerError(f"{self.sample}: {table.name} {key}: {why}")


def next_index(connection: Connection, campaign: str) -> int:
    """The index of the next trial of this campaign."""
    last = connection.execute(select(func.max(schema.trial.c.trial)).where(schema.trial.c.campaign == campaign)).scalar()
    return 0 if last is None else int(last) + 1


def _insert(connection: Connection, table: Table, **values: object) -> int:
    """One more row of a table that numbers its rows; returns the number."""
    key = connection.execute(insert(table).values(**values)).inserted_primary_key
    if key is None:
        raise LedgerError(f"{table.name}: the database gave no number to the new row")
    return int(key[0])
