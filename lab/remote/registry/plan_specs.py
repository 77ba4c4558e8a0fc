"""The plans that may be queued: what each is for, which parameters it takes in this laboratory, how long it will take.

Nothing else can be queued, whatever names the worker's kernel knows. `lab.remote.registry.plan_checks` decides what a role may ask of them, the
worker's functions are made in `lab.remote.plan_functions`, and what clients read in `lab.remote.registry.plan_schema`, all from this description.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.core.channels import Channel, by_name
from lab.core.config import LabConfig, PumpBank
from lab.core.question import CampaignConfig
from lab.core.remote import Role
from lab.remote.registry.campaign_checks import check_config, config_of, written
from lab.remote.registry.films import film_campaign, liquids_of, most_ml, needs_a_dose, range_of
from lab.remote.registry.parameters import INFINITE, REQUIRED, Amounts, Id, Name, Names, Number, Parameter, Record, Whole
from lab.remote.registry.refusals import Problem
from plans.recipes import THIN_FILM, Setting

Values = Mapping[str, Any]

LONGEST_S = 86400.0
"""Longest time that a plan may be told to wait."""

LONGEST_COUNT_S = 7 * LONGEST_S
"""Longest time that one item may keep the laboratory for readings."""

MOST_READINGS = 10000


def _no_problems(lab: LabConfig, values: Values, limits: Mapping[str, tuple[float, float]]) -> list[Problem]:
    return []


def _unknown_s(lab: LabConfig, values: Values) -> float | None:
    return None


@dataclass(frozen=True)
class PlanSpec:
    """One plan.

    Parameters
    ----------
    name : str
    doc : str
        For people, some lines.
    parameters : callable
        Laboratory -> what it takes there, what must be given before what may be.
    least : Role
        Of whom it is taken.
    problems : callable
        (laboratory, values, limits of the role) -> what is wrong with values that are allowed one by one.
    expected_s : callable
        (laboratory, values) -> laboratory seconds; None: nobody knows without a rehearsal.
    campaign : callable or None
        (laboratory, values, owner) -> the campaign that it is, for plans that make samples: those are rehearsed.
    needs : tuple of str
        Kinds of instruments without which the laboratory does not have this plan.
    """

    name: str
    doc: str
    parameters: Callable[[LabConfig], tuple[Parameter, ...]]
    least: Role = "scientist"
    problems: Callable[[LabConfig, Values, Mapping[str, tuple[float, float]]], list[Problem]] = _no_problems
    expected_s: Callable[[LabConfig, Values], float | None] = _unknown_s
    campaign: Callable[[LabConfig, Values, str], CampaignConfig] | None = None
    needs: tuple[str, ...] = field(default=())

    def is_in(self, lab: LabConfig) -> bool:
        """Whether the laboratory can do it."""
        kinds = {instrument.kind for instrument in lab.instruments.values()}
        return kinds.issuperset(self.needs) and all(
            one.names for one in self.parameters(lab) if isinstance(one, (Name, Names)) and one.is_required)


# ----------------------------------------------------------------------------------------------- what there is


def readable(lab: LabConfig) -> tuple[str, ...]:
    """Devices that can be read."""
    return tuple(lab.instruments)


def positioners(lab: LabConfig) -> dict[str, Number]:
    """What a plan may move by itself, each with its limits: plates, stirrers, rates of pumps. The arm moves samples, and is nobody's axis."""
    found: dict[str, Number] = {}
    for name, instrument in lab.instruments.items():
        rows = by_name(lab.channels(name))
        if instrument.kind == "hotplate":
            found[name] = _axis(name, rows, "TEMPERATURE")
            found[f"{name}.stirrer"] = _axis(name, rows, "STIR_RPM")
        elif isinstance(instrument, PumpBank):
            found |= {f"{name}.{one.liquid}.rate": _axis(name, rows, "RATE") for one in instrument.syringes}
    return found


def _axis(instrument: str, rows: Mapping[str, Channel], channel: str) -> Number:
    row = rows[channel]
    low = row.low if row.low is not None else -INFINITE
    high = row.high if row.high is not None else INFINITE
    return Number("value", row.doc, unit=row.unit, low=low, high=high, source=f"limits of {instrument}.{channel}")


