"""The digest by which a plan and its parameters are known: what was checked and approved is what runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from lab.core.errors import ConfigError

_EXACT = 2**53
"""Up to here every whole number is a float (IEEE 754, binary64)."""


def digest_of(plan: str, parameters: Mapping[str, Any]) -> str:
    """SHA-256 of a plan's name and its parameters, in hexadecimal.

    What means the same has the same digest: the order of names does not count, a tuple is a list, and 2.0 is 2, because clients and
    codecs differ in how they write them.

    Parameters
    ----------
    plan : str
        Its name.
    parameters : mapping of str to JSON value

    Raises
    ------
    ConfigError
        When a parameter is nothing that JSON can say.
    """
    try:
        text = json.dumps([plan, _plain(parameters)], sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(plan, "parameters", f"what JSON cannot say ({error})", "numbers, texts, true, false, null, lists and objects of these") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        names = [name for name in value if not isinstance(name, str)]
        if names:
            raise TypeError(f"a name is no text: {names[0]!r}")
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        return int(value)
    return value
