"""Interlocks: named conditions of lab.yaml that must hold while instruments work, and instruments that must not move together.

Pure: what stands in the file (`InterlockConfig`), when an interlock trips and recovers (`Trip`), what it says (`InterlockState`), and which
resources an action needs so that two of them never meet (`Exclusions`). `devices.interlocks` watches the channels.

A reading that is missing or INVALID violates every interlock it stands in, also beside an ``or``: nobody knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lab.core.channels import Channel
from lab.core.conditions import Condition, Reference, parse
from lab.core.errors import InterlockError

Action = Literal["block", "suspend", "make_safe"]

Tables = Mapping[str, Mapping[str, Sequence[Channel]]]
"""Channel tables of a laboratory by instrument and address; under the address "" what needs none."""


class InterlockConfig(BaseModel):
    """One interlock of lab.yaml.

    ``{require: "plc.hutch == 1", reason: the hutch door is open, action: suspend}`` or
    ``{exclusive: [arm, stage], reason: they share their space, action: block}``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    require: str = ""
    """What must hold (`lab.core.conditions`)."""
    release: str = ""
    """What must hold before a violated interlock is well again, where that is more than `require`: hysteresis."""
    exclusive: tuple[str, ...] = ()
    """Instruments or stations of which at most one moves at a time."""
    unit: str = ""
    """Of the numbers in the conditions; refused when it is not that of the channels."""
    reason: Annotated[str, Field(min_length=1, max_length=200)]
    """What a person reads when it is violated."""
    action: Action
    """``block``: what it guards does not begin. ``suspend``: the plan waits, too. ``make_safe``: the instruments are made safe at once, too."""
    then: Literal["end", "wait"] = "end"
    """After ``make_safe``: the plan ends, or waits until the condition holds and the operator has acknowledged it."""
    guards: tuple[str, ...] = ()
    """Instruments it is about; all of the laboratory when left out."""
    for_s: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 0.0
    """Wall seconds for which it must be violated before it counts: the bounce of a switch, a bubble in a flow meter."""

    @model_validator(mode="after")
    def _belong_together(self) -> InterlockConfig:
        if bool(self.require) == bool(self.exclusive):
            raise ValueError(f"given {'both require and exclusive' if self.require else 'neither require nor exclusive'}; allowed: one of them")
        if self.exclusive:
            self._check_exclusive()
        if self.then == "wait" and self.action != "make_safe":
            raise ValueError(f"then: given 'wait' with action {self.action}; allowed: only with action make_safe")
        return self

    def _check_exclusive(self) -> None:
        if self.action != "block":
            raise ValueError(f"action: given {self.action!r} with exclusive; allowed: block")
        if len(set(self.exclusive)) < 2 or len(set(self.exclusive)) < len(self.exclusive):
            raise ValueError(f"exclusive: given {list(self.exclusive)}; allowed: at least two instruments or stations, each once")
        for field in ("release", "unit", "guards", "for_s"):
            if getattr(self, field):
                raise ValueError(f"{field}: given {getattr(self, field)!r} with exclusive; allowed: only with require")


@dataclass(frozen=True)
class Found:
    """One reading.

    Parameters
    ----------
    value : float or None
        None when there is no valid reading.
    cause : str
        Why there is none.
    """

    value: float | None
    cause: str = ""


@dataclass(frozen=True)
class InterlockState:
    """How an interlock is.

    Parameters
    ----------
    name : str
    is_ok : bool
    value : str
        The readings in words, or why there are none.
    reason : str
        The laboratory's own words of what is wrong when it is violated.
    since : float
        When it became so, seconds since 1970.
    action : Action
    guards : tuple of str
        Empty: all instruments.
    needs : str
        What must hold for it to be well.
    """

    name: str
    is_ok: bool
    value: str
    reason: str
    since: float
    action: Action
    guards: tuple[str, ...]
    needs: str

    @property
    def words(self) -> str:
        """Why it is violated: ``the hutch door is open (interlock hutch_closed: plc.hutch = 0; needed: plc.hutch == 1)``."""
        return f"{self.reason} (interlock {self.name}: {self.value}; needed: {self.needs})"

    def is_about(self, instruments: Iterable[str]) -> bool:
        """Whether it guards one of these."""
        return not self.guards or not set(self.guards).isdisjoint(instruments)


