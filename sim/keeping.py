"""Keeping the simulated world in a file: what is written when, and how it is read back, to the last bit."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from lab.core.clock import Clock
from lab.core.errors import ConfigError
from sim.contents import Contents
from sim.film import DoseAccount, Film
from sim.world_file import ALLOWED, WorldFile

PASSING_S = 0.02
"""Wall seconds after which the mere passing of time is kept too; a deed is kept at once."""


class _Kept(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _KeptFilm(_Kept):
    temperature_c: float
    rests_since_s: float | None = None
    doses: dict[int, tuple[str, float, float]] = {}
    withdrawn_ml: float = 0.0
    n_frames: int = 0
    stirred_s: dict[float, float] = {}
    history: dict[int, tuple[float, float]] = {}


class _KeptHand(_Kept):
    held: str = ""
    lifted_from: str = ""


class _KeptMove(_Kept):
    sample: str
    origin: str
    target: str
    at_s: float


class KeptWorld(_Kept):
    """What stands in the file, all of its lines taken together."""

    time_s: float
    films: dict[str, _KeptFilm] = {}
    standing: dict[str, str] = {}
    hand: _KeptHand = _KeptHand()
    plates: dict[str, tuple[float, float]] = {}
    lost: dict[int, str] = {}
    spilled_ml: dict[int, float] = {}
    moves: dict[int, _KeptMove] = {}


class Keeping:
    """Writes down what becomes of a world.

    Parameters
    ----------
    contents : Contents
        Of a fresh world; it becomes that of the file, where there is one.
    file : WorldFile
    places : collection of str
        Where a sample may stand in this laboratory.
    wall : Clock

    Raises
    ------
    ConfigError
        When the file is damaged, or of another laboratory.
    ServiceError
        When it cannot be written; also from `keep` and `keep_passing`.
    """

    def __init__(self, contents: Contents, file: WorldFile, places: Collection[str], wall: Clock) -> None:
        self._contents, self._file, self._wall = contents, file, wall
        kept = file.read()
        if kept is not None:
            try:
                restore(contents, kept, places)
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                raise ConfigError(str(file.path), ".".join(map(str, first["loc"])), str(first["msg"]), ALLOWED) from error
            except ValueError as error:
                raise ConfigError(str(file.path), "standing", str(error), ALLOWED) from error
        self._changes = Changes(contents)
        file.begin(self._changes.all())
        self._kept_at_s = wall.now()

    def keep(self) -> None:
        """Something has been done: keep it before anybody is told."""
        self._file.append(self._changes.since())
        if self._file.is_long:
            self._file.begin(self._changes.all())
        self._kept_at_s = self._wall.now()

    def keep_passing(self) -> None:
        """Time has passed: keep that now and then."""
        if self._wall.now() - self._kept_at_s >= PASSING_S:
            self.keep()

    def close(self) -> None:
        """Keep the last of it, and leave the file."""
        self.keep()
        self._file.close()


class Changes:
    """What has changed in a world since it was asked for last, as merge patches (`sim.world_file.merged`).

    Parameters
    ----------
    contents : Contents
    """

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._told: dict[str, dict[str, Any]] = {}
        self._n_told = {"moves": 0, "lost": 0}

    def all(self) -> dict[str, Any]:
        """Everything."""
        self._told.clear()
        self._n_told = dict.fromkeys(self._n_told, 0)
        self._contents.touched.update(self._contents.films)
        self._contents.touched_places.update(self._contents.standing)
        for film in self._contents.films.values():
            film.history.forget_told()
        return self.since()

    def since(self) -> dict[str, Any]:
        """What differs from what was told last."""
        world = self._contents
        found: dict[str, Any] = {"films": {name: _film(film) for name, film in world.films.items() if name in world.touched}}
        found["standing"] = {place: film.name if (film := world.standing.get(place)) is not None else None for place in world.touched_places}
        world.touched.clear()
        world.touched_places.clear()
        found |= self._entries("hand", {"held": world.held.name, "lifted_from": world.lifted_from} if world.held is not None else {})
        found |= self._entries("plates", {name: [plate.plate_c, plate.probe_c] for name, plate in world.plates.items()})
        found |= self._entries("spilled_ml", {str(address): ml for address, ml in world.spilled_ml.items()})
        found |= self._rows("moves", world.moves) | self._rows("lost", [film.name for film in world.lost])
        return {"time_s": world.time_s} | {part: entries for part, entries in found.items() if entries}

    def _entries(self, part: str, now: dict[str, Any]) -> dict[str, Any]:
        told, self._told[part] = self._told.get(part, {}), now
        return {part: {key: value for key, value in now.items() if told.get(key) != value} | dict.fromkeys(told.keys() - now.keys())}

    def _rows(self, part: str, now: list[Any]) -> dict[str, Any]:
        begin, self._n_told[part] = self._n_told[part], len(now)
        return {part: {str(n): now[n] for n in range(begin, len(now))}}


def restore(contents: Contents, kept: dict[str, Any], places: Collection[str]) -> None:
    """Let a world be what was kept. Heaters and stirrers are off: they are the firmware's, which has lost its power.

    Raises
    ------
    ValueError
        When it does not fit a laboratory with these places, or is no world at all.
    """
    state = KeptWorld.model_validate(kept)
    _check_fits(state, places)
    contents.time_s = state.time_s
    contents.films = {name: _restored(name, film) for name, film in state.films.items()}
    contents.standing = {place: contents.films[name] for place, name in state.standing.items()}
    contents.held, contents.lifted_from = contents.films.get(state.hand.held), state.hand.lifted_from
    contents.lost = [contents.films[state.lost[n]] for n in sorted(state.lost)]
    contents.spilled_ml = dict(state.spilled_ml)
    contents.moves = [state.moves[n].model_dump() for n in sorted(state.moves)]
    for name, plate in contents.plates.items():
        plate.plate_c, plate.probe_c = state.plates.get(name, (plate.plate_c, plate.probe_c))


def _check_fits(state: KeptWorld, places: Collection[str]) -> None:
    unknown = sorted(state.standing.keys() - set(places))
    if unknown:
        raise ValueError(f"samples at {', '.join(unknown)}, which this laboratory does not have")
    named = [*state.standing.values(), *state.lost.values(), *([state.hand.held] if state.hand.held else [])]
    if sorted(named) != sorted(state.films):
        raise ValueError("samples that are at two places, or at none")


def _film(film: Film) -> dict[str, Any]:
    """A film as it is kept, with what has changed of its history."""
    found: dict[str, Any] = {"temperature_c": film.temperature_c, "rests_since_s": film.rests_since_s}
    if film.doses:
        found["doses"] = {str(address): [dose.liquid, dose.counted_ml, dose.true_ml] for address, dose in film.doses.items()}
        found["history"] = {str(key): value for key, value in film.history.untold().items()}
    if film.stirred_s:
        found["stirred_s"] = {repr(rpm): seconds for rpm, seconds in film.stirred_s.items()}
    if film.withdrawn_ml:
        found["withdrawn_ml"] = film.withdrawn_ml
    if film.n_frames:
        found["n_frames"] = film.n_frames
    return found


def _restored(name: str, kept: _KeptFilm) -> Film:
    film = Film(name, kept.temperature_c, withdrawn_ml=kept.withdrawn_ml, n_frames=kept.n_frames, rests_since_s=kept.rests_since_s)
    film.doses = {address: DoseAccount(*dose) for address, dose in kept.doses.items()}
    film.stirred_s = dict(kept.stirred_s)
    film.history.restore(kept.history)
    return film
