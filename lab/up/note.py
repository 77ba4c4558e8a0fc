"""``python -m lab.up.note --home LAB_HOME SERVICE started PID | ended``: what a unit of systemd says of its service (`lab.up.events`)."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping
from pathlib import Path

from lab.home import Home
from lab.layout import services_folder
from lab.up.events import Event, append, keep, process_of


def words(environment: Mapping[str, str]) -> tuple[str, str]:
    """Event and cause from what systemd tells of an end (systemd.exec(5), ``$SERVICE_RESULT``, ``$EXIT_CODE``, ``$EXIT_STATUS``)."""
    result, code, status = (environment.get(name, "") for name in ("SERVICE_RESULT", "EXIT_CODE", "EXIT_STATUS"))
    if result == "success":
        return "stopped", ""
    return "died", f"terminated by SIG{status}" if code in ("killed", "dumped") else f"exit status {status}" if status else result


def main(arguments: list[str] | None = None) -> None:
    """Note it."""
    parser = argparse.ArgumentParser(prog="python -m lab.up.note")
    parser.add_argument("--home", required=True, type=Path)
    parser.add_argument("service")
    parser.add_argument("event", choices=("started", "ended"))
    parser.add_argument("pid", nargs="?", type=int, default=0)
    given = parser.parse_args(arguments)
    folder = services_folder(Home(given.home.absolute()))
    if given.event == "started":
        keep(folder, {given.service: process_of(given.pid)})
        append(folder, Event(time.time(), given.service, "starting", given.pid))
    else:
        event, why = words(os.environ)
        append(folder, Event(time.time(), given.service, event, 0, why))


if __name__ == "__main__":
    main()
