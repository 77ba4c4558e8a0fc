"""What the laboratory answers about its queue, as tables on a terminal. Texts of other people cannot give orders to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import yaml
from rich.console import Group, RenderableType
from rich.text import Text

from lab.records.cells import duration, moment, state_cell, table_of
from lab.records.render import render_summary
from lab.remote.commands.arguments import in_words

Row = Mapping[str, Any]

LONGEST_PARAMETERS = 100
_KINDS = {"List": "list", "list": "list", "Dict": "object", "dict": "object", "float": "number", "int": "whole number", "str": "text", "bool": "true, false"}


def plain(text: object) -> str:
    """Text that a terminal shows and does not obey."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in str(text))


def takes(estimate_s: float | None) -> str:
    """``about 12 min 30 s`` of laboratory time."""
    return "" if estimate_s is None else f"about {duration(estimate_s)}"


def parameters_of(row: Row) -> str:
    """On one line, cut off where it is too long for a table."""
    if row["name"] == "campaign" and isinstance(row["parameters"].get("config"), Mapping):
        return plain(row["parameters"]["config"].get("name", ""))
    words = plain(in_words(row["parameters"]))
    return words if len(words) <= LONGEST_PARAMETERS else f"{words[: LONGEST_PARAMETERS - 3]}..."


def render_queue(items: Sequence[Row], queue: Row | None = None) -> RenderableType:
    """``lab queue list``: what runs, what comes next, what waits for whom; `items` in that order. `queue` as the laboratory's status has it."""
    parts: list[RenderableType] = []
    if queue is not None and queue["why"]:
        parts.append(Text(f"the queue stands: {plain(queue['why'])}", "yellow"))
    going = [item for item in items if item["state"] in ("running", "queued")]
    if going:
        table = table_of("place", "item", "plan", "whose", "state", "takes", "parameters")
        place = 0
        for item in going:
            place += item["state"] == "queued"
            table.add_row(str(place) if item["state"] == "queued" else "", Text(item["id"]), Text(plain(item["name"])), Text(plain(item["user"])),
                          state_cell(item["state"]), takes(item["estimate_s"]), Text(parameters_of(item)))
        parts.append(table)
    waiting = [item for item in items if item["state"] == "waiting"]
    for item in waiting:
        parts.append(Text.assemble("waits for an operator's word: ", (item["id"], "bold"), f" {plain(item['name'])} of {plain(item['user'])}  "
                                   f"{parameters_of(item)}\n    lab queue approve {item['id']}    lab queue reject {item['id']} WHY"))
    undecided = [item for item in items if item["state"] == "interrupted" and not item["decided"]]
    for item in undecided:
        parts.append(Text.assemble((f"interrupted: {item['id']}", "yellow"), f" {plain(item['name'])} of {plain(item['user'])}: {plain(item['cause'])}\n"
                                   f"    lab queue retry {item['id']}    lab queue dismiss {item['id']}"))
    if not (going or waiting or undecided):
        parts.append(Text("the queue is empty; add to it with: lab queue add PLAN NAME=VALUE... (lab queue plans)"))
    return Group(*parts)


def render_history(items: Sequence[Row]) -> RenderableType:
    """``lab queue history``: what has ended, the newest last."""
    if not items:
        return Text("nothing has ended yet")
    table = table_of("item", "plan", "whose", "state", "ended", "took", "parameters", "cause")
    for item in items:
        what = plain(item["cause"]) + (f" ({plain(item['decided'])} by {plain(item['decided_by'])})" if item["decided"] else "")
        table.add_row(Text(item["id"]), Text(plain(item["name"])), Text(plain(item["user"])), state_cell(item["state"]),
                      moment(item["ended_wall"] or ""), _took(item), Text(parameters_of(item)), Text(what))
    return table


def goes_on(queue: Row) -> str:
    """When the next item begins, in words; `queue` as the laboratory's status has it."""
    if queue["why"]:
        return f"it stands: {plain(queue['why'])}"
    return "runs by itself" if queue["is_on"] else "an operator starts it: lab queue start"


