"""A campaign that somebody sends: what it may say, and what the laboratory that is up can do of it, before anything is rehearsed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.core.config import LabConfig, PumpBank
from lab.core.errors import ConfigError
from lab.core.expected import is_code
from lab.core.question import CampaignConfig, ChoiceSpec
from lab.files import parse
from lab.remote.registry.refusals import Problem, problems_of, shown
from lab.translation import VOLUME_UNITS, Translation
from plans.recipes import RECIPES

MOST: Mapping[str, int] = {"parameters": 24, "constraints": 40, "outcome_constraints": 20, "objectives": 4, "settings": 40, "liquids": 40,
                           "recovery.rules": 50, "optimizer.points": 400, "candidates.rows": 5000, "prior": 10}
"""How many of each a campaign may have: beyond this, the space cannot be looked through in time."""

FILE = "campaign"
"""How messages call what was sent."""

MOST_CHOICES = 60

MOST_PRIOR_ROWS = 5000
"""Of each table of earlier data."""

LONGEST_EXPRESSION = 300
"""Characters of a constraint."""

LONGEST_OWNER = 80
"""Characters of a name, as `CampaignConfig` has it."""

LONGEST_DEADLINE_S = 86400.0
"""For which the laboratory waits for a point, wall seconds."""

LARGEST = 1e9
"""No number in a campaign means anything beyond it, and the arithmetic of the space stays exact."""

Limits = Mapping[str, tuple[float, float]]

ROLE = " (limits of your role)"

OWN_FILE = "nothing: a campaign that is sent runs in this laboratory, and names no file"


def check_config(lab: LabConfig, given: Any) -> list[Problem]:
    """What is wrong with a campaign, as far as it shows without a rehearsal.

    Parameters
    ----------
    lab : LabConfig
        Which is up.
    given : dict
        Plain JSON (`lab.remote.registry.plain`).
    """
    found = _size_problems(given)
    if given.get("lab"):
        found.append(Problem("lab", shown(given["lab"]), OWN_FILE))
    found += _code_problems(given)
    if found:
        return found
    try:
        campaign = config_of(given, "")
    except ConfigError as error:
        return problems_of(error)
    if campaign.optimizer.deadline_s > LONGEST_DEADLINE_S:
        return [Problem("optimizer.deadline_s", shown(campaign.optimizer.deadline_s), f"at most {LONGEST_DEADLINE_S:g} s: nobody else's samples are made meanwhile")]
    found = _liquid_problems(lab, campaign)
    if found:
        return found
    try:
        Translation(campaign, lab, FILE)
    except ConfigError as error:
        return problems_of(error)
    return []


def config_of(given: Mapping[str, Any], owner: str) -> CampaignConfig:
    """The campaign, with the owner that the key names, whatever it says itself.

    Raises
    ------
    ConfigError
        With all mistakes of the file.
    """
    return parse(CampaignConfig, {**given, "lab": "", "owner": owner}, FILE, is_strict=True)


def written(given: Mapping[str, Any]) -> dict[str, Any]:
    """An allowed campaign as its model writes it.

    What it leaves out stays left out: some fields mean something else then (`Recovery`). Its liquids are those that are loaded, and nobody
    has to load them again.
    """
    owner = given.get("owner")
    given = {name: value for name, value in given.items() if name != "liquids"}
    return config_of(given, owner if isinstance(owner, str) and len(owner) <= LONGEST_OWNER else "").model_dump(mode="json", exclude_unset=True)


def _size_problems(given: Mapping[str, Any]) -> list[Problem]:
    """What would take too long to look at."""
    found = []
    for path, most in MOST.items():
        value = _at(given, path)
        if isinstance(value, (list, dict)) and len(value) > most:
            found.append(Problem(path, f"{len(value)}", f"at most {most}"))
    for path in ("constraints", "outcome_constraints"):
        for number, text in enumerate(_list(given.get(path))):
            if isinstance(text, str) and len(text) > LONGEST_EXPRESSION:
                found.append(Problem(f"{path}.{number}", f"{len(text)} characters", f"at most {LONGEST_EXPRESSION}"))
    for number, one in enumerate(_list(given.get("parameters"))):
        values = one.get("values") if isinstance(one, dict) else None
        if len(_list(values)) > MOST_CHOICES:
            found.append(Problem(f"parameters.{number}.values", f"{len(_list(values))}", f"at most {MOST_CHOICES}"))
    for number, one in enumerate(_list(given.get("prior"))):
        rows = one.get("rows") if isinstance(one, dict) else None
        if len(_list(rows)) > MOST_PRIOR_ROWS:
            found.append(Problem(f"prior.{number}.rows", f"{len(_list(rows))}", f"at most {MOST_PRIOR_ROWS}"))
    return [*found, *_number_problems(given, "")]


def _code_problems(given: Mapping[str, Any]) -> list[Problem]:
    """Python code is run for nobody who sends a campaign, and no file of the laboratory is read for them."""
    means = given.get("prior_mean")
    found = [Problem(f"prior_mean.{name}", shown(text), "an expression of the parameters: modules are for campaigns of the laboratory's own console")
             for name, text in (means.items() if isinstance(means, dict) else ()) if isinstance(text, str) and is_code(text)]
    return found + [Problem(f"prior.{number}.file", shown(one["file"]), "nothing: send its columns and rows")
                    for number, one in enumerate(_list(given.get("prior"))) if isinstance(one, dict) and one.get("file")]


def _number_problems(value: Any, field: str) -> list[Problem]:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return [] if abs(value) <= LARGEST else [Problem(field, shown(value), f"a number within {LARGEST:g}")]
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    return [problem for key, one in inner for problem in _number_problems(one, f"{field}.{key}" if field else str(key))]


def _at(given: Any, path: str) -> Any:
    for name in path.split("."):
        given = given.get(name) if isinstance(given, dict) else None
    return given


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _liquid_problems(lab: LabConfig, campaign: CampaignConfig) -> list[Problem]:
    """A laboratory that is up has its liquids loaded; a campaign that needs others has to wait until a person has changed them."""
    loaded = {one.liquid: one.address for bank in lab.instruments.values() if isinstance(bank, PumpBank) for one in bank.syringes}
    words = f"what is loaded: {', '.join(f'{name} in pump {place}' for name, place in loaded.items())}"
    return [Problem(f"liquids.{liquid}", f"pump {address}", words) for liquid, address in campaign.liquids.items() if loaded.get(liquid) != address]


def narrowed_problems(campaign: CampaignConfig, limits: Limits) -> list[Problem]:
    """What of a campaign goes beyond the limits of a role.

    Parameters
    ----------
    campaign : CampaignConfig
    limits : mapping of name to (low, high)
        Of settings of the recipe (``anneal_temperature``), of shares (``fractions.cs``), and of the budget (``trials``, ``hours``).
    """
    found = []
    recipe = RECIPES.get(campaign.recipe)
    defaults = {name: one.default for name, one in recipe.settings.items() if one.default is not None} if recipe is not None else {}
    fixed = {**defaults, **campaign.settings}
    whole = _whole(campaign, fixed)
    for number, spec in enumerate(campaign.parameters):
        target = spec.sets or spec.name
        key, unit = (target, 1.0) if target in fixed or (recipe is not None and target in recipe.settings) else (
            (f"volumes_ml.{target}", 1.0) if spec.unit in VOLUME_UNITS else (f"fractions.{target}", whole))
        if key in limits and not all(_is_within(value, limits[key], unit) for value in spec.extremes):
            found.append(Problem(f"parameters.{number}.{spec.extremes_field}", shown(list(spec.extremes)),
                                 f"within {_range(limits[key])} {spec.unit if unit == 1.0 else f'of {unit:g}'}".strip() + ROLE))
    varied = {spec.sets or spec.name for spec in campaign.parameters}
    for name, value in fixed.items():
        if name in limits and name not in varied and not _is_within(value, limits[name]):
            found.append(Problem(f"settings.{name}", shown(value), f"{_range(limits[name])}{ROLE}"))
    found += _carrier_problems(campaign, fixed, limits)
    for name, budget in (("trials", campaign.budget.trials), ("hours", campaign.budget.hours)):
        if name in limits and (budget is None or not _is_within(budget, limits[name])):
            found.append(Problem(f"budget.{name}", "no limit" if budget is None else shown(budget), f"{_range(limits[name])}{ROLE}"))
    return found


def _whole(campaign: CampaignConfig, settings: Mapping[str, Any]) -> float:
    """What the shares sum to: 1, or 100 for per cent, or whatever somebody has written."""
    shares = {spec.name for spec in campaign.parameters if (spec.sets or spec.name) not in settings and spec.unit not in VOLUME_UNITS}
    return next((one.bound for one in campaign.space.constraints if one.is_sum and set(one.names) <= shares and one.bound > 0), 1.0)


def _carrier_problems(campaign: CampaignConfig, settings: Mapping[str, Any], limits: Limits) -> list[Problem]:
    """A carrier is a liquid that is dosed by volume, too, on top of what is dosed of it anyway."""
    varied = {spec.sets or spec.name: spec.extremes for spec in campaign.parameters}
    volumes = varied.get("carrier_volume_ml", (settings.get("carrier_volume_ml", 0.0),))
    most = max((value for value in volumes if isinstance(value, (int, float))), default=0.0)
    by_volume = {spec.sets or spec.name: float(spec.extremes[-1]) for spec in campaign.parameters
                 if not isinstance(spec, ChoiceSpec) and spec.unit in VOLUME_UNITS}
    return [Problem("settings.carrier_volume_ml", f"{most + by_volume.get(str(one), 0.0):g} mL of {one}", f"{_range(limits[key])} mL{ROLE}")
            for one in varied.get("carrier", (settings.get("carrier", ""),))
            if (key := f"volumes_ml.{one}") in limits and most + by_volume.get(str(one), 0.0) > limits[key][1]]


def _is_within(value: Any, limits: tuple[float, float], unit: float = 1.0) -> bool:
    return not isinstance(value, (str, bool)) and limits[0] * unit <= value <= limits[1] * unit


def _range(limits: tuple[float, float]) -> str:
    return f"{limits[0]:g}..{limits[1]:g}"
