"""Interlocks without instruments: conditions, trips, exclusions, and what may stand in lab.yaml."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from bluesky import Msg
from bluesky.utils import RequestAbort
from hypothesis import given
from hypothesis import strategies as st

from lab.core.channels import Channel
from lab.core.conditions import Condition, Reference, parse
from lab.core.config import LabConfig
from lab.core.errors import ConfigError, InstrumentError, InterlockError
from lab.core.interlocks import Exclusion, Exclusions, InterlockConfig, refuse
from lab.core.trips import Found, Trip
from lab.files import parse as parse_file
from plans.guarded import guarded

ROWS = {
    "plc.hutch": Channel("hutch", "bool", ""),
    "plc.coolant": Channel("coolant", "float", "", unit="L/min"),
    "plc.reserve": Channel("reserve", "float", "", unit="L/min"),
    "plc.n": Channel("n", "int", ""),
    "plate.TEMPERATURE_RBV": Channel("TEMPERATURE_RBV", "float", "", unit="degC"),
    "pump.3.STATUS": Channel("STATUS", "enum", "", choices=("stopped", "infusing", "alarm")),
    "pump.3.ALARM": Channel("ALARM", "text", "", length=100),
    "arm.STOP": Channel("STOP", "action", "", is_writable=True),
}


def row_of(reference: Reference) -> Channel:
    if str(reference) not in ROWS:
        raise ValueError(f"given {reference}, which is no channel; allowed: {', '.join(ROWS)}")
    return ROWS[str(reference)]


def values(**given: float) -> dict[Reference, float]:
    """``values(plc_coolant=2)``; the pump's status is ``pump_3_STATUS``."""
    return {Reference(*((parts[0], parts[2], parts[1]) if len(parts) == 3 else parts)): float(value)
            for name, value in given.items() for parts in [name.split("_", 2) if name.startswith("pump") else name.split("_", 1)]}


@pytest.mark.parametrize(("text", "found", "holds"), [
    ("plc.hutch == 1", values(plc_hutch=1), True),
    ("plc.hutch==1", values(plc_hutch=0), False),
    ("plc.coolant > 0.5", values(plc_coolant=0.5), False),
    ("0.5 < plc.coolant <= 3", values(plc_coolant=3), True),
    ("0.5 < plc.coolant <= 3", values(plc_coolant=0.2), False),
    ("plc.coolant > 1 and plc.hutch != 0", values(plc_coolant=2, plc_hutch=1), True),
    ("plc.hutch == 1 or plc.coolant > 1 and plc.coolant < 2", values(plc_coolant=3, plc_hutch=1), True),
    ("(plc.hutch == 1 or plc.coolant > 1) and plc.coolant < 2", values(plc_coolant=3, plc_hutch=1), False),
    ("pump.3.STATUS != 'alarm'", values(pump_3_STATUS=2), False),
    ('"infusing" == pump.3.STATUS', values(pump_3_STATUS=1), True),
    ("plc.coolant > plc.reserve", values(plc_coolant=2, plc_reserve=1), True),
    ("plate.TEMPERATURE_RBV < -1.5e1", values(plate_TEMPERATURE_RBV=-16), True),
])
def test_a_condition_means_what_it_says(text: str, found: Mapping[Reference, float], holds: bool) -> None:
    condition = parse(text, row_of)
    assert set(condition.references) == set(found)
    assert condition.holds(found) is holds


