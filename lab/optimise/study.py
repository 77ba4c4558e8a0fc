"""What the trials say, as arrays, and the models that are made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import ndtr

from lab.core.question import CampaignConfig
from lab.core.trial import Trial
from lab.optimise.domain import Domain
from lab.optimise.evidence import Evidence, gather
from lab.optimise.gaussian import Data, Kernel, Posterior, condition
from lab.optimise.improvement import Above
from lab.optimise.likelihood import Prior, fit
from lab.optimise.polytope import Array
from lab.optimise.terms import Model, OfOutcome

MOST = 1000
"""Trials that a model is made of: the cost grows as their cube. Of more, the best half and others spread over the rest."""

OUTCOME = Prior()
SUCCESS = Prior(scale=(0.0, 0.5), noise=(-4.0, 1.0))
"""Of success and failure, as 1 and -1: borders are sharper than outcomes are rough, and a failure may have been a cable's."""

ENOUGH, CAUTION = 0.7, 30.0
"""Below the first, the chance of success counts so much more: a failure costs a sample, and the improvement expected beyond
a border is often many times that on this side of it. Where nothing is known, the chance is a half."""


@dataclass(frozen=True)
class Observed:
    """One outcome of all completed trials.

    Parameters
    ----------
    y : ndarray, shape (n,)
        Mean near 0, standard deviation near 1; up is up, as it was measured.
    told : ndarray, shape (n,)
        Variance of each, in the unit of `y` squared; 0 where none was told.
    centre, width : float
        ``outcome = centre + width * y``.
    """

    name: str
    y: Array
    told: Array
    centre: float
    width: float

    def to_unit(self, value: float) -> float:
        """A value of the outcome, in the unit of `y`."""
        return (value - self.centre) / self.width


@dataclass(frozen=True)
class Study:
    """Trials as a model takes them.

    Parameters
    ----------
    X : ndarray, shape (n, d + e)
        Executed points of completed trials: the domain's columns, then those of what is not chosen.
    observed : tuple of Observed
        Objectives first, in the order of the file.
    failed : ndarray, shape (k, d + e)
    waiting : ndarray, shape (w, d)
        Points under way.
    here : ndarray, shape (e,)
        What is not chosen, as it is for the next sample.
    groups : ndarray of int, shape (d + e,)
        Which length scale each column has.
    is_up : bool
        Whether more of the first outcome is better: of too many trials, those with the best are kept.
    remarks : tuple of str
        What a person should know of how the trials were used.
    """

    domain: Domain
    X: Array
    observed: tuple[Observed, ...]
    failed: Array
    waiting: Array
    here: Array
    groups: Array
    is_up: bool = True
    remarks: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Observed:
        return next(one for one in self.observed if one.name == name)

    def with_waiting(self, x: Array) -> Study:
        """The same, and `x`, shape (k, d), under way."""
        return replace(self, waiting=np.vstack([self.waiting, x]))

    def models(self, start: Mapping[str, Any] | None = None) -> Models:
        """A model of each outcome and, once something has failed, of success.

        Parameters
        ----------
        start : mapping or None
            `Models.kernels` of an earlier study, from which the search for the most probable ones begins.

        Raises
        ------
        ModelFailed
            When one cannot be made.
        """
        n = len(self.X)
        merit = self.observed[0].y if self.is_up else -self.observed[0].y
        used = representative(merit, MOST)
        remarks = [*self.remarks] + ([f"model of {len(used)} of {n} trials"] if len(used) < n else [])
        outcomes = {}
        for one in self.observed:
            data = Data(self.X, one.y, one.told, self.groups).only(used)
            outcomes[one.name] = condition(data, fit(data, OUTCOME))
        success = self.success() if len(self.failed) else None
        every = [*outcomes.values(), *([] if success is None else [success])]
        remarks += [f"jitter {model.jitter:.1g}" for model in every if model.jitter]
        return Models(self, outcomes, success, tuple(remarks))

    def success(self) -> Posterior:
        """Where samples give an outcome: 1 where they do, -1 where they do not."""
        X = np.vstack([self.X, self.failed])
        y = np.concatenate([np.ones(len(self.X)), -np.ones(len(self.failed))])
        data = Data(X, y, np.zeros(len(X)), self.groups).only(representative(-y, MOST))
        return condition(data, fit(data, SUCCESS))


