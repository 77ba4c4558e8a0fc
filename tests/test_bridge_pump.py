"""The NE-1000 bridge: packets against the manual (1200-01), the controller against the simulated pumps over a real line."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from firmware_bridges import ne1000
from firmware_bridges.controller import BridgeSettings
from firmware_bridges.ne1000 import Reply, decode, encode, is_basic_complete, is_safe_complete
from firmware_bridges.pump import PumpController, build
from lab.core.errors import CommandError, InstrumentError, LimitError, LinkDown, LinkError, LinkGarbled, LinkTimeout

INSTRUMENTS: dict[str, Any] = {
    "pump": {"kind": "pump", "syringes": [{"address": 0, "liquid": "cs"}, {"address": 1, "liquid": "fa"}, {"address": 12, "liquid": "ma"}],
             "limits": {"RATE": [0.01, 20]}},
}
SPEED = 400.0
SLOW_RATE = 0.02
"""mL/min at which 0.05 mL take 0.375 s on the wall: time enough to interfere."""


# -------------------------------------------------------------------------------------------------------- packets


def safe_reply(data: bytes) -> bytes:
    return bytes([2, len(data) + 4]) + data + ne1000.checksum(data) + b"\x03"


def test_the_manuals_checksum_example_holds() -> None:
    assert b"\x02\x08SAF0" + ne1000.checksum(b"SAF0") + b"\x03" == bytes.fromhex("02 08 53 41 46 30 55 43 03")


def test_commands_are_framed_as_the_manual_has_them() -> None:
    assert encode(0, "VER", is_safe=False) == b"0VER\r"
    assert encode(12, "RAT5.000MM", is_safe=False) == b"12RAT5.000MM\r"
    assert encode(3, "", is_safe=False) == b"3\r"
    assert encode(0, "SAF0", is_safe=True)[:2] == b"\x02\x09"


@pytest.mark.parametrize(("raw", "reply"), [
    (b"\x0200S\x03", Reply(0, "S")),
    (b"\x0200SNE1000V3.928\x03", Reply(0, "S", data="NE1000V3.928")),
    (b"\x0200II5.000W0.000ML\x03", Reply(0, "I", data="I5.000W0.000ML")),
    (b"\x0200A?R\x03", Reply(0, "A", alarm="R")),
    (b"\x0200S?OOR\x03", Reply(0, "S", data="?OOR")),
    (b"\xff\x00\x0200P\x03", Reply(0, "P")),
])
def test_basic_replies_are_read(raw: bytes, reply: Reply) -> None:
    assert is_basic_complete(raw)
    assert decode(raw, 0, is_safe=False) == reply


def test_refusals_are_put_into_words() -> None:
    assert Reply(0, "S", data="?OOR").error == "out of range (?OOR)"
    assert Reply(0, "S", data="?NA").error == "not applicable now (?NA)"
    assert Reply(0, "S", data="5.000").error == ""


@pytest.mark.parametrize("raw", [b"\x0200S", b"\x0200Q\x03", b"\x020S\x03", b"\x03", b"\x0200A?\x03", b"\x0200S\x7f\x03", b"\x0200S\x03\x0200S\x03"])
def test_what_is_no_reply_is_garbled_and_carries_its_bytes(raw: bytes) -> None:
    with pytest.raises(LinkGarbled, match="a reply that is none") as caught:
        decode(raw, 0, is_safe=False, request=b"0\r")
    assert (caught.value.request, caught.value.reply) == (b"0\r", raw)


def test_another_pumps_reply_is_garbled() -> None:
    with pytest.raises(LinkGarbled, match="pump 0: pump 1 replied"):
        decode(b"\x0201S\x03", 0, is_safe=False)


addresses = st.integers(0, 99)
datas = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
statuses = st.sampled_from("IWSPTUX")


@given(addresses, statuses, datas, st.booleans())
def test_a_reply_is_complete_with_its_last_byte_and_reads_as_it_was_meant(address: int, status: str, data: str, is_safe: bool) -> None:
    inner = f"{address:02d}{status}{data}".encode()
    packet = safe_reply(inner) if is_safe else b"\x02" + inner + b"\x03"
    is_complete = is_safe_complete if is_safe else is_basic_complete
    assert not any(is_complete(packet[:n]) for n in range(len(packet)))
    assert is_complete(packet)
    assert decode(packet, address, is_safe) == Reply(address, status, data=data)


@given(addresses, statuses, datas, st.data())
def test_safe_mode_notices_every_flipped_bit(address: int, status: str, data: str, choice: st.DataObject) -> None:
    packet = bytearray(safe_reply(f"{address:02d}{status}{data}".encode()))
    bit = choice.draw(st.integers(0, 8 * len(packet) - 1))
    packet[bit // 8] ^= 1 << bit % 8
    with pytest.raises(LinkGarbled, match="pump"):
        decode(bytes(packet), address, is_safe=True)


@given(st.binary(max_size=60), st.booleans())
def test_no_bytes_whatever_crash_the_decoder(raw: bytes, is_safe: bool) -> None:
    _ = is_safe_complete(raw), is_basic_complete(raw)
    try:
        decode(raw, 0, is_safe)
    except LinkGarbled:
        pass


@given(st.floats(0.001, 9999))
def test_numbers_have_at_most_four_digits_and_keep_their_value(value: float) -> None:
    text = ne1000.number(value)
    assert len(text.replace(".", "")) <= 4
    assert float(text) == pytest.approx(value, abs=0.0005 if value < 9.9995 else 0.0005 * value)


@pytest.mark.parametrize("value", [-1.0, 0.0004, 9999.6, float("nan"), float("inf")])
def test_numbers_that_do_not_fit_are_refused(value: float) -> None:
    with pytest.raises(LimitError, match="pump: given"):
        ne1000.number(value)


def test_small_quantities_go_in_microlitres() -> None:
    assert ne1000.volume_argument(0.0333) == ("33.30", "UL")
    assert ne1000.volume_argument(12.0) == ("12.00", "ML")
    assert ne1000.rate_argument(0.01) == "10.00UM"
    assert ne1000.rate_argument(12.345) in ("12.35MM", "12.34MM")


def test_volumes_and_rates_are_read_in_every_unit() -> None:
    assert ne1000.dispensed_ml("I5.000W0.250ML") == (5.0, 0.25)
    assert ne1000.dispensed_ml("I500.0W0.000UL") == (0.5, 0.0)
    assert ne1000.rate_ml_min("120.0MH") == pytest.approx(2.0)
    assert ne1000.rate_ml_min("1500.UM") == pytest.approx(1.5)
    with pytest.raises(ValueError, match="given '26.70'"):
        ne1000.rate_ml_min("26.70")


# ----------------------------------------------------------------------------------------------------- controller


@pytest.fixture(scope="module")
def laboratory(bench: Any) -> Any:
    bench.simulate(INSTRUMENTS, SPEED)
    return bench


def make(laboratory: Any, until: Callable[..., None], **config: Any) -> PumpController:
    settings = TypeAdapter(BridgeSettings).validate_python(
        {"name": "pump", "prefix": "T:", "speed": SPEED, "endpoint": laboratory.sim.ready["endpoints"]["pump"],
         "config": {**INSTRUMENTS["pump"], **config}})
    controller = build(settings)
    controller.start()
    until(lambda: controller.is_connected)
    return controller


@pytest.fixture()
def pumps(laboratory: Any, until: Callable[..., None]) -> Iterator[PumpController]:
    made = make(laboratory, until)
    yield made
    laboratory.clear()
    made.stop()


def doing(controller: PumpController, key: str, value: object) -> tuple[threading.Thread, list[InstrumentError]]:
    """A command in a thread of its own, and the error it ends with."""
    errors: list[InstrumentError] = []

    def carry_out() -> None:
        try:
            controller.execute(key, value)
        except InstrumentError as error:
            errors.append(error)

    thread = threading.Thread(target=carry_out)
    thread.start()
    return thread, errors


def slow_dose(controller: PumpController, until: Callable[..., None], volume_ml: float = 1.0) -> tuple[threading.Thread, list[InstrumentError]]:
    """A dose under way, of 7.5 s: whatever ends it comes first."""
    controller.execute("0:RATE", SLOW_RATE)
    thread, errors = doing(controller, "0:DISPENSE", volume_ml)
    until(lambda: controller.value("0:STATUS") == "infusing")
    return thread, errors


def test_a_pump_is_set_up_as_lab_yaml_has_it(pumps: PumpController) -> None:
    assert pumps.value("IDENTITY") == "NE1000V3.928 (0, 1, 12)"
    assert pumps.value("12:DIAMETER_RBV") == 26.7
    assert pumps.value("12:RATE_RBV") == 5.0
    assert pumps.value("12:STATUS") == "stopped"
    assert pumps.value("12:ALARM") == ""


def test_a_dose_ends_with_the_volume_that_the_pump_counted(pumps: PumpController) -> None:
    pumps.execute("0:DISPENSE", 0.3333)
    assert pumps.value("0:DISPENSED") == pytest.approx(0.3333, abs=1e-4)
    pumps.execute("0:WITHDRAW", 0.1)
    assert pumps.value("0:WITHDRAWN") == pytest.approx(0.1)


def test_basic_mode_works_too(laboratory: Any, until: Callable[..., None]) -> None:
    controller = make(laboratory, until, is_safe_mode=False)
    controller.execute("1:DISPENSE", 0.2)
    assert controller.value("1:DISPENSED") == pytest.approx(0.2)
    controller.stop()


def test_several_pumps_dispense_at_once(pumps: PumpController, until: Callable[..., None]) -> None:
    for address in (0, 1, 12):
        pumps.execute(f"{address}:RATE", SLOW_RATE)
    threads = [doing(pumps, f"{address}:DISPENSE", 0.15) for address in (0, 1, 12)]
    until(lambda: all(pumps.value(f"{address}:STATUS") == "infusing" for address in (0, 1, 12)))
    for thread, errors in threads:
        thread.join(20)
        assert errors == []


def test_a_rate_is_read_back_as_the_pump_keeps_it(pumps: PumpController) -> None:
    pumps.execute("0:RATE", 12.344)
    assert pumps.value("0:RATE_RBV") == pytest.approx(12.34)


def test_a_rate_outside_the_laboratorys_limits_is_refused_and_nothing_sent(pumps: PumpController) -> None:
    with pytest.raises(LimitError, match=r"pump\.0\.RATE: 25 mL/min is outside 0\.01\.\.20 mL/min"):
        pumps.execute("0:RATE", 25.0)


def test_a_refusal_comes_in_the_pumps_words(pumps: PumpController) -> None:
    pumps.execute("0:DIAMETER", 1.0)
    with pytest.raises(CommandError, match=r"pump\.0: the pump refused 'RAT20.00MM': out of range \(\?OOR\)"):
        pumps.execute("0:RATE", 20.0)
    pumps.execute("0:DIAMETER", 26.7)


def test_stop_ends_a_dose_which_then_fails_and_says_how_much_was_delivered(pumps: PumpController, until: Callable[..., None]) -> None:
    thread, errors = slow_dose(pumps, until)
    pumps.execute("0:STOP", 1)
    thread.join(60)
    assert "told to stop; delivered 0." in str(errors[0])
    assert 0 < float(pumps.value("0:DISPENSED")) < 1.0  # type: ignore[arg-type]
    assert pumps.value("0:STATUS") == "stopped"


def test_a_second_command_during_a_dose_is_refused(pumps: PumpController, until: Callable[..., None]) -> None:
    thread, errors = slow_dose(pumps, until)
    with pytest.raises(CommandError, match=r"pump\.0 \(cs\): RATE refused: a dose is going on"):
        pumps.execute("0:RATE", 1.0)
    pumps.execute("0:STOP", 1)
    thread.join(60)
    assert "told to stop" in str(errors[0])


def test_a_stall_fails_the_dose_in_the_pumps_words_and_reset_clears_the_alarm(
        laboratory: Any, pumps: PumpController, until: Callable[..., None]) -> None:
    thread, errors = slow_dose(pumps, until)
    laboratory.fault("pump", "error", words="stall 0")
    thread.join(60)
    assert isinstance(errors[0], CommandError)
    assert "pump.0 (cs): the motor stalled; delivered 0." in str(errors[0])
    until(lambda: pumps.value("0:STATUS") == "alarm")
    assert pumps.value("0:ALARM") == "the motor stalled"
    pumps.execute("RESET", 1)
    assert (pumps.value("0:STATUS"), pumps.value("0:ALARM")) == ("stopped", "")


def test_a_pump_that_lost_power_in_a_dose_says_that_nobody_knows_how_much_was_delivered(
        laboratory: Any, pumps: PumpController, until: Callable[..., None]) -> None:
    thread, errors = slow_dose(pumps, until)
    laboratory.fault("pump", "power_cycle")
    thread.join(60)
    assert "power was lost during the dose" in str(errors[0])
    assert "not known" in pumps._causes["0:DISPENSED"]
    until(lambda: not pumps.pumps[0].is_reset and pumps.value("0:RATE_RBV") == SLOW_RATE)
    assert "not known" in pumps._causes["0:DISPENSED"], "setting up the pump again must not make an old count valid"
    pumps.execute("0:DISPENSE", 0.01)
    assert (pumps.value("0:DISPENSED"), pumps._causes["0:DISPENSED"]) == (0.01, "")


def test_a_pump_switched_off_and_on_while_idle_is_set_up_again(
        laboratory: Any, pumps: PumpController, until: Callable[..., None], caplog: pytest.LogCaptureFixture) -> None:
    pumps.execute("1:RATE", 3.0)
    pumps.execute("1:DISPENSE", 0.1)
    laboratory.fault("pump", "power_cycle")
    until(lambda: "pump.1 (fa): power was lost; set up again" in caplog.text)
    until(lambda: not pumps.pumps[1].is_reset)
    assert pumps.line.ask(1, "RAT", ne1000.rate_ml_min) == 3.0
    assert pumps.value("1:DISPENSED") == pytest.approx(0.1), "the last dose was over: its count stands"


def test_a_dose_survives_an_unplugged_line_and_is_settled_by_the_pumps_own_count(
        laboratory: Any, pumps: PumpController, until: Callable[..., None]) -> None:
    thread, errors = slow_dose(pumps, until, 0.05)
    laboratory.fault("pump", "unplug")
    until(lambda: not pumps.is_connected)
    laboratory.clear()
    thread.join(60)
    assert errors == []
    assert pumps.value("0:DISPENSED") == pytest.approx(0.05)
    assert int(pumps.value("ERROR_COUNT")) > 0  # type: ignore[call-overload]


def test_while_the_line_is_down_readings_are_invalid_with_the_cause_and_commands_fail(
        laboratory: Any, pumps: PumpController, until: Callable[..., None]) -> None:
    laboratory.fault("pump", "unplug")
    until(lambda: not pumps.is_connected)
    assert pumps.value("CONNECTED") is False
    assert "pump: " in pumps._causes["0:RATE_RBV"]
    with pytest.raises(LinkDown, match=r"pump\.0: RATE: not connected"):
        pumps.execute("0:RATE", 2.0)
    laboratory.clear()
    until(lambda: pumps.is_connected)
    assert pumps._causes["0:RATE_RBV"] == ""


def test_an_alarm_told_unasked_among_other_bytes_is_heard() -> None:
    heap = b"\xff" + safe_reply(b"01A?R") + b"\x02\x08" + safe_reply(b"12A?S") + safe_reply(b"00S") + b"\x0203A?T\x03"
    assert sorted(ne1000.alarms_in(heap)) == [(1, "R"), (3, "T"), (12, "S")]
    assert ne1000.alarms_in(safe_reply(b"01A?R").replace(b"R", b"S")) == []


def test_a_pump_that_ran_and_counts_nothing_has_lost_its_power_even_if_its_alarm_was_not_heard(
        laboratory: Any, pumps: PumpController, until: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    thread, errors = slow_dose(pumps, until)
    monkeypatch.setattr(pumps.line, "_on_alarm", lambda address, alarm: None)
    laboratory.fault("pump", "power_cycle")
    thread.join(60)
    assert "power was lost during the dose" in str(errors[0])
    monkeypatch.undo()
    until(lambda: not pumps.pumps[0].is_reset)
    assert pumps.line.ask(0, "RAT", ne1000.rate_ml_min) == SLOW_RATE


def lost_runs(pumps: PumpController, is_heard: bool) -> InstrumentError | None:
    """A dose whose RUN is lost on the line, or (`is_heard`) the reply to it; the only thing that is."""
    really_once = pumps.line.once

    def once(address: int, command: str) -> Reply:
        if command != "RUN" or is_heard:
            reply = really_once(address, command)
        if command == "RUN":
            raise LinkTimeout("pump: no complete reply")
        return reply

    pumps.line.once = once  # type: ignore[method-assign]
    thread, errors = doing(pumps, "0:DISPENSE", 0.2)
    thread.join(20)
    return errors[0] if errors else None


def test_a_lost_reply_to_run_is_settled_by_asking_and_the_dose_is_given_once(laboratory: Any, pumps: PumpController) -> None:
    before = sum(row["true_ml"] for row in laboratory.sim.ask({"do": "account"})["spills"] if row["address"] == 0)
    assert lost_runs(pumps, is_heard=True) is None
    assert pumps.value("0:DISPENSED") == pytest.approx(0.2)
    after = sum(row["true_ml"] for row in laboratory.sim.ask({"do": "account"})["spills"] if row["address"] == 0)
    assert after - before == pytest.approx(0.2, rel=0.2), "one dose, to the pump's calibration error; not two"


def test_a_run_that_never_arrived_is_not_sent_again(pumps: PumpController) -> None:
    error = lost_runs(pumps, is_heard=False)
    assert isinstance(error, CommandError)
    assert "did not start; delivered 0 of 0.2 mL" in str(error)
    assert pumps.value("0:DISPENSED") == 0.0


def test_a_dose_that_failed_before_the_counter_was_set_to_zero_is_not_counted_with_the_one_before(pumps: PumpController) -> None:
    pumps.execute("0:DISPENSE", 0.2)
    really_once = pumps.line.once

    def once(address: int, command: str) -> ne1000.Reply:
        if command == "CLDINF":
            raise LinkTimeout("pump: no complete reply")
        return really_once(address, command)

    pumps.line.once = once  # type: ignore[method-assign]
    with pytest.raises(LinkTimeout, match="no complete reply"):
        pumps.execute("0:DISPENSE", 0.1)
    pumps.execute("RESET", 1)  # reads the pumps' counters
    assert pumps.value("0:DISPENSED") == 0.0
    pumps.line.once = really_once  # type: ignore[method-assign]
    pumps.execute("0:DISPENSE", 0.1)
    assert pumps.value("0:DISPENSED") == pytest.approx(0.1)


@pytest.mark.parametrize("kind", ["drop", "corrupt", "truncate", "delay", "unsolicited"])
def test_one_fault_of_the_line_costs_a_query_nothing_but_time(laboratory: Any, pumps: PumpController, kind: str) -> None:
    laboratory.fault("pump", kind, after=1)
    for rate in (1.0, 2.0, 3.0):
        pumps.execute("0:RATE", rate)
        assert pumps.value("0:RATE_RBV") == rate


def test_a_noisy_line_never_makes_a_wrong_dose(laboratory: Any, pumps: PumpController) -> None:
    laboratory.fault("pump", "corrupt", probability=0.03, seed=3)
    for _ in range(3):
        try:
            pumps.execute("0:DISPENSE", 0.1)
        except LinkError:
            continue
        assert pumps.value("0:DISPENSED") == pytest.approx(0.1)


def test_one_silent_pump_puts_its_own_channels_into_alarm_and_no_others(
        laboratory: Any, until: Callable[..., None]) -> None:
    syringes = [*INSTRUMENTS["pump"]["syringes"], {"address": 40, "liquid": "nobody"}]
    controller = make(laboratory, until, syringes=syringes)
    assert "no complete reply" in controller._causes["40:STATUS"]
    controller.execute("0:DISPENSE", 0.1)
    with pytest.raises(LinkError, match=r"pump\.40 \(nobody\): DISPENSE: does not answer"):
        controller.execute("40:DISPENSE", 0.1)
    controller.stop()


def test_safe_stops_all_pumps_even_those_in_the_middle_of_a_dose(pumps: PumpController, until: Callable[..., None]) -> None:
    thread, errors = slow_dose(pumps, until)
    pumps.execute("SAFE", 1)
    thread.join(60)
    assert "told to stop" in str(errors[0])


def test_a_stopping_bridge_leaves_no_pump_running(laboratory: Any, pumps: PumpController, until: Callable[..., None]) -> None:
    thread, errors = slow_dose(pumps, until)
    pumps.stop()
    thread.join(60)
    assert errors
    other = make(laboratory, until)
    assert other.value("0:STATUS") == "stopped"
    other.stop()


def test_a_pump_found_running_without_a_dose_of_ours_is_stopped(laboratory: Any, pumps: PumpController, until: Callable[..., None]) -> None:
    pumps.line.tell(0, "RAT20.00UM")
    pumps.line.tell(0, "VOL50.00")
    pumps.line.once(0, "RUN")
    pumps._thread, thread = None, pumps._thread
    pumps._stopping.set()
    assert thread is not None
    thread.join(60)
    pumps._disconnect()
    other = make(laboratory, until)
    assert not other.line.status(0).is_running
    other.stop()
