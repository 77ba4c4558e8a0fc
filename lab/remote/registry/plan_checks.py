"""Whether somebody may queue a plan with these parameters: decided before it enters the queue, with all mistakes at once.

Names are looked up in the registry's lists and in the channel tables of the laboratory, narrowed by what lab.yaml says of the role; nothing
that comes in is resolved, evaluated or opened as a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from lab.core.config import LabConfig
from lab.core.digest import digest_of
from lab.core.errors import ConfigError
from lab.core.question import CampaignConfig
from lab.core.remote import Role, RoleRules, is_at_least
from lab.remote.access.who import Who
from lab.remote.registry.campaign_checks import narrowed_problems
from lab.remote.registry.parameters import Name, Names, Parameter, in_words, one_of
from lab.remote.registry.plain import problems_of_plain
from lab.remote.registry.plan_specs import PlanSpec, specs_of
from lab.remote.registry.refusals import PlanRefused, Problem, problems_of, shown

Limits = Mapping[str, tuple[float, float]]

SAME_LIMITS: Mapping[str, tuple[str, ...]] = {"campaign": ("film",), "scan": ("move",)}
"""What holds for a film holds for the samples of a campaign, what holds for one motion for those of a scan."""

MOST_GIVEN = 100
"""Parameters of one plan that are looked at by name."""


@dataclass(frozen=True)
class Checked:
    """A plan that may be queued.

    Parameters
    ----------
    name : str
    parameters : dict
        All of them, defaults filled in, each written in one way: what is queued, approved, and run.
    digest : str
        Of both (`lab.core.digest`).
    estimate_s : float or None
        How long it will take, laboratory seconds; None where nobody knows.
    warnings : tuple of str
        What somebody will have to do on the way.
    """

    name: str
    parameters: dict[str, Any]
    digest: str
    estimate_s: float | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Foreseen:
    """What a rehearsal has shown of a campaign: what cannot be done, what somebody will have to do, laboratory seconds (None: not known)."""

    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()
    lab_s: float | None = None


class Rehearser(Protocol):
    """Looks ahead; `lab.remote.registry.rehearser` does it in a process of its own."""

    def foresee(self, campaign: CampaignConfig) -> Foreseen: ...


class Records(Protocol):
    """What a check asks of the ledger: `lab.remote.steward.campaigns_on_record`."""

    def resumable_problems(self, campaign: str, who: Who) -> list[Problem]: ...

    def prior_problems(self, config: Mapping[str, Any], who: Who) -> list[Problem]: ...


@dataclass(frozen=True)
class Plans:
    """What may be queued in one laboratory.

    Parameters
    ----------
    lab : LabConfig
        Which is up.
    rehearser : Rehearser or None
        None: campaigns are checked as far as that goes without one.
    records : Records or None
    """

    lab: LabConfig
    rehearser: Rehearser | None = None
    records: Records | None = None

    def allowed(self, role: Role) -> dict[str, PlanSpec]:
        """The plans of a role."""
        names = self.lab.remote.rules(role).plans
        return {name: spec for name, spec in specs_of(self.lab).items()
                if is_at_least(role, spec.least) and (names is None or name in names) and self._has_names(spec, role)}

    def parameters(self, spec: PlanSpec, role: Role) -> tuple[Parameter, ...]:
        """What a plan takes of a role: its devices, within its limits."""
        rules = self.lab.remote.rules(role)
        limits = limits_of(rules, spec.name)
        devices = rules.devices if rules.devices is not None else tuple(self.lab.instruments)
        return tuple(one.narrowed(limits).within(devices) for one in spec.parameters(self.lab))

    def check(self, name: Any, parameters: Any, who: Who) -> Checked:
        """Check a plan that somebody wants to queue.

        Parameters
        ----------
        name, parameters : object
            As they came in.
        who : Who

        Raises
        ------
        PlanRefused
            With every mistake that could be found.
        """
        spec = self._spec(name, who.role)
        values = self.values(spec.name, parameters, who.role)
        if spec.name == "campaign":
            values["config"]["owner"] = who.name  # whatever the file says
            if self.records is not None:
                raise_problems(spec.name, self.records.prior_problems(values["config"], who))
        if spec.name == "resume_campaign" and self.records is not None:
            raise_problems(spec.name, self.records.resumable_problems(values["campaign"], who))
        digest = digest_of(spec.name, values)
        if spec.campaign is None:
            return Checked(spec.name, values, digest, spec.expected_s(self.lab, values))
        foreseen = self._foreseen(spec, values, who)
        return Checked(spec.name, values, digest, foreseen.lab_s, foreseen.warnings)

    def bind(self, name: Any, args: Any, kwargs: Any, role: Role) -> dict[str, Any]:
        """Arguments as the RE Manager's messages have them, by position and by name, as parameters by name.

        Raises
        ------
        PlanRefused
            For too many, and for one that is given twice.
        """
        spec = self._spec(name, role)
        by_position = args if args is not None else []
        by_name = kwargs if kwargs is not None else {}
        if not isinstance(by_position, (list, tuple)) or not isinstance(by_name, dict):
            raise PlanRefused(spec.name, [Problem("args" if isinstance(by_name, dict) else "kwargs", shown([args, kwargs]),
                                                  "a list of args and an object of kwargs")])
        names = [one.name for one in spec.parameters(self.lab)]
        if len(by_position) > len(names):
            raise PlanRefused(spec.name, [Problem("args", f"{len(by_position)} of them", f"at most {len(names)}: {in_words(names)}")])
        twice = [one for one in names[:len(by_position)] if one in by_name]
        raise_problems(spec.name, [Problem(one, "by position and by name", "once") for one in twice])
        return {**dict(zip(names, by_position, strict=False)), **by_name}

    # ------------------------------------------------------------------------------------------------ parts

    def _has_names(self, spec: PlanSpec, role: Role) -> bool:
        """Whether the role has a device for each parameter that needs one."""
        return all(one.names for one in self.parameters(spec, role) if isinstance(one, (Name, Names)) and one.is_required)

    def _spec(self, name: Any, role: Role) -> PlanSpec:
        allowed = self.allowed(role)
        if not isinstance(name, str) or name not in allowed:
            raise PlanRefused("plan", [Problem("name", shown(name), one_of(tuple(allowed), name) if allowed else f"no plan: your role is {role}")])
        return allowed[name]

    def values(self, name: str, parameters: Any, role: Role) -> dict[str, Any]:
        """Every parameter of a plan, checked one by one and together, defaults filled in; what is normal already stays as it is.

        Raises
        ------
        PlanRefused
        """
        spec = self._spec(name, role)
        if not isinstance(parameters, dict):
            raise PlanRefused(spec.name, [Problem("kwargs", shown(parameters), "an object: parameters by name")])
        described = {one.name: one for one in self.parameters(spec, role)}
        found = [_unknown(given, parameters[given], tuple(described)) for given in list(parameters)[:MOST_GIVEN] if given not in described]
        values: dict[str, Any] = {}
        for each, parameter in described.items():
            if each in parameters:
                found += _problems(parameter, parameters[each])
            elif parameter.is_required:
                found.append(Problem(each, "nothing", f"a value: {parameter.doc}"))
            else:
                found += _default_problems(parameter)
            if not found:
                values[each] = parameter.normal(parameters.get(each, parameter.default))
        raise_problems(spec.name, found)
        raise_problems(spec.name, spec.problems(self.lab, values, limits_of(self.lab.remote.rules(role), spec.name)))
        return values

    def _foreseen(self, spec: PlanSpec, values: Mapping[str, Any], who: Who) -> Foreseen:
        """What a campaign's rehearsal tells, after what the role may not do of it has been refused."""
        if spec.campaign is None:
            return Foreseen()
        try:
            campaign = spec.campaign(self.lab, values, who.name)
        except ConfigError as error:
            raise PlanRefused(spec.name, problems_of(error)) from error
        if spec.name == "campaign":
            rules = self.lab.remote.rules(who.role)
            raise_problems(spec.name, [one.under("config") for one in narrowed_problems(campaign, limits_of(rules, spec.name))])
        if self.rehearser is None:
            return Foreseen()
        foreseen = self.rehearser.foresee(campaign)
        raise_problems(spec.name, [one.under("config") if spec.name == "campaign" else replace(one, field=one.field.removeprefix("settings."))
                                   for one in foreseen.problems])
        return foreseen


