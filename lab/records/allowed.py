"""Whether a point that somebody brings is one that the campaign may try, or one that it can learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lab.core.errors import ConfigError
from lab.core.question import CampaignConfig
from lab.core.space import SUM_TOLERANCE, ChoiceParameter, FixedParameter, Parameter, RangeParameter, Space, Value
from lab.core.trial import Measured


def check_point(config: CampaignConfig, values: Mapping[str, Value], what: str) -> None:
    """Refuse a point that the campaign may not try; all that is wrong is said.

    Parameters
    ----------
    what : str
        What messages call it, such as ``proposal``.

    Raises
    ------
    ConfigError
    """
    space = config.space
    wrong = _names(space, values, what)
    for name in space.names:
        said = space[name].problem(values[name]) if name in values else ""
        if said:
            wrong.append(ConfigError(what, f"values.{name}", repr(values[name]), space[name].allowed))
    if not wrong:
        wrong = [ConfigError(what, "values", f"{constraint.left_side(values):.12g} on the left", str(constraint))
                 for constraint in space.constraints if not constraint.is_met(values)]
        wrong += [ConfigError(what, "values", _shown(values), str(constraint)) for constraint in space.nonlinear if not constraint.is_met(values)]
    if not wrong and config.candidates is not None and not _is_candidate(config, values):
        wrong = [ConfigError(what, "values", _shown(values), f"one of the {len(config.candidates.rows)} rows of its candidates")]
    _raise(wrong)


def check_result(config: CampaignConfig, values: Mapping[str, Value], measured: Mapping[str, Measured], what: str) -> None:
    """Refuse a result from elsewhere that the campaign cannot learn from. It may lie outside the bounds: it is a fact.

    Raises
    ------
    ConfigError
    """
    space = config.space
    wrong = _names(space, values, what)
    for name in space.names:
        if name in values and not _is_known(space[name], values[name]):
            wrong.append(ConfigError(what, f"values.{name}", repr(values[name]), _known(space[name])))
    wrong += [ConfigError(what, f"measured.{name}", "nothing", "a number") for name in config.outcome_names if name not in measured]
    _raise(wrong)


def _names(space: Space, values: Mapping[str, Value], what: str) -> list[ConfigError]:
    wrong = [ConfigError(what, f"values.{name}", "nothing", "a value") for name in space.names if name not in values]
    return wrong + [ConfigError(what, f"values.{name}", repr(value), f"one of {', '.join(space.names)}")
                    for name, value in values.items() if name not in space.names]


def _is_known(parameter: Parameter, value: Value) -> bool:
    """Whether a model has a place for the value."""
    if isinstance(parameter, ChoiceParameter):
        return value in parameter.listed
    if isinstance(parameter, FixedParameter) and (parameter.is_text or parameter.scaled_by is None):
        return not parameter.problem(value)
    return not isinstance(value, (str, bool))


def _known(parameter: Parameter) -> str:
    if isinstance(parameter, ChoiceParameter):
        return ", ".join(map(str, parameter.listed))
    return "a number" if isinstance(parameter, RangeParameter) else parameter.allowed


def _is_candidate(config: CampaignConfig, values: Mapping[str, Value]) -> bool:
    table = config.candidates
    if table is None:
        return True
    wanted = [values[name] for name in table.columns]
    return any(all(_is_same(given, own) for given, own in zip(row, wanted, strict=True)) for row in table.rows)


def _is_same(given: Value, own: Value) -> bool:
    if isinstance(given, str) or isinstance(own, str):
        return given == own
    return abs(given - own) <= SUM_TOLERANCE * max(1.0, abs(given))


def _shown(values: Mapping[str, Value]) -> str:
    return ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items())


def _raise(wrong: Sequence[ConfigError]) -> None:
    if wrong:
        first, *others = wrong
        raise ConfigError(first.file, first.field, first.given, first.allowed, others)
