"""What may be queued from afar: parameters and their limits, refusals, and what the RE Manager makes of the worker's functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from bluesky_queueserver.manager import profile_ops
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.core.config import LabConfig
from lab.core.errors import ConfigError
from lab.core.remote import Role
from lab.files import load_lab
from lab.remote.access.who import Who
from lab.remote.registry.films import film_campaign
from lab.remote.registry.plan_checks import Plans
from lab.remote.registry.plan_schema import described, devices_allowed, plans_allowed
from lab.remote.registry.plan_specs import SPECS, positioners
from lab.remote.registry.refusals import PlanRefused
from lab.remote.registry.role_rules import check_rules
from lab.remote.worker.worker_plans import make_plans
from lab.translation import Translation
from lab.validation import prepare
from plans.recipes import doses_of

EXAMPLES = Path(__file__).parents[1] / "examples"
LAB = load_lab(EXAMPLES / "lab.yaml")
ALICE = Who("alice", "scientist", "k")


def lab_with(**roles: Any) -> LabConfig:
    return load_lab(EXAMPLES / "lab.yaml", {"remote.roles": roles})


def campaign(**changes: Any) -> dict[str, Any]:
    config = yaml.safe_load((EXAMPLES / "perovskite.yaml").read_text())
    del config["lab"]
    return {**config, **changes}


def refusal(name: Any, parameters: Any, lab: LabConfig = LAB, role: Role = "scientist") -> dict[str, tuple[str, str]]:
    """Given and allowed of each field that is refused."""
    with pytest.raises(PlanRefused) as caught:
        Plans(lab).check(name, parameters, Who("alice", role, "k"))
    return {one.field: (one.given, one.allowed) for one in caught.value.problems}


FILM = {"fractions": {"cs": 0.2, "fa": 0.8}, "anneal_temperature": 120}


# ------------------------------------------------------------------------------------------- what is allowed


def test_parameters_are_completed_and_written_in_one_way() -> None:
    one = Plans(LAB).check("count", {"detectors": ["hotplate_a"], "num": 3.0}, ALICE)
    other = Plans(LAB).check("count", {"num": 3, "detectors": ("hotplate_a",), "delay_s": 0}, ALICE)
    assert one.parameters == {"detectors": ["hotplate_a"], "num": 3, "delay_s": 0.0, "count_time_s": 1.0}
    assert one.digest == other.digest


@pytest.mark.parametrize(("name", "parameters"), [
    ("count", {"detectors": ["detector", "plc"], "num": 5, "delay_s": 1}),
    ("scan", {"detectors": ["hotplate_a"], "positioner": "hotplate_a", "start": 30, "stop": 60, "num": 4}),
    ("move", {"positioner": "pump.cs.rate", "value": 2}),
    ("film", FILM),
    ("film", {"anneal_temperature": 90, "volumes_ml": {"cs": 0.3}, "carrier": "DMF"}),
    ("campaign", {"config": campaign()}),
    ("resume_campaign", {"campaign": "perovskite-20261122-101500-ab12"}),
    ("prepare", {}),
    ("make_safe", {}),
])
def test_what_has_been_checked_is_allowed_again_and_stays_the_same(name: str, parameters: Mapping[str, Any]) -> None:
    checked = Plans(LAB).check(name, parameters, ALICE)
    again = Plans(LAB).check(name, json.loads(json.dumps(checked.parameters)), ALICE)
    assert (again.parameters, again.digest) == (checked.parameters, checked.digest)


def test_the_duration_of_a_count_is_told_in_laboratory_seconds() -> None:
    assert Plans(LAB).check("count", {"detectors": ["detector"], "num": 4, "delay_s": 60, "count_time_s": 60}, ALICE).estimate_s == 240.0


def test_no_duration_is_told_where_nobody_knows_it() -> None:
    assert Plans(LAB).check("count", {"detectors": ["plc"], "num": 4}, ALICE).estimate_s is None


def test_the_owner_of_a_campaign_is_the_name_of_the_key() -> None:
    checked = Plans(LAB).check("campaign", {"config": campaign(owner="mallory")}, ALICE)
    assert checked.parameters["config"]["owner"] == "alice"


def test_arguments_by_position_are_taken_by_their_names() -> None:
    plans = Plans(LAB)
    assert plans.bind("move", ["hotplate_a"], {"value": 60}, "scientist") == {"positioner": "hotplate_a", "value": 60}
    with pytest.raises(PlanRefused, match="args: given 4 of them; allowed: at most 3"):
        plans.bind("move", [1, 2, 3, 4], {}, "scientist")
    with pytest.raises(PlanRefused, match="positioner: given by position and by name"):
        plans.bind("move", ["hotplate_a"], {"positioner": "hotplate_b"}, "scientist")


# ------------------------------------------------------------------------------------------- what is refused


def test_all_mistakes_are_told_at_once() -> None:
    found = refusal("count", {"detectors": ["hotplate_x"], "num": 0, "delay_s": -1, "speed": 3})
    assert set(found) == {"detectors.0", "num", "delay_s", "speed"}
    assert found["detectors.0"][1].endswith("(did you mean hotplate_c?)") or "did you mean hotplate_" in found["detectors.0"][1]


def test_what_is_missing_is_told_with_what_it_is() -> None:
    assert refusal("film", {"fractions": {"cs": 0.5, "fa": 0.5}})["anneal_temperature"] == (
        "nothing", "a value: plate temperature of the anneal")


@pytest.mark.parametrize("name", ["evil", "", "__import__", "count.__globals__", "RE", "bp.count", "lambda: 1", ":^count", "count\n", None, 7,
                                  ["count"], {"count": 1}, "x" * 1_000_000])
def test_names_that_are_no_plan_are_refused_unresolved(name: Any) -> None:
    assert "count, scan, move, film" in refusal(name, {})["name"][1]


@pytest.mark.parametrize("device", [":^detector", "detector.image", "__import__('os')", "hotplate_a.__class__", "RE", "session", "-:?.*$",
                                    "", "DETECTOR", None, 1, True, ["detector"], {"detector": 1}])
def test_devices_that_are_not_in_the_list_are_refused_unresolved(device: Any) -> None:
    assert "pump, hotplate_a" in refusal("count", {"detectors": [device]})["detectors.0"][1]
    assert "hotplate_a.stirrer" in refusal("move", {"positioner": device, "value": 1})["positioner"][1]


@pytest.mark.parametrize("value", [True, "60", None, [60], float("nan"), float("inf"), -float("inf"), 1e308, 10**400, "6" * 1_000_000,
                                   200.00001, -0.001, 60 + 273.15])
def test_no_value_beyond_the_limits_of_the_channel_passes(value: Any) -> None:
    assert set(refusal("move", {"positioner": "hotplate_a", "value": value})) == {"value"}


def test_a_value_beyond_the_limits_is_refused_with_its_unit_and_the_source_of_the_limit() -> None:
    assert refusal("move", {"positioner": "hotplate_a", "value": 200.5})["value"] == (
        "200.5 degC", "0..200 degC (limits of hotplate_a.TEMPERATURE)")


@pytest.mark.parametrize(("parameters", "field"), [
    ({**FILM, "fractions": {"cs": 20, "fa": 80}}, "fractions.cs"),
    ({**FILM, "fractions": {"cs": 0.2, "fa": 0.799}}, "fractions"),
    ({**FILM, "fractions": {"cs": 0.2, "water": 0.8}}, "fractions.water"),
    ({**FILM, "fractions": {}}, "fractions"),
    ({**FILM, "fractions": [0.2, 0.8]}, "fractions"),
    ({**FILM, "volumes_ml": {"cs": 0.1}}, "volumes_ml.cs"),
    ({**FILM, "volumes_ml": {"ma": 61}}, "volumes_ml.ma"),
    ({**FILM, "anneal_temperature": 393.15}, "anneal_temperature"),
    ({**FILM, "anneal_time_s": 36001}, "anneal_time_s"),
    ({**FILM, "total_volume_ml": 1000.0}, "total_volume_ml"),
    ({**FILM, "n_images": 1.5}, "n_images"),
    ({**FILM, "n_images": True}, "n_images"),
    ({**FILM, "carrier": "water"}, "carrier"),
    ({**FILM, "max_gap_s": 0}, "max_gap_s"),
])
def test_a_film_that_cannot_be_made_is_refused(parameters: dict[str, Any], field: str) -> None:
    assert field in refusal("film", parameters)


@pytest.mark.parametrize(("changes", "field"), [
    ({"lab": "/etc/passwd"}, "config.lab"),
    ({"lab": "../lab.yaml"}, "config.lab"),
    ({"name": "../../etc/cron.d/x"}, "config.name"),
    ({"name": "x\n"}, "config.name"),
    ({"world": {"kind": "table", "file": "/etc/passwd"}}, "config.world"),
    ({"recipe": "os.system"}, "config.recipe"),
    ({"constraints": ["__import__('os').system('true') == 1"]}, "config.constraints.0"),
    ({"constraints": ["(lambda: 1)() <= 1"]}, "config.constraints.0"),
    ({"constraints": ["1e999*cs <= 1"]}, "config.constraints.0"),
    ({"constraints": ["9" * 400 + "*cs <= 1"]}, "config.constraints.0"),
    ({"constraints": ["(" * 240 + "cs" + ")" * 40 + " <= 1"]}, "config.constraints.0"),
    ({"constraints": ["-" * 100_000 + "cs <= 1"]}, "config.constraints.0"),
    ({"constraints": ["cs <= 1"] * 41}, "config.constraints"),
    ({"budget": {"trials": 20, "hours": float("inf")}}, "config.budget.hours"),
    ({"budget": {"trials": True}}, "config.budget.trials"),
    ({"budget": {"trials": "20"}}, "config.budget.trials"),
    ({"settings": {"anneal_time_s": 1e308}}, "config.settings.anneal_time_s"),
    ({"settings": {"anneal_time_s": 36001}}, "config.settings.anneal_time_s"),
    ({"liquids": {"cs": 3}}, "config.liquids.cs"),
    ({"optimizer": {"engine": "os.system"}}, "config.optimizer.engine"),
    ({"objectives": [{"name": "__class__", "goal": "maximize"}]}, "config.objectives.0.name"),
])
def test_a_campaign_that_reaches_for_files_or_code_is_refused(changes: dict[str, Any], field: str) -> None:
    assert field in refusal("campaign", {"config": campaign(**changes)})


@pytest.mark.parametrize("campaign_id", ["../../x", "a/b", "a b", "", "a\x00", "*", "x" * 1_000_000, "é", 1, None, ["a"]])
def test_an_id_that_could_be_a_path_is_refused(campaign_id: Any) -> None:
    assert set(refusal("resume_campaign", {"campaign": campaign_id})) == {"campaign"}


@pytest.mark.parametrize("parameters", [None, [], "detectors", 1, True])
def test_parameters_that_are_no_object_are_refused(parameters: Any) -> None:
    assert "kwargs" in refusal("count", parameters)


def test_a_refusal_of_something_large_is_small() -> None:
    found = refusal("count", {"detectors": ["x" * 1_000_000] * 100, "y" * 100_000: "z" * 1_000_000})
    assert len(json.dumps(found)) < 10_000


# --------------------------------------------------------------------------------------------------- by role


def test_a_role_has_the_plans_and_devices_that_lab_yaml_gives_it() -> None:
    lab = lab_with(scientist={"plans": ["count", "move"], "devices": ["hotplate_a"]})
    assert set(Plans(lab).allowed("scientist")) == {"count", "move"}
    assert refusal("count", {"detectors": ["detector"]}, lab)["detectors.0"] == ("'detector'", "hotplate_a")
    assert refusal("move", {"positioner": "hotplate_b", "value": 60}, lab)["positioner"][1].startswith("hotplate_a, hotplate_a.stirrer (")
    assert refusal("film", FILM, lab)["name"][1] == "count, move"
    assert Plans(lab).check("count", {"detectors": ["detector"]}, Who("bob", "operator", "k")).name == "count"


def test_an_observer_has_no_plan() -> None:
    assert refusal("count", {"detectors": ["plc"]}, role="observer")["name"][1] == "no plan: your role is observer"


def test_the_limits_of_a_role_hold_for_films_for_campaigns_and_for_what_is_moved() -> None:
    lab = lab_with(scientist={"limits": {"film.anneal_temperature": [60, 150], "move.hotplate_a": [20, 100], "campaign.trials": [1, 10],
                                         "film.fractions.cs": [0, 0.5]}})
    assert refusal("film", {**FILM, "anneal_temperature": 151}, lab)["anneal_temperature"] == ("151 degC", "60..150 degC (limits of your role)")
    assert "fractions.cs" in refusal("film", {**FILM, "fractions": {"cs": 0.6, "fa": 0.4}}, lab)
    assert refusal("move", {"positioner": "hotplate_a", "value": 101}, lab)["value"] == ("101.0 degC", "20..100 degC (limits of your role)")
    assert Plans(lab).check("move", {"positioner": "hotplate_b", "value": 101}, ALICE).parameters["value"] == 101.0
    found = refusal("campaign", {"config": campaign()}, lab)
    assert set(found) == {"config.parameters.0.bounds", "config.parameters.3.bounds", "config.budget.trials"}


def axis(name: str, low: float, high: float, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "range", "bounds": [low, high], **more}


HOT = axis("anneal_temperature", 60, 140)


@pytest.mark.parametrize(("limits", "changes", "field"), [
    ({"film.fractions.cs": [0, 0.5]}, {"parameters": [axis("cs", 0, 0.5), axis("fa", 0, 0.5), HOT], "constraints": ["cs + fa == 0.5"]}, "parameters.0.bounds"),
    ({"film.fractions.cs": [0, 0.5]}, {"parameters": [axis("cs", 0, 51), axis("fa", 0, 100), HOT], "constraints": ["cs + fa == 100"]}, "parameters.0.bounds"),
    ({"film.fractions.cs": [0, 0.5], "film.volumes_ml.cs": [0, 0.1]}, {"parameters": [axis("cs", 0, 0.5, unit="mL"), HOT], "constraints": []},
     "parameters.0.bounds"),
    ({"film.volumes_ml.DMF": [0, 0.1]}, {"settings": {"carrier": "DMF", "carrier_volume_ml": 2}}, "settings.carrier_volume_ml"),
    ({"film.volumes_ml.DMF": [0, 0.6]}, {"settings": {"carrier": "DMF"}, "parameters": [axis("DMF", 0, 0.2, unit="mL"), HOT], "constraints": []},
     "settings.carrier_volume_ml"),
    ({"film.fractions.cs": [0, 0.5]}, {"parameters": [axis("cs", 0, 0.5), axis("more", 0, 0.5, sets="cs"), HOT], "constraints": ["cs + more == 1"]}, "parameters.1")])
def test_no_way_of_writing_a_campaign_leads_around_the_limits_of_a_role(limits: dict[str, Any], changes: dict[str, Any], field: str) -> None:
    assert f"config.{field}" in refusal("campaign", {"config": campaign(**changes)}, lab_with(scientist={"limits": limits}))


def test_shares_in_per_cent_are_held_against_limits_in_shares() -> None:
    lab = lab_with(scientist={"limits": {"film.fractions.cs": [0, 0.5], "film.volumes_ml.DMF": [0, 0.5]}})
    config = campaign(parameters=[axis("cs", 0, 50), axis("fa", 50, 100), HOT], constraints=["cs + fa == 100"], settings={"carrier": "DMF"})
    assert Plans(lab).check("campaign", {"config": config}, ALICE).name == "campaign"


@pytest.mark.parametrize(("name", "parameters", "field"), [
    ("count", {"detectors": ["plc"], "num": 10000, "delay_s": 86400}, "num"),
    ("campaign", {"config": campaign(optimizer={"engine": "remote", "deadline_s": 1e6})}, "config.optimizer.deadline_s")])
def test_nothing_keeps_the_laboratory_for_ever(name: str, parameters: dict[str, Any], field: str) -> None:
    assert list(refusal(name, parameters)) == [field]


def test_a_carrier_is_a_liquid_that_is_dosed_by_volume() -> None:
    lab = lab_with(scientist={"limits": {"film.volumes_ml.DMF": [0, 0.1]}})
    assert refusal("film", {**FILM, "carrier": "DMF"}, lab)["carrier_volume_ml"] == ("0.5 mL of DMF", "0..0.1 mL (limits of your role)")


def test_a_default_beyond_the_limits_of_a_role_has_to_be_replaced() -> None:
    lab = lab_with(scientist={"limits": {"film.stir_rpm": [0, 200]}})
    assert refusal("film", FILM, lab)["stir_rpm"] == ("nothing, that is 300.0 rpm", "0..200 rpm (limits of your role)")
    assert refusal("campaign", {"config": campaign(settings={"anneal_time_s": 600})}, lab)["config.settings.stir_rpm"][0] == "300.0"


# ------------------------------------------------------------------------------------- whatever is sent at all

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.sampled_from(
        [":^detector", "__import__", "detector", "hotplate_a", "cs", "cs + fa == 1", "range", "thin_film", "../x", 1e308, 2**70]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.text(max_size=8) | st.sampled_from(["name", "type", "bounds", "cs", "trials", "engine", "points", "parameters"]), inner, max_size=4),
    max_leaves=12)


@given(st.sampled_from([*SPECS]), st.data())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_sent_is_allowed_or_refused_in_words(name: str, data: st.DataObject) -> None:
    names = [one.name for one in SPECS[name].parameters(LAB)]
    parameters = data.draw(st.dictionaries(st.sampled_from([*names, "x", ""]), VALUES, max_size=6) | VALUES)
    try:
        checked = Plans(LAB).check(name, parameters, ALICE)
    except PlanRefused as refused:
        assert json.dumps([one.as_dict() for one in refused.problems])
    else:
        assert Plans(LAB).check(name, checked.parameters, ALICE).digest == checked.digest


@given(st.dictionaries(st.sampled_from([*campaign(), "lab", "owner", "recovery", "evaluate", "outcome_constraints"]), VALUES, max_size=4))
def test_whatever_a_campaign_says_it_is_allowed_or_refused_in_words(changes: dict[str, Any]) -> None:
    try:
        Plans(LAB).check("campaign", {"config": {**campaign(), **changes}}, ALICE)
    except PlanRefused as refused:
        assert json.dumps([one.as_dict() for one in refused.problems])


# ----------------------------------------------------------------------------- what the RE Manager makes of it


class Opaque:
    """A device that nobody may reach."""

    def read(self) -> dict[str, Any]:
        raise AssertionError("has been reached")

    describe = read
    parent = None
    name = "detector"


@pytest.fixture(scope="module")
def worker() -> dict[str, Any]:
    """The worker's namespace, as far as the RE Manager looks at it."""
    session = SimpleNamespace(lab=LAB, devices={})
    return {**make_plans(session), "detector": Opaque()}  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def existing(worker: dict[str, Any]) -> dict[str, Any]:
    plans, _, _, _ = profile_ops.existing_plans_and_devices_from_nspace(nspace=worker)
    return dict(plans)


