"""What `lab ls`, `lab show` and the CSV tell."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from lab.core.clock import ManualClock
from lab.core.errors import ConfigError, LedgerError
from lab.core.sample import UNKNOWN
from lab.core.trial import Measured, Outcome, Suggestion
from lab.records.export import trials_to_csv
from lab.records.gantt import gantt
from lab.records.ledger import Ledger
from lab.records.report import campaign_rows, render_campaigns, render_summary, summary

CONFIG = {
    "name": "film", "recipe": "thin_film", "parameters": [{"name": "cs", "type": "range", "bounds": [0, 1]}],
    "objectives": [{"name": "purity", "goal": "minimize"}], "outcome_constraints": ["size >= 10"], "budget": {"trials": 9}}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1000.0)


@pytest.fixture
def ledger(tmp_path: Path, clock: ManualClock) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite", clock) as opened:
        yield opened


@pytest.fixture
def campaign(ledger: Ledger, clock: ManualClock) -> str:
    """Three outcomes, one failure in an instrument's own brackets, one trial that has not begun."""
    found = ledger.open_campaign("film", json.dumps(CONFIG), "{}")
    for n, (purity, size) in enumerate(((0.5, 20.0), (0.1, 5.0), (0.3, 30.0))):
        index = ledger.add_suggestion(found, Suggestion({"cs": 0.1 + 0.2 * n, "solvent": "DMF"}, "sobol"))
        journal = ledger.start_trial(found, index, f"rack.{n + 1}")
        step = journal.step_began("synthesiser", "heat")
        clock.advance(60)
        journal.step_ended(step)
        journal.executed({"cs": 0.11 + 0.2 * n})
        ledger.complete_trial(found, index, Outcome({"purity": Measured(purity, 0.01), "size": Measured(size)}, {"redchi": 1.1}))
    index = ledger.add_suggestion(found, Suggestion({"cs": 1.0, "solvent": "DMSO"}, "ax"))
    journal = ledger.start_trial(found, index, "rack.4")
    journal.move_failed(journal.move_announced("rack.4", "stage"), UNKNOWN, "arm: [3012][Buffer overrun]")
    ledger.fail_trial(found, index, "arm: [3012][Buffer overrun]")
    ledger.add_suggestion(found, Suggestion({"cs": 0.9, "solvent": "DMF"}, "ax"))
    return found


def shown(renderable: object, width: int = 220) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_summary_is_json_and_tells_everything(ledger: Ledger, campaign: str) -> None:
    data = json.loads(json.dumps(summary(ledger, "film")))
    assert (data["campaign"], data["status"]) == (campaign, "running")
    assert data["trials"] == {"suggested": 1, "running": 0, "completed": 3, "failed": 1, "abandoned": 0}
    assert data["lab_s"] == 180.0 and data["stations"] == {"synthesiser": {"busy_s": 180.0, "utilisation": 1.0, "idle_s": 0.0}}
    assert (data["statistics"]["makespan_s"], data["statistics"]["n_interventions"], len(data["steps"])) == (180.0, 0, 3)
    assert data["table"][0]["executed"] == {"cs": 0.11} and data["table"][0]["outcomes"]["purity"] == {"mean": 0.5, "sem": 0.01}
    assert [s["place"] for s in data["samples"]] == ["rack.1", "rack.2", "rack.3", UNKNOWN]
    assert [e["kind"] for e in data["events"]] == ["campaign", "failure", "failure"]


def test_the_best_trial_keeps_the_outcome_constraints(ledger: Ledger, campaign: str) -> None:
    best = summary(ledger, campaign)["best"]
    assert best["trial"] == 3 and best["outcomes"]["purity"]["mean"] == 0.3


def test_a_campaign_without_outcomes_has_no_best_one(ledger: Ledger) -> None:
    campaign = ledger.open_campaign("film", json.dumps(CONFIG), "{}")
    assert summary(ledger, campaign)["best"] is None


def test_the_file_of_another_version_costs_only_the_best_trial(ledger: Ledger) -> None:
    campaign = ledger.open_campaign("film", '{"name": "film", "goal": "who knows"}', "{}")
    data = summary(ledger, campaign)
    assert data["objective"] is None and data["best"] is None


def test_people_read_what_the_instrument_said_brackets_and_all(ledger: Ledger, campaign: str) -> None:
    text = shown(render_summary(summary(ledger, campaign)))
    assert "arm: [3012][Buffer overrun]" in text
    assert "nobody can say where it is" in text
    assert "best: cs 0.51, solvent DMF  purity 0.3 ± 0.01, size 30  (trial 3)" in text
    assert "3 min 00 s of laboratory time" in text and "100 %" in text


def test_a_trial_shows_what_was_carried_out_otherwise_than_planned_and_where_its_sample_is(ledger: Ledger, campaign: str) -> None:
    lines = [line.split() for line in shown(render_summary(summary(ledger, campaign))).splitlines()]
    assert ["1", "completed", "0.1", "→", "0.11", "DMF", "0.5", "±", "0.01", "20", "sobol", "rack.1"] in lines


def test_a_narrow_terminal_breaks_headings_and_no_number_or_id(ledger: Ledger, campaign: str) -> None:
    assert "0.1 → 0.11" in shown(render_summary(summary(ledger, campaign)), 70)
    assert campaign in shown(render_campaigns(campaign_rows(ledger)), 70)


def test_the_last_samples_stand_in_a_picture_of_who_had_them_when(ledger: Ledger, campaign: str) -> None:
    lines = shown(render_summary(summary(ledger, campaign))).splitlines()
    rows = [line.split()[1] for line in lines if line.startswith(("s001 ", "s002 ", "s003 "))]
    assert rows == ["s" * 24 + "·" * 48, "·" * 24 + "s" * 24 + "·" * 24, "·" * 48 + "s" * 24]
    assert any(line.split() == ["0", "s", "180", "s"] for line in lines) and any(line.strip() == "s synthesiser" for line in lines)


