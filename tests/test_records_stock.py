"""Consumables and rack slots of a laboratory."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.core.clock import ManualClock
from lab.core.errors import ConsumableError, LabError, LedgerError
from lab.core.sample import REMOVED, UNKNOWN
from lab.core.trial import TrialState
from lab.records.ledger import Ledger
from lab.records.rows import StockRow
from tests.records_campaigns import OUTCOME, PREAMBLE, RACK, SUGGESTION, begun, killed, opened

CS = "liquid:cs"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite", ManualClock()) as opened_ledger:
        yield opened_ledger


@pytest.fixture
def campaign(ledger: Ledger) -> str:
    return opened(ledger)


def account(ledger: Ledger, name: str = CS) -> StockRow:
    return next(row for row in ledger.stock("demo") if row.account == name)


# ---------------------------------------------------------------------------------------------------- accounts


def test_a_laboratory_without_accounts_is_not_watched(ledger: Ledger, campaign: str) -> None:
    _, journal = begun(ledger, campaign)
    journal.dose_announced("k", {"cs": 1e6})
    journal.dose_done("k", {"cs": 1e6})
    assert ledger.stock("demo") == []


def test_the_balance_is_the_sum_of_entries_that_say_why_when_and_who(ledger: Ledger, campaign: str) -> None:
    ledger.set_stock("demo", CS, 10.0, "mL", "new syringe", by="anna", capacity=12.0)
    _, journal = begun(ledger, campaign)
    journal.dose_announced("k", {"cs": 0.5, "DMF": 1.0})
    assert (account(ledger).balance, account(ledger).reserved, account(ledger).available) == (10.0, 0.5, 9.5)
    journal.dose_done("k", {"cs": 0.4, "DMF": 1.0})
    ledger.add_stock("demo", CS, 2.0, "topped up", by="ben")
    assert (account(ledger).balance, account(ledger).reserved) == (11.6, 0.0)
    entries = ledger.stock_entries("demo", CS)
    assert [(e.amount, e.kind, e.why, e.by, e.campaign, e.trial, e.dose) for e in entries] == [
        (10.0, "set", "new syringe", "anna", "", None, ""),
        (-0.4, "drawn", f"dose of {journal.sample}", "", campaign, 0, "k"),
        (2.0, "added", "topped up", "ben", "", None, "")]
    assert math.fsum(e.amount for e in entries) == pytest.approx(11.6)
    assert all(e.recorded_wall.endswith("Z") for e in entries)


def test_setting_the_stock_books_the_difference(ledger: Ledger) -> None:
    ledger.set_stock("demo", CS, 10.0, "mL", "new syringe")
    row = ledger.set_stock("demo", CS, 7.5, "mL", "weighed", low_water=2.0)
    assert (row.balance, row.low_water) == (7.5, 2.0)
    assert [e.amount for e in ledger.stock_entries("demo", CS)] == [10.0, -2.5]


@pytest.mark.parametrize(("change", "words"), [
    (lambda ledger: ledger.set_stock("demo", CS, -1.0, "mL", "x"), r"demo: liquid:cs: given -1; allowed: a number from 0 up"),
    (lambda ledger: ledger.set_stock("demo", CS, math.nan, "mL", "x"), "given nan; allowed"),
    (lambda ledger: ledger.set_stock("demo", CS, 5.0, "L", "x"), "given L; allowed: mL, in which the account counts"),
    (lambda ledger: ledger.set_stock("demo", CS, 13.0, "mL", "x"), "13 mL would be in it; allowed: 12 mL, its capacity"),
    (lambda ledger: ledger.add_stock("demo", CS, 5.0, "x"), "15 mL would be in it; allowed: 12 mL, its capacity"),
    (lambda ledger: ledger.add_stock("demo", CS, 0.0, "x"), "given 0; allowed: more than 0"),
    (lambda ledger: ledger.add_stock("demo", "liquid:gold", 1.0, "x"), "liquid:gold: is no account of this laboratory; allowed: liquid:cs"),
    (lambda ledger: ledger.add_stock("moon", CS, 1.0, "x"), "is no account of this laboratory; allowed: none yet"),
    (lambda ledger: ledger.set_stock("demo", CS, 1.0, "mL", "x", capacity=math.inf), "capacity: given inf; allowed"),
    (lambda ledger: ledger.set_stock("", CS, 1.0, "mL", "x"), "given laboratory ''")])
def test_amounts_that_cannot_be_are_refused(ledger: Ledger, change: object, words: str) -> None:
    ledger.set_stock("demo", CS, 10.0, "mL", "new syringe", capacity=12.0)
    with pytest.raises(LedgerError, match=words):
        change(ledger)  # type: ignore[operator]
    assert account(ledger).balance == 10.0


def test_a_dose_larger_than_what_is_left_is_not_announced(ledger: Ledger, campaign: str) -> None:
    ledger.set_stock("demo", CS, 1.0, "mL", "nearly empty")
    ledger.set_stock("demo", "liquid:fa", 0.1, "mL", "nearly empty")
    _, first = begun(ledger, campaign)
    _, second = begun(ledger, campaign)
    first.dose_announced("k1", {"cs": 0.75})
    with pytest.raises(ConsumableError, match=(
            f"{second.sample}: liquid:cs: 0.5 mL needed, 1 left, 0.75 of it promised to others; liquid:fa: 0.2 mL needed, 0.1 left; "
            "refill, then say so: lab refill demo liquid:")):
        second.dose_announced("k2", {"cs": 0.5, "fa": 0.2})
    assert [d.key for d in ledger.doses(campaign)] == ["k1"]
    first.dose_done("k1", {"cs": 0.25})
    second.dose_announced("k2", {"cs": 0.75})  # to the last drop


def test_whoever_catches_lab_errors_catches_this(ledger: Ledger) -> None:
    assert issubclass(ConsumableError, LabError) and not issubclass(ConsumableError, LedgerError)


def test_what_nobody_counted_of_a_failed_dose_counts_as_gone(ledger: Ledger, campaign: str) -> None:
    for liquid in ("cs", "fa"):
        ledger.set_stock("demo", f"liquid:{liquid}", 10.0, "mL", "new")
    _, journal = begun(ledger, campaign)
    journal.dose_announced("k", {"cs": 1.0, "fa": 2.0})
    journal.dose_failed("k", {"cs": 0.25, "fa": math.nan}, "pump 1: no answer")
    assert [row.balance for row in ledger.stock("demo")] == [9.75, 8.0]
    assert ledger.stock_entries("demo", "liquid:fa")[-1].why == f"dose of {journal.sample}, not counted: taken as whole"


def test_what_a_completed_sample_takes_is_learned(ledger: Ledger, campaign: str) -> None:
    ledger.set_stock("demo", CS, 4.0, "mL", "new")
    assert (account(ledger).per_sample, account(ledger).n_samples, account(ledger).is_low) == (None, None, False)
    for n, volume in enumerate((0.5, 1.0, 0.1)):
        index, journal = begun(ledger, campaign)
        journal.dose_announced(f"k{n}", {"cs": volume})
        journal.dose_done(f"k{n}", {"cs": volume})
        if n < 2:
            ledger.complete_trial(campaign, index, OUTCOME)
        else:
            ledger.fail_trial(campaign, index, "no film")
    row = account(ledger)
    assert (row.per_sample, row.balance, row.n_samples, row.is_low) == (0.75, 2.4, 3, False)


def test_running_low_is_said_once_ahead_of_time(ledger: Ledger, campaign: str) -> None:
    ledger.set_stock("demo", CS, 3.0, "mL", "new", low_water=1.5)
    for n in range(3):
        _, journal = begun(ledger, campaign)
        journal.dose_announced(f"k{n}", {"cs": 0.9})
        journal.dose_done(f"k{n}", {"cs": 0.9})
    assert account(ledger).is_low
    assert [e.text for e in ledger.events(campaign) if e.kind == "stock"] == ["liquid:cs: set to 3 mL (new): 3 mL left", "running low: liquid:cs: 1.2 mL left"]
    ledger.add_stock("demo", CS, 5.0, "topped up", by="anna")
    assert not account(ledger).is_low
    assert ledger.events(campaign)[-1].text == "liquid:cs: 5 mL added by anna (topped up): 5.3 mL left"


def test_each_sample_draws_a_substrate(ledger: Ledger, campaign: str) -> None:
    ledger.set_stock("demo", "substrates", 2, "pieces", "counted")
    begun(ledger, campaign)
    begun(ledger, campaign)
    index = ledger.add_suggestion(campaign, SUGGESTION)
    with pytest.raises(ConsumableError, match=r"substrates: 1 pieces needed, 0 left; refill, then say so: lab refill demo substrates"):
        ledger.start_trial(campaign, index, RACK)
    assert ledger.trial(campaign, index).state is TrialState.SUGGESTED
    ledger.add_stock("demo", "substrates", 1, "found one")
    assert ledger.start_trial(campaign, index, RACK).sample.endswith("-s003")


DOSING = """
campaign = ledger.open_campaign("film", "{}", json.dumps({"name": "demo"}))
journal = ledger.start_trial(campaign, ledger.add_suggestion(campaign, Suggestion({"cs": 0.5}, "sobol")), "rack.1")
journal.dose_announced("k", {"cs": 0.5})
"""


def test_what_a_killed_session_announced_stays_reserved_until_it_is_told(tmp_path: Path, ledger: Ledger) -> None:
    ledger.set_stock("demo", CS, 10.0, "mL", "new")
    killed(tmp_path / "ledger.sqlite", DOSING)
    campaign = ledger.campaign("film").id
    assert (account(ledger).balance, account(ledger).reserved) == (10.0, 0.5)
    ledger.reopen_campaign(campaign)
    ledger.journal_of(campaign, 0).dose_failed("k", {"cs": 0.125}, "killed")
    assert (account(ledger).balance, account(ledger).reserved) == (9.875, 0.0)


def test_setting_the_stock_settles_the_doses_of_killed_sessions_and_no_others(tmp_path: Path, ledger: Ledger, campaign: str) -> None:
    ledger.set_stock("demo", CS, 10.0, "mL", "new")
    killed(tmp_path / "ledger.sqlite", DOSING)
    _, journal = begun(ledger, campaign)
    journal.dose_announced("mine", {"cs": 0.25})
    assert account(ledger).reserved == 0.75
    ledger.set_stock("demo", CS, 9.0, "mL", "read off the syringe", by="anna")
    assert account(ledger).reserved == 0.25
    dead = next(row.id for row in ledger.campaigns() if row.status == "interrupted")
    ledger.reopen_campaign(dead)
    ledger.journal_of(dead, 0).dose_done("k", {"cs": 0.5})  # anna saw what was left after it
    journal.dose_done("mine", {"cs": 0.25})
    assert (account(ledger).balance, account(ledger).reserved) == (8.75, 0.0)


DRAWING = PREAMBLE + """
from lab.core.errors import ConsumableError
from lab.records.ledger import Ledger
campaign = ledger.open_campaign(sys.argv[2], "{}", json.dumps({"name": "demo"}))
journal = ledger.start_trial(campaign, ledger.add_suggestion(campaign, Suggestion({"cs": 0.5}, "sobol")), sys.argv[2])
for n in range(8):
    try:
        journal.dose_announced(f"{sys.argv[2]}-{n}", {"cs": 1.0})
        journal.dose_done(f"{sys.argv[2]}-{n}", {"cs": 1.0})
    except ConsumableError:
        print("empty")
