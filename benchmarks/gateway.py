"""What the gateway costs: a status request through it (CURVE, audit, role) against the RE Manager alone, and how many it answers in a second."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import zmq

from benchmarks.bench_up import Crowd, Up, up
from benchmarks.figures import Figure, show
from lab.remote.client.line import Line

ROUNDS, IN_A_ROUND = 20, 50
N_CLIENTS, N_KEYS, LOAD_S, ASKED_PER_S = 200, 20, 10.0, 1100.0
PAUSE_S = 0.006
"""Between two requests: within what one key may ask for in a second."""
REQUEST = json.dumps({"method": "status", "params": {}}).encode()


def overhead(laboratory: Up) -> list[Figure]:
    """Interleaved: some through the gateway, some straight, and so on."""
    context: zmq.Context[Any] = zmq.Context()
    straight = context.socket(zmq.DEALER)
    straight.linger = 0
    straight.connect(laboratory.layout.queue_control)
    line = Line(context, laboratory.key.address, laboratory.key)
    line.open(10)
    durations: dict[str, list[float]] = {"straight": [], "gateway": []}
    medians: list[float] = []
    for _ in range(ROUNDS):
        for name, socket in (("straight", straight), ("gateway", line.socket)):
            durations[name] += [_one(socket) for _ in range(IN_A_ROUND)]
        medians.append(statistics.median(durations["gateway"][-IN_A_ROUND:]) - statistics.median(durations["straight"][-IN_A_ROUND:]))
    line.close()
    context.destroy(linger=0)
    alone, through = (1e3 * statistics.median(durations[name]) for name in ("straight", "gateway"))
    spread = f"{alone:.2f} and {through:.2f} ms; in rounds of {IN_A_ROUND}: {1e3 * min(medians):.2f} to {1e3 * max(medians):.2f} ms"
    return [Figure("a status through the gateway beyond the RE Manager alone, medians", through - alone, "ms", most=0.5, note=spread)]


def _one(socket: zmq.Socket[bytes]) -> float:
    time.sleep(PAUSE_S)
    began = time.perf_counter()
    socket.send_multipart([b"", REQUEST])
    if not socket.poll(5000):
        raise SystemExit("no answer to a status request")
    answer = socket.recv_multipart()[-1]
    took = time.perf_counter() - began
    if b'"manager_state"' not in answer:
        raise SystemExit(f"not a status: {answer[:200]!r}")
    return took


def sustained(laboratory: Up) -> list[Figure]:
    """Somewhat more is asked for than the target, evenly over all connections; only statuses count."""
    crowd = Crowd(laboratory, N_CLIENTS, N_KEYS)
    try:
        found = crowd.ask({"do": "load", "seconds": LOAD_S, "per_s": ASKED_PER_S})
    finally:
        crowd.close()
    note = f"{N_CLIENTS} connections, {N_KEYS} keys, {LOAD_S:g} s, {ASKED_PER_S:g}/s asked for; median {found['median_ms']:.0f} ms, 99 % {found['p99_ms']:.0f} ms; {found['refused']} refused{' '.join(['', *found['words']])}"
    return [Figure("status requests answered through the gateway", found["per_s"], "1/s", least=1000.0, note=note)]


def main() -> None:
    parts: tuple[Callable[[Up], list[Figure]], ...] = (overhead, sustained)
    with up() as laboratory:
        for part in parts:
            show(part(laboratory))


if __name__ == "__main__":
    main()
