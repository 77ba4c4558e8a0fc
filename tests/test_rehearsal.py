"""`lab plan`: what is told of a campaign before anything moves."""

from __future__ import annotations

import json
import threading
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from lab.cli import app
from lab.core.clock import WallClock
from lab.core.errors import ConfigError
from lab.files import load_campaign, load_lab
from lab.home import Home
from lab.records.ledger import Ledger
from lab.rehearsal.ahead import Ahead, look_ahead, quick_check, rehearse
from lab.rehearsal.conductor import Bar, Shown
from lab.rehearsal.known import Known
from lab.rehearsal.layout import tick_words
from lab.rehearsal.picture import chart_of, svg, typical
from lab.rehearsal.report import makespan, report_of
from lab.validation import prepare

BAD_INPUT = 2
EXAMPLES = Path(__file__).parents[1] / "examples"
REAL = {"instruments.pump.endpoint": "tcp://10.0.0.1:1", "instruments.arm.endpoint": "tcp://10.0.0.2:1", "speed": 1,
        "instruments.detector.endpoint": "http://10.0.0.3:80", "instruments.plc.endpoint": "tcp://10.0.0.4:1",
        "instruments.hotplate_a.endpoint": "tcp://10.0.0.5:1", "instruments.hotplate_b.endpoint": "tcp://10.0.0.6:1",
        "instruments.hotplate_c.endpoint": "tcp://10.0.0.7:1"}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def looked_at(home: Home, n: int = 5, in_lab: dict[str, Any] | None = None, **in_campaign: Any) -> Ahead:
    """The perovskite example with changes; `a__b=1` sets the field ``a.b``."""
    changes = {name.replace("__", "."): value for name, value in in_campaign.items()}
    campaign = load_campaign(EXAMPLES / "perovskite.yaml", {"budget.trials": n} | changes)
    known = load_lab(EXAMPLES / "lab.yaml").instruments
    lab = load_lab(EXAMPLES / "lab.yaml", {key: value for key, value in (in_lab or {}).items() if not key.startswith("instruments.") or key.split(".")[1] in known})
    lab = prepare(lab, campaign, lab_file="lab.yaml", campaign_file="campaign.yaml")
    return look_ahead(lab, campaign, lab_file="lab.yaml", campaign_file="campaign.yaml", home=home)


def told(ahead: Ahead, repetitions: int = 1) -> dict[str, Any]:
    return report_of(ahead, rehearse(ahead, repetitions))


# ------------------------------------------------------------------------------------------------- the course


def test_a_possible_campaign_is_told_with_its_duration_and_its_stations(home: Home) -> None:
    report = told(looked_at(home), 2)
    assert report["possible"] and report["problems"] == []
    assert report["samples"] == {"planned": 5, "made": 5, "remaining": 0, "lost": 0}
    took = report["makespan_s"]
    assert 1200 < took["low"] < took["median"] < took["high"] < 7200
    assert report["speed_up"] > 1.1
    assert {"arm", "synthesiser", "plate_a", "plate_b", "stage"} <= set(report["stations"])
    assert "plate_a" in report["bottleneck"]["stations"]


def test_an_anneal_takes_what_the_recipe_says_and_a_little_scatter(home: Home) -> None:
    anneal = told(looked_at(home))["steps"]["anneal"]
    assert 630 < anneal["low_s"] < anneal["high_s"] < 690


def test_every_sample_passes_every_step_in_order(home: Home) -> None:
    (shown,) = rehearse(looked_at(home, 3), 1).shown
    for sample in range(3):
        steps = [bar.step for bar in sorted((bar for bar in shown.bars if bar.sample == sample), key=lambda bar: bar.begin_s)]
        assert [step for step in steps if step in ("cast", "anneal", "measure")] == ["cast", "anneal", "measure"]
        assert steps.count("transfer") == 4


