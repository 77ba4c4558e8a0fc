"""Who chooses the next point: Labwright's engines, chance, and the peers, behind one protocol."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

import lab
from benchmarks.optimizer.chance import Chance
from benchmarks.optimizer.problem import Problem, Values
from benchmarks.optimizer.told import UNDER_WAY
from lab.core.space import ChoiceParameter
from lab.core.trial import Suggestion, Trial

IGNORING = "botorch-ignoring"
"""The engine ``botorch`` that is not told what the problem is about: no drift, no durations, no safety, no samples under way."""

OURS: Mapping[str, str] = {"botorch": "botorch", IGNORING: "botorch", "labwright-ax": "ax", "sobol": "sobol"}
"""Labwright's engines: name in the bench, and in a campaign file. Ax as it comes is the peer ``ax``."""

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

        Called once for each trial. The trial that it suggests has the index ``len(trials)``; those under way have no outcome yet.
        """
        ...


class Recommending(Protocol):
    """An engine that says in the end which point it would go on with."""

    def recommend(self, trials: Sequence[Trial]) -> Values:
        """That point; `suggest` was called with as many trials or one less before."""
        ...


class Ours:
    """An engine of Labwright, through the door that a campaign in the laboratory uses."""

    def __init__(self, name: str, problem: Problem, seed: int) -> None:
        from lab.optimise import make_optimizer  # the peers do without it

        self._is_ignoring = name == IGNORING
        self._campaign = problem.campaign(OURS[name], seed, self._is_ignoring)
        self._optimizer = make_optimizer(self._campaign)
        self.has_pools = self._campaign.candidates is not None

    def suggest(self, trials: Sequence[Trial]) -> Suggestion:
        """See `Engine`."""
        return self._optimizer.suggest(self._known(trials))[0]

    def recommend(self, trials: Sequence[Trial]) -> Values:
        """See `Recommending`."""
        from lab.optimise.recommend import recommend

        found = recommend(self._campaign, self._known(trials))
        return (found[0] if isinstance(found, Sequence) else found).values

    def _known(self, trials: Sequence[Trial]) -> list[Trial]:
        """What it is told; one that ignores is told neither of samples under way nor of hours."""
        if not self._is_ignoring:
            return list(trials)
        return [replace(trial, began_lab_s=None, ended_lab_s=None) for trial in trials if trial.state not in UNDER_WAY]


def _says_all(problem: Problem) -> str:
    return ""


def _says_no_sums(problem: Problem) -> str:
    """Of peers without constraints between parameters. A pool's points are moved to rows, which keep them."""
    return "" if problem.pool is not None or not problem.constraints else f"cannot say {problem.constraints[0]}"


def _says_numbers(problem: Problem) -> str:
    """Of peers that know neither those constraints nor names."""
    names = next((p for p in problem.parameters if isinstance(p, ChoiceParameter) and isinstance(p.values[0], str)), None)
    return f"cannot say {names.name}: {names.allowed}" if names is not None else _says_no_sums(problem)


def _is_slow(problem: Problem) -> str:
    """Of gpcam, which is measured where its cost of going somewhere counts."""
    return "" if "durations" in problem.settings else "it is run only where changes take time"


@dataclass(frozen=True)
class Peer:
    """An optimiser that others wrote.

    Parameters
    ----------
    package : str
        As it is installed.
    module, maker : str
        Of ``benchmarks.optimizer``; the name in it takes the problem and the seed.
    refuses : callable
        Why it cannot say a problem; empty when it can.
    needs : str
        What is imported of the package, where that is not its name.
    recommends : bool
        Whether its adapter is `Recommending`.
    install : str
        What pip is to be given.
    """

    package: str
    module: str
    maker: str
    refuses: Callable[[Problem], str] = _says_all
    needs: str = ""
    recommends: bool = False
    install: str = "'.[bench]'"

    def make(self, problem: Problem, seed: int) -> Engine:
        """Import the adapter and begin a campaign."""
        maker: Callable[[Problem, int], Engine] = getattr(importlib.import_module(f"benchmarks.optimizer.{self.module}"), self.maker)
        return maker(problem, seed)


PEERS: Mapping[str, Peer] = {
    "optuna": Peer("optuna", "peer_optuna", "Optuna", _says_no_sums),
    "ax": Peer("ax-platform", "peer_ax", "Ax", needs="ax", recommends=True),
    "baybe": Peer("baybe", "peer_baybe", "Baybe"),
    "xopt": Peer("xopt", "peer_xopt", "Xopt", _says_numbers, recommends=True),
    "bofire": Peer("bofire", "peer_bofire", "Bofire"),
    "blop": Peer("blop", "peer_blop", "Blop"),
    "gpcam": Peer("gpcam", "peer_gpcam", "Gpcam", _is_slow, install="gpcam"),
}

NAMES = (*OURS, "random", *PEERS)


def obstacle(engine: str, problem: Problem) -> str:
    """Why `engine` cannot be run on `problem` here; empty when it can. Imports none of them."""
    if engine in OURS:
        return _own_obstacle(engine, problem)
    peer = PEERS.get(engine)
    if peer is None:
        return "it recommends nothing" if problem.is_recommended else ""
    if importlib.util.find_spec(peer.needs or peer.package) is None:
        return f"{peer.package} is not installed (pip install {peer.install})"
    return "it recommends nothing" if problem.is_recommended and not peer.recommends else peer.refuses(problem)


def _own_obstacle(engine: str, problem: Problem) -> str:
    if engine == IGNORING and not problem.has_feature:
        return "there is nothing to ignore"
    if problem.is_recommended and (OURS[engine] != "botorch" or importlib.util.find_spec("lab.optimise.recommend") is None):
        return "it recommends nothing"
    try:
        problem.campaign(OURS[engine], 0, engine == IGNORING)
    except ValidationError as error:
        return "; ".join(str(one["msg"]).removeprefix("Value error, ") for one in error.errors())
    return ""


def make(engine: str, problem: Problem, seed: int) -> Engine:
    """The engine, at the beginning of a campaign; see `obstacle`."""
    if engine in OURS:
        return Ours(engine, problem, seed)
    peer = PEERS.get(engine)
    return Chance(problem, seed) if peer is None else peer.make(problem, seed)


def load(engine: str) -> None:
    """Import what the engine needs, which takes some of them seconds."""
    if engine in PEERS:
        importlib.import_module(f"benchmarks.optimizer.{PEERS[engine].module}")
    elif OURS.get(engine) == "ax":
        importlib.import_module("lab.optimise.ax").load()
    elif engine in OURS:
        importlib.import_module("lab.optimise")


def version(engine: str) -> str:
    """What is measured: a peer's version; for Labwright's engines also a digest of their source, so that a changed engine is run again."""
    if engine in PEERS:
        return metadata.version(PEERS[engine].package)
    if engine not in OURS:
        return "1"
    digest = hashlib.sha256()
    for file in sorted((Path(lab.__path__[0]) / "optimise").rglob("*.py")):
        digest.update(file.read_bytes())
    return f"{metadata.version('labwright')}+{digest.hexdigest()[:8]}"
