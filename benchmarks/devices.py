"""``bps.mv`` of a pump rate through RunEngine, Ophyd, Channel Access, bridge, serial line and firmware."""

from __future__ import annotations

import statistics
import time
from typing import Any

import bluesky.plan_stubs as bps

from benchmarks.bench_laboratory import laboratory
from benchmarks.figures import Figure, quantile, show

N = 300


def main() -> None:
    durations: list[float] = []

    def plan(signal: Any) -> Any:
        for n in range(N):
            began = time.perf_counter()
            yield from bps.mv(signal, 1.0 + 0.01 * (n % 100))
            durations.append(time.perf_counter() - began)

    with laboratory() as session:
        session.RE(plan(session.devices["pump"]["cs"].rate))
    ms = [1e3 * d for d in durations]
    show([
        Figure("bps.mv of a pump rate, median", statistics.median(ms), "ms", most=5.0),
        Figure("bps.mv of a pump rate, 95 %", quantile(ms, 0.95), "ms"),
    ])


if __name__ == "__main__":
    main()
