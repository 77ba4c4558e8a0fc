"""``lab up`` and ``lab down``. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lab.terminal import errors_in_words

if TYPE_CHECKING:
    from lab.home import Home

app = typer.Typer()

HomeOption = Annotated[Path | None, typer.Option("--home", help="LAB_HOME; default: the variable, or ./lab-home")]


@app.command()
def up(
    lab: Annotated[Path, typer.Argument(help="lab.yaml")] = Path("examples/lab.yaml"),
    listen: Annotated[str | None, typer.Option("--listen", metavar="HOST:PORT", help="where the gateway listens; before lab.yaml's remote.listen")] = None,
    speed: Annotated[float | None, typer.Option("--speed", help="simulated physics, times as fast as the wall")] = None,
    systemd: Annotated[Path | None, typer.Option("--systemd", metavar="DIR", help="start nothing; write units for systemd into this folder")] = None,
    home: HomeOption = None,
) -> None:
    """Start the laboratory as services: instruments, queue, records, and the door for remote scientists."""
    with errors_in_words():
        from lab.up.bringing import bring_up, write_for_systemd

        if systemd is None:
            bring_up(lab, listen, speed, _home(home), typer.echo)
        else:
            write_for_systemd(lab, listen, speed, _home(home), systemd, typer.echo)


@app.command()
def down(
    is_now: Annotated[bool, typer.Option("--now", help="also when an item of the queue is under way: it is aborted, and stands so on record")] = False,
    home: HomeOption = None,
) -> None:
    """End the services of the laboratory in order; the instruments are left safe."""
    with errors_in_words():
        from lab.up.stopping import stop

        where = _home(home)
        typer.echo("the laboratory is down; its instruments were made safe" if stop(where, typer.echo, is_now=is_now)
                   else f"no laboratory is up in {where.path}")


def _home(given: Path | None) -> Home:
    from lab.home import Home

    return Home.default() if given is None else Home(given.absolute())
