"""Arithmetic on one thread: sums in one order, so that the same bits come out in every process on a machine.

At the sizes of a campaign more threads gain nothing, and the laboratory has other uses for its cores.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController

_one_at_a_time = threading.Lock()
"""The number of threads belongs to the whole process."""


@contextmanager
def one_thread() -> Iterator[None]:
    """numpy and scipy use one thread meanwhile; afterwards as many as before."""
    with _one_at_a_time, _pools().limit(limits=1, user_api="blas"):
        yield


@cache
def _pools() -> ThreadpoolController:
    """Those loaded by now: both numpy's and scipy's, which the callers have imported."""
    return ThreadpoolController()
