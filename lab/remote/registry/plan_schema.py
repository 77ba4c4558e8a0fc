"""What clients are told of the plans that they may queue: in the RE Manager's form, with unit and limits in it, and in ours.

The official clients check items against the RE Manager's form by themselves (`bluesky_queueserver.validate_plan`): what that lets through
is at least what `lab.remote.registry.plan_checks` does.
"""

from __future__ import annotations

import math
from typing import Any

from lab.core.config import LabConfig
from lab.core.question import CampaignConfig
from lab.core.remote import Role
from lab.remote.registry.parameters import Amounts, Name, Names, Number, Parameter, Record, Whole
from lab.remote.registry.plan_checks import Plans
from lab.remote.registry.plan_specs import PlanSpec

KIND = {"name": "POSITIONAL_OR_KEYWORD", "value": 1}
"""As `inspect.Parameter` has it."""


def plans_allowed(plans: Plans, role: Role) -> dict[str, Any]:
    """What the RE Manager's method ``plans_allowed`` answers, for a role."""
    return {name: {"name": name, "description": _description(spec), "properties": {"is_generator": False},
                   "parameters": [_official(one) for one in plans.parameters(spec, role)]} for name, spec in plans.allowed(role).items()}


def devices_allowed(lab: LabConfig, role: Role) -> dict[str, Any]:
    """What the RE Manager's method ``devices_allowed`` answers, for a role."""
    names = lab.remote.rules(role).devices
    return {name: {"is_readable": True, "is_movable": config.kind == "hotplate", "is_flyable": False, "classname": type(config).__name__,
                   "module": "devices"} for name, config in lab.instruments.items() if names is None or name in names}


def described(plans: Plans, role: Role) -> dict[str, Any]:
    """The plans in our own form: numbers as numbers, what may be chosen as lists, and the fields of a campaign as JSON Schema."""
    return {name: {"description": spec.doc, "makes_samples": spec.campaign is not None,
                   "parameters": [_ours(one) for one in plans.parameters(spec, role)]} for name, spec in plans.allowed(role).items()}


def _description(spec: PlanSpec) -> str:
    return spec.doc + (" Checked by a rehearsal before it enters the queue." if spec.campaign is not None else "")


def _official(parameter: Parameter) -> dict[str, Any]:
    found: dict[str, Any] = {"name": parameter.name, "kind": KIND, "description": _words(parameter), "annotation": _annotation(parameter)}
    if not parameter.is_required:
        found["default"] = repr(parameter.default)
    if parameter.unit:
        found["unit"] = parameter.unit
    low, high = _range(parameter)
    if low is not None:
        found["min"] = f"{low:.15g}"
    if high is not None:
        found["max"] = f"{high:.15g}"
    if isinstance(parameter, Whole):
        found["step"] = "1"
    return found


def _words(parameter: Parameter) -> str:
    """Its meaning, and what it may be, for people who read only that."""
    more = []
    if isinstance(parameter, Number) and not math.isinf(parameter.low):
        more.append(parameter.range_in_words)
    elif parameter.unit:
        more.append(parameter.unit)
    if isinstance(parameter, Name) and "" in parameter.names:
        more.append(f"none, or one of {', '.join(one for one in parameter.names if one)}")
    if isinstance(parameter, Amounts):
        more.append("; ".join(f"{name}: {one.range_in_words}" for name, one in parameter.each.items()))
        if parameter.total is not None:
            more.append(f"they sum to {parameter.total:g}")
    return parameter.doc + (f" ({'; '.join(more)})" if more else "")


def _annotation(parameter: Parameter) -> dict[str, Any]:
    if isinstance(parameter, Names):
        return {"type": "typing.List[Devices]", "devices": {"Devices": list(parameter.names)}}
    if isinstance(parameter, Name) and "" not in parameter.names:  # which is no name for a member of an Enum
        return {"type": "Choices", "enums": {"Choices": list(parameter.names)}}
    if isinstance(parameter, Amounts):
        return {"type": "typing.Dict[str, float]"}
    if isinstance(parameter, Record):
        return {"type": "typing.Dict[str, typing.Any]"}
    return {"type": "int" if isinstance(parameter, Whole) else "float" if isinstance(parameter, Number) else "str"}


def _range(parameter: Parameter) -> tuple[float | None, float | None]:
    if isinstance(parameter, Amounts):
        low = min((one.low for one in parameter.each.values()), default=-math.inf)
        high = max((one.high for one in parameter.each.values()), default=math.inf)
    elif isinstance(parameter, Number):
        low, high = parameter.low, parameter.high
    else:
        return None, None
    return (low if math.isfinite(low) else None), (high if math.isfinite(high) else None)


def _ours(parameter: Parameter) -> dict[str, Any]:
    low, high = _range(parameter)
    found: dict[str, Any] = {"name": parameter.name, "kind": parameter.kind, "doc": parameter.doc, "unit": parameter.unit,
                             "is_required": parameter.is_required, "default": None if parameter.is_required else parameter.default,
                             "low": low, "high": high}
    if isinstance(parameter, (Name, Names)):
        found["choices"] = list(parameter.names)
    if isinstance(parameter, Amounts):
        found |= {"each": {name: _ours(one) for name, one in parameter.each.items()}, "total": parameter.total}
    if isinstance(parameter, Record):
        found["schema"] = CampaignConfig.model_json_schema()
    return found
