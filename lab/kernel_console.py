"""``lab console`` where the laboratory is up: a terminal on the IPython kernel of its worker, which holds the only session there is.

Whoever has the lease of the laboratory controls it; everybody else looks on: what the kernel prints is shown, and lines that are typed are
not sent. A kernel does one thing after another: a line that waits behind somebody's plan would be carried out hours later, when nobody
remembers it.
"""

from __future__ import annotations

import asyncio
import getpass
import signal
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from queue import Empty
from types import FrameType
from typing import Any

from IPython.core.inputtransformer2 import TransformerManager
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_console.completer import ZMQCompleter
from jupyter_console.ptshell import ZMQTerminalInteractiveShell
from prompt_toolkit.patch_stdout import patch_stdout

from lab.core.errors import LeaseError, ServiceError
from lab.home import Home
from lab.layout import Layout
from lab.lease import Lease
from lab.presence import Worker, worker
from lab.records.process import Process

ANSWER_S = 10.0
"""Wall seconds for the kernel to say what it is: its control channel answers while it works."""

LEAVING = ("exit", "quit", "exit()", "quit()")
"""Lines that end the console. In a kernel they would end the worker."""


def attach(layout: Layout) -> None:
    """Open a console on the worker of a laboratory that is up; returns when the person leaves, with the laboratory going on.

    Raises
    ------
    ServiceError
        When there is no worker, it does not answer, or it has died.
    """
    found = _living(layout)
    client = BlockingKernelClient(connection_file=str(Path(layout.home) / found.kernel))
    client.load_connection_file()
    client.start_channels()
    control = Control(Home(Path(layout.home)))
    try:
        KernelConsole(client=client, manager=None, control=control, process=found.process, title=layout.lab).mainloop()
    finally:
        control.release()
        client.stop_channels()


def _living(layout: Layout) -> Worker:
    found = worker(layout)
    if found is None or found.process.is_gone():
        raise ServiceError(f"laboratory {layout.lab} has no worker now: it is being started, or started again; lab status shows it, then try again")
    if not found.kernel:
        raise ServiceError(f"the worker of laboratory {layout.lab} (process {found.pid}) is no IPython kernel; lab down, then lab up, starts one that is")
    return found


