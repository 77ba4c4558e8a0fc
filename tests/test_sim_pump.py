"""The simulated NE-1000 bank against the manual (publication 1200-01, section 10). Physics and wall stand on manual clocks."""

from __future__ import annotations

import binascii
import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.core.clock import ManualClock
from sim.ne1000_memory import FASTEST_CM_MIN, number, parse_number
from sim.pump import PumpBank, frame_safe


@dataclass
class Glasses:
    """What has come out of each syringe, mL."""

    ml: dict[int, float] = field(default_factory=dict)

    def infuse(self, address: int, volume_ml: float) -> None:
        self.ml[address] = self.ml.get(address, 0.0) + volume_ml


@dataclass
class Line:
    physics: ManualClock
    wall: ManualClock
    glasses: Glasses
    bank: PumpBank

    def ask(self, command: str) -> str:
        """A Basic mode exchange; without STX and ETX."""
        reply = self.bank.feed(command.encode() + b"\r")
        assert reply[:1] == b"\x02" and reply[-1:] == b"\x03", reply
        return reply[1:-1].decode()

    def flow(self, lab_s: float) -> bytes:
        self.physics.advance(lab_s)
        return self.bank.step()


def a_line(*addresses: int) -> Line:
    physics, wall, glasses = ManualClock(), ManualClock(), Glasses()
    line = Line(physics, wall, glasses, PumpBank(addresses, physics, wall, glasses))
    for address in addresses:
        line.bank.feed(b"%d\r" % address)  # acknowledge the power-on alarm
    return line


@pytest.fixture
def line() -> Line:
    return a_line(0, 1, 7)


# ----------------------------------------------------------------------------------------------------- packets


def test_the_manual_s_packet_for_leaving_safe_mode_is_understood_and_answered_in_basic_mode(line: Line) -> None:
    line.ask("SAF60")
    assert line.bank.feed(b"\x02\x08SAF0\x55\x43\x03") == b"\x0200S\x03"
    assert line.ask("SAF") == "00S0"


def test_a_safe_mode_packet_counts_its_bytes_and_carries_a_crc(line: Line) -> None:
    assert frame_safe("SAF0") == b"\x02\x08SAF0\x55\x43\x03"
    reply = line.bank.feed(frame_safe("7VER"))
    data = b"07SNE1000V3.928"
    assert reply == bytes([2, len(data) + 4]) + data + binascii.crc_hqx(data, 0).to_bytes(2, "big") + b"\x03"


def test_basic_mode_ignores_blanks_control_characters_and_case(line: Line) -> None:
    assert line.bank.feed(b"\n 1 d i a\t\x00 2 6 . 5 9\r") == b"\x0201S\x03"
    assert line.ask("1 dia") == "01S26.59"


def test_without_an_address_pump_0_answers(line: Line) -> None:
    assert line.ask("ADR") == "00S00"
    assert line.ask("") == "00S"


def test_one_and_two_digits_address_the_same_pump(line: Line) -> None:
    assert line.ask("7ADR") == line.ask("07ADR") == "07S07"


@pytest.mark.parametrize("packet", [b"5VER\r", b"99\r", frame_safe("5VER")])
def test_pumps_that_are_not_addressed_stay_silent(line: Line, packet: bytes) -> None:
    assert line.bank.feed(packet) == b""


def test_a_packet_with_a_wrong_crc_is_answered_com_by_the_pump_it_names(line: Line) -> None:
    packet = bytearray(frame_safe("1RUN"))
    packet[-2] ^= 1
    assert line.bank.feed(bytes(packet)) == frame_safe("01S?COM")


def test_a_safe_mode_packet_is_dropped_after_half_a_second_of_silence_on_the_wall(line: Line) -> None:
    whole = frame_safe("VER")
    assert line.bank.feed(whole[:4]) == b""
    line.physics.advance(3600)
    line.wall.advance(0.4)
    assert line.bank.feed(whole[4:]) == frame_safe("00SNE1000V3.928")
    line.bank.feed(whole[:4])
    line.wall.advance(0.5)
    assert line.bank.feed(whole) == frame_safe("00SNE1000V3.928")


def test_a_command_typed_slowly_in_basic_mode_is_still_one_command(line: Line) -> None:
    line.bank.feed(b"1VE")
    line.wall.advance(5.0)
    assert line.bank.feed(b"R\r") == b"\x0201SNE1000V3.928\x03"


