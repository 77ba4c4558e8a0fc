"""A programmable controller behind Modbus TCP: coils, discrete inputs, holding and input registers.

Sources: MODBUS Application Protocol Specification V1.1b3 (data model: section 4.3, functions 01 to 06 and 43/14: section 6, exception
responses: section 7); MODBUS Messaging on TCP/IP Implementation Guide V1.0b (MBAP header: section 3.1.3).

What its sensors see is put there from outside (`Plc.force`: faults of kind ``input``). Its program counts the input that lab.yaml calls
its heartbeat, until it is stopped (error ``stop``); a stopped controller still answers.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence

from lab.core.clock import Clock
from lab.core.config import PlcConfig, PlcInput
from sim.firmware import Outgoing

VENDOR, PRODUCT, REVISION = "Labwright", "simulated PLC", "V1.0"

BEAT_S = 0.1
"""Between two changes of the heartbeat."""

_TABLES = ("coil", "discrete", "holding", "register")
"""The tables of the data model, in the order of the functions that read them: 1, 2, 3, 4."""

_ILLEGAL_FUNCTION, _ILLEGAL_ADDRESS, _ILLEGAL_VALUE, _FAILURE = 1, 2, 3, 4
_MOST_BITS, _MOST_REGISTERS = 0x7D0, 0x7D


class _Refusal(Exception):
    """An exception response."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code}")
        self.code = code


