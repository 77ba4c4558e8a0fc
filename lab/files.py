"""Reading what users write: lab files, campaign files, ``--set`` values. Every mistake becomes a `ConfigError`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from lab.core.config import LabConfig
from lab.core.errors import ConfigError
from lab.core.question import CampaignConfig
from lab.tables import with_tables

COMMAND_LINE = "command line"

Model = TypeVar("Model", bound=BaseModel)


def load_lab(path: Path, overrides: Mapping[str, Any] | None = None) -> LabConfig:
    """Read a lab.yaml.

    Parameters
    ----------
    path : Path
    overrides : mapping of dotted path to value
        Laid over the file before it is validated.

    Raises
    ------
    ConfigError
        Naming the file, the field, what was given and what is allowed.
    """
    return parse(LabConfig, read_yaml(path), str(path), overrides)


def load_campaign(path: Path, overrides: Mapping[str, Any] | None = None) -> CampaignConfig:
    """Read a campaign.yaml, and the tables that it names; as `load_lab`."""
    return parse(CampaignConfig, with_tables(_laid(read_yaml(path), overrides), path), str(path))


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises
    ------
    ConfigError
        When the file is missing, not text, not YAML, or not a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(str(path), "file", "a path that does not exist", "an existing YAML file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), "file", f"something that cannot be read ({error})", "a YAML file in UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark is not None else "file"
        raise ConfigError(str(path), where, getattr(error, "problem", None) or "no YAML", "valid YAML") from error
    if not isinstance(content, dict):
        raise ConfigError(str(path), "file", f"a {type(content).__name__}", "a mapping of fields to values")
    return content


def parse(model: type[Model], content: Mapping[str, Any], file: str, overrides: Mapping[str, Any] | None = None, *,
          is_strict: bool = False) -> Model:
    """Validate a mapping as `model`, `overrides` laid over it.

    Parameters
    ----------
    model : type of BaseModel
    content : mapping
    file : str
        Named in messages.
    overrides : mapping of dotted path to value
    is_strict : bool
        What programs send: a text is no number, nor is true. Then `content` is plain JSON.

    Raises
    ------
    ConfigError
        With one line per mistake.
    """
    data = _laid(content, overrides)
    try:
        return model.model_validate_json(json.dumps(data), strict=True) if is_strict else model.model_validate(data)
    except ValidationError as error:
        raise _config_error(error, file) from error


def parse_sets(assignments: Sequence[str]) -> dict[str, Any]:
    """``--set key=value`` pairs; values are read as YAML.

    Raises
    ------
    ConfigError
        For anything without ``=`` or with a value that is no YAML.
    """
    found: dict[str, Any] = {}
    for text in assignments:
        key, separator, value = text.partition("=")
        if not separator or not key.strip():
            raise ConfigError(COMMAND_LINE, "--set", repr(text), "key=value, for instance budget.trials=10")
        try:
            found[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(COMMAND_LINE, f"--set {key}", repr(value), "a number, text or YAML value") from error
    return found


def _laid(content: Mapping[str, Any], overrides: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy of `content`, `overrides` laid over it."""
    data: dict[str, Any] = _copy(content)
    for path, value in (overrides or {}).items():
        _lay(data, path, value)
    return data


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _copy(v) for k, v in value.items()}
    return [_copy(v) for v in value] if isinstance(value, list) else value


def _lay(data: Any, path: str, value: Any) -> None:
    """Set ``a.b.2.c`` in nested mappings and lists."""
    *parents, last = path.split(".")
    node = data
    for name in parents:
        try:
            node = node[int(name)] if isinstance(node, list) else node.setdefault(name, {})
        except (ValueError, IndexError, AttributeError) as error:
            raise ConfigError(COMMAND_LINE, f"--set {path}", name, "a field of the file, lists by number") from error
    if isinstance(node, list):
        if not (last.isdigit() and int(last) < len(node)):
            raise ConfigError(COMMAND_LINE, f"--set {path}", last, f"a number from 0 to {len(node) - 1}")
        node[int(last)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise ConfigError(COMMAND_LINE, f"--set {path}", last, "a field of a mapping")


def _config_error(error: ValidationError, file: str) -> ConfigError:
    """One ConfigError with a line per mistake; a list that is short only because its elements are wrong is no mistake."""
    details = error.errors(include_url=False)
    wrong = [detail["loc"] for detail in details]
    found = [
        _words(detail)
        for detail in details
        if not (detail["type"] == "too_short" and any(loc[: len(detail["loc"])] == detail["loc"] != loc for loc in wrong))
    ]
    rest = [ConfigError(file, *one) for one in found[1:]]
    return ConfigError(file, *found[0], others=rest)


def _words(detail: Any) -> tuple[str, str, str]:
    """Field, given and allowed of one pydantic error, in the words of this house."""
    field = ".".join(str(part) for part in _path(detail["loc"]))
    given, message = repr(detail["input"]), detail["msg"].removeprefix("Value error, ")
    if len(given) > 120:
        given = f"{given[:117]}..."
    if "secret" in field:  # somebody has taken a key file for a campaign: terminals are scrolled back, and logs are kept
        given = "a secret"
    if detail["type"] == "missing":
        return field, "nothing", "this field is required"
    if detail["type"] == "extra_forbidden":
        return field, given, "no such field; docs/files.md lists the fields"
    if detail["type"] == "union_tag_invalid":
        context = detail["ctx"]
        return f"{field}.{context['discriminator']}".replace("'", ""), repr(context["tag"]), context["expected_tags"]
    before, separator, allowed = message.partition("; allowed: ")
    if not separator:
        return field or "file", given, message[0].lower() + message[1:]
    inner, _, said = before.rpartition("given ")
    path = ".".join(part for part in (field, inner.strip(" :")) if part)
    return path or "file", said, allowed


TAGGED = {"parameters": 2, "instruments": 2, "world": 1}
"""Fields that hold one of several kinds, and where pydantic names the kind in an error's location."""


def _path(location: tuple[str | int, ...]) -> list[str | int]:
    """The location as it stands in the file: without the kind that pydantic puts in."""
    path = list(location)
    tag = TAGGED.get(str(path[0])) if path else None
    if tag is not None and len(path) > tag:
        del path[tag]
    return path
