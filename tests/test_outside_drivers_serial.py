"""Drivers that others wrote, against our serial instruments as ``lab sim`` serves them.

The drivers wait for replies without a time-out, so each runs in a process of its own with a deadline. Where a driver
and the manual disagree, the manual decides, and the test says so.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

DEADLINE_S = 60.0

Simulate = Callable[..., str]


@pytest.fixture
def simulate() -> Iterator[Simulate]:
    """Start ``lab sim KIND ...``; returns its first line, the address."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> str:
        process = subprocess.Popen([sys.executable, "-c", "from lab.cli import main; main()", "sim", *arguments],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
        started.append(process)
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], DEADLINE_S)
        assert ready, "no address"
        return process.stdout.readline().decode().strip()

    yield start
    for process in started:
        process.send_signal(signal.SIGINT)
        _, log = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0 and b"Traceback" not in log, log.decode()


def drive(script: str, *arguments: str) -> dict[str, object]:
    """Run a driver's script; what it puts into ``seen`` comes back."""
    whole = f"import json, sys\nseen = {{}}\n{textwrap.dedent(script)}\nprint(json.dumps(seen))"
    done = subprocess.run([sys.executable, "-c", whole, *arguments], capture_output=True, timeout=DEADLINE_S)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


# ---------------------------------------------------------------------------------------- nesp-lib and the pumps


def test_nesp_lib_sets_up_a_pump_and_doses_with_it(simulate: Simulate) -> None:
    seen = drive("""
        from nesp_lib import Port, Pump, PumpingDirection
        with Port(sys.argv[1], 19200) as port:
            pump = Pump(port, address=3)  # takes the reset alarm of the first command for granted
            seen["model"], seen["version"] = pump.model_number, pump.firmware_version
            pump.syringe_diameter_mm = 26.7
            pump.pumping_direction = PumpingDirection.INFUSE
            pump.pumping_rate_ml_per_min = 5.0
            pump.pumping_volume_ml = 0.75
            seen["settings"] = [pump.syringe_diameter_mm, pump.pumping_rate_ml_per_min, pump.pumping_volume_ml,
                                pump.pumping_direction.name]
            pump.run(wait_while_running=True)
            seen["after"] = [pump.status.name, pump.volume_infused_ml, pump.volume_withdrawn_ml]
            pump.volume_infused_clear()
            seen["cleared"] = pump.volume_infused_ml
        """, simulate("pump", "--speed", "400"))
    assert seen == {"model": 1000, "version": [3, 928], "settings": [26.7, 5.0, 0.75, "INFUSE"],
                    "after": ["STOPPED", 0.75, 0.0], "cleared": 0.0}  # fmt: skip


def test_nesp_lib_drives_several_pumps_on_one_line_and_stops_them(simulate: Simulate) -> None:
    seen = drive("""
        from nesp_lib import Port, Pump, PumpingDirection
        from nesp_lib.exceptions import StateException
        with Port(sys.argv[1], 19200) as port:
            first, second = Pump(port, address=0, model_number=1000), Pump(port, address=4, model_number=1000)
            for pump in (first, second):
                pump.pumping_volume_ml = 100.0
                pump.pumping_rate_ml_per_min = 1.0
            second.pumping_direction = PumpingDirection.WITHDRAW
            for pump in (first, second):
                pump.run(wait_while_running=False)
            seen["running"] = [first.status.name, second.status.name]
            first.stop(wait_while_running=True)
            seen["stopped"] = [first.status.name, second.status.name]
            first.stop()
            try:
                first.stop()
            except StateException:
                seen["third stop"] = "refused"
        """, simulate("pump"))
    assert seen == {"running": ["INFUSING", "WITHDRAWING"], "stopped": ["PAUSED", "WITHDRAWING"], "third stop": "refused"}


def test_nesp_lib_talks_safe_mode_with_its_checksums_and_heartbeat(simulate: Simulate) -> None:
    seen = drive("""
        from nesp_lib import Port, Pump
        with Port(sys.argv[1], 19200) as port:
            pump = Pump(port, address=2, safe_mode_timeout_s=30)
            seen["safe"] = [pump.safe_mode_timeout_s, pump.model_number]
            pump.syringe_diameter_mm = 4.699
            pump.pumping_rate_ml_per_min = 0.01
            seen["rate"] = pump.pumping_rate_ml_per_min
            pump.safe_mode_timeout_s = 0
            seen["basic"] = [pump.safe_mode_timeout_s, pump.syringe_diameter_mm]
        """, simulate("pump"))
    assert seen == {"safe": [30, 1000], "rate": 0.01, "basic": [0, 4.699]}


