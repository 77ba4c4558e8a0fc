"""The ledger: states, places, doses, durability."""

from __future__ import annotations

import math
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.core.clock import ManualClock
from lab.core.errors import LedgerError
from lab.core.journal import Journal
from lab.core.sample import GRIPPER, UNKNOWN
from lab.core.trial import Measured, Outcome, Suggestion, TrialState
from lab.records.ledger import Ledger

SUGGESTION = Suggestion({"cs": 0.25, "solvent": "DMF", "n": 3}, "sobol", 0.1)
OUTCOME = Outcome({"yield": Measured(0.5, 0.1), "purity": Measured(0.9)}, {"redchi": 1.2, "missing": math.nan})


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(100.0)


@pytest.fixture
def ledger(tmp_path: Path, clock: ManualClock) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite", clock) as opened:
        yield opened


@pytest.fixture
def campaign(ledger: Ledger) -> str:
    return ledger.open_campaign("film", '{"a": 1}', '{"b": 2}')


def begin(ledger: Ledger, campaign: str, place: str = "rack.1") -> tuple[int, Journal, str]:
    index = ledger.add_suggestion(campaign, SUGGESTION)
    journal = ledger.start_trial(campaign, index, place)
    return index, journal, journal.sample


def test_a_trial_comes_back_as_it_was_told(ledger: Ledger, campaign: str) -> None:
    index, journal, sample = begin(ledger, campaign)
    journal.executed({"cs": np.float64(0.1 + 0.2)})
    journal.executed({"n": np.int64(4)})
    ledger.complete_trial(campaign, index, OUTCOME)
    (trial,) = ledger.trials(campaign)
    assert (trial.index, trial.state, trial.origin, trial.sample, trial.cause) == (0, TrialState.COMPLETED, "sobol", sample, "")
    assert dict(trial.planned) == {"cs": 0.25, "solvent": "DMF", "n": 3}
    assert dict(trial.executed) == {"cs": 0.1 + 0.2, "n": 4}
    assert dict(trial.point) == {"cs": 0.1 + 0.2, "solvent": "DMF", "n": 4}
    assert trial.outcome is not None and dict(trial.outcome.measured) == dict(OUTCOME.measured)
    assert trial.outcome.details["redchi"] == 1.2 and math.isnan(trial.outcome.details["missing"])
    assert ledger.trial(campaign, 0) == trial or math.isnan(trial.outcome.details["missing"])
