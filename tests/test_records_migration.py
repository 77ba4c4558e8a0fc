"""Ledgers of versions 1 to 3, whose tables and rows are in ledger_version_1.sql and so on: the same campaigns."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect

from lab.core.clock import ManualClock
from lab.core.errors import LedgerError
from lab.core.trial import Suggestion, TrialState
from lab.records.ledger import Ledger
from lab.records.process import this_process


@pytest.fixture(params=[1, 2, 3])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def old(tmp_path: Path, version: int) -> Path:
    """A ledger of an older version: a campaign that is done, one that was interrupted."""
    file = tmp_path / "ledger.sqlite"
    with sqlite3.connect(file) as connection:
        connection.executescript(Path(__file__).with_name(f"ledger_version_{version}.sql").read_text())
    connection.close()
    return file


def version_of(file: Path) -> int:
    with sqlite3.connect(file) as connection:
        found = connection.execute("select schema_version from about").fetchone()[0]
    connection.close()
    return int(found)


def test_an_old_ledger_tells_what_it_told_before(old: Path) -> None:
    with Ledger(old, ManualClock()) as ledger:
        done, interrupted = ledger.campaigns()
        assert (done.status, done.lab_name, done.recipe, done.session) == ("done", "demo", "thin_film", 1)
        assert (interrupted.status, interrupted.cause) == ("interrupted", "SIGINT from the operator")
        assert [t.state for t in ledger.trials(done.id)] == [TrialState.COMPLETED] * 2
        assert [t.state for t in ledger.trials(interrupted.id)] == [TrialState.COMPLETED, TrialState.ABANDONED]
        assert dict(ledger.trial(done.id, 0).executed) == {"cs": 0.12} and ledger.trial(done.id, 0).outcome is not None
        assert [(s.slot, s.place, s.state) for s in ledger.samples(done.id)] == [("rack.1", "rack.1", "current"), ("rack.2", "rack.2", "current")]
        assert [dose.state for dose in ledger.doses(done.id)] == ["done", "done"]
        assert [(step.station, step.sample == f"{done.id}-s001") for step in ledger.steps(done.id)[:2]] == [("arm", True), ("synthesiser", True)]
        assert ledger.busy_s(done.id) == {"arm": 40.0, "synthesiser": 60.0}
        assert ledger.statistics(done.id).makespan_s == 120.0
        assert [(s.number, s.status) for s in ledger.sessions(done.id)] == [(1, "done")]
    assert version_of(old) == 4


def test_trials_of_an_old_ledger_have_their_times_and_the_configuration_that_is_there(old: Path) -> None:
    with Ledger(old, ManualClock()) as ledger:
        done = ledger.campaigns()[0]
        assert [(row.number, row.config == done.config, row.changed_wall) for row in ledger.revisions(done.id)] == [(0, True, done.started_wall)]
        assert [(trial.origin, trial.began_lab_s, trial.ended_lab_s, dict(trial.thought)) for trial in ledger.trials(done.id)] == [
            ("sobol", 100.0, 170.0, {}), ("sobol", 170.0, 240.0, {})]


def test_an_old_ledger_has_the_tables_of_a_new_one(tmp_path: Path, old: Path) -> None:
    Ledger(old, ManualClock()).close()
    Ledger(tmp_path / "new.sqlite", ManualClock()).close()
    found = []
    for file in (old, tmp_path / "new.sqlite"):
        engine = create_engine(f"sqlite:///{file}")
        inspector = inspect(engine)
        found.append({table: ({(c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(table)},
                              {(i["name"], tuple(i["column_names"]), i["unique"]) for i in inspector.get_indexes(table)})
                      for table in inspector.get_table_names()})
        engine.dispose()
    assert found[0] == found[1]


def test_an_old_campaign_goes_on_when_it_is_resumed(old: Path) -> None:
    with Ledger(old, ManualClock(1000.0)) as ledger:
        campaign = ledger.campaigns()[-1].id
        ledger.reopen_campaign(campaign)
        index = ledger.add_suggestion(campaign, Suggestion({"cs": 0.9}, "sobol"))
        journal = ledger.start_trial(campaign, index, ("rack.1", "rack.2", "rack.3"))
        assert index == 2 and journal.sample == f"{campaign}-s003"


def test_racks_of_old_campaigns_count_as_full(old: Path) -> None:
    with Ledger(old, ManualClock()) as ledger:
        assert ledger.free_slots("demo", ("rack.1", "rack.2")) == ("rack.1", "rack.2")


def test_a_ledger_that_an_old_campaign_still_writes_is_left_alone(old: Path, version: int) -> None:
    me = this_process()
    with sqlite3.connect(old) as connection:
        connection.execute("update campaign set status = 'running', host = ?, pid = ?, process_started = ? where status = 'interrupted'",
                           (me.host, me.pid, me.started))
    connection.close()
    with pytest.raises(LedgerError, match=rf"of version {version}, and campaign film-.* still runs in process {os.getpid()} on .*; wait until it has ended"):
        Ledger(old, ManualClock())
    assert version_of(old) == version


@pytest.mark.parametrize("version", [1], indirect=True)
def test_a_migration_that_fails_half_way_changes_nothing(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise LedgerError("pulled the plug")

    with monkeypatch.context() as patched:
        patched.setattr("lab.records.migration._fill_in", fail)
        with pytest.raises(LedgerError, match="pulled the plug"):
            Ledger(old, ManualClock())
    assert version_of(old) == 1
    with Ledger(old, ManualClock()) as ledger:
        assert len(ledger.campaigns()) == 2


@pytest.mark.parametrize("spoil", [
    lambda c: c.execute("delete from about"), lambda c: c.execute("update about set product = 'diary'")])
def test_what_only_looks_like_an_old_ledger_is_refused(old: Path, spoil: Callable[[sqlite3.Connection], object]) -> None:
    with sqlite3.connect(old) as connection:
        spoil(connection)
    connection.close()
    with pytest.raises(LedgerError, match="is a database, but not a ledger of Labwright"):
        Ledger(old, ManualClock())
