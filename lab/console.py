"""``lab console``: IPython on the same session as ``lab run``, for a person at the instruments, often alone at night."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lab.core.config import LabConfig
from lab.core.errors import LabError, ServiceError
from lab.home import Home
from lab.progress import Lines
from lab.session import Session

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

HELP = """\
[bold]Devices[/]      {devices}; Tab completes, for instance pump.{liquid}.rate
             lab.health()  all of them        lab.ready()  clear errors, activate, home
             lab.interlocks()  doors, flows and whatever else must hold
[bold]Move, read[/]   %mov {plate} 60       or RE(bps.mv({plate}, 60)); the heater goes off with the plan's end
             {plate}.set(60)       this holds the temperature; {plate}.off()
             RE(bps.mv(pump.{liquid}.rate, 2))      %wa  where everything is
[bold]Measure[/]      RE(bp.count(\\[{plate}], num=5, delay=1))      %ct  one reading of the detectors
[bold]Samples[/]      RE(bps.mv(arm, Pick("rack.1")))   then Place("{synthesiser}"), Park()
             RE(bps.mv({synthesiser}, Dose({{"{liquid}": 0.2}}, key="by-hand-1")))
[bold]Campaign[/]     {campaign}
[bold]Ctrl-C[/]       in RE(...): twice pauses; then RE.resume(), RE.stop() (clean end) or RE.abort()
[bold]Data[/]         catalogue[-1]             the newest run, in Tiled; lab.catalogue_status()
             ledger.campaigns()        {home}/ledger.sqlite
             lab.report("NAME")        all that can be told of a campaign, and a page of it
[bold]Stop[/]         lab.make_safe()           heater off, pumps stopped, motion stopped, disarmed
             exit                      {exit}
[bold]Logs[/]         {home}/logs/NAME.log
"""


HERE = {"campaign": 'campaign("examples/perovskite.yaml")     Ctrl-C once ends it safely',
        "exit": "does that too, and ends bridges and simulator"}
"""What is so at a console with a session of its own."""

ATTACHED = {"campaign": 'run_campaign("/home/me/campaign.yaml")     or queue it: lab queue submit FILE',
            "exit": "leaves; the laboratory goes on"}
"""What is so in the kernel of a laboratory that is up, where ``campaign`` is the plan of the queue."""

READY_S = 120.0
"""Wall seconds for one instrument to get ready."""

POSITIONERS = ("pump", "hotplate", "arm")
"""Kinds of instruments that have a place in ``%wa``; ``%ct`` reads all others."""


class LabHandle:
    """What ``lab`` is at the console: help, health, safety, records."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._console = Console(highlight=False)
        self.config, self.ledger, self.home = session.lab, session.ledger, session.home.path

    def __repr__(self) -> str:
        return f"<laboratory {self.config.name}: lab.help() shows one page of what can be done>"

    def help(self) -> None:
        """One page of what can be done here."""
        lab = self.config
        liquid = next((s.liquid for c in lab.instruments.values() if c.kind == "pump" for s in c.syringes), "cs")
        plate = next((name for name, c in lab.instruments.items() if c.kind == "hotplate"), "hotplate")
        synthesiser = next(iter(lab.stations_of("synthesiser")), "synthesiser")
        self._console.print(HELP.format(devices=", ".join(self._session.devices), liquid=liquid, plate=plate, synthesiser=synthesiser,
                                        home=self.home, **(HERE if self._session.attachment is None else ATTACHED)))

    def health(self) -> None:
        """Every instrument: what it is, what it does, what is wrong with it."""
        for name in self.config.instruments:
            health = self._session.devices[name].health()
            mark = "[green]ok[/]     " if health.is_connected and not health.cause else "[red]trouble[/]"
            self._console.print(f"{mark} {name:<12}{escape(health.state)}  {escape(health.cause)}  [dim]{escape(health.identity)}[/]")

    def interlocks(self) -> None:
        """Every interlock: how it is, since when, and what it does when it is violated."""
        for state in self._session.interlocks():
            mark = "[green]ok[/]      " if state.is_ok else "[red]violated[/]"
            since = datetime.fromtimestamp(state.since).strftime("%H:%M:%S")
            words = f"{state.value} since {since}" if state.is_ok else f"{state.words} since {since}"
            self._console.print(f"{mark} {state.name:<14}{escape(words)}  [dim]{state.action}[/]")

    def acknowledge(self, interlock: str = "") -> None:
        """Let go on what waits for an interlock that has made the instruments safe, once it holds again."""
        self._session.acknowledge(interlock)

    def ready(self) -> None:
        """Clear errors and get every instrument ready to work: initialise, activate, home."""
        for name in self.config.instruments:
            self._console.print(f"{name}: readying ...")
            try:
                error = self._session.devices[name].recover().exception(timeout=READY_S)
            except TimeoutError:
                error = ServiceError(f"not ready within {READY_S:g} s")
            self._console.print(f"{name}: {'ready' if error is None else error}", markup=False)

    def make_safe(self) -> dict[str, str]:
        """Heater off, pumps stopped, motion stopped, disarmed, at once."""
        return self._session.make_safe()

    def leave(self) -> None:
        """What the end of a console on a running laboratory does: unless a plan is under way, everything is left safe."""
        if self._session.RE.state != "idle":
            self._console.print(f"the RunEngine is {self._session.RE.state}: what it does goes on; lab status shows it")
            return
        for name, said in self.make_safe().items():
            if said != "safe":
                self._console.print(f"{name}: not safe: {said}", markup=False)

    def report(self, campaign: str, out: str | None = None) -> Path | None:
        """All that can be told of a campaign: words here, and a page in ``LAB_HOME/reports`` (or in the file `out`), whose path it returns."""
        from lab.dossier import command, words

        found, path = command.report(self.ledger, campaign, None if out is None else Path(out), self._session.home)
        self._console.print(command.screen(words.lines(found)))
        return path

    def catalogue_status(self) -> Any:
        """What Tiled has still to take up, and what it failed to."""
        return self._session.catalogue.status()


