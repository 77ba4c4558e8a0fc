"""One sample, from its slot and back: what is announced, what is confirmed, what is done when a step fails."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from bluesky.utils import RunEngineInterrupted
from work_cell import UNPLUGGED, Bench, Campaign, Question, drops

from lab.core.capabilities import ArmMove, Health, Pick, Place
from lab.core.errors import CommandError, ConsumableError, GapError, LedgerError, LinkDown, NotBegun
from lab.core.recovery import Choice, Rule
from lab.core.sample import GRIPPER, UNKNOWN
from plans.life import Stuck

STALLED = "pump cs: stalled"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once what would be tried again after a second."""
    monkeypatch.setattr("plans.life.AGAIN_S", 0.0)
    monkeypatch.setattr("plans.safe.AGAIN_S", 0.0)


# ------------------------------------------------------------------------------------------------ all goes well


def test_every_act_is_announced_before_it_is_done_and_confirmed_after(bench: Bench) -> None:
    campaign = Campaign(bench)
    bench.run(campaign)
    assert not campaign.failures
    wanted = [
        "s0 run opened",
        "s0 announced rack.1 -> gripper", "arm pick rack.1", "s0 at gripper", "s0 announced gripper -> spin", "arm place spin", "s0 at spin",
        "announced dose s0:dose", "synthesiser dose cs=0.250 fa=0.750", "dose done {'cs': 0.245, 'fa': 0.735}",
        "arm pick spin", "arm place plate_a", "heater_a stirrer set 300", "heater_a heat 120", "heater_a off", "heater_a stirrer set 0",
        "arm pick plate_a", "arm place stage", "detector stage", "detector trigger", "detector unstage", "s0 measured",
        "arm pick stage", "arm place rack.1", "s0 at rack.1"]
    positions = [bench.log.index(line) for line in wanted]
    assert positions == sorted(positions)


def test_the_documents_of_a_sample_are_one_run_with_a_stream_for_each_step(bench: Bench) -> None:
    bench.run(Campaign(bench))
    streams = [doc["name"] for name, doc in bench.documents if name == "descriptor"]
    assert streams == ["dosing", "annealing", "primary"]
    assert [doc["sample"] for name, doc in bench.documents if name == "start"] == ["s0"]
    assert [doc["exit_status"] for name, doc in bench.documents if name == "stop"] == ["success"]


def test_the_evaluation_begins_while_the_sample_is_still_on_its_way_back(bench: Bench) -> None:
    bench.run(Campaign(bench))
    assert bench.log.index("s0 measured") < bench.log.index("arm pick stage")


# ----------------------------------------------------------------------------------------------- what is lost


def test_a_failed_step_costs_only_its_sample(bench: Bench) -> None:
    bench.synthesiser.fails["dose"] = [CommandError(STALLED)]
    campaign = Campaign(bench, n=2)
    bench.run(campaign)
    assert [str(e) for e in campaign.failures] == [STALLED]
    assert campaign.measured_samples == ["s1"]
    stops = {doc["exit_status"]: doc["reason"] for name, doc in bench.documents if name == "stop"}
    assert stops == {"fail": STALLED, "success": ""}


def test_a_failed_sample_is_put_away_so_that_its_station_is_free(bench: Bench) -> None:
    bench.synthesiser.fails["dose"] = [CommandError(STALLED)]
    campaign = Campaign(bench)
    bench.run(campaign)
    assert campaign.places == {"s0": "rack.1"}
    assert bench.log.index("arm pick spin") > bench.log.index("announced dose s0:dose")


def test_a_sample_that_could_not_be_taken_is_where_it_was(bench: Bench) -> None:
    bench.arm.fails["pick"] = [CommandError("arm: [3005] collision")]
    campaign = Campaign(bench)
    bench.run(campaign)
    assert "s0 move failed, at rack.1: arm: [3005] collision" in bench.log
    assert campaign.places == {"s0": "rack.1"}


