"""The ledger: the single truth of campaigns.

Every suggestion, sample, move, dose, outcome, failure and decision is written here in a transaction before the action
it announces and after the action it confirms. Optimisers, reports and resumes are functions of what stands here.

Several threads may use one Ledger, and several processes may write one ledger. After a process was killed at any
point, what it had announced stands as announced, and reads as ``unconfirmed``, until the session that resumes the campaign
says how it ended.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.core.clock import Clock
from lab.records.campaigns import CAMPAIGN_ENDS, CampaignEnd, Campaigns
from lab.records.errands import Errands
from lab.records.interventions import Interventions
from lab.records.items import Items
from lab.records.process import this_process
from lab.records.proposals import Proposals
from lab.records.questions import Questions
from lab.records.requests import Requests
from lab.records.samples import Samples
from lab.records.stock import Stock
from lab.records.store import Store, utc_now
from lab.records.timing import Timing
from lab.records.trials import Trials

__all__ = ["CAMPAIGN_ENDS", "CampaignEnd", "Ledger"]


class Ledger(Campaigns, Interventions, Trials, Samples, Timing, Questions, Requests, Stock, Items, Errands, Proposals):
    """Reads and writes campaigns, and what the laboratory has in stock. Each part has a module of its own.

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
        super().__init__(Store(url_or_path, clock, wall, busy_timeout_s), this_process())

    def close(self) -> None:
        """Give the file back. Safe to call twice."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
