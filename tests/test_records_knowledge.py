"""What the optimiser knew when it made a suggestion can be told from the ledger, later and in any process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lab.core.clock import ManualClock
from lab.core.errors import LedgerError, Outdated
from lab.core.trial import TrialState
from lab.records.ledger import Ledger
from tests.records_campaigns import CONFIG, OUTCOME, RACK, SUGGESTION, begun, opened


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite", ManualClock()) as opened_ledger:
        yield opened_ledger


def suggested(ledger: Ledger, campaign: str) -> int:
    """A trial, suggested from what is known now."""
    return ledger.add_suggestion(campaign, SUGGESTION, ledger.known(campaign))


def test_a_trial_is_known_for_a_suggestion_as_it_was_then_whatever_became_of_it(ledger: Ledger) -> None:
    campaign = opened(ledger)
    first, journal = begun(ledger, campaign)
    second = suggested(ledger, campaign)
    journal.executed({"cs": 0.26})
    third = suggested(ledger, campaign)
    ledger.complete_trial(campaign, first, OUTCOME)
    fourth = suggested(ledger, campaign)
    as_running, as_carried_out, as_completed = (ledger.known_for(campaign, index).trials[first] for index in (second, third, fourth))
    assert (as_running.state, as_running.point["cs"], as_running.outcome) == (TrialState.RUNNING, 0.25, None)
    assert (as_carried_out.state, as_carried_out.point["cs"], as_carried_out.outcome) == (TrialState.RUNNING, 0.26, None)
    assert (as_completed.state, as_completed.outcome) == (TrialState.COMPLETED, OUTCOME)
    assert [len(ledger.known_for(campaign, index).trials) for index in (second, third, fourth)] == [1, 2, 3]


def test_a_point_that_is_made_again_is_known_without_what_its_former_sample_was(ledger: Ledger) -> None:
    campaign = opened(ledger)
    first, journal = begun(ledger, campaign)
    journal.executed({"cs": 0.26})
    ledger.requeue_trial(campaign, first, "a dose of which nobody knows")
    second = suggested(ledger, campaign)
    ledger.start_trial(campaign, first, RACK)
    (known,) = ledger.known_for(campaign, second).trials
    assert (known.state, known.point["cs"]) == (TrialState.SUGGESTED, 0.25)


def test_a_change_between_the_look_and_the_suggestion_was_not_known(ledger: Ledger) -> None:
    campaign = opened(ledger)
    first, _ = begun(ledger, campaign)
    known = ledger.known(campaign)
    ledger.fail_trial(campaign, first, "spilled")
    second = ledger.add_suggestion(campaign, SUGGESTION, known)
    assert [trial.state for trial in known.trials] == [TrialState.RUNNING]
    assert [trial.state for trial in ledger.known_for(campaign, second).trials] == [TrialState.RUNNING]


def test_what_is_known_does_not_depend_on_whether_the_campaign_still_runs(ledger: Ledger) -> None:
    campaign = opened(ledger)
    begun(ledger, campaign)
    second = suggested(ledger, campaign)
    before = ledger.known_for(campaign, second)
    ledger.close_campaign(campaign, "interrupted", "SIGINT")
    assert ledger.known_for(campaign, second) == before
    ledger.reopen_campaign(campaign)
    ledger.close_campaign(campaign, "failed", "spent")
    assert ledger.known_for(campaign, second) == before


def test_a_suggestion_of_which_nobody_said_what_it_was_made_from_cannot_be_repeated(ledger: Ledger) -> None:
    campaign = opened(ledger)
    index = ledger.add_suggestion(campaign, SUGGESTION)
    with pytest.raises(LedgerError, match="trial 0: nobody has said what it was suggested from"):
        ledger.known_for(campaign, index)


def test_what_an_optimiser_thought_is_given_back_with_its_trial(ledger: Ledger) -> None:
    campaign, thought = opened(ledger), {"kernels": {"purity": {"scales": [0.1, 1 / 3]}}, "remarks": ["none"], "success": None}
    ledger.add_suggestion(campaign, SUGGESTION)
    index = ledger.add_suggestion(campaign, replace(SUGGESTION, thought=thought), ledger.known(campaign))
    assert [dict(trial.thought) for trial in ledger.trials(campaign)] == [{}, thought]
    assert dict(ledger.trial(campaign, index).thought) == dict(ledger.known(campaign).trials[index].thought) == thought


@pytest.mark.parametrize("thought", [{"a": float("nan")}, {"a": {1, 2}}, {"a": object()}])
def test_a_thought_that_json_cannot_hold_is_refused(ledger: Ledger, thought: dict[str, object]) -> None:
    with pytest.raises(LedgerError, match="suggestion: thought: .*; allowed: what JSON has, and finite numbers"):
        ledger.add_suggestion(opened(ledger), replace(SUGGESTION, thought=thought))


def test_when_a_trial_began_and_ended_is_known_as_far_as_it_was_known_then(tmp_path: Path) -> None:
    clock = ManualClock()
    with Ledger(tmp_path / "ledger.sqlite", clock) as ledger:
        campaign = opened(ledger)
        clock.advance(10.0)
        first, _ = begun(ledger, campaign)
        second = suggested(ledger, campaign)
        clock.advance(5.0)
        ledger.requeue_trial(campaign, first, "a dose of which nobody knows")
        clock.advance(5.0)
        ledger.start_trial(campaign, first, RACK)
        third = suggested(ledger, campaign)
        clock.advance(30.0)
        ledger.complete_trial(campaign, first, OUTCOME)
        fourth = suggested(ledger, campaign)
        known = [ledger.known_for(campaign, index).trials[first] for index in (second, third, fourth)]
        assert [(trial.began_lab_s, trial.ended_lab_s) for trial in known] == [(10.0, None), (20.0, None), (20.0, 50.0)]
        assert (ledger.trial(campaign, first).began_lab_s, ledger.trial(campaign, first).ended_lab_s) == (20.0, 50.0)


def test_a_suggestion_is_known_with_the_configuration_under_which_it_was_made(ledger: Ledger) -> None:
    campaign = opened(ledger)
    first = suggested(ledger, campaign)
    changed = json.dumps({**CONFIG, "budget": {"trials": 20}})
    assert ledger.change_config(campaign, changed, "ann", "budget: trials 9 -> 20", former=0) == 1
    second = suggested(ledger, campaign)
    assert [(known.revision, json.loads(known.config)["budget"]) for known in (ledger.known_for(campaign, first), ledger.known_for(campaign, second))] == [
        (0, {"trials": 9}), (1, {"trials": 20})]
    assert [(row.number, row.by, row.words) for row in ledger.revisions(campaign)] == [(0, "", ""), (1, "ann", "budget: trials 9 -> 20")]
    assert ledger.campaign(campaign).config == changed == ledger.known(campaign).config


def test_a_suggestion_that_was_made_under_a_former_configuration_is_not_booked(ledger: Ledger) -> None:
    campaign = opened(ledger)
    known = ledger.known(campaign)
    ledger.change_config(campaign, json.dumps(CONFIG), "ann", "nothing much")
    with pytest.raises(Outdated, match="the suggestion was made under revision 0, and it is at 1"):
        ledger.add_suggestion(campaign, SUGGESTION, known)
    assert ledger.trials(campaign) == []


def test_of_two_who_change_the_same_configuration_the_second_is_told_to_look_again(ledger: Ledger) -> None:
    campaign = opened(ledger)
    ledger.change_config(campaign, json.dumps(CONFIG), "ann", "one thing", former=0)
    with pytest.raises(Outdated, match="has been changed meanwhile: it is at revision 1, and no longer at 0"):
        ledger.change_config(campaign, json.dumps(CONFIG), "bob", "another", former=0)


def test_suggestions_that_a_change_forbids_are_withdrawn_with_it_and_those_that_have_begun_are_not(ledger: Ledger) -> None:
    campaign = opened(ledger)
    begun_one, _ = begun(ledger, campaign)
    waiting = suggested(ledger, campaign)
    ledger.change_config(campaign, json.dumps(CONFIG), "ann", "narrower", withdrawn=dict.fromkeys((begun_one, waiting), "outside of what ann allows"))
    assert [(trial.state, trial.cause) for trial in ledger.trials(campaign)] == [
        (TrialState.RUNNING, ""), (TrialState.ABANDONED, "outside of what ann allows")]
    assert [(event.trial, event.kind, event.text) for event in ledger.events(campaign)][-2:] == [
        (None, "change", "narrower, says ann"), (waiting, "withdrawn", "outside of what ann allows")]


def test_trials_that_were_read_before_are_read_anew_when_they_have_changed(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite", ManualClock()) as writer, Ledger(tmp_path / "ledger.sqlite", ManualClock()) as reader:
        campaign = opened(writer)

        def is_told() -> bool:
            with Ledger(tmp_path / "ledger.sqlite", ManualClock()) as fresh:
                return reader.trials(campaign) == fresh.trials(campaign) and reader.known(campaign) == fresh.known(campaign)

        first, journal = begun(writer, campaign)
        second, _ = begun(writer, campaign)
        assert is_told()
        for act in (lambda: journal.executed({"cs": 0.26}), lambda: writer.complete_trial(campaign, first, OUTCOME),
                    lambda: writer.requeue_trial(campaign, second, "spilled"), lambda: writer.start_trial(campaign, second, RACK),
                    lambda: writer.fail_trial(campaign, second, "spilled again"), lambda: suggested(writer, campaign),
                    lambda: writer.close_campaign(campaign, "interrupted", "SIGINT"), lambda: writer.reopen_campaign(campaign),
                    lambda: writer.close_campaign(campaign, "done")):
            act()
            assert is_told()
