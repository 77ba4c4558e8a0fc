"""Commands that speak to a running session through the ledger: status, answer, pause, continue, stop, stock, refill."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.cli import app
from lab.core.clock import ManualClock
from lab.records.ledger import Ledger
from tests.records_campaigns import OUTCOME, RACK, begun, opened

LAB_FILE = Path(__file__).parent.parent / "examples" / "lab.yaml"

CHOICES = {"retry": "do the step again", "skip": "put this sample away"}


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """The ledger of a session that runs in this process, with stock."""
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    with Ledger(tmp_path / "ledger.sqlite", ManualClock(100.0)) as found:
        found.set_stock("demo", "liquid:cs", 6.0, "mL", "new", capacity=60.0, low_water=6.0)
        found.set_stock("demo", "substrates", 4, "pieces", "new", capacity=4)
        yield found


@pytest.fixture
def campaign(ledger: Ledger) -> str:
    """One sample on the plate whose step has failed, one about to begin."""
    found = opened(ledger)
    _, journal = begun(ledger, found)
    journal.move_done(journal.move_announced("rack.1", "plate_a"))
    journal.step_began("plate_a", "anneal 600 s at 100 degC", "anneal")
    ledger.ask(found, 0, journal.sample, "anneal", "hotplate_a: [ERR 5] no sensor", CHOICES, "skip")
    begun(ledger, found)
    return found


Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def lab(capfd: pytest.CaptureFixture[str]) -> Said:
    """Runs the command in this process: exit status, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            app(list(arguments))
        return int(str(ended.value.code)), *capfd.readouterr()

    return run


# ------------------------------------------------------------------------------------------------------ status