@pytest.mark.parametrize(("text", "complaint"), [
    ("", r"given '' with nothing at the end; allowed: a number, a channel"),
    ("plc.hutch", r"nothing at the end; allowed: a comparison"),
    ("plc.hutch = 1", r"'= 1' at character 11; allowed: a comparison: < <= > >= == !="),
    ("plc.hutch == 1 and", r"nothing at the end; allowed: a number"),
    ("plc.hutch == 1 plc.n == 2", r"'plc\.n == 2' at character 16; allowed: and, or, or the end"),
    ("(plc.hutch == 1", r"allowed: a closing parenthesis"),
    ("not plc.hutch == 1", r"allowed: a number, a channel"),
    ("1 < 2", r"given 1 < 2; allowed: at least one side is a channel"),
    ("plc.n < 1e999", r"given 1e999; allowed: a finite number"),
    ("plc.hutch > 0", r"given hutch >, which is a switch; allowed: == or !="),
    ("plc.hutch == 2", r"given hutch == 2; allowed: 0 or 1"),
    ("pump.3.STATUS >= 'alarm'", r"which is a state; allowed: == or !="),
    ("pump.3.STATUS == 'broken'", r"given STATUS == 'broken'; allowed: 'stopped', 'infusing', 'alarm'"),
    ("pump.3.STATUS == 2", r"given STATUS == 2; allowed: 'stopped'"),
    ("plc.coolant == 'much'", r"given coolant == 'much'; allowed: a number"),
    ("pump.3.ALARM == ''", r"given pump\.3\.ALARM, a channel of type text; allowed: a reading that is a number"),
    ("arm.STOP == 1", r"given arm\.STOP, a command; allowed: a reading"),
    ("plc.coolant > plate.TEMPERATURE_RBV", r"in L/min and .* in degC; allowed: the same unit"),
    ("plc.hatch == 1", r"given plc\.hatch, which is no channel; allowed: plc\.hutch"),
    ("__import__('os').x == 1", r"allowed: a number, a channel"),
    ("(" * 21 + "plc.n == 1" + ")" * 21, r"more than 20 parentheses"),
    ("plc.n == 1 or " * 40 + "plc.n == 1", r"allowed: at most 400"),
])
def test_what_is_no_condition_is_refused_in_words(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse(text, row_of)


@given(st.text(alphabet="plc.hutch n 01=<>!()'andor\n", max_size=40))
def test_no_text_whatever_breaks_the_grammar(text: str) -> None:
    try:
        condition = parse(text, row_of)
    except ValueError:
        return
    assert condition.holds(dict.fromkeys(condition.references, 1.0)) in (True, False)


def test_a_condition_knows_no_default() -> None:
    with pytest.raises(KeyError):
        parse("plc.hutch == 1 or plc.coolant > 1", row_of).holds(values(plc_hutch=1))


def test_readings_are_said_with_their_units_and_states() -> None:
    condition = parse("plc.coolant > 1 and pump.3.STATUS != 'alarm'", row_of)
    assert condition.in_words(values(plc_coolant=0.31, pump_3_STATUS=1)) == "plc.coolant = 0.31 L/min, pump.3.STATUS = infusing"


# ---------------------------------------------------------------------------------------------------------- trips


def a_trip(**more: Any) -> Trip:
    config = InterlockConfig.model_validate({"require": "plc.coolant > 0.5", "reason": "no coolant", "action": "block", **more})
    require: Condition = parse(config.require, row_of)
    return Trip("flow", config, require, parse(config.release, row_of) if config.release else require)


def look(trip: Trip, coolant: float | None, at_s: float = 0.0) -> bool:
    found = Found(coolant, "" if coolant is not None else "the bridge is gone")
    return trip.look(dict.fromkeys(trip.references, found), at_s, 1000.0 + at_s)


def test_before_the_first_look_an_interlock_is_violated() -> None:
    trip = a_trip(for_s=5)
    assert not trip.state.is_ok and "not looked at yet" in trip.state.words


def test_the_first_look_counts_at_once_and_is_news_when_it_finds_a_violation() -> None:
    assert look(a_trip(for_s=5), 0.0) is True
    well = a_trip()
    assert (look(well, 2.0), well.state.is_ok, well.state.since) == (False, True, 1000.0)


def test_it_trips_and_recovers_once_each_and_says_since_when() -> None:
    trip = a_trip()
    look(trip, 2.0)
    assert [look(trip, flow, at) for flow, at in ((2.1, 1), (0.4, 2), (0.3, 3), (0.6, 4), (0.7, 5))] == [False, True, False, True, False]
    assert trip.state.since == 1004.0


def test_a_violation_shorter_than_for_s_does_not_count() -> None:
    trip = a_trip(for_s=2)
    look(trip, 2.0)
    assert [look(trip, flow, at) for flow, at in ((0.1, 1), (2.0, 2.9), (0.1, 3), (0.1, 4.9))] == 4 * [False]
    assert trip.next_look_s == 5.0
    assert look(trip, 0.1, 5.0) is True


def test_between_require_and_release_it_stays_as_it_is() -> None:
    trip = a_trip(release="plc.coolant > 1")
    look(trip, 2.0)
    assert [look(trip, flow, at) for flow, at in ((0.8, 1), (0.4, 2), (0.8, 3), (1.2, 4))] == [False, True, False, True]


def test_a_missing_reading_violates_with_its_cause_and_beside_an_or_as_well() -> None:
    config = InterlockConfig.model_validate({"require": "plc.hutch == 1 or plc.coolant > 1", "reason": "r", "action": "block"})
    condition = parse(config.require, row_of)
    trip = Trip("either", config, condition, condition)
    found = {Reference("plc", "hutch"): Found(1.0), Reference("plc", "coolant"): Found(None, "the bridge is gone")}
    trip.look(found, 0.0, 0.0)
    assert not trip.state.is_ok
    assert trip.state.words == ("r (interlock either: plc.coolant is not known: the bridge is gone; needed: plc.hutch == 1 or plc.coolant > 1)")


def test_what_waits_for_the_operator_is_violated_until_it_holds_and_is_acknowledged() -> None:
    trip = a_trip(action="make_safe", then="wait")
    look(trip, 2.0)
    look(trip, 0.1, 1)
    assert not look(trip, 2.0, 2) and "the operator's acknowledgement" in trip.state.needs
    trip.acknowledge()
    assert look(trip, 2.0, 3) and trip.state.is_ok
    look(trip, 0.1, 4)
    trip.acknowledge()
    assert not look(trip, 0.2, 5)
    assert look(trip, 2.0, 6)


def test_the_first_violated_interlock_that_guards_an_instrument_is_raised_for_it() -> None:
    trip = a_trip(guards=["plate", "pump"])
    look(trip, 0.1)
    refuse([trip.state], ("arm",))
    with pytest.raises(InterlockError, match=r"^plate: must not begin: no coolant \(interlock flow: plc\.coolant = 0\.1 L/min; needed: plc\.coolant > 0\.5\)$"):
        refuse([trip.state], ("plate", "arm"))


# ------------------------------------------------------------------------------------------------------ exclusions


def test_members_of_an_exclusion_need_its_resource_by_whatever_name() -> None:
    exclusions = Exclusions([Exclusion("arm_or_door", ("arm", "stage"), "r"), Exclusion("heaters", ("hotplate_a", "plate_b"), "r")],
                            {"stage": "detector", "plate_a": "hotplate_a", "plate_b": "hotplate_b"})
    assert exclusions.resources == {"arm_or_door": ("arm_or_door",), "heaters": ("heaters",)}
    assert exclusions.needed_by("arm", "rack.3", "stage") == ("arm_or_door",)
    assert exclusions.needed_by("detector") == ("arm_or_door",)
    assert exclusions.needed_by("plate_a") == exclusions.needed_by("hotplate_b") == ("heaters",)
    assert exclusions.needed_by("rack.1", "pump") == ()
    assert exclusions.needed_by("arm", "plate_b") == ("arm_or_door", "heaters")


# --------------------------------------------------------------------------------------------------------- lab.yaml

PLC = {"kind": "plc", "inputs": {"hutch": {"discrete": 0}, "coolant": {"register": 3, "scale": 0.01, "unit": "L/min", "initial": 2}}}
INSTRUMENTS = {"plc": PLC, "arm": {"kind": "arm"}, "pump": {"kind": "pump", "syringes": [{"address": 3, "liquid": "a"}, {"address": 4, "liquid": "b"}]}}


def a_lab(plc: dict[str, Any] | None = None, **interlock: Any) -> LabConfig:
    instruments = INSTRUMENTS | ({"plc": PLC | plc} if plc is not None else {})
    named = {"it": {"reason": "r", "action": "block", **interlock}} if interlock else {}
    return parse_file(LabConfig, {"name": "test", "instruments": instruments, "interlocks": named}, "lab.yaml")


def test_a_laboratory_with_interlocks_survives_being_written_and_read() -> None:
    lab = a_lab(require="plc.coolant > 0.5", unit="L/min", guards=["arm"])
    assert LabConfig.model_validate_json(lab.model_dump_json()) == lab
    assert [str(reference) for reference in lab.trips()[0].references] == ["plc.coolant"]
    assert [row.name for row in lab.channels("plc")] == ["SCAN", "hutch", "coolant"]


def test_rows_of_an_addressed_instrument_and_of_the_bridge_may_be_required() -> None:
    assert a_lab(require="pump.3.STATUS != 'alarm' and pump.CONNECTED == 1").trips()[0].references == (
        Reference("pump", "STATUS", "3"), Reference("pump", "CONNECTED"))


@pytest.mark.parametrize(("interlock", "complaint"), [
    ({"require": "door.hutch == 1"}, r"lab\.yaml: interlocks\.it\.require: given door\.hutch, of no instrument; allowed: plc, arm, pump"),
    ({"require": "plc.hatch == 1"}, r"interlocks\.it\.require: given plc\.hatch, which is no channel; allowed: CONNECTED, .*hutch, coolant"),
    ({"require": "pump.STATUS != 'alarm'"}, r"given pump\.STATUS, which is no channel; allowed: pump\.3\.STATUS, pump\.4\.STATUS"),
    ({"require": "pump.5.STATUS != 'alarm'"}, r"given pump\.5\.STATUS, which has no such address; allowed: pump\.3\.STATUS, pump\.4\.STATUS"),
    ({"require": "pump.3.ALARM == ''"}, r"interlocks\.it\.require: given pump\.3\.ALARM, a channel of type text"),
    ({"require": "plc.hutch > 0.5"}, r"interlocks\.it\.require: given hutch >, which is a switch; allowed: == or !="),
    ({"require": "plc.hutch == 1", "release": "plc.coolant >"}, r"interlocks\.it\.release: given 'plc\.coolant >' with nothing at the end"),
    ({"require": "plc.coolant > 1", "unit": "mL/min"}, r"interlocks\.it\.unit: given 'mL/min'; allowed: L/min, the unit of coolant"),
    ({"require": "plc.coolant > 1", "guards": ["hutch"]}, r"interlocks\.it\.guards: given 'hutch'; allowed: plc, arm, pump"),
    ({"exclusive": ["arm", "hutch"]}, r"interlocks\.it\.exclusive: given 'hutch'; allowed: plc, arm, pump"),
    ({"exclusive": ["arm"]}, r"interlocks\.it\.exclusive: given \['arm'\]; allowed: at least two instruments or stations, each once"),
    ({"exclusive": ["arm", "pump"], "action": "suspend"}, r"interlocks\.it\.action: given 'suspend' with exclusive; allowed: block"),
    ({"exclusive": ["arm", "pump"], "for_s": 2}, r"interlocks\.it\.for_s: given 2\.0 with exclusive; allowed: only with require"),
    ({"exclusive": ["arm", "pump"], "require": "plc.hutch == 1"}, r"interlocks\.it: given both require and exclusive; allowed: one of them"),
    ({"guards": ["arm"]}, r"interlocks\.it: given neither require nor exclusive; allowed: one of them"),
    ({"require": "plc.hutch == 1", "then": "wait"}, r"interlocks\.it\.then: given 'wait' with action block; allowed: only with action make_safe"),
    ({"require": "plc.hutch == 1", "action": "shout"}, r"interlocks\.it\.action: given 'shout'"),
    ({"require": "plc.hutch == 1", "reason": ""}, r"interlocks\.it\.reason: given ''"),
])
def test_a_wrong_interlock_is_named_with_its_field_what_was_given_and_what_is_allowed(interlock: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        a_lab(**interlock)


def test_an_exclusion_takes_no_name_that_is_a_resource_already() -> None:
    given = {"name": "test", "instruments": INSTRUMENTS, "interlocks": {"arm": {"exclusive": ["arm", "pump"], "reason": "r", "action": "block"}}}
    with pytest.raises(ConfigError, match=r"interlocks\.arm: given the name of an instrument, a station or a role; allowed: another name"):
        parse_file(LabConfig, given, "lab.yaml")


@pytest.mark.parametrize(("plc", "complaint"), [
    ({"inputs": {}}, r"instruments\.plc\.inputs"),
    ({"inputs": {"door": {}}}, r"instruments\.plc\.inputs\.door: given no address; allowed: one of discrete, coil, register, holding"),
    ({"inputs": {"door": {"coil": 1, "register": 1}}}, r"inputs\.door: given coil and register; allowed: one of"),
    ({"inputs": {"door": {"discrete": 70000}}}, r"inputs\.door\.discrete: given 70000"),
    ({"inputs": {"door": {"discrete": 1, "scale": 2}}}, r"inputs\.door: given scale, is_signed or unit of a discrete; allowed: only of a register"),
    ({"inputs": {"flow": {"register": 1, "scale": 0}}}, r"inputs\.flow\.scale: given 0; allowed: anything else"),
    ({"inputs": {"flow": {"register": 1, "initial": -1}}}, r"inputs\.flow\.initial: given -1\.0; allowed: what 0\.\.65535 times 1 can say"),
    ({"inputs": {"CONNECTED": {"discrete": 1}}}, r"inputs\.CONNECTED: given the name of a channel that every controller has; allowed: another name"),
    ({"heartbeat": "beat"}, r"instruments\.plc\.heartbeat: given 'beat'; allowed: hutch, coolant"),
])
def test_a_wrong_plc_is_named_with_its_field_what_was_given_and_what_is_allowed(plc: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        a_lab(plc)


# ------------------------------------------------------------------------------------------------------ in a plan


class Door:
    """Interlocks that a test opens and closes."""

    def __init__(self) -> None:
        self.refusal: InterlockError | None = None
        self.waiting: list[Callable[[], Any]] = []
        self.asked: list[tuple[str, ...]] = []

    def check(self, instruments: Any) -> None:
        self.asked.append(tuple(instruments))
        if self.refusal is not None:
            raise self.refusal

    def waits(self, instruments: Any) -> list[Callable[[], Any]]:
        return self.waiting


def names(thing: Any) -> tuple[str, ...]:
    return (thing,) if isinstance(thing, str) else ()


def test_only_what_begins_something_at_an_instrument_is_asked_about() -> None:
    door = Door()
    plan = [Msg("set", "arm", 1), Msg("read", "arm"), Msg("stop", "arm"), Msg("trigger", "detector"), Msg("set", 5, 1), Msg("wait", None), Msg("kickoff", "arm")]
    assert list(guarded(plan, door, names)) == plan
    assert door.asked == [("arm",), ("detector",), ("arm",)]


def test_a_refusal_is_raised_in_the_plan_which_may_go_on_and_keeps_its_responses_and_result() -> None:
    door, heard = Door(), []

    def plan() -> Any:
        heard.append((yield Msg("read", "arm")))
        door.refusal = InterlockError("arm: must not begin")
        try:
            yield Msg("set", "arm", 1)
        except InterlockError as error:
            heard.append(str(error))
        door.refusal = None
        heard.append((yield Msg("set", "arm", 2)))
        return "done"

    guard = guarded(plan(), door, names)
    assert next(guard).command == "read"
    assert guard.send("a reading").args == (2,)
    with pytest.raises(StopIteration, match="done"):
        guard.send("a status")
    assert heard == ["a reading", "arm: must not begin", "a status"]


def test_what_suspends_is_waited_for_before_the_message_is_sent() -> None:
    door = Door()
    door.waiting = [lambda: None]
    guard = guarded([Msg("set", "arm", 1)], door, names)
    first = next(guard)
    assert (first.command, first.args) == ("wait_for", (door.waiting,))
    assert guard.send(None).command == "wait_for"
    door.waiting = []
    assert guard.send(None).command == "set"


def test_a_plan_that_is_aborted_is_refused_what_it_would_wait_for_and_comes_to_its_end() -> None:
    """With the simulator gone, or the door left open, the wait would never end."""
    door, heard = Door(), []

    def plan() -> Any:
        try:
            yield Msg("sleep", None, 1)
        finally:
            try:
                yield Msg("set", "plate", 0)
            except InterlockError as error:
                heard.append(str(error))
            yield Msg("null")

    guard = guarded(plan(), door, names)
    next(guard)
    door.waiting = [lambda: None]
    assert guard.throw(RequestAbort()).command == "null"
    assert heard == ["plate: must not begin: an interlock has plans wait, and this one is ending"]


def test_what_the_runengine_throws_reaches_the_plan() -> None:
    def plan() -> Any:
        try:
            yield Msg("sleep", None, 1)
        except InstrumentError:
            yield Msg("null")

    guard = guarded(plan(), Door(), names)
    next(guard)
    assert guard.throw(InstrumentError("pump: stalled")).command == "null"