def test_a_sample_left_in_the_gripper_is_put_back_into_its_slot(bench: Bench) -> None:
    bench.arm.fails["place"] = [CommandError("arm: [1016] unreachable")]
    campaign = Campaign(bench)
    bench.run(campaign)
    assert f"s0 move failed, at {GRIPPER}: arm: [1016] unreachable" in bench.log
    assert campaign.places == {"s0": "rack.1"}
    assert "arm pick rack.1" not in bench.log[bench.log.index("arm place spin"):]


@pytest.mark.parametrize("place", ["spin", "rack.1"])
def test_a_sample_of_which_nobody_knows_where_it_is_is_looked_for_and_put_back(bench: Bench, place: str) -> None:
    drops(bench, "spin", place)
    campaign = Campaign(bench)
    bench.run(campaign)
    assert f"s0 move failed, at {UNKNOWN}: arm: the line dropped during the motion" in bench.log
    assert campaign.places == {"s0": "rack.1"}
    assert campaign.troubles == []


def test_a_sample_that_is_looked_for_is_looked_for_at_both_ends_of_its_last_move(bench: Bench) -> None:
    drops(bench, "plate_a", "plate_a")
    campaign = Campaign(bench)
    bench.run(campaign)
    assert "arm pick spin" in bench.log[bench.log.index("arm place plate_a"):]
    assert campaign.places == {"s0": "rack.1"}


def test_a_sample_that_is_found_nowhere_is_said_and_keeps_no_other_from_being_made(bench: Bench) -> None:
    drops(bench, "spin", "the floor")
    campaign = Campaign(bench, n=2)
    bench.run(campaign)
    assert campaign.places == {"s0": UNKNOWN, "s1": "rack.2"}
    assert campaign.troubles == ["sample s0: nobody knows where it is: arm: the gripper found no sample at spin, rack.1"]
    assert campaign.measured_samples == ["s1"]


def test_an_empty_slot_costs_its_trial(bench: Bench) -> None:
    bench.arm.standing.remove("rack.1")
    campaign = Campaign(bench, n=2)
    bench.run(campaign)
    assert [str(e) for e in campaign.failures] == ["arm: no sample at rack.1: the gripper closed on nothing"]
    assert "arm place rack.1" not in bench.log
    assert campaign.places["s1"] == "rack.2"


def test_nothing_is_carried_into_what_may_still_stand_there(bench: Bench) -> None:
    bench.synthesiser.fails["dose"] = [CommandError(STALLED)]
    breaks_at(bench, "spin")
    campaign = Campaign(bench, n=2)
    with pytest.raises(Stuck, match=r"sample s0 is in the way at spin: arm: \[1011\] the robot is in error"):
        bench.run(campaign)
    assert "arm pick rack.2" not in bench.log
    assert campaign.places["s0"] == "spin"


def breaks_at(bench: Bench, place: str) -> None:
    """The arm cannot take anything from `place`."""
    carry_out = bench.arm.set

    def broken(move: ArmMove) -> object:
        if move == Pick(place):
            bench.arm.fails["pick"] = [CommandError("arm: [1011] the robot is in error")]
        return carry_out(move)

    bench.arm.set = broken  # type: ignore[method-assign, assignment]


def test_putting_a_sample_away_is_tried_again_as_long_as_patience_lasts(bench: Bench) -> None:
    bench.synthesiser.fails["dose"] = [CommandError(STALLED)]
    bench.arm.before["pick"] = lambda: bench.arm.fails.update(pick=[])
    bench.synthesiser.before["dose"] = lambda: bench.arm.fails.update(pick=[CommandError("arm: [1011] in error")] * 3)
    campaign = Campaign(bench, patience_s=30.0)
    bench.run(campaign)
    assert campaign.places == {"s0": "rack.1"}
    assert bench.log.count("arm pick spin") == 4


def test_the_arm_is_readied_before_it_is_tried_again(bench: Bench) -> None:
    bench.synthesiser.fails["dose"] = [CommandError(STALLED)]
    bench.synthesiser.before["dose"] = lambda: bench.arm.fails.update(pick=[CommandError("arm: [1011] in error")])
    bench.run(Campaign(bench, patience_s=30.0))
    first, again = [n for n, line in enumerate(bench.log) if line == "arm pick spin"]
    assert "arm recover" in bench.log[first:again]


