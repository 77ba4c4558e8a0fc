"""Where a session's log goes: a file, since the screen is for what a person has to know."""

from __future__ import annotations

import logging
from pathlib import Path

CHATTERERS = ("httpx", "tiled", "alembic")
"""Libraries whose every step nobody wants to read."""


def log_to(path: Path) -> None:
    """Write what libraries and this process log to a file, from now on."""
    from bluesky.log import config_bluesky_logging

    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    for chatterer in CHATTERERS:
        logging.getLogger(chatterer).setLevel(logging.WARNING)
    config_bluesky_logging(file=str(path), color=False, level="WARNING")
