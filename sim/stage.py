"""What one detector of the simulated world sees: the frames of the sample that stands at its place.

The counting noise is seeded by the sample and the number of its frame, so it does not matter when a frame is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np

from lab.core.config import Geometry
from sim.chance import chance_of
from sim.counting import CountingNoise
from sim.film import Film

WORTH_A_TABLE = 16
"""From so many frames on, a table of the counting noise is faster."""


class Response(Protocol):
    """What the detector would count, given what was done to a film."""

    def rate(self, film: Film | None) -> np.ndarray:
        """Mean counts per pixel and second: ndarray, float64, the geometry's shape. `film` None: an empty stage."""
        ...


class Samples(Protocol):
    """The part of the world that a detector sees."""

    def looking_at(self, place: str) -> AbstractContextManager[Film | None]:
        """What stands at a place now; nothing happens to it inside the block."""
        ...


class Stage:
    """The place before one detector (the `DetectorScene` of sim.detector).

    Parameters
    ----------
    samples : Samples
    place : str
        Empty for a detector that stands at no station.
    geometry : Geometry
    response : Response
    seed : int
    """

    def __init__(self, samples: Samples, place: str, geometry: Geometry, response: Response, seed: int) -> None:
        self.geometry = geometry
        self._samples, self._place, self._response, self._seed = samples, place, response, seed
        self._nobody = Film("", 0.0)
        self._seen: tuple[str, int] = ("", 0)
        self._seen_rate = response.rate(None)

    def expose(self, count_time_s: float, n: int) -> Iterator[np.ndarray]:
        """Take `n` frames of what stands here when each of them begins, as it was when the first began.

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
            with self._samples.looking_at(self._place) as film:
                chance = self._frame_chance(film)
                if film is not seen:
                    seen, mean = film, self._rate(film) * count_time_s
                    noise = CountingNoise(mean) if left >= WORTH_A_TABLE else None
            counts = chance.poisson(mean) if noise is None else noise.draw(chance)
            yield np.minimum(counts, np.int64(2**bits - 1)).astype(dtype)

    @staticmethod
    def bit_depth(count_time_s: float) -> int:
        """Bits of a pixel for this exposure: 16 up to 20 s, then 32."""
        return 16 if count_time_s <= 20.0 else 32

    def _frame_chance(self, film: Film | None) -> np.random.Generator:
        """The chance of the next frame of a film, or of the empty stage."""
        target = self._nobody if film is None else film
        target.n_frames += 1
        return chance_of(self._seed, "frame", target.name, target.n_frames)

    def _rate(self, film: Film | None) -> np.ndarray:
        """Count rate of what stands here, computed anew only when it has changed."""
        key = ("", 0) if film is None else (film.name, film.revision)
        if key != self._seen:
            self._seen_rate = self._response.rate(film)
            self._seen = key
        return self._seen_rate
