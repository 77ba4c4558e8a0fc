"""Virtual time: a campaign of 50 samples as fast as the computer allows, what bounds it, and whether two of them are the same.

What bounds it is sampled: every millisecond it is noted what the session, or whom it waits for, is at.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.bench_laboratory import EXAMPLES
from benchmarks.figures import Figure, show
from lab.files import load_campaign, load_lab
from lab.home import Home
from lab.progress import Lines
from lab.records.comparison import differences
from lab.session import Session

TRIALS = 50
LAB = {"speed": "max", "catalogue": False}
SAMPLE_S = 0.001

MEANING = {
    "suggestions": "the optimiser", "evaluation": "from frames to outcomes", "plan and records": "the RunEngine's thread: dispatcher, ledger, documents",
    "handing on": "completions on their way through Ophyd's threads", "leaps": "time-keeper and simulated instruments"}


class Quiet(Lines):
    """Prints nothing."""

    def _print(self, text: str) -> None:
        pass


class Sampler(threading.Thread):
    """Notes what the session is at."""

    def __init__(self, session: Session) -> None:
        super().__init__(daemon=True)
        if session.virtual is None:
            raise SystemExit("virtual time is off")
        self._page, self._names = session.virtual.page, list(session.lab.instruments)
        self._commands = {name: commands_of(session.devices[name]) for name in self._names}
        self.counts: Counter[str] = Counter()
        self.is_over = threading.Event()

    def run(self) -> None:
        while not self.is_over.wait(SAMPLE_S):
            self.counts[self._now()] += 1

    def _now(self) -> str:
        look = self._page.look(len(self._names))
        if look.n_working:
            return self._thinking() or "handing on"
        if not look.is_quiet:
            return "plan and records"
        if look.n_asked == sum(look.n_waiting):
            return "leaps"
        asked = [sum(command.asked for command in self._commands[name]) for name in self._names]
        busy = {name.partition("_")[0] for name, n, waiting in zip(self._names, asked, look.n_waiting, strict=True) if n > waiting}
        return f"exchanges: {' and '.join(sorted(busy)) or 'on their way'}"

    def _thinking(self) -> str:
        """What the thinking thread is at; empty when it is at nothing."""
        for thread in threading.enumerate():
            frame = sys._current_frames().get(thread.ident or 0) if thread.name.startswith("thinking") else None
            while frame is not None:
                if frame.f_code.co_name in ("suggest", "_next_order"):
                    return "suggestions"
                if frame.f_code.co_name in ("evaluate", "_record_outcome", "_conclude"):
                    return "evaluation"
                frame = frame.f_back
        return ""


def commands_of(device: Any) -> list[Any]:
    """All commands of a device and of its parts. (Devices are imported by the session, once it has its ports.)"""
    from devices.pump import PumpBank
    from devices.signals import Command

    parts = [device, *(device if isinstance(device, PumpBank) else ())]
    return [walked.item for part in parts for walked in part.walk_signals() if isinstance(walked.item, Command)]


def campaign(home: Path, trials: int, engine: str) -> dict[str, float]:
    """Run a campaign in this process; laboratory and wall seconds, and the share of each thing it was at."""
    lab = load_lab(EXAMPLES / "lab.yaml", LAB)
    config = load_campaign(EXAMPLES / "perovskite.yaml", {"budget.trials": trials, "optimizer.engine": engine, "budget.hours": 1000})
    with Session(lab, Home(home), say=lambda text: print(text, file=sys.stderr)) as session:
        sampler = Sampler(session)
        sampler.start()
        began, at_s = time.monotonic(), session.clock.now()
        ran, end = session.run_campaign(config, Quiet())
        found = {"wall_s": time.monotonic() - began, "lab_s": session.clock.now() - at_s, "n": float(len(ran.trials))}
        sampler.is_over.set()
        sampler.join()
    if end.status != "done":
        raise SystemExit(f"the campaign ended as {end.status}: {end.cause}")
    total = sum(sampler.counts.values())
    return found | {f"share {what}": n / total for what, n in sampler.counts.items()}


def in_a_process(home: Path, trials: int, engine: str) -> dict[str, float]:
    """The same in a process of its own: a process has one session."""
    home.mkdir()
    done = subprocess.run([sys.executable, "-m", "benchmarks.virtual", str(home), str(trials), engine], stdout=subprocess.PIPE, text=True,
                          env=dict(os.environ), check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        one, other = Path(folder) / "one", Path(folder) / "other"
        first, second = (in_a_process(home, TRIALS, "ax") for home in (one, other))
        unlike = differences(one / "ledger.sqlite", other / "ledger.sqlite")
    for row in unlike[:10]:
        print(row, file=sys.stderr)
    speed = first["lab_s"] / first["wall_s"]
    shares = sorted(((what.removeprefix("share "), share) for what, share in first.items() if what.startswith("share ")), key=lambda row: -row[1])
    thinking_s = first["wall_s"] * sum(share for what, share in shares if what in ("suggestions", "evaluation"))
    show([
        Figure(f"virtual time, {TRIALS} samples with the model, laboratory s per wall s", speed, "x", least=500.0,
               note=f"{first['lab_s'] / 3600:.1f} h in {first['wall_s']:.0f} s; second run {second['lab_s'] / second['wall_s']:.0f}"),
        Figure("wall time of one sample, whatever it takes in the laboratory", first["wall_s"] / first["n"], "s",
               note=f"{first['lab_s'] / first['n']:.0f} laboratory s each, three annealed at a time"),
        Figure("the first, without suggestions and evaluation", first["lab_s"] / (first["wall_s"] - thinking_s), "x"),
        Figure("rows that differ between two runs of one seed", len(unlike), "rows", most=0.0, note="of all that the ledgers hold but names and wall times"),
        *(Figure(f"share of the wall time: {what}", 100 * share, "%", note=MEANING.get(what, "")) for what, share in shares),
    ])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(campaign(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])))
    else:
        main()
