"""Ledger, documents and the world's own account, compared. Each function returns what disagrees, in words; nothing when all agree."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.core.clock import ManualClock, WallClock
from lab.core.config import LabConfig
from lab.core.question import CampaignConfig
from lab.core.space import Value
from lab.core.trial import Trial, TrialState
from lab.instruments import geometry_of
from lab.optimise import make_optimizer
from lab.records.documents import RunRecord, read_record
from lab.records.evaluate import evaluate
from lab.records.ledger import Ledger
from lab.records.rows import CampaignRow, DoseRow, MoveRow, RunRow, SampleRow, StepRow
from sim.world import World
from sim.world_file import WorldFile

COUNT_ML = 2e-3
"""What a pump's own count may differ from what was asked of it: it counts in thousandths of a mL."""

BUSY = "did not answer"
"""In the cause of a trial that failed of a machine that is too busy: no kill's doing."""

GAP_S = 1.0
"""What a gap may be longer than allowed: it is looked at before the step begins."""


@dataclass(frozen=True)
class Evidence:
    """Everything on record of one campaign, and what the world saw."""

    home: Path
    ledger: Ledger
    campaign: CampaignRow
    trials: Sequence[Trial]
    samples: Sequence[SampleRow]
    doses: Sequence[DoseRow]
    steps: Sequence[StepRow]
    runs: Sequence[RunRow]
    moves: Mapping[str, Sequence[MoveRow]]
    records: Mapping[str, RunRecord]
    account: Mapping[str, Any]

    @property
    def config(self) -> CampaignConfig:
        return CampaignConfig.model_validate_json(self.campaign.config)

    @property
    def lab(self) -> LabConfig:
        return LabConfig.model_validate_json(self.campaign.lab)

    def film(self, sample: SampleRow) -> str:
        """The world's name of a sample."""
        return f"substrate:{sample.slot}"

    def current(self, trial: Trial) -> SampleRow:
        return next(row for row in self.samples if row.trial == trial.index and row.id == trial.sample)


@contextmanager
def evidence(home: Path) -> Iterator[Evidence]:
    """Of the newest campaign in a home that nobody uses at the moment."""
    with Ledger(home / "ledger.sqlite", WallClock()) as ledger:
        campaign = ledger.campaigns()[-1]
        samples = ledger.samples(campaign.id)
        yield Evidence(home, ledger, campaign, ledger.trials(campaign.id), samples, ledger.doses(campaign.id), ledger.steps(campaign.id),
                       ledger.runs(campaign.id), {row.id: ledger.moves(row.id) for row in samples},
                       {path.stem: read_record(path) for path in sorted((home / "runs").glob("*.jsonl"))},
                       account_of(home / "world.json", LabConfig.model_validate_json(campaign.lab)))


def account_of(path: Path, lab: LabConfig) -> Mapping[str, Any]:
    """The account that a world would give if its simulator still ran; its file stays as it is."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        shutil.copyfile(path, copy)
        world = World(lab, ManualClock(), WorldFile(copy))
        try:
            return json.loads(json.dumps(world.account()))
        finally:
            world.close()


# ---------------------------------------------------------------------------------------------------- at any time


def doses(seen: Evidence) -> Iterator[str]:
    """What was dosed into each sample is what the ledger announced for it, at most, and what it confirmed, exactly."""
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for row in seen.account["doses"]:
        counted[row["sample"]][row["liquid"]] += row["counted_ml"]
    states = {trial.index: trial.state for trial in seen.trials}
    of_sample = defaultdict(list)
    for dose in seen.doses:
        of_sample[dose.sample].append(dose)
    slots = {seen.film(sample): sample for sample in seen.samples}
    for film in counted.keys() - slots.keys():
        yield f"{film}: was dosed, and no sample on record began there: {dict(counted[film])}"
    for film, sample in slots.items():
        rows, there = of_sample[sample.id], counted[film]
        if len(rows) > 1:
            yield f"{sample.id}: {len(rows)} doses on record"
        announced = rows[0].volumes_ml if rows else {}
        for liquid in there.keys() | announced.keys():
            ml, asked_ml = there[liquid], announced.get(liquid, 0.0)
            if ml > asked_ml + COUNT_ML:
                yield f"{sample.id}: {ml:.4f} mL of {liquid} were dosed, {asked_ml:.4f} mL announced"
            told = (rows[0].dispensed_ml or {}).get(liquid) if rows else None
            if rows and rows[0].state == "done" and (told is None or abs(told - ml) > COUNT_ML):
                yield f"{sample.id}: {ml:.4f} mL of {liquid} were dosed, the ledger says {told}"
            if rows and rows[0].state == "failed" and told is not None and abs(told - ml) > COUNT_ML:
                yield f"{sample.id}: {ml:.4f} mL of {liquid} were dosed, the ledger says {told} of a dose that failed"
        if rows and rows[0].state != "done" and sample.state == "current" and states[sample.trial] is TrialState.COMPLETED:
            yield f"{sample.id}: its dose is {rows[0].state}, and its trial completed"
    for address, ml in (seen.account.get("spilled_ml") or {}).items():
        if ml:
            yield f"pump {address}: {ml:.4f} mL were spilled"


def documents_parse(seen: Evidence) -> Iterator[str]:
    """Every run on disk is a sequence of documents of one campaign's sample, and every run on record is on disk."""
    samples = {sample.id for sample in seen.samples}
    for uid, record in seen.records.items():
        if record.documents and (record.start.get("uid") != uid or record.start.get("sample") not in samples):
            yield f"run {uid}: its start document says {record.start}"
        if any(name == "stop" for name, _ in record.documents[:-1]):
            yield f"run {uid}: goes on after its stop document"
    for run in seen.runs:
        if run.uid not in seen.records or not seen.records[run.uid].documents:
            yield f"run {run.uid} of {run.sample}: is on record and not on disk"
        elif seen.records[run.uid].start.get("sample") != run.sample:
            yield f"run {run.uid}: of {run.sample} on record, of {seen.records[run.uid].start.get('sample')} on disk"


