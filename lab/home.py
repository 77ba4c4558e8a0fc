"""Where a laboratory keeps its state: ``LAB_HOME``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from lab.core.errors import ConfigError


@dataclass(frozen=True)
class Home:
    """The folders of ``LAB_HOME``."""

    path: Path

    @classmethod
    def default(cls) -> Home:
        """``LAB_HOME``, or ``lab-home`` in the current folder."""
        return cls(Path(os.environ.get("LAB_HOME", "lab-home")).absolute())

    def prepare(self) -> None:
        """Make the folders that a session writes into.

        Raises
        ------
        ConfigError
            When that cannot be done.
        """
        for folder in (self.path, self.logs, self.runs):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError("LAB_HOME", str(folder), error.strerror or str(error), "a folder that can be made") from error
            if not os.access(folder, os.W_OK | os.X_OK):
                raise ConfigError("LAB_HOME", str(folder), "no right to write", "a folder that can be written")

    @property
    def ledger(self) -> Path:
        return self.path / "ledger.sqlite"

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    @property
    def world(self) -> Path:
        """What is in the simulated laboratory, and where: it outlives the simulator."""
        return self.path / "world.json"

    @property
    def catalogue(self) -> Path:
        return self.path / "catalogue"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def reports(self) -> Path:
        """What ``lab report`` writes."""
        return self.path / "reports"

    def frames(self, campaign: str) -> Path:
        return self.path / "frames" / campaign
