"""What an earlier campaign has measured, copied into a new one: whole, once, and refused in words where it would mean nothing."""

from __future__ import annotations

from typing import Any

import pytest
from campaign_on_record import EXAMPLES, LAB

from lab.core.errors import ConfigError
from lab.core.question import CampaignConfig
from lab.core.trial import Measured, Outcome, Suggestion
from lab.files import load_campaign
from lab.optimise import make_optimizer
from lab.priors import with_priors
from lab.records.ledger import Ledger

POINT = {"cs": 0.2, "fa": 0.8, "ma": 0.0, "anneal_temperature": 100.0}
SLOTS = tuple(f"rack.{n}" for n in range(1, 13))


def config(**changes: Any) -> CampaignConfig:
    return load_campaign(EXAMPLES / "perovskite.yaml", {"budget": {"trials": 9}, "optimizer": {"engine": "botorch"}, **changes})


def earlier(ledger: Ledger, n: int = 4) -> str:
    """A campaign with `n` samples that gave an outcome, and one that did not."""
    campaign = ledger.open_campaign("film", config().model_dump_json(), LAB.model_dump_json())
    for k in range(n + 1):
        index = ledger.add_suggestion(campaign, Suggestion({**POINT, "anneal_temperature": 100.0 + k}, "sobol"))
        journal = ledger.start_trial(campaign, index, SLOTS)
        journal.executed({"anneal_temperature": 100.5 + k})
        if k < n:
            sem = 0.01 if k else None
            ledger.complete_trial(campaign, index, Outcome({"perovskite_fraction": Measured(0.1 * k, sem), "peak_width": Measured(0.2, 0.1)}))
        else:
            ledger.fail_trial(campaign, index, "no film")
    ledger.add_suggestion(campaign, Suggestion(POINT, "sobol"))
    return campaign


def test_completed_and_failed_trials_are_copied_as_they_were_carried_out(ledger: Ledger) -> None:
    campaign = earlier(ledger, 2)
    (prior,) = with_priors(config(prior=[{"name": "before", "campaign": "film"}]), ledger, "new.yaml").prior
    assert (prior.name, prior.campaign, prior.columns) == (
        "before", campaign, ("cs", "fa", "ma", "anneal_temperature", "perovskite_fraction", "state", "perovskite_fraction_sem"))
    assert prior.rows == ((0.2, 0.8, 0.0, 100.5, 0.0, "completed", ""), (0.2, 0.8, 0.0, 101.5, 0.1, "completed", 0.01), (0.2, 0.8, 0.0, 102.5, "", "failed", ""))


def test_what_was_copied_stays_whatever_becomes_of_the_other_campaign(ledger: Ledger) -> None:
    campaign = earlier(ledger)
    asked = config(prior=[{"name": "before", "campaign": campaign}])
    copied = with_priors(asked, ledger, "new.yaml")
    ledger.attach_result(campaign, POINT, Outcome({"perovskite_fraction": Measured(9.0)}), "ann")
    kept = CampaignConfig.model_validate_json(copied.model_dump_json())
    assert with_priors(kept, ledger, "new.yaml") == kept and len(kept.prior[0].rows) == 5
    assert len(with_priors(asked, ledger, "new.yaml").prior[0].rows) == 6


def test_the_engine_suggests_from_it(ledger: Ledger) -> None:
    earlier(ledger)
    copied = with_priors(config(prior=[{"name": "before", "campaign": "film", "is_same": True}]), ledger, "new.yaml")
    assert make_optimizer(copied).suggest([])[0].values.keys() == POINT.keys()


def test_a_parameter_that_was_a_setting_before_has_that_value_in_all_rows(ledger: Ledger) -> None:
    earlier(ledger)
    more = [*config().model_dump(mode="json")["parameters"], {"name": "anneal_time_s", "type": "range", "bounds": [300, 900]}]
    asked = config(prior=[{"name": "before", "campaign": "film"}], parameters=more, settings={"count_time_s": 2})
    assert {row["anneal_time_s"] for row in with_priors(asked, ledger, "new.yaml").prior[0].records()} == {600}


@pytest.mark.parametrize(("changes", "prior", "said"), [
    ({}, {"campaign": "nobody"}, r"new\.yaml: prior\.0\.campaign: given 'nobody'; allowed: a campaign of this ledger"),
    ({"objectives": [{"name": "total_intensity", "goal": "maximize"}]}, {"campaign": "film"},
     r"given film-\S+, which has measured peak_width, perovskite_fraction; allowed: a campaign that has measured total_intensity"),
    ({"parameters": [{"name": name, "type": "range", "bounds": [0, 1]} for name in ("cs", "fa", "ma")]}, {"campaign": "film", "is_same": True},
     r"prior\.0\.is_same: given true of film, which varied anneal_temperature; allowed: false"),
    ({"parameters": [{"name": name, "type": "range", "bounds": [0, 1]} for name in ("cs", "fa", "ma", "rb")]}, {"campaign": "film"},
     r"given film, which did not know rb; allowed: a campaign with each of cs, fa, ma, rb")])
def test_a_campaign_that_says_nothing_of_this_question_is_refused_in_words(ledger: Ledger, changes: dict[str, Any], prior: dict[str, Any], said: str) -> None:
    earlier(ledger)
    with pytest.raises(ConfigError, match=said):
        with_priors(config(**changes, prior=[{"name": "before", **prior}]), ledger, "new.yaml")


def test_a_campaign_without_an_outcome_is_refused(ledger: Ledger) -> None:
    earlier(ledger, 0)
    with pytest.raises(ConfigError, match=r"film-\S+, which has measured nothing; allowed: a campaign that has measured perovskite_fraction"):
        with_priors(config(prior=[{"name": "before", "campaign": "film"}]), ledger, "new.yaml")