def test_no_station_has_two_samples_at_once(home: Home) -> None:
    (shown,) = rehearse(looked_at(home, 6), 1).shown
    for station in {bar.station for bar in shown.bars}:
        bars = sorted((bar for bar in shown.bars if bar.station == station), key=lambda bar: bar.begin_s)
        assert all(before.end_s <= after.begin_s + 1e-9 for before, after in zip(bars, bars[1:], strict=False))


def test_one_sample_at_a_time_where_the_laboratory_says_so(home: Home) -> None:
    report = told(looked_at(home, 4, in_lab={"at_once": 1}))
    assert report["speed_up"] == pytest.approx(1.0, abs=0.15)


def test_the_same_seed_gives_the_same_answer(home: Home) -> None:
    assert told(looked_at(home, 4), 2) == told(looked_at(home, 4), 2)


def test_another_seed_gives_another_answer(home: Home) -> None:
    assert told(looked_at(home, 4))["makespan_s"] != told(looked_at(home, 4, optimizer__seed=9))["makespan_s"]


def test_hours_that_are_spent_leave_samples_unmade(home: Home) -> None:
    report = told(looked_at(home, 8, budget__hours=0.3))
    assert 0 < report["samples"]["made"] < 8
    assert report["samples"]["made"] + report["samples"]["remaining"] == 8


def test_durations_on_record_change_what_is_expected(home: Home) -> None:
    ahead = looked_at(home, 3)
    slow = Ahead(ahead.case, Known({"cast": (300.0,) * 50}, {}, ahead.known.free), ahead.extents, ahead.orders)
    assert told(slow)["steps"]["cast"]["median_s"] > 150 > told(ahead)["steps"]["cast"]["median_s"]


# ------------------------------------------------------------------------------------------- what cannot be done


def test_a_gap_shorter_than_a_transfer_is_refused_with_what_could_be_kept(home: Home) -> None:
    ahead = looked_at(home, settings__max_gap_s=10)
    (problem,) = told(ahead)["problems"]
    assert problem["file"] == "campaign.yaml" and problem["field"] == "settings.max_gap_s" and problem["given"] == "10 s"
    assert problem["allowed"].startswith("at least 2")


def test_a_tight_gap_that_can_be_kept_is_told_with_its_margin(home: Home) -> None:
    (gap,) = told(looked_at(home, 4, settings__max_gap_s=40))["gaps"]
    assert gap["step"] == "anneal" and gap["allowed_s"] == 40
    assert gap["kept"] and gap["longest_s"] <= 40 and gap["chance_of_missing"] < 0.03


def test_a_gap_is_at_risk_where_transfers_on_record_scatter_widely(home: Home) -> None:
    ahead = looked_at(home, 8, settings__max_gap_s=45)
    transfers = tuple(20.0 * float(np.exp(0.8 * z)) for z in np.random.default_rng(0).standard_normal(200))
    wild = Ahead(ahead.case, Known({"transfer": transfers}, {}, ahead.known.free), ahead.extents, ahead.orders)
    report = told(wild, 2)
    (gap,) = report["gaps"]
    assert not gap["kept"] and gap["chance_of_missing"] > 0.03
    assert report["samples"]["lost"] == pytest.approx(gap["missed"] / 2)


def test_a_dose_below_what_a_pump_can_dispense_is_a_problem(home: Home) -> None:
    report = told(looked_at(home, in_lab={"instruments.pump.limits.DISPENSE": [0.1, 20]}))
    assert not report["possible"]
    assert "doses of cs" in [problem["field"] for problem in report["problems"]]


def test_a_carrier_that_is_also_a_share_counts_twice(home: Home) -> None:
    ahead = looked_at(home, settings__carrier="cs", settings__carrier_volume_ml=2.0)
    assert ahead.doses["cs"] == pytest.approx((2.0, 3.0))
    assert ahead.doses["fa"] == pytest.approx((0.0, 1.0))


def test_a_place_beyond_the_limits_of_the_arm_is_a_problem(home: Home) -> None:
    (problem, *_) = looked_at(home, in_lab={"instruments.arm.limits.MOVE_LIN": [-130, 300]}).problems
    assert (problem.file, problem.field) == ("lab.yaml", "stations.rack.origin.pose")


