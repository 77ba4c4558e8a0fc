"""Campaigns that were interrupted or killed, and go on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.core.clock import ManualClock
from lab.core.errors import LedgerError
from lab.core.sample import GRIPPER, REMOVED, UNKNOWN
from lab.core.trial import TrialState
from lab.records.ledger import Ledger
from lab.records.rows import UNCONFIRMED
from tests.records_campaigns import OUTCOME, RACK, SUGGESTION, begun, killed, opened


@pytest.fixture
def campaign(ledger: Ledger) -> str:
    return opened(ledger)


# ------------------------------------------------------------------------------------------------ interruption


def test_an_interrupted_campaign_keeps_its_trials_for_the_session_that_resumes_it(ledger: Ledger, campaign: str) -> None:
    begun(ledger, campaign)
    ledger.add_suggestion(campaign, SUGGESTION)
    before = ledger.trials(campaign)
    ledger.close_campaign(campaign, "interrupted", "SIGINT from the operator")
    assert [(t.state, t.cause) for t in ledger.trials(campaign)] == [
        (TrialState.ABANDONED, "the campaign was interrupted: SIGINT from the operator")] * 2
    row = ledger.campaign(campaign)
    assert (row.status, row.n_trials["abandoned"], row.n_trials["running"]) == ("interrupted", 2, 0)
    ledger.reopen_campaign(campaign)
    assert ledger.trials(campaign) == before
    assert (ledger.campaign(campaign).status, ledger.campaign(campaign).session) == ("running", 2)


def test_only_an_interrupted_campaign_is_resumed(ledger: Ledger, campaign: str) -> None:
    with pytest.raises(LedgerError, match=r"cannot be resumed: it runs in process \d+ on "):
        ledger.reopen_campaign(campaign)
    ledger.close_campaign(campaign, "done")
    with pytest.raises(LedgerError, match="cannot be resumed: it is done; allowed: an interrupted one"):
        ledger.reopen_campaign(campaign)
    with pytest.raises(LedgerError, match="campaign nobody: is not in the ledger"):
        ledger.reopen_campaign("nobody")


def test_laboratory_time_never_goes_back(tmp_path: Path, ledger: Ledger, clock: ManualClock, campaign: str) -> None:
    clock.advance(50)
    ledger.note(campaign, "remark", "late")
    ledger.close_campaign(campaign, "interrupted")
    assert ledger.last_lab_s(campaign) == 150.0
    with Ledger(tmp_path / "ledger.sqlite", ManualClock(149.0)) as early, pytest.raises(
            LedgerError, match="laboratory time is 149 s and would go back; allowed: 150 s or more"):
        early.reopen_campaign(campaign)
    with Ledger(tmp_path / "ledger.sqlite", ManualClock(150.0)) as later:
        later.reopen_campaign(campaign)


def test_the_story_of_a_resumed_campaign_names_its_sessions(ledger: Ledger, campaign: str) -> None:
    ledger.close_campaign(campaign, "interrupted", "SIGTERM")
    ledger.reopen_campaign(campaign)
    ledger.close_campaign(campaign, "done", "9 trials")
    assert [(s.number, s.status) for s in ledger.sessions(campaign)] == [(1, "interrupted"), (2, "done")]
    told = [e.text for e in ledger.events(campaign) if e.kind == "campaign"]
    assert told[0].startswith("began in process") and told[1] == "interrupted: SIGTERM"
    assert told[2].startswith("resumed in process") and told[2].endswith("after: SIGTERM") and told[3] == "done: 9 trials"


def test_what_a_session_had_begun_is_not_announced_by_it_once_another_goes_on(ledger: Ledger, campaign: str) -> None:
    _, journal = begun(ledger, campaign)
    move = journal.move_announced("rack.1", "stage")
    ledger.close_campaign(campaign, "interrupted")
    ledger.reopen_campaign(campaign)
    for late in (lambda: journal.dose_announced("k", {"cs": 1.0}), lambda: journal.step_began("stage", "expose"),
                 lambda: journal.executed({"cs": 1.0}), lambda: journal.run_opened("uid"), lambda: journal.move_announced("rack.1", "stage")):
        with pytest.raises(LedgerError, match=r"session 1 is over: session 2 of film-.* goes on in process"):
            late()
    journal.move_done(move)  # how it ended may be told by whoever knows
    assert ledger.where(journal.sample) == "stage"


# --------------------------------------------------------------------------------------------------- unfinished

HALF = """
import json
campaign = ledger.open_campaign("film", json.dumps({"recipe": "thin_film"}), json.dumps({"name": "demo"}))
ledger.set_stock("demo", "liquid:cs", 10.0, "mL", "new syringe")
for n in range(3):
    index = ledger.add_suggestion(campaign, Suggestion({"cs": 0.5}, "sobol"))
    journal = ledger.start_trial(campaign, index, ("rack.1", "rack.2", "rack.3"))
    journal.run_opened(f"run-{n}")
    step = journal.step_began("arm", "to the synthesiser", "transfer")
    move = journal.move_announced(f"rack.{n + 1}", f"place_{n}")
    clock.advance(10)
    if n == 2:
        continue
    journal.move_done(move)
    journal.step_ended(step)
    journal.step_began("synthesiser", "dose", "cast")
    journal.dose_announced(f"dose-{n}", {"cs": 0.5})
    if n == 0:
        journal.dose_done("dose-0", {"cs": 0.4})
        journal.executed({"cs": 0.51})
