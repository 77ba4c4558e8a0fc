"""Several samples at once: when they begin, whose turn it is, what one of them does to the others, and how all ends."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from bluesky.utils import RunEngineInterrupted
from work_cell import SLOT, Bench, Campaign, Question, Thought, drops, overlapping

from lab.core.capabilities import Pick
from lab.core.errors import CommandError, LedgerError, Outdated, SampleError
from lab.core.journal import Journal
from lab.core.recovery import Choice, Rule
from lab.core.sample import GRIPPER, UNKNOWN
from plans.life import Stuck
from plans.recipes import Order

STALLED = "pump cs: stalled"
STATIONS = ("spin", "plate_a", "plate_b", "stage")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again at once where the loop would wait for a second of the wall."""
    for name in ("life.AGAIN_S", "safe.AGAIN_S", "closed_loop.LOOK_AGAIN_S"):
        monkeypatch.setattr(f"plans.{name}", 0.001)


def began(bench: Bench, sample: str) -> float:
    """When a sample was begun, laboratory seconds."""
    return bench.log.time(f"{sample} begins")


# ------------------------------------------------------------------------------------------------- overlapping


def test_samples_overlap_and_no_station_ever_holds_two(bench: Bench) -> None:
    campaign = Campaign(bench, n=6)
    bench.run(campaign)
    assert sorted(campaign.measured_samples) == [f"s{n}" for n in range(6)]
    assert overlapping(bench.books.steps)
    assert not [pair for station in (*STATIONS, "arm") for pair in overlapping(bench.books.at(station))]
    assert bench.arm.collisions == []


def test_six_samples_on_two_plates_take_little_more_than_half_the_time(bench: Bench) -> None:
    bench.run(Campaign(bench))
    alone_s = bench.clock.now()
    bench.run(Campaign(bench, n=6, id="t"))
    assert bench.clock.now() - alone_s < 0.55 * 6 * alone_s


def test_at_most_as_many_samples_are_in_the_machine_as_was_asked_for(bench: Bench) -> None:
    campaign = Campaign(bench, n=3)
    bench.run(campaign, at_once=1)
    assert len(campaign.measured_samples) == 3
    assert overlapping(bench.books.steps) == []


def test_every_sample_is_back_in_a_slot_of_its_own(bench: Bench) -> None:
    campaign = Campaign(bench, n=4)
    bench.run(campaign)
    assert campaign.places == {f"s{n}": f"rack.{n + 1}" for n in range(4)}


def test_time_limits_are_kept_while_plates_cool_slowly(bench: Bench) -> None:
    for heater in bench.heaters:
        heater.warm(25.0, constant_s=200.0)
    campaign = Campaign(bench, n=8, settings={"max_gap_s": 45.0})
    bench.run(campaign)
    ended = {step.sample: step.ended_s for step in bench.books.steps if step.name == "cast"}
    begun = {step.sample: step.began_s for step in bench.books.steps if step.name == "anneal"}
    gaps = [begun[sample] - ended[sample] for sample in begun]
    assert max(gaps) <= 45.0
    assert len(gaps) == 8 + len(campaign.remade)
    assert len(campaign.remade) <= 1


def test_a_sample_with_a_time_limit_waits_in_its_slot_until_a_plate_is_going_to_be_cool(bench: Bench) -> None:
    for heater in bench.heaters:
        heater.warm(140.0, constant_s=400.0)
    bench.run(Campaign(bench))
    wait_s = began(bench, "s0")
    cool_s = 400.0 * 1.1521  # ln((140 - 23) / (60 - 23))
    assert cool_s - 100.0 < wait_s < cool_s
    assert "heater_a cool 60" not in bench.log or bench.log.time("heater_a cool 60") > wait_s


def test_a_suggestion_is_asked_for_so_much_earlier_as_it_takes(bench: Bench) -> None:
    for heater in bench.heaters:
        heater.warm(140.0, constant_s=400.0)
    bench.run(Campaign(bench, ahead_s=150.0))
    assert began(bench, "s0") - bench.log.time("s thinks") > 100.0


