"""Leaving the instruments safe, and getting them ready: one that does not answer keeps no other from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bluesky.utils import RunEngineInterrupted
from work_cell import UNPLUGGED, Bench, Campaign

from lab.core.errors import CommandError, LedgerError, LinkDown
from plans.safe import make_safe, ready, safe_now

MADE_SAFE = ["heater_a safe", "heater_b safe", "synthesiser safe", "arm safe", "detector safe", "arm park"]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def made_safe(bench: Bench) -> list[str]:
    """What was made safe at the end, in order."""
    return [line for line in bench.log if line.endswith("safe") or line == "arm park"][-len(MADE_SAFE):]


def returned(bench: Bench, plan: Callable[[], Any]) -> Any:
    """What a plan returns."""
    found = []

    def outer() -> Any:
        found.append((yield from plan()))

    bench.RE(outer())
    return found[0]


def test_what_burns_is_made_safe_first_then_what_spills_then_what_moves(bench: Bench) -> None:
    bench.run(Campaign(bench, n=0))
    assert made_safe(bench) == MADE_SAFE


def test_one_dead_instrument_keeps_no_other_from_being_made_safe(bench: Bench) -> None:
    bench.synthesiser.fails["safe"] = [LinkDown("pump: no answer")]
    campaign = Campaign(bench, n=0)
    bench.run(campaign)
    assert made_safe(bench) == MADE_SAFE
    assert campaign.troubles == ["synthesiser: not safe: pump: no answer"]


def test_an_arm_that_cannot_be_parked_is_said_to_be_safe_but_not_parked(bench: Bench) -> None:
    bench.arm.lasts_s["park"] = 0.0
    bench.arm.fails["park"] = [CommandError("arm: [1016] unreachable")]
    assert returned(bench, lambda: make_safe(bench.cell))["arm"] == "safe, not parked: arm: [1016] unreachable"


def test_instruments_that_are_well_are_left_alone_before_a_step(bench: Bench) -> None:
    assert returned(bench, lambda: ready(bench.cell.instruments, 0.0)) == {}
    assert bench.log == []


def test_what_is_not_ready_is_tried_again_until_patience_ends(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plans.safe.AGAIN_S", 0.0)
    bench.arm.fails["recover"] = [LinkDown("arm: no answer")]
    bench.arm.health = lambda: UNPLUGGED  # type: ignore[method-assign]
    assert returned(bench, lambda: ready([bench.arm], 30.0)) == {}
    assert bench.log == ["arm recover", "arm recover"]
    bench.arm.fails["recover"] = [LinkDown("arm: no answer")]
    assert returned(bench, lambda: ready([bench.arm], 0.0)) == {"arm": "arm: no answer"}


def test_without_a_run_engine_each_instrument_says_whether_it_is_safe(bench: Bench) -> None:
    bench.arm.fails["safe"] = [LinkDown("arm: no answer")]
    assert safe_now((bench.heater, bench.arm), deadline_s=1.0) == {"heater_a": "safe", "arm": "arm: no answer"}


@pytest.mark.parametrize("document", ["start", "event", "stop"])
def test_a_document_that_cannot_be_written_ends_the_campaign_safely(bench: Bench, document: str) -> None:
    def write(name: str, doc: dict[str, Any]) -> None:
        if name == document:
            raise LedgerError("documents: run.jsonl: cannot be written: No space left on device")

    bench.RE.subscribe(write)
    campaign = Campaign(bench, n=5)
    with pytest.raises(LedgerError, match="No space left on device"):
        bench.run(campaign)
    assert campaign.n_begun < 5
    assert made_safe(bench) == MADE_SAFE


def test_an_abort_from_outside_makes_safe_too(bench: Bench) -> None:
    campaign = Campaign(bench, n=3)
    bench.detector.lasts_s["trigger"] = math.inf
    bench.detector.before["trigger"] = bench.abort
    with pytest.raises(RunEngineInterrupted):
        bench.run(campaign)
    assert made_safe(bench) == MADE_SAFE
    assert campaign.troubles == []


def test_a_move_that_fails_because_it_is_stopped_does_not_fail_the_stop(bench: Bench) -> None:
    campaign = Campaign(bench)
    bench.arm.lasts_s["pick"] = math.inf
    bench.arm.before["pick"] = bench.abort
    with pytest.raises(RunEngineInterrupted):
        bench.run(campaign)
    assert campaign.troubles == []
    assert made_safe(bench) == MADE_SAFE


def test_a_heater_is_switched_off_by_its_own_anneal_when_that_is_aborted(bench: Bench) -> None:
    bench.heater.lasts_s["heat"] = math.inf
    bench.heater.before["heat"] = bench.abort
    with pytest.raises(RunEngineInterrupted):
        bench.run(Campaign(bench))
    assert bench.log.index("heater_a off") < bench.log.index("heater_a stirrer set 0") < bench.log.index("heater_a safe")
