"""What ``lab run`` and ``lab resume`` do: from files, or from the ledger, to the last line on the screen."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.core.clock import WallClock
from lab.core.config import LabConfig
from lab.core.errors import ConfigError
from lab.core.question import CampaignConfig
from lab.files import load_campaign, load_lab, parse_sets
from lab.home import Home
from lab.interrupts import ignore
from lab.presence import refuse_when_up
from lab.progress import Lines
from lab.report import result_of, say_end
from lab.session import Session

if TYPE_CHECKING:
    from lab.campaign import Campaign, End

Ran = list[tuple["Campaign", "End"]]


class Printed(io.TextIOBase):
    """Where Bluesky's own prints go: into the session's log. Standard output is for the JSON object alone."""

    def write(self, text: str) -> int:
        if text.strip():
            logging.getLogger("bluesky.printed").info(text.strip())
        return len(text)


def run(files: Sequence[Path], lab_file: Path | None, table: Path | None, speed: float | str | None, seed: int | None,
        assignments: Sequence[str], faults: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Run campaign files together in one laboratory, to their budgets.

    Parameters
    ----------
    files : sequence of Path
        Each a campaign.yaml.
    lab_file : Path or None
        What the first campaign names, when None.
    table : Path or None
        CSV of real measurements as the hidden response.
    speed, seed, assignments
        Changes of the files for this run.
    faults : sequence of mapping
        Of simulated instruments.

    Returns
    -------
    list of dict
        What ``lab run --json`` prints of each (see `lab.report`).

    Raises
    ------
    ConfigError
        When a file is wrong, or the campaigns need different laboratories.
    """
    refuse_when_up(Home.default(), f"queue it: lab queue submit {' '.join(map(str, files))}")
    sets = parse_sets(list(assignments))
    for_lab = {key.removeprefix("lab."): value for key, value in sets.items() if key.startswith("lab.")}
    for_campaign = {key: value for key, value in sets.items() if not key.startswith("lab.")}
    if seed is not None:
        for_campaign["optimizer.seed"] = seed
        for_lab["world.seed"] = seed
    if speed is not None:
        for_lab["speed"] = speed
    configs = [load_campaign(file, for_campaign) for file in files]
    configs = _with_priors(configs, files)
    lab_path = lab_path_of(lab_file, configs[0], files[0])
    lab = prepared(load_lab(lab_path, for_lab), lab_path, configs, files, table)
    look_ahead(lab, lab_path, configs, files)
    asked = list(zip(configs, map(str, files), strict=True))
    names = [config.name for config in configs]
    return _conduct(lab, faults, names, lambda session, lines: session.run_campaigns(asked, lines))


def _with_priors(configs: Sequence[CampaignConfig], files: Sequence[Path]) -> list[CampaignConfig]:
    """What is wrong with earlier campaigns is said before anything is started."""
    if not any(one.campaign for config in configs for one in config.prior):
        return list(configs)
    from lab.priors import with_priors
    from lab.records.ledger import Ledger

    with Ledger(Home.default().ledger, WallClock()) as ledger:
        return [with_priors(config, ledger, str(file)) for config, file in zip(configs, files, strict=True)]


