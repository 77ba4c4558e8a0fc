"""Campaigns from afar: whose they are, what may be asked of them, points of one's own, and data in pieces."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pandas
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from records_runs import documents_of, write_frames

from lab.core.clock import ManualClock
from lab.core.errors import ConfigError, LabError
from lab.core.trial import Measured, Outcome, Suggestion
from lab.files import load_lab
from lab.home import Home
from lab.records.documents import JsonlWriter
from lab.records.ledger import Ledger
from lab.records.process import this_process
from lab.records.queue_rows import NewItem
from lab.records.requests import WITHOUT_ACKNOWLEDGING
from lab.remote.access.roles import METHODS
from lab.remote.access.who import Who
from lab.remote.registry.plan_checks import Plans
from lab.remote.registry.refusals import PlanRefused, problems_of
from lab.remote.steward import campaigns_desk, data_desk, history, items_desk, plans_desk, running_desk
from lab.remote.steward.campaigns_on_record import CampaignsOnRecord
from lab.remote.steward.data_desk import PIECE, DataDesk
from lab.remote.steward.keeper import Keeper
from lab.remote.steward.re_manager import View

EXAMPLES = Path(__file__).parents[1] / "examples"
LAB = load_lab(EXAMPLES / "lab.yaml")
ALICE, BOB = Who("alice", "scientist", "a" * 40), Who("bob", "scientist", "b" * 40)
OLGA, OTTO = Who("olga", "operator", "o" * 40), Who("otto", "observer", "t" * 40)
METHODS_HERE = {**plans_desk.METHODS_HERE, **campaigns_desk.METHODS_HERE, **data_desk.METHODS_HERE}
POINT = {"cs": 0.2, "fa": 0.8, "ma": 0.0, "anneal_temperature": 120.0}


class Queue:
    """An RE Manager whose queue takes everything."""

    def __init__(self) -> None:
        self.raws: list[dict[str, Any]] = []

    def view(self) -> View:
        return View((), None)

    def put(self, raws: list[dict[str, Any]], user: str, role: str, before: str = "") -> list[str]:
        self.raws += raws
        return [f"uid-{len(self.raws)}"]

    def status(self) -> dict[str, Any]:
        return {"plans_allowed_uid": "p1", "devices_allowed_uid": "d1"}

    def history(self) -> list[dict[str, Any]]:
        return []

    def ask(self, method: str, params: Any = None, deadline_s: float = 0.0) -> dict[str, Any]:
        return {"success": True, "msg": ""}


class Desk:
    """The desks on a ledger; ``desk(who, method, **params)`` is a request's answer."""

    def __init__(self, ledger: Ledger, home: Home) -> None:
        self.ledger, self.home, self.lab, self.errand = ledger, home, LAB, None
        self.plans = Plans(LAB, None, CampaignsOnRecord(ledger, LAB))
        self.manager = Queue()
        self.keeper = Keeper(ledger, self.manager, lambda *_: None)  # type: ignore[arg-type]
        self.notice = ledger.add_notice
        self.watch = SimpleNamespace(standstill=lambda: "")

    def __call__(self, who: Who, method: str, **params: Any) -> dict[str, Any]:
        answer = {**running_desk.METHODS_HERE, **METHODS_HERE}[method](self, who, params)  # type: ignore[arg-type]
        assert answer["success"] is True
        json.dumps(answer, allow_nan=False)
        return answer


@pytest.fixture
def desk(ledger: Ledger, tmp_path: Path) -> Desk:
    return Desk(ledger, Home(tmp_path))


def config(owner: str = "alice", **changes: Any) -> dict[str, Any]:
    found = yaml.safe_load((EXAMPLES / "perovskite.yaml").read_text())
    del found["lab"]
    return {**found, "owner": owner, **changes}


def opened(desk: Desk, owner: str = "alice", **changes: Any) -> str:
    return desk.ledger.open_campaign("perovskite", json.dumps(config(owner, **changes)), LAB.model_dump_json())


