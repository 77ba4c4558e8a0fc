"""The time-keeper of a laboratory in virtual time: time stands still while anything goes on, and leaps when all wait for physics.

It looks at the shared page (`lab.core.page`). When the session only waits, every command that it has sent waits for physics and has
looked at it since the last leap, and no simulated instrument has anything left to do, time leaps to whatever comes first: the
end of a dose, a motion or an exposure, or the session's next timer.

Where that does not come about for a while although something is under way (a line that is being retried, a plan that waits in a way
nobody told of), time creeps on, and the log says who is busy: a campaign may become slow, and its times no longer the same
as another's, but it never hangs.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from lab.core.clock import ManualClock
from lab.core.page import Look, TimePage
from sim.firmware import Server
from sim.switchboard import Switchboard

log = logging.getLogger(__name__)

LOOK_S = 0.0001
"""Between two looks at the page, wall seconds."""

STALL_S = 2.0
"""Nothing has changed for so long, wall seconds: time begins to creep."""

WATCH_EVERY_S = 0.1
"""How often it is seen to that something changes, wall seconds."""

CREEP_S, CREEP_EVERY_S = 0.5, 0.005
"""So many laboratory seconds every so many wall seconds: 100 times as fast as the wall."""

IDLE_S = 0.002
"""Between two looks when nothing is to be waited for, wall seconds."""

GRAIN_S = 1e-6
"""Physics is looked at so long after what it said, at least: what is left of a motion by rounding would never end."""


class TimeKeeper:
    """Keeps the time of a simulated laboratory.

    Parameters
    ----------
    page : TimePage
    names : sequence of str
        Whose seat is which, for the log.
    physics : ManualClock
        The clock of the simulated physics.
    servers : mapping of str to Server
        The simulated instruments.
    switchboard : Switchboard
        The loop in whose thread instruments are moved on.
    passed : callable
        Called after each leap: lets the time pass in the world, so that it always passes in the same portions.
    """

    def __init__(self, page: TimePage, names: Sequence[str], physics: ManualClock, servers: Mapping[str, Server], switchboard: Switchboard,
                 passed: Callable[[], None]) -> None:
        self._page, self._names, self._physics = page, tuple(names), physics
        self._servers, self._switchboard, self._passed = tuple(servers.values()), switchboard, passed
        self._is_leaping = False
        self._changes: tuple[int, ...] = ()
        self._changed_at = time.monotonic()
        self._watch_at = 0.0
        self._is_creeping = False
        self.n_leaps = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="time-keeper", daemon=True)

    def start(self) -> None:
        """Begin; the time is that of the physics."""
        self._page.move_to(self._physics.now())
        self._page.leapt()
        self._thread.start()

    def stop(self) -> None:
        """Time stands still from now on. May be called again."""
        if not self._stopping.is_set():
            self._stopping.set()
            if self._thread.is_alive():
                self._thread.join()
            log.info("virtual time: %d leaps, %.0f s", self.n_leaps, self._physics.now())

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                time.sleep(LOOK_S)
                if self._is_leaping or self._page.is_quiet:
                    look = self._page.look(len(self._names))
                    if self._is_leaping or look.is_at_rest:
                        self._switchboard.call(partial(self._turn, look))
                if time.monotonic() >= self._watch_at:
                    self._watch(self._page.look(len(self._names)))
        except BaseException:
            self._switchboard.quit()  # a laboratory whose time has stopped is lost, and has to be seen to be
            raise

    # ------------------------------------------------------------------------------------ in the loop's thread

    def _turn(self, look: Look) -> None:
        due_s = self._due_s()
        if due_s <= 0.0:
            return  # an instrument is still at it
        if self._is_leaping:
            self._is_leaping = False
            self._page.leapt()
        elif due_s == look.next_s == math.inf:
            self._stopping.wait(IDLE_S)  # what all wait for does not come with time: somebody's answer, a cable
        elif look.next_s > self._page.now_s and self._page.look(len(self._names)) == look:
            self._leap(min(look.next_s, self._physics.now() + max(due_s, GRAIN_S)))

    def _due_s(self) -> float:
        return min((server.due_s() for server in self._servers), default=math.inf)

    def _leap(self, until_s: float) -> None:
        """Move the time on; the leap is complete at the next turn that finds all instruments up to it."""
        self._physics.advance_to(until_s)
        self._page.move_to(until_s)
        self._passed()
        self._switchboard.step()
        for server in self._servers:
            server.wake()
        self._is_leaping = True
        self.n_leaps += 1

    # --------------------------------------------------------------------------------------------- standstill

    def _watch(self, look: Look) -> None:
        """Creep when nothing changes though something is under way."""
        now = time.monotonic()
        self._watch_at = now + (CREEP_EVERY_S if self._is_creeping else WATCH_EVERY_S)
        if look.changes != self._changes or look.n_working:
            if self._is_creeping and look.changes != self._changes:
                log.info("virtual time goes on at %.1f s", self._page.now_s)
                self._is_creeping = False
            self._changes, self._changed_at = look.changes, now
        elif now - self._changed_at > STALL_S:
            is_timed = look.is_quiet and look.next_s < math.inf
            if is_timed or look.n_asked > 0 or self._switchboard.call(self._due_s) < math.inf:
                self._creep(look)

    def _creep(self, look: Look) -> None:
        if not self._is_creeping:
            self._is_creeping = True
            log.warning("virtual time has stood still for %g s at %.1f s: %s; it creeps on", STALL_S, self._page.now_s, self._who(look))
        self._switchboard.call(partial(self._leap, min(self._physics.now() + CREEP_S, max(look.next_s, self._page.now_s))))

    def _who(self, look: Look) -> str:
        """Who is busy, for people."""
        session = "the session waits" if look.is_quiet else "the session is awake"
        waiting = ", ".join(f"{name} {n}" for name, n in zip(self._names, look.n_waiting, strict=True) if n) or "none"
        return f"{session}; of {look.n_asked} commands under way these wait for physics: {waiting}"
