"""Looking ahead for the steward: what cannot be done, how long it takes, and no longer than it may."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from lab.core.clock import ManualClock
from lab.core.errors import ServiceError
from lab.core.question import CampaignConfig
from lab.files import load_lab, parse
from lab.home import Home
from lab.records.ledger import Ledger
from lab.remote.access.who import Who
from lab.remote.registry.plan_checks import Checked, Plans
from lab.remote.registry.refusals import PlanRefused
from lab.remote.registry.rehearser import Rehearser

EXAMPLES = Path(__file__).parents[1] / "examples"
LAB = load_lab(EXAMPLES / "lab.yaml")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def rehearser(home: Home) -> Iterator[Rehearser]:
    before = set(psutil.Process().children())
    one = Rehearser(LAB, home, check_s=60.0, estimate_s=60.0)  # how long it takes here is not what is tested
    yield one
    one.close()
    assert set(psutil.Process().children()) <= before


def campaign(**changes: Any) -> dict[str, Any]:
    config = yaml.safe_load((EXAMPLES / "perovskite.yaml").read_text())
    del config["lab"]
    return {**config, **changes}


def checked(rehearser: Rehearser, name: str, parameters: dict[str, Any]) -> Checked:
    return Plans(LAB, rehearser).check(name, parameters, Who("alice", "scientist", "k"))


FILM = {"fractions": {"cs": 0.2, "fa": 0.8}, "anneal_temperature": 120}


def test_a_film_is_told_with_its_duration(rehearser: Rehearser) -> None:
    short, long = (checked(rehearser, "film", {**FILM, "anneal_time_s": seconds}).estimate_s for seconds in (60, 3660))
    assert short is not None and long is not None
    assert long - short == pytest.approx(3600, rel=0.15)


def test_a_campaign_is_told_with_its_duration_which_is_remembered(rehearser: Rehearser) -> None:
    first = checked(rehearser, "campaign", {"config": campaign(budget={"trials": 6})})
    assert first.estimate_s is not None and first.estimate_s > 6 * 600 / 3
    assert checked(rehearser, "campaign", {"config": campaign(budget={"trials": 6}, name="another")}).estimate_s == first.estimate_s


@pytest.mark.parametrize(("changes", "field"), [
    ({"constraints": ["cs + fa + ma == 1", "cs >= 0.9", "fa >= 0.9"]}, "config.constraints"),
    ({"budget": {"trials": 61}}, "config.budget.trials"),
    ({"settings": {"anneal_time_s": 600, "max_gap_s": 1}}, "config.settings.max_gap_s"),
])
def test_a_campaign_that_cannot_be_done_is_refused_with_field_given_and_allowed(rehearser: Rehearser, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(PlanRefused) as caught:
        checked(rehearser, "campaign", {"config": campaign(**changes)})
    assert field in {one.field for one in caught.value.problems}


def test_a_rack_that_is_used_up_is_told_before_anything_is_queued(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with Ledger(home.ledger, ManualClock()) as ledger:
        ledger.set_stock(LAB.name, "substrates", 0, "pieces", "all used", by="ada", capacity=60)
    one = Rehearser(LAB, home, check_s=60.0)
    try:
        with pytest.raises(PlanRefused, match="lab refill demo rack"):
            checked(one, "film", FILM)
    finally:
        one.close()


def test_a_campaign_that_cannot_be_looked_through_in_time_is_refused_and_the_next_one_is_not(home: Home) -> None:
    one = Rehearser(LAB, home, check_s=0.0)
    try:
        with pytest.raises(PlanRefused, match="could not be looked through within 0 s"):
            checked(one, "film", FILM)
    finally:
        one.close()
    other = Rehearser(LAB, home, check_s=60.0, estimate_s=0.0)
    try:
        assert checked(other, "film", FILM).estimate_s is None
        assert checked(other, "film", FILM).parameters["anneal_temperature"] == 120.0
    finally:
        other.close()


def test_after_its_end_nothing_is_started_again(home: Home) -> None:
    one = Rehearser(LAB, home)
    one.close()
    with pytest.raises(ServiceError, match="the laboratory is going down"):
        one.foresee(parse(CampaignConfig, campaign(), "campaign"))