def test_of_two_free_plates_the_cooler_one_is_taken(bench: Bench) -> None:
    bench.heaters[0].warm(55.0, constant_s=400.0)
    bench.heaters[1].warm(30.0, constant_s=400.0)
    bench.heaters[0].warm(200.0, constant_s=4000.0)
    bench.run(Campaign(bench))
    assert "arm place plate_b" in bench.log
    assert "arm place plate_a" not in bench.log


# ---------------------------------------------------------------------------------- what one does to the others


def test_a_failure_in_one_lane_leaves_the_others_alone(bench: Bench) -> None:
    bench.heaters[0].fails["heat"] = [CommandError("heater_a: no heat")]
    campaign = Campaign(bench, n=4)
    bench.run(campaign)
    assert [str(error) for error in campaign.failures] == ["heater_a: no heat"]
    assert len(campaign.measured_samples) == 3
    assert bench.log.count("heater_b off") == bench.log.count("heater_b heat 120")
    assert bench.arm.collisions == []


def test_others_are_made_while_a_parked_sample_waits_for_the_operator(bench: Bench) -> None:
    bench.synthesiser.fails["dose"] = [CommandError(STALLED)]
    campaign = Campaign(bench, n=4, rules=[Rule(do="ask")])
    campaign.on_ask = lambda question: setattr(bench.detector, "before", {"trigger": lambda: answer_after_three(bench, campaign, question)})
    bench.run(campaign)
    assert campaign.failed_samples == ["s0"]
    assert campaign.measured_samples == ["s1", "s2", "s3"]
    assert bench.arm.collisions == []


def answer_after_three(bench: Bench, campaign: Campaign, question: Question) -> None:
    """The operator answers during the third exposure."""
    if len(campaign.measured_samples) == 2:
        question.answer(Choice.SKIP)
    else:
        bench.detector.before["trigger"] = lambda: answer_after_three(bench, campaign, question)


def test_a_sample_that_is_in_the_way_ends_the_loop_and_the_others_stay_where_the_ledger_says(bench: Bench) -> None:
    breaks(bench, "spin", after="heater_a heat 120")
    campaign = Campaign(bench, n=4)
    with pytest.raises(Stuck, match="sample s1 is in the way at spin: arm: in error"):
        bench.run(campaign)
    assert (campaign.places["s0"], campaign.places["s1"]) == ("plate_a", "spin")
    assert bench.arm.standing >= {"plate_a", "spin"}
    assert "arm pick rack.3" not in bench.log
    assert bench.log.index("heater_a off") < bench.log.index("heater_a safe")


def breaks(bench: Bench, place: str, after: str) -> None:
    """The arm cannot take anything from `place` once the line `after` stands in the log."""
    carry_out = bench.arm.set

    def broken(move: object) -> object:
        if move == Pick(place) and after in bench.log:
            bench.arm.fails["pick"] = [CommandError("arm: in error")]
        return carry_out(move)  # type: ignore[arg-type]

    bench.arm.set = broken  # type: ignore[method-assign, assignment]


def test_records_that_cannot_be_written_end_all_campaigns_and_lanes(bench: Bench) -> None:
    first, second = Campaign(bench, n=3, id="a"), Campaign(bench, n=3, id="b")

    def full(station: str, what: str, name: str = "") -> int:
        raise LedgerError("ledger: disk full")

    bench.detector.before["trigger"] = lambda: setattr(first.journals["a0"], "step_began", full)
    with pytest.raises(LedgerError, match="disk full"):
        bench.run(first, second)
    assert "detector safe" in bench.log
    assert bench.arm.collisions == []


def test_a_mistake_in_a_lane_ends_the_loop_with_its_own_exception(bench: Bench) -> None:
    campaign = Campaign(bench, n=3)
    campaign.measured = lambda order: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    with pytest.raises(ZeroDivisionError):
        bench.run(campaign)
    assert "arm safe" in bench.log


def test_a_transfer_that_is_interrupted_is_on_record_with_the_truth(bench: Bench) -> None:
    """The second sample is in the gripper when the first one ends all."""
    campaign = Campaign(bench, n=2)

    def full(name: str, doc: dict[str, object]) -> None:
        if name == "event" and "s1 at gripper" in bench.log:
            raise LedgerError("documents: disk full")

    bench.RE.subscribe(full)
    with pytest.raises(LedgerError, match="disk full"):
        bench.run(campaign)
    for sample, place in campaign.places.items():
        assert place in bench.arm.standing or (place == GRIPPER and bench.arm.has_sample) or place == UNKNOWN, sample


