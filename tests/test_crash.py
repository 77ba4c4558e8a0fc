"""A campaign that is killed in three ways, and resumed: `make crash` in short (see `tests.crash`)."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.crash import agreement
from tests.crash.campaign import Killed
from tests.crash.laboratory import SESSION
from tests.crash.schedule import POWER, Kill

KILLS = [[Kill("detector", "cast", 0.02), Kill(SESSION, "anneal", 0.05)], [Kill(POWER, "transfer", 0.1)]]
"""By session; a bridge is started again, and its session goes on."""


@pytest.mark.timeout(600)  # three whole sessions, also on a busy machine
def test_a_campaign_survives_the_death_of_a_bridge_of_its_session_and_of_the_power(tmp_path: Path) -> None:
    killed = Killed(tmp_path, random.Random(1), 2, "1500", {"settings.max_gap_s": "1000000"})
    killed.run(KILLS)
    assert killed.tally.disagreements == []
    assert agreement.disagreements(killed.home, (*agreement.AT_THE_END, agreement.nothing_failed)) == []
    assert sum(killed.tally.kills.values()) + killed.tally.missed == sum(map(len, KILLS))
    assert agreement.counts(killed.home)["samples finished"] == 2
