"""The command ``lab plan``: from files to a report, a picture and an exit status."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.core.errors import ConfigError
from lab.files import load_campaign, load_lab, parse_sets
from lab.home import Home
from lab.rehearsal.ahead import look_ahead, rehearse
from lab.rehearsal.report import report_of
from lab.running import lab_path_of
from lab.validation import prepare


def plan(file: Path, lab_file: Path | None, table: Path | None, assignments: Sequence[str], n_samples: int | None, picture: Path | None,
         home: Home) -> tuple[dict[str, Any], list[ConfigError]]:
    """Rehearse a campaign file.

    Parameters
    ----------
    file : Path
    lab_file : Path or None
        What the campaign names, when None.
    table : Path or None
        CSV of real measurements as the hidden response.
    assignments : sequence of str
        ``key=value`` changes of the files.
    n_samples : int or None
        Instead of the budget's trials.
    picture : Path or None
        Where the chart is drawn.
    home : Home
        With the ledger, if there is one; nothing is written there.

    Returns
    -------
    dict, list of ConfigError
        The report (`lab.rehearsal.report`), and why the campaign cannot be done.

    Raises
    ------
    ConfigError
        When a file, or what the command line says, is wrong.
    """
    if picture is not None:
        from lab.rehearsal.picture import check_path

        check_path(picture)
    sets = parse_sets(list(assignments))
    for_campaign = {key: value for key, value in sets.items() if not key.startswith("lab.")}
    if n_samples is not None:
        for_campaign["budget.trials"] = n_samples
    campaign = load_campaign(file, for_campaign)
    path = lab_path_of(lab_file, campaign, file)
    lab = load_lab(path, {key.removeprefix("lab."): value for key, value in sets.items() if key.startswith("lab.")})
    lab = prepare(lab, campaign, lab_file=str(path), campaign_file=str(file), table=table)
    ahead = look_ahead(lab, campaign, lab_file=str(path), campaign_file=str(file), home=home)
    rehearsed = rehearse(ahead)
    report = report_of(ahead, rehearsed)
    if picture is not None and rehearsed.shown:
        from lab.rehearsal.picture import draw

        draw(picture, ahead, rehearsed)
    report["picture"] = str(picture) if picture is not None and rehearsed.shown else None
    return report, [*ahead.problems, *rehearsed.problems]
