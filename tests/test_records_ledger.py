"""The ledger: states, places, doses, durability."""

from __future__ import annotations

import math
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.core.clock import ManualClock
from lab.core.errors import LedgerError
from lab.core.journal import Journal
from lab.core.sample import GRIPPER, UNKNOWN
from lab.core.trial import Measured, Outcome, Suggestion, TrialState
from lab.records.ledger import Ledger

SUGGESTION = Suggestion({"cs": 0.25, "solvent": "DMF", "n": 3}, "sobol", 0.1)
OUTCOME = Outcome({"yield": Measured(0.5, 0.1), "purity": Measured(0.9)}, {"redchi": 1.2, "missing": math.nan})


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(100.0)


@pytest.fixture
def ledger(tmp_path: Path, clock: ManualClock) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite", clock) as opened:
        yield opened


@pytest.fixture
def campaign(ledger: Ledger) -> str:
    return ledger.open_campaign("film", '{"a": 1}', '{"b": 2}')


def begin(ledger: Ledger, campaign: str, place: str = "rack.1") -> tuple[int, Journal, str]:
    index = ledger.add_suggestion(campaign, SUGGESTION)
    journal = ledger.start_trial(campaign, index, place)
    return index, journal, journal.sample


def test_a_trial_comes_back_as_it_was_told(ledger: Ledger, campaign: str) -> None:
    index, journal, sample = begin(ledger, campaign)
    journal.executed({"cs": np.float64(0.1 + 0.2)})
    journal.executed({"n": np.int64(4)})
    ledger.complete_trial(campaign, index, OUTCOME)
    (trial,) = ledger.trials(campaign)
    assert (trial.index, trial.state, trial.origin, trial.sample, trial.cause) == (0, TrialState.COMPLETED, "sobol", sample, "")
    assert dict(trial.planned) == {"cs": 0.25, "solvent": "DMF", "n": 3}
    assert dict(trial.executed) == {"cs": 0.1 + 0.2, "n": 4}
    assert dict(trial.point) == {"cs": 0.1 + 0.2, "solvent": "DMF", "n": 4}
    assert trial.outcome is not None and dict(trial.outcome.measured) == dict(OUTCOME.measured)
    assert trial.outcome.details["redchi"] == 1.2 and math.isnan(trial.outcome.details["missing"])
    assert ledger.trial(campaign, 0) == trial or math.isnan(trial.outcome.details["missing"])


@pytest.mark.parametrize("wrong", [
    Outcome({}), Outcome({"y": Measured(math.nan)}), Outcome({"y": Measured(1.0, math.inf)}), Outcome({"y": Measured(1.0, -0.1)})])
def test_an_outcome_that_is_no_measurement_is_refused_and_the_trial_runs_on(ledger: Ledger, campaign: str, wrong: Outcome) -> None:
    index, _, _ = begin(ledger, campaign)
    with pytest.raises(LedgerError, match=r"trial 0: .*(without a measured value|allowed: finite numbers)"):
        ledger.complete_trial(campaign, index, wrong)
    assert ledger.trial(campaign, index).state is TrialState.RUNNING


def test_a_suggestion_that_is_not_finite_is_refused(ledger: Ledger, campaign: str) -> None:
    with pytest.raises(LedgerError, match=r"cs: given nan; allowed: finite numbers"):
        ledger.add_suggestion(campaign, Suggestion({"cs": math.nan}, "sobol"))


def test_a_trial_ends_once(ledger: Ledger, campaign: str) -> None:
    index, _, _ = begin(ledger, campaign)
    ledger.complete_trial(campaign, index, OUTCOME)
    with pytest.raises(LedgerError, match=r"trial 0: cannot become failed: it is completed; allowed from: suggested, running"):
        ledger.fail_trial(campaign, index, "too late")
    with pytest.raises(LedgerError, match=r"cannot become running: it is completed"):
        ledger.start_trial(campaign, index, "rack.2")
    with pytest.raises(LedgerError, match=r"trial 7: is not in the ledger"):
        ledger.complete_trial(campaign, 7, OUTCOME)