def _positioner(lab: LabConfig) -> Name:
    return Name("positioner", "what is moved: a plate (degC), its stirrer (rpm), or the rate of a pump (mL/min)", names=tuple(positioners(lab)),
                is_device=True)


def _exposure(lab: LabConfig) -> Number:
    rows = [by_name(lab.channels(name))["COUNT_TIME"] for name, one in lab.instruments.items() if one.kind == "detector"]
    low = max([1e-4, *(row.low for row in rows if row.low is not None)])
    high = min([3600.0, *(row.high for row in rows if row.high is not None)])
    return Number("count_time_s", "exposure of an area detector among them", min(max(1.0, low), high), "s", low=low, high=high)


# ----------------------------------------------------------------------------------------------- count and scan


def _count_parameters(lab: LabConfig) -> tuple[Parameter, ...]:
    return (Names("detectors", "devices that are read", names=readable(lab)),
            Whole("num", "how many readings", 1, low=1, high=MOST_READINGS),
            Number("delay_s", "from the beginning of one reading to that of the next, laboratory seconds", 0.0, "s", low=0.0, high=LONGEST_S),
            _exposure(lab))


def _exposure_s(lab: LabConfig, values: Values) -> float:
    exposes = any(lab.instruments[name].kind == "detector" for name in values["detectors"])
    return float(values["count_time_s"]) if exposes else 0.0


def _count_s(lab: LabConfig, values: Values) -> float | None:
    one_s = _exposure_s(lab, values)
    lab_s = one_s + (values["num"] - 1) * max(one_s, values["delay_s"])
    return lab_s if lab_s > 0.0 else None


def _count_problems(lab: LabConfig, values: Values, limits: Mapping[str, tuple[float, float]]) -> list[Problem]:
    lab_s = _count_s(lab, values)
    return [Problem("num", f"{values['num']} readings that take {lab_s:g} s", f"at most {LONGEST_COUNT_S:g} s in all")] if (lab_s or 0.0) > LONGEST_COUNT_S else []


def _scan_parameters(lab: LabConfig) -> tuple[Parameter, ...]:
    return (Names("detectors", "devices that are read at each point", names=readable(lab)), _positioner(lab),
            Number("start", "first point, in the positioner's unit"), Number("stop", "last point, in the positioner's unit"),
            Whole("num", "how many points, evenly spaced", low=2, high=1000), _exposure(lab))


def _scan_problems(lab: LabConfig, values: Values, limits: Mapping[str, tuple[float, float]]) -> list[Problem]:
    return [*_place_problems(lab, values, "start", limits), *_place_problems(lab, values, "stop", limits)]


def _move_parameters(lab: LabConfig) -> tuple[Parameter, ...]:
    return (_positioner(lab), Number("value", "where to, in the positioner's unit"),
            Number("hold_s", "how long it stays there before the plan ends (the heater then goes off), laboratory seconds", 0.0, "s",
                   low=0.0, high=LONGEST_S))


def _move_problems(lab: LabConfig, values: Values, limits: Mapping[str, tuple[float, float]]) -> list[Problem]:
    return _place_problems(lab, values, "value", limits)


def _place_problems(lab: LabConfig, values: Values, name: str, limits: Mapping[str, tuple[float, float]]) -> list[Problem]:
    """Whether a positioner can go there; a role may be narrowed by the positioner's name: ``move.hotplate_a: [20, 100]``."""
    axis = positioners(lab)[values["positioner"]]
    own = {"value": limits[values["positioner"]]} if values["positioner"] in limits else {}
    return [Problem(name, one.given, one.allowed) for one in axis.narrowed(own).problems(values[name])]


# ------------------------------------------------------------------------------------------- films and campaigns


def _film_parameters(lab: LabConfig) -> tuple[Parameter, ...]:
    most, liquids = most_ml(lab), liquids_of(lab)
    share = {liquid: Number(liquid, f"share of {liquid}", low=0.0, high=1.0) for liquid in liquids}
    volume = {liquid: Number(liquid, f"volume of {liquid}", unit="mL", low=0.0, high=most) for liquid in liquids}
    found = (Amounts("fractions", "each liquid's share of total_volume_ml", {}, each=share, total=1.0),
             Amounts("volumes_ml", "liquids dosed by volume, beside those given as fractions", {}, "mL", each=volume),
             *(_setting(lab, name, setting, liquids, most) for name, setting in THIN_FILM.settings.items()))
    return tuple(sorted(found, key=lambda one: not one.is_required))


