"""Between a campaign's parameters and what a recipe is told: checked before anything moves, used for every order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lab.core.channels import by_name
from lab.core.config import LabConfig, PumpBank, Syringe, WorldInput
from lab.core.errors import ConfigError
from lab.core.question import CampaignConfig, ChoiceSpec, ParameterSpec
from lab.core.space import Value
from plans.recipes import RECIPES, Carried, Order, Recipe, Setting

Role = Literal["share", "volume", "setting"]

VOLUME_UNITS = ("mL", "ml")


@dataclass(frozen=True)
class Term:
    """What one parameter sets: a liquid's share, a liquid's volume, or a setting of the recipe."""

    parameter: str
    role: Role
    target: str


class Translation:
    """What each parameter of a campaign sets in its recipe, in this laboratory.

    Parameters
    ----------
    campaign : CampaignConfig
    lab : LabConfig
        With the campaign's liquids already loaded (`load_liquids`).
    file : str
        The campaign's file, named in messages.

    Raises
    ------
    ConfigError
        For an unknown recipe, a parameter that no instrument can execute, values beyond an instrument's limits,
        a setting that is missing or given twice.
    """

    def __init__(self, campaign: CampaignConfig, lab: LabConfig, file: str) -> None:
        self._campaign, self._lab, self._file = campaign, lab, file
        if campaign.recipe not in RECIPES:
            raise ConfigError(file, "recipe", repr(campaign.recipe), ", ".join(RECIPES))
        self.recipe: Recipe = RECIPES[campaign.recipe]
        self._syringes = _loaded(lab)
        self.terms = tuple(self._term(number, spec) for number, spec in enumerate(campaign.parameters))
        self._check_once()
        self._check_shares()
        self.fixed = self._settings()
        """Settings of the recipe that no parameter changes."""

    # ------------------------------------------------------------------------------------------------- use

    def order(self, values: Mapping[str, Value], *, trial: int, sample: str, place: str, metadata: Mapping[str, Any]) -> Order:
        """The order that makes one suggestion."""
        shares = {t.target: float(values[t.parameter]) for t in self.terms if t.role == "share"}
        volumes = {t.target: float(values[t.parameter]) for t in self.terms if t.role == "volume"}
        settings = {**self.fixed, **{t.target: values[t.parameter] for t in self.terms if t.role == "setting"}}
        if settings.get("carrier"):
            carrier = str(settings["carrier"])
            volumes[carrier] = volumes.get(carrier, 0.0) + float(settings["carrier_volume_ml"])
        return Order(trial, sample, place, sample, shares, volumes, settings, metadata)

    def executed(self, carried: Carried) -> dict[str, Value]:
        """Parameter values as carried out; those that the recipe does not report are left out."""
        reported = {"share": carried.shares, "volume": carried.volumes_ml, "setting": carried.settings}
        return {t.parameter: reported[t.role][t.target] for t in self.terms if t.target in reported[t.role]}

    def world_inputs(self) -> tuple[WorldInput, ...]:
        """How a table world gets the columns (named as the parameters) from what was done to a sample."""
        quantities = {"anneal_temperature": "temperature", "anneal_time_s": "time", "stir_rpm": "stir", "carrier": "liquid"}
        whole = next((c.bound for c in self._campaign.space.constraints if c.is_sum), 1.0)
        inputs = []
        for number, term in enumerate(self.terms):
            if term.role == "share":
                inputs.append(WorldInput(column=term.parameter, quantity=f"fraction:{term.target}", scale=whole))
            elif term.role == "volume":
                inputs.append(WorldInput(column=term.parameter, quantity=f"volume:{term.target}"))
            elif term.target in quantities:
                inputs.append(WorldInput(column=term.parameter, quantity=quantities[term.target]))
            else:
                raise ConfigError(self._file, f"parameters.{number}.sets", repr(term.target),
                                  f"with a table as the world: a liquid, or one of {', '.join(quantities)}")
        return tuple(inputs)

    # ---------------------------------------------------------------------------------------------- checks

    def _term(self, number: int, spec: ParameterSpec) -> Term:
        target, field = spec.sets or spec.name, f"parameters.{number}"
        if target in self._syringes:
            if isinstance(spec, ChoiceSpec) or any(isinstance(value, str) for value in spec.extremes):
                raise ConfigError(self._file, f"{field}.type", spec.type, "range, or fixed to a number, for the amount of a liquid")
            amounts = [float(value) for value in spec.extremes]
            if spec.unit in VOLUME_UNITS:
                self._check_volume(f"{field}.{spec.extremes_field}", target, amounts[0], amounts[-1])
                return Term(spec.name, "volume", target)
            if amounts[0] < 0:
                raise ConfigError(self._file, f"{field}.{spec.extremes_field}", str(amounts), "shares from 0 up")
            return Term(spec.name, "share", target)
        setting = self.recipe.settings.get(target)
        if setting is None:
            hint = "" if spec.sets else "; a parameter of another name says which it sets, for instance sets: anneal_temperature"
            raise ConfigError(self._file, f"{field}.{'sets' if spec.sets else 'name'}", repr(target),
                              f"a loaded liquid ({', '.join(self._syringes)}) or a setting of {self.recipe.name} "
                              f"({', '.join(self.recipe.settings)}){hint}")
        for value in spec.extremes:
            self._check_setting(f"{field}.{spec.extremes_field}", setting, value)
        return Term(spec.name, "setting", target)

    def _check_volume(self, field: str, liquid: str, low: float, high: float) -> None:
        most = min(syringe.volume_ml for syringe in self._syringes[liquid])
        for name in _at_stations(self._lab, "pump"):
            row = by_name(self._lab.channels(name))["DISPENSE"]
            most = min(most, row.high if row.high is not None else most)
        if low < 0 or high > most:
            raise ConfigError(self._file, field, f"{low:g}..{high:g} mL", f"0..{most:g} mL, what the pump of {liquid} can dispense")

    def _check_setting(self, field: str, setting: Setting, value: Value) -> None:
        if setting.is_choice:
            if value != "" and value not in self._syringes:
                raise ConfigError(self._file, field, repr(value), f"a loaded liquid: {', '.join(self._syringes)}")
            return
        low, high, source = setting.low, setting.high, f"recipe {self.recipe.name}"
        if setting.channel is not None:
            kind, channel = setting.channel
            names = _at_stations(self._lab, kind)
            for name in names:  # a sample may be sent to any of them
                row = by_name(self._lab.channels(name))[channel]
                low = max(low, row.low if row.low is not None else low)
                high = min(high, row.high if row.high is not None else high)
            source = f"limits of {', '.join(f'{name}.{channel}' for name in names)}"
        if isinstance(value, (str, bool)) or not low <= value <= high:
            raise ConfigError(self._file, field, f"{value} {setting.unit}".strip(), f"{low:g}..{high:g} {setting.unit} ({source})")

    def _check_once(self) -> None:
        """Of two parameters that set the same thing, one would be forgotten in silence."""
        for number, term in enumerate(self.terms):
            other = next((one for one in self.terms[:number] if (one.role, one.target) == (term.role, term.target)), None)
            if other is not None:
                raise ConfigError(self._file, f"parameters.{number}", f"{term.parameter} sets {term.target}",
                                  f"something else: {other.parameter} sets {term.target} already")

    def _check_shares(self) -> None:
        """Shares of a whole must sum to the whole, else their executed values would not be those suggested."""
        shares = {t.parameter for t in self.terms if t.role == "share"}
        sums = [set(c.names) for c in self._campaign.space.constraints if c.is_sum]
        if shares and shares not in sums:
            raise ConfigError(self._file, "constraints", str(list(self._campaign.constraints)),
                              f"'{' + '.join(sorted(shares))} == 1' among them (100 for per cent), since these are shares of one volume "
                              "(or give them the unit mL)")
        if not shares and not any(t.role == "volume" for t in self.terms) and not self._campaign.settings.get("carrier"):
            raise ConfigError(self._file, "parameters", ", ".join(t.parameter for t in self.terms),
                              f"at least one liquid ({', '.join(self._syringes)}), or settings.carrier")

    def _settings(self) -> dict[str, Value]:
        """Defaults of the recipe with the campaign's fixed settings laid over them."""
        varied = {t.target for t in self.terms if t.role == "setting"}
        given = self._campaign.settings
        for name, value in given.items():
            if name not in self.recipe.settings:
                raise ConfigError(self._file, f"settings.{name}", repr(value), ", ".join(self.recipe.settings))
            if name in varied:
                raise ConfigError(self._file, f"settings.{name}", repr(value), "nothing, since a parameter sets it")
            self._check_setting(f"settings.{name}", self.recipe.settings[name], value)
        fixed: dict[str, Value] = {}
        for name, setting in self.recipe.settings.items():
            chosen = given.get(name, setting.default)
            if chosen is None and name not in varied:
                raise ConfigError(self._file, f"settings.{name}", "nothing", f"a number in {setting.unit}: {setting.doc}")
            if chosen is not None:
                fixed[name] = chosen
        if any(t.role == "share" for t in self.terms):
            for liquid in (t.target for t in self.terms if t.role == "share"):
                self._check_volume("settings.total_volume_ml", liquid, 0.0, float(fixed["total_volume_ml"]))
        return fixed


