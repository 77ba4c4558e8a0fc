"""What laboratory time it is when a campaign is taken up again: time limits of samples in the machine depend on it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lab.core.clock import ManualClock
from lab.core.config import LabConfig
from lab.home import Home
from lab.records.ledger import Ledger
from lab.running import _now_lab_s
from sim.world_file import WorldFile, time_kept
from tests.records_campaigns import begun, opened

HOTPLATE = {"kind": "hotplate", "endpoint": "serial:///dev/ttyACM0?baud=9600"}
REAL = LabConfig.model_validate({"name": "real", "speed": 1, "instruments": {"hotplate": HOTPLATE}})
SIMULATED = LabConfig.model_validate({"name": "demo", "speed": "max", "instruments": {"hotplate": {**HOTPLATE, "endpoint": "sim"}}})


def test_in_a_real_laboratory_the_time_goes_on_while_nobody_looks(tmp_path: Path) -> None:
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    assert _now_lab_s(REAL, Home(tmp_path), [(500.0, an_hour_ago)]) == pytest.approx(4100.0, abs=60.0)


def test_a_wall_clock_that_was_put_back_does_not_put_laboratory_time_back(tmp_path: Path) -> None:
    assert _now_lab_s(REAL, Home(tmp_path), [(500.0, datetime.now(UTC) + timedelta(hours=1))]) == 500.0


def test_a_simulated_laboratory_goes_on_where_its_world_stood_still(tmp_path: Path) -> None:
    home = Home(tmp_path)
    file = WorldFile(home.world)
    file.begin({"time_s": 512.5})
    file.append({"time_s": 530.25})
    file.close()
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    assert _now_lab_s(SIMULATED, home, [(500.0, an_hour_ago), (510.0, an_hour_ago)]) == 530.25
    assert _now_lab_s(SIMULATED, Home(tmp_path / "elsewhere"), [(500.0, an_hour_ago)]) == 500.0
    assert time_kept(tmp_path / "nothing") == 0.0


def test_the_last_moment_on_record_is_the_running_sessions_own_and_not_that_of_a_later_remark(tmp_path: Path) -> None:
    clock, wall = ManualClock(100.0), [datetime(2026, 11, 22, 10, 0, tzinfo=UTC)]
    with Ledger(tmp_path / "ledger.sqlite", clock, wall=lambda: wall[0]) as ledger:
        campaign = opened(ledger)
        clock.advance(50.0)
        wall[0] += timedelta(seconds=50)
        _, journal = begun(ledger, campaign)
        number = journal.step_began("plate_a", "anneal", "anneal")
        wall[0] += timedelta(hours=2)
        ledger.note(campaign, "remark", "the power is back")
        journal.step_ended(number)
        assert ledger.last_moment(campaign) == (150.0, datetime(2026, 11, 22, 10, 0, 50, tzinfo=UTC))