ledger.add_suggestion(campaign, Suggestion({"cs": 0.75}, "sobol"))
"""


@pytest.fixture(scope="module")
def killed_half(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A ledger whose session was killed with three samples in the machine and one suggestion more; its folder, and the campaign."""
    folder = tmp_path_factory.mktemp("killed")
    killed(folder / "ledger.sqlite", HALF)
    with Ledger(folder / "ledger.sqlite", ManualClock()) as ledger:
        return folder, ledger.campaign("film").id


@pytest.fixture
def half(tmp_path: Path, killed_half: tuple[Path, str]) -> str:
    """The killed campaign. To be named before `ledger`, which then opens a copy of its ledger."""
    folder, campaign = killed_half
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    return campaign


def test_what_was_under_way_is_told_to_the_session_that_resumes(half: str, ledger: Ledger) -> None:
    dosed, dosing, moving = ledger.unfinished(half)
    assert [(u.trial, u.slot, u.place, u.last_place) for u in (dosed, dosing, moving)] == [
        (0, "rack.1", "place_0", "place_0"), (1, "rack.2", "place_1", "place_1"), (2, "rack.3", UNKNOWN, "rack.3")]
    assert [(d.key, d.state) for u in (dosed, dosing, moving) for d in u.doses] == [("dose-0", "done"), ("dose-1", "unconfirmed")]
    assert [d.key for d in dosing.unconfirmed_doses] == ["dose-1"] and dosed.unconfirmed_move is None
    assert moving.unconfirmed_move is not None
    assert (moving.unconfirmed_move.origin, moving.unconfirmed_move.target) == ("rack.3", "place_2")
    assert [(s.name, s.station) for s in dosing.steps_done] == [("transfer", "arm")]
    assert [(s.name, s.station) for s in dosing.steps if s.state == UNCONFIRMED] == [("cast", "synthesiser")]
    assert [run.uid for run in moving.runs] == ["run-2"]
    assert dict(dosed.planned) == {"cs": 0.5} and dict(dosed.executed) == {"cs": 0.51}


def test_what_is_unconfirmed_stays_so_when_the_campaign_runs_again(half: str, ledger: Ledger) -> None:
    before = ledger.unfinished(half)
    ledger.reopen_campaign(half)
    assert ledger.unfinished(half) == before
    assert ledger.where(before[2].sample) == UNKNOWN
    assert [d.state for d in ledger.doses(half)] == ["done", "unconfirmed"]
    assert [t.state for t in ledger.trials(half)] == [TrialState.RUNNING] * 3 + [TrialState.SUGGESTED]


