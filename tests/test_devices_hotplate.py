"""The hotplate as an Ophyd device, down to the simulated instrument."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from devices.hotplate import Hotplate
from lab.core.capabilities import Heater, Instrument, Stirrer
from lab.core.config import Hotplate as Config
from lab.core.errors import CommandError, InstrumentError, LimitError, LinkDown

INSTRUMENTS: dict[str, Any] = {"hotplate": {"kind": "hotplate", "limits": {"TEMPERATURE": [0, 200]}}}
SPEED = 400.0


@pytest.fixture(scope="module")
def laboratory(bench: Any) -> Any:
    bench.simulate(INSTRUMENTS, SPEED)
    bench.bridge("hotplate", "TDH:")
    return bench


@pytest.fixture(scope="module")
def device(laboratory: Any) -> Iterator[Hotplate]:
    made = Hotplate("TDH:hotplate:", name="hotplate", config=Config.model_validate(INSTRUMENTS["hotplate"]), speed=SPEED)
    made.wait_for_connection(timeout=200)
    yield made
    laboratory.stop()  # first: clearing a subscription while its events arrive can crash libca
    made.destroy()


@pytest.fixture()
def plate(laboratory: Any, device: Hotplate, until: Callable[..., None]) -> Iterator[Hotplate]:
    until(lambda: device.health().is_connected, 20)
    yield device
    laboratory.clear()
    until(lambda: device.health().is_connected, 20)
    device.make_safe().wait(60)


def test_it_is_a_heater_with_a_stirrer(plate: Hotplate) -> None:
    assert isinstance(plate, Instrument) and isinstance(plate, Heater) and isinstance(plate.stirrer, Stirrer)
    assert plate.health().identity == "C-MAG HS7"


def test_set_is_done_when_the_plate_is_at_temperature_up_and_down(plate: Hotplate) -> None:
    for target in (60.0, 50.0):
        plate.set(target).wait(120)
        assert plate.temperature.get() == pytest.approx(target, abs=plate.tolerance_c)
        assert plate.power.get() == 1
    assert plate.health().state.startswith("heating to 50 degC")


def test_the_stirrer_starts_and_stops(plate: Hotplate, until: Callable[..., None]) -> None:
    plate.stirrer.set(300).wait(60)
    until(lambda: plate.stirrer.rpm.get() == pytest.approx(300, abs=5))
    plate.stirrer.set(0).wait(60)
    until(lambda: plate.stirrer.rpm.get() == 0)


def test_a_temperature_beyond_the_limits_is_refused_and_the_heater_stays_off(plate: Hotplate) -> None:
    with pytest.raises(LimitError, match=r"hotplate\.TEMPERATURE: 250 degC is outside 0\.\.200 degC"):
        plate.set(250).wait(60)
    assert plate.power.get() == 0


def test_a_plate_that_switched_itself_off_fails_the_ramp_long_before_its_deadline(
        laboratory: Any, plate: Hotplate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devices.hotplate.STALL_MARGIN_S", 0.2)
    laboratory.fault("hotplate", "error", words="overtemperature")
    with pytest.raises(CommandError, match=r"hotplate: stays at .* degC on the way to 190 degC.*look at its display"):
        plate.set(190).wait(120)


def test_off_ends_a_ramp_which_fails(plate: Hotplate) -> None:
    status = plate.set(190)
    ramp_began = plate._ramp
    while ramp_began is None and not status.done:
        ramp_began = plate._ramp
    plate.off().wait(60)
    with pytest.raises(CommandError, match="hotplate: the heater has been switched off"):
        status.wait(60)
    assert plate.power.get() == 0


def test_a_ramp_that_takes_too_long_fails_at_its_deadline(plate: Hotplate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plate, "deadline_s", 1.0)
    monkeypatch.setattr(plate, "tolerance_c", -1.0)
    monkeypatch.setattr("devices.hotplate.COMMAND_S", 0.1)
    with pytest.raises(CommandError, match=r"hotplate: .*190 degC: not done within 0\.3"):
        plate.set(190).wait(60)


def test_an_unplugged_hotplate_fails_the_ramp_and_is_cold_afterwards(
        laboratory: Any, plate: Hotplate, until: Callable[..., None]) -> None:
    status = plate.set(195)
    until(lambda: plate.power.get() == 1)
    laboratory.fault("hotplate", "unplug")
    with pytest.raises(InstrumentError, match="no valid reading: hotplate: "):
        status.wait(60)
    laboratory.clear()
    until(lambda: plate.health().is_connected)
    assert plate.power.get() == 0
    assert "switched off now: heater" in plate.cause()


def test_a_killed_bridge_fails_the_ramp(laboratory: Any, plate: Hotplate, until: Callable[..., None]) -> None:
    status = plate.set(199)
    until(lambda: plate._ramp is not None)
    laboratory.bridges["hotplate"].popen.kill()
    with pytest.raises(LinkDown, match="gone"):
        status.wait(60)
    laboratory.bridges["hotplate"].stop()
    laboratory.bridge("hotplate", "TDH:")
    until(lambda: plate.health().is_connected, 30)


def test_a_question_whose_answer_was_lost_is_asked_again(plate: Hotplate, monkeypatch: pytest.MonkeyPatch) -> None:
    from epics import ca

    from devices import signals

    monkeypatch.setattr(signals, "READ_S", 0.1)
    pv = plate.setpoint._error_pv
    lost = ca.get_cache(pv.pvname).get_results
    lost[ca.promote_type(pv.chid)] = [ca.GET_PENDING]
    lost[pv.ftype] = [ca.GET_PENDING]
    plate.setpoint.set(42.0).wait(60)
    assert plate.setpoint.get() == pytest.approx(42.0, abs=0.1)
