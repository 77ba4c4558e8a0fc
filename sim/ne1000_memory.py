"""What a New Era NE-1000 stores, and how it writes numbers (manual 1200-01, sections 10.2.1 and 10.4)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Literal

from lab.core.errors import LabError

FIRMWARE = "NE1000V3.928"

FASTEST_CM_MIN = 5.1005
SLOWEST_CM_H = 0.004205
"""Range of the pusher block, from the specifications."""

SMALL_SYRINGE_MM = 14.0
"""At or below this diameter the volume unit becomes uL, above it mL (DIA)."""

RATE_ML_S = {"MM": 1 / 60, "MH": 1 / 3600, "UM": 1e-3 / 60, "UH": 1e-3 / 3600}
VOLUME_ML = {"ML": 1.0, "UL": 1e-3}
_NUMBER = re.compile(r"\d+\.?\d*|\.\d+")

FLAGS = {"AL": "1", "BP": "1", "LN": "0", "DIN": "1"}
"""On-off settings that change nothing on the line: alarm buzzer, key beep, low motor noise, direction input."""
TRIGGERS = ("FT", "FH", "F2", "LE", "ST", "T2", "SP", "P2", "RL", "RH", "SL", "SH", "OF")
N_PHASES = 41


class Refusal(LabError):
    """A command the pump answers with ``?...``; never leaves this module."""


UNKNOWN, NOT_APPLICABLE, OUT_OF_RANGE, BAD_PACKET = "?", "?NA", "?OOR", "?COM"


def number(value: float) -> str:
    """At most four digits plus a point, at most three decimals: ``5.000``, ``26.59``, ``1699.`` (10.2.1, <float>).

    Cut off, not rounded: the pump never counts what it has not yet delivered.
    """
    n_decimals = 3 - min(3, max(0, math.floor(math.log10(max(value, 1.0)) + 1e-12)))
    text = f"{math.floor(value * 10**n_decimals + 1e-6) / 10**n_decimals:.{n_decimals}f}"
    return text if n_decimals else text + "."


def parse_number(text: str) -> float:
    """The manual's <float>. Raises Refusal for what is none, or has too many digits."""
    if not _NUMBER.fullmatch(text):
        raise Refusal(UNKNOWN)
    decimals = text.partition(".")[2]
    if len(text.replace(".", "")) > 4 or len(decimals) > 3:
        raise Refusal(OUT_OF_RANGE)
    return float(text)


@dataclass(frozen=True)
class Phase:
    """One phase of the pumping program, as it is stored."""

    function: str = "STP"
    rate: float = 10.0
    rate_units: str = "MH"
    volume: float = 0.0
    direction: Literal["INF", "WDR"] = "INF"


@dataclass
class Memory:
    """The non-volatile memory."""

    diameter_mm: float = 26.59
    volume_units: str = "ML"
    safe_timeout_s: int = 0
    phases: list[Phase] = field(default_factory=lambda: [Phase("RAT")] + [Phase()] * (N_PHASES - 1))
    flags: dict[str, str] = field(default_factory=lambda: dict(FLAGS))
    trigger: str = "FT"
