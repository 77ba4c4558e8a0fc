"""The simulated world: the one state on which every simulated instrument acts, and which the detectors see.

Doses, temperatures, moves and exposures of the firmwares come together here, each on the clock of the physics. The world
is advanced lazily: whoever calls first lets the time pass that has gone by since the last call. It is thread-safe.

A hotplate heats and stirs what stands at its station, a pump bank doses into what stands at its own; what a sample has been through
goes with the sample. One that is as cold as the air, away from any plate, rests: its time is counted when somebody looks.

Chance is seeded by what happens, not by when: the calibration error of a pump by its address, the jitter of a dose by pump
and sample, the counting noise by sample and number of its frame. So two runs that do the same see the same, however
the threads of the laboratory were interleaved.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from lab.core.clock import Clock
from lab.core.config import ArmPlace, DetectorConfig, Geometry, LabConfig, PhysicalWorld, PumpBank, places_of
from lab.core.errors import ConfigError
from lab.core.sample import GRIPPER
from sim.chance import chance_of
from sim.film import Film
from sim.stage import Response, Stage
from sim.thermal import AMBIENT_C, SAMPLE_AIR_LAG_S, SAMPLE_LAG_S, STEADY_C, STEP_S, Plate, relax

LOST = "lost"
"""Where a sample is that was dropped."""

GRIP_MM = 2.0
"""Largest distance between the gripper and a place at which it still grips."""

CALIBRATION_ERROR = 0.01
"""Standard deviation of a pump's constant relative error."""

DOSE_JITTER = 0.001
"""Standard deviation of the relative error that changes from one dose to the next."""

Pose = tuple[float, ...]
"""x, y, z in mm, alpha, beta, gamma in deg; only the position decides what is gripped."""


