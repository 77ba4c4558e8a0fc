"""The simulator and the bridges of a laboratory: started together, watched, made safe, ended in order.

A session holds them itself (``lab run``), or the instruments' service holds them for the sessions of a laboratory that is up.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lab.core.config import LabConfig
from lab.core.errors import ServiceError
from lab.home import Home
from lab.services import Child, Watch, bridge_environment
from lab.virtual_time import VirtualTime

log = logging.getLogger(__name__)

SAFE_S = 4.0
"""Wall seconds in which a bridge has to say how making its instrument safe went."""


def world_file(home: Home, *, is_new: bool, say: Callable[[str], None]) -> str:
    """Where the simulated world of a session is kept; empty for nowhere, when another session keeps its own there.

    Parameters
    ----------
    home : Home
    is_new : bool
        Whether the session begins with a fresh world: what an earlier one left is discarded.
    say : callable
        Told when that cannot be done.
    """
    from sim.world_file import discard

    if is_new:
        try:
            discard(home.world)
        except ServiceError as error:
            say(f"{error}; the simulated world of this session ends with it, and its campaigns cannot be resumed")
            return ""
    return str(home.world)


class Processes:
    """A simulator, where something is simulated, and one bridge for each instrument.

    Parameters
    ----------
    lab : LabConfig
    home : Home
    ports : mapping of instrument to int
        Channel Access port of its bridge.
    speed : float
        Laboratory seconds per wall second.
    faults : sequence of mapping
        For simulated instruments: rows of `sim.faults`.
    virtual : VirtualTime or None
        Where the laboratory has ``speed: max``.
    """

    def __init__(self, lab: LabConfig, home: Home, ports: Mapping[str, int], *, speed: float, faults: Sequence[Mapping[str, Any]] = (),
                 virtual: VirtualTime | None = None) -> None:
        self._lab, self._home, self._ports, self._speed = lab, home, ports, speed
        self._faults, self._virtual = [dict(row) for row in faults], virtual
        self.simulator: Child | None = None
        self.bridges: list[Child] = []
        self.endpoints: dict[str, str] = {name: instrument.endpoint for name, instrument in lab.instruments.items()}
        self._watch: Watch | None = None

    def start(self, world: str, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Start all; returns when they serve.

        Parameters
        ----------
        world : str
            File in which the simulated world is kept; empty: nowhere.
        meanwhile : callable
            What else takes time, done while the bridges start.

        Raises
        ------
        ServiceError
            When one does not start. What has been started goes on until `stop`.
        """
        shares = (self._virtual.fd,) if self._virtual is not None else ()
        if self._lab.is_simulated:
            self._start_simulator(world, shares)
        for seat, (name, instrument) in enumerate(self._lab.instruments.items()):
            config = {"name": name, "prefix": self._lab.prefix, "speed": self._speed, "endpoint": self.endpoints[name],
                      "config": instrument.model_dump(mode="json")}
            if self._virtual is not None:
                config |= self._virtual.bridge(seat)
            bridge = Child(name, "firmware_bridges", config, self._home.logs / f"{name}.log", bridge_environment(self._ports[name]), shares)
            bridge.launch()
            self.bridges.append(bridge)
        meanwhile()
        for bridge in self.bridges:
            bridge.wait_ready()

    def _start_simulator(self, world: str, shares: Sequence[int]) -> None:
        config: dict[str, Any] = {"lab": self._lab.model_dump(mode="json"), "faults": self._faults, "state": world}
        if self._virtual is not None:
            config |= self._virtual.simulator(self._lab.instruments)
        self.simulator = Child("simulator", "sim", config, self._home.logs / "simulator.log", shares=shares)
        self.simulator.launch()
        self.endpoints.update(self.simulator.wait_ready()["endpoints"])

    def watch(self, say: Callable[[str], None], on_loss: Callable[[str], None]) -> None:
        """From now on start bridges again that die; `on_loss` is told when the simulator has died."""
        self._watch = Watch(self.bridges, say, self.simulator, on_loss)
        self._watch.start()

    def watch_no_more(self) -> None:
        if self._watch is not None:
            self._watch.end()
            self._watch = None

    def make_safe(self) -> dict[str, str]:
        """Let every bridge make its instrument safe, all at once; says how it went, by instrument.

        For when no session is there to ask the devices.
        """
        if not self.bridges:
            return {}
        with ThreadPoolExecutor(len(self.bridges), thread_name_prefix="make-safe") as pool:
            return dict(zip((bridge.name for bridge in self.bridges), pool.map(_make_safe, self.bridges), strict=True))

    def stop_bridges(self) -> None:
        """Let no bridge look for a simulator's ports that may soon belong to somebody else."""
        for bridge in self.bridges:
            bridge.close_input()  # all of them at once: each makes its instrument safe now
        for bridge in self.bridges:
            bridge.stop()

    def stop(self) -> None:
        """End all in order: bridges, each of which makes its instrument safe, then the simulator. May be called twice."""
        self.watch_no_more()
        self.stop_bridges()
        self.bridges = []
        if self.simulator is not None:
            self.simulator.stop()
            self.simulator = None


def _make_safe(bridge: Child) -> str:
    try:
        answer = bridge.ask({"do": "safe"}, SAFE_S)
    except ServiceError as error:
        return str(error)
    return "safe" if answer.get("ok") is True else str(answer.get("error", answer))
