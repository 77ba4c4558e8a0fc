"""Consumables inside a transaction: what is there, what is promised, what is drawn.

An account's balance is the sum of its entries. What announced doses are going to take is reserved. A laboratory without
accounts, and a liquid without one, is not watched.

A dose that a killed session left unconfirmed stays reserved, until it is confirmed or failed by the session that resumes the
campaign, or until somebody sets the account to what he sees: then it is settled, and a later confirmation draws nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select

from lab.core.errors import ConsumableError
from lab.records import schema
from lab.records.answers import add_event, is_live
from lab.records.rows import StockRow
from lab.records.store import Store, iso

SUBSTRATES = "substrates"
"""The account from which each sample draws one."""

SLACK = 1e-6
"""Smaller differences are rounding of sums, in any unit."""


def liquid_account(liquid: str) -> str:
    """Name of a liquid's account."""
    return f"liquid:{liquid}"


def stock_rows(connection: Connection, lab: str, names: Sequence[str] | None = None, *, is_locked: bool = False,
               is_learned: bool = True) -> list[StockRow]:
    """Accounts of a laboratory (those of `names`), by name.

    Parameters
    ----------
    is_locked : bool
        Keep other writers from them until the transaction ends.
    is_learned : bool
        Whether `StockRow.per_sample` is wanted: it is learned from all that was ever drawn.
    """
    table, entry = schema.account, schema.entry
    query = select(table).where(table.c.lab == lab).order_by(table.c.account)
    if names is not None:
        query = query.where(table.c.account.in_(names))
    accounts = connection.execute(query.with_for_update() if is_locked else query).all()
    if not accounts:
        return []
    balances: dict[str, float] = {row.account: row.balance for row in connection.execute(
        select(entry.c.account, func.sum(entry.c.amount).label("balance")).where(
            entry.c.lab == lab, entry.c.account.in_([row.account for row in accounts])).group_by(entry.c.account))}
    reserved, learned = _reserved(connection, lab), _per_sample(connection, lab) if is_learned else {}
    return [StockRow(lab, row.account, row.unit, row.capacity, _rounded(balances.get(row.account, 0.0)),
                     _rounded(reserved.get(row.account, 0.0)), row.low_water, learned.get(row.account)) for row in accounts]


def reserve(connection: Connection, store: Store, owner: Row[Any], trial: int | None, wanted: Mapping[str, float], who: str) -> None:
    """Refuse what is not there; warn where it will be low.

    Raises
    ------
    ConsumableError
        Naming every account that does not suffice.
    """
    if not owner.lab_name:
        return
    rows = stock_rows(connection, owner.lab_name, list(wanted), is_locked=True, is_learned=False)
    if any(row.low_water is None or row.available - wanted[row.account] <= row.low_water for row in rows):
        rows = stock_rows(connection, owner.lab_name, list(wanted))
    short = []
    for row in rows:
        volume = wanted[row.account]
        if volume > row.available + SLACK:
            promised = f", {row.reserved:.4g} of it promised to others" if row.reserved > 0 else ""
            short.append(f"{row.account}: {volume:.4g} {row.unit} needed, {row.balance:.4g} left{promised}")
            step = f"lab refill {owner.lab_name} {row.account}"
        after = StockRow(row.lab, row.account, row.unit, row.capacity, row.balance - volume, row.reserved, row.low_water, row.per_sample)
        if after.is_low and not row.is_low:
            add_event(connection, store, owner.id, trial, "stock", f"running low: {row.account}: {in_words(after)}")
    if short:
        raise ConsumableError(f"{who}: {'; '.join(short)}; refill, then say so: {step}")


def draw_dose(connection: Connection, store: Store, key: str) -> None:
    """Draw what a dose that has ended took; nothing from accounts that were set since its session had ended."""
    dose, owner = schema.dose, schema.campaign
    row = connection.execute(select(dose, owner.c.lab_name).join(owner, owner.c.id == dose.c.campaign).where(dose.c.key == key)).one()
    if not row.lab_name:
        return
    wanted, counted = row.volumes_ml, row.dispensed_ml
    amounts = {liquid_account(name): float(counted.get(name, wanted.get(name, 0.0) if row.state == "failed" else 0.0))
               for name in {**wanted, **counted}}
    unknown = [liquid_account(name) for name in wanted if name not in counted and row.state == "failed"]
    table = schema.account
    known = connection.execute(select(table.c.account).where(table.c.lab == row.lab_name, table.c.account.in_(list(amounts)))).scalars()
    settled = _settled(connection, row.lab_name)
    for account in known:
        if amounts[account] != 0.0 and (account, key) not in settled:
            why = f"dose of {row.sample}" + (", not counted: taken as whole" if account in unknown else "")
            add_entry(connection, store, row.lab_name, account, -amounts[account], "drawn", why, campaign=row.campaign, trial=row.trial, dose=key)


