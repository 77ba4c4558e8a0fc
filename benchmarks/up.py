"""How long ``lab up`` takes until every service serves, what that costs each of them, and how long ``lab down`` takes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.figures import Figure, show
from lab.home import Home
from lab.layout import Layout
from lab.up import events

LAB = str(Path(sys.executable).parent / "lab")
N_CORES = 2
"""Of the machine for which the target holds."""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="lab-up-") as folder:
        home = Path(folder) / "h"
        environment = {**os.environ, "LAB_HOME": str(home)}
        began, load = time.perf_counter(), os.getloadavg()[0]
        try:
            subprocess.run([LAB, "up", "examples/lab.yaml", "--listen", "127.0.0.1:0"], check=True, env=environment, stdout=sys.stderr)
            up_s = time.perf_counter() - began
            cpu_s = _cpu_s(home)
        finally:
            began = time.perf_counter()
            subprocess.run([LAB, "down", "--now"], check=True, env=environment, stdout=sys.stderr)
            down_s = time.perf_counter() - began
    show([Figure("lab up to ready, all services", up_s, "s", most=20.0, note=f"load of the machine at the beginning: {load:.1f}"),
          Figure("processor time of all services until ready", sum(cpu_s.values()), "s", note=f"on {N_CORES} idle cores at least half of it"),
          *(Figure(f"processor time until ready: {name}", seconds, "s") for name, seconds in cpu_s.items()),
          Figure("lab down", down_s, "s")])


def _cpu_s(home: Path) -> dict[str, float]:
    """Processor seconds of each service and its children so far."""
    layout = Layout.load(Home(home))
    if layout is None:
        raise SystemExit("lab up has left no layout")
    found = {}
    for name, process in events.processes(layout.folder).items():
        parent = psutil.Process(process.pid)
        family = [parent] if name == events.SUPERVISOR else [parent, *parent.children(recursive=True)]
        found[name] = sum(one.cpu_times().user + one.cpu_times().system for one in family)
    return found


if __name__ == "__main__":
    main()