def test_a_picture_needs_steps_that_have_ended() -> None:
    step = {"sample": "x-s001", "station": "stage", "began_lab_s": 5.0, "ended_lab_s": None}
    assert gantt([]) is None and gantt([step]) is None and gantt([{**step, "ended_lab_s": 5.0}]) is None


def test_stations_of_one_initial_are_told_apart_in_the_picture() -> None:
    names = ("plate_a", "plate_b", "p", "a", "pa")
    steps = [{"sample": f"x-s{n}", "station": name, "began_lab_s": n, "ended_lab_s": n + 1} for n, name in enumerate(names)]
    picture = gantt(steps)
    assert picture is not None
    legend = dict(reversed(entry.split()) for entry in picture.plain.splitlines()[-1].strip().split("   "))
    assert set(legend) == set(names) and len(set(legend.values())) == len(names)


def test_a_picture_shows_the_last_samples_only() -> None:
    steps = [{"sample": f"x-s{n:03d}", "station": "stage", "began_lab_s": n, "ended_lab_s": n + 1} for n in range(30)]
    picture = gantt(steps, n_samples=4)
    assert picture is not None and [line[:4] for line in picture.plain.splitlines()[:4]] == ["s026", "s027", "s028", "s029"]


def test_a_resumed_campaign_says_in_how_many_sessions_it_was_run_and_what_people_had_to_do(ledger: Ledger, campaign: str) -> None:
    ledger.answer(ledger.ask(campaign, 4, "s", "cast", "stalled", {"retry": "again"}, ""), "retry", "anna")
    ledger.close_campaign(campaign, "interrupted", "SIGTERM")
    ledger.reopen_campaign(campaign)
    data = summary(ledger, campaign)
    assert "3 min 00 s from the first step to the last, in 2 sessions; 1.0 samples at once; 1 intervention" in shown(render_summary(data))
    assert [s["status"] for s in data["sessions"]] == ["interrupted", "running"]
    assert [(q["choice"], q["answered_by"]) for q in data["questions"]] == [("retry", "anna")]


def test_ls_shows_a_line_for_each_campaign_and_what_to_type_when_there_is_none(ledger: Ledger) -> None:
    assert "lab run CAMPAIGN.yaml" in shown(render_campaigns(campaign_rows(ledger)))
    first = ledger.open_campaign("film", json.dumps(CONFIG), "{}")
    ledger.close_campaign(first, "done")
    second = ledger.open_campaign("film", json.dumps(CONFIG), "{}")
    rows = campaign_rows(ledger)
    assert [(r["campaign"], r["status"]) for r in rows] == [(first, "done"), (second, "running")]
    text = shown(render_campaigns(rows))
    assert first in text and "done" in text and second in text and "running" in text


KILLED = """
import os, signal, sys
from lab.core.clock import ManualClock
from lab.core.trial import Suggestion
from lab.records.ledger import Ledger
clock = ManualClock()
ledger = Ledger(sys.argv[1], clock)
campaign = ledger.open_campaign("film", "{}", "{}")
for place in ("rack.1", "rack.2"):
    journal = ledger.start_trial(campaign, ledger.add_suggestion(campaign, Suggestion({"cs": 0.5}, "sobol")), place)
    clock.advance(30)
    if place == "rack.1":
        journal.move_announced("rack.1", "stage")
journal.dose_announced("key", {"cs": 0.25})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_session_left_unconfirmed_is_shown(tmp_path: Path, ledger: Ledger) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "ledger.sqlite")], timeout=200)
    data = json.loads(json.dumps(summary(ledger, "film")))
    assert data["status"] == "interrupted" and data["trials"]["abandoned"] == 2 and data["lab_s"] == 60.0
    assert [d["key"] for d in data["unconfirmed"]["doses"]] == ["key"] and len(data["unconfirmed"]["moves"]) == 1
    text = shown(render_summary(data))
    assert "unconfirmed dose into" in text and "cs 0.25 mL" in text and "how much was dispensed nobody knows" in text
    assert "from rack.1 to stage" in text and "look where it is" in text


def test_trials_go_to_a_table_with_all_their_digits(tmp_path: Path, ledger: Ledger, campaign: str) -> None:
    file = tmp_path / "trials.csv"
    assert trials_to_csv(ledger, campaign, file) == 5
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert list(rows[0]) == ["trial", "state", "sample", "origin", "planned.cs", "planned.solvent", "executed.cs", "purity", "purity.sem",
                             "size", "size.sem", "detail.redchi", "cause"]
    assert [row["state"] for row in rows] == ["completed"] * 3 + ["failed", "suggested"]
    assert float(rows[1]["planned.cs"]) == 0.1 + 0.2 * 1 and rows[0]["size.sem"] == "" and rows[3]["purity"] == ""
    assert rows[3]["cause"] == "arm: [3012][Buffer overrun]"
    assert [path.name for path in tmp_path.glob("*trials*")] == ["trials.csv"]


def test_a_table_that_cannot_be_written_names_its_file(tmp_path: Path, ledger: Ledger, campaign: str) -> None:
    with pytest.raises(ConfigError, match="csv: given .*nowhere/t.csv, which cannot be written: No such file"):
        trials_to_csv(ledger, campaign, tmp_path / "nowhere" / "t.csv")
    with pytest.raises(LedgerError, match="is not in the ledger"):
        trials_to_csv(ledger, "nobody", tmp_path / "t.csv")
