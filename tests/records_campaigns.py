"""Campaigns on record, for tests of the ledger."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from lab.core.trial import Measured, Outcome, Suggestion
from lab.records.journal import SampleJournal
from lab.records.ledger import Ledger

SUGGESTION = Suggestion({"cs": 0.25, "solvent": "DMF"}, "sobol", 0.1)
OUTCOME = Outcome({"purity": Measured(0.5, 0.1)})
CONFIG = {
    "name": "film", "recipe": "thin_film", "parameters": [{"name": "cs", "type": "range", "bounds": [0, 1]}],
    "objectives": [{"name": "purity", "goal": "minimize"}], "budget": {"trials": 9}}
RACK = tuple(f"rack.{n}" for n in range(1, 5))

PREAMBLE = """
import json, os, signal, sys
from lab.core.clock import ManualClock
from lab.core.trial import Measured, Outcome, Suggestion
from lab.records.ledger import Ledger
clock = ManualClock()
ledger = Ledger(sys.argv[1], clock)
"""


def opened(ledger: Ledger, lab: str = "demo", name: str = "film") -> str:
    """A campaign of the laboratory `lab`."""
    return ledger.open_campaign(name, json.dumps(CONFIG), json.dumps({"name": lab}))


def begun(ledger: Ledger, campaign: str, place: str | tuple[str, ...] = RACK) -> tuple[int, SampleJournal]:
    """A trial with its sample in the rack."""
    index = ledger.add_suggestion(campaign, SUGGESTION)
    return index, ledger.start_trial(campaign, index, place)


def killed(file: Path, code: str) -> None:
    """Run `code` in a process that is killed at its end; it has a `ledger` and a `clock`."""
    script = PREAMBLE + code + "\nos.kill(os.getpid(), signal.SIGKILL)\n"
    done = subprocess.run([sys.executable, "-c", script, str(file)], capture_output=True, text=True, timeout=200)
    assert done.returncode == -9, done.stderr