"""


def test_several_processes_never_draw_more_than_there_is(tmp_path: Path, ledger: Ledger) -> None:
    ledger.set_stock("demo", CS, 10.0, "mL", "new")
    command = [sys.executable, "-c", DRAWING, str(tmp_path / "ledger.sqlite")]
    drawers = [subprocess.Popen([*command, f"slot.{n}"], stdout=subprocess.PIPE, text=True) for n in range(2)]
    said = [drawer.communicate(timeout=200)[0] for drawer in drawers]
    assert [drawer.returncode for drawer in drawers] == [0, 0]
    assert account(ledger).balance == 0.0 and "".join(said).count("empty") == 6


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["set", "add", "done", "failed", "open"]), st.floats(0.001, 3.0)), max_size=12))
def test_no_order_of_doses_and_refills_loses_a_drop(happened: list[tuple[str, float]]) -> None:
    with Ledger("sqlite://", ManualClock()) as ledger:  # in memory
        _, journal = begun(ledger, opened(ledger))
        ledger.set_stock("demo", CS, 5.0, "mL", "new")
        left, reserved = 5.0, 0.0
        for n, (what, volume) in enumerate(happened):
            if what == "set":
                left = ledger.set_stock("demo", CS, volume, "mL", "weighed").balance
            elif what == "add":
                left = ledger.add_stock("demo", CS, volume, "topped up").balance
            elif volume <= left - reserved:
                journal.dose_announced(f"k{n}", {"cs": volume})
                if what == "open":
                    reserved += volume
                else:
                    (journal.dose_done if what == "done" else lambda key, ml: journal.dose_failed(key, ml, "stalled"))(f"k{n}", {"cs": volume / 2})
                    left -= volume / 2
            else:
                with pytest.raises(ConsumableError, match="needed"):
                    journal.dose_announced(f"k{n}", {"cs": volume + 1e-5})
        row = account(ledger)
        assert (row.balance, row.reserved) == (pytest.approx(left, abs=1e-7), pytest.approx(reserved, abs=1e-7))
        assert row.balance == pytest.approx(math.fsum(e.amount for e in ledger.stock_entries("demo", CS)), abs=1e-7)


# -------------------------------------------------------------------------------------------------------- rack


def test_a_used_slot_is_free_again_once_the_rack_is_refilled(ledger: Ledger, campaign: str) -> None:
    index, journal = begun(ledger, campaign)
    assert journal.sample and ledger.where(journal.sample) == "rack.1"
    assert ledger.free_slots("demo", RACK) == RACK[1:]
    ledger.complete_trial(campaign, index, OUTCOME)
    ledger.close_campaign(campaign, "done")
    assert ledger.free_slots("demo", RACK) == RACK[1:]  # the finished sample stands there
    assert ledger.refill_rack("demo", "anna") == ()
    assert ledger.free_slots("demo", RACK) == RACK
    assert ledger.where(journal.sample) == REMOVED
    assert ledger.free_slots("moon", RACK) == RACK


def test_samples_in_the_machine_keep_their_slots_when_the_rack_is_refilled(ledger: Ledger, campaign: str) -> None:
    _, journal = begun(ledger, campaign)
    journal.move_done(journal.move_announced("rack.1", "stage"))
    begun(ledger, campaign)  # about to begin: its substrate stands in rack.2
    lost, gone = begun(ledger, campaign)
    gone.move_failed(gone.move_announced("rack.3", "stage2"), UNKNOWN, "dropped")
    ledger.fail_trial(campaign, lost, "dropped")
    assert ledger.refill_rack("demo", "anna") == ("rack.1", "rack.2")
    assert ledger.free_slots("demo", RACK) == ("rack.3", "rack.4")
    assert ledger.events(campaign)[-1].text == "the rack was refilled by anna; still used: rack.1, rack.2"
    journal.move_done(journal.move_announced("stage", "rack.1"))


def test_what_an_interrupted_campaign_left_in_the_machine_keeps_its_slot_until_the_machine_is_emptied(ledger: Ledger, campaign: str) -> None:
    _, journal = begun(ledger, campaign)
    journal.move_done(journal.move_announced("rack.1", "stage"))
    _, waiting = begun(ledger, campaign)
    ledger.close_campaign(campaign, "interrupted")
    assert ledger.refill_rack("demo", "anna") == ("rack.1",)
    assert (ledger.where(journal.sample), ledger.where(waiting.sample)) == ("stage", REMOVED)
    assert ledger.refill_rack("demo", "anna", is_emptied=True) == ()
    assert ledger.where(journal.sample) == REMOVED
    assert ledger.free_slots("demo", RACK) == RACK
    ledger.reopen_campaign(campaign)
    assert [u.place for u in ledger.unfinished(campaign)] == [REMOVED, REMOVED]


def test_a_rack_without_free_slots_says_what_to_do(ledger: Ledger, campaign: str) -> None:
    for _ in RACK:
        begun(ledger, campaign)
    index = ledger.add_suggestion(campaign, SUGGESTION)
    with pytest.raises(ConsumableError, match="each of the 4 slots has been used since the rack was last refilled; .*: lab refill demo rack"):
        ledger.start_trial(campaign, index, RACK)
    assert ledger.trial(campaign, index).state is TrialState.SUGGESTED


def test_two_campaigns_at_once_never_get_one_slot(ledger: Ledger) -> None:
    campaigns = [opened(ledger), opened(ledger)]
    rack = tuple(f"rack.{n}" for n in range(1, 13))
    failures: list[LabError] = []

    def live(campaign: str) -> None:
        try:
            for _ in range(6):
                begun(ledger, campaign, rack)
        except LabError as error:
            failures.append(error)

    threads = [threading.Thread(target=live, args=(campaign,)) for campaign in campaigns]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    slots = [sample.slot for campaign in campaigns for sample in ledger.samples(campaign)]
    assert sorted(slots) == sorted(rack)


def test_two_campaigns_at_once_never_share_a_place(ledger: Ledger) -> None:
    one, other, elsewhere = opened(ledger), opened(ledger), opened(ledger, lab="moon")
    _, first = begun(ledger, one)
    _, second = begun(ledger, other)
    _, third = begun(ledger, elsewhere)
    first.move_done(first.move_announced("rack.1", "stage"))
    with pytest.raises(LedgerError, match=f"cannot go to stage: {first.sample} is there or on its way there"):
        second.move_announced("rack.2", "stage")
    third.move_announced("rack.1", "stage")  # another laboratory has a stage of its own
    assert ledger.occupied(other) == {"stage": first.sample, "rack.2": second.sample}
    index = ledger.add_suggestion(other, SUGGESTION)
    with pytest.raises(LedgerError, match=f"cannot begin at rack.1: it is the slot of {first.sample}"):
        ledger.start_trial(other, index, "rack.1")
    ledger.close_campaign(one, "failed", "gave up")
    second.move_announced("rack.2", "stage")  # whoever resumes or begins anew looks where things are
