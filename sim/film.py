"""One sample of the simulated laboratory: what was really dosed into it, and what it has been through since."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

BIN_C = 0.5
"""Width of a temperature class of the thermal history, degC."""

PLATEAU_C = 2.0
"""Time within this many degC of the peak counts as time at temperature."""

WARM_C = 35.0
"""Below this nothing happens to a film on the scale of an experiment, so a response need not look again."""


@dataclass
class ThermalHistory:
    """Seconds spent in each temperature class of `BIN_C` since the first dose.

    Sufficient for any rate law without memory: the integral of a rate over the history is a sum over the classes.
    """

    _seconds: dict[int, float] = field(default_factory=dict)
    _degree_seconds: dict[int, float] = field(default_factory=dict)
    _untold: set[int] = field(default_factory=set)

    def add(self, temperature_c: float, duration_s: float) -> None:
        """Note `duration_s` seconds at `temperature_c`."""
        if duration_s <= 0.0:
            return
        key = int(temperature_c // BIN_C)
        self._seconds[key] = self._seconds.get(key, 0.0) + duration_s
        self._degree_seconds[key] = self._degree_seconds.get(key, 0.0) + temperature_c * duration_s
        self._untold.add(key)

    def untold(self) -> dict[int, tuple[float, float]]:
        """Seconds and degC-seconds of each class that has changed since this was asked last."""
        found = {key: (self._seconds[key], self._degree_seconds[key]) for key in sorted(self._untold)}
        self._untold.clear()
        return found

    def forget_told(self) -> None:
        """Let `untold` give every class the next time."""
        self._untold.update(self._seconds)

    def restore(self, classes: Mapping[int, tuple[float, float]]) -> None:
        """Become a history of which `untold` gave all classes."""
        self._seconds = {key: seconds for key, (seconds, _) in classes.items()}
        self._degree_seconds = {key: degree_seconds for key, (_, degree_seconds) in classes.items()}

    def __bool__(self) -> bool:
        return bool(self._seconds)

    @property
    def temperatures_c(self) -> np.ndarray:
        """Mean temperature of each class, ascending, degC: ndarray, shape (n,)."""
        return np.array([self._degree_seconds[k] / self._seconds[k] for k in sorted(self._seconds)])

    @property
    def seconds(self) -> np.ndarray:
        """Time spent in each class, in the order of `temperatures_c`, s: ndarray, shape (n,)."""
        return np.array([self._seconds[k] for k in sorted(self._seconds)])

    @property
    def peak_c(self) -> float:
        """Hottest temperature, degC; nan before the first dose."""
        return float(self.temperatures_c[-1]) if self._seconds else float("nan")

    def plateau(self) -> tuple[float, float]:
        """Mean temperature (degC) of, and time (s) spent, within `PLATEAU_C` of the peak; (nan, 0) before the first dose."""
        if not self._seconds:
            return float("nan"), 0.0
        temperatures_c, seconds = self.temperatures_c, self.seconds
        is_hot = temperatures_c >= temperatures_c[-1] - PLATEAU_C
        total_s = float(seconds[is_hot].sum())
        return float((temperatures_c[is_hot] * seconds[is_hot]).sum() / total_s), total_s

    def integral(self, rate_per_s: Callable[[np.ndarray], np.ndarray]) -> float:
        """Integral over time of a rate that depends on the temperature.

        Parameters
        ----------
        rate_per_s : callable
            Takes temperatures in degC, shape (n,); returns rates in 1/s, shape (n,).
        """
        if not self._seconds:
            return 0.0
        return float((rate_per_s(self.temperatures_c) * self.seconds).sum())


@dataclass
class DoseAccount:
    """What one pump gave to one sample: as the pump counted it, and as it really was, mL."""

    liquid: str
    counted_ml: float = 0.0
    true_ml: float = 0.0


@dataclass
class Film:
    """A substrate and what stands on it.

    Parameters
    ----------
    name : str
        The world's own name of the sample: ``substrate:PLACE``, PLACE where it stood at first.
    """

    name: str
    temperature_c: float
    doses: dict[int, DoseAccount] = field(default_factory=dict)
    history: ThermalHistory = field(default_factory=ThermalHistory)
    stirred_s: dict[float, float] = field(default_factory=dict)
    """Seconds at each stirring speed (rpm), since the first dose."""
    withdrawn_ml: float = 0.0
    n_frames: int = 0
    """Frames taken of it so far."""
    revision: int = 0
    """Changes whenever a response may have changed."""
    rests_since_s: float | None = None
    """World time up to which its history goes, while it is as cold as the air around it and so stays as it is; None while it changes."""

    def dose(self, address: int, liquid: str, counted_ml: float, true_ml: float) -> None:
        """Add some of a liquid."""
        account = self.doses.setdefault(address, DoseAccount(liquid))
        account.counted_ml += counted_ml
        account.true_ml += true_ml
        self.revision += 1

    def withdraw(self, volume_ml: float) -> float:
        """Suck up to `volume_ml` of the mixture; returns how much of it there was."""
        total_ml = sum(self.volumes_ml.values())
        taken_ml = min(volume_ml, total_ml)
        if taken_ml > 0.0:
            for account in self.doses.values():
                account.true_ml *= 1.0 - taken_ml / total_ml
            self.withdrawn_ml += taken_ml
            self.revision += 1
        return taken_ml

    def live(self, duration_s: float, rpm: float) -> None:
        """Spend `duration_s` at the present temperature, stirred at `rpm`."""
        if not self.doses:
            return
        self.history.add(self.temperature_c, duration_s)
        if rpm > 0.0:
            self.stirred_s[rpm] = self.stirred_s.get(rpm, 0.0) + duration_s
        if self.temperature_c > WARM_C or rpm > 0.0:
            self.revision += 1

    def settle(self, now_s: float) -> None:
        """Bring the history of a resting film up to `now_s`: it costs nothing while nobody looks."""
        if self.rests_since_s is not None:
            self.live(now_s - self.rests_since_s, 0.0)
            self.rests_since_s = now_s

    def wake(self, now_s: float) -> None:
        """From now on its temperature may change."""
        self.settle(now_s)
        self.rests_since_s = None

    @property
    def volumes_ml(self) -> dict[str, float]:
        """True volume of each liquid on the substrate, mL."""
        found: dict[str, float] = {}
        for account in self.doses.values():
            found[account.liquid] = found.get(account.liquid, 0.0) + account.true_ml
        return found

    @property
    def stir_rpm(self) -> float:
        """The speed at which it was stirred longest, rpm; 0 when never."""
        return max(self.stirred_s, key=lambda rpm: self.stirred_s[rpm], default=0.0)

    def account(self) -> Iterator[dict[str, object]]:
        """Its doses, JSON-able, one for each pump."""
        for address, dose in sorted(self.doses.items()):
            yield {"sample": self.name, "address": address, "liquid": dose.liquid,
                   "counted_ml": dose.counted_ml, "true_ml": dose.true_ml}
