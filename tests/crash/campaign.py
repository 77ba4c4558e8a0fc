"""One campaign, killed again and again until its budget is spent."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash import agreement
from tests.crash.laboratory import GONE_S, SESSION, Disagreement, Glance, Started, processes_of, until
from tests.crash.schedule import ALL, FORK, POWER, Kill, kills

SESSION_S = 180.0
"""Wall seconds within which a session ends that nobody kills."""

SETTINGS = {"optimizer.engine": "sobol", "lab.catalogue": "false", "budget.failures": "1000", "budget.hours": "null"}
"""What is changed in examples/perovskite.yaml: short campaigns, that no failure ends."""

MOST_SESSIONS = 50
"""A campaign that is not done after so many never will be."""

STEPS = ("cast", "anneal", "measure", "transfer")


@dataclass
class Tally:
    """What was done and found; one for each campaign, summed up at the end."""

    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By victim and phase."""
    missed: int = 0
    """Drawn kills that came too late: the process had ended."""
    sessions: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    disagreements: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.kills.update(other.kills)
        self.counts.update(other.counts)
        self.missed += other.missed
        self.sessions += other.sessions
        self.disagreements += other.disagreements


class Killed:
    """A campaign that is killed as drawn, and resumed until it is done.

    Parameters
    ----------
    folder : Path
        For its homes.
    chances : random.Random
    n_trials : int
    speed : str
    more : mapping
        Further settings.
    home : Path or None
        That of a campaign which has begun already.
    """

    def __init__(self, folder: Path, chances: random.Random, n_trials: int, speed: str = "max", more: dict[str, str] | None = None,
                 home: Path | None = None) -> None:
        self._folder, self._chances = folder, chances
        self.settings = {**SETTINGS, "budget.trials": str(n_trials), **(more or {})}
        self._speed = speed
        self._n_homes = 1
        self.home = folder / "home-1" if home is None else home
        self.fork: Path | None = None
        self.tally = Tally()
        self.happened: list[str] = []
        self._is_interrupted = False

    def run(self, given: Sequence[Sequence[Kill]] | None = None, most: int = 10) -> None:
        """Until it is done. With `given`, only these kills, session by session; else as drawn, at most `most` of them."""
        sessions = iter(given if given is not None else ())
        while self._status() != "done":
            if self.tally.sessions == MOST_SESSIONS:
                raise Disagreement(f"{self.home}: not done after {MOST_SESSIONS} sessions")
            is_enough = given is not None or sum(self.tally.kills.values()) >= most
            self._session(next(sessions, ()) if is_enough else kills(self._chances))

    def _say(self, what: str) -> None:
        """Keep what happens, for a person who looks for a cause."""
        self.happened.append(what)
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "happened").open("a") as file:
            file.write(f"{time.strftime('%H:%M:%S')} {what}\n")

    # ------------------------------------------------------------------------------------------------ sessions

    def _session(self, planned: Sequence[Kill]) -> None:
        has_begun = self._glance("select count(*) from campaign") > 0
        arguments = ["resume"] if has_begun else ["run", "examples/perovskite.yaml", "--speed", self._speed,
                                                  *(part for key, value in self.settings.items() for part in ("--set", f"{key}={value}"))]
        former = self._glance("select count(*) from session")
        self._say(f"lab {arguments[0]}: {'; '.join(map(str, planned)) or 'to its end'}")
        self.tally.sessions += 1
        self._is_interrupted = False
        started = Started(self.home, arguments)
        killed: list[Kill] = []
        try:
            for kill in planned:
                if started.has_ended or not self._kill(started, kill, former):
                    self.tally.missed += 1
                    break
                killed.append(kill)
                self.tally.kills[kill.victim, kill.phase] += kill.victim != FORK
            status = started.wait(SESSION_S)
        finally:
            if not started.has_ended:
                started.kill_all(self._chances)
            started.wait_gone()
        self._say(f"  ended with {status} after {time.monotonic() - started.began:.1f} s; killed: {'; '.join(map(str, killed)) or 'none'}")
        self._check_status(status, killed, former)
        if killed and killed[-1].victim == POWER:
            self._move_on()
        if killed and killed[-1].victim != FORK and self._glance("select count(*) from campaign"):
            self.tally.disagreements += agreement.disagreements(self.home, agreement.ALWAYS)

    def _check_status(self, status: int, killed: Sequence[Kill], former: int) -> None:
        victims = {kill.victim for kill in killed}
        if victims & {SESSION, ALL, POWER}:
            allowed = {-9, 0}
        elif "simulator" in victims:
            allowed = {130, 0}
        else:
            allowed = {0}
        if self._is_interrupted:  # also where the kill then came too late
            allowed |= {130, 0}
        if "plc" in victims:  # nobody knows whether the coolant flows: an interlock of the example ends the campaign
            allowed |= {130}
        if status == 1 and self._glance("select count(*) from session") == former:
            self.tally.counts["sessions that did not start"] += 1  # killed meanwhile, or the machine is too busy; nothing has been begun
        elif status not in allowed:
            self.tally.disagreements.append(f"{self.home}: lab {self.happened[-2]}: exit status {status}; allowed: {sorted(allowed)}")

    # ------------------------------------------------------------------------------------------------ kills

    def _kill(self, started: Started, kill: Kill, former: int) -> bool:
        """Wait for the phase, then kill; whether there was anything left to kill."""
        if not self._wait_for(started, kill, former):
            return False
        if kill.phase == "after Ctrl-C":
            time.sleep(self._chances.uniform(0.0, 4.0))
            started.interrupt()
            self._is_interrupted = True
        end = time.monotonic() + kill.delay_s
        until(lambda: started.has_ended or time.monotonic() >= end, kill.delay_s + 1.0, 0.001)
        if started.has_ended:
            return False
        if kill.victim == POWER:
            self._n_homes += 1
            started.frozen_copy(self._folder / f"home-{self._n_homes}")
            started.kill_all(self._chances)
            return True
        if kill.victim == FORK:
            self.fork = self._folder / "fork"
            started.frozen_copy(self.fork)
            started.thaw()
            return True
        if kill.victim == ALL:
            started.kill_all(self._chances)
            return True
        return started.kill(kill.victim)

    def _wait_for(self, started: Started, kill: Kill, former: int) -> bool:
        """Until the phase has come; False when the session ends before."""
        phase = kill.phase
        if phase == "start":
            return True
        since = self._glance("select max(id) from step") if phase in STEPS else 0
        measured = "select count(*) from step where name = 'measure' and state = 'done'"
        n_measured = self._glance(measured) if phase == "evaluate" else 0

        def has_come() -> bool:
            if started.has_ended or self._glance("select count(*) from session") <= former:
                return started.has_ended
            if phase == "evaluate":
                return self._glance(measured) >= n_measured + kill.nth
            if phase in STEPS:
                return (self._glance("select count(*) from step where name = ? and id > ?", phase, since) >= kill.nth
                        and self._glance("select count(*) from step where name = ? and id > ? and state = 'busy'", phase, since) > 0)
            return True

        return until(has_come, SESSION_S) and not started.has_ended

    # ------------------------------------------------------------------------------------------------ the home

    def _glance(self, query: str, *values: object) -> int:
        return Glance(self.home / "ledger.sqlite").number(query, *values)

    def _status(self) -> str:
        if self._glance("select count(*) from campaign where status = 'done'"):
            return "done"
        if self._glance("select count(*) from campaign where status = 'failed'"):
            raise Disagreement(f"{self.home}: the campaign has failed: {self.happened[-3:]}")
        return "interrupted"

    def _move_on(self) -> None:
        """The disk is put into another machine: what it held is at another place, and its last bytes are torn."""
        left = processes_of(self.home)
        if left:
            raise Disagreement(f"{self.home}: still used by {left} {GONE_S:g} s after the end")
        shutil.rmtree(self.home, ignore_errors=True)
        self.home = self._folder / f"home-{self._n_homes}"
        tear(self.home, self._chances)


def tear(home: Path, chances: random.Random) -> None:
    """What was being written when the power failed is there in part: a page of the ledger's log, a line of a run and of the world."""
    (home / "ledger.sqlite-shm").unlink(missing_ok=True)
    log = home / "ledger.sqlite-wal"
    if log.exists():
        with log.open("ab") as file:
            file.write(chances.randbytes(chances.randrange(1, 9000)))
    for path, text in ((home / "world.json", '{"time_s": 12'), *((run, '["event", {"uid') for run in _open_runs(home))):
        if path.exists() and path.stat().st_size and chances.random() < 0.7:
            with path.open("ab") as file:
                if path.read_bytes().endswith(b"\n"):
                    file.write(text.encode()[:chances.randrange(1, len(text))])


def _open_runs(home: Path) -> list[Path]:
    return [path for path in sorted((home / "runs").glob("*.jsonl")) if not path.read_bytes().rstrip().rpartition(b"\n")[2].startswith(b'["stop"')]
