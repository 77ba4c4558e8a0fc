"""``lab status`` and ``lab stock`` as tables on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from lab.core.sample import UNKNOWN
from lab.records.cells import moment, state_cell, table_of


def render_status(data: Mapping[str, Any], begin: str = "lab run CAMPAIGN.yaml") -> RenderableType:
    """``lab status``: campaigns that run or can be resumed, with all that waits for somebody; `begin` is how one is begun here."""
    parts: list[RenderableType] = []
    for campaign in data["campaigns"]:
        parts += [*_campaign(campaign), Text()]
    if not parts:
        parts += [Text(f"no campaign runs, and none was interrupted; begin one with: {begin}"), Text()]
    if data["stock"]:
        parts += [Text("running low", "bold yellow"), render_stock(data["stock"])]
    else:
        parts.append(Text("nothing is running low"))
    return Group(*parts)


def render_stock(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """``lab stock``: a line for each account."""
    if not rows:
        return Text("no consumables on record: they are counted from the first campaign on")
    table = table_of("lab", "account", "left", "reserved", "capacity", "enough for", "")
    for row in rows:
        n = row["n_samples"]
        table.add_row(
            Text(row["lab"]), Text(row["account"]), f"{row['balance']:.4g} {row['unit']}", f"{row['reserved']:.4g}" if row["reserved"] else "",
            "" if row["capacity"] is None else f"{row['capacity']:.4g} {row['unit']}",
            "" if n is None else f"{n} more sample{'' if n == 1 else 's'}",
            Text(f"low: refill, then say so: lab refill {row['lab']} {_short(row['account'])}", "yellow") if row["is_low"] else "")
    return table


def _campaign(data: Mapping[str, Any]) -> Iterator[RenderableType]:
    n = data["trials"]
    counted = ", ".join(f"{count} {state}" for state, count in n.items() if count) or "no trial yet"
    who = f"process {data['pid']} on {data['host']}" if data["status"] == "running" else data["cause"]
    yield Text.assemble((data["campaign"], "bold"), "  ", state_cell(data["status"]), f"  {who}")
    yield Text(f"trials: {counted}; {'to stop it' if data['status'] == 'running' else 'to go on'}: {data['next']}")
    if data["samples"]:
        table = table_of("sample", "is at", "state", "doing", "since")
        for sample in data["samples"]:
            step = sample["step"]
            table.add_row(
                Text(sample["sample"].rpartition("-")[2]), Text(sample["place"], "red" if sample["place"] == UNKNOWN else ""),
                Text("" if sample["state"] == "current" else sample["state"]),
                Text("" if step is None else f"{step['station']}: {step['what']}"), "" if step is None else moment(step["since"]))
        yield table
    for question in data["questions"]:
        yield from _question(question)
    for request in data["requests"]:
        yield Text(f"{request['kind']}, asked by {request['by']} at {moment(request['requested'])}, has not been taken yet")


def _question(data: Mapping[str, Any]) -> Iterator[RenderableType]:
    yield Text.assemble((f"question {data['question']}", "bold yellow"), f"  {data['sample']}: {data['step']}: {data['error']}")
    table = table_of("  answer", "")
    for choice in data["choices"]:
        is_default = " (if nobody answers)" if choice["choice"] == data["default"] else ""
        table.add_row(Text(f"  {choice['command']}"), Text(choice["meaning"] + is_default))
    yield table


def _short(account: str) -> str:
    """What people type: ``cs`` for ``liquid:cs``, ``rack`` for the substrates in it."""
    return "rack" if account == "substrates" else account.removeprefix("liquid:")