def test_the_re_manager_takes_every_plan_with_an_annotation_for_each_parameter(existing: dict[str, Any]) -> None:
    assert set(existing) == set(SPECS)
    for plan in existing.values():
        assert plan["description"]
        for parameter in plan["parameters"]:
            assert parameter["annotation"]["type"] and parameter["description"]
            assert not {"convert_device_names", "convert_plan_names", "eval_expressions"} & set(parameter)


@pytest.mark.parametrize(("name", "parameters"), [
    ("count", {"detectors": ["detector", "plc"], "num": 5}), ("move", {"positioner": "pump.cs.rate", "value": 2}), ("film", FILM),
    ("campaign", {"config": campaign(name="detector")}), ("resume_campaign", {"campaign": "detector"}), ("prepare", {})])
def test_the_re_manager_hands_over_what_was_checked_and_resolves_no_name_in_it(name: str, parameters: dict[str, Any], worker: dict[str, Any],
                                                                               existing: dict[str, Any]) -> None:
    checked = Plans(LAB).check(name, parameters, ALICE)
    item = {"name": name, "args": [], "kwargs": json.loads(json.dumps(checked.parameters)), "user_group": "primary"}
    ready = profile_ops.prepare_plan(item, plans_in_nspace={name: worker[name]}, devices_in_nspace={"detector": worker["detector"]},
                                     allowed_plans={"primary": existing}, allowed_devices={"primary": {"detector": {"is_readable": True}}},
                                     nspace=worker)
    queued = ready["callable"](*ready["args"], **ready["kwargs"])
    assert (queued.name, queued.digest) == (name, checked.digest)
    assert queued.parameters == checked.parameters


