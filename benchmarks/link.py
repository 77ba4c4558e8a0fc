"""A pump query through codec and link, over a pty, beside a bare pyserial exchange of the same bytes in the same run."""

from __future__ import annotations

import subprocess
import sys
import time

import serial

from benchmarks.figures import Figure, median_s, show
from firmware_bridges.link import serial_link
from firmware_bridges.ne1000 import encode
from firmware_bridges.pump_line import PumpLine

N = 2000
ROUNDS = 5
ETX = 3


def bare_exchange(port: serial.Serial, request: bytes) -> bytes:
    """The fastest plain pyserial: write, then a blocking byte and what else has arrived, until ETX."""
    port.write(request)
    reply = b""
    while not reply or reply[-1] != ETX:
        reply += port.read(1) + port.read(port.in_waiting)
    return reply


def measure(device: str, is_safe: bool) -> tuple[float, float]:
    """Median seconds of a bare exchange and of one through codec and link; the smallest of some interleaved rounds."""
    request = encode(0, "RAT", is_safe)
    bare_s, link_s = [], []
    for _ in range(ROUNDS):
        with serial.Serial(device, 19200, timeout=1) as port:
            bare_s.append(median_s(lambda p=port: bare_exchange(p, request), N, time.perf_counter))  # type: ignore[misc]
        link = serial_link("pump", f"serial://{device}?baud=19200", 19200)
        link.connect()
        line = PumpLine("pump", link, is_safe, lambda address, alarm: None, lambda error: None)
        line.status(0)
        link_s.append(median_s(lambda one=line: one.ask(0, "RAT", str), N, time.perf_counter))  # type: ignore[misc]
        link.close()
    return min(bare_s), min(link_s)


def main() -> None:
    simulator = subprocess.Popen([sys.executable, "-m", "lab.cli", "sim", "pump"], stdout=subprocess.PIPE, text=True)
    try:
        device = (simulator.stdout or sys.stdin).readline().strip()
        for is_safe in (False, True):
            bare_s, link_s = measure(device, is_safe)
            mode = "safe mode (CRC)" if is_safe else "basic mode"
            show([Figure(f"pump query, {mode}: codec and link / bare pyserial", link_s / bare_s, "x", most=3.0,
                         note=f"{link_s * 1e6:.0f} us / {bare_s * 1e6:.0f} us")])
    finally:
        simulator.terminate()
        simulator.wait(10)


if __name__ == "__main__":
    main()