def draw_substrate(connection: Connection, store: Store, owner: Row[Any], trial: int, sample: str) -> None:
    """One substrate less, if they are counted.

    Raises
    ------
    ConsumableError
        When none is left.
    """
    reserve(connection, store, owner, trial, {SUBSTRATES: 1.0}, sample)
    table = schema.account
    if owner.lab_name and connection.execute(select(table.c.account).where(
            table.c.lab == owner.lab_name, table.c.account == SUBSTRATES)).first() is not None:
        add_entry(connection, store, owner.lab_name, SUBSTRATES, -1.0, "drawn", f"sample {sample}", campaign=owner.id, trial=trial)


def settle(connection: Connection, store: Store, lab: str, account: str, by: str) -> None:
    """What sessions that have ended had announced from this account is part of what somebody now sees in it."""
    dose, owner = schema.dose, schema.campaign
    already = _settled(connection, lab)
    for row in connection.execute(select(dose.c.key, dose.c.volumes_ml, dose.c.trial, dose.c.session.label("by_session"), owner).join(
            owner, owner.c.id == dose.c.campaign).where(owner.c.lab_name == lab, dose.c.state == "announced")).all():
        is_over = row.by_session != row.session or not is_live(row)
        names = [liquid_account(name) for name in row.volumes_ml]
        if is_over and account in names and (account, row.key) not in already:
            add_entry(connection, store, lab, account, 0.0, "settled", f"unconfirmed dose {row.key}: in what was seen", by,
                      campaign=row.id, trial=row.trial, dose=row.key)


def add_entry(connection: Connection, store: Store, lab: str, account: str, amount: float, kind: str, why: str, by: str = "", *,
              campaign: str = "", trial: int | None = None, dose: str = "") -> None:
    """One more entry of an account."""
    connection.execute(insert(schema.entry).values(
        lab=lab, account=account, amount=amount, kind=kind, why=why, by=by, campaign=campaign, trial=trial, dose=dose,
        recorded_wall=iso(store.wall())))


def in_words(row: StockRow) -> str:
    """``3.2 mL left, enough for 4 more samples``."""
    n = row.n_samples
    enough = "" if n is None else f", enough for {n} more sample{'' if n == 1 else 's'}"
    return f"{row.available:.4g} {row.unit} left{enough}"


def _reserved(connection: Connection, lab: str) -> dict[str, float]:
    """What announced doses are going to take, by account."""
    dose, owner = schema.dose, schema.campaign
    found: dict[str, list[float]] = defaultdict(list)
    settled: set[tuple[str, str]] | None = None
    for row in connection.execute(select(dose.c.key, dose.c.volumes_ml).join(owner, owner.c.id == dose.c.campaign).where(
            owner.c.lab_name == lab, dose.c.state == "announced")).all():
        settled = _settled(connection, lab) if settled is None else settled
        for liquid, volume in row.volumes_ml.items():
            account = liquid_account(liquid)
            if (account, row.key) not in settled:
                found[account].append(float(volume))
    return {account: math.fsum(volumes) for account, volumes in found.items()}


def _settled(connection: Connection, lab: str) -> set[tuple[str, str]]:
    entry = schema.entry
    rows = connection.execute(select(entry.c.account, entry.c.dose).where(entry.c.lab == lab, entry.c.kind == "settled"))
    return {(row.account, row.dose) for row in rows}


def _per_sample(connection: Connection, lab: str) -> dict[str, float]:
    """Mean amount that a completed sample of this laboratory drew, by account."""
    entry, trial = schema.entry, schema.trial
    drawn = (select(entry.c.account, entry.c.amount, entry.c.campaign, entry.c.trial)
             .join(trial, (trial.c.campaign == entry.c.campaign) & (trial.c.trial == entry.c.trial))
             .where(entry.c.lab == lab, entry.c.kind == "drawn", trial.c.state == "completed")).subquery()
    samples = select(drawn.c.campaign, drawn.c.trial).distinct().subquery()
    n = connection.execute(select(func.count()).select_from(samples)).scalar_one()
    if n == 0:
        return {}
    return {row.account: -row.total / n for row in connection.execute(
        select(drawn.c.account, func.sum(drawn.c.amount).label("total")).group_by(drawn.c.account))}


def _rounded(amount: float) -> float:
    """Without the last digits, which are of summing."""
    return round(amount, 9) + 0.0