def measured(desk: Desk, campaign: str, purity: float = 0.5, file: Path = Path("/nowhere.h5")) -> int:
    """A trial that has been made and measured; its run is on disk."""
    index = desk.ledger.add_suggestion(campaign, Suggestion(POINT, "sobol"))
    journal = desk.ledger.start_trial(campaign, index, tuple(f"rack.{n}" for n in range(1, 10)))
    documents = documents_of(file, 1, (512, 512), 2, campaign=campaign, trial=index, plan_name="thin_film")
    writer = JsonlWriter(desk.home.runs, fsync=False)
    for name, doc in documents:
        writer(name, doc)
    writer.close()
    journal.run_opened(documents[0][1]["uid"])
    journal.executed({**POINT, "anneal_temperature": 119.7})
    desk.ledger.complete_trial(campaign, index, Outcome({"perovskite_fraction": Measured(purity, 0.01)}, {"crystallite_size": float("nan")}))
    return index


@contextmanager
def refused(*fields: str) -> Iterator[None]:
    with pytest.raises(ConfigError) as caught:
        yield
    assert {one.field for one in problems_of(caught.value)} == set(fields)


def whole(desk: Desk, who: Who, **params: Any) -> bytes:
    """All pieces of some data."""
    content = b""
    while True:
        piece = desk(who, "lab_data", offset=len(content), **params)
        content += base64.b64decode(piece["data"])
        if len(content) == piece["total"]:
            assert hashlib.sha256(content).hexdigest() == piece["sha256"]
            return content


# ------------------------------------------------------------------------------------------------ submitting


def test_a_submitted_campaign_is_queued_for_the_name_of_the_key(desk: Desk) -> None:
    answer = desk(ALICE, "lab_campaign_submit", config=config("mallory"))
    item = desk.ledger.item(answer["lab"]["item"])
    assert (item.name, item.user, item.parameters["config"]["owner"], item.state) == ("campaign", "alice", "alice", "queued")
    assert desk.manager.raws[0]["kwargs"]["config"]["owner"] == "alice"


@pytest.mark.parametrize(("given", "field"), [
    (None, "config"), ("campaign.yaml", "config"), ({"lab": "/etc/passwd"}, "config.lab"), ([], "config"),
    ({**config(), "lab": "lab.yaml"}, "config.lab"), ({**config(), "optimizer": {"engine": "given", "points": [{"cs": "/etc/passwd"}]}},
                                                      "config.optimizer.points.0")])
def test_a_campaign_that_names_a_file_is_refused(desk: Desk, given: Any, field: str) -> None:
    with refused(field):
        desk(ALICE, "lab_campaign_submit", config=given)
    assert desk.ledger.items() == []


# ---------------------------------------------------------------------------------------------------- whose


def test_scientists_see_their_own_campaigns_operators_all_and_observers_none(desk: Desk) -> None:
    hers, his = opened(desk, "alice"), opened(desk, "bob")
    assert [one["campaign"] for one in desk(ALICE, "lab_campaigns")["campaigns"]] == [hers]
    assert [one["campaign"] for one in desk(OLGA, "lab_campaigns")["campaigns"]] == [hers, his]
    assert desk(OTTO, "lab_campaigns")["campaigns"] == []
    assert desk(ALICE, "lab_campaign", campaign="perovskite")["campaign"]["campaign"] == hers


@pytest.mark.parametrize(("method", "params"), [
    ("lab_campaign", {}), ("lab_campaign_pause", {}), ("lab_campaign_continue", {}), ("lab_campaign_stop", {}),
    ("lab_campaign_budget", {"trials": 30}), ("lab_propose", {"values": POINT}), ("lab_data", {"format": "csv"})])
