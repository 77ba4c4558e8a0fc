"""One ``lab`` command in a home of its own, seen from outside: its processes by name, killed, frozen, and gone."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent.parent
LAB = str(Path(sys.executable).parent / "lab")

GONE_S = 45.0
"""Wall seconds within which everything is gone after a kill: bridges make their instruments safe first."""

SESSION = "session"


class Disagreement(AssertionError):
    """What should not be, in words."""


class Started:
    """A running ``lab run`` or ``lab resume``.

    Parameters
    ----------
    home : Path
        Its LAB_HOME; every process of it is known by having it in its environment.
    arguments : sequence of str
    """

    def __init__(self, home: Path, arguments: Sequence[str]) -> None:
        self.home, self.arguments = home, tuple(arguments)
        home.parent.mkdir(parents=True, exist_ok=True)
        self._said = (home.parent / f"{home.name}.said").open("ab")
        self._said.write(f"\n$ lab {' '.join(arguments)}\n".encode())
        self._said.flush()
        self.process = subprocess.Popen([LAB, *arguments], stdin=subprocess.DEVNULL, stdout=self._said, stderr=self._said, cwd=ROOT,
                                        env={**os.environ, "LAB_HOME": str(home), "COLUMNS": "250"})
        self.began = time.monotonic()

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def processes(self) -> dict[str, psutil.Process]:
        """Those that live, by name: `SESSION`, ``simulator``, and bridges by instrument."""
        found: dict[str, psutil.Process] = {}
        if not self.has_ended:
            found[SESSION] = psutil.Process(self.process.pid)
            for child in found[SESSION].children():
                name = _name_of(child)
                if name:
                    found[name] = child
        return found

    def kill(self, name: str) -> bool:
        """Kill -9; whether there was such a process."""
        process = self.processes().get(name)
        if process is None:
            return False
        try:
            process.kill()
        except psutil.NoSuchProcess:
            return False
        return True

    def kill_all(self, chances: random.Random) -> None:
        """The machine is lost: everything is killed, in any order."""
        found = list(self.processes().values())
        chances.shuffle(found)
        for process in found:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue

    def interrupt(self) -> None:
        """Ctrl-C."""
        if not self.has_ended:
            self.process.send_signal(signal.SIGINT)

    def frozen_copy(self, target: Path) -> None:
        """What a disk holds when the power fails: nothing is announced any more, then nothing happens any more, then the copy is made.

        Everything stays frozen, to be killed or thawed.
        """
        found = self.processes()
        for process in found.values():  # the session first: what it has announced may still happen
            try:
                process.suspend()
            except psutil.NoSuchProcess:
                continue
        if self.home.exists():
            shutil.copytree(self.home, target)
        else:  # it had not even begun
            target.mkdir(parents=True)

    def thaw(self) -> None:
        """Everything goes on as if nothing had been."""
        for process in self.processes().values():
            process.resume()

    def wait(self, deadline_s: float) -> int:
        """Exit status.

        Raises
        ------
        Disagreement
            When it does not end in time; it is killed then.
        """
        try:
            return self.process.wait(deadline_s)
        except subprocess.TimeoutExpired as late:
            self.kill_all(random.Random(0))
            raise Disagreement(f"lab {self.arguments[0]} did not end within {deadline_s:g} s") from late

    def wait_gone(self) -> None:
        """Wait until no process of this home is left.

        Raises
        ------
        Disagreement
            When one stays; it is killed then.
        """
        self.process.wait(GONE_S)
        end = time.monotonic() + GONE_S
        while left := processes_of(self.home):
            if time.monotonic() > end:
                words = ", ".join(f"{process.pid} {' '.join(process.cmdline())[-60:]}" for process in left)
                for process in left:
                    process.kill()
                raise Disagreement(f"still there {GONE_S:g} s after lab {self.arguments[0]} was gone: {words}")
            time.sleep(0.02)
        self._said.close()


def processes_of(home: Path) -> list[psutil.Process]:
    """Every living process that was started with this LAB_HOME."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("LAB_HOME") == str(home) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def _name_of(child: psutil.Process) -> str:
    """By the log that is its standard error; empty for what is no process of the laboratory (yet)."""
    try:
        log = Path(os.readlink(f"/proc/{child.pid}/fd/2"))
    except OSError:
        return ""
    return log.stem if log.parent.name == "logs" else ""


class Glance:
    """Quick looks into a ledger that another process writes.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def number(self, query: str, *values: object) -> int:
        """The one number that a query gives; 0 while there is no such table or row."""
        if not self._path.exists():
            return 0
        connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=5.0)
        try:
            row = connection.execute(query, values).fetchone()
        except sqlite3.OperationalError:
            return 0
        finally:
            connection.close()
        return int(row[0]) if row is not None and row[0] is not None else 0


def until(condition: Callable[[], bool], deadline_s: float, every_s: float = 0.004) -> bool:
    """Wait for a condition; whether it came true in time."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(every_s)
    return True
