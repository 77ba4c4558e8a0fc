"""Which desk answers which method."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lab.core.config import LabConfig
from lab.home import Home
from lab.records.ledger import Ledger
from lab.remote.registry.plan_checks import Plans
from lab.remote.registry.rehearser import Rehearser
from lab.remote.steward import (
    campaigns_desk,
    changes_desk,
    data_desk,
    decisions_desk,
    history,
    items_desk,
    plans_desk,
    running_desk,
    standing,
)
from lab.remote.steward.campaigns_on_record import CampaignsOnRecord
from lab.remote.steward.service import Handler

METHODS_HERE: dict[str, Handler] = {
    **items_desk.METHODS_HERE, **decisions_desk.METHODS_HERE, **running_desk.METHODS_HERE, **standing.METHODS_HERE,
    **history.METHODS_HERE, **plans_desk.METHODS_HERE, **campaigns_desk.METHODS_HERE, **changes_desk.METHODS_HERE,
    **data_desk.METHODS_HERE}
"""Method -> (steward, who, params) -> answer."""


@contextmanager
def plans_of(lab: LabConfig, home: Home, ledger: Ledger) -> Iterator[Plans]:
    """What may be queued in the laboratory; campaigns are rehearsed in a process that ends with the block."""
    rehearser = Rehearser(lab, home)
    try:
        yield Plans(lab, rehearser, CampaignsOnRecord(ledger, lab))
    finally:
        rehearser.close()
