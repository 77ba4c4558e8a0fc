"""Points that programs elsewhere propose: checked, taken once and in order, dropped when nobody will try them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from records_campaigns import CONFIG, killed

from lab.core.errors import ConfigError, LedgerError
from lab.core.trial import TrialState
from lab.records.ledger import Ledger

SPACE = [{"name": "cs", "type": "range", "bounds": [0, 1]}, {"name": "fa", "type": "range", "bounds": [0, 1]},
         {"name": "solvent", "type": "choice", "values": ["DMF", "DMSO"]}]
POINT = {"cs": 0.25, "fa": 0.75, "solvent": "DMF"}


def opened(ledger: Ledger, **more: object) -> str:
    config = {**CONFIG, "parameters": SPACE, "constraints": ["cs + fa == 1"], "optimizer": {"engine": "remote"}, **more}
    return ledger.open_campaign("film", json.dumps(config), json.dumps({"name": "demo"}))


def test_proposals_become_trials_in_their_order(ledger: Ledger) -> None:
    campaign = opened(ledger)
    numbers = [ledger.propose(campaign, {**POINT, "solvent": solvent}, "ann") for solvent in ("DMF", "DMSO")]
    taken = [ledger.take_proposal(campaign) for _ in range(3)]
    assert [row and (row.id, row.state, row.trial) for row in taken] == [(numbers[0], "taken", 0), (numbers[1], "taken", 1), None]
    assert [(trial.planned["solvent"], trial.state, trial.origin) for trial in ledger.trials(campaign)] == [
        ("DMF", TrialState.SUGGESTED, "remote: ann"), ("DMSO", TrialState.SUGGESTED, "remote: ann")]


def test_a_proposal_says_who_made_it_and_what_became_of_it(ledger: Ledger) -> None:
    campaign = opened(ledger)
    number = ledger.propose(campaign, POINT, "ann")
    waiting = ledger.proposal(number)
    assert (waiting.values, waiting.by, waiting.state, waiting.trial) == (POINT, "ann", "waiting", None)
    ledger.take_proposal(campaign)
    assert ledger.proposals(campaign) == [ledger.proposal(number)] and ledger.proposal(number).trial == 0


@pytest.mark.parametrize(("values", "said"), [
    ({"cs": 0.25, "fa": 0.75}, r"values\.solvent: given nothing; allowed: a value"),
    ({**POINT, "br": 0.1}, r"values\.br: given 0\.1; allowed: one of cs, fa, solvent"),
    ({**POINT, "cs": 1.5}, r"values\.cs: given 1\.5; allowed: 0\.\.1"),
    ({**POINT, "cs": float("nan")}, r"values\.cs: given nan; allowed: "),
    ({**POINT, "cs": "0.25"}, r"values\.cs: given '0\.25'; allowed: "),
    ({**POINT, "solvent": "water"}, r"values\.solvent: given 'water'; allowed: .*DMF, DMSO"),
    ({**POINT, "fa": 0.5}, r"values: given 0\.75 on the left; allowed: cs \+ fa == 1"),
])
def test_a_point_outside_the_space_is_refused_in_words(ledger: Ledger, values: dict[str, float | int | str], said: str) -> None:
    campaign = opened(ledger)
    with pytest.raises(ConfigError, match=said):
        ledger.propose(campaign, values, "ann")
    assert ledger.proposals(campaign) == []


def test_all_that_is_wrong_with_a_point_is_said(ledger: Ledger) -> None:
    with pytest.raises(ConfigError, match=r"(?s)values\.fa.*values\.cs.*values\.solvent"):
        ledger.propose(opened(ledger), {"cs": 2.0, "solvent": "water"}, "ann")


def test_a_campaign_that_chooses_its_points_itself_takes_no_proposals(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match=r"takes no proposals: its optimizer\.engine is sobol; allowed: remote"):
        ledger.propose(opened(ledger, optimizer={"engine": "sobol"}), POINT, "ann")


def test_no_more_is_proposed_than_the_budget_has_trials_for(ledger: Ledger) -> None:
    campaign = opened(ledger, budget={"trials": 2})
    ledger.propose(campaign, POINT, "ann")
    ledger.take_proposal(campaign)
    ledger.propose(campaign, POINT, "ann")
    with pytest.raises(LedgerError, match="no trial is left for another proposal: 1 made, 1 waiting; allowed: 2"):
        ledger.propose(campaign, POINT, "ann")


def test_what_still_waits_when_a_campaign_is_over_is_dropped(ledger: Ledger) -> None:
    campaign = opened(ledger)
    number = ledger.propose(campaign, POINT, "ann")
    ledger.close_campaign(campaign, "done")
    assert ledger.proposal(number).state == "dropped"
    with pytest.raises(LedgerError, match="takes no proposals any more: it is done"):
        ledger.propose(campaign, POINT, "ann")


def test_what_waits_while_a_campaign_is_interrupted_is_taken_when_it_goes_on(ledger: Ledger) -> None:
    campaign = opened(ledger)
    ledger.propose(campaign, POINT, "ann")
    ledger.close_campaign(campaign, "interrupted", "a power cut")
    ledger.propose(campaign, {**POINT, "solvent": "DMSO"}, "ann")
    ledger.reopen_campaign(campaign)
    solvents = [row.values["solvent"] for row in (ledger.take_proposal(campaign), ledger.take_proposal(campaign)) if row is not None]
    assert solvents == ["DMF", "DMSO"]


def test_a_campaign_whose_process_is_gone_still_takes_proposals_for_its_resume(ledger: Ledger, tmp_path: Path) -> None:
    config = json.dumps({**CONFIG, "optimizer": {"engine": "remote"}})
    killed(tmp_path / "ledger.sqlite", f"ledger.open_campaign('film', {config!r}, '{{}}')")
    campaign = ledger.campaign("film").id
    assert ledger.proposal(ledger.propose(campaign, {"cs": 0.5}, "ann")).state == "waiting"


def test_a_number_that_is_no_proposal_is_refused(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="proposal 7: is not in the ledger"):
        ledger.proposal(7)
