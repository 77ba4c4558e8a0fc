"""What took how long, over all sessions of a campaign."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.core.clock import ManualClock
from lab.records.ledger import Ledger
from lab.records.timing import DURATIONS_KEPT
from tests.records_campaigns import CONFIG, OUTCOME, begun, killed, opened


@pytest.fixture
def quick(clock: ManualClock) -> Iterator[Ledger]:
    """In memory: for many entries, none of which has to reach the disk."""
    with Ledger("sqlite://", clock) as opened_ledger:
        yield opened_ledger


def stepped(ledger: Ledger, clock: ManualClock, campaign: str, name: str, *seconds: float, cause: str = "") -> None:
    """A sample with one step for each of `seconds`."""
    _, journal = begun(ledger, campaign, tuple(f"rack.{n}" for n in range(400)))
    for each in seconds:
        step = journal.step_began("plate_a", f"{name} in words", name)
        clock.advance(each)
        journal.step_ended(step, cause)


def test_durations_are_those_of_completed_steps_by_name_the_newest_last(ledger: Ledger, clock: ManualClock) -> None:
    first, second = opened(ledger), opened(ledger)
    stepped(ledger, clock, first, "anneal", 10.0, 20.0)
    stepped(ledger, clock, second, "anneal", 30.0)
    stepped(ledger, clock, second, "cast", 5.0)
    stepped(ledger, clock, second, "anneal", 99.0, cause="hotplate: error 5")
    stepped(ledger, clock, second, "", 77.0)
    begun(ledger, second, "rack.40")[1].step_began("plate_a", "anneal", "anneal")
    stepped(ledger, clock, opened(ledger, lab="moon"), "anneal", 1.0)
    other = ledger.open_campaign("ink", json.dumps({**CONFIG, "recipe": "ink"}), json.dumps({"name": "demo"}))
    stepped(ledger, clock, other, "anneal", 2.0)
    assert dict(ledger.durations("demo", "thin_film")) == {"anneal": (10.0, 20.0, 30.0), "cast": (5.0,)}
    assert dict(ledger.durations("demo", "nothing")) == {}


def test_only_the_newest_durations_are_told(quick: Ledger, clock: ManualClock) -> None:
    campaign = opened(quick)
    stepped(quick, clock, campaign, "cast", *range(DURATIONS_KEPT + 5))
    assert quick.durations("demo", "thin_film")["cast"] == tuple(float(n) for n in range(5, DURATIONS_KEPT + 5))


def test_a_campaign_tells_what_it_made_of_its_time(ledger: Ledger, clock: ManualClock) -> None:
    campaign = opened(ledger)
    first_trial, first = begun(ledger, campaign)
    second_trial, second = begun(ledger, campaign)
    clock.advance(1000)  # nothing happens before the first step
    cast = first.step_began("synthesiser", "dose", "cast")
    clock.advance(10)
    first.step_ended(cast)
    anneal = first.step_began("plate_a", "anneal", "anneal")
    clock.advance(20)
    cast = second.step_began("synthesiser", "dose", "cast")
    clock.advance(10)
    second.step_ended(cast)
    first.step_ended(anneal)
    ledger.complete_trial(campaign, first_trial, OUTCOME)
    ledger.requeue_trial(campaign, second_trial, "late")
    found = ledger.statistics(campaign)
    assert found.makespan_s == 40.0
    assert {name: (use.busy_s, use.idle_s, use.utilisation, use.n_steps) for name, use in found.stations.items()} == {
        "plate_a": (30.0, 0.0, 0.75, 1), "synthesiser": (20.0, 20.0, 0.5, 2)}
    assert found.overlap == (40.0 + 10.0) / 40.0
    assert {state: n for state, n in found.n_samples.items() if n} == {"completed": 1, "discarded": 1}


def test_a_campaign_without_steps_has_no_time(ledger: Ledger) -> None:
    found = ledger.statistics(opened(ledger))
    assert (found.makespan_s, found.overlap, dict(found.stations), found.n_interventions, found.n_sessions) == (0.0, 0.0, {}, 0, 1)


def test_interventions_are_answers_requests_and_refills_by_people(ledger: Ledger) -> None:
    ledger.set_stock("demo", "liquid:cs", 5.0, "mL", "before it began", by="anna")
    campaign = opened(ledger)
    ledger.answer(ledger.ask(campaign, None, "s", "cast", "e", {"retry": ""}, ""), "retry", "anna")
    ledger.ask(campaign, None, "s", "cast", "e", {"retry": ""}, "")
    ledger.request(campaign, "pause", "anna")
    ledger.add_stock("demo", "liquid:cs", 1.0, "topped up", by="anna")
    ledger.set_stock("demo", "liquid:cs", 1.0, "mL", "counted by the session")  # nobody's hand
    ledger.refill_rack("demo", "anna")
    ledger.set_stock("moon", "liquid:cs", 1.0, "mL", "elsewhere", by="anna")
    found = ledger.statistics(campaign)
    assert (found.n_questions, found.n_answers, found.n_requests, found.n_refills, found.n_interventions) == (2, 1, 1, 2, 4)


BUSY = """
campaign = ledger.open_campaign("film", "{}", json.dumps({"name": "demo"}))
journal = ledger.start_trial(campaign, ledger.add_suggestion(campaign, Suggestion({"cs": 0.5}, "sobol")), "rack.1")
clock.advance(1000)
journal.step_began("plate_a", "anneal", "anneal")
clock.advance(30)
ledger.note(campaign, "remark", "the last that was heard of it")
"""


def test_an_open_step_of_a_killed_session_counts_until_its_last_entry(tmp_path: Path, ledger: Ledger) -> None:
    killed(tmp_path / "ledger.sqlite", BUSY)
    campaign = ledger.campaign("film").id
    assert ledger.busy_s(campaign) == {"plate_a": 30.0}
    with Ledger(tmp_path / "ledger.sqlite", ManualClock(2000.0)) as later:
        later.reopen_campaign(campaign)
        assert later.busy_s(campaign) == {"plate_a": 30.0}
        journal = later.journal_of(campaign, 0)
        journal.step_began("plate_a", "anneal again", "anneal")
    assert [s.state for s in ledger.steps(campaign)] == ["unconfirmed", "busy"]
    with Ledger(tmp_path / "ledger.sqlite", ManualClock(2050.0)) as now:
        assert now.busy_s(campaign) == {"plate_a": 80.0}
        now.close_campaign(campaign, "interrupted")
    assert ledger.busy_s(campaign) == {"plate_a": 80.0}
    assert ledger.statistics(campaign).n_sessions == 2
