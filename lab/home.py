"""Where a laboratory keeps its state: ``LAB_HOME``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Home:
    """The folders of ``LAB_HOME``."""

    path: Path

    @classmethod
    def default(cls) -> Home:
        """``LAB_HOME``, or ``lab-home`` in the current folder."""
        return cls(Path(os.environ.get("LAB_HOME", "lab-home")).absolute())

    @property
    def ledger(self) -> Path:
        return self.path / "ledger.sqlite"

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    @property
    def catalogue(self) -> Path:
        return self.path / "catalogue"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def frames(self, campaign: str) -> Path:
        return self.path / "frames" / campaign
