"""The TCP transport: a network firmware behind its ports on the loopback."""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from lab.core.clock import WallClock
from sim.faults import Fault, FaultPlan
from sim.firmware import NetworkFirmware, Outgoing, Sensing
from sim.parcels import Outbox, Parcel
from sim.switchboard import Switchboard

_CHUNK = 4096
_UNREAD_LIMIT = 1 << 20
"""A client that leaves so many bytes unread is dropped, as a controller with finite memory does it."""


@dataclass
class _Connection:
    """One TCP client."""

    socket: socket.socket
    outbox: Outbox = field(default_factory=Outbox)
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
        self._sensing = firmware if isinstance(firmware, Sensing) else None
        self._plan = FaultPlan(faults, self._wall, firmware.failures, self._sensing.inputs if self._sensing is not None else ())
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

    def due_s(self) -> float:
        return self._firmware.due_s()

    def wake(self) -> None:
        """The switchboard steps it."""

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
        if self._sensing is not None:
            self._sensing.force(self._plan.forced())
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