def test_what_the_quick_check_finds_is_raised_all_at_once(home: Home) -> None:
    ahead = looked_at(home, in_lab={"instruments.pump.limits.DISPENSE": [0.1, 20]}, settings__max_gap_s=10)
    with pytest.raises(ConfigError, match=r"doses of cs.*\n.*doses of fa.*\n.*doses of ma.*\n.*max_gap_s: given 10 s; allowed: at least"):
        quick_check(ahead.case.lab, ahead.case.campaign, lab_file="lab.yaml", campaign_file="campaign.yaml", home=home)


# ---------------------------------------------------------------------------------------------------- consumables


def test_a_syringe_that_runs_out_asks_for_refills_on_the_way(home: Home) -> None:
    syringes = [{"address": n, "liquid": liquid, "volume_ml": 1.5} for n, liquid in enumerate(("cs", "fa", "ma"))]
    report = told(looked_at(home, 10, in_lab={"instruments.pump.syringes": syringes}))
    assert report["possible"]
    cs = next(one for one in report["consumables"] if one["account"] == "liquid:cs")
    assert cs["needed"] > 1.5 and 0 < cs["enough_for"] < 10 and cs["runs_out_s"] > 0
    assert any(one["kind"] == "refill" and "lab refill demo cs" in one["words"] for one in report["operator"])
    assert any(one.startswith("liquid:cs: 1.5 mL left, enough for") for one in report["warnings"])


def test_stock_on_record_counts_in_a_real_laboratory(home: Home) -> None:
    home.prepare()
    with Ledger(home.ledger, WallClock()) as ledger:
        ledger.set_stock("demo", "liquid:cs", 0.01, "mL", "a test", capacity=60.0)
    ahead = looked_at(home, in_lab=REAL)
    (problem,) = ahead.problems
    assert problem.field == "liquid:cs" and "0.01 mL" in problem.given and "lab refill demo cs" in problem.allowed


def test_an_empty_rack_is_refused(home: Home) -> None:
    home.prepare()
    with Ledger(home.ledger, WallClock()) as ledger:
        ledger.set_stock("demo", "substrates", 0, "pieces", "a test", capacity=60)
    assert [problem.field for problem in looked_at(home, in_lab=REAL).problems] == ["rack"]


# -------------------------------------------------------------------------------------------- operator, interlocks


def test_interlocks_are_told_with_their_reasons(home: Home) -> None:
    lock = {"exclusive": ["arm", "stage"], "reason": "they share their space", "action": "block"}
    names = {one["name"]: one for one in told(looked_at(home, 1, in_lab={"interlocks.arm_or_stage": lock}))["interlocks"]}
    assert names["arm_or_stage"]["reason"] == "they share their space"
    assert names["arm_or_stage"]["guards"] == ["arm", "stage"]


def test_rules_that_ask_are_told(home: Home) -> None:
    report = told(looked_at(home, 1, recovery={"rules": [{"error": "LinkError", "step": "measure", "do": "ask", "within_s": 60}]}))
    assert [one["words"] for one in report["operator"]] == ["on LinkError in measure: what to do about the sample (within 60 s, then skip)"]


# ----------------------------------------------------------------------------------------------------- the picture


def test_the_picture_is_xml_with_a_bar_for_each_step(home: Home) -> None:
    ahead = looked_at(home, 4)
    shown = typical(rehearse(ahead, 1).shown)
    root = ET.fromstring(svg(chart_of(ahead, shown)))
    kinds = Counter(rect.get("class") for rect in root.iter("{http://www.w3.org/2000/svg}rect"))
    assert kinds["step"] == sum(not bar.step.startswith("prepare") for bar in shown.bars) + sum(
        bar.step.startswith("prepare") and title_of(bar) in titles(root) for bar in shown.bars)
    assert kinds["cooling"] == len(shown.cooling) > 0
    words = {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"arm", "plate_a", "plate_b", "synthesiser", "stage", "20 min"} <= words


