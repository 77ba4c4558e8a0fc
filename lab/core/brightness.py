"""The calibration of film brightness: how a property of a film shows as counts, in the table world and in its evaluation.

A linear detector of film brightness: no light at the low end of the property's full scale, `COUNTS_FULL` at the high end.
"""

from __future__ import annotations

COUNTS_FULL = 1000.0
"""Mean counts per pixel and second at the high end of the full scale."""


def rate_of(value: float, full_scale: tuple[float, float]) -> float:
    """Mean counts per pixel and second of a film whose property is `value`."""
    low, high = full_scale
    return COUNTS_FULL * (value - low) / (high - low)


def value_of(rate: float, full_scale: tuple[float, float]) -> float:
    """The property of a film that gives `rate` mean counts per pixel and second; the inverse of `rate_of`."""
    low, high = full_scale
    return low + (high - low) * rate / COUNTS_FULL
