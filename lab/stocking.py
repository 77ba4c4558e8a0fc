"""The accounts of a laboratory's consumables, opened from its file: what is in the syringes, and how many substrates stand in the rack."""

from __future__ import annotations

import getpass

from lab.core.config import LabConfig, PumpBank
from lab.records.ledger import Ledger

LOW_SHARE = 0.1
"""A syringe with less than this share of its volume is low."""


def open_accounts(ledger: Ledger, lab: LabConfig, *, is_new_world: bool) -> None:
    """Open the accounts that the laboratory does not have yet; those of a new simulated world are full again.

    Parameters
    ----------
    ledger : Ledger
    lab : LabConfig
        With the campaign's liquids in its pumps.
    is_new_world : bool
        A simulated laboratory begins with full syringes and an untouched rack.
    """
    known = {row.account for row in ledger.stock(lab.name)}
    why, by = ("a new simulated world" if is_new_world else f"from the file of {lab.name}"), getpass.getuser()
    for config in lab.instruments.values():
        for syringe in config.syringes if isinstance(config, PumpBank) else ():
            account = f"liquid:{syringe.liquid}"
            if is_new_world or account not in known:
                ledger.set_stock(lab.name, account, syringe.volume_ml, "mL", why, by=by, capacity=syringe.volume_ml,
                                 low_water=LOW_SHARE * syringe.volume_ml)
    if is_new_world:
        ledger.refill_rack(lab.name, by, is_emptied=True)
    if is_new_world or "substrates" not in known:
        n_slots = sum(station.slots for station in lab.stations.values() if station.role == "rack")
        ledger.set_stock(lab.name, "substrates", n_slots, "pieces", why, by=by, capacity=n_slots)
