"""A campaign between optimiser, ledger and loop: what it begins, what it lacks, what it learns, how it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from campaign_on_record import DEADLINE_S, OUTCOME, Record, begun, measured, start_document, thought

from lab.campaign import Collector, Document, End
from lab.changes.config import change
from lab.core.clock import EventClock, ManualClock
from lab.core.errors import CommandError, LedgerError, NotBegun, OptimizerError, Outdated, SampleError
from lab.core.recovery import Choice
from lab.core.trial import Outcome, TrialState
from plans.recipes import Carried


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    made = Record(tmp_path)
    yield made
    made.close()


# ----------------------------------------------------------------------------------------------- orders and samples


def test_an_order_is_a_suggestion_that_stands_in_the_ledger(record: Record) -> None:
    campaign = record.campaign()
    order = thought(campaign)
    assert order is not None
    assert record.ledger.trial(campaign.id, 0).planned == {"cs": 0.2, "fa": 0.8, "ma": 0.0, "anneal_temperature": 100.0}
    assert (order.trial, order.sample, order.shares["fa"], order.settings["anneal_temperature"]) == (0, "", 0.8, 100.0)


def test_a_sample_that_is_begun_has_a_slot_a_key_and_its_identity_in_the_start_document(record: Record) -> None:
    campaign = record.campaign()
    order, _ = begun(campaign)
    assert order.sample == order.key == f"{campaign.id}-s001"
    assert order.place == "rack.1"
    assert order.metadata == {"campaign": campaign.id, "trial": 0, "sample": order.sample, "plan_name": "thin_film",
                              "planned": record.ledger.trial(campaign.id, 0).planned}
    assert campaign.whereabouts(order) == "rack.1"
    assert campaign.n_begun == 1


def test_the_optimiser_knows_the_samples_that_are_being_made(record: Record) -> None:
    campaign = record.campaign()
    begun(campaign)
    thought(campaign)
    assert [[trial.state for trial in trials] for trials in record.optimizer.asked] == [[], [TrialState.RUNNING]]


def test_a_point_that_is_made_again_comes_before_new_ones_with_a_sample_of_its_own(record: Record) -> None:
    campaign = record.campaign()
    first, _ = begun(campaign)
    begun(campaign)
    campaign.remake(first, SampleError("no film"))
    again, _ = begun(campaign)
    assert (again.trial, again.sample, again.place, again.n_former) == (0, f"{campaign.id}-s001.2", "rack.3", 1)
    assert again.key != first.key
    assert record.reporter.lines[-1] == f"sample {first.sample}: no film; trial 1 is made again"
    assert len(record.optimizer.asked) == 2


def test_what_was_carried_out_is_on_record_in_the_campaigns_own_terms(record: Record) -> None:
    campaign = record.campaign()
    order, _ = begun(campaign)
    campaign.carried(order, Carried(shares={"cs": 0.21, "fa": 0.79, "ma": 0.0}))
    campaign.carried(order, Carried(settings={"anneal_temperature": 99.5, "anneal_time_s": 601.0}))
    assert record.ledger.trial(campaign.id, 0).executed == {"cs": 0.21, "fa": 0.79, "ma": 0.0, "anneal_temperature": 99.5}


def test_people_hear_of_each_step_and_of_its_end(record: Record) -> None:
    campaign = record.campaign()
    _, journal = begun(campaign)
    journal.step_ended(journal.step_began("spin", "cast 1 mL cs", "cast"))
    assert record.reporter.lines[-2:] == ["0 spin: cast 1 mL cs", "0 spin: "]


def test_what_a_sample_is_expected_to_take_follows_what_is_on_record(record: Record) -> None:
    campaign = record.campaign()
    before_s = campaign.route(None).steps[0].mean_s
    assert isinstance(record.clock, ManualClock)
    for _ in range(3):
        order, journal = begun(campaign)
        step = journal.step_began("spin", "cast", "cast")
        record.clock.advance(before_s + 300.0)
        journal.step_ended(step)
        measured(campaign, order)
    assert campaign.route(None).steps[0].mean_s > before_s + 50.0


def test_a_new_campaign_knows_the_durations_of_former_ones(record: Record) -> None:
    assert isinstance(record.clock, ManualClock)
    former = record.campaign()
    _, journal = begun(former)
    step = journal.step_began("spin", "cast", "cast")
    record.clock.advance(400.0)
    journal.step_ended(step)
    assert record.campaign().route(None).steps[0].mean_s > former.route(None).steps[0].mean_s


# -------------------------------------------------------------------------------------------------------- budgets


def test_a_campaign_ends_when_its_trials_are_spent(record: Record) -> None:
    campaign = record.campaign(budget={"trials": 2, "failures": 2})
    orders = [begun(campaign)[0], begun(campaign)[0]]
    assert not campaign.may_begin()
    for order in orders:
        measured(campaign, order)
    assert campaign.concluded() == End("done", "2 trials")


def test_a_sample_to_be_made_again_is_within_the_budget(record: Record) -> None:
    campaign = record.campaign(budget={"trials": 1, "failures": 2})
    order, _ = begun(campaign)
    assert not campaign.may_begin()
    campaign.remake(order, SampleError("no film"))
    assert campaign.may_begin()


def test_a_campaign_fails_when_too_many_samples_have_failed(record: Record) -> None:
    campaign = record.campaign(budget={"trials": 9, "failures": 2})
    for said in ("no film", "no peaks"):
        campaign.failed(begun(campaign)[0], SampleError(said))
    assert not campaign.may_begin()
    assert campaign.concluded() == End("failed", "failure budget spent: 2 samples failed, the last one with: no peaks")


def test_a_campaign_ends_when_its_hours_are_over(record: Record) -> None:
    assert isinstance(record.clock, ManualClock)
    campaign = record.campaign(budget={"trials": 9, "failures": 2, "hours": 1})
    measured(campaign, begun(campaign)[0])
    record.clock.advance(3601.0)
    assert not campaign.may_begin()
    assert campaign.concluded() == End("done", "1 laboratory hours")


def test_a_campaign_without_an_outcome_has_failed(record: Record) -> None:
    campaign = record.campaign(budget={"trials": 1, "failures": 2})
    campaign.failed(begun(campaign)[0], SampleError("no film"))
    assert campaign.concluded() == End("failed", "no trial gave an outcome (1 trials)")


def test_a_campaign_that_was_stopped_begins_nothing_and_is_done(record: Record) -> None:
    campaign = record.campaign()
    measured(campaign, begun(campaign)[0])
    campaign.stop("stopped by ann")
    campaign.stop("stopped by bob")
    assert not campaign.may_begin()
    assert campaign.concluded() == End("done", "stopped by ann")


# -------------------------------------------------------------------------------------------------------- shortage


def test_without_an_empty_substrate_nothing_begins_until_the_rack_is_refilled(tmp_path: Path) -> None:
    record = Record(tmp_path, rack=("rack.1",))
    campaign = record.campaign()
    first, _ = begun(campaign)
    order = thought(campaign)
    assert order is not None
    assert campaign.begin(order) is None
    assert campaign.begin(order) is None
    lines = [line for line in record.reporter.lines if line.startswith("waiting")]
    assert len(lines) == 1 and "no empty substrate left in the rack" in lines[0] and "lab refill" in lines[0]
    measured(campaign, first)
    record.ledger.refill_rack(campaign.lab, "ann")
    again = campaign.begin(order)
    assert again is not None and again[0].place == "rack.1"
    assert record.reporter.lines[-1] == "refilled: going on"
    record.close()


def test_a_liquid_that_does_not_suffice_is_said_with_what_is_there_and_what_is_needed(record: Record) -> None:
    campaign = record.campaign()
    record.ledger.set_stock(campaign.lab, "liquid:fa", 0.5, "mL", "weighed")
    order = thought(campaign)
    assert order is not None
    assert campaign.begin(order) is None
    assert "waiting: fa: 0.5 mL left, the next sample needs 0.8 mL; refill it, then: lab refill" in record.reporter.lines[-1]
    assert record.ledger.trial(campaign.id, 0).state is TrialState.SUGGESTED
    record.ledger.set_stock(campaign.lab, "liquid:fa", 50.0, "mL", "refilled")
    assert campaign.begin(order) is not None


def test_substrates_that_are_counted_and_gone_keep_a_sample_from_beginning(record: Record) -> None:
    campaign = record.campaign()
    record.ledger.set_stock(campaign.lab, "substrates", 0, "pieces", "counted")
    order = thought(campaign)
    assert order is not None
    assert campaign.begin(order) is None
    assert "substrate" in record.reporter.lines[-1]
    assert campaign.n_begun == 0


# ------------------------------------------------------------------------------------------- outcomes and failures


def test_the_outcome_is_that_of_the_samples_own_documents(record: Record) -> None:
    campaign = record.campaign()
    order, _ = begun(campaign)
    record.collector("start", start_document("u1", order.sample))
    record.collector("start", start_document("u2", "another"))
    record.collector("descriptor", {"uid": "d1", "run_start": "u1", "name": "primary"})
    measured(campaign, order)
    assert [[name for name, _ in documents] for documents in record.evaluated] == [["start", "descriptor"]]
    trial = record.ledger.trial(campaign.id, 0)
    assert (trial.state, trial.outcome) == (TrialState.COMPLETED, OUTCOME)
    assert record.reporter.lines[-1] == "ended 0 completed"


def test_a_sample_that_gives_no_result_has_failed_with_the_reason(record: Record) -> None:
    def nothing(documents: Sequence[Document]) -> Outcome:
        raise SampleError("no film: no peaks above the background")

    record.evaluate = nothing
    campaign = record.campaign()
    measured(campaign, begun(campaign)[0])
    trial = record.ledger.trial(campaign.id, 0)
    assert (trial.state, trial.cause) == (TrialState.FAILED, "no film: no peaks above the background")


def test_a_sample_that_was_not_begun_says_nothing_of_its_point(record: Record) -> None:
    campaign = record.campaign()
    campaign.failed(begun(campaign)[0], NotBegun("not begun: arm is not ready"))
    assert record.ledger.trial(campaign.id, 0).state is TrialState.ABANDONED


def test_what_fails_after_the_outcome_stands_is_only_said(record: Record) -> None:
    campaign = record.campaign()
    order, _ = begun(campaign)
    measured(campaign, order)
    campaign.failed(order, CommandError("arm: no air"))
    assert record.ledger.trial(campaign.id, 0).state is TrialState.COMPLETED
    assert record.reporter.lines[-1] == f"sample {order.sample}: arm: no air"


def test_documents_are_forgotten_with_their_sample() -> None:
    collector = Collector()
    for n in range(3):
        collector("start", start_document(f"u{n}", f"s{n}"))
        collector("stop", {"uid": f"x{n}", "run_start": f"u{n}"})
    assert [name for name, _ in collector.take("s1")] == ["start", "stop"]
    assert collector.take("s1") == []
    assert collector.take("never seen") == []


def test_runs_that_are_no_samples_are_not_kept() -> None:
    collector = Collector()
    collector("start", {"uid": "u", "time": 0.0})
    collector("stop", {"uid": "x", "run_start": "u"})
    assert collector.take("") == []


# --------------------------------------------------------------------------------------------------- in the thread


def raising(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def test_without_a_suggestion_the_campaign_has_failed_and_says_why(record: Record) -> None:
    campaign = record.campaign()
    record.optimizer.before = raising(OptimizerError("no point left"))
    assert thought(campaign) is None
    assert not campaign.may_begin()
    assert campaign.concluded() == End("failed", "no suggestion: no point left")


def test_a_mistake_in_a_library_interrupts_the_campaign_and_is_kept_for_whoever_runs_it(record: Record) -> None:
    campaign = record.campaign()
    record.optimizer.before = raising(ZeroDivisionError("division by zero"))
    assert thought(campaign) is None
    assert not campaign.may_begin()
    assert isinstance(campaign.unexpected, ZeroDivisionError)
    assert campaign.concluded() == End("interrupted", "ZeroDivisionError: division by zero")


def test_records_that_cannot_be_written_by_the_evaluation_interrupt_the_campaign(record: Record) -> None:
    campaign = record.campaign()
    order, _ = begun(campaign)

    def full(documents: Sequence[Document]) -> Outcome:
        raise LedgerError("ledger: disk full")

    record.evaluate = full
    measured(campaign, order)
    assert str(campaign.unexpected) == "ledger: disk full"
    assert not campaign.may_begin()
    assert campaign.concluded() == End("interrupted", f"ledger: disk full; mend it, then: lab resume {campaign.id}")


def test_the_loop_does_not_wait_for_a_suggestion(record: Record) -> None:
    campaign = record.campaign()
    may_think = threading.Event()
    record.optimizer.before = lambda: may_think.wait(DEADLINE_S)
    one = campaign.next_order()
    assert not one.done
    may_think.set()
    one.exception(DEADLINE_S)
    assert one.order is not None


def test_virtual_time_stands_still_while_a_suggestion_is_worked_out(tmp_path: Path) -> None:
    clock = EventClock()
    record = Record(tmp_path, clock)
    campaign = record.campaign()
    may_think, leapt = threading.Event(), []
    record.optimizer.before = lambda: may_think.wait(DEADLINE_S)
    one = campaign.next_order()
    clock.after(100.0, lambda: leapt.append(clock.now()))
    with clock.resting(lambda: one.done):
        assert clock.now() == 0.0
        may_think.set()
        one.exception(DEADLINE_S)
    assert leapt == []
    record.close()


def test_what_was_measured_is_evaluated_before_the_campaign_is_closed(record: Record) -> None:
    campaign = record.campaign()
    order, _ = begun(campaign)
    thinks, may_think = threading.Event(), threading.Event()

    def slow() -> None:
        thinks.set()
        may_think.wait(DEADLINE_S)

    record.optimizer.before = slow
    campaign.next_order()
    assert thinks.wait(DEADLINE_S)
    campaign.measured(order)
    late = campaign.next_order()
    closing = threading.Thread(target=campaign.close, args=(End("interrupted", "aborted"),))
    closing.start()
    while campaign.end is None:
        closing.join(0.001)
    may_think.set()
    closing.join(DEADLINE_S)
    assert record.ledger.trial(campaign.id, 0).state is TrialState.COMPLETED
    assert late.done and late.order is None
    assert len(record.ledger.trials(campaign.id)) == 2
    assert record.ledger.campaign(campaign.id).status == "interrupted"


def test_the_end_stands_in_the_ledger_and_is_told(record: Record) -> None:
    campaign = record.campaign()
    campaign.close(End("done", "3 trials"))
    row = record.ledger.campaign(campaign.id)
    assert (row.status, row.cause) == ("done", "3 trials")
    assert record.reporter.lines[-1] == "closed"


# ------------------------------------------------------------------------------------------------------- questions


def asked(record: Record, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An open question about a sample."""
    monkeypatch.setattr("lab.questions.LOOK_S", 0.005)
    campaign = record.campaign()
    order, _ = begun(campaign)
    return campaign.ask(order, "cast", CommandError("pump cs: stalled"), {Choice.REMAKE: "anew", Choice.SKIP: "give up"}, Choice.SKIP)


