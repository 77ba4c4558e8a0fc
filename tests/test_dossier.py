"""The report of a campaign: one page, one table of numbers, and words for what cannot be told."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from lab.cli import app
from lab.core.clock import ManualClock
from lab.core.question import CampaignConfig
from lab.core.trial import Measured, Outcome, Suggestion
from lab.dossier import words
from lab.dossier.command import report
from lab.dossier.content import OTHER_VERSION, Dossier, dossier_of
from lab.dossier.drawing import svg
from lab.dossier.numbers import as_json
from lab.dossier.page import page
from lab.dossier.progress_figures import front_figure
from lab.home import Home
from lab.records.ledger import Ledger

MIXTURE: dict[str, Any] = {
    "name": "film", "recipe": "thin_film", "objectives": [{"name": "purity", "goal": "maximize"}], "budget": {"trials": 20},
    "parameters": [{"name": "cs", "type": "range", "bounds": [0, 1]}, {"name": "fa", "type": "range", "bounds": [0, 1]},
                   {"name": "ma", "type": "range", "bounds": [0, 1]}, {"name": "hot", "type": "range", "bounds": [60, 180], "unit": "$\\frac{K", "scale": "log"},
                   {"name": "solvent", "type": "choice", "values": ["DMF", "DM<SO>"]}],
    "constraints": ["cs + fa + ma == 1"], "optimizer": {"engine": "botorch"}}
LINE: dict[str, Any] = {"name": "film", "recipe": "thin_film", "objectives": [{"name": "purity", "goal": "maximize"}], "budget": {"trials": 20},
                        "parameters": [{"name": "hot", "type": "range", "bounds": [60, 180]}], "optimizer": {"engine": "botorch"}}
TWO: dict[str, Any] = {**LINE, "objectives": [{"name": "purity", "goal": "maximize"}, {"name": "cost", "goal": "minimize"}]}
THOUGHT: dict[str, Any] = {"expected": {"purity": [0.5, 0.2]}, "success": 0.93, "acquisition": -1.0, "improvement": 0.021, "remarks": ["jitter 1e-08"],
                           "alternatives": [{"values": {"cs": 1.0, "fa": 0.0, "ma": 0.0, "hot": 100.0, "solvent": "DMF"}, "acquisition": -1.5}]}


class Tags(HTMLParser):
    """What a page opens and closes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.mistakes: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.ids += [one for one in [named.get("id")] if one]
        self.references += [one for key, one in attrs if one and key in ("src", "href", "xlink:href")]
        if tag not in ("meta", "br", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.mistakes.append(tag)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite", ManualClock()) as opened:
        yield opened


def campaign_of(ledger: Ledger, config: dict[str, Any], outcomes: Sequence[dict[str, float] | None], seed: int = 0) -> str:
    """A campaign with trials at random points; None: it failed."""
    rng = np.random.default_rng(seed)
    campaign = ledger.open_campaign(config["name"], json.dumps(config), '{"name": "demo"}')
    for k, outcome in enumerate(outcomes):
        cs, fa, ma = rng.dirichlet(np.ones(3))
        values = {"cs": cs, "fa": fa, "ma": 1.0 - cs - fa, "hot": float(rng.uniform(60, 180)), "solvent": "DMF" if k % 2 else "DM<SO>"}
        values = {one["name"]: values[one["name"]] for one in config["parameters"]}
        found = Suggestion(values, "botorch" if k > 4 else "sobol", 0.1, THOUGHT if k > 4 else {})
        ledger.start_trial(campaign, index := ledger.add_suggestion(campaign, found), f"rack.{k + 1}")
        ledger._store.clock.advance(60)
        if outcome is None:
            ledger.fail_trial(campaign, index, "arm: [3012][Buffer <overrun>]")
        else:
            ledger.complete_trial(campaign, index, Outcome({name: Measured(value, 0.01) for name, value in outcome.items()}))
    return campaign


def purities(n: int, seed: int = 1) -> list[dict[str, float] | None]:
    return [{"purity": float(value)} for value in np.random.default_rng(seed).random(n)]


def tags_of(text: str) -> Tags:
    found = Tags()
    found.feed(text)
    return found


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Dossier:
    """Of a campaign with a mixture, a choice, a failure, and reasons on record."""
    with Ledger(tmp_path_factory.mktemp("told") / "ledger.sqlite", ManualClock()) as ledger:
        return dossier_of(ledger, campaign_of(ledger, MIXTURE, [*purities(7), None, {"purity": 0.99}]))


def test_the_page_is_whole_and_needs_nothing_else(told: Dossier) -> None:
    text = page(told)
    found = tags_of(text)
    assert not found.mistakes and not found.open
    assert len(found.ids) == len(set(found.ids))
    assert all(one.startswith(("#", "data:")) for one in found.references) and "<script" not in text
    assert set(re.findall(r'url\(#([^)]*)\)', text)) | {one[1:] for one in found.references if one.startswith("#")} <= set(found.ids)
    for heading in ("Progress", "What the model says of purity", "Where samples succeed", "Why these points", "All trials", "campaign.yaml"):
        assert heading in text
    assert "mathdefault" not in text  # dollars are dollars, and so must nothing else be set as a formula
    assert "DM&lt;SO&gt;" in text and "DM<SO>" not in text and "Buffer &lt;overrun&gt;" in text and told.digest in text


def test_the_same_record_makes_the_same_page_and_another_one_another_digest(ledger: Ledger) -> None:
    campaign = campaign_of(ledger, LINE, purities(1))
    found = dossier_of(ledger, campaign)
    assert page(dossier_of(ledger, campaign)) == page(found)
    ledger.add_suggestion(campaign, Suggestion({"hot": 100.0}, "sobol"))
    assert dossier_of(ledger, campaign).digest != found.digest


def test_the_words_say_why_a_point_was_suggested(told: Dossier) -> None:
    assert told.whys[0].words == "evenly spread over the space: the model begins with such points"
    best = max(one["purity"] for one in purities(5) if one is not None)
    assert told.whys[5].words == (f"expected purity 0.5 ± 0.2 (best so far {best:.4g}), chance of success 93 %, expected improvement 0.021; "
                                  "second choice cs 1, fa 0, ma 0, hot 100: 0.61 times as good; jitter 1e-08")


def test_the_numbers_behind_the_page_are_json(told: Dossier) -> None:
    found = json.loads(json.dumps(as_json(told), allow_nan=False))
    outcome = found["outcomes"]["purity"]
    assert outcome["sensitivities"]["kind"] == "shapley" and outcome["triangle"]["names"] == ["cs", "fa", "ma"]
    assert outcome["left_out"]["trials"] == [1, 2, 3, 4, 5, 6, 7, 9] and len(outcome["left_out"]["standardised"]) == 8
    assert found["progress"]["purity"]["best"][-1] == [9, 0.99] and found["progress"]["purity"]["foresight"]["trials"] == [6, 7, 9]
    assert found["success"]["is_success"].count(False) == 1 and found["trials"][7]["state"] == "failed"


@pytest.mark.parametrize(("outcomes", "problem"), [
    ([], "0 completed trials: a model needs 2"), ([{"purity": 0.5}], "1 completed trial: a model needs 2"),
    ([None, None], "0 completed trials: a model needs 2")])
def test_a_campaign_without_a_model_is_told_in_words(ledger: Ledger, outcomes: list[dict[str, float] | None], problem: str) -> None:
    found = dossier_of(ledger, campaign_of(ledger, LINE, outcomes))
    assert dict(words.lines(found))["model"] == f"none: {problem}"
    assert not tags_of(page(found)).mistakes


def test_outcomes_that_are_all_alike_are_told_in_words(ledger: Ledger) -> None:
    found = dossier_of(ledger, campaign_of(ledger, LINE, [{"purity": 0.5}] * 6))
    assert dict(words.lines(found))["model of purity"].startswith("all 6 samples gave the same")
    assert not tags_of(page(found)).mistakes


def test_a_file_of_another_version_costs_only_the_model(ledger: Ledger) -> None:
    campaign = ledger.open_campaign("film", '{"name": "film", "goal": "who knows"}', "{}")
    ledger.start_trial(campaign, ledger.add_suggestion(campaign, Suggestion({"cs": 0.5}, "sobol")), "rack.1")
    ledger.complete_trial(campaign, 0, Outcome({"purity": Measured(0.5)}))
    found = dossier_of(ledger, campaign)
    assert found.explanation.problem == OTHER_VERSION and "who knows" in page(found) and as_json(found)["outcomes"] == {}


def test_several_objectives_show_their_trade_off(ledger: Ledger) -> None:
    found = dossier_of(ledger, campaign_of(ledger, TWO, [{"purity": value, "cost": value ** 2} for value in (0.1, 0.4, 0.6, 0.9)]))
    assert [one.name for one in found.explanation.outcomes] == ["purity", "cost"] and "in all objectives; the best compromise: hot " in words.best(found)
    assert found.config is not None
    assert svg(front_figure(found, found.config), "front", "trade-off").startswith('<svg role="img" aria-label="trade-off"')


def test_changes_by_people_are_on_record_in_the_page(ledger: Ledger) -> None:
    campaign = campaign_of(ledger, LINE, purities(1))
    ledger.change_config(campaign, CampaignConfig.model_validate({**LINE, "budget": {"trials": 30}}).model_dump_json(), "anna", "budget.trials: 20 to 30")
    text = page(dossier_of(ledger, campaign))
    assert re.search(r"Revision 1, .* UTC, by anna: budget.trials: 20 to 30", text)


def test_the_command_writes_a_page_and_says_where(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = campaign_of(ledger, LINE, [{"purity": 0.5}])
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    done = CliRunner().invoke(app, ["report", "film"])
    file = tmp_path / "reports" / f"{campaign}.html"
    assert done.exit_code == 0 and f"wrote {file}" in done.stderr and file.read_text().startswith("<!DOCTYPE html>")
    assert "a model needs 2" in done.stdout and [one.name for one in file.parent.iterdir()] == [file.name]
    out = tmp_path / "film.html"
    done = CliRunner().invoke(app, ["report", "film", "--json", "--out", str(out)])
    assert json.loads(done.stdout)["campaign"] == campaign and out.exists()


@pytest.mark.parametrize(("out", "allowed"), [("film.pdf", "a file that ends in .html"), ("nowhere/film.html", "a file in a folder that exists")])
def test_a_file_that_cannot_be_is_refused_first(out: str, allowed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ledger: Ledger) -> None:
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    done = CliRunner().invoke(app, ["report", "nobody", "--out", str(tmp_path / out)])
    assert done.exit_code == 2 and f"--out: given {tmp_path / out}; allowed: {allowed}" in done.stderr


def test_numbers_alone_write_no_page(ledger: Ledger, tmp_path: Path) -> None:
    campaign = campaign_of(ledger, MIXTURE, [])
    assert report(ledger, campaign, None, Home(tmp_path), is_page_wanted=False)[1] is None and not (tmp_path / "reports").exists()
