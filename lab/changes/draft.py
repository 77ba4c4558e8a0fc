"""``cs=[0, 0.5]``, ``constraints+=cs + fa <= 0.8``, ``minimize=peak_width``: what people write, laid over a campaign's configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lab.core.errors import ConfigError
from lab.core.question import Budget, CampaignConfig, ChoiceSpec, RangeSpec
from lab.files import parse

FIELDS = ("parameters", "constraints", "objectives", "combine", "outcome_constraints", "safety", "durations", "stop", "budget", "context")
"""What may be changed under way. The others say what a sample is, and what its numbers mean: with another recipe it is another campaign."""

LISTS = ("constraints", "outcome_constraints")
GOALS = ("maximize", "minimize")
BUDGET = tuple(Budget.model_fields)

HOW = f"{', '.join(FIELDS)}; the name of a parameter; {', '.join(BUDGET)}; {' or '.join(GOALS)}=OUTCOME"

Spec = Mapping[str, Any]


def changed(config: CampaignConfig, changes: Mapping[str, Any], where: str, former: Sequence[CampaignConfig] = ()) -> CampaignConfig:
    """The campaign with other bounds, constraints, objectives, budget...

    Parameters
    ----------
    changes : mapping of str to value
        By path: ``budget.trials``, ``parameters.cs.bounds``, ``objectives.purity.goal``; lists by number or by name. A path that ends in
        ``+`` adds to a list, in ``-`` takes from it. The name of a parameter alone stands for its bounds or values, and a budget's field
        for itself. ``minimize`` and ``maximize`` have another outcome as the objective.
    where : str
        What messages name as the origin.
    former : sequence of CampaignConfig
        What the campaign was before: a parameter that was narrowed to one value can be widened again.

    Raises
    ------
    ConfigError
        For what cannot be changed, and values that are not allowed.
    """
    if not changes:
        raise ConfigError(where, "changes", "nothing", f"at least one of: {HOW}")
    data = config.model_dump(mode="json")
    for path, value in changes.items():
        _lay(data, path.strip(), value, where, former)
    new = _without_forbidden_points(data, where)
    touched = [name for name in CampaignConfig.model_fields if name not in (*FIELDS, "optimizer") and getattr(new, name) != getattr(config, name)]
    if touched:
        raise ConfigError(where, touched[0], str(getattr(new, touched[0])), f"as it is; what can be changed: {HOW}")
    return new


def _without_forbidden_points(data: dict[str, Any], where: str) -> CampaignConfig:
    """The configuration, without those of its own first points that it does not allow any more: nobody has to take them out one by one."""
    points: list[Any] = data["optimizer"]["points"]
    while True:
        try:
            return parse(CampaignConfig, data, where)
        except ConfigError as error:
            *path, last = error.field.split(".")
            if path != ["optimizer", "points"] or not last.isdecimal() or int(last) >= len(points):
                raise
            del points[int(last)]


def _lay(data: dict[str, Any], path: str, value: Any, where: str, former: Sequence[CampaignConfig]) -> None:
    name, operator = (path[:-1].rstrip(), path[-1]) if path[-1:] in ("+", "-") else (path, "")
    field, *rest = _full(data, name)
    if field in GOALS and not rest and not operator:
        data["objectives"] = [_objective(data["objectives"], field, value, where)]
    elif field not in FIELDS:
        raise ConfigError(where, path, repr(value), HOW)
    elif field == "parameters":
        _lay_parameter(data["parameters"], rest, operator, value, where, former)
    elif operator:
        data[field] = _edited(data[field], operator, value, where, name) if field in LISTS and not rest else _no_list(where, path, value)
    else:
        _set(data, [field, *rest], value, where, path)


def _full(data: Mapping[str, Any], name: str) -> list[str]:
    """The path that a short name stands for."""
    first, *rest = name.split(".")
    if first in FIELDS or first in GOALS:
        return [first, *rest]
    if first in BUDGET and not rest:
        return ["budget", first]
    if any(one["name"] == first for one in data["parameters"]):
        return ["parameters", first, *rest]
    return [first, *rest]


def _objective(objectives: Sequence[Spec], goal: str, outcome: Any, where: str) -> dict[str, Any]:
    if not isinstance(outcome, str):
        raise ConfigError(where, goal, repr(outcome), "the name of an outcome")
    known = next((one for one in objectives if one["name"] == outcome), {"name": outcome})
    # A reference and a desirability were said of the other goal.
    return {key: value for key, value in known.items() if key in ("name", "unit", "noise", "weight")} | {"goal": goal}


# --------------------------------------------------------------------------------------------------------- parameters


def _lay_parameter(parameters: list[dict[str, Any]], path: Sequence[str], operator: str, value: Any, where: str,
                   former: Sequence[CampaignConfig]) -> None:
    names = [one["name"] for one in parameters]
    name, field = (*path, "", "")[:2]
    if name not in names or len(path) > 2 or field not in ("", "bounds", "values"):
        raise ConfigError(where, ".".join(["parameters", *path]), repr(value), f"bounds or values of {', '.join(names)}")
    place = names.index(name)
    if parameters[place]["type"] == "choice":
        parameters[place] = _choice(parameters[place], operator, value, where)
    else:
        parameters[place] = _range(parameters[place], operator, value, where, former)


def _range(spec: Spec, operator: str, value: Any, where: str, former: Sequence[CampaignConfig]) -> dict[str, Any]:
    ends = [value, value] if isinstance(value, (int, float)) else value
    if operator or not isinstance(ends, list) or len(ends) != 2 or any(isinstance(end, bool) or not isinstance(end, (int, float)) for end in ends):
        raise ConfigError(where, f"parameters.{spec['name']}.bounds", repr(value), "[low, high], or one number")
    # What is left of a range that was narrowed to one value does not say what it was; the campaign's history does.
    known = next((one for config in reversed(former) for one in config.parameters if one.name == spec["name"] and isinstance(one, RangeSpec)), None)
    before = RangeSpec.model_validate(spec) if spec["type"] != "fixed" else known
    if before is None:
        raise ConfigError(where, f"parameters.{spec['name']}", repr(value), f"{spec['value']}: it is fixed")
    try:
        return before.narrowed(*ends).model_dump(mode="json")
    except ValueError as error:
        raise ConfigError(where, f"parameters.{spec['name']}.bounds", repr(value), "two finite numbers, the lower one first; whole ones of an integer, "
                          "above 0 on a log scale") from error


def _choice(spec: Spec, operator: str, value: Any, where: str) -> dict[str, Any]:
    values = _edited(spec["values"], operator, value, where, spec["name"]) if operator else value if isinstance(value, list) else [value]
    try:
        return ChoiceSpec.model_validate(spec).narrowed(tuple(values)).model_dump(mode="json")
    except ValueError as error:
        raise ConfigError(where, f"parameters.{spec['name']}.values", repr(value), f"some of {', '.join(map(str, spec['values']))}") from error


# -------------------------------------------------------------------------------------------------------------- parts


def _edited(items: Sequence[Any], operator: str, value: Any, where: str, name: str) -> list[Any]:
    """A list with more, or without some."""
    given = value if isinstance(value, list) else [value]
    if operator == "+":
        return [*items, *given]
    missing = [one for one in given if one not in items]
    if missing:
        raise ConfigError(where, f"{name}-", repr(missing[0]), ", ".join(map(str, items)) or "nothing: there is none")
    return [one for one in items if one not in given]


def _no_list(where: str, path: str, value: Any) -> Any:
    raise ConfigError(where, path, repr(value), f"= (only {', '.join(LISTS)} and the values of a choice can be added to and taken from)")


def _set(data: dict[str, Any], path: Sequence[str], value: Any, where: str, said: str) -> None:
    """Set a field; objects of a list go by their names or numbers, an object that is not there yet is begun."""
    node: Any = data
    for name, inner in zip(path, path[1:], strict=False):
        if isinstance(node, list):
            node = node[_place(node, name, where, said, value)]
        else:
            if node.get(name) is None:
                node[name] = {}
            node = node[name]
        if not isinstance(node, (dict, list)):
            raise ConfigError(where, said, repr(value), f"a field that has no {inner} in it")
    if isinstance(node, list):
        node[_place(node, path[-1], where, said, value)] = value
    else:
        node[path[-1]] = value


def _place(items: Sequence[Any], name: str, where: str, said: str, value: Any) -> int:
    names = [str(one["name"]) if isinstance(one, dict) and "name" in one else str(k) for k, one in enumerate(items)]
    if name in names:
        return names.index(name)
    if name.isdecimal() and int(name) < len(items):
        return int(name)
    raise ConfigError(where, said, repr(value), f"one of {', '.join(names) or 'none: there is nothing in it'}")