def _setting(lab: LabConfig, name: str, setting: Setting, liquids: Sequence[str], most: float) -> Parameter:
    default = REQUIRED if setting.default is None else setting.default
    if setting.is_choice:
        return Name(name, setting.doc, default, names=("", *liquids))
    low, high, source = range_of(lab, setting)
    kind = Whole if isinstance(setting.default, int) else Number
    return kind(name, setting.doc, default, setting.unit, low, min(high, most) if setting.unit == "mL" else high, source)


def _film_problems(lab: LabConfig, values: Values, limits: Mapping[str, tuple[float, float]]) -> list[Problem]:
    found = [Problem(f"volumes_ml.{liquid}", f"{volume:g} mL", "nothing, since fractions has this liquid")
             for liquid, volume in values["volumes_ml"].items() if liquid in values["fractions"]]
    if values["carrier"] in values["volumes_ml"]:
        found.append(Problem("carrier", values["carrier"], "another liquid than those of volumes_ml, or more of it there"))
    low, high = limits.get(f"volumes_ml.{values['carrier']}", (0.0, INFINITE))
    if values["carrier"] and values["carrier_volume_ml"] > high:
        found.append(Problem("carrier_volume_ml", f"{values['carrier_volume_ml']:g} mL of {values['carrier']}", f"{low:g}..{high:g} mL (limits of your role)"))
    if needs_a_dose(values):
        found.append(Problem("fractions", "nothing that could be dosed", "shares that sum to 1, volumes_ml, or a carrier"))
    return found


def _film_campaign(lab: LabConfig, values: Values, owner: str) -> CampaignConfig:
    return film_campaign(lab, values, owner)


def _campaign_parameters(lab: LabConfig) -> tuple[Parameter, ...]:
    return (Record("config", "what a campaign.yaml says; without lab and owner", check=lambda given: check_config(lab, given), write=written),)


def _campaign(lab: LabConfig, values: Values, owner: str) -> CampaignConfig:
    return config_of(values["config"], owner)


def _resume_parameters(lab: LabConfig) -> tuple[Parameter, ...]:
    return (Id("campaign", "id of a campaign that was interrupted"),)


def _nothing(lab: LabConfig) -> tuple[Parameter, ...]:
    return ()


WORK_CELL = ("pump", "hotplate", "arm", "detector")

SPECS: dict[str, PlanSpec] = {spec.name: spec for spec in (
    PlanSpec("count", "Read devices, once or several times.", _count_parameters, problems=_count_problems, expected_s=_count_s),
    PlanSpec("scan", "Move one positioner through evenly spaced points, and read devices at each.", _scan_parameters, problems=_scan_problems),
    PlanSpec("move", "Move one positioner, within the limits of its channel, keep it there for a while, and read it.", _move_parameters,
             problems=_move_problems),
    PlanSpec("film", "Make and measure one film: dose, anneal, take its powder pattern. It is a campaign of one trial, with its records.",
             _film_parameters, problems=_film_problems, campaign=_film_campaign, needs=WORK_CELL),
    PlanSpec("campaign", "Run a campaign to its budget: the optimiser chooses each sample.", _campaign_parameters, campaign=_campaign,
             needs=WORK_CELL),
    PlanSpec("resume_campaign", "Take up a campaign that was interrupted.", _resume_parameters, needs=WORK_CELL),
    PlanSpec("prepare", "Clear errors and get every instrument ready to work: initialise, activate, home.", _nothing),
    PlanSpec("make_safe", "Heaters off, pumps stopped, motion stopped, detector disarmed, arm parked.", _nothing),
)}
"""Every plan that may be queued, by its name."""


def specs_of(lab: LabConfig) -> dict[str, PlanSpec]:
    """The plans that a laboratory can do."""
    return {name: spec for name, spec in SPECS.items() if spec.is_in(lab)}