def test_every_positioner_is_a_plate_a_stirrer_or_the_rate_of_a_pump() -> None:
    assert {"hotplate_a", "hotplate_a.stirrer", "pump.cs.rate"} <= set(positioners(LAB))
    assert not any(name.startswith(("arm", "detector", "plc")) for name in positioners(LAB))


# ------------------------------------------------------------------------------------------- what clients are told


@pytest.mark.parametrize(("name", "parameters"), [
    ("count", {"detectors": ["detector", "plc"], "num": 5}), ("scan", {"detectors": ["plc"], "positioner": "hotplate_a.stirrer", "start": 0, "stop": 9, "num": 3}),
    ("move", {"positioner": "pump.cs.rate", "value": 2}), ("film", FILM), ("campaign", {"config": campaign()}), ("prepare", {})])
def test_the_official_check_of_a_client_lets_through_what_is_allowed(name: str, parameters: dict[str, Any]) -> None:
    allowed = plans_allowed(Plans(LAB), "scientist")
    for kwargs in (parameters, Plans(LAB).check(name, parameters, ALICE).parameters):
        is_valid, said = profile_ops.validate_plan({"name": name, "kwargs": kwargs, "item_type": "plan"}, allowed_plans=json.loads(json.dumps(allowed)),
                                                   allowed_devices=devices_allowed(LAB, "scientist"))
        assert is_valid, said


