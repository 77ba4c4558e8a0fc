"""Making an item again that ended badly: as a new item, whose record names the old one."""

from __future__ import annotations

from lab.core.digest import digest_of
from lab.core.errors import LedgerError
from lab.records.ledger import Ledger
from lab.records.queue_rows import ItemRow, NewItem

CAMPAIGNS = ("campaign", "resume_campaign")
"""Plans that are campaigns: what they have done is not done again, they are resumed."""


def retry_of(ledger: Ledger, item: ItemRow, by: str) -> NewItem:
    """The item that makes another one again, in its owner's name.

    Parameters
    ----------
    by : str
        Who asks for it.

    Raises
    ------
    LedgerError
        When the campaign that it ran is done, or runs.
    """
    name, parameters = item.name, item.parameters
    if item.name in CAMPAIGNS and item.campaign:
        found = next((row for row in ledger.campaigns() if row.id == item.campaign), None)
        if found is None:
            raise LedgerError(f"item {item.id}: its campaign {item.campaign} is not in the ledger")
        if found.status not in ("interrupted", "failed"):
            raise LedgerError(f"item {item.id}: cannot be made again: its campaign {item.campaign} is {found.status}; allowed: one that was interrupted")
        name, parameters = "resume_campaign", {"campaign": item.campaign}
    return NewItem(name, parameters, digest_of(name, parameters), item.user, item.role, campaign=item.campaign if name in CAMPAIGNS else "",
                   parent=item.id, meta=item.meta, by=by)
