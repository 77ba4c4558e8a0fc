"""Looking ahead without waiting for ever: rehearsals in a process of their own (`lab.remote.registry.rehearsing`), with deadlines.

What a campaign says decides how long it takes to look through it, and whoever sends one is not trusted with the steward's time: past its
deadline the process is killed, and the next campaign gets a new one.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

from lab.core.config import LabConfig
from lab.core.digest import digest_of
from lab.core.errors import ServiceError
from lab.core.question import CampaignConfig
from lab.home import Home
from lab.remote.registry.plan_checks import Foreseen
from lab.remote.registry.refusals import Problem

START_S = 30.0
"""Wall seconds for the process to come up: it imports SciPy and Bluesky."""

CHECK_S = 15.0
"""Wall seconds to find out what cannot be done; a campaign that takes longer is refused."""

ESTIMATE_S = 10.0
"""Wall seconds for the rehearsal after that; a campaign that takes longer is taken without an estimate."""

TURN_S = 30.0
"""Wall seconds to wait for the campaigns of others; longer than one of them may take."""

MOST_KEPT = 256
"""Estimates kept: a campaign is often sent again with another name."""


class TooLate(Exception):
    """The process did not answer by its deadline, or has died; it is gone now."""


class Rehearser:
    """One process that looks ahead, one campaign at a time; safe to call from any thread.

    Parameters
    ----------
    lab : LabConfig
        Which is up.
    home : Home
        Its ledger knows durations and stock; the log is there, too.
    check_s, estimate_s : float
        Deadlines, wall seconds.
    """

    def __init__(self, lab: LabConfig, home: Home, *, check_s: float = CHECK_S, estimate_s: float = ESTIMATE_S) -> None:
        self._lab, self._home, self._check_s, self._estimate_s = lab, home, check_s, estimate_s
        self._turn = threading.Lock()
        self._child: _Child | None = None
        self._is_closed = False
        self._known: OrderedDict[str, float | None] = OrderedDict()

    def foresee(self, campaign: CampaignConfig) -> Foreseen:
        """What cannot be done of a campaign, what somebody will have to do on the way, and how long it takes, laboratory seconds.

        Raises
        ------
        ServiceError
            When it cannot be found out now.
        """
        if not self._turn.acquire(timeout=TURN_S):
            raise ServiceError(f"rehearsal: others wait too, and {TURN_S:g} s have passed; send it again in a moment")
        try:
            return self._foresee(campaign)
        finally:
            self._turn.release()

    def warm_up(self) -> None:
        """Have the process come up now, so that the first campaign need not wait for it; failures show at the first campaign."""
        if self._turn.acquire(blocking=False):
            try:
                with contextlib.suppress(TooLate, ServiceError):
                    self._running()
            finally:
                self._turn.release()

    def close(self) -> None:
        """End the process. May be called twice."""
        with self._turn:
            self._is_closed = True
            self._end()

    # ------------------------------------------------------------------------------------------------ parts

    def _foresee(self, campaign: CampaignConfig) -> Foreseen:
        config = campaign.model_dump(mode="json", exclude_unset=True)
        digest = digest_of("campaign", {**config, "owner": "", "name": ""})
        try:
            child = self._running()
            child.send({"campaign": config, "is_rehearsed": digest not in self._known})
            first = _sound(child.line(self._check_s))
        except TooLate as error:
            self._end()
            return Foreseen((Problem("", f"a campaign that could not be looked through within {self._check_s:g} s",
                                     f"a smaller space, or simpler constraints ({error})"),))
        except ServiceError:
            self._end()
            raise
        try:
            second = _sound(child.line(self._estimate_s))
        except (TooLate, ServiceError):
            self._end()
            second = {"lab_s": None, "problems": []}
        if digest not in self._known and not first["problems"]:
            self._keep(digest, second["lab_s"])
        problems = tuple(Problem(**one) for one in [*first["problems"], *second["problems"]])
        return Foreseen(problems, tuple(first["warnings"]), self._known.get(digest))

    def _keep(self, digest: str, lab_s: float | None) -> None:
        self._known[digest] = lab_s
        if len(self._known) > MOST_KEPT:
            self._known.popitem(last=False)

    def _running(self) -> _Child:
        if self._is_closed:
            raise ServiceError("rehearsal: the laboratory is going down")
        if self._child is None or self._child.has_ended:
            self._end()
            self._child = _Child(self._home.logs / "rehearsals.log")
            self._child.send({"lab": self._lab.model_dump(mode="json"), "home": str(self._home.path)})
            self._child.line(START_S)
        return self._child

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None


class _Child:
    """The process, and its lines."""

    def __init__(self, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as errors:
            self._process = subprocess.Popen([sys.executable, "-m", "lab.remote.registry.rehearsing"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                             stderr=errors)
        self._buffer = b""

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def send(self, message: dict[str, Any]) -> None:
        if self._process.stdin is None:
            raise TooLate("it has no input")
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise TooLate("its process has ended") from error

    def line(self, deadline_s: float) -> dict[str, Any]:
        """The next line; raises TooLate."""
        if self._process.stdout is None:
            raise TooLate("it has no output")
        descriptor, end = self._process.stdout.fileno(), time.monotonic() + deadline_s
        while b"\n" not in self._buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                raise TooLate("it took too long")
            more = os.read(descriptor, 65536)
            if not more:
                raise TooLate("its process has ended")
            self._buffer += more
        line, _, self._buffer = self._buffer.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was not sent yet goes nowhere
                    pipe.close()


def _sound(line: dict[str, Any]) -> dict[str, Any]:
    if "error" in line:
        raise ServiceError(f"rehearsal: {line['error']}")
    return line
