"""What a recipe does at each station, and what it reports as really done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from work_cell import Bench, Campaign

from lab.core.errors import LinkDown
from plans.recipes import RECIPES, doses_of


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def test_shares_become_volumes_of_the_whole_and_traces_are_left_out(bench: Bench) -> None:
    order = Campaign(bench).order(0)
    assert doses_of(order) == {"cs": 0.25, "fa": 0.75}
    traces = Campaign(bench, settings={"total_volume_ml": 0.003}).order(0)
    assert doses_of(traces) == {"fa": pytest.approx(0.00225)}


def test_each_step_says_what_it_does_in_words_and_how_long_it_will_take(bench: Bench) -> None:
    order = Campaign(bench).order(0)
    assert [step.describe(order) for step in RECIPES["thin_film"].steps] == [
        "cast 0.250 mL cs, 0.750 mL fa", "anneal 600 s at 120 degC", "expose 1 x 2 s"]
    assert [step.expected_s(order) for step in RECIPES["thin_film"].steps] == pytest.approx([14.0, 660.0, 7.2])


def test_what_was_dispensed_is_reported_scaled_to_the_sum_of_the_shares(bench: Bench) -> None:
    campaign = Campaign(bench)
    bench.synthesiser.dispensed_ml = lambda: {"cs": 0.3, "fa": 0.7}  # type: ignore[method-assign]
    bench.run(campaign)
    assert campaign.carried_out["s0"] == pytest.approx({"cs": 0.3, "fa": 0.7, "anneal_temperature": 120.0, "anneal_time_s": 600.0})


def test_the_temperature_that_the_plate_held_is_reported_not_the_one_that_was_set(bench: Bench) -> None:
    campaign = Campaign(bench)
    bench.heater.off_by_c = 1.5
    bench.run(campaign)
    assert campaign.carried_out["s0"]["anneal_temperature"] == pytest.approx(118.5)


def test_the_hold_begins_when_the_plate_is_at_temperature(bench: Bench) -> None:
    campaign = Campaign(bench)
    bench.run(campaign)
    assert bench.log.time("heater_a off") - bench.log.time("heater_a heat 120") == pytest.approx(30.0 + 600.0)
    assert campaign.carried_out["s0"]["anneal_time_s"] == pytest.approx(600.0)


def test_an_anneal_whose_plate_does_not_hold_its_temperature_fails_the_sample(bench: Bench) -> None:
    campaign = Campaign(bench)
    bench.heater.off_by_c = 40.0
    bench.run(campaign)
    assert [str(e) for e in campaign.failures] == [
        "heater_a: the plate is at 80 degC where it shall hold 120 degC; look at its display for an error"]
    assert "anneal_temperature" not in campaign.carried_out["s0"]
    assert "heater_a off" in bench.log


def test_the_heater_goes_off_when_the_anneal_fails(bench: Bench) -> None:
    bench.heater.fails["heat"] = [LinkDown("hotplate: no answer")]
    bench.run(Campaign(bench))
    assert "heater_a off" in bench.log[bench.log.index("heater_a heat 120"):]


def test_a_warm_plate_is_cooled_before_a_sample_is_brought_to_it(bench: Bench) -> None:
    for heater in bench.heaters:
        heater.warm(61.0, constant_s=5000.0)  # slower than anybody expects as long as it has not been seen to cool
    bench.run(Campaign(bench, settings={"max_gap_s": 600.0}))
    assert bench.log.index("heater_a cool 60") < bench.log.index("s0 announced spin -> gripper")


def test_a_failed_dose_is_booked_with_what_the_pumps_counted(bench: Bench) -> None:
    bench.synthesiser.fails["dose"] = [LinkDown("pump cs: no answer")]
    bench.run(Campaign(bench))
    assert "dose failed {'cs': 0.125, 'fa': 0.375}: pump cs: no answer" in bench.log


def test_of_pumps_that_cannot_be_asked_nothing_is_booked_as_counted(bench: Bench) -> None:
    def unplugged() -> dict[str, float]:
        raise LinkDown("pump cs: no answer")

    bench.synthesiser.dispensed_ml = unplugged  # type: ignore[method-assign]
    bench.synthesiser.fails["dose"] = [LinkDown("pump cs: no answer")]
    bench.run(Campaign(bench))
    assert "dose failed {}: pump cs: no answer" in bench.log


def test_the_detector_is_unstaged_when_the_exposure_fails(bench: Bench) -> None:
    bench.detector.fails["trigger"] = [LinkDown("detector: no answer")]
    bench.run(Campaign(bench))
    assert bench.log.index("detector trigger") < bench.log.index("detector unstage")


def test_a_measurement_that_is_done_again_goes_into_a_file_of_its_own(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "s0.h5").touch()
    bench.run(Campaign(bench))
    assert "detector file s0.2.h5" in bench.log
