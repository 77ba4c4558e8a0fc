"""What every service of a laboratory begins with: its command line, and the layout that ``lab up`` has decided."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.core.config import LabConfig
from lab.core.errors import ConfigError, LabError
from lab.home import Home
from lab.layout import Layout


def exit_status_of(main: Callable[[], int]) -> int:
    """Run a service; what it cannot go on with is said in words, and its status is 1."""
    try:
        return main()
    except LabError as error:
        logging.getLogger(main.__module__).critical("%s", error)
        return 1


def layout_of_command(program: str) -> Layout:
    """The layout of the LAB_HOME named by ``--home``.

    Raises
    ------
    ConfigError
        When no laboratory has ever been up there.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description="A service of a laboratory; lab up starts it.")
    parser.add_argument("--home", required=True, type=Path, help="LAB_HOME")
    home = Home(parser.parse_args().home.absolute())
    layout = Layout.load(home)
    if layout is None:
        raise ConfigError("command line", "--home", str(home.path), "a LAB_HOME in which lab up has been called")
    return layout


def configuration(layout: Layout) -> LabConfig:
    """The laboratory as it came up."""
    return LabConfig.model_validate_json(layout.config_file.read_text())


def say_ready(**more: Any) -> None:
    """The line for which ``lab up`` waits."""
    print(json.dumps({"ready": True, **more}), flush=True)


def log_to_stderr() -> None:
    """What a service logs, with the time on the wall; the supervisor keeps it."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