def test_a_sample_in_the_gripper_when_all_is_aborted_is_on_record_there(bench: Bench) -> None:
    bench.arm.before["place"] = bench.abort
    bench.arm.lasts_s["place"] = math.inf
    campaign = Campaign(bench)
    with pytest.raises(RunEngineInterrupted):
        bench.run(campaign)
    assert campaign.places == {"s0": GRIPPER}
    assert bench.arm.has_sample


# ------------------------------------------------------------------------------------------------ suggestions


def test_a_slow_suggestion_does_not_hold_up_the_other_samples(bench: Bench) -> None:
    campaign = Campaign(bench, n=2)
    thoughts: list[Thought] = []

    def think(thought: Thought) -> None:
        thoughts.append(thought)
        if len(thoughts) == 1:
            thought.happen()

    campaign.think = think
    bench.detector.before["trigger"] = lambda: thoughts[1].happen()
    bench.run(campaign)
    assert bench.log.index("s0 measured") > bench.log.index("detector trigger")
    assert began(bench, "s1") == bench.log.time("detector trigger")
    assert campaign.measured_samples == ["s0", "s1"]


def test_a_pause_lands_while_a_suggestion_is_worked_out_in_a_thread(bench: Bench) -> None:
    campaign = Campaign(bench)
    may_think, paused = threading.Event(), threading.Event()

    def work(thought: Thought) -> None:
        bench.RE.request_pause(defer=False)
        assert paused.wait(60)
        may_think.set()
        thought.happen()

    threads: list[threading.Thread] = []

    def think(thought: Thought) -> None:
        threads.append(threading.Thread(target=work, args=(thought,)))
        threads[0].start()

    campaign.think = think
    with pytest.raises(RunEngineInterrupted):
        bench.run(campaign)
    assert bench.RE.state == "paused"
    assert not may_think.is_set()
    paused.set()
    threads[0].join(60)
    bench.RE.resume()
    assert campaign.measured_samples == ["s0"]


def test_a_suggestion_that_does_not_come_ends_its_campaign(bench: Bench) -> None:
    campaign = Campaign(bench, n=2)

    def think(thought: Thought) -> None:
        thought.order = None
        campaign.stop("no suggestion")
        thought.happen()

    campaign.think = think
    bench.run(campaign)
    assert campaign.n_begun == 0


def test_nothing_is_begun_after_a_stop_and_what_is_in_the_machine_is_finished(bench: Bench) -> None:
    campaign = Campaign(bench, n=9)
    bench.heater.before["heat"] = lambda: campaign.stop("stopped by ann")
    bench.run(campaign)
    assert len(campaign.measured_samples) == campaign.n_begun < 9


# ------------------------------------------------------------------------------------------ several campaigns


def test_campaigns_share_the_cell_by_their_shares(bench: Bench) -> None:
    two, one = Campaign(bench, n=4, id="two", share=2.0), Campaign(bench, n=4, id="one", share=1.0)
    bench.run(two, one)
    order = [line.split()[0].rstrip("0123") for line in bench.log if line.endswith("begins")]
    assert order[:6].count("two") == 4
    assert len(two.measured_samples) == len(one.measured_samples) == 4


def test_the_campaign_with_the_higher_priority_goes_first(bench: Bench) -> None:
    late, urgent = Campaign(bench, n=3, id="late"), Campaign(bench, n=3, id="urgent", priority=1)
    bench.run(late, urgent)
    order = [line.split()[0] for line in bench.log if line.endswith("begins")]
    assert order == ["urgent0", "urgent1", "urgent2", "late0", "late1", "late2"]


def test_a_campaign_that_has_ended_leaves_the_cell_to_the_other(bench: Bench) -> None:
    short, long = Campaign(bench, n=1, id="short"), Campaign(bench, n=3, id="long")
    bench.run(short, long)
    assert (len(short.measured_samples), len(long.measured_samples)) == (1, 3)


def test_a_campaign_that_lacks_something_does_not_hold_up_the_other(bench: Bench) -> None:
    lacking, other = Campaign(bench, n=1, id="lacking", priority=1), Campaign(bench, n=2, id="other")
    lacking.lacks = lambda: len(other.measured_samples) < 2
    bench.run(lacking, other)
    assert other.measured_samples == ["other0", "other1"]
    assert lacking.measured_samples == ["lacking0"]


