"""The interlocks of a session: watched from its start to its end, heard by the RunEngine, the operator and the ledger."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from lab.core.config import LabConfig
from lab.core.errors import LabError
from lab.core.interlocks import InterlockState, refuse

if TYPE_CHECKING:
    from bluesky import RunEngine

log = logging.getLogger(__name__)

SAFE_S = 30.0
"""Wall seconds that the end of a session waits for instruments that an interlock is making safe."""


class Guards:
    """What the laboratory does when an interlock trips or recovers.

    Parameters
    ----------
    lab : LabConfig
    devices : mapping of name to device
    say : callable
        Told in words of each violation and recovery.
    note : callable
        The same for the ledger of whatever campaign is running.
    make_safe : callable
        Makes all instruments safe and says how it went, by instrument.
    end : callable
        Ends the plan that is under way, with the reason; does nothing when there is none.
    """

    def __init__(self, lab: LabConfig, devices: Mapping[str, Any], *, say: Callable[[str], None], note: Callable[[str], None],
                 make_safe: Callable[[], Mapping[str, str]], end: Callable[[str], None]) -> None:
        from devices.interlocks import Interlocks

        self._lab, self._say, self._note = lab, say, note
        self._make_safe, self._end = make_safe, end
        self._owners = _owners(lab, devices)
        self._busy: list[threading.Thread] = []
        self._teller = ThreadPoolExecutor(1, thread_name_prefix="interlocks-say")  # one: what happened first is said first
        self.interlocks = Interlocks(lab.trips(), devices, lab.prefix, self._on_change)

    def start(self, engine: RunEngine) -> None:
        """Look once, then watch; every plan of `engine` is guarded from now on."""
        from plans.guarded import guarded

        self.interlocks.start()
        if not self.interlocks.signals:
            return
        for suspension in self.interlocks.suspensions:
            engine.install_suspender(suspension)
        engine.preprocessors.append(lambda plan: guarded(plan, self.interlocks, self.instruments_of))

    def stop(self) -> None:
        """Watch no more: what ends the session would look like violations."""
        self.interlocks.stop()
        for thread in self._busy:
            thread.join(SAFE_S)
        self._teller.shutdown(wait=True)

    def check_start(self) -> None:
        """Refuse to begin a plan that uses all instruments; what merely suspends is waited for instead.

        Raises
        ------
        InterlockError
        """
        waiting = [state for state in self.interlocks.states() if not state.is_ok and state.action == "suspend"]
        refuse([state for state in self.interlocks.states() if state not in waiting], tuple(self._lab.instruments))
        for state in waiting:
            self._say(f"waiting: {state.words}")

    def instruments_of(self, thing: Any) -> tuple[str, ...]:
        """The instruments that an object of a plan belongs to: a device, its parts and signals, or a plan's own action on one."""
        from plans.lane_proxies import Quiet
        from plans.stubs import Action

        thing = thing.device if isinstance(thing, Quiet) else thing
        thing = thing.moves if isinstance(thing, Action) else thing
        while thing is not None:
            if id(thing) in self._owners:
                return self._owners[id(thing)]
            thing = getattr(thing, "parent", None)
        return ()

    def _on_change(self, state: InterlockState) -> None:
        """In the watching thread: say it, and leave what takes time to others."""
        if state.is_ok:
            words = f"interlock {state.name} is well again: {state.value}"
        else:
            words = {"block": "nothing begins", "suspend": "waiting", "make_safe": "making the instruments safe"}[state.action] + f": {state.words}"
            if self._lab.interlocks[state.name].then == "wait":
                words += "; when you have seen to it: lab continue CAMPAIGN, or lab.acknowledge() at the console"
        self._teller.submit(self._tell, words)
        if not state.is_ok and state.action == "make_safe":
            if self._lab.interlocks[state.name].then == "end":
                self._in_thread("end", lambda: self._end(state.words))
            self._in_thread("make safe", self._make_all_safe)

    def _tell(self, words: str) -> None:
        self._say(words)
        try:
            self._note(words)
        except LabError:  # the campaign finds out itself that its records cannot be written
            log.exception("not in the ledger: %s", words)

    def _make_all_safe(self) -> None:
        for name, said in self._make_safe().items():
            if said != "safe":
                self._teller.submit(self._tell, f"{name}: not safe: {said}")

    def _in_thread(self, what: str, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name=f"interlock: {what}", daemon=True)
        self._busy = [busy for busy in self._busy if busy.is_alive()] + [thread]
        thread.start()


def _owners(lab: LabConfig, devices: Mapping[str, Any]) -> dict[int, tuple[str, ...]]:
    """Instruments by the identity of the objects that a plan may name: devices, and the parts of those that have parts (pumps)."""
    found: dict[int, tuple[str, ...]] = {}
    for name, device in devices.items():
        instrument = name if name in lab.instruments else lab.instrument_at(name) if name in lab.stations else ""
        if instrument:
            found[id(device)] = (instrument,)
            for part in device if hasattr(device, "__iter__") else ():
                found[id(part)] = (instrument,)
    return found
