"""The engine ``botorch``: Gaussian processes of our own, and the expected improvement of a sample that may fail.

A suggestion maximises the logarithm of: the expected improvement on the best expected outcome so far, times the
probability that every outcome constraint is kept, times the probability that the sample gives an outcome at all. While
no trial is expected to keep the constraints, only the probabilities count. Samples under way are taken to turn out as
expected.

The number of evaluations of every likelihood and of every acquisition function is bounded, and nothing is remembered
between calls but points that depend on the campaign alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lab.core.question import CampaignConfig
from lab.core.trial import Suggestion, Trial
from lab.optimise.ascent import seek
from lab.optimise.domain import Domain, Points
from lab.optimise.evidence import Evidence, gather
from lab.optimise.gaussian import Data, Posterior, condition
from lab.optimise.improvement import Above, Acquisition, Improvement, Worth
from lab.optimise.likelihood import Prior, fit
from lab.optimise.model_based import ModelBasedOptimizer, mixed
from lab.optimise.one_thread import one_thread
from lab.optimise.polytope import Array
from lab.optimise.tried import Tried

MOST = 1000
"""Trials that a model is made of: the cost grows as their cube. Of more, the best half and others spread over the rest."""

N_LOOKED_AT = 64
"""Evenly spread points among which the next initial one is chosen once something has failed."""

OUTCOME = Prior()
SUCCESS = Prior(scale=(0.0, 0.5), noise=(-4.0, 1.0))
"""Of success and failure, as 1 and -1: borders are sharper than outcomes are rough, and a failure may have been a cable's."""


ENOUGH, CAUTION = 0.7, 30.0
"""Below the first, the chance of success counts so much more: a failure costs a sample, and the improvement expected beyond
a border is often many times that on this side of it. Where nothing is known, the chance is a half."""


class BayesianOptimizer(ModelBasedOptimizer):
    """Bayesian optimisation that learns from failures; see `ModelBasedOptimizer`.

    Parameters
    ----------
    campaign : CampaignConfig

    Raises
    ------
    ValueError
        When the constraints cannot be met.
    """

    def __init__(self, campaign: CampaignConfig) -> None:
        super().__init__(campaign)
        self._goal = 1.0 if campaign.objective.goal == "maximize" else -1.0
        self._groups = column_groups(self._domain)

    def suggest(self, trials: Sequence[Trial], n: int = 1) -> list[Suggestion]:
        """The next `n` points; see `lab.optimise.protocol.Optimizer`."""
        with one_thread():
            return super().suggest(trials, n)

    def _gather(self, trials: Sequence[Trial]) -> Evidence:
        return gather(self._campaign, self._domain, trials, keeps_order=True)

    def _begin(self, trials: Sequence[Trial], evidence: Evidence, tried: Tried, n: int) -> tuple[Points, str]:
        """Once something has failed, the next point of the sequence where success is at least as likely as failure."""
        if not len(evidence.failed) or not n:
            return super()._begin(trials, evidence, tried, n)
        chance = Acquisition([self._success(evidence)])
        points = self._sobol.next_points(tried, len(trials), n, n_spare=N_LOOKED_AT)
        log_chance = chance.values(self._domain.encode(points))
        order = np.argsort(-np.minimum(log_chance, 0.0), kind="stable")
        return points[order[:n]], "sobol (where success is likely)"

    def _ask(self, trials: Sequence[Trial], evidence: Evidence, tried: Tried, n: int) -> tuple[Points, str]:
        models, remarks = self._models(evidence)
        success = [self._success(evidence)] if len(evidence.failed) else []
        models = [model.expecting(evidence.waiting) for model in models]
        rng = np.random.default_rng(mixed(self._seed, len(trials)))
        incumbents = self._incumbents(trials, self._goal * evidence.Y[:, 0])
        chosen = self._candidates[np.zeros(0, dtype=int)]
        while len(chosen) < n:
            acquisition = Acquisition([*self._terms(models, evidence), *success])
            point = seek(self._domain, acquisition, tried, self._candidates, incumbents, rng)
            chosen = Points.join(chosen, point)
            if len(chosen) < n:
                x = self._domain.encode(point)
                tried, models = tried.also(x), [model.expecting(x) for model in models]
        remarks += [f"jitter {model.jitter:.1g}" for model in [*models, *(model for model, _ in success)] if model.jitter]
        return chosen, f"botorch ({'; '.join(remarks)})" if remarks else "botorch"

    def _models(self, evidence: Evidence) -> tuple[list[Posterior], list[str]]:
        """One model per outcome, the objective's first and so that more is better; and what a person should know."""
        n = len(evidence.X)
        merit = self._goal * evidence.Y[:, 0]
        used = representative(merit, MOST)
        remarks = [evidence.remark] if evidence.remark else []
        if len(used) < n:
            remarks.append(f"model of {len(used)} of {n} trials")
        models = []
        for k, variances in enumerate(evidence.variances):
            y = merit if k == 0 else evidence.Y[:, k]
            data = Data(evidence.X, y, np.zeros(n) if variances is None else variances, self._groups).only(used)
            models.append(condition(data, fit(data, OUTCOME)))
        return models, remarks

    def _terms(self, models: Sequence[Posterior], evidence: Evidence) -> list[tuple[Posterior, Worth]]:
        """What a sample is worth, success aside."""
        objective = models[0]
        X = objective.data.X
        expected, _ = objective.predict(X)
        is_kept = np.ones(len(X), dtype=bool)
        limits: list[tuple[Posterior, Worth]] = []
        for limit in self._campaign.outcome_limits:
            (name, coefficient), = limit.coefficients
            k = evidence.names.index(name)
            bound = (limit.bound / coefficient - evidence.centre[k]) / evidence.width[k]
            sign = 1.0 if (limit.operator == ">=") == (coefficient > 0) else -1.0
            model = models[k]
            if k == 0:
                bound *= self._goal
                sign *= self._goal
            limits.append((model, Above(float(bound), sign)))
            is_kept &= sign * (model.predict(X)[0] - bound) >= 0.0
        if not is_kept.any():
            return limits
        return [(objective, Improvement(float(expected[is_kept].max()))), *limits]

    def _success(self, evidence: Evidence) -> tuple[Posterior, Worth]:
        """Where samples give an outcome."""
        X = np.vstack([evidence.X, evidence.failed])
        y = np.concatenate([np.ones(len(evidence.X)), -np.ones(len(evidence.failed))])
        data = Data(X, y, np.zeros(len(X)), self._groups).only(representative(-y, MOST))
        kernel = fit(data, SUCCESS)
        return condition(data, kernel), Above(0.0, noise=kernel.noise, caution=CAUTION, enough=ENOUGH)


def column_groups(domain: Domain) -> Array:
    """Which length scale each model column has: the columns of one choice share theirs; int, shape (columns,)."""
    groups = list(range(len(domain.ranges)))
    for choice in domain.choices:
        groups += [groups[-1] + 1 if groups else 0] * (1 if choice.is_ordered else len(choice.values))
    return np.array(groups, dtype=int)


def representative(merit: Array, most: int) -> Array:
    """Places of at most `most` trials, in order: the best half, and others evenly spread over the order of the rest."""
    n = len(merit)
    if n <= most:
        return np.arange(n)
    order = np.argsort(-merit, kind="stable")
    best, rest = order[:most // 2], np.sort(order[most // 2:])
    spread = rest[np.linspace(0, len(rest) - 1, most - len(best)).round().astype(int)]
    return np.sort(np.concatenate([best, spread]))