def test_nesp_lib_hears_of_a_stall_that_a_fault_file_plans(simulate: Simulate, tmp_path: Path) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text("- {instrument: pump, kind: error, words: stall, after: 8}\n")
    seen = drive("""
        from nesp_lib import Port, Pump
        from nesp_lib.exceptions import StatusAlarmException
        with Port(sys.argv[1], 19200) as port:
            pump = Pump(port, address=1)
            pump.pumping_rate_ml_per_min = 1.0
            pump.pumping_volume_ml = 50.0
            try:
                pump.run()
            except StatusAlarmException as alarm:
                seen["alarm"] = alarm.alarm_status.name
            seen["then"] = pump.status.name
        """, simulate("pump", "--faults", str(faults)))
    assert seen == {"alarm": "STALLED", "then": "STOPPED"}


def test_nesp_lib_reports_what_the_pump_refuses(simulate: Simulate) -> None:
    seen = drive("""
        from nesp_lib import Port, Pump
        with Port(sys.argv[1], 19200) as port:
            pump = Pump(port)
            pump.syringe_diameter_mm = 26.59
            for rate in (28.0, 30.0):
                try:
                    pump.pumping_rate_ml_per_min = rate
                    seen[rate] = "taken"
                except ValueError as error:
                    seen[rate] = str(error)
        """, simulate("pump"))
    assert seen == {"28.0": "taken", "30.0": "Pumping rate invalid: Value exceeds limit."}


# ------------------------------------------------------------------------------------------ ika and the hotplate


def test_ika_heats_and_stirs(simulate: Simulate) -> None:
    seen = drive("""
        from ika.magnetic_stirrer import MagneticStirrer
        plate = MagneticStirrer(sys.argv[1])
        plate.set_target_temperature(60)
        plate.set_target_stir_rate(300)
        seen["targets"] = [plate.target_temperature(), plate.target_stir_rate()]
        seen["cold"] = plate.hotplate_sensor_temperature()
        plate.start_heating()
        plate.start_stirring()
        # 7000 laboratory seconds a second: it is warm long before the driver's own pauses (0.1 s a command) are over
        seen["warm"] = [plate.hotplate_sensor_temperature() for _ in range(10)][-1]
        seen["rpm"] = plate.stir_rate()
        seen["limits"] = [plate.set_wd_safety_limit_temperature("100"), plate.set_wd_safety_limit_speed(400)]
        seen["safety"] = plate.hardware_safety_temperature()
        plate.stop_heating()
        plate.stop_stirring()
        seen["stopped"] = [plate.stir_rate() for _ in range(3)][-1]
        """, simulate("hotplate", "--speed", "7000"))
    assert seen["targets"] == [60.0, 300.0]
    assert seen["cold"] == pytest.approx(25.0, abs=5.0)
    assert seen["warm"] == pytest.approx(60.0, abs=2.0)
    assert seen["rpm"] == pytest.approx(300.0, abs=5.0)
    assert seen["limits"] == [100.0, 400.0]
    assert seen["safety"] == 550.0
    assert seen["stopped"] == pytest.approx(0.0, abs=1.0)


def test_ika_does_not_expect_the_echo_of_the_watchdog_that_the_manual_promises(simulate: Simulate) -> None:
    # Manual: OUT_WD1@m is sent "with watchdog time echo". The driver does not read it, and takes it for the next value.
    seen = drive("""
        from ika.magnetic_stirrer import MagneticStirrer
        plate = MagneticStirrer(sys.argv[1])
        plate.set_target_stir_rate(300)
        plate.watchdog_mode_1(20)
        seen["stir rate"] = [plate.target_stir_rate(), plate.target_stir_rate()]
        """, simulate("hotplate"))
    assert seen == {"stir rate": [20.0, 300.0]}


def test_ika_cannot_read_a_name_that_ends_as_the_manual_says(simulate: Simulate) -> None:
    # Manual: replies end in CR LF. The driver compares the name with its CR still on it, and takes what is left for a number.
    seen = drive("""
        from ika.magnetic_stirrer import MagneticStirrer
        plate = MagneticStirrer(sys.argv[1])
        try:
            plate.read_device_name()
        except ValueError as error:
            seen["name"] = str(error)
        seen["then"] = plate.target_stir_rate()
        """, simulate("hotplate"))
    assert seen == {"name": "could not convert string to float: 'C-MAG'", "then": 0.0}


# ------------------------------------------------------------------------------------------------ lab sim itself


@pytest.mark.parametrize(("kind", "beginning"), [("pump", "/"), ("hotplate", "/"), ("arm", "127.0.0.1:"), ("detector", "http://127.0.0.1:")])
def test_the_first_line_is_the_address_a_driver_needs(simulate: Simulate, kind: str, beginning: str) -> None:
    address = simulate(kind)
    assert address.startswith(beginning)
    assert "?" not in address
    assert not address.startswith("/") or os.path.exists(address)


def test_a_wrong_fault_file_is_told_before_anything_starts(tmp_path: Path) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text("- {instrument: pump, kind: error, words: flood}\n")
    done = subprocess.run([sys.executable, "-c", "from lab.cli import main; main()", "sim", "pump", "--faults", str(faults)],
                          capture_output=True, timeout=DEADLINE_S)
    assert done.returncode != 0
    assert done.stdout == b""
    assert b"given error 'flood'; allowed: reset, stall" in b" ".join(done.stderr.split())