def test_a_question_stands_in_the_ledger_and_its_answer_is_seen(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    question = asked(record, monkeypatch)
    (row,) = record.ledger.open_questions()
    assert (row.step, row.error, dict(row.choices), row.default) == ("cast", "pump cs: stalled", {"remake": "anew", "skip": "give up"}, "skip")
    assert record.reporter.lines[-1] == f"asked {row.id}"
    record.ledger.answer(row.id, "remake", "ann")
    question.status.exception(DEADLINE_S)
    assert question.choice is Choice.REMAKE


def test_a_question_that_nobody_answers_in_time_is_answered_by_the_policy(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    question = asked(record, monkeypatch)
    question.withdraw(Choice.SKIP)
    assert question.choice is Choice.SKIP
    assert record.ledger.question(question.number).answered_by == "policy (no answer in time)"


def test_an_answer_of_the_last_moment_counts(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.questions.Watch._look", lambda watch: None)
    question = asked(record, monkeypatch)
    record.ledger.answer(question.number, "remake", "ann")
    question.withdraw(Choice.SKIP)
    assert question.choice is Choice.REMAKE


def test_several_questions_are_watched_at_once_and_further_ones_after_all_were_answered(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.questions.LOOK_S", 0.005)
    campaign = record.campaign()
    order, _ = begun(campaign)
    for _ in range(2):
        pair = [campaign.ask(order, "cast", CommandError("stalled"), {Choice.SKIP: "give up"}, Choice.SKIP) for _ in range(2)]
        for question in reversed(pair):
            record.ledger.answer(question.number, "skip", "ann")
            question.status.exception(DEADLINE_S)


def test_an_open_question_does_not_keep_a_campaign_from_being_closed(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    question = asked(record, monkeypatch)
    record._open[0].close(End("interrupted", "aborted"))
    assert not question.status.done
    assert record.ledger.question(question.number).state == "withdrawn"


# ------------------------------------------------------------------------------------------------ changed under way


def test_a_campaign_that_is_changed_goes_on_with_an_optimiser_that_is_made_of_the_change(record: Record) -> None:
    campaign = record.campaign()
    begun(campaign)
    change(record.ledger, campaign.id, {"cs": [0, 0.5], "trials": 2}, "ann")
    thought(campaign)
    assert [one.constraints for one in record.made_of] == [campaign.config.constraints] and campaign.config.budget.trials == 2
    assert "cs 0..1 -> 0..0.5; budget: trials 3 -> 2, says ann" in record.reporter.lines


def test_people_hear_of_a_point_that_somebody_has_attached_as_of_any_other(record: Record) -> None:
    campaign = record.campaign()
    record.ledger.attach(campaign.id, {"cs": 0.2, "fa": 0.8, "ma": 0.0, "anneal_temperature": 120.0}, "ann")
    begun(campaign)
    assert record.reporter.lines == ["suggested 0"] and record.optimizer.asked == []


def test_a_suggestion_during_which_the_campaign_was_changed_is_made_again(record: Record) -> None:
    campaign = record.campaign()

    def change_once() -> None:
        record.optimizer.before = lambda: None
        change(record.ledger, campaign.id, {"cs": [0, 0.5]}, "ann")

    record.optimizer.before = change_once
    order = thought(campaign)
    assert order is not None and len(record.optimizer.asked) == 2
    assert record.ledger.known_for(campaign.id, order.trial).revision == 1 and len(record.ledger.trials(campaign.id)) == 1


def test_an_order_that_was_taken_back_is_not_begun(record: Record) -> None:
    campaign = record.campaign()
    order = thought(campaign)
    assert order is not None
    change(record.ledger, campaign.id, {"cs": [0, 0.1]}, "ann")
    with pytest.raises(Outdated, match="trial 1 has been taken back"):
        campaign.begin(order)
    assert campaign.n_begun == 0 and campaign.may_begin()
    assert "ended 0 abandoned" in record.reporter.lines


def test_points_that_were_taken_back_are_no_failures_and_use_none_of_the_budget(record: Record) -> None:
    campaign = record.campaign(budget={"trials": 1, "failures": 1})
    order = thought(campaign)
    assert order is not None
    change(record.ledger, campaign.id, {"cs": [0, 0.1]}, "ann")
    assert campaign.may_begin()
    change(record.ledger, campaign.id, {"cs": [0, 1]}, "ann")
    measured(campaign, begun(campaign)[0])
    assert campaign.concluded() == End("done", "1 trials")


def test_a_campaign_that_is_given_more_to_do_as_it_ends_can_be_resumed(record: Record) -> None:
    campaign = record.campaign(budget={"trials": 1, "failures": 2})
    measured(campaign, begun(campaign)[0])
    assert not campaign.may_begin()
    change(record.ledger, campaign.id, {"trials": 2}, "ann")
    assert campaign.concluded().status == "interrupted" and f"lab resume {campaign.id}" in campaign.concluded().cause


# ------------------------------------------------------------------------------------------- enough, and what follows


def test_a_campaign_ends_when_its_suggestions_promise_too_little(record: Record) -> None:
    campaign = record.campaign(stop={"improvement": 0.01, "times": 2}, optimizer={"engine": "botorch"}, budget={"trials": 9, "failures": 2})
    record.optimizer.thought = {"kernels": {}, "improvement": 0.001}
    for _ in range(2):
        measured(campaign, begun(campaign)[0])
    assert thought(campaign) is None and not campaign.may_begin()
    assert campaign.concluded() == End("done", "expected improvement of perovskite_fraction below 0.01 (2 suggestions in a row, the last one: 0.001)")


def test_a_campaign_that_is_done_recommends_what_is_expected_to_be_best(record: Record) -> None:
    campaign = record.campaign(budget={"trials": 2, "failures": 2})
    for _ in range(2):
        measured(campaign, begun(campaign)[0])
    campaign.close(campaign.concluded())
    assert campaign.recommended is not None and campaign.recommended["best"]["trial"] in (1, 2)
    assert [one.text for one in record.ledger.events(campaign.id) if one.kind == "recommended"] == [campaign.recommended["words"]]
    assert "is expected to give perovskite_fraction" in campaign.recommended["words"]


def test_a_mistake_in_a_model_costs_the_recommendation_and_not_the_end(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> object:
        raise ZeroDivisionError("of a library")

    monkeypatch.setattr("lab.optimise.recommend.recommend", broken)
    campaign = record.campaign(budget={"trials": 1, "failures": 2})
    measured(campaign, begun(campaign)[0])
    campaign.close(campaign.concluded())
    assert record.ledger.campaign(campaign.id).status == "done"
    assert campaign.recommended is not None and campaign.recommended["words"] == "nothing can be recommended: ZeroDivisionError: of a library"


def test_a_campaign_that_is_interrupted_recommends_nothing_yet(record: Record) -> None:
    campaign = record.campaign()
    measured(campaign, begun(campaign)[0])
    campaign.close(End("interrupted", "SIGINT"))
    assert campaign.recommended is None
