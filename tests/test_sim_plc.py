"""The simulated programmable controller against the Modbus specifications. The wall stands on a manual clock.

Examples are those of the MODBUS Application Protocol Specification V1.1b3, section 6; where they read other addresses than
this controller has, the addresses are its own, and the bits and registers those of the example.
"""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.core.clock import ManualClock
from lab.core.config import PlcConfig
from lab.core.errors import ConfigError
from sim.faults import FaultError, FaultPlan, parse
from sim.plc import Plc

BITS_20_TO_38 = "1011 0011 1101 0110 101".replace(" ", "")
"""Coils 20 to 38 of the example of function 01: CD 6B 05."""


def a_plc(wall: ManualClock | None = None) -> Plc:
    inputs = {f"coil_{n}": {"coil": 0x13 + n, "initial": int(bit)} for n, bit in enumerate(BITS_20_TO_38)}
    inputs |= {f"bit_{n}": {"discrete": 0xC4 + n, "initial": int(bit)} for n, bit in enumerate("0011010111011011101011")}
    inputs |= {"a": {"holding": 0x6B, "initial": 0x022B}, "b": {"holding": 0x6C}, "c": {"holding": 0x6D, "initial": 0x64}}
    inputs |= {"d": {"register": 8, "initial": 10}, "cold": {"register": 9, "scale": 0.1, "is_signed": True, "initial": -0.5}, "beat": {"register": 20}}
    return Plc(PlcConfig.model_validate({"kind": "plc", "inputs": inputs, "heartbeat": "beat"}), wall if wall is not None else ManualClock())


def say(plc: Plc, pdu: str, transaction: int = 0x1501, unit: int = 0xFF) -> str:
    """The PDU that answers one PDU; the header has to be the request's with its own length."""
    raw = bytes.fromhex(pdu)
    (outgoing,) = plc.feed(1, struct.pack(">HHHB", transaction, 0, len(raw) + 1, unit) + raw)
    header, reply = outgoing.data[:7], outgoing.data[7:]
    assert header == struct.pack(">HHHB", transaction, 0, len(reply) + 1, unit)
    return reply.hex(" ").upper()


@pytest.mark.parametrize(("asked", "answered"), [
    ("01 00 13 00 13", "01 03 CD 6B 05"),
    ("02 00 C4 00 16", "02 03 AC DB 35"),
    ("03 00 6B 00 03", "03 06 02 2B 00 00 00 64"),
    ("04 00 08 00 01", "04 02 00 0A"),
    ("04 00 09 00 01", "04 02 FF FB"),
    ("05 00 13 FF 00", "05 00 13 FF 00"),
    ("06 00 6B 00 03", "06 00 6B 00 03"),
])
def test_functions_answer_as_in_the_specification(asked: str, answered: str) -> None:
    assert say(a_plc(), asked) == answered


@pytest.mark.parametrize(("asked", "answered"), [
    ("01 04 A1 00 01", "81 02"),       # the specification's example: an address that does not exist
    ("04 00 08 00 03", "84 02"),       # the last of them does not exist
    ("04 00 08 00 00", "84 03"), ("04 00 08 00 7E", "84 03"), ("01 00 13 07 D1", "81 03"), ("04 00 08", "84 03"),
    ("05 00 13 12 34", "85 03"), ("05 00 99 FF 00", "85 02"), ("06 00 99 00 01", "86 02"),
    ("07", "87 01"), ("2B 0D 01 00", "AB 01"), ("2B 0E 02 00", "AB 03"), ("2B 0E 01 07", "AB 02"),
])
def test_what_cannot_be_answered_is_an_exception_response(asked: str, answered: str) -> None:
    assert say(a_plc(), asked) == answered


def test_what_was_written_is_read_back() -> None:
    plc = a_plc()
    assert say(plc, "05 00 14 00 00") == "05 00 14 00 00" and say(plc, "01 00 13 00 02") == "01 01 01"
    assert say(plc, "06 00 6C 12 34") and say(plc, "03 00 6C 00 01") == "03 02 12 34"


def test_it_says_what_it_is() -> None:
    objects = b"\x00\x09Labwright\x01\x0dsimulated PLC\x02\x04V1.0"
    assert bytes.fromhex(say(a_plc(), "2B 0E 01 00")) == b"\x2b\x0e\x01\x01\x00\x00\x03" + objects


def test_a_header_that_is_not_modbus_ends_the_connection() -> None:
    (outgoing,) = a_plc().feed(1, bytes.fromhex("0001 0001 0006 FF 04 0008 0001"))
    assert outgoing.is_last and outgoing.data == b""