def test_the_resuming_session_says_once_how_it_ended(half: str, ledger: Ledger) -> None:
    ledger.reopen_campaign(half)
    _, dosing, moving = ledger.unfinished(half)
    journal = ledger.journal_of(half, dosing.trial)
    assert journal.sample == dosing.sample
    journal.dose_failed("dose-1", {"cs": 0.125}, "the session was killed; the pump had counted 0.125 mL")
    with pytest.raises(LedgerError, match="dose dose-1: has ended already: failed"):
        journal.dose_done("dose-1", {"cs": 0.5})
    with pytest.raises(LedgerError, match="the key was used on .*; a dose is never repeated"):
        journal.dose_announced("dose-1", {"cs": 0.5})
    journal = ledger.journal_of(half, moving.trial)
    assert moving.unconfirmed_move is not None
    journal.move_done(moving.unconfirmed_move.id)
    assert ledger.where(moving.sample) == "place_2"
    move = journal.move_announced("place_2", "rack.3")
    assert ledger.where(moving.sample) == GRIPPER
    journal.move_done(move)
    assert [d.state for d in ledger.doses(half)] == ["done", "failed"]


def test_a_person_says_where_a_sample_is(half: str, ledger: Ledger) -> None:
    ledger.reopen_campaign(half)
    dosed, _, moving = ledger.unfinished(half)
    with pytest.raises(LedgerError, match=f"{moving.sample}: cannot be at place_0: {dosed.sample} is there or on its way there"):
        ledger.put_sample(moving.sample, "place_0", "anna", "seen")
    ledger.put_sample(moving.sample, "place_2", "anna", "seen through the window")
    assert ledger.where(moving.sample) == "place_2"
    assert [(m.state, m.place) for m in ledger.moves(moving.sample)] == [("failed", "place_2")]
    ledger.put_sample(dosed.sample, REMOVED, "anna", "broken")
    assert "place_0" not in ledger.occupied(half)
    assert ledger.events(half)[-1].text == f"anna: {dosed.sample} is at removed: broken"


def test_a_trial_without_a_sample_has_no_journal(ledger: Ledger, campaign: str) -> None:
    index = ledger.add_suggestion(campaign, SUGGESTION)
    with pytest.raises(LedgerError, match="trial 0: has no sample in the ledger"):
        ledger.journal_of(campaign, index)
    journal = ledger.start_trial(campaign, index, "rack.1")
    with pytest.raises(LedgerError, match="trial 0: has no sample film-s9 in the ledger"):
        ledger.journal_of(campaign, index, "film-s9")
    assert ledger.journal_of(campaign, index).sample == journal.sample


# -------------------------------------------------------------------------------------------------- made again


def test_a_requeued_trial_is_made_again_with_another_sample(ledger: Ledger, campaign: str) -> None:
    index, first = begun(ledger, campaign)
    first.move_done(first.move_announced("rack.1", "stage"))
    first.executed({"cs": 0.3})
    ledger.requeue_trial(campaign, index, "GapError: annealed 40 s after casting")
    trial = ledger.trial(campaign, index)
    assert (trial.state, dict(trial.executed), trial.sample) == (TrialState.SUGGESTED, {}, "")
    second = ledger.start_trial(campaign, index, RACK)
    assert second.sample == f"{first.sample}.2"
    assert ledger.trial(campaign, index).sample == second.sample
    assert [(s.id, s.slot, s.place, s.state, s.cause) for s in ledger.samples(campaign)] == [
        (first.sample, "rack.1", "stage", "discarded", "GapError: annealed 40 s after casting"),
        (second.sample, "rack.2", "rack.2", "current", "")]
    assert ledger.journal_of(campaign, index).sample == second.sample
    ledger.complete_trial(campaign, index, OUTCOME)
    assert [(e.kind, e.trial) for e in ledger.events(campaign)][-1] == ("requeued", 0)


def test_a_discarded_sample_is_put_away_and_nothing_else_is_done_with_it(ledger: Ledger, campaign: str) -> None:
    index, first = begun(ledger, campaign)
    first.move_done(first.move_announced("rack.1", "stage"))
    ledger.requeue_trial(campaign, index, "scratched")
    ledger.start_trial(campaign, index, RACK)
    with pytest.raises(LedgerError, match="dose k: the sample is discarded: scratched"):
        first.dose_announced("k", {"cs": 0.1})
    put_away = ledger.journal_of(campaign, index, first.sample)
    put_away.move_done(put_away.move_announced("stage", "rack.1"))
    assert ledger.where(first.sample) == "rack.1"
    assert ledger.free_slots("demo", RACK) == ("rack.3", "rack.4")


