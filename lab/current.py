"""The configuration that a campaign has now: people may change it while it runs, from any process, by way of the ledger."""

from __future__ import annotations

import threading
from collections.abc import Callable

from lab.core.errors import Outdated
from lab.core.question import CampaignConfig
from lab.optimise import Optimizer
from lab.records.ledger import Ledger
from lab.records.rows import Known, RevisionRow

Make = Callable[[CampaignConfig], Optimizer | None]


class Current:
    """A campaign's configuration, and the optimiser that was made of it.

    What a change may touch (`lab.changes`) leaves recipe, settings and parameters' meanings as they are, so that everything else of a
    campaign stays what it was.

    Parameters
    ----------
    ledger : Ledger
    campaign : str
        Id.
    revision : int
        Number of the configuration in the ledger.
    config : CampaignConfig
    optimizer : Optimizer or None
        Made of it; None: the points are those that programs elsewhere propose.
    make : callable
        CampaignConfig -> Optimizer or None.
    """

    def __init__(self, ledger: Ledger, campaign: str, revision: int, config: CampaignConfig, optimizer: Optimizer | None, make: Make) -> None:
        self._ledger, self._campaign, self._make = ledger, campaign, make
        self._revision, self._config = revision, config
        self._made: tuple[int, Optimizer | None] = (revision, optimizer)
        self._lock = threading.Lock()

    @property
    def config(self) -> CampaignConfig:
        """As of the last `look`."""
        return self._config

    def look(self) -> list[RevisionRow]:
        """Take up what has been changed since the last look; returns it, each change once."""
        with self._lock:
            if self._ledger.revision(self._campaign) == self._revision:
                return []
            changes = self._ledger.revisions(self._campaign, since=self._revision)
            self._config = CampaignConfig.model_validate_json(changes[-1].config)
            self._revision = changes[-1].number
            return changes

    def optimizer(self, known: Known) -> Optimizer | None:
        """Who suggests from what is known.

        Raises
        ------
        Outdated
            When it is known under another configuration than that of the last look.
        """
        with self._lock:
            if known.revision != self._revision:
                raise Outdated(f"{self._campaign}: has been changed meanwhile: it is at revision {known.revision}, and was looked at as {self._revision}")
            if self._made[0] != self._revision:
                self._made = (self._revision, self._make(self._config))
            return self._made[1]
