"""What the optimiser knew when it made a suggestion can be told from the ledger, later and in any process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.core.clock import ManualClock
from lab.core.errors import LedgerError
from lab.core.trial import TrialState
from lab.records.ledger import Ledger
from tests.records_campaigns import OUTCOME, RACK, SUGGESTION, begun, opened


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite", ManualClock()) as opened_ledger:
        yield opened_ledger


def suggested(ledger: Ledger, campaign: str) -> int:
    """A trial, suggested from what is known now."""
    _, basis = ledger.known(campaign)
    return ledger.add_suggestion(campaign, SUGGESTION, basis)


def test_a_trial_is_known_for_a_suggestion_as_it_was_then_whatever_became_of_it(ledger: Ledger) -> None:
    campaign = opened(ledger)
    first, journal = begun(ledger, campaign)
    second = suggested(ledger, campaign)
    journal.executed({"cs": 0.26})
    third = suggested(ledger, campaign)
    ledger.complete_trial(campaign, first, OUTCOME)
    fourth = suggested(ledger, campaign)
    as_running, as_carried_out, as_completed = (ledger.known_for(campaign, index)[first] for index in (second, third, fourth))
    assert (as_running.state, as_running.point["cs"], as_running.outcome) == (TrialState.RUNNING, 0.25, None)
    assert (as_carried_out.state, as_carried_out.point["cs"], as_carried_out.outcome) == (TrialState.RUNNING, 0.26, None)
    assert (as_completed.state, as_completed.outcome) == (TrialState.COMPLETED, OUTCOME)
    assert [len(ledger.known_for(campaign, index)) for index in (second, third, fourth)] == [1, 2, 3]


def test_a_point_that_is_made_again_is_known_without_what_its_former_sample_was(ledger: Ledger) -> None:
    campaign = opened(ledger)
    first, journal = begun(ledger, campaign)
    journal.executed({"cs": 0.26})
    ledger.requeue_trial(campaign, first, "a dose of which nobody knows")
    second = suggested(ledger, campaign)
    ledger.start_trial(campaign, first, RACK)
    (known,) = ledger.known_for(campaign, second)
    assert (known.state, known.point["cs"]) == (TrialState.SUGGESTED, 0.25)


def test_a_change_between_the_look_and_the_suggestion_was_not_known(ledger: Ledger) -> None:
    campaign = opened(ledger)
    first, _ = begun(ledger, campaign)
    trials, basis = ledger.known(campaign)
    ledger.fail_trial(campaign, first, "spilled")
    second = ledger.add_suggestion(campaign, SUGGESTION, basis)
    assert [trial.state for trial in trials] == [TrialState.RUNNING]
    assert [trial.state for trial in ledger.known_for(campaign, second)] == [TrialState.RUNNING]


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
