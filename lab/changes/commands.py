"""``lab change``, ``lab attach``, ``lab veto``, ``lab edit``: people in the loop, at any terminal of the laboratory."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from lab.terminal import errors_in_words, open_ledger

app = typer.Typer()

CampaignArgument = Annotated[str, typer.Argument(metavar="CAMPAIGN", help="id, the unique beginning of one, or a name (its newest)")]
TrialArgument = Annotated[str, typer.Argument(metavar="TRIAL", help="its number in lab show")]
ValuesArgument = Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="parameters")]


@app.command()
def change(
    campaign: CampaignArgument,
    changes: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help="cs=[0,0.5], solvent-=DMSO, 'constraints+=cs + fa <= 0.8', "
                                                 "minimize=peak_width, stop.improvement=0.01, trials=40 (docs/files.md)")],
) -> None:
    """Change what a campaign asks that runs or can be resumed: ranges, choices, constraints, objectives, when it stops."""
    with errors_in_words(), open_ledger() as ledger:
        from lab.changes.config import change as write
        from lab.files import parse_sets

        typer.echo(write(ledger, campaign, parse_sets(changes), getpass.getuser()))


@app.command()
def attach(
    campaign: CampaignArgument,
    values: ValuesArgument,
    measured: Annotated[list[str] | None, typer.Option("--measured", metavar="OUTCOME=VALUE", help="what was found elsewhere, with its standard "
                                                       "error: purity=0.93+-0.02")] = None,
) -> None:
    """Have a point of your own tried next; or, with --measured, have the campaign learn from a result of yours."""
    with errors_in_words(), open_ledger() as ledger:
        from lab.changes import points
        from lab.files import parse_sets

        _, said = points.attach(ledger, campaign, parse_sets(values), getpass.getuser(), points.parse_measured(measured or []))
        typer.echo(said)


@app.command()
def veto(
    campaign: CampaignArgument,
    trial: TrialArgument,
    why: Annotated[str, typer.Option("--why", help="kept with the trial")] = "",
) -> None:
    """Take back a suggestion that has not begun."""
    with errors_in_words(), open_ledger() as ledger:
        from lab.changes import points

        typer.echo(points.veto(ledger, campaign, trial, getpass.getuser(), why))


@app.command()
def edit(campaign: CampaignArgument, trial: TrialArgument, values: ValuesArgument) -> None:
    """Have another point tried in place of a suggestion that has not begun."""
    with errors_in_words(), open_ledger() as ledger:
        from lab.changes import points
        from lab.files import parse_sets

        _, said = points.edit(ledger, campaign, trial, parse_sets(values), getpass.getuser())
        typer.echo(said)