def resume(keys: Sequence[str], lab_file: Path | None, speed: float | str | None, faults: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Take up campaigns that were interrupted; without keys the newest one. Returns what `run` does.

    Raises
    ------
    LedgerError
        When there is none, or one that cannot be resumed.
    ConfigError
        When campaigns of different laboratories are given, or the laboratory's file is wrong.
    """
    from lab.records.ledger import Ledger

    home = Home.default()
    refuse_when_up(home, f"queue it: lab queue add resume_campaign campaign={keys[0] if keys else 'CAMPAIGN'}")
    if not home.ledger.exists():
        raise ConfigError("LAB_HOME", str(home.path), "no ledger there", "a folder in which a campaign has been run")
    with Ledger(home.ledger, WallClock()) as ledger:
        rows = [ledger.campaign(key) for key in keys] if keys else [row for row in ledger.campaigns() if row.status == "interrupted"][-1:]
        if not rows:
            raise ConfigError("lab resume", "CAMPAIGN", "none that was interrupted", "a campaign of `lab ls` that is interrupted")
        moments = [ledger.last_moment(row.id) for row in rows]
    if len({row.lab_name for row in rows}) > 1:
        raise ConfigError("lab resume", "CAMPAIGN", f"campaigns of {', '.join(sorted({row.lab_name for row in rows}))}", "campaigns of one laboratory")
    lab = load_lab(lab_file, {}) if lab_file is not None else LabConfig.model_validate_json(rows[0].lab)
    if speed is not None:
        lab = lab.model_copy(update={"speed": speed})
    ids = [row.id for row in rows]
    return _conduct(lab, faults, ids, lambda session, lines: session.resume_campaigns(ids, lines), began_lab_s=_now_lab_s(lab, home, moments),
                    keeps_world=True)


def _now_lab_s(lab: LabConfig, home: Home, moments: Sequence[tuple[float, datetime]]) -> float:
    """Laboratory time now: samples have grown older since the last entry. A simulated world has stood still while nobody kept it."""
    if lab.is_simulated:
        from sim.world_file import time_kept

        return max(time_kept(home.world), *(lab_s for lab_s, _ in moments))
    return since_last(moments)


def since_last(moments: Sequence[tuple[float, datetime]]) -> float:
    """Laboratory time now, s, of a real laboratory: it has gone on since the last of these moments of its records; 0 without any."""
    now = datetime.now(UTC)
    return max((lab_s + max(0.0, (now - wall).total_seconds()) for lab_s, wall in moments), default=0.0)


def prepared(lab: LabConfig, lab_path: Path, configs: Sequence[CampaignConfig], files: Sequence[Path], table: Path | None) -> LabConfig:
    """The laboratory as all of these campaigns need it."""
    from lab.validation import prepare

    found = [prepare(lab, config, lab_file=str(lab_path), campaign_file=str(file), table=table) for config, file in zip(configs, files, strict=True)]
    for config, file, other in zip(configs, files, found, strict=True):
        if other.instruments != found[0].instruments:
            raise ConfigError(str(file), "liquids", str(dict(config.liquids)), f"the same as in {files[0]}, with which it shares the pumps")
        if other.world != found[0].world:
            raise ConfigError(str(file), "objectives", config.objective.name, f"one table as the world of all campaigns, as of {files[0]}")
    return found[0]


def look_ahead(lab: LabConfig, lab_path: Path, configs: Sequence[CampaignConfig], files: Sequence[Path]) -> None:
    """Refuse what cannot be done before anything is started, and say what somebody will have to do on the way.

    Raises
    ------
    ConfigError
    """
    from lab.rehearsal.ahead import quick_check

    for config, file in zip(configs, files, strict=True):
        for said in quick_check(lab, config, lab_file=str(lab_path), campaign_file=str(file), home=Home.default()):
            Lines().trouble(said)


def lab_path_of(given: Path | None, campaign: CampaignConfig, campaign_file: Path) -> Path:
    """The laboratory's file.

    Raises
    ------
    ConfigError
        When neither the command nor the campaign names one.
    """
    if given is not None:
        return given
    if campaign.lab:
        return campaign_file.parent / campaign.lab
    raise ConfigError(str(campaign_file), "lab", "nothing", "the laboratory's file (or --lab FILE)")


def _conduct(lab: LabConfig, faults: Sequence[Mapping[str, Any]], names: Sequence[str], work: Callable[[Session, Lines], Ran],
             **more: Any) -> list[dict[str, Any]]:
    """Start the laboratory, let it work, say how it ended."""
    lines, home = Lines(), Home.default()
    more["purpose"] = f"{'campaign' if len(names) == 1 else 'campaigns'} {', '.join(names)}"
    lines.console.print(f"[dim]starting {lab.name}: {', '.join(lab.instruments)} ...[/]")
    try:
        with redirect_stdout(Printed()), Session(lab, home, faults=faults, say=lines.trouble, **more) as session:
            results = [result_of(campaign, end) for campaign, end in work(session, lines)]
    finally:
        ignore()
    for result in results:
        say_end(lines.console, result, home)
    return results


def as_json(results: Sequence[Mapping[str, Any]]) -> str:
    """One JSON object: of one campaign its result, of several ``{"campaigns": [...]}``."""
    return json.dumps(results[0] if len(results) == 1 else {"campaigns": list(results)})
