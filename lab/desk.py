"""Commands for people at another terminal than the one at which a session runs: they speak to it through the ledger."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lab.core.errors import ConfigError
from lab.terminal import errors_in_words, open_ledger, show

if TYPE_CHECKING:
    from lab.records.ledger import Ledger

app = typer.Typer()

CampaignArgument = Annotated[str, typer.Argument(metavar="CAMPAIGN", help="id, the unique beginning of one, or a name (its newest)")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on standard output")]


@app.command()
def status(as_json: JsonOption = False) -> None:
    """What runs now: services and queue, samples in the machine, questions that wait for an answer, alarms, what is running low."""
    with errors_in_words():
        from lab.home import Home
        from lab.up.screen import render
        from lab.up.state import everything

        show(everything(Home.default()), render, as_json)


@app.command()
def answer(
    words: Annotated[list[str], typer.Argument(metavar="[CAMPAIGN] QUESTION CHOICE", help="as lab status shows them")],
) -> None:
    """Answer a question of a running campaign; the first answer counts."""
    with errors_in_words(), open_ledger() as ledger:
        if len(words) not in (2, 3):
            raise ConfigError("command line", "lab answer", " ".join(words), "[CAMPAIGN] QUESTION CHOICE, as lab status shows them")
        *campaign, number, choice = words
        if not number.isdecimal():
            raise ConfigError("command line", "QUESTION", repr(number), "its number, as lab status shows it")
        row = ledger.question(int(number))
        if campaign and ledger.campaign(campaign[0]).id != row.campaign:
            raise ConfigError("command line", "QUESTION", number, f"a question of {campaign[0]}; this one is of {row.campaign}")
        if row.state == "open" and choice not in row.choices:
            raise ConfigError("command line", "CHOICE", repr(choice), ", ".join(row.choices))
        done = ledger.answer(row.id, choice, getpass.getuser())
        typer.echo(f"question {done.id}: {done.choice}, says {done.answered_by}; {done.campaign} goes on with it")


@app.command()
def pause(campaign: CampaignArgument) -> None:
    """Ask the session that runs a campaign to pause."""
    _request(campaign, "pause")


@app.command(name="continue")
def go_on(campaign: CampaignArgument) -> None:
    """Ask the session that runs a campaign to go on after a pause."""
    _request(campaign, "continue")


@app.command()
def stop(campaign: CampaignArgument) -> None:
    """Ask the session that runs a campaign to finish the samples in the machine and stop."""
    _request(campaign, "stop")


@app.command()
def budget(
    campaign: CampaignArgument,
    changes: Annotated[list[str], typer.Argument(metavar="FIELD=VALUE...", help="trials=40, failures=5, hours=8, hours=null for no limit")],
) -> None:
    """Change the budget of a campaign that runs or can be resumed."""
    with errors_in_words(), open_ledger() as ledger:
        from lab.changes.config import change
        from lab.files import parse_sets

        typer.echo(change(ledger, campaign, {f"budget.{name}": value for name, value in parse_sets(changes).items()}, getpass.getuser()))


@app.command()
def removed(
    samples: Annotated[list[str], typer.Argument(metavar="SAMPLE...", help="as lab status and lab show name them")],
) -> None:
    """Say that samples were taken out of the laboratory: nothing is in the way of others any more, and nobody looks for them."""
    with errors_in_words(), open_ledger() as ledger:
        from lab.core.sample import REMOVED

        left = {sample for lab in ledger.laboratories() for sample in ledger.left_in_machine(lab)}
        for sample in samples:
            if sample not in left:
                allowed = f"a sample of an interrupted campaign that is in the machine: {', '.join(sorted(left)) or 'there is none'}"
                raise ConfigError("command line", "SAMPLE", repr(sample), allowed)
        for sample in samples:
            ledger.put_sample(sample, REMOVED, getpass.getuser(), "taken out by hand")
            typer.echo(f"{sample}: taken out, says {getpass.getuser()}")


@app.command()
def stock(
    lab: Annotated[str | None, typer.Argument(metavar="[LAB]", help="its name, or lab.yaml; default: all")] = None,
    as_json: JsonOption = False,
) -> None:
    """Liquids and substrates: what is there, what is promised, for how many more samples it lasts."""
    with errors_in_words(), open_ledger() as ledger:
        from lab.records.render_status import render_stock
        from lab.records.status import stock_of

        names = ledger.laboratories() if lab is None else [_lab_name(ledger, lab)]
        show([row for name in names for row in stock_of(ledger, name)], render_stock, as_json)


@app.command(context_settings={"ignore_unknown_options": True})  # so that -5 is an amount, answered in our words
def refill(
    lab: Annotated[str, typer.Argument(metavar="LAB", help="its name, or lab.yaml")],
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="a liquid, or: rack")],
    amount: Annotated[str | None, typer.Argument(metavar="[AMOUNT]", help="what was added; default: it is full now")] = None,
    is_total: Annotated[bool, typer.Option("--total", help="AMOUNT is what is in it now")] = False,
) -> None:
    """Say what was refilled. Campaigns that wait for it go on."""
    with errors_in_words(), open_ledger() as ledger:
        from lab.refills import refill as book

        for line in book(ledger, _lab_name(ledger, lab), account, amount, is_total=is_total, by=getpass.getuser()):
            typer.echo(line)


def _request(campaign: str, kind: str) -> None:
    with errors_in_words(), open_ledger() as ledger:
        row = ledger.campaign(campaign)
        ledger.request(row.id, kind, getpass.getuser())
        typer.echo(f"asked {row.id} to {kind}; its session (process {row.pid} on {row.host}) takes it in a moment: lab status")


def _lab_name(ledger: Ledger, given: str) -> str:
    """The name of a laboratory on record, from its name or its file."""
    from lab.files import load_lab

    path = Path(given)
    name = load_lab(path).name if path.suffix in (".yaml", ".yml") or path.is_file() else given
    known = ledger.laboratories()
    if name not in known:
        raise ConfigError("command line", "LAB", repr(given), f"a laboratory on record: {', '.join(known) or 'none yet'}")
    return name
