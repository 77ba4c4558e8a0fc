"""What people type after the name of a plan: JSON, or ``name=value`` with JSON values, brackets and braces without quotes where the shell has eaten them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from lab.core.errors import ConfigError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_WORD = re.compile(r"[^\[\]{},:]+")


def parameters(words: Iterable[str]) -> dict[str, Any]:
    """The parameters of a plan, in the order in which they were typed.

    Parameters
    ----------
    words : iterable of str
        Each a JSON object, or ``name=value``. A value is JSON (``num=3``, ``detectors='["a", "b"]'``), a list of plain words (``[a,b]``)
        or a text. A dotted name goes into an object: ``fractions.cs=0.2``.

    Raises
    ------
    ConfigError
        For anything else, and for a parameter that is given twice.
    """
    found: dict[str, Any] = {}
    for word in words:
        for name, value in _pairs(word):
            _lay(found, name, value)
    return found


def _pairs(word: str) -> Iterable[tuple[str, Any]]:
    if word.lstrip().startswith("{"):
        try:
            given = json.loads(word)
        except ValueError as error:
            raise ConfigError("command line", "parameters", repr(word), f"a JSON object ({error}), or name=value") from error
        return list(given.items())
    name, separator, value = word.partition("=")
    if not separator or not _NAME.fullmatch(name):
        raise ConfigError("command line", "parameters", repr(word), "name=value, or a JSON object such as '{\"num\": 3}'")
    return [(name, _value(value))]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        inner = text[1:-1] if text.startswith("[") and text.endswith("]") else None
        if inner is not None:
            parts = [part.strip() for part in inner.split(",")]
            if all(_WORD.fullmatch(part) for part in parts):
                return [_value(part) for part in parts]
        return text


def _lay(found: dict[str, Any], name: str, value: Any) -> None:
    *parents, last = name.split(".")
    node: Any = found
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise ConfigError("command line", name, json.dumps(value), f"a part of an object; {parent} was given as something else")
    if last in node:
        raise ConfigError("command line", name, f"{json.dumps(node[last])} and {json.dumps(value)}", "one value")
    node[last] = value


def in_words(values: Mapping[str, Any]) -> str:
    """``detectors=["hotplate_a"] num=3``: as it can be typed."""
    return " ".join(f"{name}={json.dumps(value, ensure_ascii=False, separators=(',', ':'))}" for name, value in values.items())