def load_liquids(lab: LabConfig, campaign: CampaignConfig, file: str) -> LabConfig:
    """The laboratory with the campaign's liquids in its pumps.

    Raises
    ------
    ConfigError
        When the laboratory has no pump bank, or no pump at an address.
    """
    if not campaign.liquids:
        return lab
    name, *more = _at_stations(lab, "pump")
    if more:
        raise ConfigError(file, "liquids", str(dict(campaign.liquids)),
                          f"nothing with several pump banks: lab.yaml says what is loaded in {name}, {', '.join(more)}")
    bank = _bank(lab, name)
    pumps = {s.address: s for s in bank.syringes}
    for liquid, address in campaign.liquids.items():
        if address not in pumps:
            raise ConfigError(file, f"liquids.{liquid}", str(address), f"a pump of {name}: {', '.join(map(str, pumps))}")
    if len(set(campaign.liquids.values())) < len(campaign.liquids):
        raise ConfigError(file, "liquids", str(dict(campaign.liquids)), "one liquid to a pump")
    loaded = tuple(pumps[address].model_copy(update={"liquid": liquid}) for liquid, address in campaign.liquids.items())
    instruments = {**lab.instruments, name: bank.model_copy(update={"syringes": loaded})}
    return lab.model_copy(update={"instruments": instruments})


def _loaded(lab: LabConfig) -> dict[str, tuple[Syringe, ...]]:
    """Liquids that every synthesiser has, each with the syringes it is in: a sample may be sent to any of them."""
    banks = [{s.liquid: s for s in _bank(lab, name).syringes} for name in _at_stations(lab, "pump")]
    return {liquid: tuple(bank[liquid] for bank in banks) for liquid in banks[0] if all(liquid in bank for bank in banks)}


def _at_stations(lab: LabConfig, kind: str) -> tuple[str, ...]:
    """Names of the instruments of a kind that stand at stations.

    Raises
    ------
    ConfigError
        When there is none.
    """
    names = tuple(name for station in lab.stations if (name := lab.instrument_at(station)) and lab.instruments[name].kind == kind)
    if not names:
        raise ConfigError(f"lab {lab.name}", "stations", f"none with an instrument of kind {kind}", f"a station with an instrument of kind {kind}")
    return names


def _bank(lab: LabConfig, name: str) -> PumpBank:
    bank = lab.instruments[name]
    if not isinstance(bank, PumpBank):
        raise ConfigError(f"lab {lab.name}", f"instruments.{name}.kind", bank.kind, "pump")
    return bank
