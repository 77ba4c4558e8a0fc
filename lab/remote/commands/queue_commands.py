"""``lab queue ...``: the queue of a laboratory that may be far away, under one's own name. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lab.core.errors import ConfigError
from lab.remote.commands import change_commands
from lab.remote.commands.connection import CampaignArgument, Context, laboratory_of, say
from lab.terminal import show

if TYPE_CHECKING:
    from lab.remote.client.laboratory import Laboratory

app = typer.Typer(help="Queue plans and campaigns in a laboratory, here or far away; watch them; fetch their data.", no_args_is_help=True)
app.add_typer(change_commands.app)

ItemArgument = Annotated[str, typer.Argument(metavar="ITEM", help="its id, its number, the unique end of its id, or: last (your newest)")]
MaybeCampaign = Annotated[str | None, typer.Argument(metavar="[CAMPAIGN]", help="a campaign of yours; default: the queue (operators)")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on standard output")]

OPEN = ["running", "queued", "waiting", "interrupted"]
MOST = 1000
"""Items in one answer."""
LAST = "last"
ENDS = ["completed", "failed", "stopped", "aborted", "removed", "rejected", "interrupted"]


@app.callback()
def queue(
    context: Context,
    address: Annotated[str | None, typer.Option("--address", metavar="HOST:PORT", help="of the laboratory's gateway; default: LAB_ADDRESS, or what the key file says")] = None,
    key: Annotated[Path | None, typer.Option("--key", help="your key file; default: LAB_KEY, or your own in LAB_HOME/keys")] = None,
) -> None:
    context.obj = (address, key)


# ------------------------------------------------------------------------------------------------------------ to look


@app.command()
def status(context: Context, as_json: JsonOption = False) -> None:
    """Whom the laboratory takes you for, and what its worker and its queue do."""
    with laboratory_of(context) as lab:
        from lab.remote.commands.queue_tables import render_status

        found = {"you": lab.whoami(), **lab.status(), "laboratory": lab.standing()}
        show(found, lambda data: render_status(data, data["you"]), as_json)


@app.command(name="list")
def list_items(context: Context, as_json: JsonOption = False) -> None:
    """What runs, what comes next and how long it takes, what waits for an operator, what was interrupted."""
    with laboratory_of(context) as lab:
        from lab.remote.commands.queue_tables import render_queue

        queue = lab.standing()["queue"]
        show([*lab.items(states=["running"]), *lab.items(states=["queued"], limit=MOST), *lab.items(states=["waiting", "interrupted"], limit=MOST)],
             lambda items: render_queue(items, queue), as_json)


@app.command()
def history(
    context: Context,
    last: Annotated[int, typer.Option("--last", min=1, help="so many")] = 20,
    user: Annotated[str, typer.Option("--user", help="only theirs")] = "",
    as_json: JsonOption = False,
) -> None:
    """What has ended, and how."""
    with laboratory_of(context) as lab:
        from lab.remote.commands.queue_tables import render_history

        show(lab.items(states=ENDS, user=user, limit=last), render_history, as_json)


@app.command()
def plans(context: Context, name: Annotated[str | None, typer.Argument(metavar="[PLAN]")] = None, as_json: JsonOption = False) -> None:
    """The plans that you may queue: parameters, units, limits, defaults."""
    with laboratory_of(context) as lab:
        from lab.remote.commands.queue_tables import render_plans

        found = lab.plans_allowed()["plans_allowed"]
        if name is not None and name not in found:
            raise ConfigError("command line", "PLAN", repr(name), ", ".join(found) or "nothing for your role")
        show(found if name is None else {name: found[name]}, render_plans, as_json)


@app.command()
def item(context: Context, item: ItemArgument, as_json: JsonOption = False) -> None:
    """One item with all of its parameters, and what became of it."""
    with laboratory_of(context) as lab:
        from lab.remote.commands.queue_tables import render_item

        show(_find(lab, item), render_item, as_json)


@app.command()
def watch(
    context: Context,
    target: Annotated[str | None, typer.Argument(metavar="[ITEM|CAMPAIGN]", help="last: your newest item; default: whatever runs, until Ctrl-C")] = None,
    as_json: JsonOption = False,
) -> None:
    """Progress, live table and results as they come; goes on through restarts of either side."""
    with laboratory_of(context) as lab:
        from lab.remote.commands.watching import watch as look

        raise typer.Exit(look(lab, None if target is None else _item_or_campaign(lab, target), as_json))


# ------------------------------------------------------------------------------------------------------------- to ask


@app.command(context_settings={"ignore_unknown_options": True})  # so that delay=-1 and -1 are answered in our words
def add(
    context: Context,
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="lab queue plans")],
    words: Annotated[list[str] | None, typer.Argument(metavar="NAME=VALUE... | '{JSON}'", help="its parameters")] = None,
    is_front: Annotated[bool, typer.Option("--front", help="before all others")] = False,
    as_json: JsonOption = False,
) -> None:
    """Queue a plan under your name; types, names, ranges and limits are checked before it enters the queue."""
    from lab.remote.commands.arguments import parameters

    with laboratory_of(context) as lab:
        given = parameters(words or [])
        answer = lab.item_add({"item_type": "plan", "name": plan, "kwargs": given}, pos="front" if is_front else None)
        _say_queued(answer, plan, as_json)


@app.command()
def submit(
    context: Context,
    campaign: Annotated[Path, typer.Argument(help="campaign.yaml")],
    assignments: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change a field of the file")] = None,
    as_json: JsonOption = False,
) -> None:
    """Queue a campaign; it is rehearsed there before it enters the queue."""
    with laboratory_of(context) as lab:
        _say_queued(lab.submit(campaign, assignments or []), campaign.stem, as_json)


@app.command()
def move(context: Context, item: ItemArgument, place: Annotated[str, typer.Argument(metavar="PLACE", help="1, 2, ..., front or back")]) -> None:
    """Move an item within the queue."""
    with laboratory_of(context) as lab:
        if place not in ("front", "back") and not (place.isdecimal() and int(place) > 0):
            raise ConfigError("command line", "PLACE", repr(place), "1, 2, ..., front or back")
        row = _that_is(_find(lab, item), "queued")
        lab.item_move(uid=row["uid"], pos_dest=place if place in ("front", "back") else int(place) - 1)
        typer.echo(f"{row['id']} stands at {place}")


@app.command()
def remove(context: Context, items: Annotated[list[str], typer.Argument(metavar="ITEM...", help="lab queue list")]) -> None:
    """Take items back that have not begun."""
    with laboratory_of(context) as lab:
        for given in items:
            row = _that_is(_find(lab, given), "queued", "waiting")
            lab.item_remove(uid=row["uid"] or row["id"])
            typer.echo(f"{row['id']} is removed")


@app.command()
def answer(context: Context, question: Annotated[int, typer.Argument(help="its number")], choice: Annotated[str, typer.Argument()]) -> None:
    """Answer a question of a campaign of yours; the first answer counts."""
    with laboratory_of(context) as lab:
        say(lab.answer(question, choice), f"question {question}: {choice}")


@app.command()
def campaigns(context: Context, campaign: Annotated[str | None, typer.Argument(metavar="[CAMPAIGN]")] = None, as_json: JsonOption = False) -> None:
    """Campaigns that you may see; or one, with its trials, results and questions."""
    with laboratory_of(context) as lab:
        from lab.records.render import render_campaigns
        from lab.remote.commands.queue_tables import render_campaign

        if campaign is None:
            show(lab.campaigns(), render_campaigns, as_json)
        else:
            show(lab.campaign(campaign), render_campaign, as_json)


@app.command()
def data(
    context: Context,
    target: Annotated[str, typer.Argument(metavar="ITEM|CAMPAIGN", help="last: your newest item")],
    out: Annotated[Path | None, typer.Option("--out", help="default: CAMPAIGN.csv and so on, here")] = None,
    form: Annotated[str, typer.Option("--format", help="csv, parquet or hdf5; html: the report of a campaign")] = "csv",
) -> None:
    """Fetch the data of a campaign or an item into a file."""
    with laboratory_of(context) as lab:
        from lab.remote.client.fetching import SUFFIXES, save

        if form not in SUFFIXES:
            raise ConfigError("command line", "--format", repr(form), ", ".join(SUFFIXES))
        path = save(lab, _item_or_campaign(lab, target), form, out)
        typer.echo(f"wrote {path} ({path.stat().st_size} bytes)")


@app.command()
def budget(
    context: Context,
    campaign: CampaignArgument,
    changes: Annotated[list[str], typer.Argument(metavar="trials=N failures=N hours=H", help="any of them")],
) -> None:
    """Change what a campaign of yours may still use, also while it runs."""
    from lab.remote.commands.arguments import parameters

    with laboratory_of(context) as lab:
        say(lab.budget(campaign, **_amounts(parameters(changes))), f"{campaign}: {' '.join(changes)}")


# ------------------------------------------------------------------------------------------------------- to direct it


@app.command()
def start(context: Context) -> None:
    """Let the queue run (operators)."""
    with laboratory_of(context) as lab:
        say(lab.queue_start(), "the queue is on")


@app.command()
def stop(context: Context, campaign: MaybeCampaign = None) -> None:
    """Stop the queue after the item that runs (operators); or a campaign of yours, after the samples in the machine."""
    with laboratory_of(context) as lab:
        if campaign is None:
            say(lab.queue_stop(), "the queue stops after the item that runs")
        else:
            say(lab.campaign_stop(campaign), f"{campaign} stops after the samples in the machine")


@app.command()
def pause(context: Context, campaign: MaybeCampaign = None) -> None:
    """Pause what runs, where it may be paused (operators); or a campaign of yours."""
    with laboratory_of(context) as lab:
        if campaign is None:
            say(lab.re_pause(), "asked to pause; go on with lab queue resume, or end it with lab queue abort")
        else:
            say(lab.campaign_pause(campaign), f"{campaign} pauses; go on with lab queue resume {campaign}")


@app.command()
def resume(context: Context, campaign: MaybeCampaign = None) -> None:
    """Go on after a pause."""
    with laboratory_of(context) as lab:
        if campaign is None:
            say(lab.re_resume(), "it goes on")
        else:
            say(lab.campaign_continue(campaign), f"{campaign} goes on")


@app.command()
def abort(context: Context) -> None:
    """End the item that runs, now (operators). The instruments are left safe, and the item stands as aborted."""
    with laboratory_of(context) as lab:
        is_running = bool(lab.items(states=["running"]))
        say(lab.abort(), "aborted" if is_running else "no item was running")


@app.command()
def approve(context: Context, item: ItemArgument) -> None:
    """Let an item into the queue that waits for an operator's word: exactly what is shown."""
    with laboratory_of(context) as lab:
        from lab.remote.commands.queue_tables import render_item

        row = _find(lab, item)
        show(row, render_item, as_json=False)
        say(lab.approve(row["id"], row["digest"]), f"{row['id']} is approved, and queued")