class Trip:
    """When one interlock trips and when it recovers. Not safe for several threads.

    Parameters
    ----------
    name : str
    config : InterlockConfig
        With `require`.
    require, release : Condition
        The conditions of `config`, read; the same one when there is no `release`.

    Notes
    -----
    Before the first look it is violated: nothing is known. A first look counts at once, without `for_s`.
    """

    def __init__(self, name: str, config: InterlockConfig, require: Condition, release: Condition) -> None:
        self.name, self.config = name, config
        self._require, self._release = require, release
        self._is_ok, self._is_known, self._is_acknowledged = False, False, True
        self._value, self._since = "not looked at yet", float("nan")
        self._pending_since_s: float | None = None

    @property
    def references(self) -> tuple[Reference, ...]:
        """The channels it needs to know."""
        return tuple(dict.fromkeys((*self._require.references, *self._release.references)))

    @property
    def state(self) -> InterlockState:
        """How it is."""
        needed = self._require if self._is_ok or not self._is_known else self._release
        needs = needed.text + (f" {self.config.unit}" if self.config.unit else "")
        if not self._is_ok and not self._is_acknowledged:
            needs += ", and the operator's acknowledgement"
        return InterlockState(self.name, self._is_ok, self._value, self.config.reason, self._since, self.config.action,
                              self.config.guards, needs)

    @property
    def next_look_s(self) -> float:
        """When it has to be looked at again though no reading changes, by the clock of `look`; infinity for never."""
        return float("inf") if self._pending_since_s is None else self._pending_since_s + self.config.for_s

    def look(self, found: Mapping[Reference, Found], now_s: float, today: float) -> bool:
        """Look at the readings.

        Parameters
        ----------
        found : mapping of Reference to Found
            Of all `references`.
        now_s : float
            Wall seconds of a clock that never goes backwards.
        today : float
            Seconds since 1970, for `InterlockState.since`.

        Returns
        -------
        bool
            Whether it has tripped or recovered just now; the first look counts when it finds a violation.
        """
        holds = self._holds(self._require if self._is_ok or not self._is_known else self._release, found)
        was_known, self._is_known = self._is_known, True
        if not was_known:
            self._since = today
            self._is_ok = holds
            self._is_acknowledged = holds or self.config.then != "wait"
            return not holds
        if holds or not self._is_ok:
            self._pending_since_s = None
        if self._is_ok and not holds:
            return self._violated(now_s, today)
        if not self._is_ok and holds and self._is_acknowledged:
            self._is_ok, self._since = True, today
            return True
        return False

    def acknowledge(self) -> None:
        """The operator has seen it; it may recover."""
        self._is_acknowledged = True

    def _violated(self, now_s: float, today: float) -> bool:
        if self._pending_since_s is None:
            self._pending_since_s = now_s
        if now_s - self._pending_since_s < self.config.for_s:
            return False
        self._pending_since_s = None
        self._is_ok, self._since = False, today
        self._is_acknowledged = self.config.then != "wait"
        return True

    def _holds(self, condition: Condition, found: Mapping[Reference, Found]) -> bool:
        values = {reference: found[reference].value for reference in self.references}
        missing = [f"{reference} is not known: {found[reference].cause}" for reference, value in values.items() if value is None]
        known = {reference: value for reference, value in values.items() if value is not None}
        self._value = "; ".join(missing) or condition.in_words(known)
        return not missing and condition.holds(known)


def trip_of(name: str, config: InterlockConfig, tables: Tables) -> Trip:
    """The trip of an interlock that has a condition.

    Raises
    ------
    ValueError
        ``interlocks.NAME.FIELD: given ...; allowed: ...`` for a condition that cannot be, or another unit.
    """
    require = _condition(f"interlocks.{name}.require", config.require, tables)
    release = _condition(f"interlocks.{name}.release", config.release, tables) if config.release else require
    for row in (*require.rows.values(), *release.rows.values()):
        if config.unit and row.type in ("float", "int") and row.unit != config.unit:
            raise ValueError(f"interlocks.{name}.unit: given {config.unit!r}; allowed: {row.unit or 'nothing'}, the unit of {row.name}")
    return Trip(name, config, require, release)


