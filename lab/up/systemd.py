"""``lab up LAB --systemd DIR``: the same services as units of systemd, for a machine that belongs to a laboratory.

systemd is the supervisor then. Every unit notes what happens to its service as our own supervisor does (`lab.up.note`), so that
``lab status`` and ``lab down`` work as ever.
"""

from __future__ import annotations

import getpass
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lab.core.errors import ConfigError, ServiceError
from lab.layout import Layout
from lab.up.services import Service

VERIFY_S = 60.0
"""Wall seconds for systemd-analyze."""


def write_units(layout: Layout, services: Sequence[Service], folder: Path) -> list[Path]:
    """Write a unit for each service, and a target that has them all; what is written is verified where systemd is present.

    Raises
    ------
    ConfigError
        When `folder` cannot be written, or a path cannot be said to systemd.
    ServiceError
        When systemd does not take the units.
    """
    target = f"labwright-{layout.lab}.target"
    units = {f"labwright-{layout.lab}-{service.name}.service": _unit(layout, service, target) for service in services}
    wants = " ".join(units)
    units[target] = "\n".join((
        "[Unit]", f"Description=Labwright laboratory {layout.lab}", f"Wants={wants}", "After=network.target", "",
        "[Install]", "WantedBy=multi-user.target", ""))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in units.items():
            (folder / name).write_text(text)
    except OSError as error:
        raise ConfigError("command line", "--systemd", f"{folder}: {error.strerror}", "a folder that can be written") from error
    written = [folder / name for name in units]
    verify(written)
    return written


def verify(units: Sequence[Path]) -> None:
    """Have systemd read the units, where it is installed.

    Raises
    ------
    ServiceError
        With what it has against them.
    """
    program = shutil.which("systemd-analyze")
    if program is None:
        return
    done = subprocess.run([program, "verify", "--man=no", *map(str, units)], capture_output=True, text=True, timeout=VERIFY_S)
    about_ours = [line for line in done.stderr.splitlines() if "labwright-" in line]
    if about_ours:  # its exit status is 0 for lines that it does not understand and leaves out
        raise ServiceError("systemd-analyze verify: " + "\n".join(about_ours))


def _unit(layout: Layout, service: Service, target: str) -> str:
    """The text of one unit."""
    note = f"{_quoted(sys.executable)} -m lab.up.note --home . {service.name}"
    return "\n".join((
        "[Unit]",
        f"Description=Labwright laboratory {layout.lab}: {service.what}",
        f"PartOf={target}",
        # Started side by side, ended in the opposite order: each waits by itself for what it needs.
        *(f"After=labwright-{layout.lab}-{name}.service" for name in service.needs),
        "StartLimitIntervalSec=300", "StartLimitBurst=20", "",
        "[Service]",
        "Type=exec",
        f"User={getpass.getuser()}",
        "UMask=0077",
        f"WorkingDirectory={_plain(layout.home)}",
        f"Environment={_quoted(f'LAB_HOME={layout.home}')} PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1",
        f"ExecStart={' '.join(_quoted(word) for word in service.command)}",
        f"ExecStartPost={note} started $MAINPID",
        f"ExecStopPost={note} ended",
        "Restart=on-failure", "RestartSec=1",
        "KillMode=mixed", f"TimeoutStopSec={service.stop_s:g}",
        f"StandardOutput=append:{_plain(str(layout.log_of(service.name)))}", "StandardError=inherit", "",
        "[Install]", f"WantedBy={target}", ""))


def _plain(path: str) -> str:
    """A path as the rest of a line; % begins a specifier in units.

    Raises
    ------
    ConfigError
        When it has characters for which systemd has no way.
    """
    if any(character in path for character in "\n\r\"'\\$"):
        raise ConfigError("LAB_HOME", "path", path, "a path without quotes, backslashes, $ and line ends, for units of systemd")
    return path.replace("%", "%%")


def _quoted(word: str) -> str:
    text = _plain(word)
    return f'"{text}"' if " " in text else text
