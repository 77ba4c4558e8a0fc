"""The synthesiser: all pumps of a bank as one device, down to the simulated instruments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import bluesky.plan_stubs as bps
import pytest
from bluesky import RunEngine
from bluesky.utils import NoReplayAllowed

from devices.pump import PumpBank
from devices.synthesiser import Synthesiser
from lab.core import capabilities
from lab.core.capabilities import Dose
from lab.core.config import PumpBank as Config
from lab.core.errors import CommandError, LimitError

INSTRUMENTS: dict[str, Any] = {
    "pump": {"kind": "pump", "syringes": [{"address": n, "liquid": liquid, "volume_ml": 20} for n, liquid in enumerate(("cs", "fa", "ma"))]},
}
SPEED = 400.0


@pytest.fixture(scope="module")
def laboratory(bench: Any) -> Any:
    bench.simulate(INSTRUMENTS, SPEED)
    for name in INSTRUMENTS:
        bench.bridge(name, "TDS:")
    return bench


@pytest.fixture(scope="module")
def device(laboratory: Any) -> Iterator[Synthesiser]:
    pumps = PumpBank("TDS:pump:", name="pump", config=Config.model_validate(INSTRUMENTS["pump"]), speed=SPEED)
    pumps.wait_for_connection(timeout=200)
    yield Synthesiser(name="synthesiser", pumps=pumps)
    laboratory.stop()  # first: clearing a subscription while its events arrive can crash libca
    pumps.destroy()


@pytest.fixture()
def synthesiser(laboratory: Any, device: Synthesiser, until: Callable[..., None]) -> Iterator[Synthesiser]:
    until(lambda: device.health().is_connected)
    for pump in device.pumps:
        pump.rate.set(5.0).wait(120)
    yield device
    laboratory.clear()
    until(lambda: device.health().is_connected)
    device.make_safe().wait(120)


def slow(synthesiser: Synthesiser) -> None:
    for pump in synthesiser.pumps:
        pump.rate.set(0.02).wait(120)


def test_it_is_a_synthesiser(synthesiser: Synthesiser) -> None:
    assert isinstance(synthesiser, capabilities.Synthesiser) and isinstance(synthesiser, capabilities.Instrument)
    assert synthesiser.liquids == ("cs", "fa", "ma")
    assert synthesiser.health().identity == "NE1000V3.928 (0, 1, 2)"


def test_a_dose_delivers_every_liquid_and_the_world_agrees(laboratory: Any, synthesiser: Synthesiser) -> None:
    before = laboratory.sim.ask({"do": "account"})["spills"]
    synthesiser.set(Dose({"cs": 0.2, "fa": 0.5, "ma": 0.0}, "key-1")).wait(120)
    assert synthesiser.dispensed_ml() == {"cs": pytest.approx(0.2), "fa": pytest.approx(0.5), "ma": 0.0}
    after = laboratory.sim.ask({"do": "account"})["spills"]

    def total(rows: list[dict[str, Any]], liquid: str) -> float:
        return sum(row["true_ml"] for row in rows if row["liquid"] == liquid)

    assert total(after, "fa") - total(before, "fa") == pytest.approx(0.5, rel=0.2), "to the pump's calibration error"
    assert total(after, "ma") == total(before, "ma")


def test_a_dose_is_never_given_twice(synthesiser: Synthesiser) -> None:
    synthesiser.set(Dose({"cs": 0.1}, "key-2")).wait(120)
    with pytest.raises(CommandError, match="dose key-2 refused: it has been given already"):
        synthesiser.set(Dose({"cs": 0.1}, "key-2")).wait(120)
    with pytest.raises(NoReplayAllowed, match="a dose cannot be repeated"):
        synthesiser.pause()


def test_everything_is_checked_before_the_first_pump_moves(synthesiser: Synthesiser) -> None:
    with pytest.raises(LimitError, match=r"pump_fa: 25 mL is outside 0\.\.20 mL, what its syringe holds"):
        synthesiser.set(Dose({"cs": 0.1, "fa": 25.0}, "key-3")).wait(120)
    with pytest.raises(LimitError, match="pump: given 'pb'"):
        synthesiser.set(Dose({"cs": 0.1, "pb": 0.1}, "key-3")).wait(120)
    assert synthesiser.pumps["cs"].status_word.get() == "stopped"
    synthesiser.set(Dose({"cs": 0.1}, "key-3")).wait(120), "a refused dose has not used up its key"


def test_when_one_pump_fails_the_others_stop_and_what_was_dispensed_is_told(
        laboratory: Any, synthesiser: Synthesiser) -> None:
    slow(synthesiser)
    laboratory.fault("pump", "error", words="stall 1", at_s=0.2)
    status = synthesiser.set(Dose({"cs": 0.1, "fa": 0.1, "ma": 0.1}, "key-4"))
    with pytest.raises(CommandError, match=r"pump\.1 \(fa\): the motor stalled; delivered 0\.0"):
        status.wait(120)
    dispensed = synthesiser.dispensed_ml()
    assert set(dispensed) == {"cs", "fa", "ma"}
    assert all(0 < volume < 0.1 for volume in dispensed.values())
    assert all(pump.status_word.get() != "infusing" for pump in synthesiser.pumps)
    synthesiser.recover().wait(120)


def test_what_a_pump_has_forgotten_is_left_out_rather_than_guessed(laboratory: Any, synthesiser: Synthesiser) -> None:
    slow(synthesiser)
    laboratory.fault("pump", "power_cycle", at_s=0.2)
    with pytest.raises(CommandError, match="power was lost during the dose; how much was delivered is not known"):
        synthesiser.set(Dose({"cs": 0.1}, "key-5")).wait(120)
    assert synthesiser.dispensed_ml() == {"fa": 0.0, "ma": 0.0}


def test_stop_ends_a_dose_in_progress(synthesiser: Synthesiser, until: Callable[..., None]) -> None:
    slow(synthesiser)
    status = synthesiser.set(Dose({"cs": 0.2}, "key-6"))
    until(lambda: synthesiser.pumps["cs"].status_word.get() == "infusing")
    with pytest.raises(CommandError, match="another one is going on"):
        synthesiser.set(Dose({"fa": 0.2}, "key-7")).wait(120)
    synthesiser.stop()
    with pytest.raises(CommandError, match="told to stop"):
        status.wait(120)


def test_a_plan_doses_and_reads(synthesiser: Synthesiser) -> None:
    documents: list[tuple[str, Any]] = []

    def plan() -> Any:
        yield from bps.open_run()
        yield from bps.mv(synthesiser, Dose({"cs": 0.2}, "key-8"))
        yield from bps.trigger_and_read([synthesiser])
        yield from bps.close_run()

    RunEngine({}, context_managers=[])(plan(), lambda name, doc: documents.append((name, doc)))
    event = next(doc for name, doc in documents if name == "event")
    descriptor = next(doc for name, doc in documents if name == "descriptor")
    assert event["data"]["synthesiser_cs_ml"] == pytest.approx(0.2)
    assert descriptor["data_keys"]["synthesiser_cs_ml"]["units"] == "mL"
