"""Everything that can be known to be wrong with a campaign before anything moves."""

from __future__ import annotations

from pathlib import Path

from lab.core.config import INSTRUMENT_OF_ROLE, LabConfig, PhysicalWorld, TableWorld
from lab.core.errors import ConfigError
from lab.core.question import CampaignConfig
from lab.translation import Translation, load_liquids


def prepare(
    lab: LabConfig, campaign: CampaignConfig, *, lab_file: str, campaign_file: str, table: Path | None = None
) -> LabConfig:
    """Check a campaign against its laboratory; returns the laboratory as the campaign needs it.

    The campaign's liquids are loaded, and `table`, where given, is its hidden world.

    Parameters
    ----------
    lab : LabConfig
    campaign : CampaignConfig
    lab_file, campaign_file : str
        Named in messages.
    table : Path or None
        CSV of real measurements (``--world``).

    Raises
    ------
    ConfigError
        For constraints that cannot be met, parameters that no instrument can execute, values beyond limits, an unknown
        recipe, objectives that the evaluation does not deliver, a rack that is too small, and a table that is wrong.
    """
    _check_stations(lab, lab_file)
    lab = load_liquids(lab, campaign, campaign_file)
    translation = check_question(lab, campaign, lab_file=lab_file, campaign_file=campaign_file)
    if table is not None:
        lab = lab.model_copy(update={"world": _table_world(table, campaign, translation, campaign_file)})
    _check_world(lab, campaign, lab_file, campaign_file)
    return lab


def check_question(lab: LabConfig, campaign: CampaignConfig, *, lab_file: str, campaign_file: str) -> Translation:
    """Check what a campaign asks against what its laboratory, with its liquids loaded, can do.

    Raises
    ------
    ConfigError
        As `prepare`.
    """
    from lab.optimise.feasible import check_question

    translation = Translation(campaign, lab, campaign_file)
    try:
        check_question(campaign)
    except ConfigError as error:  # of structures, by the engine's own name for the file
        raise ConfigError(campaign_file, error.field, error.given, error.allowed) from error
    except ValueError as error:
        field, _, said = str(error).partition(": given ")
        given, _, allowed = said.partition("; allowed: ")
        raise ConfigError(campaign_file, field, given or str(error), allowed or "constraints that can be met") from error
    _check_outcomes(campaign, campaign_file)
    slots = sum(station.slots for station in lab.stations.values() if station.role == "rack")
    if campaign.budget.trials > slots:
        raise ConfigError(campaign_file, "budget.trials", str(campaign.budget.trials), f"1..{slots}, the slots of the rack in {lab_file}")
    return translation


def _check_stations(lab: LabConfig, file: str) -> None:
    for role in (*INSTRUMENT_OF_ROLE, "rack"):
        if not lab.stations_of(role):
            raise ConfigError(file, "stations", f"none of role {role}", f"at least one station of role {role}")
    for role, kind in INSTRUMENT_OF_ROLE.items():
        for name in lab.stations_of(role):
            if lab.stations[name].slots > 1:
                raise ConfigError(file, f"stations.{name}.slots", str(lab.stations[name].slots), f"1 for a station of role {role}")
            if not lab.instrument_at(name):
                raise ConfigError(file, f"stations.{name}.instrument", "nothing", f"an instrument of kind {kind}: there is none yet")
    n = sum(instrument.kind == "arm" for instrument in lab.instruments.values())
    if n != 1:
        raise ConfigError(file, "instruments", f"{n} of kind arm", "one instrument of kind arm")


def _check_outcomes(campaign: CampaignConfig, file: str) -> None:
    from lab.records.evaluate import delivered

    names = delivered(campaign.evaluate.kind, campaign)
    for number, objective in enumerate(campaign.objectives):
        if objective.name not in names:
            raise ConfigError(file, f"objectives.{number}.name", repr(objective.name),
                              f"what evaluate.kind {campaign.evaluate.kind} delivers: {', '.join(names)}")
    for number, limit in enumerate(campaign.outcome_limits):
        if limit.names[0] not in names:
            raise ConfigError(file, f"outcome_constraints.{number}", repr(limit.names[0]), ", ".join(names))
    for number, limit in enumerate(campaign.safe_limits):
        if limit.names[0] not in names:
            raise ConfigError(file, f"safety.constraints.{number}", repr(limit.names[0]), ", ".join(names))


def _table_world(table: Path, campaign: CampaignConfig, translation: Translation, file: str) -> TableWorld:
    if campaign.evaluate.kind != "brightness" or campaign.evaluate.full_scale is None:
        raise ConfigError(file, "evaluate.kind", repr(campaign.evaluate.kind), "brightness (with full_scale) for a table as the world")
    return TableWorld(kind="table", file=str(table.absolute()), inputs=translation.world_inputs(), output=campaign.objective.name,
                      full_scale=campaign.evaluate.full_scale, seed=campaign.optimizer.seed)


def _check_world(lab: LabConfig, campaign: CampaignConfig, lab_file: str, campaign_file: str) -> None:
    """A simulated world must show what the evaluation looks for, and its table must be sound."""
    if not lab.is_simulated:
        return
    if isinstance(lab.world, PhysicalWorld) and campaign.evaluate.kind == "brightness":
        raise ConfigError(campaign_file, "evaluate.kind", "'brightness' in a physical world",
                          f"phases, or a table as the world: --world FILE.csv, or world in {lab_file}")
    if isinstance(lab.world, TableWorld):
        from sim.table import TableResponse

        TableResponse(lab.world, (1, 1))  # reads and checks the table as the simulator will
