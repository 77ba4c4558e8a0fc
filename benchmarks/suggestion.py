"""How long a suggestion takes, and what 20 of them find: ``python -m benchmarks.suggestion [--seeds N]``.

Prints seconds per suggestion of the engine ``ax`` on the space of examples/perovskite.yaml, and, for analytic problems
with a known optimum, the median distance to it (regret, best measured trial, true value) of ``ax`` and ``sobol``.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.figures import Figure, median_s, show
from lab.core.best import best_trial
from lab.core.question import CampaignConfig
from lab.core.space import Value
from lab.core.trial import Measured, Outcome, Trial, TrialState
from lab.optimise import make_optimizer
from lab.optimise.ax import load

Response = Callable[[Mapping[str, Value]], float]

FRACTIONS = [{"name": name, "type": "range", "bounds": [0, 1]} for name in ("cs", "fa", "ma")]


@dataclass(frozen=True)
class Problem:
    """A space, a response to make large, its largest value and the noise of one measurement."""

    name: str
    space: dict[str, Any]
    response: Response
    optimum: float
    noise: float

    def campaign(self, engine: str, seed: int) -> CampaignConfig:
        return CampaignConfig.model_validate({
            "name": "benchmark", "recipe": "none", "objectives": [{"name": "y", "goal": "maximize"}], "budget": {"trials": 1000},
            "optimizer": {"engine": engine, "initial": 6, "seed": seed}, **self.space})


def film(v: Mapping[str, Value]) -> float:
    """A ridge-shaped optimum at cs 0.15, fa 0.75, ma 0.10, 140 degC; value 1."""
    return float(np.exp(-((v["cs"] - 0.15) / 0.15) ** 2 / 2 - ((v["fa"] - 0.75) / 0.25) ** 2 / 2
                        - ((v["anneal_temperature"] - 140) / 20) ** 2 / 2))


def branin(v: Mapping[str, Value]) -> float:
    """Minus Branin's function (Dixon and Szego 1978), optimum -0.397887."""
    x, y = v["x"], v["y"]
    return float(-((y - 5.1 / (4 * np.pi ** 2) * x ** 2 + 5 / np.pi * x - 6) ** 2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(x) + 10))


def ink(v: Mapping[str, Value]) -> float:
    """Solvent, whole number of coats and concentration on a logarithmic scale; optimum 1 at DMSO, 4, 0.1."""
    gain = {"DMF": 0.5, "DMSO": 1.0, "NMP": 0.7, "GBL": 0.3}[str(v["solvent"])]
    return float(gain * np.exp(-((v["coats"] - 4) / 3) ** 2 / 2 - (np.log10(v["concentration"]) + 1) ** 2))


def blend(v: Mapping[str, Value]) -> float:
    """Five inks in per cent that sum to 100, optimum 1 inside the simplex."""
    target = {"a": 40.0, "b": 30.0, "c": 15.0, "d": 10.0, "e": 5.0}
    return float(np.exp(-sum(((v[k] - t) / 20) ** 2 for k, t in target.items()) / 2))


PROBLEMS = (
    Problem("film (simplex 3 + 1)", {"parameters": [*FRACTIONS, {"name": "anneal_temperature", "type": "range", "bounds": [60, 180]}],
                                     "constraints": ["cs + fa + ma == 1"]}, film, 1.0, 0.01),
    Problem("branin", {"parameters": [{"name": "x", "type": "range", "bounds": [-5, 10]}, {"name": "y", "type": "range", "bounds": [0, 15]}]},
            branin, -0.397887, 0.1),
    Problem("ink (choice, integer, log)", {"parameters": [
        {"name": "solvent", "type": "choice", "values": ["DMF", "DMSO", "NMP", "GBL"]}, {"name": "coats", "type": "integer", "bounds": [1, 10]},
        {"name": "concentration", "type": "range", "bounds": [0.001, 10], "scale": "log"}]}, ink, 1.0, 0.01),
    Problem("blend (simplex 5)", {"parameters": [{"name": k, "type": "range", "bounds": [0, 100]} for k in "abcde"],
                                  "constraints": ["a + b + c + d + e == 100"]}, blend, 1.0, 0.01),
)


def run(problem: Problem, engine: str, seed: int, n_trials: int) -> tuple[list[Trial], list[float]]:
    """A campaign without a laboratory: its trials, and the wall seconds of every suggestion."""
    optimizer = make_optimizer(problem.campaign(engine, seed))
    rng = np.random.default_rng(seed)
    trials: list[Trial] = []
    seconds = []
    for index in range(n_trials):
        began = time.perf_counter()
        suggestion, = optimizer.suggest(trials)
        seconds.append(time.perf_counter() - began)
        mean = problem.response(suggestion.values) + problem.noise * rng.standard_normal()
        trials.append(Trial(index, TrialState.COMPLETED, suggestion.values, origin=suggestion.origin,
                            outcome=Outcome({"y": Measured(mean, problem.noise)})))
    return trials, seconds


def regret(problem: Problem, trials: list[Trial]) -> float:
    """How far the true value of the best measured trial is from the optimum."""
    best = best_trial(problem.campaign("sobol", 0), trials)
    if best is None:
        raise RuntimeError(f"{problem.name}: no trial was completed")
    return problem.optimum - problem.response(best.planned)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()

    began = time.perf_counter()
    load()
    show([Figure("import of torch, BoTorch and Ax", time.perf_counter() - began, "s")])
    trials, _ = run(PROBLEMS[0], "sobol", 0, 50)
    optimizer = make_optimizer(PROBLEMS[0].campaign("ax", 0))
    optimizer.suggest(trials)
    for n in (6, 20, 50):
        taken_s = median_s(lambda n=n: optimizer.suggest(trials[:n]), 5, time.perf_counter)  # type: ignore[misc]
        show([Figure(f"an Ax suggestion on the simplex 3 + 1 after {n} trials", taken_s, "s")])
    for problem in PROBLEMS:
        found = {engine: statistics.median(regret(problem, run(problem, engine, seed, 20)[0]) for seed in range(arguments.seeds))
                 for engine in ("ax", "sobol")}
        show([Figure(f"regret after 20 trials, {problem.name}: ax / sobol", found["ax"] / found["sobol"], "x", most=1.0,
                     note=f"{found['ax']:.4f} / {found['sobol']:.4f}, median of {arguments.seeds} seeds")])
    show([Figure("peak memory of the optimiser's process", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, "GB")])


if __name__ == "__main__":
    main()
