"""The laboratory that is up, and its queue, as ``lab status`` shows them on a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from lab.records.cells import duration, moment, table_of
from lab.records.render_status import render_status

_COLOURS = {"ready": "green", "starting": "cyan", "restarting": "yellow", "given up": "red", "dead": "red", "unsupervised": "red"}


def render(data: Mapping[str, Any]) -> RenderableType:
    """``lab status``: services, queue, lease and alarms of a laboratory that is up, then its campaigns and stock."""
    parts: list[RenderableType] = []
    laboratory = data["laboratory"]
    if laboratory is not None:
        parts += [*_laboratory(laboratory), *_items(data["items"]), *_notices(data["notices"]), Text()]
        return Group(*parts, render_status({**data, "campaigns": _queued_again(data)}, "lab queue submit CAMPAIGN.yaml"))
    if data["items"]["n_queued"] or data["items"]["waiting"] or data["items"]["interrupted"]:
        parts += [Text("the laboratory is down; its queue is kept"), *_items(data["items"]), Text()]
    return Group(*parts, render_status(data))


def _queued_again(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The campaigns, with what goes on with them where ``lab resume`` would be refused: the laboratory has a session already."""
    items = {item["campaign"]: item["item"] for item in data["items"]["interrupted"]}
    return [{**row, "next": f"lab queue retry {items[row['campaign']]}" if row["campaign"] in items else f"lab queue add resume_campaign campaign={row['campaign']}"}
            if row["status"] == "interrupted" else row for row in data["campaigns"]]


def _laboratory(data: Mapping[str, Any]) -> Iterator[RenderableType]:
    yield Text.assemble((f"laboratory {data['lab']}", "bold"), f"  is up in {data['home']}; gateway: {data['gateway']}")
    for step in data["next"]:
        yield Text(f"to do: {step}", "bold yellow")
    table = table_of("service", "state", "since", "")
    for service in data["services"]:
        table.add_row(Text(service["service"]), Text(service["state"], _COLOURS.get(service["state"], "")), _clock(service["since"]), Text(_restarts(service)))
    yield table
    yield _queue(data["queue"])
    holder = data["lease"]
    yield Text("control: nobody" if holder is None else f"control: {holder['who']}: {holder['what']}, since {_clock(holder['since'])}")
    yield from _alarms(data["alarms"])


def _restarts(service: Mapping[str, Any]) -> str:
    """What happened to a service since the laboratory came up."""
    death = service["last_death"]
    if death is None:
        return ""
    n = service["restarts"]
    return f"started again {n} time{'' if n == 1 else 's'}; it last died at {_clock(death['wall'])}: {death['why']}"


def _queue(data: Mapping[str, Any] | None) -> Text:
    if data is None:
        return Text("queue: the RE Manager does not answer", "red")
    n = data["n_items"]
    stopping = ", stops after this item" if data["is_stopping"] else ""
    mode = f"it stands: {data['why']}" if data["why"] else "runs by itself" if data["is_on"] else "an operator starts it: lab queue start"
    return Text(f"queue: {data['manager'].replace('_', ' ')}{stopping}; {n} item{'' if n == 1 else 's'} in it; worker: {data['environment']}; {mode}")


def _alarms(data: Mapping[str, Any] | None) -> Iterator[Text]:
    if data is None:
        yield Text("alarms: not known, the worker says nothing")
        return
    wrong = [f"{name}: {words}" for part in ("instruments", "interlocks") for name, words in data[part].items()]
    yield from (Text(f"alarm: {words}", "red") for words in wrong)
    if not wrong:
        yield Text("no alarms")


def _items(data: Mapping[str, Any]) -> Iterator[RenderableType]:
    for item in data["running"]:
        yield Text(f"running: {_words(item)}, {_progress(item)}")
    for item in data["waiting"]:
        yield Text(f"waits for approval: {_words(item)}: {item['next']}", "yellow")
    for item in data["interrupted"]:
        yield Text(f"interrupted: {_words(item)}: {item['cause']}: {item['next']}", "yellow")


def _notices(rows: Sequence[Mapping[str, Any]]) -> Iterator[RenderableType]:
    yield from (Text(f"{moment(row['wall'])}  {row['text']}", "dim") for row in rows)


def _words(item: Mapping[str, Any]) -> str:
    campaign = f", campaign {item['campaign']}" if item["campaign"] else ""
    return f"item {item['item']} of {item['user']} ({item['plan']}{campaign})"


def _progress(item: Mapping[str, Any]) -> str:
    trials = item["trials"]
    if trials is not None and any(trials.values()):
        return ", ".join(f"{n} {state}" for state, n in trials.items() if n)
    about = "" if item["estimate_s"] is None else f", about {duration(item['estimate_s'])} in all"
    return f"since {moment(item['began'])}{about}" if item["began"] is not None else about.lstrip(", ")


def _clock(wall: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(wall)) if wall else ""
