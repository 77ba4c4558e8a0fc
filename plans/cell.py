"""The work cell: what a plan has at hand, by capability."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab.core.capabilities import Arm, Detector, Instrument, Synthesiser
from lab.core.clock import Clock


@dataclass(frozen=True)
class WorkCell:
    """Instruments and places of one laboratory.

    Parameters
    ----------
    arm, synthesiser, detector
        Devices, known by their capability.
    synthesiser_place, detector_place : str
        Where the arm puts a sample for each station (place names of lab.yaml).
    rack : tuple of str
        Places where samples start and end.
    clock : Clock
        Laboratory time.
    frames : Path
        Folder for the frames of this campaign.
    """

    arm: Arm
    synthesiser: Synthesiser
    detector: Detector
    synthesiser_place: str
    detector_place: str
    rack: tuple[str, ...]
    clock: Clock
    frames: Path

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """In the order in which they are made safe: what burns or spills first."""
        found = (self.synthesiser, self.arm, self.detector)
        return tuple(i for i in found if isinstance(i, Instrument))