def title_of(bar: Any) -> str:
    return f"sample {bar.sample + 1}: {bar.step} at {bar.station}"


def titles(root: ET.Element) -> set[str]:
    return {(one.text or "").partition(",")[0] for one in root.iter("{http://www.w3.org/2000/svg}title")}


@pytest.mark.parametrize(("seconds", "words"), [(0, "0"), (1200, "20 min"), (3600, "1 h"), (5400, "1 h 30")])
def test_the_time_axis_is_in_hours_and_minutes(seconds: float, words: str) -> None:
    assert tick_words(seconds) == words


def test_one_repetition_tells_nothing_of_the_scatter() -> None:
    assert makespan([shown_of([0.0], 100.0)]) == {"median": 100.0, "low": 100.0, "high": 100.0}


def test_repetitions_that_agree_in_all_batches_leave_no_doubt() -> None:
    begun = [50.0 * n for n in range(30)]
    took = makespan([shown_of(begun, 1600.0), shown_of(begun, 1600.0)])
    assert took["low"] == took["high"] == 1600.0


def test_batches_that_scatter_widen_the_interval() -> None:
    first, second = [50.0 * n for n in range(30)], [50.0 * n + 20.0 * (n >= 10) for n in range(30)]
    took = makespan([shown_of(first, 1600.0), shown_of(second, 1620.0)])
    assert took["low"] < 1580.0 < 1640.0 < took["high"]


def shown_of(begun_s: list[float], end_s: float) -> Shown:
    return Shown(bars=[Bar(0, "arm", "transfer", 0.0, end_s)], begun_s=begun_s)


# ----------------------------------------------------------------------------------------------------- the command


def command(tmp_path: Path, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["plan", str(EXAMPLES / "perovskite.yaml"), *arguments], env={"LAB_HOME": str(tmp_path / "home")})


def test_the_command_prints_one_object_and_leaves_nothing_but_the_picture(tmp_path: Path) -> None:
    picture = tmp_path / "plan.svg"
    before = set(threading.enumerate())
    result = command(tmp_path, "--samples", "2", "--json", "--picture", str(picture))
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["possible"] is True and report["samples"]["made"] == 2 and report["picture"] == str(picture)
    assert list(tmp_path.iterdir()) == [picture]
    assert {thread.name for thread in set(threading.enumerate()) - before} <= {"bluesky-run-engine"}


def test_the_command_draws_png_too(tmp_path: Path) -> None:
    picture = tmp_path / "plan.png"
    assert command(tmp_path, "--samples", "1", "--picture", str(picture)).exit_code == 0
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_table_names_steps_stations_and_consumables(tmp_path: Path) -> None:
    said = command(tmp_path, "--samples", "2").stdout
    for word in ("perovskite in demo: possible", "2 of 2 samples in", "anneal", "plate_a (bottleneck)", "liquid:cs", "time before anneal: kept", "interlock"):
        assert word in said


def test_an_impossible_campaign_exits_with_2_and_says_why(tmp_path: Path) -> None:
    result = command(tmp_path, "--samples", "2", "--set", "settings.max_gap_s=10", "--json")
    assert result.exit_code == BAD_INPUT
    assert json.loads(result.stdout)["possible"] is False
    assert "settings.max_gap_s: given 10 s; allowed: at least" in result.stderr


@pytest.mark.parametrize(("arguments", "said"), [
    (("--picture", "plan.gif"), "--picture: given plan.gif; allowed: a file that ends in .svg or .png"),
    (("--picture", "no/such/folder/plan.svg"), "a file in a folder that exists"),
    (("--samples", "0"), "budget.trials"),
    (("--samples", "1000"), "budget.trials: given 1000; allowed: 1..60"),
    (("--set", "settings.stir_rpm=99999"), "settings.stir_rpm: given 99999 rpm"),
])
def test_bad_input_is_answered_with_field_given_and_allowed(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    result = command(tmp_path, *arguments)
    assert result.exit_code == BAD_INPUT
    assert said in result.stderr
