"""What the laboratory does when an interlock trips: said, noted, made safe, ended or held until the operator acknowledges."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from bluesky import Msg, RunEngine
from bluesky.utils import RunEngineInterrupted, TransitionError
from ophyd import Signal
from ophyd.sim import SynAxis

from devices.plc import Plc
from devices.suspension import Suspension
from lab.core.config import LabConfig
from lab.core.errors import InterlockError, LedgerError
from lab.guards import Guards
from plans.lane_proxies import quiet
from plans.stubs import Action

INTERLOCKS: dict[str, Any] = {
    "door": {"require": "plc.door == 1", "reason": "the door is open", "action": "suspend"},
    "flow": {"require": "plc.flow > 1", "reason": "no flow", "action": "make_safe"},
    "leak": {"require": "plc.leak == 0", "reason": "there is water", "action": "make_safe", "then": "wait"},
    "gas": {"require": "plc.gas < 10", "reason": "gas", "action": "block", "guards": ["plc"]}}
PLC = {"kind": "plc", "inputs": {"door": {"discrete": 0}, "flow": {"register": 0, "initial": 2}, "leak": {"discrete": 1, "initial": 0}, "gas": {"register": 1}}}
LAB = LabConfig.model_validate({"name": "test", "prefix": "TGU:", "instruments": {"plc": PLC}, "interlocks": INTERLOCKS})


class Lab:
    """A laboratory of one PLC that remembers what was said and done."""

    def __init__(self, bench: Any, device: Plc, engine: RunEngine) -> None:
        self._bench, self.engine = bench, engine
        self.said: list[str] = []
        self.noted: list[str] = []
        self.done: list[str] = []
        self.axis = SynAxis(name="axis")
        self.guards = Guards(LAB, {"plc": device}, say=self.said.append, note=self.noted.append, make_safe=self._make_safe, end=self._end)
        self.guards.instruments_of = lambda thing: ("plc",) if thing is self.axis else ()  # type: ignore[method-assign]
        self.guards.start(engine)

    def sees(self, name: str, value: float) -> None:
        self._bench.fault("plc", "input", name=name, value=value)

    def walk(self, steps: int, during: Callable[[int], None] = lambda n: None) -> Any:
        yield Msg("rewindable", None, False)
        for n in range(steps):
            during(n)
            yield Msg("sleep", None, 0.02)
            yield Msg("set", self.axis, n, group="walk")
            yield Msg("wait", None, group="walk")

    def _make_safe(self) -> dict[str, str]:
        self.done.append("made safe")
        return {"plc": "safe", "pump": "it does not answer"}

    def _end(self, cause: str) -> None:
        self.done.append(f"end: {cause}")
        try:
            self.engine.abort(cause)
        except TransitionError:
            self.done.append("no plan")


@pytest.fixture(scope="module")
def device(bench: Any) -> Iterator[Plc]:
    bench.simulate({"plc": PLC}, 400.0)
    bench.bridge("plc", "TGU:")
    made = Plc("TGU:plc:", name="plc", config=LAB.instruments["plc"])
    made.wait_for_connection(timeout=200)
    yield made
    bench.stop()
    made.destroy()


@pytest.fixture()
def lab(bench: Any, device: Plc, until: Callable[..., None]) -> Iterator[Lab]:
    until(lambda: device.health().is_connected and device.door.get() == 1 and device.flow.get() == 2 and device.leak.get() == 0)
    made = Lab(bench, device, RunEngine(context_managers=[]))
    assert all(state.is_ok for state in made.guards.interlocks.states())
    yield made
    made.guards.stop()
    bench.clear()


def test_what_makes_safe_does_so_at_once_and_ends_the_plan_with_its_reason(lab: Lab, until: Callable[..., None]) -> None:
    def plan() -> Any:
        yield from lab.walk(2)
        lab.sees("flow", 0)
        while True:  # it begins nothing: that would be refused, maybe before the plan is ended
            yield Msg("sleep", None, 0.02)

    with pytest.raises(RunEngineInterrupted):
        lab.engine(plan())
    words = "no flow (interlock flow: plc.flow = 0; needed: plc.flow > 1)"
    until(lambda: len(lab.noted) == 2)
    assert sorted(lab.done) == [f"end: {words}", "made safe"]
    assert lab.said == lab.noted == [f"making the instruments safe: {words}", "pump: not safe: it does not answer"]


def test_after_then_wait_the_plan_goes_on_only_when_it_holds_and_is_acknowledged(lab: Lab, until: Callable[..., None]) -> None:
    positions: list[float] = []

    def dry_and_acknowledge() -> None:
        until(lambda: "made safe" in lab.done)
        lab.sees("leak", 0)
        until(lambda: "plc.leak = 0" in lab.guards.interlocks.states()[2].value)
        positions.append(lab.axis.readback.get())
        lab.guards.interlocks.acknowledge("leak")

    operator = threading.Thread(target=dry_and_acknowledge)

    def during(n: int) -> None:
        if n == 2:
            lab.sees("leak", 1)
            until(lambda: not lab.guards.interlocks.states()[2].is_ok)
            operator.start()

    lab.engine(lab.walk(5, during))
    operator.join()
    assert (positions, lab.axis.readback.get(), lab.done) == ([1], 4, ["made safe"])
    until(lambda: lab.said[-1] == "interlock leak is well again: plc.leak = 0")
    assert "when you have seen to it: lab continue CAMPAIGN, or lab.acknowledge() at the console" in lab.said[0]


def test_a_plan_that_was_paused_does_not_go_on_into_a_violation(lab: Lab, until: Callable[..., None]) -> None:
    def plan() -> Any:
        yield from lab.walk(2)
        yield Msg("pause", None, defer=False)
        yield from lab.walk(5)

    with pytest.raises(RunEngineInterrupted):
        lab.engine(plan())
    assert lab.engine.state == "paused"
    lab.sees("door", 0)
    until(lambda: any(suspension.tripped for suspension in lab.guards.interlocks.suspensions))
    seen: list[float] = []
    closing = threading.Timer(0.3, lambda: (seen.append(lab.axis.readback.get()), lab.sees("door", 1)))
    closing.start()
    lab.engine.resume()
    closing.join()
    assert (seen, lab.axis.readback.get()) == ([1], 4)


def test_what_blocks_is_refused_before_a_plan_and_what_suspends_is_said(lab: Lab, until: Callable[..., None]) -> None:
    lab.guards.check_start()
    lab.sees("door", 0)
    until(lambda: lab.said)
    lab.guards.check_start()
    assert lab.said[-1].startswith("waiting: the door is open (interlock door")
    lab.sees("gas", 11)
    until(lambda: not lab.guards.interlocks.states()[3].is_ok)
    with pytest.raises(InterlockError, match=r"plc: must not begin: gas \(interlock gas: plc\.gas = 11; needed: plc\.gas < 10\)"):
        lab.guards.check_start()


def test_words_that_cannot_be_noted_are_said_all_the_same(lab: Lab, until: Callable[..., None]) -> None:
    def full(words: str) -> None:
        raise LedgerError("the disk is full")

    lab.guards._note = full
    lab.sees("door", 0)
    until(lambda: lab.said)
    lab.sees("door", 1)
    until(lambda: len(lab.said) == 2)


def test_parts_stand_ins_and_actions_belong_to_their_instrument(device: Plc) -> None:
    guards = Guards(LAB, {"plc": device}, say=print, note=print, make_safe=dict, end=print)
    for thing in (device, device.door, device.safe, quiet(device), Action("recover plc", device.recover, moves=device), quiet(Action("a", device.recover, device))):
        assert guards.instruments_of(thing) == ("plc",)
    for stranger in (SynAxis(name="axis"), Action("think", device.recover), None):
        assert guards.instruments_of(stranger) == ()
    guards.stop()


def test_a_removed_suspension_lets_go_what_waits() -> None:
    engine = RunEngine(context_managers=[])
    suspension = Suspension(Signal(name="switch", value=0), "never")
    engine.install_suspender(suspension)
    assert suspension.tripped and suspension.get_futures()[1] == "never"
    threading.Timer(0.2, engine.remove_suspender, (suspension,)).start()
    engine([Msg("null")])
    assert not suspension.tripped


@pytest.mark.parametrize("state", ["aborting", "stopping", "halting"])
def test_what_waits_goes_on_when_the_plan_is_being_ended(state: str) -> None:
    """Else the clean-up of an abort that meets a suspension would wait for a door that nobody closes."""
    signal = Signal(name="door", value=0)
    suspension = Suspension(signal, "the door is open")
    suspension.install(SimpleNamespace(state=state))
    assert suspension.tripped
    asyncio.run(asyncio.wait_for(suspension.until_well(), 10))