class Plc:
    """The state machine (a `sim.firmware.NetworkFirmware`).

    Parameters
    ----------
    config : PlcConfig
        Which addresses exist, and what they hold at the start.
    wall : Clock
        The program of a controller runs on wall time.

    Notes
    -----
    `failures`: ``stop`` (the program stands still, inputs keep their last values), ``run``, ``fault`` (every request is answered with
    "server device failure").
    """

    failures = ("stop", "run", "fault")

    def __init__(self, config: PlcConfig, wall: Clock) -> None:
        self._config, self._wall = config, wall
        self._memory: dict[str, dict[int, int]] = {table: {} for table in _TABLES}
        self._streams: dict[int, bytearray] = {}
        self._forced: dict[str, float] = {}
        self._next_beat_s = wall.now() + BEAT_S
        self._is_running, self._is_broken = True, False
        self._functions: dict[int, Callable[[bytes], bytes]] = {
            1: self._read_bits, 2: self._read_bits, 3: self._read_registers, 4: self._read_registers,
            5: self._write_coil, 6: self._write_register, 0x2B: self._identify}
        self.power_cycle()

    @property
    def inputs(self) -> Sequence[str]:
        """What `force` can hold."""
        return tuple(self._config.inputs)

    def force(self, values: Mapping[str, float]) -> None:
        """Hold these inputs at these values (in their units), and give back to their initial values those that are held no more."""
        if values == self._forced:
            return
        for name in self._forced.keys() - values.keys():
            self._put(self._config.inputs[name], self._config.inputs[name].initial_raw)
        for name, value in values.items():
            one = self._config.inputs[name]
            self._put(one, int(value != 0) if one.is_switch else round(value / one.scale))
        self._forced = dict(values)

    # ------------------------------------------------------------------------------------------- the transport

    def opened(self, port: str, connection: int) -> Sequence[Outgoing]:
        self._streams[connection] = bytearray()
        return ()

    def closed(self, connection: int) -> None:
        self._streams.pop(connection, None)

    def feed(self, connection: int, data: bytes) -> Sequence[Outgoing]:
        stream = self._streams.setdefault(connection, bytearray())
        stream += data
        answers: list[Outgoing] = []
        while len(stream) >= 7:
            transaction, protocol, length, unit = struct.unpack_from(">HHHB", stream)
            if protocol != 0 or not 2 <= length <= 254:  # the stream cannot be followed any more
                self.closed(connection)
                return [*answers, Outgoing(connection, b"", is_last=True)]
            if len(stream) < 6 + length:
                break
            pdu = bytes(stream[7 : 6 + length])
            del stream[: 6 + length]
            reply = self._answer(pdu)
            answers.append(Outgoing(connection, struct.pack(">HHHB", transaction, 0, len(reply) + 1, unit) + reply))
        return answers

    def due_s(self) -> float:
        """Never: what it sees is the outside, on the wall's time."""
        return float("inf")

    def step(self) -> Sequence[Outgoing]:
        beat = self._config.heartbeat
        if self._wall.now() >= self._next_beat_s:
            self._next_beat_s = self._wall.now() + BEAT_S
            if beat is not None and beat not in self._forced and self._is_running:
                one = self._config.inputs[beat]
                self._put(one, self._memory[one.table][one.address] + 1)
        return ()

    def power_cycle(self) -> None:
        """Inputs are what the sensors see; the program starts again."""
        self._streams.clear()
        self._is_running, self._is_broken = True, False
        forced, self._forced = self._forced, {}
        for one in self._config.inputs.values():
            self._put(one, one.initial_raw)
        self.force(forced)

    def fail(self, words: str) -> None:
        if words == "fault":
            self._is_broken = True
        else:
            self._is_running = words == "run"

    # ------------------------------------------------------------------------------------------------ functions

    def _answer(self, pdu: bytes) -> bytes:
        function = pdu[0]
        try:
            if self._is_broken:
                raise _Refusal(_FAILURE)
            if function not in self._functions:
                raise _Refusal(_ILLEGAL_FUNCTION)
            return self._functions[function](pdu)
        except _Refusal as refusal:
            return bytes((function | 0x80, refusal.code))

    def _read_bits(self, pdu: bytes) -> bytes:
        values = self._asked_for(pdu, _MOST_BITS)
        packed = bytearray((len(values) + 7) // 8)
        for i, value in enumerate(values):
            packed[i // 8] |= (value & 1) << i % 8
        return bytes((pdu[0], len(packed))) + packed

    def _read_registers(self, pdu: bytes) -> bytes:
        values = self._asked_for(pdu, _MOST_REGISTERS)
        return struct.pack(f">BB{len(values)}H", pdu[0], 2 * len(values), *values)

    def _asked_for(self, pdu: bytes, most: int) -> list[int]:
        address, count = _two_numbers(pdu)
        if not 1 <= count <= most:
            raise _Refusal(_ILLEGAL_VALUE)
        memory = self._memory[_TABLES[pdu[0] - 1]]
        if any(asked not in memory for asked in range(address, address + count)):
            raise _Refusal(_ILLEGAL_ADDRESS)
        return [memory[asked] for asked in range(address, address + count)]

    def _write_coil(self, pdu: bytes) -> bytes:
        address, value = _two_numbers(pdu)
        if value not in (0x0000, 0xFF00):
            raise _Refusal(_ILLEGAL_VALUE)
        self._write("coil", address, int(value == 0xFF00))
        return pdu

    def _write_register(self, pdu: bytes) -> bytes:
        address, value = _two_numbers(pdu)
        self._write("holding", address, value)
        return pdu

    def _write(self, table: str, address: int, value: int) -> None:
        if address not in self._memory[table]:
            raise _Refusal(_ILLEGAL_ADDRESS)
        self._memory[table][address] = value

    def _identify(self, pdu: bytes) -> bytes:
        """Read Device Identification, the basic objects as a stream."""
        if len(pdu) != 4 or pdu[1] != 0x0E:
            raise _Refusal(_ILLEGAL_FUNCTION)
        if pdu[2] != 0x01:
            raise _Refusal(_ILLEGAL_VALUE)
        if pdu[3] > 2:
            raise _Refusal(_ILLEGAL_ADDRESS)
        texts = [(number, text.encode()) for number, text in enumerate((VENDOR, PRODUCT, REVISION)) if number >= pdu[3]]
        objects = b"".join(bytes((number, len(text))) + text for number, text in texts)
        return bytes((0x2B, 0x0E, 0x01, 0x01, 0x00, 0x00, len(texts))) + objects

    def _put(self, one: PlcInput, raw: int) -> None:
        self._memory[one.table][one.address] = raw & (1 if one.is_switch else 0xFFFF)


def _two_numbers(pdu: bytes) -> tuple[int, int]:
    if len(pdu) != 5:
        raise _Refusal(_ILLEGAL_VALUE)
    first, second = struct.unpack(">HH", pdu[1:])
    return first, second
