"""``python -m tests.crash.queue``: a queue whose services are killed at random moments, while people go on asking; then everything is compared.

Redis, the RE Manager, its worker and the steward are killed, one or several at a time, and started again as the supervisor of a laboratory
does. Meanwhile two people add, move, change and remove items, and ask again, under the same name, for what was not answered. At the end
nothing may have begun twice, nothing may be forgotten, and ledger, queue, history and world must agree (`tests.queue_agreement`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import psutil

from lab.core.errors import ServiceError
from tests.queue_agreement import disagreements
from tests.queue_laboratory import ALICE, BOB, COMMANDS, OSCAR, QueueLaboratory

VICTIMS = (("worker",), ("worker",), ("manager",), ("redis",), ("steward",), ("steward",), ("queue",), ("redis", "manager"), ("steward", "worker"),
           ("queue", "redis", "steward"))
ANSWER_S = 8.0
"""For an answer, before somebody asks again."""

REST_S = 180.0
"""For everything to come to rest at the end."""

LONGEST_GAP_S = 2.5
"""Between two kills, at first; every third waits until the worker is there again."""


class Person(threading.Thread):
    """Somebody who goes on asking, whatever dies.

    Parameters
    ----------
    lab : QueueLaboratory
    who : tuple of str
        Name and role.
    chances : Random
    """

    def __init__(self, lab: QueueLaboratory, who: tuple[str, str], chances: random.Random) -> None:
        super().__init__(name=who[0])
        self._lab, self._who, self._chances = lab, who, chances
        self._ends = threading.Event()
        self.answered: dict[str, str] = {}
        """Request -> the item that was promised for it."""
        self.counts: Counter[str] = Counter()
        self._n = 0

    def run(self) -> None:
        while not self._ends.is_set():
            what = self._chances.choices((self._add, self._remove, self._move, self._update), (8, 1, 2, 1))[0]
            what()
            self._ends.wait(self._chances.random() * 0.3)

    def stop(self) -> None:
        self._ends.set()
        self.join()

    def _ask(self, method: str, **params: Any) -> dict[str, Any] | None:
        """Asked again under the same name until it is answered; None when the end comes first."""
        self._n += 1
        name = f"{self._who[0]}-{self._n}"
        while True:
            line = self._lab.send(self._who, method, request=name, **params)
            try:
                if line.poll(int(ANSWER_S * 1000)):
                    answer: dict[str, Any] = json.loads(line.recv_multipart()[-1])
                    if "is under way" not in str(answer.get("msg")):
                        self.counts[f"{method}, {'done' if answer.get('success') else 'refused'}"] += 1
                        if method == "queue_item_add" and answer.get("success"):
                            self.answered[name] = answer["lab"]["item"]
                        return answer
                    time.sleep(0.2)
                else:
                    self.counts[f"{method}, asked again"] += 1
            finally:
                line.close(linger=0)
            if self._ends.is_set():
                return None

    def _add(self) -> None:
        name = self._chances.choices(("work", "fail", "broken"), (20, 1, 1))[0]
        kwargs: dict[str, Any] = {"number": self._chances.randrange(1000)} | ({"seconds": round(self._chances.random() * 0.8, 2)} if name == "work" else {})
        self._ask("queue_item_add", item={"item_type": "plan", "name": name, "kwargs": kwargs})

    def _own(self) -> str | None:
        mine = [item.id for item in self._lab.ledger.items(("queued",), self._who[0])]
        return self._chances.choice(mine) if mine else None

    def _remove(self) -> None:
        if (item := self._own()) is not None:
            self._ask("queue_item_remove", uid=item)

    def _move(self) -> None:
        if (item := self._own()) is not None:
            self._ask("queue_item_move", uid=item, pos_dest="back")

    def _update(self) -> None:
        if (item := self._own()) is not None:
            self._ask("queue_item_update", item={"item_type": "plan", "name": "work", "kwargs": {"number": self._chances.randrange(1000)}, "item_uid": item})


class Supervisor(threading.Thread):
    """Starts again whatever has ended, as the laboratory's does."""

    def __init__(self, lab: QueueLaboratory) -> None:
        super().__init__(name="supervisor")
        self._lab, self._ends = lab, threading.Event()

    def run(self) -> None:
        while not self._ends.wait(0.1):
            for name in COMMANDS:
                if self._lab.processes[name].poll() is not None:
                    self._lab.start(name)

    def stop(self) -> None:
        self._ends.set()
        self.join()


def kill(lab: QueueLaboratory, names: Sequence[str]) -> None:
    """Kill without waiting for anything; the supervisor sees it."""
    for name in names:
        with contextlib.suppress(ProcessLookupError, FileNotFoundError, psutil.NoSuchProcess, ValueError):  # it is dead already, or was never there
            if name == "worker":
                pid = lab.worker_pid()
                if pid in {child.pid for child in psutil.Process(lab.processes["queue"].pid).children()}:
                    os.kill(pid, signal.SIGKILL)
            elif name == "manager":
                lab.kill_manager()
            else:
                lab.processes[name].kill()


