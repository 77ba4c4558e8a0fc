"""Interlocks: named conditions of lab.yaml that must hold while instruments work, and instruments that must not move together.

What stands in the file (`InterlockConfig`), how an interlock is (`InterlockState`), and which resources an action needs so that two of
them never meet (`Exclusions`). When one trips and recovers is in `lab.core.trips`; `devices.interlocks` watches the channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lab.core.errors import InterlockError

Action = Literal["block", "suspend", "make_safe"]


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
