"""The processes in which the runs are played: one for each engine, kept for its next run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from benchmarks.optimizer.rows import Key

ROOT = Path(__file__).parent.parent.parent

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS",
                            "VECLIB_MAXIMUM_THREADS"), "1")
"""In the environment of a process before it imports anything: afterwards most libraries no longer look."""


class Worker:
    """A process of ``benchmarks.optimizer.one``.

    Parameters
    ----------
    engine : str
    tables : Path
    """

    def __init__(self, engine: str, tables: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.optimizer.one", engine, str(tables)]
        self._process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **ONE_THREAD}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.DEVNULL, text=True, process_group=0)
        self._child: int | None = None
        self._lock = threading.Lock()

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def play(self, key: Key, most_s: int) -> Iterator[str]:
        """The lines of a run: rows, ``broke WHY``, and ``ended STATUS`` as the last one; without that, the process has ended.

        Parameters
        ----------
        key : Key
        most_s : int
            CPU seconds, after which the run is killed.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the process was started without its pipes")
        self._process.stdin.write(json.dumps([key.problem, key.version, key.seed, most_s]) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            word, _, rest = line.partition(" ")
            with self._lock:
                self._child = int(rest) if word == "begun" else None if word == "ended" else self._child
            if word != "begun":
                yield line
            if word == "ended":
                return

    def kill(self) -> None:
        """End the run under way; the process as well, when it is not playing yet."""
        with self._lock:
            if self._child is None:
                self._kill_all()
            else:
                os.kill(self._child, signal.SIGKILL)

    def _kill_all(self) -> None:
        """The process and its fork: a fork that lives on would hold the pipe open."""
        with contextlib.suppress(ProcessLookupError):  # they have ended already
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the process, and the run under way."""
        self._kill_all()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # what was written last was not read any more
                    pipe.close()


class Crew:
    """The workers of all engines; each is used by one thread."""

    def __init__(self, tables: Path) -> None:
        self._tables = tables
        self._workers: dict[tuple[int, str], Worker] = {}

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for worker in list(self._workers.values()):
            worker.close()

    def of(self, engine: str) -> Worker:
        """This thread's worker for an engine."""
        place = threading.get_ident(), engine
        worker = self._workers.get(place)
        if worker is None or not worker.is_alive:
            if worker is not None:
                worker.close()
            worker = self._workers[place] = Worker(engine, self._tables)
        return worker