def test_a_packet_that_begins_in_the_middle_of_another_one_is_heard(line: Line) -> None:
    assert line.bank.feed(b"1DI" + frame_safe("VER")) == frame_safe("00SNE1000V3.928")


def test_a_command_burst_reaches_each_pump_it_names(line: Line) -> None:
    for address in (0, 1):
        line.ask(f"{address}RAT1MM")
    line.bank.feed(b"0RUN*1RUN*\r")
    assert [line.ask(f"{address}") for address in (0, 1, 7)] == ["00I", "01I", "07S"]


def test_a_system_command_reaches_every_pump() -> None:
    alone = a_line(3)
    assert alone.ask("*ADR12") == "12S"
    assert alone.ask("12ADR") == "12S12"
    assert alone.ask("*RESET") == "00S"
    assert alone.ask("0") == "00S"


# ---------------------------------------------------------------------------------------------------- settings

TRANSCRIPT = [
    ("VER", "00SNE1000V3.928"),
    ("DIA26.59", "00S"), ("DIA", "00S26.59"),
    ("RAT 5 MM", "00S"), ("RAT", "00S5.000MM"), ("RAT1.5", "00S"), ("RAT", "00S1.500MM"), ("RAT 1699 MH", "00S"), ("RAT", "00S1699.MH"),
    ("RAT 5000 UM", "00S"), ("RAT", "00S5000.UM"), ("RAT 20 UH", "00S?OOR"),
    ("VOL0.5", "00S"), ("VOL", "00S0.500ML"), ("VOLUL", "00S"), ("VOL", "00S0.500UL"), ("VOL ML", "00S"),
    ("DIR", "00SINF"), ("DIRWDR", "00S"), ("DIR", "00SWDR"), ("DIRREV", "00S"), ("DIR", "00SINF"),
    ("PHN", "00S01"), ("PHN2", "00S"), ("FUN", "00SSTP"), ("FUNPAS10", "00S"), ("FUN", "00SPAS10"), ("PHN1", "00S"), ("FUN", "00SRAT"),
    ("DIS", "00SI0.000W0.000ML"), ("CLDINF", "00S"), ("CLDWDR", "00S"),
    ("AL", "00S1"), ("AL0", "00S"), ("AL", "00S0"), ("BP0", "00S"), ("LN1", "00S"), ("LN", "00S1"), ("DIN", "00S1"),
    ("TRG", "00SFT"), ("TRGOF", "00S"), ("TRG", "00SOF"), ("SAF", "00S0"), ("SAF0", "00S"),
    ("XYZ", "00S?"), ("RATX", "00S?"), ("RAT1.2.3", "00S?"), ("VOLML1", "00S?"), ("DIRUP", "00S?"), ("VERX", "00S?"), ("CLD", "00S?"),
    ("DIA0.01", "00S?OOR"), ("DIA60", "00S?OOR"), ("DIA26.591", "00S?OOR"), ("RAT9999MM", "00S?OOR"), ("RAT.0001MM", "00S?OOR"),
    ("PHN42", "00S?OOR"), ("SAF256", "00S?OOR"), ("FUNLOP05", "00S?OOR"), ("AL2", "00S?OOR"),
    ("STP", "00S?NA"),
]  # fmt: skip


def test_the_command_set_answers_as_the_manual_has_it() -> None:
    line = a_line(0)
    assert [(command, line.ask(command)) for command, _ in TRANSCRIPT] == TRANSCRIPT


@pytest.mark.parametrize(("value", "text"), [(0.0, "0.000"), (5.0, "5.000"), (0.9999, "0.999"), (9.9999, "9.999"), (26.59, "26.59"),
                                             (100.0, "100.0"), (1699.0, "1699."), (0.3, "0.300"), (999.96, "999.9")])
def test_numbers_have_four_digits_and_a_point(value: float, text: str) -> None:
    assert number(value) == text


@given(st.integers(0, 9999), st.integers(0, 3))
def test_every_number_the_pump_can_print_is_read_back_the_same(digits: int, n_decimals: int) -> None:
    text = number(digits / 10**n_decimals)
    assert number(parse_number(text)) == text


