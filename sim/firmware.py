"""What a simulated firmware is: a state machine that is given bytes and answers with bytes, and never waits.

It does no input or output of its own (sans-IO) and starts no threads. Transports of `sim.serve` carry its bytes over
a pseudo-terminal, TCP or memory, and call `step` every few milliseconds so that it can do what happens by itself:
liquid flows, watchdogs run out, motions end. Each firmware is constructed with

- ``physics: Clock``, laboratory time, which may run faster than the wall: everything that moves, flows or heats;
- ``wall: Clock``, wall time: protocol time-outs and watchdogs, which a driver sees and which therefore never run faster;
- the part of the shared world it acts on, as a small Protocol of its own module.

All calls to one firmware come from one thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from sim.faults import Fault

STEP_S = 0.005
"""How often transports call `step`, wall seconds (about)."""


class Firmware(Protocol):
    """An instrument on a serial line: one stream of bytes in, one out."""

    @property
    def failures(self) -> Sequence[str]:
        """The errors that `fail` can bring about, by name."""
        ...

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the host, in pieces of any size; return what is answered at once (often nothing).

        Garbage is answered as the instrument would answer it; it never raises.
        """
        ...

    def step(self) -> bytes:
        """Bring everything up to the clocks' time; return what the instrument says unasked."""
        ...

    def due_s(self) -> float:
        """Laboratory seconds until something happens by itself that a host could notice; infinite when nothing is under way."""
        ...

    def power_cycle(self) -> None:
        """Power off and on again: volatile state is lost."""
        ...

    def hung_up(self) -> None:
        """The host, or the cable, has gone. (A serial instrument seldom notices.)"""
        ...

    def fail(self, words: str) -> None:
        """Go into the error that `words` name (one of `failures`), as a stalled motor would bring it about."""
        ...


@dataclass(frozen=True)
class Outgoing:
    """Bytes for one network connection.

    Parameters
    ----------
    connection : int
        Id that `NetworkFirmware.opened` was given.
    data : bytes
    is_last : bool
        Close the connection after `data`.
    """

    connection: int
    data: bytes
    is_last: bool = False


class NetworkFirmware(Protocol):
    """An instrument with one or more TCP ports and any number of connections on each.

    Ports have names (``control``, ``monitor``), connections have ids, never used twice. Whether a second client is
    taken or turned away is the firmware's business: it answers `opened` with an `Outgoing` that `is_last`.
    """

    @property
    def failures(self) -> Sequence[str]:
        """The errors that `fail` can bring about, by name."""
        ...

    def opened(self, port: str, connection: int) -> Sequence[Outgoing]:
        """A client has connected to `port`; return the greeting, if any."""
        ...

    def feed(self, connection: int, data: bytes) -> Sequence[Outgoing]:
        """Take bytes from one client; what is returned may go to any connection."""
        ...

    def step(self) -> Sequence[Outgoing]:
        """Bring everything up to the clocks' time; return what is sent unasked, monitoring included."""
        ...

    def due_s(self) -> float:
        """Laboratory seconds until something happens by itself that a host could notice; infinite when nothing is under way."""
        ...

    def closed(self, connection: int) -> None:
        """The client of this connection has gone, or its cable; not called for those closed by `Outgoing.is_last`."""
        ...

    def power_cycle(self) -> None:
        """Power off and on again; the transport has closed all connections before."""
        ...

    def fail(self, words: str) -> None:
        """Go into the error that `words` name (one of `failures`), as a collision would bring it about."""
        ...


@runtime_checkable
class Sensing(Protocol):
    """Firmware that sees something of the outside which no simulated world has: a door, a flow of coolant."""

    @property
    def inputs(self) -> Sequence[str]:
        """Their names."""
        ...

    def force(self, values: Mapping[str, float]) -> None:
        """Hold these inputs at these values, and no others any more."""
        ...


class Server(Protocol):
    """A running simulated instrument, whatever its transport."""

    def start(self) -> str:
        """Begin to serve; return the endpoint, as `lab.yaml` would have it (``serial://``, ``tcp://``, ``http://``)."""
        ...

    def stop(self) -> None:
        """End; leave no thread, port or file behind. May be called twice."""
        ...

    def inject(self, fault: Fault) -> None:
        """Add a fault, counting its ``after`` and ``at_s`` from now. Raises `sim.faults.FaultError` when it cannot."""
        ...

    def clear_faults(self) -> None:
        """End all faults, also those that are not yet due."""
        ...

    def due_s(self) -> float:
        """Laboratory seconds until something happens by itself; 0 when it has still to be done, infinite when nothing is under way."""
        ...

    def wake(self) -> None:
        """Time has leapt: do what is due now."""
        ...