def test_an_instrument_that_went_while_idle_is_waited_for_and_costs_no_sample(bench: Bench) -> None:
    answers = iter([UNPLUGGED])
    bench.arm.health = lambda: next(answers, Health(True, "arm", "ready", "", 0.1))  # type: ignore[method-assign]
    campaign = Campaign(bench)
    bench.run(campaign)
    assert not campaign.failures
    assert bench.log.count("arm recover") == 3  # at the start, when it had gone, and before it parks


def test_a_sample_is_not_begun_while_an_instrument_is_not_ready(bench: Bench) -> None:
    bench.arm.health = lambda: UNPLUGGED  # type: ignore[method-assign]
    bench.arm.fails["recover"] = [LinkDown("arm: no answer")] * 99999
    campaign = Campaign(bench)
    bench.run(campaign)
    assert [type(error) for error in campaign.failures] == [NotBegun]
    assert str(campaign.failures[0]) == "not begun: arm is not ready: arm: no answer"
    assert not any("pick" in line for line in bench.log)


def test_records_that_cannot_be_written_end_the_campaign_at_once(bench: Bench) -> None:
    campaign = Campaign(bench, n=3)

    def full(origin: str, target: str) -> int:
        raise LedgerError("ledger: disk full")

    bench.synthesiser.before["dose"] = lambda: setattr(campaign.journals["s0"], "move_announced", full)
    with pytest.raises(LedgerError, match="disk full"):
        bench.run(campaign)
    assert "arm pick spin" not in bench.log
    assert campaign.failures == []


# ----------------------------------------------------------------------------------------------- time limits


def test_a_step_that_would_come_too_late_is_not_done_and_the_sample_is_made_anew_once(bench: Bench) -> None:
    campaign = Campaign(bench, settings={"max_gap_s": 40.0})
    delays_pick(bench, "spin", 50.0)
    bench.run(campaign)
    assert campaign.remade == [("s0", "60 s have gone by since cast, and anneal has not begun; allowed: 40 s (max_gap_s)")]
    assert campaign.measured_samples == ["s0.2"]
    assert campaign.places == {"s0": "rack.1", "s0.2": "rack.2"}


def test_a_sample_that_is_late_a_second_time_has_failed(bench: Bench) -> None:
    campaign = Campaign(bench, settings={"max_gap_s": 40.0})
    delays_pick(bench, "spin", 50.0, 50.0)
    bench.run(campaign)
    assert [sample for sample, _ in campaign.remade] == ["s0"]
    assert campaign.failed_samples == ["s0.2"]
    assert isinstance(campaign.failures[0], GapError)


def delays_pick(bench: Bench, place: str, *lasts_s: float) -> None:
    """Taking a sample from `place` lasts so long, each time."""
    carry_out, left = bench.arm.set, list(lasts_s)

    def slow(move: ArmMove) -> object:
        is_slow = move == Pick(place) and bool(left)
        bench.arm.lasts_s["pick"] = left.pop(0) if is_slow else 10.0
        return carry_out(move)

    bench.arm.set = slow  # type: ignore[method-assign, assignment]


def test_a_sample_for_which_too_little_of_a_liquid_is_left_is_put_away_undosed_and_made_again(bench: Bench) -> None:
    campaign = Campaign(bench)

    def too_little(key: str, volumes_ml: object) -> None:
        raise ConsumableError("liquid:cs: 0.1 mL left")

    bench.arm.before["place"] = lambda: setattr(campaign.journals["s0"], "dose_announced", too_little)
    bench.run(campaign)
    assert campaign.remade == [("s0", "liquid:cs: 0.1 mL left")]
    assert campaign.measured_samples == ["s0.2"]
    assert sum("synthesiser dose" in line for line in bench.log) == 1


# ------------------------------------------------------------------------------------------------------- rules