# -------------------------------------------------------------------------------------------------- at its end


def places(seen: Evidence) -> Iterator[str]:
    """Every sample is where the ledger says, in its slot; nothing is held, lost or dropped."""
    there = dict(seen.account["places"])
    for sample in seen.samples:
        if sample.place != sample.slot:
            yield f"{sample.id}: is at {sample.place} by the ledger, its slot is {sample.slot}"
        if there.get(sample.place) != seen.film(sample):
            yield f"{sample.id}: is at {sample.place} by the ledger, where the world has {there.get(sample.place, 'nothing')}"
    for place, film in there.items():
        if film != f"substrate:{place}":
            yield f"{film}: stands at {place}"
    slots = {place for name, station in seen.lab.stations.items() if station.role == "rack" for place in seen.lab.places if place.startswith(f"{name}.")}
    for slot in sorted(slots - there.keys()):
        yield f"{slot}: is empty"
    if seen.account.get("lost"):
        yield f"lost: {seen.account['lost']}"


def moves(seen: Evidence) -> Iterator[str]:
    """Every move that the ledger confirmed was made, in this order; every other one of the world is one of which the ledger is not sure."""
    made = defaultdict(list)
    for row in seen.account["moves"]:
        made[row["sample"]].append(row["target"])
    for sample in seen.samples:
        rows = [row for row in seen.moves[sample.id] if row.target != "gripper"]
        sure = [row.target for row in rows if row.state == "done"]
        if any(row.state in ("announced", "unconfirmed") for row in seen.moves[sample.id]):
            yield f"{sample.id}: a move has no end"
        unsure = sum(row.state == "failed" for row in seen.moves[sample.id])
        world = iter(made[seen.film(sample)])
        if not all(target in world for target in sure):
            yield f"{sample.id}: was put down at {made[seen.film(sample)]}; the ledger confirmed {sure}"
        elif len(made[seen.film(sample)]) - len(sure) > unsure:
            yield f"{sample.id}: was put down at {made[seen.film(sample)]}; the ledger knows of {sure} and {unsure} that failed"


def trials(seen: Evidence) -> Iterator[str]:
    """The budget is spent; each trial has an outcome or a cause."""
    if len(seen.trials) != seen.config.budget.trials:
        yield f"{len(seen.trials)} trials; the budget is {seen.config.budget.trials}"
    for trial in seen.trials:
        if trial.state is TrialState.COMPLETED:
            if trial.outcome is None or not trial.executed:
                yield f"trial {trial.index}: completed without {'an outcome' if trial.outcome is None else 'executed values'}"
        elif trial.state is not TrialState.FAILED or not trial.cause or "no frames" in trial.cause:
            yield f"trial {trial.index}: {trial.state.value}: {trial.cause!r}"
    for sample in seen.samples:
        states = Counter(row.state for row in seen.samples if row.trial == sample.trial)
        if states["current"] != 1 or states["lost"]:
            yield f"trial {sample.trial}: its samples are {dict(states)}"


def suggestions(seen: Evidence) -> Iterator[str]:
    """Each suggestion is made again, bit for bit, from what the ledger says was known at that time."""
    for trial in seen.trials:
        known = seen.ledger.known_for(seen.campaign.id, trial.index)
        again = make_optimizer(CampaignConfig.model_validate_json(known.config)).suggest(known.trials)[0]
        if dict(again.values) != dict(trial.planned):
            yield f"trial {trial.index}: {dict(trial.planned)} was suggested; from what was known then follows {dict(again.values)}"
        elif json.dumps(dict(again.thought)) != json.dumps(dict(trial.thought)):
            yield f"trial {trial.index}: was thought of as {dict(trial.thought)}; from what was known then follows {dict(again.thought)}"


def nothing_failed(seen: Evidence) -> Iterator[str]:
    """No trial has failed: what the end of a session cost was made again."""
    for trial in seen.trials:
        if trial.state is TrialState.FAILED and BUSY not in trial.cause:
            yield f"trial {trial.index}: failed: {trial.cause}"


