"""The hotplate bridge: NAMUR lines, and the controller against the simulated hotplate over a real line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from firmware_bridges import hotplate, namur
from firmware_bridges.controller import BridgeSettings
from firmware_bridges.hotplate import HotplateController
from lab.core.errors import CommandError, LimitError, LinkDown, LinkGarbled, LinkTimeout

INSTRUMENTS: dict[str, Any] = {"hotplate": {"kind": "hotplate", "limits": {"TEMPERATURE": [0, 200]}}}


def test_commands_are_lines_as_the_manual_has_them() -> None:
    assert namur.encode("IN_PV_2") == b"IN_PV_2 \r\n"
    assert namur.encode("OUT_SP_1", "60") == b"OUT_SP_1 60 \r\n"


def test_a_line_of_more_than_80_characters_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed: 80"):
        namur.encode("IN_" + "X" * 78)


@pytest.mark.parametrize(("raw", "value"), [(b"24.8 2 \r\n", 24.8), (b"24.8 2\r\n", 24.8), (b"-3.0 2 \r\n", -3.0), (b"60.0 \r\n", 60.0)])
def test_readings_of_a_channel_are_read(raw: bytes, value: float) -> None:
    assert namur.is_complete(raw)
    assert namur.reading(raw, 2) == value


@pytest.mark.parametrize("raw", [b"24.8 1 \r\n", b"24.8 2 \r\n25.0 2 \r\n", b"2x.8 2 \r\n", b"\r\n", b"RCT digital \r\n"])
def test_what_is_no_reading_of_the_channel_is_garbled(raw: bytes) -> None:
    with pytest.raises(LinkGarbled, match="no reading of channel 2") as caught:
        namur.reading(raw, 2, b"IN_PV_2 \r\n")
    assert (caught.value.request, caught.value.reply) == (b"IN_PV_2 \r\n", raw)


def test_a_name_is_read() -> None:
    assert namur.name(b"C-MAG HS7 \r\n") == "C-MAG HS7"
    with pytest.raises(LinkGarbled, match="no name"):
        namur.name(b"24.8 2 \r\n")


@given(st.floats(-99, 999), st.integers(1, 5))
def test_a_reading_is_complete_with_its_last_byte_and_reads_as_it_was_meant(value: float, channel: int) -> None:
    line = f"{value:.1f} {channel} \r\n".encode()
    assert not any(namur.is_complete(line[:n]) for n in range(len(line)))
    assert namur.reading(line, channel) == float(f"{value:.1f}")


@given(st.binary(max_size=40))
def test_no_bytes_whatever_crash_the_decoder(raw: bytes) -> None:
    for read in (lambda: namur.reading(raw, 2), lambda: namur.name(raw)):
        try:
            read()
        except LinkGarbled:
            pass


@pytest.mark.parametrize(("value", "text"), [(60.0, "60"), (60.25, "60.2"), (0.0, "0"), (300.0, "300")])
def test_set_values_have_the_instruments_resolution(value: float, text: str) -> None:
    assert namur.setpoint(value) == text


# ----------------------------------------------------------------------------------------------------- controller


@pytest.fixture(scope="module")
def laboratory(bench: Any) -> Any:
    bench.simulate(INSTRUMENTS, 400.0)
    return bench


def controller_at(endpoint: str) -> HotplateController:
    """Not started: nothing is polled."""
    return hotplate.build(TypeAdapter(BridgeSettings).validate_python(
        {"name": "hotplate", "prefix": "T:", "speed": 400.0, "endpoint": endpoint, "config": INSTRUMENTS["hotplate"]}))


@pytest.fixture()
def plate(laboratory: Any, until: Callable[..., None]) -> Iterator[HotplateController]:
    controller = controller_at(laboratory.sim.ready["endpoints"]["hotplate"])
    controller.start()
    until(lambda: controller.is_connected)
    yield controller
    laboratory.clear()
    controller.stop()


def test_identity_and_readings_are_there_at_once(plate: HotplateController) -> None:
    assert plate.value("IDENTITY") == "C-MAG HS7"
    assert plate.value("HEAT_RBV") is False
    for key in ("TEMPERATURE_RBV", "PROBE_RBV", "STIR_RBV", "TEMPERATURE_SP", "STIR_SP"):
        assert isinstance(plate.value(key), float)


def test_heating_reaches_the_set_temperature_and_stirring_the_set_speed(plate: HotplateController, until: Callable[..., None]) -> None:
    plate.execute("TEMPERATURE", 60.0)
    assert plate.value("TEMPERATURE_SP") == 60.0
    plate.execute("HEAT", True)
    plate.execute("STIR_RPM", 300.0)
    plate.execute("STIR", True)
    until(lambda: plate.value("TEMPERATURE_RBV") == pytest.approx(60, abs=1) and plate.value("STIR_RBV") == pytest.approx(300, abs=5))


def test_a_temperature_outside_the_laboratorys_limits_is_refused(plate: HotplateController) -> None:
    with pytest.raises(LimitError, match=r"hotplate\.TEMPERATURE: 250 degC is outside 0\.\.200 degC"):
        plate.execute("TEMPERATURE", 250.0)


def test_a_set_value_lost_on_the_line_is_sent_again(laboratory: Any, plate: HotplateController) -> None:
    for target in (50.0, 55.0, 50.0):
        laboratory.fault("hotplate", "drop", side="request")
        plate.execute("TEMPERATURE", target)
        assert plate.value("TEMPERATURE_SP") == target


def test_a_set_value_that_the_instrument_does_not_keep_is_a_failure(plate: HotplateController, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plate, "_ask", lambda query, channel: 42.0)
    with pytest.raises(CommandError, match="told OUT_SP_1 90 degC 3 times, it keeps 42 degC"):
        plate.execute("TEMPERATURE", 90.0)


@pytest.mark.parametrize("kind", ["drop", "corrupt", "truncate", "delay", "unsolicited"])
def test_one_fault_of_the_line_costs_nothing_but_time(laboratory: Any, plate: HotplateController, kind: str) -> None:
    laboratory.fault("hotplate", kind)
    plate.execute("TEMPERATURE", 70.0)
    assert plate.value("TEMPERATURE_SP") == 70.0
    assert plate.is_connected


def test_after_a_loss_of_the_line_heater_and_stirrer_stay_off_and_the_bridge_says_so(
        laboratory: Any, plate: HotplateController, until: Callable[..., None]) -> None:
    plate.execute("TEMPERATURE", 80.0)
    plate.execute("HEAT", True)
    plate.execute("STIR", True)
    laboratory.fault("hotplate", "unplug")
    until(lambda: not plate.is_connected)
    assert "hotplate" in plate._causes["TEMPERATURE_RBV"]
    with pytest.raises(LinkDown, match="hotplate: TEMPERATURE: not connected"):
        plate.execute("TEMPERATURE", 90.0)
    laboratory.clear()
    until(lambda: plate.is_connected)
    assert plate.value("HEAT_RBV") is False
    assert "on when the line was lost, and switched off now: heater, stirrer" in str(plate.value("LAST_ERROR"))
    until(lambda: plate.value("STIR_RBV") == 0.0)


def test_a_silent_instrument_puts_every_reading_into_alarm(laboratory: Any, plate: HotplateController, until: Callable[..., None]) -> None:
    laboratory.fault("hotplate", "hang")
    until(lambda: not plate.is_connected)
    assert "no complete reply within 0.5 s" in plate._causes["TEMPERATURE_RBV"]
    laboratory.clear()
    until(lambda: plate.is_connected)
    assert plate._causes["TEMPERATURE_RBV"] == ""


def test_safe_and_reset_switch_everything_off(plate: HotplateController, until: Callable[..., None]) -> None:
    for command in ("SAFE", "RESET"):
        plate.execute("HEAT", True)
        plate.execute("STIR", True)
        plate.execute(command, 1)
        assert plate.value("HEAT_RBV") is False
        until(lambda: plate.value("STIR_RBV") == 0.0)


def test_a_watchdog_that_was_not_fed_in_time_counts_as_a_loss_of_the_line(plate: HotplateController, until: Callable[..., None]) -> None:
    plate.execute("HEAT", True)
    plate._fed_at -= hotplate.WATCHDOG_S
    until(lambda: "on when the line was lost" in str(plate.value("LAST_ERROR")))
    assert plate.value("HEAT_RBV") is False


def test_a_reading_that_jumps_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    plate = controller_at("serial:///dev/null")
    answers = iter([64.0, 24.1])
    monkeypatch.setattr(plate, "_ask", lambda query, channel: next(answers))
    assert plate._plausible("IN_PV_2", 2, 24.0) == 24.1


def test_a_query_is_given_up_after_three_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    plate = controller_at("serial:///dev/null")
    attempts: list[bytes] = []

    def silent(request: bytes, *_: object) -> float:
        attempts.append(request)
        raise LinkTimeout("hotplate: no complete reply", request)

    monkeypatch.setattr(plate._link, "transact", silent)
    with pytest.raises(LinkTimeout, match="no complete reply"):
        plate._ask("IN_PV_2", 2)
    assert attempts == 3 * [b"IN_PV_2 \r\n"]
