"""``lab check``: connect everything, and say what answers."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from lab.core.channels import Channel
from lab.core.config import LabConfig
from lab.home import Home
from lab.session import Session


def check(lab: LabConfig, as_json: bool) -> int:
    """Print a row per instrument; returns 0 when all answer, 1 when one does not."""
    console = Console(file=sys.stderr, highlight=False)
    with Session(lab, Home.default(), say=lambda text: None) as session:
        rows = [_row(session, name) for name in lab.instruments]
    if as_json:
        sys.stdout.write(json.dumps({"lab": lab.name, "instruments": rows}) + "\n")
    else:
        _print(rows, lab.name)
    offline = [row["instrument"] for row in rows if not row["is_connected"]]
    if offline:
        console.print(f"[red]offline: {', '.join(offline)}[/]  check cable, power and the endpoint in the lab file")
    return 1 if offline else 0


def _row(session: Session, name: str) -> dict[str, Any]:
    health = session.devices[name].health()
    return {
        "instrument": name,
        "endpoint": session.endpoints[name],
        "is_connected": health.is_connected,
        "identity": health.identity,
        "state": health.state,
        "cause": health.cause,
        "limits": {c.name: [c.low, c.high, c.unit] for c in session.lab.channels(name) if _is_limited(c)},
        "round_trip_ms": round(health.round_trip_ms, 2) if health.is_connected else None,
    }


def _is_limited(channel: Channel) -> bool:
    return channel.is_writable and channel.type == "float" and channel.low is not None


def _print(rows: list[dict[str, Any]], lab: str) -> None:
    table = Table(title=f"laboratory {lab}", title_justify="left")
    for column in ("instrument", "endpoint", "identity", "state", "limits", "round trip"):
        table.add_column(column, overflow="fold")
    for row in rows:
        limits = "\n".join(f"{name} {low:g}..{high:g} {unit}" for name, (low, high, unit) in row["limits"].items())
        state = row["state"] if row["is_connected"] else f"[red]offline[/]: {row['cause']}"
        trip = f"{row['round_trip_ms']:.1f} ms" if row["round_trip_ms"] is not None else "-"
        table.add_row(row["instrument"], row["endpoint"], row["identity"], state, limits, trip)
    console = Console(highlight=False)
    if not sys.stdout.isatty():
        console.width = max(console.width, 160)
    console.print(table)
