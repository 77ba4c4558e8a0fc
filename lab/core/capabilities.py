"""What a plan may ask of an instrument: protocols and the value objects they are set to.

Devices implement these over Ophyd; plans know nothing else of them. Every ``set`` and ``trigger`` returns a
Bluesky status that fails with a `LabError` carrying the instrument's own words, and that has a deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


class Status(Protocol):
    """What Bluesky needs of a status (the same as ``bluesky.protocols.Status``)."""

    @property
    def done(self) -> bool: ...

    @property
    def success(self) -> bool: ...

    def add_callback(self, callback: Callable[[Status], None]) -> None: ...

    def exception(self, timeout: float | None = 0.0) -> BaseException | None: ...


@dataclass(frozen=True)
class Pick:
    """Take the sample that stands at `place` into the gripper."""

    place: str


@dataclass(frozen=True)
class Place:
    """Put the sample in the gripper down at `place`."""

    place: str


@dataclass(frozen=True)
class Park:
    """Go to the parking position, out of everybody's way."""


ArmMove = Pick | Place | Park


@dataclass(frozen=True)
class Health:
    """What `lab check` shows of one instrument.

    Parameters
    ----------
    is_connected : bool
    identity : str
        As read from the firmware.
    state : str
        In words, for people.
    cause : str
        Why it is not connected or in error; empty when all is well.
    round_trip_ms : float
        Duration of the bridge's last poll exchange.
    """

    is_connected: bool
    identity: str
    state: str
    cause: str
    round_trip_ms: float


@runtime_checkable
class Instrument(Protocol):
    """What every device of a laboratory can do."""

    name: str

    def health(self) -> Health: ...

    def recover(self) -> Status:
        """Clear errors and get ready; fails with the cause when it cannot."""
        ...

    def make_safe(self) -> Status:
        """Heat off, pumps stopped, motion stopped, disarmed."""
        ...


@dataclass(frozen=True)
class Dose:
    """Liquids to dispense into the sample at the synthesiser.

    Parameters
    ----------
    volumes_ml : mapping of liquid name to volume, mL
        Liquids of zero volume are left out.
    key : str
        Idempotency key: the ledger books one dose under it, once.
    """

    volumes_ml: Mapping[str, float]
    key: str


@runtime_checkable
class Arm(Protocol):
    """Moves samples between the places of lab.yaml."""

    name: str

    def set(self, move: ArmMove) -> Status:
        """Carry out a move. A `Pick` that finds nothing fails with EmptyPlace."""
        ...

    def is_holding(self) -> bool:
        """Whether the gripper holds a sample, read now."""
        ...

    def recover(self) -> Status:
        """Reset errors, resume, activate and home if needed; done when the arm is ready to move."""
        ...

    def make_safe(self) -> Status:
        """Stop and clear the motion queue. (Parking is a move: `Park`.)"""
        ...


@runtime_checkable
class Stirrer(Protocol):
    """Stirs at so many rpm; 0 stops it."""

    name: str

    def set(self, rpm: float) -> Status: ...


@runtime_checkable
class Heater(Protocol):
    """Holds a temperature in degC, and stirs. The status of ``set`` is done when the plate is at temperature."""

    name: str
    stirrer: Stirrer

    def set(self, temperature_c: float) -> Status: ...

    def off(self) -> Status:
        """Heater off; done when the instrument has taken the command, not when it is cold."""
        ...

    def temperature_c(self) -> float:
        """Plate temperature now, degC; raises InstrumentError when it cannot be read."""
        ...

    def cool_below(self, temperature_c: float) -> Status:
        """Heater off; done when the plate is below `temperature_c`."""
        ...


@runtime_checkable
class Synthesiser(Protocol):
    """Doses liquids into the sample standing at it."""

    name: str
    liquids: tuple[str, ...]

    def set(self, dose: Dose) -> Status:
        """Dispense; done when every pump has stopped by itself with its volume delivered."""
        ...

    def dispensed_ml(self) -> dict[str, float]:
        """Volume of each liquid of the last dose, as the pumps counted it, mL; also after a failed one."""
        ...

    def recover(self) -> Status: ...

    def make_safe(self) -> Status:
        """Pumps stopped."""
        ...


@runtime_checkable
class Detector(Protocol):
    """An area detector: ``stage`` opens a file, ``trigger`` exposes and saves, ``unstage`` closes the file."""

    name: str

    def set_exposure(self, count_time_s: float, n_images: int) -> Status:
        """Exposure of a frame in laboratory seconds, and frames per trigger."""
        ...

    def set_file(self, path: str) -> None:
        """Where the next staged series is written: an absolute path that does not exist yet."""
        ...

    def trigger(self) -> Status: ...

    def recover(self) -> Status: ...

    def make_safe(self) -> Status:
        """Stop the exposure, disarm."""
        ...
