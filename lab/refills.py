"""What people put into the laboratory, booked into its accounts."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lab.core.errors import ConfigError
from lab.records.accounts import SUBSTRATES, in_words, liquid_account
from lab.records.ledger import Ledger
from lab.records.rows import StockRow

RACK = "rack"


def refill(ledger: Ledger, lab: str, account: str, amount: str | None, *, is_total: bool, by: str) -> list[str]:
    """Book a refill.

    Parameters
    ----------
    lab : str
        The laboratory's name.
    account : str
        A liquid, with or without ``liquid:``; ``rack`` or ``substrates`` for empty substrates in the slots of the rack.
    amount : str or None
        A number: what was added. None: filled to its capacity.
    is_total : bool
        `amount` is what is in it now.
    by : str
        Who says so.

    Returns
    -------
    list of str
        What stands on record now, for people.

    Raises
    ------
    ConfigError
        When there is no such account, or no such amount.
    """
    given = None if amount is None else _number(amount)
    stock = {row.account: row for row in ledger.stock(lab)}
    if account in (RACK, SUBSTRATES):
        return list(_rack(ledger, lab, stock.get(SUBSTRATES), given, by))
    row = stock[account] if account in stock else stock.get(liquid_account(account))
    if row is None:
        known = [RACK, *(name for name in stock if name != SUBSTRATES)]
        raise ConfigError("command line", "ACCOUNT", repr(account), ", ".join(known))
    if given is None and row.capacity is None:
        raise ConfigError("command line", "AMOUNT", "nothing", f"how much was added, {row.unit}: the account has no capacity")
    if given is not None:
        most = None if row.capacity is None else row.capacity - (0.0 if is_total else row.balance)
        if (given == 0 and not is_total) or (most is not None and given > most + 1e-6):
            room = "" if most is None else f", up to {max(0.0, most):.4g}"
            raise ConfigError("command line", "AMOUNT", f"{given:g}", f"a number of {row.unit} {'from' if is_total else 'above'} 0{room}")
    if given is not None and not is_total:
        now = ledger.add_stock(lab, row.account, given, "refilled", by=by)
    else:
        full = row.capacity if given is None else given
        now = ledger.set_stock(lab, row.account, full if full is not None else 0.0, row.unit, "refilled", by=by)
    return [f"{row.account}: {in_words(now)}"]


def _rack(ledger: Ledger, lab: str, substrates: StockRow | None, n: float | None, by: str) -> Iterator[str]:
    """Every slot holds an empty substrate, but those whose samples come back."""
    if n is not None and (substrates is None or n != int(n) or (substrates.capacity is not None and n > substrates.capacity)):
        most = "nothing, since substrates are not counted here" if substrates is None else (
            f"a whole number up to {substrates.capacity:g}" if substrates.capacity is not None else "a whole number")
        raise ConfigError("command line", "AMOUNT", f"{n:g}", most)
    kept = ledger.refill_rack(lab, by)
    if substrates is not None:
        full = substrates.capacity - len(kept) if substrates.capacity is not None else None
        count = n if n is not None else full
        if count is not None:
            now = ledger.set_stock(lab, SUBSTRATES, count, substrates.unit, "the rack was refilled", by=by)
            yield f"{SUBSTRATES}: {in_words(now)}"
    yield "rack: every slot holds an empty substrate" + (f", but {', '.join(kept)}: leave those empty, their samples come back" if kept else "")


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise ConfigError("command line", "AMOUNT", repr(text), "a number from 0 up")
    return number
