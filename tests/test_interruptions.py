"""A real campaign in a virtual work cell, interrupted at any moment and resumed: nothing is done twice, nothing is lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from bluesky.utils import RunEngineInterrupted
from campaign_on_record import OUTCOME, Record
from work_cell import Bench

from lab.campaign import Campaign, Document, End
from lab.core.errors import SampleError
from lab.core.trial import Outcome, TrialState
from plans.closed_loop import closed_loop

N_TRIALS = 3


class Room:
    """A work cell and a ledger. The ledger outlives a session; so do the samples, wherever they stand."""

    def __init__(self, folder: Path) -> None:
        self.bench = Bench(folder)
        self.record = Record(folder, self.bench.clock)
        self.bench.RE.subscribe(self.record.documents)
        self.bench.RE.subscribe(self.record.collector)
        self.record.evaluate = self._evaluate

    @staticmethod
    def _evaluate(documents: Sequence[Document]) -> Outcome:
        """An outcome for those who hand over the sample's readings."""
        if not any(name == "descriptor" and doc["name"] == "primary" for name, doc in documents):
            raise SampleError("its readings are missing")
        return OUTCOME

    def run(self, campaign: Campaign) -> None:
        """One session."""
        try:
            self.bench.RE(closed_loop(self.bench.cell, [campaign], patience_s=0.0))
        except RunEngineInterrupted:
            campaign.close(End("interrupted", "aborted"))
        else:
            campaign.close(campaign.concluded())

    def close(self) -> None:
        self.record.close()
        self.bench.close()


@pytest.mark.parametrize("call", [7, 16, 28, 40, 47])
def test_a_campaign_that_is_interrupted_at_any_call_is_finished_by_the_next_session(tmp_path: Path, call: int) -> None:
    room = Room(tmp_path)
    ledger, arm = room.record.ledger, room.bench.arm
    campaign = room.record.campaign(budget={"trials": N_TRIALS, "failures": 9})
    room.bench.log.interrupt_at(call, room.bench.abort)
    room.run(campaign)
    assert ledger.campaign(campaign.id).status == "interrupted"
    again = room.record.resumed(campaign.id)
    room.run(again)
    assert ledger.campaign(campaign.id).status == "done"
    assert [trial.state for trial in ledger.trials(campaign.id)] == [TrialState.COMPLETED] * N_TRIALS
    assert {sample.place for sample in ledger.samples(campaign.id)} == {sample.slot for sample in ledger.samples(campaign.id)}
    doses = ledger.doses(campaign.id)
    assert len({dose.sample for dose in doses}) == len(doses) == sum("synthesiser dose" in line for line in room.bench.log)
    assert all(dose.state != "unconfirmed" for dose in doses)
    assert arm.collisions == []
    assert len(arm.standing) == 24
    room.close()


def test_a_campaign_that_is_interrupted_suggests_what_it_would_have_suggested(tmp_path: Path) -> None:
    """The points of a campaign depend on the trials before them, not on the sessions."""
    room = Room(tmp_path)
    campaign = room.record.campaign(budget={"trials": N_TRIALS, "failures": 9})
    room.bench.log.interrupt_at(20, room.bench.abort)
    room.run(campaign)
    room.run(room.record.resumed(campaign.id))
    planned = [trial.planned["anneal_temperature"] for trial in room.record.ledger.trials(campaign.id)]
    assert planned == [100.0, 101.0, 102.0]
    room.close()
