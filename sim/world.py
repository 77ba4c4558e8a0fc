"""The simulated world: the one state on which every simulated instrument acts, and which the detector sees.

Doses, temperatures, moves and exposures of the firmwares come together here, each on the clock of the physics. The world
is advanced lazily: whoever calls first lets the time pass that has gone by since the last call. It is thread-safe.

Chance is seeded by what happens, not by when: the calibration error of a pump by its address, the jitter of a dose by pump
and sample, the counting noise by sample and number of its frame. So two runs that do the same see the same, however
the threads of the laboratory were interleaved.
"""

from __future__ import annotations

import math
import threading
import zlib
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from lab.core.clock import Clock
from lab.core.config import ArmPlace, DetectorConfig, Geometry, LabConfig, PhysicalWorld, PumpBank, places_of
from lab.core.errors import ConfigError
from lab.core.sample import GRIPPER
from sim.counting import CountingNoise
from sim.film import Film
from sim.thermal import AMBIENT_C, SAMPLE_AIR_LAG_S, SAMPLE_LAG_S, STEADY_C, STEP_S, Plate, relax

LOST = "lost"
"""Where a sample is that was dropped."""

GRIP_MM = 2.0
"""Largest distance between the gripper and a place at which it still grips."""

CALIBRATION_ERROR = 0.01
"""Standard deviation of a pump's constant relative error."""

WORTH_A_TABLE = 16
"""From so many frames on, a table of the counting noise is faster."""

DOSE_JITTER = 0.001
"""Standard deviation of the relative error that changes from one dose to the next."""

Pose = tuple[float, ...]
"""x, y, z in mm, alpha, beta, gamma in deg; only the position decides what is gripped."""


class Response(Protocol):
    """What the detector would count, given what was done to a film."""

    def rate(self, film: Film | None) -> np.ndarray:
        """Mean counts per pixel and second: ndarray, float64, the geometry's shape. `film` None: an empty stage."""
        ...