@dataclass(frozen=True)
class Models:
    """A posterior of each outcome by name, and of success.

    Parameters
    ----------
    success : Posterior or None
        None while nothing has failed.
    """

    study: Study
    outcomes: Mapping[str, Posterior]
    success: Posterior | None
    remarks: tuple[str, ...] = ()

    def of(self, name: str) -> Model:
        """The model of one outcome, for the next sample."""
        return self.outcomes[name].at(self.study.here)

    def natural(self, name: str, x: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of an outcome in its unit, shapes (n,), at `x`, shape (n, d)."""
        one = self.study[name]
        mean, variance = self.of(name).predict(x)
        return one.centre + one.width * mean, one.width * np.sqrt(variance)

    def chance(self) -> list[OfOutcome]:
        """The term for the probability that a sample gives an outcome; none while nothing has failed."""
        if self.success is None:
            return []
        return [OfOutcome(self.success.at(self.study.here), Above(0.0, noise=self.success.kernel.noise, caution=CAUTION, enough=ENOUGH))]

    def success_at(self, x: Array) -> Array | None:
        """The probability that a sample gives an outcome, shape (n,), at `x`, shape (n, d); None while nothing has failed."""
        if self.success is None:
            return None
        mean, variance = self.success.at(self.study.here).predict(x)
        return np.asarray(ndtr(mean / np.sqrt(variance + self.success.kernel.noise)))

    def expecting(self, x: Array) -> Models:
        """The same, when the outcomes at `x`, shape (k, d), turn out as expected."""
        if not len(x):
            return self
        full = np.hstack([x, np.tile(self.study.here, (len(x), 1))])
        return replace(self, outcomes={name: one.expecting(full) for name, one in self.outcomes.items()})

    @cached_property
    def kernels(self) -> dict[str, Any]:
        """Parameters of all models, as JSON has them; the model of success is under ``""``."""
        every = dict(self.outcomes) | ({} if self.success is None else {"": self.success})
        return {name: _kernel_as_json(one.kernel) for name, one in every.items()}


def _kernel_as_json(kernel: Kernel) -> dict[str, Any]:
    return {"scales": kernel.scales.tolist(), "amplitude": float(kernel.amplitude), "noise": float(kernel.noise)}


def study_of(campaign: CampaignConfig, domain: Domain, trials: Sequence[Trial]) -> Study:
    """Read the trials.

    Raises
    ------
    OptimizerError
        When a completed trial lacks an outcome, or an outcome or standard error is not finite.
    """
    evidence: Evidence = gather(campaign, domain, trials, keeps_order=True)
    n = len(evidence.X)
    observed = tuple(Observed(name, evidence.Y[:, k], np.zeros(n) if told is None else told, float(evidence.centre[k]), float(evidence.width[k]))
                     for k, (name, told) in enumerate(zip(evidence.names, evidence.variances, strict=True)))
    return Study(domain, evidence.X, observed, evidence.failed, evidence.waiting, np.zeros(0), column_groups(domain),
                 campaign.objective.goal != "minimize", (evidence.remark,) if evidence.remark else ())


def column_groups(domain: Domain) -> Array:
    """Which length scale each model column has: the columns of one choice share theirs; int, shape (columns,)."""
    return domain.columns.groups


def representative(merit: Array, most: int) -> Array:
    """Places of at most `most` trials, in order: the best half, and others evenly spread over the order of the rest."""
    n = len(merit)
    if n <= most:
        return np.arange(n)
    order = np.argsort(-merit, kind="stable")
    best, rest = order[:most // 2], np.sort(order[most // 2:])
    spread = rest[np.linspace(0, len(rest) - 1, most - len(best)).round().astype(int)]
    return np.sort(np.concatenate([best, spread]))