def open_console(lab: LabConfig, lab_file: Path, faults: Sequence[Mapping[str, Any]]) -> None:
    """Start the session, say what is offline, hand over to IPython, and leave the instruments safe."""
    screen = Console(highlight=False)
    screen.print(f"[dim]starting {lab.name}: {', '.join(lab.instruments)} ...[/]")
    notes: list[str] = []
    with Session(lab, Home.default(), faults=faults, say=notes.append, is_console=True, purpose="console") as session:
        for note in notes:
            screen.print(f"[yellow]![/] {escape(note)}")
        session.catalogue.replay(session.home.runs)
        session.say = lambda text: screen.print(f"\n[yellow]![/] {escape(text)}")
        logging.getLogger("devices").addHandler(OnScreen(screen))
        _open_ipython(session, lab_file)
        screen.print("[dim]making the instruments safe, ending bridges ...[/]")


class OnScreen(logging.Handler):
    """Shows a person at the console what devices do by themselves."""

    def __init__(self, screen: Console) -> None:
        super().__init__(logging.INFO)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        self._screen.print(f"[dim]{escape(record.getMessage())}[/]")


def _open_ipython(session: Session, lab_file: Path) -> None:
    from IPython.terminal.embed import InteractiveShellEmbed
    from traitlets.config import Config

    config = Config()
    config.TerminalInteractiveShell.confirm_exit = False
    config.TerminalInteractiveShell.enable_tip = False
    banner = (f"\nLaboratory {session.lab.name} ({lab_file}). {len(session.devices)} devices: {', '.join(session.devices)}.\n"
              "lab.help() shows one page of what can be done; exit leaves everything safe.\n")
    names = namespace(session)
    shell = InteractiveShellEmbed.instance(config=config, banner1=banner, exit_msg="", user_ns=names)
    furnish(shell, session)
    shell(local_ns=names)


def furnish(shell: InteractiveShell, session: Session) -> None:
    """What a shell of the laboratory has besides names: magics, and failures in words."""
    register_magics(shell, session)
    say_failures(shell)
    if hasattr(shell, "kernel"):
        shell.ask_exit = lambda: _leave_kernel(shell)  # type: ignore[attr-defined]


def _leave_kernel(shell: Any) -> None:
    """Who leaves a kernel leaves it running: it is the laboratory's worker."""
    shell.payload_manager.write_payload({"source": "ask_exit", "keepkernel": True})


def namespace(session: Session) -> dict[str, Any]:
    """The names that a person finds at the console. Adds a live table and a progress bar to the RunEngine."""
    from bluesky import plan_stubs, plans
    from bluesky.callbacks.best_effort import BestEffortCallback
    from bluesky.utils import ProgressBarManager

    from lab.core.capabilities import Dose, Park, Pick, Place

    for name, config in session.lab.instruments.items():
        session.devices[name]._ophyd_labels_ = {"positioners" if config.kind in POSITIONERS else "detectors"}
    live = Live(session.RE, BestEffortCallback(), ProgressBarManager(), lambda: getattr(session.RE, "item", None) is None)
    live.on()
    return {
        **session.devices,
        "lab": LabHandle(session),
        "RE": session.RE,
        "bp": plans,
        "bps": plan_stubs,
        "campaign": campaign_command(session, live),
        "catalogue": session.catalogue,
        "ledger": session.ledger,
        "Dose": Dose,
        "Pick": Pick,
        "Place": Place,
        "Park": Park,
    }


