"""Problems in which the laboratory matters: trade-offs, drift, slow changes, samples under way, limits.

Each says in `Problem.settings` what a campaign file says of it; an engine that ignores it is given the campaign without.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from benchmarks.optimizer import functions
from benchmarks.optimizer.problem import HOUR_S, OUTCOME, Problem, Values


def _unit(n: int) -> dict[str, Any]:
    return {"parameters": [{"name": f"x{k + 1}", "type": "range", "bounds": [0, 1]} for k in range(n)]}


def _numbers(values: Values) -> list[float]:
    return [float(value) for value in values.values()]


def _branin_of_unit(v: Values) -> float:
    return functions.branin(15 * float(v["x1"]) - 5, 15 * float(v["x2"]))


def _currin(v: Values) -> float:
    return functions.currin(float(v["x1"]), float(v["x2"]))


DRIFT_PER_CAMPAIGN = 2.0
"""As large as half of what Hartmann's function has to give; up or down, by the seed."""

WAVE = 0.5


def drifting(seed: int, hours: float) -> float:
    """A slope up or down, and a slow wave, both by the seed; 0 at the start. Made for this bench."""
    chance = np.random.default_rng([20261, seed])
    slope = DRIFT_PER_CAMPAIGN * (1.0 if chance.random() < 0.5 else -1.0) / 40
    period, phase = chance.uniform(20, 60), chance.uniform(0, 2 * math.pi)
    return slope * hours + WAVE * (math.sin(2 * math.pi * hours / period + phase) - math.sin(phase))


SAMPLE_S = 900.0
SECONDS_A_DEGREE = 60.0


def _oven(v: Values) -> float:
    return functions.hartmann([(float(v["temperature"]) - 60) / 120, float(v["a"]), float(v["b"])])


def heating(before: Values | None, values: Values, chance: np.random.Generator) -> float:
    """A quarter of an hour for a sample, and a minute for each degree by which the oven has to change."""
    change = 0.0 if before is None else abs(float(values["temperature"]) - float(before["temperature"]))
    return SAMPLE_S + SECONDS_A_DEGREE * change


def uneven(before: Values | None, values: Values, chance: np.random.Generator) -> float:
    """Between half an hour and two hours."""
    return float(chance.uniform(0.5, 2.0)) * HOUR_S


def _pressure(v: Values) -> float:
    return functions.pressure(float(v["x1"]), float(v["x2"]))


def calm(seed: int) -> tuple[Values, ...]:
    """Three points of a disc in which the pressure is known to be below 2, by the seed."""
    chance = np.random.default_rng([20262, seed])
    radii, angles = 0.1 * np.sqrt(chance.random(3)), chance.uniform(0, 2 * math.pi, 3)
    return tuple({"x1": -5 + 15 * (0.3 + r * math.cos(a)), "x2": 15 * (0.3 + r * math.sin(a))} for r, a in zip(radii.tolist(), angles.tolist(), strict=True))

SITUATIONS = (
    Problem("branin-currin", _unit(2), "minimize", _branin_of_unit, functions.BRANIN_CURRIN_HYPERVOLUME, 40,
            "functions.branin and functions.currin; exact measurements; the regret is in hypervolume", others={"z": _currin}, also={"z": "minimize"},
            reference=dict(zip((OUTCOME, "z"), functions.BRANIN_CURRIN_REFERENCE, strict=True))),
    Problem("drifting-hartmann3", _unit(3), "minimize", lambda v: functions.hartmann(_numbers(v)), functions.HARTMANN3_MINIMUM, 40,
            "functions.hartmann and situations.drifting; deviation 0.05, told; the regret is that of the recommended point", noise=lambda v: 0.05,
            settings={"drift": {"reference": {"x1": 0.5, "x2": 0.5, "x3": 0.5}, "every": 5}}, drift=drifting, is_recommended=True),
    Problem("switching-hartmann3", {"parameters": [
        {"name": "temperature", "type": "range", "bounds": [60, 180], "unit": "degC"}, {"name": "a", "type": "range", "bounds": [0, 1]},
        {"name": "b", "type": "range", "bounds": [0, 1]}]}, "minimize", _oven, functions.HARTMANN3_MINIMUM, 80,
            "functions.hartmann; 20 laboratory hours, a quarter for a sample and a minute for each degree of change; exact measurements",
            settings={"durations": {"sample_s": SAMPLE_S, "change_s": {"temperature": SECONDS_A_DEGREE}}}, duration_s=heating, hours=20.0),
    Problem("delayed-hartmann6", _unit(6), "minimize", lambda v: functions.hartmann(_numbers(v)), functions.HARTMANN6_MINIMUM, 60,
            "functions.hartmann; four samples under way at a time, each for half an hour to two hours; exact measurements",
            n_at_once=4, duration_s=uneven),
    Problem("safe-branin", {"parameters": [{"name": "x1", "type": "range", "bounds": [-5, 10]}, {"name": "x2", "type": "range", "bounds": [0, 15]}]},
            "minimize", lambda v: functions.branin(float(v["x1"]), float(v["x2"])), functions.BRANIN_MINIMUM, 30,
            "functions.branin and functions.pressure, which is not to pass 5; begins with three points of low pressure; exact measurements",
            others={"pressure": _pressure}, limit="pressure <= 5", starts=calm,
            settings={"safety": {"constraints": ["pressure <= 5"], "probability": 0.95}}),
)
