"""Transports: how the bytes of a simulated firmware reach a driver.

- `PtyServer`: a pseudo-terminal, opened by drivers like any serial port;
- `TcpServer` (`sim.network`): one or more TCP ports;
- `MemoryServer`: no transport at all, for tests that step the clocks themselves.

Each applies a `FaultPlan`. Endpoints are those of ``lab.yaml``.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import termios
import tty
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lab.core.clock import Clock, WallClock
from sim.faults import Fault, FaultError, FaultPlan
from sim.firmware import Firmware
from sim.network import TcpServer
from sim.parcels import Outbox, Parcel
from sim.switchboard import Switchboard

__all__ = ["MemoryServer", "PtyServer", "TcpServer"]

_CHUNK = 4096
_FOLDER = "lab-sim-"


class MemoryServer:
    """A serial firmware with its faults and nothing around it: write, step, read.

    Parameters
    ----------
    firmware : Firmware
    faults : sequence of Fault
    wall : Clock
        Usually a ManualClock.
    """

    def __init__(self, firmware: Firmware, faults: Sequence[Fault] = (), wall: Clock | None = None) -> None:
        self.firmware = firmware
        self.is_down = False
        self._wall: Clock = wall if wall is not None else WallClock()
        self._plan = FaultPlan(faults, self._wall, firmware.failures)
        self._outbox = Outbox()

    def start(self) -> str:
        return "memory://"

    def stop(self) -> None:
        self.is_down = True

    def inject(self, fault: Fault) -> None:
        self._plan.add(fault)
        self.step()

    def clear_faults(self) -> None:
        self._plan.clear()
        self.step()

    def due_s(self) -> float:
        return self.firmware.due_s()

    def wake(self) -> None:
        """Whoever holds it steps it."""

    def write(self, data: bytes) -> None:
        """Bytes from the host. They are lost while the line is down."""
        if self.is_down:
            return
        heard = self._plan.request(data)
        self._happen(self._plan.events(at_exchange=True))
        if heard:
            self._send(self._plan.reply(self.firmware.feed(heard)))

    def step(self) -> None:
        """Bring the firmware and the line up to the clocks' time."""
        is_down = self._plan.is_down()
        if is_down and not self.is_down:
            self._outbox.parcels.clear()
            self.firmware.hung_up()
        self.is_down = is_down
        self._happen(self._plan.events())
        said = self.firmware.step()
        if said and not self._plan.is_hung():
            self._send([Parcel(said)])

    def read(self) -> bytes:
        """What has reached the host since the last read."""
        return self._outbox.take(self._wall.now())

    def exchange(self, data: bytes) -> bytes:
        """Write, then read what has come at once."""
        self.write(data)
        return self.read()

    def _send(self, parcels: Sequence[Parcel]) -> None:
        if not self.is_down:
            for parcel in parcels:
                self._outbox.put(parcel, self._wall.now())

    def _happen(self, faults: Sequence[Fault]) -> None:
        for fault in faults:
            if fault.kind == "unsolicited":
                self._send([Parcel(fault.data.encode("latin-1"))])
            elif fault.kind == "power_cycle":
                self._outbox.parcels.clear()
                self.firmware.power_cycle()
            else:
                self.firmware.fail(fault.words)


def _sweep() -> None:
    """Take away the links of simulators that were killed: they may by now lead to somebody's terminal."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*-*"):
        process = folder.name.removeprefix(_FOLDER).partition("-")[0]
        if process.isdecimal() and not _is_alive(int(process)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's
    return True


class PtyServer:
    """A serial firmware behind a pseudo-terminal, reached by a symbolic link that outlives an unplugging.

    Parameters
    ----------
    name : str
        Name of the link.
    firmware : Firmware
    switchboard : Switchboard
    baud : int
        Only told in the endpoint: a pseudo-terminal has no speed.
    faults : sequence of Fault
    """

    def __init__(self, name: str, firmware: Firmware, switchboard: Switchboard, baud: int, faults: Sequence[Fault] = ()) -> None:
        self._name, self._baud, self._switchboard = name, baud, switchboard
        self._wall = WallClock()
        self._line = MemoryServer(firmware, faults, self._wall)
        self._folder: Path | None = None
        self._master = self._slave = -1

    def start(self) -> str:
        """Create the port; returns ``serial://LINK?baud=N``."""
        _sweep()
        self._folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-"))
        self._switchboard.call(self._plug_in)
        self._switchboard.call(partial(self._switchboard.add_step, self._step))
        return f"serial://{self._link}?baud={self._baud}"

    def stop(self) -> None:
        if self._folder is None:
            return
        self._switchboard.call(self._close)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None

    def inject(self, fault: Fault) -> None:
        self._switchboard.call(partial(self._line.inject, fault))
        self._switchboard.call(self._step)

    def clear_faults(self) -> None:
        self._switchboard.call(self._line.clear_faults)
        self._switchboard.call(self._step)

    def due_s(self) -> float:
        return self._line.due_s()

    def wake(self) -> None:
        """The switchboard steps it."""

    @property
    def _link(self) -> Path:
        if self._folder is None:
            raise FaultError(f"{self._name}: the port is not open")
        return self._folder / self._name

    def _plug_in(self) -> None:
        self._master, self._slave = os.openpty()
        # At once, and the slave stays open: otherwise the line discipline echoes our own replies back to us, and
        # the port hangs up whenever a driver closes it.
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self._link.symlink_to(os.ttyname(self._slave))
        self._switchboard.watch(self._master, self._readable)

    def _unplug(self) -> None:
        self._switchboard.unwatch(self._master)
        self._link.unlink()
        os.close(self._master)
        os.close(self._slave)
        self._master = self._slave = -1

    def _close(self) -> None:
        self._switchboard.remove_step(self._step)
        if self._master != -1:
            self._unplug()

    def _allow_reopening(self) -> None:
        """Let a driver that asks for 7 bits or parity open the port a second time.

        A pseudo-terminal silently stays at 8N1. glibc's tcsetattr takes that for a failure (EINVAL) when nothing else has
        changed either, that is at the second opening. CLOCAL, which drivers set and a pseudo-terminal ignores, is
        therefore cleared again, so that there is always something to change.
        """
        settings = termios.tcgetattr(self._slave)
        if settings[2] & termios.CLOCAL:
            settings[2] &= ~termios.CLOCAL
            termios.tcsetattr(self._slave, termios.TCSANOW, settings)

    def _readable(self) -> None:
        try:
            data = os.read(self._master, _CHUNK)
        except BlockingIOError:
            return
        self._allow_reopening()
        self._line.write(data)
        self._deliver()

    def _step(self) -> None:
        self._line.step()
        if self._line.is_down and self._master != -1:
            self._unplug()
        elif not self._line.is_down and self._master == -1:
            self._plug_in()
        if self._slave != -1:
            self._allow_reopening()
        self._deliver()

    def _deliver(self) -> None:
        data = self._line.read()
        if data and self._master != -1:
            try:
                os.write(self._master, data)
            except BlockingIOError:
                return  # nobody reads: a serial line has no flow control, what does not fit is lost