def test_the_campaign_of_another_scientist_does_not_exist(desk: Desk, method: str, params: dict[str, Any]) -> None:
    his = opened(desk, "bob")
    with pytest.raises(PlanRefused) as of_another:
        desk(ALICE, method, campaign=his, **params)
    with pytest.raises(PlanRefused) as of_nobody:
        desk(ALICE, method, campaign=his[:-1] + "x", **params)
    assert str(of_another.value).replace(his, "") == str(of_nobody.value).replace(his[:-1] + "x", "")
    assert desk.ledger.requests(his) == []


def test_a_scientist_resumes_only_an_interrupted_campaign_of_their_own(desk: Desk) -> None:
    hers, his = opened(desk, "alice"), opened(desk, "bob")
    with refused("campaign"):
        desk.plans.check("resume_campaign", {"campaign": hers}, ALICE)
    for campaign in (hers, his):
        desk.ledger.close_campaign(campaign, "interrupted", "the session ended")
    assert desk.plans.check("resume_campaign", {"campaign": hers}, ALICE).parameters == {"campaign": hers}
    assert desk.plans.check("resume_campaign", {"campaign": his}, OLGA).parameters == {"campaign": his}
    with refused("campaign"):
        desk.plans.check("resume_campaign", {"campaign": his}, ALICE)


# ----------------------------------------------------------------------------------------- what may be asked


def test_a_batch_that_takes_too_long_to_look_at_is_refused_as_a_whole(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items_desk, "CHECKS_S", -1.0)
    with pytest.raises(PlanRefused, match="2 items, of which 0 were looked at within"):
        items_desk.queue_item_add_batch(desk, ALICE, {"items": [{"name": "prepare"}] * 2})  # type: ignore[arg-type]
    assert desk.ledger.items() == []


def test_what_is_asked_of_a_campaign_reaches_its_session_under_the_name_of_the_key(desk: Desk) -> None:
    campaign = opened(desk)
    for method in ("lab_campaign_pause", "lab_campaign_continue", "lab_campaign_stop"):
        desk(ALICE, method, campaign=campaign)
    desk(OLGA, "lab_campaign_budget", campaign=campaign, trials=40, hours=8)
    assert [(one.kind, one.by, one.detail) for one in desk.ledger.requests(campaign)] == [
        ("pause", "alice", ""), ("continue", "alice", WITHOUT_ACKNOWLEDGING), ("stop", "alice", "")]
    assert [(one.by, one.words) for one in desk.ledger.revisions(campaign)][1:] == [("olga", "budget: trials 20 -> 40, hours 24 -> 8")]


@pytest.mark.parametrize(("changes", "field"), [
    ({"trials": 61}, "budget.trials"), ({"trials": True}, "trials"), ({"trials": "40"}, "trials"), ({"hours": float("nan")}, "hours"),
    ({"hours": float("inf")}, "hours"), ({"hours": -1}, "hours"), ({"trials": 10**400}, "trials"), ({"owner": "bob"}, "owner"), ({}, "changes")])
def test_a_budget_that_cannot_be_is_refused(desk: Desk, changes: dict[str, Any], field: str) -> None:
    with refused(field):
        desk(ALICE, "lab_campaign_budget", campaign=opened(desk), **changes)


def running(desk: Desk, **changes: Any) -> tuple[str, str]:
    """A campaign of alice's that runs as an item: both ids."""
    campaign = opened(desk, **changes)
    item = desk.ledger.add_item(NewItem("campaign", {}, "d", "alice", "scientist"))
    desk.ledger.claim_item(item.id, "d", this_process())
    desk.ledger.set_item_campaign(item.id, campaign)
    return campaign, item.id


