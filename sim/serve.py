"""Transports: how the bytes of a simulated firmware reach a driver.

- `PtyServer`: a pseudo-terminal, opened by drivers like any serial port;
- `TcpServer`: one or more TCP ports;
- `MemoryServer`: no transport at all, for tests that step the clocks themselves.

Each applies a `FaultPlan`. Endpoints are those of ``lab.yaml``.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import tempfile
import termios
import tty
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from lab.core.clock import Clock, WallClock
from sim.faults import Fault, FaultError, FaultPlan, Parcel
from sim.firmware import Firmware, NetworkFirmware, Outgoing
from sim.switchboard import Switchboard

_CHUNK = 4096
_FOLDER = "lab-sim-"
_UNREAD_LIMIT = 1 << 20
"""A network client that leaves so many bytes unread is dropped, as a controller with finite memory does it."""


@dataclass
class _Outbox:
    """Bytes on their way to the host: a late reply holds up all that come after it, as on a real line."""

    parcels: deque[tuple[float, bytes]] = field(default_factory=deque)

    def put(self, parcel: Parcel, now_s: float) -> None:
        due_s = now_s + parcel.delay_s
        if self.parcels:
            due_s = max(due_s, self.parcels[-1][0])
        self.parcels.append((due_s, parcel.data))

    def take(self, now_s: float) -> bytes:
        """All that are due."""
        due = []
        while self.parcels and self.parcels[0][0] <= now_s:
            due.append(self.parcels.popleft()[1])
        return b"".join(due)


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
        self._outbox = _Outbox()

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


@dataclass
class _Connection:
    """One TCP client."""

    socket: socket.socket
    outbox: _Outbox = field(default_factory=_Outbox)
    unsent: bytes = b""
    is_ending: bool = False


class TcpServer:
    """A network firmware behind TCP ports on the loopback.

    Parameters
    ----------
    name : str
        For messages.
    firmware : NetworkFirmware
    switchboard : Switchboard
    ports : mapping of port name to number
        0 lets the system choose. The first one is the control port: faults of replies happen on it.
    faults : sequence of Fault

    Notes
    -----
    The endpoint is ``tcp://127.0.0.1:CONTROL?NAME=NUMBER`` with the further ports by name.
    """

    def __init__(self, name: str, firmware: NetworkFirmware, switchboard: Switchboard, ports: Mapping[str, int],
                 faults: Sequence[Fault] = ()) -> None:
        self._name, self._firmware, self._switchboard = name, firmware, switchboard
        self._wall = WallClock()
        self._plan = FaultPlan(faults, self._wall, firmware.failures)
        self._ports = dict(ports)
        self._listeners: dict[str, socket.socket] = {}
        self._connections: dict[int, _Connection] = {}
        self._control: set[int] = set()
        self._next_id = 1
        self._is_serving = self._is_down = False

    def start(self) -> str:
        """Bind and listen; returns the endpoint. Raises OSError when a port that was asked for is taken."""
        self._switchboard.call(self._open)
        (_, control), *others = self._ports.items()
        more = "&".join(f"{name}={number}" for name, number in others)
        return f"tcp://127.0.0.1:{control}" + (f"?{more}" if more else "")

    def stop(self) -> None:
        self._switchboard.call(self._close)

    def inject(self, fault: Fault) -> None:
        self._plan.add(fault)
        self._switchboard.call(self._step)

    def clear_faults(self) -> None:
        self._plan.clear()
        self._switchboard.call(self._step)

    # -------------------------------------------------------------------------------------------- the ports

    def _open(self) -> None:
        try:
            for port in self._ports:
                self._bind(port)
        except OSError:
            for listener in self._listeners.values():
                listener.close()
            raise
        self._listen()
        self._switchboard.add_step(self._step)
        self._is_serving = True

    def _bind(self, port: str) -> None:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", self._ports[port]))
        except OSError:
            listener.close()
            raise
        self._ports[port] = listener.getsockname()[1]
        listener.setblocking(False)
        self._listeners[port] = listener

    def _listen(self) -> None:
        for port, listener in self._listeners.items():
            listener.listen()
            self._switchboard.watch(listener.fileno(), partial(self._accept, port))

    def _unplug(self) -> None:
        for connection in tuple(self._connections):
            self._drop(connection)
        for port, listener in tuple(self._listeners.items()):
            self._switchboard.unwatch(listener.fileno())
            listener.close()
            self._bind(port)  # bound but not listening: clients are refused, and nobody else gets the number

    def _close(self) -> None:
        if not self._is_serving:
            return
        self._is_serving = False
        self._switchboard.remove_step(self._step)
        if not self._is_down:
            self._unplug()
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()

    # -------------------------------------------------------------------------------------- the connections

    def _accept(self, port: str) -> None:
        try:
            client, _ = self._listeners[port].accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection, self._next_id = self._next_id, self._next_id + 1
        self._connections[connection] = _Connection(client)
        if port == next(iter(self._ports)):
            self._control.add(connection)
        self._watch(connection)
        self._send(self._firmware.opened(port, connection))

    def _watch(self, connection: int) -> None:
        client = self._connections[connection]
        on_writable = partial(self._deliver, connection) if client.unsent else None
        self._switchboard.watch(client.socket.fileno(), partial(self._readable, connection), on_writable)

    def _drop(self, connection: int, is_told: bool = True) -> None:
        client = self._connections.pop(connection)
        self._control.discard(connection)
        self._switchboard.unwatch(client.socket.fileno())
        client.socket.close()
        if is_told:
            self._firmware.closed(connection)

    def _readable(self, connection: int) -> None:
        try:
            data = self._connections[connection].socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:  # reset by the client
            data = b""
        if not data:
            self._drop(connection)
            return
        if connection not in self._control:
            if not self._plan.is_hung():
                self._send(self._firmware.feed(connection, data))
            return
        heard = self._plan.request(data)
        self._happen(self._plan.events(at_exchange=True))
        if heard and connection in self._connections:
            self._reply(connection, self._firmware.feed(connection, heard))

    def _reply(self, connection: int, outgoing: Sequence[Outgoing]) -> None:
        """Send, with the faults of replies done to what goes back to `connection`."""
        mine = b"".join(o.data for o in outgoing if o.connection == connection)
        client = self._connections[connection]
        for parcel in self._plan.reply(mine):
            client.outbox.put(parcel, self._wall.now())
        self._deliver(connection)
        is_last = any(o.is_last for o in outgoing if o.connection == connection)
        self._send([o for o in outgoing if o.connection != connection] + [Outgoing(connection, b"", True)] * is_last)

    def _send(self, outgoing: Sequence[Outgoing]) -> None:
        for item in outgoing:
            client = self._connections.get(item.connection)
            if client is not None:
                client.is_ending |= item.is_last
                if item.data:
                    client.outbox.put(Parcel(item.data), self._wall.now())
                self._deliver(item.connection)

    def _deliver(self, connection: int) -> None:
        client = self._connections.get(connection)
        if client is None:
            return
        had_unsent = bool(client.unsent)
        client.unsent += client.outbox.take(self._wall.now())
        try:
            if client.unsent:
                client.unsent = client.unsent[client.socket.send(client.unsent):]
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET):
                raise
            self._drop(connection)
            return
        if len(client.unsent) > _UNREAD_LIMIT:
            self._drop(connection)
        elif client.is_ending and not client.unsent and not client.outbox.parcels:
            self._drop(connection, is_told=False)
        elif bool(client.unsent) != had_unsent:
            self._watch(connection)

    # ----------------------------------------------------------------------------------------------- time

    def _step(self) -> None:
        is_down = self._plan.is_down()
        if is_down != self._is_down:
            self._is_down = is_down
            if is_down:
                self._unplug()
            else:
                self._listen()
        self._happen(self._plan.events())
        said = self._firmware.step()
        if not self._plan.is_hung():
            self._send(said)
        for connection in tuple(self._connections):
            if self._connections[connection].outbox.parcels:
                self._deliver(connection)

    def _happen(self, faults: Sequence[Fault]) -> None:
        for fault in faults:
            if fault.kind == "unsolicited":
                self._send([Outgoing(connection, fault.data.encode("latin-1")) for connection in self._control])
            elif fault.kind == "power_cycle":
                for connection in tuple(self._connections):
                    self._drop(connection)
                self._firmware.power_cycle()
            else:
                self._firmware.fail(fault.words)
