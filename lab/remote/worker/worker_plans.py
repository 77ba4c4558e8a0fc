"""The plans of the registry as functions of the worker, each returning a plan that knows its name and parameters.

Their annotations are plain types: the RE Manager resolves device names, plan names and expressions only where an annotation asks for it, and
these ask for none. What a function gets it checks again, as strictly as the steward has, and looks names up in the laboratory's file.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bluesky import plan_stubs, plans
from bluesky.preprocessors import run_wrapper

from lab.core.capabilities import Detector, Instrument
from lab.core.config import LabConfig
from lab.core.errors import CommandError, ConfigError
from lab.remote.registry.films import film_campaign
from lab.remote.registry.plan_checks import Plans
from lab.remote.registry.plan_specs import PlanSpec, positioners, specs_of
from lab.remote.worker.campaign_plans import campaign_plan, resume_plan
from lab.remote.worker.queued_plan import QueuedPlan
from plans import safe
from plans.stubs import Plan, act, hold, move

if TYPE_CHECKING:
    from lab.session import Session

Values = Mapping[str, Any]

PATIENCE_S = 60.0
"""Wall seconds in which ``prepare`` tries again what is not ready."""


def make_plans(session: Session) -> dict[str, Callable[..., QueuedPlan]]:
    """The functions of the plans that a laboratory can do, by name.

    Parameters
    ----------
    session : Session
        The worker's, started.
    """
    return {name: _function(session, spec) for name, spec in specs_of(session.lab).items()}


def signature_of(spec: PlanSpec, lab: LabConfig) -> inspect.Signature:
    """The signature of a plan's function."""
    return inspect.Signature([
        inspect.Parameter(one.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=one.annotation,
                          default=inspect.Parameter.empty if one.is_required else one.default)
        for one in spec.parameters(lab)])


def _function(session: Session, spec: PlanSpec) -> Callable[..., QueuedPlan]:
    signature, checks = signature_of(spec, session.lab), Plans(session.lab)

    def function(*args: Any, **kwargs: Any) -> QueuedPlan:
        values = checks.values(spec.name, signature.bind(*args, **kwargs).arguments, "admin")
        return QueuedPlan(spec.name, values, _PLANS[spec.name](session, values))

    function.__name__ = function.__qualname__ = spec.name
    function.__doc__ = _docstring(spec, session.lab)
    function.__signature__ = signature  # type: ignore[attr-defined]
    function._is_plan_ = True  # type: ignore[attr-defined]
    return function


def _docstring(spec: PlanSpec, lab: LabConfig) -> str:
    """In numpy's form, which the RE Manager reads."""
    lines = [spec.doc, "", "Parameters", "----------"]
    for one in spec.parameters(lab):
        lines += [f"{one.name} : {one.kind}", f"    {one.doc}" + (f" ({one.unit})" if one.unit else "")]
    return "\n".join(lines if lines[-1] != "----------" else lines[:1])


# --------------------------------------------------------------------------------------------------- the plans


def _count(session: Session, values: Values) -> Plan:
    devices = yield from _exposing(session, values)
    return (yield from plans.count(devices, num=values["num"], delay=_wall_s(session, values["delay_s"])))


def _scan(session: Session, values: Values) -> Plan:
    devices = yield from _exposing(session, values)
    return (yield from plans.scan(devices, _positioner(session, values["positioner"]), values["start"], values["stop"], num=values["num"]))


def _move(session: Session, values: Values) -> Plan:
    device = _positioner(session, values["positioner"])

    def there() -> Plan:
        yield from move(device, values["value"])
        yield from hold(session.clock, values["hold_s"])
        yield from plan_stubs.trigger_and_read([device])

    return (yield from run_wrapper(there(), md={"plan_name": "move", "plan_args": dict(values)}))


def _film(session: Session, values: Values) -> Plan:
    config = film_campaign(session.lab, values, _user(session))
    return (yield from campaign_plan(session, config.model_dump(mode="json", exclude_unset=True), "film"))


def _campaign(session: Session, values: Values) -> Plan:
    return (yield from campaign_plan(session, values["config"]))


def _resume_campaign(session: Session, values: Values) -> Plan:
    return (yield from resume_plan(session, values["campaign"]))


def _prepare(session: Session, values: Values) -> Plan:
    wrong = yield from safe.ready(_instruments(session), PATIENCE_S, is_after_failure=True)
    _raise("prepare", "not ready", wrong)


def _make_safe(session: Session, values: Values) -> Plan:
    from lab.instruments import work_cell

    try:
        said = yield from safe.make_safe(work_cell(session.lab, session.devices, session.clock, session.home.frames("by-hand")))
    except ConfigError:  # a laboratory without an arm, say: nothing has been asked of any instrument yet
        said = {}
    for instrument in _instruments(session):
        if instrument.name not in said:
            said |= yield from safe.attempted(instrument)
    _raise("make_safe", "not safe", {name: words for name, words in said.items() if not words.startswith("safe")})


_PLANS: dict[str, Callable[[Session, Values], Plan]] = {
    "count": _count, "scan": _scan, "move": _move, "film": _film, "campaign": _campaign, "resume_campaign": _resume_campaign,
    "prepare": _prepare, "make_safe": _make_safe}


# --------------------------------------------------------------------------------------------------------- parts


def _exposing(session: Session, values: Values) -> Plan:
    """The devices to be read; area detectors among them get their exposure first."""
    devices = [session.devices[name] for name in values["detectors"]]
    for device in devices:
        if isinstance(device, Detector):
            yield from act(f"set the exposure of {device.name}", lambda one=device: one.set_exposure(values["count_time_s"], 1))  # type: ignore[misc]
    return devices


def _positioner(session: Session, name: str) -> Any:
    """The device of a positioner; only of those that the registry names."""
    if name not in positioners(session.lab):
        raise CommandError(f"{name}: is no positioner; allowed: {', '.join(positioners(session.lab))}")
    first, *rest = name.split(".")
    device = session.devices[first]
    for part in rest:
        device = getattr(device, part)
    return device


def _instruments(session: Session) -> tuple[Any, ...]:
    return tuple(device for name in session.lab.instruments if isinstance(device := session.devices[name], Instrument))


def _wall_s(session: Session, lab_s: float) -> float:
    return lab_s / session.clock.speed


def _user(session: Session) -> str:
    """Whose item runs; nobody's at a console."""
    item = getattr(session.RE, "item", None)
    return session.ledger.item(item).user if item is not None else ""


def _raise(plan: str, what: str, wrong: Mapping[str, str]) -> None:
    if wrong:
        raise CommandError(f"{plan}: {what}: " + "; ".join(f"{name}: {words}" for name, words in wrong.items()))
