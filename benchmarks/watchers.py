"""200 clients connected, 20 of them watching every document of a campaign: whether all documents reach all, and what it costs the RunEngine.

The same campaign again and again, by turns without anybody connected and with all of them; the RunEngine's time is that from its first start
document to its last stop document. The clients give way to all other processes: in life they are other machines.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.bench_up import Crowd, Up, up
from benchmarks.figures import Figure, show
from lab.remote.client import Laboratory

PAIRS = 5
N_CLIENTS, N_KEYS, N_WATCHERS = 200, 20, 20
CAMPAIGN = ("budget.trials=3", "optimizer.engine=sobol", "settings.anneal_time_s=60")
N_READINGS = 1000
END_S, SETTLE_S = 120.0, 1.0


class Bench:
    """Items of one laboratory, with and without people who look."""

    def __init__(self, laboratory: Up, lab: Laboratory, crowd: Crowd) -> None:
        self._up, self._lab, self._crowd = laboratory, lab, crowd
        self.n_documents = self.n_expected = 0
        self.is_in_order = True

    def pairs(self, queue: Any, n: int) -> tuple[list[float], list[float]]:
        """Durations without and with watchers, by turns, after one that does not count."""
        self._run(queue)
        alone, watched = [], []
        for _ in range(n):
            self._crowd.ask({"do": "leave"})
            alone.append(self._run(queue)[0])
            self._crowd.ask({"do": "come"})
            self._crowd.ask({"do": "watch", "n": N_WATCHERS})
            took, runs = self._run(queue)
            watched.append(took)
            time.sleep(SETTLE_S)
            self._compare(self._crowd.ask({"do": "stop"})["documents"], runs)
        return alone, watched

    def _run(self, queue: Any) -> tuple[float, list[Path]]:
        """Queue it, and wait for its end: seconds of the RunEngine, and the files of its runs."""
        before = set((self._up.home / "runs").glob("*.jsonl"))
        item = queue(self._lab)["lab"]["item"]
        end = time.monotonic() + END_S
        while (row := self._lab.item(item))["state"] in ("queued", "running"):
            if time.monotonic() > end:
                raise SystemExit(f"{item} has not ended in time")
            time.sleep(0.5)
        if row["state"] != "completed":
            raise SystemExit(f"{item}: {row['state']}: {row['cause']}")
        runs = sorted(set((self._up.home / "runs").glob("*.jsonl")) - before)
        times = [[json.loads(line)[1]["time"] for line in (lines[0], lines[-1])] for lines in (path.read_text().splitlines() for path in runs)]
        return max(stop for _, stop in times) - min(start for start, _ in times), runs

    def _compare(self, came: list[dict[str, list[int]]], runs: list[Path]) -> None:
        lengths = {path.stem: len(path.read_text().splitlines()) for path in runs}
        for one in came:
            self.n_expected += sum(lengths.values())
            self.n_documents += sum(len(one.get(run, ())) for run in lengths)
            self.is_in_order = self.is_in_order and all(one.get(run) == list(range(n)) for run, n in lengths.items())


def slowed(alone: list[float], watched: list[float]) -> tuple[float, str]:
    """Per cent, between the medians; and the spread of both."""
    note = f"{min(alone):.2f} to {max(alone):.2f} s without, {min(watched):.2f} to {max(watched):.2f} s with, {len(alone)} of each"
    return 100 * (statistics.median(watched) / statistics.median(alone) - 1), note


def main() -> None:
    with up() as laboratory, Laboratory(laboratory.key.address, laboratory.key) as lab:
        crowd = Crowd(laboratory, N_CLIENTS, N_KEYS)
        try:
            bench = Bench(laboratory, lab, crowd)
            campaign = bench.pairs(lambda lab: lab.submit("examples/perovskite.yaml", CAMPAIGN), PAIRS)
            counted = bench.pairs(lambda lab: lab.item_add({"item_type": "plan", "name": "count", "kwargs": {"detectors": ["hotplate_a"], "num": N_READINGS}}), PAIRS)
        finally:
            crowd.close()
        percent, note = slowed(*campaign)
        at_full_rate, rate_note = slowed(*counted)
        lost = bench.n_expected - bench.n_documents
        show([
            Figure(f"RunEngine slowed by {N_WATCHERS} watchers of {N_CLIENTS} clients, campaign", percent, "%", most=2.0, note=note),
            Figure("documents lost, or out of order", lost if bench.is_in_order else max(lost, 1), "docs", most=0, note=f"of {bench.n_expected}"),
            Figure(f"the same for {N_READINGS} readings as fast as they come", at_full_rate, "%", note=rate_note),
        ])


if __name__ == "__main__":
    main()
