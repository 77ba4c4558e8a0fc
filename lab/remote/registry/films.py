"""One film as a campaign of one trial: so that its ledger, its evaluation and its data are those of any campaign."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.core.channels import Channel, by_name
from lab.core.config import LabConfig, PumpBank, TableWorld
from lab.core.question import CampaignConfig
from plans.recipes import MIN_DOSE_ML, THIN_FILM, Setting

VARIED = ("anneal_temperature", "anneal_time_s")
"""Settings of which the ledger keeps what was planned and what was carried out, as of the parameters of a campaign."""


def liquids_of(lab: LabConfig) -> tuple[str, ...]:
    """Liquids that every synthesiser of the laboratory has, in the order of the file."""
    banks = [lab.instruments[name] for station in lab.stations_of("synthesiser") if (name := lab.instrument_at(station))]
    loaded = [tuple(one.liquid for one in bank.syringes) for bank in banks if isinstance(bank, PumpBank)]
    return tuple(liquid for liquid in loaded[0] if all(liquid in bank for bank in loaded)) if loaded else ()


def most_ml(lab: LabConfig) -> float:
    """What every pump of the laboratory can dispense at once, mL."""
    found = [float("inf")]
    for name, bank in lab.instruments.items():
        if isinstance(bank, PumpBank):
            row = by_name(lab.channels(name))["DISPENSE"]
            found += [one.volume_ml for one in bank.syringes] + ([row.high] if row.high is not None else [])
    return min(found)


def range_of(lab: LabConfig, setting: Setting) -> tuple[float, float, str]:
    """What a setting of the recipe may be here: low, high, and where that comes from."""
    low, high, source = setting.low, setting.high, f"recipe {THIN_FILM.name}"
    if setting.channel is None:
        return low, high, source
    kind, channel = setting.channel
    names = [name for station in lab.stations if (name := lab.instrument_at(station)) and lab.instruments[name].kind == kind]
    rows: list[Channel] = [by_name(lab.channels(name))[channel] for name in names]
    low = max([low, *(row.low for row in rows if row.low is not None)])
    high = min([high, *(row.high for row in rows if row.high is not None)])
    return low, high, f"limits of {', '.join(f'{name}.{channel}' for name in names)}" if names else source


def film_campaign(lab: LabConfig, values: Mapping[str, Any], owner: str = "") -> CampaignConfig:
    """The campaign that makes one film.

    Parameters
    ----------
    lab : LabConfig
    values : mapping
        Every parameter of the plan ``film``, checked and normal (`lab.remote.registry.plan_specs`).
    owner : str

    Raises
    ------
    pydantic.ValidationError
        When the laboratory is one in which no film can be made: without liquids, say.
    """
    fractions, volumes = values["fractions"], values["volumes_ml"]
    settings = {name: values[name] for name in THIN_FILM.settings if name not in VARIED}
    point: dict[str, Any] = {name: values[name] for name in VARIED}
    parameters: list[dict[str, Any]] = []
    # The shares of liquids that are not in it are 0: a share needs another one beside it to sum to one with.
    shares = {liquid: fractions.get(liquid, 0.0) for liquid in liquids_of(lab) if liquid not in volumes} if fractions else {}
    if len(shares) == 1:
        volumes, shares = {**volumes, **{liquid: values["total_volume_ml"] for liquid in shares}}, {}
    for liquid, share in shares.items():
        parameters.append({"name": liquid, "type": "range", "bounds": [0.0, 1.0]})
        point[liquid] = share
    for liquid, volume in volumes.items():
        parameters.append({"name": liquid, "type": "range", "bounds": [0.0, most_ml(lab)], "unit": "mL"})
        point[liquid] = volume
    for name in VARIED:
        low, high, _ = range_of(lab, THIN_FILM.settings[name])
        parameters.append({"name": name, "type": "range", "bounds": [low, high], "unit": THIN_FILM.settings[name].unit})
    return CampaignConfig.model_validate({
        "name": "film", "owner": owner, "recipe": THIN_FILM.name, "settings": settings, "parameters": parameters,
        "constraints": [f"{' + '.join(shares)} == 1"] if shares else [],
        "budget": {"trials": 1, "failures": 1}, "optimizer": {"engine": "given", "points": [point]}, **_question(lab)})


def _question(lab: LabConfig) -> dict[str, Any]:
    """What is measured of the film: what the laboratory's frames can tell."""
    if isinstance(lab.world, TableWorld) and lab.is_simulated:
        return {"objectives": [{"name": lab.world.output, "goal": "maximize"}],
                "evaluate": {"kind": "brightness", "full_scale": list(lab.world.full_scale)}}
    return {"objectives": [{"name": "perovskite_fraction", "goal": "maximize"}], "evaluate": {"kind": "phases"}}


def needs_a_dose(values: Mapping[str, Any]) -> bool:
    """Whether nothing at all would be dosed."""
    doses = [values["total_volume_ml"] * share for share in values["fractions"].values()] + list(values["volumes_ml"].values())
    if values["carrier"]:
        doses.append(values["carrier_volume_ml"])
    return not any(volume >= MIN_DOSE_ML for volume in doses)