def test_a_failed_trial_keeps_its_cause_and_stands_among_the_events(ledger: Ledger, campaign: str) -> None:
    index, _, _ = begin(ledger, campaign)
    ledger.fail_trial(campaign, index, "pump 2: alarm: stalled")
    other = ledger.add_suggestion(campaign, SUGGESTION)
    ledger.fail_trial(campaign, other, "withdrawn by the operator", TrialState.ABANDONED)
    assert [(t.state, t.cause) for t in ledger.trials(campaign)] == [
        (TrialState.FAILED, "pump 2: alarm: stalled"), (TrialState.ABANDONED, "withdrawn by the operator")]
    assert [(e.trial, e.text) for e in ledger.events(campaign) if e.kind == "failure"] == [
        (0, "failed: pump 2: alarm: stalled"), (1, "abandoned: withdrawn by the operator")]
    with pytest.raises(LedgerError, match="without a cause"):
        ledger.fail_trial(campaign, other, "")
    with pytest.raises(LedgerError, match="given completed; allowed: failed, abandoned"):
        ledger.fail_trial(campaign, other, "why", TrialState.COMPLETED)


def test_a_sample_is_where_its_last_confirmed_move_took_it(ledger: Ledger, campaign: str) -> None:
    _, journal, sample = begin(ledger, campaign)
    assert ledger.where(sample) == "rack.1"
    move = journal.move_announced("rack.1", "synthesiser")
    assert ledger.where(sample) == GRIPPER
    assert ledger.occupied(campaign) == {"rack.1": sample, "synthesiser": sample}
    journal.move_done(move)
    assert ledger.where(sample) == "synthesiser" and ledger.occupied(campaign) == {"synthesiser": sample}
    move = journal.move_announced("synthesiser", "stage")
    journal.move_failed(move, UNKNOWN, "arm: [3012] buffer overrun")
    assert ledger.where(sample) == UNKNOWN and ledger.occupied(campaign) == {}
    assert [(m.origin, m.target, m.state, m.place, m.cause) for m in ledger.moves(sample)] == [
        ("rack.1", "synthesiser", "done", "synthesiser", ""), ("synthesiser", "stage", "failed", UNKNOWN, "arm: [3012] buffer overrun")]


def test_two_samples_never_share_a_place(ledger: Ledger, campaign: str) -> None:
    _, first, sample = begin(ledger, campaign, "rack.1")
    first.move_announced("rack.1", "stage")
    for place in ("rack.1", "stage"):
        index = ledger.add_suggestion(campaign, SUGGESTION)
        with pytest.raises(LedgerError, match=f"cannot begin at {place}: {sample} is there or on its way there"):
            ledger.start_trial(campaign, index, place)
        assert ledger.trial(campaign, index).state is TrialState.SUGGESTED
    _, second, _ = begin(ledger, campaign, "rack.2")
    with pytest.raises(LedgerError, match=f"cannot go to stage: {sample} is there or on its way there"):
        second.move_announced("rack.2", "stage")


def test_a_move_starts_where_the_sample_is_and_ends_once(ledger: Ledger, campaign: str) -> None:
    _, journal, _ = begin(ledger, campaign)
    with pytest.raises(LedgerError, match="cannot leave stage: it is at rack.1"):
        journal.move_announced("stage", "synthesiser")
    move = journal.move_announced("rack.1", "stage")
    with pytest.raises(LedgerError, match="move 1 to stage has not been confirmed"):
        journal.move_announced("rack.1", "synthesiser")
    journal.move_done(move)
    with pytest.raises(LedgerError, match="move 1: has ended already: done"):
        journal.move_failed(move, UNKNOWN, "late")
    with pytest.raises(LedgerError, match="move 99: was never announced"):
        journal.move_done(99)


def test_nobody_ends_the_move_of_another_sample(ledger: Ledger, campaign: str) -> None:
    _, first, _ = begin(ledger, campaign, "rack.1")
    _, second, _ = begin(ledger, campaign, "rack.2")
    move = first.move_announced("rack.1", "stage")
    with pytest.raises(LedgerError, match="was never announced"):
        second.move_done(move)
    assert ledger.where(second.sample) == "rack.2"


