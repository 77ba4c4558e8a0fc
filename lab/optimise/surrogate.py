"""Ax's modular BoTorch generator on our own coordinates. The only module here that imports torch; import it late.

Ax's generator is used without Ax's experiment, adapter and client: they keep state of their own, drop read-backs that lie
outside the bounds, and refuse equalities. Model, its priors and the acquisition function are Ax's choice (a Gaussian
process with qLogNoisyExpectedImprovement, or the probability of feasibility while no trial keeps all outcome
constraints); maximising it is ours (`lab.optimise.climb`).
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ax.core.search_space import SearchSpaceDigest
from ax.exceptions.core import AxError
from ax.generators.torch.botorch_modular.acquisition import Acquisition
from ax.generators.torch.botorch_modular.generator import BoTorchGenerator
from ax.generators.torch.botorch_modular.surrogate import SurrogateSpec
from ax.generators.torch.botorch_modular.utils import ModelConfig
from ax.generators.torch_base import TorchOptConfig
from botorch.exceptions.errors import BotorchError
from botorch.utils.datasets import SupervisedDataset

from lab.core.space import LinearConstraint
from lab.optimise.climb import Effort, climb
from lab.optimise.domain import Domain, Points
from lab.optimise.evidence import Evidence
from lab.optimise.gaussian import ModelFailed
from lab.optimise.polytope import Array
from lab.optimise.success import log_success, repeated
from lab.optimise.tried import Tried

ROWS_AT_ONCE = 512
"""Points per call of the acquisition function: bounds its memory."""

_one_at_a_time = threading.Lock()
"""Torch's random state, its thread count and Python's warning filters belong to the whole process."""


@dataclass(frozen=True)
class Question:
    """What to ask of the model.

    Parameters
    ----------
    domain : Domain
    goal : float
        1 to maximise the first outcome, -1 to minimise it.
    limits : tuple of LinearConstraint
        On outcomes, in their own units.
    tried : Tried
        Where nothing may be suggested.
    candidates : Points
        Where the search starts.
    incumbents : Points
        Allowed points near the best outcomes, for candidates around them.
    seed : int
    """

    domain: Domain
    goal: float
    limits: tuple[LinearConstraint, ...]
    tried: Tried
    candidates: Points
    incumbents: Points
    seed: int


def ask(question: Question, evidence: Evidence, n: int) -> Points:
    """The `n` most promising points.

    Raises
    ------
    ModelFailed
        With the library's words.
    """
    with _contained(question.seed):
        try:
            return _generate(question, evidence, n)
        except (AxError, BotorchError, RuntimeError, ValueError, ArithmeticError) as error:
            words = str(error).strip().splitlines()[:1]
            raise ModelFailed(": ".join([type(error).__name__, *words])) from error


@contextmanager
def _contained(seed: int) -> Iterator[None]:
    """One thread (sums in one order: the same bits everywhere), seeded, silent; everything is put back afterwards."""
    with _one_at_a_time, _silent(logging.getLogger("ax")), warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        n_threads = torch.get_num_threads()
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            torch.set_num_threads(n_threads)


@contextmanager
def _silent(logger: logging.Logger) -> Iterator[None]:
    """Nothing of `logger` or below is shown meanwhile: what matters comes back as `ModelFailed`."""
    handlers, propagates = list(logger.handlers), logger.propagate
    logger.handlers, logger.propagate = [logging.NullHandler()], False
    try:
        yield
    finally:
        logger.handlers, logger.propagate = handlers, propagates


def _generate(question: Question, evidence: Evidence, n: int) -> Points:
    columns = [f"x{k}" for k in range(question.domain.n_columns)]
    X = _tensor(evidence.X)
    datasets = [SupervisedDataset(X=X, Y=_tensor(evidence.Y[:, [k]]), Yvar=None if variance is None else _tensor(variance[:, None]),
                                  feature_names=columns, outcome_names=[name])
                for k, (name, variance) in enumerate(zip(evidence.names, evidence.variances, strict=True))]
    # Ax leaves observations outside the bounds out of the acquisition function: these bounds leave none out. Those of
    # the suggestions are the domain's.
    known = np.vstack([evidence.X, evidence.waiting, evidence.failed, np.zeros((1, len(columns))), np.ones((1, len(columns)))])
    digest = SearchSpaceDigest(feature_names=columns, bounds=[(float(x.min()) - 1.0, float(x.max()) + 1.0) for x in known.T])
    weights = torch.zeros(1, len(evidence.names), dtype=torch.double)
    weights[0, 0] = question.goal
    waiting = _tensor(np.vstack([evidence.waiting, evidence.failed[repeated(evidence.failed)]]))
    wish = TorchOptConfig(objective_weights=weights, outcome_constraints=_limits(question.limits, evidence),
                          pending_observations=[waiting] * len(evidence.names) if len(waiting) else None)
    found: list[Points] = []

    class OnDomain(Acquisition):
        """Ax's acquisition function, maximised on our domain."""

        def optimize(self, n: int, search_space_digest: SearchSpaceDigest, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            points, values = _best(question, evidence, self, n)
            found.append(points)
            return _tensor(question.domain.encode(points)), _tensor(values), torch.ones(len(points), dtype=torch.double)

    model = ModelConfig(name="unit cube", input_transform_classes=None)
    generator = BoTorchGenerator(surrogate_spec=SurrogateSpec(model_configs=[model]), acquisition_class=OnDomain)
    generator.fit(datasets, digest)
    generator.gen(n=n, search_space_digest=digest, torch_opt_config=wish)
    return found[0]


def _best(question: Question, evidence: Evidence, acquisition: Acquisition, n: int) -> tuple[Points, Array]:
    """`n` points one after the other, each in the knowledge that the ones before are under way.

    The logarithm of the chance that a sample succeeds is added to that of its expected improvement: what is expected
    of a sample that may fail.
    """
    domain, rng = question.domain, np.random.default_rng(question.seed)
    effort = Effort.for_domain(domain)
    waiting = acquisition.X_pending
    chosen = question.candidates[np.zeros(0, dtype=int)]
    values: list[float] = []
    while len(chosen) < n:
        tried = question.tried.also(domain.encode(chosen))

        def score(x: Array, tried: Tried = tried) -> Array:
            allowed = tried.is_new(x)
            result = np.full(len(x), -np.inf)
            result[allowed] = _values(acquisition, x[allowed]) + log_success(x[allowed], evidence.X, evidence.failed)
            return result

        points, best = climb(domain, score, question.candidates, question.incumbents, rng, effort)
        first = next((k for k in range(len(points)) if np.isfinite(best[k]) and domain.is_sound(points[k:k + 1])), None)
        if first is None:
            raise ModelFailed("no untried point was found")
        chosen = Points.join(chosen, points[first:first + 1])
        values.append(float(best[first]))
        under_way = _tensor(domain.encode(chosen))
        acquisition.acqf.set_X_pending(under_way if waiting is None else torch.cat([waiting, under_way]))
    return chosen, np.array(values)


def _values(acquisition: Acquisition, x: Array) -> Array:
    with torch.no_grad():
        parts = [acquisition.acqf(_tensor(part)[:, None, :]).numpy() for part in np.split(x, range(ROWS_AT_ONCE, len(x), ROWS_AT_ONCE))]
    values = np.concatenate(parts) if parts else np.zeros(0)
    return np.where(np.isnan(values), -np.inf, values)


def _limits(limits: tuple[LinearConstraint, ...], evidence: Evidence) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Outcome constraints as ``A @ Y <= b``."""
    if not limits:
        return None
    A, b = np.zeros((len(limits), len(evidence.names))), np.zeros((len(limits), 1))
    for row, limit in enumerate(limits):
        (name, coefficient), = limit.coefficients
        k, sign = evidence.names.index(name), 1.0 if limit.operator == "<=" else -1.0
        A[row, k] = sign * coefficient * evidence.width[k]
        b[row, 0] = sign * (limit.bound - coefficient * evidence.centre[k])
        scale = abs(A[row, k])
        A[row], b[row] = A[row] / scale, b[row] / scale
    return _tensor(A), _tensor(b)


def _tensor(array: Array) -> torch.Tensor:
    return torch.tensor(array, dtype=torch.double)
