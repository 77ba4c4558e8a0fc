"""What an ended session left in the machine, by the ledger: each kind of announcement that was not confirmed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign_on_record import STATIONS, Record, begun, measured, only, start_document

from lab.campaign import Campaign, End
from lab.core.clock import ManualClock
from lab.core.errors import CommandError, SampleError
from lab.core.journal import Journal
from lab.core.sample import GRIPPER, UNKNOWN
from lab.core.trial import TrialState
from plans.recipes import Order


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    made = Record(tmp_path)
    yield made
    made.close()


def moved(journal: Journal, *places: str) -> None:
    """The sample goes from place to place."""
    for origin, target in zip(places, places[1:], strict=False):
        journal.move_done(journal.move_announced(origin, target))


def done(record: Record, journal: Journal, station: str, name: str, lasts_s: float = 10.0) -> None:
    """A step is carried out."""
    number = journal.step_began(station, name, name)
    assert isinstance(record.clock, ManualClock)
    record.clock.advance(lasts_s)
    journal.step_ended(number)


def cast(record: Record, campaign: Campaign) -> tuple[Order, Journal]:
    """A sample that has been cast, and stands at the synthesiser."""
    order, journal = begun(campaign)
    moved(journal, order.place, GRIPPER, "spin")
    journal.dose_announced(f"{order.key}:dose", {"cs": 0.2, "fa": 0.8})
    journal.dose_done(f"{order.key}:dose", {"cs": 0.2, "fa": 0.8})
    done(record, journal, "spin", "cast")
    return order, journal


def resumed(record: Record, campaign: Campaign) -> Campaign:
    """The campaign in its next session."""
    campaign.close(End("interrupted", "power loss"))
    return record.resumed(campaign.id)


def test_a_sample_that_had_not_left_its_slot_begins_with_the_first_step(record: Record) -> None:
    campaign = record.campaign()
    order, _ = begun(campaign)
    one = only(resumed(record, campaign))
    assert (one.order.sample, one.order.place, one.order.key, one.first, one.verdict) == (order.sample, "rack.1", order.sample, 0, None)


@pytest.mark.parametrize(("places", "candidates"), [
    (("rack.1", GRIPPER), ["rack.1"]), (("rack.1", GRIPPER, "spin"), ["spin"]), (("rack.1", GRIPPER, "spin", GRIPPER), ["spin"])])
def test_a_move_without_an_end_leaves_a_sample_that_is_looked_for_where_it_was_going_or_came_from(
        record: Record, places: tuple[str, ...], candidates: list[str]) -> None:
    campaign = record.campaign()
    order, journal = begun(campaign)
    moved(journal, *places[:-1])
    journal.move_announced(places[-2], places[-1])
    again = resumed(record, campaign)
    one = only(again)
    assert again.whereabouts(one.order) == UNKNOWN
    assert list(one.candidates[:len(candidates)]) == candidates
    assert set(STATIONS) <= set(one.candidates) <= {*STATIONS, order.place}
    assert (one.first, one.verdict) == (0, None)
    assert [move.state for move in record.ledger.moves(order.sample)][-1] == "failed"


def test_a_dose_without_an_end_is_never_repeated_and_its_point_is_made_again(record: Record) -> None:
    campaign = record.campaign()
    order, journal = begun(campaign)
    moved(journal, order.place, GRIPPER, "spin")
    journal.step_began("spin", "cast", "cast")
    journal.dose_announced(f"{order.key}:dose", {"cs": 0.2, "fa": 0.8})
    one = only(resumed(record, campaign))
    assert str(one.verdict) == (f"{order.sample}:dose: the session ended before it was confirmed; a dose is never repeated")
    (dose,) = record.ledger.doses(campaign.id)
    assert (dose.state, dict(dose.dispensed_ml or {})) == ("failed", {})


def test_a_sample_that_was_cast_goes_on_with_the_anneal_and_knows_when_casting_ended(record: Record) -> None:
    campaign = record.campaign()
    cast(record, campaign)
    again = resumed(record, campaign)
    one = only(again)
    assert (one.first, one.ended_s, one.verdict) == (1, 10.0, None)
    assert again.whereabouts(one.order) == "spin"


def test_a_sample_whose_anneal_was_under_way_cannot_be_finished(record: Record) -> None:
    campaign = record.campaign()
    order, journal = cast(record, campaign)
    moved(journal, "spin", GRIPPER, "plate_a")
    journal.step_began("plate_a", "anneal", "anneal")
    one = only(resumed(record, campaign))
    assert isinstance(one.verdict, CommandError)
    assert str(one.verdict) == ("anneal: the session ended before it was confirmed, and cannot be done again with the same sample")


def test_a_sample_whose_anneal_had_failed_cannot_be_finished(record: Record) -> None:
    campaign = record.campaign()
    _, journal = cast(record, campaign)
    moved(journal, "spin", GRIPPER, "plate_a")
    journal.step_ended(journal.step_began("plate_a", "anneal", "anneal"), cause="no heat")
    assert isinstance(only(resumed(record, campaign)).verdict, CommandError)


def annealed(record: Record, campaign: Campaign) -> tuple[Order, Journal]:
    """A sample that has been annealed, and stands at the detector."""
    order, journal = cast(record, campaign)
    moved(journal, "spin", GRIPPER, "plate_a")
    done(record, journal, "plate_a", "anneal", 700.0)
    moved(journal, "plate_a", GRIPPER, "stage")
    return order, journal


def test_a_sample_that_goes_on_has_its_identity_in_the_start_document_of_its_next_run(record: Record) -> None:
    """By it the campaign finds the documents to evaluate."""
    campaign = record.campaign()
    order, _ = annealed(record, campaign)
    one = only(resumed(record, campaign))
    assert one.order.metadata == order.metadata
    assert one.order.metadata["sample"] == order.sample


def test_a_measurement_that_was_under_way_is_done_again(record: Record) -> None:
    campaign = record.campaign()
    _, journal = annealed(record, campaign)
    journal.step_began("stage", "expose", "measure")
    one = only(resumed(record, campaign))
    assert (one.first, one.verdict) == (2, None)


def written(record: Record, order: Order, journal: Journal, *streams: str) -> None:
    """The documents of a run on disk."""
    uid = f"run-of-{order.sample}-{len(streams)}"
    journal.run_opened(uid)
    record.documents("start", start_document(uid, order.sample))
    for stream in streams:
        record.documents("descriptor", {"uid": f"{uid}-{stream}", "run_start": uid, "name": stream, "data_keys": {}, "time": 0.0})
    record.documents("stop", {"uid": f"{uid}-stop", "run_start": uid, "time": 0.0, "exit_status": "success"})


def test_a_sample_whose_readings_are_on_disk_is_evaluated_and_only_put_away(record: Record) -> None:
    campaign = record.campaign()
    order, journal = annealed(record, campaign)
    written(record, order, journal, "dosing", "annealing")
    written(record, order, journal, "primary")
    done(record, journal, "stage", "measure")
    again = resumed(record, campaign)
    one = only(again)
    assert (one.first, one.verdict) == (None, None)
    assert record.ledger.trial(again.id, 0).state is TrialState.COMPLETED
    assert [doc["name"] for documents in record.evaluated for name, doc in documents if name == "descriptor"] == ["primary"]


def test_a_sample_whose_readings_give_no_result_has_failed_and_is_put_away(record: Record) -> None:
    campaign = record.campaign()
    order, journal = annealed(record, campaign)
    written(record, order, journal, "primary")
    done(record, journal, "stage", "measure")

    def nothing(documents: object) -> object:
        raise SampleError("no film")

    record.evaluate = nothing  # type: ignore[assignment]
    again = resumed(record, campaign)
    assert (only(again).first, only(again).verdict) == (None, None)
    assert record.ledger.trial(again.id, 0).state is TrialState.FAILED


def test_a_sample_whose_readings_are_not_on_disk_is_made_again(record: Record) -> None:
    campaign = record.campaign()
    order, journal = annealed(record, campaign)
    written(record, order, journal, "dosing")
    done(record, journal, "stage", "measure")
    one = only(resumed(record, campaign))
    assert one.first is None
    assert str(one.verdict) == "its readings are not on disk"


def test_a_run_whose_file_was_never_made_counts_as_not_on_disk(record: Record) -> None:
    campaign = record.campaign()
    order, journal = annealed(record, campaign)
    journal.run_opened("no such file")
    done(record, journal, "stage", "measure")
    assert str(only(resumed(record, campaign)).verdict) == "its readings are not on disk"


def test_a_completed_sample_that_was_not_put_away_is_put_away(record: Record) -> None:
    campaign = record.campaign()
    order, journal = annealed(record, campaign)
    measured(campaign, order)
    journal.move_announced("stage", GRIPPER)
    again = resumed(record, campaign)
    one = only(again)
    assert (one.order.sample, one.first, one.verdict) == (order.sample, None, None)
    assert again.whereabouts(one.order) == UNKNOWN
    assert one.candidates[0] == "stage"


def test_a_sample_that_was_taken_out_of_the_laboratory_is_made_again_with_a_new_substrate(record: Record) -> None:
    campaign = record.campaign()
    cast(record, campaign)
    campaign.close(End("interrupted", "power loss"))
    record.ledger.refill_rack("demo", "ada", is_emptied=True)
    one = only(record.resumed(campaign.id))
    assert str(one.verdict).endswith("was taken out of the laboratory before it was finished")


def test_samples_that_are_in_their_slots_are_left_alone(record: Record) -> None:
    campaign = record.campaign()
    order, journal = annealed(record, campaign)
    measured(campaign, order)
    moved(journal, "stage", GRIPPER, order.place)
    assert resumed(record, campaign).unfinished == []


def test_a_discarded_sample_that_stands_in_the_machine_is_put_away(record: Record) -> None:
    campaign = record.campaign()
    order, _ = cast(record, campaign)
    campaign.remake(order, SampleError("late"))
    again = resumed(record, campaign)
    assert [(one.order.sample, one.first) for one in again.unfinished] == [(order.sample, None)]


def test_a_sample_of_which_nobody_has_known_for_long_is_not_looked_for_again(record: Record) -> None:
    campaign = record.campaign()
    order, journal = begun(campaign)
    journal.move_failed(journal.move_announced(order.place, GRIPPER), UNKNOWN, "the gripper closed on nothing")
    campaign.remake(order, SampleError("lost"))
    assert resumed(record, campaign).unfinished == []


def test_a_further_sample_of_a_trial_knows_how_many_there_were_before(record: Record) -> None:
    campaign = record.campaign()
    first, _ = begun(campaign)
    campaign.remake(first, SampleError("late"))
    begun(campaign)
    one = only(resumed(record, campaign))
    assert (one.order.sample, one.order.n_former) == (f"{campaign.id}-s001.2", 1)


def test_a_suggestion_that_was_not_begun_is_the_next_sample(record: Record) -> None:
    campaign = record.campaign()
    campaign.next_order().exception(20)
    again = resumed(record, campaign)
    order, _ = begun(again)
    assert order.trial == 0
    assert len(record.optimizer.asked) == 1


def test_laboratory_hours_are_counted_over_all_sessions(record: Record) -> None:
    assert isinstance(record.clock, ManualClock)
    campaign = record.campaign(budget={"trials": 9, "failures": 2, "hours": 1})
    measured(campaign, begun(campaign)[0])
    record.clock.advance(3601.0)
    assert not resumed(record, campaign).may_begin()
