"""The command ``lab``. Nothing heavy is imported before a command needs it: ``lab --help`` must be instant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lab import desk
from lab.changes import commands as change_commands
from lab.core.channels import TABLES
from lab.remote.commands import audit_commands, keys_commands, queue_commands
from lab.terminal import DONE, FAILED, INTERRUPTED, errors_in_words, open_ledger
from lab.terminal import show as show_data
from lab.up import commands as services

if TYPE_CHECKING:
    from lab.core.config import LabConfig
    from lab.records.ledger import Ledger

CONSOLE_LAB = Path("examples/lab.yaml")
"""What the console opens when no file is named."""

CONSOLE_SPEED = 60.0
"""Of a simulated laboratory at the console, where its file says ``max``."""

app = typer.Typer(
    name="lab",
    help="Run self-driving laboratories: robot arms, synthesisers and detectors, Bluesky plans, Bayesian optimisation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

LabOption = Annotated[Path | None, typer.Option("--lab", help="the laboratory's file; default: what the campaign names")]
SetOption = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change a field of the campaign file; lab.KEY=VALUE of the lab file")]
SpeedOption = Annotated[str | None, typer.Option("--speed", help="simulated physics, times as fast as the wall; max: as fast as the computer")]
FaultsOption = Annotated[Path | None, typer.Option("--faults", help="a YAML list of faults for simulated instruments")]


@app.command()
def run(
    campaigns: Annotated[list[Path], typer.Argument(metavar="CAMPAIGN...", help="campaign.yaml; several share the work cell")],
    lab: LabOption = None,
    world: Annotated[Path | None, typer.Option("--world", help="CSV of real measurements as the hidden response")] = None,
    speed: SpeedOption = None,
    seed: Annotated[int | None, typer.Option("--seed", help="of the optimiser and of the simulated world")] = None,
    assignments: SetOption = None,
    faults: FaultsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on standard output")] = False,
) -> None:
    """Run a campaign to its budget, in the laboratory it names."""
    with errors_in_words():
        from lab import running

        results = running.run(campaigns, lab, world, speed, seed, assignments or [], _load_faults(faults))
        _end(results, as_json)


@app.command()
def resume(
    campaigns: Annotated[list[str] | None, typer.Argument(metavar="[CAMPAIGN]...", help="as for lab show; default: the newest that was interrupted")] = None,
    lab: LabOption = None,
    speed: SpeedOption = None,
    faults: FaultsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on standard output")] = False,
) -> None:
    """Go on with a campaign that was interrupted or killed: nothing is dosed twice, no sample is lost."""
    with errors_in_words():
        from lab import running

        _end(running.resume(campaigns or [], lab, speed, _load_faults(faults)), as_json)


@app.command()
def plan(
    campaign: Annotated[Path, typer.Argument(help="campaign.yaml")],
    lab: LabOption = None,
    world: Annotated[Path | None, typer.Option("--world", help="CSV of real measurements as the hidden response")] = None,
    assignments: SetOption = None,
    samples: Annotated[int | None, typer.Option("--samples", help="so many instead of the budget's trials")] = None,
    picture: Annotated[Path | None, typer.Option("--picture", help="draw the schedule into this file: .svg or .png")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on standard output")] = False,
) -> None:
    """Rehearse a campaign before anything moves: how long it takes, what it takes, and what stands in its way."""
    with errors_in_words():
        from lab.home import Home
        from lab.rehearsal.ahead import raise_first
        from lab.rehearsal.command import plan as rehearse
        from lab.rehearsal.table import render

        report, problems = rehearse(campaign, lab, world, assignments or [], samples, picture, Home.default())
        show_data(report, render, as_json)
        raise_first(problems)


@app.command()
def sim(
    kind: Annotated[str, typer.Argument(help=", ".join(TABLES))],
    faults: FaultsOption = None,
    speed: Annotated[float, typer.Option("--speed", help="physics, times as fast as the wall")] = 1.0,
    port: Annotated[int | None, typer.Option("--port", help="first TCP port (default: a free one)")] = None,
) -> None:
    """Start one simulated instrument alone; its endpoint is the first line. Ctrl-C ends it."""
    with errors_in_words():
        from sim.laboratory import alone

        alone(kind, faults=faults, speed=speed, port=port)


@app.command()
def check(
    lab: Annotated[Path, typer.Argument(help="lab.yaml")] = Path("examples/lab.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on standard output")] = False,
) -> None:
    """Connect every instrument of a laboratory and say what answers, in which state, with which limits."""
    with errors_in_words():
        from lab.check import check as check_laboratory

        status = check_laboratory(_load_lab(lab, {}, None), as_json)
    raise typer.Exit(status)


@app.command()
def console(
    lab: Annotated[Path, typer.Argument(help="lab.yaml")] = CONSOLE_LAB,
    speed: SpeedOption = None,
    faults: FaultsOption = None,
) -> None:
    """IPython on the laboratory: devices by name, plans, RE, campaign(...), lab.help(). On one that is up: in its worker."""
    with errors_in_words():
        from lab.core.errors import ConfigError
        from lab.home import Home
        from lab.presence import laboratory_up

        layout = laboratory_up(Home.default())
        if layout is not None:
            from lab.kernel_console import attach

            if speed is not None or faults is not None:
                raise ConfigError("command line", "--speed" if speed is not None else "--faults", "a value",
                                  f"nothing: laboratory {layout.lab} is up, and the console is one on its worker")
            if lab != CONSOLE_LAB and (name := _load_lab(lab, {}, None).name) != layout.lab:
                raise ConfigError("command line", "LAB", f"{lab}, laboratory {name}", f"none, or that of laboratory {layout.lab}, which is up")
            attach(layout)
            return
        from lab.console import open_console

        if speed == "max":
            raise ConfigError("command line", "--speed", "max", "a number: at the console people wait, and time that leaps means nothing to them")
        config = _load_lab(lab, {}, speed)
        if config.speed == "max":
            config = config.model_copy(update={"speed": CONSOLE_SPEED})
        open_console(config, lab, _load_faults(faults))


@app.command(name="ls")
def list_campaigns(as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output")] = False) -> None:
    """Campaigns on record, the newest last."""
    with errors_in_words(), open_ledger() as ledger:
        from lab.records import report

        show_data(report.campaign_rows(ledger), report.render_campaigns, as_json)


@app.command()
def show(
    campaign: Annotated[str, typer.Argument(help="id, the unique beginning of one, or a name (its newest)")],
    csv: Annotated[Path | None, typer.Option("--csv", help="write the trials to this file")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output")] = False,
) -> None:
    """One campaign: trials, samples and where they are, doses, what went wrong."""
    with errors_in_words(), open_ledger() as ledger:
        from lab.records import export, report

        if csv is not None:
            export.trials_to_csv(ledger, ledger.campaign(campaign).id, csv)
            typer.echo(f"wrote {csv}", err=True)
        show_data(_with_recommendation(ledger, report.summary(ledger, campaign)), report.render_summary, as_json)


@app.command()
def report(
    campaign: Annotated[str, typer.Argument(help="id, the unique beginning of one, or a name (its newest)")],
    out: Annotated[Path | None, typer.Option("--out", help="the page is written to this file, .html; default: LAB_HOME/reports/ID.html")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="the numbers behind it on standard output; no page but with --out")] = False,
) -> None:
    """All that can be told of a campaign: progress, whether the model can be trusted, what matters, why these points. One HTML file."""
    with errors_in_words(), open_ledger() as ledger:
        from lab.dossier import command, words
        from lab.home import Home

        found, path = command.report(ledger, campaign, out, Home.default(), is_page_wanted=not as_json)
        show_data(command.as_json(found) if as_json else list(words.lines(found)), command.screen, as_json)
        if path is not None:
            typer.echo(f"wrote {path}", err=True)


app.add_typer(desk.app)
app.add_typer(change_commands.app)
app.add_typer(services.app)
app.add_typer(queue_commands.app, name="queue")
app.add_typer(keys_commands.app, name="keys")
app.add_typer(audit_commands.app)


def main() -> None:
    """Entry point of the command ``lab``."""
    app()


# --------------------------------------------------------------------------------------------------- parts


def _with_recommendation(ledger: Ledger, data: dict[str, Any]) -> dict[str, Any]:
    """What is known of a campaign, and what it recommends so far; nothing of one whose file another version wrote, or that has no outcome."""
    if data["best"] is None:
        return data
    from lab.core.question import CampaignConfig
    from lab.recommended import recommended

    config = CampaignConfig.model_validate_json(ledger.campaign(data["campaign"]).config)
    return {**data, "recommended": recommended(config, ledger.trials(data["campaign"]))}


def _end(results: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """Standard output and the exit status of a command that ran campaigns."""
    if as_json:
        from lab.running import as_json as one_object

        typer.echo(one_object(results))
    statuses = {result["status"] for result in results}
    raise typer.Exit(INTERRUPTED if "interrupted" in statuses else DONE if statuses == {"done"} else FAILED)


def _load_lab(path: Path, overrides: dict[str, Any], speed: str | None) -> LabConfig:
    from lab.files import load_lab

    if speed is not None:
        overrides = {**overrides, "speed": speed}
    return load_lab(path, overrides)


def _load_faults(path: Path | None) -> list[dict[str, Any]]:
    if path is None:
        return []
    from sim.faults import load

    return [fault.model_dump(mode="json") for fault in load(path)]


if __name__ == "__main__":
    main()
