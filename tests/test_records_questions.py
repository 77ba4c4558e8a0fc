"""Questions to people, their answers, and requests to sessions."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lab.core.clock import ManualClock
from lab.core.errors import LedgerError
from lab.records.ledger import Ledger
from tests.records_campaigns import begun, killed, opened

CHOICES = {"retry": "do the step again", "skip": "put this sample away"}


@pytest.fixture
def campaign(ledger: Ledger) -> str:
    return opened(ledger)


def asked(ledger: Ledger, campaign: str) -> int:
    _, journal = begun(ledger, campaign)
    return ledger.ask(campaign, 0, journal.sample, "cast", "pump: [A?S] motor stalled", CHOICES, "skip")


def test_a_question_shows_what_happened_and_what_can_be_done(ledger: Ledger, campaign: str) -> None:
    number = asked(ledger, campaign)
    (row,) = ledger.open_questions()
    assert (row.id, row.campaign, row.trial, row.step, row.error, row.default, row.state) == (
        number, campaign, 0, "cast", "pump: [A?S] motor stalled", "skip", "open")
    assert list(row.choices.items()) == list(CHOICES.items()) and row.sample.endswith("-s001") and row.asked_lab_s == 100.0
    assert ledger.events(campaign)[-1].text == f"question 1: {row.sample}: cast: pump: [A?S] motor stalled; choices: retry, skip"


def test_the_first_answer_counts(ledger: Ledger, campaign: str) -> None:
    number = asked(ledger, campaign)
    row = ledger.answer(number, "retry", "anna")
    assert (row.state, row.choice, row.answered_by) == ("answered", "retry", "anna")
    with pytest.raises(LedgerError, match=r"question 1: was answered already: retry, by anna on 20"):
        ledger.answer(number, "skip", "ben")
    assert ledger.question(number).choice == "retry" and ledger.open_questions(campaign) == []
    assert ledger.events(campaign)[-1].text == "question 1: retry, says anna"


def test_of_many_answers_at_once_one_counts(tmp_path: Path, ledger: Ledger, campaign: str) -> None:
    number = asked(ledger, campaign)
    counted: list[str] = []
    refused: list[str] = []

    def say(name: str) -> None:
        try:
            counted.append(ledger.answer(number, "retry", name).answered_by)
        except LedgerError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=say, args=(f"person {n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(counted) == 1 and len(refused) == 5 and all(f"by {counted[0]}" in text for text in refused)


def test_only_what_is_offered_is_taken(ledger: Ledger, campaign: str) -> None:
    number = asked(ledger, campaign)
    with pytest.raises(LedgerError, match="question 1: given 'explode'; allowed: retry, skip"):
        ledger.answer(number, "explode", "anna")
    with pytest.raises(LedgerError, match="question 7: is not in the ledger; open: 1"):
        ledger.answer(7, "retry", "anna")
    for choices, default in (({}, ""), (CHOICES, "stop")):
        with pytest.raises(LedgerError, match=f"default: given '{default}'; allowed: one of the choices"):
            ledger.ask(campaign, 0, "s", "cast", "e", choices, default)
    assert ledger.question(number).state == "open"


ASKING = """
campaign = ledger.open_campaign("film", "{}", json.dumps({"name": "demo"}))
ledger.ask(campaign, 0, "s", "cast", "stalled", {"retry": "again"}, "")
"""


def test_the_question_of_a_dead_session_is_withdrawn_and_asked_anew_after_the_resume(tmp_path: Path, ledger: Ledger) -> None:
    killed(tmp_path / "ledger.sqlite", ASKING)
    campaign = ledger.campaign("film").id
    assert [q.state for q in ledger.questions(campaign)] == ["withdrawn"] and ledger.open_questions() == []
    with pytest.raises(LedgerError, match=f"question 1: is withdrawn: the session that asked waits no more; {campaign} asks anew"):
        ledger.answer(1, "retry", "anna")
    ledger.reopen_campaign(campaign)
    again = ledger.ask(campaign, 0, "s", "cast", "stalled", {"retry": "again"}, "")
    assert [(q.id, q.state) for q in ledger.questions(campaign)] == [(1, "withdrawn"), (again, "open")]


def test_a_question_ends_with_its_campaign(ledger: Ledger, campaign: str) -> None:
    number = asked(ledger, campaign)
    ledger.close_campaign(campaign, "failed", "no more")
    assert ledger.question(number).state == "withdrawn"
    with pytest.raises(LedgerError, match="cannot ask: the campaign is failed"):
        ledger.ask(campaign, 0, "s", "cast", "e", CHOICES, "")


def test_a_question_is_withdrawn_unless_it_has_its_answer(ledger: Ledger, campaign: str) -> None:
    first = asked(ledger, campaign)
    second = ledger.ask(campaign, 0, "s", "cast", "e", CHOICES, "")
    ledger.answer(second, "skip", "anna")
    for number in (first, second):
        ledger.withdraw(number, "nobody answered within 60 s")
    assert [q.state for q in ledger.questions()] == ["withdrawn", "answered"]
    assert ledger.events(campaign)[-1].text == "question 1 is withdrawn: nobody answered within 60 s"


ANSWERING = """
clock.advance(1e6)
ledger.answer(1, "retry", "anna")
ledger.request(sys.argv[1] and ledger.campaign("film").id, "pause", "anna")
"""


def test_another_process_does_not_know_the_laboratory_time(tmp_path: Path, ledger: Ledger, clock: ManualClock, campaign: str) -> None:
    number = asked(ledger, campaign)
    clock.advance(5)
    ledger.note(campaign, "remark", "five seconds later")
    killed(tmp_path / "ledger.sqlite", ANSWERING)
    assert ledger.question(number).ended_lab_s == 105.0
    assert ledger.last_lab_s(campaign) == 105.0


# ---------------------------------------------------------------------------------------------------- requests


def test_each_request_is_taken_once_in_order(tmp_path: Path, ledger: Ledger, campaign: str) -> None:
    assert ledger.take_requests(campaign) == []
    with Ledger(tmp_path / "ledger.sqlite", ManualClock()) as other:
        other.request(campaign, "pause", "anna", "the door has to be opened")
        other.request(campaign, "continue", "ben")
    taken = ledger.take_requests(campaign)
    assert [(r.kind, r.by, r.detail, r.state) for r in taken] == [
        ("pause", "anna", "the door has to be opened", "taken"), ("continue", "ben", "", "taken")]
    assert ledger.take_requests(campaign) == []
    assert [r.state for r in ledger.requests(campaign)] == ["taken", "taken"]
    assert "pause, asks anna: the door has to be opened" in [e.text for e in ledger.events(campaign)]


def test_nobody_is_asked_who_is_not_there(ledger: Ledger, campaign: str) -> None:
    with pytest.raises(LedgerError, match="request: given 'dance'; allowed: pause, continue, stop"):
        ledger.request(campaign, "dance", "anna")
    ledger.close_campaign(campaign, "interrupted", "SIGTERM")
    with pytest.raises(LedgerError, match=r"cannot stop: the campaign is interrupted \(SIGTERM\); no session is there to do it"):
        ledger.request(campaign, "stop", "anna")
    with pytest.raises(LedgerError, match="campaign nobody: is not in the ledger"):
        ledger.request("nobody", "stop", "anna")


def test_a_request_to_a_session_that_ended_does_not_meet_the_next_one(ledger: Ledger, campaign: str) -> None:
    ledger.request(campaign, "stop", "anna")
    ledger.close_campaign(campaign, "interrupted", "SIGTERM")
    ledger.reopen_campaign(campaign)
    assert ledger.take_requests(campaign) == []
    assert [r.state for r in ledger.requests(campaign)] == ["dropped"]
