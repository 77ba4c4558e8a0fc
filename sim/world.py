"""The simulated world: the one state on which every simulated instrument acts, and which the detectors see.

Doses, temperatures, moves and exposures of the firmwares come together here, each on the clock of the physics. The world
is advanced lazily: whoever calls first lets the time pass that has gone by since the last call. It is thread-safe. With a file, whatever is
done to it is kept before anybody is told, so that the next simulator goes on with it (`sim.keeping`).

A hotplate heats and stirs what stands at its station, a pump bank doses into what stands at its own; what a sample has been through
goes with the sample. One that is as cold as the air, away from any plate, rests: its time is counted when somebody looks.

Chance is seeded by what happens, not by when: the calibration error of a pump by its address, the jitter of a dose by pump
and sample, the counting noise by sample and number of its frame. So two runs that do the same see the same, however
the threads of the laboratory were interleaved.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lab.core.clock import Clock, WallClock
from lab.core.config import ArmPlace, DetectorConfig, Geometry, LabConfig, PhysicalWorld, PumpBank, places_of
from lab.core.errors import ConfigError
from sim.chance import chance_of
from sim.contents import Contents
from sim.film import Film
from sim.keeping import Keeping
from sim.stage import Response, Stage
from sim.thermal import AMBIENT_C, Plate
from sim.world_file import WorldFile

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
        The clock of the physics. Where the world is restored, its time goes on from where it was.
    file : WorldFile or None
        Where it is kept, and restored from; None: it ends with this object.

    Raises
    ------
    ConfigError
        When two pumps have one address, the table of a table world is wrong, or the file is none of this laboratory's worlds.
    ServiceError
        When the file cannot be written; then also from whatever is done to the world.
    """

    def __init__(self, lab: LabConfig, clock: Clock, file: WorldFile | None = None) -> None:
        self._lock = threading.RLock()
        self._clock = clock
        self._seed = lab.world.seed
        self._liquids = _liquids_by_address(lab)
        self._calibration = {address: 1.0 + CALIBRATION_ERROR * float(chance_of(self._seed, "pump", address).standard_normal())
                             for address in self._liquids}
        self._jitters: dict[tuple[int, str], float] = {}
        self._places = dict(lab.places)
        self._place_of = {lab.instrument_at(name): next(iter(places_of(name, station))) for name, station in lab.stations.items()}
        plates = {name: Plate() for name, instrument in lab.instruments.items() if instrument.kind == "hotplate"}
        heating = {self._place_of[name]: plate for name, plate in plates.items() if name in self._place_of}
        substrates = {place: Film(f"substrate:{place}", AMBIENT_C, rests_since_s=clock.now())
                      for name in lab.stations_of("rack") for place in places_of(name, lab.stations[name])}
        self._is = Contents(clock.now(), {film.name: film for film in substrates.values()}, substrates, plates, heating)
        self._keeping = Keeping(self._is, file, self._places, WallClock()) if file is not None else None
        self._ahead_s = self._is.time_s - clock.now()
        self._stages = {name: Stage(self, self._place_of.get(name, ""), config.geometry, _response(lab, config.geometry), self._seed)
                        for name, config in lab.instruments.items() if isinstance(config, DetectorConfig)}

    # ------------------------------------------------------------------------------------------------- pumps

    def infuse(self, bank: str, address: int, volume_ml: float) -> None:
        """Let a pump deliver `volume_ml` as it counts it (an increment; negative: withdrawn).

        What is delivered goes into the sample at the bank's station; with none there it is spilled. What is withdrawn
        comes from that sample's mixture, as far as there is any; the rest is air.
        """
        with self._now(is_deed=True):
            film = self._is.at(self._place_of.get(bank, ""))
            true_ml = volume_ml * self._calibration.get(address, 1.0)
            if film is None:
                if volume_ml > 0.0:
                    self._is.spilled_ml[address] = self._is.spilled_ml.get(address, 0.0) + true_ml
            elif volume_ml < 0.0:
                film.withdraw(-true_ml)
            else:
                film.dose(address, self._liquids.get(address, f"unknown{address}"), volume_ml, true_ml * self._jitter(address, film.name))

    def _jitter(self, address: int, sample: str) -> float:
        """Factor of a pump's doses into one sample, however they are cut into increments."""
        if (address, sample) not in self._jitters:
            self._jitters[address, sample] = 1.0 + DOSE_JITTER * float(chance_of(self._seed, "dose", address, sample).standard_normal())
        return self._jitters[address, sample]

    # --------------------------------------------------------------------------------------------- hotplates

    def set_heater(self, hotplate: str, target_c: float | None) -> None:
        """Heat to `target_c` degC; None switches the heater off."""
        with self._now():
            self._is.plates[hotplate].target_c = target_c

    def plate_c(self, hotplate: str) -> float:
        """Temperature of the plate now, degC."""
        with self._now():
            return self._is.plates[hotplate].plate_c

    def probe_c(self, hotplate: str) -> float:
        """Temperature of the external probe now, degC."""
        with self._now():
            return self._is.plates[hotplate].probe_c

    def set_stirrer(self, hotplate: str, rpm: float) -> None:
        """Stir at `rpm`; 0 stops it."""
        with self._now():
            self._is.plates[hotplate].rpm = max(0.0, float(rpm))

    def stir_rpm(self, hotplate: str) -> float:
        """Speed of the stirrer now, rpm."""
        with self._lock:
            return self._is.plates[hotplate].rpm

    # --------------------------------------------------------------------------------------------------- arm

    def close_gripper(self, pose: Pose) -> bool:
        """Close the jaws at `pose`; a sample standing within `GRIP_MM` is then held. Returns whether one is held."""
        with self._now(is_deed=True):
            place = self._place_at(pose)
            if self._is.held is None and place is not None and place in self._is.standing:
                self._is.pick(place)
            return self._is.held is not None

    def open_gripper(self, pose: Pose) -> None:
        """Open the jaws at `pose`: a held sample stands at the place there, or is lost if there is none or it is taken."""
        with self._now(is_deed=True):
            self._is.put(self._place_at(pose))

    def is_holding(self) -> bool:
        """Whether a sample is in the gripper."""
        with self._lock:
            return self._is.held is not None

    def close(self) -> None:
        """Keep what there is, and leave the file to others. Nothing may be done to the world afterwards."""
        with self._now():
            if self._keeping is not None:
                self._keeping.close()
                self._keeping = None

    # --------------------------------------------------------------------------------------------- detectors

    def stage(self, detector: str) -> Stage:
        """What a detector sees."""
        return self._stages[detector]

    @contextmanager
    def looking_at(self, place: str) -> Iterator[Film | None]:
        """What stands at a place now; nothing happens to it inside the block."""
        with self._now(is_deed=place in self._is.standing):  # looking counts: each frame of a sample has its own noise
            yield self._is.at(place)

    # ------------------------------------------------------------------------------------------------- truth

    def account(self) -> dict[str, object]:
        """What really happened, JSON-able: doses, spills, moves, places, thermal histories.

        Samples are named ``substrate:PLACE`` after the place where they stood at first. Volumes are true ones, in mL;
        ``counted_ml`` is what the pump believed.
        """
        with self._now():
            return self._is.account(self._liquids)

    # ------------------------------------------------------------------------------------------ time and place

    @contextmanager
    def _now(self, *, is_deed: bool = False) -> Iterator[None]:
        """Bring the world up to the present, and let nobody else touch it inside the block; what is done there is kept at its end."""
        with self._lock:
            self._is.advance(self._clock.now() + self._ahead_s)
            yield
            if self._keeping is not None:
                self._keeping.keep() if is_deed else self._keeping.keep_passing()

    def _place_at(self, pose: Pose) -> str | None:
        """Nearest place within `GRIP_MM` of the tool's position."""
        if not self._places:
            return None
        name, place = min(self._places.items(), key=lambda item: _distance_mm(item[1], pose))
        return name if _distance_mm(place, pose) <= GRIP_MM else None


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
