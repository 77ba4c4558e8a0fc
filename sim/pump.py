"""A bank of New Era NE-1000 syringe pumps, daisy-chained on one serial line: framing, addresses, Basic and Safe mode.

Source: NE-1000 user manual, publication 1200-01, section 10.2. What one pump does is in `sim.ne1000`.

Basic mode: ``[address]command CR``, blanks and control characters ignored, any case; answered ``STX address status
[data] ETX``. Safe mode: ``STX length data CRC-high CRC-low ETX``, length counting the bytes after STX but ETX included,
CRC-CCITT (initial value 0) over the data. Both kinds of packet are understood in either mode and each is answered in
its own kind, but for ``SAF0``: it is answered in Basic mode, which it sets (so `nesp-lib` and its pumps have it).
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence

from lab.core.clock import Clock
from sim.ne1000 import Alarm, Pump, Reservoir
from sim.ne1000_memory import BAD_PACKET

STX, ETX, CR = 0x02, 0x03, 0x0D

GAP_S = 0.5
"""An incomplete Safe mode packet is discarded after so long a silence (10.2.3). In Basic mode people type."""

LONGEST = 255

_ALARMS: dict[str, Alarm] = {"reset": "R", "stall": "S", "timeout": "T", "program": "E", "range": "O"}
_ADDRESSED = re.compile(r"(\d{1,2})?([A-Z].*)?")
_BURST = re.compile(r"(?:\d[^*]*\*){1,}")


def frame_basic(text: str) -> bytes:
    """A Basic mode reply."""
    return bytes([STX]) + text.encode("ascii") + bytes([ETX])


def frame_safe(text: str) -> bytes:
    """A Safe mode packet, in either direction."""
    data = text.encode("ascii")
    return bytes([STX, len(data) + 4]) + data + binascii.crc_hqx(data, 0).to_bytes(2, "big") + bytes([ETX])


class PumpBank:
    """The line with its pumps (a `sim.firmware.Firmware`).

    Parameters
    ----------
    addresses : sequence of int
        0 to 99, each once.
    physics, wall : Clock
    world : Reservoir

    Notes
    -----
    `failures`: ``stall``, ``reset``, ``timeout``, ``program``, ``range``, each alone or with an address (``stall 3``).
    A stall without an address jams the pumps that are running, or the next one to run.
    """

    def __init__(self, addresses: Sequence[int], physics: Clock, wall: Clock, world: Reservoir) -> None:
        self._wall = wall
        self._pumps = [Pump(address, physics, wall, world) for address in addresses]
        self._packet = bytearray()
        self._heard_s = wall.now()
        self._is_next_blocked = False
        self.failures: Sequence[str] = (*_ALARMS, *(f"{name} {address}" for name in _ALARMS for address in addresses))

    def feed(self, data: bytes) -> bytes:
        now_s = self._wall.now()
        if self._packet[:1] == bytes([STX]) and now_s - self._heard_s >= GAP_S:
            self._packet.clear()
        self._heard_s = now_s
        return b"".join(self._hear(byte) for byte in data)

    def step(self) -> bytes:
        """Let liquid flow; tell the alarms of pumps in Safe mode, once each and without clearing them (10.2.3)."""
        self._advance()
        told = b""
        for pump in self._pumps:
            if pump.alarm is not None and not pump.is_alarm_announced:
                pump.is_alarm_announced = True
                if pump.is_safe:
                    told += frame_safe(f"{pump.address:02d}A?{pump.alarm}")
        return told

    def due_s(self) -> float:
        return min((pump.due_s() for pump in self._pumps), default=float("inf"))

    def power_cycle(self) -> None:
        self._advance()
        self._packet.clear()
        for pump in self._pumps:
            pump.power_on()

    def hung_up(self) -> None:
        """A pump does not notice."""

    def fail(self, words: str) -> None:
        self._advance()
        name, _, address = words.partition(" ")
        chosen = [pump for pump in self._pumps if str(pump.address) == address] if address else \
            [pump for pump in self._pumps if pump.is_pumping]
        if not chosen:
            if name == "stall":
                self._is_next_blocked = True
                return
            chosen = self._pumps[:1]
        for pump in chosen:
            if name == "stall":
                pump.block()
            else:
                pump.raise_alarm(_ALARMS[name])

    def _advance(self) -> None:
        for pump in self._pumps:
            if self._is_next_blocked and pump.is_pumping:
                self._is_next_blocked = False
                pump.block()
            pump.advance()

    # ---------------------------------------------------------------------------------------------- packets

    def _hear(self, byte: int) -> bytes:
        packet = self._packet
        is_safe = packet[:1] == bytes([STX])
        if not is_safe and byte == STX:  # a packet begins, whatever was left of the last one
            packet[:] = [STX]
            return b""
        if not is_safe and byte == CR:
            data = bytes(b for b in packet if 0x20 < b < 0x7F).decode("ascii").upper()
            packet.clear()
            return self._answer(data, is_safe=False)
        packet.append(byte)
        if not is_safe:
            if len(packet) > LONGEST:
                packet.clear()
            return b""
        if len(packet) == 2 and packet[1] < 4:  # no packet is so short
            packet.clear()
        elif len(packet) > 1 and len(packet) == 1 + packet[1]:
            whole = bytes(packet)
            packet.clear()
            return self._check(whole)
        return b""

    def _check(self, packet: bytes) -> bytes:
        """A whole Safe mode packet: answer it, or say ``?COM`` when it is damaged and the address can be made out."""
        data, crc = packet[2:-3], int.from_bytes(packet[-3:-1], "big")
        text = data.decode("latin-1").upper()
        if packet[-1] == ETX and binascii.crc_hqx(data, 0) == crc:
            return self._answer(text, is_safe=True)
        match = _ADDRESSED.match(text)
        addressed = int(match[1]) if match is not None and match[1] else 0
        return b"".join(frame_safe(f"{pump.address:02d}{pump.status}{BAD_PACKET}")
                        for pump in self._pumps if pump.address == addressed)

    def _answer(self, text: str, is_safe: bool) -> bytes:
        self._advance()
        if text.startswith("*"):  # a system command, which every pump takes for its own
            replies = [self._execute(pump, text[1:]) for pump in list(self._pumps)]
        elif _BURST.fullmatch(text):  # several commands at once, 10.2.5; the pumps all talk at the same time
            return b"".join(self._answer(part, is_safe) for part in text[:-1].split("*"))
        else:
            match = _ADDRESSED.fullmatch(text)
            addressed = 0 if match is None or match[1] is None else int(match[1])
            command = text if match is None else match[2] or ""
            replies = [self._execute(pump, command) for pump in self._pumps if pump.address == addressed]
            is_safe = is_safe and command != "SAF0"
        return b"".join(frame_safe(reply) if is_safe else frame_basic(reply) for reply in replies)

    @staticmethod
    def _execute(pump: Pump, command: str) -> str:
        answer = pump.execute(command)
        return f"{pump.address:02d}{answer}"