def test_a_dose_is_never_repeated(ledger: Ledger, campaign: str) -> None:
    _, journal, sample = begin(ledger, campaign)
    journal.dose_announced("k1", {"cs": 0.5})
    with pytest.raises(LedgerError, match=rf"dose k1: the key was used on .* for {sample} \(announced\); a dose is never repeated"):
        journal.dose_announced("k1", {"cs": 0.5})
    journal.dose_done("k1", {"cs": 0.49})
    journal.dose_announced("k2", {"fa": 0.2})
    journal.dose_failed("k2", {"fa": 0.1}, "pump 1: alarm: stalled")
    with pytest.raises(LedgerError, match="dose k2: has ended already: failed"):
        journal.dose_done("k2", {"fa": 0.2})
    assert [(d.key, d.state, d.volumes_ml, d.dispensed_ml, d.cause) for d in ledger.doses(campaign)] == [
        ("k1", "done", {"cs": 0.5}, {"cs": 0.49}, ""), ("k2", "failed", {"fa": 0.2}, {"fa": 0.1}, "pump 1: alarm: stalled")]


def test_nothing_is_dosed_into_a_trial_that_has_ended(ledger: Ledger, campaign: str) -> None:
    index, journal, _ = begin(ledger, campaign)
    journal.dose_announced("k1", {"cs": 0.5})
    ledger.fail_trial(campaign, index, "gave up")
    journal.dose_failed("k1", {"cs": 0.2}, "stopped")  # what was announced may always be told to its end
    with pytest.raises(LedgerError, match="dose k2: trial 0 is failed; allowed: only while it is running"):
        journal.dose_announced("k2", {"cs": 0.5})
    with pytest.raises(LedgerError, match="executed values: trial 0 is failed"):
        journal.executed({"cs": 0.1})
    move = journal.move_announced("rack.1", "rack.2")  # but its sample may be put away
    journal.move_done(move)


def test_stations_count_their_busy_laboratory_seconds_once(ledger: Ledger, campaign: str, clock: ManualClock) -> None:
    _, journal, _ = begin(ledger, campaign)
    heat = journal.step_began("synthesiser", "heat to 100 degC")
    clock.advance(10)
    stir = journal.step_began("synthesiser", "stir")
    clock.advance(5)
    journal.step_ended(heat)
    clock.advance(5)
    journal.step_ended(stir, "hotplate: stirrer blocked")
    journal.step_began("stage", "expose")
    clock.advance(2)
    assert ledger.busy_s(campaign) == {"synthesiser": 20.0, "stage": 2.0}
    assert [(s.station, s.state, s.cause) for s in ledger.steps(campaign)] == [
        ("synthesiser", "done", ""), ("synthesiser", "failed", "hotplate: stirrer blocked"), ("stage", "busy", "")]
    with pytest.raises(LedgerError, match="step 1: has ended already: done"):
        journal.step_ended(heat)


def test_a_run_belongs_to_one_trial(ledger: Ledger, campaign: str) -> None:
    _, journal, _ = begin(ledger, campaign)
    journal.run_opened("uid-1")
    assert [(r.uid, r.trial) for r in ledger.runs(campaign)] == [("uid-1", 0)]
    with pytest.raises(LedgerError, match="UNIQUE"):
        journal.run_opened("uid-1")


def test_both_times_stand_in_the_rows(ledger: Ledger, campaign: str, clock: ManualClock) -> None:
    clock.advance(23.5)
    ledger.note(campaign, "decision", "go on", trial=None)
    event = ledger.events(campaign)[-1]
    assert event.recorded_lab_s == 123.5 and event.recorded_wall.endswith("Z") and event.recorded_wall > "2020"


def test_a_closed_campaign_leaves_no_trial_open_and_takes_no_more(ledger: Ledger, campaign: str) -> None:
    begin(ledger, campaign)
    index = ledger.add_suggestion(campaign, SUGGESTION)
    ledger.close_campaign(campaign, "failed", "5 failures in a row")
    assert [t.state for t in ledger.trials(campaign)] == [TrialState.ABANDONED] * 2
    row = ledger.campaign(campaign)
    assert (row.status, row.cause, row.n_trials["abandoned"]) == ("failed", "5 failures in a row", 2)
    for late in (lambda: ledger.add_suggestion(campaign, SUGGESTION), lambda: ledger.start_trial(campaign, index, "rack.1"),
                 lambda: ledger.close_campaign(campaign, "done")):
        with pytest.raises(LedgerError, match="the campaign is failed"):
            late()


