"""Points and results that people bring, suggestions that they take back: in one transaction each, from any process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from campaign_on_record import EXAMPLES
from records_campaigns import PREAMBLE

from lab.core.errors import ConfigError, LedgerError, Outdated
from lab.core.trial import Measured, Outcome, Suggestion, TrialState
from lab.files import load_campaign
from lab.records.ledger import Ledger

SLOTS = tuple(f"rack.{n}" for n in range(1, 13))
POINT = {"cs": 0.2, "fa": 0.8, "ma": 0.0, "anneal_temperature": 100.0}
RESULT = Outcome({"perovskite_fraction": Measured(0.9, 0.02), "peak_width": Measured(0.2)})


def opened(ledger: Ledger, **changes: Any) -> str:
    config = load_campaign(EXAMPLES / "perovskite.yaml", {"budget": {"trials": 3}, **changes})
    return ledger.open_campaign("film", config.model_dump_json(), json.dumps({"name": "demo"}))


def suggested(ledger: Ledger, campaign: str) -> int:
    return ledger.add_suggestion(campaign, Suggestion(POINT, "sobol"), ledger.known(campaign))


def events(ledger: Ledger, campaign: str) -> list[tuple[int | None, str, str]]:
    return [(one.trial, one.kind, one.text) for one in ledger.events(campaign)][1:]


def test_a_point_of_ones_own_is_a_suggestion_under_ones_name(ledger: Ledger) -> None:
    campaign = opened(ledger)
    index = ledger.attach(campaign, POINT, "alice")
    trial = ledger.trial(campaign, index)
    assert (trial.state, trial.planned, trial.origin) == (TrialState.SUGGESTED, POINT, "alice")
    assert events(ledger, campaign) == [(index, "attached", "is tried for alice")]
    with pytest.raises(LedgerError, match="nobody has said what it was suggested from"):
        ledger.known_for(campaign, index)


def test_a_point_waits_for_the_resume_of_an_interrupted_campaign(ledger: Ledger) -> None:
    campaign = opened(ledger)
    ledger.close_campaign(campaign, "interrupted", "a power cut")
    index = ledger.attach(campaign, POINT, "alice")
    ledger.reopen_campaign(campaign)
    assert ledger.trial(campaign, index).state is TrialState.SUGGESTED


@pytest.mark.parametrize(("values", "said"), [
    ({"cs": 2.0}, r"point: values\.cs: given 2\.0; allowed: 0\.\.1"), ({"cs": 0.3}, r"point: values: given 1\.1 on the left; allowed: cs \+ fa \+ ma == 1"),
    ({"zz": 1.0}, r"values\.zz: given 1\.0; allowed: one of cs"), ({"cs": "much"}, r"values\.cs: given 'much'")])
def test_a_point_that_the_campaign_may_not_try_is_refused(ledger: Ledger, values: dict[str, Any], said: str) -> None:
    campaign = opened(ledger)
    with pytest.raises(ConfigError, match=said):
        ledger.attach(campaign, {**POINT, **values}, "alice")
    assert ledger.trials(campaign) == []


def test_of_a_pool_only_its_rows_can_be_tried(ledger: Ledger) -> None:
    rows = [[0.2, 0.8, 0.0, 100.0], [0.3, 0.7, 0.0, 120.0]]
    campaign = opened(ledger, candidates={"columns": list(POINT), "rows": rows}, optimizer={"engine": "botorch"})
    assert ledger.attach(campaign, POINT, "alice") == 0
    with pytest.raises(ConfigError, match="allowed: one of the 2 rows of its candidates"):
        ledger.attach(campaign, {**POINT, "anneal_temperature": 101.0}, "alice")


def test_points_are_within_the_budget_and_results_from_elsewhere_cost_none(ledger: Ledger) -> None:
    campaign = opened(ledger, budget={"trials": 1})
    ledger.attach_result(campaign, POINT, RESULT, "alice")
    ledger.attach(campaign, POINT, "alice")
    with pytest.raises(LedgerError, match=r"no trial is left for another point: 1 of 1 are made or suggested; .*: lab change film-\S+ trials=2"):
        ledger.attach(campaign, POINT, "alice")


def test_a_result_from_elsewhere_is_a_completed_trial_without_a_sample(ledger: Ledger) -> None:
    campaign = opened(ledger)
    index = ledger.attach_result(campaign, {**POINT, "cs": 1.2}, RESULT, "alice")
    trial = ledger.known(campaign).trials[index]
    assert (trial.state, trial.outcome, trial.origin, trial.needs_sample) == (TrialState.COMPLETED, RESULT, "alice, measured elsewhere", False)
    assert ledger.samples(campaign) == []


@pytest.mark.parametrize(("values", "outcome", "said"), [
    ({"cs": "much"}, RESULT, r"result: values\.cs: given 'much'; allowed: a number"),
    ({}, Outcome({"peak_width": Measured(0.2)}), r"result: measured\.perovskite_fraction: given nothing; allowed: a number")])
def test_a_result_of_which_nothing_can_be_learned_is_refused(ledger: Ledger, values: dict[str, Any], outcome: Outcome, said: str) -> None:
    campaign = opened(ledger)
    with pytest.raises(ConfigError, match=said):
        ledger.attach_result(campaign, {**POINT, **values}, outcome, "alice")
    with pytest.raises(LedgerError, match="allowed: finite numbers"):
        ledger.attach_result(campaign, POINT, Outcome({"perovskite_fraction": Measured(float("nan"))}), "alice")
    assert ledger.trials(campaign) == []


def test_a_vetoed_suggestion_is_not_begun_and_costs_nothing(ledger: Ledger) -> None:
    campaign = opened(ledger)
    index = suggested(ledger, campaign)
    ledger.veto(campaign, index, "alice", "the glass would crack")
    trial = ledger.trial(campaign, index)
    assert (trial.state, trial.cause, trial.needs_sample) == (TrialState.ABANDONED, "vetoed by alice: the glass would crack", False)
    with pytest.raises(Outdated, match="cannot be started: it has been taken back"):
        ledger.start_trial(campaign, index, SLOTS)


def test_an_edited_suggestion_stays_on_record_beside_the_point_that_takes_its_place(ledger: Ledger) -> None:
    campaign = opened(ledger)
    index = suggested(ledger, campaign)
    edited = ledger.edit(campaign, index, {"anneal_temperature": 120.0}, "alice")
    old, new = ledger.trials(campaign)
    assert (old.state, old.planned, old.cause) == (TrialState.ABANDONED, POINT, "edited by alice")
    assert (new.index, new.state, new.planned, new.origin) == (edited, TrialState.SUGGESTED, {**POINT, "anneal_temperature": 120.0}, "alice, for trial 1")
    assert events(ledger, campaign) == [(0, "withdrawn", "edited by alice"), (1, "edited", "takes the place of trial 1, says alice")]


def test_an_edit_that_is_not_allowed_leaves_the_suggestion_as_it_was(ledger: Ledger) -> None:
    campaign = opened(ledger)
    index = suggested(ledger, campaign)
    with pytest.raises(ConfigError, match=r"values\.cs: given 2"):
        ledger.edit(campaign, index, {"cs": 2.0}, "alice")
    assert [trial.state for trial in ledger.trials(campaign)] == [TrialState.SUGGESTED]


Act = Callable[[Ledger, str, int], object]


@pytest.mark.parametrize("act", [lambda ledger, campaign, index: ledger.veto(campaign, index, "alice"),
                                 lambda ledger, campaign, index: ledger.edit(campaign, index, {"cs": 0.2}, "alice")])
def test_what_has_begun_is_not_taken_back(ledger: Ledger, act: Act) -> None:
    campaign = opened(ledger)
    index = suggested(ledger, campaign)
    ledger.start_trial(campaign, index, SLOTS)
    with pytest.raises(LedgerError, match="trial 1: is running; allowed: a suggestion that has not begun"):
        act(ledger, campaign, index)
    with pytest.raises(LedgerError, match="trial 8: is not in the ledger"):
        act(ledger, campaign, 7)


@pytest.mark.parametrize("act", [
    lambda ledger, campaign: ledger.attach(campaign, POINT, "alice"), lambda ledger, campaign: ledger.attach_result(campaign, POINT, RESULT, "alice"),
    lambda ledger, campaign: ledger.veto(campaign, 0, "alice"), lambda ledger, campaign: ledger.edit(campaign, 0, POINT, "alice")])
def test_nothing_is_brought_to_a_campaign_that_is_over(ledger: Ledger, act: Callable[[Ledger, str], object]) -> None:
    campaign = opened(ledger)
    suggested(ledger, campaign)
    ledger.close_campaign(campaign, "done")
    with pytest.raises(LedgerError, match="is done; allowed: a campaign that runs or can be resumed"):
        act(ledger, campaign)


def test_of_points_that_two_processes_bring_at_the_same_time_none_is_lost(ledger: Ledger, tmp_path: Path) -> None:
    campaign = opened(ledger, budget={"trials": 60})
    code = PREAMBLE + """
print("ready", flush=True)
sys.stdin.readline()
for n in range(8):
    ledger.attach(sys.argv[2], {"cs": 0.2, "fa": 0.8, "ma": 0.0, "anneal_temperature": 100.0 + n}, sys.argv[3])
"""
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "ledger.sqlite"), campaign, name], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True) for name in ("ann", "bob")]
    for writer in writers:
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=200)
        assert writer.returncode == 0
    trials = ledger.trials(campaign)
    assert [trial.index for trial in trials] == list(range(16))
    assert sorted((trial.origin, trial.planned["anneal_temperature"]) for trial in trials) == sorted(
        (name, 100.0 + n) for name in ("ann", "bob") for n in range(8))