@pytest.mark.parametrize(("name", "parameters"), [
    ("count", {"detectors": ["detector"], "num": 0}), ("count", {"detectors": ["hotplate_x"]}), ("film", {**FILM, "anneal_temperature": 200.5}),
    ("move", {"positioner": "arm", "value": 2}), ("move", {})])
def test_the_official_check_of_a_client_already_finds_what_is_beyond_the_limits(name: str, parameters: dict[str, Any]) -> None:
    is_valid, _ = profile_ops.validate_plan({"name": name, "kwargs": parameters, "item_type": "plan"}, allowed_plans=plans_allowed(Plans(LAB), "scientist"),
                                            allowed_devices=devices_allowed(LAB, "scientist"))
    assert not is_valid


def test_the_schema_has_units_limits_defaults_and_words_as_the_role_has_them() -> None:
    lab = lab_with(scientist={"limits": {"film.anneal_temperature": [60, 150]}, "plans": ["film", "count"], "devices": ["plc"]})
    told = plans_allowed(Plans(lab), "scientist")
    film = {one["name"]: one for one in told["film"]["parameters"]}
    assert set(told) == {"film", "count"}
    assert {key: film["anneal_temperature"][key] for key in ("unit", "min", "max")} == {"unit": "degC", "min": "60", "max": "150"}
    assert "default" not in film["anneal_temperature"] and film["anneal_time_s"]["default"] == "600.0"
    assert film["anneal_temperature"]["description"] == "plate temperature of the anneal (60..150 degC (limits of your role))"
    assert told["count"]["parameters"][0]["annotation"]["devices"] == {"Devices": ["plc"]}
    assert set(devices_allowed(lab, "scientist")) == {"plc"}
    assert plans_allowed(Plans(lab), "observer") == {}


