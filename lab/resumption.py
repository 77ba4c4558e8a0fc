"""What a campaign's last session left in the machine, and what becomes of it: finished, or put away and made again.

The ledger says what was announced and not confirmed. A move of which nobody knows the end leaves a sample that is looked for; a dose of
which nobody knows the end is never repeated: its sample is put away, and the same point is made with a new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lab.campaign import Campaign
from lab.core.errors import CommandError, LabError, SampleError
from lab.core.sample import REMOVED, UNKNOWN
from lab.records.documents import JsonlWriter, read_run
from lab.records.rows import MoveRow
from lab.records.rows import Unfinished as Left
from plans.conductor import Unfinished
from plans.recipes import Step

GONE = "the session ended before it was confirmed"


def unfinished(campaign: Campaign, documents: JsonlWriter, places: Sequence[str]) -> list[Unfinished]:
    """The samples of a reopened campaign that are not in their slots, or not finished.

    What can be told without moving anything is told here: moves and doses without an end get one, a sample whose readings are all on
    disk is evaluated.

    Parameters
    ----------
    campaign : Campaign
    documents : JsonlWriter
        Where the documents of its runs are.
    places : sequence of str
        Stations, where a sample can be of which nobody knows.
    """
    found = [_take_up(campaign, left, documents, places) for left in campaign.ledger.unfinished(campaign.id)]
    known = {one.order.sample for one in found}
    for row in campaign.ledger.samples(campaign.id):
        if row.id not in known and row.place not in (row.slot, REMOVED) and row.state != "lost":
            journal = campaign.ledger.journal_of(campaign.id, row.trial, row.id)
            moves = campaign.ledger.moves(row.id)
            for move in moves:
                if move.state == "unconfirmed":
                    journal.move_failed(move.id, UNKNOWN, GONE)
            order = campaign.order_of(row.trial, row.id, row.slot)
            found.append(Unfinished(order, campaign.told(order, journal), None, candidates=_candidates(moves, row.slot, places)))
    return found


def _candidates(moves: Sequence[MoveRow], slot: str, places: Sequence[str]) -> tuple[str, ...]:
    """Where a sample can be, the ends of its last moves first."""
    ends = [place for move in reversed(moves) for place in (move.target, move.origin)]
    return tuple(place for place in dict.fromkeys([*ends, *places]) if place in (*places, slot))


def _take_up(campaign: Campaign, left: Left, documents: JsonlWriter, places: Sequence[str]) -> Unfinished:
    """One trial that had begun."""
    journal = campaign.ledger.journal_of(campaign.id, left.trial, left.sample)
    if (move := left.unconfirmed_move) is not None:
        journal.move_failed(move.id, UNKNOWN, GONE)
    for dose in left.unconfirmed_doses:
        journal.dose_failed(dose.key, {}, GONE)
    steps = campaign.recipe.steps
    n_done = _n_done(steps, {step.name for step in left.steps_done})
    n_former = sum(row.trial == left.trial for row in campaign.ledger.samples(campaign.id)) - 1
    order = campaign.order_of(left.trial, left.sample, left.slot, n_former)
    one = Unfinished(order, campaign.told(order, journal), n_done, _ended_s(left, steps, n_done),
                     _candidates(left.moves, left.slot, places))
    if any(step.is_last_reading for step in steps[:n_done]):
        return replace(one, first=None, verdict=_evaluated(campaign, one, left, documents))
    return replace(one, verdict=_verdict(one, left, steps[n_done]))


def _n_done(steps: Sequence[Step], done: set[str]) -> int:
    """How many steps the sample has behind it."""
    return next((n for n, step in enumerate(steps) if step.name not in done), len(steps))


def _ended_s(left: Left, steps: Sequence[Step], n_done: int) -> float | None:
    """When the last of them ended, laboratory time."""
    if n_done == 0:
        return None
    ends = [step.ended_lab_s for step in left.steps_done if step.name == steps[n_done - 1].name]
    return ends[-1] if ends else None


def _verdict(one: Unfinished, left: Left, step: Step) -> LabError | None:
    """Why the sample cannot be finished; None when it can."""
    if left.place == REMOVED:
        return CommandError("was taken out of the laboratory before it was finished")
    if left.unconfirmed_doses:
        return CommandError(f"{left.unconfirmed_doses[0].key}: {GONE}; a dose is never repeated")
    has_begun = any(row.name == step.name for row in left.steps)
    if has_begun and not step.is_repeatable:
        return CommandError(f"{step.name}: {GONE}, and cannot be done again with the same sample")
    return None


def _evaluated(campaign: Campaign, one: Unfinished, left: Left, documents: JsonlWriter) -> LabError | None:
    """Evaluate from the documents on disk; returns why the sample has to be made again."""
    for path in (documents.path(run.uid) for run in reversed(left.runs)):
        found = read_run(path) if path.exists() else []
        if any(name == "descriptor" and doc.get("name") == "primary" for name, doc in found):
            campaign.evaluate_now(one.order, found)
            return None
    return SampleError("its readings are not on disk")