@pytest.mark.parametrize("by", ["lab_campaign_pause", "re_pause"])
def test_a_scientist_does_not_lift_an_operators_pause(desk: Desk, by: str) -> None:
    campaign, _ = running(desk)
    desk(ALICE, "lab_campaign_pause", campaign=campaign)
    desk(OLGA, by, **({"campaign": campaign} if by == "lab_campaign_pause" else {"option": "immediate"}))
    with pytest.raises(PlanRefused, match="paused by olga: ask them, or an operator"):
        desk(ALICE, "lab_campaign_continue", campaign=campaign)
    desk(OLGA, "re_resume" if by == "re_pause" else "lab_campaign_continue", **({} if by == "re_pause" else {"campaign": campaign}))
    desk(ALICE, "lab_campaign_pause", campaign=campaign)
    desk(ALICE, "lab_campaign_continue", campaign=campaign)


def test_a_scientist_does_not_pause_what_is_paused_to_let_it_go_on_then(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign, _ = running(desk)
    monkeypatch.setattr(desk.manager, "status", lambda: {"re_state": "paused"})
    with pytest.raises(PlanRefused, match="not paused already"):
        desk(ALICE, "lab_campaign_pause", campaign=campaign)
    desk(OLGA, "lab_campaign_pause", campaign=campaign)


def test_a_scientist_acknowledges_no_interlock_from_afar(desk: Desk) -> None:
    campaign, _ = running(desk)
    with pytest.raises(PlanRefused, match="a campaign that you have paused"):
        desk(ALICE, "lab_campaign_continue", campaign=campaign)
    desk(ALICE, "lab_campaign_pause", campaign=campaign)
    desk(ALICE, "lab_campaign_continue", campaign=campaign)
    desk(OLGA, "lab_campaign_continue", campaign=campaign)
    assert [one.detail for one in desk.ledger.requests(campaign) if one.kind == "continue"] == [WITHOUT_ACKNOWLEDGING, ""]


@pytest.mark.parametrize("who", [{"approval": ("scientist",)}, {"approval_names": ("ALICE",)}])
def test_who_needs_a_word_for_a_campaign_gives_it_no_larger_budget(desk: Desk, who: dict[str, tuple[str, ...]]) -> None:
    desk.lab = desk.lab.model_copy(update={"remote": desk.lab.remote.model_copy(update=who)})
    campaign = opened(desk, budget={"trials": 5, "hours": 2})
    with refused("trials", "hours"):
        desk(ALICE, "lab_campaign_budget", campaign=campaign, trials=6, hours=2.5)
    desk(ALICE, "lab_campaign_budget", campaign=campaign, trials=4, hours=1)
    desk(OLGA, "lab_campaign_budget", campaign=campaign, trials=20)


@pytest.mark.parametrize(("who", "shown"), [(ALICE, "Traceback: /home"), (OLGA, "Traceback: /home"), (BOB, ""), (OTTO, "")])
def test_what_a_plan_raised_is_told_to_those_who_see_its_data(desk: Desk, monkeypatch: pytest.MonkeyPatch, who: Who, shown: str) -> None:
    entry = {"name": "count", "user": "alice", "item_uid": "u", "result": {"exit_status": "failed", "msg": "", "traceback": "Traceback: /home"}}
    monkeypatch.setattr(desk.manager, "ask", lambda method: {"success": True, "items": [entry]})
    found = history.history_get(desk, who, {})  # type: ignore[arg-type]
    assert [(one["name"], one["result"]["traceback"]) for one in found["items"]] == [("count", shown)]


def test_a_question_is_answered_by_the_owner_of_its_campaign_under_their_name(desk: Desk) -> None:
    campaign = opened(desk)
    number = desk.ledger.ask(campaign, None, "", "cast", "pump: alarm", {"retry": "again", "skip": "leave it"}, "skip")
    assert desk(ALICE, "lab_campaign", campaign=campaign)["campaign"]["questions"][0]["choices"] == {"retry": "again", "skip": "leave it"}
    with refused("question"):
        desk(BOB, "lab_answer", question=number, choice="retry")
    with refused("choice"):
        desk(ALICE, "lab_answer", question=number, choice="__import__")
    for wrong in (0, -1, True, "1", 10**30, None, [number]):
        with refused("question"):
            desk(ALICE, "lab_answer", question=wrong, choice="retry")
    desk(ALICE, "lab_answer", question=number, choice="retry")
    assert (desk.ledger.question(number).choice, desk.ledger.question(number).answered_by) == ("retry", "alice")


# ----------------------------------------------------------------------------------------- points of one's own


def test_a_proposed_point_becomes_a_trial_and_its_outcome_is_told(desk: Desk) -> None:
    campaign = opened(desk, optimizer={"engine": "remote"})
    number = desk(ALICE, "lab_propose", campaign=campaign, values=POINT)["proposal"]
    assert desk(ALICE, "lab_proposal", proposal=number)["proposal"]["state"] == "waiting"
    taken = desk.ledger.take_proposal(campaign)
    assert taken is not None and taken.trial is not None
    assert desk(ALICE, "lab_proposal", proposal=number)["proposal"]["state"] == "taken"
    desk.ledger.start_trial(campaign, taken.trial, ("rack.1",)).executed({"anneal_temperature": 119.7})
    desk.ledger.complete_trial(campaign, taken.trial, Outcome({"perovskite_fraction": Measured(0.75, 0.01)}))
    told = desk(ALICE, "lab_proposal", proposal=number)["proposal"]
    assert (told["state"], told["trial"], told["outcomes"]) == ("completed", 1, {"perovskite_fraction": {"mean": 0.75, "sem": 0.01}})
    assert (told["values"]["anneal_temperature"], told["proposed"]["anneal_temperature"]) == (119.7, 120.0)


def test_a_proposal_of_another_does_not_exist_and_one_that_nobody_tried_is_abandoned(desk: Desk) -> None:
    campaign = opened(desk, optimizer={"engine": "remote"})
    number = desk(ALICE, "lab_propose", campaign=campaign, values=POINT)["proposal"]
    with refused("proposal"):
        desk(BOB, "lab_proposal", proposal=number)
    with refused("proposal"):
        desk(ALICE, "lab_proposal", proposal=number + 1)
    desk.ledger.close_campaign(campaign, "done")
    assert desk(ALICE, "lab_proposal", proposal=number)["proposal"]["state"] == "abandoned"


@pytest.mark.parametrize("value", [True, None, [0.2], {"x": 1}, float("nan"), float("inf"), "0.2", 10**400, 1.0001, -1e-3, "x" * 1_000_000])
def test_a_point_that_is_not_of_the_space_is_refused(desk: Desk, value: Any) -> None:
    campaign = opened(desk, optimizer={"engine": "remote"})
    with refused("values.cs"):
        desk(ALICE, "lab_propose", campaign=campaign, values={**POINT, "cs": value})
    with refused("values"):
        desk(ALICE, "lab_propose", campaign=campaign, values=value if not isinstance(value, dict) else {})


# -------------------------------------------------------------------------------------------------------- data


def test_the_data_of_a_campaign_are_a_row_for_each_trial_in_every_format(desk: Desk) -> None:
    campaign = opened(desk)
    for purity in (0.25, 0.5):
        measured(desk, campaign, purity)
    csv = pandas.read_csv(io.BytesIO(whole(desk, ALICE, campaign=campaign, format="csv")))
    assert list(csv["perovskite_fraction"]) == [0.25, 0.5]
    assert list(csv["executed.anneal_temperature"]) == [119.7, 119.7]
    table = parquet.read_table(io.BytesIO(whole(desk, ALICE, campaign=campaign, format="parquet")))
    assert table.schema.field("planned.anneal_temperature").metadata[b"unit"] == b"degC"
    assert json.loads(table.schema.metadata[b"labwright"])["campaign"] == campaign
    assert table.to_pandas()["trial"].tolist() == [1, 2]


def test_hdf5_has_units_provenance_and_the_readings_of_each_run(desk: Desk) -> None:
    campaign = opened(desk)
    measured(desk, campaign)
    with h5py.File(io.BytesIO(whole(desk, ALICE, campaign=campaign, format="hdf5"))) as file:
        assert (file.attrs["campaign"], file.attrs["owner"], file.attrs["ledger_schema"]) == (campaign, "alice", 4)
        assert "version_bluesky" in file.attrs
        assert file["trials/executed.anneal_temperature"].attrs["unit"] == "degC"
        run = file["trials/run"][0].decode()
        primary = file[f"runs/{run}/primary"]
        assert primary["temperature"][:].tolist() == [99.5, 99.5]
        assert primary["thumbnail"].shape == (2, 16)
        assert primary.attrs["plan_name"] == "thin_film"
        assert "detector_image" not in primary


def test_hdf5_has_the_powder_pattern_of_each_sample(desk: Desk, tmp_path: Path) -> None:
    campaign = opened(desk)
    frames = np.random.default_rng(1).poisson(20.0, (2, 512, 512)).astype("u2")
    index = measured(desk, campaign, file=write_frames(tmp_path / "frames.h5", frames))
    measured(desk, campaign)  # whose frames are gone
    with h5py.File(io.BytesIO(whole(desk, ALICE, campaign=campaign, format="hdf5"))) as file:
        patterns = file["patterns"]
        assert patterns["trial"][:].tolist() == [index + 1]
        assert patterns["counts"].shape == patterns["two_theta"].shape and patterns["counts"].shape[0] == 1
        assert patterns["counts"][0].mean() == pytest.approx(40.0, rel=0.01)
        assert (patterns["two_theta"].attrs["unit"], patterns.attrs["wavelength_angstrom"]) == ("deg", 1.0)


def test_no_address_of_an_instrument_leaves_the_laboratory(desk: Desk) -> None:
    with h5py.File(io.BytesIO(whole(desk, ALICE, campaign=opened(desk), format="hdf5"))) as file:
        text = file.attrs.get("instruments") or file["provenance/instruments"][()].decode()
    assert "endpoint" not in text and "geometry" in text


def item(desk: Desk, who: Who, runs: tuple[str, ...]) -> str:
    row = desk.ledger.add_item(NewItem("count", {"detectors": ["detector"]}, "d" * 64, who.name, who.role))
    desk.ledger.claim_item(row.id, "d" * 64, this_process())
    desk.ledger.end_item(row.id, "completed", "", runs)
    return row.id


def test_the_data_of_an_item_are_a_row_for_each_event_of_its_runs(desk: Desk) -> None:
    campaign = opened(desk)
    measured(desk, campaign)
    measured(desk, campaign)
    runs = tuple(run.uid for run in desk.ledger.runs(campaign))
    hers = item(desk, ALICE, runs)
    table = pandas.read_parquet(io.BytesIO(whole(desk, ALICE, item=hers, format="parquet")))
    assert (list(table["run"]), list(table["temperature"])) == ([runs[0]] * 2 + [runs[1]] * 2, [99.5] * 4)
    with refused("item"):
        desk(BOB, "lab_data", item=hers, format="csv")
    assert whole(desk, OLGA, item=hers, format="csv").count(b"\n") == 5


@pytest.mark.parametrize("runs", [("../../etc/passwd",), ("a/b",), ("..",), ("",)])
def test_a_uid_that_could_be_a_path_opens_nothing(desk: Desk, runs: tuple[str, ...]) -> None:
    with pytest.raises(LabError, match="is no uid of a run"):
        desk(ALICE, "lab_data", item=item(desk, ALICE, runs), format="csv")


@pytest.mark.parametrize(("params", "field"), [
    ({"campaign": "../../etc/passwd"}, "campaign"), ({"campaign": "../ledger.sqlite"}, "campaign"), ({"campaign": ""}, "campaign"),
    ({"campaign": "%"}, "campaign"), ({"campaign": "_"}, "campaign"), ({"campaign": ["x"]}, "campaign"), ({"campaign": "x" * 1_000_000}, "campaign"),
    ({"campaign": "perovskite", "format": "../csv"}, "format"), ({"campaign": "perovskite", "format": "pickle"}, "format"),
    ({"campaign": "perovskite", "format": ["csv"]}, "format"), ({"campaign": "perovskite", "offset": -1}, "offset"),
    ({"campaign": "perovskite", "offset": True}, "offset"), ({"campaign": "perovskite", "offset": 10**30}, "offset"),
    ({"campaign": "perovskite", "offset": 10**9}, "offset"), ({"campaign": "perovskite", "offset": "0"}, "offset"),
    ({"item": "x" * 1_000_000}, "item"), ({"item": {"x": 1}}, "item"), ({}, "campaign"), ({"campaign": "a", "item": "b"}, "campaign")])
def test_a_fetch_that_reaches_for_anything_else_is_refused(desk: Desk, params: dict[str, Any], field: str) -> None:
    opened(desk)
    with refused(field):
        desk(ALICE, "lab_data", **params)


def test_the_pieces_of_a_campaign_that_goes_on_are_of_one_whole(desk: Desk) -> None:
    campaign = opened(desk)
    for _ in range(3):
        measured(desk, campaign)
    first = desk(ALICE, "lab_data", campaign=campaign, format="csv", offset=0)
    measured(desk, campaign)
    second = desk(ALICE, "lab_data", campaign=campaign, format="csv", offset=first["total"])
    assert (second["sha256"], second["total"], second["data"]) == (first["sha256"], first["total"], "")
    assert desk(ALICE, "lab_data", campaign=campaign, format="csv", offset=0)["total"] > first["total"]


def test_the_report_of_a_campaign_comes_as_one_page(desk: Desk) -> None:
    campaign = opened(desk)
    measured(desk, campaign)
    page = whole(desk, ALICE, campaign=campaign, format="html").decode()
    assert page.startswith("<!DOCTYPE html>") and page.rstrip().endswith("</html>") and campaign in page
    with refused("format"):
        desk(ALICE, "lab_data", item=item(desk, ALICE, ()), format="html")


def test_copies_are_dropped_when_there_are_more(desk: Desk) -> None:
    one = DataDesk()
    for _ in range(8):
        one.lab_data(desk, ALICE, {"campaign": opened(desk), "format": "csv"})  # type: ignore[arg-type]
    assert len(one._copies) == 4
    assert PIECE == 512 * 1024


# ------------------------------------------------------------------------------------- whatever is sent at all

VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["perovskite", "csv", "hdf5"]),
                      lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3), max_leaves=6)


