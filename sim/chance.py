"""Chance that is seeded by what happens, not by when: two runs that do the same see the same."""

from __future__ import annotations

import zlib

import numpy as np


def chance_of(seed: int, *what: object) -> np.random.Generator:
    """The chance that belongs to one event of one world, for instance ``chance_of(seed, "dose", address, sample)``."""
    return np.random.default_rng([seed, *(zlib.crc32(str(part).encode()) for part in what)])
