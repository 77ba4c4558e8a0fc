"""A simulated laboratory in one process: the shared world, the instruments on it, and the loop that serves them.

`serve` follows the process contract of docs/architecture.md; `alone` is one instrument by itself, for drivers and people.
What needs numpy is imported when it is used: ``lab sim --help`` has to be quick.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from pydantic import ValidationError

from lab.core.clock import Clock, ManualClock, ScaledClock, WallClock
from lab.core.errors import LabError, ServiceError
from lab.core.page import TimePage
from lab.core.virtual import hand_over_soon
from sim.contact import Nozzles, Top
from sim.faults import Fault, FaultError, load, parse
from sim.firmware import Server
from sim.keeper import TimeKeeper
from sim.switchboard import Switchboard

if TYPE_CHECKING:
    from lab.core.config import InstrumentConfig, LabConfig
    from sim.world import World

_STATIONS = {
    "synthesiser": {"role": "synthesiser", "origin": {"pose": [190, 0, 80, 180, 0, 180]}},
    "plate": {"role": "annealer", "origin": {"pose": [165, 95, 80, 180, 0, 150]}},
    "stage": {"role": "detector", "origin": {"pose": [0, 190, 80, 180, 0, -90]}},
    "rack": {"role": "rack", "slots": 24, "columns": 6, "step_mm": [20, -20], "origin": {"pose": [60, -130, 60, 180, 0, 180]}},
}
"""Where an instrument alone finds samples: the laboratory of examples/lab.yaml."""

_INPUTS = {"hutch": {"discrete": 0}, "coolant": {"register": 3, "scale": 0.01, "unit": "L/min", "initial": 2.0}, "beat": {"register": 10}}
"""What a PLC alone sees, those of examples/lab.yaml."""

_LIQUIDS = ("cs", "fa", "ma", "DMF", "DMSO")


@dataclass(frozen=True)
class Bench:
    """What an instrument is built with.

    Parameters
    ----------
    name : str
    physics, wall : Clock
    world : World
    switchboard : Switchboard
    faults : sequence of Fault
    port : int
        TCP port asked for, 0 for any.
    """

    name: str
    physics: Clock
    wall: Clock
    world: World
    switchboard: Switchboard
    faults: Sequence[Fault] = ()
    port: int = 0


def _pump(bench: Bench, config: InstrumentConfig) -> Server:
    from lab.core.config import PumpBank as PumpBankConfig
    from sim.pump import PumpBank
    from sim.serve import PtyServer

    syringes = config.syringes if isinstance(config, PumpBankConfig) else ()
    bank = PumpBank([s.address for s in syringes], bench.physics, bench.wall, Nozzles(bench.world, bench.name))
    return PtyServer(bench.name, bank, bench.switchboard, 19200, bench.faults)


def _hotplate(bench: Bench, config: InstrumentConfig) -> Server:
    from sim.hotplate import Hotplate
    from sim.serve import PtyServer

    return PtyServer(bench.name, Hotplate(bench.physics, bench.wall, Top(bench.world, bench.name)), bench.switchboard, 9600, bench.faults)


def _arm(bench: Bench, config: InstrumentConfig) -> Server:
    from sim.arm import Meca500
    from sim.serve import TcpServer

    ports = {"control": bench.port, "monitor": bench.port + 1 if bench.port else 0}
    return TcpServer(bench.name, Meca500(bench.physics, bench.wall, bench.world), bench.switchboard, ports, bench.faults)


def _detector(bench: Bench, config: InstrumentConfig) -> Server:
    from sim.detector import DetectorServer

    return DetectorServer(bench.world.stage(bench.name), bench.physics, faults=bench.faults, port=bench.port)


def _plc(bench: Bench, config: InstrumentConfig) -> Server:
    from lab.core.config import PlcConfig
    from sim.plc import Plc
    from sim.serve import TcpServer

    if not isinstance(config, PlcConfig):
        raise FaultError(f"{bench.name}: kind: given {config.kind!r}; allowed: plc")
    return TcpServer(bench.name, Plc(config, bench.wall), bench.switchboard, {"modbus": bench.port}, bench.faults)


_BUILD: Mapping[str, Callable[[Bench, InstrumentConfig], Server]] = {
    "pump": _pump, "hotplate": _hotplate, "arm": _arm, "detector": _detector, "plc": _plc}

KINDS = tuple(_BUILD)
"""What can be simulated."""


class Laboratory:
    """All instruments of a laboratory whose endpoint is ``sim``.

    Parameters
    ----------
    lab : LabConfig
    faults : sequence of Fault
        Each names one of the simulated instruments.
    ports : mapping of instrument name to TCP port
        Only for those that must not choose their own.
    state : Path or None
        File in which the world outlives this process; None: it ends with it.
    page, seats : TimePage or None, and sequence of str
        With ``speed: max``: where the time is kept for all processes, and whose seats are on it.

    Raises
    ------
    FaultError
        For a fault of an instrument that is not simulated here.
    ConfigError
        When the world cannot be made, or `state` is no file of such a world.
    ServiceError
        When `state` cannot be written, or another process keeps its world there.
    """

    def __init__(self, lab: LabConfig, faults: Sequence[Fault] = (), ports: Mapping[str, int] | None = None, state: Path | None = None,
                 page: TimePage | None = None, seats: Sequence[str] = ()) -> None:
        from sim.world import World
        from sim.world_file import WorldFile

        self.switchboard = Switchboard()
        if lab.speed == "max" and page is None:
            raise ServiceError("speed: given max, without a page to keep the time on; allowed: a number")
        virtual = ManualClock(page.now_s) if page is not None else None
        physics: Clock = virtual if virtual is not None else ScaledClock(float(lab.speed))
        wall = WallClock()
        self.world = World(lab, physics, WorldFile(state) if state is not None else None)
        simulated = {name: config for name, config in lab.instruments.items() if config.endpoint == "sim"}
        self._check_names(faults, simulated)
        self._servers: dict[str, Server] = {}
        for name, config in simulated.items():
            own = [fault for fault in faults if fault.instrument == name]
            bench = Bench(name, physics, wall, self.world, self.switchboard, own, (ports or {}).get(name, 0))
            self._servers[name] = _BUILD[config.kind](bench, config)
        self._keeper = TimeKeeper(page, seats, virtual, self._servers, self.switchboard, self._let_pass) \
            if page is not None and virtual is not None else None

    def start(self) -> dict[str, str]:
        """Open all ports; returns the endpoints by instrument. What was opened is closed again when one fails."""
        endpoints = {}
        try:
            for name, server in self._servers.items():
                endpoints[name] = server.start()
        except OSError as error:
            self.stop()
            raise ServiceError(f"{name}: its port cannot be opened: {error}") from error
        if self._keeper is not None:
            self._keeper.start()
        return endpoints

    def _let_pass(self) -> None:
        """Let the world come up to its clock."""
        with self.world.looking_at(""):
            pass

    def stop(self) -> None:
        """Close everything. To be called when the loop has ended, or from another thread."""
        if self._keeper is not None:
            self._keeper.stop()
        for server in self._servers.values():
            server.stop()
        self.switchboard.stop()
        self.world.close()

    def do(self, command: Mapping[str, object]) -> dict[str, object]:
        """Carry out one command line of the process contract: ``fault``, ``clear`` or ``account``.

        Raises
        ------
        LabError
            For a command or fault that does not exist.
        """
        action = command.get("do")
        if action == "account":
            return self.world.account()
        if action == "clear":
            for server in self._servers.values():
                server.clear_faults()
        elif action == "fault":
            (fault,) = parse([{key: value for key, value in command.items() if key != "do"}], "command")
            self._check_names([fault], self._servers)
            self._servers[fault.instrument].inject(fault)
        else:
            raise FaultError(f"do: given {action!r}; allowed: fault, clear, account")
        return {"ok": True}

    @staticmethod
    def _check_names(faults: Sequence[Fault], simulated: Mapping[str, object]) -> None:
        for fault in faults:
            if fault.instrument not in simulated:
                raise FaultError(f"fault: instrument: given {fault.instrument!r}; allowed: {', '.join(simulated) or 'none, nothing is simulated'}")


# ------------------------------------------------------------------------------------------------- the process


def serve() -> int:
    """``python -m sim``: configuration from standard input, answers on standard output; returns the exit status."""
    answers = _own_standard_output()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    lines = _InputLines(sys.stdin.fileno())
    try:
        laboratory = _configured(lines.first())
        endpoints = laboratory.start()
    except (LabError, ValueError) as error:
        _say(answers, {"ready": False, "error": str(error)})
        return 1
    signal.signal(signal.SIGTERM, lambda *_: laboratory.switchboard.quit())

    def readable() -> None:
        for line in lines.available():
            _say(answers, _obey(laboratory, line))
        if lines.is_closed:
            laboratory.switchboard.unwatch(lines.fd)
            laboratory.switchboard.quit()

    os.set_blocking(lines.fd, False)
    laboratory.switchboard.watch(lines.fd, readable)
    _say(answers, {"ready": True, "endpoints": endpoints})
    readable()  # select does not wake for what came together with the configuration
    try:
        laboratory.switchboard.run()
    finally:
        laboratory.stop()
    return 0


def _configured(line: str) -> Laboratory:
    from lab.core.config import LabConfig

    if not line.strip():
        raise ValueError("standard input closed before a configuration came; allowed: one JSON line")
    given = json.loads(line)
    if not isinstance(given, dict) or not {"lab"} <= given.keys() <= {"lab", "faults", "state", "page", "seats"}:
        raise ValueError('configuration: allowed: {"lab": {...}, "faults": [...], "state": PATH, "page": FD, "seats": [...]}')
    if not isinstance(state := given.get("state", ""), str):
        raise ValueError(f"state: given {state!r}; allowed: the path of a file")
    try:
        lab = LabConfig.model_validate(given["lab"])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"lab: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    page = TimePage(given["page"]) if "page" in given else None
    if page is not None:
        hand_over_soon()
    return Laboratory(lab, parse(given.get("faults"), "faults"), state=Path(state) if state else None, page=page, seats=given.get("seats", ()))


class _InputLines:
    """Lines of a pipe, taken from the descriptor itself: a buffered reader would hide lines from select."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.is_closed = False
        self._pending = b""

    def first(self) -> str:
        """Wait for the first line; what came after it stays for `available`."""
        while b"\n" not in self._pending and not self.is_closed:
            self._read()
        line, _, self._pending = self._pending.partition(b"\n")
        return line.decode()

    def available(self) -> list[bytes]:
        """The whole lines that have come. Never waits on a descriptor that is set not to block."""
        self._read()
        *lines, self._pending = self._pending.split(b"\n")
        return [line for line in lines if line.strip()]

    def _read(self) -> None:
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            return
        self._pending += data
        self.is_closed = not data


