"""Who chooses the next point: Labwright's engines, chance, and the peers, behind one protocol."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Protocol, get_args

import numpy as np

import lab.optimise
from benchmarks.optimizer.problems import Problem
from lab.core.question import OptimizerConfig
from lab.core.space import ChoiceParameter, Parameter, Space, Value
from lab.core.trial import Suggestion, Trial
from lab.optimise import make_optimizer

OURS = ("botorch", "ax", "sobol")
NO_MODEL = ("sobol", "random")
"""Engines that learn nothing: a scale to read the others by, and no peers."""


class Engine(Protocol):
    """What the bench asks of an engine.

    Attributes
    ----------
    has_pools : bool
        Whether it was given the pool and suggests rows of it; else its point is moved to the nearest untried row.
    """

    has_pools: bool

    def suggest(self, trials: Sequence[Trial]) -> Suggestion:
        """The next point, after all of `trials`; `Suggestion.seconds` is not looked at.

        Called once for each trial, with one trial more each time.
        """
        ...


class Ours:
    """An engine of Labwright, through the door that a campaign in the laboratory uses."""

    has_pools = False

    def __init__(self, name: str, problem: Problem, seed: int) -> None:
        self._optimizer = make_optimizer(problem.campaign(name, seed))

    def suggest(self, trials: Sequence[Trial]) -> Suggestion:
        """See `Engine`."""
        return self._optimizer.suggest(trials)[0]


class Chance:
    """Uniform points; fractions that sum to a total uniformly on their simplex (Devroye 1986, V.2.1); untried rows of a pool."""

    has_pools = True

    def __init__(self, problem: Problem, seed: int) -> None:
        self._problem, self._space = problem, problem.campaign("sobol", seed).space
        self._chance = np.random.default_rng(seed)

    def suggest(self, trials: Sequence[Trial]) -> Suggestion:
        """See `Engine`."""
        pool = self._problem.pool
        if pool is not None:
            tried = {pool.index(trial.point) for trial in trials}
            return Suggestion(pool.rows[int(self._chance.choice([k for k in range(len(pool.rows)) if k not in tried]))], "random")
        values = {p.name: self._draw(p) for p in self._space.parameters}
        for constraint in self._space.constraints:
            shares = self._chance.dirichlet(np.ones(len(constraint.names)))
            values.update({name: float(share * constraint.bound) for name, share in zip(constraint.names, shares, strict=True)})
        return Suggestion(values, "random")

    def _draw(self, parameter: Parameter) -> Value:
        if isinstance(parameter, ChoiceParameter):
            return parameter.values[int(self._chance.integers(len(parameter.values)))]
        if parameter.is_integer:
            return int(self._chance.integers(int(parameter.low), int(parameter.high) + 1))
        if parameter.is_log:
            return float(np.exp(self._chance.uniform(np.log(parameter.low), np.log(parameter.high))))
        return float(self._chance.uniform(parameter.low, parameter.high))


def _any(space: Space) -> str:
    return ""


def _without_constraints(space: Space) -> str:
    return f"cannot say {space.constraints[0]}" if space.constraints else ""


@dataclass(frozen=True)
class Peer:
    """An optimiser that others wrote.

    Parameters
    ----------
    package : str
        As it is installed and imported.
    make : callable or None
        Of the problem and the seed; None: not written yet.
    refuses : callable
        Why it cannot say a space; empty when it can.
    """

    package: str
    make: Callable[[Problem, int], Engine] | None = None
    refuses: Callable[[Space], str] = _any


def _optuna(problem: Problem, seed: int) -> Engine:
    from benchmarks.optimizer.peer_optuna import Optuna

    return Optuna(problem, seed)


def _baybe(problem: Problem, seed: int) -> Engine:
    from benchmarks.optimizer.peer_baybe import Baybe

    return Baybe(problem, seed)


PEERS: Mapping[str, Peer] = {
    "optuna": Peer("optuna", _optuna, _without_constraints),
    "baybe": Peer("baybe", _baybe),
    "xopt": Peer("xopt"), "bofire": Peer("bofire"), "blop": Peer("blop"),
}

NAMES = (*OURS, "random", *PEERS)


def obstacle(engine: str, problem: Problem) -> str:
    """Why `engine` cannot be run on `problem` here; empty when it can. Imports none of them."""
    peer = PEERS.get(engine)
    if peer is None:
        field = OptimizerConfig.model_fields["engine"].annotation
        return "" if engine not in OURS or engine in get_args(field) else "no campaign can select it yet"
    if peer.make is None:
        return "its adapter is not written yet"
    if importlib.util.find_spec(peer.package) is None:
        return f"{peer.package} is not installed (pip install '.[bench]')"
    return "" if problem.pool is not None else peer.refuses(problem.campaign("sobol", 0).space)


def make(engine: str, problem: Problem, seed: int) -> Engine:
    """The engine, at the beginning of a campaign; see `obstacle`."""
    if engine in OURS:
        return Ours(engine, problem, seed)
    peer = PEERS.get(engine)
    if peer is None:
        return Chance(problem, seed)
    if peer.make is None:
        raise KeyError(engine)
    return peer.make(problem, seed)


def version(engine: str) -> str:
    """What is measured: a peer's version; for Labwright's engines also a digest of their source, so that a changed engine is run again."""
    if engine in PEERS:
        return metadata.version(PEERS[engine].package)
    if engine not in OURS:
        return "1"
    digest = hashlib.sha256()
    for file in sorted(Path(lab.optimise.__path__[0]).rglob("*.py")):
        digest.update(file.read_bytes())
    return f"{metadata.version('labwright')}+{digest.hexdigest()[:8]}"