@pytest.mark.parametrize(("diameter_mm", "units"), [("14", "UL"), ("14.01", "ML"), ("4.699", "UL")])
def test_the_diameter_decides_the_unit_of_volumes(line: Line, diameter_mm: str, units: str) -> None:
    line.ask(f"DIA{diameter_mm}")
    assert line.ask("VOL").endswith(units)


@pytest.mark.parametrize(("diameter_mm", "slowest", "fastest"), [("26.59", "0.024MH", "28.32MM"), ("4.699", "0.730UH", "53.07MH")])
def test_the_motor_s_range_is_the_specified_one(line: Line, diameter_mm: str, slowest: str, fastest: str) -> None:
    # from the table of syringes: 28.32 mL/min with 60 mL, down to 0.73 uL/h with 1 mL
    line.ask(f"DIA{diameter_mm}")
    assert [line.ask(f"RAT{rate}") for rate in (slowest, fastest)] == ["00S", "00S"]
    assert line.ask(f"RAT{float(fastest[:-2]) * 1.01:.4g}{fastest[-2:]}") == "00S?OOR"


# ----------------------------------------------------------------------------------------------------- pumping


def begin(line: Line, address: int, volume_ml: str = "1.0", rate: str = "6MM", direction: str = "INF") -> None:
    for command in (f"RAT{rate}", f"VOL{volume_ml}", f"DIR{direction}", f"CLD{direction}"):
        assert line.ask(f"{address}{command}") == f"{address:02d}S"
    assert line.ask(f"{address}RUN") == f"{address:02d}{direction[0]}"


def test_a_dose_flows_into_the_world_in_laboratory_time_and_ends_exactly(line: Line) -> None:
    begin(line, 1)  # 1 mL at 6 mL/min: 10 s
    line.flow(4.0)
    assert line.ask("1DIS") == "01II0.400W0.000ML"
    assert line.glasses.ml == pytest.approx({1: 0.4})
    line.flow(7.0)
    assert line.ask("1DIS") == "01SI1.000W0.000ML"
    assert line.glasses.ml == {1: pytest.approx(1.0, abs=1e-12)}


def test_withdrawing_draws_liquid_back(line: Line) -> None:
    begin(line, 0, direction="WDR")
    line.flow(60)
    assert line.glasses.ml == {0: pytest.approx(-1.0)}
    assert line.ask("DIS") == "00SI0.000W1.000ML"


@given(st.lists(st.floats(0.001, 3.0), max_size=40))
def test_the_volume_does_not_depend_on_how_often_the_pump_is_stepped(steps_s: list[float]) -> None:
    line = a_line(0)
    begin(line, 0)
    for step_s in steps_s:
        line.flow(step_s)
    assert line.glasses.ml.get(0, 0.0) == pytest.approx(min(1.0, sum(steps_s) * 0.1), abs=1e-9)


def test_stop_first_pauses_and_then_stops(line: Line) -> None:
    begin(line, 1)
    line.flow(4.0)
    assert line.ask("1STP") == "01P"
    line.flow(60.0)
    assert line.ask("1DIS") == "01PI0.400W0.000ML"
    assert line.ask("1RUN") == "01I"
    line.flow(2.0)
    assert line.ask("1STP") == "01P"
    assert line.ask("1STP") == "01S"
    assert line.ask("1STP") == "01S?NA"
    assert line.glasses.ml == pytest.approx({1: 0.6})


def test_a_volume_of_zero_is_pumped_without_end(line: Line) -> None:
    begin(line, 0, volume_ml="0")
    line.flow(3600)
    assert line.ask("") == "00I"
    assert line.ask("DIRWDR") == "00W"
    line.flow(600)
    assert line.ask("DIS") == "00WI360.0W60.00ML"


def test_while_pumping_the_rate_changes_at_once_and_everything_else_not_at_all(line: Line) -> None:
    begin(line, 0)
    assert [line.ask(c) for c in ("DIA20", "VOL2", "DIRWDR", "RAT3MM", "CLDINF", "RUN", "PUR", "PHN2")] == ["00I?NA"] * 8
    assert line.ask("RAT3") == "00I"
    line.flow(10.0)
    assert line.ask("DIS") == "00II0.500W0.000ML"
    line.flow(10.0)
    assert line.ask("RAT") == "00S6.000MM"  # not stored