def _obey(laboratory: Laboratory, line: bytes) -> dict[str, object]:
    try:
        command = json.loads(line)
    except ValueError as error:
        return {"ok": False, "error": f"command: {error}; allowed: one JSON object on a line"}
    if not isinstance(command, dict):
        return {"ok": False, "error": f"command: given {command!r}; allowed: one JSON object on a line"}
    try:
        return laboratory.do(command)
    except LabError as error:
        return {"ok": False, "error": str(error)}


def _own_standard_output() -> TextIO:
    """Keep standard output for our answers: what a library prints goes to the log."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _say(answers: TextIO, message: Mapping[str, object]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


def alone(kind: str, faults: Path | None = None, speed: float = 1.0, port: int | None = None) -> None:
    """Serve one simulated instrument until SIGINT, SIGTERM or SIGHUP; its address is the first line of standard output.

    Parameters
    ----------
    kind : str
        One of `KINDS`. The pump bank has pumps 0 to 4.
    faults : Path or None
        A fault file; its rows name the instrument by its kind.
    speed : float
        Laboratory seconds per wall second.
    port : int or None
        TCP port of the arm (its monitoring port is the next one), the detector or the PLC; None lets the system choose.

    Raises
    ------
    ConfigError
        When the fault file is wrong.
    FaultError
        For an unknown kind, or a fault this instrument cannot have.
    ServiceError
        When the port is taken.
    """
    if kind not in KINDS:
        raise FaultError(f"kind: given {kind!r}; allowed: {', '.join(KINDS)}")
    rows = load(faults) if faults is not None else ()
    laboratory = _laboratory_of(kind, rows, speed, 0 if port is None else port)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: laboratory.switchboard.quit())
    endpoint = laboratory.start()[kind]
    print(_address(endpoint), flush=True)
    print(f"{kind}: {endpoint} (Ctrl-C ends it)", file=sys.stderr, flush=True)
    try:
        laboratory.switchboard.run()
    finally:
        laboratory.stop()


def _laboratory_of(kind: str, faults: Sequence[Fault], speed: float, port: int) -> Laboratory:
    from lab.core.config import LabConfig

    instrument: dict[str, object] = {"kind": kind}
    if kind == "pump":
        instrument["syringes"] = [{"address": address, "liquid": liquid} for address, liquid in enumerate(_LIQUIDS)]
    if kind == "plc":
        instrument |= {"inputs": _INPUTS, "heartbeat": "beat"}
    lab = LabConfig.model_validate({"name": "alone", "speed": speed, "instruments": {kind: instrument}, "stations": _STATIONS})
    return Laboratory(lab, faults, {kind: port})


def _address(endpoint: str) -> str:
    """What a driver is given: a path, ``host:port`` or a URL, without our parameters."""
    address = endpoint.partition("?")[0]
    return address.removeprefix("serial://").removeprefix("tcp://")
