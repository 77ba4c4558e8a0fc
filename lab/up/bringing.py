"""What ``lab up`` does and says: from the options to the address, and what to type next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.core.config import LabConfig
from lab.files import load_lab
from lab.home import Home
from lab.layout import Layout
from lab.up.starting import is_up, prepare, start
from lab.up.systemd import write_units


def bring_up(lab_file: Path, listen: str | None, speed: float | None, home: Home, say: Callable[[str], None]) -> Layout:
    """Bring the laboratory up, unless it is.

    Raises
    ------
    ConfigError, LeaseError, ServiceError
        As `lab.up.starting.start`.
    """
    running = is_up(home)
    if running is not None:
        say(f"laboratory {running.lab} is up already, in {home.path}, with {running.lab_file}; for another file or address: lab down first")
        _say_next(running, home, say)
        return running
    lab = configuration(lab_file, listen, speed)
    say(f"laboratory {lab.name} in {home.path}")
    layout = start(lab_file, lab, home, say)
    _say_next(layout, home, say)
    return layout


def write_for_systemd(lab_file: Path, listen: str | None, speed: float | None, home: Home, folder: Path, say: Callable[[str], None]) -> None:
    """Decide everything and write units for systemd, which starts the laboratory instead of us.

    Raises
    ------
    ConfigError, LeaseError, ServiceError
        As `lab.up.starting.prepare` and `lab.up.systemd.write_units`.
    """
    layout, services = prepare(lab_file, configuration(lab_file, listen, speed), home)
    units = write_units(layout, services, folder)
    for unit in units:
        say(f"wrote {unit}")
    say(f"next: copy them to /etc/systemd/system, then: systemctl daemon-reload; systemctl enable --now {units[-1].name}")
    _say_next(layout, home, say)


def configuration(lab_file: Path, listen: str | None, speed: float | None) -> LabConfig:
    """The laboratory's file, with what the command line says, and a speed at which people can wait.

    Raises
    ------
    ConfigError
    """
    overrides: dict[str, Any] = {}
    if listen is not None:
        overrides["remote.listen"] = listen
    if speed is not None:
        overrides["speed"] = speed
    lab = load_lab(lab_file, overrides)
    if lab.remote.roles:
        from lab.remote.registry.role_rules import check_rules

        check_rules(lab, str(lab_file))
    return lab.model_copy(update={"speed": lab.remote.speed}) if lab.speed == "max" else lab


def _say_next(layout: Layout, home: Home, say: Callable[[str], None]) -> None:
    """Where the door is, which key opens it, and what to type."""
    from lab.remote.access.keys import ensure_owner

    address = own_address(layout.gateway)
    say(f"gateway      {layout.gateway.removeprefix('tcp://')}")
    say(f"your key     {ensure_owner(home, address)}")
    say("next         lab status          what goes on\n"
        "             lab queue plans     what can be queued\n"
        "             lab keys new NAME --role scientist --address HOST:PORT\n"
        "             lab down            end it, the instruments safe")


def own_address(gateway: str) -> str:
    """Where somebody on this machine reaches a gateway that listens at `gateway` (``tcp://0.0.0.0:60615``)."""
    host, _, port = gateway.removeprefix("tcp://").rpartition(":")
    return f"{'127.0.0.1' if host in ('*', '0.0.0.0') else '[::1]' if host in ('[::]', '::') else host}:{port}"
