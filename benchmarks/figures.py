"""One line per figure: what, measured, target, whether it is met."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

MET, MISSED, REPORTED = "ok    ", "MISS  ", "report"


@dataclass(frozen=True)
class Figure:
    """A measured number and its target.

    Parameters
    ----------
    name : str
    value : float
    unit : str
    most, least : float or None
        The target; neither: the figure is only reported.
    note : str
        How it was measured, or what bounds it.
    """

    name: str
    value: float
    unit: str
    most: float | None = None
    least: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.most is None and self.least is None:
            return REPORTED
        is_met = (self.most is None or self.value <= self.most) and (self.least is None or self.value >= self.least)
        return MET if is_met else MISSED

    def __str__(self) -> str:
        target = f"<= {self.most:g} {self.unit}" if self.most is not None else f">= {self.least:g} {self.unit}" if self.least is not None else ""
        return f"{self.verdict} {self.name:<66} {self.value:>10.3g} {self.unit:<9} {target:<16} {self.note}".rstrip()


def show(figures: Iterable[Figure]) -> None:
    """Print a line per figure."""
    for figure in figures:
        print(figure, flush=True)


def median_s(action: Callable[[], object], n: int, clock: Callable[[], float]) -> float:
    """Median duration of `n` calls, s."""
    durations = []
    for _ in range(n):
        began = clock()
        action()
        durations.append(clock() - began)
    return statistics.median(durations)


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of `values` lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