class Control:
    """Whether this console controls the laboratory."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._lease: Lease | None = None
        self.other = ""
        """Who controls it instead, in words."""
        self.take()

    @property
    def is_held(self) -> bool:
        return self._lease is not None

    def take(self) -> bool:
        """Take control, if nobody has it; whether this console has it then."""
        if self._lease is None:
            try:
                self._lease = Lease.take(self._home, getpass.getuser(), "console")
            except LeaseError as error:
                self.other = str(error)
        return self._lease is not None

    def release(self) -> None:
        if self._lease is not None:
            self._lease.release()
            self._lease = None


class KernelConsole(ZMQTerminalInteractiveShell):
    """A terminal on a kernel that goes on without it.

    Parameters
    ----------
    client : BlockingKernelClient
        With its channels started.
    control : Control
    process : Process
        The kernel's.
    title : str
        Name of the laboratory.
    """

    def __init__(self, *, control: Control, process: Process, title: str, **more: Any) -> None:
        self._control, self._process, self._title = control, process, title
        self._transformer = TransformerManager()
        self._loss = ""
        super().__init__(confirm_exit=False, include_other_output=not control.is_held, **more)
        self.own_kernel = False

    # ------------------------------------------------------------------------------- a kernel that may be busy

    def init_kernel_info(self) -> None:
        """Over the control channel, which is answered while a plan runs."""
        asked = self.client.session.msg("kernel_info_request")
        self.client.control_channel.send(asked)
        ends = time.monotonic() + ANSWER_S
        while time.monotonic() < ends:
            with suppress(Empty):
                reply = self.client.get_control_msg(timeout=1)
                if reply["parent_header"].get("msg_id") == asked["header"]["msg_id"]:
                    self.kernel_info = reply["content"]
                    return
        raise ServiceError(f"the worker's kernel (process {self._process.pid}) has not answered within {ANSWER_S:g} s; lab status shows whether it lives")

    def init_history(self) -> None:
        """That of the kernel, when it has time."""
        super().init_history()
        if not self._control.is_held:
            self.history_load_length = 0

    def init_completer(self) -> None:
        self.Completer = _Completer(self, self.client, config=self.config)

    def check_complete(self, code: str) -> tuple[bool, str]:
        """Whether a line wants a further one; found out here, not by the kernel."""
        status, indent = self._transformer.check_complete(code)
        return status == "incomplete", " " * (indent if indent else 0)

    # ------------------------------------------------------------------------------------------- what is shown

    def show_banner(self) -> None:
        """What this is, and who controls the laboratory."""
        print(f"\nLaboratory {self._title}, in its worker (process {self._process.pid}). "
              "lab.help() shows one page of what can be done; exit leaves, and the laboratory goes on.")
        print("You control the laboratory." if self._control.is_held else f"You look on: {self._control.other}.", flush=True)

    def include_output(self, msg: dict[str, Any]) -> bool:
        """Of others what they print; their lines are the RE Manager's own business."""
        if msg["msg_type"] == "status":  # that an interrupt has been dealt with does not mean that the line is
            return self.from_here(msg) and msg["parent_header"].get("msg_type") == "execute_request"
        if self.from_here(msg):
            return bool(super().include_output(msg))
        return bool(self.include_other_output) and msg["msg_type"] in ("stream", "display_data", "error")

    # -------------------------------------------------------------------------------------------- what is done

    def mainloop(self) -> None:
        """Until the person leaves.

        Raises
        ------
        ServiceError
            When the worker has died.
        """
        before = signal.signal(signal.SIGINT, self._on_interrupt)
        self.show_banner()
        try:
            while self.keep_running:
                try:
                    # What others do is written above the line that is being typed.
                    with patch_stdout(raw=True) if self.include_other_output else nullcontext():
                        asyncio.run(self._main_task())
                except KeyboardInterrupt:
                    print()
            if self._loss:
                raise ServiceError(self._loss)
            self._leave()
        finally:
            signal.signal(signal.SIGINT, before)

    def run_cell(self, cell: str, store_history: bool = True) -> None:
        """Send a line, if this console controls the laboratory, or can take control."""
        if cell.strip() in LEAVING:
            self.ask_exit()
            return
        if self._process.is_gone():
            self._mourn()
            return
        if not self._control.is_held:
            if not self._control.take():
                print(f"not sent: {self._control.other}")
                return
            print("You control the laboratory now.")
            self.include_other_output = False
        try:
            super().run_cell(cell, store_history)
        finally:
            self._executing = False
        if self._process.is_gone():
            self._mourn()

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-C: of what this console has sent, in the kernel; else of the line that is being typed."""
        if not self._executing:
            raise KeyboardInterrupt
        self.client.control_channel.send(self.client.session.msg("interrupt_request"))

    def _leave(self) -> None:
        """Nobody is left who knows what a heater is on for."""
        if self._control.is_held:
            print("making the instruments safe ...", flush=True)
            super().run_cell("lab.leave()", store_history=False)
        print("The laboratory goes on; lab status shows it.")

    def _mourn(self) -> None:
        self._loss = f"the worker (process {self._process.pid}) has died; its instruments are being made safe, and lab status shows when there is a new one"
        self.ask_exit()


class _Completer(ZMQCompleter):
    """Completions from the kernel, where this console may ask it and it has time."""

    def complete_request(self, code: str, cursor_pos: int) -> dict[str, Any]:
        nothing = {"matches": [], "cursor_start": cursor_pos, "cursor_end": cursor_pos, "metadata": {}, "status": "ok"}
        if not self.shell._control.is_held:
            return nothing
        try:
            found: dict[str, Any] = super().complete_request(code, cursor_pos)
        except Empty:
            return nothing
        return found
