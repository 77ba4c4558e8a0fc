"""The budget of a campaign, changed while it runs or before it is resumed: checked before anybody is asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from campaign_on_record import LAB
from records_campaigns import CONFIG

from lab import budgets
from lab.core.errors import ConfigError, LedgerError
from lab.core.question import Budget, CampaignConfig
from lab.records.ledger import Ledger


def opened(ledger: Ledger) -> str:
    return ledger.open_campaign("film", json.dumps({**CONFIG, "budget": {"trials": 9, "hours": 4}}), LAB.model_dump_json())


def budget(ledger: Ledger, campaign: str) -> Budget:
    return CampaignConfig.model_validate_json(ledger.campaign(campaign).config).budget


def test_the_session_of_a_running_campaign_is_asked(ledger: Ledger) -> None:
    campaign = opened(ledger)
    assert "trials 9 -> 20; its session (process" in budgets.ask(ledger, "film", {"trials": 20}, "ann")
    (request,) = ledger.take_requests(campaign)
    assert (request.kind, request.by, budgets.read(request.detail)) == ("budget", "ann", {"trials": 20})
    assert budget(ledger, campaign).trials == 9


def test_an_interrupted_campaign_has_another_budget_at_once_and_on_record(ledger: Ledger) -> None:
    campaign = opened(ledger)
    ledger.close_campaign(campaign, "interrupted", "a power cut")
    said = budgets.ask(ledger, campaign, {"trials": 20, "hours": None}, "ann")
    assert said == f"{campaign}: budget: trials 9 -> 20, hours 4 -> no limit; lab resume goes on with it"
    assert budget(ledger, campaign) == Budget(trials=20)
    assert [(event.kind, event.text) for event in ledger.events(campaign)][-1] == ("change", "budget: trials 9 -> 20, hours 4 -> no limit, says ann")


@pytest.mark.parametrize(("changes", "said"), [
    ({"trials": 0}, r"budget\.trials: given 0; allowed: .*1"),
    ({"trials": "many"}, r"budget\.trials: given 'many'"),
    ({"trials": 61}, r"budget\.trials: given 61; allowed: 1\.\.60, the slots of the rack of demo"),
    ({"hours": -1}, r"budget\.hours: given -1"),
    ({"days": 1, "weeks": 2}, r"(?s)budget\.days: given 1; allowed: one of trials, failures, hours.*budget\.weeks"),
    ({}, "budget: given nothing; allowed: at least one of trials, failures, hours"),
])
def test_what_is_no_budget_is_refused_in_words(ledger: Ledger, changes: dict[str, object], said: str) -> None:
    campaign = opened(ledger)
    with pytest.raises(ConfigError, match=said):
        budgets.ask(ledger, campaign, changes, "ann")
    assert ledger.take_requests(campaign) == []


def test_the_budget_of_a_campaign_that_is_over_stays_as_it_is(ledger: Ledger) -> None:
    campaign = opened(ledger)
    ledger.close_campaign(campaign, "done")
    with pytest.raises(LedgerError, match="cannot change the budget: the campaign is done"):
        budgets.ask(ledger, campaign, {"trials": 20}, "ann")
    with pytest.raises(LedgerError, match="cannot be changed: it is done"):
        ledger.change_config(campaign, "{}", "ann", "no reason")


@pytest.mark.parametrize("detail", ["", "trials=3", "[1]"])
def test_a_request_that_says_nothing_of_a_budget_is_no_request(detail: str) -> None:
    with pytest.raises(LedgerError, match="request: budget: given"):
        budgets.read(detail)


def test_lab_budget_says_what_it_has_done(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from lab.desk import app

    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    campaign = opened(ledger)
    done = CliRunner().invoke(app, ["budget", "film", "trials=20", "hours=null"])
    assert (done.exit_code, done.stdout.split(";")[0]) == (0, f"asked {campaign} for another budget: trials 9 -> 20, hours 4 -> no limit")
    assert CliRunner().invoke(app, ["budget", "film", "trials=0"]).exit_code == 2
