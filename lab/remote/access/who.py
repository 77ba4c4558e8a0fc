"""Who asks: told by the key with which the connection was made, never by the message."""

from __future__ import annotations

from dataclasses import dataclass

from lab.core.remote import Role


@dataclass(frozen=True)
class Who:
    """The owner of a key.

    Parameters
    ----------
    name : str
        Under which the key was made (``lab keys new NAME``).
    role : Role
    key : str
        The public key, z85.
    """

    name: str
    role: Role
    key: str
