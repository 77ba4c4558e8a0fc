"""Whether what a campaign's file says of the laboratory fits its parameters, its objectives and its engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.core.expression import Expression, parse
from lab.core.parameters import ChoiceParameter, RangeParameter, Value
from lab.core.space import LinearConstraint, Space, constrainable

if TYPE_CHECKING:
    from lab.core.question import CampaignConfig


MOST_TRADED = 6
"""Objectives between which trade-offs are sought at most: with more of them nearly every sample is one."""


def one_outcome(text: str, field: str) -> LinearConstraint:
    """A constraint on one outcome: ``film_thickness >= 200``.

    Raises
    ------
    ValueError
        Naming the field, for anything else.
    """
    name = text.replace("<", " ").replace(">", " ").replace("=", " ").split()[:1]
    try:
        limit = LinearConstraint.parse(text, name)
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from error
    if limit.operator == "==" or len(limit.coefficients) != 1:
        raise ValueError(f"{field}: given {text!r}; allowed: one outcome and a bound, such as 'thickness >= 200'")
    return limit


def numbers_of(space: Space) -> list[str]:
    """Parameters that an expression may hold: ranges, what is fixed to a number, and choices between numbers."""
    return [*constrainable(space.parameters), *(p.name for p in space.parameters if isinstance(p, ChoiceParameter) and p.numbers)]


def cost_of(space: Space, text: str) -> Expression:
    """The laboratory seconds of a sample by its parameters, read from `Fidelity.cost`.

    Raises
    ------
    ValueError
        When it is no expression of them.
    """
    try:
        return parse(text, numbers_of(space))
    except ValueError as error:
        raise ValueError(f"fidelity.cost: {error}") from error


def check_consistency(campaign: CampaignConfig) -> None:
    """Refuse what cannot be meant.

    Raises
    ------
    ValueError
        Naming the field, what is given, and what is allowed.
    """
    space = campaign.space
    _check_objectives(campaign)
    _check_top(campaign)
    _check_durations(campaign, space)
    _check_drift(campaign, space)
    _check_safety(campaign)
    _check_fidelity(campaign, space)
    _check_stop(campaign)


def _check_objectives(campaign: CampaignConfig) -> None:
    objectives = campaign.objectives
    names = [one.name for one in objectives]
    twice = next((name for k, name in enumerate(names) if name in names[:k]), None)
    if twice is not None:
        raise ValueError(f"objectives.{len(names) - 1 - names[::-1].index(twice)}.name: given {twice} twice; allowed: each outcome once")
    if campaign.combine == "desirability":
        if len(objectives) == 1:
            raise ValueError("combine: given desirability with one objective; allowed: with several")
        for number, one in enumerate(objectives):
            if one.goal == "target" and one.tolerance is None:
                raise ValueError(f"objectives.{number}.tolerance: given none with combine: desirability; allowed: how far from {one.target:g} a sample is worth nothing")
            if one.goal != "target" and one.desirability is None:
                raise ValueError(f"objectives.{number}.desirability: given none with combine: desirability; allowed: [value worth nothing, best value]")
    elif len(objectives) > MOST_TRADED:
        raise ValueError(f"objectives: given {len(objectives)} with combine: pareto; allowed: up to {MOST_TRADED}, or combine: desirability")


def _check_top(campaign: CampaignConfig) -> None:
    top = campaign.optimizer.top
    if top is None:
        return
    if campaign.candidates is None:
        raise ValueError(f"optimizer.top: given {top:g} without candidates; allowed: with candidates, it is a share of them")
    if len(campaign.objectives) > 1 or campaign.objective.goal == "target":
        raise ValueError(f"optimizer.top: given {top:g} with {'several objectives' if len(campaign.objectives) > 1 else 'a target'}; allowed: "
                         "with one objective to maximize or minimize")


def _check_durations(campaign: CampaignConfig, space: Space) -> None:
    unknown = [] if campaign.durations is None else [name for name in campaign.durations.change_s if name not in space.names]
    if unknown:
        raise ValueError(f"durations.change_s: given {', '.join(unknown)}; allowed: {', '.join(space.names)}")


def _check_drift(campaign: CampaignConfig, space: Space) -> None:
    if campaign.drift is None or not campaign.drift.reference:
        return
    reference = campaign.drift.reference
    problems = space.problems(reference)
    if problems:
        raise ValueError(f"drift.reference: given {_said(reference)}: {problems[0]}; allowed: a value for each parameter, within its bounds and the constraints")
    if campaign.candidates is not None and not any(all(row[name] == reference[name] for name in row) for row in campaign.candidates.records()):
        raise ValueError(f"drift.reference: given {_said(reference)}; allowed: one of the candidates")


def _check_safety(campaign: CampaignConfig) -> None:
    if campaign.safety is None:
        return
    _ = campaign.safe_limits
    if campaign.optimizer.engine == "remote":
        raise ValueError("safety: given with engine remote; allowed: an engine of this laboratory, what others propose is not checked for it")
    if campaign.drift is not None and campaign.drift.reference and campaign.drift.reference not in campaign.optimizer.points:
        raise ValueError(f"drift.reference: given {_said(campaign.drift.reference)} with safety; allowed: one of optimizer.points, which are known to be safe")
    if not campaign.optimizer.points and not any(prior.is_same for prior in campaign.prior):
        raise ValueError("optimizer.points: given none with safety; allowed: at least one point that is known to be safe (or prior data that is_same)")


def _check_fidelity(campaign: CampaignConfig, space: Space) -> None:
    if campaign.fidelity is None:
        return
    if campaign.candidates is not None:
        raise ValueError("fidelity: given with candidates; allowed: one of the two, a candidate says already how it is measured")
    name, target = campaign.fidelity.parameter, campaign.fidelity.target
    if name not in space.names or not isinstance(space[name], RangeParameter | ChoiceParameter):
        raise ValueError(f"fidelity.parameter: given {name}; allowed: a parameter that is not fixed: "
                         f"{', '.join(p.name for p in space.parameters if isinstance(p, RangeParameter | ChoiceParameter))}")
    if text := space[name].problem(target):
        raise ValueError(f"fidelity.target: {text}")
    cost = cost_of(space, campaign.fidelity.cost)
    for place in (0, -1):
        values = {known: float(_ends(space, known)[place]) for known in cost.names}
        seconds = float(cost(values))
        if not seconds > 0:
            at = ", ".join(f"{known} = {value:g}" for known, value in values.items())
            raise ValueError(f"fidelity.cost: given {campaign.fidelity.cost!r}, which is {seconds:g} s at {at or 'all points'}; allowed: more than 0 everywhere")


def _check_stop(campaign: CampaignConfig) -> None:
    stop, engine = campaign.stop, campaign.optimizer.engine
    if stop is None:
        return
    if engine != "botorch":
        raise ValueError(f"stop: given with engine {engine}; allowed: with botorch, whose model is asked")
    if stop.improvement is None and stop.improvement_per_hour is None and stop.confidence is None:
        raise ValueError("stop: given no rule; allowed: at least one of improvement, improvement_per_hour, confidence")
    if stop.confidence is not None and len(campaign.objectives) > 1:
        raise ValueError(f"stop.confidence: given with {len(campaign.objectives)} objectives; allowed: with one")


def _ends(space: Space, name: str) -> tuple[float, float]:
    """The least and the largest number that a parameter can be."""
    parameter = space[name]
    if isinstance(parameter, RangeParameter):
        return parameter.low, parameter.high
    numbers = parameter.numbers if isinstance(parameter, ChoiceParameter) else (float(parameter.value),)
    return min(numbers), max(numbers)


def _said(point: dict[str, Value] | dict[str, float | int | str]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in point.items())