def test_a_sample_that_nobody_finds_is_lost(ledger: Ledger, campaign: str) -> None:
    index, journal = begun(ledger, campaign)
    journal.move_failed(journal.move_announced("rack.1", "stage"), UNKNOWN, "arm: dropped it")
    ledger.requeue_trial(campaign, index, "arm: dropped it")
    assert [s.state for s in ledger.samples(campaign)] == ["lost"]
    assert ledger.free_slots("demo", RACK) == ("rack.2", "rack.3", "rack.4")


def test_only_a_running_trial_is_requeued_and_never_without_a_cause(ledger: Ledger, campaign: str) -> None:
    index, _ = begun(ledger, campaign)
    with pytest.raises(LedgerError, match="trial 0: requeued without a cause"):
        ledger.requeue_trial(campaign, index, "")
    ledger.complete_trial(campaign, index, OUTCOME)
    with pytest.raises(LedgerError, match="trial 0: cannot become suggested: it is completed; allowed from: running"):
        ledger.requeue_trial(campaign, index, "again")
    with pytest.raises(LedgerError, match="trial 5: is not in the ledger"):
        ledger.requeue_trial(campaign, 5, "again")


def test_a_requeued_trial_may_be_given_up(ledger: Ledger, campaign: str) -> None:
    index, _ = begun(ledger, campaign)
    ledger.requeue_trial(campaign, index, "late")
    ledger.fail_trial(campaign, index, "no substrate left", TrialState.ABANDONED)
    assert ledger.trial(campaign, index).state is TrialState.ABANDONED


# ------------------------------------------------------------------------------------------------------ replay

ACTIONS = st.lists(st.sampled_from(["suggest", "start", "move", "confirm", "dose", "dosed", "executed", "requeue", "complete", "fail"]),
                   max_size=24)


@settings(max_examples=25, deadline=None)
@given(actions=ACTIONS, n_interruptions=st.integers(1, 3))
def test_the_optimiser_sees_the_same_trials_before_and_after_any_interruption(actions: list[str], n_interruptions: int) -> None:
    with Ledger("sqlite://", ManualClock()) as ledger:  # in memory
        campaign = opened(ledger)
        for number, action in enumerate(actions):
            try:
                _act(ledger, campaign, action, number)
            except LedgerError:
                pass  # what is not allowed at this point changes nothing
        trials, samples = ledger.trials(campaign), {s.id: (s.slot, s.state) for s in ledger.samples(campaign)}
        for _ in range(n_interruptions):
            ledger.close_campaign(campaign, "interrupted", "pulled the plug")
            ledger.reopen_campaign(campaign)
            assert ledger.trials(campaign) == trials
            assert {s.id: (s.slot, s.state) for s in ledger.samples(campaign)} == samples
            unfinished = ledger.unfinished(campaign)
            assert [u.trial for u in unfinished] == [t.index for t in trials if t.state is TrialState.RUNNING]
            assert all(u.place == UNKNOWN for u in unfinished if u.unconfirmed_move is not None)


def _act(ledger: Ledger, campaign: str, action: str, number: int) -> None:
    """One thing that a session may do, with the newest trial."""
    index = len(ledger.trials(campaign)) - 1
    if action == "suggest":
        ledger.add_suggestion(campaign, SUGGESTION)
    elif action == "start":
        ledger.start_trial(campaign, index, RACK)
    elif action == "requeue":
        ledger.requeue_trial(campaign, index, "again")
    elif action == "complete":
        ledger.complete_trial(campaign, index, OUTCOME)
    elif action == "fail":
        ledger.fail_trial(campaign, index, "no film")
    else:
        journal = ledger.journal_of(campaign, index)
        place = ledger.where(journal.sample)
        moves = ledger.moves(journal.sample)
        if action == "move":
            journal.move_announced(place, "stage" if place != "stage" else "plate")
        elif action == "confirm" and moves:
            journal.move_done(moves[-1].id)
        elif action == "dose":
            journal.dose_announced(f"{journal.sample}-{number}", {"cs": 0.1})
        elif action == "dosed":
            journal.dose_done(next((d.key for d in ledger.doses(campaign) if d.state == "announced"), "none"), {"cs": 0.1})
        elif action == "executed":
            journal.executed({"cs": number / 7})