def test_our_own_schema_has_numbers_as_numbers_and_the_fields_of_a_campaign() -> None:
    told = json.loads(json.dumps(described(Plans(LAB), "scientist")))
    film = {one["name"]: one for one in told["film"]["parameters"]}
    assert (film["anneal_temperature"]["low"], film["anneal_temperature"]["high"], film["anneal_temperature"]["is_required"]) == (0.0, 200.0, True)
    assert set(film["fractions"]["each"]) == {"cs", "fa", "ma", "DMF", "DMSO"}
    assert "constraints" in told["campaign"]["parameters"][0]["schema"]["properties"]


# --------------------------------------------------------------------------------------------- what lab.yaml says


@pytest.mark.parametrize(("rules", "words"), [
    ({"plans": ["flim"]}, r"remote.roles.scientist.plans.0: given 'flim'; allowed: .*did you mean film\?"),
    ({"devices": ["hotplate"]}, "remote.roles.scientist.devices.0: given 'hotplate'"),
    ({"limits": {"film.temperature": [60, 150]}}, "limits.film.temperature: given 'temperature'; allowed: anneal_temperature"),
    ({"limits": {"anneal_temperature": [60, 150]}}, "limits.anneal_temperature: given 'anneal_temperature'; allowed: PLAN.PARAMETER"),
    ({"limits": {"move.value": [60, 150]}}, "limits.move.value: given 'value'; allowed: pump.cs.rate, "),
    ({"limits": {"film.anneal_temperature": [333, 423]}}, "given 333..423; allowed: something within 0..200"),
    ({"limits": {"film.anneal_temperature": [150, 60]}}, "given 150..60; allowed: two finite numbers"),
])
def test_rules_that_would_narrow_nothing_are_refused(rules: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_rules(lab_with(scientist=rules), "lab.yaml")


def test_rules_that_narrow_something_are_taken() -> None:
    limits = {"film.anneal_temperature": [60, 150], "film.fractions.cs": [0, 0.5], "move.hotplate_a": [20, 100], "scan.pump.cs.rate": [1, 2],
              "campaign.trials": [1, 10], "campaign.hours": [0, 8], "campaign.anneal_time_s": [0, 900], "count.num": [1, 100]}
    check_rules(lab_with(scientist={"plans": ["film", "move"], "devices": ["plc"], "limits": limits}), "lab.yaml")


def test_a_scan_is_no_way_around_the_limits_of_a_motion() -> None:
    lab = lab_with(scientist={"limits": {"move.hotplate_a": [20, 100]}})
    found = refusal("scan", {"detectors": ["plc"], "positioner": "hotplate_a", "start": 20, "stop": 120, "num": 3}, lab)
    assert found == {"stop": ("120.0 degC", "20..100 degC (limits of your role)")}


# ------------------------------------------------------------------------------------------- a film as a campaign


@pytest.mark.parametrize("parameters", [
    FILM, {"anneal_temperature": 90, "volumes_ml": {"cs": 0.3}, "carrier": "DMF"}, {**FILM, "volumes_ml": {"DMF": 0.2}},
    {"anneal_temperature": 90, "carrier": "DMSO"}, {"anneal_temperature": 90, "fractions": {"cs": 1}},
    {"anneal_temperature": 90, "fractions": {"cs": 1 / 3, "fa": 1 / 3, "ma": 0.333333}}])
def test_a_film_is_a_campaign_of_one_point_that_its_laboratory_can_make(parameters: dict[str, Any]) -> None:
    values = Plans(LAB).check("film", parameters, ALICE).parameters
    config = film_campaign(LAB, values, "alice")
    assert prepare(LAB, config, lab_file="lab.yaml", campaign_file="film") == LAB
    assert (config.owner, config.budget.trials) == ("alice", 1)
    order = Translation(config, LAB, "film").order(config.optimizer.points[0], trial=0, sample="s", place="rack.1", metadata={})
    wanted = {name: share * values["total_volume_ml"] for name, share in values["fractions"].items()} | values["volumes_ml"]
    wanted |= {values["carrier"]: values["carrier_volume_ml"]} if values["carrier"] else {}
    assert doses_of(order) == pytest.approx(wanted)
    assert order.settings["anneal_temperature"] == values["anneal_temperature"]


def test_a_film_of_the_only_liquid_there_is_has_all_of_its_volume() -> None:
    lab = load_lab(EXAMPLES / "lab.yaml", {"instruments.pump.syringes": [{"address": 0, "liquid": "cs"}]})
    config = film_campaign(lab, Plans(lab).check("film", {"anneal_temperature": 90, "fractions": {"cs": 1}}, ALICE).parameters)
    assert prepare(lab, config, lab_file="lab.yaml", campaign_file="film") == lab
    assert config.optimizer.points[0]["cs"] == 1.0
