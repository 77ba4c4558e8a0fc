"""Turns: requests are worked on side by side, and nobody who asks for much keeps the others waiting."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

log = logging.getLogger(__name__)

Work = Callable[[], None]


class Turns:
    """Gives each key a few of a pool's threads at one time; what else it asks for waits behind what the others have asked for.

    Parameters
    ----------
    pool : ThreadPoolExecutor
        Of more threads than one key gets.
    most_of_one : int
    """

    def __init__(self, pool: ThreadPoolExecutor, most_of_one: int) -> None:
        self._pool, self._most = pool, most_of_one
        self._lock = threading.Lock()
        self._n: dict[str, int] = {}
        self._waiting: dict[str, deque[Work]] = {}

    def submit(self, key: str, work: Work) -> None:
        """Have something done when it is its turn; `work` raises nothing."""
        with self._lock:
            if self._n.get(key, 0) >= self._most:
                self._waiting.setdefault(key, deque()).append(work)
                return
            self._n[key] = self._n.get(key, 0) + 1
        self._pool.submit(self._do, key, work)

    def _do(self, key: str, work: Work) -> None:
        try:
            work()
        finally:
            following = self._following(key)
            if following is not None:
                self._go_on(key, following)

    def _following(self, key: str) -> Work | None:
        """What comes next of a key; None, and one thread less of it, when nothing does."""
        with self._lock:
            line = self._waiting.get(key)
            if line:
                work = line.popleft()
                if not line:
                    del self._waiting[key]
                return work
            self._n[key] -= 1
            if not self._n[key]:
                del self._n[key]
            return None

    def _go_on(self, key: str, work: Work) -> None:
        try:
            self._pool.submit(self._do, key, work)
        except RuntimeError:  # the pool takes nothing more: the service ends, and what has not begun stays unanswered
            log.info("requests of one key were left, the service ends")
