"""How long things take in a rehearsal: as the dispatcher expects them, scattered by a seeded generator."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from plans.expectation import SPREAD, Expectation
from plans.forecast import TRANSFER, Learning, Route, StepForecast
from plans.recipes import Order, Recipe

LEAST_SHARE = 0.2
"""What instruments take is at least this share of what the recipe says they take, however short the steps on record are."""

MOST_SPREAD = 1.0
"""Relative scatter of what instruments take, at most."""


@dataclass
class Pace:
    """Draws durations, laboratory seconds.

    What a plan waits by itself (`plans.recipes.Step.held_s`) is not scattered: the rest of a step is what its instruments take.

    Parameters
    ----------
    recipe : Recipe
    expectation : Expectation
        From the recipe and what is on record.
    recorded : mapping of step name to laboratory seconds
        On record.
    rng : numpy.random.Generator
    """

    recipe: Recipe
    expectation: Expectation
    recorded: dict[str, tuple[float, ...]]
    rng: np.random.Generator

    def __post_init__(self) -> None:
        prior = StepForecast(TRANSFER, "arm", self.recipe.transfer_s, SPREAD)
        self._transfer = Learning(Route((prior,), self.recipe.transfer_s)).route(self.recorded).steps[0]

    def transfer_s(self) -> float:
        """The whole way of a sample from one place to another."""
        return self._drawn(self._transfer.mean_s, self._transfer.spread)

    def instruments_s(self, order: Order, step: str) -> float:
        """What the instruments take of a step of the recipe."""
        number = next(n for n, one in enumerate(self.recipe.steps) if one.name == step)
        forecast, held_s = self.expectation.route(order).steps[number], self.recipe.steps[number].held_s(order)
        least_s = LEAST_SHARE * max(self.recipe.steps[number].expected_s(order) - held_s, 0.0)
        mean_s = max(forecast.mean_s - held_s, least_s)
        if mean_s <= 0.0:
            return 0.0
        spread = forecast.spread * forecast.mean_s / mean_s if self.recorded.get(step) else SPREAD
        return self._drawn(mean_s, min(spread, MOST_SPREAD))

    def scattered(self, mean: float, spread: float = SPREAD) -> float:
        """A positive number near `mean`."""
        return self._drawn(mean, spread)

    def _drawn(self, mean: float, spread: float) -> float:
        sigma = math.sqrt(math.log1p(spread**2))
        return mean * math.exp(sigma * float(self.rng.standard_normal()) - sigma**2 / 2)