def say_failures(shell: InteractiveShell) -> None:
    """What an instrument says went wrong is shown in its words; ``%tb`` shows where in the code."""
    from bluesky.utils import FailedStatus, RunEngineInterrupted

    from plans.stubs import cause_of

    screen = Console(highlight=False)

    def say(shell: InteractiveShell, kind: type[BaseException], error: BaseException, trace: Any, tb_offset: int | None = None) -> None:
        if isinstance(error, RunEngineInterrupted):
            screen.print(escape(str(error).strip()))
        else:
            screen.print(f"[red]![/] {escape(str(cause_of(error)))}   [dim](%tb shows the traceback)[/]")

    shell.set_custom_exc((LabError, FailedStatus, RunEngineInterrupted), say)


class Live:
    """The live table and progress bar of plans that a person runs; off during a campaign, which has lines of its own.

    Parameters
    ----------
    engine : RunEngine
    table : callable
        Takes documents.
    progress : callable
        Takes what is waited for.
    is_wanted : callable
        Whether anybody is there to look: not while an item of the queue runs, whose documents go to those who watch it.
    """

    def __init__(self, engine: Any, table: Any, progress: Any, is_wanted: Callable[[], bool] = lambda: True) -> None:
        self._engine, self._table, self._progress, self._is_wanted = engine, table, progress, is_wanted
        self._token: int | None = None
        self._hook = engine.waiting_hook
        table.disable_plots()

    def on(self) -> None:
        self._token = self._engine.subscribe(self._take)
        self._engine.waiting_hook = self._wait

    def off(self) -> None:
        if self._token is not None:
            self._engine.unsubscribe(self._token)
        self._engine.waiting_hook = self._hook

    def _take(self, name: str, doc: Any) -> None:
        if self._is_wanted():
            self._table(name, doc)

    def _wait(self, statuses: Any) -> None:
        for hook in (self._hook, self._progress if self._is_wanted() else None):
            if hook is not None:
                hook(statuses)


def campaign_command(session: Session, live: Live) -> Callable[..., Any]:
    """``campaign("examples/perovskite.yaml")`` on the console's session."""

    def campaign(file: str, **changes: Any) -> Any:
        """Run a campaign file here; ``campaign(file, **{"budget.trials": 5})`` changes fields of it.

        Returns what ``lab run --json`` prints. Ctrl-C ends it safely.
        """
        from lab.files import load_campaign
        from lab.report import result_of, say_end
        from lab.validation import prepare

        lines = Lines(Console(highlight=False, soft_wrap=True))
        live.off()
        try:
            config = load_campaign(Path(file), changes)
            prepared = prepare(session.lab, config, lab_file=session.lab.name, campaign_file=file)
            if prepared != session.lab:
                lines.trouble("this campaign loads other liquids than this console's laboratory has: leave, and use lab run")
                return None
            ran, end = session.run_campaign(config, lines, file)
        except LabError as error:
            lines.trouble(str(error))
            return None
        finally:
            live.on()
        result = result_of(ran, end)
        say_end(lines.console, result, session.home)
        return result

    return campaign


def register_magics(shell: InteractiveShell, session: Session) -> None:
    """Bluesky's ``%mov %movr %ct`` on this session's RunEngine, and a ``%wa`` that reads every device."""
    from bluesky.magics import BlueskyMagics

    BlueskyMagics.RE = session.RE
    shell.register_magics(BlueskyMagics)

    def where_all(line: str) -> None:
        """Where all is: ``%wa``, or ``%wa pump arm``."""
        Console(highlight=False).print(readings(session, line.split()))

    register: Any = shell.register_magic_function
    register(where_all, "line", "wa")


def readings(session: Session, names: Sequence[str] = ()) -> Table:
    """What devices read now, a row each; those named, else all."""
    table = Table(box=None, pad_edge=False)
    for column in ("reading", "value", "unit"):
        table.add_column(column)
    for name in names if names else session.lab.instruments:
        try:
            device = session.devices[name]
            units = device.describe()
            for key, reading in device.read().items():
                table.add_row(key, _short(reading["value"]), str(units[key].get("units") or ""))
        except KeyError:
            table.add_row(name, f"no such device; there are {', '.join(session.devices)}", "")
        except LabError as error:
            table.add_row(name, escape(str(error)), "")
    return table


def _short(value: Any) -> str:
    """Numbers to four digits, rows of numbers in one line."""
    if isinstance(value, str):
        return value
    if hasattr(value, "__len__"):
        return " ".join(_short(one) for one in value)
    return f"{value:.4g}"