class World:
    """The shared state of one simulated laboratory.

    Parameters
    ----------
    lab : LabConfig
        Stations and their instruments, syringes, places, the detectors' geometries, and which hidden response the samples have.
    clock : Clock
        The clock of the physics.

    Raises
    ------
    ConfigError
        When two pumps have one address, or the table of a table world is wrong.
    """

    def __init__(self, lab: LabConfig, clock: Clock) -> None:
        self._lock = threading.RLock()
        self._clock = clock
        self._now_s = clock.now()
        self._seed = lab.world.seed
        self._liquids = _liquids_by_address(lab)
        self._calibration = {address: 1.0 + CALIBRATION_ERROR * float(chance_of(self._seed, "pump", address).standard_normal())
                             for address in self._liquids}
        self._jitters: dict[tuple[int, str], float] = {}
        self._places = dict(lab.places)
        self._place_of = {lab.instrument_at(name): next(iter(places_of(name, station))) for name, station in lab.stations.items()}
        self._standing = {place: Film(f"substrate:{place}", AMBIENT_C, rests_since_s=self._now_s)
                          for name in lab.stations_of("rack") for place in places_of(name, lab.stations[name])}
        self._films = {film.name: film for film in self._standing.values()}
        self._held: Film | None = None
        self._lost: list[Film] = []
        self._plates = {name: Plate() for name, instrument in lab.instruments.items() if instrument.kind == "hotplate"}
        self._spilled_ml: dict[int, float] = {}
        self._moves: list[dict[str, object]] = []
        self._lifted_from = ""
        self._stages = {name: Stage(self, self._place_of.get(name, ""), config.geometry, _response(lab, config.geometry), self._seed)
                        for name, config in lab.instruments.items() if isinstance(config, DetectorConfig)}

    # ------------------------------------------------------------------------------------------------- pumps

    def infuse(self, bank: str, address: int, volume_ml: float) -> None:
        """Let a pump deliver `volume_ml` as it counts it (an increment; negative: withdrawn).

        What is delivered goes into the sample at the bank's station; with none there it is spilled. What is withdrawn
        comes from that sample's mixture, as far as there is any; the rest is air.
        """
        with self._lock:
            self._advance()
            film = self._standing.get(self._place_of.get(bank, ""))
            if volume_ml < 0.0:
                if film is not None:
                    film.withdraw(-volume_ml * self._calibration.get(address, 1.0))
                return
            if film is None:
                self._spilled_ml[address] = self._spilled_ml.get(address, 0.0) + volume_ml * self._calibration.get(address, 1.0)
                return
            true_ml = volume_ml * self._calibration.get(address, 1.0) * self._jitter(address, film.name)
            film.settle(self._now_s)
            film.dose(address, self._liquids.get(address, f"unknown{address}"), volume_ml, true_ml)

    def _jitter(self, address: int, sample: str) -> float:
        """Factor of a pump's doses into one sample, however they are cut into increments."""
        if (address, sample) not in self._jitters:
            self._jitters[address, sample] = 1.0 + DOSE_JITTER * float(chance_of(self._seed, "dose", address, sample).standard_normal())
        return self._jitters[address, sample]

    # --------------------------------------------------------------------------------------------- hotplates

    def set_heater(self, hotplate: str, target_c: float | None) -> None:
        """Heat to `target_c` degC; None switches the heater off."""
        with self._lock:
            self._advance()
            self._plates[hotplate].target_c = target_c

    def plate_c(self, hotplate: str) -> float:
        """Temperature of the plate now, degC."""
        with self._lock:
            self._advance()
            return self._plates[hotplate].plate_c

    def probe_c(self, hotplate: str) -> float:
        """Temperature of the external probe now, degC."""
        with self._lock:
            self._advance()
            return self._plates[hotplate].probe_c

    def set_stirrer(self, hotplate: str, rpm: float) -> None:
        """Stir at `rpm`; 0 stops it."""
        with self._lock:
            self._advance()
            self._plates[hotplate].rpm = max(0.0, float(rpm))

    def stir_rpm(self, hotplate: str) -> float:
        """Speed of the stirrer now, rpm."""
        with self._lock:
            return self._plates[hotplate].rpm

    # --------------------------------------------------------------------------------------------------- arm

    def close_gripper(self, pose: Pose) -> bool:
        """Close the jaws at `pose`; a sample standing within `GRIP_MM` is then held. Returns whether one is held."""
        with self._lock:
            self._advance()
            place = self._place_at(pose)
            if self._held is None and place is not None and place in self._standing:
                self._held = self._standing.pop(place)
                self._lifted_from = place
            return self._held is not None

    def open_gripper(self, pose: Pose) -> None:
        """Open the jaws at `pose`: a held sample stands at the place there, or is lost if there is none or it is taken."""
        with self._lock:
            self._advance()
            if self._held is None:
                return
            place = self._place_at(pose)
            if place is None or place in self._standing:
                self._lost.append(self._held)
                place = LOST
            else:
                self._standing[place] = self._held
                if place in self._heating():
                    self._held.wake(self._now_s)
            self._moves.append({"sample": self._held.name, "origin": self._lifted_from, "target": place, "at_s": self._now_s})
            self._held = None

    def is_holding(self) -> bool:
        """Whether a sample is in the gripper."""
        with self._lock:
            return self._held is not None

    # --------------------------------------------------------------------------------------------- detectors

    def stage(self, detector: str) -> Stage:
        """What a detector sees."""
        return self._stages[detector]

    @contextmanager
    def looking_at(self, place: str) -> Iterator[Film | None]:
        """What stands at a place now; nothing happens to it inside the block."""
        with self._lock:
            self._advance()
            film = self._standing.get(place)
            if film is not None:
                film.settle(self._now_s)
            yield film

    # ------------------------------------------------------------------------------------------------- truth

    def account(self) -> dict[str, object]:
        """What really happened, JSON-able: doses, spills, moves, places, thermal histories.

        Samples are named ``substrate:PLACE`` after the place where they stood at first. Volumes are true ones, in mL;
        ``counted_ml`` is what the pump believed.
        """
        with self._lock:
            self._advance()
            for film in self._films.values():
                film.settle(self._now_s)
            places = {place: film.name for place, film in self._standing.items()}
            if self._held is not None:
                places[GRIPPER] = self._held.name
            return {
                "time_s": self._now_s,
                "doses": [dose for film in self._films.values() for dose in film.account()],
                "spills": [{"address": address, "liquid": self._liquids.get(address, f"unknown{address}"), "true_ml": ml}
                           for address, ml in sorted(self._spilled_ml.items())],
                "moves": list(self._moves),
                "places": places,
                "lost": [film.name for film in self._lost],
                "samples": {film.name: _summary(film) for film in self._films.values() if film.doses},
            }

    # ------------------------------------------------------------------------------------------ time and place

    def _place_at(self, pose: Pose) -> str | None:
        """Nearest place within `GRIP_MM` of the tool's position."""
        if not self._places:
            return None
        name, place = min(self._places.items(), key=lambda item: _distance_mm(item[1], pose))
        return name if _distance_mm(place, pose) <= GRIP_MM else None

    def _heating(self) -> dict[str, Plate]:
        """Plates by the place of what stands on them."""
        return {self._place_of[name]: plate for name, plate in self._plates.items() if name in self._place_of}

    def _advance(self) -> None:
        """Let the time pass that has gone by since the last call."""
        until_s = self._clock.now()
        if until_s <= self._now_s:
            return
        under = {film.name: plate for place, plate in self._heating().items() if (film := self._standing.get(place)) is not None}
        changing = [film for film in self._films.values() if film.rests_since_s is None]
        while (remaining_s := until_s - self._now_s) > 0.0:
            dt_s = remaining_s if self._is_steady(changing, under) else min(STEP_S, remaining_s)
            self._step(changing, under, dt_s)
            self._now_s = until_s if dt_s == remaining_s else self._now_s + dt_s
        for film in changing:
            if film.name not in under and _is_as(film.temperature_c, AMBIENT_C):
                film.rests_since_s = self._now_s

    def _is_steady(self, changing: list[Film], under: Mapping[str, Plate]) -> bool:
        """Nothing will change until somebody acts."""
        return (all(plate.is_steady for plate in self._plates.values())
                and all(_is_as(film.temperature_c, under[film.name].plate_c if film.name in under else AMBIENT_C) for film in changing))

    def _step(self, changing: list[Film], under: Mapping[str, Plate], dt_s: float) -> None:
        for plate in self._plates.values():
            plate.step(dt_s)
        for film in changing:
            plate_below = under.get(film.name)
            if plate_below is not None:
                film.temperature_c = relax(film.temperature_c, plate_below.plate_c, SAMPLE_LAG_S, dt_s)
                film.live(dt_s, plate_below.rpm)
            else:
                film.temperature_c = relax(film.temperature_c, AMBIENT_C, SAMPLE_AIR_LAG_S, dt_s)
                film.live(dt_s, 0.0)


