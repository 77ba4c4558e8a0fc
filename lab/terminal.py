"""What the commands of ``lab`` share: exit statuses, errors in words, the ledger, tables or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from lab.core.errors import ConfigError, LabError

if TYPE_CHECKING:
    from lab.records.ledger import Ledger

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


@contextmanager
def errors_in_words() -> Iterator[None]:
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
def open_ledger() -> Iterator[Ledger]:
    """The ledger of LAB_HOME, of which this process runs no campaign.

    Raises
    ------
    ConfigError
        When there is none.
    """
    from lab.core.clock import WallClock
    from lab.home import Home
    from lab.records.ledger import Ledger

    home = Home.default()
    if not home.ledger.exists():
        raise ConfigError("LAB_HOME", str(home.path), "no ledger there", "a folder in which a campaign has been run")
    with Ledger(home.ledger, WallClock()) as ledger:
        yield ledger


def show(data: Any, render: Callable[[Any], Any], as_json: bool) -> None:
    """The data as one JSON object, or as the tables that `render` makes of them."""
    if as_json:
        typer.echo(json.dumps(data))
        return
    from rich.console import Console

    console = Console(highlight=False)
    if not sys.stdout.isatty():
        console.width = max(console.width, 200)
    console.print(render(data))
