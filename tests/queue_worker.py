"""The worker's startup module in tests of the queue: the RunEngine of the laboratory, and plans that write down what they really did.

Each plan writes to LAB_HOME/done.jsonl when it begins and when it has ended, with the item's number: what happened in the world, which no
queue, history or ledger can talk away. `hold` goes on when LAB_HOME/go/NAME is there.
"""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps

from lab.core.clock import WallClock
from lab.home import Home
from lab.layout import Layout, write_for_owner
from lab.records.ledger import Ledger
from lab.records.process import this_process
from lab.remote.worker.engine import RecordedRunEngine
from lab.remote.worker.queued_plan import QueuedPlan

_home = Home.default()
_layout = Layout.load(_home)
RE = RecordedRunEngine(Ledger(_home.ledger, WallClock()), _home)


def _done(what: str, number: int) -> None:
    line = json.dumps([what, number, RE.item, os.getpid()]) + "\n"
    descriptor = os.open(_home.path / "done.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def _steps(name: str, number: int, gate: Path | None, seconds: float) -> Iterator[Any]:
    yield from bps.open_run({"number": number})
    _done("began", number)
    yield from bps.sleep(seconds)
    while gate is not None and not gate.exists():
        yield from bps.checkpoint()
        yield from bps.sleep(0.02)
    if name == "fail":
        raise RuntimeError("the pump is dry")
    yield from bps.close_run()
    _done("ended", number)


def _plan(name: str, parameters: dict[str, Any], gate: Path | None, seconds: float = 0.0) -> QueuedPlan:
    return QueuedPlan(name, parameters, _steps(name, parameters["number"], gate, seconds))


def work(number: int, seconds: float = 0.0):  # noqa: ANN201 - the RE Manager reads the annotations of plans
    return _plan("work", {"number": number, "seconds": seconds}, None, seconds)


def fail(number: int):  # noqa: ANN201
    return _plan("fail", {"number": number}, None)


def hold(number: int, gate: str):  # noqa: ANN201
    return _plan("hold", {"number": number, "gate": gate}, _home.path / "go" / gate)


def broken(number: int):  # noqa: ANN201
    raise ValueError("this plan cannot be made")


for _one in (work, fail, hold, broken):
    vars(_one)["_is_plan_"] = True

if _layout is not None:
    me = this_process()
    write_for_owner(_layout.worker_file, json.dumps({"pid": me.pid, "host": socket.gethostname(), "process_started": me.started, "kernel": ""}))
