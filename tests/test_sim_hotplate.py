"""The simulated IKA hotplate against its operating instructions (NAMUR commands). The wall stands on a manual clock."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.core.clock import ManualClock
from sim.hotplate import Hotplate


@dataclass
class Plate:
    """A plate that is at once what it is set to."""

    heater_c: float | None = None
    rpm: float = 0.0

    def set_heater(self, target_c: float | None) -> None:
        self.heater_c = target_c

    def plate_c(self) -> float:
        return 24.8 if self.heater_c is None else self.heater_c

    def probe_c(self) -> float:
        return 23.15

    def set_stirrer(self, rpm: float) -> None:
        self.rpm = rpm

    def stir_rpm(self) -> float:
        return self.rpm


@dataclass
class Bench:
    wall: ManualClock
    plate: Plate
    firmware: Hotplate

    def say(self, *commands: str) -> list[str]:
        return [self.firmware.feed(command.encode() + b"\r\n").decode() for command in commands]


@pytest.fixture
def bench() -> Bench:
    return a_bench()


def a_bench() -> Bench:
    wall, plate = ManualClock(), Plate()
    return Bench(wall, plate, Hotplate(ManualClock(), wall, plate))


@pytest.mark.parametrize(("command", "reply"), [
    ("IN_NAME", "C-MAG HS7\r\n"), ("IN_PV_1", "23.1 1\r\n"), ("IN_PV_2", "24.8 2\r\n"), ("IN_PV_4", "0.0 4\r\n"), ("IN_PV_5", "0.0 5\r\n"),
    ("IN_SP_1", "0.0 1\r\n"), ("IN_SP_3", "550.0 3\r\n"), ("IN_SP_4", "0.0 4\r\n")])  # fmt: skip
def test_queries_are_answered_by_value_and_channel(bench: Bench, command: str, reply: str) -> None:
    assert bench.say(command) == [reply]


def test_the_software_can_be_asked_for(bench: Bench) -> None:
    assert bench.say("IN_SOFTWARE")[0].strip()


def test_set_points_and_switches_are_carried_out_and_not_answered(bench: Bench) -> None:
    assert bench.say("OUT_SP_1 60", "OUT_SP_4 300") == ["", ""]
    assert (bench.plate.heater_c, bench.plate.rpm) == (None, 0.0)
    assert bench.say("START_1", "START_4") == ["", ""]
    assert (bench.plate.heater_c, bench.plate.rpm) == (60.0, 300.0)
    assert bench.say("IN_SP_1", "IN_SP_4", "IN_PV_2", "IN_PV_4") == ["60.0 1\r\n", "300.0 4\r\n", "60.0 2\r\n", "300.0 4\r\n"]
    assert bench.say("OUT_SP_1 75.5") == [""]
    assert bench.plate.heater_c == 75.5
    assert bench.say("STOP_1", "STOP_4") == ["", ""]
    assert (bench.plate.heater_c, bench.plate.rpm) == (None, 0.0)
    assert bench.say("IN_SP_1") == ["75.5 1\r\n"]


@pytest.mark.parametrize("line", [b"OUT_SP_1 60 \r\n", b"OUT_SP_1  60\r\n", b"OUT_SP_1 60.0 \r \n", b"OUT_SP_1 60\n"])
def test_blanks_around_a_command_do_not_matter(bench: Bench, line: bytes) -> None:
    bench.firmware.feed(line)
    assert bench.say("IN_SP_1") == ["60.0 1\r\n"]


def test_the_parity_bit_of_7e1_is_not_part_of_the_character(bench: Bench) -> None:
    with_parity = bytes(b | (0x80 if b.bit_count() % 2 else 0) for b in b"IN_PV_2\r\n")
    assert bench.firmware.feed(with_parity) == b"24.8 2\r\n"


@pytest.mark.parametrize("line", ["in_pv_2", "IN_PV_9", "HELLO", "", "OUT_SP_1", "OUT_SP_1 hot", "OUT_SP_1 501", "OUT_SP_1 -5", "OUT_SP_4 1501"])
def test_what_it_does_not_know_or_cannot_do_is_not_answered_and_changes_nothing(bench: Bench, line: str) -> None:
    bench.say("OUT_SP_1 60", "OUT_SP_4 300")
    assert bench.say(line) == [""]
    assert bench.say("IN_SP_1", "IN_SP_4") == ["60.0 1\r\n", "300.0 4\r\n"]


def test_a_line_may_have_80_characters_and_no_more(bench: Bench) -> None:
    assert bench.say("IN_PV_2".ljust(79)) == ["24.8 2\r\n"]
    assert bench.say("IN_PV_2".ljust(80)) == [""]
    assert bench.say("IN_PV_2") == ["24.8 2\r\n"]


def test_safety_limits_are_echoed(bench: Bench) -> None:
    assert [reply.split()[0] for reply in bench.say("OUT_SP_12@100", "OUT_SP_42@200", "OUT_SP_12@900")] == ["100.0", "200.0", "100.0"]


def test_watchdog_1_switches_heater_and_stirrer_off_until_reset(bench: Bench) -> None:
    bench.say("OUT_SP_1 60", "OUT_SP_4 300", "START_1", "START_4")
    assert bench.say("OUT_WD1@20") == ["20\r\n"]
    bench.wall.advance(19.9)
    bench.say("IN_PV_2")
    bench.firmware.step()
    assert bench.plate == Plate(60.0, 300.0)
    bench.wall.advance(0.2)  # other commands do not count: only the watchdog's own does
    bench.firmware.step()
    assert bench.plate == Plate(None, 0.0)
    bench.say("START_1")
    assert bench.plate.heater_c is None
    bench.say("RESET", "START_1")
    assert bench.plate.heater_c == 60.0


def test_watchdog_1_is_quiet_as_long_as_it_is_told_again_in_time(bench: Bench) -> None:
    bench.say("OUT_SP_1 60", "START_1", "OUT_WD1@20")
    for _ in range(5):
        bench.wall.advance(19.0)
        bench.say("OUT_WD1@20")
    assert bench.plate.heater_c == 60.0
    bench.say("OUT_WD1@0")
    bench.wall.advance(1000.0)
    bench.firmware.step()
    assert bench.plate.heater_c == 60.0


def test_watchdog_2_falls_back_to_the_safety_limits(bench: Bench) -> None:
    bench.say("OUT_SP_12@40", "OUT_SP_42@100", "OUT_SP_1 60", "OUT_SP_4 300", "START_1", "START_4", "OUT_WD2@30")
    bench.wall.advance(31.0)
    bench.firmware.step()
    assert bench.plate == Plate(40.0, 100.0)
    assert bench.say("IN_SP_1", "IN_SP_4") == ["40.0 1\r\n", "100.0 4\r\n"]


@pytest.mark.parametrize("seconds", ["19", "1501", "-1", ""])
def test_a_watchdog_time_outside_20_to_1500_s_is_not_taken(bench: Bench, seconds: str) -> None:
    bench.say("OUT_SP_1 60", "START_1")
    assert bench.say(f"OUT_WD1@{seconds}") == [""]
    bench.wall.advance(5000.0)
    bench.firmware.step()
    assert bench.plate.heater_c == 60.0


@pytest.mark.parametrize(("mode", "heater_c"), [("A", None), ("B", 60.0), ("D", None)])
def test_after_a_power_cut_set_points_stay_and_only_mode_b_starts_again(bench: Bench, mode: str, heater_c: float | None) -> None:
    bench.say(f"SET_MODE_{mode}", "OUT_SP_1 60", "START_1")
    bench.firmware.power_cycle()
    assert bench.plate.heater_c == heater_c
    assert bench.say("IN_SP_1") == ["60.0 1\r\n"]


@pytest.mark.parametrize("words", Hotplate.failures)
def test_a_failure_of_the_device_switches_it_off(bench: Bench, words: str) -> None:
    bench.say("OUT_SP_1 60", "START_1", "OUT_SP_4 300", "START_4")
    bench.firmware.fail(words)
    bench.say("START_1")
    assert bench.plate == Plate(None, 0.0)
    bench.firmware.power_cycle()
    bench.say("START_1")
    assert bench.plate.heater_c == 60.0


@given(st.lists(st.sampled_from([b"IN_PV_2\r\n", b"OUT_SP_1 60\r\n", b"IN_SP_1 \r \n", b"START_1\r\n", b"OUT_WD1@20\r\n", b"x" * 90 + b"\n", b"\r\n"])),
       st.lists(st.integers(1, 30), max_size=12))
def test_replies_do_not_depend_on_how_the_bytes_are_split(lines: list[bytes], sizes: list[int]) -> None:
    data, whole, split = b"".join(lines), a_bench(), a_bench()
    pieces, rest = [], data
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    assert b"".join(split.firmware.feed(piece) for piece in [*pieces, rest]) == whole.firmware.feed(data)


@settings(max_examples=300)
@given(st.lists(st.one_of(st.binary(max_size=100), st.text("INOUTSPVWD_124 @.-", max_size=20).map(lambda t: t.encode() + b"\r\n"))))
def test_garbage_is_never_too_much_for_it(pieces: list[bytes]) -> None:
    bench = a_bench()
    for piece in pieces:
        bench.firmware.feed(piece)
        bench.wall.advance(10.0)
        bench.firmware.step()
    assert bench.firmware.feed(b"\nIN_NAME\r\n").endswith(b"C-MAG HS7\r\n")
