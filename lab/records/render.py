"""The report's data as tables on a terminal.

Causes hold what instruments say, brackets and all (``[3012][Buffer overrun]``), so every cell is a Text: nothing in it is markup.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

COLOURS = {"done": "green", "completed": "green", "running": "cyan", "interrupted": "yellow", "abandoned": "yellow", "failed": "red"}


def render_campaigns(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """``lab ls``: one line for each campaign."""
    if not rows:
        return Text("no campaign on record yet; begin one with: lab run CAMPAIGN.yaml")
    table = _table("campaign", "status", "began", "done", "failed", "given up", "best")
    for row in rows:
        n = row["trials"]
        table.add_row(Text(row["campaign"]), _state(row["status"]), Text(_moment(row["started"])), str(n["completed"]), str(n["failed"]),
                      str(n["abandoned"]), Text("-" if row["best"] is None else _outcomes(row["best"]["outcomes"])))
    return table


def render_summary(data: Mapping[str, Any]) -> RenderableType:
    """``lab show``: the campaign, its trials, its samples, and what went wrong."""
    parts: list[RenderableType] = [*_heading(data), Text(), _trials(data)]
    if data["samples"]:
        parts += [Text(), _samples(data)]
    parts += list(_unconfirmed(data))
    if data["stations"]:
        busy = _table("station", "busy, laboratory time", "share")
        for station, value in sorted(data["stations"].items()):
            share = f"{100 * value['busy_s'] / data['lab_s']:.0f} %" if data["lab_s"] > 0 else ""
            busy.add_row(Text(station), _duration(value["busy_s"]), share)
        parts += [Text(), busy]
    if data["events"]:
        events = _table("when", "trial", "kind", "what")
        for event in data["events"]:
            events.add_row(_moment(event["recorded_wall"]), "" if event["trial"] is None else str(event["trial"] + 1),
                           Text(event["kind"]), Text(event["text"]))
        parts += [Text(), events]
    return Group(*parts)


def _heading(data: Mapping[str, Any]) -> Iterator[Text]:
    yield Text.assemble((data["campaign"], "bold"), "  ", _state(data["status"]), f"  {data['cause']}" if data["cause"] else "")
    n = data["trials"]
    yield Text(f"began {_moment(data['started'])}, took {_duration(data['wall_s'])} on the wall, {_duration(data['lab_s'])} of laboratory time; "
               f"trials: {', '.join(f'{count} {state}' for state, count in n.items() if count) or 'none'}")
    best = data["best"]
    if best is not None:
        yield Text.assemble("best: ", (_values({**best["planned"], **best["executed"]}), "bold"), f"  {_outcomes(best['outcomes'])}"
                            f"  (trial {best['trial']})")


def _trials(data: Mapping[str, Any]) -> Table:
    table = _table("trial", "state", "planned", "executed", "outcome", "cause", "from", "sample")
    for trial in data["table"]:
        table.add_row(str(trial["trial"]), _state(trial["state"]), Text(_values(trial["planned"])), Text(_values(trial["executed"])),
                      Text(_outcomes(trial["outcomes"])), Text(trial["cause"]), Text(trial["origin"]), Text(_short(trial["sample"])))
    return table


def _samples(data: Mapping[str, Any]) -> Table:
    table = _table("sample", "trial", "is at", "since")
    for sample in data["samples"]:
        style = "red" if sample["place"] == "unknown" else ""
        table.add_row(Text(sample["id"]), str(sample["trial"] + 1), Text(sample["place"], style), _moment(sample["placed_wall"]))
    return table


def _unconfirmed(data: Mapping[str, Any]) -> Iterator[Text]:
    """What was announced and never confirmed: a person has to look."""
    for dose in data["unconfirmed"]["doses"]:
        yield Text(f"\nunconfirmed dose into {dose['sample']}: {_values(dose['volumes_ml'])} mL, announced {_moment(dose['announced_wall'])}; "
                   "how much was dispensed nobody knows", "red")
    for move in data["unconfirmed"]["moves"]:
        yield Text(f"\nunconfirmed move of {move['sample']} from {move['origin']} to {move['target']}, announced "
                   f"{_moment(move['announced_wall'])}; look where it is", "red")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, justify="right" if column in ("trial", "done", "failed", "given up", "share") else "left")
    return table


def _state(state: str) -> Text:
    return Text(state, COLOURS.get(state, ""))


def _values(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items())


def _outcomes(outcomes: Mapping[str, Mapping[str, float | None]]) -> str:
    found = []
    for name, value in outcomes.items():
        error = "" if value["sem"] is None else f" ± {value['sem']:.2g}"
        found.append(f"{name} {value['mean']:.4g}{error}")
    return ", ".join(found)


def _short(sample: str) -> str:
    """Only what tells a campaign's samples apart."""
    return sample.rpartition("-")[2]


def _moment(iso: str) -> str:
    return iso[:19].replace("T", " ")


def _duration(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes:02d} min" if hours else (f"{minutes} min {whole % 60:02d} s" if minutes else f"{seconds:.1f} s")
