"""The composition root: one laboratory, its devices, RunEngine and records. The only place that holds every key.

Channel Access reads its address list once, when `epics` is imported: so a process has one session, and everything that
imports Ophyd is imported here, after the bridges have their ports. Simulator and bridges are the session's own (`lab.processes`),
or those of a laboratory that is up (`lab.attachment`).
"""

from __future__ import annotations

import getpass
import importlib
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from lab import interrupts, libca
from lab.core.capabilities import Instrument
from lab.core.clock import Clock, ScaledClock
from lab.core.config import LabConfig
from lab.core.errors import LabError, ServiceError
from lab.core.interlocks import InterlockState
from lab.core.question import CampaignConfig
from lab.home import Home
from lab.lease import Lease
from lab.logs import log_to
from lab.processes import Processes, world_file
from lab.services import Child, client_environment, free_ports
from lab.virtual_time import VirtualTime
from lab.warming import warm_up

if TYPE_CHECKING:
    from bluesky import RunEngine

    from lab.attachment import Attachment
    from lab.campaign import Campaign, End, Reporter
    from lab.conduct import Conduct
    from lab.guards import Guards
    from lab.layout import Layout
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
    purpose : str
        What it controls the laboratory for, as others are told who want to.
    attached : Layout or None
        Work with the instruments of a laboratory that is up, and leave them running at the end; whoever uses the instruments then takes
        the lease (`lab.lease`) for as long as they do. None: with processes of its own, and with the lease from start to end.
    kernel : str
        When attached: connection file of the IPython kernel that this process is.
    make_engine : callable or None
        Makes the RunEngine, when the ledger is open; None: a plain one.

    Raises
    ------
    ServiceError
        From `start`, when a process of the laboratory does not start, or is not there.
    LeaseError
        From `start`, when somebody else controls the laboratory.
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
        purpose: str = "session",
        attached: Layout | None = None,
        kernel: str = "",
        make_engine: Callable[[Session], RunEngine] | None = None,
    ) -> None:
        self.lab, self.home, self.say = lab, home, say
        self._faults, self._purpose, self._make_engine = faults, purpose, make_engine
        self._is_console, self._is_brief = is_console, is_brief
        self.is_new_world = lab.is_simulated and not keeps_world and attached is None
        self.attachment: Attachment | None = None
        """Where the session works with the instruments of a laboratory that is up."""
        if attached is not None:
            from lab.attachment import Attachment

            self.attachment = Attachment(attached, lab, kernel)
            began_lab_s = self.attachment.now_s()
        self.virtual = VirtualTime(began_lab_s) if lab.speed == "max" else None
        """Where the laboratory has ``speed: max``."""
        self.clock: Clock = self.virtual.clock if self.virtual is not None else ScaledClock(float(lab.speed) if lab.is_simulated else 1.0, began_lab_s)
        self.processes: Processes | None = None
        self._lease: Lease | None = None
        self.endpoints: dict[str, str] = {}
        self.devices: dict[str, Any] = {}
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
        if self.attachment is None and not (self._is_brief and self.lab.is_simulated):  # such a one has a laboratory of its own
            self._lease = Lease.take(self.home, getpass.getuser(), self._purpose)
        log_to(self.home.logs / "session.log")
        self._reach_instruments()
        libca.start()
        instruments = importlib.import_module("lab.instruments")
        self.devices = instruments.make_devices(self.lab, self.clock)
        instruments.put_frames(self.devices, self.home.frames("by-hand"))
        self._open_records()
        if self.processes is not None:
            self.processes.watch(self._say_and_note, self._lose)
        self._is_started = True
        self._guard()
        for name, device in self.devices.items():
            health = device.health()
            if not health.is_connected:
                self.say(f"{name} is offline ({self.endpoints.get(name, 'composed')}): {health.cause}")
        if self.attachment is not None:
            self.attachment.begin(self.devices, self.interlocks, lambda: self.RE.state == "idle", self._make_safe_since)

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
        if self.processes is not None:
            self.processes.watch_no_more()
        if self.guards is not None:
            self.guards.stop()
            self.guards = None
        if self._is_started:
            self._is_started = False
            self._say_unsafe()
            if self.catalogue.status().pending:
                self.say(f"filing {self.catalogue.status().pending} runs into Tiled ...")
            filed = self.catalogue.close(FILE_S)
            if filed.pending or filed.failed:
                self.say(f"Tiled still lacks {filed.pending + filed.failed} runs; lab console files them from {self.home.runs} "
                         f"({filed.last_error or 'there was no time'})")
            self.documents.close()
            self.ledger.close()
        if self.attachment is not None:
            self.attachment.end()
        if self.processes is not None:  # each bridge makes its instrument safe once more, then goes
            self.processes.stop()
            self.processes = None
        if self.virtual is not None:
            self.virtual.close()
        if self._lease is not None:
            self._lease.release()

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

    def _make_safe_since(self, cause: str) -> None:
        """Make all safe for a reason, and say both."""
        self._say_and_note(f"{cause}: making the instruments safe")
        self._say_unsafe()

    def _say_unsafe(self) -> None:
        """Make all safe, and say of which that could not be done."""
        for name, said in self.make_safe().items():
            if said != "safe":
                self._say_and_note(f"{name}: not safe: {said}")

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
            conduct.check_clear()
        except LabError as error:
            conduct.give_up(str(error))
            raise
        return conduct.run()

    # ------------------------------------------------------------------------------------------ parts

    def _reach_instruments(self) -> None:
        """Start the instruments' processes, or find those of the laboratory that is up; Channel Access gets to know where they are."""
        if "epics" in sys.modules:
            raise ServiceError("a process can hold one laboratory session: Channel Access has read its addresses already")
        if self.attachment is not None:
            os.environ.update(client_environment(self.attachment.ports))
            self.endpoints = self.attachment.endpoints
            importlib.import_module("ophyd")  # before epics: it brings libca
            return
        ports = free_ports(len(self.lab.instruments))
        os.environ.update(client_environment(ports))
        self.processes = Processes(self.lab, self.home, dict(zip(self.lab.instruments, ports, strict=True)), speed=self.clock.speed,
                                   faults=self._faults, virtual=self.virtual)
        world = "" if self._is_brief else world_file(self.home, is_new=self.is_new_world, say=self.say)
        self.processes.start(world, lambda: importlib.import_module("ophyd"))  # two seconds that the bridges need anyway
        self.endpoints = self.processes.endpoints

    @property
    def simulator(self) -> Child | None:
        """The session's own; None where nothing is simulated, and when attached."""
        return self.processes.simulator if self.processes is not None else None

    def _open_records(self) -> None:
        from bluesky import RunEngine

        from lab.records.catalogue import Catalogue
        from lab.records.documents import JsonlWriter
        from lab.records.ledger import Ledger

        self.ledger = Ledger(self.home.ledger, self.clock)
        self.documents = JsonlWriter(self.home.runs)
        attachment = self.attachment
        self.catalogue = Catalogue(self.home.catalogue, connect=None if attachment is None else lambda _, __: attachment.catalogue())
        if self._make_engine is not None:
            self.RE = self._make_engine(self)
        else:
            self.RE = RunEngine() if self._is_console else RunEngine(context_managers=[], during_task=interrupts.Attentive())  # type: ignore[arg-type]  # one of its kind by what it does
        if self.virtual is not None:
            self.RE.waiting_hook = self.virtual.waiting  # type: ignore[assignment]
        self.RE.subscribe(self.documents)
        if self.lab.catalogue and attachment is None:  # a laboratory that is up has a service that files every run
            self.RE.subscribe(self.catalogue.callback)

    def warm_up(self, configs: Sequence[CampaignConfig]) -> None:
        """Import what is slow to import while the first samples are made (`lab.warming`)."""
        warm_up(self.lab, configs)

    def _lose(self, cause: str) -> None:
        """The simulator died: end the plan, and let no bridge look for ports that may soon belong to somebody else."""
        self.loss = cause
        self._abort(cause)  # before the bridges go: else samples would fail of that
        self._say_and_note(cause)
        if self.processes is not None:
            self.processes.stop_bridges()

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
