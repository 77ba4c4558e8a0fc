"""Instruments of a rehearsal: they refuse what the real ones refuse, and all they do is take time.

They implement `lab.core.capabilities` and what Bluesky asks of a device; nothing moves, and nothing is read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from lab.core.capabilities import ArmMove, Dose, Health, Park, Pick
from lab.core.channels import Channel, by_name
from lab.core.clock import Clock
from lab.core.config import ArmPlace, LabConfig, PumpBank, Syringe
from lab.core.errors import CommandError, LabError, LimitError
from plans.cooling import AIR_C
from plans.statuses import Elapsed, Happening

Refused = Callable[[str, Channel, float], None]
"""Told of each value beyond a limit: instrument, its row, the value."""


class Failed(Happening):
    """Done, and failed."""

    def __init__(self, error: LabError) -> None:
        super().__init__()
        self._error = error
        self.happen()

    @property
    def success(self) -> bool:
        return False

    def exception(self, timeout: float | None = 0.0) -> BaseException | None:
        return self._error


class Work:
    """What the instruments of a station still have to take for the step that is under way there, laboratory seconds."""

    def __init__(self) -> None:
        self._left_s = 0.0

    def begin(self, takes_s: float) -> None:
        """A step begins."""
        self._left_s = takes_s

    def take(self) -> float:
        """All of it: the first thing that the instrument is told takes the time, the others none."""
        left_s, self._left_s = self._left_s, 0.0
        return left_s


class DryInstrument:
    """What all of them have.

    Parameters
    ----------
    name : str
    rows : sequence of Channel
        Its table with the laboratory's limits.
    clock : Clock
    refused : callable
    """

    parent = None

    def __init__(self, name: str, rows: tuple[Channel, ...], clock: Clock, refused: Refused) -> None:
        self.name, self._clock, self._refused = name, clock, refused
        self._rows = by_name(rows)
        self.work = Work()

    def health(self) -> Health:
        return Health(True, "rehearsal", "ready", "", 0.0)

    def recover(self) -> Happening:
        return self._after(0.0)

    def make_safe(self) -> Happening:
        return self._after(0.0)

    def read(self) -> dict[str, Any]:
        return {}

    def describe(self) -> dict[str, Any]:
        return {}

    def read_configuration(self) -> dict[str, Any]:
        return {}

    def describe_configuration(self) -> dict[str, Any]:
        return {}

    def _check(self, channel: str, value: float, instrument: str = "") -> None:
        row = self._rows[channel]
        try:
            row.check(value, instrument if instrument else self.name)
        except LimitError:
            self._refused(instrument if instrument else self.name, row, value)
            raise

    def _after(self, lab_s: float) -> Happening:
        if lab_s > 0.0:
            return Elapsed(self._clock, lab_s)
        done = Happening()
        done.happen()
        return done


class DryArm(DryInstrument):
    """Carries one sample.

    Parameters
    ----------
    places : mapping of place to pose
    transfer_s : callable
        How long the next transfer takes; each half of it, half of that.
    """

    def __init__(self, name: str, rows: tuple[Channel, ...], clock: Clock, refused: Refused, places: Mapping[str, ArmPlace],
                 transfer_s: Callable[[], float]) -> None:
        super().__init__(name, rows, clock, refused)
        self._places, self._transfer_s = places, transfer_s
        self._is_holding, self._whole_s = False, 0.0

    def set(self, move: ArmMove) -> Happening:
        if isinstance(move, Park):
            return self._after(self._transfer_s() / 2)
        is_pick = isinstance(move, Pick)
        try:
            self._check_place(move.place)
        except LimitError as error:
            return Failed(error)
        if is_pick == self._is_holding:
            return Failed(CommandError(f"{self.name}: the gripper {'holds a sample already' if is_pick else 'holds nothing'}"))
        if is_pick:
            self._whole_s = self._transfer_s()
        self._is_holding = is_pick
        return self._after(self._whole_s / 2)

    def is_holding(self) -> bool:
        return self._is_holding

    def _check_place(self, name: str) -> None:
        if name not in self._places:
            raise LimitError(f"{self.name}: given place {name!r}; allowed: {', '.join(self._places)}")
        place = self._places[name]
        x, y, z, *angles = place.pose
        for channel, pose in (("MOVE_LIN", place.pose), ("MOVE_POSE", (x, y, z + place.approach_mm, *angles))):
            for value in pose:
                row = self._rows[channel]
                if not (row.low is None or row.low <= value) or not (row.high is None or value <= row.high):
                    self._refused(self.name, row, value)
            self._rows[channel].check(pose, self.name)


class DryPumps(DryInstrument):
    """A synthesiser: the pumps of one bank.

    Parameters
    ----------
    syringes : sequence of Syringe
    """

    def __init__(self, name: str, rows: tuple[Channel, ...], clock: Clock, refused: Refused, syringes: tuple[Syringe, ...], bank: str) -> None:
        super().__init__(name, rows, clock, refused)
        self._syringes, self._bank = {syringe.liquid: syringe for syringe in syringes}, bank
        self.liquids = tuple(self._syringes)
        self._dispensed_ml: dict[str, float] = {}

    def set(self, dose: Dose) -> Happening:
        try:
            for liquid, volume_ml in dose.volumes_ml.items():
                self._check_dose(liquid, float(volume_ml))
        except LimitError as error:
            return Failed(error)
        self._dispensed_ml = {liquid: 0.0 for liquid in self.liquids} | {liquid: float(ml) for liquid, ml in dose.volumes_ml.items()}
        return self._after(self.work.take())

    def dispensed_ml(self) -> dict[str, float]:
        return dict(self._dispensed_ml)

    def _check_dose(self, liquid: str, volume_ml: float) -> None:
        pump = f"{self._bank}_{liquid}"
        self._check("DISPENSE", volume_ml, pump)
        holds_ml = self._syringes[liquid].volume_ml
        if volume_ml > holds_ml:
            row = Channel("syringe", "float", "what the syringe holds", is_writable=True, unit="mL", low=0.0, high=holds_ml)
            self._refused(pump, row, volume_ml)
            raise LimitError(f"{pump}: {volume_ml:g} mL is outside 0..{holds_ml:g} mL, what its syringe holds")


class DryStirrer(DryInstrument):
    """Of a plate."""

    def set(self, rpm: float) -> Happening:
        try:
            self._check("STIR_RPM", float(rpm))
        except LimitError as error:
            return Failed(error)
        return self._after(0.0)


class DryPlate(DryInstrument):
    """A hotplate that cools by Newton's law.

    Parameters
    ----------
    cooling_s : float
        Its time constant.
    """

    def __init__(self, name: str, rows: tuple[Channel, ...], clock: Clock, refused: Refused, cooling_s: float) -> None:
        super().__init__(name, rows, clock, refused)
        self.stirrer = DryStirrer(name, rows, clock, refused)
        self._cooling_s = cooling_s
        self._since, self._from_c, self._is_heating = clock.now(), AIR_C, False
        self.cooled: list[tuple[float, float]] = []
        """When it was switched off, and how hot it was."""

    def set(self, temperature_c: float) -> Happening:
        try:
            self._check("TEMPERATURE", float(temperature_c))
        except LimitError as error:
            return Failed(error)
        self._since, self._from_c, self._is_heating = self._clock.now(), float(temperature_c), True
        return self._after(self.work.take())

    def off(self) -> Happening:
        if self._is_heating:
            self._since, self._is_heating = self._clock.now(), False
            self.cooled.append((self._since, self._from_c))
        return self._after(0.0)

    def make_safe(self) -> Happening:
        return self.off()

    def temperature_c(self) -> float:
        if self._is_heating:
            return self._from_c
        return AIR_C + (self._from_c - AIR_C) * math.exp(-(self._clock.now() - self._since) / self._cooling_s)

    def cool_below(self, temperature_c: float) -> Happening:
        self.off()
        return self._after(self.fall_s(self.temperature_c(), temperature_c) + 1.0)

    def fall_s(self, from_c: float, below_c: float) -> float:
        """How long it takes from one temperature to another, laboratory seconds."""
        return self._cooling_s * math.log((from_c - AIR_C) / (below_c - AIR_C)) if from_c > below_c else 0.0


class DryDetector(DryInstrument):
    """Exposes, and saves nothing."""

    def set_exposure(self, count_time_s: float, n_images: int) -> Happening:
        try:
            self._check("COUNT_TIME", count_time_s)
            self._check("N_IMAGES", n_images)
        except LimitError as error:
            return Failed(error)
        return self._after(0.0)

    def set_file(self, path: str) -> None:
        self._rows["FILE"].check(path, self.name)

    def stage(self) -> list[Any]:
        return [self]

    def unstage(self) -> list[Any]:
        return [self]

    def trigger(self) -> Happening:
        return self._after(self.work.take())


def dry_instruments(lab: LabConfig, clock: Clock, refused: Refused, transfer_s: Callable[[], float],
                    cooling_s: Callable[[], float]) -> dict[str, DryInstrument]:
    """The arm under its own name, and the instrument of each station under the station's."""
    found: dict[str, DryInstrument] = {}
    for name, config in lab.instruments.items():
        if config.kind == "arm":
            found[name] = DryArm(name, lab.channels(name), clock, refused, lab.places, transfer_s)
    for station, one in lab.stations.items():
        name = lab.instrument_at(station)
        if not name:
            continue
        config, rows = lab.instruments[name], lab.channels(name)
        if isinstance(config, PumpBank):
            found[station] = DryPumps(station, rows, clock, refused, config.syringes, name)
        elif one.role == "annealer":
            found[station] = DryPlate(name, rows, clock, refused, cooling_s())
        else:
            found[station] = DryDetector(name, rows, clock, refused)
    return found
