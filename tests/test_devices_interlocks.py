"""Interlocks over Channel Access, down to the simulated controller: each action, each way of not knowing."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from bluesky import Msg, RunEngine
from ophyd.sim import SynAxis

from devices.hotplate import Hotplate
from devices.interlocks import Interlocks
from devices.plc import Plc
from lab.core.config import LabConfig
from lab.core.errors import ConfigError, InterlockError, LimitError
from lab.core.interlocks import InterlockState
from plans.guarded import guarded

INTERLOCKS: dict[str, Any] = {
    "hutch_closed": {"require": "plc.hutch == 1", "reason": "the hutch door is open", "action": "suspend"},
    "coolant_flow": {"require": "plc.coolant > 0.5", "release": "plc.coolant > 1", "unit": "L/min", "reason": "the coolant does not flow",
                     "action": "make_safe", "guards": ["hotplate"]},
    "plate_not_hot": {"require": "hotplate.TEMPERATURE_RBV < 150", "reason": "the plate is too hot", "action": "block", "guards": ["hotplate"]}}

LAB = {"name": "test", "prefix": "TDL:", "speed": 400.0, "interlocks": INTERLOCKS, "instruments": {
    "plc": {"kind": "plc", "inputs": {"hutch": {"discrete": 0}, "coolant": {"register": 3, "scale": 0.01, "unit": "L/min", "initial": 2.0}}},
    "hotplate": {"kind": "hotplate"}}}


@pytest.fixture(scope="module")
def laboratory(bench: Any) -> Any:
    bench.simulate(LAB["instruments"], 400.0)
    for name in ("plc", "hotplate"):
        bench.bridge(name, "TDL:")
    return bench


@pytest.fixture(scope="module")
def devices(laboratory: Any) -> Iterator[dict[str, Any]]:
    lab = LabConfig.model_validate(LAB)
    made = {"plc": Plc("TDL:plc:", name="plc", config=lab.instruments["plc"]), "hotplate": Hotplate("TDL:hotplate:", name="hotplate", speed=400.0)}
    for device in made.values():
        device.wait_for_connection(timeout=200)
    yield made
    laboratory.stop()  # first: clearing a subscription while its events arrive can crash libca
    for device in made.values():
        device.destroy()


class Heard(list[InterlockState]):
    """What interlocks told."""

    def last(self, name: str) -> InterlockState | None:
        return next((state for state in reversed(self) if state.name == name), None)


@pytest.fixture(scope="module")
def watched(laboratory: Any, devices: dict[str, Any]) -> Iterator[tuple[Interlocks, Heard]]:
    heard = Heard()
    interlocks = Interlocks(LabConfig.model_validate(LAB).trips(), devices, "TDL:", heard.append)
    interlocks.start()
    yield interlocks, heard
    interlocks.stop()


@pytest.fixture()
def interlocks(laboratory: Any, watched: tuple[Interlocks, Heard], until: Callable[..., None]) -> Iterator[Interlocks]:
    watching, heard = watched

    def is_over() -> bool:
        """All is well, and what was told last of each says so: no word of the test before comes into this one."""
        told = {one.name: one.is_ok for one in list(heard)}
        return all(state.is_ok for state in watching.states()) and all(told.values())

    until(is_over)
    yield watched[0]
    laboratory.clear()


@pytest.fixture()
def heard(watched: tuple[Interlocks, Heard]) -> Heard:
    watched[1].clear()
    return watched[1]


def state(interlocks: Interlocks, name: str) -> InterlockState:
    return next(one for one in interlocks.states() if one.name == name)


def test_a_plc_is_read_by_the_names_of_its_inputs(interlocks: Interlocks, devices: dict[str, Any]) -> None:
    plc = devices["plc"]
    assert plc.hutch.get() == 1 and plc["coolant"].get() == pytest.approx(2.0)
    assert set(plc.read()) == set(plc.describe()) == {"plc_hutch", "plc_coolant"}
    assert plc.health().state == "hutch 1, coolant 2 L/min"
    with pytest.raises(LimitError, match="given 'hatch'; allowed: hutch, coolant"):
        plc["hatch"]


def test_what_holds_is_well_and_forbids_nothing(interlocks: Interlocks) -> None:
    assert [(one.name, one.is_ok) for one in interlocks.states()] == [(name, True) for name in INTERLOCKS]
    assert state(interlocks, "coolant_flow").value == "plc.coolant = 2 L/min"
    interlocks.check(["hotplate", "plc"])


def test_a_violation_forbids_what_it_guards_with_its_reason_and_nothing_else(
        laboratory: Any, interlocks: Interlocks, heard: Heard, until: Callable[..., None]) -> None:
    laboratory.fault("plc", "input", name="coolant", value=0.31)
    until(lambda: heard)
    with pytest.raises(InterlockError, match=r"^hotplate: must not begin: the coolant does not flow \(interlock coolant_flow: plc\.coolant = 0\.31 L/min; "
                                             r"needed: plc\.coolant > 1 L/min\)$"):
        interlocks.check(["hotplate"])
    interlocks.check(["plc"])
    assert [(one.name, one.is_ok) for one in heard] == [("coolant_flow", False)]
    assert interlocks.signals["coolant_flow"].get() == 0


def test_it_is_well_again_only_beyond_its_release(laboratory: Any, interlocks: Interlocks, heard: Heard, until: Callable[..., None]) -> None:
    laboratory.fault("plc", "input", name="coolant", value=0.2)
    until(lambda: heard)
    laboratory.fault("plc", "input", name="coolant", value=0.8)
    until(lambda: state(interlocks, "coolant_flow").value == "plc.coolant = 0.8 L/min")
    assert not state(interlocks, "coolant_flow").is_ok
    laboratory.clear()
    until(lambda: len(heard) == 2)
    assert [one.is_ok for one in heard] == [False, True] and state(interlocks, "coolant_flow").is_ok


def test_an_instruments_own_channel_is_watched_as_well(
        interlocks: Interlocks, devices: dict[str, Any], until: Callable[..., None]) -> None:
    devices["hotplate"].set(160).wait(120)
    until(lambda: not state(interlocks, "plate_not_hot").is_ok)
    with pytest.raises(InterlockError, match="the plate is too hot"):
        interlocks.check(["hotplate"])
    devices["hotplate"].off().wait(60)
    until(lambda: state(interlocks, "plate_not_hot").is_ok, 60)


def test_an_invalid_reading_is_a_violation_with_the_bridges_cause(laboratory: Any, interlocks: Interlocks, until: Callable[..., None]) -> None:
    laboratory.fault("plc", "unplug")
    until(lambda: not state(interlocks, "hutch_closed").is_ok)
    assert "plc.hutch is not known: interlock plc.hutch: no valid reading: plc: " in state(interlocks, "hutch_closed").value
    laboratory.clear()
    until(lambda: state(interlocks, "hutch_closed").is_ok)


def test_a_defect_of_the_watching_itself_is_a_violation(laboratory: Any, devices: dict[str, Any], until: Callable[..., None]) -> None:
    def fails(changed: InterlockState) -> None:
        raise RuntimeError("a listener's mistake")

    one = Interlocks(LabConfig.model_validate(LAB).trips(), devices, "TDL:", fails)
    one.start()
    assert all(state.is_ok for state in one.states())
    laboratory.fault("plc", "input", name="hutch", value=0)
    until(lambda: not state(one, "plate_not_hot").is_ok)
    assert "the watching failed: RuntimeError: a listener's mistake" in state(one, "plate_not_hot").value
    laboratory.clear()
    one.stop()


def test_only_a_violated_interlock_of_this_laboratory_is_acknowledged(interlocks: Interlocks) -> None:
    with pytest.raises(ConfigError, match="given 'nothing'; allowed: hutch_closed, coolant_flow, plate_not_hot"):
        interlocks.acknowledge("nothing")


# ------------------------------------------------------------------------------------------------- in a RunEngine


@pytest.fixture(scope="module")
def engine(watched: tuple[Interlocks, Heard]) -> RunEngine:
    made = RunEngine(context_managers=[])
    for suspension in watched[0].suspensions:
        made.install_suspender(suspension)
    return made


def a_walk(axis: Any, steps: int, at: dict[int, Callable[[], Any]]) -> Any:
    """Set an axis to 0, 1, 2..., not replayable; `at` has what happens in between."""
    yield Msg("rewindable", None, False)
    for n in range(steps):
        if n in at:
            at[n]()
        yield Msg("sleep", None, 0.05)
        yield Msg("set", axis, n, group="walk")
        yield Msg("wait", None, group="walk")


class Counted(SynAxis):
    """Remembers what it was set to."""

    def __init__(self) -> None:
        super().__init__(name="axis")
        self.given: list[float] = []

    def set(self, value: float) -> Any:
        self.given.append(value)
        return super().set(value)


def test_a_plan_waits_while_an_interlock_suspends_and_goes_on_without_repeating_a_set(
        laboratory: Any, interlocks: Interlocks, engine: RunEngine, until: Callable[..., None]) -> None:
    axis, when_open = Counted(), []

    def open_hutch() -> None:
        laboratory.fault("plc", "input", name="hutch", value=0)
        until(lambda: not state(interlocks, "hutch_closed").is_ok)
        closing.start()

    def close_hutch() -> None:
        when_open.append(list(axis.given))
        laboratory.clear()

    closing = threading.Timer(0.5, close_hutch)
    engine(guarded(a_walk(axis, 6, {3: open_hutch}), interlocks, lambda thing: ("hotplate",)))
    closing.join()
    assert axis.given == [0, 1, 2, 3, 4, 5]
    assert when_open == [[0, 1, 2]]


def test_a_plan_that_would_begin_waits_first(laboratory: Any, interlocks: Interlocks, engine: RunEngine, until: Callable[..., None]) -> None:
    axis, seen = Counted(), []
    laboratory.fault("plc", "input", name="hutch", value=0)
    until(lambda: any(suspension.tripped for suspension in interlocks.suspensions))

    def close_hutch() -> None:
        seen.append(list(axis.given))
        laboratory.clear()

    closing = threading.Timer(0.3, close_hutch)
    closing.start()
    engine(a_walk(axis, 2, {}))
    closing.join()
    assert (seen, axis.given) == ([[]], [0, 1])


def test_a_set_that_an_interlock_blocks_is_not_sent_and_raises_in_the_plan(
        laboratory: Any, interlocks: Interlocks, engine: RunEngine, until: Callable[..., None]) -> None:
    axis = Counted()
    laboratory.fault("plc", "input", name="coolant", value=0)
    until(lambda: not state(interlocks, "coolant_flow").is_ok)
    with pytest.raises(InterlockError, match="hotplate: must not begin: the coolant does not flow"):
        engine(guarded(a_walk(axis, 2, {}), interlocks, lambda thing: ("hotplate",)))
    assert axis.given == []


# ------------------------------------------------------------------------------------- last: libca takes seconds to find a bridge again


def test_a_bridge_that_was_killed_is_a_violation(laboratory: Any, interlocks: Interlocks, until: Callable[..., None]) -> None:
    laboratory.bridges["plc"].popen.kill()
    until(lambda: not state(interlocks, "hutch_closed").is_ok)
    assert "plc.hutch is not known" in state(interlocks, "hutch_closed").words


def test_a_bridge_that_hangs_is_a_violation_though_its_last_values_stand(laboratory: Any, watched: tuple[Interlocks, Heard], until: Callable[..., None]) -> None:
    interlocks, bridge = watched[0], laboratory.bridges["hotplate"].popen
    assert state(interlocks, "plate_not_hot").is_ok
    os.kill(bridge.pid, signal.SIGSTOP)
    try:
        until(lambda: not state(interlocks, "plate_not_hot").is_ok)
    finally:
        os.kill(bridge.pid, signal.SIGCONT)
    assert "hotplate.TEMPERATURE_RBV is not known" in state(interlocks, "plate_not_hot").value
