"""The bridge of a programmable controller: Modbus frames, and the controller against the simulated one over TCP.

Examples are those of the MODBUS Application Protocol Specification V1.1b3, section 6, and of the Messaging on TCP/IP Implementation Guide V1.0b.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from firmware_bridges import modbus, plc
from firmware_bridges.controller import BridgeSettings
from firmware_bridges.plc import PlcController
from lab.core.config import PlcInput
from lab.core.errors import CommandError, LinkGarbled

INPUTS = {"hutch": {"discrete": 0}, "lamp": {"coil": 7}, "coolant": {"register": 3, "scale": 0.01, "unit": "L/min", "initial": 2.0},
          "plate": {"register": 4, "scale": 0.1, "is_signed": True, "unit": "degC", "initial": -5.0}, "beat": {"holding": 10}}
INSTRUMENTS: dict[str, Any] = {"plc": {"kind": "plc", "inputs": INPUTS, "heartbeat": "beat", "heartbeat_s": 1.0}}


def a_frame(pdu: str, transaction: int = 1, unit: int = 0xFF) -> bytes:
    return modbus.frame(transaction, unit, bytes.fromhex(pdu))


def test_a_frame_has_the_header_of_the_implementation_guide() -> None:
    assert modbus.frame(0x1501, 0xFF, modbus.read_request(modbus.READ_HOLDING, 4, 1)) == bytes.fromhex("1501 0000 0006 FF 03 0004 0001")


@pytest.mark.parametrize(("request_pdu", "reply_pdu", "values"), [
    ("01 0013 0013", "01 03 CD 6B 05", "1011 0011 1101 0110 101"),
    ("02 00C4 0016", "02 03 AC DB 35", "0011 0101 1101 1011 1010 11"),
])
def test_bits_are_read_as_in_the_specification(request_pdu: str, reply_pdu: str, values: str) -> None:
    function, address, count = (int(part, 16) for part in request_pdu.split())
    asked = modbus.frame(1, 0xFF, modbus.read_request(function, address, count))
    assert asked == a_frame(request_pdu)
    assert modbus.bits(a_frame(reply_pdu), asked) == tuple(bit == "1" for bit in values.replace(" ", ""))


@pytest.mark.parametrize(("request_pdu", "reply_pdu", "values"), [
    ("03 006B 0003", "03 06 022B 0000 0064", (0x022B, 0, 0x64)), ("04 0008 0001", "04 02 000A", (0x0A,))])
def test_registers_are_read_as_in_the_specification(request_pdu: str, reply_pdu: str, values: tuple[int, ...]) -> None:
    assert modbus.registers(a_frame(reply_pdu), a_frame(request_pdu)) == values


def test_an_exception_response_is_a_refusal_in_the_words_of_the_specification() -> None:
    with pytest.raises(CommandError, match="exception 2: illegal data address"):
        modbus.bits(a_frame("81 02"), a_frame("01 04A1 0001"))


def test_an_identification_is_read() -> None:
    objects = "00 16" + b"Company identification".hex() + "01 0F" + b"Product code XX".hex() + "02 05" + b"V2.11".hex()
    asked = modbus.frame(1, 1, modbus.identification_request())
    assert asked == a_frame("2B 0E 01 00", unit=1)
    assert modbus.identification(a_frame("2B 0E 01 01 00 00 03" + objects, unit=1), asked) == "Company identification Product code XX V2.11"


@pytest.mark.parametrize("wrong", [
    a_frame("04 02 000A", transaction=2), a_frame("04 02 000A", unit=3), a_frame("03 02 000A"), a_frame("04 04 000A 000B"), a_frame("04 03 000A"),
    bytes.fromhex("0001 0001 0005 FF 04 02 000A"), bytes.fromhex("0001 0000 0001 FF")])
def test_what_is_no_reply_to_the_request_is_garbled(wrong: bytes) -> None:
    with pytest.raises(LinkGarbled):
        modbus.registers(wrong, a_frame("04 0008 0001"))


def test_a_late_reply_to_an_earlier_transaction_is_passed_over() -> None:
    late, mine = a_frame("04 02 0001", transaction=6), a_frame("04 02 000A", transaction=7)
    assert not modbus.has_reply(late, 7) and modbus.has_reply(late + mine, 7)
    assert modbus.registers(late + mine, a_frame("04 0008 0001", transaction=7)) == (0x0A,)


@given(st.binary(max_size=60))
def test_no_bytes_whatever_crash_the_decoder(raw: bytes) -> None:
    for read, pdu in ((modbus.bits, "02 0000 0003"), (modbus.registers, "04 0000 0002"), (modbus.identification, "2B 0E 01 00")):
        modbus.has_reply(raw, 1)
        for received in (raw, a_frame("2B 0E 01 01 00 00 03")[:-1] + raw, a_frame(raw.hex() or "00")):
            try:
                read(received, a_frame(pdu))
            except (LinkGarbled, CommandError):
                pass


@given(st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=125), st.integers(0, 0xFFFF))
def test_a_reply_is_complete_with_its_last_byte_and_reads_as_it_was_meant(values: list[int], transaction: int) -> None:
    asked = modbus.frame(transaction, 1, modbus.read_request(modbus.READ_INPUT, 0, len(values)))
    raw = modbus.frame(transaction, 1, bytes((4, 2 * len(values))) + b"".join(value.to_bytes(2, "big") for value in values))
    assert not any(modbus.has_reply(raw[:n], transaction) for n in range(len(raw)))
    assert modbus.registers(raw, asked) == tuple(values)


def test_more_than_the_protocol_allows_in_one_request_is_refused() -> None:
    with pytest.raises(ValueError, match=r"allowed: 1\.\.125"):
        modbus.read_request(modbus.READ_INPUT, 0, 126)


def test_inputs_side_by_side_are_read_by_one_request_and_gaps_are_not_read() -> None:
    inputs = {name: PlcInput.model_validate(one) for name, one in
              {"a": {"register": 4}, "b": {"register": 3}, "c": {"register": 6}, "d": {"discrete": 3}, "e": {"register": 4}}.items()}
    found = [(block.function, block.address, block.count, [name for name, _ in block.inputs]) for block in plc.blocks_of(inputs.items())]
    assert found == [(2, 3, 1, ["d"]), (4, 3, 2, ["b", "a", "e"]), (4, 6, 1, ["c"])]


# ----------------------------------------------------------------------------------------------------- controller


@pytest.fixture(scope="module")
def laboratory(bench: Any) -> Any:
    bench.simulate(INSTRUMENTS, 400.0)
    return bench


def controller_at(endpoint: str, config: dict[str, Any] = INSTRUMENTS["plc"]) -> PlcController:
    return plc.build(TypeAdapter(BridgeSettings).validate_python(
        {"name": "plc", "prefix": "T:", "speed": 400.0, "endpoint": endpoint, "config": config}))


@pytest.fixture()
def controller(laboratory: Any, until: Callable[..., None]) -> Iterator[PlcController]:
    made = controller_at(laboratory.sim.ready["endpoints"]["plc"])
    made.start()
    until(lambda: made.is_connected and all(made.value(name) is not None for name in INSTRUMENTS["plc"]["inputs"]))
    yield made
    laboratory.clear()
    made.stop()


def test_inputs_are_there_in_their_units_with_the_identity(controller: PlcController) -> None:
    assert controller.value("IDENTITY") == "Labwright simulated PLC V1.0"
    assert controller.value("hutch") is True and controller.value("lamp") is True
    assert (controller.value("coolant"), controller.value("plate")) == (pytest.approx(2.0), pytest.approx(-5.0))


def test_what_a_sensor_sees_arrives_and_goes_again(laboratory: Any, controller: PlcController, until: Callable[..., None]) -> None:
    laboratory.fault("plc", "input", name="hutch", value=0)
    laboratory.fault("plc", "input", name="coolant", value=0.31)
    until(lambda: controller.value("hutch") is False and controller.value("coolant") == pytest.approx(0.31))
    laboratory.clear()
    until(lambda: controller.value("hutch") is True and controller.value("coolant") == pytest.approx(2.0))


@pytest.mark.parametrize("kind", ["drop", "truncate", "delay", "unsolicited"])
def test_one_fault_of_the_line_costs_nothing_but_time(laboratory: Any, controller: PlcController, until: Callable[..., None], kind: str) -> None:
    laboratory.fault("plc", kind)
    scans = controller._scans
    until(lambda: controller._scans > scans + 2)
    assert controller.is_connected and controller._causes["hutch"] == ""


def test_a_silent_controller_puts_every_input_into_alarm(laboratory: Any, controller: PlcController, until: Callable[..., None]) -> None:
    laboratory.fault("plc", "unplug")
    until(lambda: not controller.is_connected)
    assert controller._causes["hutch"].startswith("plc: ")
    laboratory.clear()
    until(lambda: controller.is_connected and controller._causes["hutch"] == "")


def test_a_controller_whose_program_stands_still_has_no_valid_inputs(laboratory: Any, controller: PlcController, until: Callable[..., None]) -> None:
    laboratory.fault("plc", "error", words="stop")
    until(lambda: "its program stands still: beat has not changed for 1 s" in controller._causes["hutch"])
    assert controller.is_connected
    laboratory.fault("plc", "error", words="run")
    until(lambda: controller._causes["hutch"] == "")


def test_a_controller_that_refuses_is_connected_and_its_inputs_are_not_valid(laboratory: Any, controller: PlcController, until: Callable[..., None]) -> None:
    laboratory.fault("plc", "error", words="fault")
    until(lambda: controller._causes["coolant"] == "plc: coolant: exception 4: server device failure")
    assert controller.is_connected
    laboratory.fault("plc", "power_cycle")
    until(lambda: controller.is_connected and controller._causes["coolant"] == "")


def test_an_address_that_it_does_not_have_invalidates_that_input_alone(laboratory: Any, until: Callable[..., None]) -> None:
    config = INSTRUMENTS["plc"] | {"inputs": INPUTS | {"missing": {"register": 99}}}
    made = controller_at(laboratory.sim.ready["endpoints"]["plc"], config)
    made.start()
    until(lambda: made._causes.get("missing") == "plc: missing: exception 2: illegal data address")
    assert made._causes["coolant"] == ""
    made.stop()


@pytest.mark.parametrize("endpoint", ["serial:///dev/null", "tcp://127.0.0.1:502?unit=300"])
def test_an_endpoint_that_is_not_modbus_tcp_is_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match=r"allowed: tcp://host:502\?unit=1"):
        controller_at(endpoint)
