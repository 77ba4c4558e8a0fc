"""``lab keys new|list|revoke``: who may enter a laboratory from afar. For the user whose LAB_HOME it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lab.core.errors import ConfigError
from lab.terminal import errors_in_words, show

if TYPE_CHECKING:
    from rich.table import Table

    from lab.home import Home
    from lab.remote.access.keys import Key

app = typer.Typer(help="Keys with which scientists reach this laboratory from afar.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="whose key it is; items, documents and the audit log carry it")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on standard output")]


@app.command()
def new(
    name: NameArgument,
    role: Annotated[str, typer.Option("--role", help="observer, scientist, operator or admin")],
    out: Annotated[Path | None, typer.Option("--out", help="the key file to write; default: LAB_HOME/keys/NAME.key")] = None,
    address: Annotated[str | None, typer.Option("--address", metavar="HOST:PORT", help="where they reach the gateway; default: where it listens")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key pair, and the file to hand over: whoever has it is NAME to the laboratory."""
    with errors_in_words():
        from lab.home import Home
        from lab.remote.access.keys import KeyRegistry, load_key

        home = Home.default()
        registry = KeyRegistry(home)
        path = registry.new(name, role, _address(home) if address is None else address, out)  # type: ignore[arg-type]  # the role is checked there
        key = load_key(path)
        made = {"name": key.name, "role": key.role, "address": key.address, "file": str(path.absolute()), "public_key": key.public_key}
        typer.echo(json.dumps(made) if as_json else _handed_over(made))


@app.command(name="list")
def list_keys(as_json: JsonOption = False) -> None:
    """All keys that were ever made, the oldest first, and what has become of them."""
    with errors_in_words():
        from lab.home import Home
        from lab.remote.access.keys import KeyRegistry

        rows = [_row(key) for key in KeyRegistry(Home.default()).list()]
        show(rows, _table, as_json)


@app.command()
def revoke(name: NameArgument, as_json: JsonOption = False) -> None:
    """Let a key enter no longer; its open connections end at once."""
    with errors_in_words():
        from lab.home import Home
        from lab.remote.access.keys import KeyRegistry

        key = KeyRegistry(Home.default()).revoke(name)
        typer.echo(json.dumps(_row(key)) if as_json else f"{key.name}: the key ({key.role}) is revoked; its connections end at once. "
                   "What it has queued stays there: lab queue list")


def _address(home: Home) -> str:
    """Where clients on other machines reach the gateway of this laboratory."""
    import socket

    from lab.layout import Layout

    layout = Layout.load(home)
    if layout is None:
        raise ConfigError("command line", "--address", "none, and this laboratory has never been up", "host:port at which the gateway will be reached (or first: lab up)")
    host, _, port = layout.gateway.removeprefix("tcp://").rpartition(":")
    return f"{socket.getfqdn() if host in ('*', '0.0.0.0', '[::]') else host}:{port}"


def _row(key: Key) -> dict[str, Any]:
    return {"name": key.name, "role": key.role, "is_valid": key.is_valid, "public_key": key.public, "created": key.created, "by": key.by,
            "revoked": key.revoked, "revoked_by": key.revoked_by}


def _handed_over(made: dict[str, Any]) -> str:
    return (f"{made['file']}\n{made['name']} ({made['role']}) enters with it at {made['address']}. Hand it over where nobody else can read it, then delete it here;\n"
            f"there: chmod 600 {made['name']}.key; export LAB_KEY=$PWD/{made['name']}.key; lab queue status\n"
            f"If it gets lost: lab keys revoke {made['name']}")


def _table(rows: list[dict[str, Any]]) -> Table | str:
    from datetime import datetime

    from rich.table import Table
    from rich.text import Text

    from lab.remote.access.words import escaped

    if not rows:
        return "no keys yet: lab keys new NAME --role observer|scientist|operator|admin"
    table = Table("name", "role", "key", "made", "by", "state", box=None, header_style="bold")

    def day(wall: float) -> str:
        try:
            return f"{datetime.fromtimestamp(wall):%Y-%m-%d %H:%M}"
        except (ValueError, OverflowError, OSError):
            return "?"

    for row in rows:
        state = "valid" if row["is_valid"] else f"revoked {day(row['revoked'])} by {escaped(row['revoked_by'], 40)}"
        cells = (row["name"], row["role"], row["public_key"][:8], day(row["created"]), escaped(row["by"], 40), state)
        table.add_row(*(Text(cell) for cell in cells))
    return table