@app.command()
def reject(context: Context, item: ItemArgument, why: Annotated[list[str], typer.Argument(metavar="WHY...")]) -> None:
    """Refuse an item that waits for an operator's word."""
    with laboratory_of(context) as lab:
        row = _find(lab, item)
        say(lab.reject(row["id"], " ".join(why)), f"{row['id']} is rejected")


@app.command()
def retry(context: Context, item: ItemArgument) -> None:
    """Make an item again that was interrupted or has failed; a campaign goes on where it was."""
    with laboratory_of(context) as lab:
        row = _find(lab, item)
        made = lab.retry(row["id"])
        say(made, f"{row['id']} is made again{_as_item(made)}")


@app.command()
def dismiss(context: Context, item: ItemArgument) -> None:
    """Leave an item as it is that was interrupted."""
    with laboratory_of(context) as lab:
        row = _find(lab, item)
        say(lab.dismiss(row["id"]), f"{row['id']} is left as it is")


# --------------------------------------------------------------------------------------------------------------- parts


def _find(lab: Laboratory, given: str) -> dict[str, Any]:
    """The item of that id or number, of the only id that ends so among the open ones and the last of the others; or one's newest."""
    from lab.remote.client.asking import ITEM_ID

    if ITEM_ID.fullmatch(given):
        return lab.item(given)
    if given == LAST:
        found = lab.items(user=lab.whoami()["name"], limit=1)
        if not found:
            raise ConfigError("command line", "ITEM", LAST, "an item: you have queued none yet")
        return found[0]
    rows = {row["id"]: row for row in [*lab.items(limit=200), *lab.items(states=OPEN, limit=MOST)]}
    found = [row for row in rows.values() if str(row["number"]) == given] or [row for row in rows.values() if row["id"].endswith(given)]
    if len(found) != 1:
        raise ConfigError("command line", "ITEM", repr(given), f"one of {', '.join(row['id'] for row in found)}" if found else "an item: lab queue list, lab queue history")
    return found[0]