def test_a_campaign_is_found_by_id_by_name_and_by_the_beginning_of_its_id(ledger: Ledger) -> None:
    first = ledger.open_campaign("film", "{}", "{}")
    second = ledger.open_campaign("film", "{}", "{}")
    other = ledger.open_campaign("film-table", "{}", "{}")
    assert ledger.campaign(first).id == first
    assert ledger.campaign("film").id == second
    assert ledger.campaign("film-t").id == other
    assert [row.id for row in ledger.campaigns()] == [first, second, other]
    with pytest.raises(LedgerError, match="campaign fil: several begin so"):
        ledger.campaign("fil")
    for nobody in ("nobody", "%", ""):
        with pytest.raises(LedgerError, match="is not in the ledger .*the newest there: "):
            ledger.campaign(nobody)


def test_a_campaign_needs_json(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="campaign film: lab: is not JSON"):
        ledger.open_campaign("film", "{}", "{")


def test_a_closed_ledger_says_so(tmp_path: Path, clock: ManualClock) -> None:
    ledger = Ledger(tmp_path / "l.sqlite", clock)
    ledger.close()
    ledger.close()
    with pytest.raises(LedgerError, match="is closed"):
        ledger.campaigns()


# ------------------------------------------------------------------------------------------------- bad files


def test_a_file_that_is_no_database_is_refused(tmp_path: Path, clock: ManualClock) -> None:
    file = tmp_path / "l.sqlite"
    file.write_bytes(b"a shopping list, and more of it" * 100)
    with pytest.raises(LedgerError, match=r"l\.sqlite: file is not a database"):
        Ledger(file, clock)
    assert file.read_bytes().startswith(b"a shopping list")


def test_somebody_elses_database_is_refused_and_left_alone(tmp_path: Path, clock: ManualClock) -> None:
    file = tmp_path / "l.sqlite"
    with sqlite3.connect(file) as other:
        other.execute("create table songs (title text)")
    other.close()
    with pytest.raises(LedgerError, match=r"is a database, but not a ledger \(it has the tables songs\)"):
        Ledger(file, clock)


def test_a_newer_ledger_is_refused(tmp_path: Path, clock: ManualClock) -> None:
    file = tmp_path / "l.sqlite"
    Ledger(file, clock).close()
    with sqlite3.connect(file) as other:
        other.execute("update about set schema_version = 99")
    other.close()
    with pytest.raises(LedgerError, match="has schema version 99; this Labwright reads 4"):
        Ledger(file, clock)


def test_damage_in_the_middle_of_the_file_is_told_in_words(tmp_path: Path, clock: ManualClock) -> None:
    file = tmp_path / "l.sqlite"
    with Ledger(file, clock) as ledger:
        campaign = ledger.open_campaign("film", "{}", "{}")
        for _ in range(200):
            ledger.add_suggestion(campaign, SUGGESTION)
    with file.open("r+b") as damaged:
        size = os.path.getsize(file)
        damaged.seek(8192)
        damaged.write(b"\xff" * (size - 8192))
    with pytest.raises(LedgerError, match=r"l\.sqlite: .*(malformed|corrupt|not a database|no such)"), Ledger(file, clock) as ledger:
        ledger.trials(campaign)


def test_a_directory_and_an_unknown_url_are_refused(tmp_path: Path, clock: ManualClock) -> None:
    with pytest.raises(LedgerError, match="is a directory; allowed: a file"):
        Ledger(tmp_path, clock)
    with pytest.raises(LedgerError, match="whose driver is installed"):
        Ledger("nosuchdatabase://user:secret@host/lab", clock)


def test_a_password_never_stands_in_a_message(clock: ManualClock) -> None:
    with pytest.raises(LedgerError) as caught:
        Ledger("nosuchdatabase://user:secret@host/lab", clock)
    assert "secret" not in str(caught.value)


def test_a_ledger_that_is_held_too_long_is_told_in_words_and_usable_again(tmp_path: Path, clock: ManualClock) -> None:
    file = tmp_path / "l.sqlite"
    with Ledger(file, clock, busy_timeout_s=0.05) as ledger:
        campaign = ledger.open_campaign("film", "{}", "{}")
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match=r"another process has held it for longer than 0\.05 s"):
            ledger.add_suggestion(campaign, SUGGESTION)
        assert ledger.trials(campaign) == []  # reading goes on
        other.execute("ROLLBACK")
        other.close()
        assert ledger.add_suggestion(campaign, SUGGESTION) == 0