def _is_as(temperature_c: float, surroundings_c: float) -> bool:
    return abs(temperature_c - surroundings_c) < STEADY_C


def _distance_mm(place: ArmPlace, pose: Pose) -> float:
    return math.dist(place.pose[:3], pose[:3])


def _liquids_by_address(lab: LabConfig) -> dict[int, str]:
    syringes = [s for i in lab.instruments.values() if isinstance(i, PumpBank) for s in i.syringes]
    found = {s.address: s.liquid for s in syringes}
    if len(found) != len(syringes):
        given = sorted(s.address for s in syringes)
        raise ConfigError("lab.yaml", "instruments.*.syringes.address", str(given), "each address once among all simulated pump banks")
    return found


def _response(lab: LabConfig, geometry: Geometry) -> Response:
    if isinstance(lab.world, PhysicalWorld):
        from sim.physical import PhysicalResponse

        return PhysicalResponse(geometry)
    from sim.table import TableResponse

    return TableResponse(lab.world, geometry.shape)


def _summary(film: Film) -> dict[str, object]:
    plateau_c, plateau_s = film.history.plateau()
    return {"volumes_ml": film.volumes_ml, "withdrawn_ml": film.withdrawn_ml, "temperature_c": film.temperature_c,
            "peak_c": film.history.peak_c if film.history else None, "anneal_c": plateau_c if film.history else None,
            "anneal_s": plateau_s, "stir_rpm": film.stir_rpm, "frames": film.n_frames}
