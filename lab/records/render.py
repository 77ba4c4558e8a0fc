"""The report's data as tables on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lab.core.sample import UNKNOWN
from lab.records.cells import duration, moment, state_cell, table_of
from lab.records.gantt import gantt


def render_campaigns(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """``lab ls``: one line for each campaign."""
    if not rows:
        return Text("no campaign on record yet; begin one with: lab run CAMPAIGN.yaml")
    table = table_of("campaign", "status", "done", "failed", "given up", "best")
    for row in rows:
        n = row["trials"]
        table.add_row(Text(row["campaign"]), state_cell(row["status"]), str(n["completed"]), str(n["failed"]), str(n["abandoned"]),
                      Text("-" if row["best"] is None else _outcomes(row["best"]["outcomes"])))
    return table


def render_summary(data: Mapping[str, Any]) -> RenderableType:
    """``lab show``: the campaign, its trials and where their samples are, and what went wrong."""
    parts: list[RenderableType] = [*_heading(data), Text(), _trials(data)]
    causes = list(_causes(data))
    if causes:
        parts += [Text(), *causes]
    parts += list(_unconfirmed(data))
    if data["stations"]:
        parts += [Text(), *_use(data)]
    happened = list(_events(data))
    if happened:
        events = table_of("when", "trial", "kind", "what")
        for event in happened:
            events.add_row(moment(event["recorded_wall"]), "" if event["trial"] is None else str(event["trial"] + 1),
                           Text(event["kind"]), Text(event["text"].replace(f"{data['campaign']}-", "")))
        parts += [Text(), events]
    return Group(*parts)


def _use(data: Mapping[str, Any]) -> Iterator[RenderableType]:
    """How the stations were used, and a picture of the last samples."""
    use = table_of("station", "busy, laboratory time", "share", "idle in between")
    for station, value in sorted(data["stations"].items()):
        use.add_row(Text(station), duration(value["busy_s"]), f"{100 * value['utilisation']:.0f} %", duration(value["idle_s"]))
    yield use
    told = data["statistics"]
    resumed = f", in {told['n_sessions']} sessions" if told["n_sessions"] > 1 else ""
    hands = told["n_interventions"]
    by_hand = f"{hands} intervention{'' if hands == 1 else 's'}" if hands else "no intervention"
    yield Text(f"{duration(told['makespan_s'])} from the first step to the last{resumed}; {told['overlap']:.1f} samples at once; {by_hand}")
    picture = gantt(data["steps"])
    if picture is not None:
        yield Text()
        yield picture


def _heading(data: Mapping[str, Any]) -> Iterator[Text]:
    yield Text.assemble((data["campaign"], "bold"), "  ", state_cell(data["status"]), f"  {data['cause']}" if data["cause"] else "")
    n = data["trials"]
    if data.get("objectives"):
        yield Text(f"seeks to {' and '.join(map(_goal, data['objectives']))}")
    yield Text(f"began {moment(data['started'])}, took {duration(data['wall_s'])} on the wall, {duration(data['lab_s'])} of laboratory time")
    yield Text(f"trials: {', '.join(f'{count} {state}' for state, count in n.items() if count) or 'none'}")
    best = data["best"]
    if best is not None:
        yield Text.assemble("best: ", (_values({**best["planned"], **best["executed"]}), "bold"), f"  {_outcomes(best['outcomes'])}"
                            f"  (trial {best['trial']})")
    told = data.get("recommended")
    if told is not None:
        yield Text(f"recommends: {told['words']}")


def _trials(data: Mapping[str, Any]) -> Table:
    """A row for each trial; a value that was carried out otherwise than planned shows both."""
    trials = data["table"]
    values = _names([*(t["planned"] for t in trials), *(t["executed"] for t in trials)])
    outcomes = _names(trial["outcomes"] for trial in trials)
    places = {sample["id"]: sample["place"] for sample in data["samples"]}
    table = table_of("trial", "state", *values, *outcomes, "from", "is at")
    for trial in trials:
        place = places.get(trial["sample"], "")
        numbers = [Text(_carried_out(trial, name)) for name in values] + [Text(_measured(trial["outcomes"].get(name))) for name in outcomes]
        for column, cell in zip(table.columns[2:], numbers, strict=False):  # headings may be folded, numbers not
            column.min_width = max(column.min_width or 0, cell.cell_len)
        table.add_row(str(trial["trial"]), state_cell(trial["state"]), *numbers, Text(trial["origin"]),
                      Text(place, "red" if place == UNKNOWN else ""))
    return table


def _causes(data: Mapping[str, Any]) -> Iterator[Text]:
    for trial in data["table"]:
        if trial["cause"]:
            yield Text.assemble(f"trial {trial['trial']} ", state_cell(trial["state"]), f": {trial['cause']}")


def _events(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What happened, without the ends of trials, whose causes have been told."""
    told = {(trial["trial"] - 1, f"{trial['state']}: {trial['cause']}") for trial in data["table"]}
    yield from (event for event in data["events"] if (event["trial"], event["text"]) not in told)


def _carried_out(trial: Mapping[str, Any], name: str) -> str:
    texts = [_value(trial[key][name]) for key in ("planned", "executed") if name in trial[key]]
    return " → ".join(dict.fromkeys(texts))


def _names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The keys of all rows, in their order."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _unconfirmed(data: Mapping[str, Any]) -> Iterator[Text]:
    """What was announced and never confirmed: a person has to look."""
    for dose in data["unconfirmed"]["doses"]:
        yield Text(f"\nunconfirmed dose into {dose['sample']}: {_values(dose['volumes_ml'])} mL, announced {moment(dose['announced_wall'])}; "
                   "how much was dispensed nobody knows", "red")
    for move in data["unconfirmed"]["moves"]:
        yield Text(f"\nunconfirmed move of {move['sample']} from {move['origin']} to {move['target']}, announced "
                   f"{moment(move['announced_wall'])}; look where it is", "red")


def _values(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_value(value)}" for name, value in values.items())


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _goal(objective: Mapping[str, Any]) -> str:
    if objective["target"] is None:
        return f"{objective['goal']} {objective['name']}"
    return f"bring {objective['name']} to {objective['target']:g} {objective['unit']}".rstrip()


def _outcomes(outcomes: Mapping[str, Mapping[str, float | None]]) -> str:
    return ", ".join(f"{name} {_measured(value)}" for name, value in outcomes.items())


def _measured(value: Mapping[str, float | None] | None) -> str:
    if value is None:
        return ""
    error = "" if value["sem"] is None else f" ± {value['sem']:.2g}"
    return f"{value['mean']:.4g}{error}"
