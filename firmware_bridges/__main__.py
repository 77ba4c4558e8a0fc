"""``python -m firmware_bridges``: one instrument's bridge, as docs/architecture.md describes a process's life.

Reads one JSON line, prints one JSON line when it serves, and ends when standard input closes or on SIGTERM, after it
has made its instrument safe. A line ``{"do": "safe"}`` makes it safe now; the answer says how that went. Everything else that
anybody prints goes to standard error.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from typing import TextIO

from pydantic import TypeAdapter, ValidationError

from firmware_bridges.controller import BridgeSettings, Controller
from lab.core.errors import InstrumentError, LabError
from lab.core.page import TimePage
from lab.core.virtual import hand_over_soon

log = logging.getLogger("firmware_bridges")


def main() -> int:
    """Run a bridge; the exit status is 0 after a regular end, and 1 when it could not start or had a defect."""
    answers = _own_standard_output()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C belongs to the session
    end = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: end.set())
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    defects: list[str] = []

    def on_defect(args: threading.ExceptHookArgs) -> None:
        """A bridge whose poll loop has died must not go on serving old values: it ends, and is started again."""
        log.critical("defect", exc_info=args.exc_value)
        defects.append(str(args.exc_value))
        end.set()

    threading.excepthook = on_defect
    try:
        settings = read_settings(sys.stdin.readline())
        controller = build(settings)
        if settings.page is not None:
            hand_over_soon()
            controller.share(TimePage(settings.page), settings.seat)
        serve(f"{settings.prefix}{settings.name}:", controller)
    except (LabError, ValidationError, ValueError, OSError) as error:
        _answer(answers, {"ready": False, "error": str(error)})
        return 1
    _answer(answers, {"ready": True})
    threading.Thread(target=_watch_standard_input, args=(controller, answers, end), name="stdin", daemon=True).start()
    end.wait()
    controller.stop()
    log.info("%s: bridge ended", settings.name)
    return 1 if defects else 0


def read_settings(line: str) -> BridgeSettings:
    """Read and validate the configuration line.

    Raises
    ------
    ValueError
        (pydantic's ValidationError is one.) For anything that is not as docs/architecture.md has it.
    """
    if not line.strip():
        raise ValueError("standard input closed before a configuration came; allowed: one JSON line")
    settings = TypeAdapter(BridgeSettings).validate_json(line)
    if settings.endpoint == "sim":
        raise ValueError(f"{settings.name}: endpoint: given 'sim'; allowed: the simulator's address")
    return settings


def build(settings: BridgeSettings) -> Controller:
    """The controller of the instrument's kind: what ``build(settings)`` of the module of that name makes."""
    make: Callable[[BridgeSettings], Controller] = import_module(f"firmware_bridges.{settings.config.kind}").build
    return make(settings)


def serve(prefix: str, controller: Controller) -> None:
    """Serve the channels and start polling; once per process."""
    from firmware_bridges.ioc import Ioc  # here, because importing softioc starts EPICS

    Ioc(prefix, controller).start()
    controller.start()


def _own_standard_output() -> TextIO:
    """Keep standard output for our one line: EPICS prints its banner there, from C."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _answer(answers: TextIO, message: dict[str, object]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


def _watch_standard_input(controller: Controller, answers: TextIO, end: threading.Event) -> None:
    for line in sys.stdin:
        _answer(answers, obey(controller, line))
    end.set()


def obey(controller: Controller, line: str) -> dict[str, object]:
    """Carry out a line that came after the configuration, and answer it: ``{"do": "safe"}`` is the only one there is."""
    try:
        asked = json.loads(line)
    except ValueError as error:
        return {"ok": False, "error": f"{controller.name}: {error}; allowed: one JSON object on a line"}
    if asked != {"do": "safe"}:
        return {"ok": False, "error": f'{controller.name}: given {asked!r}; allowed: {{"do": "safe"}}'}
    try:
        controller.execute("SAFE", True)
    except InstrumentError as error:
        log.error("%s: could not be made safe: %s", controller.name, error)
        return {"ok": False, "error": str(error)}
    log.info("%s: made safe, as asked", controller.name)
    return {"ok": True}


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # Not sys.exit: a worker thread may stand in the middle of a command, and EPICS's threads of C would be torn down under it.
    os._exit(status)