def test_status_shows_samples_questions_with_their_commands_and_what_is_low(ledger: Ledger, campaign: str, lab: Said) -> None:
    status, out, err = lab("status")
    assert (status, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert ["s001", "plate_a", "plate_a:", "anneal", "600", "s", "at", "100", "degC"] in [line[:9] for line in lines]
    assert ["s002", "rack.2"] in lines
    assert "hotplate_a: [ERR 5] no sensor" in out
    assert f"lab answer {campaign} 1 retry" in out and "put this sample away (if nobody answers)" in out
    assert "low: refill, then say so: lab refill demo cs" in out


def test_status_is_json_for_programs(ledger: Ledger, campaign: str, lab: Said) -> None:
    ledger.request(campaign, "pause", "anna")
    done = opened(ledger, lab="moon")
    ledger.close_campaign(done, "done")
    left = opened(ledger, lab="moon")
    ledger.close_campaign(left, "interrupted", "SIGTERM")
    data: dict[str, Any] = json.loads(lab("status", "--json")[1])
    running, interrupted = data["campaigns"]
    assert (running["campaign"], running["status"], interrupted["campaign"], interrupted["next"]) == (
        campaign, "running", left, f"lab resume {left}")
    assert [(s["trial"], s["place"], s["step"] and s["step"]["name"]) for s in running["samples"]] == [(1, "plate_a", "anneal"), (2, "rack.2", None)]
    assert [c["command"] for c in running["questions"][0]["choices"]] == [f"lab answer {campaign} 1 {choice}" for choice in CHOICES]
    assert [r["kind"] for r in running["requests"]] == ["pause"]
    assert [(row["account"], row["is_low"]) for row in data["stock"]] == [("liquid:cs", True)]


def test_status_of_an_idle_laboratory_says_what_to_type(ledger: Ledger, lab: Said) -> None:
    ledger.set_stock("demo", "liquid:cs", 60.0, "mL", "full")
    out = lab("status")[1]
    assert "begin one with: lab run CAMPAIGN.yaml" in out and "nothing is running low" in out


def test_a_request_that_waits_is_shown(ledger: Ledger, campaign: str, lab: Said) -> None:
    lab("pause", campaign)
    assert f"pause, asked by {getpass.getuser()} at 20" in lab("status")[1]


# ------------------------------------------------------------------------------------------------------ answer


@pytest.mark.parametrize("is_named", [True, False])
def test_an_answer_is_booked_with_who_gave_it(ledger: Ledger, campaign: str, lab: Said, is_named: bool) -> None:
    status, out, _ = lab("answer", *([campaign] if is_named else []), "1", "retry")
    assert status == 0 and out.startswith(f"question 1: retry, says {getpass.getuser()}; {campaign} goes on with it")
    row = ledger.question(1)
    assert (row.choice, row.answered_by) == ("retry", getpass.getuser())


def test_a_second_answer_is_told_whose_the_first_was(ledger: Ledger, campaign: str, lab: Said) -> None:
    ledger.answer(1, "skip", "anna")
    status, out, err = lab("answer", campaign, "1", "retry")
    assert (status, out) == (1, "") and "lab: question 1: was answered already: skip, by anna on 20" in err


@pytest.mark.parametrize(("words", "status", "message"), [
    (["CAMPAIGN", "1", "explode"], 2, "command line: CHOICE: given 'explode'; allowed: retry, skip"),
    (["CAMPAIGN", "one", "retry"], 2, "command line: QUESTION: given 'one'; allowed: its number"),
    (["1"], 2, "command line: lab answer: given 1; allowed: [CAMPAIGN] QUESTION CHOICE"),
    (["CAMPAIGN", "9", "retry"], 1, "lab: question 9: is not in the ledger; open: 1"),
    (["nobody", "1", "retry"], 1, "lab: campaign nobody: is not in the ledger"),
    (["OTHER", "1", "retry"], 2, "command line: QUESTION: given 1; allowed: a question of film-")])
def test_an_answer_that_cannot_be_is_refused_in_words(ledger: Ledger, campaign: str, lab: Said, words: list[str], status: int, message: str) -> None:
    names = {"CAMPAIGN": campaign, "OTHER": opened(ledger)}
    said = lab("answer", *(names.get(word, word) for word in words))
    assert said[0] == status and said[1] == "" and message in said[2]
    assert ledger.question(1).state == "open"


# ---------------------------------------------------------------------------------------------------- requests


@pytest.mark.parametrize("kind", ["pause", "continue", "stop"])
def test_a_request_reaches_the_session(ledger: Ledger, campaign: str, lab: Said, kind: str) -> None:
    status, out, _ = lab(kind, "film")
    assert status == 0 and f"asked {campaign} to {kind}; its session (process " in out
    assert [(r.kind, r.by) for r in ledger.take_requests(campaign)] == [(kind, getpass.getuser())]


def test_nobody_pauses_a_campaign_that_does_not_run(ledger: Ledger, campaign: str, lab: Said) -> None:
    ledger.close_campaign(campaign, "interrupted", "SIGTERM")
    status, out, err = lab("pause", campaign)
    assert (status, out) == (1, "") and "cannot pause: the campaign is interrupted (SIGTERM); no session is there to do it" in err
    assert lab("stop", "nobody")[0] == 1


# ------------------------------------------------------------------------------------------------------- stock


def test_stock_tells_for_how_many_samples_it_lasts(ledger: Ledger, campaign: str, lab: Said) -> None:
    index, journal = begun(ledger, campaign)
    journal.dose_announced("k", {"cs": 0.5})
    journal.dose_done("k", {"cs": 0.5})
    ledger.complete_trial(campaign, index, OUTCOME)
    out = lab("stock", "demo")[1]
    assert ["demo", "liquid:cs", "5.5", "mL", "60", "mL", "11", "more", "samples"] in [line.split()[:9] for line in out.splitlines()]
    rows = json.loads(lab("stock", str(LAB_FILE), "--json")[1])  # its name is demo
    assert [(row["account"], row["balance"], row["n_samples"]) for row in rows] == [("liquid:cs", 5.5, 11), ("substrates", 1.0, 1)]
    assert rows == json.loads(lab("stock", "--json")[1])


@pytest.mark.parametrize(("words", "balance"), [
    (["cs"], 60.0), (["liquid:cs"], 60.0), (["cs", "4"], 10.0), (["cs", "10", "--total"], 10.0), (["cs", "0", "--total"], 0.0)])
def test_a_refill_is_booked_with_who_did_it(ledger: Ledger, lab: Said, words: list[str], balance: float) -> None:
    status, out, _ = lab("refill", "demo", *words)
    assert (status, out) == (0, f"liquid:cs: {balance:g} mL left\n")
    assert ledger.stock("demo")[0].balance == balance
    assert ledger.stock_entries("demo", "liquid:cs")[-1].by == getpass.getuser()


@pytest.mark.parametrize(("words", "message"), [
    (["demo", "cs", "-5"], "command line: AMOUNT: given '-5'; allowed: a number from 0 up"),
    (["demo", "cs", "much"], "command line: AMOUNT: given 'much'; allowed: a number from 0 up"),
    (["demo", "cs", "0"], "command line: AMOUNT: given 0; allowed: a number of mL above 0, up to 54"),
    (["demo", "cs", "55"], "command line: AMOUNT: given 55; allowed: a number of mL above 0, up to 54"),
    (["demo", "cs", "61", "--total"], "command line: AMOUNT: given 61; allowed: a number of mL from 0, up to 60"),
    (["demo", "gold"], "command line: ACCOUNT: given 'gold'; allowed: rack, liquid:cs"),
    (["demo", "rack", "5"], "command line: AMOUNT: given 5; allowed: a whole number up to 4"),
    (["demo", "rack", "1.5"], "command line: AMOUNT: given 1.5; allowed: a whole number up to 4"),
    (["moon", "cs"], "command line: LAB: given 'moon'; allowed: a laboratory on record: demo"),
    (["none.yaml", "cs"], "none.yaml: file: given a path that does not exist")])
def test_a_refill_that_cannot_be_is_refused_with_status_2(ledger: Ledger, lab: Said, words: list[str], message: str) -> None:
    status, out, err = lab("refill", *words)
    assert (status, out) == (2, "") and message in err
    assert [row.balance for row in ledger.stock("demo")] == [6.0, 4.0]


def test_an_account_without_a_capacity_needs_an_amount(ledger: Ledger, lab: Said) -> None:
    ledger.set_stock("demo", "liquid:fa", 1.0, "mL", "new")
    status, _, err = lab("refill", "demo", "fa")
    assert status == 2 and "command line: AMOUNT: given nothing; allowed: how much was added, mL: the account has no capacity" in err
    assert lab("refill", "demo", "fa", "2")[1] == "liquid:fa: 3 mL left\n"


@pytest.mark.parametrize("account", ["rack", "substrates"])
def test_a_refilled_rack_tells_which_slots_to_leave_empty(ledger: Ledger, campaign: str, lab: Said, account: str) -> None:
    status, out, _ = lab("refill", "demo", account)
    assert status == 0
    assert "substrates: 2 pieces left" in out
    assert "rack: every slot holds an empty substrate, but rack.1, rack.2: leave those empty, their samples come back" in out
    assert ledger.free_slots("demo", RACK) == ("rack.3", "rack.4")


def test_commands_need_a_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lab: Said) -> None:
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "none"))
    for words in (["status"], ["stock"], ["answer", "1", "retry"], ["refill", "demo", "cs"], ["pause", "film"]):
        status, out, err = lab(*words)
        assert (status, out) == (2, "") and "LAB_HOME: " in err and "no ledger there" in err
