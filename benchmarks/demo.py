"""The demo as ``make demo`` runs it: duration, and peak resident memory of all its processes together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time

import psutil

from benchmarks.bench_laboratory import EXAMPLES
from benchmarks.figures import Figure, show


def tree_bytes(root: psutil.Process) -> int:
    """Proportional set size of a process and its descendants: shared pages are counted once."""
    total = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # it has just ended
    return total


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        began = time.monotonic()
        command = [sys.executable, "-m", "lab.cli", "run", str(EXAMPLES / "perovskite.yaml"), "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, "LAB_HOME": home}) as process:
            root, peak = psutil.Process(process.pid), 0
            while process.poll() is None:
                peak = max(peak, tree_bytes(root))
                time.sleep(0.5)
            output = process.stdout.read() if process.stdout is not None else b""
        took_s = time.monotonic() - began
    result = json.loads(output)
    best = result["best"]["outcomes"]
    show([
        Figure("make demo after the install", took_s, "s", most=120.0, note=f"{result['trials']['completed']} trials completed"),
        Figure("peak memory of all its processes", peak / 1e9, "GB", most=2.5),
        Figure("laboratory hours per wall minute", result["lab_s"] / 3600 / (result["wall_s"] / 60), "h/min"),
        Figure("best film", next(iter(best.values()))["mean"], "", note=next(iter(best))),
    ])


if __name__ == "__main__":
    main()