def test_purging_runs_at_top_speed_until_stopped(line: Line) -> None:
    assert line.ask("PUR") == "00X"
    line.flow(60)
    assert line.ask("STP") == "00S"
    assert line.glasses.ml[0] == pytest.approx(FASTEST_CM_MIN * math.pi * (2.659 / 2) ** 2)


def test_a_program_pumps_waits_and_pumps_again(line: Line) -> None:
    program = ["RAT6MM", "VOL1", "PHN2", "FUNPAS05", "PHN3", "FUNRAT", "RAT6MM", "VOL0.5", "DIRWDR", "PHN1"]
    assert {line.ask(c) for c in program} == {"00S"}
    line.ask("RUN")
    seen = []
    for _ in range(4):
        line.flow(6.0)
        seen.append(line.ask("")[2])
    assert seen == ["I", "T", "W", "S"]
    assert line.ask("DIS") == "00SI1.000W0.500ML"


def test_a_rate_that_does_not_fit_the_syringe_any_more_is_refused_at_the_start(line: Line) -> None:
    line.ask("RAT20MM")
    line.ask("DIA5")
    assert line.ask("RUN") == "00S?OOR"


# ------------------------------------------------------------------------------------------------------ alarms


def test_after_power_up_the_first_command_is_answered_by_the_reset_alarm_and_not_carried_out() -> None:
    physics, wall = ManualClock(), ManualClock()
    line = Line(physics, wall, Glasses(), PumpBank([0], physics, wall, Glasses()))
    assert line.ask("DIA20") == "00A?R"
    assert line.ask("DIA") == "00S26.59"


def test_a_power_cycle_stops_the_pump_forgets_the_counts_and_keeps_the_settings(line: Line) -> None:
    line.ask("DIA20")
    begin(line, 0)
    line.flow(5.0)
    line.bank.power_cycle()
    line.flow(60.0)
    assert [line.ask(c) for c in ("", "DIS", "DIA", "RAT", "VOL")] == ["00A?R", "00SI0.000W0.000ML", "00S20.00", "00S6.000MM", "00S1.000ML"]
    assert line.glasses.ml == pytest.approx({0: 0.5})


def test_a_stall_stops_the_pump_where_it_is(line: Line) -> None:
    begin(line, 1)
    begin(line, 7)
    line.flow(5.0)
    line.bank.fail("stall 1")
    line.flow(60.0)
    assert line.ask("1RUN") == "01A?S"
    assert line.ask("1DIS") == "01SI0.500W0.000ML"
    assert line.ask("7DIS") == "07SI1.000W0.000ML"


def test_a_stall_while_nothing_runs_waits_for_the_next_pump_to_run(line: Line) -> None:
    line.bank.fail("stall")
    line.flow(1.0)
    assert line.ask("7") == "07S"
    begin(line, 7)
    line.flow(0.1)
    assert line.ask("7") == "07A?S"
    begin(line, 7)
    line.flow(60.0)
    assert line.ask("7") == "07S"


@pytest.mark.parametrize(("words", "alarm"), [("reset 1", "R"), ("timeout 1", "T"), ("program 1", "E"), ("range 1", "O")])
def test_the_other_alarms_can_be_brought_about_too(line: Line, words: str, alarm: str) -> None:
    line.bank.fail(words)
    assert line.ask("1") == f"01A?{alarm}"


def test_in_safe_mode_an_alarm_is_told_unasked_once_and_stays_until_asked(line: Line) -> None:
    line.bank.feed(frame_safe("1SAF60"))
    line.bank.fail("program 1")
    assert line.bank.step() == frame_safe("01A?E")
    assert line.bank.step() == b""
    assert line.bank.feed(frame_safe("1")) == frame_safe("01A?E")
    assert line.bank.feed(frame_safe("1")) == frame_safe("01S")


def test_in_basic_mode_the_pump_speaks_only_when_asked(line: Line) -> None:
    line.bank.fail("program 1")
    assert line.bank.step() == b""
    assert line.ask("1") == "01A?E"


