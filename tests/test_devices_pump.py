"""Pumps as Ophyd devices: over Channel Access, a bridge process and the wire protocol to simulated pumps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import bluesky.plan_stubs as bps
import pytest
from bluesky import RunEngine
from bluesky.utils import FailedStatus

from devices import signals
from devices.pump import PumpBank
from lab.core.capabilities import Instrument
from lab.core.config import PumpBank as Config
from lab.core.errors import CommandError, InstrumentError, LimitError, LinkDown, LinkTimeout

INSTRUMENTS: dict[str, Any] = {
    "pump": {"kind": "pump", "syringes": [{"address": 0, "liquid": "cs"}, {"address": 1, "liquid": "fa"}], "limits": {"RATE": [0.01, 20]}}}
SPEED = 400.0


@pytest.fixture(scope="module")
def laboratory(bench: Any) -> Any:
    bench.simulate(INSTRUMENTS, SPEED)
    bench.bridge("pump", "TDP:")
    return bench


@pytest.fixture(scope="module")
def bank(laboratory: Any) -> Iterator[PumpBank]:
    made = PumpBank("TDP:pump:", name="pump", config=Config.model_validate(INSTRUMENTS["pump"]), speed=SPEED)
    made.wait_for_connection(timeout=200)
    yield made
    laboratory.stop()  # first: clearing a subscription while its events arrive can crash libca
    made.destroy()


@pytest.fixture()
def pumps(laboratory: Any, bank: PumpBank, until: Callable[..., None]) -> Iterator[PumpBank]:
    until(lambda: bank.health().is_connected)
    yield bank
    laboratory.clear()
    until(lambda: bank.health().is_connected)
    bank.make_safe().wait(120)


@pytest.fixture()
def run_engine() -> Iterator[RunEngine]:
    engine = RunEngine({}, context_managers=[])
    yield engine
    engine.loop.call_soon_threadsafe(engine.loop.stop)


def test_a_bank_is_an_instrument_and_says_how_it_is(pumps: PumpBank, until: Callable[..., None]) -> None:
    assert isinstance(pumps, Instrument)
    health = pumps.health()
    assert (health.is_connected, health.identity, health.state, health.cause) == (True, "NE1000V3.928 (0, 1)", "cs stopped, fa stopped", "")
    until(lambda: pumps.health().round_trip_ms > 0)  # told after the first poll


def test_pumps_go_by_the_name_of_their_liquid(pumps: PumpBank) -> None:
    assert pumps.liquids == ("cs", "fa")
    assert pumps["fa"].syringe.address == 1
    with pytest.raises(LimitError, match="pump: given 'pb'; allowed: cs, fa"):
        _ = pumps["pb"]


def test_a_plan_moves_a_rate_and_reads_it_back(pumps: PumpBank, run_engine: RunEngine) -> None:
    seen: list[float] = []

    def plan() -> Any:
        for rate in (2.0, 3.5):
            yield from bps.mv(pumps["cs"].rate, rate)
            seen.append((yield from bps.rd(pumps["cs"].rate)))

    run_engine(plan())
    assert seen == [2.0, 3.5]


def test_setting_a_pump_dispenses_and_the_counted_volume_is_in_the_event(pumps: PumpBank, run_engine: RunEngine) -> None:
    documents: list[tuple[str, Any]] = []

    def plan() -> Any:
        yield from bps.open_run()
        yield from bps.mv(pumps["cs"], 0.3)
        yield from bps.trigger_and_read([pumps])
        yield from bps.close_run()

    run_engine(plan(), lambda name, doc: documents.append((name, doc)))
    event = next(doc for name, doc in documents if name == "event")
    descriptor = next(doc for name, doc in documents if name == "descriptor")
    assert event["data"]["pump_cs_dispensed"] == pytest.approx(0.3)
    assert descriptor["data_keys"]["pump_cs_dispensed"]["units"] == "mL"
    assert "pump_cs_dispensed" in descriptor["hints"]["pump"]["fields"]
    assert descriptor["configuration"]["pump"]["data"]["pump_cs_diameter"] == 26.7


def test_a_value_beyond_the_limits_is_refused_before_it_is_sent(pumps: PumpBank) -> None:
    with pytest.raises(LimitError, match=r"pump_cs\.RATE: 25 mL/min is outside 0\.01\.\.20 mL/min"):
        pumps["cs"].rate.set(25).wait(120)


def test_the_bridge_is_the_last_line_and_refuses_in_its_own_words(pumps: PumpBank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pumps["cs"].rate, "channel", None)
    with pytest.raises(LimitError, match=r"^pump\.0\.RATE: 25 mL/min is outside 0\.01\.\.20 mL/min$"):
        pumps["cs"].rate.set(25).wait(120)


def test_a_failed_command_fails_its_plan_in_the_pumps_words(laboratory: Any, pumps: PumpBank, run_engine: RunEngine,
                                                            until: Callable[..., None]) -> None:
    pumps["cs"].rate.set(0.01).wait(120)
    before_ml = pumps["cs"].dispensed.get()

    def plan() -> Any:
        yield from bps.abs_set(pumps["cs"], 5.0, group="dose")
        until(lambda: pumps["cs"].dispensed.get() not in (0.0, before_ml))
        laboratory.fault("pump", "error", words="stall 0")
        yield from bps.wait("dose")

    with pytest.raises(FailedStatus) as caught:
        run_engine(plan())
    error = caught.value.args[0].exception(0)
    assert isinstance(error, CommandError)
    assert "pump.0 (cs): the motor stalled; delivered 0." in str(error)
    assert 0 < pumps["cs"].dispensed.get() < 5
    assert pumps.health().cause == "cs: the motor stalled"
    pumps.recover().wait(120)
    assert pumps.health().cause == ""


def test_stop_ends_a_dose(pumps: PumpBank, until: Callable[..., None]) -> None:
    pumps["cs"].rate.set(0.01).wait(120)
    status = pumps["cs"].set(1.0)
    until(lambda: pumps["cs"].status_word.get() == "infusing")
    pumps["cs"].stop()
    with pytest.raises(CommandError, match="told to stop"):
        status.wait(120)


def test_a_second_dose_is_refused_rather_than_queued(pumps: PumpBank, until: Callable[..., None]) -> None:
    pumps["fa"].rate.set(0.01).wait(120)
    status = pumps["fa"].set(1.0)
    until(lambda: pumps["fa"].status_word.get() == "infusing")
    with pytest.raises(CommandError, match="pump_fa_dispense: refused: the last one is still going on"):
        pumps["fa"].set(1.0).wait(120)
    pumps.make_safe().wait(120)
    with pytest.raises(CommandError, match="told to stop"):
        status.wait(120)


def test_a_reading_that_is_missing_is_a_failure_with_its_cause(laboratory: Any, pumps: PumpBank, until: Callable[..., None]) -> None:
    laboratory.fault("pump", "unplug")
    until(lambda: not pumps.health().is_connected)
    with pytest.raises(InstrumentError, match=r"pump_cs_rate: no valid reading: pump: "):
        pumps["cs"].rate.get()
    with pytest.raises(InstrumentError, match="no valid reading"):
        pumps.read()
    with pytest.raises(InstrumentError, match="no valid reading"):
        pumps["cs"].set(0.1).wait(120)
    with pytest.raises(LinkDown, match=r"pump\.0: RATE: not connected"):
        pumps["cs"].rate.set(1.0).wait(120)
    assert "pump: " in pumps.health().cause


def test_a_deadline_is_an_error_of_ours_that_says_what_was_waited_for(pumps: PumpBank) -> None:
    pumps["cs"].rate.set(0.01).wait(120)
    with pytest.raises(LinkTimeout, match=r"pump_cs_dispense = 1\.0: not done within 0\.2 s"):
        pumps["cs"].dispense.set(1.0, timeout=0.2).wait(120)


def test_commands_given_at_once_are_carried_out_one_after_another(pumps: PumpBank) -> None:
    statuses = [pumps["cs"].rate.set(rate) for rate in (1.0, 2.0, 25.0, 3.0)]
    for status, error in zip(statuses, (None, None, LimitError, None), strict=True):
        assert isinstance(status.exception(20), error or type(None))
    assert pumps["cs"].rate.get() == 3.0


def test_an_error_text_that_is_late_is_asked_for_again(pumps: PumpBank, monkeypatch: pytest.MonkeyPatch) -> None:
    n_asked = 0

    def answer(pv: Any) -> Any:
        nonlocal n_asked
        n_asked += 1
        return None if n_asked < 3 else network(pv)

    network = signals._over_the_network
    monkeypatch.setattr(signals, "_over_the_network", answer)
    pumps["cs"].rate.set(2.0).wait(120)
    monkeypatch.setattr(pumps["cs"].rate, "channel", None)
    n_asked = 0
    with pytest.raises(LimitError, match="25 mL/min is outside"):
        pumps["cs"].rate.set(25).wait(120)


def test_a_command_whose_outcome_the_bridge_does_not_tell_has_failed(pumps: PumpBank, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(signals, "_over_the_network", lambda pv: None)
        patch.setattr(signals, "ANSWER_S", 0.05)
        with pytest.raises(LinkTimeout, match="does not answer for TDP:pump:0:RATE:ERR; what the instrument did is not known"):
            pumps["cs"].rate.set(2.0).wait(120)
    pumps["cs"].rate.set(2.0).wait(120)


def test_a_killed_bridge_fails_what_waits_for_it_and_a_new_one_is_found_again(
        laboratory: Any, pumps: PumpBank, until: Callable[..., None]) -> None:
    pumps["cs"].rate.set(0.01).wait(120)
    status = pumps["cs"].set(5.0)
    until(lambda: pumps["cs"].status_word.get() == "infusing")
    laboratory.bridges["pump"].popen.kill()
    with pytest.raises(LinkDown, match="the bridge that serves TDP:pump:0:DISPENSE is gone"):
        status.wait(120)
    assert not pumps.health().is_connected
    with pytest.raises(LinkDown, match="no bridge serves|the bridge that serves .* is gone"):  # libca tells of one channel after the other
        pumps["cs"].rate.get(connection_timeout=0.1)
    laboratory.bridges["pump"].stop()
    laboratory.bridge("pump", "TDP:")
    until(lambda: pumps.health().is_connected, 30)
    pumps["cs"].set(0.1).wait(120)
    assert pumps["cs"].dispensed.get() == pytest.approx(0.1)


@pytest.mark.parametrize(("is_connected", "error", "words"), [(False, LinkDown, "the bridge that serves X:RATE is gone"), (True, LinkTimeout, "did not answer for X:RATE")])
def test_a_channel_that_goes_while_its_answer_is_waited_for_is_gone_and_not_late(
        monkeypatch: pytest.MonkeyPatch, is_connected: bool, error: type[Exception], words: str) -> None:
    monkeypatch.setattr(signals, "_forget_question", lambda _: None)
    pv = SimpleNamespace(pvname="X:RATE", connected=is_connected, get_with_metadata=lambda **_: None)
    with pytest.raises(error, match=words):
        signals._fetch(SimpleNamespace(name="rate", connected=True), pv, None, 0.1)


def test_a_bank_whose_bridge_was_never_there_says_so() -> None:
    absent = PumpBank("NOBODY:pump:", name="pump", config=Config.model_validate(INSTRUMENTS["pump"]), speed=1.0)
    health = absent.health()
    assert not health.is_connected
    assert "no bridge serves NOBODY:pump:" in health.cause
    absent.destroy()
