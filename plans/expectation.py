"""How long an order is expected to take: the recipe's estimate for this order, corrected by what was recorded of others."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from plans.forecast import Learning, Route, StepForecast
from plans.recipes import Order, Recipe

SPREAD = 0.1
"""Relative scatter of a step of which nothing is recorded yet."""

N_TYPICAL = 50
"""Orders that make the typical one, with which recorded durations are compared."""


class Expectation:
    """Routes of a recipe's orders.

    Recorded durations are those of other orders: one that anneals twice as long as they did is expected to take so much longer.

    Parameters
    ----------
    recipe : Recipe
    typical : Order
        What is expected of an order that is not known yet.
    durations : mapping of step name to laboratory seconds, newest last
        On record.
    """

    def __init__(self, recipe: Recipe, typical: Order, durations: Mapping[str, Sequence[float]]) -> None:
        self._recipe, self._durations = recipe, durations
        self._orders: deque[Order] = deque([typical], maxlen=N_TYPICAL)
        self._estimates: deque[dict[str, float]] = deque([self._estimate(typical)], maxlen=N_TYPICAL)
        self._known: dict[int, tuple[Order | None, Mapping[str, Sequence[float]], Route]] = {}

    def learn(self, durations: Mapping[str, Sequence[float]]) -> None:
        """Further durations are on record."""
        self._durations = durations

    def route(self, order: Order | None) -> Route:
        """What an order will take; None: a typical one."""
        if order is not None and all(order is not known for known in self._orders):
            self._orders.append(order)
            self._estimates.append(self._estimate(order))
            self._known.clear()
        durations, known = self._durations, self._known.get(id(order))  # another thread may learn meanwhile
        if known is not None and known[1] is durations:  # asked for at each look ahead, and the same until something is learned
            return known[2]
        found = self._route(order, durations)
        self._known[id(order)] = (order, durations, found)
        return found

    def _route(self, order: Order | None, durations: Mapping[str, Sequence[float]]) -> Route:
        typical = self._typical_s(order)
        prior = Route(tuple(StepForecast(step.name, step.role, typical[step.name], SPREAD, step.prepare_s, self._gap_s(step.max_gap, order))
                            for step in self._recipe.steps), self._recipe.transfer_s)
        learned = Learning(prior).route({name: values for name, values in durations.items() if not name.startswith("prepare ")})
        if order is None:
            return learned
        steps = tuple(replace(known, mean_s=max(known.mean_s + step.expected_s(order) - typical[step.name], 0.2 * known.mean_s))
                      for known, step in zip(learned.steps, self._recipe.steps, strict=True))
        return replace(learned, steps=steps)

    def _typical_s(self, order: Order | None) -> dict[str, float]:
        """The recipe's own estimate for the other orders so far, by step: what is on record are their durations."""
        others = [estimate for known, estimate in zip(self._orders, self._estimates, strict=True) if known is not order] or self._estimates
        return {step.name: fmean(estimate[step.name] for estimate in others) for step in self._recipe.steps}

    def _estimate(self, order: Order) -> dict[str, float]:
        return {step.name: step.expected_s(order) for step in self._recipe.steps}

    def _gap_s(self, setting: str, order: Order | None) -> float | None:
        return float((order if order is not None else self._orders[-1]).settings[setting]) if setting else None
