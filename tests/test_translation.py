"""What parameters set: orders, executed values, columns of a table world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.core.errors import ConfigError
from lab.core.question import CampaignConfig
from lab.files import load_campaign, load_lab
from lab.translation import Translation, load_liquids
from plans.recipes import Carried

EXAMPLES = Path(__file__).parent.parent / "examples"
LAB = load_lab(EXAMPLES / "lab.yaml")


def translation(config: CampaignConfig) -> Translation:
    return Translation(config, load_liquids(LAB, config, "campaign.yaml"), "campaign.yaml")


def perovskite(**changes: Any) -> CampaignConfig:
    return load_campaign(EXAMPLES / "perovskite.yaml", changes)


def order(one: Translation, values: dict[str, Any]) -> Any:
    return one.order(values, trial=0, sample="s0", place="rack.1", metadata={})


def test_shares_and_settings_reach_the_order() -> None:
    found = order(translation(perovskite()), {"cs": 0.1, "fa": 0.8, "ma": 0.1, "anneal_temperature": 140.0})
    assert found.shares == {"cs": 0.1, "fa": 0.8, "ma": 0.1}
    assert found.settings["anneal_temperature"] == 140.0
    assert found.settings["load_below_c"] == 60.0
    assert found.key == "s0"


def test_a_liquid_with_the_unit_ml_is_a_volume_and_a_carrier_is_added_to_it() -> None:
    config = perovskite(
        constraints=[],
        settings={"anneal_temperature": 100, "carrier_volume_ml": 0.4},
        parameters=[{"name": "cs", "type": "range", "bounds": [0, 2], "unit": "mL"},
                    {"name": "solvent", "type": "choice", "values": ["DMF", "DMSO"], "sets": "carrier"}],
    )
    found = order(translation(config), {"cs": 1.5, "solvent": "DMSO"})
    assert found.volumes_ml == {"cs": 1.5, "DMSO": 0.4}
    assert found.shares == {}


def test_a_fixed_share_and_a_fixed_setting_reach_the_order_of_every_sample() -> None:
    config = perovskite(parameters=[{"name": "cs", "type": "range", "bounds": [0, 1]}, {"name": "fa", "type": "range", "bounds": [0, 1]},
                                    {"name": "ma", "type": "fixed", "value": 0.1}, {"name": "anneal_temperature", "type": "fixed", "value": 140}])
    found = order(translation(config), {"cs": 0.2, "fa": 0.7, "ma": 0.1, "anneal_temperature": 140})
    assert found.shares == {"cs": 0.2, "fa": 0.7, "ma": 0.1}
    assert found.settings["anneal_temperature"] == 140


@pytest.mark.parametrize("number, value, message", [
    (2, -0.1, r"parameters\.2\.value: given \[-0\.1\]; allowed: shares from 0 up"),
    (2, "little", r"parameters\.2\.type: given fixed; allowed: range, or fixed to a number"),
    (3, 900, r"parameters\.3\.value: given 900 degC; allowed: "),
])
def test_a_fixed_value_that_no_instrument_can_execute_is_refused(number: int, value: Any, message: str) -> None:
    parameters: list[dict[str, Any]] = [{"name": name, "type": "range", "bounds": [0, 1]} for name in ("cs", "fa", "ma")]
    parameters.append({"name": "anneal_temperature", "type": "range", "bounds": [60, 180]})
    parameters[number] = {"name": parameters[number]["name"], "type": "fixed", "value": value}
    with pytest.raises(ConfigError, match=message):
        translation(perovskite(parameters=parameters, constraints=["cs + fa + ma == 1"] if number != 2 else ["cs + fa <= 1"]))


def test_a_carrier_that_is_no_loaded_liquid_is_refused() -> None:
    config = [{"name": "cs", "type": "range", "bounds": [0, 2], "unit": "mL"},
              {"name": "solvent", "type": "choice", "values": ["DMF", "water"], "sets": "carrier"}]
    with pytest.raises(ConfigError, match=r"parameters\.1\.values: given 'water'; allowed: a loaded liquid: cs, fa, ma, DMF, DMSO"):
        translation(perovskite(constraints=[], parameters=config))


def test_a_volume_beyond_the_syringe_is_refused() -> None:
    config = [{"name": "cs", "type": "range", "bounds": [0, 80], "unit": "mL"}]
    with pytest.raises(ConfigError, match=r"parameters\.0\.bounds: given 0\.\.80 mL; allowed: 0\.\.60 mL"):
        translation(perovskite(constraints=[], parameters=config))


@given(st.lists(st.floats(0.001, 1.0), min_size=3, max_size=3), st.floats(60, 180))
def test_executed_shares_are_named_and_scaled_as_the_parameters(shares: list[float], temperature: float) -> None:
    one = translation(perovskite())
    carried = Carried(dict(zip(("cs", "fa", "ma"), shares, strict=True)), {}, {"anneal_temperature": temperature, "stir_rpm": 300.0})
    assert one.executed(carried) == {"cs": shares[0], "fa": shares[1], "ma": shares[2], "anneal_temperature": temperature}


def test_what_the_recipe_does_not_report_stays_as_planned() -> None:
    assert translation(perovskite()).executed(Carried({}, {}, {})) == {}


def test_a_table_in_per_cent_gets_its_fractions_in_per_cent() -> None:
    inputs = translation(load_campaign(EXAMPLES / "p3ht-table.yaml")).world_inputs()
    assert [(i.column, i.quantity, i.scale) for i in inputs[:2]] == [
        ("p3ht_pct", "fraction:p3ht_pct", 100.0), ("d1_pct", "fraction:d1_pct", 100.0)]


def test_a_table_can_take_temperature_time_and_carrier_too() -> None:
    config = perovskite(
        constraints=[], settings={},
        parameters=[{"name": "cs", "type": "range", "bounds": [0, 2], "unit": "mL"},
                    {"name": "Temp_C", "type": "range", "bounds": [90, 120], "sets": "anneal_temperature"},
                    {"name": "Solvent", "type": "choice", "values": ["DMF", "DMSO"], "sets": "carrier"}],
    )
    assert [i.quantity for i in translation(config).world_inputs()] == ["volume:cs", "temperature", "liquid"]


def test_the_campaigns_liquids_replace_the_laboratorys() -> None:
    loaded = load_liquids(LAB, load_campaign(EXAMPLES / "perovskite-table.yaml"), "campaign.yaml")
    assert [(s.address, s.liquid) for s in loaded.instruments["pump"].syringes] == [(0, "CsPbI"), (1, "FAPbI"), (2, "MAPbI")]  # type: ignore[union-attr]


def test_two_liquids_in_one_pump_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"liquids: given .*; allowed: one liquid to a pump"):
        load_liquids(LAB, perovskite(liquids={"cs": 0, "fa": 0}), "campaign.yaml")
