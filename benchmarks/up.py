"""How long ``lab up`` takes until every service serves, what that costs each of them, how a worker that dies is replaced, and how long ``lab down`` takes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from benchmarks.figures import Figure, show
from lab.core.clock import WallClock
from lab.home import Home
from lab.layout import Layout
from lab.presence import worker
from lab.records.ledger import Ledger
from lab.up import events, queue

LAB = str(Path(sys.executable).parent / "lab")
N_CORES = 2
"""Of the machine for which the target holds."""

AGAIN_WITHIN_S = 180.0
LOOK_S = 0.01


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="lab-up-") as folder:
        home = Path(folder) / "h"
        environment = {**os.environ, "LAB_HOME": str(home)}
        began, load = time.perf_counter(), os.getloadavg()[0]
        try:
            subprocess.run([LAB, "up", "examples/lab.yaml", "--listen", "127.0.0.1:0"], check=True, env=environment, stdout=sys.stderr)
            up_s = time.perf_counter() - began
            layout = _layout(home)
            cpu_s = _cpu_s(layout)
            deaths = _death_of_the_worker(layout)
        finally:
            began = time.perf_counter()
            subprocess.run([LAB, "down", "--now"], check=True, env=environment, stdout=sys.stderr)
            down_s = time.perf_counter() - began
    show([Figure("lab up to ready, all services", up_s, "s", most=20.0, note=f"load of the machine at the beginning: {load:.1f}"),
          Figure("processor time of all services until ready", sum(cpu_s.values()), "s", note=f"on {N_CORES} idle cores at least half of it"),
          *(Figure(f"processor time until ready: {name}", seconds, "s") for name, seconds in cpu_s.items()),
          *deaths, Figure("lab down", down_s, "s")])


def _layout(home: Path) -> Layout:
    layout = Layout.load(Home(home))
    if layout is None:
        raise SystemExit("lab up has left no layout")
    return layout


def _cpu_s(layout: Layout) -> dict[str, float]:
    """Processor seconds of each service and its children so far."""
    found = {}
    for name, process in events.processes(layout.folder).items():
        parent = psutil.Process(process.pid)
        family = [parent] if name == events.SUPERVISOR else [parent, *parent.children(recursive=True)]
        found[name] = sum(one.cpu_times().user + one.cpu_times().system for one in family)
    return found


def _death_of_the_worker(layout: Layout) -> list[Figure]:
    """Kill it, as the kernel does when there is no memory left."""
    found = worker(layout)
    if found is None:
        raise SystemExit("lab up has left no worker")
    log = layout.log_of("instruments")
    n_before = log.stat().st_size
    os.kill(found.pid, signal.SIGKILL)
    began = time.perf_counter()
    with Ledger(Home(Path(layout.home)).ledger, WallClock()) as ledger:
        after_s = _until({
            "a worker that was killed is noticed and said": lambda: any(f"(process {found.pid}) died" in notice.text for notice in ledger.notices()),
            "all instruments are safe after it": lambda: "instruments made safe after the death" in log.read_text()[n_before:],
            "another worker is ready": lambda: _is_ready(layout, found.pid)}, began)
    targets = dict.fromkeys(after_s, None) | {"a worker that was killed is noticed and said": 5.0}
    return [Figure(name, seconds, "s", most=targets[name]) for name, seconds in after_s.items()]


def _is_ready(layout: Layout, dead: int) -> bool:
    now = worker(layout)
    return now is not None and now.pid != dead and queue.ask(layout, "status")["worker_environment_state"] == "idle"


def _until(conditions: dict[str, Callable[[], bool]], began: float) -> dict[str, float]:
    """When each of them has become true, seconds after `began`."""
    found: dict[str, float] = {}
    while len(found) < len(conditions):
        for name, is_so in conditions.items():
            if name not in found and is_so():
                found[name] = time.perf_counter() - began
        if time.perf_counter() - began > AGAIN_WITHIN_S:
            raise SystemExit(f"not within {AGAIN_WITHIN_S:g} s: {', '.join(conditions.keys() - found.keys())}")
        time.sleep(LOOK_S)
    return found


if __name__ == "__main__":
    main()
