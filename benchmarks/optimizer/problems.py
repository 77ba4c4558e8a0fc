"""What is optimised: a campaign as a laboratory would write it, and what a sample of it would give."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.optimizer import functions
from benchmarks.optimizer.pools import TABLES, Pool
from lab.core.question import CampaignConfig
from lab.core.space import Value
from lab.core.trial import Measured, Outcome

Values = Mapping[str, Value]
OUTCOME = "y"


def never(values: Values) -> bool:
    """No point fails."""
    return False


def exact(values: Values) -> float:
    """No measurement scatters."""
    return 0.0


@dataclass(frozen=True)
class Problem:
    """A campaign and the truth behind it.

    Parameters
    ----------
    name : str
    space : dict
        ``parameters`` and ``constraints`` as in a campaign file.
    goal : str
        ``maximize`` or ``minimize``.
    truth : callable
        The true response at a point.
    optimum : float
        The best true response.
    n_trials : int
    source : str
        Where formula and optimum are from.
    noise : callable
        Standard deviation of one measurement at a point.
    is_told : bool
        Whether the measurement comes with that deviation as its standard error.
    fails : callable
        Whether a point gives no sample.
    pool : Pool or None
        When only the rows of a table can be tried.
    """

    name: str
    space: dict[str, Any]
    goal: str
    truth: Callable[[Values], float]
    optimum: float
    n_trials: int
    source: str
    noise: Callable[[Values], float] = exact
    is_told: bool = True
    fails: Callable[[Values], bool] = never
    pool: Pool | None = field(default=None, repr=False)

    def campaign(self, engine: str, seed: int) -> CampaignConfig:
        """The campaign for one of Labwright's engines, all else at its defaults."""
        return CampaignConfig.model_validate({
            "name": self.name, "recipe": "none", **self.space,
            "objectives": [{"name": OUTCOME, "goal": self.goal, "noise": "measured" if self.is_told else "inferred"}],
            "budget": {"trials": self.n_trials, "failures": self.n_trials}, "optimizer": {"engine": engine, "seed": seed}})

    def measure(self, values: Values, seed: int, trial: int) -> Outcome | None:
        """One sample's outcome; None where a point gives none. The scatter depends on seed and trial alone, not on the engine."""
        if self.fails(values):
            return None
        scatter = np.random.default_rng([zlib.crc32(self.name.encode()), seed, trial]).standard_normal()
        deviation = self.noise(values)
        return Outcome({OUTCOME: Measured(self.truth(values) + deviation * scatter, deviation if self.is_told else None)})

    def regret(self, values: Values) -> float:
        """How far the true response at a point is from the optimum; 0 or more."""
        return max(0.0, (self.optimum - self.truth(values)) * (1.0 if self.goal == "maximize" else -1.0))


def _box(*bounds: tuple[float, float]) -> dict[str, Any]:
    return {"parameters": [{"name": f"x{k + 1}", "type": "range", "bounds": list(ends)} for k, ends in enumerate(bounds)]}


def _numbers(values: Values) -> list[float]:
    return [float(value) for value in values.values()]


def _branin(v: Values) -> float:
    return functions.branin(float(v["x1"]), float(v["x2"]))


def _film(v: Values) -> float:
    return functions.film(str(v["solvent"]), float(v["coats"]), float(v["concentration"]), float(v["temperature"]))


BRANIN_BOX = _box((-5, 10), (0, 15))
INKS = ("a", "b", "c", "d", "e")

ANALYTIC = (
    Problem("branin", BRANIN_BOX, "minimize", _branin, functions.BRANIN_MINIMUM, 30, "functions.branin; exact measurements"),
    Problem("hartmann6", _box(*[(0, 1)] * 6), "minimize", lambda v: functions.hartmann(_numbers(v)), functions.HARTMANN6_MINIMUM, 60,
            "functions.hartmann; exact measurements"),
    Problem("noisy-ackley6", _box(*[(-5, 10)] * 6), "minimize", lambda v: functions.ackley(_numbers(v)), 0.0, 60,
            "functions.ackley, in a box that is not centred on the optimum; deviation 0.5, not told", noise=lambda v: 0.5, is_told=False),
    Problem("heteroscedastic-hartmann3", _box(*[(0, 1)] * 3), "minimize", lambda v: functions.hartmann(_numbers(v)),
            functions.HARTMANN3_MINIMUM, 40, "functions.hartmann; deviation 0.02 + 0.5 x3^2 (0.38 at the optimum), told",
            noise=lambda v: 0.02 + 0.5 * float(v["x3"]) ** 2),
    Problem("mixed", {"parameters": [
        {"name": "solvent", "type": "choice", "values": list(functions.LIQUIDS)}, {"name": "coats", "type": "integer", "bounds": [1, 10]},
        {"name": "concentration", "type": "range", "bounds": [0.001, 10], "scale": "log"},
        {"name": "temperature", "type": "range", "bounds": [60, 180]}]}, "maximize", _film, 1.0, 40, "functions.film; exact measurements"),
    Problem("simplex", {"parameters": [{"name": name, "type": "range", "bounds": [0, 1]} for name in INKS],
                        "constraints": [" + ".join(INKS) + " == 1"]}, "maximize",
            lambda v: functions.blend(_numbers(v)), functions.BLEND_MAXIMUM, 40, "functions.blend; exact measurements"),
    Problem("failing-branin", BRANIN_BOX, "minimize", _branin, functions.BRANIN_MINIMUM, 30,
            "functions.branin where functions.no_sample is not so", fails=lambda v: functions.no_sample(float(v["x1"]), float(v["x2"]))),
)

NOT_YET = {"branin-currin": "two objectives, and campaigns have one so far"}
"""Problems of the bench that no campaign can say yet, and why."""

NAMES = (*(p.name for p in ANALYTIC), *(f"pool-{name}" for name in TABLES), *NOT_YET)


def find(name: str, tables: Path) -> Problem:
    """The problem of that name.

    Parameters
    ----------
    name : str
    tables : Path
        The folder with the tables.

    Raises
    ------
    KeyError
        When there is none.
    ConfigError
        When its table cannot be read.
    """
    for problem in ANALYTIC:
        if problem.name == name:
            return problem
    table = TABLES[name.removeprefix("pool-")]
    pool = table.read(tables)
    return Problem(name, pool.space, table.goal, pool.response, pool.optimum, 50, table.source, pool=pool)