def test_a_step_is_tried_again_as_often_as_the_rule_says_then_the_next_rule_decides(bench: Bench) -> None:
    bench.detector.fails["trigger"] = [CommandError("detector: no light")] * 3
    campaign = Campaign(bench, rules=[Rule(error="CommandError", step="measure", do="retry", times=2), Rule(do="remake")])
    bench.run(campaign)
    assert bench.log.count("detector trigger") == 4
    assert [sample for sample, _ in campaign.remade] == ["s0"]
    assert campaign.measured_samples == ["s0.2"]


def test_a_retry_is_said_and_the_instruments_are_readied_before_it(bench: Bench) -> None:
    bench.detector.fails["trigger"] = [CommandError("detector: no light")]
    campaign = Campaign(bench, rules=[Rule(do="retry")])
    bench.run(campaign)
    first, again = [n for n, line in enumerate(bench.log) if line == "detector trigger"]
    assert "detector recover" in bench.log[first:again]
    assert campaign.troubles == ["sample s0: measure: detector: no light; trying again"]
    assert campaign.measured_samples == ["s0"]


def test_a_rule_may_say_that_nothing_is_done_before_a_retry(bench: Bench) -> None:
    bench.detector.fails["trigger"] = [CommandError("detector: no light")]
    bench.run(Campaign(bench, rules=[Rule(do="retry", after="nothing", wait_s=0.01)]))
    first, again = [n for n, line in enumerate(bench.log) if line == "detector trigger"]
    assert "detector recover" not in bench.log[first:again]


def test_a_step_that_has_changed_the_sample_is_never_tried_again(bench: Bench) -> None:
    bench.synthesiser.fails["dose"] = [CommandError(STALLED)]
    campaign = Campaign(bench, rules=[Rule(do="retry", times=9)])
    bench.run(campaign)
    assert bench.log.count("announced dose s0:dose") == 1
    assert campaign.failed_samples == ["s0"]


def test_a_failed_transfer_is_tried_again_from_where_the_sample_is(bench: Bench) -> None:
    bench.arm.fails["place"] = [CommandError("arm: [1016] unreachable")]
    campaign = Campaign(bench, rules=[Rule(step="transfer", do="retry")])
    bench.run(campaign)
    assert campaign.measured_samples == ["s0"]
    assert bench.log.count("arm pick rack.1") == 1


def test_a_step_may_be_taken_as_done(bench: Bench) -> None:
    bench.heater.fails["heat"] = [CommandError("hotplate: no heat")]
    campaign = Campaign(bench, rules=[Rule(step="anneal", do="finish")])
    bench.run(campaign)
    assert campaign.measured_samples == ["s0"]
    assert not campaign.failures


def test_a_station_that_cannot_be_reached_may_be_left_out(bench: Bench) -> None:
    breaks_to(bench, "plate_a", "plate_b")
    campaign = Campaign(bench, rules=[Rule(step="transfer", do="finish")])
    bench.run(campaign)
    assert "arm place stage" in bench.log
    assert campaign.measured_samples == ["s0"]
    assert campaign.places == {"s0": "rack.1"}


def breaks_to(bench: Bench, *places: str) -> None:
    """The arm cannot put anything down at these places."""
    carry_out = bench.arm.set

    def broken(move: ArmMove) -> object:
        if isinstance(move, Place) and move.place in places:
            bench.arm.fails["place"] = [CommandError("arm: [1016] unreachable")]
        return carry_out(move)

    bench.arm.set = broken  # type: ignore[method-assign, assignment]


def test_a_rule_may_end_the_campaign_once_the_other_samples_are_done(bench: Bench) -> None:
    bench.heater.fails["heat"] = [CommandError("hotplate: no heat")]
    campaign = Campaign(bench, n=9, rules=[Rule(do="stop")])
    bench.run(campaign)
    assert campaign.stopped == "hotplate: no heat"
    assert campaign.failed_samples == ["s0"]
    assert set(campaign.measured_samples) == {sample for sample in campaign.journals if sample != "s0"}
    assert campaign.n_begun < 9


