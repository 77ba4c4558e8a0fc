"""How quickly ``lab --help`` answers, and what it imports."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from benchmarks.figures import Figure, median_s, show

HEAVY = ("torch", "ax", "epics", "ophyd", "bluesky", "numpy", "softioc")


def main() -> None:
    lab = str(Path(sys.executable).parent / "lab")
    duration_s = median_s(lambda: subprocess.run([lab, "--help"], check=True, capture_output=True), 9, time.perf_counter)
    show([Figure("lab --help, median of 9", duration_s, "s", most=0.5)])
    code = f"import sys, lab.cli; print(*(m for m in {HEAVY!r} if m in sys.modules))"
    heavy = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    show([Figure("heavy modules imported by lab --help", len(heavy), "modules", most=0, note=" ".join(heavy))])


if __name__ == "__main__":
    main()
