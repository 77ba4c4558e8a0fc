"""What lab.yaml says of roles, held against what the laboratory can do: a limit that no plan knows would narrow nothing, in silence."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from lab.core.config import LabConfig
from lab.core.errors import ConfigError
from lab.remote.registry.parameters import Amounts, Name, Number, in_words, one_of
from lab.remote.registry.plan_checks import SAME_LIMITS
from lab.remote.registry.plan_specs import PlanSpec, positioners, specs_of

Span = tuple[float, float]


def check_rules(lab: LabConfig, file: str) -> None:
    """Refuse rules about plans, devices and parameters that do not exist, and limits within which nothing is left.

    Parameters
    ----------
    lab : LabConfig
    file : str
        Named in messages.

    Raises
    ------
    ConfigError
        With all mistakes.
    """
    found = [ConfigError(file, f"remote.roles.{role}.{field}", given, allowed)
             for role in lab.remote.roles for field, given, allowed in _mistakes(lab, role)]
    if found:
        first, *others = found
        raise ConfigError(first.file, first.field, first.given, first.allowed, others)


def _mistakes(lab: LabConfig, role: str) -> Iterator[tuple[str, str, str]]:
    rules = next(one for name, one in lab.remote.roles.items() if name == role)
    specs = specs_of(lab)
    for number, name in enumerate(rules.plans if rules.plans is not None else ()):
        if name not in specs:
            yield f"plans.{number}", repr(name), one_of(tuple(specs), name)
    for number, name in enumerate(rules.devices if rules.devices is not None else ()):
        if name not in lab.instruments:
            yield f"devices.{number}", repr(name), one_of(tuple(lab.instruments), name)
    for key, (low, high) in rules.limits.items():
        plan, _, parameter = key.partition(".")
        spans = limits_known(lab, specs[plan]) if plan in specs else {}
        if plan not in specs:
            yield f"limits.{key}", repr(key), f"PLAN.PARAMETER, with a plan of: {in_words(tuple(specs))}"
        elif parameter not in spans:
            yield f"limits.{key}", repr(parameter), one_of(tuple(spans), parameter)
        elif not (math.isfinite(low) and math.isfinite(high) and low <= high):
            yield f"limits.{key}", f"{low:g}..{high:g}", "two finite numbers, the lower one first"
        elif high < spans[parameter][0] or low > spans[parameter][1]:
            least, most = spans[parameter]
            yield f"limits.{key}", f"{low:g}..{high:g}", f"something within {least:g}..{most:g}, what the laboratory can do"


def limits_known(lab: LabConfig, spec: PlanSpec) -> Mapping[str, Span]:
    """Names that limits of a plan may have, each with the range that the laboratory gives it."""
    found: dict[str, Span] = {}
    for one in spec.parameters(lab):
        if isinstance(one, Number):
            found[one.name] = one.low, one.high
        elif isinstance(one, Amounts):
            found |= {f"{one.name}.{key}": (number.low, number.high) for key, number in one.each.items()}
        elif isinstance(one, Name) and one.is_device:
            found |= {name: (axis.low, axis.high) for name, axis in positioners(lab).items()}
    if spec.name in ("scan", "move"):
        for name in ("start", "stop", "value"):  # of which the unit is the positioner's: one range for all would mean nothing
            found.pop(name, None)
    if spec.name == "campaign":
        found |= {"trials": (1.0, 100000.0), "hours": (0.0, math.inf)}
        specs = specs_of(lab)
        for other in SAME_LIMITS[spec.name]:
            found |= limits_known(lab, specs[other]) if other in specs else {}
    return found
