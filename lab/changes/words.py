"""What has changed between two configurations of a campaign, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lab.changes.draft import FIELDS, LISTS
from lab.core.question import CampaignConfig


def differences(former: CampaignConfig, now: CampaignConfig) -> str:
    """``cs 0..1 -> 0..0.5; budget: trials 20 -> 40``; ``nothing has changed``."""
    one, other = former.model_dump(mode="json"), now.model_dump(mode="json")
    said = [text for field in FIELDS if one[field] != other[field] for text in _of_field(field, one[field], other[field])]
    n_left = len(now.optimizer.points)
    if n_left < len(former.optimizer.points):
        said.append(f"{n_left} of {len(former.optimizer.points)} optimizer.points are left")
    return "; ".join(said) if said else "nothing has changed"


def _of_field(field: str, former: Any, now: Any) -> Iterator[str]:
    if field == "parameters":
        yield from (f"{new['name']} {_domain(old)} -> {_domain(new)}" for old, new in zip(former, now, strict=True) if _domain(old) != _domain(new))
    elif field in LISTS:
        kind = field.removesuffix("s").replace("_", " ")
        yield from (f"without the {kind} {text}" for text in former if text not in now)
        yield from (f"with the {kind} {text}" for text in now if text not in former)
    elif field == "objectives":
        yield f"{_objectives(former)} -> {_objectives(now)}" if _objectives(former) != _objectives(now) else "objectives: " + _inner(_by_name(former), _by_name(now))
    elif isinstance(former, dict) and isinstance(now, dict):
        yield f"{field}: {_inner(former, now, 'no limit' if field == 'budget' else 'none')}"
    else:
        yield f"{field}: {_shown(former)} -> {_shown(now)}"


def _domain(spec: Mapping[str, Any]) -> str:
    if spec["type"] == "fixed":
        return f"{_shown(spec['value'])} {spec['unit']}".rstrip()
    if spec["type"] == "choice":
        return ", ".join(map(str, spec["values"]))
    return f"{spec['bounds'][0]:g}..{spec['bounds'][1]:g} {spec['unit']}".rstrip()


def _objectives(objectives: Sequence[Mapping[str, Any]]) -> str:
    return " and ".join(f"{one['goal']} {one['name']}" + (f" {one['target']:g}" if one["target"] is not None else "") for one in objectives)


def _by_name(objectives: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {one["name"]: one for one in objectives}


def _inner(former: Mapping[str, Any], now: Mapping[str, Any], nothing: str = "none") -> str:
    """``trials 20 -> 40, hours 8 -> no limit``."""
    flat_former, flat_now = dict(_leaves(former, "")), dict(_leaves(now, ""))
    names = dict.fromkeys([*flat_former, *flat_now])
    return ", ".join(f"{name} {_shown(flat_former.get(name), nothing)} -> {_shown(flat_now.get(name), nothing)}" for name in names
                     if flat_former.get(name) != flat_now.get(name))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, one in value.items():
            yield from _leaves(one, f"{path}.{name}" if path else str(name))
    else:
        yield path, value


def _shown(value: Any, nothing: str = "none") -> str:
    if value is None:
        return nothing
    return f"{value:g}" if isinstance(value, float) else str(value)
