"""Run every benchmark, each in a process of its own, and say at the end which targets are missed."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.figures import MET, MISSED

MODULES = ("startup", "link", "devices", "frames", "turnaround", "lanes", "schedule", "virtual", "overlap", "dry_run", "suggestion", "up", "gateway", "watchers", "demo")


def main() -> int:
    """Returns 1 when a benchmark could not be run; a missed target is said, and is no failure of the run."""
    lines: list[str] = []
    broken: list[str] = []
    for module in MODULES:
        print(f"--- {module}", flush=True)
        with subprocess.Popen([sys.executable, "-m", f"benchmarks.{module}"], stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout or ():
                print(line, end="", flush=True)
                lines.append(line)
        if process.returncode:
            broken.append(module)
    missed = [line for line in lines if line.startswith(MISSED)]
    print(f"\n{sum(line.startswith(MET) for line in lines)} targets met, {len(missed)} missed")
    for line in missed:
        print(line, end="")
    if broken:
        print(f"could not be run: {', '.join(broken)}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
