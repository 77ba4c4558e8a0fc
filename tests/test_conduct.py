"""Campaigns run in a session: begun, paused, stopped and interrupted by people, resumed, and ended so that they can be."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from bluesky.utils import RunEngineInterrupted
from campaign_on_record import EXAMPLES, LAB, OUTCOME, Reporter
from work_cell import Bench

from lab.changes.config import change
from lab.conduct import Conduct
from lab.core.capabilities import Pick
from lab.core.errors import CampaignError, CommandError, LedgerError
from lab.core.trial import TrialState
from lab.files import load_campaign
from lab.home import Home
from lab.records.documents import JsonlWriter
from lab.records.ledger import Ledger
from lab.records.requests import WITHOUT_ACKNOWLEDGING
from lab.session import Session
from lab.translation import load_liquids


class Room:
    """A session of a virtual work cell, as far as `lab.conduct` knows one."""

    def __init__(self, folder: Path) -> None:
        self.bench, self.reporter = Bench(folder), Reporter()
        # Stations are called as in lab.yaml: a sample that nobody knows of is looked for there.
        spin, *others = self.bench.cell.stations
        self.bench.cell = replace(self.bench.cell, stations=(replace(spin, name="synthesiser"), *others))
        self.ledger = Ledger(folder / "ledger.sqlite", self.bench.clock)
        self.documents = JsonlWriter(folder / "documents", fsync=False)
        self.bench.RE.subscribe(self.documents)
        self.config = load_campaign(EXAMPLES / "perovskite.yaml", {"budget": {"trials": 3, "failures": 2}, "optimizer": {"engine": "sobol"}})
        self.said: list[str] = []
        self.acknowledged = threading.Event()
        self.session = cast(Session, SimpleNamespace(
            lab=load_liquids(LAB.model_copy(update={"catalogue": False}), self.config, "campaign.yaml"), home=Home(folder), ledger=self.ledger, documents=self.documents, RE=self.bench.RE,
            clock=self.bench.clock, devices={}, guards=None, running=[], ended_by="", loss="", is_new_world=False, say=self.said.append,
            acknowledge=self.acknowledged.set, warm_up=lambda configs: None))
        self.conduct = self.new_conduct()

    def new_conduct(self) -> Conduct:
        return Conduct(self.session, self.reporter)

    def run(self) -> tuple[str, str]:
        """Begin the campaign and run it to its end: status and cause."""
        self.campaign = self.conduct.begin(self.config)
        return self.ended()

    def resume(self) -> tuple[str, str]:
        """The next session of the same campaign."""
        self.conduct = self.new_conduct()
        self.campaign = self.conduct.resume(self.campaign.id)
        return self.ended()

    def ended(self) -> tuple[str, str]:
        ((_, end),) = self.conduct.run()
        row = self.ledger.campaign(self.campaign.id)
        assert (row.status, row.cause) == (end.status, end.cause)
        return end.status, end.cause

    def completed(self) -> int:
        return sum(trial.state is TrialState.COMPLETED for trial in self.ledger.trials(self.campaign.id))

    def close(self) -> None:
        self.documents.close()
        self.ledger.close()
        self.bench.close()


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    made = Room(tmp_path)
    monkeypatch.setattr("lab.conduct.work_cell", lambda lab, devices, clock, frames: made.bench.cell)
    monkeypatch.setattr("lab.conduct.evaluate", lambda documents, config, geometry, frames: OUTCOME)
    monkeypatch.setattr("lab.conduct.LOOK_S", 0.03)
    for name in ("life.AGAIN_S", "safe.AGAIN_S", "closed_loop.LOOK_AGAIN_S"):
        monkeypatch.setattr(f"plans.{name}", 0.001)
    yield made
    made.close()


def asks(room: Room, kind: str, until: Callable[[], Any]) -> Callable[[], None]:
    """Somebody at another terminal asks something of the campaign; physics stands still until it has been heard."""
    def ask() -> None:
        room.ledger.request(room.campaign.id, kind, "ann")
        until()

    return ask


def heard(room: Room, words: str, until: Callable[..., None]) -> Callable[[], None]:
    """Wait until the session has said it."""
    return lambda: until(lambda: any(words in line for line in room.reporter.lines))


def test_a_campaign_is_run_to_its_budget_and_its_end_is_on_record(room: Room) -> None:
    assert room.run() == ("done", "3 trials")
    assert room.completed() == 3
    assert room.reporter.lines[0] == "began" and room.reporter.lines[-1] == "closed"
    assert room.session.running == []


def test_after_a_stop_what_is_in_the_machine_is_finished(room: Room, until: Callable[..., None]) -> None:
    room.bench.heater.before["heat"] = asks(room, "stop", heard(room, "stopped by ann", until))
    assert room.run() == ("done", "stopped by ann")
    assert room.completed() == len(room.ledger.samples(room.campaign.id)) < 3


def test_a_campaign_that_was_paused_goes_on_when_somebody_says_so(room: Room, until: Callable[..., None]) -> None:
    engine = room.bench.RE

    def go_on() -> None:
        until(lambda: engine.state == "paused")
        room.ledger.request(room.campaign.id, "continue", "bob")

    def pause() -> None:
        threading.Thread(target=go_on, daemon=True).start()
        room.ledger.request(room.campaign.id, "pause", "ann")
        heard(room, "paused by ann", until)()

    room.bench.heater.before["heat"] = pause
    assert room.run() == ("done", "3 trials")
    assert any("going on, by bob" in line for line in room.reporter.lines)


def test_in_a_laboratory_that_died_before_the_plan_began_nothing_begins(room: Room) -> None:
    """Nobody would ever end that plan: there was none to be aborted when the simulator died."""
    room.session.loss = "the simulated laboratory died"
    assert room.run() == ("interrupted", "the simulated laboratory died")
    assert room.bench.log == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_session_safely_and_the_next_one_goes_on(room: Room, number: signal.Signals) -> None:
    room.bench.heater.lasts_s["heat"] = float("inf")
    room.bench.heater.before["heat"] = lambda: os.kill(os.getpid(), number)
    status, cause = room.run()
    assert (status, cause) == ("interrupted", f"{number.name} from the operator")
    assert "arm park" in room.bench.log
    room.bench.heater.lasts_s["heat"] = 30.0
    assert room.resume() == ("done", "3 trials")
    assert room.completed() == 3


def test_an_interrupt_waits_for_no_ledger(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(campaign: str, kind: str, text: str, trial: int | None = None) -> None:
        raise LedgerError("ledger: locked")

    def interrupt() -> None:
        monkeypatch.setattr(room.ledger, "note", locked)
        os.kill(os.getpid(), signal.SIGTERM)

    room.bench.heater.lasts_s["heat"] = float("inf")
    room.bench.heater.before["heat"] = interrupt
    assert room.run()[0] == "interrupted"
    assert "heater_a safe" in room.bench.log


def test_a_sample_in_the_way_interrupts_the_campaign_and_says_how_to_go_on(room: Room) -> None:
    carry_out = room.bench.arm.set
    is_broken = True

    def broken(move: object) -> object:
        if move == Pick("synthesiser") and is_broken:
            room.bench.arm.fails["pick"] = [CommandError("arm: in error")]
        return carry_out(move)  # type: ignore[arg-type]

    room.bench.arm.set = broken  # type: ignore[method-assign, assignment]
    room.session.lab = room.session.lab.model_copy(update={"recovery": room.session.lab.recovery.model_copy(update={"patience_s": 0.01})})
    status, cause = room.run()
    assert status == "interrupted"
    assert "is in the way at synthesiser: arm: in error; mend it, then: lab resume " + room.campaign.id in cause
    is_broken = False
    assert room.resume()[0] == "done"
    assert {sample.place for sample in room.ledger.samples(room.campaign.id)} == {"rack.1", "rack.2", "rack.3"}


def test_a_document_that_cannot_be_written_interrupts_the_campaign_and_leaves_it_resumable(room: Room) -> None:
    def full(name: str, doc: dict[str, Any]) -> None:
        raise LedgerError("documents: No space left on device")

    room.bench.detector.before["trigger"] = lambda: setattr(room, "token", room.bench.RE.subscribe(full))
    status, cause = room.run()
    assert (status, cause) == ("interrupted", f"documents: No space left on device; mend it, then: lab resume {room.campaign.id}")
    room.bench.RE.unsubscribe(room.token)  # type: ignore[attr-defined]
    assert room.resume()[0] == "done"
    assert room.completed() == 3


def test_somebody_elses_sample_in_the_gripper_interrupts_a_campaign_before_it_begins(room: Room) -> None:
    room.bench.arm.has_sample = True
    status, cause = room.run()
    assert status == "interrupted"
    assert "the gripper holds a sample of which no record knows; take it out" in cause
    room.bench.arm.has_sample = False
    assert room.resume() == ("done", "3 trials")


def test_a_mistake_of_ours_is_raised_with_its_own_exception_and_the_campaign_can_be_resumed(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.conduct.evaluate", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        room.run()
    assert room.ledger.campaign(room.campaign.id).status == "interrupted"
    assert "arm park" in room.bench.log


# ------------------------------------------------------------------------------------------------ as a plan


def as_plan(room: Room, go_on: Callable[[], None] | None = None) -> Any:
    """The campaign as a plan, begun."""
    room.conduct = Conduct(room.session, room.reporter, go_on)
    room.campaign = room.conduct.begin(room.config)
    return room.conduct.plan()


def end_of(room: Room) -> tuple[str, str]:
    row = room.ledger.campaign(room.campaign.id)
    return row.status, row.cause


def test_as_a_plan_a_campaign_is_closed_when_the_plan_ends(room: Room) -> None:
    room.bench.RE(as_plan(room))
    assert end_of(room) == ("done", "3 trials")
    assert room.completed() == 3 and room.reporter.lines[-1] == "closed" and room.session.running == []


def test_as_a_plan_it_is_paused_on_request_and_asks_whoever_runs_it_to_go_on(room: Room, until: Callable[..., None]) -> None:
    asked = threading.Event()

    def pause() -> None:
        room.ledger.request(room.campaign.id, "pause", "ann")
        heard(room, "paused by ann", until)()

    room.bench.heater.before["heat"] = pause
    with pytest.raises(RunEngineInterrupted):
        room.bench.RE(as_plan(room, asked.set))
    assert room.ledger.campaign(room.campaign.id).status == "running"
    room.ledger.request(room.campaign.id, "continue", "bob")
    assert asked.wait(120)
    room.bench.RE.resume()
    assert end_of(room) == ("done", "3 trials")


@pytest.mark.parametrize(("detail", "is_acknowledged"), [("", True), (WITHOUT_ACKNOWLEDGING, False)])
def test_going_on_acknowledges_interlocks_unless_it_was_asked_for_from_elsewhere(room: Room, until: Callable[..., None], detail: str,
                                                                              is_acknowledged: bool) -> None:
    asked = threading.Event()

    def pause() -> None:
        room.ledger.request(room.campaign.id, "pause", "ann")
        heard(room, "paused by ann", until)()

    room.bench.heater.before["heat"] = pause
    with pytest.raises(RunEngineInterrupted):
        room.bench.RE(as_plan(room, asked.set))
    room.ledger.request(room.campaign.id, "continue", "ann", detail)
    assert asked.wait(120)
    assert room.acknowledged.is_set() == is_acknowledged
    room.bench.RE.resume()


@pytest.mark.parametrize(("ending", "cause"), [("stop", "stopped in the queue"), ("abort", "aborted in the queue")])
def test_as_a_plan_that_is_ended_while_it_is_paused_it_can_be_resumed(room: Room, ending: str, cause: str) -> None:
    room.bench.heater.lasts_s["heat"] = float("inf")
    room.bench.heater.before["heat"] = lambda: threading.Thread(target=room.bench.RE.request_pause, daemon=True).start()
    with pytest.raises(RunEngineInterrupted):
        room.bench.RE(as_plan(room))
    room.bench.heater.before.clear()
    room.bench.heater.lasts_s["heat"] = 30.0
    getattr(room.bench.RE, ending)()
    assert end_of(room) == ("interrupted", cause)
    assert "arm park" in room.bench.log
    assert room.resume() == ("done", "3 trials")


def test_as_a_plan_a_campaign_that_fails_fails_its_plan(room: Room) -> None:
    room.bench.heater.fails["heat"] = [CommandError("heater_a: too hot") for _ in range(9)]
    with pytest.raises(CampaignError, match="failed: failure budget spent: 2 samples failed"):
        room.bench.RE(as_plan(room))
    assert end_of(room)[0] == "failed"


def test_as_a_plan_a_campaign_that_cannot_go_on_says_how_it_can(room: Room) -> None:
    room.bench.arm.has_sample = True
    with pytest.raises(CommandError, match="the gripper holds a sample of which no record knows"):
        room.bench.RE(as_plan(room))
    assert end_of(room)[0] == "interrupted" and "mend it, then: lab resume" in end_of(room)[1]


# ------------------------------------------------------------------------------------------------ another budget


def test_a_campaign_goes_on_with_another_budget_and_so_does_its_resume(room: Room, until: Callable[..., None]) -> None:
    room.bench.heater.before["heat"] = lambda: change(room.ledger, room.campaign.id, {"trials": 2}, "ann")
    assert room.run() == ("done", "2 trials")
    assert '"trials":2' in room.ledger.campaign(room.campaign.id).config
    assert "budget: trials 3 -> 2, says ann" in room.reporter.lines
    assert [event.text for event in room.ledger.events(room.campaign.id) if event.kind == "change"] == ["budget: trials 3 -> 2, says ann"]


# ------------------------------------------------------------------------------------------------ points that others propose


POINTS = [{"cs": 0.2, "fa": 0.8, "ma": 0.0, "anneal_temperature": temperature} for temperature in (100.0, 110.0, 120.0)]


def remote(room: Room, **more: Any) -> None:
    room.config = load_campaign(EXAMPLES / "perovskite.yaml", {"budget": {"trials": 3, "failures": 2}, "optimizer": {"engine": "remote", **more}})
    room.campaign = room.conduct.begin(room.config)


def test_a_program_elsewhere_chooses_each_point_from_the_outcome_of_the_one_before(room: Room, until: Callable[..., None]) -> None:
    remote(room)
    seen = []

    def program() -> None:
        for point in POINTS:
            number = room.ledger.propose(room.campaign.id, point, "ann")
            until(lambda: (trial := room.ledger.proposal(number).trial) is not None and room.ledger.trial(room.campaign.id, trial).outcome is not None)  # noqa: B023
            seen.append(room.ledger.proposal(number).trial)

    asking = threading.Thread(target=program, daemon=True)
    asking.start()
    assert room.ended() == ("done", "3 trials")
    asking.join(20)
    assert seen == [0, 1, 2]
    assert [trial.planned for trial in room.ledger.trials(room.campaign.id)] == POINTS


def test_a_campaign_for_which_nothing_is_proposed_ends_after_its_deadline(room: Room) -> None:
    remote(room, deadline_s=0.05)
    room.ledger.propose(room.campaign.id, POINTS[0], "ann")
    assert room.ended() == ("done", "nothing was proposed for 0.05 s")
    assert room.completed() == 1


def test_a_stop_ends_the_waiting_for_a_proposal(room: Room) -> None:
    remote(room)
    room.reporter.began = lambda campaign: room.ledger.request(campaign.id, "stop", "ann")  # type: ignore[method-assign, assignment]
    assert room.ended() == ("done", "stopped by ann")


def test_an_interruption_ends_the_waiting_for_a_proposal_and_what_is_proposed_then_is_made_after_the_resume(room: Room) -> None:
    remote(room)
    room.reporter.began = lambda campaign: threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()  # type: ignore[method-assign, assignment]
    assert room.ended() == ("interrupted", "SIGTERM from the operator")
    room.reporter.began = lambda campaign: None  # type: ignore[method-assign]
    for point in POINTS:
        room.ledger.propose(room.campaign.id, point, "ann")
    assert room.resume() == ("done", "3 trials")


# ------------------------------------------------------------------------------------------------ what others have left


def interrupted(room: Room) -> str:
    """A campaign that is interrupted while its first sample is annealed; the sample."""
    room.bench.heater.lasts_s["heat"] = float("inf")
    room.bench.heater.before["heat"] = lambda: os.kill(os.getpid(), signal.SIGTERM)
    assert room.run()[0] == "interrupted"
    room.bench.heater.before.clear()
    room.bench.heater.lasts_s["heat"] = 30.0
    (sample,) = [row.id for row in room.ledger.samples(room.campaign.id) if row.place == "plate_a"]
    return sample


def test_no_campaign_begins_while_samples_of_an_interrupted_one_are_in_its_way(room: Room) -> None:
    sample = interrupted(room)
    with pytest.raises(CampaignError, match=rf"in the machine: .*{sample} \(plate_a\).*; resume it first.* lab removed .*{sample}"):
        room.new_conduct().begin(room.config)
    assert len(room.ledger.campaigns()) == 1
    assert room.resume() == ("done", "3 trials")
    room.new_conduct().begin(room.config)


def test_a_campaign_begins_when_somebody_has_taken_out_what_was_in_its_way(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from lab.desk import app

    interrupted(room)
    monkeypatch.setenv("LAB_HOME", str(room.session.home.path))
    left = list(room.ledger.left_in_machine(room.session.lab.name))
    done = CliRunner().invoke(app, ["removed", *left])
    assert done.exit_code == 0 and f"{left[0]}: taken out, says " in done.stdout
    again = CliRunner().invoke(app, ["removed", *left])
    assert again.exit_code == 2 and "in the machine: there is none" in again.stderr
    room.new_conduct().begin(room.config)
