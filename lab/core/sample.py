"""Samples and places. The ledger always knows where each sample is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GRIPPER = "gripper"
"""The place of a sample that the arm holds."""

UNKNOWN = "unknown"
"""The place of a sample when a transfer failed half-way: a person must look."""

REMOVED = "removed"
"""The place of a sample that people took out of the laboratory."""

MoveState = Literal["announced", "done", "failed"]


@dataclass(frozen=True)
class Move:
    """One transfer of a sample between two places (place names of lab.yaml, or `GRIPPER`)."""

    sample: str
    origin: str
    target: str
    state: MoveState
