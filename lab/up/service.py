"""What every service of a laboratory begins with: its command line, and the layout that ``lab up`` has decided."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

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
    return layout_of(Home(parser.parse_args().home.absolute()))


def layout_of(home: Home) -> Layout:
    """What ``lab up`` has decided for a LAB_HOME.

    Raises
    ------
    ConfigError
        When no laboratory has ever been up there.
    """
    layout = Layout.load(home)
    if layout is None:
        raise ConfigError("LAB_HOME", str(home.path), "a laboratory that has never been up", "one that `lab up LAB` has prepared")
    return layout


def configuration(layout: Layout) -> LabConfig:
    """The laboratory as it came up.

    Raises
    ------
    ConfigError
        When the file is not there, or damaged.
    """
    try:
        return LabConfig.model_validate_json(layout.config_file.read_text())
    except OSError as error:
        raise ConfigError("LAB_HOME", str(layout.config_file), error.strerror or str(error), "the file that `lab up LAB` writes") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ConfigError(str(layout.config_file), ".".join(map(str, first["loc"])), first["msg"], "the file that `lab up LAB` writes") from error


def say_ready(**more: Any) -> None:
    """The line for which ``lab up`` waits."""
    print(json.dumps({"ready": True, **more}), flush=True)


def log_to_stderr() -> None:
    """What a service logs, with the time on the wall; the supervisor keeps it."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
