"""Which process writes a campaign, and whether it still lives."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process of some host; `started` tells it from a later one with the same number (empty: not known)."""

    host: str
    pid: int
    started: str

    def is_gone(self) -> bool:
        """Whether it certainly has ended. Of another host nobody can say, so it has not."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # it lives, and is somebody else's
        return bool(self.started) and _started(self.pid) != self.started


def this_process() -> Process:
    return process_of(os.getpid())


def process_of(pid: int) -> Process:
    """The process of this host that has the number now."""
    return Process(socket.gethostname(), pid, _started(pid))


def _started(pid: int) -> str:
    """Boot and clock tick at which it started (proc(5), /proc/PID/stat field 22); empty where there is no /proc.

    A zombie counts as ended: it holds its number and nothing else.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    state, ticks = fields[0], fields[19]
    return "ended" if state in "ZX" else f"{boot}:{ticks}"
