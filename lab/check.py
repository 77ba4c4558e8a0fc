"""``lab check``: connect everything, and say what answers."""

from __future__ import annotations

import json
import sys
from math import isfinite
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lab.core.channels import Channel
from lab.core.config import LabConfig
from lab.core.interlocks import Exclusion, InterlockState
from lab.home import Home
from lab.presence import refuse_when_up
from lab.session import Session

WIDE = 160
"""Columns that hold a row."""


def check(lab: LabConfig, as_json: bool) -> int:
    """Print a row per instrument and per interlock; returns 0 when all answer and hold, 1 when one does not.

    Raises
    ------
    ServiceError
        When the laboratory is up.
    """
    refuse_when_up(Home.default(), "lab status shows its alarms")
    console = Console(file=sys.stderr, highlight=False)
    with Session(lab, Home.default(), say=lambda text: None, is_brief=True, purpose="check") as session:
        rows = [_row(session, name) for name in lab.instruments]
        interlocks = [*(_interlock(state) for state in session.interlocks()), *(_exclusion(one) for one in lab.exclusions.rows)]
    if as_json:
        sys.stdout.write(json.dumps({"lab": lab.name, "instruments": rows, "interlocks": interlocks}) + "\n")
    else:
        _print(rows, lab.name)
        _print_interlocks(interlocks)
    offline = [row["instrument"] for row in rows if not row["is_connected"]]
    if offline:
        console.print(f"[red]offline: {', '.join(offline)}[/]  check cable, power and the endpoint in the lab file")
    violated = [row["interlock"] for row in interlocks if not row["is_ok"]]
    if violated:
        console.print(f"[red]violated: {', '.join(violated)}[/]  nothing that they guard begins")
    return 1 if offline or violated else 0


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
        "round_trip_ms": round(health.round_trip_ms, 2) if isfinite(health.round_trip_ms) else None,
    }


def _interlock(state: InterlockState) -> dict[str, Any]:
    return {"interlock": state.name, "is_ok": state.is_ok, "value": state.value, "needs": state.needs, "action": state.action,
            "guards": list(state.guards), "reason": state.reason, "since": state.since}


def _exclusion(one: Exclusion) -> dict[str, Any]:
    return {"interlock": one.name, "is_ok": True, "value": "", "needs": f"one of {', '.join(one.members)} at a time", "action": "block",
            "guards": list(one.members), "reason": one.reason, "since": None}


def _print_interlocks(rows: list[dict[str, Any]]) -> None:
    """A line for each interlock: what it needs, how it is, what it does."""
    if not rows:
        return
    console = Console(highlight=False)
    if not sys.stdout.isatty():
        console.width = max(console.width, WIDE)
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), title="interlocks", title_justify="left")
    for row in rows:
        state = Text("ok", "green") if row["is_ok"] else Text(f"violated: {row['reason']}", "red")
        about = f"{row['action']} {', '.join(row['guards']) or 'all'}"
        table.add_row(Text(row["interlock"], "bold"), state, Text(row["needs"]), Text(row["value"]), Text(about))
    console.print(table)


def _is_limited(channel: Channel) -> bool:
    return channel.is_writable and channel.type == "float" and channel.low is not None


def _print(rows: list[dict[str, Any]], lab: str) -> None:
    console = Console(highlight=False)
    if not sys.stdout.isatty():
        console.width = max(console.width, WIDE)
    console.print(_wide(rows, lab) if console.width >= WIDE else _narrow(rows))


def _wide(rows: list[dict[str, Any]], lab: str) -> Table:
    """A row for each instrument."""
    table = Table(title=f"laboratory {lab}", title_justify="left")
    for column in ("instrument", *_cells(rows[0])):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(row["instrument"], *_cells(row).values())
    return table


def _narrow(rows: list[dict[str, Any]]) -> Table:
    """Several lines for each instrument."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for row in rows:
        for n, (what, cell) in enumerate(_cells(row).items()):
            table.add_row(Text(row["instrument"] if n == 0 else "", "bold"), Text(what, "dim"), cell)
    return table


def _cells(row: dict[str, Any]) -> dict[str, Text]:
    state = Text(row["state"]) if row["is_connected"] else Text("offline", "red")
    if row["cause"]:
        state.append(f": {row['cause']}")
    limits = ", ".join(f"{name} {low:g}..{high:g} {unit}" for name, (low, high, unit) in row["limits"].items())
    trip = f"{row['round_trip_ms']:.1f} ms" if row["round_trip_ms"] is not None else "-"
    return {"state": state, "identity": Text(row["identity"]), "endpoint": Text(row["endpoint"]), "limits": Text(limits),
            "round trip": Text(trip)}
