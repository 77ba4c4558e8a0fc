"""The process that looks ahead for the steward: ``python -m lab.remote.registry.rehearsing``, JSON lines in and out.

In: ``{"lab": LabConfig, "home": LAB_HOME}`` once, then ``{"campaign": CampaignConfig, "is_rehearsed": bool}`` each time. Out, for each: a
line with ``problems`` and ``warnings``, then one with ``lab_s`` (and more ``problems``), or one with ``error``. It ends with its input, and
whoever waits too long for it kills it: nothing here is worth keeping.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.core.config import LabConfig
from lab.core.errors import ConfigError, LabError
from lab.core.question import CampaignConfig
from lab.home import Home
from lab.rehearsal.ahead import Ahead, look_ahead, rehearse
from lab.rehearsal.report import makespan
from lab.remote.registry.refusals import problems_of
from lab.validation import prepare

MOST_REHEARSED = 40
"""Samples that are rehearsed; a longer campaign takes as many times as long."""

KINDER = 10
"""Added to the process's niceness: the RunEngine goes first."""

LAB_FILE, CAMPAIGN_FILE = "lab.yaml", "campaign"


def main() -> None:
    """Answer until the input ends."""
    os.nice(KINDER)
    began = json.loads(sys.stdin.readline())
    lab, home = LabConfig.model_validate(began["lab"]), Home(Path(began["home"]))
    _say({"ready": True})
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            for said in foresee(lab, CampaignConfig.model_validate(asked["campaign"]), home, is_rehearsed=asked["is_rehearsed"]):
                _say(said)
        except LabError as error:
            _say({"error": str(error)})
        except Exception as error:  # a mistake of ours, in the log with its traceback; the next campaign may be looked at all the same
            logging.exception("looking ahead")
            _say({"error": f"{type(error).__name__}: {error}"})


def foresee(lab: LabConfig, campaign: CampaignConfig, home: Home, *, is_rehearsed: bool) -> Iterator[dict[str, Any]]:
    """The lines about one campaign."""
    try:
        prepared = prepare(lab, campaign, lab_file=LAB_FILE, campaign_file=CAMPAIGN_FILE)
        ahead = _ahead(prepared, campaign, home)
    except ConfigError as error:
        yield {"problems": _problems([error]), "warnings": []}
        yield {"lab_s": None, "problems": []}
        return
    yield {"problems": _problems(ahead.problems), "warnings": ahead.warnings}
    if ahead.problems or not is_rehearsed:
        yield {"lab_s": None, "problems": []}
        return
    n = campaign.budget.trials
    some = ahead if n <= MOST_REHEARSED else _ahead(prepared, campaign, home, MOST_REHEARSED)
    rehearsed = rehearse(some, 1)
    lab_s = makespan(rehearsed.shown)["median"] * n / len(some.orders) if rehearsed.shown and some.orders else None
    if lab_s is not None and campaign.budget.hours is not None:
        lab_s = min(lab_s, campaign.budget.hours * 3600)
    yield {"lab_s": lab_s, "problems": _problems(rehearsed.problems)}


def _ahead(lab: LabConfig, campaign: CampaignConfig, home: Home, n_samples: int | None = None) -> Ahead:
    return look_ahead(lab, campaign, lab_file=LAB_FILE, campaign_file=CAMPAIGN_FILE, home=home, n_samples=n_samples, keeps_world=True)


def _problems(errors: Any) -> list[dict[str, str]]:
    return [problem.as_dict() for error in errors for problem in problems_of(error)]


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