def test_every_method_is_one_that_roles_know() -> None:
    assert set(METHODS_HERE) <= set(METHODS) and len(METHODS_HERE) == 14


@given(st.sampled_from(sorted(METHODS_HERE)), st.dictionaries(st.sampled_from(["campaign", "item", "config", "values", "question", "choice", "proposal", "format",
                                                               "offset", "trials", "hours", "x"]), VALUES, max_size=5))
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
def test_whatever_is_sent_is_answered_or_refused_in_words(tmp_path_factory: pytest.TempPathFactory, method: str, params: dict[str, Any]) -> None:
    desk = _shared(tmp_path_factory)
    try:
        json.dumps(METHODS_HERE[method](desk, ALICE, params), allow_nan=False)  # type: ignore[arg-type]
    except LabError as error:
        assert str(error)


_SHARED: list[Desk] = []


def _shared(folders: pytest.TempPathFactory) -> Desk:
    """One laboratory for all examples of the test above."""
    if not _SHARED:
        home = Home(folders.mktemp("shared"))
        _SHARED.append(Desk(Ledger(home.ledger, ManualClock()), home))
        opened(_SHARED[0])
    return _SHARED[0]


@pytest.fixture(scope="module", autouse=True)
def _closed() -> Iterator[None]:
    yield
    for one in _SHARED:
        one.ledger.close()
    _SHARED.clear()


