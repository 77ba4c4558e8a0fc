"""Consumables of a laboratory: what is there, for how many samples it lasts, and which slots of the rack are free.

Accounts belong to a laboratory, not to a campaign, and several processes may draw on them. Sessions draw through the journals of
their samples (`lab.records.accounts`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from lab.core.errors import LedgerError
from lab.core.sample import REMOVED, UNKNOWN
from lab.core.trial import TrialState
from lab.records import schema
from lab.records.accounts import SLACK, add_entry, in_words, settle, stock_rows
from lab.records.answers import add_event, is_live, true_status
from lab.records.part import Part
from lab.records.places import free_places
from lab.records.rows import EntryRow, StockRow
from lab.records.store import iso


class Stock(Part):
    """What the laboratory has in stock."""

    def set_stock(self, lab: str, account: str, amount: float, unit: str, why: str, *, by: str = "", capacity: float | None = None,
                  low_water: float | None = None) -> StockRow:
        """There is this much now. Opens the account if there is none; doses of dead sessions are settled by it.

        Parameters
        ----------
        lab : str
            The laboratory's name.
        account : str
            ``liquid:NAME`` (mL) or ``substrates``.
        amount : float
            What is there, >= 0.
        capacity, low_water : float or None
            None leaves them as they are.

        Raises
        ------
        LedgerError
            When the amount is none, or more than the capacity; when the account counts in another unit.
        """
        _check_amount(f"{lab}: {account}", amount)
        for label, value in (("capacity", capacity), ("low_water", low_water)):
            if value is not None:
                _check_amount(f"{lab}: {account}: {label}", value)
        if not lab or not account:
            raise LedgerError(f"stock: given laboratory {lab!r} and account {account!r}; allowed: the names of both")
        with self._store.write() as connection:
            known = stock_rows(connection, lab, [account], is_locked=True)
            limits = {name: value for name, value in (("capacity", capacity), ("low_water", low_water)) if value is not None}
            if not known:
                connection.execute(insert(schema.account).values(lab=lab, account=account, unit=unit, **limits))
            elif known[0].unit != unit:
                raise LedgerError(f"{lab}: {account}: given {unit}; allowed: {known[0].unit}, in which the account counts")
            elif limits:
                connection.execute(update(schema.account).where(
                    schema.account.c.lab == lab, schema.account.c.account == account).values(**limits))
            most = capacity if capacity is not None else (known[0].capacity if known else None)
            _check_capacity(lab, account, amount, unit, most)
            settle(connection, self._store, lab, account, by)
            balance = known[0].balance if known else 0.0
            add_entry(connection, self._store, lab, account, float(amount) - balance, "set", why, by)
            return self._told(connection, lab, account, f"set to {amount:g} {unit}", why, by)

    def add_stock(self, lab: str, account: str, amount: float, why: str, *, by: str = "") -> StockRow:
        """So much more is there (> 0).

        Raises
        ------
        LedgerError
            When there is no such account, or more than its capacity would be in it.
        """
        _check_amount(f"{lab}: {account}", amount)
        if amount <= 0:
            raise LedgerError(f"{lab}: {account}: given {amount:g}; allowed: more than 0")
        with self._store.write() as connection:
            row = _account(connection, lab, account, is_locked=True)
            _check_capacity(lab, account, row.balance + amount, row.unit, row.capacity)
            add_entry(connection, self._store, lab, account, float(amount), "added", why, by)
            return self._told(connection, lab, account, f"{amount:g} {row.unit} added", why, by)

    def stock(self, lab: str) -> list[StockRow]:
        """The accounts of a laboratory, by name; empty when none was ever set: then nothing is watched."""
        with self._store.read() as connection:
            return stock_rows(connection, lab)

    def stock_entries(self, lab: str, account: str) -> list[EntryRow]:
        """What went into an account and out of it, in order; the balance is the sum of the amounts."""
        table = schema.entry
        with self._store.read() as connection:
            rows = connection.execute(select(table).where(table.c.lab == lab, table.c.account == account).order_by(table.c.id)).all()
        return [EntryRow(r.id, r.account, r.amount, r.kind, r.why, r.by, r.campaign, r.trial, r.dose, r.recorded_wall) for r in rows]

    def laboratories(self) -> list[str]:
        """Names of all laboratories on record, with accounts or with campaigns."""
        with self._store.read() as connection:
            names = {*connection.execute(select(schema.account.c.lab)).scalars(), *connection.execute(select(schema.campaign.c.lab_name)).scalars()}
        return sorted(name for name in names if name)

    # ------------------------------------------------------------------------------------------------- the rack

    def free_slots(self, lab: str, rack: Iterable[str]) -> tuple[str, ...]:
        """Those places of `rack` where an untouched substrate stands, in their order.

        Not those that a sample of any campaign of this laboratory began at since the rack was last refilled, nor those where a
        sample of a running campaign is or goes to.
        """
        table = schema.campaign
        with self._store.read() as connection:
            running = connection.execute(select(table).where(table.c.lab_name == lab, table.c.status == "running")).all()
            live = [row.id for row in running if is_live(row)]
            return free_places(connection, select(table.c.id).where(table.c.lab_name == lab), live, rack)

    def refill_rack(self, lab: str, by: str, *, is_emptied: bool = False) -> tuple[str, ...]:
        """All samples are taken out of the rack, and empty substrates stand in its slots.

        Parameters
        ----------
        is_emptied : bool
            The stations and the gripper were cleared too (or the simulated world is a new one): of campaigns that do not run,
            no sample is left anywhere.

        Returns
        -------
        tuple of str
            Slots that must have been left empty: their samples are in the machine and come back.
        """
        sample, kept = schema.sample, []
        with self._store.write() as connection:
            rows, moving = _slot_holders(connection, lab)
            for row in rows:
                if _keeps_slot(row, row.sample in moving, is_emptied):
                    kept.append(str(row.slot))
                    continue
                is_gone = is_emptied or (row.place == row.slot and row.sample not in moving)
                connection.execute(update(sample).where(sample.c.id == row.sample).values(
                    holds_slot=0, **({"place": REMOVED} if is_gone else {})))
            connection.execute(insert(schema.refill).values(lab=lab, by=by, n_freed=len(rows) - len(kept), recorded_wall=iso(self._store.wall())))
            text = f"the rack was refilled by {by}" + (f"; still used: {', '.join(kept)}" if kept else "")
            self._tell_running(connection, lab, text)
        return tuple(kept)

    def left_in_machine(self, lab: str, but: Collection[str] = ()) -> dict[str, str]:
        """Samples of campaigns that nobody runs, which are not in their slots: who meets one there has an accident.

        Parameters
        ----------
        but : collection of str
            Campaigns that look after their samples.

        Returns
        -------
        dict of str to str
            The place of each, `lab.core.sample.UNKNOWN` included; of a move of which nobody knows the end, where it began.
        """
        with self._store.read() as connection:
            rows, moving = _slot_holders(connection, lab)
        return {str(row.sample): str(row.place) for row in rows
                if row.id not in but and true_status(row)[0] != "running" and _keeps_slot(row, row.sample in moving, is_emptied=False)}

    # ------------------------------------------------------------------------------------------------ parts

    def _told(self, connection: Connection, lab: str, account: str, what: str, why: str, by: str) -> StockRow:
        row = _account(connection, lab, account)
        self._tell_running(connection, lab, f"{account}: {what}{f' by {by}' if by else ''} ({why}): {in_words(row)}")
        return row

    def _tell_running(self, connection: Connection, lab: str, text: str) -> None:
        """An event in each campaign that runs in this laboratory."""
        table = schema.campaign
        for row in connection.execute(select(table).where(table.c.lab_name == lab, table.c.status == "running")).all():
            if is_live(row):
                add_event(connection, self._store, row.id, None, "stock", text, self._stamp(connection, row, "recorded"))


def _slot_holders(connection: Connection, lab: str) -> tuple[Sequence[Row[Any]], set[str]]:
    """Samples whose slots nobody has refilled, each with its campaign; and those of which a move was announced and not confirmed."""
    sample, owner, trial = schema.sample, schema.campaign, schema.trial
    moving = set(connection.execute(select(schema.move.c.sample).where(schema.move.c.state == "announced")).scalars())
    rows = connection.execute(select(sample.c.id.label("sample"), sample.c.place, sample.c.slot, sample.c.state.label("sample_state"),
                                     trial.c.state.label("trial_state"), owner).join(owner, owner.c.id == sample.c.campaign).join(
        trial, (trial.c.campaign == sample.c.campaign) & (trial.c.trial == sample.c.trial)).where(
        owner.c.lab_name == lab, sample.c.holds_slot == 1)).all()
    return rows, moving


def _keeps_slot(row: Row[Any], is_moving: bool, is_emptied: bool) -> bool:
    """Whether a sample comes back to its slot, or its substrate still stands there for a trial that runs."""
    status = true_status(row)[0]
    is_current = row.trial_state == TrialState.RUNNING.value and row.sample_state == "current"
    is_in_machine = row.place != REMOVED and (is_moving or row.place != row.slot) and (row.place != UNKNOWN or is_current)
    if status == "running":
        return is_current or is_in_machine
    return is_in_machine and not is_emptied


def _account(connection: Connection, lab: str, account: str, *, is_locked: bool = False) -> StockRow:
    found = stock_rows(connection, lab, [account], is_locked=is_locked)
    if not found:
        table = schema.account
        known = connection.execute(select(table.c.account).where(table.c.lab == lab).order_by(table.c.account)).scalars().all()
        raise LedgerError(f"{lab}: {account}: is no account of this laboratory; allowed: {', '.join(known) or 'none yet'}")
    return found[0]


def _check_amount(what: str, amount: float) -> None:
    if not (math.isfinite(amount) and amount >= 0):
        raise LedgerError(f"{what}: given {amount:g}; allowed: a number from 0 up")


def _check_capacity(lab: str, account: str, amount: float, unit: str, capacity: float | None) -> None:
    if capacity is not None and amount > capacity + SLACK:
        raise LedgerError(f"{lab}: {account}: {amount:g} {unit} would be in it; allowed: {capacity:g} {unit}, its capacity")