def test_a_campaign_that_lacks_something_goes_on_once_it_has_been_refilled(bench: Bench) -> None:
    campaign = Campaign(bench, n=2)
    looks = iter([True, True, False, True, False])
    campaign.lacks = lambda: next(looks)
    bench.run(campaign)
    assert campaign.measured_samples == ["s0", "s1"]


# ----------------------------------------------------------------------------------- samples of an earlier session


@pytest.mark.parametrize(("first", "left_out"), [
    (0, []), (1, ["synthesiser dose cs=0.250 fa=0.750"]), (2, ["synthesiser dose cs=0.250 fa=0.750", "heater_a heat 120"])])
def test_a_resumed_sample_goes_on_with_the_step_that_it_has_not_behind_it(bench: Bench, first: int, left_out: list[str]) -> None:
    campaign = Campaign(bench, n=0)
    campaign.unfinished = [campaign.resumed("old", "plate_b", first=first)]
    bench.run(campaign)
    assert campaign.measured_samples == ["old"]
    assert campaign.places == {"old": "rack.1"}
    assert not [line for line in left_out if line in bench.log]
    assert bench.arm.collisions == []


def test_a_resumed_sample_is_put_into_its_slot_before_it_goes_on(bench: Bench) -> None:
    campaign = Campaign(bench, n=0)
    campaign.unfinished = [campaign.resumed("old", "spin", first=1)]
    bench.run(campaign)
    assert bench.log.index("old at rack.1") < bench.log.index("old run opened")


def test_a_sample_that_is_finished_is_only_put_away(bench: Bench) -> None:
    campaign = Campaign(bench, n=0)
    campaign.unfinished = [campaign.resumed("old", "stage", first=None)]
    bench.run(campaign)
    assert campaign.places == {"old": "rack.1"}
    assert "old run opened" not in bench.log


def test_a_sample_that_cannot_be_finished_is_put_away_and_made_again(bench: Bench) -> None:
    campaign = Campaign(bench, n=0)
    campaign.unfinished = [campaign.resumed("old", "spin", first=1, verdict=SampleError("old: nobody knows what was dosed"))]
    bench.run(campaign)
    assert campaign.remade == [("old", "old: nobody knows what was dosed")]
    assert campaign.places["old"] == "rack.1"
    assert campaign.measured_samples == ["s101.2"]


def test_a_resumed_sample_that_comes_too_late_for_its_next_step_is_made_again(bench: Bench) -> None:
    bench.clock.after(5000.0, lambda: None)
    campaign = Campaign(bench, n=0)
    campaign.unfinished = [campaign.resumed("old", "spin", first=1, ended_s=-1000.0)]
    bench.run(campaign)
    assert [sample for sample, _ in campaign.remade] == ["old"]
    assert campaign.measured_samples == ["s101.2"]


def test_the_gripper_is_emptied_before_other_samples_are_moved(bench: Bench) -> None:
    campaign = Campaign(bench, n=0)
    campaign.unfinished = [campaign.resumed("at stage", "stage", first=None), campaign.resumed("held", GRIPPER, first=None)]
    bench.run(campaign)
    assert bench.log.index("held at rack.2") < bench.log.index("arm pick stage")
    assert campaign.places == {"at stage": "rack.1", "held": "rack.2"}


def test_a_sample_of_which_nobody_knows_is_in_the_gripper_if_that_holds_one(bench: Bench) -> None:
    campaign = Campaign(bench, n=0)
    campaign.unfinished = [campaign.resumed("at stage", "stage", first=None), campaign.resumed("lost", UNKNOWN, first=None, candidates=STATIONS)]
    bench.arm.has_sample = True
    bench.run(campaign)
    assert campaign.places == {"at stage": "rack.1", "lost": "rack.2"}
    assert bench.arm.standing >= {"rack.1", "rack.2"}


