"""People in the loop from afar: a scientist with their own campaigns, an operator with everybody's, nobody beyond what was approved."""

from __future__ import annotations

from typing import Any

import pytest
from test_remote_campaigns import ALICE, BOB, LAB, OLGA, OTTO, POINT, Desk, opened, refused

from lab.core.errors import LedgerError
from lab.core.trial import Suggestion, TrialState
from lab.records.ledger import Ledger
from lab.remote.access.roles import METHODS
from lab.remote.registry.refusals import PlanRefused
from lab.remote.steward import changes_desk


class ChangesDesk(Desk):
    """The desk that answers these methods."""

    def __call__(self, who: Any, method: str, **params: Any) -> dict[str, Any]:
        return changes_desk.METHODS_HERE[method](self, who, params)  # type: ignore[arg-type]


@pytest.fixture
def desk(ledger: Ledger, tmp_path: Any) -> ChangesDesk:
    from lab.home import Home

    return ChangesDesk(ledger, Home(tmp_path))


CALLS: list[tuple[str, dict[str, Any]]] = [
    ("lab_campaign_change", {"changes": {"cs": [0, 0.5]}}), ("lab_campaign_attach", {"values": POINT}),
    ("lab_campaign_veto", {"trial": 1}), ("lab_campaign_edit", {"trial": 1, "values": {"anneal_temperature": 110.0}})]


def test_every_method_of_the_desk_has_a_least_role() -> None:
    assert {METHODS[name].least for name in changes_desk.METHODS_HERE} == {"scientist"}


@pytest.mark.parametrize(("method", "params"), CALLS)
def test_only_the_owner_and_operators_change_a_campaign(desk: ChangesDesk, method: str, params: dict[str, Any]) -> None:
    campaign = opened(desk)
    desk.ledger.add_suggestion(campaign, Suggestion(POINT, "sobol"))
    for stranger in (BOB, OTTO):
        with pytest.raises(PlanRefused, match="campaign"):
            desk(stranger, method, campaign=campaign, **params)
    assert desk(OLGA, method, campaign=campaign, **params)["success"]


def test_what_is_done_from_afar_stands_under_the_name_of_the_key(desk: ChangesDesk) -> None:
    campaign = opened(desk)
    desk.ledger.add_suggestion(campaign, Suggestion(POINT, "sobol"))
    assert desk(ALICE, "lab_campaign_change", campaign=campaign, changes={"cs": [0, 0.1]})["withdrawn"] == [1]
    assert desk(ALICE, "lab_campaign_attach", campaign=campaign, values={**POINT, "cs": 0.1, "fa": 0.9})["trial"] == 2
    assert desk(ALICE, "lab_campaign_edit", campaign=campaign, trial=2, values={"anneal_temperature": 110.0})["trial"] == 3
    assert "trial 3 is not made" in desk(ALICE, "lab_campaign_veto", campaign=campaign, trial=3, why="no glass")["msg"]
    told = {"perovskite_fraction": {"mean": 0.9, "sem": 0.01}}
    assert desk(ALICE, "lab_campaign_attach", campaign=campaign, values=POINT, measured=told)["trial"] == 4
    assert [(trial.state, trial.origin, trial.cause) for trial in desk.ledger.trials(campaign)[1:]] == [
        (TrialState.ABANDONED, "alice", "edited by alice"), (TrialState.ABANDONED, "alice, for trial 2", "vetoed by alice: no glass"),
        (TrialState.COMPLETED, "alice, measured elsewhere", "")]
    assert [(one.by, one.words) for one in desk.ledger.revisions(campaign)[1:]] == [("alice", "cs 0..1 -> 0..0.1")]


@pytest.mark.parametrize(("method", "params", "field"), [
    ("lab_campaign_change", {"changes": {}}, "changes"), ("lab_campaign_change", {"changes": "all"}, "changes"),
    ("lab_campaign_change", {"changes": {"recipe": "other"}}, "recipe"), ("lab_campaign_change", {"changes": {"cs": [0, 1e300]}}, "parameters.0.bounds.1"),
    ("lab_campaign_change", {"changes": {"constraints+": "cs <= " + "1 + " * 200 + "1"}}, "constraints.1"),
    ("lab_campaign_change", {"changes": {"trials": 61}}, "budget.trials"), ("lab_campaign_change", {"changes": {"owner": "bob"}}, "owner"),
    ("lab_campaign_attach", {"values": {**POINT, "cs": True}}, "values.cs"), ("lab_campaign_attach", {"values": {**POINT, "cs": 7}}, "values.cs"),
    ("lab_campaign_attach", {"values": POINT, "measured": {"perovskite_fraction": "much"}}, "measured.perovskite_fraction"),
    ("lab_campaign_attach", {"values": POINT, "measured": {"peak_width": 0.1}}, "measured.perovskite_fraction"),
    ("lab_campaign_veto", {"trial": 0}, "trial"), ("lab_campaign_veto", {"trial": True}, "trial"), ("lab_campaign_veto", {"trial": 1, "why": "x" * 301}, "why"),
    ("lab_campaign_edit", {"trial": 1, "values": {}}, "values")])
def test_what_cannot_be_is_refused_with_its_field(desk: ChangesDesk, method: str, params: dict[str, Any], field: str) -> None:
    campaign = opened(desk)
    with refused(field):
        desk(ALICE, method, campaign=campaign, **params)
    assert desk.ledger.trials(campaign) == [] and len(desk.ledger.revisions(campaign)) == 1


def test_a_trial_that_has_begun_is_not_taken_back_from_afar(desk: ChangesDesk) -> None:
    campaign = opened(desk)
    desk.ledger.start_trial(campaign, desk.ledger.add_suggestion(campaign, Suggestion(POINT, "sobol")), ("rack.1",))
    with pytest.raises(LedgerError, match="trial 1: is running"):
        desk(ALICE, "lab_campaign_veto", campaign=campaign, trial=1)


@pytest.mark.parametrize(("changes", "field"), [
    ({"trials": 30}, "budget.trials"), ({"hours": None}, "budget.hours"), ({"anneal_temperature": [60, 185]}, "parameters.3.bounds"),
    ({"constraints": ["cs + fa + ma == 1", "cs <= 0.4"], "constraints-": "cs + fa + ma == 1"}, "constraints")])
def test_who_needs_a_word_for_a_campaign_asks_for_less_of_it_and_not_for_more(desk: ChangesDesk, changes: dict[str, Any], field: str) -> None:
    desk.lab = LAB.model_copy(update={"remote": LAB.remote.model_copy(update={"approval": ("scientist",)})})
    campaign = opened(desk)
    with refused(field):
        desk(ALICE, "lab_campaign_change", campaign=campaign, changes=changes)
    desk(ALICE, "lab_campaign_change", campaign=campaign, changes={"trials": 10, "anneal_temperature": [80, 120], "constraints+": "cs <= 0.5"})
    desk(OLGA, "lab_campaign_change", campaign=campaign, changes={"trials": 30})


def test_a_new_campaign_builds_upon_ones_own_campaigns_only(desk: ChangesDesk) -> None:
    mine, his = opened(desk), opened(desk, owner="bob")
    records = desk.plans.records
    assert records is not None

    def fields(who: Any, *campaigns: str) -> list[str]:
        return [one.field for one in records.prior_problems({"prior": [{"campaign": one} for one in campaigns]}, who)]

    assert fields(ALICE, mine, his, mine[:-2], "") == ["config.prior.1.campaign", "config.prior.2.campaign"]
    assert fields(OLGA, mine, his) == []
