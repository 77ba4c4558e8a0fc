"""The demo laboratory with overlapping samples against the same with one sample at a time, both in virtual time, so that the machine does not count."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

from benchmarks.bench_laboratory import EXAMPLES
from benchmarks.figures import Figure, show

N_SAMPLES = 12


def campaign(*changes: str) -> dict[str, object]:
    """What ``lab run --json`` prints of a campaign of `N_SAMPLES`."""
    command = [sys.executable, "-m", "lab.cli", "run", str(EXAMPLES / "perovskite.yaml"), "--json", "--speed", "max"]
    sets = [f"budget.trials={N_SAMPLES}", "optimizer.engine=sobol", "lab.catalogue=false", *changes]
    for one in sets:
        command += ["--set", one]
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(command, capture_output=True, check=True, text=True, env={**os.environ, "LAB_HOME": home})
    result: dict[str, object] = json.loads(done.stdout)
    return result


def main() -> None:
    lanes, serial = campaign(), campaign("lab.at_once=1")
    ratio = float(str(serial["makespan_s"])) / float(str(lanes["makespan_s"]))
    note = f"{N_SAMPLES} samples, makespan {float(str(lanes['makespan_s'])) / 3600:.2f} h against {float(str(serial['makespan_s'])) / 3600:.2f} h"
    show([
        Figure("demo laboratory: overlapping samples, times as fast as serial", ratio, "x", least=1.6, note=note),
        Figure("samples in the machine at once, mean", float(str(lanes["overlap"])), ""),
    ])


if __name__ == "__main__":
    main()
