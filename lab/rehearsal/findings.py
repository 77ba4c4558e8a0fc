"""Values that instruments would refuse, gathered over all samples of a rehearsal."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from lab.core.channels import Channel
from lab.core.errors import ConfigError
from lab.rehearsal.checks import Case


@dataclass
class _Refused:
    row: Channel
    n: int = 0
    least: float = float("inf")
    most: float = float("-inf")


class Refusals:
    """Told of each value beyond a limit (`lab.rehearsal.devices.Refused`)."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._found: dict[tuple[str, str], _Refused] = {}

    def __call__(self, instrument: str, row: Channel, value: float) -> None:
        one = self._found.setdefault((instrument, row.name), _Refused(row))
        one.n, one.least, one.most = one.n + 1, min(one.least, value), max(one.most, value)

    def problems(self, n_repetitions: int, told: Collection[str]) -> Iterator[ConfigError]:
        """One for each limit, but for doses of liquids of which it has been `told` already (`lab.rehearsal.checks`)."""
        for (instrument, name), one in self._found.items():
            if one.row.unit == "mL" and any(instrument.endswith(f"_{liquid}") for liquid in told):
                continue
            values = f"{one.least:.4g}" if one.least == one.most else f"{one.least:.4g}..{one.most:.4g}"
            times = one.n / n_repetitions
            low, high = one.row.low, one.row.high
            allowed = f"{low if low is not None else '':g}..{high if high is not None else '':g} {one.row.unit}".strip()
            yield ConfigError(self._case.campaign_file, f"{instrument}.{name}", f"{values} {one.row.unit} ({times:.0f} times in the campaign)",
                              f"{allowed} ({self._case.lab_file}: instruments)")