def _that_is(row: dict[str, Any], *states: str) -> dict[str, Any]:
    """The item, if it has not gone further."""
    if row["state"] not in states:
        raise ConfigError("command line", "ITEM", f"{row['id']}, which is {row['state']}", f"an item that is {' or '.join(states)}: lab queue list")
    return row


def _item_or_campaign(lab: Laboratory, given: str) -> str:
    """The id of an item that is meant by it, else what was given: a campaign."""
    return str(_find(lab, given)["id"]) if given == LAST or given.startswith("i-") or given.isdecimal() else given


def _amounts(given: Mapping[str, Any]) -> dict[str, Any]:
    allowed = ("trials", "failures", "hours")
    for name, value in given.items():
        if name not in allowed:
            raise ConfigError("command line", name, repr(value), f"one of {', '.join(allowed)}")
        if isinstance(value, bool) or not isinstance(value, int if name != "hours" else int | float):
            raise ConfigError("command line", name, repr(value), "a number" if name == "hours" else "a whole number")
    return dict(given)


def _as_item(answer: Mapping[str, Any]) -> str:
    ours = answer.get("lab")
    return f" as {ours['item']}" if isinstance(ours, Mapping) and "item" in ours else ""


def _say_queued(answer: Mapping[str, Any], what: str, as_json: bool) -> None:
    from lab.remote.commands.queue_tables import plain, takes

    if as_json:
        typer.echo(json.dumps(answer))
        return
    ours: Mapping[str, Any] = answer.get("lab") or {}
    identity = ours.get("item", "")
    time = takes(ours.get("estimate_s"))
    words = f", takes {time} of laboratory time" if time else ""
    if ours.get("state") == "waiting":
        typer.echo(f"{what} waits for an operator's word as {identity}{words}: lab queue approve {identity}")
    else:
        for warning in ours.get("warnings") or ():
            typer.echo(plain(warning))
        typer.echo(f"queued {what} as {identity}{words}: lab queue watch {identity}")
