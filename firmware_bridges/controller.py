"""What every bridge does, whatever the instrument: poll, cache, publish changes, carry out commands, survive the line.

A `Controller` owns one instrument (or one line of them). One thread polls; commands come from the IOC's worker threads.
Whoever subscribes (the IOC) hears of every change of a value or of its validity, and of nothing else.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from firmware_bridges.link import Backoff
from firmware_bridges.waits import Waits
from lab.core.channels import BRIDGE, Channel
from lab.core.config import InstrumentConfig
from lab.core.errors import InstrumentError, LinkDown, LinkError, LinkTimeout
from lab.core.page import TimePage

log = logging.getLogger(__name__)

Value = object
"""float, int, bool, str (also for an enum: its state), or a sequence of floats, by the channel's type."""

Command = Callable[[object], None]
"""Carries a command out and returns when it is done; raises an InstrumentError in the instrument's words."""

Listener = Callable[[str, object, str], None]
"""Called with channel key, value, and why the value is invalid (empty: it is valid)."""

POLL_ANSWER_S = 10.0
"""Longest wait for a poll that was asked for, wall seconds."""

VIRTUAL_POLL_S = 0.25
"""The shortest pause between two polls in virtual time, wall seconds."""

_REPORT_S = 0.5
"""Wall seconds between two updates of ROUND_TRIP_MS."""


@dataclass(frozen=True)
class BridgeSettings:
    """What a bridge process is told (see docs/architecture.md).

    Parameters
    ----------
    name : str
        The instrument's name in lab.yaml.
    prefix : str
        The laboratory's PV prefix.
    speed : float
        Laboratory seconds per wall second: translates an expected duration into a deadline, and nothing else. Infinite in virtual time.
    endpoint : str
        Never ``sim``: the session puts the simulator's endpoint here.
    config : InstrumentConfig
        The instrument's part of lab.yaml.
    page, seat : int
        In virtual time: the inherited descriptor of the shared page, and this bridge's seat on it (`lab.core.page`).
    """

    name: str
    prefix: str
    speed: float
    endpoint: str
    config: InstrumentConfig
    page: int | None = None
    seat: int = 0


