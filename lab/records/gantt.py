"""The last samples over laboratory time, a line for each: which station had it when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.text import Text

WIDTH = 72
"""Characters of the time axis."""

N_SAMPLES = 12
"""How many samples are shown, the last ones."""

COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "red")


def gantt(steps: Sequence[Mapping[str, Any]], *, n_samples: int = N_SAMPLES, width: int = WIDTH) -> Text | None:
    """A picture in characters; None when no step has ended.

    Parameters
    ----------
    steps : sequence of mapping
        `lab.records.rows.StepRow` as mappings; those without an end are left out.
    n_samples : int
        Only the last so many samples.
    width : int
        Characters of the time axis.
    """
    ended = [step for step in steps if step["ended_lab_s"] is not None and step["sample"]]
    samples = list(dict.fromkeys(step["sample"] for step in ended))[-n_samples:]
    shown = [step for step in ended if step["sample"] in samples]
    if not shown:
        return None
    first = min(step["began_lab_s"] for step in shown)
    span_s = max(step["ended_lab_s"] for step in shown) - first
    if span_s <= 0:
        return None
    letters = _letters(dict.fromkeys(step["station"] for step in shown))
    colours = {station: COLOURS[n % len(COLOURS)] for n, station in enumerate(letters)}
    labels = {sample: sample.rpartition("-")[2] for sample in samples}
    margin = max(len(label) for label in labels.values()) + 1
    picture = Text()
    for sample in samples:
        picture.append(labels[sample].ljust(margin))
        for station in _line([step for step in shown if step["sample"] == sample], first, span_s, width):
            picture.append(letters[station] if station else "·", colours[station] if station else "dim")
        picture.append("\n")
    picture.append(" " * margin + f"0 s{f'{span_s:.0f} s'.rjust(width - 3)}\n", "dim")
    for station, letter in letters.items():
        picture.append(f"{letter} {station}   ", colours[station])
    return picture


def _line(steps: Iterable[Mapping[str, Any]], first: float, span_s: float, width: int) -> list[str]:
    """The station in each character's share of time; the step that has most of it, so that short ones are not all one sees."""
    share_s: list[dict[str, float]] = [{} for _ in range(width)]
    each_s = span_s / width
    for step in steps:
        begin, end = (step["began_lab_s"] - first) / each_s, (step["ended_lab_s"] - first) / each_s
        for cell in range(min(width - 1, int(begin)), min(width - 1, int(end)) + 1):
            overlap = min(end, cell + 1) - max(begin, cell)
            if overlap > 0:
                share_s[cell][step["station"]] = share_s[cell].get(step["station"], 0.0) + overlap
    return [max(share, key=lambda station: share[station]) if share else "" for share in share_s]


def _letters(stations: Iterable[str]) -> dict[str, str]:
    """One character for each station: the first of its name that is free, the last one first of names that differ at their end."""
    found: dict[str, str] = {}
    for station in stations:
        candidates = [station[0], *station[-1:], *station, *station.upper(), *"0123456789#"]
        free = [letter for letter in candidates if letter not in found.values() and letter not in "_-. "]
        found[station] = free[0] if free else "*"
    return found