def steps(seen: Evidence) -> Iterator[str]:
    """Each completed sample was cast once, annealed once and measured, in this order, with no longer gap than allowed."""
    of_sample: dict[str, dict[str, list[StepRow]]] = defaultdict(lambda: defaultdict(list))
    for row in seen.steps:
        of_sample[row.sample][row.name].append(row)
    for trial in seen.trials:
        if trial.state is not TrialState.COMPLETED:
            continue
        sample = seen.current(trial)
        rows = of_sample[sample.id]
        for name in ("cast", "anneal"):
            if [row.state for row in rows[name]] != ["done"]:
                yield f"{sample.id}: {name}: {[row.state for row in rows[name]]}"
        done = [row for row in rows["measure"] if row.state == "done"]
        if not done:
            yield f"{sample.id}: never measured: {[row.state for row in rows['measure']]}"
        if not (rows["cast"] and rows["anneal"] and done):
            continue
        ends = rows["cast"][0].ended_lab_s, rows["anneal"][0].ended_lab_s
        begins = rows["anneal"][0].began_lab_s, rows["measure"][0].began_lab_s
        for end, begin, what in zip(ends, begins, ("anneal", "measure"), strict=True):
            if end is None or begin < end:
                yield f"{sample.id}: {what} began at {begin} s, what comes before it ended at {end} s"
        gap_s, allowed_s = begins[0] - (ends[0] or 0.0), float(seen.config.settings.get("max_gap_s", 60.0))
        if gap_s > allowed_s + GAP_S:
            yield f"{sample.id}: annealed {gap_s:.1f} s after casting; allowed: {allowed_s:g} s"


def documents(seen: Evidence) -> Iterator[str]:
    """Each outcome is what the documents of its own sample say, to the last bit; no run is left open."""
    runs = defaultdict(list)
    for run in seen.runs:
        runs[run.sample].append(seen.records.get(run.uid))
    for uid, record in seen.records.items():
        if record.documents and not record.is_closed:
            yield f"run {uid}: has no stop document"
        if record.documents and record.torn:
            yield f"run {uid}: its last line is torn"
    geometry = geometry_of(seen.lab)
    for trial in seen.trials:
        if trial.state is not TrialState.COMPLETED or trial.outcome is None:
            continue
        readings = [record.documents for record in runs[trial.sample] if record is not None and _has_primary(record)]
        if not readings:
            yield f"{trial.sample}: no readings on disk"
        elif all(evaluate(found, seen.config, geometry, seen.home / "frames" / seen.campaign.id).measured != trial.outcome.measured for found in readings):
            yield f"{trial.sample}: its outcome {trial.outcome.measured} is not what its documents say"


def _has_primary(record: RunRecord) -> bool:
    streams = {doc["uid"] for name, doc in record.documents if name == "descriptor" and doc.get("name") == "primary"}
    return any(name in ("event", "event_page") and doc.get("descriptor") in streams for name, doc in record.documents)


def knowledge(home: Path) -> dict[str, tuple[int, Mapping[str, Value]]]:
    """Each suggestion and its trial, by what was known when it was made: a fingerprint of all trials, their executed values and outcomes."""
    with evidence(home) as seen:
        found: dict[str, tuple[int, Mapping[str, Value]]] = {}
        for trial in seen.trials:
            known = [(one.state.value, sorted(one.point.items()), one.outcome and sorted(one.outcome.measured.items()))
                     for one in seen.ledger.known_for(seen.campaign.id, trial.index).trials]
            found[hashlib.sha256(repr(known).encode()).hexdigest()] = (trial.index, dict(trial.planned))
    return found


Check = Callable[[Evidence], Iterator[str]]

ALWAYS: tuple[Check, ...] = (doses, documents_parse)
"""What must hold after every kill."""

AT_THE_END: tuple[Check, ...] = (*ALWAYS, places, moves, trials, suggestions, steps, documents)
"""What must hold when the campaign is done."""


def disagreements(home: Path, checks: Sequence[Check]) -> list[str]:
    """All that disagrees."""
    with evidence(home) as seen:
        return [f"{check.__name__}: {words}" for check in checks for words in check(seen)]


def counts(home: Path) -> Counter[str]:
    """For the summary."""
    with evidence(home) as seen:
        states = Counter(sample.state for sample in seen.samples)
        found = Counter({"resumes": seen.campaign.session - 1, "samples put away and made again": states["discarded"], "samples lost": states["lost"]})
        found["samples finished"] = sum(trial.state is TrialState.COMPLETED for trial in seen.trials)
        found["samples failed, of bridges that were killed"] = sum(trial.state is TrialState.FAILED for trial in seen.trials)
        found["samples measured again"] = sum(n > 1 for n in Counter(row.sample for row in seen.steps if row.name == "measure").values())
        found["doses never confirmed"] = sum(dose.state == "failed" for dose in seen.doses)
        found["moves never confirmed"] = sum(move.state == "failed" for rows in seen.moves.values() for move in rows)
    return found
