"""What the simulated world consists of, and what time does to it: samples, where they are, and plates.

All of it is physical and outlives the simulator (`sim.keeping`); nothing of the instruments' firmware is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lab.core.sample import GRIPPER
from sim.film import Film
from sim.thermal import AMBIENT_C, SAMPLE_AIR_LAG_S, SAMPLE_LAG_S, STEADY_C, STEP_S, Plate, relax

LOST = "lost"
"""Where a sample is that was dropped."""


@dataclass
class Contents:
    """Everything physical of a simulated laboratory at one time.

    Parameters
    ----------
    time_s : float
        Laboratory time up to which all of it has been brought.
    films : dict of name to Film
        All samples, wherever they are.
    standing : dict of place to Film
    plates : dict of hotplate name to Plate
    heating : dict of place to Plate
        Under which places they are.
    held : Film or None
        In the gripper.
    lifted_from : str
        The place from which `held` was taken.
    lost : list of Film
    spilled_ml : dict of pump address to mL
    moves : list of dict
        As in the world's account.
    touched, touched_places : set of str
        Films, and places, that may have changed since somebody cleared these.
    """

    time_s: float
    films: dict[str, Film]
    standing: dict[str, Film]
    plates: dict[str, Plate]
    heating: dict[str, Plate]
    held: Film | None = None
    lifted_from: str = ""
    lost: list[Film] = field(default_factory=list)
    spilled_ml: dict[int, float] = field(default_factory=dict)
    moves: list[dict[str, object]] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)
    touched_places: set[str] = field(default_factory=set)

    def at(self, place: str) -> Film | None:
        """What stands at a place, its history up to date, to be acted upon."""
        film = self.standing.get(place)
        if film is not None:
            film.settle(self.time_s)
            self.touched.add(film.name)
        return film

    def pick(self, place: str) -> None:
        """Into the gripper, which is empty, with what stands at a place."""
        self.held = self.standing.pop(place)
        self.lifted_from = place
        self.touched_places.add(place)

    def put(self, place: str | None) -> None:
        """Let go of what is in the gripper; it is lost where nothing can stand (None), or something stands already."""
        film = self.held
        if film is None:
            return
        self.held = None
        is_lost = place is None or place in self.standing
        self.moves.append({"sample": film.name, "origin": self.lifted_from, "target": LOST if is_lost else place, "at_s": self.time_s})
        if place is None or is_lost:
            self.lost.append(film)
            return
        self.standing[place] = film
        self.touched_places.add(place)
        if place in self.heating:
            film.wake(self.time_s)
            self.touched.add(film.name)

    # ------------------------------------------------------------------------------------------------- time

    def advance(self, until_s: float) -> None:
        """Let time pass until `until_s`."""
        if until_s <= self.time_s:
            return
        under = {film.name: plate for place, plate in self.heating.items() if (film := self.standing.get(place)) is not None}
        changing = [film for film in self.films.values() if film.rests_since_s is None]
        while (remaining_s := until_s - self.time_s) > 0.0:
            dt_s = remaining_s if self._is_steady(changing, under) else min(STEP_S, remaining_s)
            self._step(changing, under, dt_s)
            self.time_s = until_s if dt_s == remaining_s else self.time_s + dt_s
        for film in changing:
            self.touched.add(film.name)
            if film.name not in under and _is_as(film.temperature_c, AMBIENT_C):
                film.rests_since_s = self.time_s

    def _is_steady(self, changing: list[Film], under: Mapping[str, Plate]) -> bool:
        """Nothing will change until somebody acts."""
        return (all(plate.is_steady for plate in self.plates.values())
                and all(_is_as(film.temperature_c, under[film.name].plate_c if film.name in under else AMBIENT_C) for film in changing))

    def _step(self, changing: list[Film], under: Mapping[str, Plate], dt_s: float) -> None:
        for plate in self.plates.values():
            plate.step(dt_s)
        for film in changing:
            plate_below = under.get(film.name)
            if plate_below is not None:
                film.temperature_c = relax(film.temperature_c, plate_below.plate_c, SAMPLE_LAG_S, dt_s)
                film.live(dt_s, plate_below.rpm)
            else:
                film.temperature_c = relax(film.temperature_c, AMBIENT_C, SAMPLE_AIR_LAG_S, dt_s)
                film.live(dt_s, 0.0)

    # ------------------------------------------------------------------------------------------------- truth

    def account(self, liquids: Mapping[int, str]) -> dict[str, object]:
        """What really happened, JSON-able (see `sim.world.World.account`). `liquids` by pump address."""
        for film in self.films.values():
            film.settle(self.time_s)
        places = {place: film.name for place, film in self.standing.items()}
        if self.held is not None:
            places[GRIPPER] = self.held.name
        return {
            "time_s": self.time_s,
            "doses": [dose for film in self.films.values() for dose in film.account()],
            "spills": [{"address": address, "liquid": liquids.get(address, f"unknown{address}"), "true_ml": ml}
                       for address, ml in sorted(self.spilled_ml.items())],
            "moves": list(self.moves),
            "places": places,
            "lost": [film.name for film in self.lost],
            "samples": {film.name: _summary(film) for film in self.films.values() if film.doses},
        }


def _is_as(temperature_c: float, surroundings_c: float) -> bool:
    return abs(temperature_c - surroundings_c) < STEADY_C


def _summary(film: Film) -> dict[str, object]:
    plateau_c, plateau_s = film.history.plateau()
    return {"volumes_ml": film.volumes_ml, "withdrawn_ml": film.withdrawn_ml, "temperature_c": film.temperature_c,
            "peak_c": film.history.peak_c if film.history else None, "anneal_c": plateau_c if film.history else None,
            "anneal_s": plateau_s, "stir_rpm": film.stir_rpm, "frames": film.n_frames}
