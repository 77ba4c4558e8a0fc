"""Whose turn it is, when many ask for much."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from lab.remote.steward.turns import Turns

DEADLINE_S = 60.0


def test_however_much_one_key_asks_for_another_has_its_turn() -> None:
    gate, done = threading.Event(), threading.Event()
    with ThreadPoolExecutor(3) as pool:
        turns = Turns(pool, 2)
        for _ in range(50):
            turns.submit("alice", lambda: None if gate.wait(DEADLINE_S) else None)
        turns.submit("bob", done.set)
        try:
            assert done.wait(DEADLINE_S)
        finally:
            gate.set()


def test_everything_has_its_turn_in_the_end_and_no_key_more_than_its_share_at_once() -> None:
    lock, at_once, most, n_done, all_done = threading.Lock(), [0], [0], [0], threading.Event()

    def work() -> None:
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        with lock:
            at_once[0] -= 1
            n_done[0] += 1
            if n_done[0] == 200:
                all_done.set()

    with ThreadPoolExecutor(4) as pool:
        turns = Turns(pool, 2)
        for _ in range(200):
            turns.submit("alice", work)
        assert all_done.wait(DEADLINE_S)
    assert most[0] <= 2


def test_what_has_not_begun_when_the_service_ends_is_left() -> None:
    begun, gate, done = threading.Event(), threading.Event(), []

    def first() -> None:
        begun.set()
        gate.wait(DEADLINE_S)

    pool = ThreadPoolExecutor(1)
    turns = Turns(pool, 1)
    turns.submit("alice", first)
    turns.submit("alice", lambda: done.append(1))
    assert begun.wait(DEADLINE_S)
    pool.shutdown(wait=False)
    gate.set()
    pool.shutdown(wait=True)
    assert done == []