def test_a_lost_sample_is_looked_for_where_it_can_be_and_no_other_is_taken_for_it(bench: Bench) -> None:
    campaign = Campaign(bench, n=0)
    campaign.unfinished = [campaign.resumed("lost", UNKNOWN, first=2, candidates=("stage", "plate_a", "plate_b")),
                           campaign.resumed("known", "plate_a", first=2)]
    bench.arm.standing.add("plate_b")
    bench.run(campaign)
    assert bench.log.index("known at rack.2") < bench.log.index("lost at gripper")
    assert sorted(campaign.measured_samples) == ["known", "lost"]
    assert campaign.places == {"lost": "rack.1", "known": "rack.2"}


def test_a_resumed_sample_that_is_lost_again_is_not_looked_for_where_others_stand(bench: Bench) -> None:
    campaign = Campaign(bench, n=0)
    campaign.unfinished = [campaign.resumed("old", UNKNOWN, first=2, candidates=("plate_b", "plate_a", "spin")),
                           campaign.resumed("other", "spin", first=1)]
    bench.arm.standing.add("plate_b")
    drops(bench, "stage", "the floor")
    bench.run(campaign)
    assert campaign.places["old"] == UNKNOWN
    assert campaign.measured_samples == ["other"]


def test_the_operator_is_asked_for_a_sample_that_is_nowhere_and_it_is_looked_for_again(bench: Bench) -> None:
    campaign = Campaign(bench, n=0)
    campaign.unfinished = [campaign.resumed("old", UNKNOWN, first=2, candidates=("plate_a",))]

    def put_back(question: Question) -> None:
        bench.arm.standing.add("rack.1")
        question.answer(Choice.RETRY)

    campaign.on_ask = put_back
    bench.run(campaign)
    assert [question.step for question in campaign.questions] == ["resume"]
    assert campaign.measured_samples == ["old"]


def test_a_sample_that_the_operator_gives_up_has_failed(bench: Bench) -> None:
    campaign = Campaign(bench, n=1)
    campaign.unfinished = [campaign.resumed("old", UNKNOWN, first=2, candidates=("plate_a",))]
    campaign.on_ask = lambda question: question.answer(Choice.SKIP)
    bench.run(campaign)
    assert campaign.failed_samples == ["old"]
    assert campaign.measured_samples == ["s0"]


def test_a_resumed_sample_that_stands_in_its_slot_is_not_moved_before_its_step(bench: Bench) -> None:
    campaign = Campaign(bench, n=0)
    campaign.unfinished = [campaign.resumed("old", SLOT, first=2)]
    bench.run(campaign)
    assert [line for line in bench.log if line.startswith("arm pi")] == ["arm pick rack.1", "arm pick stage"]


def test_a_campaign_does_not_begin_with_somebody_elses_sample_in_the_gripper(bench: Bench) -> None:
    bench.arm.has_sample = True
    with pytest.raises(CommandError, match="the gripper holds a sample of which no record knows"):
        bench.run(Campaign(bench))
    assert not any("pick" in line for line in bench.log)
    assert "synthesiser safe" in bench.log


def test_a_resumed_sample_that_cannot_be_put_away_ends_the_loop_before_it_begins(bench: Bench) -> None:
    campaign = Campaign(bench, n=3)
    campaign.unfinished = [campaign.resumed("old", "spin", first=1)]
    breaks(bench, "spin", after="arm recover")
    with pytest.raises(Stuck, match="sample old is in the way at spin"):
        bench.run(campaign)
    assert campaign.n_begun == 0


def test_an_arm_that_could_not_be_parked_is_said(bench: Bench) -> None:
    bench.arm.fails["park"] = [CommandError("arm: [1016] unreachable")] * 9
    campaign = Campaign(bench)
    bench.run(campaign)
    assert any("not as it should be left: safe, not parked: arm: [1016] unreachable" in said for said in campaign.troubles)


def test_an_order_that_somebody_has_taken_back_makes_room_for_another(bench: Bench) -> None:
    campaign = Campaign(bench, n=3)
    begin, taken_back = campaign.begin, [Outdated("trial 2 has been taken back")]

    def begin_what_stands(order: Order) -> tuple[Order, Journal] | None:
        if order.trial == 1 and taken_back:
            raise taken_back.pop()
        return begin(order)

    campaign.begin = begin_what_stands  # type: ignore[method-assign]
    bench.run(campaign)
    assert campaign.measured_samples == ["s0", "s2"]
