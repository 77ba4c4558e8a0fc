"""What lab.yaml says of remote access: where the gateway listens, who may do what, and how much of it.

Roles form a ladder, each with the rights of those below it: ``observer`` looks, ``scientist`` queues plans and campaigns under their
own name, ``operator`` runs the queue and answers for everybody, ``admin`` may also change what others may do.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Role = Literal["observer", "scientist", "operator", "admin"]
ROLES: tuple[Role, ...] = ("observer", "scientist", "operator", "admin")
"""From the one that may least to the one that may most."""

_LISTEN = re.compile(r"^(?P<host>[A-Za-z0-9_.:*\[\]-]+):(?P<port>\d{1,5})$")


def is_at_least(role: Role, least: Role) -> bool:
    """Whether a role has the rights of another."""
    return ROLES.index(role) >= ROLES.index(least)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RoleRules(_Model):
    """What narrows the plans of a role; what is not said is not narrowed."""

    plans: tuple[str, ...] | None = None
    """Names of plans; None: all of them."""
    devices: tuple[str, ...] | None = None
    """Names of devices that may be given to plans; None: all of them."""
    limits: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """Ranges of parameters, within those of the plan: ``film.anneal_temperature: [60, 150]``."""
    documents: Literal["none", "own", "all"] | None = None
    """Whose documents and data the role sees; None: own for scientists, none for observers, all for operators and admins."""


class Traffic(_Model):
    """How much one key may ask for; what is beyond is refused with words, and the connection of whoever goes on is ended."""

    requests_per_s: Annotated[float, Field(gt=0, le=100000)] = 200.0
    burst: Annotated[int, Field(ge=1)] = 400
    message_bytes: Annotated[int, Field(ge=1000, le=16_000_000)] = 1_000_000
    depth: Annotated[int, Field(ge=4, le=64)] = 24
    """Of lists and objects within one another."""
    connections: Annotated[int, Field(ge=1)] = 32
    """Open at one time, of one key."""
    subscriptions: Annotated[int, Field(ge=1)] = 16
    items: Annotated[int, Field(ge=1, le=10000)] = 500
    """Of one name, that are queued or wait for approval at one time."""


class RemoteConfig(_Model):
    """The field ``remote`` of lab.yaml."""

    listen: str = "127.0.0.1:60615"
    """Where the gateway listens, the only door; port 0: one that is free."""
    redis: Annotated[str, Field(pattern=r"^$|^[A-Za-z0-9_.-]+:\d{1,5}$")] = ""
    """host:port of a Redis server; empty: the laboratory starts one of its own."""
    speed: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0
    """Of a simulated laboratory whose file says ``max``: people wait at the other end."""
    autostart: bool = True
    """Whether the queue runs what is in it by itself; false: an operator starts it."""
    approval: tuple[Role, ...] = ()
    """Roles whose items wait for an operator's word."""
    approval_names: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] = ()
    """Names of keys of which that is true as well, whatever their role: an agent's, say."""
    interrupted: Literal["ask", "retry"] = "ask"
    """What becomes of an item that was running when the worker died: a person decides, or it is made again once."""
    roles: dict[Role, RoleRules] = Field(default_factory=dict)
    traffic: Traffic = Traffic()

    @field_validator("listen")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        found = _LISTEN.match(value)
        if found is None or int(found["port"]) > 65535:
            raise ValueError(f"given {value!r}; allowed: host:port, such as 0.0.0.0:60615")
        return value

    def needs_approval(self, name: str, role: Role) -> bool:
        """Whether items of this person, or program, wait for an operator's word; as in the registry of keys, upper case is lower case."""
        return role in self.approval or name.casefold() in (one.casefold() for one in self.approval_names)

    def rules(self, role: Role) -> RoleRules:
        """What narrows a role."""
        return self.roles.get(role, RoleRules())

    def documents(self, role: Role) -> Literal["none", "own", "all"]:
        """Whose documents and data a role sees."""
        given = self.rules(role).documents
        if given is not None:
            return given
        return {"observer": "none", "scientist": "own", "operator": "all", "admin": "all"}[role]  # type: ignore[return-value]
