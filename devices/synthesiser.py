"""The synthesiser: pumps that dose into one sample, all at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from bluesky.utils import NoReplayAllowed

from devices.pump import DOSE_MARGIN_S, Pump, PumpBank
from devices.statuses import OperationStatus, all_of
from lab.core.capabilities import Dose, Health
from lab.core.errors import CommandError, InstrumentError, LabError, LimitError


class Synthesiser:
    """Doses liquids into the sample standing at it (lab.core.capabilities.Synthesiser).

    A Bluesky Movable (set to a `Dose`), Readable and Stoppable.

    Parameters
    ----------
    name : str
    pumps : PumpBank
    """

    parent = None

    def __init__(self, *, name: str, pumps: PumpBank) -> None:
        self.name = name
        self.pumps = pumps
        self.liquids: tuple[str, ...] = pumps.liquids
        self._lock = threading.Lock()
        self._keys: set[str] = set()
        self._dispensed_ml: dict[str, float] = {}
        self._going_on: OperationStatus | None = None

    def set(self, dose: Dose) -> OperationStatus:
        """Dispense all liquids at the same time.

        When a pump fails, the others are stopped, and the status fails with the first pump's words after all have ended.
        A key is taken once: the same dose again is refused.
        """
        volumes = {liquid: float(volume) for liquid, volume in dose.volumes_ml.items() if volume != 0}
        what = f"{self.name}: dose {dose.key}"
        try:
            self._admit(dose, volumes)
        except InstrumentError as error:
            return _failed(self, what, error)
        statuses = {liquid: self.pumps[liquid].set(volume) for liquid, volume in volumes.items()}
        longest_s = max((s.timeout or 0.0 for s in statuses.values()), default=0.0) + DOSE_MARGIN_S
        for liquid, status in statuses.items():
            status.add_callback(lambda done, pump=self.pumps[liquid]: self._count(pump, done))
        doses = all_of(self, what, statuses.values(), longest_s, on_failure=lambda: self._stop_pumps(volumes))
        self._going_on = doses
        return doses

    def dispensed_ml(self) -> dict[str, float]:
        """What each pump of the last dose says it delivered, mL, as asked when it ended.

        A liquid whose pump could not be asked, or has forgotten, is left out: nobody knows.
        """
        with self._lock:
            return dict(self._dispensed_ml)

    def health(self) -> Health:
        """That of the pumps."""
        return self.pumps.health()

    def recover(self) -> OperationStatus:
        """Clear the errors of the pumps."""
        return self.pumps.recover()

    def make_safe(self) -> OperationStatus:
        """Pumps stopped."""
        return self.pumps.make_safe()

    def stop(self, *, success: bool = False) -> None:
        """Stop the pumps; returns when they have stopped. Raises when one could not be reached."""
        self.make_safe().wait()

    def pause(self) -> None:
        """A dose is never replayed."""
        raise NoReplayAllowed(f"{self.name}: a dose cannot be repeated")

    def resume(self) -> None:
        """Nothing to do: a plan looks at what was dispensed before it goes on."""

    # ------------------------------------------------------------------------------------------------- Readable

    def read(self) -> dict[str, Any]:
        """Volumes of the last dose (not a number where a pump could not tell)."""
        now, dispensed = time.time(), self.dispensed_ml()
        return {f"{self.name}_{liquid}_ml": {"value": dispensed.get(liquid, float("nan")), "timestamp": now} for liquid in self.liquids}

    def describe(self) -> dict[str, Any]:
        return {f"{self.name}_{liquid}_ml": {"source": f"PV:{self.pumps[liquid].dispensed.pvname}", "dtype": "number", "shape": [],
                                             "units": "mL", "precision": 3} for liquid in self.liquids}

    def read_configuration(self) -> dict[str, Any]:
        return self.pumps.read_configuration()

    def describe_configuration(self) -> dict[str, Any]:
        return self.pumps.describe_configuration()

    @property
    def hints(self) -> Mapping[str, Any]:
        return {"fields": [f"{self.name}_{liquid}_ml" for liquid in self.liquids]}

    # --------------------------------------------------------------------------------------------------- dosing

    def _admit(self, dose: Dose, volumes: Mapping[str, float]) -> None:
        """Check everything before the first pump moves."""
        for liquid, volume in volumes.items():
            pump = self.pumps[liquid]
            pump.dispense.check_value(volume)
            if volume > pump.syringe.volume_ml:
                raise LimitError(f"{pump.name}: {volume:g} mL is outside 0..{pump.syringe.volume_ml:g} mL, what its syringe holds")
        with self._lock:
            if self._going_on is not None and not self._going_on.done:
                raise CommandError(f"{self.name}: dose {dose.key} refused: another one is going on")
            if dose.key in self._keys:
                raise CommandError(f"{self.name}: dose {dose.key} refused: it has been given already; a dose is never repeated")
            self._keys.add(dose.key)
            self._dispensed_ml = {liquid: 0.0 for liquid in self.liquids if liquid not in volumes}

    def _count(self, pump: Pump, status: Any) -> None:
        """A pump has ended, well or not: ask it what it delivered."""
        error = status.exception(0)
        if isinstance(error, LimitError):
            delivered = 0.0
        else:
            try:
                delivered = float(pump.dispensed.get(use_monitor=False))
            except InstrumentError:
                return
        with self._lock:
            self._dispensed_ml[pump.liquid] = delivered

    def _stop_pumps(self, volumes: Mapping[str, float]) -> None:
        for liquid in volumes:
            self.pumps[liquid].halt.set(1)


def _failed(obj: Any, what: str, error: LabError) -> OperationStatus:
    status = OperationStatus(obj, what, 1.0)
    status.fail(error)
    return status