class Controller(ABC):
    """One instrument behind its channel table.

    Subclasses fill `commands` and implement `_connect`, `_poll`, `_reset`, `_make_safe` and `_disconnect`.

    Parameters
    ----------
    name : str
        The instrument's name; messages start with it.
    tables : mapping of str to channel table
        By sub-prefix: ``{"": HOTPLATE}`` or, for a pump bank, ``{"0": PUMP, "1": PUMP}``. `BRIDGE` is added under "".
        A channel's key is ``NAME`` or ``SUB:NAME``.
    poll_s : float
        Wall seconds between two polls.
    """

    def __init__(self, name: str, tables: Mapping[str, Sequence[Channel]], poll_s: float) -> None:
        self.name = name
        self.channels: dict[str, Channel] = {channel.name: channel for channel in BRIDGE}
        for sub, table in tables.items():
            self.channels.update({f"{sub}:{channel.name}" if sub else channel.name: channel for channel in table})
        self.commands: dict[str, Command] = {"RESET": lambda _: self._reset(), "SAFE": lambda _: self._make_safe(),
                                             "POLL": lambda _: self._await_poll()}
        self.waits = Waits()
        """The commands that wait for physics."""
        self.poll_s = poll_s
        self._cache: dict[str, object] = {}
        self._causes: dict[str, str] = {}
        self._listener: Listener | None = None
        self._publishing = threading.RLock()
        self._error_count = 0
        self._is_connected = False
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._polled = threading.Condition()
        self._n_begun = self._n_done = 0
        self._down_cause = "no attempt has succeeded yet"
        self._backoff = Backoff()
        self._report_due = 0.0
        self._thread: threading.Thread | None = None

    # ------------------------------------------------------------------------------------------- for subclasses

    @abstractmethod
    def _connect(self) -> None:
        """Open the line, set the instrument up, and publish IDENTITY and everything that can be read. Raises LinkError."""

    @abstractmethod
    def _poll(self) -> None:
        """Read and publish what changes by itself. Raises LinkError when the instrument does not answer."""

    @abstractmethod
    def _reset(self) -> None:
        """Clear the instrument's error and re-read its state; raises with the cause when it persists."""

    @abstractmethod
    def _make_safe(self) -> None:
        """Heat off, pumps stopped, motion stopped, disarmed. Tries everything before it raises."""

    @abstractmethod
    def _disconnect(self) -> None:
        """Close the line. Must not raise."""

    def publish(self, key: str, value: object) -> None:
        """A fresh reading. Listeners hear of it when it, or its validity, has changed."""
        self._store(key, value, "")

    def invalidate(self, key: str, cause: str) -> None:
        """The value of a channel is not known, and why. The last value stays beside the alarm, for people."""
        self._store(key, self._cache.get(key), cause)

    def value(self, key: str) -> object:
        """The last published value; None when there has not been one."""
        return self._cache.get(key)

    def note(self, error: Exception) -> None:
        """Count a failed exchange and keep it as LAST_ERROR."""
        with self._publishing:
            self._error_count += 1
            self.publish("ERROR_COUNT", self._error_count)
            self.publish("LAST_ERROR", str(error))

    @property
    def is_connected(self) -> bool:
        """Whether the instrument answers."""
        return self._is_connected

    @property
    def is_stopping(self) -> bool:
        """Whether the bridge is going down; long commands look at it and give up."""
        return self._stopping.is_set()

    def poll_soon(self) -> None:
        """Poll now rather than at the end of the pause."""
        self._wake.set()

    def share(self, page: TimePage, seat: int) -> None:
        """Live in virtual time: whatever waits for physics looks at it after each leap, and other readings are asked for when they are wanted."""
        self.poll_s = max(self.poll_s, VIRTUAL_POLL_S)
        self.waits.share(page, seat, self.poll_soon)

    # ------------------------------------------------------------------------------------------------ for the IOC

    def subscribe(self, listener: Listener) -> None:
        """Tell `listener` everything known now, and every change from now on."""
        with self._publishing:
            self._listener = listener
            for key, channel in self.channels.items():
                if not channel.is_writable and key not in self._cache and channel not in BRIDGE:
                    self._causes.setdefault(key, f"{self.name}: not connected yet")
            self._cache.setdefault("CONNECTED", False)
            for key in {**self._cache, **self._causes}:
                listener(key, self._cache.get(key), self._causes.get(key, ""))

    def execute(self, key: str, value: object) -> None:
        """Carry out the command of a writable channel; returns when it is done.

        Raises
        ------
        LimitError
            The channel's row forbids the value; nothing was sent.
        InstrumentError
            What went wrong, in the instrument's words.
        """
        try:
            self.channels[key].check(value, self._who(key))
        except InstrumentError as error:
            self.publish("LAST_ERROR", str(error))
            raise
        if not self._is_connected:
            raise LinkDown(f"{self._who(key)}: {self.channels[key].name}: not connected: {self._down_cause}")
        try:
            self.commands[key](value)
        except LinkError as error:
            self.note(error)
            self.poll_soon()  # let the poll loop find out whether the instrument is lost
            raise
        except InstrumentError as error:
            self.publish("LAST_ERROR", str(error))
            raise

    def start(self) -> None:
        """Begin to connect and poll."""
        self._thread = threading.Thread(target=self._run, name=f"poll {self.name}", daemon=True)
        self._thread.start()

    def stop(self, deadline_s: float = 5.0) -> None:
        """Make the instrument safe, stop polling, close the line. Never raises: it says in the log what it could not do."""
        self._stopping.set()
        self._wake.set()
        try:
            if self._is_connected:
                self._make_safe()
                log.info("%s: made safe", self.name)
        except InstrumentError as error:
            log.error("%s: could not be made safe: %s", self.name, error)
        if self._thread is not None:
            self._thread.join(deadline_s)
        self._disconnect()

    # ---------------------------------------------------------------------------------------------------- polling

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            pause_s = self._step()
            # Nobody hurries an attempt to connect: the pauses between them are what keeps the log and the line in peace.
            (self._wake if self._is_connected else self._stopping).wait(pause_s)

    def _step(self) -> float:
        """One poll, or one attempt to connect; returns the pause after it, s."""
        began = time.monotonic()
        try:
            if not self._is_connected:
                self._connect()
                self._came_up()
                began = time.monotonic()
            with self._polled:
                self._n_begun += 1
            self._poll()
        except InstrumentError as error:
            self._went_down(error)
            self._has_polled()
            return self._backoff.next_s()
        self._has_polled()
        ended = time.monotonic()
        spent_s = ended - began
        if ended >= self._report_due:  # not at each poll: a dose is polled every few milliseconds
            self._report_due = ended + _REPORT_S
            self.publish("ROUND_TRIP_MS", round(1000 * spent_s, 3))
        return max(self.poll_s, min(spent_s, 1.0))  # leave a slow line at least half of its time

    def _has_polled(self) -> None:
        with self._polled:
            self._n_done = self._n_begun
            self._polled.notify_all()

    def _await_poll(self) -> None:
        """Wait for a poll that begins after this: one that is under way may have read before.

        Raises
        ------
        LinkDown, LinkTimeout
            The instrument is lost; it was not polled in time.
        """
        with self._polled:
            wanted = self._n_begun + 1
            self.poll_soon()
            is_polled = self._polled.wait_for(lambda: self._n_done >= wanted or not self._is_connected, POLL_ANSWER_S)
        if not self._is_connected:
            raise LinkDown(f"{self.name}: not connected: {self._down_cause}")
        if not is_polled:
            raise LinkTimeout(f"{self.name}: not polled within {POLL_ANSWER_S:g} s")

    def _came_up(self) -> None:
        self._backoff.reset()
        self._is_connected = True
        self.publish("CONNECTED", True)
        log.info("%s: connected: %s", self.name, self._cache.get("IDENTITY", ""))

    def _went_down(self, error: InstrumentError) -> None:
        """The instrument is lost: say so once, and put every reading into alarm."""
        if self._is_connected or self._cache.get("LAST_ERROR") != str(error):
            log.warning("%s: not connected: %s", self.name, error)
        self._is_connected = False
        self._down_cause = str(error)
        self.note(error)
        self.publish("CONNECTED", False)
        for key, channel in self.channels.items():
            if not channel.is_writable and channel not in BRIDGE:
                self.invalidate(key, str(error))

    def _store(self, key: str, value: object, cause: str) -> None:
        with self._publishing:
            if key in self._causes and not _is_same(self._cache.get(key), value) or key not in self._causes:
                is_news = True
            else:
                is_news = self._causes[key] != cause
            self._cache[key], self._causes[key] = value, cause
            if is_news and self._listener is not None:
                self._listener(key, value, cause)

    def _who(self, key: str) -> str:
        """The instrument, and the address of its part when it has several: ``pump.0``."""
        sub = key.rpartition(":")[0]
        return f"{self.name}.{sub}" if sub else self.name


def _is_same(old: object, new: object) -> bool:
    if isinstance(old, np.ndarray) or isinstance(new, np.ndarray):
        return np.array_equal(old, new)  # type: ignore[arg-type]
    return bool(old == new)
