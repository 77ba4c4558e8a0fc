"""What is optimised: problems with a known answer, by their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.optimizer import functions
from benchmarks.optimizer.pools import TABLES
from benchmarks.optimizer.problem import Problem, Values
from benchmarks.optimizer.situations import SITUATIONS


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

BUILT_IN = (*ANALYTIC, *SITUATIONS)

NAMES = (*(p.name for p in BUILT_IN), *(f"pool-{name}" for name in TABLES))


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
    for problem in BUILT_IN:
        if problem.name == name:
            return problem
    table = TABLES[name.removeprefix("pool-")]
    pool = table.read(tables)
    return Problem(name, pool.space, table.goal, pool.response, pool.optimum, 50, table.source, is_told=False, pool=pool)
