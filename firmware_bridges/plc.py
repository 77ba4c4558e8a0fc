"""Bridge of a programmable controller: the inputs that lab.yaml names, read over Modbus TCP.

It only reads. A controller that answers, but refuses an address, is connected; the inputs at that address are INVALID, with its words.
When its program has stopped (no change of the `heartbeat`), it still answers with what was true once: then all inputs are INVALID.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from firmware_bridges import modbus
from firmware_bridges.controller import BridgeSettings, Controller
from firmware_bridges.link import Endpoint, Link, TcpLink
from lab.core.config import PlcConfig, PlcInput, table_of
from lab.core.errors import CommandError, LinkGarbled, LinkTimeout

log = logging.getLogger(__name__)

PORT, UNIT = 502, 0xFF
"""Of Modbus TCP; the unit of a server that is no gateway (Messaging on TCP/IP, section 3.1.3)."""

REPLY_S = 0.5
ATTEMPTS = 3
POLL_S = 0.05
TELL_S = 0.5
"""Between two updates of SCAN."""

_FUNCTIONS = {"coil": modbus.READ_COILS, "discrete": modbus.READ_DISCRETE, "holding": modbus.READ_HOLDING, "register": modbus.READ_INPUT}

T = TypeVar("T")


@dataclass(frozen=True)
class Block:
    """Inputs at addresses without a gap, read by one request. (An address that a controller does not have refuses all of them.)"""

    function: int
    address: int
    count: int
    inputs: tuple[tuple[str, PlcInput], ...]


def blocks_of(inputs: Iterable[tuple[str, PlcInput]]) -> tuple[Block, ...]:
    """The requests that read all inputs."""
    found: list[Block] = []
    for name, one in sorted(inputs, key=lambda each: (_FUNCTIONS[each[1].table], each[1].address)):
        function, last = _FUNCTIONS[one.table], found[-1] if found else None
        most = modbus.MOST_BITS if one.is_switch else modbus.MOST_REGISTERS
        if last is not None and last.function == function and one.address <= last.address + last.count:
            count = max(last.count, one.address + 1 - last.address)
            if count <= most:
                found[-1] = Block(function, last.address, count, (*last.inputs, (name, one)))
                continue
        found.append(Block(function, one.address, 1, ((name, one),)))
    return tuple(found)


class PlcController(Controller):
    """One programmable controller.

    Parameters
    ----------
    name : str
    config : PlcConfig
    link : Link
    unit : int
        Modbus unit identifier.
    """

    def __init__(self, name: str, config: PlcConfig, link: Link, unit: int) -> None:
        super().__init__(name, {"": table_of(config)}, POLL_S)
        self._config, self._link, self._unit = config, link, unit
        self._blocks = blocks_of(config.inputs.items())
        self._transaction = 0
        self._scans = 0
        self._told_at = float("-inf")
        self._beat: object = None
        self._beat_at = 0.0

    def _connect(self) -> None:
        self._link.close()  # after a garbled header nobody knows where the next frame begins
        self._link.connect()
        try:
            identity = self._ask(modbus.identification_request(), modbus.identification)
        except CommandError:  # many controllers do not have the function
            identity = f"Modbus TCP, unit {self._unit}"
        self.publish("IDENTITY", identity)
        self._beat, self._beat_at = None, time.monotonic()

    def _poll(self) -> None:
        readings: dict[str, object] = {}
        causes: dict[str, str] = {}
        for block in self._blocks:
            try:
                readings |= self._read(block)
            except CommandError as error:
                causes |= {name: f"{self.name}: {name}: {error}" for name, _ in block.inputs}
        if stopped := self._stopped(readings):
            causes |= dict.fromkeys(readings, stopped)
        for name in self._config.inputs:
            if name in causes:
                self.invalidate(name, causes[name])
            else:
                self.publish(name, readings[name])
        self._say(causes)
        self._scans += 1
        if time.monotonic() >= self._told_at + TELL_S:
            self._told_at = time.monotonic()
            self.publish("SCAN", self._scans)

    def _read(self, block: Block) -> dict[str, object]:
        request = modbus.read_request(block.function, block.address, block.count)
        if block.function in (modbus.READ_COILS, modbus.READ_DISCRETE):
            bits = self._ask(request, modbus.bits)
            return {name: bits[one.address - block.address] for name, one in block.inputs}
        registers = self._ask(request, modbus.registers)
        return {name: _value(one, registers[one.address - block.address]) for name, one in block.inputs}

    def _stopped(self, readings: dict[str, object]) -> str:
        """Why the readings are those of a program that has stopped; empty when it runs."""
        beat = self._config.heartbeat
        if beat is None or beat not in readings:
            return ""
        now = time.monotonic()
        if readings[beat] != self._beat:
            self._beat, self._beat_at = readings[beat], now
        if now - self._beat_at <= self._config.heartbeat_s:
            return ""
        return f"{self.name}: its program stands still: {beat} has not changed for {self._config.heartbeat_s:g} s; look at its run switch"

    def _say(self, causes: dict[str, str]) -> None:
        """The first cause goes where people look for it; it is said once."""
        words = next(iter(causes.values()), "")
        if words and words != self.value("LAST_ERROR"):
            log.warning("%s", words)
            self.publish("LAST_ERROR", words)

    def _ask(self, pdu: bytes, read: Callable[[bytes, bytes], T]) -> T:
        """A query may be repeated; each attempt is a transaction of its own, so that a late reply is not taken for it."""
        for _ in range(ATTEMPTS - 1):
            try:
                return self._ask_once(pdu, read)
            except (LinkTimeout, LinkGarbled) as error:
                self.note(error)
        return self._ask_once(pdu, read)

    def _ask_once(self, pdu: bytes, read: Callable[[bytes, bytes], T]) -> T:
        self._transaction = transaction = (self._transaction + 1) % 0x10000
        request = modbus.frame(transaction, self._unit, pdu)
        return self._link.transact(request, lambda received: modbus.has_reply(received, transaction), REPLY_S,
                                   lambda received: read(received, request))

    def _reset(self) -> None:
        """There is nothing to clear; the inputs are read anew."""
        self._poll()

    def _make_safe(self) -> None:
        """It is only read."""

    def _disconnect(self) -> None:
        self._link.close()


def _value(one: PlcInput, raw: int) -> float:
    signed = raw - 0x10000 if one.is_signed and raw >= 0x8000 else raw
    return signed * one.scale


def build(settings: BridgeSettings) -> PlcController:
    """The controller for an endpoint ``tcp://host:502?unit=1``.

    Raises
    ------
    ValueError
        For another kind, or an endpoint that is not TCP.
    """
    if not isinstance(settings.config, PlcConfig):
        raise ValueError(f"{settings.name}: kind: given {settings.config.kind!r}; allowed: plc")
    endpoint = Endpoint.parse(settings.endpoint)
    unit = endpoint.options.get("unit", str(UNIT))
    if endpoint.scheme != "tcp" or not unit.isdecimal() or not 0 <= int(unit) <= 255:
        raise ValueError(f"{settings.name}: endpoint: given {settings.endpoint!r}; allowed: tcp://host:502?unit=1, the unit 0..255")
    link = TcpLink(settings.name, endpoint.host, endpoint.port if endpoint.port is not None else PORT)
    return PlcController(settings.name, settings.config, link, int(unit))