def _condition(field: str, text: str, tables: Tables) -> Condition:
    try:
        return parse(text, lambda reference: _row(reference, tables))
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from error


def _row(reference: Reference, tables: Tables) -> Channel:
    """The row of a channel.

    Raises
    ------
    ValueError
    """
    if reference.instrument not in tables:
        raise ValueError(f"given {reference}, of no instrument; allowed: {', '.join(tables)}")
    addresses = tables[reference.instrument]
    if reference.address not in addresses:
        named = ", ".join(f"{reference.instrument}.{address}.{reference.channel}" for address in addresses if address)
        raise ValueError(f"given {reference}, which has no such address; allowed: {named or f'{reference.instrument}.{reference.channel}'}")
    rows = {row.name: row for row in addresses[reference.address]}
    if reference.channel not in rows:
        elsewhere = [f"{reference.instrument}.{address}.{reference.channel}" for address, table in addresses.items()
                     if any(row.name == reference.channel for row in table)]
        known = elsewhere or [row.name for row in rows.values() if not row.is_writable and row.type in ("float", "int", "bool", "enum")]
        raise ValueError(f"given {reference}, which is no channel; allowed: {', '.join(known)}")
    return rows[reference.channel]


class Interlocks(Protocol):
    """What a plan, or whoever sets an instrument, asks the interlocks (implemented by `devices.interlocks`)."""

    def states(self) -> tuple[InterlockState, ...]:
        """All interlocks with a condition, in the order of lab.yaml."""
        ...

    def check(self, instruments: Iterable[str]) -> None:
        """Refuse to begin what these instruments would do.

        Raises
        ------
        InterlockError
            When an interlock that guards one of them is violated; with its reason.
        """
        ...


def refuse(states: Iterable[InterlockState], instruments: Sequence[str]) -> None:
    """Raise for the first interlock that is violated and guards one of the instruments.

    Raises
    ------
    InterlockError
    """
    for state in states:
        if not state.is_ok and state.is_about(instruments):
            guarded = [name for name in instruments if not state.guards or name in state.guards]
            raise InterlockError(f"{', '.join(guarded) or 'laboratory'}: must not begin: {state.words}")


@dataclass(frozen=True)
class Exclusion:
    """Things of which at most one moves at a time; its name is the name of a resource with one unit."""

    name: str
    members: tuple[str, ...]
    reason: str


class Exclusions:
    """The exclusive interlocks of a laboratory as resources: whoever moves one of the members first acquires the resource.

    Parameters
    ----------
    rows : iterable of Exclusion
    instruments : mapping of station name to instrument name
        A station moves when its instrument does: either name may stand in the file and in a question.

    Examples
    --------
    ``arm_or_door: {exclusive: [arm, stage], ...}`` gives the resource ``arm_or_door``:
    ``Resources({...} | exclusions.resources)``, and ``yield from acquire("arm", *exclusions.needed_by("arm", "rack.3", "plate_a"))``.
    """

    def __init__(self, rows: Iterable[Exclusion], instruments: Mapping[str, str]) -> None:
        self.rows = tuple(rows)
        self._instruments = dict(instruments)

    @property
    def resources(self) -> dict[str, tuple[str, ...]]:
        """Each resource with its one unit, of the same name."""
        return {row.name: (row.name,) for row in self.rows}

    def needed_by(self, *moving: str) -> tuple[str, ...]:
        """The resources for an action in which these instruments, stations or places (``rack.3``) move, each once."""
        names = {name.partition(".")[0] for name in moving}
        names |= {self._instruments[name] for name in names if name in self._instruments}
        return tuple(row.name for row in self.rows if not names.isdisjoint(self._with_instruments(row.members)))

    def _with_instruments(self, members: Sequence[str]) -> set[str]:
        return set(members) | {self._instruments[name] for name in members if name in self._instruments}
