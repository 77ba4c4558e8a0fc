"""``lab queue change``, ``attach``, ``veto``, ``edit``: what people do to a campaign of theirs that is under way in a laboratory far away."""

from __future__ import annotations

from typing import Annotated

import typer

from lab.remote.commands.connection import CampaignArgument, Context, laboratory_of, say

app = typer.Typer()

TrialArgument = Annotated[int, typer.Argument(metavar="TRIAL", help="its number in lab queue campaign", min=1)]
ValuesArgument = Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="parameters")]


@app.command()
def change(
    context: Context,
    campaign: CampaignArgument,
    changes: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help="cs=[0,0.5], 'constraints+=cs + fa <= 0.8', minimize=peak_width, trials=40")],
) -> None:
    """Change what a campaign of yours asks, also while it runs."""
    from lab.files import parse_sets

    with laboratory_of(context) as lab:
        say(lab.change(campaign, parse_sets(changes)), "changed")


@app.command()
def attach(
    context: Context,
    campaign: CampaignArgument,
    values: ValuesArgument,
    measured: Annotated[list[str] | None, typer.Option("--measured", metavar="OUTCOME=VALUE", help="what was found elsewhere: purity=0.93+-0.02")] = None,
) -> None:
    """Have a point of your own tried next; or, with --measured, have the campaign learn from a result of yours."""
    from lab.changes.points import parse_measured
    from lab.files import parse_sets

    with laboratory_of(context) as lab:
        found = {name: {"mean": one.mean, "sem": one.sem} for name, one in parse_measured(measured or []).items()}
        typer.echo(f"{campaign}: it is trial {lab.attach(campaign, parse_sets(values), found if found else None)}")


@app.command()
def veto(
    context: Context,
    campaign: CampaignArgument,
    trial: TrialArgument,
    why: Annotated[str, typer.Option("--why", help="kept with the trial")] = "",
) -> None:
    """Take back a suggestion that has not begun."""
    with laboratory_of(context) as lab:
        say(lab.veto(campaign, trial, why), "vetoed")


@app.command()
def edit(context: Context, campaign: CampaignArgument, trial: TrialArgument, values: ValuesArgument) -> None:
    """Have another point tried in place of a suggestion that has not begun."""
    from lab.files import parse_sets

    with laboratory_of(context) as lab:
        typer.echo(f"{campaign}: trial {lab.edit(campaign, trial, parse_sets(values))} takes the place of trial {trial}")
