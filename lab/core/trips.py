"""When an interlock trips and when it recovers. Pure: `devices.interlocks` brings the readings.

A reading that is missing or INVALID violates every interlock it stands in, also beside an ``or``: nobody knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lab.core.channels import Channel
from lab.core.conditions import Condition, Reference, parse
from lab.core.interlocks import InterlockConfig, InterlockState

Tables = Mapping[str, Mapping[str, Sequence[Channel]]]
"""Channel tables of a laboratory by instrument and address; under the address "" what needs none."""


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
