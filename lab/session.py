"""The composition root: one laboratory, its processes, devices, RunEngine and records. The only place that holds every key.

Channel Access reads its address list once, when `epics` is imported: so a process has one session, and everything that
imports Ophyd is imported here, after the processes have their ports.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from lab import interrupts
from lab.core.capabilities import Instrument
from lab.core.clock import Clock, ScaledClock
from lab.core.config import CampaignConfig, LabConfig
from lab.core.errors import LabError, ServiceError
from lab.core.interlocks import InterlockState
from lab.home import Home
from lab.services import Child, Watch, bridge_environment, client_environment, free_ports
from lab.virtual_time import VirtualTime

if TYPE_CHECKING:
    from bluesky import RunEngine

    from lab.campaign import Campaign, End, Reporter
    from lab.conduct import Conduct
    from lab.guards import Guards
    from lab.records.catalogue import Catalogue
    from lab.records.documents import JsonlWriter
    from lab.records.ledger import Ledger

log = logging.getLogger(__name__)

SAFE_S = 10.0
"""Wall seconds for one instrument to be made safe when no RunEngine can be asked."""

FILE_S = 30.0
"""Wall seconds for Tiled to take up the last runs; what it then lacks is filed by the next console."""


class Session:
    """A running laboratory. Use it as a context manager; leaving it makes the instruments safe.

    Parameters
    ----------
    lab : LabConfig
    home : Home
    faults : sequence of mapping
        For simulated instruments: rows of `sim.faults`.
    say : callable
        Told in words what a person should know (an instrument offline, a bridge that died).
    is_console : bool
        Whether plans that are not campaigns pause on Ctrl-C, as people at a console expect.
    keeps_world : bool
        A simulated laboratory goes on with the world that an earlier session left behind, instead of a new one.
    is_brief : bool
        Nothing is made in this session: a simulated world of its own ends with it, and that of earlier sessions stays as it is.
    began_lab_s : float
        Laboratory time at which it begins: where the records of a resumed campaign end.

    Raises
    ------
    ServiceError
        From `start`, when a process of the laboratory does not start.
    """

    def __init__(
        self,
        lab: LabConfig,
        home: Home,
        *,
        faults: Sequence[Mapping[str, Any]] = (),
        say: Callable[[str], None] = log.warning,
        is_console: bool = False,
        keeps_world: bool = False,
        is_brief: bool = False,
        began_lab_s: float = 0.0,
    ) -> None:
        self.lab, self.home, self.say = lab, home, say
        self._faults = [dict(row) for row in faults]
        self._is_console, self._is_brief = is_console, is_brief
        self.is_new_world = lab.is_simulated and not keeps_world
        self.virtual = VirtualTime(began_lab_s) if lab.speed == "max" else None
        """Where the laboratory has ``speed: max``."""
        self.clock: Clock = self.virtual.clock if self.virtual is not None else ScaledClock(float(lab.speed) if lab.is_simulated else 1.0, began_lab_s)
        self.simulator: Child | None = None
        self.bridges: list[Child] = []
        self.endpoints: dict[str, str] = {}
        self.devices: dict[str, Any] = {}
        self._watch: Watch | None = None
        self.guards: Guards | None = None
        self.running: list[str] = []
        """Campaigns under way, by their id in the ledger."""
        self.loss = ""
        self.ended_by = ""
        self._is_started = False
        self.ledger: Ledger
        self.documents: JsonlWriter
        self.catalogue: Catalogue
        self.RE: RunEngine

    # ------------------------------------------------------------------------------------------- life

    def __enter__(self) -> Self:
        try:
            with interrupts.raised():
                self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def start(self) -> None:
        """Start processes, connect devices, open the records. An instrument that is offline is said, not raised."""
        self.home.prepare()
        _log_to(self.home.logs / "session.log")
        self._start_processes()
        # libca prints every lost connection over the operator's screen; the devices say it in words.
        importlib.import_module("epics.ca").replace_printf_handler(lambda text: log.debug("libca: %s", text))
        instruments = importlib.import_module("lab.instruments")
        self.devices = instruments.make_devices(self.lab, self.clock)
        instruments.put_frames(self.devices, self.home.frames("by-hand"))
        self._open_records()
        self._watch = Watch(self.bridges, self._say_and_note, self.simulator, self._lose)
        self._watch.start()
        self._is_started = True
        self._guard()
        for name, device in self.devices.items():
            health = device.health()
            if not health.is_connected:
                self.say(f"{name} is offline ({self.endpoints.get(name, 'composed')}): {health.cause}")

    def _guard(self) -> None:
        """Watch the interlocks from now on."""
        from lab.guards import Guards

        def note(words: str) -> None:
            for campaign in tuple(self.running):
                self.ledger.note(campaign, "interlock", words)

        self.guards = Guards(self.lab, self.devices, say=self._say_and_note, note=note, make_safe=self.make_safe, end=self._end_plan)
        self.guards.start(self.RE)

    def close(self) -> None:
        """Make the instruments safe, end the processes in order, close the records. May be called twice; Ctrl-C does not hurry it."""
        with interrupts.answered(self.say, "already finishing: instruments are being made safe; please wait"):
            self._close()

    def _close(self) -> None:
        if self._watch is not None:
            self._watch.end()
            self._watch = None
        if self.guards is not None:
            self.guards.stop()
            self.guards = None
        if self._is_started:
            self._is_started = False
            for name, said in self.make_safe().items():
                if said != "safe":
                    self.say(f"{name}: not safe: {said}")
            if self.catalogue.status().pending:
                self.say(f"filing {self.catalogue.status().pending} runs into Tiled ...")
            filed = self.catalogue.close(FILE_S)
            if filed.pending or filed.failed:
                self.say(f"Tiled still lacks {filed.pending + filed.failed} runs; lab console files them from {self.home.runs} "
                         f"({filed.last_error or 'there was no time'})")
            self.documents.close()
            self.ledger.close()
        for child in self.bridges:  # each makes its instrument safe once more, then goes
            child.stop()
        self.bridges = []
        if self.simulator is not None:
            self.simulator.stop()
            self.simulator = None
        if self.virtual is not None:
            self.virtual.close()

    def interlocks(self) -> tuple[InterlockState, ...]:
        """How each interlock with a condition is; none before the start and after the end."""
        return self.guards.interlocks.states() if self.guards is not None else ()

    def acknowledge(self, interlock: str = "") -> None:
        """The operator has seen to what an interlock (all, when none is named) with ``then: wait`` made safe; plans go on once it holds.

        Raises
        ------
        ConfigError
            When there is no such interlock.
        """
        if self.guards is not None:
            self.guards.interlocks.acknowledge(interlock)

    def make_safe(self) -> dict[str, str]:
        """Heater off, pumps stopped, motion stopped, disarmed; without the RunEngine. Says how it went, by instrument."""
        from plans.safe import safe_now

        # Those with a bridge of their own: what is composed of them would only repeat what they say.
        found = (self.devices[name] for name in self.lab.instruments if name in self.devices)
        return safe_now(tuple(device for device in found if isinstance(device, Instrument)), SAFE_S)

    # -------------------------------------------------------------------------------------- campaigns

    def run_campaign(self, config: CampaignConfig, reporter: Reporter, file: str = "campaign") -> tuple[Campaign, End]:
        """Run a campaign to its end in this thread (see `run_campaigns`)."""
        return self.run_campaigns([(config, file)], reporter)[0]

    def run_campaigns(self, asked: Sequence[tuple[CampaignConfig, str]], reporter: Reporter) -> list[tuple[Campaign, End]]:
        """Run campaigns together to their ends in this thread; they share the work cell by their priorities and shares.

        Ctrl-C (SIGINT), SIGTERM and SIGHUP end them as ``interrupted``: the plan makes the instruments safe and parks the arm.

        Parameters
        ----------
        asked : sequence of CampaignConfig and the file it came from
        reporter : Reporter

        Raises
        ------
        ConfigError
            Before anything moves (see `lab.validation`).
        InterlockError
            When an interlock forbids to begin.
        """

        def begin(conduct: Conduct) -> None:
            for config, file in asked:
                conduct.begin(config, file)

        return self._conduct(reporter, begin)

    def resume_campaigns(self, campaign_ids: Sequence[str], reporter: Reporter) -> list[tuple[Campaign, End]]:
        """Take up campaigns that ended before their budget was spent, and run them to their ends in this thread."""

        def resume(conduct: Conduct) -> None:
            for campaign_id in campaign_ids:
                conduct.resume(campaign_id)

        return self._conduct(reporter, resume)

    def _conduct(self, reporter: Reporter, begin: Callable[[Conduct], None]) -> list[tuple[Campaign, End]]:
        from lab.conduct import Conduct

        if self.guards is not None:
            self.guards.check_start()
        conduct = Conduct(self, reporter)
        try:
            begin(conduct)
        except LabError as error:
            conduct.give_up(str(error))
            raise
        return conduct.run()

    # ------------------------------------------------------------------------------------------ parts

    def _start_processes(self) -> None:
        ports = free_ports(len(self.lab.instruments))
        if "epics" in sys.modules:
            raise ServiceError("a process can hold one laboratory session: Channel Access has read its addresses already")
        os.environ.update(client_environment(ports))
        self.endpoints = {name: instrument.endpoint for name, instrument in self.lab.instruments.items()}
        shares = (self.virtual.fd,) if self.virtual is not None else ()
        if self.lab.is_simulated:
            world = {"lab": self.lab.model_dump(mode="json"), "faults": self._faults, "state": self._world_file()}
            if self.virtual is not None:
                world |= self.virtual.simulator(self.lab.instruments)
            self.simulator = Child("simulator", "sim", world, self.home.logs / "simulator.log", shares=shares)
            self.simulator.launch()
            self.endpoints.update(self.simulator.wait_ready()["endpoints"])
        for seat, ((name, instrument), port) in enumerate(zip(self.lab.instruments.items(), ports, strict=True)):
            config = {"name": name, "prefix": self.lab.prefix, "speed": self.clock.speed, "endpoint": self.endpoints[name],
                      "config": instrument.model_dump(mode="json")}
            if self.virtual is not None:
                config |= self.virtual.bridge(seat)
            bridge = Child(name, "firmware_bridges", config, self.home.logs / f"{name}.log", bridge_environment(port), shares)
            bridge.launch()
            self.bridges.append(bridge)
        importlib.import_module("ophyd")  # two seconds that the bridges need anyway
        for bridge in self.bridges:
            bridge.wait_ready()

    def _world_file(self) -> str:
        """Where the simulated world is kept; empty for nowhere, when another session keeps its own there."""
        from sim.world_file import discard

        if self._is_brief:
            return ""
        if self.is_new_world:
            try:
                discard(self.home.world)
            except ServiceError as error:
                self.say(f"{error}; the simulated world of this session ends with it, and its campaigns cannot be resumed")
                return ""
        return str(self.home.world)

    def _open_records(self) -> None:
        from bluesky import RunEngine

        from lab.records.catalogue import Catalogue
        from lab.records.documents import JsonlWriter
        from lab.records.ledger import Ledger

        self.ledger = Ledger(self.home.ledger, self.clock)
        self.documents = JsonlWriter(self.home.runs)
        self.catalogue = Catalogue(self.home.catalogue)
        self.RE = RunEngine() if self._is_console else RunEngine(context_managers=[])
        if self.virtual is not None:
            self.RE.waiting_hook = self.virtual.waiting  # type: ignore[assignment]
        self.RE.subscribe(self.documents)
        if self.lab.catalogue:
            self.RE.subscribe(self.catalogue.callback)

    def warm_up(self, configs: Sequence[CampaignConfig]) -> None:
        """Import what is slow to import while the first samples are made, so that nobody waits for it later."""

        def load() -> None:
            began = time.monotonic()
            from lab.instruments import geometry_of
            from lab.records.evaluate import warm_up

            if any(config.evaluate.kind == "phases" for config in configs):
                warm_up(geometry_of(self.lab))
            if any(config.optimizer.engine == "ax" for config in configs):
                importlib.import_module("lab.optimise.model_based").load()
            log.info("warmed up in %.1f s", time.monotonic() - began)

        threading.Thread(target=load, name="warm-up", daemon=True).start()

    def _lose(self, cause: str) -> None:
        """The simulator died: end the plan, and let no bridge look for ports that may soon belong to somebody else."""
        self.loss = cause
        self._abort(cause)  # before the bridges go: else samples would fail of that
        self._say_and_note(cause)
        for bridge in self.bridges:
            bridge.stop()

    def _end_plan(self, cause: str) -> None:
        """An interlock ends the plan that is under way."""
        self.ended_by = cause
        self._abort(cause)

    def _abort(self, cause: str) -> None:
        """End the plan that is under way, also one that is just about to begin."""
        from bluesky.utils import TransitionError

        while True:
            try:
                self.RE.abort(cause)
            except TransitionError:
                if not self.running or self.RE.state in ("aborting", "stopping", "halting"):
                    log.info("no plan to be aborted (%s)", self.RE.state)
                    return
                time.sleep(0.05)  # a campaign whose plan has not begun yet, or is over
            else:
                return

    def _say_and_note(self, text: str) -> None:
        log.warning(text)
        self.say(text)


def _log_to(path: Path) -> None:
    """What libraries and this process log goes to a file: the screen is for what a person has to know."""
    from bluesky.log import config_bluesky_logging

    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    for chatterer in ("httpx", "tiled", "alembic"):
        logging.getLogger(chatterer).setLevel(logging.WARNING)
    config_bluesky_logging(file=str(path), color=False, level="WARNING")