def _unknown(name: Any, value: Any, names: Sequence[str]) -> Problem:
    field = name if isinstance(name, str) and len(name) <= 40 and name.isprintable() else shown(name)
    return Problem(field, shown(value), f"no such parameter; {one_of(names, name)}" if names else "no such parameter; this plan has none")


def _problems(parameter: Parameter, given: Any) -> list[Problem]:
    """Whether it is plain before whether it is right."""
    found = problems_of_plain(given, parameter.name)
    return found if found else parameter.problems(given)


def _default_problems(parameter: Parameter) -> list[Problem]:
    """A default may lie beyond the limits of a role: then who has the role must say what they want."""
    return [replace(one, given=f"nothing, that is {one.given}") for one in parameter.problems(parameter.default)]


def limits_of(rules: RoleRules, plan: str) -> dict[str, tuple[float, float]]:
    """The ranges of a role for one plan, by parameter; with those of the plan that it could else be a way around."""
    found: dict[str, tuple[float, float]] = {}
    for name in (plan, *SAME_LIMITS.get(plan, ())):
        for key, (low, high) in rules.limits.items():
            if key.startswith(f"{name}."):
                least, most = found.get(key.removeprefix(f"{name}."), (low, high))
                found[key.removeprefix(f"{name}.")] = max(low, least), min(high, most)
    return found


def raise_problems(what: str, problems: Sequence[Problem]) -> None:
    """Refuse, if there is anything wrong."""
    if problems:
        raise PlanRefused(what, problems)