class World:
    """The shared state of one simulated laboratory.

    Parameters
    ----------
    lab : LabConfig
        Syringes, places, the detector's geometry, and which hidden response the samples have.
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
        self._calibration = {address: 1.0 + CALIBRATION_ERROR * float(_chance(self._seed, "pump", address).standard_normal())
                             for address in self._liquids}
        self._jitters: dict[tuple[int, str], float] = {}
        self._places = dict(lab.places)
        self._synthesiser = _first_place(lab, "synthesiser")
        self._stage = _first_place(lab, "detector")
        self._standing = {place: Film(f"substrate:{place}", AMBIENT_C)
                          for name, station in lab.stations.items() if station.role == "rack"
                          for place in places_of(name, station)}
        self._films = tuple(self._standing.values())
        self._held: Film | None = None
        self._lost: list[Film] = []
        self._plate = Plate()
        self._rpm = 0.0
        self._spilled_ml: dict[int, float] = {}
        self._moves: list[dict[str, object]] = []
        self._lifted_from = ""
        self.geometry = _geometry(lab)
        self._response = _response(lab, self.geometry)
        self._nobody = Film("", AMBIENT_C)
        self._seen: tuple[str, int] | None = None
        self._seen_rate = self._response.rate(None)

    # ------------------------------------------------------------------------------------------- synthesiser

    def infuse(self, address: int, volume_ml: float) -> None:
        """Let a pump deliver `volume_ml` as it counts it (an increment; negative: withdrawn).

        What is delivered goes into the sample at the synthesiser; with none there it is spilled. What is withdrawn
        comes from that sample's mixture, as far as there is any; the rest is air.
        """
        with self._lock:
            self._advance()
            film = self._standing.get(self._synthesiser)
            if volume_ml < 0.0:
                if film is not None:
                    film.withdraw(-volume_ml * self._calibration.get(address, 1.0))
                return
            if film is None:
                self._spilled_ml[address] = self._spilled_ml.get(address, 0.0) + volume_ml * self._calibration.get(address, 1.0)
                return
            true_ml = volume_ml * self._calibration.get(address, 1.0) * self._jitter(address, film.name)
            film.dose(address, self._liquids.get(address, f"unknown{address}"), volume_ml, true_ml)

    def _jitter(self, address: int, sample: str) -> float:
        """Factor of a pump's doses into one sample, however they are cut into increments."""
        if (address, sample) not in self._jitters:
            self._jitters[address, sample] = 1.0 + DOSE_JITTER * float(_chance(self._seed, "dose", address, sample).standard_normal())
        return self._jitters[address, sample]

    def set_heater(self, target_c: float | None) -> None:
        """Heat to `target_c` degC; None switches the heater off."""
        with self._lock:
            self._advance()
            self._plate.target_c = target_c

    def plate_c(self) -> float:
        """Temperature of the plate now, degC."""
        with self._lock:
            self._advance()
            return self._plate.plate_c

    def probe_c(self) -> float:
        """Temperature of the external probe now, degC."""
        with self._lock:
            self._advance()
            return self._plate.probe_c

    def set_stirrer(self, rpm: float) -> None:
        """Stir at `rpm`; 0 stops it."""
        with self._lock:
            self._advance()
            self._rpm = max(0.0, float(rpm))

    def stir_rpm(self) -> float:
        """Speed of the stirrer now, rpm."""
        with self._lock:
            return self._rpm

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
            self._moves.append({"sample": self._held.name, "origin": self._lifted_from, "target": place, "at_s": self._now_s})
            self._held = None

    def is_holding(self) -> bool:
        """Whether a sample is in the gripper."""
        with self._lock:
            return self._held is not None

    # ---------------------------------------------------------------------------------------------- detector

    def expose(self, count_time_s: float, n: int) -> Iterator[np.ndarray]:
        """Take `n` frames of what stands at the detector when each of them begins, as it was when the first began.

        Parameters
        ----------
        count_time_s : float
            Exposure of one frame in laboratory seconds. The caller keeps the time: a frame is made at once.
        n : int

        Yields
        ------
        ndarray, the geometry's shape, uint16 or uint32 as `bit_depth` says
            Poisson counts; a pixel that would not fit holds the largest number, as in an overflow.
        """
        bits = self.bit_depth(count_time_s)
        dtype = np.uint16 if bits == 16 else np.uint32
        seen: Film | None = self._nobody
        mean, noise = np.empty(0), None
        for left in range(n, 0, -1):
            with self._lock:
                self._advance()
                film = self._standing.get(self._stage)
                chance = self._frame_chance(film)
                if film is not seen:
                    seen, mean = film, self._rate(film) * count_time_s
                    noise = CountingNoise(mean) if left >= WORTH_A_TABLE else None
            counts = chance.poisson(mean) if noise is None else noise.draw(chance)
            yield np.minimum(counts, np.int64(2**bits - 1)).astype(dtype)

    def _frame_chance(self, film: Film | None) -> np.random.Generator:
        """The chance of the next frame of a film, or of the empty stage."""
        target = self._nobody if film is None else film
        target.n_frames += 1
        return _chance(self._seed, "frame", target.name, target.n_frames)

    @staticmethod
    def bit_depth(count_time_s: float) -> int:
        """Bits of a pixel for this exposure: 16 up to 20 s, then 32."""
        return 16 if count_time_s <= 20.0 else 32

    def _rate(self, film: Film | None) -> np.ndarray:
        """Count rate of what stands at the detector, computed anew only when it has changed."""
        key = ("", 0) if film is None else (film.name, film.revision)
        if key != self._seen:
            self._seen_rate = self._response.rate(film)
            self._seen = key
        return self._seen_rate

    # ------------------------------------------------------------------------------------------------- truth

    def account(self) -> dict[str, object]:
        """What really happened, JSON-able: doses, spills, moves, places, thermal histories.

        Samples are named ``substrate:PLACE`` after the place where they stood at first. Volumes are true ones, in mL;
        ``counted_ml`` is what the pump believed.
        """
        with self._lock:
            self._advance()
            places = {place: film.name for place, film in self._standing.items()}
            if self._held is not None:
                places[GRIPPER] = self._held.name
            return {
                "time_s": self._now_s,
                "doses": [dose for film in self._films for dose in film.account()],
                "spills": [{"address": address, "liquid": self._liquids.get(address, f"unknown{address}"), "true_ml": ml}
                           for address, ml in sorted(self._spilled_ml.items())],
                "moves": list(self._moves),
                "places": places,
                "lost": [film.name for film in self._lost],
                "samples": {film.name: _summary(film) for film in self._films if film.doses},
            }

    # ------------------------------------------------------------------------------------------ time and place

    def _place_at(self, pose: Pose) -> str | None:
        """Nearest place within `GRIP_MM` of the tool's position."""
        if not self._places:
            return None
        name, place = min(self._places.items(), key=lambda item: _distance_mm(item[1], pose))
        return name if _distance_mm(place, pose) <= GRIP_MM else None

    def _advance(self) -> None:
        """Let the time pass that has gone by since the last call."""
        remaining_s = self._clock.now() - self._now_s
        while remaining_s > 0.0:
            dt_s = remaining_s if self._is_steady() else min(STEP_S, remaining_s)
            self._step(dt_s)
            remaining_s -= dt_s
            self._now_s += dt_s

    def _is_steady(self) -> bool:
        return self._plate.is_steady and all(abs(film.temperature_c - self._surroundings_c(film)) < STEADY_C
                                             for film in self._films)

    def _surroundings_c(self, film: Film) -> float:
        return self._plate.plate_c if film is self._standing.get(self._synthesiser) else AMBIENT_C

    def _step(self, dt_s: float) -> None:
        self._plate.step(dt_s)
        on_plate = self._standing.get(self._synthesiser)
        for film in self._films:
            if film is on_plate:
                film.temperature_c = relax(film.temperature_c, self._plate.plate_c, SAMPLE_LAG_S, dt_s)
                film.live(dt_s, self._rpm)
            elif film.temperature_c - AMBIENT_C >= STEADY_C:
                film.temperature_c = relax(film.temperature_c, AMBIENT_C, SAMPLE_AIR_LAG_S, dt_s)
                film.live(dt_s, 0.0)


def _chance(seed: int, *what: object) -> np.random.Generator:
    """The chance that belongs to one event of one world."""
    return np.random.default_rng([seed, *(zlib.crc32(str(part).encode()) for part in what)])


def _distance_mm(place: ArmPlace, pose: Pose) -> float:
    return math.dist(place.pose[:3], pose[:3])


def _first_place(lab: LabConfig, role: str) -> str:
    """The first place of the first station of a role; empty when the laboratory has none."""
    for name, station in lab.stations.items():
        if station.role == role:
            return next(iter(places_of(name, station)))
    return ""


def _geometry(lab: LabConfig) -> Geometry:
    return next((i.geometry for i in lab.instruments.values() if isinstance(i, DetectorConfig)), Geometry())


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
