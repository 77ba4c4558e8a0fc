"""The command ``lab``. Nothing heavy is imported before a command needs it: ``lab --help`` must be instant."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lab.core.channels import TABLES
from lab.core.errors import ConfigError, LabError

if TYPE_CHECKING:
    from lab.core.config import CampaignConfig, LabConfig

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

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
SpeedOption = Annotated[float | None, typer.Option("--speed", help="simulated physics, times as fast as the wall")]
FaultsOption = Annotated[Path | None, typer.Option("--faults", help="a YAML list of faults for simulated instruments")]


@app.command()
def run(
    campaign: Annotated[Path, typer.Argument(help="campaign.yaml")],
    lab: LabOption = None,
    world: Annotated[Path | None, typer.Option("--world", help="CSV of real measurements as the hidden response")] = None,
    speed: SpeedOption = None,
    seed: Annotated[int | None, typer.Option("--seed", help="of the optimiser and of the simulated world")] = None,
    assignments: SetOption = None,
    faults: FaultsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on standard output")] = False,
) -> None:
    """Run a campaign to its budget, in the laboratory it names."""
    with _errors():
        status = _run(campaign, lab, world, speed, seed, assignments or [], faults, as_json)
    raise typer.Exit(status)


@app.command()
def sim(
    kind: Annotated[str, typer.Argument(help=", ".join(TABLES))],
    faults: FaultsOption = None,
    speed: Annotated[float, typer.Option("--speed", help="physics, times as fast as the wall")] = 1.0,
    port: Annotated[int | None, typer.Option("--port", help="first TCP port (default: a free one)")] = None,
) -> None:
    """Start one simulated instrument alone; its endpoint is the first line. Ctrl-C ends it."""
    with _errors():
        from sim.laboratory import alone

        alone(kind, faults=faults, speed=speed, port=port)


@app.command()
def check(
    lab: Annotated[Path, typer.Argument(help="lab.yaml")] = Path("examples/lab.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on standard output")] = False,
) -> None:
    """Connect every instrument of a laboratory and say what answers, in which state, with which limits."""
    with _errors():
        from lab.check import check as check_laboratory

        status = check_laboratory(_load_lab(lab, {}, None), as_json)
    raise typer.Exit(status)


@app.command()
def console(
    lab: Annotated[Path, typer.Argument(help="lab.yaml")] = Path("examples/lab.yaml"),
    speed: SpeedOption = None,
    faults: FaultsOption = None,
) -> None:
    """IPython on the laboratory: devices by name, plans, RE, campaign(...), lab.help()."""
    with _errors():
        from lab.console import open_console

        open_console(_load_lab(lab, {}, speed), lab, _load_faults(faults))


@app.command(name="ls")
def list_campaigns(as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output")] = False) -> None:
    """Campaigns on record, the newest last."""
    with _errors(), _ledger() as ledger:
        from lab.records import report

        _show(report.campaign_rows(ledger), report.render_campaigns, as_json)


@app.command()
def show(
    campaign: Annotated[str, typer.Argument(help="id, the unique beginning of one, or a name (its newest)")],
    csv: Annotated[Path | None, typer.Option("--csv", help="write the trials to this file")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output")] = False,
) -> None:
    """One campaign: trials, samples and where they are, doses, what went wrong."""
    with _errors(), _ledger() as ledger:
        from lab.records import export, report

        if csv is not None:
            export.trials_to_csv(ledger, ledger.campaign(campaign).id, csv)
            typer.echo(f"wrote {csv}", err=True)
        _show(report.summary(ledger, campaign), report.render_summary, as_json)


def main() -> None:
    """Entry point of the command ``lab``."""
    app()


# ----------------------------------------------------------------------------------------------------- run


def _run(
    campaign_file: Path, lab_file: Path | None, world: Path | None, speed: float | None, seed: int | None,
    assignments: list[str], faults: Path | None, as_json: bool,
) -> int:
    from lab.files import load_campaign, parse_sets

    sets = parse_sets(assignments)
    for_lab = {key.removeprefix("lab."): value for key, value in sets.items() if key.startswith("lab.")}
    for_campaign = {key: value for key, value in sets.items() if not key.startswith("lab.")}
    if seed is not None:
        for_campaign["optimizer.seed"] = seed
        for_lab["world.seed"] = seed
    campaign = load_campaign(campaign_file, for_campaign)
    lab_path = _lab_path(lab_file, campaign, campaign_file)
    lab = _load_lab(lab_path, for_lab, speed)

    from lab.validation import prepare

    lab = prepare(lab, campaign, lab_file=str(lab_path), campaign_file=str(campaign_file), table=world)
    rows = _load_faults(faults)

    from lab.home import Home
    from lab.interrupts import ignore
    from lab.progress import Lines
    from lab.report import result_of, say_end
    from lab.session import Session

    lines, home = Lines(), Home.default()
    lines.console.print(f"[dim]starting {lab.name}: {', '.join(lab.instruments)} ...[/]")
    try:
        with redirect_stdout(_Printed()), Session(lab, home, faults=rows, say=lines.trouble) as session:
            ran, end = session.run_campaign(campaign, lines, str(campaign_file))
            result = result_of(ran, end)
    finally:
        ignore()
    if as_json:
        typer.echo(json.dumps(result))
    say_end(lines.console, result, home)
    return {"done": DONE, "interrupted": INTERRUPTED}.get(end.status, FAILED)


def _lab_path(given: Path | None, campaign: CampaignConfig, campaign_file: Path) -> Path:
    if given is not None:
        return given
    if campaign.lab:
        return campaign_file.parent / campaign.lab
    raise ConfigError(str(campaign_file), "lab", "nothing", "the laboratory's file (or --lab FILE)")


def _load_lab(path: Path, overrides: dict[str, Any], speed: float | None) -> LabConfig:
    from lab.files import load_lab

    if speed is not None:
        overrides = {**overrides, "speed": speed}
    return load_lab(path, overrides)


def _load_faults(path: Path | None) -> list[dict[str, Any]]:
    if path is None:
        return []
    from sim.faults import load

    return [fault.model_dump(mode="json") for fault in load(path)]


# --------------------------------------------------------------------------------------------------- parts


class _Printed(io.TextIOBase):
    """Where Bluesky's own prints go: into the session's log. Standard output is for the JSON object alone."""

    def write(self, text: str) -> int:
        if text.strip():
            logging.getLogger("bluesky.printed").info(text.strip())
        return len(text)


@contextmanager
def _errors() -> Iterator[None]:
    """Our own errors are said in words, without a traceback; bad input exits with 2."""
    try:
        yield
    except ConfigError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(BAD_INPUT) from error
    except LabError as error:
        typer.echo(f"lab: {error}", err=True)
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt as error:
        typer.echo("interrupted", err=True)
        raise typer.Exit(INTERRUPTED) from error


@contextmanager
def _ledger() -> Iterator[Any]:
    """The ledger of LAB_HOME, for reading."""
    from lab.core.clock import WallClock
    from lab.home import Home
    from lab.records.ledger import Ledger

    home = Home.default()
    if not home.ledger.exists():
        raise ConfigError("LAB_HOME", str(home.path), "no ledger there", "a folder in which a campaign has been run")
    with Ledger(home.ledger, WallClock()) as ledger:
        yield ledger


def _show(data: Any, render: Any, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(data))
        return
    from rich.console import Console

    console = Console(highlight=False)
    if not sys.stdout.isatty():
        console.width = max(console.width, 200)
    console.print(render(data))


if __name__ == "__main__":
    main()