def test_a_path_may_hold_what_means_something_in_a_url(tmp_path: Path, clock: ManualClock) -> None:
    file = tmp_path / "50% of a? #1" / "l.sqlite"
    Ledger(file, clock).close()
    assert file.exists()


# ------------------------------------------------------------------------------------ threads and processes


def test_many_threads_write_one_ledger(ledger: Ledger, campaign: str) -> None:
    failures: list[LedgerError] = []

    def live(number: int) -> None:
        try:
            for _ in range(5):
                index = ledger.add_suggestion(campaign, SUGGESTION)
                journal = ledger.start_trial(campaign, index, f"rack.{index}")
                journal.dose_announced(f"dose-{index}", {"cs": 0.1})
                journal.dose_done(f"dose-{index}", {"cs": 0.1})
                ledger.complete_trial(campaign, index, OUTCOME)
        except LedgerError as error:
            failures.append(error)

    threads = [threading.Thread(target=live, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert [t.index for t in ledger.trials(campaign)] == list(range(40))
    assert len(ledger.doses(campaign)) == 40


PROCESS = """
import sys
from lab.core.clock import ManualClock
from lab.core.trial import Suggestion
from lab.records.ledger import Ledger
with Ledger(sys.argv[1], ManualClock()) as ledger:
    for n in range(20):
        ledger.add_suggestion(sys.argv[2], Suggestion({"cs": n / 20}, "sobol"))
"""


def test_several_processes_write_one_ledger(tmp_path: Path, ledger: Ledger, campaign: str) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", PROCESS, str(tmp_path / "ledger.sqlite"), campaign]) for _ in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert [t.index for t in ledger.trials(campaign)] == list(range(60))


KILLED = """
import sys
from lab.core.clock import ManualClock
from lab.core.trial import Measured, Outcome, Suggestion
from lab.records.ledger import Ledger
ledger = Ledger(sys.argv[1], ManualClock())
campaign = ledger.open_campaign("film", "{}", "{}")
print(campaign, flush=True)
while True:
    index = ledger.add_suggestion(campaign, Suggestion({"cs": 0.5}, "sobol"))
    journal = ledger.start_trial(campaign, index, f"rack.{index}")
    move = journal.move_announced(f"rack.{index}", "synthesiser"); print("move?", index, flush=True)
    journal.move_done(move); print("move!", index, flush=True)
    journal.dose_announced(f"{campaign}-{index}", {"cs": 0.5}); print("dose?", index, flush=True)
    journal.dose_done(f"{campaign}-{index}", {"cs": 0.5}); print("dose!", index, flush=True)
    journal.executed({"cs": 0.5})
    move = journal.move_announced("synthesiser", f"rack.{index}")
    journal.move_done(move)
    ledger.complete_trial(campaign, index, Outcome({"y": Measured(1.0, 0.1)})); print("done!", index, flush=True)
"""


@pytest.mark.parametrize("words", [1, 2, 3, 4, 5, 23, 39])
def test_a_killed_session_leaves_a_ledger_that_tells_the_truth(tmp_path: Path, clock: ManualClock, words: int) -> None:
    file = tmp_path / "l.sqlite"
    writer = subprocess.Popen([sys.executable, "-c", KILLED, str(file)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    campaign = writer.stdout.readline().strip()
    told = [writer.stdout.readline().split() for _ in range(words)]
    writer.send_signal(signal.SIGKILL)
    told += [line.split() for line in writer.stdout.read().splitlines() if len(line.split()) == 2]
    writer.wait(120)
    writer.stdout.close()

    with Ledger(file, clock) as ledger:
        row = ledger.campaign("film")
        assert (row.id, row.status) == (campaign, "interrupted")
        assert row.cause == f"process {writer.pid} on {row.host} is gone"
        doses = {dose.key: dose for dose in ledger.doses(campaign)}
        trials = ledger.trials(campaign)
        moves = [move for trial in trials if trial.sample for move in ledger.moves(trial.sample)]
        # Whatever the session was told to be on disk is there; at most one entry more, which it was not told of.
        for word, index in told:
            dose = doses.get(f"{campaign}-{index}")
            if word == "dose?":
                assert dose is not None and dose.state in ("done", "unconfirmed")
            if word == "dose!":
                assert dose is not None and dose.state == "done"
            if word == "done!":
                assert trials[int(index)].state is TrialState.COMPLETED
        for dose in doses.values():
            assert (dose.dispensed_ml is None) == (dose.state == "unconfirmed")
        assert all(t.state is TrialState.COMPLETED for t in trials[:-1])
        assert trials == [] or trials[-1].state in (TrialState.COMPLETED, TrialState.ABANDONED)
        assert sum(1 for d in doses.values() if d.state == "unconfirmed") + sum(1 for m in moves if m.state == "unconfirmed") <= 1
        for trial in trials:
            if trial.sample and any(move.state == "unconfirmed" for move in ledger.moves(trial.sample)):
                assert ledger.where(trial.sample) == UNKNOWN


def test_a_dose_that_nobody_confirmed_is_shown_as_unconfirmed(tmp_path: Path, clock: ManualClock) -> None:
    file = tmp_path / "l.sqlite"
    code = KILLED.replace('print("dose?", index, flush=True)', "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    subprocess.run([sys.executable, "-c", code, str(file)], stdout=subprocess.DEVNULL, timeout=200)
    with Ledger(file, clock) as ledger:
        campaign = ledger.campaign("film").id
        (dose,) = ledger.doses(campaign)
        assert (dose.state, dose.dispensed_ml, dose.ended_wall) == ("unconfirmed", None, None)
        (trial,) = ledger.trials(campaign)
        assert trial.state is TrialState.ABANDONED and "is gone" in trial.cause
        assert ledger.where(trial.sample) == "synthesiser"


def test_the_dose_of_a_session_that_lives_is_only_announced(ledger: Ledger, campaign: str) -> None:
    _, journal, _ = begin(ledger, campaign)
    journal.dose_announced("k", {"cs": 1.0})
    assert [dose.state for dose in ledger.doses(campaign)] == ["announced"]
    ledger.close_campaign(campaign, "interrupted", "Ctrl-C")
    assert [dose.state for dose in ledger.doses(campaign)] == ["unconfirmed"]


# ------------------------------------------------------------------------------------------------- replay

VALUES = st.dictionaries(st.text(min_size=1, max_size=8), st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.integers(-2**53, 2**53), st.text(max_size=8), st.booleans()), max_size=4)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(planned=VALUES, executed=VALUES, mean=st.floats(allow_nan=False, allow_infinity=False),
       sem=st.one_of(st.none(), st.floats(min_value=0, allow_infinity=False)))
def test_every_number_and_text_survives_the_ledger_exactly(ledger: Ledger, planned: dict, executed: dict, mean: float,
                                                          sem: float | None) -> None:
    campaign = ledger.open_campaign("film", "{}", "{}")
    index = ledger.add_suggestion(campaign, Suggestion(planned, "x"))
    ledger.start_trial(campaign, index, "rack.1").executed(executed)
    ledger.complete_trial(campaign, index, Outcome({"y": Measured(mean, sem)}))
    trial = ledger.trial(campaign, index)
    assert repr(dict(trial.planned)) == repr(planned) and repr(dict(trial.executed)) == repr(executed)
    assert trial.outcome is not None and trial.outcome.measured["y"] == Measured(mean, sem)


def test_a_pump_that_could_not_be_asked_is_left_out_of_a_failed_dose(ledger: Ledger, campaign: str) -> None:
    _, journal, _ = begin(ledger, campaign)
    journal.dose_announced("k", {"cs": 0.5, "fa": 0.5})
    with pytest.raises(LedgerError, match="dose k: fa: given nan; allowed: finite numbers"):
        journal.dose_done("k", {"cs": 0.5, "fa": math.nan})
    journal.dose_failed("k", {"cs": 0.5, "fa": math.nan}, "pump 1: no answer")
    assert [(d.state, d.dispensed_ml) for d in ledger.doses(campaign)] == [("failed", {"cs": 0.5})]