def test_the_safe_mode_time_out_stops_the_pump_on_wall_time(line: Line) -> None:
    line.bank.feed(frame_safe("1SAF10"))
    begin(line, 1, volume_ml="0")
    line.physics.advance(3600)
    line.wall.advance(9.9)
    assert line.bank.step() == b""
    assert line.bank.feed(frame_safe("1")) == frame_safe("01I")  # a valid packet winds it up again
    line.wall.advance(9.9)
    assert line.bank.step() == b""
    line.wall.advance(0.2)
    assert line.bank.step() == frame_safe("01A?T")
    line.wall.advance(100)
    assert line.bank.step() == b""  # and it does not run again before the next valid packet
    assert line.bank.feed(frame_safe("1")) == frame_safe("01A?T")


def test_in_safe_mode_the_time_out_begins_with_the_first_packet_after_power_up(line: Line) -> None:
    line.bank.feed(frame_safe("1SAF10"))
    line.bank.power_cycle()
    assert line.bank.step() == frame_safe("01A?R")
    line.wall.advance(100)
    assert line.bank.step() == b""
    assert line.bank.feed(frame_safe("1SAF")) == frame_safe("01A?R")
    line.wall.advance(10)
    assert line.bank.step() == frame_safe("01A?T")


# -------------------------------------------------------------------------------------------------- properties


@given(st.lists(st.one_of(
    st.sampled_from(["1RUN", "1RUN3", "1STP", "1PUR", "1DIRREV", "1DIRINF", "1RAT2MM", "1RAT20", "1VOL0", "1VOL0.5", "1VOL2", "1PHN1", "1PHN3",
                     "1FUNRAT", "1FUNSTP", "1FUNPAS03", "1"]),
    st.floats(0.0, 20.0)), max_size=40))
def test_the_pump_counts_what_has_really_flowed(history: list[str | float]) -> None:
    line = a_line(1)
    for event in history:
        if isinstance(event, str):
            line.ask(event)
        else:
            line.flow(event)
    infused, withdrawn = line.ask("1DIS")[4:-2].split("W")
    counted = float(infused) - float(withdrawn)
    assert line.glasses.ml.get(1, 0.0) == pytest.approx(counted, abs=2e-3 * (1.0 + float(infused) + float(withdrawn)))

_PACKETS = st.lists(
    st.sampled_from([b"VER\r", b"1RAT5MM\r", b"7VOL1\r", b"7RUN\r", b"7DIS\r", b"7STP\r", b"9VER\r", b"\r", b"*ADR\r", b"0RUN*1RUN*\r",
                     frame_safe("1"), frame_safe("SAF0"), frame_safe("7SAF20"), frame_safe("1VER")[:-2], b"\x02\x02", b"\xff\x03?\n"]),
    max_size=12).map(b"".join)  # fmt: skip


@given(_PACKETS, st.lists(st.integers(1, 40), max_size=12))
def test_replies_do_not_depend_on_how_the_bytes_are_split(data: bytes, sizes: list[int]) -> None:
    whole, split = a_line(0, 1, 7), a_line(0, 1, 7)
    pieces, rest = [], data
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    assert b"".join(split.bank.feed(piece) for piece in [*pieces, rest]) == whole.bank.feed(data)


@settings(max_examples=300)
@given(st.lists(st.one_of(st.binary(max_size=40), st.text("0179RUNSTPVOLDIACRE.*\r\x02\x03", max_size=20).map(str.encode),
                          st.text("017RATVOLPHNFUNSADL.", max_size=9).map(lambda t: frame_safe(t))), max_size=15))
def test_garbage_is_never_too_much_for_it(pieces: list[bytes]) -> None:
    line = a_line(0, 1, 7)
    for piece in pieces:
        line.bank.feed(piece)
        line.wall.advance(0.3)
        line.flow(30.0)
    line.wall.advance(0.6)
    assert b"NE1000" in line.bank.feed(b"\r*STP\r*VER\r*VER\r")


def test_a_bank_says_when_the_first_of_its_doses_ends_by_itself(line: Line) -> None:
    assert line.bank.due_s() == math.inf
    for address, volume in ((0, 2.0), (1, 0.5)):
        for command in ("DIA20", "RAT2MM", f"VOL{volume:g}", "DIRINF", "RUN"):
            line.ask(f"{address}{command}")
    assert line.bank.due_s() == pytest.approx(15.0)
    line.flow(10.0)
    assert line.bank.due_s() == pytest.approx(5.0)
    line.flow(5.0 + 1e-6)
    assert line.bank.due_s() == pytest.approx(45.0, abs=1e-5)
