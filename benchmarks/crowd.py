"""``python -m benchmarks.crowd``: many clients of one laboratory. A JSON line in, one out.

``{"keys": [files], "n_clients": n}`` connects; ``{"do": "load", "seconds": s, "per_s": n}`` asks for the status so often over all
connections; ``{"do": "watch", "n": n}`` subscribes so many to all documents from now on; ``{"do": "stop"}`` tells what they got; ``{"do": "leave"}`` and
``{"do": "come"}`` end and open all connections.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from heapq import heappop, heappush
from typing import Any

import msgpack
import zmq

from lab.remote.access.key_files import load_key
from lab.remote.client.line import Line

REQUEST = json.dumps({"method": "status", "params": {}}).encode()
CREDIT = 100_000
ALIVE_S = 15.0


class Clients:
    """All of them."""

    def __init__(self, files: list[str], n_clients: int) -> None:
        self._context: zmq.Context[Any] = zmq.Context()
        self._context.max_sockets = 4 * n_clients
        self._keys = [load_key(file) for file in files]
        self._n = n_clients
        self.lines: list[Line] = []
        self.come()

    def come(self) -> None:
        self.lines = [Line(self._context, self._keys[i % len(self._keys)].address, self._keys[i % len(self._keys)]) for i in range(self._n)]
        for line in self.lines:
            line.open(30)

    def leave(self) -> None:
        for line in self.lines:
            line.close()
        self.lines = []

    def load(self, seconds: float, per_s: float) -> dict[str, Any]:
        """So many requests in a second over all connections, evenly; who has not been answered yet waits with the next one."""
        poller, waited, refusals = zmq.Poller(), [], []
        began = time.perf_counter()
        interval = len(self.lines) / per_s
        due = [(began + i / per_s, i, line) for i, line in enumerate(self.lines)]  # sorted, and so a heap
        asked: dict[Any, tuple[float, float, int, Line]] = {}
        for line in self.lines:
            poller.register(line.socket, zmq.POLLIN)
        while (now := time.perf_counter()) - began < seconds or asked:
            while due and due[0][0] <= now < began + seconds:
                when, i, line = heappop(due)
                line.send(b"", REQUEST)
                asked[line.socket] = (now, when, i, line)
            for socket, _ in poller.poll(1):
                answer = socket.recv_multipart()[-1]
                sent, when, i, line = asked.pop(socket)
                now = time.perf_counter()
                waited.append(now - sent)
                heappush(due, (max(when + interval, now), i, line))
                if b'"manager_state"' not in answer:
                    refusals.append(answer.decode())
        took = time.perf_counter() - began
        waited.sort()
        return {"per_s": (len(waited) - len(refusals)) / took, "refused": len(refusals), "words": sorted(set(refusals))[:3],
                "median_ms": 1e3 * waited[len(waited) // 2], "p99_ms": 1e3 * waited[int(0.99 * len(waited))]}

    def watch(self, n: int) -> dict[str, Any]:
        """Subscribe, and take what comes, unread, until there is a further command."""
        message = msgpack.packb({"subscribe": {"documents": {"all": True}, "since": time.time()}, "credit": CREDIT})
        watchers = self.lines[:n]
        got: dict[Any, list[bytes]] = {line.socket: [] for line in watchers}
        poller = zmq.Poller()
        poller.register(sys.stdin.fileno(), zmq.POLLIN)
        for line in watchers:
            line.send(message)
            poller.register(line.socket, zmq.POLLIN)
        print(json.dumps({"watching": n}), flush=True)
        said = time.monotonic()
        while True:
            ready = [socket for socket, _ in poller.poll(1000)]
            for socket in ready:
                if socket in got:
                    got[socket].append(socket.recv_multipart()[-1])
            if time.monotonic() - said > ALIVE_S:
                said = time.monotonic()
                for line in watchers:
                    line.send(msgpack.packb({"alive": True}))
            if sys.stdin.fileno() in ready and all(socket not in got for socket in ready):
                sys.stdin.readline()
                break
        for line in watchers:
            line.send(msgpack.packb({"unsubscribe": True}))
        return {"documents": [_counted(frames) for frames in got.values()]}


def _counted(frames: list[bytes]) -> dict[str, list[int]]:
    """By run, the numbers of the documents in the order in which they came."""
    found: dict[str, list[int]] = {}
    for frame in frames:
        content = msgpack.unpackb(frame)
        found.setdefault(content["run"], []).append(content["n"])
    return found


def main() -> None:
    os.nice(19)
    first = json.loads(sys.stdin.readline())
    clients = Clients(first["keys"], first["n_clients"])
    print(json.dumps({"connected": len(clients.lines)}), flush=True)
    while select.select([sys.stdin], [], []) and (line := sys.stdin.readline()):
        command = json.loads(line)
        answer: dict[str, Any] = {}
        if command["do"] == "load":
            answer = clients.load(command["seconds"], command["per_s"])
        elif command["do"] == "watch":
            answer = clients.watch(command["n"])
        elif command["do"] == "leave":
            clients.leave()
        elif command["do"] == "come":
            clients.come()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
