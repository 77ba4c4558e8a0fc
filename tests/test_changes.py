"""The question of a campaign, changed while it runs or before it is resumed: checked before it is written, on record with who did it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from campaign_on_record import EXAMPLES, LAB
from records_campaigns import killed

from lab.changes.config import change
from lab.changes.draft import changed
from lab.changes.words import differences
from lab.core.errors import ConfigError, LedgerError
from lab.core.question import Budget, CampaignConfig
from lab.core.trial import Measured, Outcome, Suggestion, TrialState
from lab.files import load_campaign
from lab.optimise import make_optimizer
from lab.records.ledger import Ledger
from lab.translation import load_liquids

SLOTS = tuple(f"rack.{n}" for n in range(1, 13))
POINT = {"cs": 0.2, "fa": 0.8, "ma": 0.0, "anneal_temperature": 100.0}


def config(**changes: Any) -> CampaignConfig:
    return load_campaign(EXAMPLES / "perovskite.yaml", {"budget": {"trials": 9, "hours": 4}, "optimizer": {"engine": "botorch", "initial": 2}, **changes})


def opened(ledger: Ledger, **changes: Any) -> str:
    asked = config(**changes)
    return ledger.open_campaign("film", asked.model_dump_json(), load_liquids(LAB, asked, "campaign").model_dump_json())


def now(ledger: Ledger, campaign: str) -> CampaignConfig:
    return CampaignConfig.model_validate_json(ledger.campaign(campaign).config)


def made(ledger: Ledger, campaign: str, point: Mapping[str, Any] = POINT, outcome: Outcome | None = None) -> int:
    """A trial that was suggested, made and measured."""
    index = ledger.add_suggestion(campaign, Suggestion(point, "test"))
    ledger.start_trial(campaign, index, SLOTS)
    ledger.complete_trial(campaign, index, outcome if outcome is not None else Outcome({"perovskite_fraction": Measured(0.5, 0.1)}))
    return index


# ------------------------------------------------------------------------------------------------- what may be written


@pytest.mark.parametrize(("changes", "said"), [
    ({"trials": 20, "hours": None}, "budget: trials 9 -> 20, hours 4 -> no limit"),
    ({"cs": [0, 0.2]}, "cs 0..1 -> 0..0.2"),
    ({"parameters.cs.bounds": [0, 0.2]}, "cs 0..1 -> 0..0.2"),
    ({"anneal_temperature": 100}, "anneal_temperature 60..180 degC -> 100 degC"),
    ({"constraints+": "cs <= 0.5 * fa"}, "with the constraint cs <= 0.5 * fa"),
    ({"constraints-": "cs + fa + ma == 1"}, "without the constraint cs + fa + ma == 1"),
    ({"outcome_constraints+": "crystallite_size >= 20"}, "with the outcome constraint crystallite_size >= 20"),
    ({"minimize": "peak_width"}, "maximize perovskite_fraction -> minimize peak_width"),
    ({"objectives.perovskite_fraction.goal": "minimize"}, "maximize perovskite_fraction -> minimize perovskite_fraction"),
    ({"objectives.0.noise": "inferred"}, "objectives: perovskite_fraction.noise measured -> inferred"),
    ({"stop.improvement": 0.01, "stop.times": 2}, "stop: none -> {'improvement': 0.01, 'improvement_per_hour': None, 'confidence': None, 'times': 2}"),
    ({"budget.trials": 9}, "nothing has changed"),
])
def test_what_is_changed_is_said_in_words(changes: dict[str, Any], said: str) -> None:
    former = config()
    assert differences(former, changed(former, changes, "here")) == said


@pytest.mark.parametrize(("changes", "said"), [
    ({}, "changes: given nothing; allowed: at least one of: parameters, constraints"),
    ({"recipe": "other"}, "recipe: given 'other'; allowed: parameters, constraints.*trials, failures, hours; maximize or minimize=OUTCOME"),
    ({"optimizer.engine": "sobol"}, "optimizer.engine: given 'sobol'"),
    ({"zeta": [0, 1]}, "zeta: given"),
    ({"trials": 0}, r"budget\.trials: given 0"),
    ({"days": 1}, "days: given 1"),
    ({"cs": [0.5, 0.1]}, r"parameters\.cs\.bounds: given \[0\.5, 0\.1\]; allowed: two finite numbers, the lower one first"),
    ({"cs": "wide"}, r"parameters\.cs\.bounds: given 'wide'; allowed: \[low, high\], or one number"),
    ({"cs+": 1}, r"parameters\.cs\.bounds: given 1"),
    ({"parameters.cs.name": "caesium"}, r"parameters\.cs\.name: given 'caesium'; allowed: bounds or values of cs"),
    ({"parameters.zz.bounds": [0, 1]}, r"parameters\.zz\.bounds: .*; allowed: bounds or values of cs, fa, ma, anneal_temperature"),
    ({"constraints-": "cs <= 2"}, r"constraints-: given 'cs <= 2'; allowed: cs \+ fa \+ ma == 1"),
    ({"constraints+": "cs <="}, r"constraints\.1: given 'cs <='"),
    ({"budget+": 3}, r"budget\+: given 3; allowed: = "),
    ({"minimize": 3}, "minimize: given 3; allowed: the name of an outcome"),
    ({"objectives.purity.goal": "minimize"}, r"objectives\.purity\.goal: given 'minimize'; allowed: one of perovskite_fraction"),
    ({"budget.trials.more": 3}, r"budget\.trials\.more: given 3; allowed: a field that has no more in it"),
])
def test_what_cannot_be_changed_is_refused_in_words(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s){said}"):
        changed(config(), changes, "here")


def test_a_parameter_that_was_narrowed_to_one_value_can_be_widened_again() -> None:
    first = config()
    narrow = changed(first, {"anneal_temperature": 100}, "here")
    with pytest.raises(ConfigError, match=r"parameters\.anneal_temperature: given \[90, 110\]; allowed: 100.*: it is fixed"):
        changed(narrow, {"anneal_temperature": [90, 110]}, "here")
    wide = changed(narrow, {"anneal_temperature": [90, 110]}, "here", [first, narrow])
    assert differences(narrow, wide) == "anneal_temperature 100 degC -> 90..110 degC"


def test_first_points_that_are_not_allowed_any_more_are_left_out() -> None:
    former = config(optimizer={"engine": "botorch", "points": [POINT, {**POINT, "anneal_temperature": 150.0}]})
    new = changed(former, {"anneal_temperature": [60, 120]}, "here")
    assert differences(former, new) == "anneal_temperature 60..180 degC -> 60..120 degC; 1 of 2 optimizer.points are left"
    with pytest.raises(ConfigError, match="optimizer.points"):
        changed(config(optimizer={"engine": "given", "points": [POINT]}), {"anneal_temperature": [110, 120]}, "here")


# ------------------------------------------------------------------------------------------------------- on record


def test_a_running_campaign_is_changed_at_once_and_its_session_goes_on_with_it(ledger: Ledger) -> None:
    campaign = opened(ledger)
    done = change(ledger, "film", {"trials": 20}, "ann")
    assert str(done).startswith(f"{campaign}: budget: trials 9 -> 20; its session (process") and done.revision == 1
    assert now(ledger, campaign).budget == Budget(trials=20, hours=4)
    assert [(event.kind, event.text) for event in ledger.events(campaign)][-1] == ("change", "budget: trials 9 -> 20, says ann")


def test_an_interrupted_campaign_goes_on_with_the_change_when_it_is_resumed(ledger: Ledger) -> None:
    campaign = opened(ledger)
    ledger.close_campaign(campaign, "interrupted", "a power cut")
    assert str(change(ledger, campaign, {"cs": [0, 0.5]}, "ann")) == f"{campaign}: cs 0..1 -> 0..0.5; lab resume goes on with it"


def test_a_campaign_that_is_over_stays_as_it_is(ledger: Ledger) -> None:
    campaign = opened(ledger)
    ledger.close_campaign(campaign, "done")
    with pytest.raises(LedgerError, match="cannot be changed: it is done"):
        change(ledger, campaign, {"trials": 20}, "ann")
    with pytest.raises(LedgerError, match="cannot be changed: it is done"):
        ledger.change_config(campaign, "{}", "ann", "no reason")


@pytest.mark.parametrize(("changes", "said"), [
    ({"trials": 61}, r"budget\.trials: given 61; allowed: 1\.\.60, the slots of the rack"),
    ({"anneal_temperature": [60, 900]}, r"parameters\.3\.bounds.*900"),
    ({"constraints+": "cs >= 0.9", "fa": [0.5, 1]}, "constraints"),
    ({"minimize": "purity"}, r"objectives\.0\.name: given 'purity'; allowed: what evaluate\.kind phases delivers"),
    ({"minimize": "peak_width"}, "objectives: given peak_width, which no trial has measured; allowed: perovskite_fraction"),
])
def test_what_this_laboratory_or_the_trials_do_not_allow_is_refused_and_changes_nothing(ledger: Ledger, changes: dict[str, Any], said: str) -> None:
    campaign = opened(ledger)
    made(ledger, campaign)
    with pytest.raises(ConfigError, match=f"(?s){said}"):
        change(ledger, campaign, changes, "ann")
    assert len(ledger.revisions(campaign)) == 1


def test_an_objective_that_was_measured_all_along_counts_from_the_first_trial_on(ledger: Ledger) -> None:
    campaign = opened(ledger)
    for cs in (0.1, 0.3):
        made(ledger, campaign, {**POINT, "cs": cs, "fa": 1 - cs}, Outcome({"perovskite_fraction": Measured(0.5, 0.1), "peak_width": Measured(cs, 0.01)}))
    change(ledger, campaign, {"minimize": "peak_width"}, "ann")
    assert "botorch" in make_optimizer(now(ledger, campaign)).suggest(ledger.known(campaign).trials)[0].origin


def test_a_suggestion_that_has_not_begun_and_is_forbidden_now_is_withdrawn(ledger: Ledger) -> None:
    campaign = opened(ledger)
    index = ledger.add_suggestion(campaign, Suggestion(POINT, "test"))
    done = change(ledger, campaign, {"cs": [0, 0.1]}, "ann")
    assert done.withdrawn == (index,) and f"; trial {index + 1} is withdrawn; " in str(done)
    trial = ledger.trial(campaign, index)
    assert (trial.state, trial.needs_sample) == (TrialState.ABANDONED, False)
    assert trial.cause == "withdrawn by ann, with whose change (cs 0..1 -> 0..0.1) it is not allowed: cs: 0.2 is outside 0..0.1"


def test_suggestions_before_and_after_a_change_are_made_again_to_the_last_bit(ledger: Ledger) -> None:
    campaign = opened(ledger)

    def suggest() -> int:
        known = ledger.known(campaign)
        suggestion = make_optimizer(CampaignConfig.model_validate_json(known.config)).suggest(known.trials)[0]
        index = ledger.add_suggestion(campaign, suggestion, known)
        ledger.start_trial(campaign, index, SLOTS)
        values = {name: float(value) for name, value in suggestion.values.items()}
        ledger.complete_trial(campaign, index, Outcome({
            "perovskite_fraction": Measured(values["fa"] - values["cs"] ** 2, 0.1), "peak_width": Measured(values["cs"], 0.01)}))
        return index

    for changes in ({}, {"cs": [0, 0.5]}, {"minimize": "peak_width", "constraints+": "fa <= 0.9"}, {"anneal_temperature": 120}, {"cs": [0, 1]}):
        if changes:
            change(ledger, campaign, changes, "ann")
        suggest(), suggest()
    for trial in ledger.trials(campaign):
        known = ledger.known_for(campaign, trial.index)
        again = make_optimizer(CampaignConfig.model_validate_json(known.config)).suggest(known.trials)[0]
        assert (dict(again.values), again.origin, dict(again.thought)) == (trial.planned, trial.origin, trial.thought)
    assert [ledger.known_for(campaign, index).revision for index in (1, 2, 9)] == [0, 1, 4]


# ------------------------------------------------------------------------------------------------------- the command


def test_lab_change_says_what_it_has_done(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from lab.cli import app

    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    campaign = opened(ledger)
    done = CliRunner().invoke(app, ["change", "film", "cs=[0, 0.5]", "constraints+=cs + fa <= 0.9"])
    assert (done.exit_code, done.stdout.split(";")[:2]) == (0, [f"{campaign}: cs 0..1 -> 0..0.5", " with the constraint cs + fa <= 0.9"])
    done = CliRunner().invoke(app, ["budget", "film", "trials=20", "hours=null"])
    assert (done.exit_code, done.stdout.split(";")[0]) == (0, f"{campaign}: budget: trials 9 -> 20, hours 4 -> no limit")
    assert CliRunner().invoke(app, ["budget", "film", "trials=0"]).exit_code == 2


def test_points_are_attached_edited_and_vetoed_at_a_terminal(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from lab.changes.commands import app

    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    campaign = opened(ledger)
    point = [f"{name}={value}" for name, value in POINT.items()]
    done = [CliRunner().invoke(app, words) for words in (
        ["attach", "film", *point], ["edit", "film", "1", "anneal_temperature=110"], ["veto", "film", "2", "--why", "no glass"],
        ["attach", "film", *point, "--measured", "perovskite_fraction=0.9+-0.01"])]
    assert [(one.exit_code, one.stdout.split(": ", 1)[1].split()[:2]) for one in done] == [(0, ["trial", str(n)]) for n in (1, 2, 2, 3)]
    assert [trial.state.value for trial in ledger.trials(campaign)] == ["abandoned", "abandoned", "completed"]
    assert ledger.trial(campaign, 2).outcome == Outcome({"perovskite_fraction": Measured(0.9, 0.01)})
    for words in (["attach", "film", "cs=2"], ["veto", "film", "first"], ["edit", "film", "1"], ["attach", "film", *point, "--measured", "much"]):
        assert CliRunner().invoke(app, words).exit_code == 2


def test_what_was_changed_and_brought_outlives_the_session_that_was_killed(ledger: Ledger, tmp_path: Path) -> None:
    asked = config()
    (tmp_path / "config.json").write_text(asked.model_dump_json())
    (tmp_path / "lab.json").write_text(load_liquids(LAB, asked, "campaign").model_dump_json())
    killed(tmp_path / "ledger.sqlite", f"""
from pathlib import Path
from lab.changes.config import change
folder = Path({str(tmp_path)!r})
campaign = ledger.open_campaign("film", (folder / "config.json").read_text(), (folder / "lab.json").read_text())
ledger.add_suggestion(campaign, Suggestion({POINT!r}, "test"), ledger.known(campaign))
ledger.attach(campaign, {POINT!r}, "ann")
change(ledger, campaign, {{"minimize": "peak_width"}}, "ann")
""")
    assert str(change(ledger, "film", {"cs": [0, 0.5], "anneal_temperature": [100, 180]}, "bob")).endswith("; lab resume goes on with it")
    campaign = ledger.campaign("film").id
    ledger.reopen_campaign(campaign)
    known = ledger.known(campaign)
    assert ([one.planned for one in known.trials], known.revision) == ([POINT, POINT], 2)
    assert differences(asked, CampaignConfig.model_validate_json(known.config)) == (
        "cs 0..1 -> 0..0.5; anneal_temperature 60..180 degC -> 100..180 degC; maximize perovskite_fraction -> minimize peak_width")