# ------------------------------------------------------------------------------------------------- questions


def asking(bench: Bench, **rule: object) -> Campaign:
    """A campaign that asks when an exposure fails; the first one does."""
    bench.detector.fails["trigger"] = [CommandError("detector: no light")]
    return Campaign(bench, rules=[Rule(do="ask", **rule)])  # type: ignore[arg-type]


@pytest.mark.parametrize(("choice", "measured", "remade", "failed"), [
    (Choice.RETRY, ["s0"], [], []), (Choice.REMAKE, ["s0.2"], ["s0"], []), (Choice.FINISH, ["s0"], [], []),
    (Choice.SKIP, [], [], ["s0"]), (Choice.STOP, [], [], ["s0"])])
def test_what_the_operator_answers_is_done(bench: Bench, choice: Choice, measured: list[str], remade: list[str], failed: list[str]) -> None:
    campaign = asking(bench)
    campaign.on_ask = lambda question: question.answer(choice)
    bench.run(campaign)
    assert (campaign.measured_samples, [sample for sample, _ in campaign.remade], campaign.failed_samples) == (measured, remade, failed)
    assert bool(campaign.stopped) == (choice is Choice.STOP)


def test_a_question_has_the_error_in_the_instruments_words_and_what_can_be_done(bench: Bench) -> None:
    campaign = asking(bench, otherwise="remake")
    campaign.on_ask = lambda question: question.answer(Choice.SKIP)
    bench.run(campaign)
    (question,) = campaign.questions
    assert (question.step, str(question.error), question.otherwise) == ("measure", "detector: no light", Choice.REMAKE)
    assert list(question.choices) == list(Choice)


def test_a_step_that_has_changed_the_sample_is_not_offered_again(bench: Bench) -> None:
    bench.synthesiser.fails["dose"] = [CommandError(STALLED)]
    campaign = Campaign(bench, rules=[Rule(do="ask")])
    campaign.on_ask = lambda question: question.answer(Choice.SKIP)
    bench.run(campaign)
    assert Choice.RETRY not in campaign.questions[0].choices


def test_the_sample_stands_in_its_slot_while_the_question_is_open(bench: Bench) -> None:
    campaign = asking(bench)
    seen: list[dict[str, str]] = []

    def later(question: Question) -> None:
        seen.append(campaign.places)
        bench.clock.after(5000.0, lambda: question.answer(Choice.RETRY))

    campaign.on_ask = later
    bench.run(campaign)
    assert seen == [{"s0": "rack.1"}]
    assert campaign.measured_samples == ["s0"]
    assert bench.log.count("arm place stage") == 2


def test_without_an_answer_in_time_the_rule_decides_and_the_question_is_withdrawn(bench: Bench) -> None:
    campaign = asking(bench, within_s=0.01, otherwise="remake")
    bench.run(campaign)
    assert [sample for sample, _ in campaign.remade] == ["s0"]
    assert campaign.questions[0].withdrawn is Choice.REMAKE


def test_an_answer_that_came_at_the_last_moment_counts(bench: Bench) -> None:
    campaign = asking(bench, within_s=0.01, otherwise="remake")

    def last_moment(question: Question) -> None:
        question.withdraw = lambda instead: setattr(question, "choice", Choice.SKIP)  # type: ignore[method-assign]

    campaign.on_ask = last_moment
    bench.run(campaign)
    assert campaign.failed_samples == ["s0"]


def test_a_clean_up_that_fails_while_the_plan_is_aborted_costs_no_sample(bench: Bench) -> None:
    """The simulator died, and with it what the heater is switched off by: the sample is left for the session that resumes."""
    bench.heater.lasts_s["heat"] = math.inf
    bench.heater.before["heat"] = bench.abort
    bench.heater.fails["off"] = [CommandError("heater_a: no bridge serves it")]
    campaign = Campaign(bench)
    with pytest.raises(RunEngineInterrupted):
        bench.run(campaign)
    assert "heater_a off" in bench.log
    assert campaign.failures == []