def render_status(status: Row, who: Row) -> RenderableType:
    """``lab queue status``: whom the laboratory takes you for, what the worker does, how much is queued, what waits for somebody."""
    standing = status["laboratory"]
    is_open = status.get("worker_environment_exists")
    lines = [
        Text.assemble("you are ", (plain(who["name"]), "bold"), f", {who['role']}, at the laboratory ", (plain(who["lab"]), "bold")),
        Text.assemble("worker   ", ("ready", "green") if is_open else ("not there", "red"), f"   {status.get('manager_state', '')}"),
        Text(f"queue    {standing['queue']['n_queued']} queued; {goes_on(standing['queue'])}"),
    ]
    lines += [Text(f"running  {item['id']} {plain(item['name'])} of {plain(item['user'])}: lab queue watch") for item in standing["running"]]
    for word, items in (("waiting", standing["waiting"]), ("interrupted", standing["interrupted"])):
        lines += [Text(f"{word}  {item['id']} {plain(item['name'])} of {plain(item['user'])}: {item['next']}", "yellow") for item in items]
    if status.get("queue_stop_pending"):
        lines.append(Text("stops after the item that runs", "yellow"))
    return Group(*lines)


def render_plans(plans: Mapping[str, Row]) -> RenderableType:
    """``lab queue plans``: every plan with what it takes."""
    if not plans:
        return Text("there is no plan that your role may queue")
    parts: list[RenderableType] = []
    for name, plan in plans.items():
        parts += [Text.assemble((plain(name), "bold"), f"   {_first_line(plan.get('description', ''))}")]
        if plan.get("parameters"):
            table = table_of("  ", "parameter", "type", "unit", "from", "to", "default", "meaning")
            for one in plan["parameters"]:
                table.add_row("", Text(plain(one["name"])), Text(plain(_type_of(one))), Text(plain(one.get("unit", ""))), Text(plain(one.get("min", ""))),
                              Text(plain(one.get("max", ""))), Text(plain(one["default"]) if "default" in one else "(needed)"),
                              Text(plain(one.get("description", "")) + _names_of(one)))
            parts.append(table)
        parts.append(Text())
    return Group(*parts[:-1])


def render_campaign(data: Row) -> RenderableType:
    """``lab queue campaigns CAMPAIGN``: as lab show, with the questions that wait for an answer."""
    parts: list[RenderableType] = [render_summary({"unconfirmed": {"doses": [], "moves": []}, "steps": [], **data})]
    for question in data["questions"]:
        if question["state"] == "open":
            parts.append(Text.assemble((f"\nquestion {question['id']}: ", "bold yellow"), plain(f"{question['sample']}: {question['step']}: {question['error']}")))
            parts += [Text(f"    lab queue answer {question['id']} {plain(choice):<8}  {plain(meaning)}") for choice, meaning in question["choices"].items()]
    return Group(*parts)


def render_item(item: Row) -> RenderableType:
    """One item with all of its parameters."""
    lines = [Text.assemble((item["id"], "bold"), f"  {plain(item['name'])} of {plain(item['user'])}  ", state_cell(item["state"]), f"  {plain(item['cause'])}")]
    written = yaml.safe_dump(dict(item["parameters"]), sort_keys=False, allow_unicode=True, default_flow_style=None, width=100) if item["parameters"] else ""
    lines += [Text(f"    {plain(line)}") for line in written.splitlines()]
    if item["estimate_s"] is not None:
        lines.append(Text(f"    takes {takes(item['estimate_s'])} of laboratory time"))
    return Group(*lines)


def problem_lines(problems: Iterable[Row]) -> list[str]:
    """A line for each mistake: field, given, allowed."""
    return [f"{plain(one.get('field'))}: given {plain(one.get('given'))}; allowed: {plain(one.get('allowed'))}" for one in problems]


def _took(item: Row) -> str:
    if not item["began_wall"] or not item["ended_wall"]:
        return ""
    return duration((datetime.fromisoformat(item["ended_wall"]) - datetime.fromisoformat(item["began_wall"])).total_seconds())


def _type_of(parameter: Row) -> str:
    """As JSON calls it."""
    found = _annotation(parameter).get("type", "")
    kind = str(found).removeprefix("typing.").partition("[")[0]
    return _KINDS.get(kind, "text" if _annotation(parameter).get("enums") else str(found))


def _names_of(parameter: Row) -> str:
    """``: one of a, b``, where only some names are taken."""
    for given in (_annotation(parameter).get("enums"), _annotation(parameter).get("devices")):
        if isinstance(given, Mapping):
            return "".join(f": {', '.join(plain(name) for name in names)}" for names in given.values())
    return ""


def _annotation(parameter: Row) -> Row:
    found = parameter.get("annotation")
    return found if isinstance(found, Mapping) else {}


def _first_line(text: str) -> str:
    return plain(text.strip().partition("\n")[0])
