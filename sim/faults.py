"""Faults on demand: what cables, adapters and instruments do wrong, by plan and with a seed.

A fault file is a list of rows, YAML or JSON::

    - {instrument: pump, kind: drop, after: 20}                      # the reply of the 21st exchange is lost
    - {instrument: pump, kind: error, words: stall, at_s: 3}         # after 3 s on the wall the motor stalls
    - {instrument: hotplate, kind: corrupt, probability: 0.01, count: 5, seed: 1}
    - {instrument: arm, kind: unplug, at_s: 10, for_s: 2}

An *exchange* is one piece of bytes that arrives from the host, in practice one command. Everything here is wall time.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lab.core.clock import Clock
from lab.core.errors import ConfigError, LabError
from sim.parcels import Parcel

Kind = Literal["drop", "delay", "corrupt", "truncate", "unsolicited", "hang", "hang_up", "unplug", "power_cycle", "slow", "error", "input"]

_ON_REPLIES = frozenset({"drop", "delay", "corrupt", "truncate", "slow"})
_EVENTS = frozenset({"unsolicited", "power_cycle", "error"})
_ON_REQUESTS = frozenset({"drop", "corrupt", "truncate"})
_DOWN = frozenset({"unplug", "hang_up"})
_HANG = frozenset({"hang"})
_INPUT = frozenset({"input"})
_LASTING = frozenset({"hang", "unplug", "slow", "input"})
"""Once begun they go on until `for_s` is over or they are cleared; the others happen `count` times."""


class FaultError(LabError):
    """The fault cannot be done to this instrument."""


class Fault(BaseModel):
    """One row of a fault file.

    ===========  =======================================================================================
    drop         the reply (or, with ``side: request``, the command) is lost
    delay        the reply comes `delay_s` late
    slow         every reply comes `delay_s` late, until cleared or for `for_s`
    corrupt      one bit of the reply (or request) is flipped
    truncate     the reply (or request) ends in the middle
    unsolicited  the bytes of `data` come from the instrument, unasked
    hang         nothing is heard or answered, until cleared or for `for_s`; the line stays open
    hang_up      the line closes and can be opened again at once, or after `for_s`
    unplug       the line closes and the port is gone, until cleared or for `for_s`
    power_cycle  the instrument's power goes and comes back
    error        the instrument itself goes into the error named by `words` (its firmware knows which)
    input        the input `name` of a PLC sees `value` (in its unit), until cleared or for `for_s`
    ===========  =======================================================================================

    It begins when `after` exchanges have passed and `at_s` seconds have passed, both counted from the start of the
    server (or from when it was injected); from then on it strikes with `probability` at each exchange, `count` times.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    instrument: str
    kind: Kind
    after: Annotated[int, Field(ge=0)] = 0
    at_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    probability: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: int = 0
    count: Annotated[int, Field(ge=1)] | None = None
    """How often it strikes; default once, with a probability below 1 without end."""
    for_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    delay_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.3
    data: str = "\x00\xff?"
    """What comes unsolicited, as Latin-1 text."""
    side: Literal["reply", "request"] = "reply"
    words: str = ""
    name: str = ""
    value: Annotated[float, Field(allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _belong_together(self) -> Fault:
        if self.kind == "error" and not self.words:
            raise ValueError("words: missing; allowed: the error's name, for instance stall")
        if self.kind == "input" and (not self.name or self.value is None or self.probability < 1):
            raise ValueError("name, value: given one of them at most, or a probability; allowed: the input's name and a number, without chance")
        if self.kind != "input" and (self.name or self.value is not None):
            raise ValueError(f"name, value: given with kind {self.kind}; allowed: with kind input")
        if self.side == "request" and self.kind not in _ON_REQUESTS:
            raise ValueError(f"side: given request; allowed: reply, for kind {self.kind}")
        if self.for_s is not None and self.kind in _EVENTS:
            raise ValueError(f"for_s: given {self.for_s:g}; allowed: nothing, {self.kind} happens at once (see count)")
        if any(ord(c) > 255 for c in self.data):
            raise ValueError("data: allowed: characters up to U+00FF, each one byte")
        return self


def load(path: Path) -> tuple[Fault, ...]:
    """Read a fault file (YAML, of which JSON is a part).

    Raises
    ------
    ConfigError
        Naming the file, the row and the field.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), "file", str(error), "a readable YAML or JSON file") from error
    return parse(_rows(path, text), str(path))


def _rows(path: Path, text: str) -> object:
    if path.suffix == ".json":
        try:
            return json.loads(text)
        except ValueError as error:
            raise ConfigError(str(path), "file", str(error), "valid JSON") from error
    import yaml  # late: only a fault file needs it, and `alone` has to start quickly

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(str(path), "file", " ".join(str(error).split()), "valid YAML") from error


def parse(rows: object, where: str) -> tuple[Fault, ...]:
    """Validate rows that were read from `where`.

    Raises
    ------
    ConfigError
        Naming the row and the field.
    """
    if rows is None:
        return ()
    if not isinstance(rows, list):
        raise ConfigError(where, "faults", type(rows).__name__, "a list of rows")
    found = []
    for index, row in enumerate(rows):
        try:
            found.append(Fault.model_validate(row))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field_path = ".".join(str(part) for part in (index, *first["loc"]))
            raise ConfigError(where, field_path, repr(first.get("input")), first["msg"]) from error
    return tuple(found)


@dataclass
class _Armed:
    """A fault that waits or is under way."""

    fault: Fault
    first_exchange: int
    begins_s: float
    left: int | None
    random: random.Random
    ends_s: float = float("-inf")
    """Until when it goes on, having struck."""


class FaultPlan:
    """The faults of one instrument, as its transport sees them. Safe to use from several threads.

    Parameters
    ----------
    faults : iterable of Fault
        Rows for this instrument only.
    wall : Clock
        Wall time.
    failures : collection of str
        What the instrument itself can be made to fail with (kind ``error``).
    inputs : collection of str
        What it sees of the outside (kind ``input``).
    """

    def __init__(self, faults: Iterable[Fault], wall: Clock, failures: Collection[str] = (), inputs: Collection[str] = ()) -> None:
        self._wall, self._failures, self._inputs = wall, failures, inputs
        self._lock = threading.Lock()
        self._exchanges = 0
        self._is_going_down = False
        self._armed: list[_Armed] = []
        for fault in faults:
            self.add(fault)

    def add(self, fault: Fault) -> None:
        """Arm `fault`; its ``after`` and ``at_s`` count from now.

        Raises
        ------
        FaultError
            When the instrument has no such error or input; the message lists those it has.
        """
        if fault.kind == "input" and fault.name not in self._inputs:
            raise FaultError(f"{fault.instrument}: given input {fault.name!r}; allowed: {', '.join(self._inputs) or 'none'}")
        if fault.kind == "error" and fault.words not in self._failures:
            raise FaultError(f"{fault.instrument}: given error {fault.words!r}; allowed: {', '.join(self._failures) or 'none'}")
        endless = fault.probability < 1 and fault.kind not in _LASTING
        left = fault.count if fault.count is not None else (None if endless else 1)
        with self._lock:
            self._armed.append(_Armed(fault, self._exchanges + fault.after, self._wall.now() + fault.at_s, left,
                                      random.Random(fault.seed)))

    def clear(self) -> None:
        """End all faults."""
        with self._lock:
            self._armed.clear()

    def request(self, data: bytes) -> bytes:
        """Count one exchange; return what of the host's bytes reaches the instrument (nothing from a hung one)."""
        with self._lock:
            passed = self._exchanges
            self._exchanges += 1
            if self._due(_DOWN, passed, at_exchange=True):
                self._is_going_down = True
            is_hung = bool(self._due(_HANG, passed, at_exchange=True))
            for armed in self._due(_ON_REQUESTS, passed, at_exchange=True, side="request"):
                data = _damage(data, armed)
            return b"" if is_hung or self._is_going_down else data

    def reply(self, data: bytes) -> list[Parcel]:
        """What reaches the host of the answer to the last request, and when. An empty answer uses up no fault."""
        if not data:
            return []
        with self._lock:
            delay_s = 0.0
            for armed in self._due(_ON_REPLIES, self._exchanges - 1, at_exchange=True):
                if armed.fault.kind in ("delay", "slow"):
                    delay_s += armed.fault.delay_s
                else:
                    data = _damage(data, armed)
            return [Parcel(data, delay_s)] if data else []

    def events(self, at_exchange: bool = False) -> list[Fault]:
        """Faults that happen at an instant and are due now: unsolicited, power_cycle, error. Ask at each step.

        Parameters
        ----------
        at_exchange : bool
            True once for each request; only then do faults with a probability strike.
        """
        with self._lock:
            return [armed.fault for armed in self._due(_EVENTS, self._exchanges, at_exchange)]

    def forced(self) -> dict[str, float]:
        """The inputs that are held now, and at what value; of two faults of one input the later one counts. Ask at each step."""
        with self._lock:
            return {armed.fault.name: armed.fault.value for armed in self._due(_INPUT, self._exchanges) if armed.fault.value is not None}

    def is_down(self) -> bool:
        """Whether the line is closed now (unplug, hang_up). Ask once a step: a hang-up of no duration is told once."""
        with self._lock:
            is_down = bool(self._due(_DOWN, self._exchanges)) or self._is_going_down
            self._is_going_down = False
            return is_down

    def is_hung(self) -> bool:
        """Whether the instrument neither hears nor answers now (hang)."""
        with self._lock:
            return bool(self._due(_HANG, self._exchanges))

    def _due(self, kinds: frozenset[str], passed: int, at_exchange: bool = False, side: str = "reply") -> list[_Armed]:
        """The armed faults of these kinds that strike now, `passed` exchanges having passed; used-up ones are put away."""
        if not self._armed:
            return []
        now_s, struck = self._wall.now(), []
        for armed in [a for a in self._armed if a.fault.kind in kinds and a.fault.side == side]:
            if _strikes(armed, now_s, passed, at_exchange):
                struck.append(armed)
            if armed.left == 0 and now_s >= armed.ends_s:
                self._armed.remove(armed)
        return struck


def _strikes(armed: _Armed, now_s: float, passed: int, at_exchange: bool) -> bool:
    if now_s < armed.ends_s:
        return True
    if armed.left == 0 or passed < armed.first_exchange or now_s < armed.begins_s:
        return False
    if armed.fault.probability < 1 and not (at_exchange and armed.random.random() < armed.fault.probability):
        return False
    if armed.left is not None:
        armed.left -= 1
    armed.ends_s = now_s + _lasts_s(armed.fault)
    return True


def _lasts_s(fault: Fault) -> float:
    if fault.for_s is not None:
        return fault.for_s
    return float("inf") if fault.kind in _LASTING else 0.0


def _damage(data: bytes, armed: _Armed) -> bytes:
    """Drop, corrupt or truncate."""
    if not data or armed.fault.kind == "drop":
        return b""
    if armed.fault.kind == "truncate":
        return data[: armed.random.randrange(len(data))]
    position = armed.random.randrange(len(data))
    flipped = data[position] ^ (1 << armed.random.randrange(7))  # never the eighth bit: lines of 7E1 do not carry it
    return data[:position] + bytes([flipped]) + data[position + 1 :]
