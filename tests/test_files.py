"""Wrong files: the message names the file, the field, what was given and what is allowed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.core.config import LabConfig
from lab.core.errors import ConfigError
from lab.core.question import CampaignConfig
from lab.files import load_campaign, load_lab, parse_sets, read_yaml
from lab.validation import prepare

EXAMPLES = Path(__file__).parent.parent / "examples"


def campaign(tmp_path: Path, **changes: Any) -> CampaignConfig:
    """The perovskite example with fields changed, read from a file."""
    data = yaml.safe_load((EXAMPLES / "perovskite.yaml").read_text())
    data.update(changes)
    path = tmp_path / "campaign.yaml"
    path.write_text(yaml.safe_dump(data))
    return load_campaign(path)


def prepared(config: CampaignConfig, lab: LabConfig | None = None, table: Path | None = None) -> LabConfig:
    laboratory = lab if lab is not None else load_lab(EXAMPLES / "lab.yaml")
    return prepare(laboratory, config, lab_file="lab.yaml", campaign_file="campaign.yaml", table=table)


@pytest.mark.parametrize("name", ["perovskite", "perovskite-table", "p3ht-table"])
def test_every_example_campaign_can_be_read(name: str) -> None:
    assert load_campaign(EXAMPLES / f"{name}.yaml").budget.trials == 20


def test_a_file_that_does_not_exist_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: file: given a path that does not exist; allowed: an existing YAML file"):
        load_campaign(tmp_path / "none.yaml")


def test_broken_yaml_is_said_with_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("name: [a\nb: 1\n")
    with pytest.raises(ConfigError, match=r"broken\.yaml: line 2, column 2: .*allowed: valid YAML"):
        read_yaml(path)


def test_a_list_instead_of_fields_is_said(tmp_path: Path) -> None:
    path = tmp_path / "list.yaml"
    path.write_text("- 1\n")
    with pytest.raises(ConfigError, match="given a list; allowed: a mapping"):
        read_yaml(path)


def test_bytes_that_are_no_text_are_said(tmp_path: Path) -> None:
    path = tmp_path / "bytes.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="allowed: a YAML file in UTF-8"):
        read_yaml(path)


def test_an_unknown_field_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"campaign\.yaml: bugdet: given \{'trials': 3\}; allowed: no such field"):
        campaign(tmp_path, bugdet={"trials": 3})


def test_several_mistakes_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        campaign(tmp_path, budget={"trials": 0}, objectives=[{"name": "y", "goal": "maximise"}])
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert "objectives.0.goal: given 'maximise'; allowed: input should be 'maximize', 'minimize' or 'target'" in lines[0]
    assert "budget.trials: given 0" in lines[1]


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ({"name": "cs", "type": "range", "bounds": [1, 0]}, r"parameters\.0\.bounds: given \[1, 0\]; allowed: two finite numbers, the lower one first"),
        ({"name": "cs", "type": "range", "bounds": [0, float("nan")]}, r"parameters\.0\.bounds: given \[0, nan\]"),
        ({"name": "cs", "type": "range", "bounds": [0, 1], "scale": "log"}, r"allowed: above 0 on a log scale"),
        ({"name": "cs", "type": "integer", "bounds": [0, 1.5]}, r"allowed: whole numbers for an integer"),
        ({"name": "cs", "type": "choice", "values": ["a"]}, r"parameters\.0\.values: given \['a'\]; allowed: at least two"),
        ({"name": "cs", "type": "rnage", "bounds": [0, 1]}, r"parameters\.0\.type: given 'rnage'; allowed: 'range', 'integer', 'choice'"),
        ({"name": "2cs", "type": "range", "bounds": [0, 1]}, r"parameters\.0\.name: given '2cs'"),
    ],
)
def test_a_wrong_parameter_is_refused(tmp_path: Path, parameter: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        campaign(tmp_path, parameters=[parameter], constraints=[])


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        ("cs + fa + mb == 1", r"constraints\.0: given 'cs \+ fa \+ mb == 1': mb is not known; allowed: numbers, cs, fa, ma, anneal_temperature, sqrt"),
        ("cs * fa == 1", r"constraints\.0: given 'cs \* fa == 1'; allowed: an equality of linear expressions"),
        ("cs < 1", r"allowed: one comparison with <=, >= or =="),
        ("import os", r"allowed: an expression such as"),
    ],
)
def test_a_constraint_that_cannot_be_kept_is_refused(tmp_path: Path, constraint: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        campaign(tmp_path, constraints=[constraint])


def test_constraints_that_cannot_be_met_are_named(tmp_path: Path) -> None:
    config = campaign(tmp_path, constraints=["cs + fa + ma == 1", "cs >= 0.7", "fa >= 0.7"])
    with pytest.raises(ConfigError, match=r"campaign\.yaml: constraints: given .*cs >= 0\.7; fa >= 0\.7.*cannot be met"):
        prepared(config)


def test_constraints_of_any_shape_that_nothing_keeps_are_refused(tmp_path: Path) -> None:
    config = campaign(tmp_path, constraints=["cs + fa + ma == 1", "cs * fa >= 0.3"])
    with pytest.raises(ConfigError, match=r"campaign\.yaml: constraints: given .*cs \* fa >= 0\.3: no point was found that keeps them all within cs 0\.\.1"):
        prepared(config)


def test_candidates_none_of_which_keeps_the_constraints_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pool.csv").write_text("cs,fa,ma,anneal_temperature\n0.5,0.5,0.5,100\n")
    config = campaign(tmp_path, candidates={"file": "pool.csv"}, optimizer={"engine": "botorch"})
    with pytest.raises(ConfigError, match=r"campaign\.yaml: candidates: given 1 rows, none of which keeps cs \+ fa \+ ma == 1; allowed: at least one that does"):
        prepared(config)


def test_structures_that_cannot_be_read_are_refused_with_the_campaigns_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdkit.Chem", None)
    solvent = {"name": "solvent", "type": "choice", "values": ["DMF", "DMSO"], "sets": "carrier", "smiles": {"DMF": "CN(C)C=O", "DMSO": "CS(C)=O"}}
    config = campaign(tmp_path, parameters=[*campaign(tmp_path).model_dump(mode="json")["parameters"], solvent], settings={"carrier_volume_ml": 0.2})
    with pytest.raises(ConfigError, match=r"campaign\.yaml: parameters\.solvent\.smiles: given structures, and RDKit is not installed"):
        prepared(config)


def test_an_unknown_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"campaign\.yaml: recipe: given 'pizza'; allowed: thin_film"):
        prepared(campaign(tmp_path, recipe="pizza"))


def test_a_parameter_that_no_instrument_can_execute_is_refused(tmp_path: Path) -> None:
    parameters = [{"name": "pressure", "type": "range", "bounds": [0, 1]}]
    with pytest.raises(ConfigError, match=r"parameters\.0\.name: given 'pressure'; allowed: a loaded liquid \(cs, fa, ma, DMF, DMSO\) or a setting"):
        prepared(campaign(tmp_path, parameters=parameters, constraints=[]))


def test_bounds_beyond_an_instruments_limits_are_refused(tmp_path: Path) -> None:
    hot = [{"name": "anneal_temperature", "type": "range", "bounds": [60, 260]}]
    with pytest.raises(ConfigError, match=r"parameters\.0\.bounds: given 260\.0 degC; allowed: 0\.\.200 degC \(limits of hotplate_a\.TEMPERATURE, hotplate_b\.TEMPERATURE, hotplate_c\.TEMPERATURE\)"):
        prepared(campaign(tmp_path, parameters=hot, constraints=[]))


def test_a_setting_beyond_an_instruments_limits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"settings\.stir_rpm: given 5000 rpm; allowed: 0\.\.1200 rpm"):
        prepared(campaign(tmp_path, settings={"stir_rpm": 5000}))


def test_a_setting_that_a_parameter_sets_already_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"settings\.anneal_temperature: given 100; allowed: nothing, since a parameter sets it"):
        prepared(campaign(tmp_path, settings={"anneal_temperature": 100}))


def test_an_unknown_setting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"settings\.anneal_temp: given 100; allowed: total_volume_ml"):
        prepared(campaign(tmp_path, settings={"anneal_temp": 100}))


def test_a_required_setting_that_is_missing_is_named(tmp_path: Path) -> None:
    shares = [{"name": n, "type": "range", "bounds": [0, 1]} for n in ("cs", "fa", "ma")]
    with pytest.raises(ConfigError, match=r"settings\.anneal_temperature: given nothing; allowed: a number in degC"):
        prepared(campaign(tmp_path, parameters=shares, settings={}))


def test_shares_without_a_sum_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"constraints: given \[\]; allowed: 'cs \+ fa \+ ma == 1' among them"):
        prepared(campaign(tmp_path, constraints=[]))


def test_an_objective_that_the_evaluation_does_not_deliver_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"objectives\.0\.name: given 'beauty'; allowed: what evaluate\.kind phases delivers: perovskite_fraction"):
        prepared(campaign(tmp_path, objectives=[{"name": "beauty", "goal": "maximize"}]))


def test_an_outcome_constraint_on_something_unmeasured_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"outcome_constraints\.0: given 'beauty'"):
        prepared(campaign(tmp_path, outcome_constraints=["beauty >= 1"]))


def test_more_trials_than_the_rack_has_slots_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"budget\.trials: given 61; allowed: 1\.\.60, the slots of the rack"):
        prepared(campaign(tmp_path, budget={"trials": 61}))


def test_a_liquid_in_a_pump_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"liquids\.cs: given 9; allowed: a pump of pump: 0, 1, 2, 3, 4"):
        prepared(campaign(tmp_path, liquids={"cs": 9, "fa": 1, "ma": 2}))


def test_limits_wider_than_the_instruments_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"instruments\.hotplate_a\.limits\.TEMPERATURE: given 900 degC; allowed: 0\.\.310 degC"):
        load_lab(EXAMPLES / "lab.yaml", {"instruments.hotplate_a.limits.TEMPERATURE": [0, 900]})


def test_limits_of_a_channel_that_does_not_exist_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"limits\.WARMTH: given no setpoint of this instrument; allowed: TEMPERATURE, STIR_RPM"):
        load_lab(EXAMPLES / "lab.yaml", {"instruments.hotplate_a.limits": {"WARMTH": [0, 1]}})


def test_an_endpoint_of_no_known_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"instruments\.arm\.endpoint: given 'usb7'; allowed: sim, serial://"):
        load_lab(EXAMPLES / "lab.yaml", {"instruments.arm.endpoint": "usb7"})


def test_a_laboratory_without_a_detector_station_is_refused(tmp_path: Path) -> None:
    lab = load_lab(EXAMPLES / "lab.yaml")
    less = lab.model_copy(update={"stations": {n: s for n, s in lab.stations.items() if s.role != "detector"}})
    with pytest.raises(ConfigError, match=r"lab\.yaml: stations: given none of role detector"):
        prepared(campaign(tmp_path), less)


def stations(lab: LabConfig, **changed: dict[str, Any]) -> dict[str, Any]:
    """The stations of a laboratory with some of their fields changed, as they stand in a file."""
    found = {name: station.model_dump() for name, station in lab.stations.items()}
    for name, fields in changed.items():
        found[name] = {**found.get(name, found["stage"]), **fields}
    return found


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"plate_a": {"instrument": "hotplate_x"}},
         r"lab\.yaml: stations\.plate_a\.instrument: given 'hotplate_x', which is no instrument; allowed: hotplate_a, hotplate_b, hotplate_c of kind hotplate"),
        ({"plate_a": {"instrument": "pump"}}, r"stations\.plate_a\.instrument: given 'pump' of kind pump; allowed: hotplate_a, hotplate_b, hotplate_c of kind hotplate"),
        ({"plate_b": {"instrument": "hotplate_a"}},
         r"stations\.plate_b\.instrument: given hotplate_a, which stands at plate_a; allowed: one station to an instrument"),
        ({"plate_b": {"instrument": ""}}, r"stations\.plate_b\.instrument: given nothing; allowed: one of hotplate_a, hotplate_b, hotplate_c of kind hotplate"),
        ({"second": {"instrument": ""}}, r"stations\.second\.instrument: given detector, which stands at stage"),
        ({"rack": {"instrument": "pump"}}, r"stations\.rack\.instrument: given 'pump'; allowed: nothing, since a rack has no instrument"),
        ({"stage": {"role": "oven"}}, r"stations\.stage\.role: given 'oven'; allowed: input should be 'synthesiser', 'annealer', 'detector' or 'rack'"),
    ],
)
def test_a_station_with_a_wrong_instrument_is_refused(changed: dict[str, Any], message: str) -> None:
    lab = load_lab(EXAMPLES / "lab.yaml")
    with pytest.raises(ConfigError, match=message):
        load_lab(EXAMPLES / "lab.yaml", {"stations": stations(lab, **changed)})


def test_a_synthesiser_that_is_named_as_an_instrument_is_refused() -> None:
    lab = load_lab(EXAMPLES / "lab.yaml")
    named = {"pump" if name == "synthesiser" else name: station for name, station in stations(lab).items()}
    with pytest.raises(ConfigError, match=r"stations\.pump: given the name of an instrument; allowed: another name"):
        load_lab(EXAMPLES / "lab.yaml", {"stations": named})


def test_an_instrument_that_is_the_only_one_of_its_kind_need_not_be_named(tmp_path: Path) -> None:
    lab = load_lab(EXAMPLES / "lab.yaml")
    unnamed = load_lab(EXAMPLES / "lab.yaml", {"stations": stations(lab, synthesiser={"instrument": ""}, stage={"instrument": ""})})
    assert (unnamed.instrument_at("synthesiser"), unnamed.instrument_at("stage"), unnamed.instrument_at("rack")) == ("pump", "detector", "")
    prepared(campaign(tmp_path), unnamed)


def test_a_station_whose_instrument_the_laboratory_lacks_is_refused(tmp_path: Path) -> None:
    data = read_yaml(EXAMPLES / "lab.yaml")
    del data["instruments"]["detector"]
    del data["stations"]["stage"]["instrument"]
    with pytest.raises(ConfigError, match=r"stations\.stage\.instrument: given nothing; allowed: an instrument of kind detector: there is none yet"):
        prepared(campaign(tmp_path), LabConfig.model_validate(data))


def test_the_limits_of_every_annealer_bind_the_anneal(tmp_path: Path) -> None:
    lab = load_lab(EXAMPLES / "lab.yaml", {"instruments.hotplate_b.limits.TEMPERATURE": [20, 150]})
    with pytest.raises(ConfigError, match=r"parameters\.3\.bounds: given 180\.0 degC; allowed: 20\.\.150 degC"):
        prepared(campaign(tmp_path), lab)


def test_with_several_synthesisers_a_liquid_has_to_be_in_each(tmp_path: Path) -> None:
    data = read_yaml(EXAMPLES / "lab.yaml")
    data["instruments"]["second_pump"] = {"kind": "pump", "syringes": [{"address": 7, "liquid": "cs"}, {"address": 8, "liquid": "fa"}]}
    data["stations"]["second"] = {**data["stations"]["synthesiser"], "instrument": "second_pump"}
    lab = LabConfig.model_validate(data)
    with pytest.raises(ConfigError, match=r"parameters\.2\.name: given 'ma'; allowed: a loaded liquid \(cs, fa\)"):
        prepared(campaign(tmp_path), lab)
    with pytest.raises(ConfigError, match=r"liquids: given .*; allowed: nothing with several pump banks"):
        prepared(campaign(tmp_path, liquids={"cs": 0}), lab)


def test_a_physical_world_cannot_be_measured_by_brightness(tmp_path: Path) -> None:
    config = campaign(tmp_path, evaluate={"kind": "brightness", "full_scale": [0, 1]})
    with pytest.raises(ConfigError, match=r"evaluate\.kind: given 'brightness' in a physical world"):
        prepared(config)


def test_a_table_cannot_be_measured_by_phases(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"evaluate\.kind: given 'phases'; allowed: brightness"):
        prepared(campaign(tmp_path), table=tmp_path / "any.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("CsPbI,FAPbI,instability_index\n0.5,0.5,3\n", "MAPbI"),
        ("CsPbI,FAPbI,MAPbI,instability_index\n0.5,0.5,0,red\n0,1,0,2\n1,0,0,2\n", "red"),
        ("CsPbI,FAPbI,MAPbI,instability_index\n0.5,nan,0,1\n0,1,0,2\n1,0,0,2\n", "nan"),
        ("CsPbI,FAPbI,MAPbI,instability_index\n0.5,0.5,0,\n0,1,0,2\n1,0,0,2\n", "instability_index"),
        ("", "table.csv"),
    ],
)
def test_a_table_with_missing_columns_text_or_nan_is_refused_before_anything_moves(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "table.csv"
    table.write_text(text)
    with pytest.raises(ConfigError, match=message):
        prepared(load_campaign(EXAMPLES / "perovskite-table.yaml"), table=table)


def test_set_reads_values_as_yaml() -> None:
    assert parse_sets(["budget.trials=3", "name=x", "lab.speed=1e3"]) == {"budget.trials": 3, "name": "x", "lab.speed": "1e3"}


def test_set_without_a_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="command line: --set: given 'budget.trials'; allowed: key=value"):
        parse_sets(["budget.trials"])


def test_set_reaches_into_lists_and_refuses_what_is_not_there() -> None:
    config = load_campaign(EXAMPLES / "perovskite.yaml", {"parameters.3.bounds": [80, 120]})
    assert config.parameters[3].parameter().low == 80  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match=r"--set parameters\.9\.bounds: given 9"):
        load_campaign(EXAMPLES / "perovskite.yaml", {"parameters.9.bounds": [80, 120]})


def test_a_key_file_that_is_taken_for_a_campaign_does_not_show_its_secret(tmp_path: Path) -> None:
    path = tmp_path / "alice.key"
    path.write_text('{"name": "alice", "role": "scientist", "secret_key": "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"}')
    with pytest.raises(ConfigError, match="secret_key: given a secret; allowed: no such field") as refused:
        load_campaign(path, {})
    assert not any("D:)Q" in str(error) for error in (refused.value, *refused.value.others))