def campaign(seed: int, n_kills: int, policy: str = "ask") -> list[str]:
    """One queue, killed so many times; what does not agree at the end, in words."""
    with QueueLaboratory({"interrupted": policy}) as lab:
        lab.start().until_ready()
        found, counts = survive(lab, random.Random(f"queue-{seed}-{policy}"), n_kills)
        states = Counter(item.state for item in lab.ledger.items())
        print(f"  {dict(counts)}\n  items: {dict(states)}", flush=True)
        if found:
            print(lab.log("steward"), lab.log("queue"), flush=True)
        return found


def survive(lab: QueueLaboratory, chances: random.Random, n_kills: int) -> tuple[list[str], Counter[str]]:
    """Kill services so many times while people ask, let it come to rest, and compare; what does not agree, and what was done how often."""
    supervisor, people = Supervisor(lab), [Person(lab, who, random.Random(chances.random())) for who in (ALICE, BOB)]
    counts: Counter[str] = Counter()
    for thread in (supervisor, *people):
        thread.start()
    try:
        for n in range(n_kills):
            if n % 3 == 2:
                _go_on(lab, chances)
            time.sleep(chances.random() * LONGEST_GAP_S)
            names = chances.choice(VICTIMS)
            counts[f"killed {' and '.join(names)}"] += 1
            kill(lab, names)
        for person in people:
            person.stop()
        found = _rest(lab, chances) + disagreements(lab) + _promises(lab, people)
    finally:
        for thread in (*people, supervisor):
            thread.stop()
    return found, sum((person.counts for person in people), counts)


def _go_on(lab: QueueLaboratory, chances: random.Random) -> None:
    """Until the worker is there and the queue is on: a person decides what an interruption and a failure have left."""
    ends = time.monotonic() + REST_S
    while time.monotonic() < ends:
        with contextlib.suppress(AssertionError):  # no answer: the steward was killed, and is started again
            standing = lab.ask(OSCAR, "lab_status", deadline_s=3.0)
            for item in standing["interrupted"]:
                lab.ask(OSCAR, chances.choice(("lab_retry", "lab_dismiss")), deadline_s=20.0, item=item["id"])
            if not standing["queue"]["is_on"]:
                lab.ask(OSCAR, "queue_start", deadline_s=20.0)
            elif standing["queue"]["environment"] not in ("closed", "dead", "unknown"):
                return
        time.sleep(0.1)


def _rest(lab: QueueLaboratory, chances: random.Random) -> list[str]:
    """Let the queue come to its end."""
    ends = time.monotonic() + REST_S
    while time.monotonic() < ends:
        _go_on(lab, chances)
        left = lab.ledger.items(("queued", "running"))
        with contextlib.suppress(ServiceError):
            status = lab.manager("status")
            if not left and status["manager_state"] == "idle" and not status["running_item_uid"] and not lab.status()["interrupted"]:
                return []
        time.sleep(0.2)
    return [f"not at rest after {REST_S:g} s: {[f'{item.id} {item.state}' for item in lab.ledger.items(('queued', 'running'))]}; {lab.status()['queue']}"]


def _promises(lab: QueueLaboratory, people: Sequence[Person]) -> list[str]:
    """Each request that was answered with an item stands for that item, and for no other."""
    items = {item.id for item in lab.ledger.items()}
    promised = Counter(item for person in people for item in person.answered.values())
    found = [f"{item} was promised, and is on nobody's record" for item in promised if item not in items]
    found += [f"{item} was promised for {n} requests" for item, n in promised.items() if n > 1]
    for person in people:
        for request, item in person.answered.items():
            errand = lab.ledger.errand(person.name, request)
            if errand is None or errand.items != (item,):
                found.append(f"request {request} of {person.name} was promised {item}; on record is {errand}")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 1 when anything disagrees."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.queue", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--each", type=int, default=15, help="kills of one queue")
    asked = parser.parse_args(arguments)
    print(f"seed {asked.seed}: python -m tests.crash.queue --kills {asked.kills} --seed {asked.seed} repeats it", flush=True)
    began, n_killed, found = time.monotonic(), 0, []
    while n_killed < asked.kills:
        n = min(asked.each, asked.kills - n_killed)
        policy = "ask" if (n_killed // asked.each) % 2 == 0 else "retry"
        wrong = campaign(asked.seed + n_killed, n, policy)
        n_killed += n
        found += wrong
        print(f"{n_killed} kills after {time.monotonic() - began:.0f} s; policy {policy}: " + ("; ".join(wrong) if wrong else "everything agrees"), flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