@given(st.lists(st.integers(1, 30), max_size=20), st.sampled_from([b"", b"\xff\xff\xff\xff\xff\xff\xff\xff"]))
def test_replies_do_not_depend_on_how_the_bytes_are_split(cuts: list[int], rubbish: bytes) -> None:
    requests = [bytes.fromhex("0001 0000 0006 01 04 0008 0001"), bytes.fromhex("0002 0000 0006 01 02 00C4 0016"), bytes.fromhex("0003 0000 0002 01 07"), rubbish]
    stream, whole, plc = b"".join(requests), a_plc(), a_plc()
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(stream[at : at + cut])
        at += cut
    said = [outgoing for piece in [*pieces, stream[at:]] if piece for outgoing in plc.feed(1, piece)]
    assert b"".join(o.data for o in said) == b"".join(o.data for o in whole.feed(1, stream))


@given(st.lists(st.binary(max_size=30), max_size=10))
def test_no_bytes_whatever_break_it(pieces: list[bytes]) -> None:
    plc = a_plc()
    for piece in pieces:
        plc.feed(1, piece)
    assert say(a_plc(), "04 00 08 00 01") == "04 02 00 0A"


def test_an_input_is_held_where_the_outside_puts_it_and_given_back() -> None:
    plc = a_plc()
    plc.force({"bit_0": 1.0, "cold": 12.3})
    assert (say(plc, "02 00 C4 00 01"), say(plc, "04 00 09 00 01")) == ("02 01 01", "04 02 00 7B")
    plc.power_cycle()
    assert say(plc, "02 00 C4 00 01") == "02 01 01"
    plc.force({"cold": 12.3})
    assert (say(plc, "02 00 C4 00 01"), say(plc, "04 00 09 00 01")) == ("02 01 00", "04 02 00 7B")


def test_its_heartbeat_counts_while_the_program_runs() -> None:
    wall = ManualClock()
    plc, seen = a_plc(wall), []
    for words in ("", "", "stop", "", "run", ""):
        if words:
            plc.fail(words)
        wall.advance(0.1)
        plc.step()
        seen.append(say(plc, "04 00 14 00 01")[-2:])
    assert seen == ["01", "02", "02", "02", "03", "04"]


def test_a_broken_one_answers_everything_with_device_failure_until_its_power_is_cycled() -> None:
    plc = a_plc()
    plc.fail("fault")
    assert (say(plc, "04 00 08 00 01"), say(plc, "01 00 13 00 01")) == ("84 04", "81 04")
    plc.power_cycle()
    assert say(plc, "04 00 08 00 01") == "04 02 00 0A"


# ---------------------------------------------------------------------------------------------------------- faults


def test_an_input_is_forced_from_at_s_for_for_s() -> None:
    wall = ManualClock()
    plan = FaultPlan(parse([{"instrument": "plc", "kind": "input", "name": "hutch", "value": 0, "at_s": 100, "for_s": 30}], "faults"), wall, (), ("hutch",))
    seen = []
    for _ in range(4):
        seen.append(plan.forced())
        wall.advance(50)
    assert seen == [{}, {}, {"hutch": 0.0}, {}]


def test_without_for_s_it_is_forced_until_it_is_cleared_and_the_later_fault_counts() -> None:
    wall = ManualClock()
    rows = [{"instrument": "plc", "kind": "input", "name": "flow", "value": value, "at_s": at_s} for value, at_s in ((1, 0), (2, 10))]
    plan = FaultPlan(parse(rows, "faults"), wall, (), ("flow",))
    assert plan.forced() == {"flow": 1.0}
    wall.advance(1000)
    assert plan.forced() == {"flow": 2.0}
    plan.clear()
    assert plan.forced() == {}


@pytest.mark.parametrize("row", [{"kind": "input", "name": "hutch"}, {"kind": "input", "value": 1}, {"kind": "drop", "name": "hutch"},
                                 {"kind": "input", "name": "hutch", "value": 1, "probability": 0.5}])
def test_a_forced_input_has_a_name_and_a_value_and_nothing_else_has(row: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="name, value: given"):
        parse([{"instrument": "plc", **row}], "faults")


def test_an_input_that_the_instrument_does_not_have_is_refused() -> None:
    rows = parse([{"instrument": "plc", "kind": "input", "name": "hatch", "value": 0}], "faults")
    with pytest.raises(FaultError, match="plc: given input 'hatch'; allowed: hutch, flow"):
        FaultPlan(rows, ManualClock(), (), ("hutch", "flow"))
